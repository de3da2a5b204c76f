//! The parties, and everything between them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use factory_core::protocol::{
    Agreement, Block, ChannelEnd, Command, Effect, Event, Input, Key, Member, Message, Operator, Phase, ProtocolError,
    Snapshot,
};
use factory_core::tx::funding::Coin;
use factory_core::{Change, MemberKeys, OperatorKeys, Party, TxName, Wallet, hash_of};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::bytes::Bytes;
use crate::mutate::{self, Donors};
use crate::stage::{CAPACITIES, Stage};

const START: u32 = 100;
/// No more transactions are kept for the blocks to come: one bit each chooses among them.
const MOST_TXS: usize = 32;
const MOST_UNDER_WAY: usize = 64;

/// A message under way, or one that was.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub from: Party,
    pub to: Party,
    pub message: Message,
}

#[derive(Debug)]
enum Machine {
    Operator(Box<Operator>),
    Member(Box<Member>),
}

#[derive(Debug)]
struct Seat {
    machine: Machine,
    store: Snapshot,
    rng: ChaCha20Rng,
    /// The state machine as text, where it is known.
    dump: Option<String>,
}

/// What there is besides the parties.
#[derive(Clone, Debug)]
pub struct Past {
    stage: Stage,
    stores: Vec<Snapshot>,
    height: u32,
    under_way: Vec<Envelope>,
    donors: Donors,
    /// What was ever broadcast or held complete.
    txs: Vec<Arc<Transaction>>,
    /// What was broadcast and is in no honest block yet.
    mempool: Vec<Arc<Transaction>>,
    /// What honest blocks have spent.
    spent: BTreeSet<OutPoint>,
    preimages: Vec<[u8; 32]>,
}

/// A factory's parties. Operator first.
#[derive(Debug)]
pub struct World {
    seats: Vec<Seat>,
    past: Past,
    restarts: u64,
}

fn slot(party: Party) -> usize {
    match party {
        Party::Operator => 0,
        Party::Member(member) => 1 + member as usize % CAPACITIES.len(),
    }
}

fn party(slot: usize) -> Party {
    slot.checked_sub(1).map_or(Party::Operator, |member| Party::Member(member as u32))
}

impl Machine {
    /// A new one. Its keys are the same every time.
    fn new(stage: Stage, party: Party) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(slot(party) as u64);
        let payout = Wallet::generate(&mut rng).script_pubkey().clone();
        match party {
            Party::Operator => {
                let keys = OperatorKeys::generate(&mut rng, payout);
                let outpoint = OutPoint::new(Txid::from_byte_array([7; 32]), 0);
                let coin = Coin { outpoint, value: Amount::from_sat(1_000_000) };
                let feerate = FeeRate::from_sat_per_vb_u32(2);
                let wallet = Wallet::generate(&mut rng);
                let operator = Operator::new(keys, wallet, vec![coin], stage.offer(), CAPACITIES.to_vec(), feerate);
                Machine::Operator(Box::new(operator))
            }
            Party::Member(index) => {
                let keys = MemberKeys::generate(&mut rng, payout);
                let agreement = Agreement { offer: stage.offer(), capacity: CAPACITIES[index as usize] };
                Machine::Member(Box::new(Member::new(index, keys, agreement)))
            }
        }
    }

    fn restore(self, snapshot: &Snapshot) -> Result<Self, ProtocolError> {
        Ok(match self {
            Machine::Operator(operator) => Machine::Operator(Box::new(operator.restore(snapshot)?)),
            Machine::Member(member) => Machine::Member(Box::new(member.restore(snapshot)?)),
        })
    }

    fn handle(&mut self, input: Input, rng: &mut ChaCha20Rng) -> Result<Vec<Effect>, ProtocolError> {
        match self {
            Machine::Operator(operator) => operator.handle(input, rng),
            Machine::Member(member) => member.handle(input, rng),
        }
    }

    fn record(&self, key: Key) -> Option<Vec<u8>> {
        match self {
            Machine::Operator(operator) => operator.record(key),
            Machine::Member(member) => member.record(key),
        }
    }

    fn snapshot(&self) -> Snapshot {
        match self {
            Machine::Operator(operator) => operator.snapshot(),
            Machine::Member(member) => member.snapshot(),
        }
    }

    fn phase(&self) -> Phase {
        match self {
            Machine::Operator(operator) => operator.phase(),
            Machine::Member(member) => member.phase(),
        }
    }

    fn height(&self) -> u32 {
        match self {
            Machine::Operator(operator) => operator.height(),
            Machine::Member(member) => member.height(),
        }
    }

    fn channel(&self, member: u32) -> Option<&ChannelEnd> {
        match self {
            Machine::Operator(operator) => operator.channel(member),
            Machine::Member(machine) => machine.channel(member),
        }
    }

    fn transaction(&self, name: TxName) -> Option<Arc<Transaction>> {
        let complete = match self {
            Machine::Operator(operator) => operator.transaction(name),
            Machine::Member(member) => member.transaction(name),
        };
        complete.map(|complete| complete.transaction().clone())
    }
}

