//! The container engine of this machine.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use testcontainers::bollard::errors::Error;
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::bollard::{API_DEFAULT_VERSION, Docker};
use tokio::time::{sleep, timeout};

/// The label of every container and network: which run it belongs to.
pub const RUN_LABEL: &str = "org.shopfloor.run";

/// How long an engine may take to say that it is there.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long it may take for anything else.
const CALL_LIMIT: Duration = Duration::from_secs(120);
/// How long it may take until what was removed is gone.
const REMOVAL_LIMIT: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
pub(super) const STEP: Duration = Duration::from_millis(20);

/// A container engine that answers.
#[derive(Clone, Debug)]
pub struct Engine {
    docker: Docker,
    socket: PathBuf,
    user: String,
}

/// Returned when there is no container engine to be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no container engine: {reason}")]
pub struct NoEngine {
    reason: String,
}

/// Returned when the engine does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the container engine cannot {doing}: {source}")]
pub struct EngineError {
    doing: String,
    source: Box<Error>,
}

/// Turns the engine's error into one that says what was to be done.
pub(super) fn cannot(doing: impl Into<String>) -> impl FnOnce(Error) -> EngineError {
    move |source| EngineError { doing: doing.into(), source: Box::new(source) }
}

/// Whether the engine says that there is no such thing.
pub(super) fn is_absent(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}

/// Whether somebody else is removing this already.
fn is_going(error: &Error) -> bool {
    is_absent(error) || matches!(error, Error::DockerResponseServerError { status_code: 409, .. })
}

impl Engine {
    /// The engine at `DOCKER_HOST`, or at the usual place. The answer comes within two seconds.
    ///
    /// # Errors
    ///
    /// [`NoEngine`], if none answers, or if it is on another machine: a node's files are shared with its container.
    pub async fn connect() -> Result<Engine, NoEngine> {
        let socket = socket(env::var_os("DOCKER_HOST"), env::var_os("XDG_RUNTIME_DIR"))?;
        Engine::connect_to(&socket).await
    }

    /// The engine at this socket.
    ///
    /// # Errors
    ///
    /// [`NoEngine`], if none answers within two seconds.
    pub async fn connect_to(socket: &Path) -> Result<Engine, NoEngine> {
        let refused = |reason: &dyn std::fmt::Display| NoEngine { reason: format!("{}: {reason}", socket.display()) };
        let address = socket.to_str().ok_or_else(|| refused(&"the path is not UTF-8"))?;
        let answer = timeout(ANSWER_LIMIT, async {
            let docker = Docker::connect_with_unix(address, CALL_LIMIT.as_secs(), API_DEFAULT_VERSION)?;
            let docker = docker.negotiate_version().await?;
            let options = docker.info().await?.security_options.unwrap_or_default();
            Ok::<_, Error>((docker, options.iter().any(|option| option.contains("rootless"))))
        });
        let (docker, rootless) = match answer.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(refused(&error)),
            Err(_) => return Err(refused(&format!("no answer within {} s", ANSWER_LIMIT.as_secs()))),
        };
        // Without it, a harness that is killed would leave its containers.
        if !crate::reaper::can_reach_engines() {
            return Err(NoEngine { reason: "perl is missing, which removes containers after a killed run".to_owned() });
        }
        // The root of a rootless engine's containers is the user outside; every other number is a stranger.
        let user = if rootless { 0 } else { nix::unistd::getuid().as_raw() };
        let group = if rootless { 0 } else { nix::unistd::getgid().as_raw() };
        Ok(Engine { docker, socket: socket.to_owned(), user: format!("{user}:{group}") })
    }

    /// The socket at which it answers.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The client, for what is not offered here.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Who owns the files in a container that the harness shall own outside.
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// The containers of a run, by their ids, running or not.
    ///
    /// # Errors
    ///
    /// [`EngineError`], if the engine does not list them.
    pub async fn containers(&self, run: &str) -> Result<Vec<String>, EngineError> {
        let options = ListContainersOptionsBuilder::new().all(true).filters(&label(run)).build();
        let found = self.docker.list_containers(Some(options)).await.map_err(cannot("list containers"))?;
        Ok(found.into_iter().filter_map(|container| container.id).collect())
    }

    /// The networks of a run, by their ids.
    ///
    /// # Errors
    ///
    /// [`EngineError`], if the engine does not list them.
    pub async fn networks(&self, run: &str) -> Result<Vec<String>, EngineError> {
        let options = ListNetworksOptionsBuilder::new().filters(&label(run)).build();
        let found = self.docker.list_networks(Some(options)).await.map_err(cannot("list networks"))?;
        Ok(found.into_iter().filter_map(|network| network.id).collect())
    }

    /// Removes every container and every network of a run, and returns when they are gone.
    ///
    /// # Errors
    ///
    /// [`EngineError`], if one cannot be removed.
    pub async fn remove_all(&self, run: &str) -> Result<(), EngineError> {
        loop {
            let containers = self.containers(run).await?;
            for id in &containers {
                self.remove_container(id).await?;
            }
            let networks = self.networks(run).await?;
            for id in &networks {
                self.remove_network(id).await?;
            }
            // The lists are asked for once more after the last removal: it may have been somebody else's.
            if containers.is_empty() && networks.is_empty() {
                return Ok(());
            }
        }
    }

    /// Removes a container, running or not, and returns when it is gone. One that is not there is no error.
    pub(super) async fn remove_container(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let deadline = Instant::now() + REMOVAL_LIMIT;
        loop {
            match self.docker.remove_container(id, Some(options.clone())).await {
                Ok(()) => return Ok(()),
                Err(error) if is_absent(&error) => return Ok(()),
                Err(error) if is_going(&error) && Instant::now() < deadline => sleep(STEP).await,
                Err(error) => return Err(cannot(format!("remove container {id}"))(error)),
            }
        }
    }

    /// Removes a network without containers. One that is not there is no error.
    pub(super) async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        match self.docker.remove_network(id).await {
            Err(error) if !is_absent(&error) => Err(cannot(format!("remove network {id}"))(error)),
            _ => Ok(()),
        }
    }
}

