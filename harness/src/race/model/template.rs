//! What a node puts into a block, as the node's source has it (`node/miner.cpp`).

use std::cmp::Ordering;

use bitcoin::Weight;
use factory_core::replacement::{Quality, RelayRate};

use crate::race::item::{Facts, Item};
use crate::race::setup::RESERVED;

/// After more failures than these on end a node gives up, if the block is almost full.
const MOST_FAILURES: u32 = 1_000;
/// A block with less room than this is almost full.
const ALMOST_FULL: u64 = 4_000;

/// How a node fills a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assembly {
    /// By what it takes transactions: with cluster mempool by chunks, before that by the feerate with all ancestors.
    pub(crate) by_chunks: bool,
    /// What the block may weigh (`-blockmaxweight`).
    pub(crate) max_weight: Weight,
    /// The least that a transaction pays to be mined (`-blockmintxfee`).
    pub(crate) minimum: RelayRate,
}

/// A transaction that may be mined. What it spends comes before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) item: Item,
    pub(crate) facts: Facts,
    /// The place of what it spends, if that waits too.
    pub(crate) parent: Option<usize>,
}

/// Some transactions as one: fee, virtual size and weight.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    fee: u64,
    vsize: u64,
    weight: u64,
}

impl Sum {
    fn of(facts: Facts) -> Self {
        Sum { fee: facts.fee.to_sat(), vsize: facts.vsize(), weight: facts.weight.to_wu() }
    }

    fn with(self, other: Sum) -> Self {
        Sum { fee: self.fee + other.fee, vsize: self.vsize + other.vsize, weight: self.weight + other.weight }
    }

    fn without(self, other: Sum) -> Self {
        Sum { fee: self.fee - other.fee, vsize: self.vsize - other.vsize, weight: self.weight - other.weight }
    }

    fn by_vsize(self, other: Sum) -> Ordering {
        (u128::from(self.fee) * u128::from(other.vsize)).cmp(&(u128::from(other.fee) * u128::from(self.vsize)))
    }

    fn by_weight(self, other: Sum) -> Ordering {
        (u128::from(self.fee) * u128::from(other.weight)).cmp(&(u128::from(other.fee) * u128::from(self.weight)))
    }
}

/// A set of transactions that a node with cluster mempool takes together.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    items: Vec<Item>,
    sum: Sum,
    /// Chunks of one cluster: after one that does not fit, none of the others is taken.
    cluster: usize,
}

impl Assembly {
    /// How nodes of this quality fill blocks.
    pub(crate) fn new(quality: Quality, max_weight: Weight, minimum: RelayRate) -> Self {
        Assembly { by_chunks: quality == Quality::Diagram, max_weight, minimum }
    }

    /// The block of a node with these transactions of the factory, and a background that hangs together with nothing, sorted
    /// by falling fees, all of one weight.
    pub(crate) fn block(&self, factory: &[Waiting], background: &[(Item, Facts)]) -> Vec<Item> {
        match self.by_chunks {
            true => self.by_chunks(&chunks(factory), background),
            false => self.by_ancestors(factory, background),
        }
    }

    /// Whether nothing more is tried after so many failures on end, with this weight in the block.
    fn gives_up(&self, failures: u32, weight: u64) -> bool {
        failures > MOST_FAILURES && weight + ALMOST_FULL > self.max_weight.to_wu()
    }

    fn by_chunks(&self, chunks: &[Chunk], background: &[(Item, Facts)]) -> Vec<Item> {
        let (mut weight, mut block, mut left_out) = (RESERVED.to_wu(), Vec::new(), Vec::new());
        let mut failures = 0;
        let (mut chunks, mut background) = (chunks.iter().peekable(), background.iter().peekable());
        loop {
            let chunk = match (chunks.peek(), background.peek()) {
                (Some(chunk), Some((_, facts))) if chunk.sum.by_weight(Sum::of(*facts)).is_ge() => chunks.next(),
                (Some(_), None) => chunks.next(),
                (None, None) => return block,
                (_, Some(_)) => None,
            };
            let (items, sum) = match (chunk, background.peek()) {
                (Some(chunk), _) => (chunk.items.as_slice(), chunk.sum),
                (None, Some((item, facts))) => (std::slice::from_ref(item), Sum::of(*facts)),
                (None, None) => return block,
            };
            if chunk.is_none() {
                background.next();
            }
            if sum.fee * 1_000 < self.minimum.0 * sum.weight.div_ceil(4) {
                return block;
            }
            if chunk.is_some_and(|chunk| left_out.contains(&chunk.cluster)) {
                continue;
            }
            if weight + sum.weight >= self.max_weight.to_wu() {
                left_out.extend(chunk.map(|chunk| chunk.cluster));
                failures += 1;
                if self.gives_up(failures, weight) {
                    return block;
                }
                continue;
            }
            failures = 0;
            weight += sum.weight;
            block.extend_from_slice(items);
        }
    }

