//! End to end on real nodes, by the wall's clock: how fast one starts, how long a factory's life takes from the command's
//! start to its exit, alone and among others, and how much memory.
//!
//! It needs `core-31` (`shopfloor node install core-31`).

mod command;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use bitcoind::{BitcoinD, Conf};
use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shopfloor::Kind;
use shopfloor::node::provision::{self, Env, Tool};
use shopfloor::node::snapshot::{BLOCK_INTERVAL, Snapshot};
use shopfloor::node::{Node, NodeConfig};
use tokio::runtime::Runtime;

use command::{be_shopfloor, run};

/// The sizes of a lifecycle. The last has the largest standard factory close.
const MEMBERS: [u32; 5] = [3, 20, 200, 1000, 2322];

fn main() -> ExitCode {
    if let Some(exit) = be_shopfloor() {
        return exit;
    }
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    start(&mut criterion);
    lifecycle(&mut criterion);
    throughput(&mut criterion);
    criterion.final_summary();
    ExitCode::SUCCESS
}

/// What a start needs.
struct Stage {
    runtime: Runtime,
    program: PathBuf,
    snapshot: Snapshot,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let runtime = Runtime::new().expect("threads can be started");
        let env = Env::from_process().expect("there is a working directory");
        let program = provision::locate(&env, Tool::Node(Kind::Core31)).unwrap_or_else(|error| panic!("{error}")).path;
        let cache = env.cache().expect("there is a cache");
        let snapshot = runtime.block_on(Snapshot::of(&program, &cache, &cache.join("ports")));
        let snapshot = snapshot.unwrap_or_else(|error| panic!("{error}"));
        Stage { runtime, program, snapshot, folder: tempfile::tempdir().expect("a folder can be made") }
    }

    /// A data directory with the pre-mined chain.
    fn datadir(&self) -> Datadir {
        let dir = tempfile::tempdir_in(self.folder.path()).expect("a folder can be made");
        self.snapshot.copy_to(&dir.path().join("data")).expect("the chain can be copied");
        Datadir(dir)
    }

    /// Starts a node the harness's way, until it has answered as itself.
    fn start(&self, datadir: &Datadir) -> Node {
        let config = NodeConfig {
            name: "alice".to_owned(),
            program: self.program.clone(),
            dir: datadir.0.path().to_owned(),
            ports: self.folder.path().join("ports"),
            args: Vec::new(),
            time: self.snapshot.time() + BLOCK_INTERVAL,
            listen: false,
        };
        self.runtime.block_on(Node::start(&config)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What the harness tells a node, but where its files and its port are, and what is to happen once it runs.
    fn arguments(&self) -> Vec<String> {
        let datadir = self.datadir();
        let node = self.start(&datadir);
        let pid = node.pid().expect("it runs");
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).expect("the kernel tells about its processes");
        let words = line.split(|byte| *byte == 0).skip(1).map(|word| String::from_utf8_lossy(word).into_owned());
        let own = ["-datadir=", "-rpcport=", "-startupnotify=", "-listen=", "-port="];
        words.filter(|word| !word.is_empty() && !own.iter().any(|own| word.starts_with(own))).collect()
    }
}

/// A folder with a node's data in it.
struct Datadir(tempfile::TempDir);

impl Datadir {
    fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }
}

/// A daemon that nobody but its process id keeps. It ends with this.
struct Daemon {
    pid: Pid,
    _datadir: Datadir,
}

