//! The exchange in which the two sides of a channel sign a refund or the close: proposal, acceptance, completion,
//! acknowledgement.

use std::sync::Arc;

use rand_core::CryptoRng;

use super::{Agreed, ChannelEnd, CloseStage, Context, Effects, MAX_RELEASED, Outgoing, Proposal, Successor};
use crate::channel::{Change, ChangeError};
use crate::factory::Factory;
use crate::lock::{Lock, Nonce, Share, Signer};
use crate::name::{Party, TxName};
use crate::protocol::message::{Content, Exchange, Proposed, Slot, WireWitness};
use crate::protocol::{Effect, Event, Mismatch, Reason, check};
use crate::tx::{Complete, Unsigned, channel_close, refund};

impl ChannelEnd {
    pub(super) fn check_expiry(
        &self,
        change: &Change,
        state: u32,
        height: u32,
        proposing: bool,
    ) -> Result<(), ChangeError> {
        let Change::AddHtlc { expiry, .. } = *change else { return Ok(()) };
        let earliest = self.rules.earliest_expiry(state, height, proposing);
        if u64::from(expiry) < earliest { Err(ChangeError::ExpiryTooSoon { expiry, earliest }) } else { Ok(()) }
    }

    fn unsigned(&self, factory: &Factory, proposal: &Proposal) -> Result<Unsigned, Reason> {
        Ok(match proposal {
            Proposal::State(successor) => refund::build(factory, self.member, &successor.state)?,
            Proposal::Close => {
                let agreed = self.agreed().ok_or(Reason::NotLive(self.member))?;
                channel_close::build(factory, self.member, agreed.member())?
            }
        })
    }

    pub(super) fn propose(&mut self, context: Context<'_>, proposal: Proposal, rng: &mut dyn CryptoRng) -> Effects {
        let unsigned = self.unsigned(context.factory, &proposal)?;
        let lock = context.factory.channel(self.member)?.lock;
        let signer = Signer::new(rng, lock, context.key, unsigned.sighash());
        let content = match &proposal {
            Proposal::State(Successor { change: None, .. }) => Content::FirstState,
            Proposal::State(Successor { state, change: Some(change), .. }) => {
                Content::State { base: state.number() - 1, change: *change }
            }
            Proposal::Close => {
                let agreed = self.agreed().ok_or(Reason::NotLive(self.member))?;
                Content::Close { state: agreed.number(), balance: agreed.member() }
            }
        };
        // It counts this party's own proposals: only a stored record could make it so large.
        self.data.sent = self.data.sent.saturating_add(1);
        self.data.proposal = Some(proposal);
        let proposed = Proposed::new(&unsigned, lock.kind().sighash_type());
        let exchange = Exchange::Propose { attempt: self.data.sent, content, proposed, nonce: signer.public() };
        self.outgoing = Some(Outgoing { attempt: self.data.sent, signer, unsigned });
        Ok(vec![self.persist(), self.send(context, exchange)])
    }

    /// A step of the exchange, from the other side.
    pub(in crate::protocol) fn on_exchange(
        &mut self,
        context: Context<'_>,
        exchange: Exchange,
        rng: &mut dyn CryptoRng,
    ) -> Effects {
        match exchange {
            Exchange::Propose { attempt, .. } if attempt <= self.data.answered => Ok(Vec::new()),
            Exchange::Propose { attempt, content, proposed, nonce } => {
                self.on_propose(context, attempt, content, &proposed, &nonce, rng)
            }
            Exchange::Accept { attempt, nonce, share } => self.on_accept(context, attempt, &nonce, &share),
            Exchange::Complete { slot, witness } => self.on_complete(context, slot, witness),
            Exchange::Held { slot } => Ok(self.on_held(slot)),
        }
    }

