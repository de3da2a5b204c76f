//! The course of a trial: what happens when, to nodes that may be real or the model's.
//!
//! It is a simulation of discrete events in a time of its own. What travels from node to node, and when a block is found, is
//! decided here; what a node takes, mines and believes is decided by the node.

mod choice;
mod queue;

use std::collections::HashSet;

use super::draws::Draws;
use super::item::{Facts, Item};
use super::language::Side;
use super::nodes::{BlockId, Nodes};
use super::record::{Judgement, Margin, Trial};
use super::setup::Setup;
use queue::{Event, Queue};

/// A trial on its way.
pub(crate) struct Course<'a, N> {
    setup: &'a Setup,
    nodes: &'a mut N,
    draws: Draws,
    queue: Queue,
    now: u64,
    seen: Vec<Seen>,
    blocks: Vec<Found>,
    /// Each node's tip.
    tips: Vec<BlockId>,
    background: Vec<Facts>,
    judgements: Vec<Judgement>,
    margins: Vec<Margin>,
}

/// What a node has heard.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The factory's transactions that it was told of.
    heard: HashSet<Item>,
    /// Those that it took at some time, in their order.
    accepted: Vec<Item>,
    /// The side that it saw first.
    first: Option<Side>,
    /// How many of the background transactions it was told of.
    background: usize,
    blocks: HashSet<BlockId>,
}

/// A block that was found.
#[derive(Clone, Debug)]
struct Found {
    parent: BlockId,
    height: u32,
    time: u64,
    miner: usize,
    items: Vec<Item>,
    /// The first block of its branch that holds a side.
    decided: Option<(Side, BlockId)>,
}

impl<'a, N: Nodes> Course<'a, N> {
    /// A trial that begins.
    pub(crate) async fn begin(setup: &'a Setup, nodes: &'a mut N, draws: Draws) -> Result<Self, N::Error> {
        let first = Found { parent: BlockId::FIRST, height: 0, time: 0, miner: 0, items: Vec::new(), decided: None };
        let seen = Seen { blocks: HashSet::from([BlockId::FIRST]), ..Seen::default() };
        let mut course = Course {
            setup,
            nodes,
            draws,
            queue: Queue::default(),
            now: 0,
            seen: vec![seen; setup.nodes.len()],
            blocks: vec![first],
            tips: vec![BlockId::FIRST; setup.nodes.len()],
            background: Vec::new(),
            judgements: Vec::new(),
            margins: Vec::new(),
        };
        // What waits at the beginning is known to everybody.
        let waiting = course.top_up(BlockId::FIRST).await?;
        for node in 0..setup.nodes.len() {
            course.offer(node, &waiting).await?;
        }
        for (time, node, items) in &setup.publish {
            course.queue.push(*time, Event::Publish { node: *node, items: items.clone() });
        }
        for (number, parting) in setup.partitions.iter().enumerate() {
            course.queue.push(parting.to, Event::Heal { number });
        }
        Ok(course)
    }

    /// Goes on until a side is confirmed everywhere, or the trial is given up.
    pub(crate) async fn run(mut self, number: u64) -> Result<Trial, N::Error> {
        self.schedule_block();
        let tip = loop {
            let tip = self.tips[0];
            if self.tips.iter().all(|other| *other == tip) {
                let block = &self.blocks[tip.0];
                if block.decided.is_some() || block.height >= self.setup.experiment.blocks.give_up.0 {
                    break tip;
                }
            }
            let Some((time, event)) = self.queue.pop() else { break BlockId::FIRST };
            self.now = time;
            self.happen(event).await?;
        };
        self.record(number, tip).await
    }

    /// When the next thing happens.
    pub(crate) fn next_time(&self) -> Option<u64> {
        self.queue.next_time()
    }

    /// Lets everything happen up to a time, that included.
    pub(crate) async fn run_until(&mut self, time: u64) -> Result<(), N::Error> {
        while self.queue.next_time().is_some_and(|next| next <= time) {
            let Some((time, event)) = self.queue.pop() else { break };
            self.now = time;
            self.happen(event).await?;
        }
        Ok(())
    }

    /// The sides that a miner would mine now, each with its chance.
    pub(crate) async fn would_mine(&mut self, miner: usize) -> Result<Vec<(Option<Side>, f64)>, N::Error> {
        let choice = self.choose(miner).await?;
        let side = |items: &[Item]| items.iter().find_map(|item| spends_funding(*item));
        Ok(match choice.other {
            Some(other) => vec![(side(&choice.items), 0.5), (side(&other), 0.5)],
            None => vec![(side(&choice.items), 1.0)],
        })
    }

