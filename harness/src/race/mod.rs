//! Which side do miners mine? Experiments in which both sides of a factory are published, and miners with shares of the hash
//! power and policies of their own decide.

mod item;
mod language;
mod nodes;
#[allow(dead_code)]
mod real;
mod record;
#[allow(dead_code)]
mod sides;

pub use item::{Facts, Item, Sides};
pub use language::{
    Blocks, Congestion, Experiment, Feerates, Link, MarginSign, Miner, MiningPolicy, Partition, Pin, Publish,
    PublishedTx, RaceExpect, RaceFactory, RaceNode, Side,
};
pub use nodes::{BlockId, Nodes};
pub use record::{Judgement, Margin, Trial};
