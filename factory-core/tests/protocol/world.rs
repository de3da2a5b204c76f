//! All parties of a factory, the links between them, and the chain that they see.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Transaction, TxOut};
use factory_core::protocol::{
    Agreement, Block, Body, ChannelEnd, Command, Effect, Event, Input, Key, Member, Message, Operator, Phase,
    ProtocolError, Snapshot,
};
use factory_core::simulation::Ledger;
use factory_core::tx::Complete;
use factory_core::tx::funding::Coin;
use factory_core::{Change, Factory, MemberKeys, Offer, OperatorKeys, Party, TxName, Wallet};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

pub use crate::tamper::{Tamper, change_exchange, change_step, flipped};

pub const OPERATOR: Party = Party::Operator;
pub const M0: Party = Party::Member(0);
pub const M1: Party = Party::Member(1);
pub const M2: Party = Party::Member(2);

/// The height of the chain before anything happens.
pub const START: u32 = 100;

/// All parties, the messages under way, the chain, and what came of it all.
pub struct World {
    pub operator: Operator,
    pub members: Vec<Member>,
    pub offer: Offer,
    pub operator_wallet: Wallet,
    pub coin: Coin,
    /// Holds every transaction in a block to consensus, with scripts and locks.
    pub ledger: Ledger,
    pub events: Vec<(Party, Event)>,
    pub broadcasts: Vec<(Party, TxName, Arc<Complete>)>,
    /// The newest transaction of each name that was broadcast.
    seen: BTreeMap<TxName, Arc<Complete>>,
    pub refused: Vec<(Party, ProtocolError)>,
    pub history: Vec<(Party, Party, Message)>,
    /// What each party has asked to have stored.
    pub stored: BTreeMap<Party, Snapshot>,
    /// Whose messages are lost, whether they send or receive them.
    pub mute: BTreeSet<Party>,
    pub tamper: Option<Tamper>,
    pub twice: bool,
    /// With it, links are slow or fast at random.
    pub shuffle: Option<ChaCha20Rng>,
    /// With it, every refusal is checked to leave the party as it was, and every input to have its changes stored.
    pub audit: bool,
    rngs: BTreeMap<Party, ChaCha20Rng>,
    under_way: VecDeque<(Party, Party, Message)>,
    watches: BTreeSet<(Party, OutPoint)>,
}

pub const fn sat(sat: u64) -> Amount {
    Amount::from_sat(sat)
}

pub const fn rate(sat_per_vb: u32) -> FeeRate {
    FeeRate::from_sat_per_vb_u32(sat_per_vb)
}

pub fn pay(amount: u64) -> Change {
    Change::Pay { amount: sat(amount) }
}

/// Capacities differ, so that no two channels can be confused.
pub fn capacity(member: u32) -> Amount {
    sat(100_000 + u64::from(member))
}

pub fn keys(seed: u64) -> MemberKeys {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let payout = Wallet::generate(&mut rng).script_pubkey().clone();
    MemberKeys::generate(&mut rng, payout)
}

pub fn member_keys(member: u32) -> MemberKeys {
    keys(1_000 + u64::from(member))
}

pub fn operator_keys() -> OperatorKeys {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let payout = Wallet::generate(&mut rng).script_pubkey().clone();
    OperatorKeys::generate(&mut rng, payout)
}

fn wallet() -> Wallet {
    Wallet::generate(&mut ChaCha20Rng::seed_from_u64(8))
}

/// Member `index` as it is before anything happens. It is the same whenever it is made.
pub fn new_member(index: u32, offer: &Offer) -> Member {
    Member::new(index, member_keys(index), Agreement { offer: offer.clone(), capacity: capacity(index) })
}

impl World {
    pub fn new(members: u32) -> Self {
        World::with(members, Offer::default())
    }

    pub fn with(members: u32, offer: Offer) -> Self {
        let mut ledger = Ledger::new(START, rate(1));
        let value = sat(1_000_000_000);
        let outpoint = ledger.mint(TxOut { value, script_pubkey: wallet().script_pubkey().clone() });
        let coin = Coin { outpoint, value };
        let parties = [OPERATOR].into_iter().chain((0..members).map(Party::Member));
        World {
            operator: new_operator(members, &offer, &coin),
            members: (0..members).map(|index| new_member(index, &offer)).collect(),
            offer,
            operator_wallet: wallet(),
            coin,
            ledger,
            events: Vec::new(),
            broadcasts: Vec::new(),
            seen: BTreeMap::new(),
            refused: Vec::new(),
            history: Vec::new(),
            stored: parties.clone().map(|party| (party, Snapshot::default())).collect(),
            mute: BTreeSet::new(),
            tamper: None,
            twice: false,
            shuffle: None,
            audit: false,
            rngs: parties.zip(100..).map(|(party, n)| (party, ChaCha20Rng::seed_from_u64(n))).collect(),
            under_way: VecDeque::new(),
            watches: BTreeSet::new(),
        }
    }

