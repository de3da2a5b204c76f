//! Electrum servers beside nodes of every kind.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bitcoin::{Amount, ScriptBuf};
use factory_core::Wallet;
use shopfloor::electrum::{Electrs, ElectrsError, ElectrsStartError, HistoryEntry};
use shopfloor::node::provision::{self, Env, Tool};
use shopfloor::node::snapshot::{address, faucet};
use shopfloor::node::{Kind, Node, NodeConfig};
use shopfloor::seed;
use support::{PATIENCE, is_there, prepare, spend, start, until};

fn program() -> PathBuf {
    let env = Env::from_process().unwrap();
    provision::locate(&env, Tool::Electrs).unwrap_or_else(|error| panic!("{error}")).path
}

fn runs(pid: i32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap()
}

fn somebody(name: &str) -> ScriptBuf {
    Wallet::generate(&mut seed::stream(1, name)).script_pubkey().clone()
}

async fn a_light_client_sees_what_the_node_has(kind: Kind) {
    if !is_there(kind) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (snapshot, node) = start(kind, dir.path()).await;
    let electrs = Electrs::start(&node, &program(), &dir.path().join("electrs")).await.unwrap();
    let faucet_script = faucet().script_pubkey().clone();

    let tip = electrs.sync(snapshot.tip(), PATIENCE).await.unwrap();
    assert_eq!((tip.height, tip.hash), (200, snapshot.tip()));
    assert_eq!(electrs.history(&faucet_script).await.unwrap().len(), 200);
    let balance = electrs.balance(&faucet_script).await.unwrap();
    assert_eq!(balance.confirmed, Amount::from_sat(149 * 5_000_000_000 + 51 * 2_500_000_000));

    // What is in the mempool has no height, and a fee.
    let (alice, bob) = (somebody("alice"), somebody("bob"));
    let to_alice = spend(&snapshot, 0, &alice, 1);
    node.rpc().submit(&to_alice).await.unwrap();
    let history =
        electrs.sync_history(&alice, "one transaction", PATIENCE, |history| !history.is_empty()).await.unwrap();
    let fee = node.rpc().mempool_entry(to_alice.compute_txid()).await.unwrap().fees.base;
    assert_eq!((history.len(), history[0].txid), (1, to_alice.compute_txid()));
    assert_eq!((history[0].height, history[0].fee), (None, Some(fee)));
    let balance = electrs.balance(&alice).await.unwrap();
    assert_eq!((balance.confirmed, balance.unconfirmed.to_sat()), (Amount::ZERO, 1_000_000));
    assert_eq!(electrs.transaction(to_alice.compute_txid()).await.unwrap(), *to_alice);

    // What is replaced is gone, and its replacement there.
    let to_bob = spend(&snapshot, 0, &bob, 20);
    node.rpc().submit(&to_bob).await.unwrap();
    electrs.sync_history(&alice, "no transaction", PATIENCE, |history| history.is_empty()).await.unwrap();
    let history = electrs.history(&bob).await.unwrap();
    assert_eq!(history.iter().map(|entry| entry.txid).collect::<Vec<_>>(), [to_bob.compute_txid()]);

    // A block confirms it.
    let block = node.rpc().mine(&address(&faucet())).await.unwrap();
    let tip = electrs.sync(block.hash, PATIENCE).await.unwrap();
    assert_eq!(tip.height, 201);
    let history = electrs.sync_history(&bob, "a block", PATIENCE, |history| history[0].height.is_some()).await.unwrap();
    assert_eq!((history[0].txid, history[0].height), (to_bob.compute_txid(), Some(201)));
    let balance = electrs.balance(&bob).await.unwrap();
    assert_eq!((balance.confirmed.to_sat(), balance.unconfirmed.to_sat()), (1_000_000, 0));

    // A block that loses to others is taken back, and confirms nothing. (As long as no other has more work, a server
    // does not learn that its node has left a block.)
    node.rpc().invalidate_block(block.hash).await.unwrap();
    let mut last = block.hash;
    for _ in 0..2 {
        last = node.rpc().generate_block(&address(&faucet()), &[]).await.unwrap().hash;
    }
    let tip = electrs.sync(last, PATIENCE).await.unwrap();
    assert_eq!(tip.height, 202);
    let unconfirmed = |history: &[HistoryEntry]| history.len() == 1 && history[0].height.is_none();
    electrs.sync_history(&bob, "it in the mempool again", PATIENCE, unconfirmed).await.unwrap();

    // What does not come is told, with what there is.
    let error = electrs.sync(block.hash, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, ElectrsError::Late { .. }), "{error}");
    assert!(error.to_string().contains("at height 202"), "{error}");

    // It goes with its node.
    let pid = electrs.pid().unwrap();
    assert!(runs(pid));
    drop(node);
    assert!(!runs(pid));
    let error = electrs.tip().await.unwrap_err();
    assert!(matches!(error, ElectrsError::Gone { .. }), "{error}");
    electrs.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_light_client_sees_what_core_31_has() {
    a_light_client_sees_what_the_node_has(Kind::Core31).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_light_client_sees_what_knots_29_has() {
    a_light_client_sees_what_the_node_has(Kind::Knots29).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_goes_on_with_its_index_beside_a_node_that_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let (snapshot, config) = prepare(Kind::Core31, dir.path()).await;
    let files = dir.path().join("electrs");
    let node = Node::start(&config).await.unwrap();
    let first = Electrs::start(&node, &program(), &files).await.unwrap();
    let second = Electrs::start(&node, &program(), &dir.path().join("another")).await.unwrap();
    first.sync(snapshot.tip(), PATIENCE).await.unwrap();
    second.sync(snapshot.tip(), PATIENCE).await.unwrap();
    assert_ne!(first.addr(), second.addr());
    assert!(first.addr().ip().is_loopback());
    let pid = first.pid().unwrap();
    drop(first);
    assert!(!runs(pid));
    second.tip().await.unwrap();
    // A clean stop of the node ends what is left beside it.
    let pid = second.pid().unwrap();
    node.stop().await.unwrap();
    assert!(!runs(pid));

    let node = Node::start(&config).await.unwrap();
    let electrs = Electrs::start(&node, &program(), &files).await.unwrap();
    let block = node.rpc().mine(&address(&faucet())).await.unwrap();
    electrs.sync(block.hash, PATIENCE).await.unwrap();
    let log = fs::read_to_string(files.join("output.log")).unwrap();
    assert!(log.contains("serving Electrum RPC on 127.0.0.1:"), "{log}");
    assert_eq!(log.matches("indexing 200 blocks").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (_, config) = prepare(Kind::Core31, dir.path()).await;
    let deaf = Node::start(&NodeConfig { listen: false, ..config.clone() }).await.unwrap();
    let error = Electrs::start(&deaf, &program(), &dir.path().join("electrs")).await.unwrap_err();
    assert!(matches!(error, ElectrsStartError::NotListening { .. }), "{error}");
    deaf.stop().await.unwrap();

    let node = Node::start(&config).await.unwrap();
    let error = Electrs::start(&node, "/bin/false".as_ref(), &dir.path().join("electrs")).await.unwrap_err();
    assert!(matches!(error, ElectrsStartError::Ended { .. }), "{error}");
    // The node takes no harm, and there is room for another.
    let electrs = Electrs::start(&node, &program(), &dir.path().join("electrs")).await.unwrap();
    electrs.tip().await.unwrap();
}

/// A process that ends with the test, also when the test fails.
struct Victim(Child);

impl Victim {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Names the folder of the process that the test below kills.
const VICTIM: &str = "SHOPFLOOR_TEST_VICTIM";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_survive_a_harness_that_is_killed() {
    if let Some(dir) = std::env::var_os(VICTIM) {
        let dir = PathBuf::from(dir);
        let (_, node) = start(Kind::Core31, &dir).await;
        let electrs = Electrs::start(&node, &program(), &dir.join("electrs")).await.unwrap();
        let pids = format!("{}\n{}\n", node.pid().unwrap(), electrs.pid().unwrap());
        fs::write(dir.join("draft"), pids).unwrap();
        fs::rename(dir.join("draft"), dir.join("pids")).unwrap();
        return std::future::pending().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_server_does_not_survive_a_harness_that_is_killed"]).env(VICTIM, dir.path());
    let mut victim = Victim(command.stdout(Stdio::null()).spawn().unwrap());
    let pids = until("the server runs", async || fs::read_to_string(dir.path().join("pids")).ok()).await;
    let pids: Vec<i32> = pids.lines().map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.len() == 2 && pids.iter().all(|pid| runs(*pid)));
    victim.kill();
    until("both have ended", async || pids.iter().all(|pid| !runs(*pid)).then_some(())).await;
}
