//! Courses that are told step by step, among nodes of the model, against what is worked out by hand.

use super::*;
use crate::race::fast::at_once;
use crate::race::language::Experiment;
use crate::race::model::{Model, ModelNodes};

/// A trial in which this code says who finds a block when.
struct Told<'a>(Course<'a, ModelNodes<'a>>);

fn setup(text: &str) -> Setup {
    let experiment: Experiment = serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}"));
    Setup::new(&experiment, Vec::new()).unwrap()
}

fn told(text: &str, tell: impl FnOnce(Told<'_>)) {
    let setup = setup(text);
    let mut model = Model::new(&setup);
    let mut nodes = model.begin(&setup);
    let Ok(course) = at_once(Course::begin(&setup, &mut nodes, Draws::new(1, 0)));
    tell(Told(course));
}

impl Told<'_> {
    /// Everything happens up to this second, that included, but no block is found.
    fn until(&mut self, seconds: u64) {
        self.until_ms(seconds * 1_000);
    }

    fn until_ms(&mut self, time: u64) {
        while self.0.next_time().is_some_and(|next| next <= time) {
            let Some((at, event)) = self.0.queue.pop() else { break };
            if !matches!(event, Event::Found { .. }) {
                self.0.now = at;
                let Ok(()) = at_once(self.0.happen(event));
            }
        }
        self.0.now = time;
    }

    /// At this second a miner finds a block. Its number, and what is in it, sorted.
    fn finds(&mut self, seconds: u64, miner: usize) -> (BlockId, Vec<Item>) {
        self.until(seconds);
        let Ok(()) = at_once(self.0.found(miner));
        let block = BlockId(self.0.blocks.len() - 1);
        self.until(seconds);
        let mut items = self.0.blocks[block.0].items.clone();
        items.sort_unstable();
        (block, items)
    }

    fn holds(&mut self, node: usize) -> Vec<Item> {
        let Ok(mut held) = at_once(self.0.nodes.holds(node));
        held.sort_unstable();
        held
    }

    fn decided(&self, block: BlockId) -> Option<Side> {
        self.0.blocks[block.0].decided.map(|(side, _)| side)
    }
}

/// The allocation with so many closes.
fn allocation(closes: u32) -> Vec<Item> {
    [Item::Allocation].into_iter().chain((0..closes).map(Item::Close)).collect()
}

const LINE: &str = "
name: a line
nodes:
  one: { kind: core-31 }
  two: { kind: core-31 }
  three: { kind: core-31 }
links:
  - { between: [one, two], transactions: 5 s, blocks: 7 s }
  - { between: [two, three], transactions: 5 s, blocks: 7 s }
factory: { members: 3, premium: 1 sat/vB }
publish:
  - { tx: allocation, at: one }
  - { tx: closes, at: one }
  - { tx: factory-close, at: three, after: 100 s }
miners:
  one: { share: 40 %, node: one }
  two: { share: 30 %, node: two }
  three: { share: 30 %, node: three, policy: empty }
";

#[test]
fn transactions_and_blocks_take_their_time_from_node_to_node() {
    told(LINE, |mut course| {
        course.until_ms(4_999);
        assert_eq!((course.holds(0), course.holds(1)), (allocation(3), vec![]));
        course.until_ms(5_000);
        assert_eq!((course.holds(1), course.holds(2)), (allocation(3), vec![]));
        course.until_ms(10_000);
        assert_eq!(course.holds(2), allocation(3));
        // Nobody is told twice.
        assert_eq!(course.0.judgements.len(), 3 * 4);
        course.until(105);
        assert_eq!((course.holds(0), course.holds(1)), (allocation(3), vec![Item::FactoryClose]));
        let (block, items) = course.finds(106, 0);
        assert_eq!((items, course.decided(block)), (allocation(3), Some(Side::Allocation)));
        course.until_ms(112_999);
        assert_eq!(course.0.tips, [block, BlockId::FIRST, BlockId::FIRST]);
        course.until(113);
        assert_eq!(course.0.tips, [block, block, BlockId::FIRST]);
        assert_eq!((course.holds(1), course.holds(2)), (vec![], vec![Item::FactoryClose]));
        course.until(120);
        assert_eq!(course.0.tips, [block; 3]);
        assert_eq!(course.holds(2), []);
    });
}

