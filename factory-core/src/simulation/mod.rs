//! Whole lifecycles without a node: an operator and members, the links between them, and a chain in memory.
//!
//! A [`Ledger`] is a small Bitcoin chain with its mempool: it knows nothing of factories, and verifies whatever it is
//! offered as a node would. A [`Plan`] says, from one seed, how large a factory is, on which terms, what its users want,
//! and what goes wrong: messages are lost, doubled and overtaken; parties crash in the middle of what they do and come
//! back with what they had stored; some fall silent, some lie. [`run`] plays it out and checks, all the while and at the
//! end, what must never happen; [`run_many`] counts which way each lifecycle took.

mod audit;
mod ledger;
mod lie;
mod plan;
mod seat;
mod tally;
mod verdict;
mod world;

pub use audit::Violation;
pub use ledger::{Ledger, Refusal, ReorgError, WitnessError};
pub use plan::{Behaviour, Faults, Plan};
pub use tally::{Tally, run_many};
pub use verdict::{Outcome, Path};
pub use world::{CrashPoint, crash_points, run, run_with_crash};
