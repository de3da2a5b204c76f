//! A Bitcoin chain and its mempool in memory: consensus and policy as far as lifecycles of factories touch them.

mod chain;
mod interpreter;
mod mempool;
mod refusal;
mod script;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use bitcoin::absolute::LOCK_TIME_THRESHOLD;
use bitcoin::script::Script;
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut, Txid, Wtxid};

use crate::protocol::Block;
use chain::{Chain, Coin};
use mempool::{Entry, Mempool, relay_fee};
pub use refusal::{Refusal, ReorgError, WitnessError};

/// A chain with one mempool, in memory.
///
/// In blocks and in the mempool alike it holds transactions to consensus: what they spend is there, they create no
/// value, their locks have passed (`nLockTime`, BIP 68, BIP 65, BIP 112; by height only) and their witnesses satisfy
/// what they spend (BIP 141, 143, 341, 342; P2TR and P2WSH only, with the opcodes that channels need). The mempool has
/// the policy of BIP 125, a minimum feerate and dust at 3 sat/vB; it has no limits of size or of chains, and no TRUC.
#[derive(Debug)]
pub struct Ledger {
    relay: FeeRate,
    chain: Chain,
    mempool: Mempool,
    /// Transactions whose witnesses are known to be good. That depends on nothing else: what they spend is named by
    /// hash, and the locks in scripts are compared with the transaction, not with the chain.
    verified: HashSet<Wtxid>,
}

/// Whether a transaction is new in the mempool or comes back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entering {
    New,
    /// A miner has taken it before, so the minimum feerate does not matter, as in Core.
    Again,
}

impl Ledger {
    /// A chain at `height` without coins. `relay` is both the minimum feerate and the incremental relay feerate.
    pub fn new(height: u32, relay: FeeRate) -> Self {
        Ledger { relay, chain: Chain::new(height), mempool: Mempool::default(), verified: HashSet::new() }
    }

    /// Makes a coin out of nothing. It is confirmed, at the present height.
    pub fn mint(&mut self, output: TxOut) -> OutPoint {
        self.chain.mint(output)
    }

    /// The height of the last block.
    pub fn height(&self) -> u32 {
        self.chain.height()
    }

    /// Offers a transaction to the mempool. Returns the transactions that it replaced, with their descendants, in no
    /// particular order: none also if it was in the mempool already.
    ///
    /// # Errors
    ///
    /// [`Refusal`], if the mempool does not take it. Then nothing has changed.
    pub fn submit(&mut self, tx: &Arc<Transaction>) -> Result<Vec<Txid>, Refusal> {
        self.enter(tx, Entering::New)
    }

    /// Mines the whole mempool: parents before children, and of those whose parents are in the block the highest
    /// feerate first, or else the one that came first.
    pub fn mine(&mut self) -> Block {
        for (txid, tx) in self.mempool.drain_for_block() {
            self.chain.connect(txid, &tx);
        }
        self.chain.seal()
    }

    /// Mines exactly these, in this order, whether they are in the mempool or not: only consensus counts. What
    /// conflicts with them leaves the mempool, with its descendants.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of the first that is not valid there. Then nothing has changed.
    pub fn mine_these(&mut self, txs: &[Arc<Transaction>]) -> Result<Block, Refusal> {
        let mut txids = Vec::with_capacity(txs.len());
        for tx in txs {
            match self.check_for_block(tx) {
                Ok(txid) => {
                    self.chain.connect(txid, tx);
                    txids.push(txid);
                }
                Err(refusal) => {
                    self.chain.abandon();
                    return Err(refusal);
                }
            }
        }
        for txid in &txids {
            self.mempool.remove(txid);
        }
        for tx in txs {
            let conflicts = self.mempool.conflicts(tx);
            self.mempool.evict(&conflicts);
        }
        Ok(self.chain.seal())
    }

