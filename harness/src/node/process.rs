//! One running node.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bitcoind::client::Auth;
use bitcoind::{BitcoinD, Client, Conf};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{oneshot, watch};

use super::launcher::{COOKIE_NETWORK, Launcher};
use super::rpc::{Rpc, RpcError};

/// How long a node may take until it answers. It takes well under a second on an idle machine.
const START_DEADLINE: Duration = Duration::from_secs(90);
/// How often another port is tried, if the one that was free is gone when the node would take it.
const PORT_ATTEMPTS: usize = 8;
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
}

/// A running node. It ends when this is dropped, and when the harness ends, whatever ends it.
#[derive(Debug)]
pub struct Node {
    name: String,
    rpc: Rpc,
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

/// The thread that started the node, and that the node cannot outlive.
#[derive(Debug)]
struct Keeper {
    launcher: Launcher,
    orders: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
    thread: Option<thread::JoinHandle<()>>,
    state: State,
}

/// How far a node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Ready,
    Stopped,
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
                // What the next start logs must not be read together with this.
                Outcome::PortTaken => match fs::remove_file(debug_log(&data(&config.dir))) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(StartError::Prepare { name: config.name.clone(), dir: config.dir.clone(), source });
                    }
                    _ => {}
                },
            }
        }
        Err(StartError::NoPort { name: config.name.clone() })
    }

    async fn start_once(config: &NodeConfig) -> Result<Outcome, StartError> {
        let name = &config.name;
        let prepare = |source| StartError::Prepare { name: name.clone(), dir: config.dir.clone(), source };
        let datadir = data(&config.dir);
        let launcher = Launcher::new(&config.program, &config.dir, &datadir, &config.ports).map_err(prepare)?;
        let (mut keeper, ready) = Keeper::spawn(config, launcher.clone(), &datadir).map_err(prepare)?;
        let mut ended = watch_end(name, launcher.clone()).map_err(prepare)?;

        let logs = || logs(&config.dir);
        let started = tokio::select! {
            started = ready => started.unwrap_or_else(|_| Err("the thread of the node ended".to_owned())),
            _ = ended.wait_for(|ended| *ended) => Err(String::new()),
            () = tokio::time::sleep(START_DEADLINE) => {
                return Err(StartError::NotReady { name: name.clone(), logs: logs() });
            }
        };
        let client = match started {
            Ok(client) => client,
            Err(_) if launcher.port_taken() || could_not_bind(&debug_log(&datadir)) => return Ok(Outcome::PortTaken),
            Err(reason) => {
                let logs = [reason, logs()].join("\n");
                return Err(StartError::Ended { name: name.clone(), program: config.program.clone(), logs });
            }
        };
        keeper.state = State::Ready;
        let rpc = Rpc::new(name, client);
        check_identity(name, &rpc, &launcher, &datadir).await?;
        Ok(Outcome::Ready(Box::new(Node { name: name.clone(), rpc, keeper, ended })))
    }

    /// What the node is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's ear.
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// The node's process id.
    ///
    /// # Errors
    ///
    /// If the file that holds it is gone.
    pub fn pid(&self) -> io::Result<i32> {
        self.keeper.launcher.pid()
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
        let (done, answer) = oneshot::channel();
        let failed = |reason| StopError { name: self.name.clone(), reason };
        self.keeper.orders.send(done).map_err(|_| failed("its thread has ended".to_owned()))?;
        let result = answer.await.unwrap_or_else(|_| Err("its thread has ended".to_owned()));
        if result.is_ok() {
            self.keeper.state = State::Stopped;
        }
        result.map_err(failed)
    }
}

