//! The steps of a scenario, and what the parties do of their own accord after each.

use std::sync::Arc;

use bitcoin::Transaction;
use factory_core::protocol::{Command, Event};
use factory_core::{Change, Party, TxName, hash_of};

use super::super::language::{
    Broadcast, ExpectStates, ExpectSubmission, Htlc, Pay, Settle, Sign, Step, channel_of, listed as numbers,
};
use super::{Run, Stop, listed};
use crate::book::{Entry, Pending};
use crate::factory::preimage;
use crate::node::Submission;
use crate::node::snapshot::BLOCK_INTERVAL;
use crate::parties::Outcome;
use crate::report::BlockReport;

impl Run<'_> {
    pub(super) async fn step(&mut self, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Open => self.open().await,
            Step::Pay(pay) => self.pay(pay).await,
            Step::Htlc(htlc) => self.htlc(htlc).await,
            Step::Claim(claim) => self.claim(claim).await,
            Step::Fail(fail) => {
                let (member, id, _) = self.offered(fail)?;
                self.update(fail.by.value.0, member, Change::FailHtlc { id }).await
            }
            Step::Sign(sign) => {
                let command = match sign.value {
                    Sign::Closes => Command::SignCloses,
                    Sign::FactoryClose => Command::SignFactoryClose,
                };
                self.command(Party::Operator, command).await
            }
            Step::Broadcast(broadcast) => self.broadcast(broadcast).await,
            Step::FallBack(fall_back) => self.command(fall_back.by.value.0, Command::FallBack).await,
            Step::Mine(mine) => {
                for _ in 0..mine.blocks.0 {
                    self.mine_block().await?;
                }
                Ok(())
            }
            Step::Silence(party) => {
                self.parties.silence(party.value.0);
                Ok(())
            }
            Step::Offline(party) => {
                self.parties.take_offline(party.value.0);
                Ok(())
            }
            Step::Withhold(withhold) => {
                self.parties.withhold(withhold.from.value.0, withhold.message);
                Ok(())
            }
            Step::ExpectStates(expect) => self.expect_states(expect),
        }
    }

    async fn command(&mut self, party: Party, command: Command) -> Result<(), Stop> {
        let outcome = self.parties.command(party, command)?;
        self.settle(outcome).await
    }

    async fn open(&mut self) -> Result<(), Stop> {
        self.command(Party::Operator, Command::Open).await?;
        for _ in 0..self.loaded.scenario.factory.confirmations.0 {
            self.mine_block().await?;
        }
        Ok(())
    }

    async fn pay(&mut self, pay: &Pay) -> Result<(), Stop> {
        let members = self.loaded.scenario.factory.members.value.0;
        let payments = pay.payments(members).expect("a checked payment is inside channels");
        for (from, member) in payments {
            self.update(from, member, Change::Pay { amount: pay.amount.value.0 }).await?;
        }
        Ok(())
    }

    async fn htlc(&mut self, htlc: &Htlc) -> Result<(), Stop> {
        let (from, to) = (htlc.from.value.0, htlc.to.value.0);
        let member = channel_of(from, to).expect("a checked HTLC is inside a channel");
        let hash = hash_of(&preimage(&self.loaded.scenario, &htlc.secret.value));
        let expiry = block_height(self.height + u64::from(htlc.expiry.value.0))?;
        self.update(from, member, Change::AddHtlc { amount: htlc.amount.value.0, hash, expiry }).await
    }

    /// Where the two sides do not talk any more, the claim is for the chain, and makes no state.
    async fn claim(&mut self, claim: &Settle) -> Result<(), Stop> {
        let (member, id, preimage) = self.offered(claim)?;
        let by = claim.by.value.0;
        self.command(by, Command::Claim { with: other_side(by, member), id, preimage }).await
    }

    /// The channel and the number of the HTLC that a step means, and the preimage.
    fn offered(&self, settle: &Settle) -> Result<(u32, u32, [u8; 32]), Stop> {
        let (by, secret) = (settle.by.value.0, &settle.secret.value);
        let preimage = preimage(&self.loaded.scenario, secret);
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

    /// Has `by` change the state of a member's channel, and makes sure that just this came about.
    async fn update(&mut self, by: Party, member: u32, change: Change) -> Result<(), Stop> {
        let before = self.book.channel(member).number();
        self.command(by, Command::Update { with: other_side(by, member), change }).await?;
        let channel = self.book.channel(member);
        if (channel.number(), channel.last_change()) != (before + 1, Some((by, change))) {
            let state = before + 1;
            return Err(Stop::Fail(format!(
                "state {state} of m{member}'s channel, in which {by} {change}, did not come about"
            )));
        }
        Ok(())
    }

    async fn broadcast(&mut self, broadcast: &Broadcast) -> Result<(), Stop> {
        let (name, by) = (broadcast.tx.value.0, broadcast.by.value.0);
        let mut outcome = self.parties.command(by, Command::Publish(name))?;
        let published = std::mem::take(&mut outcome.broadcasts);
        let [(_, published_name, tx)] = published.as_slice() else {
            return Err(Stop::Error(format!("{by} published {} transactions, not 1", published.len())));
        };
        if *published_name != name {
            return Err(Stop::Error(format!("{by} published {published_name}, not {name}")));
        }
        self.take_note(&outcome)?;
        self.ledger.follow(name, tx);
        let submission = self.node.rpc().submit(tx.transaction()).await?;
        let node = self.node.name();
        match (&broadcast.expect, submission) {
            (ExpectSubmission::Accepted, Submission::Accepted) => {}
            (ExpectSubmission::Rejected(wanted), Submission::Rejected(reason)) if reason.contains(wanted) => {
                return Ok(());
            }
            (expected, Submission::Accepted) => {
                return Err(Stop::Fail(format!("{name} via {node}: expected {expected}, and it was accepted")));
            }
            (expected, Submission::Rejected(reason)) => {
                return Err(Stop::Fail(format!(
                    "{name} via {node}: expected {expected}, and it was rejected: {reason}"
                )));
            }
        }
        let replaced = self.ledger.accepted(name, self.node.rpc()).await?;
        if let Some(expected) = &broadcast.replaces {
            let mut expected: Vec<_> = expected.iter().map(|name| name.value.0).collect();
            expected.sort();
            if expected != replaced {
                return Err(Stop::Fail(format!(
                    "{name} via {node}: expected to replace {}, and it replaced {}",
                    listed(&expected),
                    listed(&replaced)
                )));
            }
        }
        Ok(())
    }

    fn expect_states(&self, expect: &ExpectStates) -> Result<(), Stop> {
        let (party, channel) = (expect.party.value.0, expect.channel.value.0);
        let Party::Member(member) = channel else {
            return Err(Stop::Error(format!("{channel} has no channel of its own")));
        };
        let end = self.parties.channel(party, member);
        let end = end.ok_or_else(|| Stop::Fail(format!("{party} knows nothing of {channel}'s channel")))?;
        let found: Vec<u32> = end.enforceable().map(|state| state.number()).collect();
        if found != expect.enforceable {
            return Err(Stop::Fail(format!(
                "as far as {party} knows, states {} of {channel}'s channel may be enforced, expected {}",
                numbers(&found),
                numbers(&expect.enforceable)
            )));
        }
        // Each of them is a state that the runner has in its own record, with the same amounts.
        for state in end.enforceable() {
            let htlcs = state.htlcs().iter().map(|htlc| Pending {
                id: htlc.id,
                offerer: htlc.offerer,
                amount: htlc.amount,
                hash: htlc.hash,
            });
            let held = Entry { member: state.member(), operator: state.operator(), htlcs: htlcs.collect() };
            let kept = self.book.channel(member).state(state.number());
            if kept != Some(&held) {
                let number = state.number();
                let message = format!("state {number} of {channel}'s channel: {party} has {held:?}, expected {kept:?}");
                return Err(Stop::Fail(message));
            }
        }
        Ok(())
    }

    /// Sends to the node what the parties publish of their own accord, if the node does not have it. Parties publish
    /// again with every block, and before others did: a refusal is noted. Only a refused funding stops the scenario,
    /// since without it there is no factory.
    async fn settle(&mut self, outcome: Outcome) -> Result<(), Stop> {
        self.take_note(&outcome)?;
        let mut accepted = false;
        for (party, name, tx) in &outcome.broadcasts {
            self.ledger.follow(*name, tx);
            if self.ledger.is_known(*name) {
                continue;
            }
            match self.node.rpc().submit(tx.transaction()).await? {
                Submission::Accepted => {
                    self.ledger.accepted_among_others(*name, self.node.rpc()).await?;
                    accepted = true;
                }
                Submission::Rejected(reason) => {
                    let is_first = self.ledger.get(*name).is_none_or(|record| record.measured.is_none());
                    if *name == TxName::Funding && is_first {
                        let node = self.node.name();
                        return Err(Stop::Fail(format!("{name} via {node}: it was rejected: {reason}")));
                    }
                    self.report.refuse(*party, *name, &reason);
                }
            }
        }
        if accepted {
            self.ledger.refresh(self.node.rpc()).await?;
        }
        Ok(())
    }

    /// Enters the states that came about, and follows the transactions that the operator has completed. A refund is
    /// followed once it is published: before that it is one of many that may never matter.
    fn take_note(&mut self, outcome: &Outcome) -> Result<(), Stop> {
        self.report.messages += outcome.messages;
        for (party, event) in &outcome.events {
            match event {
                Event::Complete(name) if *party == Party::Operator && !matches!(name, TxName::Refund(..)) => {
                    if let Some(tx) = self.parties.transaction(*name) {
                        self.ledger.follow(*name, tx);
                    }
                }
                // Who proposes a state holds it first, and nobody can without it.
                Event::Updated { channel, by, change, state } if party == by => {
                    self.book.enter(*channel, *by, *change, *state).map_err(Stop::Fail)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn mine_block(&mut self) -> Result<(), Stop> {
        self.node.rpc().set_time(self.time).await?;
        let block = self.node.rpc().mine(&self.rewards).await?;
        self.time += BLOCK_INTERVAL;
        self.height = block.height;
        self.ledger.mined(&block, self.node.rpc()).await?;
        self.report.blocks.push(BlockReport { height: block.height, hash: block.hash.to_string() });
        // The first transaction makes the miner's reward.
        self.show_block(block.tx.into_iter().skip(1).map(|tx| Arc::new(tx.transaction)).collect()).await
    }

    /// Shows the parties the block at the present height, with these transactions.
    pub(super) async fn show_block(&mut self, txs: Vec<Arc<Transaction>>) -> Result<(), Stop> {
        let outcome = self.parties.block(block_height(self.height)?, &txs)?;
        self.settle(outcome).await
    }
}

fn other_side(party: Party, member: u32) -> Party {
    match party {
        Party::Operator => Party::Member(member),
        Party::Member(_) => Party::Operator,
    }
}

fn block_height(height: u64) -> Result<u32, Stop> {
    u32::try_from(height).map_err(|_| Stop::Error(format!("{height} is no height of a block")))
}
