//! One party in a simulation: its state machine, what it has stored, its random numbers, and what it will be restored
//! from after a crash.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bitcoin::{FeeRate, OutPoint, Transaction};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::audit::Violation;
use super::plan::{Behaviour, Plan};
use crate::channel::State;
use crate::factory::Factory;
use crate::keys::{MemberKeys, OperatorKeys, Wallet};
use crate::name::{Party, TxName};
use crate::protocol::{
    Agreement, Block, ChannelEnd, Effect, Event, Input, Key, Member, Operator, Phase, ProtocolError, Snapshot,
};
use crate::tx::Complete;
use crate::tx::funding::Coin;

/// A party's state machine.
#[derive(Debug)]
pub(super) enum Machine {
    Operator(Box<Operator>),
    Member(Box<Member>),
}

/// What a state machine is made of, and made of again after a crash.
#[derive(Clone, Debug)]
enum Origin {
    Operator { keys: OperatorKeys, wallet: Wallet, coin: Coin },
    Member { index: u32, keys: MemberKeys },
}

#[derive(Debug)]
pub(super) struct Seat {
    pub(super) party: Party,
    pub(super) behaviour: Behaviour,
    pub(super) machine: Machine,
    pub(super) store: Snapshot,
    pub(super) rng: ChaCha20Rng,
    /// How many messages it has taken in.
    pub(super) handled: u32,
    /// How many effects it has carried out.
    pub(super) effects: u64,
    pub(super) confirmed: BTreeSet<TxName>,
    /// How often it gave the factory up, or went on chain.
    pub(super) fallbacks: u32,
    /// Refunds that it has held, by their channels: a liar publishes old ones.
    pub(super) refunds: BTreeMap<u32, Vec<Arc<Complete>>>,
    /// What it watches on the chain, as it has said so; after a crash, as it says when it is asked.
    pub(super) watched: HashSet<OutPoint>,
    origin: Origin,
    incarnation: u64,
    seed: u64,
}

impl Seat {
    pub(super) fn operator(plan: &Plan, wallet: Wallet, coin: Coin, rng: &mut ChaCha20Rng) -> Self {
        let payout = Wallet::generate(rng).script_pubkey().clone();
        let origin = Origin::Operator { keys: OperatorKeys::generate(rng, payout), wallet, coin };
        Seat::new(plan, Party::Operator, origin)
    }

    pub(super) fn member(plan: &Plan, index: u32, rng: &mut ChaCha20Rng) -> Self {
        let payout = Wallet::generate(rng).script_pubkey().clone();
        let origin = Origin::Member { index, keys: MemberKeys::generate(rng, payout) };
        Seat::new(plan, Party::Member(index), origin)
    }

