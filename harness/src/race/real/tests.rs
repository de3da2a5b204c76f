use super::*;
use crate::node::Kind;
use crate::race::Side;
use crate::race::model::Model;
use crate::race::setup::Setup;

/// Two nodes of a kind, a factory, and no more than 60,000 WU in a block.
fn experiment(kind: Kind, more: &str) -> Experiment {
    let text = format!(
        "name: test
nodes:
  alice: {{ kind: {kind} }}
  bob: {{ kind: {kind} }}
factory: {{ members: 20 }}
publish:
  - {{ tx: allocation, at: alice }}
  - {{ tx: closes, at: alice }}
  - {{ tx: factory-close, at: bob }}
miners:
  a: {{ share: 50 %, node: alice }}
  b: {{ share: 50 %, node: bob }}
blocks: {{ max_weight: 60_000 WU }}
{more}"
    );
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// `None`, with a word, if the kind is not there and need not be.
async fn start(experiment: &Experiment) -> Option<RealNodes> {
    let env = Env::from_process().unwrap();
    match RealNodes::start(&env, experiment).await {
        Ok(nodes) => Some(nodes),
        Err(Stop::Skip(why)) if experiment.nodes[0].kind.0 != Kind::DEFAULT || env.kinds().unwrap().is_some() => {
            eprintln!("skipped: {why}");
            None
        }
        Err(stop) => panic!("{stop}"),
    }
}

fn allocation_side(members: u32) -> Vec<Item> {
    [Item::Allocation].into_iter().chain((0..members).map(Item::Close)).collect()
}

async fn offer_all(nodes: &mut RealNodes, node: usize, time_ms: u64, items: &[Item]) {
    let accepted = nodes.offer(node, time_ms, items).await.unwrap();
    assert_eq!(accepted, vec![true; items.len()], "{:?}", nodes.rejections());
}

#[derive(Clone, Copy)]
struct Block {
    node: usize,
    miner: usize,
}

/// Mines what the node would, which is just `expected` in any order.
async fn mine(nodes: &mut RealNodes, time_ms: u64, Block { node, miner }: Block, expected: &[Item]) -> BlockId {
    let template = nodes.template(node, time_ms).await.unwrap();
    let mut sorted = template.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected, "the template of node {node}");
    nodes.mine(node, time_ms, &template, miner).await.unwrap()
}

/// The allocation's side at one node, and the factory close at the other one: the one that mines decides.
async fn a_side_wins(nodes: &mut RealNodes, seed: u64, winner: Side) {
    nodes.begin(seed).await.unwrap();
    let (all, close) = (allocation_side(20), [Item::FactoryClose]);
    offer_all(nodes, 0, 0, &all).await;
    offer_all(nodes, 1, 0, &close).await;
    assert_eq!((nodes.holds(0).await.unwrap(), nodes.holds(1).await.unwrap()), (all.clone(), close.to_vec()));
    // A second offer changes nothing.
    assert_eq!(nodes.offer(0, 500, &all[..1]).await.unwrap(), [true]);
    let (by, expected) = match winner {
        Side::Allocation => (0, &all[..]),
        Side::FactoryClose => (1, &close[..]),
    };
    let paid = nodes.trial().unwrap().paid(expected).unwrap().to_sat();
    let empty = nodes.mine(1 - by, 1_000, &[], 1).await.unwrap();
    assert_eq!(empty, BlockId(1));
    nodes.deliver(by, empty).await.unwrap();
    let block = mine(nodes, 600_000, Block { node: by, miner: 0 }, expected).await;
    assert_eq!((block, nodes.tip(by).await.unwrap()), (BlockId(2), BlockId(2)));
    assert_eq!(nodes.tip(1 - by).await.unwrap(), BlockId(1));
    nodes.deliver(1 - by, block).await.unwrap();
    nodes.deliver(1 - by, block).await.unwrap();
    for node in [0, 1] {
        assert_eq!(nodes.tip(node).await.unwrap(), block);
        assert_eq!(nodes.holds(node).await.unwrap(), []);
    }
    assert_eq!(nodes.fees(block, 2).await.unwrap(), [paid, 0]);
    assert_eq!(nodes.fees(BlockId::FIRST, 2).await.unwrap(), [0, 0]);
}

