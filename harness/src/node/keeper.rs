//! The thread that keeps a node.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use bitcoind::{BitcoinD, Conf, P2P};
use jsonrpc::Client;
use tokio::sync::oneshot;

use super::arguments::node_arguments;
use super::launcher::{CookiePipe, Launcher};
use super::lodger::Lodger;
use super::process::NodeConfig;
use super::rpc::Rpc;

/// The thread that started the node, and that the node cannot outlive.
#[derive(Debug)]
pub(super) struct Keeper {
    launcher: Launcher,
    cookie: CookiePipe,
    orders: mpsc::Sender<Order>,
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

/// What the keeper's thread can be asked for. It kills the node when nobody can ask any more.
enum Order {
    /// A clean stop, and how it went.
    Stop(oneshot::Sender<Result<(), String>>),
    /// Room for a program beside the node.
    TakeIn(Lodger),
}

/// What the keeper's thread tells of a node that is ready.
pub(super) struct Started {
    pub(super) client: Client,
    pub(super) p2p: Option<SocketAddr>,
}

impl Keeper {
    /// Starts the node in a thread of its own, which tells when the node is ready.
    pub(super) fn spawn(
        config: &NodeConfig,
        launcher: Launcher,
        cookie: CookiePipe,
        datadir: &Path,
    ) -> io::Result<(Self, oneshot::Receiver<Result<Started, String>>)> {
        let mut args = node_arguments(config.time, config.listen);
        args.push(cookie.startup_argument(&launcher));
        args.extend(config.args.iter().cloned());
        let (orders, inbox) = mpsc::channel::<Order>();
        let (tell, ready) = oneshot::channel();
        let (script, datadir, pipe) = (launcher.script(), datadir.to_owned(), cookie.clone());
        let p2p = if config.listen { P2P::Yes } else { P2P::No };
        let thread = thread::Builder::new().name(format!("node {}", config.name)).spawn(move || {
            let mut conf = Conf::default();
            conf.args = args.iter().map(String::as_str).collect();
            conf.network = pipe.network();
            conf.staticdir = Some(datadir);
            conf.attempts = 1;
            conf.wallet = None;
            conf.p2p = p2p;
            let mut bitcoind = match BitcoinD::with_conf(script, &conf) {
                Ok(bitcoind) => bitcoind,
                // Nobody listens any more if the node's end was seen first.
                Err(error) => return drop(tell.send(Err(format!("{error:#}")))),
            };
            let p2p = bitcoind.params.p2p_socket.map(SocketAddr::V4);
            let client = Rpc::client(&bitcoind.rpc_url(), pipe.node_cookie());
            let started = client.map(|client| Started { client, p2p }).map_err(|error| error.to_string());
            let started =
                started.and_then(|started| pipe.replace().map(|()| started).map_err(|error| error.to_string()));
            if tell.send(started).is_ok()
                && let Some(done) = lodge_until_stop(&bitcoind, &inbox)
            {
                let result = match bitcoind.stop() {
                    Ok(status) if status.success() => Ok(()),
                    Ok(status) => Err(status.to_string()),
                    Err(error) => Err(format!("{error:#}")),
                };
                // The asker may have gone; the node has stopped all the same.
                let _ = done.send(result);
            }
        })?;
        Ok((Keeper { launcher, cookie, orders, thread: Some(thread), state: State::Starting }, ready))
    }

    /// What started the node.
    pub(super) fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// To be told when the node is ready: its thread waits for nothing but orders from then on.
    pub(super) fn node_is_ready(&mut self) {
        self.state = State::Ready;
    }

    /// Takes in a program beside the node. Without the thread there is no room: the lodger is dropped.
    pub(super) fn take_in(&self, lodger: Lodger) {
        let _ = self.orders.send(Order::TakeIn(lodger));
    }

    /// Asks the node to stop, and waits until it has written everything. The error says what went wrong.
    pub(super) async fn stop(&mut self) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        let gone = || "its thread has ended".to_owned();
        self.orders.send(Order::Stop(done)).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))?;
        self.state = State::Stopped;
        Ok(())
    }
}

impl Drop for Keeper {
    /// Kills the node, if it still runs. What it holds is thrown away or has been written by a clean stop.
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if thread.is_finished() {
            return;
        }
        // Before a clean stop, the process is reaped by nobody but the thread, which still runs.
        if self.state != State::Stopped
            && let Err(error) = self.launcher.kill()
        {
            eprintln!("shopfloor: cannot kill a node: {error}");
        }
        // An order channel without a sender tells the thread to end.
        self.orders = mpsc::channel().0;
        if self.state == State::Starting {
            if let Err(error) = self.cookie.give_up().and_then(|()| self.launcher.give_up()) {
                eprintln!("shopfloor: a thread waits for a node that did not start: {error}");
            }
        } else {
            // A panic in there has been printed, and there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

/// Runs the programs beside a node, until the node is to stop or nobody can ask any more. All of them have ended then.
fn lodge_until_stop(bitcoind: &BitcoinD, inbox: &mpsc::Receiver<Order>) -> Option<oneshot::Sender<Result<(), String>>> {
    thread::scope(|scope| {
        let mut ends = Vec::new();
        let stop = loop {
            match inbox.recv() {
                Ok(Order::TakeIn(Lodger { stay, end })) => {
                    scope.spawn(move || stay(bitcoind));
                    ends.push(end);
                }
                Ok(Order::Stop(done)) => break Some(done),
                Err(_) => break None,
            }
        };
        ends.into_iter().for_each(|end| end());
        stop
    })
}
