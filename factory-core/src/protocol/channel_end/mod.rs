//! One party's side of one channel: which states it has agreed to, which it has signed without holding them, and the
//! exchange in which the two sides sign a refund or the close.
//!
//! Whoever proposes signs last. So the other side, once it has signed, has to reckon with a state that it does not hold:
//! until the complete refund arrives, both that state and the one before may be enforced against it.

mod exchange;

use std::sync::Arc;

use rand_core::CryptoRng;
use secp256k1::Keypair;
use serde::{Deserialize, Serialize};

use crate::channel::{Change, ChannelRules, State};
use crate::factory::Factory;
use crate::lock::Signer;
use crate::name::Party;
use crate::protocol::message::{Body, Exchange, WireWitness};
use crate::protocol::record::Key;
use crate::protocol::{Effect, Message, Reason};
use crate::tx::{Complete, Unsigned, channel_close, refund};

/// The most states that a party signs without holding one of them.
const MAX_RELEASED: usize = 8;

/// One party's side of one channel.
#[derive(Debug)]
pub struct ChannelEnd {
    me: Party,
    member: u32,
    rules: ChannelRules,
    data: Data,
    /// The refund of the agreed state.
    refund: Option<Arc<Complete>>,
    close: Option<Arc<Complete>>,
    /// The nonce of this party's last proposal. It is nowhere but here, so a restart makes the proposal anew.
    outgoing: Option<Outgoing>,
    /// For how many blocks something has been outstanding.
    waiting: u32,
    /// Whether this party has repeated since the last block that it has seen the funding confirmed.
    ready_repeated: bool,
}

/// What is stored of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::protocol) struct Data {
    ready: bool,
    other_ready: bool,
    agreed: Option<Agreed>,
    /// What this party has signed, newest last, and does not hold: all newer than what it holds.
    released: Vec<Successor>,
    proposal: Option<Proposal>,
    /// Whether the other side is known to hold the agreed state, too.
    acknowledged: bool,
    close: CloseStage,
    close_acknowledged: bool,
    /// How many proposals this party has made.
    sent: u32,
    /// The last proposal of the other side that this party has answered.
    answered: u32,
    /// Preimages of HTLCs that were offered to this party, by their numbers.
    preimages: Vec<(u32, [u8; 32])>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Agreed {
    state: State,
    witness: WireWitness,
}

/// A state, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Successor {
    state: State,
    by: Party,
    /// What it changed; nothing in the first state.
    change: Option<Change>,
}

/// What this party has proposed and not signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Proposal {
    State(Successor),
    Close,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum CloseStage {
    Open,
    /// This party has signed the close, and does not hold it.
    Released,
    Held(WireWitness),
}

#[derive(Debug)]
struct Outgoing {
    attempt: u32,
    signer: Signer,
    unsigned: Unsigned,
}

/// What a side of a channel needs to know to sign.
#[derive(Clone, Copy)]
pub(in crate::protocol) struct Context<'a> {
    pub(in crate::protocol) factory: &'a Factory,
    pub(in crate::protocol) key: &'a Keypair,
    pub(in crate::protocol) height: u32,
}

type Effects = Result<Vec<Effect>, Reason>;

impl ChannelEnd {
    pub(in crate::protocol) fn new(me: Party, member: u32, rules: ChannelRules) -> Self {
        let data = Data {
            ready: false,
            other_ready: false,
            agreed: None,
            released: Vec::new(),
            proposal: None,
            acknowledged: false,
            close: CloseStage::Open,
            close_acknowledged: false,
            sent: 0,
            answered: 0,
            preimages: Vec::new(),
        };
        ChannelEnd {
            me,
            member,
            rules,
            data,
            refund: None,
            close: None,
            outgoing: None,
            waiting: 0,
            ready_repeated: false,
        }
    }

    /// The side as it was stored. What it holds is verified again.
    pub(in crate::protocol) fn restore(me: Party, member: u32, factory: &Factory, data: Data) -> Result<Self, Reason> {
        let rules = factory.terms().channel_rules(member).ok_or(Reason::UnknownPayee(Party::Member(member)))?;
        let lock = factory.channel(member)?.lock;
        let proposed = match &data.proposal {
            Some(Proposal::State(successor)) => Some(successor),
            _ => None,
        };
        for Successor { state, change, .. } in data.released.iter().chain(proposed) {
            refund::build(factory, member, state)?;
            if change.is_some() != (state.number() > 0) {
                return Err(Reason::Records("a state does not say how it came about"));
            }
        }
        let closing = data.close != CloseStage::Open || data.proposal == Some(Proposal::Close);
        if data.agreed.is_none() && (closing || data.acknowledged) {
            return Err(Reason::Records("a channel is settled in no state"));
        }
        let mut end = ChannelEnd::new(me, member, rules);
        if let Some(Agreed { state, witness }) = &data.agreed {
            let complete = refund::build(factory, member, state)?.complete(lock, witness.0.clone())?;
            end.refund = Some(Arc::new(complete));
            if let CloseStage::Held(witness) = &data.close {
                let close = channel_close::build(factory, member, state.member())?;
                end.close = Some(Arc::new(close.complete(lock, witness.0.clone())?));
            }
        }
        end.data = data;
        Ok(end)
    }

