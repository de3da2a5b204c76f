//! The operator: funds the factory, is a side of every channel, coordinates every signature.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitcoin::{Amount, FeeRate, TxOut};
use rand_core::CryptoRng;

use super::ceremony::{Coordinator, Progress, Task};
use super::end::ChannelEnd;
use super::roster::Roster;
use super::{Body, Command, Effect, Event, Input, Message, Phase, ProtocolError, Reason, Step};
use crate::channel::Channel;
use crate::factory::Factory;
use crate::keys::{MemberPublic, OperatorKeys, Wallet};
use crate::name::{Party, TxName};
use crate::terms::{Budget, MemberTerms, Offer, Terms, party};
use crate::tx::funding::{self, Coin};
use crate::tx::{Complete, FactoryClose};

type Effects = Result<Vec<Effect>, Reason>;

/// The operator of one factory.
#[derive(Debug)]
pub struct Operator {
    keys: OperatorKeys,
    wallet: Wallet,
    coins: Vec<Coin>,
    offer: Offer,
    capacities: Vec<Amount>,
    funding_feerate: FeeRate,
    phase: Phase,
    roster: Roster,
    factory: Option<Arc<Factory>>,
    ends: Vec<ChannelEnd>,
    ceremonies: BTreeMap<TxName, Coordinator>,
    transactions: BTreeMap<TxName, Arc<Complete>>,
    confirmed: BTreeSet<TxName>,
    /// How many channels are not live yet.
    not_live: usize,
    /// How many members have not acknowledged that they hold their channel's close.
    closes_missing: usize,
    /// How many channel closes are not confirmed deep enough.
    closes_unconfirmed: usize,
}

impl Operator {
    /// An operator that will make a factory with one channel for each of `capacities`, out of `coins` of its `wallet`.
    /// The funding pays `funding_feerate`, everything else pays what the `offer` says.
    pub fn new(
        keys: OperatorKeys,
        wallet: Wallet,
        coins: Vec<Coin>,
        offer: Offer,
        capacities: Vec<Amount>,
        funding_feerate: FeeRate,
    ) -> Self {
        let members = capacities.len();
        Operator {
            phase: Phase::New,
            roster: Roster::new(&keys.public(), members),
            factory: None,
            ends: Vec::new(),
            ceremonies: BTreeMap::new(),
            transactions: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            not_live: members,
            closes_missing: members,
            closes_unconfirmed: members,
            keys,
            wallet,
            coins,
            offer,
            capacities,
            funding_feerate,
        }
    }

    /// How far the operator is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The factory, once all have joined.
    pub fn factory(&self) -> Option<&Arc<Factory>> {
        self.factory.as_ref()
    }

    /// A transaction that the operator holds complete.
    pub fn transaction(&self, name: TxName) -> Option<&Arc<Complete>> {
        self.transactions.get(&name)
    }

    /// The channel with a member, once all have joined.
    pub fn channel(&self, member: u32) -> Option<&Channel> {
        self.ends.get(member as usize).map(ChannelEnd::channel)
    }

    /// Takes one input and says what to do about it. Every random number comes from `rng`.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`], if the input is refused. The state is then as it was.
    pub fn handle(&mut self, input: Input, rng: &mut (impl CryptoRng + ?Sized)) -> Result<Vec<Effect>, ProtocolError> {
        let phase = self.phase;
        let (culprit, result) = match input {
            Input::Message { from, message } => (Some(from), self.on_message(from, message, rng)),
            Input::Command(command) => (None, self.on_command(command, rng)),
            Input::Confirmed { tx, confirmations } => (None, self.on_confirmed(tx, confirmations)),
        };
        result.map_err(|reason| ProtocolError { phase, culprit, reason })
    }

