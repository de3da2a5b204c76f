//! The blocks that were mined, and the coins that they leave.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::absolute::LockTime;
use bitcoin::script::{Builder, Script};
use bitcoin::transaction::Version;
use bitcoin::{OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};

use super::Block;

/// An output that is there to be spent, by its transaction: outputs are not copied.
#[derive(Clone, Debug)]
pub(super) struct Coin {
    pub(super) tx: Arc<Transaction>,
    pub(super) vout: usize,
    /// The height that its relative locks count from.
    pub(super) height: u32,
}

impl Coin {
    pub(super) fn output(&self) -> &TxOut {
        &self.tx.output[self.vout]
    }
}

/// A transaction in a block, with what it takes to undo it: the coins it spent, in the order of its inputs.
#[derive(Debug)]
struct Connected {
    txid: Txid,
    spent: Vec<Coin>,
}

/// The blocks, and the coins that they leave.
#[derive(Debug)]
pub(super) struct Chain {
    base: u32,
    blocks: Vec<Block>,
    undo: Vec<Vec<Connected>>,
    /// Transactions of the block that is being put together.
    pending: Vec<(Arc<Transaction>, Connected)>,
    coins: HashMap<OutPoint, Coin>,
    /// Satoshis per script. Wider than an `Amount`, because coins may be minted without limit.
    balances: HashMap<ScriptBuf, u128>,
    confirmed: HashMap<Txid, u32>,
    minted: Vec<(OutPoint, Coin)>,
}

impl Chain {
    pub(super) fn new(base: u32) -> Self {
        Chain {
            base,
            blocks: Vec::new(),
            undo: Vec::new(),
            pending: Vec::new(),
            coins: HashMap::new(),
            balances: HashMap::new(),
            confirmed: HashMap::new(),
            minted: Vec::new(),
        }
    }

