//! When does a transaction replace what a mempool holds? The rules of each node, one by one, without a node.
//!
//! A [`Mempool`] says what is there, a [`Candidate`] what is offered, and a [`Policy`] whose mempool it is. From these
//! [`Policy::judge`] lists what every rule asks and whether it is met, and the [`Judgement`] computes the smallest fee that
//! meets them all. [`Policy::judge_package`] does the same for a parent and a child that come together.
//!
//! ```
//! use bitcoin::{Amount, Weight};
//! use factory_core::replacement::{Candidate, Entry, Mempool, Policy};
//!
//! // A factory of 3: the allocation alone is in the mempool, at 1 sat/vB.
//! let mut mempool = Mempool::new();
//! let allocation = mempool.push(Entry {
//!     fee: Amount::from_sat(197), weight: Weight::from_wu(197 * 4), version: 2, parents: vec![],
//! });
//! let close = Candidate {
//!     weight: Weight::from_wu(240 * 4), version: 2, parents: vec![], conflicts: vec![allocation], dust: 0, leaves_dust: false,
//! };
//! let smallest = |policy: Policy| policy.judge(&mempool, &close, Amount::ZERO).smallest_fee().unwrap().to_sat();
//! assert_eq!(smallest(Policy::CORE_31), 240); // the diagram: equal feerate passes
//! assert_eq!(smallest(Policy::CORE_30), 241); // strictly above the allocation's feerate
//! assert_eq!(smallest(Policy::CORE_29), 437); // the relay payment binds
//! ```
//!
//! The rules are those of the nodes' source (`validation.cpp`, `policy/rbf.cpp`, `policy/truc_policy.cpp`), in the order in
//! which a node tries them, so the first that fails is the one that its refusal names.

mod diagram;
mod judge;
mod mempool;
mod package;
mod policy;
mod rule;
#[cfg(test)]
mod tests;

pub use mempool::{Entry, Mempool};
pub use package::Package;
pub use policy::{Limits, Policy, Quality, RelayRate};
pub use rule::{Finding, Judgement, Requires, Rule};

use bitcoin::Weight;

/// What is offered to a mempool, all but its fee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its weight.
    pub weight: Weight,
    /// Its version: 3 is a topologically restricted one (BIP 431).
    pub version: i32,
    /// The transactions in the mempool whose outputs it spends.
    pub parents: Vec<usize>,
    /// The transactions in the mempool that spend an output it spends too.
    pub conflicts: Vec<usize>,
    /// How many of its outputs are dust.
    pub dust: usize,
    /// Whether it spends from an unconfirmed transaction that has dust, and leaves that dust unspent.
    pub leaves_dust: bool,
}

impl Candidate {
    /// Its size in virtual bytes, rounded up, as nodes count it.
    pub fn vsize(&self) -> u64 {
        self.weight.to_vbytes_ceil()
    }
}
