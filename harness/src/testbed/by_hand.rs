//! What a test of one's own does with a testbed.

use std::fmt::Display;
use std::str::FromStr;

use bitcoin::Amount;
use factory_core::protocol::Command;
use factory_core::{Party, TxName};

use super::{Evidence, Stop, Testbed};
use crate::ledger::Status;
use crate::network::Heard;
use crate::node::{Rpc, Submission};
use crate::report::{Entry, RunReport, Verdict};
use crate::scenario::{Expect, Mine, Pay, Sat, Step, Who};

/// A party or a transaction of the factory, as itself or by the name that scenario files have for it: `operator`, `m0`,
/// `allocation`, `refund-m0-2`.
pub trait Name<T> {
    /// What it means.
    ///
    /// # Errors
    ///
    /// [`Stop::Fail`], if it means nothing.
    fn resolve(self) -> Result<T, Stop>;
}

impl Name<Party> for Party {
    fn resolve(self) -> Result<Party, Stop> {
        Ok(self)
    }
}

impl Name<TxName> for TxName {
    fn resolve(self) -> Result<TxName, Stop> {
        Ok(self)
    }
}

impl<T: FromStr<Err: Display>> Name<T> for &str {
    fn resolve(self) -> Result<T, Stop> {
        self.parse().map_err(|error: T::Err| Stop::Fail(error.to_string()))
    }
}

impl Testbed {
    /// The parties agree on the terms and sign the allocation; the operator publishes the funding; blocks are mined
    /// until the channels are live.
    ///
    /// # Errors
    ///
    /// [`Stop`], if that does not come about.
    pub async fn open(&mut self) -> Result<(), Stop> {
        self.step(&Step::Open).await
    }

    /// A payment between the operator and a member.
    ///
    /// # Errors
    ///
    /// [`Stop`], if the new state does not come about.
    pub async fn pay(&mut self, from: impl Name<Party>, to: impl Name<Party>, amount: Amount) -> Result<(), Stop> {
        let (from, to) = (self.party(from)?, self.party(to)?);
        self.step(&Step::Pay(Pay { from: Who::One(from), to: Who::One(to), amount: Sat(amount) })).await
    }

    /// Every channel is frozen, and its close is signed.
    ///
    /// # Errors
    ///
    /// [`Stop`], if a party refuses.
    pub async fn sign_closes(&mut self) -> Result<(), Stop> {
        self.command(Party::Operator, Command::SignCloses).await
    }

    /// The factory close is signed, in all its variants.
    ///
    /// # Errors
    ///
    /// [`Stop`], if a party refuses.
    pub async fn sign_factory_close(&mut self) -> Result<(), Stop> {
        self.command(Party::Operator, Command::SignFactoryClose).await
    }

    /// A party publishes a transaction that it holds, through its own node, from where it gets wherever it can. What
    /// that node says is no error.
    ///
    /// # Errors
    ///
    /// [`Stop`], if the party does not hold it, or a node does not answer.
    pub async fn send(&mut self, by: impl Name<Party>, name: impl Name<TxName>) -> Result<Submission, Stop> {
        let (by, name) = (self.party(by)?, name.resolve()?);
        let tx = self.publish(by, name).await?;
        let node = self.home(by).node;
        let arrivals = self.submit(node, &[(name, tx)], by).await?;
        Ok(match arrivals.into_iter().flatten().next().map(|arrival| arrival.heard) {
            Some(Heard::Rejected(reason)) => Submission::Rejected(reason),
            _ => Submission::Accepted,
        })
    }

    /// Mines blocks on the first node, from its own template.
    ///
    /// # Errors
    ///
    /// [`Stop`], if a node or a party does not do what it must.
    pub async fn mine(&mut self, blocks: u32) -> Result<(), Stop> {
        for _ in 0..blocks {
            self.step(&Step::Mine(Mine::default())).await?;
        }
        Ok(())
    }

    /// Does steps that are written as in a scenario file: faults, HTLCs, and whatever else has no method of its own.
    ///
    /// # Errors
    ///
    /// [`Stop::Fail`], if they cannot be read, name somebody who is not there, or what they assert does not hold.
    pub async fn play(&mut self, steps: &str) -> Result<(), Stop> {
        let steps: Vec<Step> = serde_yaml::from_str(steps).map_err(|error| Stop::Fail(error.to_string()))?;
        for step in &steps {
            for party in step.parties() {
                self.party(party)?;
            }
        }
        for step in &steps {
            self.step(step).await?;
        }
        Ok(())
    }