    fn by_ancestors(&self, factory: &[Waiting], background: &[(Item, Facts)]) -> Vec<Item> {
        let own: Vec<Sum> = factory.iter().map(|waiting| Sum::of(waiting.facts)).collect();
        let mut with_ancestors = own.clone();
        for (place, waiting) in factory.iter().enumerate() {
            if let Some(parent) = waiting.parent {
                with_ancestors[place] = with_ancestors[place].with(with_ancestors[parent]);
            }
        }
        let mut open = vec![Open::Yes; factory.len()];
        let mut background = background.iter().peekable();
        let (mut weight, mut block, mut failures) = (RESERVED.to_wu(), Vec::new(), 0);
        loop {
            // What counts is the lower of the own feerate and that with all ancestors which are not in the block yet.
            let score = |place: usize| {
                let (own, all) = (own[place], with_ancestors[place]);
                if own.by_vsize(all).is_lt() { own } else { all }
            };
            let mut best = None;
            for place in (0..factory.len()).filter(|place| matches!(open[*place], Open::Yes | Open::Changed)) {
                if best.is_none_or(|best| score(place).by_vsize(score(best)).is_gt()) {
                    best = Some(place);
                }
            }
            let next = background.peek().map(|(_, facts)| Sum::of(*facts));
            let best = best.filter(|best| next.is_none_or(|next| score(*best).by_vsize(next).is_ge()));
            let package = match (best, next) {
                (Some(place), _) => with_ancestors[place],
                (None, Some(next)) => next,
                (None, None) => return block,
            };
            if package.fee < self.minimum.fee(package.vsize).to_sat() {
                return block;
            }
            // Packages are counted by their virtual size, rounded up for each transaction.
            let fits = weight + 4 * package.vsize < self.max_weight.to_wu();
            failures = if fits { 0 } else { failures + 1 };
            if self.gives_up(failures, weight) {
                return block;
            }
            let Some(place) = best else {
                let (item, facts) = background.next().copied().unwrap_or_else(|| unreachable!("it was just seen"));
                if fits {
                    weight += facts.weight.to_wu();
                    block.push(item);
                }
                continue;
            };
            if !fits {
                // It is tried again once something it spends is in the block, and then no more.
                open[place] = if open[place] == Open::Changed { Open::Never } else { Open::Failed };
                continue;
            }
            let lineage = std::iter::successors(Some(place), |&place| factory[place].parent);
            let mut taken: Vec<usize> = lineage.filter(|&place| open[place] != Open::Taken).collect();
            taken.reverse();
            for &place in &taken {
                weight += factory[place].facts.weight.to_wu();
                block.push(factory[place].item);
                open[place] = Open::Taken;
            }
            for descendant in 0..factory.len() {
                let above = std::iter::successors(factory[descendant].parent, |&place| factory[place].parent);
                let gone: Vec<usize> = above.filter(|place| taken.contains(place)).collect();
                if gone.is_empty() || open[descendant] == Open::Taken {
                    continue;
                }
                for place in gone {
                    with_ancestors[descendant] = with_ancestors[descendant].without(own[place]);
                }
                if open[descendant] != Open::Never {
                    open[descendant] = Open::Changed;
                }
            }
        }
    }
}

/// How it stands with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// It has not been tried.
    Yes,
    /// Something that it spends is in the block.
    Changed,
    /// It did not fit.
    Failed,
    /// It did not fit, and will not be tried again.
    Never,
    /// It is in the block.
    Taken,
}

