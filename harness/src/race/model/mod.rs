//! The model of the nodes of an experiment: what they take, what they mine, and how they choose among branches.

mod mempool;
mod template;

use std::collections::HashSet;
use std::convert::Infallible;

use super::item::{Facts, Item};
use super::nodes::{BlockId, Nodes};
use super::setup::Setup;
use mempool::{Comes, Confirmed, Judge};
use template::{Assembly, Waiting};

/// The nodes of an experiment, without any node.
#[derive(Debug)]
pub(crate) struct ModelNodes<'a> {
    setup: &'a Setup,
    judge: &'a mut Judge,
    assemblies: &'a [Assembly],
    nodes: Vec<ModelNode>,
    blocks: Vec<ModelBlock>,
    background: Vec<Facts>,
}

/// What the model knows of all the nodes of an experiment before a trial begins. It learns what it is asked, so that it is
/// worked out once.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    judge: Judge,
    assemblies: Vec<Assembly>,
}

#[derive(Clone, Debug)]
struct ModelNode {
    /// The factory's transactions in the mempool, in the order in which they came.
    held: Vec<Item>,
    /// The others, by falling fees.
    background: Vec<(Item, Facts)>,
    tip: BlockId,
}

#[derive(Clone, Debug)]
struct ModelBlock {
    parent: BlockId,
    height: u32,
    items: Vec<Item>,
    miner: Option<usize>,
}

impl Model {
    /// The model of the nodes of an experiment.
    pub(crate) fn new(setup: &Setup) -> Self {
        let policies = setup.nodes.iter().map(|node| node.policy.clone()).collect::<Vec<_>>();
        let max_weight = setup.experiment.blocks.max_weight.0;
        let assemblies =
            setup.nodes.iter().map(|node| Assembly::new(node.policy.quality, max_weight, node.block_minimum));
        Model { assemblies: assemblies.collect(), judge: Judge::new(setup.sides.clone(), policies) }
    }

    /// The nodes at the beginning of a trial.
    pub(crate) fn begin<'a>(&'a mut self, setup: &'a Setup) -> ModelNodes<'a> {
        let node = ModelNode { held: Vec::new(), background: Vec::new(), tip: BlockId::FIRST };
        let first = ModelBlock { parent: BlockId::FIRST, height: 0, items: Vec::new(), miner: None };
        ModelNodes {
            setup,
            judge: &mut self.judge,
            assemblies: &self.assemblies,
            nodes: vec![node; setup.nodes.len()],
            blocks: vec![first],
            background: Vec::new(),
        }
    }
}

impl ModelNodes<'_> {
    fn facts(&self, item: Item) -> Facts {
        match item {
            Item::Background(number) => self.background[number as usize],
            side => self.setup.side_facts(side).unwrap_or_else(|| unreachable!("{side} is none of this experiment's")),
        }
    }

    /// The blocks from `tip` down to the first one, without that.
    fn branch(&self, tip: BlockId) -> impl Iterator<Item = BlockId> + '_ {
        let below = |block: &BlockId| Some(self.blocks[block.0].parent);
        std::iter::successors(Some(tip), below).take_while(|block| *block != BlockId::FIRST)
    }

    fn confirmed(&self, tip: BlockId) -> HashSet<Item> {
        self.branch(tip).flat_map(|block| self.blocks[block.0].items.iter().copied()).collect()
    }

    fn offer_one(&mut self, node: usize, confirmed: &HashSet<Item>, item: Item, comes: Comes) -> bool {
        if confirmed.contains(&item) {
            return false;
        }
        let facts = self.facts(item);
        let place = &mut self.nodes[node];
        if item.side().is_none() {
            if !place.background.iter().any(|(known, _)| *known == item) {
                let after = place.background.partition_point(|(_, other)| other.fee >= facts.fee);
                place.background.insert(after, (item, facts));
            }
            return true;
        }
        if place.held.contains(&item) {
            return true;
        }
        let verdict = self.judge.judge(node, &place.held, Confirmed::of(confirmed), item, comes);
        if verdict.accepted {
            if verdict.replaces {
                place.held.retain(|other| other.side() == item.side());
            }
            place.held.push(item);
        }
        verdict.accepted
    }

    /// Lets a node go over to a tip: what is in its blocks leaves the mempool, with what conflicts with that, and what was in
    /// the blocks that it leaves comes back.
    fn switch(&mut self, node: usize, tip: BlockId) {
        let new = self.confirmed(tip);
        let mut back: Vec<Item> = Vec::new();
        let left: Vec<BlockId> = self.branch(self.nodes[node].tip).collect();
        // The oldest first, so that parents come before children.
        for block in left.iter().rev() {
            back.extend(self.blocks[block.0].items.iter().filter(|item| !new.contains(item)));
        }
        let spender = new.iter().find_map(|item| match item {
            Item::Allocation | Item::FactoryClose => item.side(),
            _ => None,
        });
        let place = &mut self.nodes[node];
        place.tip = tip;
        place.background.retain(|(item, _)| !new.contains(item));
        place.held.retain(|item| !new.contains(item) && spender.is_none_or(|side| item.side() == Some(side)));
        // What comes back is judged without what is there, which nodes connect with it only afterwards; and what spends from
        // something that does not come back goes.
        let stayed = std::mem::take(&mut place.held);
        for item in back {
            self.offer_one(node, &new, item, Comes::Back);
        }
        let held = &mut self.nodes[node].held;
        for item in stayed {
            if item.parent().is_none_or(|parent| new.contains(&parent) || held.contains(&parent)) {
                held.push(item);
            }
        }
    }
}

