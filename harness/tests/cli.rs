//! The program `shopfloor`, as a user runs it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const LIFECYCLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/lifecycle.yaml");

fn shopfloor(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_shopfloor")).args(args).stdin(Stdio::null()).output();
    output.expect("the program runs")
}

/// The one report of a run that passes.
fn passes(args: &[&str]) -> Value {
    let output = shopfloor(&[&["run", LIFECYCLE, "--json", "-"], args].concat());
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    let reports: Vec<Value> = serde_json::from_str(&stdout).expect("standard output is a JSON array");
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0]["verdict"], "pass");
    reports[0].clone()
}

fn scenario(dir: &Path, change: impl Fn(String) -> String) -> String {
    let file = dir.join("scenario.yaml");
    fs::write(&file, change(fs::read_to_string(LIFECYCLE).unwrap())).unwrap();
    file.display().to_string()
}

#[test]
fn every_size_on_every_kind_has_the_exact_sizes_fees_and_balances() {
    for kind in ["core-31", "knots-29"] {
        for n in [3_u64, 20, 200] {
            let (members, node) = (format!("factory.members={n}"), format!("nodes.alice.kind={kind}"));
            let report = passes(&["--set", &members, "--set", &node]);
            let tx = |name: &str| {
                let tx = &report["transactions"][name];
                let number = |field: &str| tx[field].as_u64().unwrap_or_else(|| panic!("{name}.{field}: {tx}"));
                let status = tx["status"].as_str().unwrap().to_owned();
                (number("vsize"), number("weight"), number("fee_sat"), status)
            };
            let spend = |outputs: u64| 4 * (51 + 43 * outputs) + 68;
            assert_eq!(tx("allocation"), (68 + 43 * n, spend(n), 68 + 43 * n, "replaced".to_owned()), "{kind} {n}");
            let fee = 68 + 43 * n + 154 * n;
            assert_eq!(tx("factory-close"), (111 + 43 * n, spend(n + 1), fee, "confirmed".to_owned()), "{kind} {n}");
            for member in 0..n {
                assert_eq!(tx(&format!("close-m{member}")), (154, spend(2), 154, "signed".to_owned()), "{kind} {n}");
            }
            assert_eq!(report["transactions"]["allocation"]["replaced_by"], "factory-close");
            assert_eq!(report["nodes"]["alice"]["kind"], kind);

            let mut members: BTreeMap<_, _> = (2..n).map(|member| (format!("m{member}"), 100_000)).collect();
            members.extend([("m0".to_owned(), 250_001), ("m1".to_owned(), 100_001)]);
            let paid: u64 = members.values().sum();
            members.insert("operator".to_owned(), n * 1_000_000 - paid - n * 154);
            let balances = report["balances"].as_object().unwrap();
            assert_eq!(balances.len() as u64, n + 1);
            for (party, amount) in members {
                assert_eq!(balances[&party]["final_sat"], amount, "{kind} {n} {party}");
                assert_eq!(balances[&party]["expected_sat"], amount, "{kind} {n} {party}");
            }
            let money = &report["money"];
            assert_eq!(money["funding_sat"], n * 1_000_000 + 68 + 43 * n);
            assert_eq!(money["fees_sat"], fee);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_transactions_and_blocks() {
    let facts = |seed: &str| {
        let report = passes(&["--seed", seed]);
        let txids: Vec<_> = report["transactions"].as_object().unwrap().values().map(|tx| tx["txid"].clone()).collect();
        assert_eq!(txids.len(), 6);
        (txids, report["blocks"].clone())
    };
    let (first, again, other) = (facts("7"), facts("7"), facts("8"));
    assert_eq!(first, again);
    for (mine, theirs) in first.0.iter().zip(&other.0) {
        assert_ne!(mine, theirs);
    }
    assert_eq!(first.1.as_array().unwrap().len(), 4);
    for (mine, theirs) in first.1.as_array().unwrap().iter().zip(other.1.as_array().unwrap()) {
        assert_ne!(mine["hash"], theirs["hash"]);
    }
}

#[test]
fn version_3_passes_as_well() {
    let report = passes(&["--set", "factory.version=3"]);
    assert_eq!(report["transactions"]["factory-close"]["fee_sat"], 659);
}

#[test]
fn eight_at_once_pass_ten_times_over() {
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shopfloor"));
        command.args(["run", LIFECYCLE]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    for round in 0..10 {
        let children: Vec<Child> = (0..8).map(|_| run()).collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert_eq!(output.status.code(), Some(0), "round {round}: {stdout}{stderr}");
        }
    }
}

#[test]
fn a_wrong_expectation_fails_and_shows_the_difference() {
    let dir = tempfile::tempdir().unwrap();
    for (from, to, shown) in [
        ("m0: 250_001 sat", "m0: 250_002 sat", "m0 ends with 250001 sat, expected 250002 sat: -1 sat"),
        ("replaced: [allocation]\n", "replaced: [close-m1]\n", "close-m1 is signed, expected replaced"),
        (
            "confirmed: [funding, factory-close]",
            "confirmed: [allocation]",
            "allocation is replaced by factory-close, expected confirmed",
        ),
        (
            "  - mine: {",
            "  - broadcast: { tx: factory-close, replaces: [allocation] }\n  - mine: {",
            "expected to replace allocation, and it replaced nothing",
        ),
        (
            "  - sign: closes",
            "  - broadcast: { tx: funding, expect: { rejected: fee } }\n  - sign: closes",
            "it was rejected: ",
        ),
        ("replaces: [allocation]", "replaces: [close-m0]", "expected to replace close-m0, and it replaced allocation"),
        (
            "tx: allocation, via: alice, expect: accepted",
            "tx: allocation, via: alice, expect: { rejected: fee }",
            "expected rejected with `fee`, and it was accepted",
        ),
        (
            "  replaced: [allocation]",
            "  replaced: [allocation]\n  fees: { factory-close: 660 sat }",
            "factory-close pays 659 sat, expected 660 sat",
        ),
    ] {
        let file = scenario(dir.path(), |text| {
            let changed = text.replace(from, to);
            assert_ne!(text, changed, "{from}");
            changed
        });
        let output = shopfloor(&["run", &file]);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{to}: {stdout}");
        assert!(stdout.contains(shown), "{to}: {stdout}");
        assert!(stdout.contains("--- the end of ") && stdout.contains("UpdateTip: new best="), "{to}: {stdout}");
        let files = stdout.lines().find_map(|line| line.strip_prefix("files: ")).expect("the files are kept");
        assert!(Path::new(files).join("nodes/alice/data/regtest/debug.log").is_file());
        fs::remove_dir_all(files).unwrap();
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_before_any_node_starts() {
    let dir = tempfile::tempdir().unwrap();
    for (from, to, shown) in [
        ("  members: 3", "  membres: 3", ":11:3: unknown field `membres`"),
        ("1_000_000 sat", "-1_000_000 sat", ":12:13: `-1_000_000 sat` is no amount: it is negative"),
        ("  members: 3", "  members: 0", ":11:12: `0`: expected a whole number from 1"),
        ("  members: 3", "  members: 2323", ":11:12: factory.members: 2323 members make the factory-close 400008 WU"),
        ("kind: core-31", "kind: core-99", ":8:18: unknown node kind `core-99`: expected one of core-31, knots-29"),
        ("  - open\n", "", ":16:5: steps.0: no step has opened the factory yet"),
        ("to: m1, amount: 1 sat", "to: m9, amount: 1 sat", "there is no m9: the 3 members are m0 to m2"),
        (
            "to: m1, amount: 1 sat",
            "to: m1, amount: 899_847 sat",
            "operator can pay from 1 to 899846 sat in m1's channel",
        ),
        ("  - sign: factory-close\n", "", "factory-close is not signed at this point"),
        ("  - sign: closes\n", "", "the closes must be signed before the factory close"),
        ("by: alice, blocks", "by: bob, blocks", "there is no node `bob`: expected alice"),
        ("    m2: 100_000 sat", "    m3: 100_000 sat", "there is no m3"),
        ("name: lifecycle", "name: ''", "name: it is empty"),
        ("  members: 3", "  members: 4_000_000_000", "factory.members: expected at most 100000, found 4000000000"),
        ("  alice: {", "  ../alice: {", "`../alice` is no name for a node"),
        ("tx: allocation, via", "tx: funding, by: m0, via", "only the operator has the funding"),
        (
            "factory-close, via: alice, expect: accepted",
            "factory-close, via: alice, expect: { rejected: fee }",
            "what is rejected replaces nothing",
        ),
    ] {
        let file = scenario(dir.path(), |text| {
            let changed = text.replace(from, to);
            assert_ne!(text, changed, "{from}");
            changed
        });
        for command in ["check", "run"] {
            let output = shopfloor(&[command, &file]);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{to}: {stderr}");
            assert!(stderr.contains(shown) && stderr.starts_with(&file), "{to}: {stderr}");
            assert!(output.stdout.is_empty());
        }
    }
}

#[test]
fn overrides_are_checked_like_the_file() {
    for (set, shown) in [
        ("factory.members=0", "factory.members: `0`: expected a whole number from 1"),
        ("factory.membrs=3", "unknown field `membrs`"),
        ("factory.members=2", "there is no m2"),
        ("nodes.bob.kind=knots-29", "nodes: expected exactly one node, found 2"),
        ("steps.99.pay=1", "there is no `99` in `steps`, a list of 10"),
        ("name.x=1", "`name` is a single value"),
        ("seed", "there is no `=`"),
    ] {
        let output = shopfloor(&["run", LIFECYCLE, "--set", set]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{set}: {stderr}");
        assert!(stderr.contains(shown), "{set}: {stderr}");
    }
}

#[test]
fn a_missing_node_program_is_a_skip_and_a_wrong_one_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let run = |variable: &str, value: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shopfloor"));
        command.args(["run", LIFECYCLE]).env_remove("BITCOIND_EXE").env_remove("SHOPFLOOR_CORE_31_EXE");
        let output = command.env(variable, value).env("TMPDIR", dir.path()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, stdout) = run("SHOPFLOOR_CACHE", dir.path());
    // A bitcoind in PATH would do as well, if it is of this kind.
    if !stdout.contains("pass") {
        assert_eq!(code, Some(3), "{stdout}");
        assert!(stdout.contains("shopfloor node install core-31"), "{stdout}");
    }
    let (code, stdout) = run("BITCOIND_EXE", Path::new("/bin/echo"));
    assert_eq!(code, Some(4), "{stdout}");
    assert!(stdout.contains("BITCOIND_EXE=/bin/echo"), "{stdout}");
}

/// A run that would go on for minutes, and its node's process.
struct Long {
    child: Child,
    node: i32,
    base: PathBuf,
}

fn long_run(dir: &Path) -> Long {
    let file = scenario(dir, |text| text.replace("blocks: 1 }", "blocks: 100_000 }"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_shopfloor"));
    command.args(["run", &file]).env("TMPDIR", dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let base = dir.join(format!("shopfloor-{}", nix::unistd::getuid()));
    let ready = || {
        for run in fs::read_dir(&base).ok()?.flatten() {
            let node = run.path().join("nodes/alice");
            if node.join("data/regtest/bitcoind.pid").exists() {
                return fs::read_to_string(node.join("pid")).ok()?.trim().parse().ok();
            }
        }
        None
    };
    let node = wait_for(Duration::from_secs(60), || {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before its node was there");
        ready()
    });
    Long { child, node, base }
}

fn wait_for<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < limit, "waited {limit:?} in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn gone(pid: i32) -> Option<()> {
    (!Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(())
}

#[test]
fn no_node_survives_a_killed_harness_and_the_next_run_removes_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut long = long_run(dir.path());
    long.child.kill().unwrap();
    wait_for(Duration::from_secs(5), || gone(long.node));
    long.child.wait().unwrap();
    let runs = || fs::read_dir(&long.base).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
    assert_eq!(runs(), 1);
    let status =
        Command::new(env!("CARGO_BIN_EXE_shopfloor")).args(["run", LIFECYCLE]).env("TMPDIR", dir.path()).output();
    assert!(status.unwrap().status.success());
    assert_eq!(runs(), 0);
}

#[test]
fn an_interrupted_run_leaves_neither_node_nor_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut long = long_run(dir.path());
    kill(Pid::from_raw(long.child.id() as i32), Signal::SIGINT).unwrap();
    let status = wait_for(Duration::from_secs(10), || long.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
    wait_for(Duration::from_secs(5), || gone(long.node));
    assert_eq!(fs::read_dir(&long.base).unwrap().flatten().filter(|entry| entry.path().is_dir()).count(), 0);
}
