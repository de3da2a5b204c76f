//! What an experiment's file may say. The doc comments of these types are what an editor shows, through the JSON Schema.

use bitcoin::Weight;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::scenario::{BlockWeight, Count, KindName, Percent, Premium, Rate, Sat, Size, Span};

/// An experiment: both sides of a factory are published, and miners decide which one is confirmed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// What it is called in reports.
    pub name: String,
    /// What it is there to show.
    #[serde(default)]
    pub description: String,
    /// The claim that it bears on, by the name that it has among those of `shopfloor claims`, such as `miners-prefer-it`.
    #[serde(default)]
    pub claim: Option<String>,
    /// Decides the arrival of blocks, the background and every key: the same seed gives the same trials.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// How many trials are made where the command line does not say.
    #[serde(default = "default_trials")]
    pub trials: Count,
    /// The nodes, by name.
    pub nodes: IndexMap<String, RaceNode>,
    /// Which nodes tell each other of transactions and blocks, and how long that takes; each with each at once, if nothing
    /// is said.
    #[serde(default)]
    pub links: Option<Vec<Link>>,
    /// Times in which nodes of different groups hear nothing of each other.
    #[serde(default)]
    pub partitions: Vec<Partition>,
    /// The factory.
    pub factory: RaceFactory,
    /// A large child of the first member's close, which belongs to the allocation's side.
    #[serde(default)]
    pub pin: Option<Pin>,
    /// What is published where, and when. The time of a trial begins with 0, when the funding is confirmed and no side is
    /// known to anybody.
    pub publish: Vec<Publish>,
    /// The miners, by name. Their shares add up to 100 %.
    pub miners: IndexMap<String, Miner>,
    /// The blocks.
    #[serde(default)]
    pub blocks: Blocks,
    /// What else there is to be mined; nothing, if it is left out.
    #[serde(default)]
    pub congestion: Option<Congestion>,
    /// What must come out, beside what can be computed beforehand.
    #[serde(default)]
    pub expect: RaceExpect,
}

/// A node of an experiment.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RaceNode {
    /// Its kind.
    pub kind: KindName,
    /// Options of its mempool: `-incrementalrelayfee`, `-minrelaytxfee`, `-blockmintxfee` and `-mempooltruc`.
    #[serde(default)]
    pub args: Vec<String>,
    /// The only side that it is told of: so a miner who looks at both keeps each in a node of its own.
    #[serde(default)]
    pub only: Option<Side>,
}

/// The two ways to spend the funding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The allocation, and what spends from it.
    Allocation,
    /// The factory close.
    FactoryClose,
}

/// Two nodes that tell each other what they take.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The two.
    pub between: (String, String),
    /// How long a transaction takes from one to the other.
    #[serde(default)]
    pub transactions: Span,
    /// How long a block takes.
    #[serde(default)]
    pub blocks: Span,
}

/// A time in which nodes of different groups hear nothing of each other.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// When it begins.
    #[serde(default)]
    pub from: Span,
    /// When it ends. Then the nodes tell each other their blocks; transactions they have not heard of have to be published
    /// again.
    pub to: Span,
    /// The groups. Every node is in one.
    pub groups: Vec<Vec<String>>,
}

/// The factory of an experiment. Half of every channel is its member's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RaceFactory {
    /// How many members there are beside the operator.
    pub members: Count,
    /// What the allocation and each channel close pay per virtual byte.
    #[serde(default = "default_feerate")]
    pub feerate: Rate,
    /// The transaction version: 2, or 3 (TRUC, BIP 431).
    #[serde(default = "default_version")]
    pub version: Count,
    /// What the factory close pays per virtual byte of its own beyond the fees of what it cuts through.
    #[serde(default = "default_premium")]
    pub premium: Premium,
}

/// A large child of the first member's close.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Its size.
    pub size: Size,
    /// What it pays per virtual byte.
    pub feerate: Rate,
}

/// Something is published.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// What.
    pub tx: PublishedTx,
    /// The node that is told of it.
    pub at: String,
    /// When.
    #[serde(default)]
    pub after: Span,
}

/// What can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum PublishedTx {
    /// The allocation.
    Allocation,
    /// Every channel close.
    Closes,
    /// The closes of the first so many members' channels.
    FirstCloses(Count),
    /// The large child of the first member's close.
    Pin,
    /// The factory close.
    FactoryClose,
}

