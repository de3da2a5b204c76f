//! The steps of the scenario language, each on a real node.

use std::path::Path;

use shopfloor::node::provision::Env;
use shopfloor::report::{RunReport, Verdict};
use shopfloor::scenario::{self, Options, Override};

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");

const HEAD: &str = "\
name: steps
nodes:
  alice: { kind: core-31 }
factory:
  members: 2
  capacity: 1_000_000 sat
  refund_locks: { initial: 40, step: 4, minimum: 4 }
  patience: 2
steps:
  - open
";

/// Runs the scenario of a text that stands in `file`.
async fn run_text(file: &Path, text: &str, set: &[&str]) -> RunReport {
    let set: Vec<Override> = set.iter().map(|set| set.parse().unwrap()).collect();
    let loaded = scenario::load_text(file, text, &set).unwrap_or_else(|invalid| panic!("{invalid}"));
    let [loaded] = loaded.as_slice() else { panic!("{}: expected one cell", file.display()) };
    let env = Env::from_process().unwrap();
    let report = scenario::run(loaded, &Options { env: &env, keep: false, on_step: &|_, _, _| {} }).await;
    if let Some(files) = &report.files {
        std::fs::remove_dir_all(files).unwrap();
    }
    report
}

/// Runs one of the scenarios that come with the harness, on the default kind of node alone.
async fn run_file(name: &str, set: &[&str]) -> RunReport {
    let file = Path::new(SCENARIOS).join(name);
    let set = [&["nodes.alice.kind=core-31"], set].concat();
    run_text(&file, &std::fs::read_to_string(&file).unwrap(), &set).await
}

/// Runs a scenario of these steps, and of what is expected after them.
async fn run_steps(steps: &str) -> RunReport {
    run_text(Path::new("steps.yaml"), &format!("{HEAD}{steps}"), &[]).await
}

fn passed(report: RunReport) -> RunReport {
    assert_eq!(report.verdict, Verdict::Pass, "{}: {:?}\n{}", report.scenario, report.failures, report.logs);
    report
}

async fn passes(steps: &str) -> RunReport {
    passed(run_steps(steps).await)
}

fn confirmations(report: &RunReport, name: &str) -> u64 {
    let status = &report.transactions[name].status["alice"];
    status.confirmations.unwrap_or_else(|| panic!("{name} is {}", status.status))
}

const CLOSE: &str = "
  - sign: closes
  - sign: factory-close
  - broadcast: { tx: factory-close }
  - mine: { blocks: 1 }
expect:
  confirmed: [factory-close]
";