    pub(super) fn depth(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn height(&self) -> u32 {
        self.base.saturating_add(self.depth())
    }

    pub(super) fn next_height(&self) -> u32 {
        self.height().saturating_add(1)
    }

    pub(super) fn block(&self, height: u32) -> Option<&Block> {
        let index = height.checked_sub(self.base)?.checked_sub(1)?;
        self.blocks.get(usize::try_from(index).ok()?)
    }

    pub(super) fn confirmed(&self, txid: &Txid) -> Option<u32> {
        self.confirmed.get(txid).copied()
    }

    pub(super) fn coin(&self, outpoint: &OutPoint) -> Option<&Coin> {
        self.coins.get(outpoint)
    }

    pub(super) fn balance(&self, script: &Script) -> u128 {
        self.balances.get(script).copied().unwrap_or(0)
    }

    /// The transaction in a block, or in the one that is being put together, that spent `outpoint`. Searches: it is
    /// needed only to say why a transaction is refused.
    pub(super) fn spender(&self, outpoint: &OutPoint) -> Option<Txid> {
        let pending = self.pending.iter().map(|(tx, connected)| (tx, connected.txid));
        let done = self.blocks.iter().zip(&self.undo).flat_map(|(block, undo)| block.txs.iter().zip(undo));
        pending
            .chain(done.map(|(tx, connected)| (tx, connected.txid)))
            .find(|(tx, _)| tx.input.iter().any(|input| input.previous_output == *outpoint))
            .map(|(_, txid)| txid)
    }

    pub(super) fn mint(&mut self, output: TxOut) -> OutPoint {
        // Like a coinbase: it spends nothing, and a number makes each different from all others.
        let number = i64::try_from(self.minted.len()).unwrap_or(i64::MAX);
        let input = TxIn {
            previous_output: OutPoint::null(),
            script_sig: Builder::new().push_int(number).into_script(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        };
        let tx =
            Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![input], output: vec![output] };
        let outpoint = OutPoint::new(tx.compute_txid(), 0);
        let coin = Coin { tx: Arc::new(tx), vout: 0, height: self.height() };
        self.minted.push((outpoint, coin.clone()));
        self.add(outpoint, coin);
        outpoint
    }

    fn add(&mut self, outpoint: OutPoint, coin: Coin) {
        let output = coin.output();
        let value = u128::from(output.value.to_sat());
        match self.balances.get_mut(&output.script_pubkey) {
            Some(balance) => *balance += value,
            None => drop(self.balances.insert(output.script_pubkey.clone(), value)),
        }
        self.coins.insert(outpoint, coin);
    }

    fn remove(&mut self, outpoint: &OutPoint) -> Option<Coin> {
        let coin = self.coins.remove(outpoint)?;
        let output = coin.output();
        if let Some(balance) = self.balances.get_mut(&output.script_pubkey) {
            *balance -= u128::from(output.value.to_sat());
            if *balance == 0 {
                self.balances.remove(&output.script_pubkey);
            }
        }
        Some(coin)
    }

    /// Puts a transaction into the block that is being put together. Its inputs must be coins.
    pub(super) fn connect(&mut self, txid: Txid, tx: &Arc<Transaction>) {
        let height = self.next_height();
        let spent: Vec<Coin> = tx.input.iter().filter_map(|input| self.remove(&input.previous_output)).collect();
        debug_assert_eq!(spent.len(), tx.input.len(), "the caller has found every input among the coins");
        for (vout, index) in (0..tx.output.len()).zip(0..) {
            self.add(OutPoint::new(txid, index), Coin { tx: Arc::clone(tx), vout, height });
        }
        self.confirmed.insert(txid, height);
        self.pending.push((Arc::clone(tx), Connected { txid, spent }));
    }

    /// Makes the block of what was connected.
    pub(super) fn seal(&mut self) -> Block {
        let (txs, undo) = self.pending.drain(..).unzip();
        let block = Block { height: self.next_height(), txs };
        self.undo.push(undo);
        self.blocks.push(block.clone());
        block
    }

    /// Takes back what was connected, and no block has yet.
    pub(super) fn abandon(&mut self) {
        while let Some((tx, connected)) = self.pending.pop() {
            self.disconnect(&tx, connected);
        }
    }

    /// Takes the last block away. Returns its transactions, in their order.
    pub(super) fn unwind(&mut self) -> Option<Vec<Arc<Transaction>>> {
        let (block, undo) = (self.blocks.pop()?, self.undo.pop()?);
        for (tx, connected) in block.txs.iter().zip(undo).rev() {
            self.disconnect(tx, connected);
        }
        // Minted coins outlast their block: they are as old as the chain allows.
        let height = self.height();
        for (outpoint, _) in &self.minted {
            if let Some(coin) = self.coins.get_mut(outpoint) {
                coin.height = coin.height.min(height);
            }
        }
        Some(block.txs)
    }

    fn disconnect(&mut self, tx: &Transaction, connected: Connected) {
        for index in (0..).take(tx.output.len()) {
            self.remove(&OutPoint::new(connected.txid, index));
        }
        for (input, coin) in tx.input.iter().zip(connected.spent) {
            self.add(input.previous_output, coin);
        }
        self.confirmed.remove(&connected.txid);
    }

    /// Replays everything from what was minted, and compares: the coins, the balances, and the sums.
    pub(super) fn is_conserved(&self) -> bool {
        let total = |outputs: &mut dyn Iterator<Item = &TxOut>| -> u128 {
            outputs.map(|output| u128::from(output.value.to_sat())).sum()
        };
        let minted = total(&mut self.minted.iter().map(|(_, coin)| coin.output()));
        let mut unspent: HashMap<OutPoint, &TxOut> =
            self.minted.iter().map(|(outpoint, coin)| (*outpoint, coin.output())).collect();
        let mut fees = 0;
        for tx in self.blocks.iter().flat_map(|block| &block.txs) {
            let mut value = 0;
            for input in &tx.input {
                let Some(output) = unspent.remove(&input.previous_output) else { return false };
                value += u128::from(output.value.to_sat());
            }
            let Some(fee) = value.checked_sub(total(&mut tx.output.iter())) else { return false };
            fees += fee;
            let txid = tx.compute_txid();
            unspent.extend(tx.output.iter().zip(0..).map(|(output, index)| (OutPoint::new(txid, index), output)));
        }
        let mut balances: HashMap<&Script, u128> = HashMap::new();
        for output in unspent.values() {
            *balances.entry(&output.script_pubkey).or_default() += u128::from(output.value.to_sat());
        }
        balances.retain(|_, balance| *balance != 0);
        total(&mut unspent.values().copied()) + fees == minted
            && unspent.len() == self.coins.len()
            && unspent.iter().all(|(outpoint, output)| self.coins.get(outpoint).is_some_and(|c| c.output() == *output))
            && balances.len() == self.balances.values().filter(|balance| **balance != 0).count()
            && balances.iter().all(|(script, balance)| self.balance(script) == *balance)
    }

    /// Makes a coin that nothing accounts for.
    #[cfg(test)]
    pub(super) fn forge(&mut self) {
        if let Some(coin) = self.coins.values().next().cloned() {
            self.add(OutPoint::null(), coin);
        }
    }
}