/// Cuts a forest of transactions into the chunks of its best order, the best first.
///
/// In a forest it is found from the leaves up: each transaction takes in whatever below it has a higher feerate than what it
/// has taken in so far. Equal feerates stay apart, as nodes have it.
fn chunks(forest: &[Waiting]) -> Vec<Chunk> {
    let mut below: Vec<Vec<(Vec<usize>, Sum)>> = vec![Vec::new(); forest.len()];
    let mut done: Vec<(Vec<usize>, Sum)> = Vec::new();
    for place in (0..forest.len()).rev() {
        let mut chunk = (vec![place], Sum::of(forest[place].facts));
        let mut children = std::mem::take(&mut below[place]);
        // The last is the best, and among equals the first in the list.
        children.sort_by(|(one, a), (other, b)| a.by_weight(*b).then(other[0].cmp(&one[0])));
        while let Some((items, sum)) = children.pop_if(|(_, sum)| sum.by_weight(chunk.1).is_gt()) {
            chunk.0.extend(items);
            chunk.1 = chunk.1.with(sum);
        }
        match forest[place].parent {
            Some(parent) => {
                below[parent].push(chunk);
                below[parent].extend(children);
            }
            None => {
                done.push(chunk);
                done.extend(children);
            }
        }
    }
    // What spends from another comes after it: chunks of equal feerate stay in the order of the list.
    done.sort_by(|(one, a), (other, b)| b.by_weight(*a).then(one[0].cmp(&other[0])));
    let root = |place: usize| std::iter::successors(Some(place), |&place| forest[place].parent).last();
    let chunk = |(mut places, sum): (Vec<usize>, Sum)| {
        places.sort_unstable();
        let cluster = root(places[0]).unwrap_or(places[0]);
        Chunk { items: places.iter().map(|&place| forest[place].item).collect(), sum, cluster }
    };
    done.into_iter().map(chunk).collect()
}

#[cfg(test)]
mod tests {
    use bitcoin::Amount;

    use super::*;

    fn facts(fee: u64, vsize: u64) -> Facts {
        Facts { fee: Amount::from_sat(fee), weight: Weight::from_wu(4 * vsize) }
    }

    /// The allocation, some closes, and perhaps a large child of the first.
    fn side(allocation: (u64, u64), closes: &[(u64, u64)], pin: Option<(u64, u64)>) -> Vec<Waiting> {
        let mut all = vec![Waiting { item: Item::Allocation, facts: facts(allocation.0, allocation.1), parent: None }];
        for (member, &(fee, vsize)) in (0..).zip(closes) {
            all.push(Waiting { item: Item::Close(member), facts: facts(fee, vsize), parent: Some(0) });
        }
        all.extend(pin.map(|(fee, vsize)| Waiting { item: Item::Pin, facts: facts(fee, vsize), parent: Some(1) }));
        all
    }

    fn background(all: &[(u64, u64)]) -> Vec<(Item, Facts)> {
        (0..).zip(all).map(|(number, &(fee, vsize))| (Item::Background(number), facts(fee, vsize))).collect()
    }

    fn assembly(by_chunks: bool, room: u64) -> Assembly {
        Assembly { by_chunks, max_weight: Weight::from_wu(8_000 + 4 * room + 1), minimum: RelayRate(1_000) }
    }

    use Item::{Allocation, Background, Close, Pin};

    #[test]
    fn with_room_everything_is_in_the_block_and_parents_come_first() {
        let (side, background) =
            (side((100, 100), &[(300, 100), (100, 100)], Some((500, 200))), background(&[(150, 100)]));
        for by_chunks in [true, false] {
            let block = assembly(by_chunks, 600).block(&side, &background);
            assert_eq!(block.len(), 5, "{block:?}");
            for item in &block {
                let before =
                    |parent| block.iter().position(|one| *one == parent) < block.iter().position(|one| one == item);
                assert!(item.parent().is_none_or(before), "{block:?}");
            }
        }
    }

    #[test]
    fn chunks_are_taken_whole_and_packages_one_by_one() {
        // Both closes pay more than the allocation, so all three are one chunk.
        let side = side((100, 100), &[(200, 100), (200, 100)], None);
        let background = background(&[(120, 100), (110, 100)]);
        assert_eq!(assembly(true, 200).block(&side, &background), [Background(0), Background(1)]);
        assert_eq!(assembly(false, 200).block(&side, &background), [Allocation, Close(0)]);
        assert_eq!(assembly(true, 300).block(&side, &background), [Allocation, Close(0), Close(1)]);
    }

