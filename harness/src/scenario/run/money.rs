//! The end of a scenario: the tables, everybody's final amount, and what was expected of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bitcoin::{Amount, ScriptBuf};
use factory_core::tx::size;
use factory_core::{DUST_LIMIT, Party, TxName, fee};

use super::{Run, Stop, sat};
use crate::book::{Entry, Pending};
use crate::factory::{budget, channel_rules, offer};
use crate::report::{BalanceReport, MoneyReport, TransactionReport};

/// What everybody must have, by what settled each channel on the node.
struct Due {
    operator: Amount,
    members: Vec<Amount>,
    /// What lies in HTLCs that nobody has taken yet.
    outstanding: Amount,
    /// The members whose channels nothing has settled.
    unsettled: Vec<u32>,
}

impl Due {
    fn give(&mut self, party: Party, amount: Amount) {
        match party {
            Party::Operator => self.operator += amount,
            Party::Member(member) => self.members[member as usize] += amount,
        }
    }
}

impl Run<'_> {
    /// Reads the end from the node, fills the tables, and compares everything with what was expected.
    pub(super) async fn conclude(&mut self) -> Result<(), Stop> {
        for (name, record) in self.ledger.records() {
            self.report.transactions.insert(name.to_string(), TransactionReport::new(record, self.height));
            if let Some(measured) = record.measured
                && measured != record.derived()
            {
                let message = format!("{name}: the node measures {measured:?}, expected {:?}", record.derived());
                self.report.failures.push(message);
            }
        }
        for (party, what) in self.parties.withheld_in_vain() {
            self.report.failures.push(format!("{party} was to withhold its {what}, and had none to send"));
        }
        self.check_money().await?;
        self.check_expectations();
        Ok(())
    }

    /// What everybody must have. The channels that nothing has settled yet count as if they were closed: a scenario
    /// that leaves a channel open does not show where its money goes.
    fn due(&self) -> Result<Due, Stop> {
        let scenario = &self.loaded.scenario;
        let mut due = Due {
            operator: Amount::ZERO,
            members: vec![Amount::ZERO; self.book.channels().len()],
            outstanding: Amount::ZERO,
            unsettled: Vec::new(),
        };
        let all_closed = self.confirmed_rung().is_some();
        let refunds: BTreeMap<u32, u32> = self
            .ledger
            .records()
            .filter_map(|(name, _)| match name {
                TxName::Refund(member, state) if self.ledger.is_confirmed(name) => Some((member, state)),
                _ => None,
            })
            .collect();
        let close_fee = budget(scenario).map_err(|error| Stop::Error(error.to_string()))?.close_fee;
        for (member, channel) in (0..).zip(self.book.channels()) {
            match refunds.get(&member) {
                Some(number) => {
                    let state = channel.state(*number);
                    let unknown =
                        || Stop::Fail(format!("refund-m{member}-{number} is confirmed, and no such state came about"));
                    self.refunded(member, state.ok_or_else(unknown)?, &mut due);
                }
                None => {
                    if !all_closed && !self.ledger.is_confirmed(TxName::Close(member)) {
                        due.unsettled.push(member);
                    }
                    let newest = channel.newest();
                    due.give(Party::Member(member), kept(newest.member));
                    due.give(Party::Operator, kept(less(newest.operator, close_fee)));
                }
            }
        }
        due.operator = kept(less(due.operator, self.premium(&due)));
        Ok(due)
    }

    /// What the refund of `state` gives to whom, and the claims of its HTLCs.
    fn refunded(&self, member: u32, state: &Entry, due: &mut Due) {
        let rules = channel_rules(&self.loaded.scenario, member);
        due.give(Party::Member(member), kept(state.member));
        due.give(Party::Operator, kept(less(state.operator, rules.refund_fee(state.htlcs.len()))));
        for htlc in &state.htlcs {
            match self.taken(member, htlc) {
                Some((party, amount)) => due.give(party, amount),
                None => due.outstanding += htlc.amount,
            }
        }
    }

    /// Who has taken an HTLC on chain, and what that left.
    fn taken(&self, member: u32, htlc: &Pending) -> Option<(Party, Amount)> {
        let recipient = if htlc.offerer == Party::Operator { Party::Member(member) } else { Party::Operator };
        let claims =
            [(TxName::HtlcSuccess(member, htlc.id), recipient), (TxName::HtlcTimeout(member, htlc.id), htlc.offerer)];
        let (name, party) = claims.into_iter().find(|(name, _)| self.ledger.is_confirmed(*name))?;
        let size = self.ledger.get(name)?.measured?.vsize;
        let cost = fee(self.loaded.scenario.factory.feerate.value.0, size).unwrap_or(Amount::MAX_MONEY);
        Some((party, less(htlc.amount, cost)))
    }

    /// The variant of the factory close that is confirmed, if any is.
    fn confirmed_rung(&self) -> Option<usize> {
        let rungs = offer(&self.loaded.scenario).close_fee.rungs();
        (0..rungs).find(|rung| self.ledger.is_confirmed(TxName::FactoryClose(*rung as u8)))
    }

    /// What the operator pays beyond the fees of what the factory close cuts through, if it is confirmed.
    fn premium(&self, due: &Due) -> Amount {
        let Some(rung) = self.confirmed_rung() else { return Amount::ZERO };
        let offer = offer(&self.loaded.scenario);
        let outputs = due.members.iter().filter(|amount| **amount > Amount::ZERO).count() + 1;
        let size = size::lock_spend(offer.lock, due.members.len() + 1, outputs).to_vbytes_ceil();
        fee(offer.close_fee.premiums()[rung], size).unwrap_or(Amount::MAX_MONEY)
    }

    /// Every party's final amount, and that what went into the factory came out of it again.
    async fn check_money(&mut self) -> Result<(), Stop> {
        let Some(factory) = self.parties.factory() else { return Ok(()) };
        let payouts: Vec<(Party, ScriptBuf)> =
            self.parties.payouts().map(|(party, script)| (party, script.clone())).collect();
        let terms = factory.terms();
        let locks = terms.channel_locks().iter().chain([terms.factory_lock()]).map(|lock| lock.script_pubkey());
        // A confirmed refund pays to its sides, and to HTLCs.
        let refunds = self.ledger.records().filter(|(name, _)| matches!(name, TxName::Refund(..)));
        let refunded = refunds.flat_map(|(_, record)| &record.tx.transaction().output);
        let scripts = payouts.iter().map(|(_, script)| script).chain(locks);
        let scripts: BTreeSet<&ScriptBuf> = scripts.chain(refunded.map(|output| &output.script_pubkey)).collect();
        let unspent = self.node.rpc().unspent(scripts).await?;

        let mut held: HashMap<&ScriptBuf, Amount> = HashMap::new();
        for output in &unspent {
            *held.entry(&output.script_pubkey).or_insert(Amount::ZERO) += output.amount;
        }
        let due = self.due()?;
        if let [first, others @ ..] = due.unsettled.as_slice() {
            let others = match others.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let message = format!("nothing confirmed has settled m{first}'s channel{others}: no close, and no refund");
            self.report.failures.push(message);
        }
        let expected = [due.operator].into_iter().chain(due.members);
        for ((party, script), expected) in payouts.iter().zip(expected) {
            let found = held.get(script).copied().unwrap_or(Amount::ZERO);
            if found != expected {
                self.report.failures.push(format!("{party} ends with {}, expected {}", sat(found), sat(expected)));
            }
            let balance = BalanceReport { expected_sat: expected.to_sat(), final_sat: found.to_sat() };
            self.report.balances.insert(party.to_string(), balance);
        }

        let outputs: Amount = unspent.iter().map(|output| output.amount).sum();
        let fees =
            self.ledger.records().filter(|(name, _)| *name != TxName::Funding && self.ledger.is_confirmed(*name));
        let fees: Amount = fees.filter_map(|(_, record)| record.measured).map(|measured| measured.fee).sum();
        let funding = match self.ledger.get(TxName::Funding) {
            Some(record) if self.ledger.is_confirmed(TxName::Funding) => {
                record.tx.transaction().output[factory.outpoint().vout as usize].value
            }
            _ => Amount::ZERO,
        };
        if outputs + fees != funding {
            let message = format!(
                "{} went into the factory, and its outputs ({}) and fees ({}) make {}",
                sat(funding),
                sat(outputs),
                sat(fees),
                sat(outputs + fees)
            );
            self.report.failures.push(message);
        }
        self.report.money = Some(MoneyReport {
            funding_sat: funding.to_sat(),
            outputs_sat: outputs.to_sat(),
            fees_sat: fees.to_sat(),
            outstanding_sat: due.outstanding.to_sat(),
        });
        Ok(())
    }

    fn check_expectations(&mut self) {
        let expect = &self.loaded.scenario.expect;
        for (word, names) in [("confirmed", &expect.confirmed), ("replaced", &expect.replaced)] {
            for name in names {
                let name = name.value.0;
                let status = self.ledger.get(name).map(|record| record.status);
                if status.is_none_or(|status| status.word() != word) {
                    let found = status.map_or("not even signed".to_owned(), |status| status.to_string());
                    self.report.failures.push(format!("{name} is {found}, expected {word}"));
                }
            }
        }
        for (name, fee) in &expect.fees {
            let (name, expected) = (name.0, fee.value.0);
            let measured = self.ledger.get(name).and_then(|record| record.measured);
            match measured {
                Some(measured) if measured.fee == expected => {}
                Some(measured) => {
                    self.report.failures.push(format!("{name} pays {}, expected {}", sat(measured.fee), sat(expected)));
                }
                None => {
                    let message = format!("{name} pays nothing, since no node took it: expected {}", sat(expected));
                    self.report.failures.push(message);
                }
            }
        }
        for (party, balance) in &expect.balances {
            let expected = balance.value.0.to_sat();
            let found = self.report.balances.get(&party.0.to_string()).map_or(0, |balance| balance.final_sat);
            if found != expected {
                let difference = found as i64 - expected as i64;
                let message = format!(
                    "expect.balances: {} ends with {found} sat, expected {expected} sat: {difference:+} sat",
                    party.0
                );
                self.report.failures.push(message);
            }
        }
    }
}

/// An output of that amount, which is left out if it would be dust.
fn kept(amount: Amount) -> Amount {
    if amount >= DUST_LIMIT { amount } else { Amount::ZERO }
}

fn less(amount: Amount, cost: Amount) -> Amount {
    amount.checked_sub(cost).unwrap_or(Amount::ZERO)
}
