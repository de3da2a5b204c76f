//! The nodes of a scenario, the links between them, and what each knows.

mod chain;
mod machine;
mod place;
mod relay;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::{Address, BlockHash};

use crate::node::{RpcError, StartError, StopError};

pub(crate) use machine::{End, How, Machine, Start};
pub(crate) use place::Place;
pub(crate) use relay::{Arrival, Heard};

/// For how long the nodes may take to agree on what they can agree on. They take some milliseconds.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How often a node is asked again whether something is so.
const POLL: Duration = Duration::from_millis(4);

/// The nodes of a scenario.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) places: Vec<Place>,
    /// Which nodes are linked, by the topology.
    links: Vec<(usize, usize)>,
    /// Which of the links are there at the moment.
    linked: Vec<bool>,
    /// The group of each node in a partition; all are in one otherwise.
    groups: Vec<usize>,
    /// What the clocks of all nodes show, in seconds since 1970.
    time: u64,
    /// Whether a mempool has been filled, so that nodes have a minimum feerate that falls with time.
    pub(crate) filled: bool,
    containers: Option<Arc<crate::container::ContainerNet>>,
}

/// Returned when a node does not do what it must.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Returned when a node does not answer as it must.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// Returned when a link does not come about, or does not end.
    #[error(transparent)]
    Link(#[from] crate::node::LinkError),
    /// Returned when a process cannot be frozen, or go on.
    #[error("node {name}: {source}")]
    Signal {
        /// The node.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// Returned when a node does not take back a block that it had.
    #[error("node {name} does not take back block {block}: {reason}")]
    Block {
        /// The node.
        name: String,
        /// The block's hash.
        block: BlockHash,
        /// What the node says.
        reason: String,
    },
    /// Returned when a node does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Returned when a node does not stop.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// Returned when a container does not do as it is told.
    #[error(transparent)]
    Container(#[from] crate::container::ContainerError),
    /// Returned when the networks of the containers do not do as they are told.
    #[error(transparent)]
    Net(#[from] crate::container::NetError),
    /// Returned when an Electrum server does not do what it must.
    #[error(transparent)]
    Electrum(#[from] crate::electrum::ElectrsError),
    /// Returned when an Electrum server does not start.
    #[error(transparent)]
    ElectrumStart(#[from] crate::electrum::ElectrsStartError),
    /// Returned when something that must come about does not.
    #[error("waited {} s for {awaited}; instead, {seen}", DEADLINE.as_secs())]
    Late {
        /// What must come about.
        awaited: String,
        /// What was there instead.
        seen: String,
    },
    /// Returned when a node is asked that does not run.
    #[error("node {0} is not running")]
    NotRunning(String),
}

impl Network {
    /// The nodes, all started, none linked yet.
    pub(crate) fn new(
        places: Vec<Place>,
        links: Vec<(usize, usize)>,
        time: u64,
        containers: Option<Arc<crate::container::ContainerNet>>,
    ) -> Self {
        let (groups, linked) = (vec![0; places.len()], vec![false; links.len()]);
        Network { places, links, linked, groups, time, filled: false, containers }
    }

    /// The place of a node by its name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.places.iter().position(|place| place.name == name)
    }

    /// The first node that runs.
    pub(crate) fn first_running(&self) -> Option<usize> {
        self.places.iter().position(Place::is_running)
    }

    /// The nodes that run.
    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.places.len()).filter(|node| self.places[*node].is_running()).collect()
    }

    /// The height of the highest chain.
    pub(crate) fn height(&self) -> u64 {
        self.places.iter().map(|place| place.chain.height()).max().unwrap_or(0)
    }

    /// Makes the links that should be there and are not, ends those that should not, and waits until the nodes have
    /// told each other their chains.
    pub(crate) async fn connect(&mut self) -> Result<(), NetworkError> {
        let (groups, running) = (self.groups.clone(), self.running());
        for index in 0..self.links.len() {
            let (one, other) = self.links[index];
            let both_run = running.contains(&one) && running.contains(&other);
            let wanted = both_run && groups[one] == groups[other];
            match (wanted, self.linked[index]) {
                (true, false) => self.link(one, other).await?,
                (false, true) if both_run => self.unlink(one, other).await?,
                _ => {}
            }
            self.linked[index] = wanted;
        }
        for node in self.running() {
            self.converge(node).await?;
        }
        Ok(())
    }

    async fn link(&self, one: usize, other: usize) -> Result<(), NetworkError> {
        let (from, to) = (&self.places[one], &self.places[other]);
        let address = to.machine()?.p2p().ok_or_else(|| NetworkError::NotRunning(to.name.clone()))?;
        Ok(from.rpc()?.link(address).await?)
    }

    async fn unlink(&self, one: usize, other: usize) -> Result<(), NetworkError> {
        match (self.places[one].machine()?, self.places[other].machine()?) {
            (Machine::Process(from), Machine::Process(to)) => Ok(from.unlink(to).await?),
            (from, to) => match to.p2p() {
                Some(address) => Ok(from.rpc().unlink(address).await?),
                None => Ok(()),
            },
        }
    }

    /// From now on only nodes of one group hear each other.
    pub(crate) async fn partition(&mut self, groups: &[Vec<String>]) -> Result<(), NetworkError> {
        // Those that are not named make a group together.
        self.groups = vec![groups.len(); self.places.len()];
        for (group, names) in groups.iter().enumerate() {
            for name in names {
                if let Some(node) = self.find(name) {
                    self.groups[node] = group;
                }
            }
        }
        self.connect().await?;
        if let Some(containers) = self.containers.clone() {
            let count = self.groups.iter().max().map_or(1, |last| last + 1);
            let names = |group| self.places.iter().zip(&self.groups).filter(move |(_, own)| **own == group);
            let groups: Vec<Vec<String>> =
                (0..count).map(|group| names(group).map(|(place, _)| place.name.clone()).collect()).collect();
            containers.split(&groups).await?;
        }
        Ok(())
    }

    /// All nodes hear each other again, as far as the topology says.
    pub(crate) async fn heal(&mut self) -> Result<(), NetworkError> {
        if let Some(containers) = self.containers.clone() {
            containers.heal().await?;
        }
        self.groups = vec![0; self.places.len()];
        self.connect().await
    }

    /// The node's links are gone with it.
    fn forget_links(&mut self, node: usize) {
        for (index, (one, other)) in self.links.iter().enumerate() {
            if *one == node || *other == node {
                self.linked[index] = false;
            }
        }
    }

    /// Kills a node.
    pub(crate) async fn kill(&mut self, node: usize) -> Result<(), NetworkError> {
        self.places[node].kill().await?;
        self.forget_links(node);
        Ok(())
    }

    /// Stops a node in good order.
    pub(crate) async fn stop(&mut self, node: usize) -> Result<(), NetworkError> {
        self.places[node].stop().await?;
        self.forget_links(node);
        Ok(())
    }

    /// Starts a node again and links it.
    pub(crate) async fn start(&mut self, node: usize) -> Result<(), NetworkError> {
        self.places[node].start_again(self.time).await?;
        self.connect().await
    }

    /// Freezes a node.
    pub(crate) async fn pause(&mut self, node: usize) -> Result<(), NetworkError> {
        self.places[node].pause().await
    }

    /// Lets a frozen node go on.
    pub(crate) async fn resume(&mut self, node: usize) -> Result<(), NetworkError> {
        self.places[node].resume(self.time).await?;
        // Its clock has jumped, perhaps while a peer owed it a block: it would drop that peer for being late, now or
        // later. So all its links are made anew.
        for index in 0..self.links.len() {
            let (one, other) = self.links[index];
            let concerned = [one, other].contains(&node);
            if concerned && self.linked[index] && self.places[one].is_running() && self.places[other].is_running() {
                self.unlink(one, other).await?;
                self.linked[index] = false;
            }
        }
        self.connect().await
    }

    /// Every node that hears this one, itself included, in the order in which news reach them.
    pub(crate) fn around(&self, node: usize) -> Vec<usize> {
        let mut found = vec![node];
        let mut next = 0;
        while let Some(here) = found.get(next).copied() {
            next += 1;
            for neighbour in self.neighbours(here) {
                if !found.contains(&neighbour) {
                    found.push(neighbour);
                }
            }
        }
        found
    }

    /// The nodes to which a running node has a link at the moment.
    fn neighbours(&self, node: usize) -> Vec<usize> {
        let links = self.links.iter().zip(&self.linked).filter(|(_, linked)| **linked);
        let other = links.filter_map(|((one, other), _)| match node {
            _ if node == *one => Some(*other),
            _ if node == *other => Some(*one),
            _ => None,
        });
        other.filter(|other| self.places[*other].is_running() && self.places[node].is_running()).collect()
    }

    /// Mines a block on a node, by a clock that has gone on since the last one, and waits until it is known wherever it
    /// can be.
    pub(crate) async fn mine(&mut self, node: usize, reward: &Address, empty: bool) -> Result<BlockHash, NetworkError> {
        self.time += crate::node::snapshot::BLOCK_INTERVAL;
        for running in self.running() {
            let rpc = self.places[running].rpc()?;
            rpc.set_time(self.time).await?;
            if self.filled {
                // The minimum falls when something makes the node look at it, and each block begins that time anew. On
                // a busy network transactions come in all the time; here it has to be asked.
                rpc.mempool_rules().await?;
            }
        }
        let rpc = self.places[node].rpc()?;
        let hash = match empty {
            true => rpc.generate_block(reward, &[]).await?.hash,
            false => rpc.generate(reward).await?,
        };
        Ok(hash)
    }

    /// Waits until the nodes around this one have as high a chain as any of them.
    pub(crate) async fn converge(&self, node: usize) -> Result<(), NetworkError> {
        let around = self.around(node);
        if around.len() < 2 {
            return Ok(());
        }
        let begun = Instant::now();
        loop {
            let mut heights = Vec::new();
            for node in &around {
                let place = &self.places[*node];
                heights.push((place.rpc()?.chain().await?.blocks, &place.name));
            }
            let highest = heights.iter().map(|(height, _)| *height).max().unwrap_or(0);
            if heights.iter().all(|(height, _)| *height == highest) {
                return Ok(());
            }
            if begun.elapsed() > DEADLINE {
                let seen = heights.iter().map(|(height, name)| format!("{name} is at {height}"));
                let awaited = format!("all nodes that hear each other to be at height {highest}");
                return Err(NetworkError::Late { awaited, seen: seen.collect::<Vec<_>>().join(", ") });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