    async fn happen(&mut self, event: Event) -> Result<(), N::Error> {
        match event {
            Event::Publish { node, items } => self.tell(node, items).await,
            Event::Relay { node, items } => {
                let heard = &self.seen[node].heard;
                let new: Vec<Item> = items.into_iter().filter(|item| !heard.contains(item)).collect();
                self.tell(node, new).await
            }
            Event::Background { node, items } => self.offer(node, &items).await,
            Event::Block { node, block } => self.deliver(node, block).await,
            Event::Heal { number } => {
                self.heal(number);
                Ok(())
            }
            Event::Found { miner } => self.found(miner).await,
        }
    }

    /// A node is told of the factory's transactions, and tells others of those that it takes.
    async fn tell(&mut self, node: usize, mut items: Vec<Item>) -> Result<(), N::Error> {
        let place = &self.setup.nodes[node];
        items.retain(|item| place.only.is_none_or(|only| item.side() == Some(only)));
        if place.first_seen {
            let first = self.seen[node].first;
            items.retain(|item| first.is_none_or(|first| item.side() == Some(first)));
        }
        if items.is_empty() {
            return Ok(());
        }
        let answers = self.nodes.offer(node, self.now, &items).await?;
        let mut taken = Vec::new();
        let seen = &mut self.seen[node];
        for (item, accepted) in items.into_iter().zip(answers) {
            seen.heard.insert(item);
            self.judgements.push(Judgement { time_ms: self.now, node, item, accepted });
            if accepted {
                seen.first = seen.first.or(item.side());
                if !seen.accepted.contains(&item) {
                    seen.accepted.push(item);
                }
                taken.push(item);
            }
        }
        if taken.is_empty() {
            return Ok(());
        }
        for hop in &place.links {
            if self.connected(node, hop.to) {
                let time = self.now + hop.transactions + self.setup.nodes[hop.to].lag;
                self.queue.push(time, Event::Relay { node: hop.to, items: taken.clone() });
            }
        }
        Ok(())
    }

    /// A node is told of background transactions. It has to take them.
    async fn offer(&mut self, node: usize, items: &[Item]) -> Result<(), N::Error> {
        let answers = self.nodes.offer(node, self.now, items).await?;
        self.seen[node].background += items.len();
        for (&item, accepted) in items.iter().zip(answers) {
            // One that was refused shows up where the model and the nodes are compared.
            if !accepted {
                self.judgements.push(Judgement { time_ms: self.now, node, item, accepted });
            }
        }
        Ok(())
    }

    fn connected(&self, one: usize, other: usize) -> bool {
        let apart = |parting: &&super::setup::Parting| {
            (parting.from..parting.to).contains(&self.now) && parting.groups[one] != parting.groups[other]
        };
        !self.setup.partitions.iter().any(|parting| apart(&parting))
    }

    fn schedule_block(&mut self) {
        let (gap, miner) = self.draws.arrival(self.setup);
        self.queue.push(self.now + gap, Event::Found { miner });
    }

    /// A miner finds a block.
    async fn found(&mut self, miner: usize) -> Result<(), N::Error> {
        self.schedule_block();
        let node = self.setup.miners[miner].node;
        let parent = self.tips[node];
        let choice = self.choose(miner).await?;
        self.margins.extend(choice.margin);
        let items = match choice.other {
            Some(other) if self.draws.coin() => other,
            _ => choice.items,
        };
        let block = self.nodes.mine(node, self.now, &items, miner).await?;
        debug_assert_eq!(block.0, self.blocks.len());
        let own = items.iter().find_map(|item| spends_funding(*item)).map(|side| (side, block));
        let (height, decided) = (self.blocks[parent.0].height + 1, self.blocks[parent.0].decided.or(own));
        self.blocks.push(Found { parent, height, time: self.now, miner, items, decided });
        self.seen[node].blocks.insert(block);
        self.tips[node] = self.nodes.tip(node).await?;
        self.pass_on(node, block);
        let new = self.top_up(block).await?;
        if !new.is_empty() {
            for node in 0..self.setup.nodes.len() {
                let time = self.now + self.setup.nodes[node].lag;
                self.queue.push(time, Event::Background { node, items: new.clone() });
            }
        }
        Ok(())
    }

    fn pass_on(&mut self, node: usize, block: BlockId) {
        for hop in &self.setup.nodes[node].links {
            if self.connected(node, hop.to) && !self.seen[hop.to].blocks.contains(&block) {
                self.queue.push(self.now + hop.blocks, Event::Block { node: hop.to, block });
            }
        }
    }

