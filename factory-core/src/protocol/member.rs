//! A member: has one channel, with the operator, and signs nothing that it has not checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::Amount;
use rand_core::CryptoRng;

use super::ceremony::{Participant, Task};
use super::channel_end::ChannelEnd;
use super::message::{Body, Exchange, Joint, Proposal, Step, WireWitness};
use super::record::{Key, Snapshot};
use super::stake::{Core, Stake};
use super::{Block, Cause, Effect, Event, Input, Message, Phase, ProtocolError, Reason, check, user};
use crate::factory::Factory;
use crate::keys::MemberKeys;
use crate::name::{Party, TxName};
use crate::terms::Offer;
use crate::tx::Complete;

type Effects = Result<Vec<Effect>, Reason>;

/// How many times as long as the operator a member waits: the operator has to wait for other members, too.
const MEMBER_PATIENCE: u32 = 2;
/// How many times its patience a member waits for the funding to be confirmed. It has nothing at stake until then.
const FUNDING_PATIENCE: u32 = 10;

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
    /// How far it is while there is no factory, for how many blocks, and the last block's height.
    early: (Phase, u32, u32),
    stake: Option<Stake>,
    participants: BTreeMap<Joint, Participant>,
}

impl Member {
    /// The member with number `index`, that joins a factory on the conditions of `agreement` and no other.
    pub fn new(index: u32, keys: MemberKeys, agreement: Agreement) -> Self {
        Member { index, keys, agreement, early: (Phase::New, 0, 0), stake: None, participants: BTreeMap::new() }
    }

    /// This member, new otherwise, as it was when it stored `snapshot`. What it holds is verified again. Its random
    /// numbers must not be those that it drew before.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`], if the records are malformed or not its own.
    pub fn restore(mut self, snapshot: &Snapshot) -> Result<Self, ProtocolError> {
        let restored =
            Stake::restore(Party::Member(self.index), &self.keys.factory.public_key(), self.channel_keys(), snapshot);
        let error = |reason| ProtocolError { phase: Phase::New, culprit: None, reason };
        self.stake = restored.map_err(error)?;
        if let Some(stake) = &self.stake {
            let checked = check::factory(&self.agreement, self.index, &self.keys.public(), &stake.factory);
            checked.map_err(|mismatch| error(mismatch.into()))?;
        }
        Ok(self)
    }

    /// What it needs of its keys in its channels.
    fn channel_keys(&self) -> (secp256k1::Keypair, bitcoin::ScriptBuf) {
        (self.keys.channel, self.keys.payout.clone())
    }

    /// The record under `key`, as it is now; `None` if there is nothing to store.
    pub fn record(&self, key: Key) -> Option<Vec<u8>> {
        self.stake.as_ref()?.record(key)
    }

    /// All records.
    pub fn snapshot(&self) -> Snapshot {
        self.stake.as_ref().map(Stake::snapshot).unwrap_or_default()
    }

    /// What must be watched on the chain, as all [`Effect::Watch`] so far have said: for who drives a restored party.
    pub fn watched(&self) -> Vec<bitcoin::OutPoint> {
        self.stake.as_ref().map(Stake::watched).unwrap_or_default()
    }

    /// After a restart: blocks up to `height` are there already, and will only be shown late. They count for locks and
    /// confirmations, but not as time in which others have failed to answer.
    pub fn catch_up_until(&mut self, height: u32) {
        if let Some(stake) = &mut self.stake {
            stake.catch_up_until(height);
        }
    }

    /// How far the member is.
    pub fn phase(&self) -> Phase {
        self.stake.as_ref().map_or(self.early.0, |stake| stake.core.phase)
    }

    /// The height of the last block that it was shown.
    pub fn height(&self) -> u32 {
        self.stake.as_ref().map_or(self.early.2, |stake| stake.core.height)
    }

    /// The factory, once the operator has made it.
    pub fn factory(&self) -> Option<&Arc<Factory>> {
        self.stake.as_ref().map(|stake| &stake.factory)
    }

    /// A transaction that the member holds complete.
    pub fn transaction(&self, name: TxName) -> Option<&Arc<Complete>> {
        self.stake.as_ref()?.transaction(name)
    }

    /// The member's end of its channel, once the factory is known; `None` for any other member's.
    pub fn channel(&self, member: u32) -> Option<&ChannelEnd> {
        self.stake.as_ref()?.end(member)
    }

