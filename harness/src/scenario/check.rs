//! What can be known to be wrong with a scenario before any node starts.

mod steps;

use std::collections::{BTreeSet, HashSet};

use factory_core::{Party, State, TxName, TxVersion};
use serde_yaml::{Location, Spanned};

use super::language::Scenario;
use super::problem::Problem;
use super::value::TransactionName;
use crate::factory;

/// Everything that is wrong with `scenario`, in the order of the file.
pub(super) fn problems(scenario: &Scenario) -> Vec<Problem> {
    let mut check = Check {
        scenario,
        problems: Vec::new(),
        opened: false,
        frozen: false,
        on_chain: false,
        signed: HashSet::new(),
        states: Vec::new(),
        silent: BTreeSet::new(),
        offline: BTreeSet::new(),
    };
    check.names();
    if check.terms() {
        check.steps();
        check.expectations();
    }
    check.problems
}

/// The version that a number stands for.
pub(crate) fn version(number: u32) -> Option<TxVersion> {
    match number {
        2 => Some(TxVersion::Two),
        3 => Some(TxVersion::Three),
        _ => None,
    }
}

/// Above this, not even the tables are made that an exact answer would take.
const MAX_MEMBERS: u32 = 100_000;

struct Check<'a> {
    scenario: &'a Scenario,
    problems: Vec<Problem>,
    opened: bool,
    frozen: bool,
    /// Whether a party has given up on the others.
    on_chain: bool,
    /// What can be published so far, beside refunds.
    signed: HashSet<TxName>,
    /// The newest state of every channel.
    states: Vec<State>,
    /// Who neither gets nor sends messages.
    silent: BTreeSet<Party>,
    /// Who does nothing at all.
    offline: BTreeSet<Party>,
}

impl Check<'_> {
    fn problem(&mut self, location: Location, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::new(location, path, message));
    }

    fn names(&mut self) {
        if self.scenario.name.value.trim().is_empty() {
            self.problem(self.scenario.name.referenced, "name", "it is empty");
        }
        let nodes = &self.scenario.nodes;
        if nodes.value.len() != 1 {
            let message = format!("expected exactly one node, found {}", nodes.value.len());
            self.problem(nodes.referenced, "nodes", message);
        }
        for name in nodes.value.keys().filter(|name| !is_node_name(name)) {
            let message = format!("`{name}` is no name for a node: expected letters, digits, `-` and `_`, at most 64");
            self.problem(nodes.referenced, "nodes", message);
        }
    }

    /// Whether the factory's parameters hold together.
    fn terms(&mut self) -> bool {
        let spec = &self.scenario.factory;
        // Far more than any standard factory close has room for; the exact limit follows from the sizes, below.
        if spec.members.value.0 > MAX_MEMBERS {
            let message = format!("expected at most {MAX_MEMBERS}, found {}", spec.members.value.0);
            self.problem(spec.members.referenced, "factory.members", message);
            return false;
        }
        if version(spec.version.value.0).is_none() {
            let message = format!("expected 2 or 3, found {}", spec.version.value.0);
            self.problem(spec.version.referenced, "factory.version", message);
            return false;
        }
        let locks = spec.refund_locks.value;
        for (field, count) in [("initial", locks.initial), ("step", locks.step), ("minimum", locks.minimum)] {
            if count.0 > u16::MAX.into() {
                let message = format!("expected at most {} blocks, found {}", u16::MAX, count.0);
                self.problem(spec.refund_locks.referenced, format!("factory.refund_locks.{field}"), message);
                return false;
            }
        }
        if let Err(error) = factory::budget(self.scenario) {
            use factory_core::TermsError as E;
            let (location, path) = match error {
                E::CapacityTooSmall { .. } => (spec.capacity.referenced, "factory.capacity"),
                E::OverMoney("the value of the factory") => (spec.capacity.referenced, "factory.capacity"),
                E::OverMoney("the factory close's premium") => (spec.close_fee.referenced, "factory.close_fee"),
                E::FeeRule(_) => (spec.close_fee.referenced, "factory.close_fee"),
                E::RefundLocks(_) => (spec.refund_locks.referenced, "factory.refund_locks"),
                E::OverMoney(_) => (spec.feerate.referenced, "factory.feerate"),
                _ => (spec.members.referenced, "factory.members"),
            };
            self.problem(location, path, error.to_string());
            return false;
        }
        true
    }

    fn expectations(&mut self) {
        let expect = &self.scenario.expect;
        for (what, names) in [("confirmed", &expect.confirmed), ("replaced", &expect.replaced)] {
            for (index, tx) in names.iter().enumerate() {
                self.transaction(tx, &format!("expect.{what}.{index}"));
            }
        }
        for (tx, fee) in &expect.fees {
            let named = Spanned::new(*tx, fee.referenced, fee.defined);
            self.transaction(&named, &format!("expect.fees.{}", tx.0));
        }
        for (party, balance) in &expect.balances {
            let named = Spanned::new(&party.0, balance.referenced, balance.defined);
            self.party(&named, &format!("expect.balances.{}", party.0));
        }
    }

    fn node(&mut self, name: Option<&Spanned<String>>, path: &str) {
        let nodes = &self.scenario.nodes.value;
        if let Some(name) = name
            && !nodes.contains_key(&name.value)
        {
            let known: Vec<_> = nodes.keys().map(String::as_str).collect();
            let message = format!("there is no node `{}`: expected {}", name.value, known.join(" or "));
            self.problem(name.referenced, path, message);
        }
    }

    fn party(&mut self, name: &Spanned<&Party>, path: &str) {
        let members = self.scenario.factory.members.value.0;
        if let Party::Member(member) = name.value
            && *member >= members
        {
            let message = format!("there is no m{member}: the {members} members are m0 to m{}", members - 1);
            self.problem(name.referenced, path, message);
        }
    }

    /// Whether there is such a transaction in this factory.
    fn transaction(&mut self, name: &Spanned<TransactionName>, path: &str) -> bool {
        let before = self.problems.len();
        let offer = factory::offer(self.scenario);
        match name.value.0 {
            TxName::Close(member)
            | TxName::Refund(member, _)
            | TxName::HtlcSuccess(member, _)
            | TxName::HtlcTimeout(member, _) => {
                self.party(&Spanned::new(&Party::Member(member), name.referenced, name.defined), path);
            }
            TxName::FactoryClose(rung) if usize::from(rung) >= offer.close_fee.rungs() => {
                let message =
                    format!("there is no {}: factory.close_fee has {} rungs", name.value.0, offer.close_fee.rungs());
                self.problem(name.referenced, path, message);
            }
            _ => {}
        }
        if let TxName::Refund(_, state) = name.value.0 {
            let last = offer.refund_locks.last_state();
            if state > last {
                let message = format!("there is no state {state}: by factory.refund_locks the last is {last}");
                self.problem(name.referenced, path, message);
            }
        }
        self.problems.len() == before
    }
}

/// Whether a node can have this name, which is also that of its folder.
fn is_node_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}