    /// A node is given a block, and whatever is before it that it does not have.
    async fn deliver(&mut self, node: usize, block: BlockId) -> Result<(), N::Error> {
        let mut missing: Vec<BlockId> =
            self.branch(block).take_while(|block| !self.seen[node].blocks.contains(block)).collect();
        while let Some(next) = missing.pop() {
            self.nodes.deliver(node, next).await?;
            self.seen[node].blocks.insert(next);
        }
        self.tips[node] = self.nodes.tip(node).await?;
        // A node tells others of its best chain alone.
        if self.tips[node] == block {
            self.pass_on(node, block);
        }
        Ok(())
    }

    /// A partition ends: the nodes on both sides of it tell each other their chains.
    fn heal(&mut self, number: usize) {
        for node in 0..self.setup.nodes.len() {
            let tip = self.tips[node];
            for hop in &self.setup.nodes[node].links {
                let groups = &self.setup.partitions[number].groups;
                if groups[node] != groups[hop.to] && self.connected(node, hop.to) {
                    self.queue.push(self.now + hop.blocks, Event::Block { node: hop.to, block: tip });
                }
            }
        }
    }

    /// Issues as much background as is missing beside what waits on a block.
    async fn top_up(&mut self, on: BlockId) -> Result<Vec<Item>, N::Error> {
        let Some(congestion) = &self.setup.experiment.congestion else { return Ok(Vec::new()) };
        let room = self.setup.room().to_wu() as f64 * congestion.fill.fraction();
        let wanted = (room / self.setup.background_weight.to_wu() as f64).ceil() as usize;
        let mined = self.branch(on).map(|block| background_of(&self.blocks[block.0].items)).sum::<usize>();
        let waiting = self.background.len() - mined;
        let first = self.background.len();
        for _ in waiting..wanted {
            let fee = self.draws.background(self.setup);
            self.background.push(Facts { fee, weight: self.setup.background_weight });
        }
        self.nodes.issue(&self.background[first..]).await?;
        let number = |number| Item::Background(u32::try_from(number).unwrap_or(u32::MAX));
        Ok((first..self.background.len()).map(number).collect())
    }

    /// The blocks from one down to the first, without that.
    fn branch(&self, from: BlockId) -> impl Iterator<Item = BlockId> + '_ {
        let below = |block: &BlockId| Some(self.blocks[block.0].parent);
        std::iter::successors(Some(from), below).take_while(|block| *block != BlockId::FIRST)
    }

    fn facts(&self, item: Item) -> Facts {
        match item {
            Item::Background(number) => self.background[number as usize],
            side => self.setup.side_facts(side).unwrap_or_else(|| unreachable!("{side} is none of this experiment's")),
        }
    }

    fn fees(&self, items: &[Item]) -> u64 {
        items.iter().map(|item| self.facts(*item).fee.to_sat()).sum()
    }

    async fn record(self, number: u64, tip: BlockId) -> Result<Trial, N::Error> {
        let miners = self.setup.miners.len();
        let fees_sat = self.nodes.fees(tip, miners).await?;
        let mut found = vec![0; miners];
        let mut factory_vsize = 0;
        let chain: Vec<BlockId> = self.branch(tip).collect();
        for block in &chain {
            let block = &self.blocks[block.0];
            found[block.miner] += 1;
            let factory = block.items.iter().filter(|item| item.side().is_some());
            factory_vsize += factory.map(|item| self.facts(*item).vsize()).sum::<u64>();
        }
        let decided = self.blocks[tip.0].decided;
        let deciding = decided.map_or(&self.blocks[tip.0], |(_, block)| &self.blocks[block.0]);
        Ok(Trial {
            number,
            winner: decided.map(|(side, _)| side),
            blocks: deciding.height,
            time_ms: deciding.time,
            decided_by: decided.map(|_| deciding.miner),
            fees_sat,
            found,
            factory_vsize,
            stale_blocks: u32::try_from(self.blocks.len() - 1 - chain.len()).unwrap_or(u32::MAX),
            margins: self.margins,
            judgements: self.judgements,
        })
    }
}

/// The side that is confirmed with a transaction, if it spends the funding.
fn spends_funding(item: Item) -> Option<Side> {
    matches!(item, Item::Allocation | Item::FactoryClose).then(|| item.side()).flatten()
}

fn background_of(items: &[Item]) -> usize {
    items.iter().filter(|item| item.side().is_none()).count()
}

#[cfg(test)]
mod tests;