/// Each node mines its own side, and the third block decides.
async fn a_fork(nodes: &mut RealNodes, seed: u64) {
    nodes.begin(seed).await.unwrap();
    let (all, close) = (allocation_side(20), [Item::FactoryClose]);
    offer_all(nodes, 0, 0, &all).await;
    offer_all(nodes, 1, 0, &close).await;
    let paid = nodes.trial().unwrap().paid(&close).unwrap().to_sat();
    let first = mine(nodes, 600_000, Block { node: 0, miner: 0 }, &all).await;
    let second = mine(nodes, 600_000, Block { node: 1, miner: 1 }, &close).await;
    nodes.deliver(0, second).await.unwrap();
    nodes.deliver(1, first).await.unwrap();
    assert_eq!((nodes.tip(0).await.unwrap(), nodes.tip(1).await.unwrap()), (first, second));
    let third = mine(nodes, 600_000, Block { node: 1, miner: 0 }, &[]).await;
    nodes.deliver(0, third).await.unwrap();
    assert_eq!(nodes.tip(0).await.unwrap(), third);
    // Of the side that has lost nothing is left.
    assert_eq!(nodes.holds(0).await.unwrap(), []);
    assert_eq!(nodes.fees(third, 2).await.unwrap(), [0, paid]);
    let lost = nodes.offer(0, 700_000, &all[..1]).await.unwrap();
    assert_eq!((lost, nodes.rejections().len()), (vec![false], 1));
}

async fn trials(kind: Kind) {
    let Some(mut nodes) = start(&experiment(kind, "")).await else { return };
    a_side_wins(&mut nodes, 1, Side::Allocation).await;
    a_side_wins(&mut nodes, 2, Side::FactoryClose).await;
    a_fork(&mut nodes, 3).await;
    // Both sides are left over, on two tips of the same height.
    nodes.begin(4).await.unwrap();
    offer_all(&mut nodes, 0, 0, &allocation_side(20)).await;
    offer_all(&mut nodes, 1, 0, &[Item::FactoryClose]).await;
    nodes.mine(0, 1_000, &[], 0).await.unwrap();
    nodes.mine(1, 1_000, &[Item::FactoryClose], 0).await.unwrap();
    nodes.begin(5).await.unwrap();
    for node in [0, 1] {
        assert_eq!((nodes.tip(node).await.unwrap(), nodes.holds(node).await.unwrap()), (BlockId::FIRST, vec![]));
    }
}

/// The template is never one from before, whatever the clock shows.
async fn fresh_templates(kind: Kind) {
    let Some(mut nodes) = start(&experiment(kind, "")).await else { return };
    nodes.begin(1).await.unwrap();
    let all = allocation_side(20);
    for known in [0, 1, 2, 21] {
        offer_all(&mut nodes, 0, 1_000, &all[..known]).await;
        let mut template = nodes.template(0, 1_000).await.unwrap();
        template.sort_unstable();
        assert_eq!(template, all[..known]);
    }
    // The node's clock is ahead now. Its block is not.
    let block = nodes.mine(0, 1_000, &all, 0).await.unwrap();
    nodes.deliver(1, block).await.unwrap();
    let trial = nodes.trial().unwrap();
    assert_eq!(u64::from(trial.block(block).unwrap().block.header.time), trial.base + 1);
}

