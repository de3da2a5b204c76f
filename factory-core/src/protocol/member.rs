//! A member: has one channel, with the operator, and signs nothing that it has not checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitcoin::{Amount, Txid};
use rand_core::CryptoRng;
use secp256k1::Keypair;

use super::ceremony::{Participant, Task};
use super::end::ChannelEnd;
use super::{Body, Command, Effect, Event, Input, Message, Phase, Proposal, ProtocolError, Reason, Step, check};
use crate::channel::Channel;
use crate::factory::Factory;
use crate::keys::MemberKeys;
use crate::name::{Party, TxName};
use crate::terms::Offer;
use crate::tx::Complete;

type Effects = Result<Vec<Effect>, Reason>;

/// What a member has agreed to before the operator invites it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The conditions that hold for everybody alike.
    pub offer: Offer,
    /// The value of its channel.
    pub capacity: Amount,
}

/// A member of one factory.
#[derive(Debug)]
pub struct Member {
    index: u32,
    keys: MemberKeys,
    agreement: Agreement,
    phase: Phase,
    joined: Option<Joined>,
    ceremonies: BTreeMap<TxName, Participant>,
    transactions: BTreeMap<TxName, Arc<Complete>>,
    confirmed: BTreeSet<TxName>,
}

/// What there is once the factory is known.
#[derive(Debug)]
struct Joined {
    factory: Arc<Factory>,
    end: ChannelEnd,
}

impl Member {
    /// The member with number `index`, that joins a factory on the conditions of `agreement` and no other.
    pub fn new(index: u32, keys: MemberKeys, agreement: Agreement) -> Self {
        Member {
            index,
            keys,
            agreement,
            phase: Phase::New,
            joined: None,
            ceremonies: BTreeMap::new(),
            transactions: BTreeMap::new(),
            confirmed: BTreeSet::new(),
        }
    }

    /// How far the member is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The factory, once the operator has made it.
    pub fn factory(&self) -> Option<&Arc<Factory>> {
        self.joined.as_ref().map(|joined| &joined.factory)
    }

    /// A transaction that the member holds complete.
    pub fn transaction(&self, name: TxName) -> Option<&Arc<Complete>> {
        self.transactions.get(&name)
    }

