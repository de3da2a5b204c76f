//! Plays one lifecycle out.

use std::collections::BTreeMap;

use bitcoin::{Amount, FeeRate, TxOut};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::audit::{Audit, Book, Violation};
use super::ledger::Ledger;
use super::plan::{Behaviour, Plan};
use super::seat::Seat;
use super::verdict::{self, Outcome};
use super::{lie, seat};
use crate::channel::{Change, hash_of};
use crate::keys::Wallet;
use crate::name::{Party, TxName};
use crate::protocol::{
    Block, Body, ChannelEnd, Command, Effect, Event, Exchange, Input, Joint, Key, Message, Phase, Step,
};
use crate::tx::funding::Coin;

/// The height of the chain when a lifecycle begins.
const START: u32 = 100;
/// No lifecycle needs so many blocks: a member waits longest for a funding that never comes.
const MOST_BLOCKS: u32 = 400;

/// After so many blocks users no longer wait for a factory to be wound up.
const PATIENT_BLOCKS: u32 = 120;

/// Reorganisations are never deeper.
const MOST_REORGANISED: u32 = 2;

/// Where a party crashes: before it carries out its effect number `effect`, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CrashPoint {
    /// Who.
    pub party: Party,
    /// Before which of the effects of its whole life.
    pub effect: u64,
}

/// A message under way.
#[derive(Clone, Debug)]
struct Envelope {
    from: Party,
    to: Party,
    message: Message,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) ledger: Ledger,
    /// The operator, then the members.
    pub(super) seats: Vec<Seat>,
    pub(super) blocks: u32,
    pub(super) messages: u64,
    pub(super) crashes: u32,
    pub(super) wrong_shares: u32,
    pub(super) refused: u32,
    rng: ChaCha20Rng,
    under_way: Vec<Envelope>,
    audit: Audit,
    pub(super) book: Book,
    updates_left: u32,
    /// The preimages of all HTLCs, by their hashes.
    secrets: BTreeMap<[u8; 32], [u8; 32]>,
    /// What a liar has sent.
    earlier: Vec<Message>,
    crash_at: Option<CrashPoint>,
    /// Where effects that count for the crash matrix were carried out.
    marks: Vec<CrashPoint>,
}

/// Plays `plan` out.
///
/// # Errors
///
/// [`Violation`], if something happens that must never happen.
pub fn run(plan: Plan) -> Result<Outcome, Violation> {
    World::new(plan, None).play()
}

/// Plays `plan` out, with one crash more.
///
/// # Errors
///
/// [`Violation`], if something happens that must never happen.
pub fn run_with_crash(plan: Plan, crash: CrashPoint) -> Result<Outcome, Violation> {
    World::new(plan, Some(crash)).play()
}

/// Where a crash can make a difference in `plan`: before and after each order to store something and each message, of
/// every party.
///
/// # Errors
///
/// [`Violation`], if something happens that must never happen, even without a crash.
pub fn crash_points(plan: Plan) -> Result<Vec<CrashPoint>, Violation> {
    let mut world = World::new(plan, None);
    world.play_on()?;
    let after = world.marks.iter().map(|mark| CrashPoint { effect: mark.effect + 1, ..*mark });
    let mut points: Vec<_> = after.chain(world.marks.iter().copied()).collect();
    points.sort_unstable();
    points.dedup();
    Ok(points)
}

