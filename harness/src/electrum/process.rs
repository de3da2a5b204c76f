//! One running Electrum server.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use electrsd::{Conf, ElectrsD};
use tokio::sync::{oneshot, watch};

use crate::node::launcher::{Launcher, length, text_from, watch_end};
use crate::node::lodger::Lodger;
use crate::node::{Node, logs};

/// How long a server may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How often other ports are tried, if those that were free are gone when the server would take them.
const PORT_ATTEMPTS: usize = 8;

/// A running `electrs` beside a node. It ends when this is dropped, when its node ends, and when the harness ends,
/// whatever ends it.
#[derive(Debug)]
pub struct Electrs {
    name: Arc<str>,
    addr: SocketAddr,
    keeper: Keeper,
}

/// Returned when a server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ElectrsStartError {
    /// Returned when the node does not listen for peers: blocks reach the server as they reach a peer.
    #[error("{name} needs a node that listens for peers: node {node} does not")]
    NotListening {
        /// The server.
        name: Arc<str>,
        /// The node.
        node: String,
    },
    /// Returned when the server's files cannot be made.
    #[error("cannot prepare {name} in {}: {source}", .dir.display())]
    Prepare {
        /// The server.
        name: Arc<str>,
        /// Its folder.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Returned when the program ends at once, or cannot be run.
    #[error("{name} ended before it was ready: {}: {reason}\n{logs}", .program.display())]
    Ended {
        /// The server.
        name: Arc<str>,
        /// The program.
        program: PathBuf,
        /// What the thread that started it says.
        reason: String,
        /// The last lines of its log.
        logs: String,
    },
    /// Returned when the server does not get ready.
    #[error("{name} was not ready after {} s\n{logs}", START_DEADLINE.as_secs())]
    NotReady {
        /// The server.
        name: Arc<str>,
        /// The last lines of its log.
        logs: String,
    },
    /// Returned when all ports that were tried had been taken by the time the server would use them.
    #[error("{name} found {PORT_ATTEMPTS} ports taken that had been free")]
    NoPort {
        /// The server.
        name: Arc<str>,
    },
}

/// What the server's thread can be asked for.
pub(super) enum Order {
    /// A question, which carries the way back for its answer.
    Ask(Box<dyn FnOnce(&ElectrsD) + Send>),
    /// To end the server.
    End,
}

/// Holds on to the thread that started the server, which the server cannot outlive.
#[derive(Debug)]
struct Keeper {
    launcher: Launcher,
    orders: mpsc::Sender<Order>,
    ended: watch::Receiver<bool>,
    /// Nothing is ever sent: the other end goes when the thread has reaped the server. Behind a lock, so that
    /// a server can be shared.
    reaped: Mutex<mpsc::Receiver<()>>,
}

impl Electrs {
    /// Starts a server beside `node`, and waits until it answers. Its files, with its index, lie in `dir`; what it has
    /// indexed there before is not indexed again.
    ///
    /// # Errors
    ///
    /// [`ElectrsStartError`], with the last lines of its log if it ended or did not get ready.
    pub async fn start(node: &Node, program: &Path, dir: &Path) -> Result<Electrs, ElectrsStartError> {
        let name: Arc<str> = format!("the electrs of {}", node.name()).into();
        if node.p2p().is_none() {
            return Err(ElectrsStartError::NotListening { name, node: node.name().to_owned() });
        }
        for _ in 0..PORT_ATTEMPTS {
            if let Some(electrs) = Electrs::start_once(node, &name, program, dir).await? {
                return Ok(electrs);
            }
        }
        Err(ElectrsStartError::NoPort { name })
    }

