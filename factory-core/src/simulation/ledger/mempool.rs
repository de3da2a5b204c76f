//! The transactions that wait for a block.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::{Amount, FeeRate, OutPoint, Transaction, Txid};

use super::refusal::Refusal;

/// A transaction that waits.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) tx: Arc<Transaction>,
    pub(super) fee: Amount,
    /// Its virtual size, in vB.
    pub(super) vsize: u64,
    /// Grows with each arrival, so parents come before their children.
    arrival: u64,
}

impl Entry {
    pub(super) fn new(tx: &Arc<Transaction>, fee: Amount) -> Self {
        Entry { tx: Arc::clone(tx), fee, vsize: tx.vsize() as u64, arrival: 0 }
    }

    /// Which has the higher feerate, exactly.
    fn cmp_feerate(&self, other: &Entry) -> Ordering {
        let cross = |fee: Amount, vsize: u64| u128::from(fee.to_sat()) * u128::from(vsize);
        cross(self.fee, other.vsize).cmp(&cross(other.fee, self.vsize))
    }

    /// The least fee, in satoshis, at which a transaction of `vsize` has a feerate strictly above this one's.
    fn fee_to_beat(&self, vsize: u64) -> u128 {
        u128::from(self.fee.to_sat()) * u128::from(vsize) / u128::from(self.vsize.max(1)) + 1
    }
}

/// The transactions that wait. No two of them conflict, and each spends coins or outputs of others here.
#[derive(Debug, Default)]
pub(super) struct Mempool {
    entries: HashMap<Txid, Entry>,
    /// Who spends what, of the entries.
    spends: HashMap<OutPoint, Txid>,
    arrivals: u64,
}

/// An entry whose parents are all in the block, by what the miner prefers.
struct Ready(Txid, Entry);

impl Ord for Ready {
    fn cmp(&self, other: &Self) -> Ordering {
        self.1.cmp_feerate(&other.1).then_with(|| other.1.arrival.cmp(&self.1.arrival))
    }
}

impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ready {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ready {}

impl Mempool {
    pub(super) fn get(&self, txid: &Txid) -> Option<&Entry> {
        self.entries.get(txid)
    }

    pub(super) fn insert(&mut self, txid: Txid, mut entry: Entry) {
        entry.arrival = self.arrivals;
        self.arrivals += 1;
        self.spends.extend(entry.tx.input.iter().map(|input| (input.previous_output, txid)));
        self.entries.insert(txid, entry);
    }

    pub(super) fn remove(&mut self, txid: &Txid) -> Option<Entry> {
        let entry = self.entries.remove(txid)?;
        for input in &entry.tx.input {
            self.spends.remove(&input.previous_output);
        }
        Some(entry)
    }

    /// The entries that spend what `tx` spends, each once.
    pub(super) fn conflicts(&self, tx: &Transaction) -> Vec<Txid> {
        let mut found: Vec<Txid> = Vec::new();
        for input in &tx.input {
            match self.spends.get(&input.previous_output) {
                Some(txid) if !found.contains(txid) => found.push(*txid),
                _ => (),
            }
        }
        found
    }

    /// These entries and all that spend their outputs, directly or not.
    fn with_descendants(&self, txids: &[Txid]) -> HashSet<Txid> {
        let mut found: HashSet<Txid> = HashSet::new();
        let mut next = txids.to_vec();
        while let Some(txid) = next.pop() {
            let Some(entry) = self.entries.get(&txid) else { continue };
            if found.insert(txid) {
                let outputs = (0..).take(entry.tx.output.len()).map(|vout| OutPoint::new(txid, vout));
                next.extend(outputs.filter_map(|outpoint| self.spends.get(&outpoint)));
            }
        }
        found
    }

    /// Removes these entries and all that spend their outputs. Returns what went.
    pub(super) fn evict(&mut self, txids: &[Txid]) -> Vec<Txid> {
        let evicted: Vec<Txid> = self.with_descendants(txids).into_iter().collect();
        for txid in &evicted {
            self.remove(txid);
        }
        evicted
    }

    /// Whether an entry or one of its ancestors here signals that it may be replaced (BIP 125).
    fn is_replaceable(&self, txid: &Txid) -> bool {
        let mut seen: HashSet<Txid> = HashSet::new();
        let mut next = vec![*txid];
        while let Some(txid) = next.pop() {
            let Some(entry) = self.entries.get(&txid) else { continue };
            if entry.tx.is_explicitly_rbf() {
                return true;
            }
            if seen.insert(txid) {
                next.extend(entry.tx.input.iter().map(|input| input.previous_output.txid));
            }
        }
        false
    }

    /// Whether `new` may replace these entries: BIP 125, rules 1, 3 and 4, and a feerate strictly above each of them.
    ///
    /// # Errors
    ///
    /// [`Refusal`], if it may not.
    pub(super) fn may_replace(&self, new: &Entry, conflicts: &[Txid], relay: FeeRate) -> Result<(), Refusal> {
        if conflicts.is_empty() {
            return Ok(());
        }
        if let Some(conflict) = conflicts.iter().find(|txid| !self.is_replaceable(txid)) {
            return Err(Refusal::NotReplaceable { conflict: *conflict });
        }
        let evicted = self.with_descendants(conflicts);
        if let Some(input) = new.tx.input.iter().find(|input| evicted.contains(&input.previous_output.txid)) {
            return Err(Refusal::SpendsReplaced { conflict: input.previous_output.txid });
        }
        let fees = evicted.iter().filter_map(|txid| self.entries.get(txid));
        let fees: u128 = fees.map(|entry| u128::from(entry.fee.to_sat())).sum();
        let direct = conflicts.iter().filter_map(|txid| self.entries.get(txid));
        let feerate = direct.map(|entry| entry.fee_to_beat(new.vsize)).max().unwrap_or(0);
        let needed = feerate.max(fees + u128::from(relay_fee(relay, new.vsize).to_sat()));
        if u128::from(new.fee.to_sat()) < needed {
            return Err(Refusal::ReplacementFee { needed: to_amount(needed), found: new.fee });
        }
        Ok(())
    }

    /// Takes everything out, in the order of a block: parents before children, and of those whose parents are there
    /// the highest feerate first, or the one that came first.
    pub(super) fn drain_for_block(&mut self) -> Vec<(Txid, Arc<Transaction>)> {
        let spends = std::mem::take(&mut self.spends);
        let entries = std::mem::take(&mut self.entries);
        let mut order = Vec::with_capacity(entries.len());
        // How many inputs of each spend an output of another that is not in the block yet.
        let mut waiting: HashMap<Txid, (usize, Entry)> = HashMap::new();
        let mut ready = BinaryHeap::new();
        let parents = |entry: &Entry| {
            let parents = entry.tx.input.iter().filter(|input| entries.contains_key(&input.previous_output.txid));
            parents.count()
        };
        for (txid, entry) in &entries {
            match parents(entry) {
                0 => ready.push(Ready(*txid, entry.clone())),
                parents => drop(waiting.insert(*txid, (parents, entry.clone()))),
            }
        }
        while let Some(Ready(txid, entry)) = ready.pop() {
            for vout in (0..).take(entry.tx.output.len()) {
                let Some(child) = spends.get(&OutPoint::new(txid, vout)) else { continue };
                let Some((parents, _)) = waiting.get_mut(child) else { continue };
                *parents -= 1;
                if *parents == 0
                    && let Some((_, entry)) = waiting.remove(child)
                {
                    ready.push(Ready(*child, entry));
                }
            }
            order.push((txid, entry.tx));
        }
        order
    }

    /// Takes everything out, in the order of arrival.
    pub(super) fn drain_by_arrival(&mut self) -> Vec<Arc<Transaction>> {
        self.spends.clear();
        let mut entries: Vec<Entry> = self.entries.drain().map(|(_, entry)| entry).collect();
        entries.sort_unstable_by_key(|entry| entry.arrival);
        entries.into_iter().map(|entry| entry.tx).collect()
    }
}

/// What `vsize` vB cost at `rate`, rounded up to whole satoshis.
pub(super) fn relay_fee(rate: FeeRate, vsize: u64) -> Amount {
    rate.fee_vb(vsize).unwrap_or(Amount::MAX_MONEY)
}

fn to_amount(sat: u128) -> Amount {
    Amount::from_sat(u64::try_from(sat).unwrap_or(u64::MAX))
}