    #[test]
    fn after_a_chunk_that_does_not_fit_its_cluster_is_left_out() {
        let side = side((300, 100), &[(200, 300), (150, 100)], None);
        // The closes are chunks of their own: 1.5, then 0.67 sat/vB, and the minimum is 0.5 here.
        let mut assembly = assembly(true, 400);
        assembly.minimum = RelayRate(500);
        assert_eq!(assembly.block(&side, &[]), [Allocation, Close(1)]);
        // The first close is as good as the allocation and does not fit; the second would, and comes after it.
        let large = self::side((300, 100), &[(900, 300), (150, 100)], None);
        assembly.max_weight = Weight::from_wu(8_000 + 4 * 399);
        assert_eq!(assembly.block(&large, &[]), [Allocation]);
    }

    #[test]
    fn what_failed_is_tried_again_when_its_parent_is_in_the_block() {
        // The close with the allocation does not fit beside the background; the allocation does, and then nothing more.
        let side = side((100, 100), &[(400, 150)], None);
        let background = background(&[(900, 300)]);
        assert_eq!(assembly(false, 450).block(&side, &background), [Background(0), Allocation]);
        assert_eq!(assembly(false, 550).block(&side, &background), [Background(0), Allocation, Close(0)]);
    }

    #[test]
    fn after_a_thousand_failures_an_almost_full_block_is_left_as_it_is() {
        // One of these fits, and leaves room for the allocation alone, which pays less than all of them.
        let side = side((100, 100), &[], None);
        for (by_chunks, room, waiting, taken) in [
            (true, 999, 1_001, 2),
            (true, 999, 1_002, 1),
            (false, 999, 1_001, 2),
            (false, 999, 1_002, 1),
            // With more room than 1,000 vB a node goes on trying.
            (true, 2_099, 1_500, 2),
            (false, 2_099, 1_500, 2),
        ] {
            let size = if room > 1_000 { 1_099 } else { 800 };
            let background = background(&vec![(2 * size, size); waiting]);
            let block = assembly(by_chunks, room).block(&side, &background);
            assert_eq!(block.len(), taken, "{by_chunks} {room} {waiting}");
        }
    }

    #[test]
    fn what_fits_after_failures_begins_their_count_anew() {
        // Six hundred at 3 sat/vB do not fit, the allocation does, six hundred more at 2 sat/vB do not, and the close does.
        let side = side((250, 100), &[(100, 100)], None);
        let mut waiting = vec![(3_200, 800)];
        waiting.extend([(2_400, 800); 600]);
        waiting.extend([(1_600, 800); 600]);
        for by_chunks in [true, false] {
            let block = assembly(by_chunks, 1_000).block(&side, &background(&waiting));
            assert_eq!(block, [Background(0), Allocation, Close(0)], "{by_chunks}");
        }
    }

    #[test]
    fn a_block_is_never_full_to_the_last_unit_and_sizes_are_rounded_up() {
        for by_chunks in [true, false] {
            let mut assembly = assembly(by_chunks, 400);
            assert_eq!(assembly.block(&side((400, 400), &[], None), &[]), [Allocation]);
            assembly.max_weight = Weight::from_wu(8_000 + 4 * 400);
            assert_eq!(assembly.block(&side((400, 400), &[], None), &[]), []);
            assert_eq!(assembly.block(&[], &background(&[(400, 400)])), []);
            // 401 WU are 101 vB.
            for (fee, taken) in [(100, 0), (101, 1)] {
                let facts = Facts { fee: Amount::from_sat(fee), weight: Weight::from_wu(401) };
                let one = Waiting { item: Allocation, facts, parent: None };
                assert_eq!(assembly.block(&[one], &[]).len(), taken, "{by_chunks} {fee}");
            }
        }
    }

    #[test]
    fn nothing_below_the_minimum_is_mined() {
        let side = side((100, 100), &[(100, 100)], Some((10, 200)));
        for by_chunks in [true, false] {
            let block = assembly(by_chunks, 1_000).block(&side, &background(&[(99, 100)]));
            assert_eq!(block, [Allocation, Close(0)]);
        }
        assert!(!assembly(true, 1_000).block(&side, &[]).contains(&Pin));
    }
}