    /// Takes the last `depth` blocks away. Their transactions, and those of the mempool, are in the mempool afterwards
    /// as far as they are still valid there. Minted coins stay. Returns the new height.
    ///
    /// # Errors
    ///
    /// [`ReorgError`], if fewer blocks were mined here. Then nothing has changed.
    pub fn reorg(&mut self, depth: u32) -> Result<u32, ReorgError> {
        let most = self.chain.depth();
        if depth > most {
            return Err(ReorgError { found: depth, most });
        }
        let mut blocks: Vec<_> = (0..depth).map_while(|_| self.chain.unwind()).collect();
        blocks.reverse();
        blocks.push(self.mempool.drain_by_arrival());
        for tx in blocks.iter().flatten() {
            // What does not fit, as a lock has not passed at this height, is gone like in any node: whoever has an
            // interest in it offers it again.
            let _ = self.enter(tx, Entering::Again);
        }
        Ok(self.height())
    }

    /// A block that was mined here, and was not taken away.
    pub fn block(&self, height: u32) -> Option<&Block> {
        self.chain.block(height)
    }

    /// Whether a transaction is in the mempool.
    pub fn in_mempool(&self, txid: &Txid) -> bool {
        self.mempool.get(txid).is_some()
    }

    /// The height of the block that a transaction is in.
    pub fn confirmed(&self, txid: &Txid) -> Option<u32> {
        self.chain.confirmed(txid)
    }

    /// A confirmed output, unless a confirmed transaction has spent it.
    pub fn unspent(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        self.chain.coin(outpoint).map(Coin::output)
    }

    /// The sum of the confirmed unspent outputs to `script`. Constant time: the sums are kept.
    pub fn balance(&self, script: &Script) -> Amount {
        Amount::from_sat(u64::try_from(self.chain.balance(script)).unwrap_or(u64::MAX))
    }

    /// Whether all that is unspent and all fees of confirmed transactions are together what was minted. Computed from
    /// the blocks, and the coins and sums that are kept are compared with the result. Always true: for tests.
    pub fn is_conserved(&self) -> bool {
        self.chain.is_conserved()
    }

    fn enter(&mut self, tx: &Arc<Transaction>, entering: Entering) -> Result<Vec<Txid>, Refusal> {
        let txid = tx.compute_txid();
        if let Some(entry) = self.mempool.get(&txid) {
            let same = entry.tx.input.iter().zip(&tx.input).all(|(there, here)| there.witness == here.witness);
            return if same { Ok(Vec::new()) } else { Err(Refusal::OtherWitness { txid }) };
        }
        self.check_anywhere(txid, tx)?;
        for (output, txout) in tx.output.iter().enumerate() {
            let expected = txout.script_pubkey.minimal_non_dust();
            if txout.value < expected {
                return Err(Refusal::Dust { output, found: txout.value, expected });
            }
        }
        let spent = self.find_inputs(tx, true)?;
        let entry = Entry::new(tx, fee(tx, &spent)?);
        let needed = relay_fee(self.relay, entry.vsize);
        if entering == Entering::New && entry.fee < needed {
            return Err(Refusal::FeeTooLow { needed, found: entry.fee });
        }
        let conflicts = self.mempool.conflicts(tx);
        self.mempool.may_replace(&entry, &conflicts, self.relay)?;
        // Signatures last: they cost by far the most.
        if let Some(good) = self.check_witnesses(tx, &spent)? {
            self.verified.insert(good);
        }
        let replaced = self.mempool.evict(&conflicts);
        self.mempool.insert(txid, entry);
        Ok(replaced)
    }

    fn check_for_block(&mut self, tx: &Transaction) -> Result<Txid, Refusal> {
        let txid = tx.compute_txid();
        self.check_anywhere(txid, tx)?;
        let spent = self.find_inputs(tx, false)?;
        fee(tx, &spent)?;
        if let Some(good) = self.check_witnesses(tx, &spent)? {
            self.verified.insert(good);
        }
        Ok(txid)
    }