/// A full block has as much as fits beside what is kept free, and not one transaction more.
async fn full_blocks(kind: Kind) {
    let congestion = "congestion: { fill: 150 %, feerates: { constant: 2 sat/vB }, size: 250 vB }";
    let Some(mut nodes) = start(&experiment(kind, congestion)).await else { return };
    for seed in [1, 2] {
        nodes.begin(seed).await.unwrap();
        let room = Weight::from_wu(60_000) - crate::race::setup::RESERVED;
        let mut paid = 0;
        for (weight, fits) in [(1_000, 51), (1_003, 51), (1_019, 51), (1_020, 50), (4_000, 12)] {
            let before = nodes.trial().unwrap().background.len() as u32;
            let facts = Facts { fee: Amount::from_sat(weight), weight: Weight::from_wu(weight) };
            nodes.issue(&[facts; 60]).await.unwrap();
            let items: Vec<_> = (before..before + 60).map(Item::Background).collect();
            offer_all(&mut nodes, 0, 0, &items).await;
            let template = nodes.template(0, 0).await.unwrap();
            let taken: Weight = template.iter().map(|item| nodes.trial().unwrap().facts(*item).unwrap().weight).sum();
            assert!(taken < room, "{kind}: {taken} in {room}");
            assert_eq!(template.len(), fits, "{kind}: {weight} WU each");
            // The others are gone before the next ones come.
            let mined = nodes.mine(0, 0, &items, 0).await.unwrap();
            paid += 60 * weight;
            assert_eq!(nodes.fees(mined, 1).await.unwrap(), [paid]);
        }
    }
}

/// A node does not take what is no block, and says why.
async fn wrong_blocks(kind: Kind) {
    let Some(mut nodes) = start(&experiment(kind, "")).await else { return };
    nodes.begin(1).await.unwrap();
    let error = nodes.mine(0, 0, &[Item::Close(0)], 0).await.unwrap_err().to_string();
    assert!(
        error.starts_with("alice refuses block ") && error.ends_with(": bad-txns-inputs-missingorspent"),
        "{error}"
    );
    let error = nodes.mine(0, 0, &[Item::Allocation, Item::FactoryClose], 0).await.unwrap_err().to_string();
    assert!(error.ends_with(": bad-txns-inputs-missingorspent"), "{error}");
    assert_eq!(nodes.mine(0, 0, &[Item::FactoryClose], 0).await.unwrap(), BlockId(1));
    let error = nodes.offer(0, 0, &[Item::Close(20)]).await.unwrap_err().to_string();
    assert_eq!(error, "there is no close m20 in this trial");
}

/// What there is to say of a node that goes over to a longer branch: whether it took a close before, what it holds and would
/// mine after, and whether it takes the factory close then.
async fn goes_over<N: Nodes>(nodes: &mut N) -> Result<(bool, Vec<Item>, Vec<Item>, bool), N::Error> {
    let mut confirmed = allocation_side(20);
    confirmed.truncate(5);
    // None of it has been in a mempool.
    nodes.mine(0, 1_000, &confirmed, 0).await?;
    let waits = nodes.offer(0, 2_000, &[Item::Close(7)]).await?[0];
    for time in [3_000, 4_000] {
        let block = nodes.mine(1, time, &[], 0).await?;
        nodes.deliver(0, block).await?;
    }
    assert_eq!((nodes.tip(0).await?, nodes.tip(1).await?), (BlockId(3), BlockId(3)));
    let (mut held, mut mined) = (nodes.holds(0).await?, nodes.template(0, 5_000).await?);
    held.sort_unstable();
    mined.sort_unstable();
    Ok((waits, held, mined, nodes.offer(0, 6_000, &[Item::FactoryClose]).await?[0]))
}

/// What comes back from a block is held to less than what is new, and the model knows to how much.
async fn longer_branches(kind: Kind) {
    // Before Core 30 version 3 allows the allocation no second child then, either.
    let strict = matches!(kind, Kind::Core28 | Kind::Core29);
    let dear = "-minrelaytxfee=0.00005";
    for (version, args, kept) in [
        (2, &[][..], 6),
        (3, &[], if strict { 3 } else { 6 }),
        (2, &[dear], 5),
        (3, &[dear, "-blockmintxfee=0.00000001"], if strict { 2 } else { 5 }),
    ] {
        let mut experiment = experiment(kind, "");
        experiment.factory.version.0 = version;
        experiment.nodes[0].args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let Some(mut nodes) = start(&experiment).await else { return };
        nodes.begin(1).await.unwrap();
        let found = goes_over(&mut nodes).await.unwrap();
        let setup = Setup::new(&experiment, Vec::new()).unwrap();
        let mut model = Model::new(&setup);
        let Ok(expected) = goes_over(&mut model.begin(&setup)).await;
        assert_eq!(found, expected, "version {version}, {args:?}: {:?}", nodes.rejections());
        assert_eq!(found.1.len(), kept, "version {version}, {args:?}: {found:?}");
    }
}

