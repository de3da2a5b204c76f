//! Whether everybody has what is due, and nothing of the factory's money is lost, as a node sees it.

mod due;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use bitcoin::{Amount, ScriptBuf};
use factory_core::{Party, TxName};

use super::{Stop, Testbed, sat};
use crate::report::{BalanceReport, MoneyReport};
use crate::scenario::Who;
use due::Due;

impl Testbed {
    /// Checks the money on one node that runs, and on each other one that is on another block. What is reported is what
    /// the first one says.
    pub(super) async fn check_money(
        &mut self,
        balances: &mut indexmap::IndexMap<String, BalanceReport>,
        money: &mut Option<MoneyReport>,
    ) -> Result<(), Stop> {
        let mut seen = BTreeSet::new();
        for node in self.network.running() {
            if !seen.insert(self.network.places[node].chain.tip()) {
                continue;
            }
            let at = if seen.len() > 1 { format!("{}: ", self.name(node)) } else { String::new() };
            let (found, total) = self.money_at(node, &at).await?;
            if seen.len() == 1 {
                *balances = found;
                *money = total;
            }
        }
        if seen.is_empty() {
            self.log.check("a node runs", Err("no node runs in the end, so nobody's money can be seen".to_owned()));
        }
        Ok(())
    }

    async fn money_at(
        &mut self,
        node: usize,
        at: &str,
    ) -> Result<(indexmap::IndexMap<String, BalanceReport>, Option<MoneyReport>), Stop> {
        let mut balances = indexmap::IndexMap::new();
        let Some(factory) = self.parties.factory().cloned() else { return Ok((balances, None)) };
        let payouts: Vec<(Party, ScriptBuf)> =
            self.parties.payouts().map(|(party, script)| (party, script.clone())).collect();
        let terms = factory.terms();
        let locks: BTreeSet<ScriptBuf> = terms
            .channel_locks()
            .iter()
            .chain([terms.factory_lock()])
            .map(|lock| lock.script_pubkey().clone())
            .collect();
        let ledger = &self.network.places[node].ledger;
        // A confirmed refund pays to its sides, and to HTLCs.
        let refunds = ledger.records().filter(|(name, _)| matches!(name, TxName::Refund(..)));
        let refunded = refunds.flat_map(|(_, record)| &record.tx.transaction().output);
        let scripts = payouts.iter().map(|(_, script)| script).chain(&locks);
        let scripts: BTreeSet<&ScriptBuf> = scripts.chain(refunded.map(|output| &output.script_pubkey)).collect();
        let unspent = self.network.places[node].rpc()?.unspent(scripts).await?;
        let mut held: HashMap<&ScriptBuf, Amount> = HashMap::new();
        for output in &unspent {
            *held.entry(&output.script_pubkey).or_insert(Amount::ZERO) += output.amount;
        }
        let open = self.left_open();
        let due = Due::of(&self.scenario, &self.book, ledger, &open)?;
        // The faucet pays for the funding, and for what parties do with their own money.
        let is_paid_by_factory = |name: TxName| !matches!(name, TxName::Funding | TxName::Spend(_));
        let fees = ledger.records().filter(|(name, _)| is_paid_by_factory(*name) && ledger.is_confirmed(*name));
        let fees: Amount = fees.filter_map(|(_, record)| record.measured).map(|measured| measured.fee).sum();
        let funding = match ledger.get(TxName::Funding) {
            Some(record) if ledger.is_confirmed(TxName::Funding) => {
                record.tx.transaction().output[factory.outpoint().vout as usize].value
            }
            _ => Amount::ZERO,
        };

        self.check_settlement(&due, &open, at);
        let expected = [due.operator].into_iter().chain(due.members);
        for ((party, script), expected) in payouts.iter().zip(expected) {
            let found = held.get(script).copied().unwrap_or(Amount::ZERO);
            let result = match found == expected {
                true => Ok(()),
                false => Err(format!("{at}{party} ends with {}, expected {}", sat(found), sat(expected))),
            };
            self.log.assertions += 1;
            self.log.failures.extend(result.err());
            let balance = BalanceReport { expected_sat: expected.to_sat(), final_sat: found.to_sat() };
            balances.insert(party.to_string(), balance);
        }
        let outputs: Amount = unspent.iter().map(|output| output.amount).sum();
        let result = match outputs + fees == funding {
            true => Ok(()),
            false => Err(format!(
                "{at}{} went into the factory, and its outputs ({}) and fees ({}) make {}",
                sat(funding),
                sat(outputs),
                sat(fees),
                sat(outputs + fees)
            )),
        };
        self.log.check(format!("{at}what went into the factory came out of it: {}", sat(funding)), result);
        let unsettled: Amount = locks.iter().filter_map(|script| held.get(script).copied()).sum();
        if let Some(expected) = self.scenario.expect.outstanding {
            let (found, expected) = (due.outstanding, expected.0);
            let result = match found == expected {
                true => Ok(()),
                false => {
                    Err(format!("{at}{} are in HTLCs that nobody has taken, expected {}", sat(found), sat(expected)))
                }
            };
            self.log.asked += 1;
            self.log.check(format!("{at}{} are in HTLCs that nobody has taken", sat(expected)), result);
        }
        let money = MoneyReport {
            funding_sat: funding.to_sat(),
            outputs_sat: outputs.to_sat(),
            fees_sat: fees.to_sat(),
            outstanding_sat: due.outstanding.to_sat(),
            unsettled_sat: unsettled.to_sat(),
        };
        Ok((balances, Some(money)))
    }

    /// The channels that the scenario leaves open.
    fn left_open(&self) -> BTreeSet<u32> {
        let members = self.scenario.factory.members.0;
        let meant = self.scenario.expect.unsettled.iter().flat_map(|who| match who {
            Who::One(Party::Member(member)) => *member..*member + 1,
            Who::One(Party::Operator) => 0..0,
            Who::Members => 0..members,
        });
        meant.collect()
    }

    /// Every channel is settled, but for just those that the scenario leaves open.
    fn check_settlement(&mut self, due: &Due, open: &BTreeSet<u32>, at: &str) {
        let missing: Vec<u32> = due.unsettled.difference(open).copied().collect();
        let result = match missing.as_slice() {
            [] => Ok(()),
            [first, others @ ..] => {
                let others = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
                Err(format!("{at}nothing confirmed has settled m{first}'s channel{others}: no close, and no refund"))
            }
        };
        self.log.check(format!("{at}every channel is settled that is not to stay open"), result);
        if !open.is_empty() {
            let settled: Vec<u32> = open.difference(&due.unsettled).copied().collect();
            let result = match settled.first() {
                None => Ok(()),
                Some(first) => Err(format!("{at}m{first}'s channel is settled, expected it to stay open")),
            };
            self.log.asked += 1;
            self.log.check(format!("{at}{} channels stay open", open.len()), result);
        }
    }
}