    fn on_propose(
        &mut self,
        context: Context<'_>,
        attempt: u32,
        content: Content,
        proposed: &Proposed,
        nonce: &Nonce,
        rng: &mut dyn CryptoRng,
    ) -> Effects {
        let factory = context.factory;
        let answer = match content {
            Content::FirstState | Content::Close { .. } if self.me == Party::Operator => {
                return Err(Reason::Unexpected("a proposal that only the operator makes"));
            }
            Content::FirstState if self.data.agreed.is_some() => return Ok(Vec::new()),
            Content::FirstState => {
                let state = self.rules.first_state();
                let unsigned = check::refund(factory, self.member, &state, proposed)?;
                Answer { successor: Some(Successor { state, by: self.other(), change: None }), unsigned }
            }
            Content::State { base, change } => {
                match self.successor(context, base, change)? {
                    Derived::Successor(successor) => {
                        let unsigned = check::refund(factory, self.member, &successor.state, proposed)?;
                        Answer { successor: Some(successor), unsigned }
                    }
                    // The other side does not know yet that the state is complete.
                    Derived::Lagging => return Ok(self.completion(context).into_iter().collect()),
                    Derived::Crossing => return Ok(Vec::new()),
                }
            }
            Content::Close { .. } if self.close.is_some() => return Ok(Vec::new()),
            Content::Close { state, balance } => {
                let agreed = self.agreed().filter(|_| self.is_live()).ok_or(Reason::NotLive(self.member))?;
                if !self.data.released.is_empty() {
                    return Err(Reason::InFlight(self.member));
                }
                let unsigned = check::close(factory, self.member, agreed, (state, balance), proposed)?;
                Answer { successor: None, unsigned }
            }
        };
        let lock = factory.channel(self.member)?.lock;
        let signer = Signer::new(rng, lock, context.key, answer.unsigned.sighash());
        let own_nonce = signer.public();
        let session = lock.session(&lock.aggregate([nonce, &own_nonce])?, answer.unsigned.sighash())?;
        // Nothing is refused from here on.
        let share = signer.sign(lock, &session, context.key);
        self.data.answered = attempt;
        // Who asks for the same again and again makes no progress, and lets nobody wait longer.
        let (mut put_off, mut shown) = (None, None);
        match answer.successor {
            Some(successor) => {
                shown = self.preimage_shown_by(&successor);
                if !self.data.released.contains(&successor) {
                    put_off = self.put_off();
                    // Who builds on the agreed state holds it.
                    self.data.acknowledged |= self.data.agreed.is_some() && self.data.released.is_empty();
                    self.data.released.push(successor);
                }
            }
            None => {
                put_off = self.put_off();
                self.data.acknowledged = true;
                self.data.close = CloseStage::Released;
            }
        }
        let accept = Exchange::Accept { attempt, nonce: own_nonce, share };
        let reports = put_off.into_iter().chain(shown).map(Effect::Report);
        Ok([self.persist(), self.send(context, accept)].into_iter().chain(reports).collect())
    }

    /// What a state that the other side has proposed tells this party: it may never see it complete, and yet have paid.
    fn preimage_shown_by(&self, successor: &Successor) -> Option<Event> {
        match successor.change {
            Some(Change::FulfilHtlc { id, preimage }) if successor.by != self.me => {
                Some(Event::Preimage { channel: self.member, id, preimage })
            }
            _ => None,
        }
    }

    /// What a state shows that this party has signed and never seen complete.
    pub(in crate::protocol) fn preimage_shown_in(&self, state: u32) -> Option<Event> {
        let released = self.data.released.iter().find(|released| released.state.number() == state)?;
        self.preimage_shown_by(released)
    }

