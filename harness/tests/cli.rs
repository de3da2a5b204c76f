//! The program `shopfloor`, as a user runs it.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use shopfloor::Kind;

const LIFECYCLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/lifecycle/basic.yaml");

fn shopfloor(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_shopfloor")).args(args).stdin(Stdio::null()).output();
    output.expect("the program runs")
}

/// The one report of a run that passes.
fn passes(args: &[&str]) -> Value {
    let output = shopfloor(&[&["run", LIFECYCLE, "--json", "-"], args].concat());
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    let suite: Value = serde_json::from_str(&stdout).expect("standard output is one JSON value");
    assert_eq!((&suite["verdict"], &suite["totals"]["pass"]), (&"pass".into(), &1.into()));
    suite["runs"][0].clone()
}

fn scenario(dir: &Path, change: impl Fn(String) -> String) -> String {
    let file = dir.join("scenario.yaml");
    fs::write(&file, change(fs::read_to_string(LIFECYCLE).unwrap())).unwrap();
    file.display().to_string()
}

#[test]
fn every_size_on_every_kind_has_the_exact_sizes_fees_and_balances() {
    for kind in [Kind::Core31, Kind::Knots29].into_iter().filter(|kind| support::is_there(*kind)).map(Kind::name) {
        for n in [3_u64, 20, 200] {
            let (members, node) = (format!("factory.members={n}"), format!("nodes.alice.kind={kind}"));
            let report = passes(&["--set", &members, "--set", &node]);
            let tx = |name: &str| {
                let tx = &report["transactions"][name];
                let number = |field: &str| tx[field].as_u64().unwrap_or_else(|| panic!("{name}.{field}: {tx}"));
                let status = tx["status"]["alice"]["status"].as_str().unwrap().to_owned();
                (number("vsize"), number("weight"), number("fee_sat"), status)
            };
            let spend = |outputs: u64| 4 * (51 + 43 * outputs) + 68;
            assert_eq!(tx("allocation"), (68 + 43 * n, spend(n), 68 + 43 * n, "replaced".to_owned()), "{kind} {n}");
            let fee = 68 + 43 * n + 154 * n;
            assert_eq!(tx("factory-close"), (111 + 43 * n, spend(n + 1), fee, "confirmed".to_owned()), "{kind} {n}");
            for member in 0..n {
                assert_eq!(tx(&format!("close-m{member}")), (154, spend(2), 154, "signed".to_owned()), "{kind} {n}");
            }
            assert_eq!(report["transactions"]["allocation"]["status"]["alice"]["replaced_by"], "factory-close");
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
        ("m0: 250_001 sat", "m0: 250_002 sat", "m0 has 250001 sat, expected 250002 sat: -1 sat"),
        ("replaced: [allocation]\n", "replaced: [close-m1]\n", "close-m1 is signed, expected replaced"),
        (
            "confirmed: [funding, factory-close]",
            "confirmed: [funding, close-m1]",
            "close-m1 is signed, expected confirmed",
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
        for file in ["nodes/alice/data/regtest/debug.log", "nodes/alice/rpc.jsonl", "transactions/allocation.hex"] {
            assert!(Path::new(files).join(file).is_file(), "{file}");
        }
        fs::remove_dir_all(files).unwrap();
    }
}

#[test]
fn the_files_of_a_failed_run_replay_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = scenario(dir.path(), |text| text.replace("m0: 250_001 sat", "m0: 250_002 sat"));
    let failed = |command: &mut Command| {
        let output = command.env("TMPDIR", dir.path()).stdin(Stdio::null()).output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stdout}");
        assert!(stdout.contains("m0 has 250001 sat, expected 250002 sat: -1 sat"), "{stdout}");
        PathBuf::from(stdout.lines().find_map(|line| line.strip_prefix("files: ")).expect("the files are kept"))
    };
    let mut run = Command::new(env!("CARGO_BIN_EXE_shopfloor"));
    let files = failed(run.args(["run", &file, "--set", "factory.members=4", "--seed", "9"]));
    let programs = Path::new(env!("CARGO_BIN_EXE_shopfloor")).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let again = failed(Command::new(files.join("replay.sh")).env("PATH", path));
    let transactions = |files: &Path| {
        let report: Value = serde_json::from_slice(&fs::read(files.join("report.json")).unwrap()).unwrap();
        assert_eq!((&report["seed"], report["balances"].as_object().unwrap().len()), (&9.into(), 5));
        (report["transactions"].clone(), report["blocks"].clone())
    };
    assert_eq!(transactions(&files), transactions(&again));
}

#[test]
fn what_is_wrong_with_a_file_is_said_before_any_node_starts() {
    let dir = tempfile::tempdir().unwrap();
    for (from, to, shown) in [
        ("  members: 3", "  membres: 3", "unknown key `membres`: did you mean `members`?"),
        ("1_000_000 sat", "-1_000_000 sat", "it is negative"),
        ("  members: 3", "  members: 2323", "2323 members make the factory-close 400008 WU"),
        ("kind: core-31", "kind: core-99", "unknown node kind `core-99`"),
        ("  - open\n", "", "the factory is not open yet"),
        ("to: m1, amount: 1 sat", "to: m9, amount: 1 sat", "there is no m9"),
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
            assert!(stderr.contains(shown), "{to}: {stderr}");
            let place = stderr.strip_prefix(&format!("{file}:")).expect("the file comes first");
            let mut numbers = place.splitn(3, ':').map(str::parse::<u64>);
            assert!(matches!((numbers.next(), numbers.next()), (Some(Ok(_)), Some(Ok(_)))), "{to}: {stderr}");
            assert!(output.stdout.is_empty());
        }
    }
}

