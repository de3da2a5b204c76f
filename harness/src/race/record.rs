//! What comes of a trial.

use schemars::JsonSchema;
use serde::Serialize;

use super::item::Item;
use super::language::Side;

/// What came of one trial. The model and the nodes have to agree in all of it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Trial {
    /// Its number, from 0.
    pub number: u64,
    /// The side that was confirmed; neither, if the trial was given up.
    pub winner: Option<Side>,
    /// How many blocks it took: the height of the deciding block over that of the funding's.
    pub blocks: u32,
    /// When the deciding block was found, in milliseconds of simulated time.
    pub time_ms: u64,
    /// Who found the deciding block, by its place in the file.
    pub decided_by: Option<usize>,
    /// What each miner earned by fees in the final chain, in satoshi, by its place in the file.
    pub fees_sat: Vec<u64>,
    /// How many blocks of the final chain each miner found.
    pub found: Vec<u32>,
    /// How many virtual bytes of the factory's transactions are in the final chain.
    pub factory_vsize: u64,
    /// How many blocks were found that are not in the final chain.
    pub stale_blocks: u32,
    /// What rational miners saw each time they found a block, before anything was decided.
    pub margins: Vec<Margin>,
    /// What the nodes said to every transaction of the factory, in the order of time.
    #[serde(skip)]
    pub judgements: Vec<Judgement>,
}

/// What the factory close is worth to a rational miner, against the allocation's side.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Margin {
    /// The difference of the fees of the two templates, in satoshi.
    pub measured_sat: i64,
    /// What Δ = (f_FC − f_A − Σ f_Ci) + r · (V_A + Σ V_Ci − V_FC) says, in satoshi.
    pub formula_sat: f64,
    /// The marginal feerate r: what the cheapest transaction in the block pays that has nothing to do with the factory, if
    /// others wait, in sat/vB.
    pub marginal: f64,
}

/// What a node said to a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// When, in milliseconds of simulated time.
    pub time_ms: u64,
    /// The node, by its place in the file.
    pub node: usize,
    /// The transaction.
    pub item: Item,
    /// Whether it is in the node's mempool now.
    pub accepted: bool,
}
