//! One factory in memory: the operator, its members, and every message between them.

use std::collections::VecDeque;

use bitcoin::{Amount, OutPoint, Txid};
use factory_core::protocol::{Agreement, Block, Command, Effect, Input, Member, Operator, Phase};
use factory_core::tx::funding::Coin;
use factory_core::{Change, MemberKeys, Offer, OperatorKeys, Party, TxName, Wallet};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use rayon::prelude::*;

/// Every channel's capacity.
pub const CAPACITY: Amount = Amount::from_sat(1_000_000);

/// The parties of one factory, with the random numbers of each.
#[derive(Debug)]
pub struct Parties {
    /// The operator.
    pub operator: Operator,
    /// The members, in their order.
    pub members: Vec<Member>,
    /// The operator's keys.
    pub operator_keys: OperatorKeys,
    /// The members' keys, in their order.
    pub member_keys: Vec<MemberKeys>,
    wallet: Wallet,
    offer: Offer,
    rngs: Vec<ChaCha20Rng>,
    messages: u64,
}

impl Parties {
    /// Parties that have not met yet, always the same ones for a number of members. Channels open with `offer`'s terms.
    pub fn new(members: u32, offer: Offer) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let wallet = Wallet::generate(&mut rng);
        let payout = Wallet::generate(&mut rng).script_pubkey().clone();
        let operator_keys = OperatorKeys::generate(&mut rng, payout);
        let mut keys = |_| {
            let payout = Wallet::generate(&mut rng).script_pubkey().clone();
            MemberKeys::generate(&mut rng, payout)
        };
        let member_keys: Vec<_> = (0..members).map(&mut keys).collect();
        let operator = new_operator(&operator_keys, &wallet, &offer, member_keys.len());
        let members = (0..members).map(|index| new_member(&member_keys, &offer, index)).collect();
        let rngs = (0..=member_keys.len() as u64).map(|seed| ChaCha20Rng::seed_from_u64(100 + seed)).collect();
        Parties { operator, members, operator_keys, member_keys, wallet, offer, rngs, messages: 0 }
    }

    /// The operator as it is new, before it has met anybody: what [`Operator::restore`] begins with.
    pub fn new_operator(&self) -> Operator {
        new_operator(&self.operator_keys, &self.wallet, &self.offer, self.members.len())
    }

    /// A member as it is new: what [`Member::restore`] begins with.
    pub fn new_member(&self, index: u32) -> Member {
        new_member(&self.member_keys, &self.offer, index)
    }

    /// Delivers messages in rounds: all that the operator is to get at once, and the members' each on any core.
    fn deliver(&mut self, inputs: impl IntoIterator<Item = (Party, Input)>) {
        let mut round: Vec<_> = inputs.into_iter().collect();
        while !round.is_empty() {
            let mut to_members: Vec<Vec<Input>> = self.members.iter().map(|_| Vec::new()).collect();
            let mut to_operator = Vec::new();
            let mut sent = Vec::new();
            for (party, input) in round {
                match (party, input) {
                    (Party::Member(member), input) => to_members[member as usize].push(input),
                    (Party::Operator, input) => to_operator.push(input),
                }
            }
            let (operator_rng, member_rngs) = self.rngs.split_at_mut(1);
            for effects in self.operator.handle_all(to_operator, &mut operator_rng[0]) {
                sent.extend(effects.expect("honest parties agree").into_iter().map(|effect| (Party::Operator, effect)));
            }
            let members = self.members.par_iter_mut().zip(member_rngs).zip(to_members).enumerate();
            let of_members: Vec<_> = members
                .flat_map_iter(|(index, ((member, rng), inputs))| {
                    let effects = inputs.into_iter().flat_map(|input| member.handle(input, rng).expect("it is honest"));
                    effects.map(|effect| (Party::Member(index as u32), effect)).collect::<Vec<_>>()
                })
                .collect();
            sent.extend(of_members);
            let messages = sent.into_iter().filter_map(|(from, effect)| match effect {
                Effect::Send { to, message } => Some((to, Input::Message { from, message })),
                _ => None,
            });
            round = messages.collect();
            self.messages += round.len() as u64;
        }
    }

    /// Gives the operator a command about one member's channel, and delivers all that follows, message by message, to
    /// nobody but these two.
    pub fn between_two(&mut self, member: u32, command: Command) {
        let mut queue = VecDeque::from([(Party::Operator, Input::Command(command))]);
        while let Some((to, input)) = queue.pop_front() {
            let effects = match to {
                Party::Operator => self.operator.handle(input, &mut self.rngs[0]),
                Party::Member(_) => self.members[member as usize].handle(input, &mut self.rngs[member as usize + 1]),
            };
            let sent = effects.expect("honest parties agree").into_iter().filter_map(|effect| match effect {
                Effect::Send { to: next, message } => Some((next, Input::Message { from: to, message })),
                _ => None,
            });
            queue.extend(sent);
        }
    }

    /// Gives the operator a command, and delivers all that follows from it.
    pub fn command(&mut self, command: Command) {
        self.deliver([(Party::Operator, Input::Command(command))]);
    }

    /// How many messages there were.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The operator's state as bytes: equal bytes, equal histories.
    pub fn digest(&self) -> Vec<u8> {
        self.operator.snapshot().encode()
    }

    /// From nothing to live channels: everything is signed, and the funding is confirmed.
    pub fn open(&mut self) {
        self.command(Command::Open);
        let funding = self.operator.transaction(TxName::Funding).expect("the operator has signed it").clone();
        for height in 1..=self.offer.confirmations {
            let txs = if height == 1 { vec![funding.transaction().clone()] } else { Vec::new() };
            let block = Input::Block(Block { height, txs });
            let everybody = (0..self.members.len() as u32).map(Party::Member).chain([Party::Operator]);
            self.deliver(everybody.map(|party| (party, block.clone())).collect::<Vec<_>>());
        }
        assert_eq!(self.operator.phase(), Phase::Live);
    }

    /// The operator pays `amount` to each of the members `to`.
    pub fn pay(&mut self, to: std::ops::Range<u32>, amount: Amount) {
        let change = Change::Pay { amount };
        let pay = |member| (Party::Operator, Input::Command(Command::Update { with: Party::Member(member), change }));
        self.deliver(to.map(pay).collect::<Vec<_>>());
    }

    /// Signs every channel's close.
    pub fn sign_closes(&mut self) {
        self.command(Command::SignCloses);
        assert_eq!(self.operator.phase(), Phase::ClosesSigned);
    }

    /// Signs every channel's close, and then the factory close.
    pub fn close(&mut self) {
        self.sign_closes();
        self.command(Command::SignFactoryClose);
        assert_eq!(self.operator.phase(), Phase::FactoryCloseSigned);
        let held = self.operator.transaction(TxName::FactoryClose(0)).expect("the operator holds the factory close");
        assert_eq!(held.transaction().output.len(), self.members.len() + 1);
        // Its witness is good for this transaction alone. To put both together anew for each member would take longer than
        // all that is measured.
        for member in &self.members {
            let close = member.transaction(TxName::FactoryClose(0)).expect("every member holds the factory close");
            assert_eq!(close.witness(), held.witness());
        }
    }

    /// A whole factory: opened, one payment in each channel, and closed.
    pub fn lifecycle(&mut self) {
        self.open();
        self.pay(0..self.members.len() as u32, Amount::from_sat(100_000));
        self.close();
    }
}

fn new_operator(keys: &OperatorKeys, wallet: &Wallet, offer: &Offer, members: usize) -> Operator {
    let txid = Txid::from_raw_hash(bitcoin::hashes::Hash::all_zeros());
    let coin = Coin { outpoint: OutPoint::new(txid, 0), value: Amount::MAX_MONEY };
    let capacities = vec![CAPACITY; members];
    Operator::new(keys.clone(), wallet.clone(), vec![coin], offer.clone(), capacities, offer.feerate)
}

fn new_member(keys: &[MemberKeys], offer: &Offer, index: u32) -> Member {
    let agreement = Agreement { offer: offer.clone(), capacity: CAPACITY };
    Member::new(index, keys[index as usize].clone(), agreement)
}