impl Nodes for ModelNodes<'_> {
    type Error = Infallible;

    async fn issue(&mut self, background: &[Facts]) -> Result<(), Infallible> {
        self.background.extend_from_slice(background);
        Ok(())
    }

    async fn offer(&mut self, node: usize, _: u64, items: &[Item]) -> Result<Vec<bool>, Infallible> {
        let confirmed = self.confirmed(self.nodes[node].tip);
        Ok(items.iter().map(|&item| self.offer_one(node, &confirmed, item, Comes::New)).collect())
    }

    async fn holds(&mut self, node: usize) -> Result<Vec<Item>, Infallible> {
        Ok(self.nodes[node].held.clone())
    }

    async fn template(&mut self, node: usize, _: u64) -> Result<Vec<Item>, Infallible> {
        let mut held = self.nodes[node].held.clone();
        // Parents come before children, and equal ones by their numbers.
        held.sort_unstable();
        let place = |item: Item| held.iter().position(|other| *other == item);
        let waiting = |&item: &Item| Waiting { item, facts: self.facts(item), parent: item.parent().and_then(place) };
        let waiting: Vec<Waiting> = held.iter().map(waiting).collect();
        Ok(self.assemblies[node].block(&waiting, &self.nodes[node].background))
    }

    async fn mine(&mut self, node: usize, _: u64, items: &[Item], miner: usize) -> Result<BlockId, Infallible> {
        let parent = self.nodes[node].tip;
        let height = self.blocks[parent.0].height + 1;
        self.blocks.push(ModelBlock { parent, height, items: items.to_vec(), miner: Some(miner) });
        let block = BlockId(self.blocks.len() - 1);
        self.switch(node, block);
        Ok(block)
    }

    async fn deliver(&mut self, node: usize, block: BlockId) -> Result<(), Infallible> {
        // Of two branches the longer is followed, and of equal ones that which was there first.
        if self.blocks[block.0].height > self.blocks[self.nodes[node].tip.0].height {
            self.switch(node, block);
        }
        Ok(())
    }

    async fn tip(&mut self, node: usize) -> Result<BlockId, Infallible> {
        Ok(self.nodes[node].tip)
    }

    async fn fees(&mut self, tip: BlockId, miners: usize) -> Result<Vec<u64>, Infallible> {
        let mut fees = vec![0; miners];
        for block in self.branch(tip) {
            let ModelBlock { items, miner, .. } = &self.blocks[block.0];
            if let Some(miner) = miner {
                fees[*miner] += items.iter().map(|&item| self.facts(item).fee.to_sat()).sum::<u64>();
            }
        }
        Ok(fees)
    }
}
