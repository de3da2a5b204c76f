//! Transactions on their way to the nodes.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bitcoin::Transaction;
use factory_core::protocol::{Command, Event};
use factory_core::tx::Complete;
use factory_core::{Party, TxName};

use super::{Stop, Testbed, listed};
use crate::network::{Arrival, Heard};
use crate::node::Submission;
use crate::parties::{Noted, Outcome};
use crate::report::Happening;
use crate::scenario::{Broadcast, Judgement, PerNode, SubmitPackage, Txs};

impl Testbed {
    pub(super) async fn command(&mut self, party: Party, command: Command) -> Result<(), Stop> {
        self.commands([(party, command)]).await
    }

    pub(super) async fn commands(&mut self, commands: impl IntoIterator<Item = (Party, Command)>) -> Result<(), Stop> {
        let outcome = self.parties.command(commands)?;
        self.settle(outcome).await
    }

    pub(super) async fn broadcast(&mut self, broadcast: &Broadcast) -> Result<(), Stop> {
        let by = broadcast.by.0;
        let via = self.via(broadcast.via.as_ref(), by)?;
        let mut txs = Vec::new();
        for name in broadcast.tx.names(self.scenario.factory.members.0) {
            txs.push((name, self.publish(by, name).await?));
        }
        self.deliver(&txs, &broadcast.tx, by, via, &broadcast.expect, broadcast.replaces.as_ref()).await
    }

    /// Sends a party's transactions, which are called `told`, to a node, and compares what nodes say to them.
    pub(super) async fn deliver(
        &mut self,
        txs: &[(TxName, Arc<Complete>)],
        told: &Txs,
        by: Party,
        via: usize,
        expect: &PerNode,
        replaces: Option<&Txs>,
    ) -> Result<(), Stop> {
        let mut replaced = Vec::new();
        for ((name, _), arrivals) in txs.iter().zip(self.submit(via, txs, by).await?) {
            let expected: Vec<(usize, &Judgement)> = match expect {
                PerNode::There(judgement) => vec![(via, judgement)],
                PerNode::Each(nodes) => {
                    let each = nodes.iter().map(|(node, judgement)| Ok((self.node(Some(node))?, judgement)));
                    each.collect::<Result<_, Stop>>()?
                }
            };
            for (node, judgement) in expected {
                let heard = arrivals.iter().find(|arrival| arrival.node == node).map(|arrival| &arrival.heard);
                let result = compare(judgement, heard);
                let text = format!("{name} at {}: {judgement}", self.name(node));
                let result = result
                    .map_err(|found| format!("{name} via {}: expected {judgement}, and it {found}", self.name(node)));
                self.judge(text, result)?;
            }
            for arrival in &arrivals {
                if let Heard::Accepted(names) = &arrival.heard
                    && arrival.node == via
                {
                    replaced.extend(names.iter().copied());
                }
            }
        }
        self.replaces(told, via, replaces, replaced)
    }

    pub(super) async fn submit_package(&mut self, package: &SubmitPackage) -> Result<(), Stop> {
        let by = package.by.0;
        let via = self.via(package.via.as_ref(), by)?;
        let names = package.txs.names(self.scenario.factory.members.0);
        let mut txs = Vec::new();
        for name in &names {
            txs.push(self.publish(by, *name).await?);
        }
        let rpc = self.network.places[via].rpc()?.clone();
        let raw: Vec<_> = txs.iter().map(|tx| (**tx.transaction()).clone()).collect();
        let outcome = rpc.submit_package(&raw).await?;
        let replaced = self.network.places[via].ledger.refresh(&rpc).await?;
        let refused = outcome.transactions.iter().find_map(|tx| match &tx.outcome {
            Submission::Rejected(reason) => Some(format!("{}: {reason}", outcome.message)),
            Submission::Accepted => None,
        });
        let heard = refused.map_or_else(|| Heard::Accepted(replaced.clone()), Heard::Rejected);
        for ((name, tx), found) in names.iter().zip(&txs).zip(&outcome.transactions) {
            let heard = match &found.outcome {
                Submission::Accepted => Heard::Accepted(replaced.clone()),
                Submission::Rejected(reason) => Heard::Rejected(reason.clone()),
            };
            let mut arrivals = vec![Arrival { node: via, heard }];
            if self.network.places[via].ledger.is_known(*name) {
                arrivals.extend(self.network.spread(via, *name, tx.transaction()).await?);
            }
            self.tell(*name, by, &arrivals);
        }
        self.show_mempools();
        let what = format!("the package {} at {}: {}", package.txs, self.name(via), package.expect);
        let result = compare(&package.expect, Some(&heard)).map_err(|found| {
            format!("the package {} via {}: expected {}, and it {found}", package.txs, self.name(via), package.expect)
        });
        self.judge(what, result)?;
        self.replaces(&package.txs, via, package.replaces.as_ref(), replaced)
    }

