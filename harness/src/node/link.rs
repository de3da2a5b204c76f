//! Links between two nodes of the harness, seen from both ends.

use std::net::SocketAddr;

use super::process::Node;
use super::rpc::LinkError;

impl Node {
    /// Links this node with `other`, which must listen, and returns once both ends have finished the handshake.
    ///
    /// From then on each gets the blocks of the other that it lacks, and the transactions that reach the other later. What
    /// is in the other's mempool already is not offered to it.
    ///
    /// # Errors
    ///
    /// [`LinkError`], if the link does not come about.
    pub async fn link(&self, other: &Node) -> Result<(), LinkError> {
        let addr = other.p2p().ok_or_else(|| LinkError::NotListening { node: other.rpc().node().clone() })?;
        self.rpc().link(addr).await
    }

    /// Cuts all links between this node and `other`, whoever made them, and returns once they are gone at both ends.
    ///
    /// # Errors
    ///
    /// [`LinkError`], if a link remains.
    pub async fn unlink(&self, other: &Node) -> Result<(), LinkError> {
        cut(self, other).await?;
        cut(other, self).await
    }
}

/// Cuts the links that `from` has made to `to`.
async fn cut(from: &Node, to: &Node) -> Result<(), LinkError> {
    let Some(addr) = to.p2p() else { return Ok(()) };
    let links = from.rpc().links_to(addr).await?;
    from.rpc().unlink(addr).await?;
    let ends: Vec<SocketAddr> = links.iter().filter_map(|link| link.own_addr).collect();
    for end in ends {
        to.rpc().wait_for_end_of(end).await?;
    }
    Ok(())
}
