//! One node in a container.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::query_parameters::KillContainerOptionsBuilder;
use tokio::time::sleep;

use super::engine::{Engine, EngineError, STEP, cannot};
use super::guard::Container;
use super::image::Image;
use super::life::Life;
use super::net::{ContainerNet, NetError};
use crate::node::{Rpc, RpcError, RpcErrorReason, logs};

/// How long a node may take until it answers, and until it has stopped.
const DEADLINE: Duration = Duration::from_secs(90);
/// The node's answer while it is starting (`RPC_IN_WARMUP`).
const IN_WARMUP: i32 = -28;

/// How to start a node in a container.
#[derive(Clone, Debug)]
pub struct ContainerConfig {
    /// What the node is called.
    pub name: String,
    /// What the container is made from.
    pub image: Image,
    /// The node's own folder, on this machine. Its data directory is `data` in there, and may hold a chain already.
    pub dir: PathBuf,
    /// More arguments for the program.
    pub args: Vec<String>,
    /// Its clock, in seconds since 1970.
    pub time: u64,
}

/// A node in a container. The container is removed when this is dropped, and when the harness ends, whatever ends it.
#[derive(Debug)]
pub struct ContainerNode {
    name: String,
    dir: PathBuf,
    net: ContainerNet,
    container: Container,
    life: Life,
    rpc: Rpc,
}

/// Returned when a node in a container does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
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
    /// Returned when the engine refuses.
    #[error("node {name}: {source}")]
    Engine {
        /// The node.
        name: String,
        /// What it refuses.
        source: EngineError,
    },
    /// Returned when there is no place for the node in the run's networks.
    #[error("node {name}: {source}")]
    Net {
        /// The node.
        name: String,
        /// Why.
        source: NetError,
    },
    /// Returned when the node ends before it is ready.
    #[error("node {name} ended before it was ready: {how}\n{logs}")]
    Ended {
        /// The node.
        name: String,
        /// How it ended.
        how: String,
        /// The last lines of its logs.
        logs: String,
    },
    /// Returned when the node does not get ready, or does not stop.
    #[error("node {name} was not {what} after {} s\n{logs}", DEADLINE.as_secs())]
    NotInTime {
        /// The node.
        name: String,
        /// What it should be.
        what: &'static str,
        /// The last lines of its logs.
        logs: String,
    },
    /// Returned when the node says that something went wrong while it stopped.
    #[error("node {name} did not stop cleanly: {how}\n{logs}")]
    Unclean {
        /// The node.
        name: String,
        /// How it ended.
        how: String,
        /// The last lines of its logs.
        logs: String,
    },
    /// Returned when the node does not answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

impl ContainerNode {
    /// Starts a node on the networks of a run and waits until it answers as itself.
    ///
    /// # Errors
    ///
    /// [`ContainerError`], with the last lines of the node's logs if it ended or did not get ready.
    pub async fn start(net: &ContainerNet, config: &ContainerConfig) -> Result<ContainerNode, ContainerError> {
        let name = &config.name;
        let prepare = |source| ContainerError::Prepare { name: name.clone(), dir: config.dir.clone(), source };
        fs::create_dir_all(data(&config.dir)).map_err(prepare)?;
        set_time(&config.dir, config.time).map_err(prepare)?;
        let on_net = |source| ContainerError::Net { name: name.clone(), source };
        let address = net.take_seat(name).map_err(on_net)?;
        let container = match Container::create(net, config, address).await {
            Ok(container) => container,
            Err(error) => {
                net.leave_seat(name);
                return Err(error);
            }
        };
        net.seat(name, &container.id).await.map_err(on_net)?;
        let (life, rpc) = bring_up(name, &config.dir, &container).await?;
        Ok(ContainerNode { name: name.clone(), dir: config.dir.clone(), net: net.clone(), container, life, rpc })
    }

