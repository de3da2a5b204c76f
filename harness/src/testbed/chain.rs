//! Blocks: they are mined and left behind, and shown to the parties through their own view of the chain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitcoin::{ScriptBuf, Transaction, Txid};
use factory_core::{Party, TxName};

use super::{Stop, Testbed, listed};
use crate::node::snapshot;
use crate::report::{BlockReport, Happening};
use crate::scenario::{ChainView, Mine, Reorg};

impl Testbed {
    /// Shows everybody where the chain stands before anything happens.
    pub(super) async fn show_beginning(&mut self) -> Result<(), Stop> {
        let everybody: Vec<Party> = self.scenario.everybody().collect();
        let outcome = self.parties.block(everybody, height_of(self.network.height())?, &[])?;
        self.settle(outcome).await
    }

    pub(super) async fn mine_blocks(&mut self, mine: &Mine) -> Result<(), Stop> {
        let node = self.node(mine.by.as_ref())?;
        let blocks = match mine.to_height {
            None => u64::from(mine.blocks.map_or(1, |blocks| blocks.0)),
            Some(height) => {
                let there = self.network.places[node].chain.height();
                u64::from(height.0).checked_sub(there).filter(|more| *more > 0).ok_or_else(|| {
                    Stop::Fail(format!(
                        "{} is at height {there} already, expected less than {}",
                        self.name(node),
                        height.0
                    ))
                })?
            }
        };
        for _ in 0..blocks {
            self.mine_block(node, mine.empty).await?;
        }
        Ok(())
    }

    pub(super) async fn mine_block(&mut self, node: usize, empty: bool) -> Result<(), Stop> {
        self.network.mine(node, &self.rewards, empty).await?;
        self.network.converge(node).await?;
        self.follow(Some(node)).await
    }

    /// Has a node leave its last blocks for a branch that it mines itself.
    pub(super) async fn reorganise(&mut self, reorg: &Reorg) -> Result<(), Stop> {
        let node = self.node(reorg.on.as_ref())?;
        let chain = &self.network.places[node].chain;
        let first = chain.height().checked_sub(u64::from(reorg.depth.0) - 1).filter(|first| *first > snapshot::HEIGHT);
        let first = first.and_then(|first| chain.hash(first)).ok_or_else(|| {
            let there = chain.height() - snapshot::HEIGHT;
            Stop::Fail(format!("cannot replace {} blocks: only {there} have been mined", reorg.depth.0))
        })?;
        let rpc = self.network.places[node].rpc()?.clone();
        rpc.invalidate_block(first).await?;
        let blocks = reorg.blocks.map_or(reorg.depth.0 + 1, |blocks| blocks.0);
        for _ in 0..blocks {
            self.network.mine(node, &self.rewards, reorg.empty).await?;
        }
        // The branch that it left is as good as any, should it ever become the longer one.
        rpc.reconsider_block(first).await?;
        self.network.converge(node).await?;
        self.follow(Some(node)).await
    }

    /// Looks what is new on every running node's chain, and shows it to the parties there.
    pub(super) async fn follow(&mut self, miner: Option<usize>) -> Result<(), Stop> {
        for node in self.network.running() {
            let news = self.network.places[node].catch_up().await?;
            self.log.height = self.network.height();
            if let Some((from, depth, txs)) = &news.left {
                let (node, txs) = (self.name(node).to_owned(), names(txs));
                self.log.enter(Happening::Reorganisation { node, from: *from, depth: *depth, txs });
            }
            for (height, hash, txs) in &news.came {
                let (name, hash, txs) = (self.name(node).to_owned(), hash.to_string(), names(txs));
                if miner.is_none_or(|miner| miner == node) && self.log.mined.insert(hash.clone()) {
                    let report = BlockReport {
                        node: name.clone(),
                        height: *height,
                        hash: hash.clone(),
                        transactions: txs.clone(),
                    };
                    self.log.blocks.push(report);
                    self.log.enter(Happening::Block { node: name, height: *height, hash, txs });
                }
            }
            let heights: Vec<u64> = news.came.iter().map(|(height, ..)| *height).collect();
            self.show_mempool(node);
            for height in heights {
                self.show(node, height).await?;
            }
        }
        Ok(())
    }

    /// Tells the report what of the factory's is in the nodes' mempools, where that has changed.
    pub(super) fn show_mempools(&mut self) {
        (0..self.network.places.len()).for_each(|node| self.show_mempool(node));
    }

    /// Tells the report what of the factory's is in a node's mempool, if that has changed.
    pub(super) fn show_mempool(&mut self, node: usize) {
        let place = &mut self.network.places[node];
        let now = place.ledger.in_mempool();
        if now != place.shown {
            place.shown = now.clone();
            let (node, txs) = (place.name.clone(), names(&now));
            self.log.enter(Happening::Mempool { node, txs });
        }
    }