    /// The state that the other side proposes, on top of `base`.
    fn successor(&self, context: Context<'_>, base: u32, change: Change) -> Result<Derived, Reason> {
        let agreed = self.agreed().ok_or(Reason::NotLive(self.member))?;
        if base < agreed.number() {
            return Ok(Derived::Lagging);
        }
        if self.is_frozen() {
            return match self.me {
                // It crosses with the operator's own close, which goes first.
                Party::Operator => Ok(Derived::Crossing),
                // The operator froze the channel itself, before it sent this.
                Party::Member(_) => Err(Reason::Frozen(self.member)),
            };
        }
        if !self.is_live() {
            return Err(Reason::NotLive(self.member));
        }
        if let Some(known) = self.data.released.iter().find(|known| Some(known.state.number()) == base.checked_add(1)) {
            let same = known.change == Some(change);
            return if same { Ok(Derived::Successor(known.clone())) } else { Err(Reason::Contradiction("state")) };
        }
        if let Some(Proposal::State(own)) = &self.data.proposal {
            // Crossing proposals of one number: the operator's goes first. A proposal on top of this party's own shows
            // that an answer is still under way.
            if self.me == Party::Operator || own.state.number() == base {
                return Ok(Derived::Crossing);
            }
        }
        if self.data.released.len() >= MAX_RELEASED {
            return Err(Reason::InFlight(self.member));
        }
        let newest = self.newest().unwrap_or(agreed);
        if newest.number() != base {
            let (expected, found) = (newest.number().to_string(), base.to_string());
            return Err(Mismatch { field: "base state", expected, found }.into());
        }
        let state = newest.after(&change, self.other(), &self.rules)?;
        self.check_expiry(&change, base, context.height, false)?;
        Ok(Derived::Successor(Successor { state, by: self.other(), change: Some(change) }))
    }

    /// Gives this party's own proposal up, in favour of the operator's.
    pub(super) fn put_off(&mut self) -> Option<Event> {
        self.outgoing = None;
        match self.data.proposal.take()? {
            Proposal::State(Successor { state, change: Some(change), .. }) => {
                Some(Event::PutOff { channel: self.member, change, state: state.number() })
            }
            Proposal::State(_) | Proposal::Close => None,
        }
    }

    fn on_accept(&mut self, context: Context<'_>, attempt: u32, nonce: &Nonce, share: &Share) -> Effects {
        let Some(outgoing) = self.outgoing.take_if(|outgoing| outgoing.attempt == attempt) else {
            return Ok(Vec::new());
        };
        let channel = context.factory.channel(self.member)?;
        match self.finish(context, channel.lock, outgoing, nonce, share) {
            Ok(complete) => Ok(self.hold_own(context, complete)),
            Err(tx) => Ok(vec![Effect::Report(Event::WrongShares { tx, culprits: vec![self.other()] })]),
        }
    }

    /// Adds this party's own share. There is but one other signer: if the outcome is wrong, it is to blame.
    fn finish(
        &self,
        context: Context<'_>,
        lock: &Lock,
        outgoing: Outgoing,
        nonce: &Nonce,
        share: &Share,
    ) -> Result<Arc<Complete>, TxName> {
        let Outgoing { signer, unsigned, .. } = outgoing;
        let tx = self.proposal_name();
        let aggregate = lock.aggregate([nonce, &signer.public()]).map_err(|_| tx)?;
        let session = lock.session(&aggregate, unsigned.sighash()).map_err(|_| tx)?;
        let own = signer.sign(lock, &session, context.key);
        let terms = context.factory.terms();
        let (operator, member) = (&terms.operator().channel, &terms.members()[self.member as usize].public.channel);
        let (mine, theirs) = if self.me == Party::Operator { (operator, member) } else { (member, operator) };
        let witness = lock.assemble(&session, [(mine, &own), (theirs, share)]).map_err(|_| tx)?;
        unsigned.complete(lock, witness).map(Arc::new).map_err(|_| tx)
    }

    fn proposal_name(&self) -> TxName {
        match &self.data.proposal {
            Some(Proposal::State(successor)) => TxName::Refund(self.member, successor.state.number()),
            _ => TxName::Close(self.member),
        }
    }

