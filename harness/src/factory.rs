//! The factory that a scenario describes.

use bitcoin::Amount;
use factory_core::{Budget, ChannelRules, FeeRule, Offer, Party, RefundLocks, TermsError};
use rand_core::Rng as _;

use crate::scenario::check::version;
use crate::scenario::{CloseFee, Count, Named, Scenario};
use crate::seed;

/// The conditions that the operator offers.
pub(crate) fn offer(scenario: &Scenario) -> Offer {
    let spec = &scenario.factory;
    let locks = spec.refund_locks;
    let blocks = |count: Count| u16::try_from(count.0).expect("a scenario that has been checked has locks of 16 bits");
    Offer {
        version: version(spec.version.0).expect("a scenario that has been checked has version 2 or 3"),
        lock: spec.lock.0,
        feerate: spec.feerate.0,
        close_fee: match &spec.close_fee {
            CloseFee::Exact => FeeRule::Exact,
            CloseFee::Premium(rate) => FeeRule::Premium(rate.0),
            CloseFee::Ladder(rungs) => FeeRule::Ladder(rungs.iter().map(|rung| rung.0).collect()),
        },
        confirmations: spec.confirmations.0,
        refund_locks: RefundLocks {
            initial: blocks(locks.initial),
            step: blocks(locks.step),
            minimum: blocks(locks.minimum),
        },
        patience: spec.patience.0,
    }
}

/// The capacity of every channel.
pub(crate) fn capacities(scenario: &Scenario) -> Vec<Amount> {
    let spec = &scenario.factory;
    let capacity = |member| spec.capacities.get(&Named(Party::Member(member))).unwrap_or(&spec.capacity).0;
    (0..spec.members.0).map(capacity).collect()
}

/// What the factory costs, if there can be such a factory.
pub(crate) fn budget(scenario: &Scenario) -> Result<Budget, TermsError> {
    Budget::new(&offer(scenario), &capacities(scenario))
}

/// What the operator has to bring, beside the fee of the funding.
pub(crate) fn needed(scenario: &Scenario) -> Option<Amount> {
    budget(scenario).ok().map(|budget| budget.factory_value)
}

/// What the states of a member's channel have to keep to.
pub(crate) fn channel_rules(scenario: &Scenario, member: u32) -> ChannelRules {
    let spec = &scenario.factory;
    let capacity = spec.capacities.get(&Named(Party::Member(member))).unwrap_or(&spec.capacity).0;
    ChannelRules::new(member, &offer(scenario), capacity)
}

/// The preimage that a scenario calls by that name.
pub(crate) fn preimage(scenario: &Scenario, secret: &str) -> [u8; 32] {
    let mut preimage = [0; 32];
    seed::stream(scenario.seed, &format!("secret/{secret}")).fill_bytes(&mut preimage);
    preimage
}
