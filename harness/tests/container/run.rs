//! A run with nodes in containers, and waiting for what happens to it.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use shopfloor::container::{ContainerConfig, ContainerNet, ContainerNode, Engine};
use shopfloor::node::Kind;
use shopfloor::node::provision::{self, Env, Program, Tool};
use shopfloor::node::snapshot::Snapshot;
use shopfloor::reaper::Reaper;
use tokio::time::{Instant, sleep};

/// Set where an engine is known to be: then nothing may be skipped.
const REQUIRED: &str = "SHOPFLOOR_REQUIRE_CONTAINERS";
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The engine, or `None` with a word about it.
pub async fn engine() -> Option<Engine> {
    match Engine::connect().await {
        Ok(engine) => Some(engine),
        Err(error) if std::env::var_os(REQUIRED).is_some_and(|value| value == "1") => panic!("{error}"),
        Err(error) => {
            // Not by a macro: what those print of a test that passes is not shown.
            io::stderr().write_all(format!("skipped: {error}\n").as_bytes()).unwrap();
            None
        }
    }
}

pub fn program(kind: Kind) -> Program {
    let env = Env::from_process().unwrap();
    provision::locate(&env, Tool::Node(kind)).unwrap_or_else(|error| panic!("{error}"))
}

pub fn cache() -> PathBuf {
    Env::from_process().unwrap().cache().unwrap()
}

/// A run with its networks, folder and reaper, which go in this order.
pub struct Run {
    pub net: ContainerNet,
    pub engine: Engine,
    base: tempfile::TempDir,
    pub reaper: Reaper,
}

impl Run {
    pub async fn new(engine: Engine) -> Run {
        let base = tempfile::Builder::new().prefix("run-").tempdir().unwrap();
        let name = base.path().file_name().unwrap().to_str().unwrap().to_owned();
        fs::create_dir(base.path().join(&name)).unwrap();
        let reaper = Reaper::for_run(&base.path().join(&name), &name).unwrap();
        let net = ContainerNet::create(&engine, &reaper).await.unwrap();
        Run { net, engine, base, reaper }
    }

    pub fn dir(&self) -> PathBuf {
        self.base.path().join(self.reaper.run())
    }

    pub async fn config(&self, name: &str, kind: Kind) -> ContainerConfig {
        let program = program(kind);
        let snapshot = Snapshot::of(&program.path, &cache(), &cache().join("ports")).await.unwrap();
        let dir = self.dir().join(name);
        snapshot.copy_to(&dir.join("data")).unwrap();
        let image = self.engine.image_of(&program, &cache()).await.unwrap();
        // Whoever is cut off is not waited for long, in ms.
        let args = vec!["-timeout=1000".to_owned()];
        ContainerConfig { name: name.to_owned(), image, dir, args, time: snapshot.time() }
    }

    pub async fn start(&self, name: &str, kind: Kind) -> ContainerNode {
        let config = self.config(name, kind).await;
        ContainerNode::start(&self.net, &config).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// How many containers and networks of the run there are.
    pub async fn left(&self) -> (usize, usize) {
        left(&self.engine, self.reaper.run()).await
    }
}

pub async fn left(engine: &Engine, run: &str) -> (usize, usize) {
    (engine.containers(run).await.unwrap().len(), engine.networks(run).await.unwrap().len())
}

/// Waits until something is so.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited for: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
