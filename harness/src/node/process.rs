//! One running node.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;

use super::keeper::Keeper;
use super::launcher::{CookiePipe, Launcher, length, text_from, watch_end};
use super::lodger::Lodger;
use super::rpc::{Rpc, RpcError, Trace};

/// How long a node may take until it answers. It takes well under a second on an idle machine.
const START_DEADLINE: Duration = Duration::from_secs(90);
/// How often another port is tried, if the one that was free is gone when the node would take it.
const PORT_ATTEMPTS: usize = 8;
/// How often a node is asked for something that takes it a moment.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The record of all calls to a node, in its folder.
const TRACE: &str = "rpc.jsonl";
/// How many lines of a log are shown with a failure.
const TAIL_LINES: usize = 20;

/// How to start a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// What the node is called.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// The node's own folder. Its data directory is `data` in there, and may hold a chain already.
    pub dir: PathBuf,
    /// The folder in which ports are locked.
    pub ports: PathBuf,
    /// More arguments for the program.
    pub args: Vec<String>,
    /// Its clock, in seconds since 1970.
    pub time: u64,
    /// Whether it listens for peers on this machine, at a port of its own, and relays at once what it has.
    pub listen: bool,
}

/// A running node. It ends when this is dropped, and when the harness ends, whatever ends it.
#[derive(Debug)]
pub struct Node {
    name: String,
    rpc: Rpc,
    p2p: Option<SocketAddr>,
    ports: PathBuf,
    keeper: Keeper,
    ended: watch::Receiver<bool>,
}

