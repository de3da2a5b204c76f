//! What a factory costs, as data. Every other form is made of this.

use std::fmt;

use bitcoin::FeeRate;
use factory_core::{LockKind, TxVersion};
use schemars::JsonSchema;
use serde::Serialize;

use crate::scenario::Named;

/// The number of this form of a report. It is raised when a field goes or changes its meaning, not when one is added.
pub const FORMAT: u32 = 1;

/// What factories cost, and what the same channels cost without one.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FeesReport {
    /// The number of this form of a report.
    pub format: u32,
    /// The version of the harness.
    pub shopfloor: String,
    /// What decided every key and nonce.
    pub seed: u64,
    /// The factories, in the order of locks, versions, feerates and numbers of members.
    pub factories: Vec<FactoryReport>,
    /// Those that were asked for and cannot be.
    pub left_out: Vec<LeftOut>,
    /// The figures of Burchert, Decker and Wattenhofer, with the formula behind them, and single-funded factories beside
    /// them.
    pub published: Vec<Published>,
}

/// What one factory is like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Shape {
    /// How many members it has, each with one channel with the operator.
    pub members: u32,
    /// How the n-of-n of the factory and the 2-of-2 of every channel are built.
    #[schemars(with = "Named<LockKind>")]
    pub lock: LockKind,
    /// The version of its transactions: 2 or 3.
    #[serde(serialize_with = "number")]
    #[schemars(with = "i32")]
    pub version: TxVersion,
    /// What every transaction pays by its size, in satoshi per virtual byte.
    #[serde(rename = "feerate_sat_per_vb", serialize_with = "sat_per_vb")]
    #[schemars(with = "f64")]
    pub feerate: FeeRate,
}

fn number<S: serde::Serializer>(version: &TxVersion, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i32(version.to_bitcoin().0)
}

fn sat_per_vb<S: serde::Serializer>(feerate: &FeeRate, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(feerate.to_sat_per_kwu() as f64 / 250.0)
}

impl Shape {
    /// The feerate in satoshi per virtual byte.
    pub fn sat_per_vb(&self) -> f64 {
        self.feerate.to_sat_per_kwu() as f64 / 250.0
    }

    /// The factory in a few words.
    pub fn title(&self) -> String {
        let Shape { members, lock, version, .. } = self;
        format!("{members} members, {lock}, version {version}, {} sat/vB", self.sat_per_vb())
    }
}

/// One factory: all transactions that it can come to, and the ways from its opening to everybody's final balance.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FactoryReport {
    /// What it is like.
    pub shape: Shape,
    /// What each channel holds, in satoshi. In the end half of it is the member's.
    pub capacity_sat: u64,
    /// Its transactions, and those of the same channels without a factory.
    pub transactions: Vec<TxReport>,
    /// The ways: those of the factory, then those without one.
    pub ways: Vec<WayReport>,
    /// What the factory close pays.
    pub factory_close: CloseFee,
}

impl FactoryReport {
    /// The transactions of a kind.
    pub fn tx(&self, name: Tx) -> Option<&TxReport> {
        self.transactions.iter().find(|tx| tx.name == name)
    }

    /// A way.
    pub fn way(&self, way: Way) -> Option<&WayReport> {
        self.ways.iter().find(|report| report.way == way)
    }

    /// What a way would cost, in satoshi, if FC paid by its size.
    pub fn fee_by_size(&self, way: &WayReport) -> u64 {
        let less = if way.way.of().contains(&Tx::FactoryClose) { self.factory_close.left_sat } else { 0 };
        way.fee_sat - less
    }
}

/// All transactions of one kind, as they were signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TxReport {
    /// Which transactions.
    pub name: Tx,
    /// How many there are.
    pub count: u32,
    /// The size of all of them together, in vB: the sum of sizes that are each rounded up.
    pub vb: u64,
    /// The size of the smallest, in vB.
    pub least_vb: u64,
    /// The size of the largest, in vB. They differ only where signatures have no fixed length (`wsh`).
    pub most_vb: u64,
    /// What the formula says of one, in vB: exact but for `wsh`, where it is the most that one can have.
    pub formula_vb: u64,
    /// The weight of the largest witness of an input, in weight units, without the marker and the flag.
    pub witness_wu: u64,
    /// What all of them pay together, in satoshi.
    pub fee_sat: u64,
}

/// A kind of transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tx {
    /// F: one input of the operator's to the factory output and its change.
    Funding,
    /// A: the factory output to the channels.
    Allocation,
    /// C_i: a channel of A to its two sides, closed by both.
    ChannelClose,
    /// R_i: a state of a channel of A with a balance on each side and no HTLC, enforced by one side.
    Refund,
    /// FC: the factory output to every member and the operator.
    FactoryClose,
    /// Opens one channel without a factory: one input of the operator's to the channel and its change.
    SeparateOpen,
    /// Closes one of them, to its two sides.
    SeparateClose,
    /// Opens all channels at once without a factory: one input of the operator's to all channels and its change.
    BatchedOpen,
    /// Closes one of them, to its two sides.
    BatchedClose,
}

