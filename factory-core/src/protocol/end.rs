//! One party's end of a channel: what it takes to agree on a payment.
//!
//! The payer proposes the next state, the payee applies it and accepts, and then the payer applies it: the payee moves
//! first, on a link that keeps the order of its messages. There is one payment in flight at most. When both propose
//! the same state at once, the operator's payment goes first: the operator passes over the member's, and the member,
//! when it gets the operator's, puts its own off. Freezing works in the same way: a payment that a member proposes
//! while the operator freezes the channel is passed over by the operator, and put off by the member when it is asked to
//! sign the close.

use bitcoin::Amount;

use super::{Body, Event, Reason};
use crate::channel::Channel;
use crate::name::Party;

#[derive(Debug)]
pub(super) struct ChannelEnd {
    me: Party,
    member: u32,
    channel: Channel,
    /// This party's payment that is not accepted yet: how much, and what the channel will be.
    in_flight: Option<(Amount, Channel)>,
    /// Who made the last payment, and how much it was: to tell a late message from a contradictory one.
    last: Option<(Party, Amount)>,
    i_am_ready: bool,
    other_is_ready: bool,
    frozen: bool,
}

impl ChannelEnd {
    pub(super) fn new(me: Party, member: u32, channel: Channel) -> Self {
        ChannelEnd {
            me,
            member,
            channel,
            in_flight: None,
            last: None,
            i_am_ready: false,
            other_is_ready: false,
            frozen: false,
        }
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(super) fn is_live(&self) -> bool {
        self.i_am_ready && self.other_is_ready
    }

    /// This party has seen the funding. Says whether that makes the channel live.
    pub(super) fn ready(&mut self) -> bool {
        !std::mem::replace(&mut self.i_am_ready, true) && self.other_is_ready
    }

    /// The other side has seen the funding. Says whether that makes the channel live.
    pub(super) fn other_ready(&mut self) -> bool {
        !std::mem::replace(&mut self.other_is_ready, true) && self.i_am_ready
    }

    /// Proposes to pay `amount` to the other side.
    pub(super) fn pay(&mut self, amount: Amount) -> Result<Body, Reason> {
        self.check_quiescent()?;
        if self.frozen {
            return Err(Reason::Frozen(self.member));
        }
        let next = self.channel.after_payment(self.me, amount)?;
        let state = next.state();
        self.in_flight = Some((amount, next));
        Ok(Body::Pay { state, amount })
    }

    /// The other side proposes to pay. What there is to answer and to report, if anything.
    pub(super) fn proposed(&mut self, state: u64, amount: Amount) -> Result<Option<(Body, Vec<Event>)>, Reason> {
        let current = self.channel.state();
        if state <= current {
            let contradicts = state == current && self.last.is_some_and(|last| last.0 != self.me && last.1 != amount);
            return if contradicts { Err(Reason::Contradiction("payment")) } else { Ok(None) };
        }
        if !self.is_live() {
            return Err(Reason::NotLive(self.member));
        }
        let expected = current + 1;
        if state != expected {
            return Err(Reason::PaymentState { amount, expected, found: state });
        }
        match self.me {
            // It crosses with the operator's own payment or close, which goes first.
            Party::Operator if self.frozen || self.in_flight.is_some() => return Ok(None),
            // The operator froze the channel itself, before it sent this.
            Party::Member(_) if self.frozen => return Err(Reason::Frozen(self.member)),
            _ => {}
        }
        let next = self.channel.after_payment(self.other(), amount)?;
        let mut events: Vec<_> = self.put_off().into_iter().collect();
        events.push(self.apply(self.other(), amount, next));
        Ok(Some((Body::Paid { state }, events)))
    }

    /// The other side has accepted the payment that makes `state`. What there is to report, if anything.
    pub(super) fn accepted(&mut self, state: u64) -> Result<Option<Event>, Reason> {
        match self.in_flight.take_if(|(_, next)| next.state() == state) {
            Some((amount, next)) => Ok(Some(self.apply(self.me, amount, next))),
            None if state <= self.channel.state() => Ok(None),
            None => Err(Reason::Unexpected("the acceptance of a payment that is not in flight")),
        }
    }

    /// Whether the channel is live and no payment of this party is in flight.
    pub(super) fn check_quiescent(&self) -> Result<(), Reason> {
        if !self.is_live() {
            return Err(Reason::NotLive(self.member));
        }
        if self.in_flight.is_some() {
            return Err(Reason::InFlight(self.member));
        }
        Ok(())
    }

    /// From now on the channel never changes. A payment of this party that is in flight is put off: the operator has
    /// passed over it.
    pub(super) fn freeze(&mut self) -> Option<Event> {
        self.frozen = true;
        self.put_off()
    }

    fn put_off(&mut self) -> Option<Event> {
        let (amount, next) = self.in_flight.take()?;
        Some(Event::PutOff { channel: self.member, amount, state: next.state() })
    }

    fn apply(&mut self, payer: Party, amount: Amount, next: Channel) -> Event {
        self.channel = next;
        self.last = Some((payer, amount));
        Event::Paid { channel: self.member, payer, amount, state: self.channel.state() }
    }

    fn other(&self) -> Party {
        match self.me {
            Party::Operator => Party::Member(self.member),
            Party::Member(_) => Party::Operator,
        }
    }
}
