//! What a node says about the factory's transactions.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::{Amount, OutPoint, Txid};
use factory_core::TxName;
use factory_core::tx::Complete;

use crate::node::{Block, BlockTransaction, Rpc, RpcError};

/// Where a transaction stands, by what the node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Complete, and not in any mempool or block: held by its parties, or refused by the node.
    Signed,
    /// In the node's mempool.
    InMempool,
    /// It was in the mempool until this one took its place, or that of a transaction it spends.
    Replaced(TxName),
    /// It was in the mempool, and has left it without being confirmed or replaced.
    Evicted,
    /// In a block of the best chain, at this height.
    Confirmed(u64),
}

/// Sizes and fee of a transaction, as a node gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Virtual size, in vB.
    pub vsize: u64,
    /// Weight, in WU.
    pub weight: u64,
    /// What it pays to the miner.
    pub fee: Amount,
}

/// One transaction.
#[derive(Clone, Debug)]
pub struct Record {
    /// The transaction itself.
    pub tx: Arc<Complete>,
    /// Where it stands.
    pub status: Status,
    /// What the node measured, if it ever took it.
    pub measured: Option<Measured>,
}

/// The factory's transactions, by name, followed on one node.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    records: BTreeMap<TxName, Record>,
    /// Which of them spend an output.
    spenders: HashMap<OutPoint, Vec<TxName>>,
}

impl Status {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Status::Signed => "signed",
            Status::InMempool => "in-mempool",
            Status::Replaced(_) => "replaced",
            Status::Evicted => "evicted",
            Status::Confirmed(_) => "confirmed",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Status::Replaced(by) => write!(f, "replaced by {by}"),
            Status::Confirmed(height) => write!(f, "confirmed in block {height}"),
            other => f.write_str(other.word()),
        }
    }
}

impl Record {
    /// What is known from the transaction itself, without any node.
    pub fn derived(&self) -> Measured {
        let tx = self.tx.transaction();
        Measured { vsize: tx.vsize() as u64, weight: tx.weight().to_wu(), fee: self.tx.fee() }
    }

    fn spends_one_of(&self, txids: &HashSet<Txid>) -> bool {
        self.tx.transaction().input.iter().any(|input| txids.contains(&input.previous_output.txid))
    }

    fn conflicts_with(&self, other: &Record) -> bool {
        let spent = |record: &Record| -> Vec<_> {
            record.tx.transaction().input.iter().map(|input| input.previous_output).collect()
        };
        let theirs = spent(other);
        self.tx.txid() != other.tx.txid() && spent(self).iter().any(|outpoint| theirs.contains(outpoint))
    }
}

impl Ledger {
    /// Follows a transaction from now on, if it is not followed yet.
    pub fn follow(&mut self, name: TxName, tx: &Arc<Complete>) {
        if let Entry::Vacant(place) = self.records.entry(name) {
            for input in &tx.transaction().input {
                self.spenders.entry(input.previous_output).or_default().push(name);
            }
            place.insert(Record { tx: Arc::clone(tx), status: Status::Signed, measured: None });
        }
    }

    /// The transactions, in the order in which a lifecycle meets them.
    pub fn records(&self) -> impl Iterator<Item = (TxName, &Record)> {
        self.records.iter().map(|(name, record)| (*name, record))
    }

    /// One transaction.
    pub fn get(&self, name: TxName) -> Option<&Record> {
        self.records.get(&name)
    }

    /// Whether the node has a transaction, in its mempool or in a block.
    pub fn is_known(&self, name: TxName) -> bool {
        let status = self.get(name).map(|record| record.status);
        matches!(status, Some(Status::InMempool | Status::Confirmed(_)))
    }

    /// Whether a transaction is in a block.
    pub fn is_confirmed(&self, name: TxName) -> bool {
        matches!(self.get(name).map(|record| record.status), Some(Status::Confirmed(_)))
    }