impl Tx {
    /// All kinds.
    pub const ALL: [Tx; 9] = [
        Tx::Funding,
        Tx::Allocation,
        Tx::ChannelClose,
        Tx::Refund,
        Tx::FactoryClose,
        Tx::SeparateOpen,
        Tx::SeparateClose,
        Tx::BatchedOpen,
        Tx::BatchedClose,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Tx::Funding => "funding",
            Tx::Allocation => "allocation",
            Tx::ChannelClose => "channel-close",
            Tx::Refund => "refund",
            Tx::FactoryClose => "factory-close",
            Tx::SeparateOpen => "separate-open",
            Tx::SeparateClose => "separate-close",
            Tx::BatchedOpen => "batched-open",
            Tx::BatchedClose => "batched-close",
        }
    }
}

/// A way from the opening of the channels to everybody's final balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// F and FC.
    Cooperative,
    /// F, A and every C_i: the factory close never comes.
    Fallback,
    /// F, A and every R_i: somebody is silent, and every channel is left by its refund.
    Unilateral,
    /// No factory: one transaction opens all channels, and each is closed by its own.
    Batched,
    /// No factory: each channel is opened and closed by transactions of its own.
    Separate,
}

impl Way {
    /// All ways.
    pub const ALL: [Way; 5] = [Way::Cooperative, Way::Fallback, Way::Unilateral, Way::Batched, Way::Separate];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Way::Cooperative => "cooperative",
            Way::Fallback => "fallback",
            Way::Unilateral => "unilateral",
            Way::Batched => "batched",
            Way::Separate => "separate",
        }
    }

    /// What is confirmed on it.
    pub const fn of(self) -> &'static [Tx] {
        match self {
            Way::Cooperative => &[Tx::Funding, Tx::FactoryClose],
            Way::Fallback => &[Tx::Funding, Tx::Allocation, Tx::ChannelClose],
            Way::Unilateral => &[Tx::Funding, Tx::Allocation, Tx::Refund],
            Way::Batched => &[Tx::BatchedOpen, Tx::BatchedClose],
            Way::Separate => &[Tx::SeparateOpen, Tx::SeparateClose],
        }
    }
}

/// What one way takes, and how much of it a factory saves. Parts are from 0 to 1, and negative where it takes more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct WayReport {
    /// Which way.
    pub way: Way,
    /// How many transactions are confirmed.
    pub transactions: u32,
    /// Their sizes together, in vB.
    pub vb: u64,
    /// The same for each member, in vB.
    pub vb_per_member: f64,
    /// Which part of the size of separate channels it saves.
    pub vb_saved_of_separate: f64,
    /// Which part of the size of channels that are opened in a batch it saves.
    pub vb_saved_of_batched: f64,
    /// Their fees together, in satoshi; those of FC by the exact rule.
    pub fee_sat: u64,
    /// The same for each member, in satoshi. The operator pays it all.
    pub fee_sat_per_member: f64,
    /// Which part of the fees of separate channels it saves.
    pub fee_saved_of_separate: f64,
    /// Which part of the fees of channels that are opened in a batch it saves.
    pub fee_saved_of_batched: f64,
}

/// What FC pays by the exact rule, f_FC = f_A + Σ f_Ci, and what its size would cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CloseFee {
    /// What it pays, in satoshi.
    pub exact_sat: u64,
    /// What the feerate asks for its size, in satoshi.
    pub by_size_sat: u64,
    /// What it pays beyond that, in satoshi.
    pub left_sat: u64,
    /// The same for each member, in satoshi.
    pub left_sat_per_member: f64,
    /// The feerate that it pays, in satoshi per virtual byte.
    pub feerate_sat_per_vb: f64,
}

/// A factory that cannot be.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct LeftOut {
    /// What it was to be like.
    pub shape: Shape,
    /// Which limit is in its way.
    pub why: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.shape.title(), self.why)
    }
}

/// A factory of the literature or of this protocol, and which part of the chain space it saves against separate channels.
/// Parts are from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Published {
    /// What it is.
    pub factory: &'static str,
    /// How many parties there are; in a single-funded factory, the members and the operator.
    pub parties: u32,
    /// How many channels they have.
    pub channels: u32,
    /// The part that the authors name, if it is theirs.
    pub published: Option<f64>,
    /// The formula.
    pub formula: &'static str,
    /// What the formula gives.
    pub by_formula: f64,
    /// With which locks it was signed.
    #[schemars(with = "Named<LockKind>")]
    pub lock: LockKind,
    /// What signed transactions take with the factory, opened and closed, in vB.
    pub factory_vb: u64,
    /// What they take without it, in vB.
    pub separate_vb: u64,
    /// The part that is saved by the signed transactions.
    pub signed: f64,
}