    pub(in crate::protocol) fn data(&self) -> &Data {
        &self.data
    }

    /// The newest state whose refund this party holds. `None` until it holds the first.
    pub fn agreed(&self) -> Option<&State> {
        self.data.agreed.as_ref().map(|agreed| &agreed.state)
    }

    /// States that this party has signed and does not hold, all newer than the agreed one.
    pub fn released(&self) -> impl Iterator<Item = &State> {
        self.data.released.iter().map(|released| &released.state)
    }

    /// Every state that may still be enforced, as far as this party can know: the agreed one, and all that it has
    /// signed since without getting the complete refund.
    pub fn enforceable(&self) -> impl Iterator<Item = &State> {
        self.agreed().into_iter().chain(self.released())
    }

    /// Whether no HTLC is pending, and no state or close is half-signed or proposed.
    pub fn is_quiescent(&self) -> bool {
        let settled = self.agreed().is_some_and(|state| state.htlcs().is_empty());
        settled && self.data.released.is_empty() && self.data.proposal.is_none()
    }

    /// Whether both sides have seen the funding confirmed.
    pub fn is_live(&self) -> bool {
        self.data.ready && self.data.other_ready
    }

    /// Whether the channel is frozen for its close: no state ever follows.
    pub fn is_frozen(&self) -> bool {
        self.data.close != CloseStage::Open || self.data.proposal == Some(Proposal::Close)
    }

    /// The refund of the agreed state.
    pub fn refund(&self) -> Option<&Arc<Complete>> {
        self.refund.as_ref()
    }

    /// The channel close, once this party holds it.
    pub fn close(&self) -> Option<&Arc<Complete>> {
        self.close.as_ref()
    }

    /// The member whose channel it is.
    pub fn member(&self) -> u32 {
        self.member
    }

    pub(in crate::protocol) fn rules(&self) -> &ChannelRules {
        &self.rules
    }

    /// Whether nothing has been proposed or signed yet.
    pub(in crate::protocol) fn is_untouched(&self) -> bool {
        self.data.agreed.is_none() && self.data.proposal.is_none()
    }

    /// Whether both sides are known to hold the agreed state.
    pub(in crate::protocol) fn is_acknowledged(&self) -> bool {
        self.data.agreed.is_some() && self.data.acknowledged
    }

    /// Whether both sides are known to hold the close.
    pub(in crate::protocol) fn is_close_acknowledged(&self) -> bool {
        self.close.is_some() && self.data.close_acknowledged
    }

    /// This party has seen the funding confirmed. Says whether that makes the channel live.
    pub(in crate::protocol) fn ready(&mut self) -> bool {
        !std::mem::replace(&mut self.data.ready, true) && self.data.other_ready
    }

    pub(in crate::protocol) fn is_ready(&self) -> bool {
        self.data.ready
    }

    /// The other side has. Says whether that makes the channel live.
    pub(in crate::protocol) fn other_ready(&mut self) -> bool {
        !std::mem::replace(&mut self.data.other_ready, true) && self.data.ready
    }

    /// The other side says again what this one knows: what this one said was lost. Says whether to repeat it. Once in a
    /// block at most, or a message that comes twice would go back and forth for ever.
    pub(in crate::protocol) fn repeats_ready(&mut self) -> bool {
        self.data.ready && !std::mem::replace(&mut self.ready_repeated, true)
    }

    /// The preimage of an HTLC that was offered to this party, if it knows it.
    pub(in crate::protocol) fn preimage(&self, id: u32) -> Option<&[u8; 32]> {
        self.data.preimages.iter().find(|(known, _)| *known == id).map(|(_, preimage)| preimage)
    }

    pub(in crate::protocol) fn remember(&mut self, id: u32, preimage: [u8; 32]) -> bool {
        let new = self.preimage(id).is_none();
        if new {
            self.data.preimages.push((id, preimage));
        }
        new
    }

    /// An HTLC that can be taken now by an update: its number and its preimage. Only where this party holds the state
    /// that has it, and there is time left to enforce that: else the preimage would be shown for nothing.
    pub(in crate::protocol) fn claimable(&self, height: u32) -> Option<(u32, [u8; 32])> {
        if self.is_frozen() || !self.is_live() || self.data.proposal.is_some() || !self.data.released.is_empty() {
            return None;
        }
        let agreed = self.agreed()?;
        let in_time = |expiry| u64::from(height) < self.rules.last_chance(agreed.number(), expiry);
        let timely = agreed.htlcs().iter().filter(|htlc| in_time(htlc.expiry));
        timely.filter_map(|htlc| Some((htlc.id, *self.preimage(htlc.id)?))).next()
    }