impl World {
    fn new(plan: Plan, crash_at: Option<CrashPoint>) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(!plan.seed);
        let mut ledger = Ledger::new(START, FeeRate::from_sat_per_vb_u32(1));
        let wallet = Wallet::generate(&mut rng);
        let value = plan.capacities.iter().copied().sum::<Amount>() + Amount::from_sat(100_000);
        let outpoint = ledger.mint(TxOut { value, script_pubkey: wallet.script_pubkey().clone() });
        let mut seats = vec![Seat::operator(&plan, wallet, Coin { outpoint, value }, &mut rng)];
        seats.extend((0..plan.capacities.len() as u32).map(|member| Seat::member(&plan, member, &mut rng)));
        World {
            updates_left: plan.updates,
            plan,
            ledger,
            seats,
            blocks: 0,
            messages: 0,
            crashes: 0,
            wrong_shares: 0,
            refused: 0,
            rng,
            under_way: Vec::new(),
            audit: Audit::default(),
            book: Book::default(),
            secrets: BTreeMap::new(),
            earlier: Vec::new(),
            crash_at,
            marks: Vec::new(),
        }
    }

    fn play(mut self) -> Result<Outcome, Violation> {
        self.play_on()?;
        verdict::judge(&self)
    }

    fn play_on(&mut self) -> Result<(), Violation> {
        for slot in 0..self.seats.len() {
            self.input(slot, Input::Block(Block { height: START, txs: Vec::new() }))?;
        }
        self.input(0, Input::Command(Command::Open))?;
        while !self.is_over() {
            if self.blocks >= MOST_BLOCKS {
                let stuck = self.seats.iter().find(|seat| !is_done(seat));
                let (party, phase) = stuck.map_or((Party::Operator, Phase::New), |seat| (seat.party, seat.phase()));
                return Err(Violation::Stuck { party, phase, blocks: self.blocks });
            }
            let hasty = self.chance(self.plan.faults.haste);
            if !self.under_way.is_empty() && !hasty {
                if self.below(4) == 0 {
                    self.act()?;
                } else {
                    self.deliver()?;
                }
            } else if hasty || !self.act()? {
                self.mine()?;
            }
        }
        Ok(())
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit
    }

    fn chance(&mut self, of_thousand: u64) -> bool {
        of_thousand > 0 && self.below(1000) < of_thousand
    }

    /// Whether every party that is still there has come to its end.
    fn is_over(&self) -> bool {
        let operator = &self.seats[0];
        let nobody_asks = !operator.is_there() || operator.phase() >= Phase::Closed;
        self.seats.iter().all(|seat| is_done(seat) || (nobody_asks && seat.phase() == Phase::New))
    }

    fn slot(party: Party) -> usize {
        match party {
            Party::Operator => 0,
            Party::Member(member) => member as usize + 1,
        }
    }

    /// Gives one party one input, and carries out what it wants done.
    fn input(&mut self, slot: usize, input: Input) -> Result<(), Violation> {
        let seat = &mut self.seats[slot];
        if !seat.is_there() {
            return Ok(());
        }
        let input = match input {
            Input::Block(block) => Input::Block(seat.see(&block)),
            other => other,
        };
        let effects = match seat.handle(input) {
            Ok(effects) => effects,
            Err(_) => {
                self.refused += 1;
                return Ok(());
            }
        };
        for effect in effects {
            let seat = &mut self.seats[slot];
            let here = CrashPoint { party: seat.party, effect: seat.effects };
            if matches!(effect, Effect::Persist(_) | Effect::Send { .. }) {
                self.marks.push(here);
            }
            if self.crash_at == Some(here) {
                self.crash_at = None;
                return self.crash(slot);
            }
            self.seats[slot].effects += 1;
            if self.chance(self.plan.faults.crash / 10) {
                return self.crash(slot);
            }
            self.carry_out(slot, effect)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, slot: usize, effect: Effect) -> Result<(), Violation> {
        let seat = &mut self.seats[slot];
        match effect {
            Effect::Persist(key) => {
                seat.persist(key);
                let party = seat.party;
                if let Key::Channel(member) = key
                    && let Some(state) = seat.channel(member).and_then(ChannelEnd::agreed)
                {
                    self.book.agree(party, member, state);
                }
            }
            Effect::Send { to, message } => {
                let from = seat.party;
                if !seat.talks() {
                    return Ok(());
                }
                let liar = seat.behaviour == Behaviour::Liar;
                if !liar {
                    let channel = channel_between(from, to);
                    self.audit.sent(from, channel, &message)?;
                    self.signed(slot, channel, &message)?;
                }
                let message = if liar {
                    let twisted = lie::twist(message.clone(), &self.earlier, &mut self.rng);
                    self.earlier.push(message);
                    twisted
                } else {
                    Some(message)
                };
                self.under_way.extend(message.map(|message| Envelope { from, to, message }));
            }
            // A liar would rather see an old state confirmed.
            Effect::Broadcast { name: TxName::Refund(..), .. } if seat.behaviour == Behaviour::Liar => {}
            Effect::Broadcast { tx, .. } => {
                // What the ledger refuses is broadcast again with the next block.
                let _refusal = self.ledger.submit(tx.transaction());
            }
            Effect::Watch(outpoint) => {
                seat.watched.insert(outpoint);
            }
            Effect::Report(event) => {
                seat.report(&event);
                self.reported(slot, &event)?;
            }
        }
        Ok(())
    }

    /// Enters what an honest party signs with a message, and what it must have stored before.
    fn signed(&mut self, slot: usize, channel: u32, message: &Message) -> Result<(), Violation> {
        let seat = &self.seats[slot];
        let Message::About { body, .. } = message else { return Ok(()) };
        match body {
            Body::Channel(exchange) if matches!(**exchange, Exchange::Accept { .. }) => {
                let Some(state) = seat.channel(channel).and_then(|end| end.released().last()) else { return Ok(()) };
                // To restore a party takes its signatures' verification: a part of the lifecycles is enough.
                if self.plan.seed.is_multiple_of(4) && !seat.stored(&self.plan)?.holds_released(channel, state) {
                    return Err(Violation::NotStored { party: seat.party, number: state.number() });
                }
                self.book.release(seat.party, channel, state)
            }
            Body::Sign { joint: Joint::FactoryClose, step: Step::Shares(_), .. } => {
                let stored = seat.stored(&self.plan)?;
                let has = |tx| stored.transaction(tx).is_some();
                if has(TxName::Allocation) && has(TxName::Close(channel)) {
                    return Ok(());
                }
                Err(Violation::CloseWithoutFallback(seat.party))
            }
            _ => Ok(()),
        }
    }

    fn reported(&mut self, slot: usize, event: &Event) -> Result<(), Violation> {
        let Event::WrongShares { tx, culprits } = event else { return Ok(()) };
        self.wrong_shares += 1;
        // A liar's wrong nonce or aggregate can make an honest share wrong; without a liar nobody's is.
        let liars = self.seats.iter().any(|seat| seat.behaviour == Behaviour::Liar);
        match culprits.first() {
            Some(&blamed) if !liars => Err(Violation::WronglyBlamed { party: self.seats[slot].party, blamed, tx: *tx }),
            _ => Ok(()),
        }
    }

    /// A party loses all that it has not stored, starts again, and is shown what it has missed of the chain.
    fn crash(&mut self, slot: usize) -> Result<(), Violation> {
        self.crashes += 1;
        let tip = self.ledger.height();
        self.seats[slot].restart(&self.plan, tip)?;
        if slot == 0 && self.seats[0].factory().is_none() {
            // Its user asks for the factory again.
            self.input(0, Input::Command(Command::Open))?;
        }
        self.show_missed(slot)
    }

    fn show_missed(&mut self, slot: usize) -> Result<(), Violation> {
        // What it had stored may be of a branch that is no more: it is shown more than it has missed.
        let first = self.seats[slot].height().min(self.ledger.height()).saturating_sub(MOST_REORGANISED).max(START) + 1;
        for height in first..=self.ledger.height() {
            if let Some(block) = self.ledger.block(height).cloned() {
                self.input(slot, Input::Block(block))?;
            }
        }
        Ok(())
    }

    /// Delivers one message, or loses it, or does so twice.
    fn deliver(&mut self) -> Result<(), Violation> {
        let faults = self.plan.faults;
        let chosen = self.below(self.under_way.len() as u64) as usize;
        let link = |envelope: &Envelope| (envelope.from, envelope.to);
        let on = link(&self.under_way[chosen]);
        // A link keeps the order of its messages, unless one overtakes.
        let index = if self.chance(faults.overtaking) {
            chosen
        } else {
            self.under_way.iter().position(|envelope| link(envelope) == on).unwrap_or(chosen)
        };
        let envelope =
            if self.chance(faults.doubling) { self.under_way[index].clone() } else { self.under_way.remove(index) };
        if self.chance(faults.loss) {
            return Ok(());
        }
        let slot = World::slot(envelope.to);
        if !self.seats[slot].talks() {
            return Ok(());
        }
        self.messages += 1;
        self.seats[slot].handled += 1;
        let message = if self.plan.wire {
            Message::decode(&envelope.message.encode())
                .map_err(|error| Violation::Unsettled(format!("a message does not survive its encoding: {error}")))?
        } else {
            envelope.message
        };
        self.input(slot, Input::Message { from: envelope.from, message })
    }

    fn mine(&mut self) -> Result<(), Violation> {
        self.publish_old_states();
        let depth = 1 + self.below(u64::from(MOST_REORGANISED)) as u32;
        if self.blocks > depth && self.chance(self.plan.faults.reorg) && self.ledger.reorg(depth).is_ok() {
            // The branch that takes their place is one block longer.
            for _ in 0..depth {
                self.mine_one()?;
            }
        }
        self.mine_one()
    }

    fn mine_one(&mut self) -> Result<(), Violation> {
        self.blocks += 1;
        let block = self.ledger.mine();
        for slot in 0..self.seats.len() {
            self.input(slot, Input::Block(block.clone()))?;
        }
        Ok(())
    }

    /// A liar offers every refund that it has held, but the newest.
    fn publish_old_states(&mut self) {
        let liars = self.seats.iter().filter(|seat| seat.behaviour == Behaviour::Liar);
        for refunds in liars.flat_map(|seat| seat.refunds.values()) {
            for refund in &refunds[..refunds.len().saturating_sub(1)] {
                let _refusal = self.ledger.submit(refund.transaction());
            }
        }
    }

    /// Some user does something. Says whether there was anything to do.
    fn act(&mut self) -> Result<bool, Violation> {
        if self.blocks > PATIENT_BLOCKS {
            // Whoever has nobody to wind up with would wait for ever, by right: nothing runs out in an open channel.
            let waits = |seat: &Seat| matches!(seat.phase(), Phase::Live | Phase::ClosesSigned) && !is_done(seat);
            if let Some(slot) = self.seats.iter().position(waits) {
                self.input(slot, Input::Command(Command::FallBack))?;
                return Ok(true);
            }
        }
        if self.chance(self.plan.impatience) {
            let slot = self.below(self.seats.len() as u64) as usize;
            self.input(slot, Input::Command(Command::FallBack))?;
            return Ok(true);
        }
        let operator = &self.seats[0];
        if !operator.talks() {
            return Ok(false);
        }
        match operator.phase() {
            Phase::Live if self.updates_left > 0 => {
                self.updates_left -= 1;
                self.update()?;
                Ok(true)
            }
            Phase::Live => self.wind_up(),
            Phase::ClosesSigned => {
                self.input(0, Input::Command(Command::SignFactoryClose))?;
                Ok(true)
            }
            Phase::FactoryCloseSigned if self.seats[0].handled.is_multiple_of(2) && !self.is_published() => {
                self.input(0, Input::Command(Command::Publish(TxName::FactoryClose(0))))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn is_published(&self) -> bool {
        let close = match &self.seats[0].machine {
            seat::Machine::Operator(operator) => operator.transaction(TxName::FactoryClose(0)),
            seat::Machine::Member(_) => None,
        };
        close
            .is_none_or(|close| self.ledger.in_mempool(&close.txid()) || self.ledger.confirmed(&close.txid()).is_some())
    }

    /// A payment, or an HTLC is added, taken or failed.
    fn update(&mut self) -> Result<(), Violation> {
        let member = self.below(self.plan.capacities.len() as u64) as u32;
        let (by, with) = if self.below(3) == 0 {
            (Party::Member(member), Party::Operator)
        } else {
            (Party::Operator, Party::Member(member))
        };
        let slot = World::slot(by);
        let amount = Amount::from_sat(1 + self.below(20_000));
        let change = match self.below(3) {
            0 => {
                let mut preimage = [0; 32];
                self.rng.fill_bytes(&mut preimage);
                let hash = hash_of(&preimage);
                self.secrets.insert(hash, preimage);
                let expiry = self.ledger.height() + 30 + self.below(30) as u32;
                Change::AddHtlc { amount, hash, expiry }
            }
            _ => Change::Pay { amount },
        };
        self.input(slot, Input::Command(Command::Update { with, change }))
    }

    /// Resolves pending HTLCs, and then has the closes signed.
    fn wind_up(&mut self) -> Result<bool, Violation> {
        for member in 0..self.plan.capacities.len() as u32 {
            for (by, with) in [(Party::Operator, Party::Member(member)), (Party::Member(member), Party::Operator)] {
                let seat = &self.seats[World::slot(by)];
                let Some(end) = seat.channel(member).filter(|_| seat.talks()) else { continue };
                let pending = end.agreed().and_then(|state| state.htlcs().iter().find(|htlc| htlc.offerer != by));
                let Some(htlc) = pending.filter(|_| end.released().next().is_none()).cloned() else { continue };
                // A few are left to expire.
                let command = match htlc.hash[0] % 8 {
                    0 => continue,
                    1..=5 => Command::Claim { with, id: htlc.id, preimage: self.secrets[&htlc.hash] },
                    _ => Command::Update { with, change: Change::FailHtlc { id: htlc.id } },
                };
                let busy = self.under_way.iter().any(|envelope| channel_between(envelope.from, envelope.to) == member);
                if !busy {
                    let before = self.under_way.len();
                    self.input(World::slot(by), Input::Command(command))?;
                    if self.under_way.len() > before {
                        return Ok(true);
                    }
                }
            }
        }
        let before = self.seats[0].phase();
        self.input(0, Input::Command(Command::SignCloses))?;
        Ok(self.seats[0].phase() != before)
    }
}

fn channel_between(from: Party, to: Party) -> u32 {
    match (from, to) {
        (Party::Member(member), _) | (_, Party::Member(member)) => member,
        (Party::Operator, Party::Operator) => 0,
    }
}

fn is_done(seat: &Seat) -> bool {
    !seat.is_there() || matches!(seat.phase(), Phase::Closed | Phase::Aborted) || seat.behaviour == Behaviour::Liar
}