    /// Enters an assertion of the scenario's, and stops at once if it does not hold: what follows builds on it.
    pub(super) fn judge(&mut self, text: String, result: Result<(), String>) -> Result<(), Stop> {
        self.log.asked += 1;
        self.log.assertions += 1;
        let holds = result.is_ok();
        let text = result.as_ref().err().cloned().unwrap_or(text);
        self.log.enter(Happening::Check { text, holds });
        result.map_err(Stop::Fail)
    }

    fn replaces(
        &mut self,
        txs: &Txs,
        via: usize,
        expected: Option<&Txs>,
        mut replaced: Vec<TxName>,
    ) -> Result<(), Stop> {
        let Some(expected) = expected else { return Ok(()) };
        let mut expected = expected.names(self.scenario.factory.members.0);
        expected.sort();
        replaced.sort();
        let text = format!("{txs} via {} replaces {}", self.name(via), listed(&expected));
        let result = match expected == replaced {
            true => Ok(()),
            false => Err(format!(
                "{txs} via {}: expected to replace {}, and it replaced {}",
                self.name(via),
                listed(&expected),
                listed(&replaced)
            )),
        };
        self.judge(text, result)
    }

    pub(super) fn via(&self, name: Option<&String>, by: Party) -> Result<usize, Stop> {
        match name {
            Some(_) => self.node(name),
            None => Ok(self.home(by).node),
        }
    }

    /// A party publishes a transaction, and goes on doing so until it is confirmed.
    pub(super) async fn publish(&mut self, by: Party, name: TxName) -> Result<Arc<Complete>, Stop> {
        let mut outcome = self.parties.command([(by, Command::Publish(name))])?;
        let published = std::mem::take(&mut outcome.broadcasts);
        self.take_note(&outcome)?;
        match published.as_slice() {
            [(_, published, tx)] if *published == name => Ok(Arc::clone(tx)),
            [(_, other, _)] => Err(Stop::Error(format!("{by} published {other}, not {name}"))),
            several => Err(Stop::Error(format!("{by} published {} transactions, not 1", several.len()))),
        }
    }

    /// Sends a party's transactions to a node, and from there wherever they get.
    pub(super) async fn submit(
        &mut self,
        node: usize,
        txs: &[(TxName, Arc<Complete>)],
        by: Party,
    ) -> Result<Vec<Vec<Arrival>>, Stop> {
        for place in &mut self.network.places {
            txs.iter().for_each(|(name, tx)| place.ledger.follow(*name, tx));
        }
        let raw: Vec<(TxName, &Transaction)> = txs.iter().map(|(name, tx)| (*name, &**tx.transaction())).collect();
        let arrivals = self.network.submit(node, &raw).await?;
        for ((name, _), arrivals) in txs.iter().zip(&arrivals) {
            self.tell(*name, by, arrivals);
        }
        self.show_mempools();
        Ok(arrivals)
    }

    /// Tells the report where a transaction got.
    fn tell(&mut self, name: TxName, by: Party, arrivals: &[Arrival]) {
        for (index, arrival) in arrivals.iter().enumerate() {
            let (rejected, replaced) = match &arrival.heard {
                Heard::Known => continue,
                Heard::Accepted(replaced) => (None, replaced.iter().map(TxName::to_string).collect()),
                Heard::Rejected(reason) => (Some(reason.clone()), Vec::new()),
            };
            let by = (index == 0).then(|| by.to_string());
            let node = self.name(arrival.node).to_owned();
            self.log.enter(Happening::Submitted { tx: name.to_string(), by, node, rejected, replaced });
        }
    }