impl World {
    /// Parties that have just begun.
    pub fn new(stage: Stage) -> Self {
        let past = Past {
            stage,
            stores: vec![Snapshot::default(); 1 + CAPACITIES.len()],
            height: START,
            under_way: Vec::new(),
            donors: Donors::default(),
            txs: Vec::new(),
            mempool: Vec::new(),
            spent: BTreeSet::new(),
            preimages: Vec::new(),
        };
        let mut world = World::of(past, 0);
        for slot in 0..world.seats.len() {
            let block = Block { height: START, txs: Vec::new() };
            world.give(party(slot), Input::Block(block)).expect("a party takes every block");
        }
        world
    }

    /// Parties that have come to `stage`, and were restarted there.
    pub fn at(stage: Stage) -> Self {
        World::of(stage.past().clone(), 1)
    }

    fn of(past: Past, restarts: u64) -> Self {
        let seat = |(slot, store): (usize, &Snapshot)| {
            let machine =
                Machine::new(past.stage, party(slot)).restore(store).expect("what was stored can be restored");
            // The random numbers after a restart are others than those before.
            let rng = ChaCha20Rng::seed_from_u64(1_000 * restarts + slot as u64);
            Seat { machine, store: store.clone(), rng, dump: None }
        };
        let seats = past.stores.iter().enumerate().map(seat).collect();
        World { seats, past, restarts }
    }

    pub fn into_past(mut self) -> Past {
        self.past.stores = self.seats.into_iter().map(|seat| seat.store).collect();
        self.past
    }

    /// What a party has stored.
    pub fn stored(&self, party: Party) -> Snapshot {
        self.seats[slot(party)].store.clone()
    }

    /// What was sent so far.
    pub fn sent(&self) -> impl Iterator<Item = &Message> {
        self.past.donors.sent().iter().map(|(_, message)| message)
    }

    pub fn phase(&self, party: Party) -> Phase {
        self.seats[slot(party)].machine.phase()
    }

    /// Gives a party an input, and carries out what it wants done.
    ///
    /// # Panics
    ///
    /// If a refused input has changed the party, if its phase has gone back other than from the end by a
    /// reorganisation, if an order to store something comes after a message, or if a message does not survive its
    /// encoding.
    pub fn give(&mut self, to: Party, input: Input) -> Result<(), ProtocolError> {
        // No block is ever refused, so there is nothing to compare with.
        let compared = !matches!(input, Input::Block(_));
        self.give_compared(to, input, compared)
    }

