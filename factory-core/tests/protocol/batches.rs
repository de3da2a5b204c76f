//! Many inputs at once lead where they lead one after the other.

use bitcoin::Txid;
use factory_core::protocol::{Command, Effect, Input, Operator, Phase, ProtocolError};
use factory_core::{Party, TxName};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::wire::kind;
use crate::world::{OPERATOR, World, pay};

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

/// A payment in every channel, then all closes. Returns what came of each of the operator's inputs, and what it holds.
fn play(take: impl Fn(&mut Operator, Vec<Input>, &mut ChaCha20Rng) -> Results) -> (Vec<Vec<String>>, Vec<Txid>) {
    let mut world = World::new(MEMBERS);
    world.open();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut log = Vec::new();
    let update = |member, amount| Input::Command(Command::Update { with: Party::Member(member), change: pay(amount) });
    let mut payments: Vec<Input> = (0..MEMBERS).map(|member| update(member, 1_000 + u64::from(member))).collect();
    // A second one in the same channel, one that is too large, one to nobody, and what must wait for all of them.
    payments.push(update(0, 1));
    payments.insert(1, update(1, 10_000_000));
    payments.push(update(MEMBERS, 1));
    payments.push(Input::Command(Command::SignCloses));
    let commands = [Command::SignCloses, Command::SignFactoryClose].map(|command| vec![Input::Command(command)]);
    for mut inputs in [payments].into_iter().chain(commands) {
        while !inputs.is_empty() {
            let results = take(&mut world.operator, std::mem::take(&mut inputs), &mut rng);
            log.extend(results.iter().map(described));
            let mut said = None;
            for effect in results.into_iter().flatten().flatten() {
                let Effect::Send { to: to @ Party::Member(member), message } = effect else { continue };
                said = Some(message.clone());
                let input = Input::Message { from: OPERATOR, message };
                for effect in world.members[member as usize].handle(input, &mut rng).unwrap() {
                    if let Effect::Send { message, .. } = effect {
                        inputs.push(Input::Message { from: to, message });
                    }
                }
            }
            // Every round of messages brings one twice, the same from a stranger, and what the operator has said itself.
            let from = |member, message| Input::Message { from: Party::Member(member), message };
            if let Some(Input::Message { message, .. }) = inputs.first().cloned() {
                inputs.insert(1, from(0, message.clone()));
                inputs.push(from(MEMBERS, message));
            }
            if let (Some(message), true) = (said, inputs.len() > 5) {
                inputs.insert(5, from(MEMBERS - 1, message));
            }
        }
    }
    assert_eq!(world.operator.phase(), Phase::FactoryCloseSigned);
    let of_channel = |member| [TxName::Refund(member, 1), TxName::Close(member)];
    let names = (0..MEMBERS).flat_map(of_channel).chain([TxName::FactoryClose(0)]);
    let held = names.map(|name| world.operator.transaction(name).expect("all have signed").txid()).collect();
    (log, held)
}

#[test]
fn many_inputs_at_once_lead_where_they_lead_one_after_the_other() {
    let one_by_one =
        play(|operator, inputs, rng| inputs.into_iter().map(|input| operator.handle(input, rng)).collect());
    let at_once = play(|operator, inputs, rng| operator.handle_all(inputs, rng));
    let refused = |log: &[Vec<String>], what: &str| log.iter().flatten().filter(|line| line.contains(what)).count();
    for what in
        ["m20 has no channel", "in flight in the channel of m0", "not 0.10000000 BTC", "message from m19 refused"]
    {
        assert_ne!(refused(&one_by_one.0, what), 0, "{what}: {:?}", one_by_one.0);
    }
    for (index, (one, other)) in one_by_one.0.iter().zip(&at_once.0).enumerate() {
        assert_eq!(one, other, "input {index}");
    }
    assert_eq!(one_by_one.0.len(), at_once.0.len());
    assert_eq!(one_by_one.1, at_once.1);
}
