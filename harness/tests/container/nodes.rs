//! Nodes relay, are really cut apart, are paused, killed and started again.

use std::time::Duration;

use bitcoin::absolute::LockTime;
use bitcoin::{
    Address, Amount, BlockHash, Network, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Witness, transaction,
};
use serde_json::{Value, json};
use shopfloor::container::{ContainerError, ContainerNode};
use shopfloor::node::{Kind, Rpc, Submission, snapshot};
use tokio::time::{Instant, sleep, timeout};

use crate::run::{DEADLINE, Run, engine, left, until};

/// The addresses of a node's peers that have greeted it.
async fn peers(rpc: &Rpc) -> Vec<String> {
    let peers: Vec<Value> = rpc.call("getpeerinfo", Vec::new()).await.unwrap();
    let greeted = peers.iter().filter(|peer| peer["version"] != json!(0));
    greeted.map(|peer| peer["addr"].as_str().unwrap().to_owned()).collect()
}

/// Connects two nodes.
async fn link(from: &ContainerNode, to: &ContainerNode) {
    let address = to.p2p().to_string();
    connect(from, &address).await;
    let linked = async || peers(from.rpc()).await.contains(&address) && !peers(to.rpc()).await.is_empty();
    until("the nodes to be linked", linked).await;
}

/// Has a node try once to connect. It is done with that when it answers.
async fn connect(from: &ContainerNode, address: &str) {
    from.rpc().call::<Value>("addnode", vec![json!(address), json!("onetry")]).await.unwrap();
}

/// Has a node give its connections up: those that were cut do not know it.
async fn hang_up(node: &ContainerNode) {
    for peer in node.rpc().call::<Vec<Value>>("getpeerinfo", Vec::new()).await.unwrap() {
        node.rpc().call::<Value>("disconnectnode", vec![json!(""), peer["id"].clone()]).await.unwrap();
    }
    until("the peers to be gone", async || peers(node.rpc()).await.is_empty()).await;
}

async fn mine(node: &ContainerNode) -> BlockHash {
    node.rpc().mine(&snapshot::address(&snapshot::faucet())).await.unwrap().hash
}

async fn tip(node: &ContainerNode) -> BlockHash {
    node.rpc().chain().await.unwrap().tip
}

async fn arrives(block: BlockHash, node: &ContainerNode) {
    until("a block to arrive", async || tip(node).await == block).await;
}

