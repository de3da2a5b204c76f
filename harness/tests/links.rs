//! Two nodes of different kinds: linked, cut, and linked again, under a clock that stands still or jumps.

mod support;

use bitcoin::BlockHash;
use shopfloor::node::snapshot::{address, faucet};
use shopfloor::node::{BlockSubmission, Kind, LinkError, Node, NodeConfig};
use support::{is_there, prepare, spend, start, until};

async fn has_tip(node: &Node, tip: BlockHash) {
    until(&format!("{} has the tip {tip}", node.name()), async || {
        (node.rpc().best_block().await.unwrap() == tip).then_some(())
    })
    .await;
}

async fn set_time(nodes: [&Node; 2], time: u64) {
    for node in nodes {
        node.rpc().set_time(time).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn linked_nodes_share_blocks_and_transactions_while_the_clock_jumps() {
    if !is_there(Kind::Knots29) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (snapshot, core) = start(Kind::Core31, dir.path()).await;
    let (_, knots) = start(Kind::Knots29, dir.path()).await;
    core.link(&knots).await.unwrap();
    // Once more changes nothing.
    core.link(&knots).await.unwrap();
    let (ours, theirs) = (core.rpc().peers().await.unwrap(), knots.rpc().peers().await.unwrap());
    assert_eq!((ours.len(), theirs.len()), (1, 1));
    assert!(ours[0].is_ready() && !ours[0].inbound && theirs[0].inbound);
    assert_eq!((ours[0].addr, ours[0].own_addr), (knots.p2p().unwrap(), Some(theirs[0].addr)));

    // Transactions go both ways though the clock stands still.
    let script = faucet().script_pubkey().clone();
    for (coin, from, to) in [(0, &core, &knots), (1, &knots, &core)] {
        let tx = spend(&snapshot, coin, &script, 2);
        from.rpc().submit(&tx).await.unwrap();
        until(&format!("{} has the transaction", to.name()), async || {
            to.rpc().mempool().await.unwrap().contains(&tx.compute_txid()).then_some(())
        })
        .await;
    }

    // Blocks go both ways while the clock jumps, and the link stays the same.
    let mut time = snapshot.time();
    for round in 0..50 {
        time += 600;
        set_time([&core, &knots], time).await;
        let (miner, other) = if round % 2 == 0 { (&core, &knots) } else { (&knots, &core) };
        let block = miner.rpc().mine(&address(&faucet())).await.unwrap();
        has_tip(other, block.hash).await;
        if round == 0 {
            assert_eq!(block.tx.len(), 3);
        }
    }
    for _ in 0..50 {
        time += 600;
        set_time([&core, &knots], time).await;
    }
    let tx = spend(&snapshot, 2, &script, 2);
    core.rpc().submit(&tx).await.unwrap();
    until("knots has the transaction after the jumps", async || {
        knots.rpc().mempool().await.unwrap().contains(&tx.compute_txid()).then_some(())
    })
    .await;
    assert_eq!(core.rpc().peers().await.unwrap()[0].id, ours[0].id);
    assert_eq!(knots.rpc().peers().await.unwrap()[0].id, theirs[0].id);
}

#[tokio::test(flavor = "multi_thread")]
async fn parted_nodes_go_their_own_ways_and_agree_when_they_meet_again() {
    if !is_there(Kind::Knots29) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (snapshot, core) = start(Kind::Core31, dir.path()).await;
    let (_, knots) = start(Kind::Knots29, dir.path()).await;
    // Each makes a link; both are cut.
    core.link(&knots).await.unwrap();
    knots.link(&core).await.unwrap();
    knots.unlink(&core).await.unwrap();
    assert!(core.rpc().peers().await.unwrap().is_empty() && knots.rpc().peers().await.unwrap().is_empty());

    let first = core.rpc().mine(&address(&faucet())).await.unwrap();
    let mut last = first.clone();
    for round in 1..=2 {
        set_time([&core, &knots], snapshot.time() + 600 * round).await;
        last = knots.rpc().mine(&address(&faucet())).await.unwrap();
    }
    assert_eq!(core.rpc().best_block().await.unwrap(), first.hash);
    assert_eq!(core.rpc().raw_block(first.hash).await.unwrap().block_hash(), first.hash);

    // A block that does not win is kept aside.
    let block = core.rpc().raw_block(first.hash).await.unwrap();
    assert_eq!(knots.rpc().submit_block(&block).await.unwrap(), BlockSubmission::Aside);
    assert_eq!(core.rpc().submit_block(&block).await.unwrap(), BlockSubmission::Known);
    let mut orphan = block.clone();
    orphan.header.prev_blockhash = block.block_hash();
    orphan.header.merkle_root = bitcoin::hashes::Hash::all_zeros();
    assert!(matches!(core.rpc().submit_block(&orphan).await.unwrap(), BlockSubmission::Rejected(_)));

    core.link(&knots).await.unwrap();
    has_tip(&core, last.hash).await;
    assert_eq!(core.rpc().block_hash(201).await.unwrap(), knots.rpc().block_hash(201).await.unwrap());
    // Each node can be made to leave the best chain, and to come back.
    core.unlink(&knots).await.unwrap();
    core.rpc().invalidate_block(core.rpc().block_hash(201).await.unwrap()).await.unwrap();
    assert_eq!(core.rpc().best_block().await.unwrap(), first.hash);
    core.rpc().reconsider_block(knots.rpc().block_hash(201).await.unwrap()).await.unwrap();
    assert_eq!(core.rpc().best_block().await.unwrap(), last.hash);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_where_nobody_listens_is_told() {
    if !is_there(Kind::Knots29) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (_, core) = start(Kind::Core31, dir.path()).await;
    let (_, config) = prepare(Kind::Knots29, dir.path()).await;
    let knots = Node::start(&NodeConfig { listen: false, ..config }).await.unwrap();
    assert_eq!(knots.p2p(), None);
    let error = core.link(&knots).await.unwrap_err();
    assert!(matches!(error, LinkError::NotListening { .. }), "{error}");
    // The other way round it goes.
    knots.link(&core).await.unwrap();
    let addr = core.p2p().unwrap();
    core.kill().await.unwrap();
    until("the link is gone", async || knots.rpc().peers().await.unwrap().is_empty().then_some(())).await;
    let error = knots.rpc().link(addr).await.unwrap_err();
    assert!(error.to_string().contains("not connected"), "{error}");
}