/// An experiment beside a scenario: each command does what it can with it, and says what it does not do.
#[test]
fn experiments_lie_beside_scenarios() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().display().to_string();
    let experiment = dir.path().join("race.yaml").display().to_string();
    let miners = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/miners/each-its-own-side.yaml");
    fs::copy(miners, &experiment).unwrap();
    let said = |args: &[&str]| {
        let output = shopfloor(args);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    for command in ["run", "plan"] {
        let (code, _, stderr) = said(&[command, &experiment]);
        assert_eq!(code, Some(2), "{command}: {stderr}");
        assert!(stderr.contains("this is an experiment"), "{command}: {stderr}");
        assert!(stderr.contains(&format!("`shopfloor race {experiment}`")), "{command}: {stderr}");
        let (code, _, stderr) = said(&[command, &folder]);
        assert_eq!(code, Some(2), "{command}: {stderr}");
        assert!(stderr.contains("nothing but 1 experiment: `shopfloor race FILE` runs one"), "{command}: {stderr}");
    }
    scenario(dir.path(), |text| text);
    let (code, _, stderr) = said(&["plan", &folder]);
    assert_eq!((code, stderr.as_str()), (Some(0), "left out: 1 experiment: `shopfloor race FILE` runs one\n"));
    let (code, stdout, stderr) = said(&["check", &folder]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
    assert!(stdout.contains(&format!("{experiment}: sound\n")), "{stdout}");
    let (code, _, stderr) = said(&["check", &experiment, "--set", "miners.south.share=31 %"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("miners: the shares add up to 101 %, 1 % more than all: expected 100 %"), "{stderr}");
    let (code, stdout, _) = said(&["schema", "experiment"]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("\"title\": \"Experiment\""), "{stdout}");
    let (code, stdout, _) = said(&["schema", "races"]);
    assert!(code == Some(0) && stdout.contains("\"RaceReport\": {"), "{stdout}");
}

#[test]
fn overrides_are_checked_like_the_file() {
    for (set, shown) in [
        ("factory.members=0", "factory.members: `0`: expected a whole number from 1"),
        ("factory.membrs=3", "unknown key `membrs`: did you mean `members`?"),
        ("factory.members=2", "there is no m2"),
        ("steps.99.pay=1", "there is no `99` in `steps`: expected a number below 10"),
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
    let file = scenario(dir, |text| text.replace("blocks: 1 }", "blocks: 10_000 }"));
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
fn neither_node_nor_files_survive_a_killed_harness() {
    let dir = tempfile::tempdir().unwrap();
    let mut long = long_run(dir.path());
    long.child.kill().unwrap();
    wait_for(Duration::from_secs(5), || gone(long.node));
    long.child.wait().unwrap();
    let runs = || fs::read_dir(&long.base).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
    wait_for(Duration::from_secs(20), || (runs() == 0).then_some(()));
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

/// Where results cannot be written, `race` says so before it makes a trial.
#[test]
fn where_a_race_cannot_write_it_makes_no_trial() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).display().to_string();
    let miners = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/miners/each-its-own-side.yaml");
    let (experiment, other) = (place("race.yaml"), place("other/race.yaml"));
    fs::create_dir(dir.path().join("other")).unwrap();
    fs::copy(&miners, &experiment).unwrap();
    fs::copy(&miners, &other).unwrap();
    fs::write(place("file"), "nothing is marked here\n").unwrap();
    let (file, below, none) = (place("file"), place("file/below"), place("none.md"));
    let twice = format!("{experiment} and {other} would be written into the same files: expected other names");
    for (args, why) in [
        (&["--svg", &file][..], "file: cannot make this folder: "),
        (&["--csv", &below], "file/below: cannot make this folder: "),
        (&["--update", &file], "file: expected a line `<!-- races: begin -->`"),
        (&["--update", &none], "none.md: "),
        (&["--json", &below], "file/below: "),
        (&[&other, "--csv", &place("figures")], &twice),
    ] {
        let all: Vec<&str> = ["race", "--model", "--trials", "10", &experiment].iter().chain(args).copied().collect();
        let output = shopfloor(&all);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{args:?}: {stderr}");
        assert!(stderr.contains(why) && output.stdout.is_empty(), "{args:?}: {stderr}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "nothing is marked here\n");
    let figures = place("figures");
    let output = shopfloor(&["race", "--model", "--trials", "10", &experiment, "--csv", &figures]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut written: Vec<_> = fs::read_dir(&figures).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    written.sort();
    assert_eq!(written, ["race.points.csv", "race.trials.csv"]);
}

/// The model alone can be asked for so many trials that somebody loses patience.
#[test]
fn a_race_of_the_model_can_be_interrupted() {
    let experiment = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/miners/each-its-own-side.yaml");
    let mut child = Command::new(env!("CARGO_BIN_EXE_shopfloor"))
        .args(["race", "--model", "--trials", "10000000"])
        .arg(experiment)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It listens once this bit is set among the signals that it catches.
    let terminate = 1_u64 << (Signal::SIGTERM as u32 - 1);
    wait_for(Duration::from_secs(30), || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        (u64::from_str_radix(caught.trim(), 16).unwrap() & terminate != 0).then_some(())
    });
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let status = wait_for(Duration::from_secs(20), || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
}
