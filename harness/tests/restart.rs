//! Nodes that are stopped or killed, and start again in the same folder.

mod support;

use std::fs;

use serde_json::Value;
use shopfloor::node::snapshot::{address, faucet};
use shopfloor::node::{Acceptance, BlockSubmission, Kind, Node, NodeConfig};
use support::{is_there, prepare, spend};

async fn a_clean_stop_keeps_the_mempool_and_a_kill_loses_it(kind: Kind) {
    if !is_there(kind) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (snapshot, config) = prepare(kind, dir.path()).await;
    let script = faucet().script_pubkey().clone();
    let (kept, lost) = (spend(&snapshot, 0, &script, 1), spend(&snapshot, 1, &script, 1));

    let node = Node::start(&config).await.unwrap();
    node.rpc().submit(&kept).await.unwrap();
    node.stop().await.unwrap();

    // The answer to the first question shows it: nobody has to wait.
    let node = Node::start(&config).await.unwrap();
    assert_eq!(node.rpc().mempool().await.unwrap(), [kept.compute_txid()]);
    assert_eq!(node.rpc().test_accept(&kept).await.unwrap(), Acceptance::AlreadyInMempool);
    node.rpc().submit(&lost).await.unwrap();
    let mined = node.rpc().mine(&address(&faucet())).await.unwrap();
    let block = node.rpc().raw_block(mined.hash).await.unwrap();
    assert_eq!(block.txdata.len(), 3);
    let later = spend(&snapshot, 2, &script, 1);
    node.rpc().submit(&later).await.unwrap();
    let (pid, ended) = (node.pid().unwrap(), node.ended());
    let port = fs::File::open(config.ports.join(node.p2p().unwrap().port().to_string())).unwrap();
    assert!(port.try_lock().is_err(), "nobody holds the port of a node that runs");
    node.kill().await.unwrap();
    port.try_lock().expect("the port of a node that has ended is free");
    drop(port);
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
    ended.await;

    // A week later by its clock, it still takes its chain for the newest: else it would relay nothing.
    let later_on = NodeConfig { time: config.time + 7 * 24 * 3600, ..config.clone() };
    let node = Node::start(&later_on).await.unwrap();
    let chain: Value = node.rpc().call("getblockchaininfo", Vec::new()).await.unwrap();
    assert_eq!(chain["initialblockdownload"], false);
    assert!(!node.rpc().mempool().await.unwrap().contains(&later.compute_txid()));
    // The newest block may be lost, too; given again, it is there.
    let answer = node.rpc().submit_block(&block).await.unwrap();
    assert!(matches!(answer, BlockSubmission::Accepted | BlockSubmission::Known), "{answer:?}");
    assert_eq!(node.rpc().best_block().await.unwrap(), mined.hash);
    assert!(node.p2p().is_some());
    node.stop().await.unwrap();

    // All lives of the node are in one record, numbered on.
    let record = fs::read_to_string(config.dir.join("rpc.jsonl")).unwrap();
    let calls: Vec<Value> = record.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(calls.iter().zip(1..).all(|(call, number)| call["seq"] == number));
    let of = |method: &str| calls.iter().filter(|call| call["method"] == method).collect::<Vec<_>>();
    assert_eq!(of("sendrawtransaction").len(), 3);
    assert_eq!(of("sendrawtransaction")[0]["result"], kept.compute_txid().to_string());
    assert_eq!(of("submitblock").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn core_31_starts_again() {
    a_clean_stop_keeps_the_mempool_and_a_kill_loses_it(Kind::Core31).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn knots_29_starts_again() {
    a_clean_stop_keeps_the_mempool_and_a_kill_loses_it(Kind::Knots29).await;
}
