//! An experiment with everything looked up that every trial needs.

use bitcoin::{Amount, FeeRate, Weight};
use factory_core::replacement::{Policy, RelayRate};

use super::item::{Facts, Item, Sides};
use super::language::{Experiment, MiningPolicy, PublishedTx, Side};
use super::{options, real, sides};
use crate::scenario::Percent;
use crate::testbed::Stop;

/// What nodes of every kind keep free in a block for its header and the coinbase (`-blockreservedweight`). What is in it
/// beside them weighs less than what is left.
pub(crate) const RESERVED: Weight = Weight::from_wu(8_000);

/// An experiment, with names resolved.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) experiment: Experiment,
    pub(crate) sides: Sides,
    /// The bins of the feerates, where they are from a file.
    pub(crate) histogram: Vec<(FeeRate, u64)>,
    pub(crate) nodes: Vec<NodeSetup>,
    pub(crate) miners: Vec<MinerSetup>,
    pub(crate) publish: Vec<(u64, usize, Vec<Item>)>,
    pub(crate) partitions: Vec<Parting>,
    /// What a background transaction weighs.
    pub(crate) background_weight: Weight,
}

/// A node.
#[derive(Clone, Debug)]
pub(crate) struct NodeSetup {
    /// The nodes that it tells of what it takes.
    pub(crate) links: Vec<Hop>,
    pub(crate) only: Option<Side>,
    /// Whether it is told of one side only, that which it saw first.
    pub(crate) first_seen: bool,
    /// By how much the transactions that others have reach it late, in milliseconds.
    pub(crate) lag: u64,
    /// The rules of its mempool.
    pub(crate) policy: Policy,
    /// The least that it mines.
    pub(crate) block_minimum: RelayRate,
}

/// The way to another node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop {
    pub(crate) to: usize,
    /// How long a transaction takes, in milliseconds.
    pub(crate) transactions: u64,
    /// How long a block takes, in milliseconds.
    pub(crate) blocks: u64,
}

/// A miner.
#[derive(Clone, Debug)]
pub(crate) struct MinerSetup {
    pub(crate) share: Percent,
    pub(crate) node: usize,
    pub(crate) policy: Chooses,
}

/// How a miner chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chooses {
    Template,
    Better { second: usize },
    Replaced,
    Bribed { side: Side, payment: Amount },
    Nothing,
}

/// A time of a partition, in milliseconds, and the group of each node in it.
#[derive(Clone, Debug)]
pub(crate) struct Parting {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) groups: Vec<usize>,
}

impl Setup {
    /// Looks everything up in an experiment that has been checked.
    ///
    /// # Errors
    ///
    /// [`Stop::Fail`], if a name is none, or there can be no such factory.
    pub(crate) fn new(experiment: &Experiment, histogram: Vec<(FeeRate, u64)>) -> Result<Setup, Stop> {
        let place = |name: &String| {
            let found = experiment.nodes.get_index_of(name);
            found.ok_or_else(|| Stop::Fail(format!("`{name}` is no node")))
        };
        let count = experiment.nodes.len();
        let mut nodes: Vec<NodeSetup> = experiment
            .nodes
            .values()
            .map(|node| NodeSetup {
                links: Vec::new(),
                only: node.only,
                first_seen: false,
                lag: 0,
                policy: options::policy(node),
                block_minimum: options::block_min_feerate(node),
            })
            .collect();
        match &experiment.links {
            None => {
                for (one, node) in nodes.iter_mut().enumerate() {
                    let others = (0..count).filter(|other| *other != one);
                    node.links = others.map(|to| Hop { to, transactions: 0, blocks: 0 }).collect();
                }
            }
            Some(links) => {
                for link in links {
                    let (one, other) = (place(&link.between.0)?, place(&link.between.1)?);
                    for (from, to) in [(one, other), (other, one)] {
                        let hop = Hop { to, transactions: link.transactions.0, blocks: link.blocks.0 };
                        nodes[from].links.push(hop);
                    }
                }
            }
        }
        let mut miners = Vec::new();
        for (miner, share) in experiment.miners.values().zip(experiment.shares()) {
            let node = place(&miner.node)?;
            let policy = match &miner.policy {
                MiningPolicy::Template => Chooses::Template,
                MiningPolicy::Rational { second } => Chooses::Better { second: place(second)? },
                MiningPolicy::FirstSeen => {
                    nodes[node].first_seen = true;
                    Chooses::Template
                }
                MiningPolicy::ReplacedAnyway => Chooses::Replaced,
                MiningPolicy::Bribed { side, payment } => Chooses::Bribed { side: *side, payment: payment.0 },
                MiningPolicy::Empty => Chooses::Nothing,
                MiningPolicy::Stale { lag } => {
                    nodes[node].lag = lag.0;
                    Chooses::Template
                }
            };
            miners.push(MinerSetup { share, node, policy });
        }
        let mut publish = Vec::new();
        for published in &experiment.publish {
            let closes = |count: u32| (0..count).map(Item::Close).collect();
            let items = match published.tx {
                PublishedTx::Allocation => vec![Item::Allocation],
                PublishedTx::Closes => closes(experiment.factory.members.0),
                PublishedTx::FirstCloses(count) => closes(count.0),
                PublishedTx::Pin => vec![Item::Pin],
                PublishedTx::FactoryClose => vec![Item::FactoryClose],
            };
            publish.push((published.after.0, place(&published.at)?, items));
        }
        let mut partitions = Vec::new();
        for partition in &experiment.partitions {
            let mut groups = vec![0; count];
            for (group, names) in partition.groups.iter().enumerate() {
                for name in names {
                    groups[place(name)?] = group;
                }
            }
            partitions.push(Parting { from: partition.from.0, to: partition.to.0, groups });
        }
        let size = experiment.congestion.as_ref().map_or(0, |congestion| congestion.size.0);
        Ok(Setup {
            sides: sides::facts(experiment)?,
            experiment: experiment.clone(),
            histogram,
            nodes,
            miners,
            publish,
            partitions,
            background_weight: real::background_facts(size, Amount::ZERO).weight,
        })
    }

    /// What fits into a block beside the header and the coinbase.
    pub(crate) fn room(&self) -> Weight {
        self.experiment.blocks.max_weight.0.checked_sub(RESERVED).unwrap_or(Weight::ZERO)
    }

    /// The facts of the factory's transaction.
    pub(crate) fn side_facts(&self, item: Item) -> Option<Facts> {
        match item {
            Item::Allocation => Some(self.sides.allocation),
            Item::Close(_) => Some(self.sides.close),
            Item::Pin => self.sides.pin,
            Item::FactoryClose => Some(self.sides.factory_close),
            Item::Background(_) => None,
        }
    }
}