    /// One in which each message is delivered twice.
    pub fn twice(members: u32) -> Self {
        World { twice: true, ..World::new(members) }
    }

    /// One in which links are slow or fast at random.
    pub fn shuffled(members: u32, order: u64) -> Self {
        World { shuffle: Some(ChaCha20Rng::seed_from_u64(order)), ..World::new(members) }
    }

    /// One in which every refusal is checked to leave the party as it was.
    pub fn audited(members: u32) -> Self {
        World::audited_with(members, Offer::default())
    }

    pub fn audited_with(members: u32, offer: Offer) -> Self {
        World { audit: true, ..World::with(members, offer) }
    }

    pub fn factory(&self) -> &Arc<Factory> {
        self.operator.factory().expect("all have joined")
    }

    pub fn everybody(&self) -> impl Iterator<Item = Party> + use<> {
        [OPERATOR].into_iter().chain((0..self.members.len() as u32).map(Party::Member))
    }

    pub fn phase(&self, party: Party) -> Phase {
        match party {
            Party::Operator => self.operator.phase(),
            Party::Member(member) => self.members[member as usize].phase(),
        }
    }

    pub fn transaction(&self, party: Party, name: TxName) -> Option<&Arc<Complete>> {
        match party {
            Party::Operator => self.operator.transaction(name),
            Party::Member(member) => self.members[member as usize].transaction(name),
        }
    }

    /// A transaction that the operator holds.
    pub fn tx(&self, name: TxName) -> &Complete {
        self.transaction(OPERATOR, name).unwrap_or_else(|| panic!("the operator does not hold {name}"))
    }

    /// One party's end of a channel.
    pub fn end(&self, party: Party, member: u32) -> &ChannelEnd {
        match party {
            Party::Operator => self.operator.channel(member),
            Party::Member(index) => self.members[index as usize].channel(member),
        }
        .expect("the party has that channel")
    }

    pub fn record(&self, party: Party, key: Key) -> Option<Vec<u8>> {
        match party {
            Party::Operator => self.operator.record(key),
            Party::Member(member) => self.members[member as usize].record(key),
        }
    }

    pub fn snapshot(&self, party: Party) -> Snapshot {
        match party {
            Party::Operator => self.operator.snapshot(),
            Party::Member(member) => self.members[member as usize].snapshot(),
        }
    }

    pub fn dump(&self, party: Party) -> String {
        match party {
            Party::Operator => format!("{:?}", self.operator),
            Party::Member(member) => format!("{:?}", self.members[member as usize]),
        }
    }

    /// Takes everything from a party but its keys and what it has stored. What is under way to it is lost.
    pub fn restart(&mut self, party: Party) {
        self.under_way.retain(|(_, to, _)| *to != party);
        let snapshot = Snapshot::decode(&self.stored[&party].encode()).expect("it was just encoded");
        match party {
            Party::Operator => {
                let new = new_operator(self.members.len() as u32, &self.offer, &self.coin);
                self.operator = new.restore(&snapshot).expect("it is what the operator stored");
            }
            Party::Member(index) => {
                let restored = new_member(index, &self.offer).restore(&snapshot);
                self.members[index as usize] = restored.expect("it is what the member stored");
            }
        }
    }

    /// Gives one party one input, and puts what it sends on the links.
    pub fn input(&mut self, party: Party, input: Input) -> Result<(), ProtocolError> {
        let before = self.audit.then(|| self.dump(party));
        let rng = self.rngs.get_mut(&party).expect("there is one for each party");
        let result = match party {
            Party::Operator => self.operator.handle(input, rng),
            Party::Member(member) => self.members[member as usize].handle(input, rng),
        };
        if let (Some(before), Err(error)) = (before, &result) {
            assert!(self.dump(party) == before, "{party} changed when it refused: {error}");
        }
        for effect in result? {
            self.carry_out(party, effect);
        }
        if self.audit {
            assert!(self.stored[&party] == self.snapshot(party), "{party} has changed and does not store it");
        }
        Ok(())
    }