/// The filter for what belongs to a run.
fn label(run: &str) -> HashMap<&'static str, Vec<String>> {
    HashMap::from([("label", vec![format!("{RUN_LABEL}={run}")])])
}

/// Where the engine listens: where the user says, else at the first of the usual places that is there.
fn socket(docker_host: Option<OsString>, runtime_dir: Option<OsString>) -> Result<PathBuf, NoEngine> {
    if let Some(host) = docker_host.filter(|host| !host.is_empty()) {
        let host = host.to_string_lossy();
        return match host.strip_prefix("unix://") {
            Some(path) => Ok(PathBuf::from(path)),
            None => Err(NoEngine { reason: format!("DOCKER_HOST is {host}: expected a local one, unix://…") }),
        };
    }
    let usual = PathBuf::from("/var/run/docker.sock");
    let own = runtime_dir.map(|dir| PathBuf::from(dir).join("docker.sock"));
    Ok([Some(usual.clone()), own].into_iter().flatten().find(|path| path.exists()).unwrap_or(usual))
}

/// Carries a future to its end from wherever this is called, inside a runtime or outside of one.
pub(super) fn to_the_end<T: Send>(future: impl Future<Output = T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let run = || Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future));
        let worker = thread::Builder::new().name("container clean-up".to_owned()).spawn_scoped(scope, run)?;
        worker.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_engine_is_the_one_that_the_user_names_if_it_is_on_this_machine() {
        let named = |host: &str| socket(Some(host.into()), None);
        assert_eq!(named("unix:///run/mine.sock"), Ok("/run/mine.sock".into()));
        let error = named("tcp://engine.example:2375").unwrap_err().to_string();
        assert_eq!(
            error,
            "no container engine: DOCKER_HOST is tcp://engine.example:2375: expected a local one, unix://…"
        );
    }

    #[test]
    fn an_empty_name_is_none() {
        assert_eq!(socket(Some("".into()), None), socket(None, None));
    }

    #[tokio::test]
    async fn what_does_not_answer_is_told_soon() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent.sock");
        let error = Engine::connect_to(&absent).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("no container engine: {}: ", absent.display())), "{error}");

        let silent = dir.path().join("silent.sock");
        let _listener = UnixListener::bind(&silent).unwrap();
        let start = Instant::now();
        let error = Engine::connect_to(&silent).await.unwrap_err().to_string();
        assert_eq!(error, format!("no container engine: {}: no answer within 2 s", silent.display()));
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_future_is_carried_to_its_end_inside_a_runtime_too() {
        let answer = to_the_end(async {
            sleep(Duration::from_millis(1)).await;
            7
        });
        assert_eq!(answer.unwrap(), 7);
    }
}
