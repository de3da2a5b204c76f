//! Shopfloor drives single-funded Lightning channel factories through their lifecycle on real Bitcoin nodes.
//!
//! A [`scenario`] says what happens to a factory; [`scenario::run`] plays it on a [`node::Node`], with parties that each
//! hold their own keys, and gives a [`report::RunReport`]. The protocol itself is the crate `factory_core`.

mod book;
mod factory;
mod ledger;
mod parties;
mod run_dir;

pub mod cli;
pub mod node;
pub mod report;
pub mod scenario;
pub mod seed;
