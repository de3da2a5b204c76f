//! One trial on real nodes: its transactions and blocks.

use std::collections::{HashMap, HashSet};

use bitcoin::{Amount, Block, BlockHash, Transaction, Txid};
use factory_core::tx::funding::Coin;

use super::error;
use crate::race::sides::Signed;
use crate::race::{BlockId, Facts, Item};
use crate::replacement::Case;
use crate::testbed::Stop;

/// A block of a trial.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) block: Block,
    pub(super) hash: BlockHash,
    pub(super) height: u64,
    /// The block before it; the first has none in the trial.
    pub(super) previous: Option<BlockId>,
    pub(super) items: Vec<Item>,
    /// The node that it was made for; the first was made for all.
    pub(super) node: usize,
}

/// A background transaction.
#[derive(Debug)]
pub(super) struct Background {
    pub(super) tx: Transaction,
    pub(super) facts: Facts,
    /// The coin that it leaves, until that is taken for the next one.
    pub(super) left: Option<Coin>,
}

/// Everything that a trial has brought about so far.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) case: Case,
    pub(super) signed: Signed,
    pub(super) pin_coin: Option<Coin>,
    pub(super) background: Vec<Background>,
    /// Where its time begins, in seconds since 1970.
    pub(super) base: u64,
    /// By their numbers.
    pub(super) blocks: Vec<Made>,
    items: HashMap<Txid, Item>,
}

/// What the next trial begins with.
pub(super) struct Rest {
    /// What of a trial is not confirmed at its end, parents before children.
    pub(super) unconfirmed: Vec<Transaction>,
    /// The factory's transactions, once that is confirmed.
    pub(super) factory: Vec<Transaction>,
}

impl Trial {
    /// A trial whose first block is `first`.
    pub(super) fn new(case: Case, signed: Signed, pin_coin: Option<Coin>, first: Made) -> Trial {
        let base = u64::from(first.block.header.time);
        let mut trial =
            Trial { case, signed, pin_coin, background: vec![], base, blocks: vec![first], items: HashMap::new() };
        let closes = (0..).zip(&trial.signed.closes).map(|(member, tx)| (tx.compute_txid(), Item::Close(member)));
        let others = [
            (Some(&trial.signed.allocation), Item::Allocation),
            (trial.signed.pin.as_ref(), Item::Pin),
            (Some(&trial.signed.factory_close), Item::FactoryClose),
        ];
        let others = others.into_iter().filter_map(|(tx, item)| Some((tx?.compute_txid(), item)));
        trial.items = closes.chain(others).collect();
        trial
    }

    /// Adds a background transaction, by the next number.
    pub(super) fn issue(&mut self, tx: Transaction, facts: Facts, left: Coin) {
        let number = self.background.len() as u32;
        self.items.insert(tx.compute_txid(), Item::Background(number));
        self.background.push(Background { tx, facts, left: Some(left) });
    }

    /// The transaction.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if there is no such one.
    pub(super) fn tx(&self, item: Item) -> Result<&Transaction, Stop> {
        let found = match item {
            Item::Allocation => Some(&self.signed.allocation),
            Item::Close(member) => self.signed.closes.get(member as usize),
            Item::Pin => self.signed.pin.as_ref(),
            Item::FactoryClose => Some(&self.signed.factory_close),
            Item::Background(number) => self.background.get(number as usize).map(|background| &background.tx),
        };
        found.ok_or_else(|| error(format!("there is no {item} in this trial")))
    }

    /// What is known of the transaction.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if there is no such one.
    pub(super) fn facts(&self, item: Item) -> Result<Facts, Stop> {
        let facts = &self.signed.facts;
        let found = match item {
            Item::Allocation => Some(facts.allocation),
            Item::Close(_) => Some(facts.close),
            Item::Pin => facts.pin,
            Item::FactoryClose => Some(facts.factory_close),
            Item::Background(number) => self.background.get(number as usize).map(|background| background.facts),
        };
        found.ok_or_else(|| error(format!("there is no {item} in this trial")))
    }

    /// What these transactions pay together.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if there is no such one.
    pub(super) fn paid(&self, items: &[Item]) -> Result<Amount, Stop> {
        items.iter().map(|item| Ok(self.facts(*item)?.fee)).sum()
    }

    /// Which transaction that is.
    pub(super) fn item(&self, txid: Txid) -> Option<Item> {
        self.items.get(&txid).copied()
    }

    /// A block.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if there is no such one.
    pub(super) fn block(&self, id: BlockId) -> Result<&Made, Stop> {
        self.blocks.get(id.0).ok_or_else(|| error(format!("there is no block {} in this trial", id.0)))
    }

    /// The number of a block.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if it is none of the trial's.
    pub(super) fn number(&self, hash: BlockHash) -> Result<BlockId, Stop> {
        let found = self.blocks.iter().rposition(|made| made.hash == hash);
        found.map(BlockId).ok_or_else(|| error(format!("{hash} is no block of this trial")))
    }

    /// The end of the longest chain; the block that was made first, of those of the same height.
    pub(super) fn longest(&self) -> BlockId {
        let mut longest = BlockId::FIRST;
        for (number, made) in self.blocks.iter().enumerate() {
            if made.height > self.blocks[longest.0].height {
                longest = BlockId(number);
            }
        }
        longest
    }

    /// The blocks up to `tip`, the first one first.
    pub(super) fn chain(&self, tip: BlockId) -> Vec<&Made> {
        let mut chain: Vec<_> =
            std::iter::successors(self.blocks.get(tip.0), |made| self.blocks.get(made.previous?.0)).collect();
        chain.reverse();
        chain
    }

    /// The coins that background transactions in the chain up to `tip` leave. They are given out once.
    pub(super) fn take_confirmed_coins(&mut self, tip: BlockId) -> Vec<Coin> {
        let items: Vec<Item> = self.chain(tip).iter().flat_map(|made| made.items.clone()).collect();
        let numbers = items.iter().filter_map(|item| match item {
            Item::Background(number) => Some(*number as usize),
            _ => None,
        });
        let background = &mut self.background;
        numbers.filter_map(|number| background.get_mut(number)?.left.take()).collect()
    }

    /// What is not confirmed in the chain up to `tip`, so that all money is somebody's own again. If neither side is
    /// confirmed, that is the factory close. The closes that nobody published are signed, if the allocation is confirmed.
    ///
    /// # Errors
    ///
    /// [`Stop::Error`], if something cannot be signed.
    pub(super) fn rest(&mut self, tip: BlockId) -> Result<Rest, Stop> {
        let confirmed: HashSet<Item> = self.chain(tip).iter().flat_map(|made| made.items.clone()).collect();
        let mut factory = Vec::new();
        if confirmed.contains(&Item::Allocation) {
            factory.push((Item::Allocation, self.signed.allocation.clone()));
            for member in 0..self.signed.facts.members {
                let tx = match self.signed.closes.get(member as usize) {
                    Some(tx) => tx.clone(),
                    None => self.case.close(member)?.0,
                };
                factory.push((Item::Close(member), tx));
            }
            factory.extend(self.signed.pin.clone().map(|tx| (Item::Pin, tx)));
        } else {
            factory.push((Item::FactoryClose, self.signed.factory_close.clone()));
        }
        let background =
            (0..).zip(&self.background).map(|(number, background)| (Item::Background(number), background.tx.clone()));
        let all = factory.iter().cloned().chain(background);
        let unconfirmed = all.filter(|(item, _)| !confirmed.contains(item)).map(|(_, tx)| tx).collect();
        Ok(Rest { unconfirmed, factory: factory.into_iter().map(|(_, tx)| tx).collect() })
    }
}
