//! What a node runs on: a process of this machine, or a container.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use super::NetworkError;
use crate::container::{ContainerConfig, ContainerNet, ContainerNode};
use crate::node::{Node, NodeConfig, Rpc};

/// How to start a node, and start it again.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) how: How,
    /// The Electrum server that is to stand beside it.
    pub(crate) electrs: Option<PathBuf>,
}

/// Completes when a machine has ended.
pub(crate) type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// As what a node is started.
#[derive(Clone, Debug)]
pub(crate) enum How {
    Process(NodeConfig),
    Container(Arc<ContainerNet>, ContainerConfig),
}

/// A running node.
#[derive(Debug)]
pub(crate) enum Machine {
    Process(Node),
    Container(ContainerNode),
}

impl Start {
    /// Starts the node with its clock at this time.
    pub(crate) async fn again(&self, time: u64) -> Result<Machine, NetworkError> {
        match &self.how {
            How::Process(config) => {
                let config = NodeConfig { time, ..config.clone() };
                Ok(Machine::Process(Node::start(&config).await?))
            }
            How::Container(net, config) => {
                let config = ContainerConfig { time, ..config.clone() };
                Ok(Machine::Container(ContainerNode::start(net, &config).await?))
            }
        }
    }

    /// The folder of the Electrum server.
    pub(super) fn electrs_dir(&self) -> PathBuf {
        match &self.how {
            How::Process(config) => config.dir.join("electrs"),
            How::Container(_, config) => config.dir.join("electrs"),
        }
    }
}

impl Machine {
    pub(crate) fn rpc(&self) -> &Rpc {
        match self {
            Machine::Process(node) => node.rpc(),
            Machine::Container(node) => node.rpc(),
        }
    }

    /// Where other nodes reach it.
    pub(crate) fn p2p(&self) -> Option<SocketAddr> {
        match self {
            Machine::Process(node) => node.p2p(),
            Machine::Container(node) => Some(node.p2p()),
        }
    }

    pub(crate) fn ended(&self) -> End {
        match self {
            Machine::Process(node) => Box::pin(node.ended()),
            Machine::Container(node) => Box::pin(node.ended()),
        }
    }

    pub(super) async fn pause(&self) -> Result<(), NetworkError> {
        match self {
            Machine::Process(node) => node.pause().map_err(signal(node)),
            Machine::Container(node) => Ok(node.pause().await?),
        }
    }

    pub(super) async fn resume(&self) -> Result<(), NetworkError> {
        match self {
            Machine::Process(node) => node.resume().map_err(signal(node)),
            Machine::Container(node) => Ok(node.unpause().await?),
        }
    }

    pub(super) async fn kill(self) -> Result<(), NetworkError> {
        match self {
            Machine::Process(node) => Ok(node.kill().await?),
            Machine::Container(node) => {
                node.kill().await?;
                Ok(node.remove().await?)
            }
        }
    }

    pub(super) async fn stop(self) -> Result<(), NetworkError> {
        match self {
            Machine::Process(node) => Ok(node.stop().await?),
            Machine::Container(node) => Ok(node.stop().await?),
        }
    }
}

fn signal(node: &Node) -> impl FnOnce(std::io::Error) -> NetworkError {
    let name = node.name().to_owned();
    move |source| NetworkError::Signal { name, source }
}
