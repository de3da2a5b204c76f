//! Which side do miners mine? Experiments in which both sides of a factory are published, and miners with shares of the hash
//! power and policies of their own decide.

pub mod csv;
mod expectations;
mod item;
mod language;
mod markdown;
mod nodes;
pub mod plot;
mod record;
mod report;
#[cfg(test)]
mod samples;
#[allow(dead_code)]
mod sides;
pub mod stats;
mod text;

pub use expectations::expectations;
pub use item::{Facts, Item, Sides};
pub use language::{
    Blocks, Congestion, Experiment, Feerates, Link, MarginSign, Miner, MiningPolicy, Partition, Pin, Publish,
    PublishedTx, RaceExpect, RaceFactory, RaceNode, Side,
};
pub use markdown::markdown;
pub use nodes::{BlockId, Nodes};
pub use record::{Judgement, Margin, Trial};
pub use report::{FORMAT, Known, MarginReport, MinerReport, NodeVersion, Outcome, Outcomes, Point, RaceReport};
