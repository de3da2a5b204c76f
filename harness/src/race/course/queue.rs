//! What is to happen, in the order of time; at the same time, in the order in which it was planned, and blocks are found
//! last: what takes no time is over before.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::race::item::Item;
use crate::race::nodes::BlockId;

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A node is given the factory's transactions by somebody who wants them mined.
    Publish { node: usize, items: Vec<Item> },
    /// A node is told of them by another one.
    Relay { node: usize, items: Vec<Item> },
    /// A node is told of background transactions.
    Background { node: usize, items: Vec<Item> },
    /// A block reaches a node.
    Block { node: usize, block: BlockId },
    /// A partition ends.
    Heal { number: usize },
    /// A miner finds a block.
    Found { miner: usize },
}

/// What is to happen.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    order: BinaryHeap<Reverse<(u64, bool, u64)>>,
    events: BTreeMap<u64, Event>,
    planned: u64,
}

impl Queue {
    pub(super) fn push(&mut self, time: u64, event: Event) {
        self.order.push(Reverse((time, matches!(event, Event::Found { .. }), self.planned)));
        self.events.insert(self.planned, event);
        self.planned += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Event)> {
        let Reverse((time, _, number)) = self.order.pop()?;
        Some((time, self.events.remove(&number)?))
    }

    pub(super) fn next_time(&self) -> Option<u64> {
        self.order.peek().map(|Reverse((time, ..))| *time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_their_order() {
        let mut queue = Queue::default();
        for (time, miner) in [(5, 0), (3, 1), (5, 2), (3, 3), (0, 4)] {
            queue.push(time, Event::Found { miner });
        }
        assert_eq!(queue.next_time(), Some(0));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        let found = |(time, miner)| (time, Event::Found { miner });
        assert_eq!(order, [(0, 4), (3, 1), (3, 3), (5, 0), (5, 2)].map(found));
    }

    #[test]
    fn a_block_is_found_after_everything_else_of_its_time() {
        let mut queue = Queue::default();
        let (found, heal) = (Event::Found { miner: 0 }, Event::Heal { number: 0 });
        queue.push(7, found.clone());
        queue.push(7, heal.clone());
        queue.push(8, heal.clone());
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [(7, heal.clone()), (7, found), (8, heal)]);
    }
}
