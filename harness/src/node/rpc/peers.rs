//! What a node says about the peers that it is linked with, and links that are made and cut.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::client::{Rpc, RpcError, RpcErrorReason};

/// How long a link may take until it stands, or is gone.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long it may take until a connection is there at all. It is made while the node is asked for it; only one that is
/// made a second time, for a peer that does not take the newer transport, comes later.
const CONNECTED_DEADLINE: Duration = Duration::from_secs(3);
/// How often a node is asked about its peers meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The error code of Bitcoin Core (`src/rpc/protocol.h`) that means: there is no such peer any more.
const NOT_CONNECTED: i32 = -29;

/// A peer of a node.
#[derive(Clone, Debug, Deserialize)]
pub struct Peer {
    /// The node's number for it.
    pub id: u64,
    /// Where the peer's end is. If the peer made the link, that is not where it listens.
    pub addr: SocketAddr,
    /// Where the node's own end is, as the peer sees it.
    #[serde(rename = "addrbind")]
    pub own_addr: Option<SocketAddr>,
    /// Whether the peer made the link.
    pub inbound: bool,
    /// What the peer calls itself, such as `/Satoshi:31.99.0/`. Empty until it has said so.
    #[serde(rename = "subver")]
    pub user_agent: String,
    #[serde(rename = "bytesrecv_per_msg")]
    received: BTreeMap<String, u64>,
}

impl Peer {
    /// Whether both ends have finished the handshake.
    ///
    /// A node sends its first `ping` when it has the peer's `verack`, and the peer takes messages in their order: when
    /// it answers, it has the node's `verack`, too.
    pub fn is_ready(&self) -> bool {
        self.received.contains_key("pong")
    }
}

/// Returned when a link cannot be made or cut.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Returned when the node does not do what is needed for it.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// Returned when a node that is to be linked does not listen.
    #[error("node {node} does not listen for peers")]
    NotListening {
        /// The node.
        node: Arc<str>,
    },
    /// Returned when it takes too long.
    #[error("node {node}: its peer {peer} is {seen} after {} s, expected {expected}", .after.as_secs())]
    Late {
        /// The node.
        node: Arc<str>,
        /// The other end.
        peer: SocketAddr,
        /// How far the link was last.
        seen: LinkState,
        /// What was waited for.
        expected: LinkState,
        /// How long.
        after: Duration,
    },
}

/// How far a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// There is none.
    Absent,
    /// Connected, and not both ends have finished the handshake.
    Unfinished,
    /// Both ends have finished the handshake.
    Ready,
}

impl std::fmt::Display for LinkState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LinkState::Absent => "not connected",
            LinkState::Unfinished => "connected without a finished handshake",
            LinkState::Ready => "connected",
        })
    }
}

impl Rpc {
    /// The node's peers.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn peers(&self) -> Result<Vec<Peer>, RpcError> {
        self.call("getpeerinfo", Vec::new()).await
    }

    /// Links the node with the one that listens at `peer`, and returns once both ends have finished the handshake. If it
    /// has made that link already, nothing changes.
    ///
    /// # Errors
    ///
    /// [`LinkError`], if the link does not come about.
    pub async fn link(&self, peer: SocketAddr) -> Result<(), LinkError> {
        if self.links_to(peer).await?.is_empty() {
            self.call::<IgnoredAny>("addnode", vec![json!(peer), json!("onetry")]).await?;
        }
        self.wait_for(LinkState::Ready, peer, |other| !other.inbound && other.addr == peer).await
    }

    /// Cuts the links that the node has made to the one that listens at `peer`, and returns once they are gone at this
    /// end. The node does not make them again by itself.
    ///
    /// # Errors
    ///
    /// [`LinkError`], if a link remains.
    pub async fn unlink(&self, peer: SocketAddr) -> Result<(), LinkError> {
        for link in self.links_to(peer).await? {
            match self.call::<IgnoredAny>("disconnectnode", vec![json!(""), json!(link.id)]).await {
                Ok(_) => {}
                Err(RpcError { reason: RpcErrorReason::Refused { code: NOT_CONNECTED, .. }, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.wait_for(LinkState::Absent, peer, |other| !other.inbound && other.addr == peer).await
    }

    /// Returns once no peer that made its link from `peer` is left.
    pub(in crate::node) async fn wait_for_end_of(&self, peer: SocketAddr) -> Result<(), LinkError> {
        self.wait_for(LinkState::Absent, peer, |other| other.inbound && other.addr == peer).await
    }

    /// The links that the node has made to the one that listens at `peer`.
    pub(in crate::node) async fn links_to(&self, peer: SocketAddr) -> Result<Vec<Peer>, RpcError> {
        let peers = self.peers().await?.into_iter();
        Ok(peers.filter(|other| !other.inbound && other.addr == peer).collect())
    }

    async fn wait_for(
        &self,
        expected: LinkState,
        peer: SocketAddr,
        is_it: impl Fn(&Peer) -> bool,
    ) -> Result<(), LinkError> {
        let begun = Instant::now();
        loop {
            let peers = self.peers().await?;
            let seen = match peers.iter().find(|other| is_it(other)) {
                None => LinkState::Absent,
                Some(other) if other.is_ready() => LinkState::Ready,
                Some(_) => LinkState::Unfinished,
            };
            if seen == expected {
                return Ok(());
            }
            let after = if seen == LinkState::Absent { CONNECTED_DEADLINE } else { DEADLINE };
            if begun.elapsed() > after {
                return Err(LinkError::Late { node: self.node().clone(), peer, seen, expected, after });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}