/// When all coins are spent, those that are confirmed for all nodes are spent again.
#[tokio::test(flavor = "multi_thread")]
async fn coins_come_back() {
    let congestion = "congestion: { fill: 10 %, feerates: { constant: 2 sat/vB }, size: 250 vB }";
    let Some(mut nodes) = start(&experiment(Kind::DEFAULT, congestion)).await else { return };
    for seed in [1, 2] {
        nodes.begin(seed).await.unwrap();
        let facts = background_facts(250, Amount::from_sat(500));
        nodes.issue(&vec![facts; 60 * 61]).await.unwrap();
        let error = nodes.issue(&[facts]).await.unwrap_err().to_string();
        assert!(error.starts_with("no coin is left"), "{error}");
        let items: Vec<_> = (0..100).map(Item::Background).collect();
        let block = nodes.mine(0, 0, &items, 0).await.unwrap();
        nodes.issue(&[facts]).await.unwrap_err();
        nodes.deliver(1, block).await.unwrap();
        nodes.issue(&[facts; 100]).await.unwrap();
        nodes.issue(&[facts]).await.unwrap_err();
        let items: Vec<_> = (1260..1360).map(Item::Background).collect();
        offer_all(&mut nodes, 1, 0, &items).await;
    }
}

/// Nodes of two kinds, and a large child.
#[tokio::test(flavor = "multi_thread")]
async fn two_kinds() {
    let mut experiment = experiment(Kind::DEFAULT, "pin: { size: 20_000 vB, feerate: 1 sat/vB }");
    experiment.nodes[1].kind.0 = Kind::Knots29;
    experiment.publish.truncate(1);
    let mut nodes = match RealNodes::start(&Env::from_process().unwrap(), &experiment).await {
        Err(Stop::Skip(why)) => return eprintln!("skipped: {why}"),
        started => started.unwrap(),
    };
    let pinned = [Item::Allocation, Item::Pin];
    for seed in 1..4 {
        nodes.begin(seed).await.unwrap();
        assert_eq!(nodes.offer(0, 0, &pinned).await.unwrap(), [true, false], "its parent is not published");
        assert!(nodes.rejections()[0].reason.contains("missing"), "{:?}", nodes.rejections());
        assert_eq!(nodes.trial().unwrap().facts(Item::Pin).unwrap().vsize(), 20_000);
        let close = nodes.trial_mut().unwrap().case.close(0).unwrap().0;
        for node in &nodes.lane.nodes {
            let all = [nodes.trial().unwrap().tx(Item::Allocation).unwrap(), &close];
            node.rpc().submit_each(all).await.unwrap();
        }
        // The close has been signed twice, and that changes nothing but its witness.
        assert_eq!(nodes.offer(0, 0, &pinned).await.unwrap(), [true, true]);
        assert_eq!(nodes.offer(1, 0, &pinned).await.unwrap(), [true, true]);
        if seed == 2 {
            nodes.mine(1, 0, &[Item::FactoryClose], 0).await.unwrap();
        }
    }
}

macro_rules! on_every_kind {
    ($($test:ident),*) => {$(
        mod $test {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn core_31() {
                super::$test(Kind::Core31).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn core_30() {
                super::$test(Kind::Core30).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn core_29() {
                super::$test(Kind::Core29).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn core_28() {
                super::$test(Kind::Core28).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn knots_29() {
                super::$test(Kind::Knots29).await;
            }
        }
    )*};
}

on_every_kind!(trials, fresh_templates, full_blocks, wrong_blocks, longer_branches);