    fn carry_out(&mut self, party: Party, effect: Effect) {
        match effect {
            Effect::Persist(key) => {
                let record = self.record(party, key).unwrap_or_else(|| panic!("{party} has no {key} to store"));
                self.stored.get_mut(&party).expect("there is one for each party").put(key, record);
            }
            Effect::Send { to, message } => {
                if self.audit {
                    self.check_stored(party, to, &message);
                }
                self.under_way.push_back((party, to, message));
            }
            Effect::Broadcast { name, tx } => {
                self.seen.insert(name, tx.clone());
                self.broadcasts.push((party, name, tx));
            }
            Effect::Watch(outpoint) => {
                self.watches.insert((party, outpoint));
            }
            Effect::Report(event) => self.events.push((party, event)),
        }
    }

    /// What a message is about must be stored before it is sent.
    fn check_stored(&self, party: Party, to: Party, message: &Message) {
        let Message::About { body, .. } = message else { return };
        let keys = match (body, party, to) {
            (Body::Channel(_) | Body::Ready, Party::Member(member), _)
            | (Body::Channel(_) | Body::Ready, _, Party::Member(member)) => vec![Key::Channel(member)],
            (Body::Sign { joint, .. }, ..) => vec![Key::Core, Key::Joint(*joint)],
            _ => return,
        };
        for key in keys {
            let same = self.stored[&party].get(key) == self.record(party, key).as_deref();
            assert!(same, "{party} sends before it stores {key}: {message:?}");
        }
    }

    pub fn command(&mut self, party: Party, command: Command) -> Result<(), ProtocolError> {
        self.input(party, Input::Command(command))
    }

