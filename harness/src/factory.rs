//! The factory that a scenario describes.

use bitcoin::Amount;
use factory_core::{Budget, Offer, Split, TermsError};

use crate::scenario::Scenario;
use crate::scenario::check::version;

/// The conditions that the operator offers.
pub(crate) fn offer(scenario: &Scenario) -> Offer {
    let spec = &scenario.factory;
    Offer {
        version: version(spec.version.value.0).expect("a scenario that has been checked has version 2 or 3"),
        feerate: spec.feerate.value.0,
        confirmations: spec.confirmations.0,
    }
}

/// The capacity of every channel.
pub(crate) fn capacities(scenario: &Scenario) -> Vec<Amount> {
    vec![scenario.factory.capacity.value.0; scenario.factory.members.value.0 as usize]
}

/// What the factory costs, if there can be such a factory.
pub(crate) fn budget(scenario: &Scenario) -> Result<Budget, TermsError> {
    Budget::new(&offer(scenario), &capacities(scenario))
}

/// What every party must end with, if the members' balances are these: the operator, then the members.
pub(crate) fn final_amounts(scenario: &Scenario, balances: &[Amount]) -> (Amount, Vec<Amount>) {
    let budget = budget(scenario).expect("a scenario that has been checked makes a factory");
    let capacity = scenario.factory.capacity.value.0;
    let mut operator = Amount::ZERO;
    let members = balances.iter().map(|balance| {
        let split = Split::new(capacity, *balance, budget.close_fee).expect("payments have been checked");
        operator += split.operator.unwrap_or(Amount::ZERO);
        split.member.unwrap_or(Amount::ZERO)
    });
    let members = members.collect();
    (operator, members)
}
