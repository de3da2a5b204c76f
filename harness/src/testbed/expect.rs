//! What must be true at a point of a scenario, or in its end.

use std::collections::HashMap;

use bitcoin::{Amount, ScriptBuf};
use factory_core::{Party, TxName};

use super::{Stop, Testbed, listed, sat};
use crate::ledger::Status;
use crate::scenario::{Expect, Txs};

/// One thing that is asserted.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) text: String,
    pub(super) result: Result<(), String>,
}

impl Check {
    pub(super) fn new(text: String, result: Result<(), String>) -> Self {
        Check { text, result }
    }
}

impl Testbed {
    /// Enters assertions of the scenario's, and stops if one does not hold: what follows builds on them.
    pub(super) fn judge_all(&mut self, checks: Vec<Check>) -> Result<(), Stop> {
        let mut failed = Vec::new();
        for Check { text, result } in checks {
            if let Err(Stop::Fail(reason)) = self.judge(text, result) {
                failed.push(reason);
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(Stop::Fail(failed.join("; "))) }
    }

    /// How things stand with everything that is expected.
    pub(super) async fn checks(&self, expect: &Expect) -> Result<Vec<Check>, Stop> {
        let nodes = match &expect.at {
            Some(name) => vec![self.node(Some(name))?],
            None => self.network.running(),
        };
        // Otherwise all that is expected of no node would hold.
        if nodes.is_empty() {
            return Err(Stop::Fail("no node runs of which anything could be expected".to_owned()));
        }
        let mut checks = Vec::new();
        for node in nodes {
            self.statuses(node, expect, &mut checks);
            self.measures(node, expect, &mut checks);
            if let Some(height) = expect.height {
                let (name, found) = (self.name(node), self.network.places[node].chain.height());
                let text = format!("{name} is at height {height}");
                let result = same(found, height, || format!("{name} is at height {found}, expected {height}"));
                checks.push(Check::new(text, result));
            }
            let held = match expect.balances.is_empty() {
                true => HashMap::new(),
                false => self.balances_at(node).await?,
            };
            for (party, balance) in &expect.balances {
                let (found, expected) = (held.get(&party.0).copied().unwrap_or_default(), balance.0);
                let result = same(found, expected, || {
                    let difference = found.to_sat() as i64 - expected.to_sat() as i64;
                    format!(
                        "expect.balances: {}{} has {}, expected {}: {difference:+} sat",
                        party.0,
                        self.at(node),
                        sat(found),
                        sat(expected)
                    )
                });
                checks.push(Check::new(format!("{}{} has {}", party.0, self.at(node), sat(expected)), result));
            }
        }
        if let Some(wanted) = expect.same_tip {
            let tips = self.tips();
            let result = match (wanted, tips) {
                (true, Err(tips)) => Err(format!("the nodes are on different blocks: {tips}")),
                (false, Ok(())) => Err("all nodes are on the same block, expected different ones".to_owned()),
                _ => Ok(()),
            };
            let text = if wanted { "all nodes are on the same block" } else { "the nodes are on different blocks" };
            checks.push(Check::new(text.to_owned(), result));
        }
        for (party, wanted) in &expect.reported {
            let reported = self.log.reported.get(&party.0);
            for what in wanted {
                let result = match reported.is_some_and(|reported| reported.contains(what)) {
                    true => Ok(()),
                    false => {
                        let found: Vec<_> = reported.into_iter().flatten().collect();
                        Err(format!("{} has reported {}, expected {what}", party.0, listed(&found)))
                    }
                };
                checks.push(Check::new(format!("{} has reported {what}", party.0), result));
            }
        }
        Ok(checks)
    }

    /// The node, where there are several.
    fn at(&self, node: usize) -> String {
        if self.network.places.len() > 1 { format!(" at {}", self.name(node)) } else { String::new() }
    }

    fn names_of(&self, txs: &Txs) -> Vec<TxName> {
        txs.names(self.scenario.factory.members.0)
    }

    fn statuses(&self, node: usize, expect: &Expect, checks: &mut Vec<Check>) {
        let place = &self.network.places[node];
        let status = |name: TxName| place.ledger.get(name).map(|record| record.status);
        let at = self.at(node);
        let found = |name: TxName| status(name).map_or("not even signed".to_owned(), |status| status.to_string());
        let height = place.chain.height();
        let confirmations = |name: TxName| match status(name) {
            Some(Status::Confirmed(block)) => height + 1 - block,
            _ => 0,
        };
        for (word, txs) in [
            ("signed", &expect.signed),
            ("in-mempool", &expect.in_mempool),
            ("replaced", &expect.replaced),
            ("evicted", &expect.evicted),
            ("confirmed", &expect.confirmed),
        ] {
            for name in self.names_of(txs) {
                let result = match status(name).is_some_and(|status| status.word() == word) {
                    true => Ok(()),
                    false => Err(format!("{name} is {}{at}, expected {word}", found(name))),
                };
                checks.push(Check::new(format!("{name} is {word}{at}"), result));
            }
        }
        let deep = u64::from(self.scenario.factory.confirmations.0);
        for name in self.names_of(&expect.buried) {
            let depth = confirmations(name);
            let result = match depth >= deep {
                true => Ok(()),
                false => {
                    Err(format!("{name} is {}{at}, {depth} blocks deep, expected buried: {deep} deep", found(name)))
                }
            };
            checks.push(Check::new(format!("{name} is buried{at}"), result));
        }
        for (name, depth) in &expect.confirmations {
            let (name, expected, seen) = (name.0, u64::from(*depth), confirmations(name.0));
            let result = same(seen, expected, || format!("{name} has {seen} confirmations{at}, expected {expected}"));
            checks.push(Check::new(format!("{name} has {expected} confirmations{at}"), result));
        }
        if let Some(txs) = &expect.mempool {
            let (mut expected, found) = (self.names_of(txs), place.ledger.in_mempool());
            expected.sort();
            let result = same(&found, &expected, || {
                format!("the mempool{at} holds {}, expected {}", listed(&found), listed(&expected))
            });
            checks.push(Check::new(format!("the mempool{at} holds {}", listed(&expected)), result));
        }
    }

    fn measures(&self, node: usize, expect: &Expect, checks: &mut Vec<Check>) {
        let place = &self.network.places[node];
        let measured = |name: TxName| place.ledger.get(name).and_then(|record| record.measured);
        for (name, fee) in &expect.fees {
            let (name, expected) = (name.0, fee.0);
            let result = match measured(name) {
                Some(measured) => {
                    let found = measured.fee;
                    same(found, expected, || format!("{name} pays {}, expected {}", sat(found), sat(expected)))
                }
                None => {
                    Err(format!("{name} pays nothing, since {} never took it: expected {}", place.name, sat(expected)))
                }
            };
            checks.push(Check::new(format!("{name} pays {}", sat(expected)), result));
        }
        for (name, size) in &expect.sizes {
            let (name, expected) = (name.0, *size);
            let result = match measured(name) {
                Some(measured) => {
                    let found = measured.vsize;
                    same(found, expected, || format!("{name} has {found} vB, expected {expected} vB"))
                }
                None => Err(format!(
                    "{name} was never measured, since {} never took it: expected {expected} vB",
                    place.name
                )),
            };
            checks.push(Check::new(format!("{name} has {expected} vB"), result));
        }
    }

    /// What each party has of the factory, in unspent outputs of its own, as a node sees it.
    pub(super) async fn balances_at(&self, node: usize) -> Result<HashMap<Party, Amount>, Stop> {
        let owners: HashMap<&ScriptBuf, Party> =
            self.parties.payouts().map(|(party, script)| (script, party)).collect();
        let unspent = self.network.places[node].rpc()?.unspent(owners.keys().copied()).await?;
        let mut held: HashMap<Party, Amount> = HashMap::new();
        for output in &unspent {
            if let Some(party) = owners.get(&output.script_pubkey) {
                *held.entry(*party).or_insert(Amount::ZERO) += output.amount;
            }
        }
        Ok(held)
    }
}

fn same<T: PartialEq>(found: T, expected: T, message: impl FnOnce() -> String) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(message()) }
}
