//! What everybody must have, by the harness's own arithmetic and by what settled each channel on a node.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::Amount;
use factory_core::tx::size;
use factory_core::{DUST_LIMIT, Party, TxName, fee};

use crate::book::{Book, Entry, Pending};
use crate::factory::{budget, channel_rules, offer};
use crate::ledger::Ledger;
use crate::scenario::Scenario;
use crate::testbed::Stop;

/// What everybody must have.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) operator: Amount,
    pub(super) members: Vec<Amount>,
    /// What lies in HTLCs that nobody has taken yet.
    pub(super) outstanding: Amount,
    /// The members whose channels nothing has settled.
    pub(super) unsettled: BTreeSet<u32>,
}

/// What it follows from.
struct Facts<'a> {
    scenario: &'a Scenario,
    ledger: &'a Ledger,
}

impl Due {
    /// What everybody must have. The channels that nothing has settled yet count as if they were closed, so that it
    /// shows what is missing; those that are to stay `open` give nobody anything.
    pub(super) fn of(scenario: &Scenario, book: &Book, ledger: &Ledger, open: &BTreeSet<u32>) -> Result<Due, Stop> {
        let facts = Facts { scenario, ledger };
        let mut due = Due {
            operator: Amount::ZERO,
            members: vec![Amount::ZERO; book.channels().len()],
            outstanding: Amount::ZERO,
            unsettled: BTreeSet::new(),
        };
        let all_closed = facts.confirmed_rung().is_some();
        let refunds: BTreeMap<u32, u32> = ledger
            .records()
            .filter_map(|(name, _)| match name {
                TxName::Refund(member, state) if ledger.is_confirmed(name) => Some((member, state)),
                _ => None,
            })
            .collect();
        let close_fee = budget(scenario).map_err(|error| Stop::Error(error.to_string()))?.close_fee;
        for (member, channel) in (0..).zip(book.channels()) {
            if let Some(number) = refunds.get(&member) {
                let state = channel.state(*number);
                let unknown =
                    || Stop::Fail(format!("refund-m{member}-{number} is confirmed, and no such state came about"));
                facts.refunded(member, state.ok_or_else(unknown)?, &mut due);
                continue;
            }
            if !all_closed && !ledger.is_confirmed(TxName::Close(member)) {
                due.unsettled.insert(member);
                if open.contains(&member) {
                    continue;
                }
            }
            let newest = channel.newest();
            due.give(Party::Member(member), kept(newest.member));
            due.give(Party::Operator, kept(less(newest.operator, close_fee)));
        }
        due.operator = kept(less(due.operator, facts.premium(&due)));
        Ok(due)
    }

    fn give(&mut self, party: Party, amount: Amount) {
        match party {
            Party::Operator => self.operator += amount,
            Party::Member(member) => self.members[member as usize] += amount,
        }
    }
}

impl Facts<'_> {
    /// What the refund of `state` gives to whom, and the claims of its HTLCs.
    fn refunded(&self, member: u32, state: &Entry, due: &mut Due) {
        let rules = channel_rules(self.scenario, member);
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
        let cost = fee(self.scenario.factory.feerate.0, size).unwrap_or(Amount::MAX_MONEY);
        Some((party, less(htlc.amount, cost)))
    }

    /// The variant of the factory close that is confirmed, if any is.
    fn confirmed_rung(&self) -> Option<usize> {
        let rungs = offer(self.scenario).close_fee.rungs();
        (0..rungs).find(|rung| self.ledger.is_confirmed(TxName::FactoryClose(*rung as u8)))
    }

    /// What the operator pays beyond the fees of what the factory close cuts through, if it is confirmed.
    fn premium(&self, due: &Due) -> Amount {
        let Some(rung) = self.confirmed_rung() else { return Amount::ZERO };
        let offer = offer(self.scenario);
        let outputs = due.members.iter().filter(|amount| **amount > Amount::ZERO).count() + 1;
        let size = size::lock_spend(offer.lock, due.members.len() + 1, outputs).to_vbytes_ceil();
        fee(offer.close_fee.premiums()[rung], size).unwrap_or(Amount::MAX_MONEY)
    }
}

/// An output of that amount, which is left out if it would be dust.
fn kept(amount: Amount) -> Amount {
    if amount >= DUST_LIMIT { amount } else { Amount::ZERO }
}

fn less(amount: Amount, cost: Amount) -> Amount {
    amount.checked_sub(cost).unwrap_or(Amount::ZERO)
}
