//! The factory that a scenario describes.

use bitcoin::Amount;
use factory_core::{Budget, ChannelRules, FeeRule, Offer, RefundLocks, TermsError};
use rand_core::Rng as _;

use crate::scenario::check::version;
use crate::scenario::{CloseFee, Count, Scenario};
use crate::seed;

/// The conditions that the operator offers.
pub(crate) fn offer(scenario: &Scenario) -> Offer {
    let spec = &scenario.factory;
    let locks = spec.refund_locks.value;
    let blocks = |count: Count| u16::try_from(count.0).expect("a scenario that has been checked has locks of 16 bits");
    Offer {
        version: version(spec.version.value.0).expect("a scenario that has been checked has version 2 or 3"),
        lock: spec.lock.value.0,
        feerate: spec.feerate.value.0,
        close_fee: match &spec.close_fee.value {
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
    vec![scenario.factory.capacity.value.0; scenario.factory.members.value.0 as usize]
}

/// What the factory costs, if there can be such a factory.
pub(crate) fn budget(scenario: &Scenario) -> Result<Budget, TermsError> {
    Budget::new(&offer(scenario), &capacities(scenario))
}

/// What the states of a member's channel have to keep to.
pub(crate) fn channel_rules(scenario: &Scenario, member: u32) -> ChannelRules {
    ChannelRules::new(member, &offer(scenario), scenario.factory.capacity.value.0)
}

/// The preimage that a scenario calls by that name.
pub(crate) fn preimage(scenario: &Scenario, secret: &str) -> [u8; 32] {
    let mut preimage = [0; 32];
    seed::stream(scenario.seed, &format!("secret/{secret}")).fill_bytes(&mut preimage);
    preimage
}