    fn on_command(&mut self, command: Command, rng: &mut (impl CryptoRng + ?Sized)) -> Effects {
        match (command, self.phase) {
            (Command::Open, Phase::New | Phase::Joining) => self.invite(),
            (Command::Open, Phase::SigningAllocation) => {
                let factory = self.known_factory()?.clone();
                let members = 0..self.capacities.len() as u32;
                let mut effects: Vec<_> =
                    members.map(|member| send(member, Message::Factory(factory.clone()))).collect();
                effects.extend(self.ask_again(TxName::Allocation, rng)?);
                Ok(effects)
            }
            (Command::Open, _) => Err(Reason::Unexpected("to open")),
            (Command::Pay { to: Party::Member(member), amount }, _) => {
                let end = self.ends.get_mut(member as usize).ok_or(Reason::NotLive(member))?;
                let body = end.pay(amount)?;
                Ok(vec![self.tell(member, body)?])
            }
            (Command::Pay { to: Party::Operator, .. }, _) => Err(Reason::UnknownPayee(Party::Operator)),
            (Command::SignCloses, Phase::Live) => self.sign_closes(rng),
            (Command::SignCloses, Phase::SigningCloses) => {
                let closes = (0..self.capacities.len() as u32).map(TxName::Close);
                let effects: Result<Vec<_>, _> = closes.map(|tx| self.ask_again(tx, rng)).collect();
                Ok(effects?.into_iter().flatten().collect())
            }
            (Command::SignCloses, Phase::Funding) => {
                Err(Reason::NotLive(self.ends.iter().position(|end| !end.is_live()).unwrap_or(0) as u32))
            }
            (Command::SignCloses, _) => Err(Reason::Unexpected("to sign the closes")),
            (Command::SignFactoryClose, Phase::ClosesSigned) => self.sign_factory_close(rng),
            (Command::SignFactoryClose, Phase::SigningFactoryClose | Phase::FactoryCloseSigned) => {
                self.ask_again(TxName::FactoryClose, rng)
            }
            (Command::SignFactoryClose, _) => Err(Reason::Unexpected("to sign the factory close")),
            (Command::Publish(tx), _) => self.publish(tx),
        }
    }

    /// Invites whoever has not joined.
    fn invite(&mut self) -> Effects {
        let budget = Budget::new(&self.offer, &self.capacities)?;
        // The factory's script is not known yet, but any pay-to-taproot script costs the same.
        let output = TxOut { value: budget.factory_value, script_pubkey: self.wallet.script_pubkey().clone() };
        funding::build(&self.wallet, &self.coins, output, self.funding_feerate)?;
        self.phase = Phase::Joining;
        let missing = self.capacities.iter().enumerate().filter(|(member, _)| !self.roster.has(*member));
        let invite = |(member, &capacity): (usize, _)| {
            let member = member as u32;
            send(member, Message::Invite { member, capacity, offer: self.offer.clone() })
        };
        Ok(missing.map(invite).collect())
    }

    fn sign_closes(&mut self, rng: &mut (impl CryptoRng + ?Sized)) -> Effects {
        let factory = self.known_factory()?.clone();
        self.ends.iter().try_for_each(ChannelEnd::check_quiescent)?;
        let close = |(member, end): (usize, &ChannelEnd)| Task::close(&factory, member as u32, end.channel());
        let tasks: Vec<_> = self.ends.iter().enumerate().map(close).collect::<Result<_, _>>()?;
        for end in &mut self.ends {
            let put_off = end.freeze();
            debug_assert_eq!(put_off, None, "no payment of the operator is in flight, as was just checked");
        }
        self.phase = Phase::SigningCloses;
        let effects: Result<Vec<_>, _> = tasks.into_iter().map(|task| self.begin(task, rng)).collect();
        Ok(effects?.into_iter().flatten().collect())
    }

    fn sign_factory_close(&mut self, rng: &mut (impl CryptoRng + ?Sized)) -> Effects {
        let factory = self.known_factory()?.clone();
        let balances = self.ends.iter().map(|end| end.channel().member()).collect();
        let task = Task::factory_close(&factory, &Arc::new(FactoryClose::new(&factory, balances)?));
        self.phase = Phase::SigningFactoryClose;
        self.begin(task, rng)
    }

    fn publish(&self, tx: TxName) -> Effects {
        let missing = |missing| Err(Reason::CannotPublish { tx, missing });
        match (tx, self.transactions.get(&tx)) {
            (TxName::Close(member), None) if member as usize >= self.capacities.len() => {
                missing("there is no such member")
            }
            (TxName::Funding, None) => missing("not every member has joined"),
            (TxName::Funding, Some(_)) if self.phase < Phase::Funding => {
                missing("not every member has acknowledged that it holds the allocation")
            }
            (_, None) => missing("it is not signed"),
            (_, Some(complete)) => {
                let broadcast = Effect::Broadcast { name: tx, tx: complete.clone() };
                Ok(vec![broadcast, self.watch(tx, complete)])
            }
        }
    }

    fn on_message(&mut self, from: Party, message: Message, rng: &mut (impl CryptoRng + ?Sized)) -> Effects {
        let member = match from {
            Party::Member(member) if (member as usize) < self.capacities.len() => member,
            _ => return Err(Reason::UnknownSender(from)),
        };
        match message {
            Message::Join(public) => self.on_join(member, public, rng),
            Message::About { factory, body } => {
                let expected = self.known_factory()?.digest();
                if factory != expected {
                    return Err(Reason::OtherFactory { expected, found: factory });
                }
                match body {
                    Body::Sign { tx, session, step } => self.on_step(member, tx, session, step),
                    Body::Ready => self.on_ready(member),
                    Body::Pay { state, amount } => {
                        let Some((reply, events)) = self.ends[member as usize].proposed(state, amount)? else {
                            return Ok(Vec::new());
                        };
                        let reply = self.tell(member, reply)?;
                        Ok([reply].into_iter().chain(events.into_iter().map(Effect::Report)).collect())
                    }
                    Body::Paid { state } => {
                        let event = self.ends[member as usize].accepted(state)?;
                        Ok(event.into_iter().map(Effect::Report).collect())
                    }
                }
            }
            Message::Invite { .. } | Message::Factory(_) => {
                Err(Reason::Unexpected("a message that only the operator sends"))
            }
        }
    }