    /// What the node is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's ear. After [`ContainerNode::start_again`] it is another one.
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.container.id
    }

    /// Where other nodes in containers reach this one. In a partition it is another address, unless the node's group
    /// kept the common network.
    pub fn p2p(&self) -> SocketAddr {
        self.net.p2p(&self.name).expect("a node has its seat for as long as it is there")
    }

    /// Completes when the node's process has ended, whoever ended it. It is about the process that runs now: one that
    /// is started again later is not waited for.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        let end = self.life.end();
        async move { drop(end.await) }
    }

    /// Stops the container's time. Its connections stay, and nobody answers on them.
    ///
    /// # Errors
    ///
    /// [`ContainerError`], if the engine refuses, for instance because the node does not run.
    pub async fn pause(&self) -> Result<(), ContainerError> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.engine().docker().pause_container(self.id()).await {
                // On a busy machine the kernel does not get hold of all threads in the time that the engine gives it.
                Err(Error::DockerResponseServerError { message, .. })
                    if message.contains("unable to freeze") && Instant::now() < deadline =>
                {
                    sleep(STEP).await;
                }
                paused => return paused.map_err(cannot("pause it")).map_err(self.refused()),
            }
        }
    }

    /// Lets the container's time go on.
    ///
    /// # Errors
    ///
    /// [`ContainerError`], if the engine refuses, for instance because the node is not paused.
    pub async fn unpause(&self) -> Result<(), ContainerError> {
        let unpaused = self.engine().docker().unpause_container(self.id()).await;
        unpaused.map_err(cannot("unpause it")).map_err(self.refused())
    }

    /// Kills the node, paused or not, as a loss of power would. Its container and its files stay.
    ///
    /// # Errors
    ///
    /// [`ContainerError`], if the engine refuses, for instance because the node does not run.
    pub async fn kill(&self) -> Result<(), ContainerError> {
        let options = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
        let killed = self.engine().docker().kill_container(self.id(), Some(options)).await;
        killed.map_err(cannot("kill it")).map_err(self.refused())?;
        self.wait_for_end("killed").await.map(drop)
    }

    /// Starts the node again, in its container and on its files, with its clock at `time`. Its RPC is at another port
    /// then, so an [`Rpc`] that was cloned before is of no more use.
    ///
    /// # Errors
    ///
    /// [`ContainerError`], if it still runs, or as with [`ContainerNode::start`].
    pub async fn start_again(&mut self, time: u64) -> Result<(), ContainerError> {
        if self.life.is_running() {
            let how = "it still runs".to_owned();
            return Err(ContainerError::Unclean { name: self.name.clone(), how, logs: String::new() });
        }
        let prepare = |source| ContainerError::Prepare { name: self.name.clone(), dir: self.dir.clone(), source };
        set_time(&self.dir, time).map_err(prepare)?;
        (self.life, self.rpc) = bring_up(&self.name, &self.dir, &self.container).await?;
        Ok(())
    }

    /// Asks the node to stop, waits until it has written everything, and removes its container.
    ///
    /// # Errors
    ///
    /// [`ContainerError`], if it does not, or says that something went wrong.
    pub async fn stop(self) -> Result<(), ContainerError> {
        self.rpc.call::<String>("stop", Vec::new()).await?;
        let code = self.wait_for_end("stopped").await?;
        if code != Ok(0) {
            let how = how(&code);
            self.container.save_output(&self.dir).await?;
            return Err(ContainerError::Unclean { name: self.name.clone(), how, logs: logs(&self.dir) });
        }
        self.remove().await
    }

    /// Removes the container, whatever the node does.
    ///
    /// # Errors
    ///
    /// [`ContainerError`], if the engine refuses.
    pub async fn remove(mut self) -> Result<(), ContainerError> {
        let removed = self.engine().remove_container(self.id()).await;
        removed.map_err(self.refused())?;
        self.container.removed = true;
        Ok(())
    }

    async fn wait_for_end(&self, what: &'static str) -> Result<Result<i64, String>, ContainerError> {
        match tokio::time::timeout(DEADLINE, self.life.end()).await {
            Ok(code) => Ok(code),
            Err(_) => {
                self.container.save_output(&self.dir).await?;
                Err(ContainerError::NotInTime { name: self.name.clone(), what, logs: logs(&self.dir) })
            }
        }
    }

    fn engine(&self) -> &Engine {
        self.net.engine()
    }

    fn refused(&self) -> impl FnOnce(EngineError) -> ContainerError + use<> {
        refused(&self.name)
    }
}