    /// Looks where everything stands after the node accepted `name`. Returns what that replaced.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn accepted(&mut self, name: TxName, rpc: &Rpc) -> Result<Vec<TxName>, RpcError> {
        if !self.measure(name, rpc).await? {
            return Ok(Vec::new());
        }
        let mempool = rpc.mempool().await?.into_iter().collect();
        Ok(self.left_mempool(name, &mempool))
    }

    /// Enters that the node accepted `name`, one of many: what else that changed is left to [`Ledger::refresh`],
    /// unless it took the place of another transaction.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn accepted_among_others(&mut self, name: TxName, rpc: &Rpc) -> Result<(), RpcError> {
        if self.has_rival(name) {
            self.accepted(name, rpc).await.map(|_| ())
        } else {
            self.measure(name, rpc).await.map(|_| ())
        }
    }

    /// Looks what is no longer in the mempool, though nothing took its place.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn refresh(&mut self, rpc: &Rpc) -> Result<(), RpcError> {
        let mempool: HashSet<Txid> = rpc.mempool().await?.into_iter().collect();
        for record in self.records.values_mut() {
            if record.status == Status::InMempool && !mempool.contains(&record.tx.txid()) {
                record.status = Status::Evicted;
            }
        }
        Ok(())
    }

    /// Whether something else that spends what `name` spends is in the mempool.
    fn has_rival(&self, name: TxName) -> bool {
        let Some(record) = self.get(name) else { return false };
        let spenders = |outpoint| self.spenders.get(&outpoint).into_iter().flatten();
        let inputs = record.tx.transaction().input.iter();
        inputs
            .flat_map(|input| spenders(input.previous_output))
            .any(|other| *other != name && self.get(*other).is_some_and(|other| other.status == Status::InMempool))
    }

    /// Enters that `name` is in the mempool, with the sizes and the fee that the node gives. Says whether it is known.
    async fn measure(&mut self, name: TxName, rpc: &Rpc) -> Result<bool, RpcError> {
        let Some(record) = self.records.get_mut(&name) else { return Ok(false) };
        let entry = rpc.mempool_entry(record.tx.txid()).await?;
        record.status = Status::InMempool;
        record.measured = Some(Measured { vsize: entry.vsize, weight: entry.weight, fee: entry.fees.base });
        Ok(true)
    }

    /// Enters what `block` confirms, and what it made impossible.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn mined(&mut self, block: &Block, rpc: &Rpc) -> Result<(), RpcError> {
        let confirmed: HashMap<Txid, &BlockTransaction> = block.tx.iter().map(|tx| (tx.txid, tx)).collect();
        for record in self.records.values_mut() {
            if let Some(found) = confirmed.get(&record.tx.txid()) {
                record.status = Status::Confirmed(block.height);
                let fee = found.fee.unwrap_or(Amount::ZERO);
                record.measured = Some(Measured { vsize: found.vsize, weight: found.weight, fee });
            }
        }
        self.refresh(rpc).await
    }

    /// Marks what is no longer in the mempool, now that `by` is: replaced, if it conflicts with `by` or spends what
    /// does; evicted otherwise. Names are sorted so that what is spent comes before what spends it.
    /// Returns what was replaced.
    fn left_mempool(&mut self, by: TxName, mempool: &HashSet<Txid>) -> Vec<TxName> {
        let accepted = self.records[&by].clone();
        let (mut replaced, mut names): (HashSet<Txid>, Vec<TxName>) = Default::default();
        for (name, record) in &mut self.records {
            if record.status != Status::InMempool || mempool.contains(&record.tx.txid()) {
                continue;
            }
            if record.conflicts_with(&accepted) || record.spends_one_of(&replaced) {
                replaced.insert(record.tx.txid());
                record.status = Status::Replaced(by);
                names.push(*name);
            } else {
                record.status = Status::Evicted;
            }
        }
        names
    }
}
