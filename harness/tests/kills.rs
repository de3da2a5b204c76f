//! Whatever ends the harness, and whenever: no process, container, network or temporary folder of the run stays.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shopfloor::container::Engine;

/// All that a run leaves is gone within this time after its end.
const LIMIT: Duration = Duration::from_secs(20);

/// Three nodes that mine, are parted, mine again and are healed: what is going on can be told from the heights.
const SCENARIO: &str = "\
name: long
nodes:
  alice: { kind: core-31 }
  bob: { kind: core-31 }
  carol: { kind: core-31 }
factory:
  members: 2
  capacity: 1_000_000 sat
steps:
  - open
  - pay: { from: operator, to: members, amount: 10_000 sat }
  - mine: { to_height: 260 }
  - partition: [[alice, bob], [carol]]
  - mine: { to_height: 300, by: alice }
  - heal
  - sign: closes
  - sign: factory-close
  - broadcast: { tx: factory-close }
  - mine: { blocks: 1 }
expect: { confirmed: factory-close }
";

/// The program on a scenario, in a temporary folder of its own.
struct Run {
    child: Child,
    dir: tempfile::TempDir,
}

impl Run {
    fn start(scenario: &str) -> Run {
        let dir = tempfile::tempdir().unwrap();
        let temp = dir.path().join("temp");
        fs::create_dir(&temp).unwrap();
        let file = dir.path().join("long.yaml");
        fs::write(&file, scenario).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_shopfloor"));
        command.arg("run").arg(&file).env("TMPDIR", &temp);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Run { child: command.spawn().unwrap(), dir }
    }

    /// The folder of the run, once it is there.
    fn folder(&self) -> Option<PathBuf> {
        let base = self.dir.path().join("temp").join(format!("shopfloor-{}", nix::unistd::getuid()));
        let entries = fs::read_dir(base).ok()?.flatten().map(|entry| entry.path());
        entries.into_iter().find(|path| path.is_dir())
    }

    /// Whether a file of a node is there, and says this.
    fn says(&self, node: &str, file: &str, text: &str) -> bool {
        let read = |folder: PathBuf| fs::read_to_string(folder.join("nodes").join(node).join(file)).ok();
        self.folder().and_then(read).is_some_and(|content| content.contains(text))
    }