#[test]
fn what_others_know_is_late_where_a_miner_is_stale_and_blocks_are_not() {
    let stale = LINE.replace("node: two }", "node: two, policy: { stale: { lag: 30 s } } }");
    told(&stale, |mut course| {
        course.until_ms(34_999);
        assert_eq!(course.holds(1), []);
        course.until_ms(35_000);
        assert_eq!((course.holds(1), course.holds(2)), (allocation(3), vec![]));
        course.until(40);
        assert_eq!(course.holds(2), allocation(3));
        let (block, _) = course.finds(50, 0);
        course.until(57);
        assert_eq!(course.0.tips[1], block);
    });
    // Six others wait from the beginning, and six more from when the first block has taken those.
    let congested = stale
        + "blocks: { max_weight: 60_000 WU }\n"
        + "congestion: { fill: 20 %, feerates: { constant: 3 sat/vB } }\n";
    told(&congested, |mut course| {
        let (_, items) = course.finds(50, 0);
        assert_eq!(background_of(&items), 6);
        let known = |course: &Told<'_>| course.0.seen.iter().map(|seen| seen.background).collect::<Vec<_>>();
        assert_eq!(known(&course), [12, 6, 12]);
        course.until_ms(79_999);
        assert_eq!(known(&course), [12, 6, 12]);
        course.until(80);
        assert_eq!(known(&course), [12, 12, 12]);
    });
}

#[test]
fn of_two_branches_the_longer_is_followed_and_of_equal_ones_the_own() {
    let text = LINE.to_owned() + "partitions: [{ from: 1 s, to: 600 s, groups: [[one], [two, three]] }]\n";
    told(&text, |mut course| {
        course.until(500);
        assert_eq!((course.holds(1), course.holds(2)), (vec![Item::FactoryClose], vec![Item::FactoryClose]));
        let (first, items) = course.finds(510, 0);
        assert_eq!(items, allocation(3));
        let (second, items) = course.finds(520, 1);
        assert_eq!(items, [Item::FactoryClose]);
        course.until_ms(606_999);
        assert_eq!(course.0.tips, [first, second, second]);
        // The partition is over, and both branches are as long: each keeps its own.
        course.until(620);
        assert_eq!(course.0.tips, [first, second, second]);
        assert!(course.0.seen.iter().take(2).all(|seen| seen.blocks.len() == 3));
        // What stays behind is not passed on.
        assert!(!course.0.seen[2].blocks.contains(&first));
        let (third, items) = course.finds(700, 0);
        assert_eq!((items, course.decided(third)), (vec![], Some(Side::Allocation)));
        course.until(707);
        assert_eq!(course.0.tips, [third, third, second]);
        course.until(714);
        assert_eq!(course.0.tips, [third; 3]);
        assert!((0..3).all(|node| course.holds(node).is_empty()));
        let Ok(record) = at_once(course.0.record(0, third));
        assert_eq!((record.winner, record.blocks, record.time_ms), (Some(Side::Allocation), 1, 510_000));
        assert_eq!((record.found, record.stale_blocks), (vec![2, 0, 0], 1));
    });
}

/// The allocation is confirmed in one half and a close waits. Then a longer branch without either comes from the other half.
#[test]
fn what_was_confirmed_in_a_branch_comes_back_parents_first() {
    let text = "
name: back
nodes:
  east: { kind: core-31 }
  west: { kind: core-31 }
factory: { members: 3 }
publish:
  - { tx: allocation, at: east }
  - { tx: { first-closes: 2 }, at: east, after: 150 s }
  - { tx: closes, at: east, after: 250 s }
  - { tx: factory-close, at: west, after: 900 s }
partitions: [{ to: 600 s, groups: [[east], [west]] }]
miners:
  east: { share: 60 %, node: east }
  west: { share: 40 %, node: west }
";
    told(text, |mut course| {
        assert_eq!(course.finds(100, 0).1, [Item::Allocation]);
        let (east, items) = course.finds(200, 0);
        assert_eq!(items, [Item::Close(0), Item::Close(1)]);
        course.until(300);
        assert_eq!(course.holds(0), [Item::Close(2)]);
        for seconds in [310, 320, 330] {
            assert_eq!(course.finds(seconds, 1).1, []);
        }
        assert_eq!(course.0.tips[0], east);
        course.until(600);
        assert_eq!(course.0.tips[0], course.0.tips[1]);
        assert_eq!((course.holds(0), course.holds(1)), (allocation(3), vec![]));
        let (block, items) = course.finds(700, 0);
        assert_eq!((items, course.decided(block)), (allocation(3), Some(Side::Allocation)));
        // And then the other side is refused everywhere.
        course.until(900);
        let last = course.0.judgements.last().unwrap();
        assert_eq!((last.item, last.accepted), (Item::FactoryClose, false));
    });
}