    /// Like [`World::give`]. The comparison costs more than all the rest, so it can be left out.
    fn give_compared(&mut self, to: Party, input: Input, compared: bool) -> Result<(), ProtocolError> {
        let seat = &mut self.seats[slot(to)];
        let before = seat.machine.phase();
        let is_block = matches!(input, Input::Block(_));
        let known = seat.dump.take();
        let dump = if compared { known.or_else(|| Some(format!("{:?}", seat.machine))) } else { None };
        let effects = match seat.machine.handle(input, &mut seat.rng) {
            Ok(effects) => effects,
            Err(error) => {
                if let Some(dump) = dump {
                    let after = format!("{:?}", seat.machine);
                    let differ = || difference(&dump, &after);
                    assert!(dump == after, "{to} has changed with what it refused: {error}\n{}", differ());
                    seat.dump = Some(dump);
                }
                return Err(error);
            }
        };
        let phase = seat.machine.phase();
        let reorganised = is_block && before == Phase::Closed && phase == Phase::OnChain;
        assert!(phase >= before || reorganised, "{to} goes back from `{before}` to `{phase}`");
        let mut sent = false;
        for effect in effects {
            let seat = &mut self.seats[slot(to)];
            match effect {
                Effect::Persist(key) => {
                    assert!(!sent, "{to} stores {key} after it has sent a message");
                    let record = seat.machine.record(key).expect("there is something to store");
                    seat.store.put(key, record);
                }
                Effect::Send { to: receiver, message } => {
                    sent = true;
                    self.past.donors.learn(to, &message);
                    if self.past.under_way.len() < MOST_UNDER_WAY {
                        self.past.under_way.push(Envelope { from: to, to: receiver, message });
                    }
                }
                Effect::Broadcast { tx, .. } => {
                    self.learn_tx(tx.transaction());
                    if self.past.mempool.len() < MOST_TXS {
                        self.past.mempool.push(tx.transaction().clone());
                    }
                }
                Effect::Report(Event::Updated { channel, state, .. }) => {
                    let refund = seat.machine.transaction(TxName::Refund(channel, state));
                    refund.iter().for_each(|tx| self.learn_tx(tx));
                }
                Effect::Report(Event::Complete(name)) => {
                    let held = seat.machine.transaction(name);
                    held.iter().for_each(|tx| self.learn_tx(tx));
                }
                Effect::Report(event) => drop(event.to_string()),
                Effect::Watch(_) => {}
            }
        }
        Ok(())
    }

    fn learn_tx(&mut self, tx: &Arc<Transaction>) {
        let txs = &mut self.past.txs;
        if txs.len() < MOST_TXS && !txs.iter().any(|known| known.compute_txid() == tx.compute_txid()) {
            txs.push(tx.clone());
        }
    }

    /// A command that has to be carried out.
    pub fn command(&mut self, party: Party, command: Command) {
        self.give(party, Input::Command(command)).expect("an honest command is carried out");
    }

    /// Delivers the first message. Says whether there was one.
    pub fn deliver_first(&mut self) -> bool {
        let there = !self.past.under_way.is_empty();
        if there {
            let Envelope { from, to, message } = self.past.under_way.remove(0);
            let _refused = self.give_compared(to, Input::Message { from, message }, false);
        }
        there
    }

    fn deliver(&mut self, Envelope { from, to, message }: Envelope) {
        let _refused = self.give(to, Input::Message { from, message });
    }

    /// Delivers all messages, in order.
    pub fn settle(&mut self) {
        let mut left = 100;
        while left > 0 && self.deliver_first() {
            left -= 1;
        }
    }

    /// A block for everybody, with all that was broadcast and spends what is not spent yet.
    pub fn mine(&mut self) {
        self.past.height += 1;
        let mut txs = std::mem::take(&mut self.past.mempool);
        txs.retain(|tx| tx.input.iter().all(|input| self.past.spent.insert(input.previous_output)));
        for slot in 0..self.seats.len() {
            let block = Block { height: self.past.height, txs: txs.clone() };
            self.give(party(slot), Input::Block(block)).expect("a party takes every block");
        }
        self.settle();
    }

    /// An update that has to work.
    pub fn update(&mut self, by: Party, with: Party, change: Change) {
        self.command(by, Command::Update { with, change });
        self.settle();
    }

    pub fn offer_htlc(&mut self, by: Party, with: Party) {
        let preimage = [self.past.preimages.len() as u8 + 1; 32];
        self.past.preimages.push(preimage);
        let expiry = self.past.height + 40;
        self.update(by, with, Change::AddHtlc { amount: Amount::from_sat(9_000), hash: hash_of(&preimage), expiry });
    }

    /// A party loses what it has not stored.
    pub fn restart(&mut self, party: Party) {
        let store = self.seats[slot(party)].store.clone();
        self.restore(party, &store).expect("what was stored can be restored");
        self.seats[slot(party)].store = store;
    }

    /// A party starts from records.
    pub fn restore(&mut self, party: Party, snapshot: &Snapshot) -> Result<(), ProtocolError> {
        self.restarts += 1;
        let machine = Machine::new(self.past.stage, party).restore(snapshot)?;
        let rng = ChaCha20Rng::seed_from_u64(1_000 * self.restarts + slot(party) as u64);
        // What it has accepted may have held what it has no use for.
        let store = machine.snapshot();
        self.seats[slot(party)] = Seat { machine, store, rng, dump: None };
        Ok(())
    }

