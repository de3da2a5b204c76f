//! How a testbed comes about: programs are found, nodes started and linked, parties seated.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use factory_core::{Party, Wallet};
use futures_util::future::join_all;
use indexmap::IndexMap;

use super::{Home, Log, Stop, Testbed};
use crate::book::Book;
use crate::container::{ContainerConfig, ContainerNet, Engine};
use crate::factory::capacities;
use crate::network::{How, Network, Place, Start};
use crate::node::provision::{self, Env, LocateError, Program, Tool};
use crate::node::snapshot::{self, BLOCK_INTERVAL, Snapshot};
use crate::node::{NodeConfig, logs};
use crate::parties::Parties;
use crate::report::NodeReport;
use crate::run_dir::RunDir;
use crate::scenario::{Backend, ChainView, NodeSpec, Scenario, Step};
use crate::seed;

/// Where a testbed gets its programs, and where it puts its files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    /// Where node programs come from.
    pub(crate) env: &'a Env,
    /// The folder of the run.
    pub(crate) folder: &'a RunDir,
}

impl Testbed {
    /// Starts the nodes of a scenario and seats its parties. The nodes are reported as far as they came.
    ///
    /// # Errors
    ///
    /// [`Stop::Skip`], if a program or a container engine is missing; [`Stop::Error`], if a node does not start.
    pub(crate) async fn start(
        scenario: Scenario,
        setup: &Setup<'_>,
        nodes: &mut IndexMap<String, NodeReport>,
    ) -> Result<Testbed, Stop> {
        let containers = containers(&scenario, setup).await?;
        let specs = scenario.node_names();
        let homes = homes(&scenario, &specs);
        let with_electrs: BTreeSet<usize> =
            homes.iter().filter(|home| home.view == ChainView::Electrum).map(|home| home.node).collect();
        let electrs = match with_electrs.is_empty() {
            true => None,
            false => Some(locate(setup.env, Tool::Electrs)?.path),
        };
        let context = Context {
            setup,
            cache: setup.env.cache().map_err(error)?,
            containers: containers.as_ref(),
            several: specs.len() > 1,
            keeps_blocks: scenario.steps.is_empty() || scenario.steps.iter().any(|step| matches!(step, Step::Kill(_))),
        };
        // The nodes start side by side. What is reported of them keeps the order of the file.
        let starts = specs.iter().enumerate().map(|(index, (name, spec))| {
            let electrs = electrs.clone().filter(|_| with_electrs.contains(&index));
            context.start(name, spec, electrs)
        });
        let mut places = Vec::new();
        let mut base = None;
        for ((name, _), started) in specs.iter().zip(join_all(starts).await) {
            let (place, report, snapshot) = started?;
            nodes.insert(name.clone(), report);
            places.push(place);
            base = Some((snapshot.coins(), time_after(&snapshot)));
        }
        let (coins, time) = base.ok_or_else(|| Stop::Error("there is no node".to_owned()))?;
        let links = scenario.links();
        let mut network = Network::new(places, links, time, containers.map(|(_, net)| net));
        network.connect().await?;
        let miner = Wallet::generate(&mut seed::stream(scenario.seed, "miner"));
        let log = Log { height: network.height(), ..Log::default() };
        let mut bed = Testbed {
            parties: Parties::new(&scenario, snapshot::faucet(), coins.clone()),
            coins,
            spends: 0,
            book: Book::new(&capacities(&scenario)),
            rewards: snapshot::address(&miner),
            homes,
            network,
            scenario,
            log,
            nodes: IndexMap::new(),
            folder: None,
        };
        // Where the chain stands is the first that a party learns.
        bed.show_beginning().await?;
        Ok(bed)
    }

    /// The last lines of the nodes' logs.
    pub(crate) fn logs(folder: &Path, nodes: impl IntoIterator<Item = impl AsRef<Path>>) -> String {
        nodes.into_iter().map(|name| logs(&folder.join("nodes").join(name))).collect()
    }
}

/// What all nodes of a run have in common.
struct Context<'a> {
    setup: &'a Setup<'a>,
    cache: PathBuf,
    containers: Option<&'a (Engine, Arc<ContainerNet>)>,
    several: bool,
    /// Whether blocks are kept for nodes that are killed; by hand, anything may come.
    keeps_blocks: bool,
}