#[tokio::test(flavor = "multi_thread")]
async fn htlcs_are_taken_and_given_back_by_updates() {
    passes(&format!(
        "
  - pay: {{ from: operator, to: members, amount: 100_000 sat }}
  - htlc: {{ from: m0, to: operator, amount: 30_000 sat, expiry: 60, secret: routed }}
  - htlc: {{ from: operator, to: m1, amount: 29_000 sat, expiry: 50, secret: routed }}
  - htlc: {{ from: operator, to: m1, amount: 5_000 sat, expiry: 50, secret: other }}
  - claim: {{ by: m1, secret: routed }}
  - claim: {{ by: operator, secret: routed }}
  - expect-states: {{ party: m1, channel: m1, enforceable: [4] }}
  - fail: {{ by: m1, secret: other }}
  - expect-states: {{ party: operator, channel: m0, enforceable: [3] }}
  - expect-states: {{ party: operator, channel: m1, enforceable: [5] }}
{CLOSE}  balances: {{ m0: 70_000 sat, m1: 129_000 sat, operator: 1_800_692 sat }}
"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_htlc_that_nobody_has_taken_yet_is_outstanding() {
    let report = passes(
        "
  - pay: { from: operator, to: members, amount: 100_000 sat }
  - htlc: { from: operator, to: m0, amount: 50_000 sat, expiry: 60, secret: coffee }
  - offline: operator
  - fall-back: { by: m0 }
  - mine: { blocks: 37 }
expect:
  confirmed: [allocation, refund-m0-2, refund-m1-1]
  balances: { m0: 100_000 sat, m1: 100_000 sat, operator: 1_749_649 sat }
",
    )
    .await;
    assert_eq!(report.money.unwrap().outstanding_sat, 50_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_node_refuses_is_noted_and_fails_nothing() {
    let report = passes(
        "
  - pay: { from: operator, to: members, amount: 100_000 sat }
  - sign: closes
  - withhold: { from: operator, message: signatures, always: true }
  - sign: factory-close
  - broadcast: { tx: factory-close }
  - fall-back: { by: m0 }
  - mine: { blocks: 1 }
expect:
  confirmed: [factory-close]
",
    )
    .await;
    let [refused] = report.refused.as_slice() else { panic!("{:?}", report.refused) };
    assert_eq!((refused.tx.as_str(), refused.by.as_str()), ("allocation", "m0"));
    assert!(refused.reason.contains("insufficient fee"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_premium_is_the_operators_to_pay() {
    let report = passed(run_file("lifecycle/basic.yaml", &["factory.close_fee={premium: 1 sat/vB}"]).await);
    assert_eq!(report.transactions["factory-close"].fee_sat, 659 + 240);
    assert_eq!(report.balances["operator"].final_sat, 2_549_536 - 240);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_about_fails() {
    for (steps, shown) in [
        (
            format!("  - expect-states: {{ party: operator, channel: m0, enforceable: [0, 1] }}{CLOSE}"),
            "as far as operator knows, states [0] of m0's channel may be enforced, expected [0, 1]",
        ),
        (
            // A channel that nothing settles is not passed over.
            "  - pay: { from: operator, to: members, amount: 1_000 sat }\n  - fall-back: { by: m0 }\n  - mine: {}\n".into(),
            "nothing confirmed has settled m0's channel and 1 more",
        ),
        (
            format!(
                "  - pay: {{ from: operator, to: m0, amount: 1_000 sat }}\n  - withhold: {{ from: m0, message: completion }}
  - pay: {{ from: m0, to: operator, amount: 500 sat }}{CLOSE}"
            ),
            "an update is in flight in the channel of m0",
        ),
    ] {
        let report = run_steps(&steps).await;
        assert_eq!(report.verdict, Verdict::Fail, "{steps}{:?}", report.failures);
        assert!(report.failures.iter().any(|failure| failure.contains(shown)), "{steps}{:?}", report.failures);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_confirmed_in_the_first_block_that_may_hold_it() {
    let file = "fallback/silent-member.yaml";
    let report = passed(run_file(file, &[]).await);
    let depth = |name: &str| confirmations(&report, name);
    assert_eq!(depth("allocation") - depth("refund-m1-1"), 16);
    assert_eq!(depth("allocation") - depth("close-m0"), 1);
    assert_eq!(depth("allocation") - depth("close-m2"), 1);
    assert_eq!(report.refused, [], "what the node has is not sent to it again");

    let report = run_file(file, &["steps.9.mine.blocks=1", "steps.7={mine: {blocks: 12}}"]).await;
    assert_eq!(report.verdict, Verdict::Fail, "{:?}", report.failures);
    let shown = "refund-m1-1 is in-mempool, expected confirmed";
    assert!(report.failures.iter().any(|failure| failure.contains(shown)), "{:?}", report.failures);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_gives_the_same_refunds_and_claims() {
    for name in ["fallback/htlc-fulfilled-on-chain.yaml", "fallback/htlc-timed-out.yaml", "locks/wsh.yaml"] {
        let facts = async |seed: &str| {
            let report = passed(run_file(name, &[seed]).await);
            let json = |value: serde_json::Result<serde_json::Value>| value.unwrap();
            let transactions = json(serde_json::to_value(&report.transactions));
            (transactions, json(serde_json::to_value(&report.blocks)), report.messages)
        };
        let (first, again, other) = (facts("seed=7").await, facts("seed=7").await, facts("seed=8").await);
        assert_eq!(first, again, "{name}");
        for (mine, theirs) in first.1.as_array().unwrap().iter().zip(other.1.as_array().unwrap()) {
            assert_ne!(mine["hash"], theirs["hash"], "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_is_ended_and_tells_where_it_was() {
    let text = format!("deadline: 2 s\n{HEAD}  - mine: {{ blocks: 10_000 }}\n");
    let report = run_text(Path::new("long.yaml"), &text, &[]).await;
    assert_eq!(report.verdict, Verdict::Error, "{report}");
    assert!(report.failures[0].contains("did not end within 2 s; it was at step 2 of 2: mine 10000"), "{report}");
    assert!(!report.logs.is_empty());
}
