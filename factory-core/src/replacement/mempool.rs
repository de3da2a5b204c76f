//! What a mempool holds.

use std::collections::BTreeSet;

use bitcoin::{Amount, Weight};

/// A transaction in a mempool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its fee, modified by `prioritisetransaction` where that was used.
    pub fee: Amount,
    /// Its weight.
    pub weight: Weight,
    /// Its version: 3 is a topologically restricted one (BIP 431).
    pub version: i32,
    /// The transactions in the mempool whose outputs it spends.
    pub parents: Vec<usize>,
}

impl Entry {
    /// Its size in virtual bytes, rounded up, as nodes count it.
    pub fn vsize(&self) -> u64 {
        self.weight.to_vbytes_ceil()
    }
}

/// What a mempool holds: transactions, parents before children, each known by its number from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mempool {
    entries: Vec<Entry>,
    children: Vec<Vec<usize>>,
}

impl Mempool {
    /// An empty mempool.
    pub fn new() -> Self {
        Mempool::default()
    }

    /// Adds a transaction and returns its number. It judges nothing: whatever is added is there.
    ///
    /// # Panics
    ///
    /// If a parent is not there yet.
    pub fn push(&mut self, entry: Entry) -> usize {
        let number = self.entries.len();
        for &parent in &entry.parents {
            assert!(parent < number, "parent {parent} comes before its child {number}");
            self.children[parent].push(number);
        }
        self.entries.push(entry);
        self.children.push(Vec::new());
        number
    }

    /// The transactions, by number.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// These and all that spend from them.
    pub(super) fn descendants(&self, of: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        reach(of, |number| self.children[number].iter().copied())
    }

    /// These and all that they spend from.
    pub(super) fn ancestors(&self, of: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        reach(of, |number| self.entries[number].parents.iter().copied())
    }

    /// All that hang together with these, leaving out `without`.
    pub(super) fn cluster(&self, of: impl IntoIterator<Item = usize>, without: &BTreeSet<usize>) -> BTreeSet<usize> {
        let start = of.into_iter().filter(|number| !without.contains(number));
        reach(start, |number| {
            let near = self.children[number].iter().chain(&self.entries[number].parents).copied();
            near.filter(|number| !without.contains(number))
        })
    }

    pub(super) fn fees(&self, of: &BTreeSet<usize>) -> Amount {
        of.iter().map(|&number| self.entries[number].fee).sum()
    }

    pub(super) fn vsizes(&self, of: &BTreeSet<usize>) -> u64 {
        of.iter().map(|&number| self.entries[number].vsize()).sum()
    }
}

fn reach<I: Iterator<Item = usize>>(
    start: impl IntoIterator<Item = usize>,
    mut next: impl FnMut(usize) -> I,
) -> BTreeSet<usize> {
    let mut open: Vec<usize> = start.into_iter().collect();
    let mut found = BTreeSet::new();
    while let Some(number) = open.pop() {
        if found.insert(number) {
            open.extend(next(number));
        }
    }
    found
}
