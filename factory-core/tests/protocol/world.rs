//! All parties of a factory, and the links between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Txid};
use factory_core::protocol::{
    Agreement, Body, Command, Effect, Event, Input, Member, Message, Operator, Phase, ProtocolError, Step,
};
use factory_core::tx::Complete;
use factory_core::tx::funding::Coin;
use factory_core::{Channel, Factory, MemberKeys, Offer, OperatorKeys, Party, TxName, TxVersion, Wallet};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// What a link does to a message: `None` loses it.
pub type Tamper = Box<dyn FnMut(Party, Party, Message) -> Option<Message>>;

/// All parties, the messages under way, and what came of it all.
pub struct World {
    pub operator: Operator,
    pub members: Vec<Member>,
    pub operator_wallet: Wallet,
    pub coin: Coin,
    pub events: Vec<(Party, Event)>,
    pub broadcasts: Vec<(Party, TxName, Arc<Complete>)>,
    pub refused: Vec<(Party, ProtocolError)>,
    pub history: Vec<(Party, Party, Message)>,
    twice: bool,
    shuffle: Option<ChaCha20Rng>,
    pub tamper: Option<Tamper>,
    audit: bool,
    rngs: BTreeMap<Party, ChaCha20Rng>,
    under_way: VecDeque<(Party, Party, Message)>,
    watches: BTreeSet<(Party, TxName, Txid, u32)>,
}

pub const fn sat(sat: u64) -> Amount {
    Amount::from_sat(sat)
}

pub fn offer() -> Offer {
    Offer { version: TxVersion::Two, feerate: FeeRate::from_sat_per_vb_u32(1), confirmations: 3 }
}

/// Capacities differ, so that no two channels can be confused.
pub fn capacity(member: u32) -> Amount {
    sat(100_000 + u64::from(member))
}

pub fn keys(rng: &mut ChaCha20Rng) -> MemberKeys {
    let payout = Wallet::generate(rng).script_pubkey().clone();
    MemberKeys::generate(rng, payout)
}

impl World {
    pub fn new(members: u32) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let wallet = Wallet::generate(&mut rng);
        let payout = Wallet::generate(&mut rng).script_pubkey().clone();
        let operator_keys = OperatorKeys::generate(&mut rng, payout);
        let coin = Coin { outpoint: OutPoint::new(Txid::from_byte_array([9; 32]), 1), value: sat(1_000_000_000) };
        let capacities: Vec<_> = (0..members).map(capacity).collect();
        let operator = Operator::new(
            operator_keys,
            wallet.clone(),
            vec![coin.clone()],
            offer(),
            capacities,
            FeeRate::from_sat_per_vb_u32(2),
        );
        let member = |index| {
            let agreement = Agreement { offer: offer(), capacity: capacity(index) };
            Member::new(index, keys(&mut rng), agreement)
        };
        let members: Vec<_> = (0..members).map(member).collect();
        let parties = [Party::Operator].into_iter().chain((0..members.len() as u32).map(Party::Member));
        let rngs = parties.zip(100..).map(|(party, n)| (party, ChaCha20Rng::seed_from_u64(n))).collect();
        World {
            operator,
            members,
            operator_wallet: wallet,
            coin,
            events: Vec::new(),
            broadcasts: Vec::new(),
            refused: Vec::new(),
            history: Vec::new(),
            twice: false,
            shuffle: None,
            tamper: None,
            audit: false,
            rngs,
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
        World { audit: true, ..World::new(members) }
    }

    pub fn factory(&self) -> &Arc<Factory> {
        self.operator.factory().expect("all have joined")
    }

    pub fn everybody(&self) -> impl Iterator<Item = Party> + use<> {
        [Party::Operator].into_iter().chain((0..self.members.len() as u32).map(Party::Member))
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
        self.transaction(Party::Operator, name).unwrap_or_else(|| panic!("the operator does not hold {name}"))
    }

