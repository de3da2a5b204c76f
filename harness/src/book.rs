//! The runner's own record of every state of every channel, kept by its own arithmetic: what the parties compute is
//! compared with it, never copied from it.

use bitcoin::Amount;
use factory_core::{Change, Party};

/// All channels, by the number of the member.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    channels: Vec<Channel>,
}

/// One channel: its states, in the order of their numbers.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    member: u32,
    states: Vec<Entry>,
    /// How many HTLCs there have been.
    htlcs: u32,
    /// Who made each state but the first, and how.
    changes: Vec<(Party, Change)>,
}

/// Who owns how much of a channel in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What is the member's.
    pub(crate) member: Amount,
    /// What is the operator's, before any fee.
    pub(crate) operator: Amount,
    /// What is pending.
    pub(crate) htlcs: Vec<Pending>,
}

/// A pending HTLC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Its number in the channel.
    pub(crate) id: u32,
    /// Who offered it.
    pub(crate) offerer: Party,
    /// What it holds.
    pub(crate) amount: Amount,
    /// SHA-256 of its preimage.
    pub(crate) hash: [u8; 32],
}

impl Book {
    /// Channels that are all the operator's.
    pub(crate) fn new(capacities: &[Amount]) -> Self {
        let channel = |(member, &operator): (u32, &Amount)| Channel {
            member,
            states: vec![Entry { member: Amount::ZERO, operator, htlcs: Vec::new() }],
            htlcs: 0,
            changes: Vec::new(),
        };
        Book { channels: (0..).zip(capacities).map(channel).collect() }
    }

    /// The channels, in the members' order.
    pub(crate) fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// The channel of a member.
    pub(crate) fn channel(&self, member: u32) -> &Channel {
        &self.channels[member as usize]
    }

    /// Enters a state that `by` has made by `change`. One that is there already is compared.
    ///
    /// # Errors
    ///
    /// What is wrong with it: states follow one another without a gap, and nobody gives what it does not have.
    pub(crate) fn enter(&mut self, member: u32, by: Party, change: Change, number: u32) -> Result<(), String> {
        let channel = self.channels.get_mut(member as usize).ok_or_else(|| format!("there is no m{member}"))?;
        let expected = channel.states.len();
        if let Some(entered) = (number as usize).checked_sub(1).and_then(|index| channel.changes.get(index)) {
            let (maker, made) = entered;
            return match (*maker, *made) == (by, change) {
                true => Ok(()),
                false => Err(format!(
                    "state {number} of m{member}'s channel is told in two ways: {by} {change}, and {maker} {made}"
                )),
            };
        }
        if number as usize != expected {
            return Err(format!("state {number} of m{member}'s channel came about, expected state {expected}"));
        }
        let next = channel.next(by, &change).ok_or_else(|| {
            format!(
                "state {number} of m{member}'s channel, in which {by} {change}, does not follow from the one before"
            )
        })?;
        channel.htlcs += u32::from(matches!(change, Change::AddHtlc { .. }));
        channel.changes.push((by, change));
        channel.states.push(next);
        Ok(())
    }
}

impl Channel {
    /// The newest state.
    pub(crate) fn newest(&self) -> &Entry {
        self.states.last().expect("there is a first state")
    }

    /// A state, by its number.
    pub(crate) fn state(&self, number: u32) -> Option<&Entry> {
        self.states.get(number as usize)
    }

    /// The number of the newest state.
    pub(crate) fn number(&self) -> usize {
        self.states.len() - 1
    }

    /// Who made the newest state, and how.
    pub(crate) fn last_change(&self) -> Option<(Party, Change)> {
        self.changes.last().copied()
    }

    /// The pending HTLC with that hash that `recipient` can take.
    pub(crate) fn offered(&self, recipient: Party, hash: [u8; 32]) -> Option<Pending> {
        self.newest().htlcs.iter().find(|htlc| htlc.hash == hash && htlc.offerer != recipient).copied()
    }

    fn next(&self, by: Party, change: &Change) -> Option<Entry> {
        let mut next = self.newest().clone();
        let other = match by {
            Party::Operator => Party::Member(self.member),
            Party::Member(_) => Party::Operator,
        };
        match *change {
            Change::Pay { amount } => {
                next.take(by, amount)?;
                next.give(other, amount);
            }
            Change::AddHtlc { amount, hash, .. } => {
                next.take(by, amount)?;
                next.htlcs.push(Pending { id: self.htlcs, offerer: by, amount, hash });
            }
            Change::FulfilHtlc { id, .. } | Change::FailHtlc { id } => {
                let place = next.htlcs.iter().position(|htlc| htlc.id == id && htlc.offerer == other)?;
                let htlc = next.htlcs.remove(place);
                let taken = matches!(change, Change::FulfilHtlc { .. });
                next.give(if taken { by } else { other }, htlc.amount);
            }
        }
        Some(next)
    }
}

impl Entry {
    fn side(&mut self, party: Party) -> &mut Amount {
        match party {
            Party::Operator => &mut self.operator,
            Party::Member(_) => &mut self.member,
        }
    }

    fn take(&mut self, party: Party, amount: Amount) -> Option<()> {
        let side = self.side(party);
        *side = side.checked_sub(amount)?;
        Some(())
    }

    fn give(&mut self, party: Party, amount: Amount) {
        *self.side(party) += amount;
    }
}