    /// Waits until the run is in a phase.
    fn wait_until(&mut self, phase: &str, mut reached: impl FnMut(&Run) -> bool) {
        let begun = Instant::now();
        while !reached(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the run ended before the phase `{phase}`: {ended:?}");
            assert!(begun.elapsed() < Duration::from_secs(120), "waited for the phase `{phase}` in vain");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends a signal, and waits until the program has ended and nothing of it is left.
    fn end_by(mut self, signal: Signal, phase: &str) -> ExitStatus {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < LIMIT, "{phase}: it does not end by {signal}");
            std::thread::sleep(Duration::from_millis(2));
        };
        let temp = self.dir.path().join("temp");
        loop {
            let (processes, folder) = (processes_of(&temp), self.folder());
            if processes.is_empty() && folder.is_none() {
                return status;
            }
            assert!(begun.elapsed() < LIMIT, "{phase}: {signal} leaves {processes:?} and {folder:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The processes that name a folder in their command line or environment, or have something in it open.
fn processes_of(folder: &Path) -> Vec<String> {
    let name = folder.as_os_str().as_bytes();
    let names_it = |text: &[u8]| text.windows(name.len()).any(|part| part == name);
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()) {
        let is_process = process.file_name().and_then(OsStr::to_str).is_some_and(|name| name.parse::<u32>().is_ok());
        if !is_process {
            continue;
        }
        // A process that has gone meanwhile, or is somebody else's, has nothing to read.
        let read = |file: &str| fs::read(process.join(file)).unwrap_or_default();
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let open = files.filter_map(|file| fs::read_link(file.path()).ok());
        let line = read("cmdline");
        if names_it(&line)
            || names_it(&read("environ"))
            || open.into_iter().any(|file| names_it(file.as_os_str().as_bytes()))
        {
            found.push(format!("{}: {}", process.display(), String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

/// A moment of a run, and how it is told.
type Phase = (&'static str, fn(&Run) -> bool);

const PHASES: [Phase; 8] = [
    ("before any node", |run| run.folder().is_some()),
    ("a node is launched", |run| run.says("alice", "launch", "")),
    ("a node starts", |run| run.says("alice", "pid", "\n")),
    ("a node runs, the next one is launched", |run| run.says("bob", "launch", "")),
    ("the last node starts", |run| run.says("carol", "pid", "\n")),
    ("blocks are mined", |run| run.says("alice", LOG, "height=230 ")),
    ("the nodes are parted", |run| run.says("alice", LOG, "height=280 ")),
    ("at the end", |run| run.says("alice", LOG, "height=301 ")),
];

const LOG: &str = "data/regtest/debug.log";

#[test]
fn a_killed_run_leaves_nothing_whenever_it_is_killed() {
    for (phase, reached) in PHASES {
        let mut run = Run::start(SCENARIO);
        run.wait_until(phase, reached);
        let status = run.end_by(Signal::SIGKILL, phase);
        assert_eq!(status.code(), None, "{phase}: it ended by itself: {status}");
    }
}

#[test]
fn a_run_that_is_killed_at_any_moment_leaves_nothing() {
    // While nodes start, every few milliseconds are another moment.
    for moment in 0..24 {
        let run = Run::start(SCENARIO);
        std::thread::sleep(Duration::from_millis(25 * moment));
        run.end_by(Signal::SIGKILL, &format!("{} ms after the start", 25 * moment));
    }
}

#[test]
fn a_killed_run_leaves_no_electrum_server() {
    let scenario = SCENARIO.replace("factory:", "parties: { m0: { chain_view: electrum } }\nfactory:");
    let phases: [Phase; 3] = [
        ("the server is launched", |run| run.says("alice", "electrs/launch", "")),
        ("the server starts", |run| run.says("alice", "electrs/pid", "\n")),
        ("blocks are mined", |run| run.says("alice", LOG, "height=205 ")),
    ];
    for (phase, reached) in phases {
        let mut run = Run::start(&scenario);
        run.wait_until(phase, reached);
        let status = run.end_by(Signal::SIGKILL, phase);
        assert_eq!(status.code(), None, "{phase}: it ended by itself: {status}");
    }
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    for (phase, reached) in [PHASES[2], PHASES[5], PHASES[6]] {
        let mut run = Run::start(SCENARIO);
        run.wait_until(phase, reached);
        let status = run.end_by(Signal::SIGINT, phase);
        assert_eq!(status.code(), Some(130), "{phase}");
    }
}

#[test]
fn a_terminated_run_leaves_nothing() {
    for (phase, reached) in [PHASES[3], PHASES[6]] {
        let mut run = Run::start(SCENARIO);
        run.wait_until(phase, reached);
        let status = run.end_by(Signal::SIGTERM, phase);
        assert!(!status.success(), "{phase}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_leaves_no_container_and_no_network() {
    let engine = match Engine::connect().await {
        Ok(engine) => engine,
        Err(none) => return eprintln!("no container engine, so there is nothing to leave: {none}"),
    };
    let scenario = SCENARIO.replace("core-31 }", "core-31, backend: container }");
    let phases: [Phase; 4] = [
        ("before any node", |run| run.folder().is_some_and(|folder| folder.join("nodes/alice").exists())),
        ("a node runs, the next one is made", |run| {
            run.folder().is_some_and(|folder| folder.join("nodes/bob").exists())
        }),
        ("blocks are mined", |run| run.says("alice", LOG, "height=230 ")),
        ("the nodes are parted", |run| run.says("alice", LOG, "height=280 ")),
    ];
    for (phase, reached) in phases {
        let mut run = Run::start(&scenario);
        run.wait_until(phase, reached);
        let folder = run.folder().unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let there = engine.networks(&name).await.unwrap();
        assert!(!there.is_empty(), "{phase}: the run {name} has networks of its own");
        run.end_by(Signal::SIGKILL, phase);
        let begun = Instant::now();
        loop {
            let (containers, networks) =
                (engine.containers(&name).await.unwrap(), engine.networks(&name).await.unwrap());
            if containers.is_empty() && networks.is_empty() {
                break;
            }
            assert!(begun.elapsed() < LIMIT, "{phase}: left {containers:?} and {networks:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
