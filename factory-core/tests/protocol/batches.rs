//! Many inputs at once lead where they lead one after the other.

use std::sync::Arc;

use bitcoin::{Transaction, Txid};
use factory_core::protocol::{Block, Command, Effect, Input, Member, Message, Operator, Phase, ProtocolError};
use factory_core::{Party, TxName};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::wire::kind;
use crate::world::{OPERATOR, START, World, pay};

/// Enough that their channels are shared among the cores.
const MEMBERS: u32 = 20;

type Results = Vec<Result<Vec<Effect>, ProtocolError>>;

/// What came of one input, but for what is random.
fn described(result: &Result<Vec<Effect>, ProtocolError>) -> Vec<String> {
    let effects = match result {
        Ok(effects) => effects,
        Err(error) => return vec![error.to_string()],
    };
    let effect = |effect: &Effect| match effect {
        Effect::Persist(key) => format!("stores {key}"),
        Effect::Send { to, message } => format!("to {to}: {}", kind(message)),
        Effect::Broadcast { name, .. } => format!("broadcasts {name}"),
        Effect::Watch(outpoint) => format!("watches {outpoint}"),
        Effect::Report(event) => event.to_string(),
    };
    effects.iter().map(effect).collect()
}

/// The parties of a factory, and how the operator takes what it gets.
struct Play<T> {
    operator: Operator,
    members: Vec<Member>,
    rng: ChaCha20Rng,
    take: T,
    /// What came of each of the operator's inputs.
    log: Vec<Vec<String>>,
}

impl<T: Fn(&mut Operator, Vec<Input>, &mut ChaCha20Rng) -> Results> Play<T> {
    /// What a member says to an input, as inputs of the operator.
    fn tell(&mut self, member: u32, input: Input) -> Vec<Input> {
        let effects = self.members[member as usize].handle(input, &mut self.rng).unwrap();
        let said = effects.into_iter().filter_map(|effect| match effect {
            Effect::Send { message, .. } => Some(from(member, message)),
            _ => None,
        });
        said.collect()
    }

    /// Gives the operator inputs, and delivers in rounds what follows.
    fn stage(&mut self, mut inputs: Vec<Input>) {
        while !inputs.is_empty() {
            let results = (self.take)(&mut self.operator, std::mem::take(&mut inputs), &mut self.rng);
            self.log.extend(results.iter().map(described));
            let mut said = None;
            for effect in results.into_iter().flatten().flatten() {
                let Effect::Send { to: Party::Member(member), message } = effect else { continue };
                said = Some(message.clone());
                inputs.extend(self.tell(member, Input::Message { from: OPERATOR, message }));
            }
            // Every round of messages brings one twice, the same from a stranger, and what the operator has said itself. After
            // these there are as many as are worth sharing, the last of which completes what the operator waits for.
            if let Some(Input::Message { message, .. }) = inputs.first().cloned() {
                inputs.insert(1, from(0, message.clone()));
                inputs.insert(2, from(MEMBERS, message));
            }
            if let (Some(message), true) = (said, inputs.len() > 5) {
                inputs.insert(5, from(2, message));
            }
        }
    }

    /// Shows a block to everybody.
    fn block(&mut self, height: u32, txs: Vec<Arc<Transaction>>) {
        let block = Input::Block(Block { height, txs });
        let mut inputs = vec![block.clone()];
        for member in 0..MEMBERS {
            inputs.extend(self.tell(member, block.clone()));
        }
        self.stage(inputs);
    }
}

fn from(member: u32, message: Message) -> Input {
    Input::Message { from: Party::Member(member), message }
}

/// A factory is opened, there is a payment in every channel, and all closes are signed. Returns what came of each of the
/// operator's inputs, and what it holds.
fn play(take: impl Fn(&mut Operator, Vec<Input>, &mut ChaCha20Rng) -> Results) -> (Vec<Vec<String>>, Vec<Txid>) {
    let World { operator, members, offer, .. } = World::new(MEMBERS);
    let mut play = Play { operator, members, rng: ChaCha20Rng::seed_from_u64(1), take, log: Vec::new() };
    play.stage(vec![Input::Command(Command::Open)]);
    assert_eq!(play.operator.phase(), Phase::Funding);
    let funding = play.operator.transaction(TxName::Funding).unwrap().transaction().clone();
    for depth in 0..offer.confirmations {
        play.block(START + depth, if depth == 0 { vec![funding.clone()] } else { Vec::new() });
    }
    assert_eq!(play.operator.phase(), Phase::Live);

    let update = |member, amount| Input::Command(Command::Update { with: Party::Member(member), change: pay(amount) });
    let mut payments: Vec<Input> = (0..MEMBERS).map(|member| update(member, 1_000 + u64::from(member))).collect();
    // A second one in the same channel, one that is too large, one to nobody, and what must wait for all of them.
    payments.push(update(0, 1));
    payments.insert(1, update(1, 10_000_000));
    payments.push(update(MEMBERS, 1));
    payments.push(Input::Command(Command::SignCloses));
    play.stage(payments);
    play.stage(vec![Input::Command(Command::SignCloses)]);
    play.stage(vec![Input::Command(Command::SignFactoryClose)]);
    assert_eq!(play.operator.phase(), Phase::FactoryCloseSigned);

    let of_channel = |member| [TxName::Refund(member, 1), TxName::Close(member)];
    let names = (0..MEMBERS).flat_map(of_channel).chain([TxName::FactoryClose(0)]);
    let held = names.map(|name| play.operator.transaction(name).expect("all have signed").txid()).collect();
    (play.log, held)
}

#[test]
fn many_inputs_at_once_lead_where_they_lead_one_after_the_other() {
    let one_by_one =
        play(|operator, inputs, rng| inputs.into_iter().map(|input| operator.handle(input, rng)).collect());
    let at_once = play(|operator, inputs, rng| operator.handle_all(inputs, rng));
    let refused = |log: &[Vec<String>], what: &str| log.iter().flatten().filter(|line| line.contains(what)).count();
    for what in
        ["m20 has no channel", "in flight in the channel of m0", "not 0.10000000 BTC", "message from m2 refused"]
    {
        assert_ne!(refused(&one_by_one.0, what), 0, "{what}: {:?}", one_by_one.0);
    }
    for (index, (one, other)) in one_by_one.0.iter().zip(&at_once.0).enumerate() {
        assert_eq!(one, other, "input {index}");
    }
    assert_eq!(one_by_one.0.len(), at_once.0.len());
    assert_eq!(one_by_one.1, at_once.1);
}