    fn on_join(&mut self, member: u32, public: MemberPublic, rng: &mut (impl CryptoRng + ?Sized)) -> Effects {
        if self.phase < Phase::Joining {
            return Err(Reason::Unexpected("a join before the invitation"));
        }
        let index = member as usize;
        if !self.roster.check(index, &public)? {
            return Ok(Vec::new());
        }
        let joined = Effect::Report(Event::Joined { member });
        if !self.roster.completed_by(index) {
            self.roster.enter(index, public);
            return Ok(vec![joined]);
        }
        let everybody = self.roster.with(index, &public).zip(&self.capacities);
        let members = everybody.map(|(public, &capacity)| MemberTerms { public: public.clone(), capacity }).collect();
        let terms = Terms::new(self.offer.clone(), self.keys.public(), members)?;
        let funding = funding::build(&self.wallet, &self.coins, terms.factory_output(), self.funding_feerate)?;
        let factory = Arc::new(Factory::new(terms, funding.transaction())?);

        self.roster.enter(index, public);
        self.transactions.insert(TxName::Funding, Arc::new(funding));
        let reserve = factory.terms().close_fee();
        let end = |(member, &capacity): (usize, _)| {
            ChannelEnd::new(Party::Operator, member as u32, Channel::new(capacity, reserve))
        };
        self.ends = self.capacities.iter().enumerate().map(end).collect();
        self.factory = Some(factory.clone());
        self.phase = Phase::SigningAllocation;
        let mut effects = vec![joined];
        let members = 0..self.capacities.len() as u32;
        effects.extend(members.map(|member| send(member, Message::Factory(factory.clone()))));
        effects.extend(self.begin(Task::allocation(&factory), rng)?);
        Ok(effects)
    }

    fn on_ready(&mut self, member: u32) -> Effects {
        if self.phase < Phase::Funding {
            return Err(Reason::Unexpected("news of the funding before it is broadcast"));
        }
        let live = self.ends[member as usize].other_ready();
        Ok(if live { self.went_live(member) } else { Vec::new() })
    }

    fn went_live(&mut self, channel: u32) -> Vec<Effect> {
        self.not_live -= 1;
        if self.not_live == 0 {
            self.advance(Phase::Live);
        }
        vec![Effect::Report(Event::Live { channel })]
    }

    fn on_confirmed(&mut self, tx: TxName, confirmations: u32) -> Effects {
        if !self.transactions.contains_key(&tx) {
            return Err(Reason::ConfirmedUnknown(tx));
        }
        if tx == TxName::Funding && self.phase < Phase::Funding {
            return Err(Reason::Unexpected("a confirmation of the funding, which was not broadcast,"));
        }
        if confirmations < self.offer.confirmations || !self.confirmed.insert(tx) {
            return Ok(Vec::new());
        }
        let mut effects = vec![Effect::Report(Event::Confirmed(tx))];
        match tx {
            TxName::Funding => {
                for member in 0..self.capacities.len() as u32 {
                    effects.push(self.tell(member, Body::Ready)?);
                    if self.ends[member as usize].ready() {
                        effects.extend(self.went_live(member));
                    }
                }
            }
            TxName::Allocation => {}
            TxName::Close(_) => {
                self.closes_unconfirmed -= 1;
                if self.closes_unconfirmed == 0 {
                    effects.extend(self.closed());
                }
            }
            TxName::FactoryClose => effects.extend(self.closed()),
        }
        Ok(effects)
    }

    fn closed(&mut self) -> Option<Effect> {
        let first = self.phase < Phase::Closed;
        self.phase = Phase::Closed;
        first.then_some(Effect::Report(Event::Closed))
    }