const RATIONAL: &str = "
name: rational
nodes:
  left: { kind: core-31, only: allocation }
  right: { kind: core-31, only: factory-close }
links: [{ between: [left, right], blocks: 100 s }]
factory: { members: 20, premium: 1 sat/vB }
publish:
  - { tx: allocation, at: left }
  - { tx: closes, at: left }
  - { tx: factory-close, at: right }
miners:
  rational: { share: 50 %, node: left, policy: { rational: { second: right } } }
  empty: { share: 50 %, node: right, policy: empty }
";

#[test]
fn a_rational_miner_compares_what_two_nodes_would_put_on_the_same_block() {
    told(RATIONAL, |mut course| {
        course.until(10);
        let Ok(would) = at_once(course.0.would_mine(0));
        assert_eq!(would, [(Some(Side::FactoryClose), 1.0)]);
        let (block, _) = course.finds(20, 1);
        course.until(119);
        // The second node is a block ahead: what it would mine fits on nothing that the first one has.
        let Ok(would) = at_once(course.0.would_mine(0));
        assert_eq!(would, [(Some(Side::Allocation), 1.0)]);
        course.until(120);
        assert_eq!(course.0.tips, [block; 2]);
        let Ok(would) = at_once(course.0.would_mine(0));
        assert_eq!(would, [(Some(Side::FactoryClose), 1.0)]);
    });
    told(&RATIONAL.replace("premium: 1", "premium: 0"), |mut course| {
        course.until(10);
        let Ok(would) = at_once(course.0.would_mine(0));
        assert_eq!(would, [(Some(Side::Allocation), 0.5), (Some(Side::FactoryClose), 0.5)]);
    });
}

/// At a tie with room for 25 transactions of 500 vB at 3 sat/vB: beside the factory close (971 vB) 24 of them fit, and beside
/// the allocation and its closes (4,008 vB) 17.
#[test]
fn the_margin_is_what_the_room_is_worth_that_the_factory_close_leaves() {
    let tie = RATIONAL.replace("premium: 1", "feerate: 20 sat/vB, premium: 0") + "blocks: { max_weight: 60_000 WU }\n";
    let congested = |fill| format!("{tie}congestion: {{ fill: {fill} %, feerates: {{ constant: 3 sat/vB }} }}\n");
    told(&congested(150), |mut course| {
        let (_, items) = course.finds(10, 0);
        assert_eq!((items[0], background_of(&items)), (Item::FactoryClose, 24));
        let expected = Margin { measured_sat: 7 * 1_500, formula_sat: 3.0 * 3_037.0, marginal: 3.0 };
        assert_eq!(course.0.margins, [expected]);
    });
    // Six wait, and all fit beside either side: what else there is to be mined is worth nothing more.
    told(&congested(20), |mut course| {
        let (_, items) = course.finds(10, 0);
        assert_eq!(background_of(&items), 6);
        assert_eq!(course.0.margins, [Margin { measured_sat: 0, formula_sat: 0.0, marginal: 0.0 }]);
    });
}

/// What was mined before either side was known waits no more.
#[test]
fn what_is_mined_is_worth_nothing_to_the_next_block() {
    let text = RATIONAL.replace("premium: 1", "feerate: 20 sat/vB, premium: 0").replace("blocks: 100 s", "blocks: 0 s")
        + "blocks: { max_weight: 60_000 WU }\n"
        + "congestion: { fill: 20 %, feerates: { constant: 3 sat/vB } }\n";
    let late =
        text.replace("at: left }", "at: left, after: 100 s }").replace("at: right }", "at: right, after: 100 s }");
    told(&late, |mut course| {
        let (block, items) = course.finds(50, 0);
        assert_eq!((items.len(), background_of(&items), course.decided(block)), (6, 6, None));
        assert_eq!(course.0.margins, []);
        let (_, items) = course.finds(150, 0);
        assert_eq!(background_of(&items), 6);
        assert_eq!(course.0.margins, [Margin { measured_sat: 0, formula_sat: 0.0, marginal: 0.0 }]);
    });
}

const BRIBED: &str = "
name: bribed
nodes:
  one: { kind: core-31, only: factory-close }
  two: { kind: core-31, only: factory-close }
  three: { kind: core-31 }
factory: { members: 20, feerate: 20 sat/vB }
publish:
  - { tx: allocation, at: three, after: 300 s }
  - { tx: closes, at: three, after: 300 s }
  - { tx: factory-close, at: one, after: 600 s }
miners:
  bribed: { share: 50 %, node: one, policy: { bribed: { side: allocation, payment: 50_000 sat } } }
  other: { share: 50 %, node: two }
