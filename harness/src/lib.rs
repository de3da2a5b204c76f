//! Shopfloor drives single-funded Lightning channel factories through their lifecycle on real Bitcoin nodes.
//!
//! A [`scenario`] says what happens to a factory; [`scenario::run`] plays it on a [`node::Node`], with parties that each
//! hold their own keys, and gives a [`report::RunReport`]. The protocol itself is the crate `factory_core`.
//!
//! A test of one's own can do the same step by step, with a [`testbed::Testbed`].

mod book;
mod bundle;
mod csv;
mod factory;
mod ledger;
mod network;
mod parties;
#[cfg(test)]
mod published;
mod run_dir;
mod signing;
mod spend;

pub mod claims;
pub mod cli;
pub mod container;
pub mod electrum;
pub mod fees;
pub mod node;
pub mod plot;
pub mod race;
pub mod reaper;
pub mod replacement;
pub mod report;
pub mod scenario;
pub mod seed;
pub mod suite;
pub mod testbed;

/// The types of Bitcoin that stand in this crate's interface.
pub use bitcoin;
/// The protocol.
pub use factory_core;

pub use node::Kind;
pub use testbed::{Status, Stop, Testbed};
