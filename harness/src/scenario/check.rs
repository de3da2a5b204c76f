//! What can be known to be wrong with a scenario before any node starts.

use bitcoin::Amount;
use factory_core::{Party, TxName, TxVersion};
use serde_yaml::{Location, Spanned};

use super::language::{Broadcast, ExpectSubmission, Pay, Scenario, Sign, Step};
use super::problem::Problem;
use super::value::{TransactionName, Who};
use crate::factory;

/// Everything that is wrong with `scenario`, in the order of the file.
pub(super) fn problems(scenario: &Scenario) -> Vec<Problem> {
    let mut check = Check { scenario, problems: Vec::new(), signed: Vec::new(), opened: false, frozen: false };
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
    /// What can be published so far.
    signed: Vec<TxName>,
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
        if let Err(error) = factory::budget(self.scenario) {
            use factory_core::TermsError as E;
            let (location, path) = match error {
                E::CapacityTooSmall { .. } => (spec.capacity.referenced, "factory.capacity"),
                E::OverMoney("the value of the factory") => (spec.capacity.referenced, "factory.capacity"),
                E::OverMoney(_) => (spec.feerate.referenced, "factory.feerate"),
                _ => (spec.members.referenced, "factory.members"),
            };
            self.problem(location, path, error.to_string());
            return false;
        }
        true
    }

    fn steps(&mut self) {
        let mut balances = vec![Amount::ZERO; self.scenario.factory.members.value.0 as usize];
        for (index, step) in self.scenario.steps.value.iter().enumerate() {
            let path = format!("steps.{index}");
            let at = step.referenced;
            if !self.opened && !matches!(step.value, Step::Open) {
                self.problem(at, &path, "no step has opened the factory yet");
                return;
            }
            match &step.value {
                Step::Open if self.opened => self.problem(at, &path, "the factory is open already"),
                Step::Open => {
                    self.opened = true;
                    self.signed.extend([TxName::Funding, TxName::Allocation]);
                }
                Step::Pay(_) if self.frozen => {
                    self.problem(at, &path, "the closes are signed, so the channels are frozen");
                }
                Step::Pay(pay) => self.payment(pay, &format!("{path}.pay"), &mut balances),
                Step::Sign(sign) => self.signature(sign, &format!("{path}.sign")),
                Step::Broadcast(broadcast) => self.broadcast(broadcast, &format!("{path}.broadcast")),
                Step::Mine(mine) => self.node(mine.by.as_ref(), &format!("{path}.mine.by")),
            }
        }
        if !self.opened {
            self.problem(self.scenario.steps.referenced, "steps", "no step opens the factory, so nothing is shown");
        }
    }

    fn payment(&mut self, pay: &Pay, path: &str, balances: &mut [Amount]) {
        let before = self.problems.len();
        for (side, what) in [(&pay.from, "from"), (&pay.to, "to")] {
            if let Who::One(party) = side.value.0 {
                self.party(&Spanned::new(&party, side.referenced, side.defined), &format!("{path}.{what}"));
            }
        }
        let Some(payments) = pay.payments(balances.len() as u32) else {
            let message = format!(
                "{} has no channel with {}: one side must be the operator, the other a member, or members for each",
                pay.from.value.0, pay.to.value.0
            );
            return self.problem(pay.to.referenced, format!("{path}.to"), message);
        };
        if self.problems.len() > before {
            return;
        }
        let amount = pay.amount.value.0;
        let reserve = factory::budget(self.scenario).map_or(Amount::ZERO, |budget| budget.close_fee);
        for (from, member) in payments {
            let balance = &mut balances[member as usize];
            let available = match from {
                Party::Operator => (self.scenario.factory.capacity.value.0 - *balance).checked_sub(reserve),
                Party::Member(_) => Some(*balance),
            }
            .unwrap_or(Amount::ZERO);
            if amount == Amount::ZERO || amount > available {
                let message = format!(
                    "{from} can pay from 1 to {} sat in m{member}'s channel at this point, not {} sat",
                    available.to_sat(),
                    amount.to_sat()
                );
                return self.problem(pay.amount.referenced, format!("{path}.amount"), message);
            }
            match from {
                Party::Operator => *balance += amount,
                Party::Member(_) => *balance -= amount,
            }
        }
    }

    fn signature(&mut self, sign: &Spanned<Sign>, path: &str) {
        let members = self.scenario.factory.members.value.0;
        match sign.value {
            Sign::Closes if self.frozen => self.problem(sign.referenced, path, "the closes are signed already"),
            Sign::Closes => {
                self.frozen = true;
                self.signed.extend((0..members).map(TxName::Close));
            }
            Sign::FactoryClose if !self.frozen => {
                self.problem(sign.referenced, path, "the closes must be signed before the factory close");
            }
            Sign::FactoryClose if self.signed.contains(&TxName::FactoryClose) => {
                self.problem(sign.referenced, path, "the factory close is signed already");
            }
            Sign::FactoryClose => self.signed.push(TxName::FactoryClose),
        }
    }

    fn broadcast(&mut self, broadcast: &Broadcast, path: &str) {
        self.node(broadcast.via.as_ref(), &format!("{path}.via"));
        self.party(&broadcast.by.map_ref(), &format!("{path}.by"));
        let tx = broadcast.tx.value.0;
        if self.transaction(&broadcast.tx, &format!("{path}.tx")) && !self.signed.contains(&tx) {
            self.problem(broadcast.tx.referenced, format!("{path}.tx"), format!("{tx} is not signed at this point"));
        }
        if let (Party::Member(party), TxName::Close(member)) = (broadcast.by.value.0, tx)
            && party != member
        {
            let message = format!("m{party} does not have {tx}: only the operator and m{member} do");
            self.problem(broadcast.by.referenced, format!("{path}.by"), message);
        }
        if let (Party::Member(_), TxName::Funding) = (broadcast.by.value.0, tx) {
            self.problem(broadcast.by.referenced, format!("{path}.by"), "only the operator has the funding");
        }
        if let (ExpectSubmission::Rejected(_), Some(_)) = (&broadcast.expect, &broadcast.replaces) {
            let message = "what is rejected replaces nothing";
            self.problem(broadcast.tx.referenced, format!("{path}.replaces"), message);
        }
        for (index, tx) in broadcast.replaces.iter().flatten().enumerate() {
            self.transaction(tx, &format!("{path}.replaces.{index}"));
        }
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
        match name.value.0 {
            TxName::Close(member) => {
                let before = self.problems.len();
                self.party(&Spanned::new(&Party::Member(member), name.referenced, name.defined), path);
                self.problems.len() == before
            }
            _ => true,
        }
    }
}

/// Whether a node can have this name, which is also that of its folder.
fn is_node_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

/// The same place, for the party that is named there.
trait MapRef {
    fn map_ref(&self) -> Spanned<&Party>;
}

impl MapRef for Spanned<super::value::PartyName> {
    fn map_ref(&self) -> Spanned<&Party> {
        Spanned::new(&self.value.0, self.referenced, self.defined)
    }
}
