//! The steps of the scenario language, each on a real node, and what is said when one is wrong.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

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

/// Runs a scenario: the exit code, the report, and what it says on standard error.
fn run(file: &Path, args: &[&str]) -> (Option<i32>, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shopfloor"));
    let output = command.arg("run").arg(file).args(["--json", "-"]).args(args).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let reports: Vec<Value> =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    (output.status.code(), reports[0].clone(), stderr)
}

/// Runs a scenario of these steps, and of what is expected after them.
fn run_steps(steps: &str) -> (Option<i32>, Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("steps.yaml");
    fs::write(&file, format!("{HEAD}{steps}")).unwrap();
    let ran = run(&file, &[]);
    if let Some(files) = ran.1["files"].as_str() {
        fs::remove_dir_all(files).unwrap();
    }
    ran
}

fn passes(steps: &str) -> Value {
    let (code, report, stderr) = run_steps(steps);
    assert_eq!(code, Some(0), "{steps}{stderr}");
    report
}

const CLOSE: &str = "
  - sign: closes
  - sign: factory-close
  - broadcast: { tx: factory-close }
  - mine: { blocks: 1 }
expect:
  confirmed: [factory-close]
";

#[test]
fn htlcs_are_taken_and_given_back_by_updates() {
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
    ));
}

#[test]
fn an_htlc_that_nobody_has_taken_yet_is_outstanding() {
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
    );
    assert_eq!(report["money"]["outstanding_sat"], 50_000);
}

