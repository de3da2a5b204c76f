//! Which side do miners mine? Experiments in which both sides of a factory are published, and miners with shares of the hash
//! power and policies of their own decide.

mod check;
mod course;
mod draws;
mod fast;
mod histogram;
mod item;
mod language;
mod load;
mod model;
mod nodes;
mod options;
#[allow(dead_code)]
mod real;
mod record;
mod schema;
mod setup;
#[allow(dead_code)]
mod sides;
#[cfg(test)]
mod tests;

pub use item::{Facts, Item, Sides};
pub use language::{
    Blocks, Congestion, Experiment, Feerates, Link, MarginSign, Miner, MiningPolicy, Partition, Pin, Publish,
    PublishedTx, RaceExpect, RaceFactory, RaceNode, Side,
};
pub use load::{LoadedExperiment, find, load, load_text};
pub use nodes::{BlockId, Nodes};
pub use record::{Judgement, Margin, Trial};
pub use schema::schema;
