//! What a node says about the factory's transactions.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::{Amount, OutPoint, Txid};
use factory_core::TxName;
use factory_core::tx::Complete;

use crate::node::{Block, Rpc, RpcError};

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

/// The factory's transactions, by name, as one node sees them.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    records: BTreeMap<TxName, Record>,
    /// Which of them spend an output.
    spenders: HashMap<OutPoint, Vec<TxName>>,
    names: HashMap<Txid, TxName>,
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
}

impl Ledger {
    /// Follows a transaction from now on, if it is not followed yet.
    pub fn follow(&mut self, name: TxName, tx: &Arc<Complete>) {
        if let Entry::Vacant(place) = self.records.entry(name) {
            for input in &tx.transaction().input {
                self.spenders.entry(input.previous_output).or_default().push(name);
            }
            self.names.insert(tx.txid(), name);
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

    /// What a transaction is called, if it is one of the factory's.
    pub fn name(&self, txid: Txid) -> Option<TxName> {
        self.names.get(&txid).copied()
    }

    /// The factory's transactions in the mempool.
    pub fn in_mempool(&self) -> Vec<TxName> {
        self.records().filter(|(_, record)| record.status == Status::InMempool).map(|(name, _)| name).collect()
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

    /// Enters that the node took `name` into its mempool, one of many: what else that changed is left to
    /// [`Ledger::refresh`], unless it took the place of another transaction. Returns what it replaced.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn accepted(&mut self, name: TxName, rpc: &Rpc) -> Result<Vec<TxName>, RpcError> {
        if self.has_rival(name) {
            return self.refresh(rpc).await;
        }
        self.measure(name, rpc).await?;
        Ok(Vec::new())
    }

    /// Looks what is in the mempool, and why what was there is not any more. Returns what was replaced.
    ///
    /// # Errors
    ///
    /// [`RpcError`], if the node does not answer.
    pub async fn refresh(&mut self, rpc: &Rpc) -> Result<Vec<TxName>, RpcError> {
        let mempool: HashSet<Txid> = rpc.mempool().await?.into_iter().collect();
        let names = mempool.iter().filter_map(|txid| self.names.get(txid));
        let entered: Vec<TxName> =
            names.copied().filter(|name| self.records[name].status != Status::InMempool).collect();
        for name in entered {
            self.measure(name, rpc).await?;
        }
        // Names are sorted so that what is spent comes before what spends it.
        let left = self.records().filter(|(_, record)| record.status == Status::InMempool);
        let left: Vec<TxName> =
            left.filter(|(_, record)| !mempool.contains(&record.tx.txid())).map(|(name, _)| name).collect();
        let mut replaced = Vec::new();
        for name in left {
            let status = match self.replacement(name, &mempool) {
                Some(by) => Status::Replaced(by),
                None => Status::Evicted,
            };
            if let Status::Replaced(_) = status {
                replaced.push(name);
            }
            if let Some(record) = self.records.get_mut(&name) {
                record.status = status;
            }
        }
        Ok(replaced)
    }

    /// Enters what a block confirms. The mempool is left to [`Ledger::refresh`].
    pub fn mined(&mut self, block: &Block) {
        for tx in &block.tx {
            let Some(name) = self.names.get(&tx.txid) else { continue };
            let Some(record) = self.records.get_mut(name) else { continue };
            record.status = Status::Confirmed(block.height);
            let fee = tx.fee.unwrap_or(Amount::ZERO);
            record.measured = Some(Measured { vsize: tx.vsize, weight: tx.weight, fee });
        }
    }

    /// Enters that the blocks from this height on are not in the best chain any more. Returns what they had confirmed:
    /// whether it is in the mempool again is left to [`Ledger::refresh`].
    pub fn left(&mut self, from: u64) -> Vec<TxName> {
        let mut unconfirmed = Vec::new();
        for (name, record) in &mut self.records {
            if matches!(record.status, Status::Confirmed(height) if height >= from) {
                record.status = Status::Evicted;
                unconfirmed.push(*name);
            }
        }
        unconfirmed
    }

    /// Whether something else that spends what `name` spends is in the mempool.
    pub fn has_rival(&self, name: TxName) -> bool {
        let Some(record) = self.get(name) else { return false };
        self.spenders_of(record)
            .any(|other| other != name && self.get(other).is_some_and(|other| other.status == Status::InMempool))
    }

    /// Everything that spends what this spends, itself included.
    fn spenders_of(&self, record: &Record) -> impl Iterator<Item = TxName> {
        let inputs = record.tx.transaction().input.iter();
        inputs.flat_map(|input| self.spenders.get(&input.previous_output).into_iter().flatten().copied())
    }

    /// What in the mempool took the place of `name`, or of something that it spends.
    fn replacement(&self, name: TxName, mempool: &HashSet<Txid>) -> Option<TxName> {
        let record = self.get(name)?;
        let is_there = |other: &TxName| self.get(*other).is_some_and(|other| mempool.contains(&other.tx.txid()));
        let rival = self.spenders_of(record).find(|other| *other != name && is_there(other));
        rival.or_else(|| {
            record.tx.transaction().input.iter().find_map(|input| {
                match self.get(self.name(input.previous_output.txid)?)?.status {
                    Status::Replaced(by) => Some(by),
                    _ => None,
                }
            })
        })
    }

    /// Enters that `name` is in the mempool, with the sizes and the fee that the node gives.
    async fn measure(&mut self, name: TxName, rpc: &Rpc) -> Result<(), RpcError> {
        let Some(record) = self.records.get_mut(&name) else { return Ok(()) };
        let entry = rpc.mempool_entry(record.tx.txid()).await?;
        record.status = Status::InMempool;
        record.measured = Some(Measured { vsize: entry.vsize, weight: entry.weight, fee: entry.fees.base });
        Ok(())
    }
}
