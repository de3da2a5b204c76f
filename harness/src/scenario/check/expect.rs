//! Expectations that nothing and nobody can meet.

use std::collections::BTreeMap;

use bitcoin::Amount;
use factory_core::{DUST_LIMIT, Party, TxName};

use super::super::language::Expect;
use super::super::value::{Named, Who};
use super::Check;
use crate::factory;

impl Check<'_> {
    /// What is wrong with what is expected in the end.
    pub(super) fn end(&mut self) {
        let expect = &self.scenario.expect;
        let confirmed = self.expect(expect, "expect");
        self.compatible(&confirmed, "expect.confirmed");
    }

    /// What is wrong with an expectation, at any point. Gives what is to be confirmed.
    pub(super) fn expect(&mut self, expect: &Expect, path: &str) -> Vec<TxName> {
        let mut confirmed = Vec::new();
        if let Some(node) = &expect.at {
            self.node(Some(node), format!("{path}.at"));
        }
        let mut words: BTreeMap<TxName, &str> = BTreeMap::new();
        for (word, txs) in [
            ("signed", &expect.signed),
            ("in_mempool", &expect.in_mempool),
            ("replaced", &expect.replaced),
            ("evicted", &expect.evicted),
            ("confirmed", &expect.confirmed),
        ] {
            let path = format!("{path}.{word}");
            let names = self.transactions(txs, &path);
            if word == "confirmed" {
                confirmed.clone_from(&names);
            }
            for name in names {
                if let Some(other) = words.insert(name, word)
                    && other != word
                {
                    self.problem(
                        &path,
                        format!("{name} cannot be {other} and {word} at once: expected one of the two"),
                    );
                }
            }
        }
        self.transactions(&expect.buried, &format!("{path}.buried"));
        if let Some(txs) = &expect.mempool {
            let names = self.transactions(txs, &format!("{path}.mempool"));
            self.compatible(&names, &format!("{path}.mempool"));
        }
        for (field, names) in [
            ("confirmations", expect.confirmations.keys().collect::<Vec<_>>()),
            ("fees", expect.fees.keys().collect()),
            ("sizes", expect.sizes.keys().collect()),
        ] {
            for Named(name) in names {
                self.transaction(*name, &format!("{path}.{field}.{name}"));
            }
        }
        if let Some((Named(name), _)) = expect.confirmations.iter().find(|(_, depth)| **depth == 0) {
            let message = format!("{name} is not confirmed at depth 0: expected a depth from 1");
            self.problem(format!("{path}.confirmations.{name}"), message);
        }
        if expect.height.is_some_and(|height| height < crate::node::snapshot::HEIGHT) {
            let height = crate::node::snapshot::HEIGHT;
            self.problem(
                format!("{path}.height"),
                format!("the chain begins at height {height}: expected at least that"),
            );
        }
        if expect.same_tip.is_some() && self.nodes.len() < 2 {
            self.problem(format!("{path}.same_tip"), "there is only one node: expected at least two to compare");
        }
        for party in expect.reported.keys() {
            self.party(party.0, format!("{path}.reported.{}", party.0));
        }
        for (index, who) in expect.unsettled.iter().enumerate() {
            let path = format!("{path}.unsettled.{index}");
            match who {
                Who::One(Party::Operator) => {
                    self.problem(path, "a channel goes by the name of its member: expected m0, m1, …");
                }
                Who::One(member) => self.party(*member, path),
                Who::Members => {}
            }
        }
        // What is due is only known in the end, and nobody would look at it before.
        if path != "expect" {
            for (field, is_there) in
                [("outstanding", expect.outstanding.is_some()), ("unsettled", !expect.unsettled.is_empty())]
            {
                if is_there {
                    self.problem(format!("{path}.{field}"), "it can only be expected in the end");
                }
            }
        }
        self.amounts(expect, path);
        confirmed
    }

    fn amounts(&mut self, expect: &Expect, path: &str) {
        let capacities = factory::capacities(self.scenario);
        let most = |party: Party| match party {
            Party::Operator => capacities.iter().copied().sum(),
            Party::Member(member) => capacities.get(member as usize).copied().unwrap_or(Amount::ZERO),
        };
        let mut total = Amount::ZERO;
        for (party, balance) in &expect.balances {
            let path = format!("{path}.balances.{}", party.0);
            let before = self.problems.len();
            self.party(party.0, &path);
            let (amount, most) = (balance.0, most(party.0));
            if self.problems.len() == before && amount > most {
                let message = format!(
                    "found {} sat: expected at most {} sat, all that {} can have",
                    amount.to_sat(),
                    most.to_sat(),
                    party.0
                );
                self.problem(&path, message);
            }
            if amount > Amount::ZERO && amount < DUST_LIMIT {
                let message = format!(
                    "no output holds so little: expected 0 sat, or at least {} sat (dust)",
                    DUST_LIMIT.to_sat()
                );
                self.problem(&path, message);
            }
            total = total.checked_add(amount).unwrap_or(Amount::MAX_MONEY);
        }
        let there: Amount = capacities.iter().copied().sum();
        if total > there && expect.balances.len() > 1 {
            let message = format!(
                "found {} sat together: expected at most the {} sat that the channels hold",
                total.to_sat(),
                there.to_sat()
            );
            self.problem(format!("{path}.balances"), message);
        }
        for (field, value) in [("outstanding", expect.outstanding)] {
            if value.is_some_and(|value| value.0 > there) {
                let message = format!("expected at most the {} sat that the channels hold", there.to_sat());
                self.problem(format!("{path}.{field}"), message);
            }
        }
    }

    /// Two transactions that spend the same output are never in one chain, nor in one mempool.
    fn compatible(&mut self, names: &[TxName], path: &str) {
        let spent = |name: TxName| match name {
            TxName::Funding | TxName::Spend(_) => None,
            TxName::Allocation | TxName::FactoryClose(_) => Some((None, None)),
            TxName::Close(member) | TxName::Refund(member, _) => Some((Some(member), None)),
            TxName::HtlcSuccess(member, htlc) | TxName::HtlcTimeout(member, htlc) => Some((Some(member), Some(htlc))),
        };
        let mut seen = std::collections::HashMap::new();
        for name in names {
            let Some(output) = spent(*name) else { continue };
            if let Some(other) = seen.insert(output, *name)
                && other != *name
            {
                self.problem(path, format!("{other} and {name} spend the same output: expected at most one of them"));
            }
        }
        let closed = names.iter().find(|name| matches!(name, TxName::FactoryClose(_)));
        let is_inside = |name: TxName| matches!(spent(name), Some((Some(_), _)));
        let inside = names.iter().find(|name| match name {
            TxName::Spend(number) => self.spent.get(*number as usize).is_some_and(|spent| is_inside(*spent)),
            name => is_inside(**name),
        });
        if let (Some(closed), Some(inside)) = (closed, inside) {
            let message = format!("{inside} is impossible after {closed}: expected at most one of them");
            self.problem(path, message);
        }
    }
}