    /// This party's proposal is complete.
    fn hold_own(&mut self, context: Context<'_>, complete: Arc<Complete>) -> Vec<Effect> {
        self.waiting = 0;
        let event = match self.data.proposal.take() {
            Some(Proposal::State(successor)) => Some(self.hold_state(successor, complete, false)),
            Some(Proposal::Close) => Some(self.hold_close(complete, false)),
            None => None,
        };
        let completion = self.completion(context);
        [Some(self.persist()), completion, event.map(Effect::Report)].into_iter().flatten().collect()
    }

    fn hold_state(&mut self, successor: Successor, complete: Arc<Complete>, acknowledged: bool) -> Event {
        let Successor { state, by, change } = successor;
        let number = state.number();
        self.data.agreed = Some(Agreed { state, witness: WireWitness(complete.witness().clone()) });
        self.data.acknowledged = acknowledged;
        self.data.released.retain(|released| released.state.number() > number);
        self.refund = Some(complete);
        match change {
            Some(change) => Event::Updated { channel: self.member, by, change, state: number },
            None => Event::Complete(TxName::Refund(self.member, number)),
        }
    }

    fn hold_close(&mut self, complete: Arc<Complete>, acknowledged: bool) -> Event {
        self.data.close = CloseStage::Held(WireWitness(complete.witness().clone()));
        self.data.close_acknowledged = acknowledged;
        self.close = Some(complete);
        Event::Complete(TxName::Close(self.member))
    }

    /// What brings the other side to where this one is: the close, or else the agreed state.
    pub(super) fn completion(&self, context: Context<'_>) -> Option<Effect> {
        let complete =
            |slot, witness: &WireWitness| self.send(context, Exchange::Complete { slot, witness: witness.clone() });
        if let CloseStage::Held(witness) = &self.data.close {
            return Some(complete(Slot::Close, witness));
        }
        let agreed = self.data.agreed.as_ref()?;
        Some(complete(Slot::State(agreed.state.number()), &agreed.witness))
    }

    fn on_complete(&mut self, context: Context<'_>, slot: Slot, witness: WireWitness) -> Effects {
        let held = self.send(context, Exchange::Held { slot });
        let lock = context.factory.channel(self.member)?.lock;
        let event = match slot {
            Slot::State(number) if self.agreed().is_some_and(|agreed| agreed.number() >= number) => {
                return Ok(vec![held]);
            }
            Slot::Close if self.close.is_some() => return Ok(vec![held]),
            Slot::State(number) => {
                let released = self.data.released.iter().find(|released| released.state.number() == number);
                let released = released.ok_or(Reason::Unexpected("a state that this party has not signed"))?.clone();
                let unsigned = refund::build(context.factory, self.member, &released.state)?;
                let complete = unsigned.complete(lock, witness.0)?;
                self.hold_state(released, Arc::new(complete), true)
            }
            Slot::Close => {
                let agreed = self.agreed().filter(|_| self.data.close == CloseStage::Released);
                let agreed = agreed.ok_or(Reason::Unexpected("a close that this party has not signed"))?;
                let unsigned = channel_close::build(context.factory, self.member, agreed.member())?;
                let complete = unsigned.complete(lock, witness.0)?;
                self.hold_close(Arc::new(complete), true)
            }
        };
        self.waiting = 0;
        Ok(vec![self.persist(), held, Effect::Report(event)])
    }

    fn on_held(&mut self, slot: Slot) -> Vec<Effect> {
        let known = match slot {
            Slot::State(number) if self.agreed().is_some_and(|agreed| agreed.number() == number) => {
                &mut self.data.acknowledged
            }
            Slot::Close if self.close.is_some() => &mut self.data.close_acknowledged,
            _ => return Vec::new(),
        };
        if std::mem::replace(known, true) { Vec::new() } else { vec![self.persist()] }
    }
}

struct Answer {
    successor: Option<Successor>,
    unsigned: Unsigned,
}

enum Derived {
    Successor(Successor),
    Lagging,
    Crossing,
}