    /// Where a transaction stands at a node; `None` if it is not even signed.
    ///
    /// # Errors
    ///
    /// [`Stop`], if there is no such node, or the name means no transaction.
    pub fn status(&self, node: &str, name: impl Name<TxName>) -> Result<Option<Status>, Stop> {
        let node = self.node(Some(&node.to_owned()))?;
        let record = self.network.places[node].ledger.get(name.resolve()?);
        Ok(record.map(|record| record.status))
    }

    /// What a party has of the factory, in unspent outputs of its own, as its node sees it.
    ///
    /// # Errors
    ///
    /// [`Stop`], if there is no such party, or the node does not answer.
    pub async fn balance(&self, party: impl Name<Party>) -> Result<Amount, Stop> {
        let party = self.party(party)?;
        Ok(self.balances_at(self.home(party).node).await?.remove(&party).unwrap_or_default())
    }

    /// A node's own interface.
    ///
    /// # Errors
    ///
    /// [`Stop`], if there is no such node, or it does not run.
    pub fn rpc(&self, node: &str) -> Result<&Rpc, Stop> {
        let node = self.node(Some(&node.to_owned()))?;
        Ok(self.network.places[node].rpc()?)
    }

    /// What has happened so far.
    pub fn timeline(&self) -> &[Entry] {
        &self.log.timeline
    }

    /// Checks that everybody has the exact amount that is due and nothing of the factory's money is lost, and tells
    /// everything that happened.
    ///
    /// # Errors
    ///
    /// [`Stop::Fail`], if somebody has not, or a fault that was asked for never came.
    pub async fn finish(mut self) -> Result<RunReport, Stop> {
        let mut report = RunReport::by_hand(&self.scenario);
        report.nodes = std::mem::take(&mut self.nodes);
        // What a test asserts with Rust cannot be counted here.
        self.log.asked += 1;
        let vain = self.in_vain();
        self.conclude(&mut report, &mut Evidence::default()).await?;
        report.failures.extend(vain);
        if !report.failures.is_empty() {
            report.verdict = Verdict::Fail;
            return Err(Stop::Fail(report.failures.join("; ")));
        }
        Ok(report)
    }

    /// The party that a name means, if it is one of this factory's.
    fn party(&self, name: impl Name<Party>) -> Result<Party, Stop> {
        let party = name.resolve()?;
        match party {
            Party::Member(member) if member >= self.scenario.factory.members.0 => Err(Stop::Fail(format!(
                "there is no {party}: the factory has {} members",
                self.scenario.factory.members.0
            ))),
            _ => Ok(party),
        }
    }
}

impl Step {
    /// Every party that it names.
    fn parties(&self) -> Vec<Party> {
        let one = |who: &Who| match who {
            Who::One(party) => Some(*party),
            Who::Members => None,
        };
        let expected = |expect: &Expect| {
            let named = expect.balances.keys().chain(expect.reported.keys());
            named.map(|party| party.0).collect()
        };
        match self {
            Step::Pay(pay) => [&pay.from, &pay.to].into_iter().filter_map(one).collect(),
            Step::Htlc(htlc) => vec![htlc.from.0, htlc.to.0],
            Step::Claim(settle) | Step::Fail(settle) => vec![settle.by.0],
            Step::Broadcast(broadcast) => vec![broadcast.by.0],
            Step::SubmitPackage(package) => vec![package.by.0],
            Step::Spend(spend) => vec![spend.by.0],
            Step::FallBack(fall_back) => vec![fall_back.by.0],
            Step::Silence(party) | Step::Offline(party) | Step::Online(party) => vec![party.0],
            Step::Crash(crash) => vec![crash.party.0],
            Step::Withhold(withhold) => [withhold.from].into_iter().chain(withhold.to).map(|party| party.0).collect(),
            Step::WaitFor(wait) => expected(&wait.expect),
            Step::Expect(expect) => expected(expect),
            Step::ExpectStates(expect) => vec![expect.party.0, expect.channel.0],
            Step::Open
            | Step::Quiesce
            | Step::Sign(_)
            | Step::Fill(_)
            | Step::Mine(_)
            | Step::Reorg(_)
            | Step::Partition(_)
            | Step::Heal
            | Step::Kill(_)
            | Step::Stop(_)
            | Step::Start(_)
            | Step::Pause(_)
            | Step::Resume(_) => Vec::new(),
        }
    }
}
