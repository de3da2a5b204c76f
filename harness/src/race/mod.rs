//! Which side do miners mine? Experiments in which both sides of a factory are published, and miners with shares of the hash
//! power and policies of their own decide.
//!
//! An [`Experiment`] is read and checked by [`load()`], and [`run()`] makes its trials: each on real nodes, and beside that by
//! a model of them, which has to come to the same. What comes of it is a [`RaceReport`].

mod check;
mod course;
pub mod csv;
mod draws;
mod expectations;
mod fast;
mod histogram;
mod item;
mod language;
mod load;
mod markdown;
mod model;
mod nodes;
mod options;
pub mod plot;
mod real;
mod record;
mod report;
mod run;
#[cfg(test)]
mod samples;
mod schema;
mod setup;
mod sides;
pub mod stats;
#[cfg(test)]
mod tests;
mod text;

pub use expectations::expectations;
pub use item::{Facts, Item, Sides};
pub use language::{
    Blocks, Congestion, Experiment, Feerates, Link, MarginSign, Miner, MiningPolicy, Partition, Pin, Publish,
    PublishedTx, RaceExpect, RaceFactory, RaceNode, Side,
};
pub use load::{LoadedExperiment, find, load, load_text};
pub use markdown::markdown;
pub use nodes::{BlockId, Nodes};
pub use record::{Judgement, Margin, Trial};
pub use report::{FORMAT, Known, MarginReport, MinerReport, NodeVersion, Outcome, Outcomes, Point, RaceReport};
pub use run::{Options, run};
pub use schema::{reports_schema, schema};
