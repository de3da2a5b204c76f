//! The nodes themselves, each with its clock.

use bitcoin::{Block, BlockHash, Weight};
use futures_util::future::try_join_all;

use super::error;
use crate::node::provision::{Env, Tool};
use crate::node::snapshot::{self, Snapshot};
use crate::node::{BlockSubmission, Kind, Node, NodeConfig, Rpc, TemplateTransaction};
use crate::race::{Experiment, RaceNode};
use crate::run_dir::RunDir;
use crate::testbed::{Stop, locate};

/// On the same tip, a node keeps its block template for five seconds of its clock.
const TEMPLATE_AGE: u64 = 6;
/// For so many hours nodes keep what is in their mempools: more than a trial can last.
const EXPIRY: u32 = 1_000_000;

/// What a node of this kind is told beside the usual.
fn arguments(kind: Kind, max_weight: Weight) -> Vec<String> {
    let mut args = vec![
        format!("-blockmaxweight={max_weight}", max_weight = max_weight.to_wu()),
        format!("-mempoolexpiry={EXPIRY}"),
        // Checks of the node's own bookkeeping, that take longer with every block and transaction.
        "-checkblockindex=0".to_owned(),
        "-checkmempool=0".to_owned(),
    ];
    if kind == Kind::Knots29 {
        // It has a limit of its own for the size of blocks, and keeps a part of them for old coins, whatever they pay.
        args.extend(["-blockmaxsize=4000000", "-blockprioritysize=0"].map(str::to_owned));
    }
    args
}

/// A node and its clock.
#[derive(Debug)]
pub(super) struct LaneNode {
    pub(super) name: String,
    node: Node,
    /// In seconds since 1970. It never goes back.
    clock: u64,
    /// What the clock showed when the last template was asked for.
    template_at: Option<u64>,
}

/// The nodes of an experiment, all on the same chain when they start.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) nodes: Vec<LaneNode>,
    pub(super) snapshot: Snapshot,
    _folder: RunDir,
}

impl Lane {
    /// Starts every node of `experiment` from the pre-mined chain of its kind.
    pub(super) async fn start(env: &Env, experiment: &Experiment) -> Result<Lane, Stop> {
        let folder = RunDir::new().map_err(error)?;
        let started = experiment.nodes.iter().map(|(name, spec)| start(env, experiment, name, spec, &folder));
        let started = try_join_all(started).await?;
        let (nodes, snapshots): (Vec<_>, Vec<_>) = started.into_iter().unzip();
        let snapshot = snapshots.first().cloned().ok_or_else(|| error("there is no node"))?;
        if let Some(other) = snapshots.iter().find(|other| other.tip() != snapshot.tip()) {
            return Err(error(format!("the pre-mined chains end in {} and {}", snapshot.tip(), other.tip())));
        }
        Ok(Lane { nodes, snapshot, _folder: folder })
    }

    /// The latest that any node's clock shows.
    pub(super) fn latest(&self) -> u64 {
        self.nodes.iter().map(|node| node.clock).max().unwrap_or_default()
    }

    /// Gives a block to all nodes at once, of which it has to be the tip then.
    pub(super) async fn extend_all(&mut self, block: &Block) -> Result<(), Stop> {
        try_join_all(self.nodes.iter_mut().map(|node| node.extend(block))).await?;
        Ok(())
    }
}

async fn start(
    env: &Env,
    experiment: &Experiment,
    name: &str,
    spec: &RaceNode,
    folder: &RunDir,
) -> Result<(LaneNode, Snapshot), Stop> {
    let kind = spec.kind.0;
    let program = locate(env, Tool::Node(kind))?;
    let cache = env.cache().map_err(error)?;
    let ports = cache.join("ports");
    let snapshot = Snapshot::of(&program.path, &cache, &ports).await.map_err(error)?;
    let dir = folder.path().join("nodes").join(name);
    snapshot.copy_to(&dir.join("data")).map_err(error)?;
    let args = arguments(kind, experiment.blocks.max_weight.0).into_iter().chain(spec.args.iter().cloned()).collect();
    let time = snapshot.time() + snapshot::BLOCK_INTERVAL;
    let config = NodeConfig { name: name.to_owned(), program: program.path, dir, ports, args, time, listen: false };
    let node = Node::start(&config).await.map_err(error)?;
    Ok((LaneNode { name: name.to_owned(), node, clock: time, template_at: None }, snapshot))
}

impl LaneNode {
    pub(super) fn rpc(&self) -> &Rpc {
        self.node.rpc()
    }

    /// Puts the clock forward to `time`, if it is not there yet.
    pub(super) async fn reach(&mut self, time: u64) -> Result<(), Stop> {
        if time > self.clock {
            self.rpc().set_time(time).await?;
            self.clock = time;
        }
        Ok(())
    }

    /// What the node would mine now, at `time` by the experiment's clock. The node's own clock goes a few seconds ahead of
    /// that if it would otherwise answer what it answered before.
    pub(super) async fn template(&mut self, time: u64) -> Result<Vec<TemplateTransaction>, Stop> {
        let fresh = self.template_at.map_or(0, |at| at + TEMPLATE_AGE);
        self.reach(time.max(fresh)).await?;
        self.template_at = Some(self.clock);
        Ok(self.rpc().block_template().await?)
    }

    /// Gives the node a block that belongs to a chain that it has or gets; `false` if that is not the best that it knows.
    pub(super) async fn take(&mut self, block: &Block) -> Result<bool, Stop> {
        // A block from the future would be refused.
        self.reach(u64::from(block.header.time)).await?;
        match self.rpc().submit_block(block).await? {
            BlockSubmission::Accepted | BlockSubmission::Known => Ok(true),
            BlockSubmission::Aside => Ok(false),
            BlockSubmission::Rejected(why) => {
                Err(error(format!("{} refuses block {}: {why}", self.name, block.block_hash())))
            }
        }
    }

    /// Gives the node a block that has to be its tip then.
    pub(super) async fn extend(&mut self, block: &Block) -> Result<(), Stop> {
        self.take(block).await?;
        let (tip, hash) = (self.tip().await?, block.block_hash());
        if tip == hash { Ok(()) } else { Err(error(format!("{} stays on {tip}: expected {hash}", self.name))) }
    }

    pub(super) async fn tip(&self) -> Result<BlockHash, Stop> {
        Ok(self.rpc().best_block().await?)
    }
}