    /// The member's channel, once the factory is known; `None` for any other member's.
    pub fn channel(&self, member: u32) -> Option<&Channel> {
        self.joined.as_ref().filter(|_| member == self.index).map(|joined| joined.end.channel())
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
            Input::Command(command) => (None, self.on_command(command)),
            Input::Confirmed { tx, confirmations } => (None, self.on_confirmed(tx, confirmations)),
        };
        result.map_err(|reason| ProtocolError { phase, culprit, reason })
    }

    fn on_command(&mut self, command: Command) -> Effects {
        match command {
            Command::Pay { to: Party::Operator, amount } => {
                let index = self.index;
                let joined = self.joined.as_mut().ok_or(Reason::NotLive(index))?;
                let body = joined.end.pay(amount)?;
                Ok(vec![joined.tell(body)])
            }
            Command::Pay { to, .. } => Err(Reason::UnknownPayee(to)),
            Command::Publish(tx) => self.publish(tx),
            Command::Open => Err(Reason::OperatorOnly("open a factory")),
            Command::SignCloses => Err(Reason::OperatorOnly("have the closes signed")),
            Command::SignFactoryClose => Err(Reason::OperatorOnly("have the factory close signed")),
        }
    }

    fn publish(&self, tx: TxName) -> Effects {
        let missing = match (tx, self.transactions.get(&tx)) {
            (_, Some(complete)) => {
                let broadcast = Effect::Broadcast { name: tx, tx: complete.clone() };
                return Ok(vec![broadcast, self.watch(tx, complete.txid())]);
            }
            (TxName::Funding, None) => "only the operator holds it",
            (TxName::Close(member), None) if member != self.index => {
                "only the operator and the member whose channel it closes hold it"
            }
            (_, None) => "its signature has not come",
        };
        Err(Reason::CannotPublish { tx, missing })
    }

    fn on_message(&mut self, from: Party, message: Message, rng: &mut (impl CryptoRng + ?Sized)) -> Effects {
        if from != Party::Operator {
            return Err(Reason::UnknownSender(from));
        }
        match message {
            Message::Invite { member, capacity, offer } => self.on_invite(member, capacity, &offer),
            Message::Factory(factory) => self.on_factory(factory),
            Message::About { factory, body } => {
                let Some(joined) = &mut self.joined else {
                    return Err(Reason::Unexpected("a message about a factory that is not there yet"));
                };
                let expected = joined.factory.digest();
                if factory != expected {
                    return Err(Reason::OtherFactory { expected, found: factory });
                }
                match body {
                    Body::Sign { tx, session, step } => self.on_step(tx, session, step, rng),
                    Body::Ready => self.on_ready(),
                    Body::Pay { state, amount } => {
                        let Some((reply, events)) = joined.end.proposed(state, amount)? else {
                            return Ok(Vec::new());
                        };
                        Ok([joined.tell(reply)].into_iter().chain(events.into_iter().map(Effect::Report)).collect())
                    }
                    Body::Paid { state } => Ok(joined.end.accepted(state)?.into_iter().map(Effect::Report).collect()),
                }
            }
            Message::Join(_) => Err(Reason::Unexpected("a message that only members send")),
        }
    }

    fn on_invite(&mut self, member: u32, capacity: Amount, offer: &Offer) -> Effects {
        if member != self.index {
            let (expected, found) = (format!("m{}", self.index), format!("m{member}"));
            return Err(check::Mismatch { field: "member", expected, found }.into());
        }
        check::invitation(&self.agreement, capacity, offer)?;
        match self.phase {
            // An invitation that comes again asks for the same answer: the first may have been lost.
            Phase::New | Phase::Joining => {
                self.phase = Phase::Joining;
                Ok(vec![send(Message::Join(self.keys.public()))])
            }
            _ => Ok(Vec::new()),
        }
    }

    fn on_factory(&mut self, factory: Arc<Factory>) -> Effects {
        if let Some(joined) = &self.joined {
            let same = joined.factory.digest() == factory.digest();
            return if same { Ok(Vec::new()) } else { Err(Reason::Contradiction("factory")) };
        }
        if self.phase < Phase::Joining {
            return Err(Reason::Unexpected("a factory before the invitation"));
        }
        check::allocation(&self.agreement, self.index, &self.keys.public(), &factory)?;
        let channel = Channel::new(self.agreement.capacity, factory.terms().close_fee());
        let end = ChannelEnd::new(Party::Member(self.index), self.index, channel);
        self.joined = Some(Joined { factory, end });
        self.phase = Phase::SigningAllocation;
        Ok(Vec::new())
    }

    fn on_ready(&mut self) -> Effects {
        if self.phase < Phase::Funding {
            return Err(Reason::Unexpected("news of the funding before this party holds the allocation"));
        }
        let live = self.joined.as_mut().is_some_and(|joined| joined.end.other_ready());
        Ok(if live { self.went_live() } else { Vec::new() })
    }

    fn went_live(&mut self) -> Vec<Effect> {
        self.advance(Phase::Live);
        vec![Effect::Report(Event::Live { channel: self.index })]
    }

    fn on_confirmed(&mut self, tx: TxName, confirmations: u32) -> Effects {
        let holds = if tx == TxName::Funding { TxName::Allocation } else { tx };
        let (Some(joined), true) = (&mut self.joined, self.transactions.contains_key(&holds)) else {
            return Err(Reason::ConfirmedUnknown(tx));
        };
        if confirmations < self.agreement.offer.confirmations || !self.confirmed.insert(tx) {
            return Ok(Vec::new());
        }
        let mut effects = vec![Effect::Report(Event::Confirmed(tx))];
        match tx {
            TxName::Funding => {
                effects.push(joined.tell(Body::Ready));
                if joined.end.ready() {
                    effects.extend(self.went_live());
                }
            }
            TxName::Allocation => {}
            TxName::Close(_) | TxName::FactoryClose => {
                if self.phase < Phase::Closed {
                    effects.push(Effect::Report(Event::Closed));
                }
                self.phase = Phase::Closed;
            }
        }
        Ok(effects)
    }

    /// A step of a signing session, from the operator.
    fn on_step(&mut self, tx: TxName, session: u32, step: Step, rng: &mut (impl CryptoRng + ?Sized)) -> Effects {
        if let Step::Propose(proposal) = step {
            return self.on_proposal(tx, session, &proposal, rng);
        }
        let unknown = Reason::Unexpected("a step of a signing session that this party does not take part in");
        let (Some(ceremony), Some(joined)) = (self.ceremonies.get_mut(&tx), &self.joined) else {
            return Err(unknown);
        };
        if session > ceremony.session() {
            return Err(unknown);
        }
        if session < ceremony.session() {
            return Ok(Vec::new());
        }
        let reply = |step| joined.tell(Body::Sign { tx, session, step });
        match step {
            Step::Aggregate(aggregate) => {
                let partial = ceremony.aggregate(aggregate, signing_key(&self.keys, tx))?;
                Ok(partial.map(|partial| reply(Step::Partial(partial))).into_iter().collect())
            }
            Step::Signature(signature) => {
                let complete = ceremony.signature(signature)?;
                // A signature that comes again asks for the same answer: the first may have been lost.
                let held = reply(Step::Held);
                let Some(complete) = complete else { return Ok(vec![held]) };
                let funding = joined.factory.outpoint().txid;
                let mut effects = vec![held, Effect::Report(Event::Complete(tx))];
                match tx {
                    TxName::Allocation => {
                        self.advance(Phase::Funding);
                        effects.push(self.watch(TxName::Funding, funding));
                    }
                    TxName::Close(_) => self.advance(Phase::ClosesSigned),
                    TxName::FactoryClose => {
                        self.advance(Phase::FactoryCloseSigned);
                        effects.push(self.watch(tx, complete.txid()));
                    }
                    TxName::Funding => {}
                }
                self.transactions.insert(tx, complete);
                Ok(effects)
            }
            Step::Propose(_) | Step::Nonce(_) | Step::Partial(_) | Step::Held => {
                Err(Reason::Unexpected("a step that only members take"))
            }
        }
    }

    fn on_proposal(
        &mut self,
        tx: TxName,
        session: u32,
        proposal: &Proposal,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Effects {
        let Some(joined) = &mut self.joined else {
            return Err(Reason::Unexpected("a proposal before the factory"));
        };
        let key = signing_key(&self.keys, tx);
        if let Some(known) = self.ceremonies.get(&tx) {
            // What was proposed once stays: in another session too, only the nonces are new.
            if !known.task().is(proposal) {
                return Err(Reason::Contradiction("proposal"));
            }
            if session <= known.session() {
                return Ok(Vec::new());
            }
            if known.holds() {
                return Err(Reason::Unexpected("a proposal of what this party holds complete"));
            }
            let task = known.task().clone();
            let (participant, nonce) = Participant::new(task, session, key, rng);
            self.ceremonies.insert(tx, participant);
            return Ok(vec![joined.tell(Body::Sign { tx, session, step: Step::Nonce(nonce) })]);
        }
        let Joined { factory, end } = &*joined;
        let (task, phase) = match (tx, proposal) {
            (TxName::Allocation, Proposal::Allocation) => (Task::allocation(factory), Phase::SigningAllocation),
            (TxName::Close(member), Proposal::Close { balance, state }) if member == self.index => {
                if !end.is_live() {
                    return Err(Reason::NotLive(member));
                }
                check::close(end.channel(), *balance, *state)?;
                (Task::close(factory, member, end.channel())?, Phase::SigningCloses)
            }
            (TxName::Close(member), Proposal::Close { .. }) if member != self.index => {
                return Err(Reason::NotASigner { party: Party::Member(self.index), tx });
            }
            (TxName::FactoryClose, Proposal::FactoryClose(close)) => {
                for replaced in [TxName::Allocation, TxName::Close(self.index)] {
                    if !self.transactions.contains_key(&replaced) {
                        return Err(Reason::NotYetHeld(replaced));
                    }
                }
                check::factory_close(factory, self.index, end.channel(), close)?;
                (Task::factory_close(factory, close), Phase::SigningFactoryClose)
            }
            _ => return Err(Reason::Unexpected("a proposal under the name of another transaction")),
        };
        // Nothing is refused from here on.
        let (participant, nonce) = Participant::new(task, session, key, rng);
        let put_off = if let TxName::Close(_) = tx { joined.end.freeze() } else { None };
        let nonce = joined.tell(Body::Sign { tx, session, step: Step::Nonce(nonce) });
        self.ceremonies.insert(tx, participant);
        self.advance(phase);
        Ok([nonce].into_iter().chain(put_off.map(Effect::Report)).collect())
    }

    /// Phases only move forward: a confirmation may have overtaken a signature.
    fn advance(&mut self, phase: Phase) {
        self.phase = self.phase.max(phase);
    }

    fn watch(&self, tx: TxName, txid: Txid) -> Effect {
        Effect::Watch { tx, txid, confirmations: self.agreement.offer.confirmations }
    }
}

impl Joined {
    fn tell(&self, body: Body) -> Effect {
        send(Message::About { factory: self.factory.digest(), body })
    }
}

fn send(message: Message) -> Effect {
    Effect::Send { to: Party::Operator, message }
}

/// The member's key for a transaction of the factory.
fn signing_key(keys: &MemberKeys, tx: TxName) -> &Keypair {
    if let TxName::Close(_) = tx { &keys.channel } else { &keys.factory }
}