    /// Both ends of a channel: the operator's and the member's.
    pub fn channel(&self, member: u32) -> (&Channel, &Channel) {
        let ends = (self.operator.channel(member), self.members[member as usize].channel(member));
        (ends.0.expect("the operator's end"), ends.1.expect("the member's end"))
    }

    fn dump(&self, party: Party) -> String {
        match party {
            Party::Operator => format!("{:?}", self.operator),
            Party::Member(member) => format!("{:?}", self.members[member as usize]),
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
            assert_eq!(self.dump(party), before, "{party} changed when it refused: {error}");
        }
        for effect in result? {
            match effect {
                Effect::Send { to, message } => self.under_way.push_back((party, to, message)),
                Effect::Broadcast { name, tx } => self.broadcasts.push((party, name, tx)),
                Effect::Watch { tx, txid, confirmations } => {
                    self.watches.insert((party, tx, txid, confirmations));
                }
                Effect::Report(event) => self.events.push((party, event)),
            }
        }
        Ok(())
    }

    pub fn command(&mut self, party: Party, command: Command) -> Result<(), ProtocolError> {
        self.input(party, Input::Command(command))
    }

    /// Commands the operator, which must not refuse, and delivers all that follows.
    pub fn operate(&mut self, command: Command) {
        self.command(Party::Operator, command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.run();
    }

    pub fn message(&mut self, from: Party, to: Party, message: Message) -> Result<(), ProtocolError> {
        self.input(to, Input::Message { from, message })
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

    /// Shows `tx` to one party, at `confirmations`.
    pub fn confirm_at(&mut self, party: Party, tx: TxName, confirmations: u32) {
        self.input(party, Input::Confirmed { tx, confirmations }).unwrap();
        self.run();
    }

    /// Shows `tx` to every party that watches it, at `confirmations`, and delivers what follows.
    pub fn confirm(&mut self, tx: TxName, confirmations: u32) {
        self.confirm_without_running(tx, confirmations);
        self.run();
    }

    pub fn confirm_without_running(&mut self, tx: TxName, confirmations: u32) {
        let txid = self.tx(tx).txid();
        let watchers: Vec<_> = self.watches.iter().filter(|watch| watch.1 == tx).cloned().collect();
        for (party, _, watched, _) in watchers {
            assert_eq!(watched, txid, "{party} watches another {tx}");
            self.input(party, Input::Confirmed { tx, confirmations }).unwrap();
        }
    }

    pub fn watchers(&self, tx: TxName) -> Vec<Party> {
        self.watches.iter().filter(|watch| watch.1 == tx).map(|watch| watch.0).collect()
    }

    /// Opens the factory, and makes every channel live.
    pub fn open(&mut self) {
        self.operate(Command::Open);
        self.confirm(TxName::Funding, 3);
        self.assert_phase(Phase::Live);
    }

    /// The payer must not refuse.
    pub fn pay(&mut self, payer: Party, to: Party, amount: u64) {
        let command = Command::Pay { to, amount: sat(amount) };
        self.command(payer, command).unwrap_or_else(|error| panic!("{payer} {command:?}: {error}"));
        self.run();
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

    /// All that was refused, as text, and forgets it.
    pub fn refusals(&mut self) -> Vec<String> {
        self.refused.drain(..).map(|(party, error)| format!("{party}: {error}")).collect()
    }
}

/// Changes the step of signing `tx` that `from` sends to `to`.
pub fn change_step(
    from: Party,
    to: Party,
    tx: TxName,
    mut change: impl FnMut(Step) -> Step + 'static,
) -> Option<Tamper> {
    Some(Box::new(move |sender, receiver, message| match message {
        Message::About { factory, body: Body::Sign { tx: found, session, step } }
            if (sender, receiver, found) == (from, to, tx) =>
        {
            Some(Message::About { factory, body: Body::Sign { tx, session, step: change(step) } })
        }
        other => Some(other),
    }))
}

pub fn script(byte: u8) -> ScriptBuf {
    let mut bytes = vec![0x51, 0x20];
    bytes.extend([byte; 32]);
    ScriptBuf::from_bytes(bytes)
}