blocks: { max_weight: 60_000 WU }
congestion: { fill: 150 %, feerates: { exponential: { mean: 4 sat/vB } } }
";

/// Of 52,000 WU the allocation with 20 closes takes 16,032, and 17 transactions of 2,000 WU the rest.
#[test]
fn a_bribed_miner_fills_its_block_with_the_best_of_what_waits() {
    told(BRIBED, |mut course| {
        // 150 % of 52,000 WU are 39 transactions, of which 25 fit into a block.
        assert_eq!(course.0.background.len(), 39);
        // Nobody knows the allocation yet, and nobody pays for it.
        let (first, before) = course.finds(299, 0);
        assert_eq!((before.len(), course.decided(first)), (25, None));
        // Its own template has the best of them.
        let mut fees: Vec<_> = (0..39).map(|number| course.0.facts(Item::Background(number)).fee).collect();
        fees.sort_unstable();
        let mut taken: Vec<_> = before.iter().map(|item| course.0.facts(*item).fee).collect();
        taken.sort_unstable();
        assert_eq!(taken, fees[14..]);
        assert_eq!(course.0.background.len(), 39 + 25);
        let (block, items) = course.finds(300, 0);
        assert_eq!((course.decided(block), items.len()), (Some(Side::Allocation), 21 + 17));
        let background = &items[21..];
        assert!(background.iter().all(|item| !before.contains(item)), "{background:?} after {before:?}");
        let fee = |item: &Item| course.0.facts(*item).fee;
        let least = background.iter().map(fee).min().unwrap();
        let left_out =
            (0..64).map(Item::Background).filter(|item| !before.contains(item) && !background.contains(item));
        assert!(left_out.map(|item| fee(&item)).all(|fee| fee <= least));
        // It is decided, and nobody pays any more; and what is in a block does not come again.
        let (_, after) = course.finds(400, 0);
        assert_eq!(background_of(&after), 25);
        assert!(after.iter().all(|item| !before.contains(item) && !items.contains(item)), "{after:?}");
    });
}

/// Beside the allocation's 16,032 WU, 16 transactions of 2,248 WU would fill the 52,000 WU to the last one, which no node does.
#[test]
fn what_a_bribed_miner_makes_is_no_larger_than_what_its_node_would() {
    told(&BRIBED.replace("4 sat/vB } }", "4 sat/vB } }, size: 562 vB"), |mut course| {
        let (_, items) = course.finds(300, 0);
        assert_eq!((items[0], items.len()), (Item::Allocation, 21 + 15));
    });
}

#[test]
fn a_bribe_is_weighed_against_what_the_side_costs() {
    // The factory close is in the own template from 600 s on. Each of the 7 transactions more beside it pays 1,500 sat.
    let text = BRIBED.replace("exponential: { mean: 4 sat/vB }", "constant: 3 sat/vB");
    for (payment, side) in [("10_500 sat", Side::FactoryClose), ("10_501 sat", Side::Allocation)] {
        told(&text.replace("50_000 sat", payment), |mut course| {
            course.until(600);
            let Ok(would) = at_once(course.0.would_mine(0));
            assert_eq!(would, [(Some(side), 1.0)], "{payment}");
        });
    }
}

#[test]
fn what_was_replaced_is_mined_anyway_until_something_is_decided() {
    let text = LINE.replace("node: two }", "node: two, policy: replaced-anyway }");
    told(&text, |mut course| {
        // The factory close takes no time to replace the allocation at `two`, and nothing was replaced before.
        course.until(50);
        let Ok(would) = at_once(course.0.would_mine(1));
        assert_eq!(would, [(Some(Side::Allocation), 1.0)]);
        course.until(105);
        assert_eq!(course.holds(1), [Item::FactoryClose]);
        let Ok(would) = at_once(course.0.would_mine(1));
        assert_eq!(would, [(Some(Side::Allocation), 1.0)]);
        let (first, items) = course.finds(106, 1);
        assert_eq!((items, course.decided(first)), (allocation(3), Some(Side::Allocation)));
        assert_eq!(course.finds(107, 1).1, []);
    });
}

#[test]
fn who_keeps_what_it_saw_first_is_told_of_nothing_else() {
    let text = LINE.replace("node: two }", "node: two, policy: first-seen }");
    told(&text, |mut course| {
        course.until(200);
        // It does not pass the factory close on, either.
        assert_eq!((course.holds(1), course.holds(0)), (allocation(3), allocation(3)));
        assert_eq!(course.finds(201, 1).1, allocation(3));
    });
}
