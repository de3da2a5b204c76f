//! The chain that every run starts from.

mod support;

use shopfloor::node::provision::{self, Env, Tool};
use shopfloor::node::snapshot::{Snapshot, faucet};
use shopfloor::node::{Kind, Node, NodeConfig};
use support::is_there;

/// The kinds that the tests' own set-up installs.
const KINDS: [Kind; 4] = [Kind::Core31, Kind::Core30, Kind::Core29, Kind::Knots29];

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_different_kinds_start_from_the_same_chain() {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::from_process().unwrap();
    let ports = dir.path().join("ports");
    let mut seen = Vec::new();
    for kind in KINDS.into_iter().filter(|kind| is_there(*kind)) {
        let program = provision::locate(&env, Tool::Node(kind)).unwrap_or_else(|error| panic!("{error}")).path;
        let snapshot = Snapshot::of(&program, dir.path(), &ports).await.unwrap();
        let config = NodeConfig {
            name: kind.to_string(),
            program,
            dir: dir.path().join(kind.name()),
            ports: ports.clone(),
            args: Vec::new(),
            time: snapshot.time(),
            listen: false,
        };
        snapshot.copy_to(&config.dir.join("data")).unwrap();
        let node = Node::start(&config).await.unwrap();
        let chain = node.rpc().chain().await.unwrap();
        assert_eq!((chain.blocks, chain.tip), (snapshot.height(), snapshot.tip()));

        // What the snapshot says that can be spent is what the node has, and the rewards are halved from block 150 on.
        let unspent = node.rpc().unspent([faucet().script_pubkey()]).await.unwrap();
        assert_eq!(unspent.len(), 200);
        for coin in snapshot.coins() {
            let found = unspent.iter().find(|unspent| unspent.txid == coin.outpoint.txid).unwrap();
            assert_eq!((found.vout, found.amount), (coin.outpoint.vout, coin.value));
        }
        let total: u64 = unspent.iter().map(|unspent| unspent.amount.to_sat()).sum();
        assert_eq!(total, 149 * 5_000_000_000 + 51 * 2_500_000_000);
        // The node goes on from there, at its own clock.
        node.rpc().set_time(snapshot.time() + 600).await.unwrap();
        let next = node.rpc().mine(&shopfloor::node::snapshot::address(&faucet())).await.unwrap();
        assert_eq!(next.height, 201);
        seen.push((snapshot.tip(), snapshot.coins().len()));
    }
    assert_eq!(seen, vec![(seen[0].0, 101); seen.len()]);
}