    fn new(plan: &Plan, party: Party, origin: Origin) -> Self {
        let slot = match party {
            Party::Operator => 0,
            Party::Member(member) => member as usize + 1,
        };
        let seed = plan.seed ^ (slot as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Seat {
            party,
            behaviour: plan.behaviours[slot],
            machine: origin.machine(plan),
            store: Snapshot::default(),
            rng: stream(seed, 0),
            handled: 0,
            effects: 0,
            confirmed: BTreeSet::new(),
            fallbacks: 0,
            refunds: BTreeMap::new(),
            watched: HashSet::new(),
            origin,
            incarnation: 0,
            seed,
        }
    }

    /// Forgets all but what is stored. The random numbers that follow are others than those before.
    pub(super) fn restart(&mut self, plan: &Plan, tip: u32) -> Result<(), Violation> {
        self.incarnation += 1;
        self.rng = stream(self.seed, self.incarnation);
        // What is stored is bytes: nothing else survives.
        self.store = Snapshot::decode(&self.store.encode()).map_err(|error| self.violation(&error))?;
        self.machine = self.stored(plan)?;
        let watched = match &mut self.machine {
            Machine::Operator(operator) => {
                operator.catch_up_until(tip);
                operator.watched()
            }
            Machine::Member(member) => {
                member.catch_up_until(tip);
                member.watched()
            }
        };
        self.watched = watched.into_iter().collect();
        Ok(())
    }

    /// What a block shows it: what creates or spends what it watches.
    pub(super) fn see(&self, block: &Block) -> Block {
        let concerns = |tx: &&Arc<Transaction>| {
            let txid = tx.compute_txid();
            tx.input.iter().any(|input| self.watched.contains(&input.previous_output))
                || (0..tx.output.len() as u32).any(|vout| self.watched.contains(&OutPoint::new(txid, vout)))
        };
        Block { height: block.height, txs: block.txs.iter().filter(concerns).cloned().collect() }
    }

    /// The party as it would be after a crash now.
    pub(super) fn stored(&self, plan: &Plan) -> Result<Machine, Violation> {
        let restored = match self.origin.machine(plan) {
            Machine::Operator(operator) => {
                operator.restore(&self.store).map(|operator| Machine::Operator(Box::new(operator)))
            }
            Machine::Member(member) => member.restore(&self.store).map(|member| Machine::Member(Box::new(member))),
        };
        restored.map_err(|error| self.violation(&error))
    }

    fn violation(&self, error: &impl ToString) -> Violation {
        Violation::NotRestored { party: self.party, error: error.to_string() }
    }

    pub(super) fn handle(&mut self, input: Input) -> Result<Vec<Effect>, ProtocolError> {
        match &mut self.machine {
            Machine::Operator(operator) => operator.handle(input, &mut self.rng),
            Machine::Member(member) => member.handle(input, &mut self.rng),
        }
    }

    pub(super) fn persist(&mut self, key: Key) {
        let record = match &self.machine {
            Machine::Operator(operator) => operator.record(key),
            Machine::Member(member) => member.record(key),
        };
        if let Some(record) = record {
            self.store.put(key, record);
        }
    }

    pub(super) fn report(&mut self, event: &Event) {
        match event {
            Event::Confirmed(name) => {
                self.confirmed.insert(*name);
            }
            Event::FellBack { .. } | Event::Aborted { .. } => self.fallbacks += 1,
            Event::Updated { channel, .. } | Event::Complete(TxName::Refund(channel, 0)) => {
                let refund = self.channel(*channel).and_then(ChannelEnd::refund).cloned();
                self.refunds.entry(*channel).or_default().extend(refund);
            }
            _ => {}
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match &self.machine {
            Machine::Operator(operator) => operator.phase(),
            Machine::Member(member) => member.phase(),
        }
    }

    pub(super) fn height(&self) -> u32 {
        match &self.machine {
            Machine::Operator(operator) => operator.height(),
            Machine::Member(member) => member.height(),
        }
    }

    pub(super) fn factory(&self) -> Option<&Arc<Factory>> {
        match &self.machine {
            Machine::Operator(operator) => operator.factory(),
            Machine::Member(member) => member.factory(),
        }
    }

    pub(super) fn channel(&self, member: u32) -> Option<&ChannelEnd> {
        match &self.machine {
            Machine::Operator(operator) => operator.channel(member),
            Machine::Member(machine) => machine.channel(member),
        }
    }

    pub(super) fn payout(&self) -> &bitcoin::ScriptBuf {
        match &self.origin {
            Origin::Operator { keys, .. } => &keys.payout,
            Origin::Member { keys, .. } => &keys.payout,
        }
    }

    /// Whether it hears and says anything any more.
    pub(super) fn talks(&self) -> bool {
        match self.behaviour {
            Behaviour::Silent { after } | Behaviour::Gone { after } => self.handled < after,
            Behaviour::Honest | Behaviour::Liar => true,
        }
    }

    /// Whether it follows the chain and publishes anything any more.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self.behaviour, Behaviour::Gone { after } if self.handled >= after)
    }

    /// Whether what the protocol promises is promised to it.
    pub(super) fn is_protected(&self) -> bool {
        matches!(self.behaviour, Behaviour::Honest | Behaviour::Silent { .. })
    }
}

impl Machine {
    /// Whether the party knows that it has signed a state of a channel.
    pub(super) fn holds_released(&self, channel: u32, state: &State) -> bool {
        let end = match self {
            Machine::Operator(operator) => operator.channel(channel),
            Machine::Member(member) => member.channel(channel),
        };
        end.is_some_and(|end| end.released().any(|released| released == state))
    }

    /// A transaction that the party holds complete.
    pub(super) fn transaction(&self, name: TxName) -> Option<&Arc<Complete>> {
        match self {
            Machine::Operator(operator) => operator.transaction(name),
            Machine::Member(member) => member.transaction(name),
        }
    }
}

impl Origin {
    fn machine(&self, plan: &Plan) -> Machine {
        match self.clone() {
            Origin::Operator { keys, wallet, coin } => {
                let feerate = FeeRate::from_sat_per_vb_u32(2);
                let capacities = plan.capacities.clone();
                let operator = Operator::new(keys, wallet, vec![coin], plan.offer.clone(), capacities, feerate);
                Machine::Operator(Box::new(operator))
            }
            Origin::Member { index, keys } => {
                let agreement = Agreement { offer: plan.offer.clone(), capacity: plan.capacities[index as usize] };
                Machine::Member(Box::new(Member::new(index, keys, agreement)))
            }
        }
    }
}

fn stream(seed: u64, incarnation: u64) -> ChaCha20Rng {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    rng.set_stream(incarnation);
    rng
}