/// Starts the container and waits until the node answers.
async fn bring_up(name: &str, dir: &Path, container: &Container) -> Result<(Life, Rpc), ContainerError> {
    let prepare = |source| ContainerError::Prepare { name: name.to_owned(), dir: dir.to_owned(), source };
    let cookie = data(dir).join("regtest").join(".cookie");
    // One that a killed node left would be taken for the new one's.
    match fs::remove_file(&cookie) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(prepare(error)),
        _ => {}
    }
    let docker = container.net.engine().docker();
    let started = docker.start_container(&container.id, None).await;
    started.map_err(cannot("start its container")).map_err(refused(name))?;
    let life = Life::of(docker.clone(), container.id.clone());
    let deadline = Instant::now() + DEADLINE;
    let ready = async {
        loop {
            if cookie.exists()
                && let Some(port) = container.rpc_port().await.map_err(refused(name))?
                && let Some(rpc) = answering(name, port, &cookie, dir).await?
            {
                return Ok::<_, ContainerError>(Some(rpc));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            sleep(STEP).await;
        }
    };
    let outcome = tokio::select! {
        ready = ready => ready?.ok_or(None),
        end = life.end() => Err(Some(end)),
    };
    match outcome {
        Ok(rpc) => Ok((life, rpc)),
        Err(end) => {
            container.save_output(dir).await?;
            let (name, logs) = (name.to_owned(), logs(dir));
            Err(match end {
                Some(end) => ContainerError::Ended { name, how: how(&end), logs },
                None => ContainerError::NotInTime { name, what: "ready", logs },
            })
        }
    }
}

/// The node's RPC, if it answers there. Nobody but the node knows the secret in its cookie, so it is the node itself
/// that answers.
async fn answering(name: &str, port: u16, cookie: &Path, dir: &Path) -> Result<Option<Rpc>, ContainerError> {
    // The node may not have written all of the cookie yet.
    let Ok(client) = Rpc::client(&format!("http://127.0.0.1:{port}"), cookie) else { return Ok(None) };
    let prepare = |source| ContainerError::Prepare { name: name.to_owned(), dir: dir.to_owned(), source };
    let rpc = Rpc::traced(name, client, dir).map_err(prepare)?;
    match rpc.call::<Value>("getblockchaininfo", Vec::new()).await {
        Ok(_) => Ok(Some(rpc)),
        Err(RpcError { reason: RpcErrorReason::Refused { code: IN_WARMUP, .. }, .. }) => Ok(None),
        Err(error @ RpcError { reason: RpcErrorReason::Refused { .. }, .. }) => Err(error.into()),
        // Nobody listens there yet.
        Err(_) => Ok(None),
    }
}

/// Sets the clock with which the node will start.
fn set_time(dir: &Path, time: u64) -> io::Result<()> {
    fs::write(data(dir).join("bitcoin.conf"), format!("regtest.mocktime={time}\n"))
}

/// The data directory in a node's folder.
pub(super) fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

fn how(end: &Result<i64, String>) -> String {
    match end {
        Ok(code) => format!("exit code {code}"),
        Err(reason) => reason.clone(),
    }
}

/// Turns the engine's refusal into one that names the node.
pub(super) fn refused(name: &str) -> impl FnOnce(EngineError) -> ContainerError + use<> {
    let name = name.to_owned();
    move |source| ContainerError::Engine { name, source }
}
