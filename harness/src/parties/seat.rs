//! One party, with what only it has: its state machine, its randomness, what it has stored.

use std::collections::BTreeSet;
use std::sync::Arc;

use bitcoin::{Amount, OutPoint, ScriptBuf};
use factory_core::protocol::{Agreement, ChannelEnd, Effect, Input, Key, Member, Operator, ProtocolError, Snapshot};
use factory_core::tx::Complete;
use factory_core::tx::funding::Coin;
use factory_core::{Factory, MemberKeys, Offer, OperatorKeys, Party, TxName, Wallet};
use rand_chacha::ChaCha20Rng;

use crate::scenario::{Crash, MessageKind, Moment, Stored};
use crate::seed;

/// A party and its place.
#[derive(Debug)]
pub(super) struct Seat {
    origin: Origin,
    machine: Machine,
    random: ChaCha20Rng,
    payout: ScriptBuf,
    seed: u64,
    /// How often it has been started.
    lives: u32,
    /// What it has stored; nothing is kept of a party that never crashes.
    store: Option<Snapshot>,
    /// The crashes that are still to come.
    dooms: Vec<Crash>,
    /// Whether it neither sees the chain nor does anything.
    pub(super) away: bool,
    /// Whether it has lost what it had in memory, and was not started again.
    pub(super) crashed: bool,
}

/// What comes of an input.
#[derive(Debug)]
pub(super) struct Reaction {
    /// What the party wants done, in this order.
    pub(super) effects: Vec<Effect>,
    /// The moment at which it crashed, if it did: after all of that.
    pub(super) crash: Option<Moment>,
}

/// What a party is made of before anything happens to it: nothing that it would have to store.
#[derive(Debug)]
enum Origin {
    Operator(Box<OperatorOrigin>),
    Member(Box<MemberOrigin>),
}

#[derive(Debug)]
struct MemberOrigin {
    index: u32,
    keys: MemberKeys,
    agreement: Agreement,
}

#[derive(Debug)]
struct OperatorOrigin {
    keys: OperatorKeys,
    wallet: Wallet,
    coins: Vec<Coin>,
    offer: Offer,
    capacities: Vec<Amount>,
}

#[derive(Debug)]
enum Machine {
    Operator(Box<Operator>),
    Member(Box<Member>),
}

/// Applies the same to whichever party it is.
macro_rules! either {
    ($machine:expr, $party:ident => $what:expr) => {
        match $machine {
            Machine::Operator($party) => $what,
            Machine::Member($party) => $what,
        }
    };
}

impl Origin {
    fn machine(&self) -> Machine {
        match self {
            Origin::Operator(origin) => {
                let OperatorOrigin { keys, wallet, coins, offer, capacities } = &**origin;
                let (keys, wallet, coins) = (keys.clone(), wallet.clone(), coins.clone());
                let feerate = offer.feerate;
                let operator = Operator::new(keys, wallet, coins, offer.clone(), capacities.clone(), feerate);
                Machine::Operator(Box::new(operator))
            }
            Origin::Member(origin) => {
                let MemberOrigin { index, keys, agreement } = &**origin;
                Machine::Member(Box::new(Member::new(*index, keys.clone(), agreement.clone())))
            }
        }
    }

    fn restored(&self, store: &Snapshot) -> Result<Machine, ProtocolError> {
        match self.machine() {
            Machine::Operator(operator) => Ok(Machine::Operator(Box::new(operator.restore(store)?))),
            Machine::Member(member) => Ok(Machine::Member(Box::new(member.restore(store)?))),
        }
    }
}

impl Seat {
    /// The operator, who funds the factory out of `wallet`, which holds `coins`.
    pub(super) fn operator(seed: u64, wallet: Wallet, coins: Vec<Coin>, offer: Offer, capacities: Vec<Amount>) -> Self {
        let (keys, random) = operator_keys(seed);
        let payout = keys.payout.clone();
        let origin = OperatorOrigin { keys, wallet, coins, offer, capacities };
        Seat::new(seed, Origin::Operator(Box::new(origin)), random, payout)
    }

    /// A member.
    pub(super) fn member(seed: u64, index: u32, offer: Offer, capacity: Amount) -> Self {
        let (keys, random) = member_keys(seed, index);
        let payout = keys.payout.clone();
        let origin = MemberOrigin { index, keys, agreement: Agreement { offer, capacity } };
        Seat::new(seed, Origin::Member(Box::new(origin)), random, payout)
    }

    fn new(seed: u64, origin: Origin, random: ChaCha20Rng, payout: ScriptBuf) -> Self {
        let machine = origin.machine();
        let (dooms, store) = (Vec::new(), None);
        Seat { origin, machine, random, payout, seed, lives: 1, store, dooms, away: false, crashed: false }
    }

    pub(super) fn party(&self) -> Party {
        match self.origin {
            Origin::Operator(_) => Party::Operator,
            Origin::Member(ref origin) => Party::Member(origin.index),
        }
    }

    /// From now on what it stores is kept.
    pub(super) fn keep_store(&mut self) {
        self.store.get_or_insert_default();
    }

    pub(super) fn payout(&self) -> &ScriptBuf {
        &self.payout
    }

