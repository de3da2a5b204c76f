//! What an experiment needs of nodes, whether they are real or the model's.

use super::item::{Facts, Item};

/// A block of a trial, by its number; 0 is the one that every trial begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub usize);

impl BlockId {
    /// The block that every trial begins with. The factory's funding is confirmed in it.
    pub const FIRST: BlockId = BlockId(0);
}

/// The nodes of an experiment, by their places in the file.
///
/// At the beginning of a trial all have the same chain, and their mempools are empty. Times are in milliseconds since then.
pub trait Nodes {
    /// Returned when a node does not do what it must.
    type Error;

    /// Makes known the background transactions that come into being now: their numbers follow those before. No node is told
    /// of them yet.
    fn issue(&mut self, background: &[Facts]) -> impl Future<Output = Result<(), Self::Error>>;

    /// Offers transactions to a node, one after the other, and tells for each whether it is in its mempool now.
    fn offer(
        &mut self,
        node: usize,
        time_ms: u64,
        items: &[Item],
    ) -> impl Future<Output = Result<Vec<bool>, Self::Error>>;

    /// The factory's transactions in a node's mempool.
    fn holds(&mut self, node: usize) -> impl Future<Output = Result<Vec<Item>, Self::Error>>;

    /// What a node would put into a block on its tip, parents before children.
    fn template(&mut self, node: usize, time_ms: u64) -> impl Future<Output = Result<Vec<Item>, Self::Error>>;

    /// Mines a block on a node's tip with just these transactions, parents before children, whose fees go to a miner. The
    /// node itself has the block then. Blocks are numbered in the order in which they are made.
    fn mine(
        &mut self,
        node: usize,
        time_ms: u64,
        items: &[Item],
        miner: usize,
    ) -> impl Future<Output = Result<BlockId, Self::Error>>;

    /// Gives a block to a node that has the one before it, and may have this one.
    fn deliver(&mut self, node: usize, block: BlockId) -> impl Future<Output = Result<(), Self::Error>>;

    /// A node's tip.
    fn tip(&mut self, node: usize) -> impl Future<Output = Result<BlockId, Self::Error>>;

    /// What each miner got by fees in the blocks up to `tip`, in satoshi.
    fn fees(&mut self, tip: BlockId, miners: usize) -> impl Future<Output = Result<Vec<u64>, Self::Error>>;
}