impl Context<'_> {
    /// Starts one node on the pre-mined chain.
    async fn start(
        &self,
        name: &str,
        spec: &NodeSpec,
        electrs: Option<PathBuf>,
    ) -> Result<(Place, NodeReport, Snapshot), Stop> {
        let program = locate(self.setup.env, Tool::Node(spec.kind.0))?;
        let ports = self.cache.join("ports");
        let snapshot = Snapshot::of(&program.path, &self.cache, &ports).await.map_err(error)?;
        let dir = self.setup.folder.path().join("nodes").join(name);
        let datadir = dir.join("data");
        snapshot.copy_to(&datadir).map_err(|error| Stop::Error(format!("{}: {error}", datadir.display())))?;
        let (name, args, time) = (name.to_owned(), spec.args.clone(), time_after(&snapshot));
        let (how, shown) = match self.containers {
            None => {
                let shown = program.sha256().map_err(error)?;
                // An Electrum server gets its blocks as a peer of the node.
                let listen = self.several || electrs.is_some();
                let program = program.path.clone();
                let config = NodeConfig { name: name.clone(), program, dir, ports, args, time, listen };
                (How::Process(config), shown)
            }
            Some((engine, net)) => {
                let image = match &spec.image {
                    Some(image) => engine.image_named(image).await.map_err(skip)?,
                    None => engine.image_of(&program, &self.cache).await.map_err(error)?,
                };
                let shown = image.name().to_owned();
                let config = ContainerConfig { name: name.clone(), image, dir, args, time };
                (How::Container(Arc::clone(net), config), shown)
            }
        };
        let electrum = electrs.is_some();
        let start = Start { how, electrs };
        let machine = start.again(time).await?;
        let (chain, tip) = (machine.rpc().chain().await?, (snapshot.height(), snapshot.tip()));
        if (chain.blocks, chain.tip) != tip {
            return Err(Stop::Error(format!(
                "node {name} started at block {} ({}), expected the pre-mined block {} ({})",
                chain.blocks, chain.tip, tip.0, tip.1
            )));
        }
        let report = NodeReport {
            kind: spec.kind.0.to_string(),
            version: format!("{} ({})", program.version, machine.rpc().user_agent().await?),
            backend: if self.containers.is_some() { "container" } else { "process" }.to_owned(),
            program: shown,
            electrum,
        };
        let mut place = Place::new(name, start, machine, tip, self.keeps_blocks);
        place.start_electrs().await?;
        Ok((place, report, snapshot))
    }
}

/// What the clock shows when a run begins.
fn time_after(snapshot: &Snapshot) -> u64 {
    snapshot.time() + BLOCK_INTERVAL
}

/// The container engine and the run's networks, if the scenario has nodes in containers.
async fn containers(scenario: &Scenario, setup: &Setup<'_>) -> Result<Option<(Engine, Arc<ContainerNet>)>, Stop> {
    if scenario.nodes.values().all(|node| node.backend == Backend::Process) {
        return Ok(None);
    }
    let engine = Engine::connect().await.map_err(skip)?;
    let net = ContainerNet::create(&engine, setup.folder.reaper()).await.map_err(error)?;
    Ok(Some((engine, Arc::new(net))))
}

fn homes(scenario: &Scenario, specs: &[(String, &NodeSpec)]) -> Vec<Home> {
    let home = |party: Party| {
        let spec = scenario.party(party);
        let node = spec.node.and_then(|name| specs.iter().position(|(known, _)| *known == name)).unwrap_or(0);
        Home { node, view: spec.chain_view }
    };
    scenario.everybody().map(home).collect()
}

/// Finds a program, if its kind is not left out by `SHOPFLOOR_KINDS`.
///
/// # Errors
///
/// [`Stop::Skip`], if it is left out or not there; [`Stop::Error`], if what should be it is something else.
pub(crate) fn locate(env: &Env, tool: Tool) -> Result<Program, Stop> {
    if let (Tool::Node(kind), Some(chosen)) = (tool, env.kinds().map_err(error)?)
        && !chosen.contains(&kind)
    {
        return Err(Stop::Skip(format!("{kind} is left out by {}", provision::KINDS_VARIABLE)));
    }
    provision::locate(env, tool).map_err(|error| match error {
        LocateError::NotFound { .. } => Stop::Skip(error.to_string()),
        _ => Stop::Error(error.to_string()),
    })
}

fn error(error: impl std::fmt::Display) -> Stop {
    Stop::Error(error.to_string())
}

fn skip(error: impl std::fmt::Display) -> Stop {
    Stop::Skip(error.to_string())
}