    /// A step of a signing session, from a member.
    fn on_step(&mut self, member: u32, tx: TxName, session: u32, step: Step) -> Effects {
        let key = signing_key(&self.keys, tx);
        let Some(ceremony) = self.ceremonies.get_mut(&tx) else {
            return Err(Reason::Unexpected("a step of a signing session that was not proposed"));
        };
        if !ceremony.task().signers().contains(&member) {
            return Err(Reason::NotASigner { party: party(member as usize), tx });
        }
        if session > ceremony.session() {
            return Err(Reason::Unexpected("a step of a signing session that was not proposed"));
        }
        if session < ceremony.session() {
            return Ok(Vec::new());
        }
        let progress = match step {
            Step::Nonce(nonce) => ceremony.nonce(member, nonce)?,
            Step::Partial(partial) => ceremony.partial(member, partial, key)?,
            Step::Held => ceremony.held(member)?,
            Step::Propose(_) | Step::Aggregate(_) | Step::Signature(_) => {
                return Err(Reason::Unexpected("a step that only the operator takes"));
            }
        };
        let signers = ceremony.task().signers();
        match progress {
            Progress::None => Ok(Vec::new()),
            Progress::Aggregate(aggregate) => self.tell_all(signers, tx, session, &Step::Aggregate(aggregate)),
            Progress::Signed(signature, complete) => {
                let mut effects = vec![Effect::Report(Event::Complete(tx))];
                effects.extend(self.tell_all(signers, tx, session, &Step::Signature(signature))?);
                if tx == TxName::FactoryClose {
                    self.advance(Phase::FactoryCloseSigned);
                    effects.push(self.watch(tx, &complete));
                }
                self.transactions.insert(tx, complete);
                Ok(effects)
            }
            Progress::Failed(culprits) => Ok(vec![Effect::Report(Event::WrongPartials { tx, culprits })]),
            Progress::HeldByAll => Ok(self.held_by_all(tx)),
        }
    }

    fn held_by_all(&mut self, tx: TxName) -> Vec<Effect> {
        let mut effects = vec![Effect::Report(Event::HeldByAll(tx))];
        match tx {
            TxName::Allocation => {
                self.advance(Phase::Funding);
                effects.push(Effect::Report(Event::FundingReady));
                if let Some(funding) = self.transactions.get(&TxName::Funding) {
                    effects.push(Effect::Broadcast { name: TxName::Funding, tx: funding.clone() });
                    effects.push(self.watch(TxName::Funding, funding));
                }
            }
            TxName::Close(_) => {
                self.closes_missing -= 1;
                if self.closes_missing == 0 {
                    self.advance(Phase::ClosesSigned);
                }
            }
            TxName::Funding | TxName::FactoryClose => {}
        }
        effects
    }

    /// Phases only move forward: a confirmation may have overtaken a signature.
    fn advance(&mut self, phase: Phase) {
        self.phase = self.phase.max(phase);
    }

    fn begin(&mut self, task: Task, rng: &mut (impl CryptoRng + ?Sized)) -> Effects {
        let tx = task.name();
        let ceremony = Coordinator::new(task, signing_key(&self.keys, tx), rng);
        let proposal = Step::Propose(ceremony.task().proposal());
        let (signers, session) = (ceremony.task().signers(), ceremony.session());
        self.ceremonies.insert(tx, ceremony);
        self.tell_all(signers, tx, session, &proposal)
    }

    /// Sends the signature to whoever has not acknowledged it; if there is none yet, begins another session.
    fn ask_again(&mut self, tx: TxName, rng: &mut (impl CryptoRng + ?Sized)) -> Effects {
        let Some(ceremony) = self.ceremonies.get_mut(&tx) else {
            return Err(Reason::Unexpected("to ask for a signature that was not proposed"));
        };
        if let Some((signature, members)) = ceremony.unacknowledged() {
            let session = ceremony.session();
            return self.tell_all(members, tx, session, &Step::Signature(signature));
        }
        ceremony.renew(signing_key(&self.keys, tx), rng);
        let (signers, session) = (ceremony.task().signers(), ceremony.session());
        let proposal = Step::Propose(ceremony.task().proposal());
        self.tell_all(signers, tx, session, &proposal)
    }

    fn known_factory(&self) -> Result<&Arc<Factory>, Reason> {
        self.factory.as_ref().ok_or(Reason::Unexpected("a message about a factory that is not there yet"))
    }

    fn tell(&self, member: u32, body: Body) -> Result<Effect, Reason> {
        let factory = self.known_factory()?.digest();
        Ok(send(member, Message::About { factory, body }))
    }

    fn tell_all(&self, members: impl IntoIterator<Item = u32>, tx: TxName, session: u32, step: &Step) -> Effects {
        let tell = |member| self.tell(member, Body::Sign { tx, session, step: step.clone() });
        members.into_iter().map(tell).collect()
    }

    fn watch(&self, tx: TxName, complete: &Complete) -> Effect {
        Effect::Watch { tx, txid: complete.txid(), confirmations: self.offer.confirmations }
    }
}

fn send(member: u32, message: Message) -> Effect {
    Effect::Send { to: party(member as usize), message }
}

/// The operator's key for a transaction of the factory.
fn signing_key(keys: &OperatorKeys, tx: TxName) -> &secp256k1::Keypair {
    if let TxName::Close(_) = tx { &keys.channel } else { &keys.factory }
}