    /// Sends to the nodes what the parties publish of their own accord, if their node does not have it. Parties publish
    /// again with every block, and before others did: a refusal is noted. Only a refused funding stops everything, since
    /// without it there is no factory.
    pub(super) async fn settle(&mut self, outcome: Outcome) -> Result<(), Stop> {
        self.take_note(&outcome)?;
        let mut batch: Vec<(Party, TxName, Arc<Complete>)> = Vec::new();
        let mut batched: HashSet<TxName> = HashSet::new();
        let mut from = None;
        for (party, name, tx) in &outcome.broadcasts {
            let node = self.home(*party).node;
            for place in &mut self.network.places {
                place.ledger.follow(*name, tx);
            }
            // What was sent before, by another party or to another node, has arrived before this is looked at.
            if from != Some(node) || batched.contains(name) {
                if let Some(from) = from {
                    self.send_batch(from, std::mem::take(&mut batch)).await?;
                }
                batched.clear();
                from = Some(node);
            }
            let place = &self.network.places[node];
            // A party whose node does not run tries again with the next block that it sees.
            if place.is_running() && !place.ledger.is_known(*name) {
                batched.insert(*name);
                batch.push((*party, *name, Arc::clone(tx)));
            }
        }
        match from {
            Some(from) => self.send_batch(from, batch).await,
            None => Ok(()),
        }
    }

    /// Sends to a node what parties publish there of their own accord.
    async fn send_batch(&mut self, node: usize, batch: Vec<(Party, TxName, Arc<Complete>)>) -> Result<(), Stop> {
        if batch.is_empty() {
            return Ok(());
        }
        let ledger = &self.network.places[node].ledger;
        let is_new = |name| ledger.get(name).is_none_or(|record| record.measured.is_none());
        let first_funding = is_new(TxName::Funding);
        let raw: Vec<(TxName, &Transaction)> = batch.iter().map(|(_, name, tx)| (*name, &**tx.transaction())).collect();
        let arrivals = self.network.submit(node, &raw).await?;
        let mut touched = BTreeSet::new();
        for ((party, name, _), arrivals) in batch.iter().zip(&arrivals) {
            self.tell(*name, *party, arrivals);
            match arrivals.first().map(|arrival| &arrival.heard) {
                Some(Heard::Rejected(reason)) => {
                    if *name == TxName::Funding && first_funding {
                        let node = self.name(node);
                        return Err(Stop::Fail(format!("{name} via {node}: it was rejected: {reason}")));
                    }
                    self.log.refuse(*party, *name, reason);
                }
                _ => touched.extend(arrivals.iter().map(|arrival| arrival.node)),
            }
        }
        for node in touched {
            let rpc = self.network.places[node].rpc()?.clone();
            self.network.places[node].ledger.refresh(&rpc).await?;
        }
        self.show_mempools();
        Ok(())
    }

    /// Enters the states that came about, and follows the transactions that the operator has completed. A refund is
    /// followed once it is published: before that it is one of many that may never matter.
    fn take_note(&mut self, outcome: &Outcome) -> Result<(), Stop> {
        for noted in &outcome.noted {
            self.log.note(noted);
            let Noted::Event(party, event) = noted else { continue };
            match event {
                Event::Complete(name) if *party == Party::Operator && !matches!(name, TxName::Refund(..)) => {
                    if let Some(tx) = self.parties.transaction(*party, *name).cloned() {
                        for place in &mut self.network.places {
                            place.ledger.follow(*name, &tx);
                        }
                    }
                }
                // Who proposes a state holds it first, and nobody can without it, but it may crash before it says so. Both
                // sides, and one that tells it again after a restart, must tell the same.
                Event::Updated { channel, by, change, state } => {
                    self.book.enter(*channel, *by, *change, *state).map_err(Stop::Fail)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a node said what it should; otherwise what it did.
fn compare(expected: &Judgement, heard: Option<&Heard>) -> Result<(), String> {
    match (expected, heard) {
        (Judgement::Accepted, Some(heard)) if heard.is_accepted() => Ok(()),
        (Judgement::Rejected(wanted), Some(Heard::Rejected(reason))) if reason.contains(wanted) => Ok(()),
        (Judgement::Unreached, None) => Ok(()),
        (_, Some(Heard::Rejected(reason))) => Err(format!("was rejected: {reason}")),
        (_, Some(_)) => Err("was accepted".to_owned()),
        (_, None) => Err("did not get there".to_owned()),
    }
}
