//! What happens inside the channels.

use factory_core::protocol::Command;
use factory_core::{Change, Party, hash_of};

use super::chain::height_of;
use super::{Stop, Testbed};
use crate::book::{Entry, Pending};
use crate::factory::preimage;
use crate::scenario::{ExpectStates, Htlc, Pay, Settle, channel_of, listed as numbers};

impl Testbed {
    pub(super) async fn payments(&mut self, pay: &Pay) -> Result<(), Stop> {
        let payments = pay
            .payments(self.scenario.factory.members.0)
            .ok_or_else(|| Stop::Error(format!("{} has no channel with {}", pay.from, pay.to)))?;
        let change = Change::Pay { amount: pay.amount.0 };
        self.update(payments.into_iter().map(|(from, member)| (from, member, change))).await
    }

    pub(super) async fn htlc(&mut self, htlc: &Htlc) -> Result<(), Stop> {
        let (from, to) = (htlc.from.0, htlc.to.0);
        let member = channel_of(from, to).ok_or_else(|| Stop::Error(format!("{from} has no channel with {to}")))?;
        let hash = hash_of(&preimage(&self.scenario, &htlc.secret));
        let height = self.network.places[self.home(from).node].chain.height();
        let expiry = height_of(height + u64::from(htlc.expiry.0))?;
        self.update([(from, member, Change::AddHtlc { amount: htlc.amount.0, hash, expiry })]).await
    }

    /// Where the two sides do not talk any more, the claim is for the chain, and makes no state.
    pub(super) async fn claim(&mut self, claim: &Settle) -> Result<(), Stop> {
        let (member, id, preimage) = self.offered(claim)?;
        let by = claim.by.0;
        self.command(by, Command::Claim { with: other_side(by, member), id, preimage }).await
    }

    pub(super) async fn fail(&mut self, fail: &Settle) -> Result<(), Stop> {
        let (member, id, _) = self.offered(fail)?;
        self.update([(fail.by.0, member, Change::FailHtlc { id })]).await
    }

    /// The channel and the number of the HTLC that a step means, and the preimage.
    fn offered(&self, settle: &Settle) -> Result<(u32, u32, [u8; 32]), Stop> {
        let (by, secret) = (settle.by.0, &settle.secret);
        let preimage = preimage(&self.scenario, secret);
        let hash = hash_of(&preimage);
        let members = match by {
            Party::Operator => 0..self.book.channels().len() as u32,
            Party::Member(member) => member..member + 1,
        };
        let mut offered = members.filter_map(|member| Some((member, self.book.channel(member).offered(by, hash)?.id)));
        let (member, id) = offered
            .next()
            .ok_or_else(|| Stop::Fail(format!("no HTLC with the secret `{secret}` is offered to {by}")))?;
        Ok((member, id, preimage))
    }

    /// Has parties change the states of members' channels, each by a change in a channel of its own, and makes sure that
    /// just this came about, unless a fault that the scenario asked for is in its way.
    async fn update(&mut self, changes: impl IntoIterator<Item = (Party, u32, Change)>) -> Result<(), Stop> {
        let changes: Vec<_> = changes.into_iter().collect();
        let numbers: Vec<_> = changes.iter().map(|(_, member, _)| self.book.channel(*member).number()).collect();
        let command = |&(by, member, change): &(Party, u32, Change)| {
            (by, Command::Update { with: other_side(by, member), change })
        };
        self.commands(changes.iter().map(command).collect::<Vec<_>>()).await?;
        for ((by, member, change), before) in changes.into_iter().zip(numbers) {
            let channel = self.book.channel(member);
            let came_about = (channel.number(), channel.last_change()) == (before + 1, Some((by, change)));
            let crashed = [by, other_side(by, member)].into_iter().any(|side| !self.parties.is_there(side));
            if !came_about && !crashed {
                let state = before + 1;
                return Err(Stop::Fail(format!(
                    "state {state} of m{member}'s channel, in which {by} {change}, did not come about"
                )));
            }
        }
        Ok(())
    }

    /// No HTLC is pending and no state half-signed, as far as those who are there know.
    pub(super) fn quiesce(&mut self) -> Result<(), Stop> {
        let mut restless = Vec::new();
        for member in 0..self.scenario.factory.members.0 {
            for party in [Party::Operator, Party::Member(member)] {
                let end = self.parties.channel(party, member).filter(|_| self.parties.is_there(party));
                if end.is_some_and(|end| !end.is_quiescent()) {
                    restless.push(format!("m{member}'s channel, as {party} sees it"));
                }
            }
        }
        let result = match restless.as_slice() {
            [] => Ok(()),
            [first, more @ ..] => Err(format!("not quiescent: {first}, and {} more", more.len())),
        };
        self.judge("every channel is quiescent".to_owned(), result)
    }

    pub(super) fn expect_states(&mut self, expect: &ExpectStates) -> Result<(), Stop> {
        let what = numbers(&expect.enforceable);
        let text = format!("{} reckons with states {what} of {}'s channel", expect.party.0, expect.channel.0);
        let result = self.compare_states(expect);
        self.judge(text, result)
    }

    fn compare_states(&self, expect: &ExpectStates) -> Result<(), String> {
        let (party, channel) = (expect.party.0, expect.channel.0);
        let Party::Member(member) = channel else { return Err(format!("{channel} has no channel of its own")) };
        let end = self.parties.channel(party, member);
        let end = end.ok_or_else(|| format!("{party} knows nothing of {channel}'s channel"))?;
        let found: Vec<u32> = end.enforceable().map(|state| state.number()).collect();
        if found != expect.enforceable {
            return Err(format!(
                "as far as {party} knows, states {} of {channel}'s channel may be enforced, expected {}",
                numbers(&found),
                numbers(&expect.enforceable)
            ));
        }
        // Each of them is a state that the harness has in its own record, with the same amounts. One that nobody holds
        // complete yet is in no record.
        for state in end.enforceable() {
            let htlcs = state.htlcs().iter().map(|htlc| Pending {
                id: htlc.id,
                offerer: htlc.offerer,
                amount: htlc.amount,
                hash: htlc.hash,
            });
            let held = Entry { member: state.member(), operator: state.operator(), htlcs: htlcs.collect() };
            let kept = self.book.channel(member).state(state.number());
            if kept.is_some_and(|kept| *kept != held) {
                let number = state.number();
                return Err(format!("state {number} of {channel}'s channel: {party} has {held:?}, expected {kept:?}"));
            }
        }
        Ok(())
    }
}

fn other_side(party: Party, member: u32) -> Party {
    match party {
        Party::Operator => Party::Member(member),
        Party::Member(_) => Party::Operator,
    }
}
