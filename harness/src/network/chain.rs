//! What the harness has seen of a node's chain, and how it catches up with it.

use std::sync::Arc;

use bitcoin::{BlockHash, Transaction};
use factory_core::TxName;

use super::place::Place;
use super::{DEADLINE, NetworkError};
use crate::node::Block;

/// A node's best chain above the pre-mined blocks, as far as the harness has looked.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// The height and the hash of the last pre-mined block.
    base: (u64, BlockHash),
    blocks: Vec<Seen>,
}

/// A block that the harness has seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Its hash.
    pub(crate) hash: BlockHash,
    /// Its transactions but the first, which makes the miner's reward.
    pub(crate) txs: Vec<Arc<Transaction>>,
}

/// What is new on a node's chain.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The height of the first block that the node left behind, how many it left, and what they had confirmed.
    pub(crate) left: Option<(u64, u64, Vec<TxName>)>,
    /// The heights of the blocks that came, with the factory's transactions in each.
    pub(crate) came: Vec<(u64, BlockHash, Vec<TxName>)>,
}

impl Chain {
    pub(super) fn new(height: u64, tip: BlockHash) -> Self {
        Chain { base: (height, tip), blocks: Vec::new() }
    }

    /// The height of its tip.
    pub(crate) fn height(&self) -> u64 {
        self.base.0 + self.blocks.len() as u64
    }

    /// The hash of its tip.
    pub(crate) fn tip(&self) -> BlockHash {
        self.blocks.last().map_or(self.base.1, |block| block.hash)
    }

    /// The height of the last pre-mined block.
    pub(crate) fn base_height(&self) -> u64 {
        self.base.0
    }

    /// The hash at a height.
    pub(crate) fn hash(&self, height: u64) -> Option<BlockHash> {
        if height == self.base.0 {
            return Some(self.base.1);
        }
        self.at(height).map(|block| block.hash)
    }

    /// The block at a height above the pre-mined ones.
    pub(crate) fn at(&self, height: u64) -> Option<&Seen> {
        let index = height.checked_sub(self.base.0 + 1)?;
        self.blocks.get(usize::try_from(index).ok()?)
    }
}

impl Place {
    /// Looks what is new on the node's chain, and enters it in its ledger.
    pub(crate) async fn catch_up(&mut self) -> Result<News, NetworkError> {
        let rpc = self.rpc()?.clone();
        let mut news = News::default();
        let mut hash = rpc.best_block().await?;
        let mut came: Vec<Block> = Vec::new();
        // Down from the tip to what is known.
        let fork = loop {
            if hash == self.chain.base.1 {
                break self.chain.base.0;
            }
            if let Some(known) = self.chain.blocks.iter().position(|block| block.hash == hash) {
                break self.chain.base.0 + known as u64 + 1;
            }
            let block = rpc.block(hash).await?;
            hash = block.previous.unwrap_or(self.chain.base.1);
            came.push(block);
        };
        let depth = self.chain.height() - fork;
        if depth > 0 {
            let keep = self.chain.blocks.len() - depth as usize;
            self.chain.blocks.truncate(keep);
            news.left = Some((fork + 1, depth, self.ledger.left(fork + 1)));
        }
        for block in came.into_iter().rev() {
            self.ledger.mined(&block);
            let names = block.tx.iter().filter_map(|tx| self.ledger.name(tx.txid)).collect();
            news.came.push((block.height, block.hash, names));
            let txs = block.tx.into_iter().skip(1).map(|tx| Arc::new(tx.transaction)).collect();
            self.chain.blocks.push(Seen { hash: block.hash, txs });
        }
        if self.keeps_blocks {
            for (_, hash, _) in &news.came {
                self.raw_blocks.push(rpc.raw_block(*hash).await?);
            }
        }
        if news.left.is_some() || !news.came.is_empty() {
            self.ledger.refresh(&rpc).await?;
            if let Some(electrs) = &self.electrs {
                electrs.sync(self.chain.tip(), DEADLINE).await?;
            }
        }
        Ok(news)
    }
}