    /// What a party would store now is what it would be restored to.
    pub fn check_snapshot(&self, party: Party) {
        let snapshot = self.seats[slot(party)].machine.snapshot();
        let decoded = Snapshot::decode(&snapshot.encode()).expect("what was encoded can be decoded");
        assert_eq!(decoded, snapshot);
        Machine::new(self.past.stage, party).restore(&decoded).expect("what was stored can be restored");
    }

    /// Some block.
    pub fn block(&mut self, bytes: &mut Bytes<'_>) -> Block {
        let height = match bytes.byte() % 4 {
            0 | 1 => self.past.height + 1,
            2 => self.past.height.saturating_sub(u32::from(bytes.byte() % 8)),
            _ => bytes.number(self.past.height),
        };
        // One bit each, the youngest first: those matter most.
        let mut txs = Vec::new();
        let mut mask = 0;
        for (index, tx) in self.past.txs.iter().rev().enumerate() {
            if index % 8 == 0 {
                mask = bytes.byte();
            }
            if mask & (1 << (index % 8)) != 0 {
                txs.push(tx.clone());
            }
        }
        if bytes.byte() % 4 == 1 {
            txs.extend(self.strange_tx(bytes).map(Arc::new));
        }
        if bytes.byte() % 2 == 1 {
            txs.reverse();
        }
        Block { height, txs }
    }

    /// A transaction that spends an output of one that is known, or the same one, to whatever.
    fn strange_tx(&self, bytes: &mut Bytes<'_>) -> Option<Transaction> {
        let known = bytes.of(&self.past.txs)?;
        let previous_output = match bytes.byte() % 2 {
            0 => known.input.first()?.previous_output,
            _ => OutPoint::new(known.compute_txid(), bytes.number(0)),
        };
        let preimage = bytes.of(&self.past.preimages).copied().unwrap_or([0; 32]);
        let witness = match bytes.byte() % 3 {
            0 => Witness::new(),
            1 => Witness::from_slice(&[&[0; 64][..], &preimage, &[1], &[2]]),
            _ => known.input[0].witness.clone(),
        };
        let input = TxIn { previous_output, script_sig: ScriptBuf::new(), sequence: Sequence::MAX, witness };
        let value = bytes.amount(Amount::from_sat(1_000));
        let output = TxOut { value, script_pubkey: ScriptBuf::new() };
        let output = vec![output; usize::from(bytes.byte() % 3)];
        Some(Transaction { input: vec![input], output, ..Transaction::clone(known) })
    }

    /// Something that a user wants, from the sensible to the absurd.
    fn some_command(&self, bytes: &mut Bytes<'_>, who: Party) -> Command {
        let with = match who {
            _ if bytes.byte().is_multiple_of(16) => Party::Member(bytes.number(1)),
            Party::Operator => Party::Member(u32::from(bytes.byte() % 2)),
            Party::Member(_) => Party::Operator,
        };
        let member = if let Party::Member(member) = with { member } else { u32::from(bytes.byte() % 2) };
        let end = self.seats[slot(who)].machine.channel(member);
        let htlc = end.and_then(|end| bytes.of(end.agreed()?.htlcs()).cloned());
        let id = match (&htlc, bytes.byte() % 4) {
            (Some(htlc), 1..) => htlc.id,
            _ => bytes.number(1),
        };
        let known = htlc.and_then(|htlc| self.past.preimages.iter().find(|known| hash_of(known) == htlc.hash));
        let preimage = known.copied().unwrap_or([bytes.byte(); 32]);
        match bytes.byte() % 12 {
            0 => Command::Open,
            1 => Command::SignCloses,
            2 => Command::SignFactoryClose,
            3 => Command::FallBack,
            4 => Command::Publish(self.some_name(bytes)),
            5 | 6 => Command::Claim { with, id, preimage },
            7 => Command::Update { with, change: Change::FulfilHtlc { id, preimage } },
            8 => Command::Update { with, change: Change::FailHtlc { id } },
            9 => {
                let amount = bytes.amount(Amount::from_sat(9_000));
                let expiry = bytes.number(self.past.height + 40);
                Command::Update { with, change: Change::AddHtlc { amount, hash: hash_of(&preimage), expiry } }
            }
            10 => Command::Update { with, change: Change::Pay { amount: bytes.amount(Amount::from_sat(20_000)) } },
            _ => {
                Command::Update { with, change: Change::Pay { amount: Amount::from_sat(u64::from(bytes.byte()) * 64) } }
            }
        }
    }

