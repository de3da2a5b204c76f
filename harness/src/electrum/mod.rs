//! Electrum servers beside nodes: what a light client gets to see of their chains and mempools.

mod ask;
mod process;

pub use ask::{Balance, ElectrsError, HistoryEntry, Tip};
pub use process::{Electrs, ElectrsStartError};
