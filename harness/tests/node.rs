//! Nodes as processes: they start as themselves, and never outlive who started them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shopfloor::node::provision::{self, Env, Tool};
use shopfloor::node::{Kind, Node, NodeConfig, StartError};

fn config(dir: &Path, program: PathBuf) -> NodeConfig {
    NodeConfig {
        name: "alice".to_owned(),
        program,
        dir: dir.to_owned(),
        ports: dir.join("ports"),
        args: Vec::new(),
        time: 1_767_225_600,
        listen: false,
    }
}

fn bitcoind() -> PathBuf {
    let env = Env::from_process().unwrap();
    provision::locate(&env, Tool::Node(Kind::DEFAULT)).unwrap_or_else(|error| panic!("{error}")).path
}

fn runs(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_stops_and_starts_again_with_its_chain() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), bitcoind());
    let node = Node::start(&config).await.unwrap();
    let chain = node.rpc().chain().await.unwrap();
    assert_eq!((chain.chain.as_str(), chain.blocks), ("regtest", 0));
    let mined =
        node.rpc().mine(&shopfloor::node::snapshot::address(&shopfloor::node::snapshot::faucet())).await.unwrap();
    let pid = node.pid().unwrap();
    node.stop().await.unwrap();
    assert!(!runs(pid));

    let node = Node::start(&config).await.unwrap();
    assert_eq!(node.rpc().chain().await.unwrap().tip, mined.hash);
    let (pid, ended) = (node.pid().unwrap(), node.ended());
    drop(node);
    assert!(!runs(pid));
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the end of a node is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_survive_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&config(dir.path(), bitcoind())).await.unwrap();
    let pid = node.pid().unwrap();
    assert!(runs(pid));
    let panicked = tokio::spawn(async move {
        let _node = node;
        panic!("this panic is part of the test");
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert!(!runs(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_killed_node_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&config(dir.path(), bitcoind())).await.unwrap();
    let ended = node.ended();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(node.pid().unwrap()), nix::sys::signal::Signal::SIGKILL).unwrap();
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the end of a node is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_at_once_is_told_with_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("no-node");
    fs::write(&program, "#!/bin/sh\necho 'my disk is full' >&2\nexit 3\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let begun = std::time::Instant::now();
    let error = Node::start(&config(dir.path(), program)).await.unwrap_err();
    assert!(matches!(error, StartError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("my disk is full"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_argument_that_the_program_refuses_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = NodeConfig { args: vec!["-no-such-argument=1".to_owned()], ..config(dir.path(), bitcoind()) };
    let error = Node::start(&config).await.unwrap_err().to_string();
    assert!(error.contains("no-such-argument"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_with_another_process_is_not_taken_for_the_node() {
    // The node says that it is somebody else: as a foreign node would, that listens at the port.
    let dir = tempfile::tempdir().unwrap();
    let config = NodeConfig { args: vec!["-pid=elsewhere.pid".to_owned()], ..config(dir.path(), bitcoind()) };
    let network = dir.path().join("data").join("regtest");
    fs::create_dir_all(&network).unwrap();
    fs::write(network.join("bitcoind.pid"), "1\n").unwrap();
    let error = Node::start(&config).await.unwrap_err();
    assert!(matches!(error, StartError::Foreign { what: "process id", .. }), "{error}");
}
