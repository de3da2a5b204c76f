//! One scenario, as a process and in containers, seen by RPC and by Electrum: the same transactions, the same amounts.

use std::path::Path;

use serde_json::Value;
use shopfloor::node::provision::Env;
use shopfloor::report::{RunReport, Verdict};
use shopfloor::scenario::{self, Options, Override};

const SCENARIO: &str = "
name: one scenario, several views
nodes: { alice: { kind: core-31 } }
parties: { operator: { chain_view: rpc }, members: { chain_view: rpc } }
factory:
  members: 3
  capacity: 1_000_000 sat
  refund_locks: { initial: 20, step: 4, minimum: 4 }
steps:
  - open
  - pay: { from: operator, to: members, amount: 100_000 sat }
  - silence: m1
  - sign: closes
  - fall-back: { by: operator }
  - mine: { blocks: 17 }
expect:
  confirmed: [allocation, close-m0, close-m2, refund-m1-1]
  balances: { operator: 2_699_538 sat, m0: 100_000 sat, m1: 100_000 sat, m2: 100_000 sat }
";

async fn run(set: &[&str]) -> RunReport {
    let set: Vec<Override> = set.iter().map(|set| set.parse().unwrap()).collect();
    let loaded = scenario::load_text(Path::new("views.yaml"), SCENARIO, &set).unwrap();
    let env = Env::from_process().unwrap();
    scenario::run(&loaded[0], &Options { env: &env, keep: false, on_step: &|_, _, _| {} }).await
}

/// What a run came to: every transaction with its txid, figures and status, everybody's amount, every block.
fn facts(report: &RunReport) -> [Value; 4] {
    assert_eq!(report.verdict, Verdict::Pass, "{report}");
    let json = |value: serde_json::Result<Value>| value.unwrap();
    [
        json(serde_json::to_value(&report.transactions)),
        json(serde_json::to_value(&report.balances)),
        json(serde_json::to_value(report.money)),
        json(serde_json::to_value(&report.blocks)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_by_electrum_changes_nothing() {
    let by_rpc = facts(&run(&[]).await);
    let all = ["parties.operator.chain_view=electrum", "parties.members.chain_view=electrum"];
    for views in [&all[..], &all[..1], &all[1..]] {
        let report = run(views).await;
        assert!(report.nodes["alice"].electrum);
        assert_eq!(facts(&report), by_rpc, "{views:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_changes_nothing() {
    let report = run(&["nodes.alice.backend=container"]).await;
    if report.verdict == Verdict::Skip && std::env::var_os("SHOPFLOOR_REQUIRE_CONTAINERS").is_none() {
        eprintln!("skipped: {}", report.failures.join("; "));
        return;
    }
    assert_eq!(report.nodes["alice"].backend, "container");
    assert_eq!(facts(&report), facts(&run(&[]).await));
}