    /// Commands the operator, which must not refuse, and delivers all that follows.
    pub fn operate(&mut self, command: Command) {
        self.command(OPERATOR, command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.run();
    }

    pub fn message(&mut self, from: Party, to: Party, message: Message) -> Result<(), ProtocolError> {
        self.input(to, Input::Message { from, message })
    }

    pub fn about(&self, body: Body) -> Message {
        Message::About { factory: self.factory().digest(), body }
    }

    /// Delivers messages until none is under way. Refusals are kept.
    pub fn run(&mut self) {
        while self.deliver() {}
    }

    /// Delivers one message. Says whether there was one.
    pub fn deliver(&mut self) -> bool {
        let index = match &mut self.shuffle {
            Some(rng) if !self.under_way.is_empty() => {
                // The first message of the link that a random message is on: a link keeps its order.
                let chosen = rng.next_u64() as usize % self.under_way.len();
                let link = |(from, to, _): &(Party, Party, Message)| (*from, *to);
                let chosen = link(&self.under_way[chosen]);
                self.under_way.iter().position(|message| link(message) == chosen).expect("it is on that link")
            }
            _ => 0,
        };
        let Some((from, to, message)) = self.under_way.remove(index) else { return false };
        if self.mute.contains(&from) || self.mute.contains(&to) {
            return true;
        }
        let message = match &mut self.tamper {
            Some(tamper) => tamper(from, to, message),
            None => Some(message),
        };
        let Some(message) = message else { return true };
        for _ in 0..if self.twice { 2 } else { 1 } {
            if let Err(error) = self.message(from, to, message.clone()) {
                self.refused.push((to, error));
            }
        }
        self.history.push((from, to, message));
        true
    }

    /// The newest transaction of that name that anybody holds or has broadcast.
    pub fn find(&self, name: TxName) -> Arc<Transaction> {
        let held = self.everybody().find_map(|party| self.transaction(party, name));
        let tx = held.or_else(|| self.seen.get(&name)).unwrap_or_else(|| panic!("nobody has {name}"));
        tx.transaction().clone()
    }

    /// A block with these transactions, which must be valid in it. Everybody sees of it what they watch, and all
    /// messages that follow are delivered.
    pub fn mine_txs(&mut self, txs: &[Arc<Transaction>]) {
        self.mine_without_running(txs);
        self.run();
    }

    pub fn mine_without_running(&mut self, txs: &[Arc<Transaction>]) {
        let height = self.ledger.height() + 1;
        self.ledger.mine_these(txs).unwrap_or_else(|refusal| panic!("block {height}: {refusal}"));
        for party in self.everybody() {
            self.show(party, height, txs);
        }
    }

    /// Shows one party a block, as far as it watches what is in it.
    pub fn show(&mut self, party: Party, height: u32, txs: &[Arc<Transaction>]) {
        let is_watched = |tx: &&Arc<Transaction>| {
            let txid = tx.compute_txid();
            let created = (0..tx.output.len() as u32).map(|vout| OutPoint::new(txid, vout));
            let spent = tx.input.iter().map(|input| input.previous_output);
            created.chain(spent).any(|outpoint| self.watches.contains(&(party, outpoint)))
        };
        let txs = txs.iter().filter(is_watched).cloned().collect();
        self.input(party, Input::Block(Block { height, txs }))
            .unwrap_or_else(|error| panic!("block {height}: {error}"));
    }

    /// A block with the transactions of these names.
    pub fn mine(&mut self, names: &[TxName]) {
        let txs: Vec<_> = names.iter().map(|name| self.find(*name)).collect();
        self.mine_txs(&txs);
    }

    /// So many empty blocks.
    pub fn blocks(&mut self, count: u32) {
        for _ in 0..count {
            self.mine_txs(&[]);
        }
    }

    /// Mines a transaction, and as many blocks on top as make it final.
    pub fn confirm(&mut self, name: TxName) {
        self.mine(&[name]);
        self.blocks(self.offer.confirmations - 1);
    }

    /// Opens the factory, and makes every channel live.
    pub fn open(&mut self) {
        self.operate(Command::Open);
        self.confirm(TxName::Funding);
        self.assert_phase(Phase::Live);
    }

    /// Whoever asks must not be refused. Nothing is delivered.
    pub fn ask(&mut self, party: Party, with: Party, change: Change) {
        let command = Command::Update { with, change };
        self.command(party, command).unwrap_or_else(|error| panic!("{party} {command:?}: {error}"));
    }

    /// The same, with all that follows.
    pub fn update(&mut self, party: Party, with: Party, change: Change) {
        self.ask(party, with, change);
        self.run();
    }

    pub fn pay(&mut self, payer: Party, to: Party, amount: u64) {
        self.update(payer, to, pay(amount));
    }

    pub fn assert_phase(&self, phase: Phase) {
        assert_eq!(self.refused, [], "nothing is refused");
        for party in self.everybody() {
            assert_eq!(self.phase(party), phase, "{party}");
        }
    }

    pub fn happened(&self, party: Party, event: &Event) -> usize {
        self.events.iter().filter(|(who, what)| *who == party && what == event).count()
    }

    /// What a party has reported since the last time, and forgets it.
    pub fn reports(&mut self, party: Party) -> Vec<Event> {
        let (its, others) = std::mem::take(&mut self.events).into_iter().partition(|(who, _)| *who == party);
        self.events = others;
        let its: Vec<(Party, Event)> = its;
        its.into_iter().map(|(_, event)| event).collect()
    }

    /// What a party has broadcast since the last time, and forgets what everybody has.
    pub fn broadcasts_of(&mut self, party: Party) -> Vec<TxName> {
        let all = std::mem::take(&mut self.broadcasts);
        all.into_iter().filter(|(who, ..)| *who == party).map(|(_, name, _)| name).collect()
    }

    /// All that was refused, as text, and forgets it.
    pub fn refusals(&mut self) -> Vec<String> {
        self.refused.drain(..).map(|(party, error)| format!("{party}: {error}")).collect()
    }
}

pub fn new_operator(members: u32, offer: &Offer, coin: &Coin) -> Operator {
    let capacities = (0..members).map(capacity).collect();
    Operator::new(operator_keys(), wallet(), vec![coin.clone()], offer.clone(), capacities, rate(2))
}

pub fn script(byte: u8) -> ScriptBuf {
    let mut bytes = vec![0x51, 0x20];
    bytes.extend([byte; 32]);
    ScriptBuf::from_bytes(bytes)
}

/// The preimage that tests know by its byte.
pub const fn preimage(byte: u8) -> [u8; 32] {
    [byte; 32]
}

/// Offers an HTLC for the preimage of that byte.
pub fn add(amount: u64, byte: u8, expiry: u32) -> Change {
    Change::AddHtlc { amount: sat(amount), hash: factory_core::hash_of(&preimage(byte)), expiry }
}