/// A miner.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Miner {
    /// Its part of the hash power. One miner may leave it out, and has what the others leave.
    #[serde(default)]
    pub share: Option<Percent>,
    /// Its node.
    pub node: String,
    /// How it chooses what it mines.
    #[serde(default)]
    pub policy: MiningPolicy,
}

/// How a miner chooses what it mines.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum MiningPolicy {
    /// Its node's block template.
    #[default]
    Template,
    /// The better of the templates of its node and of a second one, by their fees; either of them with even chances, if they
    /// are worth the same.
    Rational {
        /// The second node.
        second: String,
    },
    /// The side that its node saw first: the node is not told of the other one any more.
    FirstSeen,
    /// The side that was replaced in its node's mempool, if one was; its node's template otherwise.
    ReplacedAnyway,
    /// A side for which it is paid beside the chain, if that is worth more to it than its node's template.
    Bribed {
        /// Which side.
        side: Side,
        /// What it is paid.
        payment: Sat,
    },
    /// No transactions.
    Empty,
    /// Its node's block template, but what other nodes know reaches that node late.
    Stale {
        /// By how much.
        lag: Span,
    },
}

/// The blocks.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Blocks {
    /// The mean time between two.
    #[serde(default = "default_interval")]
    pub interval: Span,
    /// How heavy they may be, with 8,000 WU that nodes keep free for the header and the coinbase. With less than the
    /// chain's 4,000,000 WU, fewer transactions fill a block.
    #[serde(default = "default_max_weight")]
    pub max_weight: BlockWeight,
    /// After so many blocks without either side a trial ends, and neither has won.
    #[serde(default = "default_give_up")]
    pub give_up: Count,
}

/// What else there is to be mined. As much as is said waits before every block.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Congestion {
    /// How much waits, as a part of what fits into a block. With more than `100 %` something is left over.
    pub fill: Percent,
    /// What it pays.
    pub feerates: Feerates,
    /// How large each transaction is.
    #[serde(default = "default_background")]
    pub size: Size,
}

/// What background transactions pay.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Feerates {
    /// All the same.
    Constant(Rate),
    /// Exponentially distributed.
    Exponential {
        /// The least.
        #[serde(default = "default_feerate")]
        least: Rate,
        /// The mean.
        mean: Rate,
    },
    /// Drawn from a file with a line `FEERATE,COUNT` for each bin, the feerate in sat/vB. The file is named relative to this
    /// one.
    Histogram(String),
}

/// What must come out.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RaceExpect {
    /// How often the factory close wins, within the chance of so many trials.
    #[serde(default)]
    pub factory_close_wins: Option<Percent>,
    /// What a rational miner gains by the factory close in every trial, against the allocation's side.
    #[serde(default)]
    pub margin: Option<MarginSign>,
}

/// What a rational miner gains by the factory close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MarginSign {
    /// Something.
    Positive,
    /// Nothing.
    Zero,
    /// It loses.
    Negative,
}

impl Experiment {
    /// The shares of the miners, in the order of the file.
    pub fn shares(&self) -> Vec<Percent> {
        let given: u64 = self.miners.values().filter_map(|miner| miner.share).map(|share| share.0).sum();
        let left = Percent(Percent::WHOLE.0.saturating_sub(given));
        self.miners.values().map(|miner| miner.share.unwrap_or(left)).collect()
    }
}

impl Default for Blocks {
    fn default() -> Self {
        Blocks { interval: default_interval(), max_weight: default_max_weight(), give_up: default_give_up() }
    }
}

fn default_seed() -> u64 {
    1
}

fn default_trials() -> Count {
    Count(200)
}

fn default_feerate() -> Rate {
    Rate(bitcoin::FeeRate::BROADCAST_MIN)
}

fn default_premium() -> Premium {
    Premium(bitcoin::FeeRate::ZERO)
}

fn default_version() -> Count {
    Count(2)
}

fn default_interval() -> Span {
    Span(600_000)
}

fn default_max_weight() -> BlockWeight {
    BlockWeight(Weight::MAX_BLOCK)
}

fn default_give_up() -> Count {
    Count(1_000)
}

fn default_background() -> Size {
    Size(500)
}