    fn some_name(&self, bytes: &mut Bytes<'_>) -> TxName {
        let kind = bytes.byte() % 7;
        let member = bytes.number(0);
        match kind {
            0 => TxName::Funding,
            1 => TxName::Allocation,
            2 => TxName::Refund(member, bytes.number(1)),
            3 => TxName::HtlcSuccess(member, bytes.number(0)),
            4 => TxName::HtlcTimeout(member, bytes.number(0)),
            5 => TxName::Close(member),
            _ => TxName::FactoryClose(bytes.byte()),
        }
    }

    /// One thing happens. What is not honest happens to `target`.
    pub fn step(&mut self, bytes: &mut Bytes<'_>, target: Party) {
        match bytes.byte() % 24 {
            0..=2 => self.settle(),
            3 | 4 => drop(self.deliver_first()),
            5 => {
                if let Some(index) = bytes.index(self.past.under_way.len()) {
                    let envelope = self.past.under_way.remove(index);
                    self.deliver(envelope);
                }
            }
            6 => {
                if let Some(index) = bytes.index(self.past.under_way.len()) {
                    self.past.under_way.remove(index);
                }
            }
            7 => {
                let twice = bytes.of(&self.past.under_way).cloned();
                twice.into_iter().for_each(|envelope| self.deliver(envelope));
            }
            8..=11 => {
                // A message to the target is changed on its way.
                let for_target: Vec<_> =
                    (0..self.past.under_way.len()).filter(|index| self.past.under_way[*index].to == target).collect();
                let Some(&index) = bytes.of(&for_target) else { return };
                let envelope = self.past.under_way[index].clone();
                if bytes.byte().is_multiple_of(2) {
                    self.past.under_way.remove(index);
                }
                self.deliver_changed(bytes, target, envelope);
            }
            12 | 13 => {
                // A message that was sent before comes again, as it was or not, and from whomever.
                let Some((from, message)) = bytes.of(self.past.donors.sent()).cloned() else { return };
                let from = match bytes.byte() % 8 {
                    0 => Party::Operator,
                    1 => Party::Member(bytes.number(0)),
                    2 => Party::Member(0),
                    3 => Party::Member(1),
                    _ => from,
                };
                let envelope = Envelope { from, to: target, message };
                if bytes.byte().is_multiple_of(2) {
                    self.deliver(envelope);
                } else {
                    self.deliver_changed(bytes, target, envelope);
                }
            }
            14 | 15 => self.mine(),
            16 | 17 => {
                let block = self.block(bytes);
                self.give(target, Input::Block(block)).expect("a party takes every block");
            }
            18..=20 => {
                let command = self.some_command(bytes, target);
                let _refused = self.give(target, Input::Command(command));
            }
            21 => {
                let who = party(usize::from(bytes.byte()) % self.seats.len());
                let command = self.some_command(bytes, who);
                let _refused = self.give(who, Input::Command(command));
            }
            22 => {
                let who = if bytes.byte().is_multiple_of(4) { Party::Member(1) } else { target };
                self.restart(who);
                // A restarted party is shown blocks that it may know already.
                let height = self.seats[slot(who)].machine.height();
                let block = Block { height, txs: Vec::new() };
                self.give(who, Input::Block(block)).expect("a party takes every block");
            }
            _ => self.check_snapshot(target),
        }
    }

    fn deliver_changed(&mut self, bytes: &mut Bytes<'_>, target: Party, envelope: Envelope) {
        let Some(message) = mutate::message(envelope.message, &self.past.donors, bytes) else { return };
        crate::survives_encoding(&message);
        self.deliver(Envelope { from: envelope.from, to: target, message });
    }
}

/// Where two texts begin to differ.
fn difference(before: &str, after: &str) -> String {
    let at = before.bytes().zip(after.bytes()).position(|(before, after)| before != after);
    let at = at.unwrap_or(before.len().min(after.len())).saturating_sub(200);
    let part = |text: &str| text.chars().skip(at).take(500).collect::<String>();
    format!("before: {}\nafter: {}", part(before), part(after))
}