    fn other(&self) -> Party {
        match self.me {
            Party::Operator => Party::Member(self.member),
            Party::Member(_) => Party::Operator,
        }
    }

    /// The newest state that this party has signed.
    fn newest(&self) -> Option<&State> {
        self.data.released.last().map(|released| &released.state).or(self.agreed())
    }

    fn persist(&self) -> Effect {
        Effect::Persist(Key::Channel(self.member))
    }

    fn send(&self, context: Context<'_>, exchange: Exchange) -> Effect {
        let body = Body::Channel(Box::new(exchange));
        Effect::Send { to: self.other(), message: Message::About { factory: context.factory.digest(), body } }
    }

    /// Operator: proposes the first state, before anything else is signed.
    pub(in crate::protocol) fn propose_first(&mut self, context: Context<'_>, rng: &mut dyn CryptoRng) -> Effects {
        let first = Successor { state: self.rules.first_state(), by: self.me, change: None };
        self.propose(context, Proposal::State(first), rng)
    }

    /// Proposes a change of the newest state.
    pub(in crate::protocol) fn propose_change(
        &mut self,
        context: Context<'_>,
        change: Change,
        rng: &mut dyn CryptoRng,
    ) -> Effects {
        let base = self.newest().filter(|_| self.is_live()).ok_or(Reason::NotLive(self.member))?;
        if self.is_frozen() {
            return Err(Reason::Frozen(self.member));
        }
        if self.data.proposal.is_some() {
            return Err(Reason::InFlight(self.member));
        }
        let state = base.after(&change, self.me, &self.rules)?;
        self.check_expiry(&change, base.number(), context.height, true)?;
        self.propose(context, Proposal::State(Successor { state, by: self.me, change: Some(change) }), rng)
    }

    /// Operator: freezes the channel, and proposes its close.
    pub(in crate::protocol) fn propose_close(&mut self, context: Context<'_>, rng: &mut dyn CryptoRng) -> Effects {
        self.propose(context, Proposal::Close, rng)
    }

    /// Whether the operator may freeze the channel.
    pub(in crate::protocol) fn check_quiescent(&self) -> Result<(), Reason> {
        if !self.is_live() {
            return Err(Reason::NotLive(self.member));
        }
        if self.data.proposal.is_some() || !self.data.released.is_empty() || !self.data.acknowledged {
            return Err(Reason::InFlight(self.member));
        }
        match self.agreed().map_or(0, |state| state.htlcs().len()) {
            0 => Ok(()),
            pending => Err(Reason::HtlcsPending { channel: self.member, pending }),
        }
    }

    /// For how many blocks the other side has owed an answer.
    pub(in crate::protocol) fn waiting(&self) -> u32 {
        self.waiting
    }

    fn is_waiting(&self) -> bool {
        let unacknowledged = self.data.agreed.is_some() && !self.data.acknowledged;
        let half_signed = !self.data.released.is_empty() || self.data.close == CloseStage::Released;
        self.data.proposal.is_some() || half_signed || unacknowledged
    }

    /// A block has passed.
    pub(in crate::protocol) fn tick(&mut self) {
        self.ready_repeated = false;
        self.waiting = if self.is_waiting() { self.waiting.saturating_add(1) } else { 0 };
    }

    /// Says again what the other side has not answered, with a fresh nonce where one is needed.
    pub(in crate::protocol) fn ask_again(&mut self, context: Context<'_>, rng: &mut dyn CryptoRng) -> Effects {
        if let Some(proposal) = self.data.proposal.clone() {
            return self.propose(context, proposal, rng);
        }
        let lagging = match self.data.close {
            CloseStage::Held(_) => !self.data.close_acknowledged,
            CloseStage::Released => false,
            CloseStage::Open => self.data.agreed.is_some() && !self.data.acknowledged,
        };
        Ok(if lagging { self.completion(context).into_iter().collect() } else { Vec::new() })
    }

    /// The states whose refund `txid` may be: those that may be enforced.
    pub(in crate::protocol) fn state_of(&self, factory: &Factory, txid: bitcoin::Txid) -> Option<&State> {
        if self.refund.as_ref().is_some_and(|refund| refund.txid() == txid) {
            return self.agreed();
        }
        let proposed = match &self.data.proposal {
            Some(Proposal::State(successor)) => Some(&successor.state),
            _ => None,
        };
        let is =
            |state: &&State| refund::build(factory, self.member, state).is_ok_and(|unsigned| unsigned.txid() == txid);
        self.released().chain(proposed).find(is)
    }

    /// Whether `txid` is the close of the agreed state, whoever holds it.
    pub(in crate::protocol) fn is_close(&self, factory: &Factory, txid: bitcoin::Txid) -> bool {
        match (&self.close, self.agreed()) {
            (Some(close), _) => close.txid() == txid,
            (None, Some(agreed)) => channel_close::build(factory, self.member, agreed.member())
                .is_ok_and(|unsigned| unsigned.txid() == txid),
            (None, None) => false,
        }
    }
}