    /// Shows a block of a node to the parties that are at home there.
    async fn show(&mut self, node: usize, height: u64) -> Result<(), Stop> {
        let Some(block) = self.network.places[node].chain.at(height) else { return Ok(()) };
        let txs = block.txs.clone();
        let at_home = self.scenario.everybody().filter(|party| self.home(*party).node == node);
        let (direct, by_electrum): (Vec<Party>, Vec<Party>) =
            at_home.partition(|party| self.home(*party).view == ChainView::Rpc);
        let outcome = self.parties.block(direct, height_of(height)?, &txs)?;
        self.settle(outcome).await?;
        for party in by_electrum {
            self.show_by_electrum(party, height).await?;
        }
        Ok(())
    }

    async fn show_by_electrum(&mut self, party: Party, height: u64) -> Result<(), Stop> {
        let txs = self.seen_by_electrum(party, height).await?;
        let outcome = self.parties.block([party], height_of(height)?, &txs)?;
        self.settle(outcome).await
    }

    /// The transactions at a height that create or spend what a party watches, as the Electrum server of its node has
    /// them: by the histories of the scripts that it watches.
    async fn seen_by_electrum(&self, party: Party, height: u64) -> Result<Vec<Arc<Transaction>>, Stop> {
        let place = &self.network.places[self.home(party).node];
        let Some(electrs) = &place.electrs else {
            return Err(Stop::Error(format!("{party} has no Electrum server")));
        };
        let scripts: BTreeSet<ScriptBuf> =
            self.parties.watched(party).into_iter().filter_map(|outpoint| self.script_of(outpoint)).collect();
        let mut found: BTreeMap<Txid, Arc<Transaction>> = BTreeMap::new();
        for script in &scripts {
            for entry in electrs.history(script).await.map_err(electrum)? {
                if entry.height == Some(height as u32) && !found.contains_key(&entry.txid) {
                    let tx = electrs.transaction(entry.txid).await.map_err(electrum)?;
                    found.insert(entry.txid, Arc::new(tx));
                }
            }
        }
        // What is spent comes before what spends it.
        let mut sorted = Vec::new();
        while !found.is_empty() {
            let is_free =
                |tx: &Transaction| tx.input.iter().all(|input| !found.contains_key(&input.previous_output.txid));
            let free: Vec<Txid> = found.iter().filter(|(_, tx)| is_free(tx)).map(|(txid, _)| *txid).collect();
            sorted.extend(free.iter().filter_map(|txid| found.remove(txid)));
        }
        Ok(sorted)
    }

    /// What an output of one of the factory's transactions pays to.
    fn script_of(&self, outpoint: bitcoin::OutPoint) -> Option<ScriptBuf> {
        let output =
            |tx: &Transaction| tx.output.get(outpoint.vout as usize).map(|output| output.script_pubkey.clone());
        for place in &self.network.places {
            if let Some(record) = place.ledger.name(outpoint.txid).and_then(|name| place.ledger.get(name)) {
                return output(record.tx.transaction());
            }
        }
        let factory = self.parties.factory()?;
        let (funding, allocation) = (factory.funding(), factory.allocation());
        match outpoint.txid {
            txid if txid == factory.outpoint().txid => output(funding),
            txid if txid == allocation.txid() => output(allocation.transaction()),
            _ => None,
        }
    }

    /// A party is back: it sees all blocks that it has missed, and those that have been replaced since.
    pub(super) async fn bring_back(&mut self, party: Party) -> Result<(), Stop> {
        let home = self.home(party).node;
        let (tip, base) = {
            let chain = &self.network.places[home].chain;
            (chain.height(), chain.base_height())
        };
        let was_there = self.parties.is_there(party);
        self.parties.bring_back(party, height_of(tip)?)?;
        if was_there {
            return Ok(());
        }
        // It may have seen another branch before: more blocks than it has missed do no harm.
        let outcome = self.parties.block([party], height_of(base)?, &[])?;
        self.settle(outcome).await?;
        for height in base + 1..=tip {
            match self.home(party).view {
                ChainView::Electrum => self.show_by_electrum(party, height).await?,
                ChainView::Rpc => {
                    let block = self.network.places[home].chain.at(height).map(|block| block.txs.clone());
                    let outcome = self.parties.block([party], height_of(height)?, &block.unwrap_or_default())?;
                    self.settle(outcome).await?;
                }
            }
        }
        Ok(())
    }

    /// Says which blocks the running nodes are on, if they are not all on the same.
    pub(super) fn tips(&self) -> Result<(), String> {
        let running = self.network.running();
        let chains = running.iter().map(|node| &self.network.places[*node]);
        let tips: BTreeSet<_> = chains.clone().map(|place| place.chain.tip()).collect();
        if tips.len() <= 1 {
            return Ok(());
        }
        let each: Vec<_> = chains
            .map(|place| format!("{} on {} at {}", place.name, place.chain.tip(), place.chain.height()))
            .collect();
        Err(listed(&each))
    }
}

pub(super) fn height_of(height: u64) -> Result<u32, Stop> {
    u32::try_from(height).map_err(|_| Stop::Error(format!("{height} is no height of a block")))
}

fn electrum(error: crate::electrum::ElectrsError) -> Stop {
    Stop::Error(error.to_string())
}

fn names(names: &[TxName]) -> Vec<String> {
    names.iter().map(TxName::to_string).collect()
}