impl Keeper {
    /// Starts the node in a thread of its own, which tells when the node is ready.
    fn spawn(
        config: &NodeConfig,
        launcher: Launcher,
        datadir: &Path,
    ) -> io::Result<(Self, oneshot::Receiver<Result<Client, String>>)> {
        let node_cookie = datadir.join("regtest").join(".cookie");
        let mut args = node_arguments(config.time);
        args.push(launcher.startup_argument(&node_cookie));
        args.extend(config.args.iter().cloned());
        let (orders, inbox) = mpsc::channel::<oneshot::Sender<Result<(), String>>>();
        let (tell, ready) = oneshot::channel();
        let (script, datadir) = (launcher.script(), datadir.to_owned());
        let thread = thread::Builder::new().name(format!("node {}", config.name)).spawn(move || {
            let mut conf = Conf::default();
            conf.args = args.iter().map(String::as_str).collect();
            conf.network = COOKIE_NETWORK;
            conf.staticdir = Some(datadir);
            conf.attempts = 1;
            conf.wallet = None;
            let mut bitcoind = match BitcoinD::with_conf(script, &conf) {
                Ok(bitcoind) => bitcoind,
                // Nobody listens any more if the node's end was seen first.
                Err(error) => return drop(tell.send(Err(format!("{error:#}")))),
            };
            let client = Client::new_with_auth(&bitcoind.rpc_url(), Auth::CookieFile(node_cookie));
            let told = tell.send(client.map_err(|error| error.to_string()));
            if let (Ok(()), Ok(done)) = (told, inbox.recv()) {
                let result = match bitcoind.stop() {
                    Ok(status) if status.success() => Ok(()),
                    Ok(status) => Err(status.to_string()),
                    Err(error) => Err(format!("{error:#}")),
                };
                // The asker may have gone; the node has stopped all the same.
                let _ = done.send(result);
            }
        })?;
        Ok((Keeper { launcher, orders, thread: Some(thread), state: State::Starting }, ready))
    }
}

impl Drop for Keeper {
    /// Kills the node, if it still runs. What it holds is thrown away or has been written by a clean stop.
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if thread.is_finished() {
            return;
        }
        // Before a clean stop, the process is reaped by nobody but the thread, which still runs: so its number is not
        // yet anybody else's. Without the file there is no process.
        if self.state != State::Stopped
            && let Ok(pid) = self.launcher.pid()
        {
            // It may have ended by itself: then there is nothing to kill.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // An order channel without a sender tells the thread to end.
        self.orders = mpsc::channel().0;
        if self.state == State::Starting {
            if let Err(error) = self.launcher.give_up() {
                eprintln!("shopfloor: a thread waits for a node that did not start: {error}");
            }
        } else {
            // A panic in there has been printed, and there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

/// Tells when the node's process has ended.
fn watch_end(name: &str, launcher: Launcher) -> io::Result<watch::Receiver<bool>> {
    let (tell, ended) = watch::channel(false);
    thread::Builder::new().name(format!("end of {name}")).spawn(move || {
        if let Err(error) = launcher.wait_for_end() {
            eprintln!("shopfloor: cannot watch a node: {error}");
        }
        // Without a receiver nobody wants to know.
        let _ = tell.send(true);
    })?;
    Ok(ended)
}

/// The arguments that every node gets.
fn node_arguments(time: u64) -> Vec<String> {
    let fixed = [
        "-regtest",
        // Nothing outside this machine is contacted or offered.
        "-dnsseed=0",
        "-fixedseeds=0",
        "-discover=0",
        "-listenonion=0",
        "-natpmp=0",
        // The log is a file; standard output is nobody's.
        "-printtoconsole=0",
        // One address, so that the port is either the node's or not. Without this, it would do with the other family's.
        "-rpcbind=127.0.0.1",
        "-rpcallowip=127.0.0.1",
        "-debug=mempool",
        // What the last run left in the mempool is not part of this one.
        "-persistmempool=0",
        // The chain is known to be good, and small.
        "-checkblocks=1",
        "-checklevel=0",
        "-dbcache=16",
    ];
    fixed.map(str::to_owned).into_iter().chain([format!("-mocktime={time}")]).collect()
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

/// Whether the node's log says that the port was somebody else's.
fn could_not_bind(log: &Path) -> bool {
    fs::read_to_string(log).is_ok_and(|log| log.contains("Unable to bind any endpoint for RPC server"))
}

/// The data directory in a node's folder.
fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

/// The last lines of the logs in a node's folder, each under its name. A log that is not there has none.
pub(crate) fn logs(dir: &Path) -> String {
    let mut text = String::new();
    for log in [Launcher::stderr_in(dir), debug_log(&data(dir))] {
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