/// Mines an output that anybody can spend, lets it mature, and spends it.
async fn spend(node: &ContainerNode) -> Transaction {
    let anybody = ScriptBuf::from_bytes(vec![0x51]);
    let address = Address::p2wsh(&anybody, Network::Regtest);
    let block = node.rpc().mine(&address).await.unwrap();
    let mature = vec![json!(100), json!(address)];
    node.rpc().call::<Vec<BlockHash>>("generatetoaddress", mature).await.unwrap();
    let reward = &block.tx[0];
    let mut witness = Witness::new();
    witness.push(anybody.as_bytes());
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn { previous_output: OutPoint::new(reward.txid, 0), witness, ..TxIn::default() }],
        output: vec![TxOut {
            value: reward.vout[0].value - Amount::from_sat(1000),
            script_pubkey: address.script_pubkey(),
        }],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_two_kinds_relay_are_cut_apart_and_come_together_again() {
    let Some(engine) = engine().await else { return };
    let run = Run::new(engine).await;
    let core = run.start("core", Kind::Core31).await;
    let knots = run.start("knots", Kind::Knots29).await;
    assert!(core.rpc().user_agent().await.unwrap().starts_with("/Satoshi:31."));
    assert!(knots.rpc().user_agent().await.unwrap().contains("Knots"));
    link(&core, &knots).await;
    let tx = spend(&core).await;
    arrives(tip(&core).await, &knots).await;
    assert_eq!(core.rpc().submit(&tx).await.unwrap(), Submission::Accepted);
    let txid = tx.compute_txid();
    until("a transaction to arrive", async || knots.rpc().mempool().await.unwrap().contains(&txid)).await;
    let start = Instant::now();
    arrives(mine(&knots).await, &core).await;
    let relay = start.elapsed();

    let before = (core.p2p(), knots.p2p());
    run.net.split(&[vec!["core".to_owned()], vec!["knots".to_owned()]]).await.unwrap();
    assert_eq!(core.p2p(), before.0, "the first group keeps its addresses");
    assert_ne!(knots.p2p(), before.1, "the other group has others");
    let alone = mine(&core).await;
    assert_eq!(tip(&core).await, alone, "a node in a partition answers and goes on");
    // Many times as long as a block takes that does arrive.
    let deadline = Instant::now() + (relay * 10).max(Duration::from_secs(2));
    while Instant::now() < deadline {
        assert_ne!(tip(&knots).await, alone);
        sleep(Duration::from_millis(50)).await;
    }
    hang_up(&core).await;
    hang_up(&knots).await;
    for (node, address) in [(&core, before.1), (&core, knots.p2p()), (&knots, before.0)] {
        connect(node, &address.to_string()).await;
        assert!(peers(node.rpc()).await.is_empty(), "{} reached {address}", node.name());
    }

    run.net.heal().await.unwrap();
    assert_eq!((core.p2p(), knots.p2p()), before);
    link(&core, &knots).await;
    arrives(alone, &knots).await;

    core.stop().await.unwrap();
    knots.stop().await.unwrap();
    assert_eq!(run.left().await, (0, 2));
    let (engine, name) = (run.engine.clone(), run.net.run().to_owned());
    drop(run.net);
    assert_eq!(left(&engine, &name).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_has_a_network_of_its_own() {
    let Some(engine) = engine().await else { return };
    let run = Run::new(engine).await;
    let names = ["a", "b", "c", "d"];
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(run.start(name, Kind::Core31).await);
    }
    let group = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    run.net.split(&[group(&["a", "b"]), group(&["c", "d"])]).await.unwrap();
    assert_eq!(run.left().await, (4, 3));
    link(&nodes[0], &nodes[1]).await;
    link(&nodes[2], &nodes[3]).await;
    let (left, right) = (mine(&nodes[0]).await, mine(&nodes[3]).await);
    arrives(left, &nodes[1]).await;
    arrives(right, &nodes[2]).await;

    // Another partition, straight from the first.
    run.net.split(&[group(&["a", "c", "d"]), group(&["b"])]).await.unwrap();
    assert_eq!(run.left().await, (4, 3));
    link(&nodes[0], &nodes[3]).await;
    let longer = mine(&nodes[3]).await;
    arrives(longer, &nodes[0]).await;
    assert_eq!(tip(&nodes[1]).await, left);

    let unknown = run.net.split(&[group(&["a", "b", "c"])]).await.unwrap_err().to_string();
    assert_eq!(unknown, "node d is in no group, expected every node in a container in exactly one group");
    run.net.heal().await.unwrap();
    assert_eq!(run.left().await, (4, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_paused_killed_and_started_again_with_its_chain() {
    let Some(engine) = engine().await else { return };
    let run = Run::new(engine).await;
    let mut node = run.start("alice", Kind::Core31).await;
    let address = node.p2p();
    let block = mine(&node).await;

    node.pause().await.unwrap();
    let rpc = node.rpc().clone();
    let mut asked = tokio::spawn(async move { rpc.chain().await.map(|chain| chain.tip) });
    assert!(timeout(Duration::from_secs(1), &mut asked).await.is_err(), "a paused node does not answer");
    node.unpause().await.unwrap();
    assert_eq!(timeout(DEADLINE, asked).await.unwrap().unwrap().unwrap(), block);

    let running = node.start_again(0).await.unwrap_err().to_string();
    assert!(running.contains("it still runs"), "{running}");
    let ended = node.ended();
    node.kill().await.unwrap();
    timeout(DEADLINE, ended).await.expect("the end of a node is told");
    assert!(node.rpc().chain().await.is_err());
    assert_eq!(run.left().await, (1, 2), "the container of a killed node stays");

    let later = node_time(&run, Kind::Core31).await + 3600;
    node.start_again(later).await.unwrap();
    // What was not written is mined again, a kill is a loss of power; the chain that the node had at first is there.
    let again = mine(&node).await;
    let header: Value = node.rpc().call("getblockheader", vec![json!(again)]).await.unwrap();
    assert_eq!(header["time"], json!(later), "its clock is the new one");
    assert!(node.rpc().chain().await.unwrap().blocks > 200);
    assert_eq!(node.p2p(), address);

    node.pause().await.unwrap();
    node.kill().await.unwrap();
    node.remove().await.unwrap();
    assert_eq!(run.left().await, (0, 2));
}

async fn node_time(run: &Run, kind: Kind) -> u64 {
    run.config("clock", kind).await.time
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_early_tells_why_and_leaves_no_container() {
    let Some(engine) = engine().await else { return };
    let run = Run::new(engine).await;
    let mut config = run.config("alice", Kind::Core31).await;
    config.args.push("-no-such-option=1".to_owned());
    let error = ContainerNode::start(&run.net, &config).await.unwrap_err();
    assert!(matches!(&error, ContainerError::Ended { how, .. } if how == "exit code 1"), "{error}");
    assert!(error.to_string().contains("Invalid parameter -no-such-option"), "{error}");
    assert_eq!(run.left().await, (0, 2));
    config.args.clear();
    let alice = ContainerNode::start(&run.net, &config).await.unwrap();
    let taken = ContainerNode::start(&run.net, &config).await.unwrap_err().to_string();
    assert_eq!(taken, "node alice: there is a node alice in a container already");
    assert_eq!(run.left().await, (1, 2));
    assert!(alice.rpc().chain().await.is_ok());
}

#[test]
fn what_is_dropped_is_removed_inside_a_runtime_and_outside() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(engine) = runtime.block_on(engine()) else { return };
    let (run, node) = runtime.block_on(async {
        let run = Run::new(engine).await;
        drop(run.start("alice", Kind::Core31).await);
        assert_eq!(run.left().await, (0, 2));
        let node = run.start("alice", Kind::Core31).await;
        (run, node)
    });
    drop(node);
    assert_eq!(runtime.block_on(run.left()), (0, 2));
    let (engine, name) = (run.engine.clone(), run.net.run().to_owned());
    drop(run);
    assert_eq!(runtime.block_on(left(&engine, &name)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_a_run_is_removed_by_its_name() {
    let Some(engine) = engine().await else { return };
    let (run, other) = (Run::new(engine.clone()).await, Run::new(engine).await);
    let node = run.start("alice", Kind::Core31).await;
    run.engine.remove_all(run.net.run()).await.unwrap();
    assert_eq!(run.left().await, (0, 0));
    assert_eq!(other.left().await, (0, 2), "another run's are left alone");
    timeout(DEADLINE, node.ended()).await.unwrap();
}