/// Returned when a node cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Returned when the files of the node cannot be made.
    #[error("cannot prepare node {name} in {}: {source}", .dir.display())]
    Prepare {
        /// The node.
        name: String,
        /// Its folder.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Returned when the program ends at once, or cannot be run.
    #[error("node {name} ended before it was ready: {}\n{logs}", .program.display())]
    Ended {
        /// The node.
        name: String,
        /// The program.
        program: PathBuf,
        /// The last lines of its logs.
        logs: String,
    },
    /// Returned when the node does not get ready.
    #[error("node {name} was not ready after {} s\n{logs}", START_DEADLINE.as_secs())]
    NotReady {
        /// The node.
        name: String,
        /// The last lines of its logs.
        logs: String,
    },
    /// Returned when all ports that were tried had been taken by the time the node would use them.
    #[error("node {name} found {PORT_ATTEMPTS} ports taken that had been free")]
    NoPort {
        /// The node.
        name: String,
    },
    /// Returned when something answers at the node's port that is not the node.
    #[error("what answers as node {name} is not it: its {what} is {found}, expected {expected}")]
    Foreign {
        /// The node.
        name: String,
        /// What differs.
        what: &'static str,
        /// The node's own.
        expected: String,
        /// The one of whoever answers.
        found: String,
    },
    /// Returned when the node does not answer a first question.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

/// Returned when a node does not stop as asked.
#[derive(Debug, thiserror::Error)]
#[error("node {name} did not stop cleanly: {reason}")]
pub struct StopError {
    name: String,
    reason: String,
}

/// How one start went.
enum Outcome {
    Ready(Box<Node>),
    PortTaken,
}

impl Node {
    /// Starts a node and waits until it answers as itself.
    ///
    /// # Errors
    ///
    /// [`StartError`], with the last lines of the node's logs if it ended or did not get ready.
    pub async fn start(config: &NodeConfig) -> Result<Node, StartError> {
        for _ in 0..PORT_ATTEMPTS {
            match Node::start_once(config).await? {
                Outcome::Ready(node) => return Ok(*node),
                Outcome::PortTaken => {}
            }
        }
        Err(StartError::NoPort { name: config.name.clone() })
    }

    async fn start_once(config: &NodeConfig) -> Result<Outcome, StartError> {
        let name = &config.name;
        let prepare = |source| StartError::Prepare { name: name.clone(), dir: config.dir.clone(), source };
        let datadir = data(&config.dir);
        let log = debug_log(&datadir);
        let log_before = length(&log).map_err(prepare)?;
        let launcher = Launcher::new(&config.program, &config.dir, &config.ports).map_err(prepare)?;
        let cookie = CookiePipe::new(&datadir).map_err(prepare)?;
        let (mut keeper, ready) = Keeper::spawn(config, launcher.clone(), cookie, &datadir).map_err(prepare)?;
        let mut ended = watch_end(name, launcher.clone()).map_err(prepare)?;

        let logs = || logs(&config.dir);
        let started = tokio::select! {
            started = ready => started.unwrap_or_else(|_| Err("the thread of the node ended".to_owned())),
            _ = ended.wait_for(|ended| *ended) => Err(String::new()),
            () = tokio::time::sleep(START_DEADLINE) => {
                return Err(StartError::NotReady { name: name.clone(), logs: logs() });
            }
        };
        let started = match started {
            Ok(started) => started,
            Err(_) if launcher.port_taken() || could_not_bind(&log, log_before) => return Ok(Outcome::PortTaken),
            Err(reason) => {
                let logs = [reason, logs()].join("\n");
                return Err(StartError::Ended { name: name.clone(), program: config.program.clone(), logs });
            }
        };
        keeper.node_is_ready();
        let trace = Trace::append_to(&config.dir.join(TRACE)).map_err(prepare)?;
        let rpc = Rpc::new(name, started.client, trace);
        check_identity(name, &rpc, &launcher, &datadir).await?;
        wait_for_mempool(name, &rpc, &config.dir).await?;
        let (name, ports) = (name.clone(), config.ports.clone());
        Ok(Outcome::Ready(Box::new(Node { name, rpc, p2p: started.p2p, ports, keeper, ended })))
    }

    /// What the node is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's ear.
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// Where the node listens for peers, if it does.
    pub fn p2p(&self) -> Option<SocketAddr> {
        self.p2p
    }

    /// The node's process id.
    ///
    /// # Errors
    ///
    /// If the file that holds it is gone.
    pub fn pid(&self) -> io::Result<i32> {
        self.keeper.launcher().pid()
    }

    /// Freezes the node's process: it answers nobody until it is [resumed](Node::resume).
    ///
    /// # Errors
    ///
    /// If the process is not there.
    pub fn pause(&self) -> io::Result<()> {
        kill(Pid::from_raw(self.pid()?), Signal::SIGSTOP).map_err(io::Error::from)
    }

    /// Lets a frozen process go on.
    ///
    /// # Errors
    ///
    /// If the process is not there.
    pub fn resume(&self) -> io::Result<()> {
        kill(Pid::from_raw(self.pid()?), Signal::SIGCONT).map_err(io::Error::from)
    }

    /// The folder in which ports are locked.
    pub(crate) fn ports(&self) -> &Path {
        &self.ports
    }

    /// Takes in a program beside the node, which ends before the node does. Whether it came so far, it tells itself.
    pub(crate) fn take_in(&self, lodger: Lodger) {
        self.keeper.take_in(lodger);
    }

    /// Completes when the node's process has ended, whoever ended it.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut ended = self.ended.clone();
        async move {
            // The sender goes only after it has told.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }

    /// Asks the node to stop, and waits until it has written everything.
    ///
    /// # Errors
    ///
    /// [`StopError`], if it does not, or says that something went wrong.
    pub async fn stop(mut self) -> Result<(), StopError> {
        let stopped = self.keeper.stop().await;
        stopped.map_err(|reason| StopError { name: self.name.clone(), reason })
    }

    /// Kills the node, as a power failure would, and returns once its process has ended. What it had not written by then
    /// is lost: its mempool since its last clean stop, and maybe its newest blocks.
    ///
    /// # Errors
    ///
    /// [`StopError`], if it cannot be killed.
    pub async fn kill(self) -> Result<(), StopError> {
        let failed = |reason| StopError { name: self.name.clone(), reason };
        self.keeper.launcher().kill().map_err(|error| failed(format!("cannot kill it: {error}")))?;
        self.ended().await;
        // The thread reaps what has ended; a port that is let go of is free.
        let name = self.name.clone();
        let reaped = tokio::task::spawn_blocking(move || drop(self)).await;
        reaped.map_err(|error| StopError { name, reason: error.to_string() })
    }
}

/// Waits until the node has read the mempool that it wrote when it was stopped.
async fn wait_for_mempool(name: &str, rpc: &Rpc, dir: &Path) -> Result<(), StartError> {
    let loaded = async {
        while !rpc.mempool_is_loaded().await? {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    };
    match tokio::time::timeout(START_DEADLINE, loaded).await {
        Ok(result) => result,
        Err(_) => Err(StartError::NotReady { name: name.to_owned(), logs: logs(dir) }),
    }
}

/// Compares who answers with the process that was started: its number, and its data directory.
async fn check_identity(name: &str, rpc: &Rpc, launcher: &Launcher, datadir: &Path) -> Result<(), StartError> {
    let prepare = |source| StartError::Prepare { name: name.to_owned(), dir: datadir.to_owned(), source };
    let own_pid = launcher.pid().map_err(prepare)?.to_string();
    let pid_file = fs::read_to_string(datadir.join("regtest").join("bitcoind.pid")).map_err(prepare)?;
    let own_log = fs::canonicalize(debug_log(datadir)).map_err(prepare)?;
    let log = rpc.log_path().await?;
    for (what, expected, found) in [
        ("process id", own_pid, pid_file.trim().to_owned()),
        ("log", own_log.display().to_string(), fs::canonicalize(&log).map_or(log, |log| log.display().to_string())),
    ] {
        if expected != found {
            return Err(StartError::Foreign { name: name.to_owned(), what, expected, found });
        }
    }
    Ok(())
}

/// The node's own log.
fn debug_log(datadir: &Path) -> PathBuf {
    datadir.join("regtest").join("debug.log")
}

/// Whether the node's log, from byte `start` on, says that a port was somebody else's.
fn could_not_bind(log: &Path, start: u64) -> bool {
    let text = text_from(log, start);
    ["Unable to bind any endpoint for RPC server", "Failed to listen on any port"]
        .iter()
        .any(|line| text.contains(line))
}

/// The data directory in a node's folder.
fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

/// The last lines of the logs in a node's folder, each under its name. A log that is not there has none.
pub(crate) fn logs(dir: &Path) -> String {
    let mut text = String::new();
    for log in [Launcher::output_in(dir), debug_log(&data(dir))] {
        let content = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<_> = content.lines().collect();
        if lines.is_empty() {
            continue;
        }
        text.push_str(&format!("--- the end of {}\n", log.display()));
        for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}
