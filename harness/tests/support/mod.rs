//! Nodes of every kind on the chain that runs start from, and transactions that spend its coins.

// Each test program uses its part of this.
#![allow(dead_code)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::{Amount, FeeRate, ScriptBuf, Transaction, TxOut};
use factory_core::tx::funding;
use shopfloor::node::provision::{self, Env, LocateError, Tool};
use shopfloor::node::snapshot::{Snapshot, faucet};
use shopfloor::node::{Kind, Node, NodeConfig};
use shopfloor::replacement::Stage;

/// How long a test waits for what should come at once.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The pre-mined chain of a kind, and how to start a node on it in a folder of its own below `dir`.
pub async fn prepare(kind: Kind, dir: &Path) -> (Snapshot, NodeConfig) {
    let env = Env::from_process().unwrap();
    let program = provision::locate(&env, Tool::Node(kind)).unwrap_or_else(|error| panic!("{error}")).path;
    let cache = env.cache().unwrap();
    let snapshot = Snapshot::of(&program, &cache, &cache.join("ports")).await.unwrap();
    let config = NodeConfig {
        name: kind.to_string(),
        program,
        dir: dir.join(kind.name()),
        ports: cache.join("ports"),
        args: Vec::new(),
        time: snapshot.time() + 600,
        listen: true,
    };
    snapshot.copy_to(&config.dir.join("data")).unwrap();
    (snapshot, config)
}

/// A node of a kind that listens, on the pre-mined chain.
pub async fn start(kind: Kind, dir: &Path) -> (Snapshot, Node) {
    let (snapshot, config) = prepare(kind, dir).await;
    (snapshot, Node::start(&config).await.unwrap())
}

/// A transaction that spends the faucet's coin number `coin` to `script`, at so many satoshi per virtual byte.
pub fn spend(snapshot: &Snapshot, coin: usize, script: &ScriptBuf, feerate: u64) -> Arc<Transaction> {
    let output = TxOut { value: Amount::from_sat(1_000_000), script_pubkey: script.clone() };
    let feerate = FeeRate::from_sat_per_vb(feerate).unwrap();
    let coins = snapshot.coins();
    funding::build(&faucet(), &coins[coin..=coin], output, feerate).unwrap().transaction().clone()
}

/// Whether a kind's program is there. If the default kind is not, or one that somebody has asked for, that is an error.
pub fn is_there(kind: Kind) -> bool {
    let env = Env::from_process().unwrap();
    let chosen = env.kinds().unwrap();
    if chosen.as_ref().is_some_and(|chosen| !chosen.contains(&kind)) {
        eprintln!("skipped: {kind} is left out");
        return false;
    }
    match provision::locate(&env, Tool::Node(kind)) {
        Ok(_) => true,
        Err(LocateError::NotFound { .. }) if chosen.is_none() && kind != Kind::DEFAULT => {
            eprintln!("skipped: {kind} is not installed");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// A node of a kind for factories with all their keys; `None` if the kind is not there.
pub async fn stage(kind: Kind, args: &[&str]) -> Option<Stage> {
    if !is_there(kind) {
        return None;
    }
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    Some(Stage::start(&Env::from_process().unwrap(), kind, &args).await.unwrap())
}

/// Asks `look` until it gives something; panics with `what` after [`PATIENCE`].
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