    /// Takes inputs in their order, as long as it does not crash. What it stores is stored when this returns. Tells what
    /// came of each input.
    pub(super) fn handle(&mut self, inputs: Vec<Input>) -> Vec<Result<Reaction, ProtocolError>> {
        // Steps in different channels can be taken on different cores. Whoever may crash between two of them takes them one
        // after the other, so that each finds what was stored before.
        if let (Machine::Operator(operator), None) = (&mut self.machine, &self.store) {
            let effects = operator.handle_all(inputs, &mut self.random);
            return effects.into_iter().map(|effects| Ok(self.live_through(effects?))).collect();
        }
        let mut reactions = Vec::with_capacity(inputs.len());
        for input in inputs {
            if self.crashed {
                break;
            }
            let random = &mut self.random;
            let effects = either!(&mut self.machine, party => party.handle(input, random));
            reactions.push(effects.map(|effects| self.live_through(effects)));
        }
        reactions
    }

    /// Stores what is to be stored, and crashes where it is doomed to: nothing after that comes about.
    fn live_through(&mut self, mut effects: Vec<Effect>) -> Reaction {
        let mut crash = None;
        for (index, effect) in effects.iter().enumerate() {
            let (before, after) = match effect {
                Effect::Send { message, .. } => {
                    let kind = MessageKind::of(message);
                    (Moment::BeforeSending(kind), Moment::AfterSending(kind))
                }
                Effect::Persist(key) => storing(*key),
                _ => continue,
            };
            if self.is_doomed(before) {
                crash = Some((before, index));
                break;
            }
            if let Effect::Persist(key) = effect {
                self.persist(*key);
            }
            if self.is_doomed(after) {
                crash = Some((after, index + 1));
                break;
            }
        }
        if let Some((_, kept)) = crash {
            effects.truncate(kept);
            self.crash();
        }
        Reaction { effects, crash: crash.map(|(moment, _)| moment) }
    }

    pub(super) fn channel(&self, member: u32) -> Option<&ChannelEnd> {
        either!(&self.machine, party => party.channel(member))
    }

    pub(super) fn factory(&self) -> Option<&Arc<Factory>> {
        either!(&self.machine, party => party.factory())
    }

    pub(super) fn transaction(&self, name: TxName) -> Option<&Arc<Complete>> {
        either!(&self.machine, party => party.transaction(name))
    }

    pub(super) fn watched(&self) -> Vec<OutPoint> {
        either!(&self.machine, party => party.watched())
    }

    pub(super) fn catch_up_until(&mut self, height: u32) {
        either!(&mut self.machine, party => party.catch_up_until(height));
    }

    /// Stores a record, as it is now.
    fn persist(&mut self, key: Key) {
        if let Some(store) = &mut self.store
            && let Some(record) = either!(&self.machine, party => party.record(key))
        {
            store.put(key, record);
        }
    }

    /// It will crash at a moment that is still to come.
    pub(super) fn doom(&mut self, crash: Crash) {
        self.dooms.push(crash);
    }

    /// Whether the moment of a crash is there. A crash comes once.
    fn is_doomed(&mut self, moment: Moment) -> bool {
        let place = self.dooms.iter().position(|crash| crash.at == moment);
        place.map(|place| self.dooms.remove(place)).is_some()
    }

    /// The crashes that never came.
    pub(super) fn dooms(&self) -> &[Crash] {
        &self.dooms
    }

    /// It loses what it has in memory.
    pub(super) fn crash(&mut self) {
        self.machine = self.origin.machine();
        self.crashed = true;
        self.away = true;
    }

    /// It is started again, with what it has stored, and with random numbers that it has never drawn before.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`], if it cannot read what it has stored.
    pub(super) fn start_again(&mut self) -> Result<(), ProtocolError> {
        self.lives += 1;
        self.random = seed::stream(self.seed, &format!("{}/life-{}", self.party(), self.lives));
        self.machine = self.origin.restored(self.store.as_ref().unwrap_or(&Snapshot::default()))?;
        self.crashed = false;
        Ok(())
    }
}

/// The operator's keys, and its random numbers after them.
pub(crate) fn operator_keys(seed: u64) -> (OperatorKeys, ChaCha20Rng) {
    let (mut random, payout) = start(seed, Party::Operator);
    (OperatorKeys::generate(&mut random, payout), random)
}

/// A member's keys, and its random numbers after them.
pub(crate) fn member_keys(seed: u64, index: u32) -> (MemberKeys, ChaCha20Rng) {
    let (mut random, payout) = start(seed, Party::Member(index));
    (MemberKeys::generate(&mut random, payout), random)
}

/// Where a party's final balance goes, with the key that spends it.
pub(crate) fn payout_wallet(seed: u64, party: Party) -> Wallet {
    Wallet::generate(&mut seed::stream(seed, &party.to_string()))
}

/// A party's random numbers after the key of its [`payout_wallet`], and where its final balance goes.
fn start(seed: u64, party: Party) -> (ChaCha20Rng, ScriptBuf) {
    let mut random = seed::stream(seed, &party.to_string());
    let payout = Wallet::generate(&mut random).script_pubkey().clone();
    (random, payout)
}

/// Who crashes at some point of a scenario.
pub(super) fn crashing(steps: &[crate::scenario::Step]) -> BTreeSet<Party> {
    let crash = |step: &crate::scenario::Step| match step {
        crate::scenario::Step::Crash(crash) => Some(crash.party.0),
        _ => None,
    };
    steps.iter().filter_map(crash).collect()
}

/// The moments before and after a record is stored.
fn storing(key: Key) -> (Moment, Moment) {
    let record = Stored::of(key);
    (Moment::BeforeStoring(record), Moment::AfterStoring(record))
}