    /// Takes one input and says what to do about it. Every random number comes from `rng`.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`], if the input is refused. The state is then as it was.
    pub fn handle(&mut self, input: Input, rng: &mut dyn CryptoRng) -> Result<Vec<Effect>, ProtocolError> {
        let phase = self.phase();
        let (culprit, result) = match input {
            Input::Message { from, message } => (Some(from), self.on_message(from, message, rng)),
            Input::Command(command) => (None, user::command(self.stake.as_mut(), command, rng)),
            Input::Block(block) => (None, self.on_block(&block, rng)),
        };
        let effects = result.map_err(|reason| ProtocolError { phase, culprit, reason })?;
        Ok(match &mut self.stake {
            Some(stake) => stake.flush(effects),
            None => effects,
        })
    }

    fn on_message(&mut self, from: Party, message: Message, rng: &mut dyn CryptoRng) -> Effects {
        if from != Party::Operator {
            return Err(Reason::UnknownSender(from));
        }
        match message {
            Message::Invite { member, capacity, offer } => self.on_invite(member, capacity, &offer),
            Message::Factory(factory) => self.on_factory(factory),
            Message::About { factory, body } => {
                let Some(stake) = &mut self.stake else {
                    return Err(Reason::Unexpected("a message about a factory that is not there yet"));
                };
                let expected = stake.factory.digest();
                if factory != expected {
                    return Err(Reason::OtherFactory { expected, found: factory });
                }
                match body {
                    Body::Sign { joint, session, step } => self.on_step(joint, session, step, rng),
                    Body::Channel(exchange) => on_exchange(stake, *exchange, rng),
                    Body::Ready => on_ready(stake),
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
        match self.phase() {
            // An invitation that comes again asks for the same answer: the first may have been lost.
            Phase::New | Phase::Joining => {
                if self.early.0 == Phase::New {
                    (self.early.0, self.early.1) = (Phase::Joining, 0);
                }
                Ok(vec![send(Message::Join(Box::new(self.keys.public())))])
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The factory shows by the member's keys that it has joined, whether or not it remembers.
    fn on_factory(&mut self, factory: Arc<Factory>) -> Effects {
        if let Some(stake) = &self.stake {
            let same = stake.factory.digest() == factory.digest();
            return if same { Ok(Vec::new()) } else { Err(Reason::Contradiction("factory")) };
        }
        if self.early.0 == Phase::Aborted {
            return Err(Reason::Unexpected("a factory after this party has given up"));
        }
        check::factory(&self.agreement, self.index, &self.keys.public(), &factory)?;
        let rules = factory.terms().channel_rules(self.index).expect("this party is one of the members");
        let me = Party::Member(self.index);
        let ends = vec![ChannelEnd::new(me, self.index, rules)];
        let core = Core::new(me, Phase::SigningRefunds, self.early.2);
        let mut stake = Stake::new(me, factory, self.channel_keys(), ends, core);
        for key in [Key::Factory, Key::Core, Key::Channel(self.index)] {
            stake.touch(key);
        }
        let effects = stake.watched().into_iter().map(Effect::Watch).collect();
        self.stake = Some(stake);
        Ok(effects)
    }

    fn on_block(&mut self, block: &Block, rng: &mut dyn CryptoRng) -> Effects {
        let patience = self.agreement.offer.patience.saturating_mul(MEMBER_PATIENCE);
        let Some(stake) = &mut self.stake else {
            self.early.1 = self.early.1.saturating_add(1);
            self.early.2 = block.height;
            if self.early.0 == Phase::Joining && self.early.1 > patience {
                self.early.0 = Phase::Aborted;
                let (phase, cause, culprits) = (Phase::Joining, Cause::Silence, vec![Party::Operator]);
                return Ok(vec![Effect::Report(Event::Aborted { phase, cause, culprits })]);
            }
            return Ok(Vec::new());
        };
        let (deep, mut effects) = stake.on_block(block);
        let index = self.index;
        let passed = stake.tick();
        if deep.contains(&TxName::Funding) && (Phase::Funding..Phase::OnChain).contains(&stake.core.phase) {
            stake.core.waited = 0;
            stake.touch(Key::Channel(index));
            if stake.end_mut(index)?.0.ready() {
                effects.extend(went_live(stake));
            }
            effects.push(tell(stake, Body::Ready));
        } else if passed
            && stake.core.phase < Phase::OnChain
            && stake.ends.iter().any(|end| end.is_ready() && !end.is_live())
        {
            effects.push(tell(stake, Body::Ready));
        }
        if passed {
            effects.extend(late(stake, patience));
        }
        if passed && stake.core.phase < Phase::OnChain {
            let (end, context) = stake.end_mut(index)?;
            effects.extend(end.ask_again(context, rng)?);
            effects.extend(user::claim_again(stake, rng));
        }
        effects.extend(stake.rebroadcast());
        effects.extend(stake.close_if_settled());
        Ok(effects)
    }

    /// A step of a signing session, from the operator.
    fn on_step(&mut self, joint: Joint, session: u32, step: Step, rng: &mut dyn CryptoRng) -> Effects {
        let key = self.keys.factory;
        let Some(stake) = &mut self.stake else {
            return Err(Reason::Unexpected("a step of a signing session before the factory"));
        };
        match step {
            Step::Propose(proposal) => self.on_proposal(joint, session, &proposal, rng),
            Step::Aggregates(aggregates) => {
                let Some(participant) = self.participants.get_mut(&joint).filter(|known| session <= known.session())
                else {
                    // A restart has ended the session here: another will follow.
                    return Ok(Vec::new());
                };
                if session < participant.session() || stake.core.phase >= Phase::OnChain {
                    return Ok(Vec::new());
                }
                let Some(shares) = participant.aggregates(aggregates, &key)? else { return Ok(Vec::new()) };
                stake.core.sessions.insert(joint, session);
                stake.touch(Key::Core);
                Ok(vec![tell(stake, Body::Sign { joint, session, step: Step::Shares(shares) })])
            }
            Step::Signatures(witnesses) => on_signatures(stake, joint, session, &witnesses),
            Step::Nonces(_) | Step::Shares(_) | Step::Held => Err(Reason::Unexpected("a step that only members take")),
        }
    }

    fn on_proposal(&mut self, joint: Joint, session: u32, proposal: &Proposal, rng: &mut dyn CryptoRng) -> Effects {
        let key = self.keys.factory;
        let Some(stake) = &mut self.stake else {
            return Err(Reason::Unexpected("a proposal before the factory"));
        };
        let known = self.participants.get(&joint).map_or(0, Participant::session).max(stake.core.session(joint));
        if session <= known || stake.core.phase >= Phase::OnChain {
            return Ok(Vec::new());
        }
        let end = stake.end(self.index).ok_or(Reason::NotLive(self.index))?;
        let agreed = end.agreed().ok_or(Reason::NotYetHeld(TxName::Refund(self.index, 0)))?;
        let (task, phase) = match (joint, proposal) {
            (Joint::Allocation, Proposal::Allocation(proposed)) => {
                check::allocation(&stake.factory, proposed)?;
                (Task::allocation(&stake.factory), Phase::SigningAllocation)
            }
            (Joint::FactoryClose, Proposal::FactoryClose { balances, rungs }) => {
                if stake.allocation.is_none() {
                    return Err(Reason::NotYetHeld(TxName::Allocation));
                }
                if end.close().is_none() {
                    return Err(Reason::NotYetHeld(TxName::Close(self.index)));
                }
                if stake.close.as_ref().is_some_and(|known| known.balances() != balances) {
                    return Err(Reason::Contradiction("factory close"));
                }
                let own = (self.index, agreed.member());
                let close = check::factory_close(&stake.factory, own, balances, rungs)?;
                stake.close = Some(close.clone());
                stake.touch(Key::Joint(joint));
                (Task::factory_close(&stake.factory, &close), Phase::SigningFactoryClose)
            }
            _ => return Err(Reason::Unexpected("a proposal under the name of another transaction")),
        };
        // Nothing is refused from here on.
        let (participant, nonces) = Participant::new(task, session, &key, rng);
        self.participants.insert(joint, participant);
        stake.advance(phase);
        Ok(vec![tell(stake, Body::Sign { joint, session, step: Step::Nonces(nonces) })])
    }
}

fn on_signatures(stake: &mut Stake, joint: Joint, session: u32, witnesses: &[WireWitness]) -> Effects {
    if stake.core.phase == Phase::Aborted {
        // With its acknowledgement the operator would fund a factory that this party has given up.
        return Ok(Vec::new());
    }
    // Signatures that come again ask for the same answer: the first may have been lost.
    let held = tell(stake, Body::Sign { joint, session, step: Step::Held });
    let holds = match joint {
        Joint::Allocation => stake.allocation.is_some(),
        Joint::FactoryClose => !stake.rungs.is_empty(),
    };
    if holds {
        return Ok(vec![held]);
    }
    if stake.core.session(joint) == 0 {
        return Err(Reason::Unexpected("signatures that this party has no share in"));
    }
    let (task, phase) = match (joint, &stake.close) {
        (Joint::Allocation, _) => (Task::allocation(&stake.factory), Phase::Funding),
        (Joint::FactoryClose, Some(close)) => (Task::factory_close(&stake.factory, close), Phase::FactoryCloseSigned),
        (Joint::FactoryClose, None) => return Err(Reason::Unexpected("signatures of what was not proposed")),
    };
    let complete = task.complete(witnesses)?;
    let reports = task.names().into_iter().map(|name| Effect::Report(Event::Complete(name)));
    let effects = [held].into_iter().chain(reports).collect();
    match joint {
        Joint::Allocation => stake.allocation = complete.into_iter().next(),
        Joint::FactoryClose => stake.rungs = complete,
    }
    stake.touch(Key::Joint(joint));
    stake.advance(phase);
    Ok(effects)
}

fn on_exchange(stake: &mut Stake, exchange: Exchange, rng: &mut dyn CryptoRng) -> Effects {
    let Party::Member(index) = stake.me else { return Err(Reason::UnknownSender(stake.me)) };
    user::check_exchange(stake.core.phase, index, &exchange)?;
    let (end, context) = stake.end_mut(index)?;
    let effects = end.on_exchange(context, exchange, rng)?;
    let (has_refund, is_frozen, has_close) = (end.agreed().is_some(), end.is_frozen(), end.close().is_some());
    if has_refund && stake.core.phase == Phase::SigningRefunds {
        stake.advance(Phase::SigningAllocation);
    }
    if is_frozen && stake.core.phase < Phase::OnChain {
        stake.advance(if has_close { Phase::ClosesSigned } else { Phase::SigningCloses });
    }
    Ok(effects)
}

fn on_ready(stake: &mut Stake) -> Effects {
    let Party::Member(index) = stake.me else { return Err(Reason::UnknownSender(stake.me)) };
    if stake.core.phase < Phase::Funding {
        return Err(Reason::Unexpected("news of the funding before this party holds the allocation"));
    }
    if stake.core.phase >= Phase::OnChain {
        return Ok(Vec::new());
    }
    let (end, _) = stake.end_mut(index)?;
    if end.is_live() {
        // That it comes again shows that the answer was lost.
        let again = end.repeats_ready();
        return Ok(again.then(|| tell(stake, Body::Ready)).into_iter().collect());
    }
    let live = end.other_ready();
    stake.touch(Key::Channel(index));
    Ok(if live { went_live(stake) } else { Vec::new() })
}

fn went_live(stake: &mut Stake) -> Vec<Effect> {
    stake.advance(Phase::Live);
    stake.ends.iter().map(|end| Effect::Report(Event::Live { channel: end.member() })).collect()
}

/// What the member does if the operator has kept it waiting for too long.
fn late(stake: &mut Stake, patience: u32) -> Vec<Effect> {
    let phase = stake.core.phase;
    let operator = vec![Party::Operator];
    let is_late = match phase {
        // While it gets its confirmations nobody is late, however long it has taken.
        Phase::Funding if !stake.ends.iter().all(ChannelEnd::is_ready) => {
            !stake.is_confirmed(TxName::Funding) && stake.core.waited > patience.saturating_mul(FUNDING_PATIENCE)
        }
        Phase::Live => stake.ends.iter().any(|end| end.waiting() > patience),
        Phase::New | Phase::Joining | Phase::OnChain | Phase::Closed | Phase::Aborted => false,
        _ => stake.core.waited > patience,
    };
    if is_late { stake.fall_back(Cause::Silence, operator) } else { Vec::new() }
}

fn tell(stake: &Stake, body: Body) -> Effect {
    send(Message::About { factory: stake.factory.digest(), body })
}

fn send(message: Message) -> Effect {
    Effect::Send { to: Party::Operator, message }
}