impl Daemon {
    /// The program by itself, which returns from its start when it is ready (`-daemonwait`).
    fn start(program: &Path, arguments: &[String], datadir: Datadir) -> Self {
        let port = free_port();
        let mut command = Command::new(program);
        command.arg(format!("-datadir={}", datadir.path().display())).arg(format!("-rpcport={port}"));
        command.args(["-daemonwait", "-listen=0"]).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.status().expect("the program can be run");
        assert!(status.success(), "the bare daemon: {status}");
        let pid_file = datadir.path().join("regtest").join("bitcoind.pid");
        let pid = std::fs::read_to_string(pid_file).expect("the daemon tells its number");
        Daemon { pid: Pid::from_raw(pid.trim().parse().expect("a number")), _datadir: datadir }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        kill(self.pid, Signal::SIGKILL).expect("it runs until now");
        // A process that is not this one's child: its end shows in that nobody has its number.
        while kill(self.pid, None).is_ok() {
            std::thread::yield_now();
        }
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
    listener.local_addr().expect("it has an address").port()
}

/// From a program to a node that answers, on a pre-mined chain that has been copied before.
fn start(criterion: &mut Criterion) {
    let stage = Stage::new();
    let arguments = stage.arguments();
    let mut group = criterion.benchmark_group("node: start");
    group.sample_size(20).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(10));
    group.bench_function(BenchmarkId::new("ours", 1), |bencher| {
        bencher.iter_batched(|| stage.datadir(), |datadir| (stage.start(&datadir), datadir), BatchSize::PerIteration);
    });
    group.bench_function(BenchmarkId::new("floor", 1), |bencher| {
        bencher.iter_batched(
            || stage.datadir(),
            |datadir| Daemon::start(&stage.program, &arguments, datadir),
            BatchSize::PerIteration,
        );
    });
    group.bench_function(BenchmarkId::new("the crate bitcoind", 1), |bencher| {
        bencher.iter_batched(
            || stage.datadir(),
            |datadir| {
                let mut conf = Conf::default();
                conf.args = arguments.iter().map(String::as_str).collect();
                conf.staticdir = Some(datadir.path());
                conf.wallet = None;
                (BitcoinD::with_conf(&stage.program, &conf).unwrap_or_else(|error| panic!("{error:#}")), datadir)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// The repository's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("benches is a folder in it")
}

/// The main scenario with more members: from the command's start to its exit, the node's start and end among it.
fn lifecycle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("node: a lifecycle");
    group.sampling_mode(SamplingMode::Flat);
    let mut peaks = Vec::new();
    for members in MEMBERS {
        let set = format!("factory.members={members}");
        let args = ["scenarios/lifecycle/basic.yaml", "--set", &set];
        let mut peak = 0;
        group.bench_with_input(BenchmarkId::from_parameter(members), &members, |bencher, _| {
            bencher.iter_custom(|times| {
                let runs: Vec<_> = (0..times).map(|_| run(root(), &args)).collect();
                peak = runs.iter().map(|run| run.peak).chain([peak]).max().unwrap_or_default();
                runs.iter().map(|run| run.wall).sum()
            });
        });
        if peak > 0 {
            peaks.push((members, peak));
        }
    }
    group.finish();
    for (members, peak) in peaks {
        println!("node: a lifecycle/{members}: at most {:.1} MB of memory", peak as f64 / 1e6);
    }
}

/// How long one of many scenarios takes: lifecycles of three members one at a time, then as many at once as keep the
/// processors busy; and a set of different scenarios.
fn throughput(criterion: &mut Criterion) {
    let lifecycles = ["scenarios/lifecycle/basic.yaml", "--repeat", "20"];
    let folders = ["lifecycle", "channels", "stale", "fallback", "opening", "crash"];
    let set: Vec<String> = folders.iter().map(|folder| format!("scenarios/{folder}")).collect();
    for (name, args) in [
        ("node: one of 20 lifecycles, one at a time", [&lifecycles[..], &["--jobs", "1"]].concat()),
        ("node: one of 20 lifecycles, side by side", lifecycles.to_vec()),
        ("node: one of a set of scenarios, side by side", set.iter().map(String::as_str).collect()),
    ] {
        let mut group = criterion.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat);
        group.bench_function(BenchmarkId::new("ours", 1), |bencher| {
            bencher.iter_custom(|times| {
                let runs = (0..times).map(|_| run(root(), &args));
                runs.map(|run| run.wall / run.passed).sum()
            });
        });
        group.finish();
    }
}