#[test]
fn what_the_node_refuses_is_noted_and_fails_nothing() {
    let report = passes(
        "
  - pay: { from: operator, to: members, amount: 100_000 sat }
  - sign: closes
  - withhold: { from: operator, message: signatures }
  - sign: factory-close
  - broadcast: { tx: factory-close }
  - fall-back: { by: m0 }
  - mine: { blocks: 1 }
expect:
  confirmed: [factory-close]
",
    );
    let refused = report["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!((&refused[0]["tx"], &refused[0]["by"]), (&"allocation".into(), &"m0".into()));
    assert!(refused[0]["reason"].as_str().unwrap().contains("insufficient fee"), "{refused:?}");
}

#[test]
fn a_premium_is_the_operators_to_pay() {
    let file = Path::new(SCENARIOS).join("lifecycle.yaml");
    let set = ["--set", "factory.close_fee={premium: 1 sat/vB}"];
    let (code, report, stderr) = run(&file, &set);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(report["transactions"]["factory-close"]["fee_sat"], 659 + 240);
    assert_eq!(report["balances"]["operator"]["final_sat"], 2_549_536 - 240);
}

#[test]
fn what_does_not_come_about_fails() {
    for (steps, shown) in [
        (
            format!("  - withhold: {{ from: m0, message: completion }}{CLOSE}"),
            "m0 was to withhold its completion, and had none to send",
        ),
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
        let (code, report, stderr) = run_steps(&steps);
        assert_eq!(code, Some(1), "{steps}{stderr}");
        let failures = report["failures"].to_string();
        assert!(failures.contains(shown), "{steps}{failures}");
    }
}

#[test]
fn a_refund_is_confirmed_in_the_first_block_that_may_hold_it() {
    let file = Path::new(SCENARIOS).join("fallback/silent-member.yaml");
    let (code, report, stderr) = run(&file, &[]);
    assert_eq!(code, Some(0), "{stderr}");
    let confirmations = |name: &str| report["transactions"][name]["confirmations"].as_u64().unwrap();
    assert_eq!(confirmations("allocation") - confirmations("refund-m1-1"), 16);
    assert_eq!(confirmations("allocation") - confirmations("close-m0"), 1);
    assert_eq!(confirmations("allocation") - confirmations("close-m2"), 1);
    assert_eq!(report["refused"], Value::Array(Vec::new()), "what the node has is not sent to it again");

    let (code, report, _) = run(&file, &["--set", "steps.9.mine.blocks=1", "--set", "steps.7={mine: {blocks: 12}}"]);
    assert_eq!(code, Some(1));
    let failures = report["failures"].to_string();
    assert!(failures.contains("refund-m1-1 is in-mempool, expected confirmed"), "{failures}");
    fs::remove_dir_all(report["files"].as_str().unwrap()).unwrap();
}

#[test]
fn the_same_seed_gives_the_same_refunds_and_claims() {
    for name in ["fallback/htlc-fulfilled-on-chain.yaml", "fallback/htlc-timed-out.yaml", "locks/wsh.yaml"] {
        let facts = |seed: &str| {
            let (code, report, stderr) = run(&Path::new(SCENARIOS).join(name), &["--seed", seed]);
            assert_eq!(code, Some(0), "{name}: {stderr}");
            (report["transactions"].clone(), report["blocks"].clone(), report["messages"].clone())
        };
        assert_eq!(facts("7"), facts("7"), "{name}");
        assert_ne!(facts("7").1, facts("8").1, "{name}");
    }
}

#[test]
fn what_is_wrong_with_a_step_is_said_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("steps.yaml");
    for (steps, shown) in [
        (
            "  - htlc: { from: m0, to: m1, amount: 1_000 sat, expiry: 50, secret: s }",
            ":11:27: steps.1.htlc.to: m0 has no channel with m1",
        ),
        (
            "  - htlc: { from: operator, to: m0, amount: 1_000 sat, expiry: 48, secret: s }",
            ":11:64: steps.1.htlc.expiry: an HTLC in m0's channel needs at least 49 blocks",
        ),
        (
            "  - htlc: { from: operator, to: m0, amount: 400 sat, expiry: 50, secret: s }",
            ":11:45: steps.1.htlc.amount: an HTLC of 0.00000400 BTC would leave dust",
        ),
        (
            "  - htlc: { from: m0, to: operator, amount: 1_000 sat, expiry: 50, secret: s }",
            "m0 can pay from 1 to 0 sat in m0's channel at this point, not 1000 sat",
        ),
        (
            "  - pay: { from: operator, to: members, amount: 9_000 sat }
  - htlc: { from: m0, to: operator, amount: 1_000 sat, expiry: 60, secret: s }
  - htlc: { from: m1, to: operator, amount: 1_000 sat, expiry: 60, secret: s }",
            ":13:76: steps.3.htlc.secret: an HTLC for operator with the secret `s` is pending already",
        ),
        (
            "  - claim: { by: m0, secret: s }",
            ":11:30: steps.1.claim.secret: no HTLC with the secret `s` is offered to m0",
        ),
        ("  - silence: m2", ":11:14: steps.1.silence: there is no m2"),
        ("  - offline: m1\n  - fall-back: { by: m1 }", ":12:22: steps.2.fall-back.by: m1 is offline"),
        (
            "  - silence: m1\n  - pay: { from: operator, to: m1, amount: 9 sat }",
            "m1 is silent, so m1's channel cannot be updated",
        ),
        ("  - withhold: { from: m1, message: signatures }", "only the operator hands them out"),
        (
            "  - withhold: { from: m1, message: everything }",
            ":11:36: unknown variant `everything`, expected one of completion, signatures",
        ),
        (
            "  - expect-states: { party: m1, channel: m0, enforceable: [0] }",
            ":11:29: steps.1.expect-states.party: m1 knows nothing of m0's channel",
        ),
        (
            "  - expect-states: { party: m1, channel: operator, enforceable: [0] }",
            "a channel goes by the name of its member",
        ),
        ("  - fall-back: { by: m1 }\n  - pay: { from: operator, to: m1, amount: 9 sat }", "on their way to the chain"),
        (
            "  - silence: m1\n  - sign: closes\n  - sign: factory-close",
            "not every close is signed, since somebody is silent",
        ),
        ("  - broadcast: { tx: refund-m0-1 }", "refund-m0-1 is not signed at this point: the newest state is 0"),
        ("  - broadcast: { tx: refund-m0-10 }", "there is no state 10: by factory.refund_locks the last is 9"),
        ("  - broadcast: { tx: refund-m0-0, by: m1 }", "m1 does not have refund-m0-0"),
        ("  - broadcast: { tx: htlc-timeout-m0-0 }", "is published by itself, when its time comes"),
        ("  - broadcast: { tx: factory-close-1 }", "there is no factory-close-1: factory.close_fee has 1 rungs"),
        (
            "  - htlc: { from: operator, to: m0, amount: 1_000 sat, expiry: 50, secret: s }\n  - sign: closes",
            "HTLCs are pending in m0's channel, so it cannot be closed",
        ),
    ] {
        fs::write(&file, format!("{HEAD}{steps}\n")).unwrap();
        check(&file, &[], steps, shown);
    }
    fs::write(&file, HEAD).unwrap();
    for (set, shown) in [
        ("factory.lock=schnorr", "`schnorr` is no kind of lock: expected musig2, tapscript or wsh"),
        (
            "factory.close_fee={ladder: [1 sat/vB, 1 sat/vB]}",
            "factory.close_fee: rung 1 of the fee ladder is not above",
        ),
        ("factory.close_fee={premium: 0 sat/vB}", "`0 sat/vB` is no feerate: it is zero"),
        (
            "factory.refund_locks={initial: 4, step: 1, minimum: 5}",
            "factory.refund_locks: refund locks from 4 down to 5",
        ),
        (
            "factory.refund_locks={initial: 65536, step: 1, minimum: 5}",
            "factory.refund_locks.initial: expected at most 65535",
        ),
        ("factory.patience=0", "factory.patience: `0`: expected a whole number from 1"),
    ] {
        check(&file, &["--set", set], set, shown);
    }
}

fn check(file: &Path, args: &[&str], what: &str, shown: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_shopfloor")).arg("check").arg(file).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{what}: {stderr}");
    assert!(stderr.contains(shown), "{what}: {stderr}");
}