    /// One try. It gives nothing if a port was taken.
    async fn start_once(
        node: &Node,
        name: &Arc<str>,
        program: &Path,
        dir: &Path,
    ) -> Result<Option<Electrs>, ElectrsStartError> {
        let prepare = |source| ElectrsStartError::Prepare { name: name.clone(), dir: dir.to_owned(), source };
        let launcher = Launcher::new(program, dir, node.ports()).map_err(prepare)?;
        let output = Launcher::output_in(dir);
        let output_before = length(&output).map_err(prepare)?;
        let (keeper, ready) = Keeper::spawn(node, name, launcher, dir).map_err(prepare)?;
        let started = match tokio::time::timeout(START_DEADLINE, ready).await {
            Ok(started) => started.unwrap_or_else(|_| Err("its node has ended".to_owned())),
            Err(_) => return Err(ElectrsStartError::NotReady { name: name.clone(), logs: logs(dir) }),
        };
        let url = match started {
            Ok(url) => url,
            Err(_) if keeper.launcher.port_taken() || text_from(&output, output_before).contains(IN_USE) => {
                return Ok(None);
            }
            Err(reason) => {
                let (name, program) = (name.clone(), program.to_owned());
                return Err(ElectrsStartError::Ended { name, program, reason, logs: logs(dir) });
            }
        };
        // The crate gives the address as it told the program; the launcher has narrowed it to this machine.
        let addr = url.replace("0.0.0.0", "127.0.0.1").parse();
        let addr = addr.map_err(|error| prepare(io::Error::other(format!("`{url}`: {error}"))))?;
        Ok(Some(Electrs { name: name.clone(), addr, keeper }))
    }

    /// What the server is called in messages.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where the server listens for light clients.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The server's process id.
    ///
    /// # Errors
    ///
    /// If the file that holds it is gone.
    pub fn pid(&self) -> io::Result<i32> {
        self.keeper.launcher.pid()
    }

    /// Completes when the server's process has ended, whoever ended it.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut ended = self.keeper.ended.clone();
        async move {
            // The sender goes only after it has told.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }

    /// Gives an order to the server's thread. If that has ended, the order is dropped, and with it the way back.
    pub(super) fn order(&self, order: Order) {
        let _ = self.keeper.orders.send(order);
    }
}

/// How the program says that a port is somebody else's.
const IN_USE: &str = "Address already in use";

impl Keeper {
    /// Starts the server in a thread of its own inside the node's, which tells where it listens when it is ready.
    fn spawn(
        node: &Node,
        name: &str,
        launcher: Launcher,
        dir: &Path,
    ) -> io::Result<(Self, oneshot::Receiver<Result<String, String>>)> {
        let ended = watch_end(name, launcher.clone())?;
        let (orders, inbox) = mpsc::channel();
        let (tell, ready) = oneshot::channel();
        let (alive, reaped) = mpsc::channel();
        let (script, database) = (launcher.script(), dir.join("db"));
        let stay = move |bitcoind: &bitcoind::BitcoinD| {
            let _alive = alive;
            let mut conf = Conf::default();
            // The files of this machine's user are none of a run's.
            conf.args = vec!["--skip-default-conf-files", "--log-filters", "INFO"];
            conf.staticdir = Some(database);
            match ElectrsD::with_conf(script, bitcoind, &conf) {
                Ok(electrs) => {
                    // Nobody listens any more if the start took too long, and there will be nobody to ask anything.
                    if tell.send(Ok(electrs.electrum_url.clone())).is_ok() {
                        while let Ok(Order::Ask(question)) = inbox.recv() {
                            question(&electrs);
                        }
                    }
                }
                // As above.
                Err(error) => drop(tell.send(Err(format!("{error:#}")))),
            }
        };
        let end = orders.clone();
        // The thread may have ended already.
        let end = move || drop(end.send(Order::End));
        let keeper = Keeper { launcher, orders, ended, reaped: Mutex::new(reaped) };
        node.take_in(Lodger { stay: Box::new(stay), end: Box::new(end) });
        Ok((keeper, ready))
    }
}

impl Drop for Keeper {
    /// Kills the server, if it still runs, and waits until it is reaped. Its index takes no harm from that.
    fn drop(&mut self) {
        if !*self.ended.borrow()
            && let Err(error) = self.launcher.kill()
        {
            eprintln!("shopfloor: cannot kill an Electrum server: {error}");
        }
        // As above: it may have ended already.
        let _ = self.orders.send(Order::End);
        // The error is what is waited for.
        let _ = self.reaped.get_mut().unwrap_or_else(PoisonError::into_inner).recv();
        if !*self.ended.borrow()
            && let Err(error) = self.launcher.give_up()
        {
            eprintln!("shopfloor: a thread waits for an Electrum server that did not start: {error}");
        }
    }
}