    /// What can be said without looking for the inputs: form, absolute lock, and whether it is confirmed.
    fn check_anywhere(&self, txid: Txid, tx: &Transaction) -> Result<(), Refusal> {
        if let Some(height) = self.chain.confirmed(&txid) {
            return Err(Refusal::AlreadyConfirmed { txid, height });
        }
        if tx.input.is_empty() || tx.output.is_empty() {
            return Err(Refusal::Empty { inputs: tx.input.len(), outputs: tx.output.len() });
        }
        let mut seen = HashSet::with_capacity(tx.input.len());
        if let Some(twice) = tx.input.iter().find(|input| !seen.insert(input.previous_output)) {
            return Err(Refusal::DuplicateInput { outpoint: twice.previous_output });
        }
        if tx.input.iter().any(|input| !input.sequence.is_final()) {
            let (expected, found) = (tx.lock_time.to_consensus_u32(), self.chain.next_height());
            if expected >= LOCK_TIME_THRESHOLD {
                return Err(Refusal::TimeLock);
            }
            // Not just a comparison: a lock of zero is none, even for the first block.
            if expected != 0 && expected >= found {
                return Err(Refusal::NotFinal { found, expected });
            }
        }
        Ok(())
    }

    /// The outputs that `tx` spends, if its relative locks allow that in the next block. With `unconfirmed`, those of
    /// the mempool too: they count as confirmed in the next block.
    fn find_inputs(&self, tx: &Transaction, unconfirmed: bool) -> Result<Vec<&TxOut>, Refusal> {
        let next = self.chain.next_height();
        let locks = has_relative_locks(tx);
        let find = |(input, txin): (usize, &bitcoin::TxIn)| {
            let outpoint = txin.previous_output;
            let (output, height) = match self.chain.coin(&outpoint) {
                Some(coin) => (coin.output(), coin.height),
                None => {
                    let parent = self.mempool.get(&outpoint.txid).filter(|_| unconfirmed);
                    let output = parent.and_then(|parent| parent.tx.tx_out(outpoint.vout as usize).ok());
                    let missing = || match self.chain.spender(&outpoint) {
                        Some(by) => Refusal::SpentInput { input, outpoint, by },
                        None => Refusal::MissingInput { input, outpoint },
                    };
                    (output.ok_or_else(missing)?, next)
                }
            };
            if locks && txin.sequence.is_relative_lock_time() {
                if txin.sequence.is_time_locked() {
                    return Err(Refusal::TimeLock);
                }
                let expected = height.saturating_add(txin.sequence.to_consensus_u32() & 0xffff);
                if expected > next {
                    return Err(Refusal::Immature { input, found: next, expected });
                }
            }
            Ok(output)
        };
        tx.input.iter().enumerate().map(find).collect()
    }

    /// Verifies the witnesses. Returns the identifier to remember, unless it is remembered already.
    fn check_witnesses(&self, tx: &Transaction, spent: &[&TxOut]) -> Result<Option<Wtxid>, Refusal> {
        let wtxid = tx.compute_wtxid();
        if self.verified.contains(&wtxid) {
            return Ok(None);
        }
        script::verify(tx, spent).map_err(|(input, why)| Refusal::BadWitness { input, why })?;
        Ok(Some(wtxid))
    }
}

/// Whether BIP 68 gives the sequence numbers of `tx` a meaning. Versions are unsigned, as in Core since 28.
fn has_relative_locks(tx: &Transaction) -> bool {
    tx.version.0.cast_unsigned() >= 2
}

/// What `tx` leaves to the miner.
fn fee(tx: &Transaction, spent: &[&TxOut]) -> Result<Amount, Refusal> {
    let expected = spent.iter().map(|output| u128::from(output.value.to_sat())).sum::<u128>();
    let found = tx.output.iter().map(|output| u128::from(output.value.to_sat())).sum::<u128>();
    match expected.checked_sub(found) {
        Some(fee) => Ok(Amount::from_sat(u64::try_from(fee).unwrap_or(u64::MAX))),
        None => Err(Refusal::ValueCreated { found, expected }),
    }
}
