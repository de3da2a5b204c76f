//! Runs one scenario on a real node.

mod money;
mod steps;

use std::time::Instant;

use bitcoin::{Address, Amount};
use factory_core::TxName;

use super::language::Step;
use super::load::Loaded;
use crate::book::Book;
use crate::factory::capacities;
use crate::ledger::Ledger;
use crate::node::provision::{self, Env, LocateError, Tool};
use crate::node::snapshot::{self, BLOCK_INTERVAL, Snapshot, SnapshotError};
use crate::node::{Node, NodeConfig, RpcError, StartError, logs};
use crate::parties::{Parties, PartyError};
use crate::report::{NodeReport, RunReport, StepReport, Verdict};
use crate::run_dir::RunDir;
use crate::seed;

/// How to run.
#[derive(Debug)]
pub struct Options<'a> {
    /// Where node programs come from.
    pub env: &'a Env,
    /// Keeps the files of every run, not only of one that did not pass.
    pub keep: bool,
    /// Is told of every step when it is done.
    pub on_step: fn(&StepReport),
}

/// Why a scenario cannot go on.
#[derive(Debug)]
enum Stop {
    /// Something that the scenario needs is not there.
    Skip(String),
    /// What happened is not what the scenario expects.
    Fail(String),
    /// The harness itself failed.
    Error(String),
}

/// Runs a scenario from the start of its node to the check of everybody's final amount.
pub async fn run(loaded: &Loaded, options: &Options<'_>) -> RunReport {
    let started = Instant::now();
    let mut report = RunReport::new(loaded);
    let mut folder = match RunDir::new() {
        Ok(folder) => folder,
        Err(error) => {
            report.verdict = Verdict::Error;
            report.failures.push(format!("cannot make a folder for the run: {error}"));
            return report;
        }
    };
    if let Err(stop) = Run::play(loaded, options, &folder, &mut report).await {
        let (verdict, reason) = match stop {
            Stop::Skip(reason) => (Verdict::Skip, reason),
            Stop::Fail(reason) => (Verdict::Fail, reason),
            Stop::Error(reason) => (Verdict::Error, reason),
        };
        report.verdict = verdict;
        report.failures.push(reason);
    } else if !report.failures.is_empty() {
        report.verdict = Verdict::Fail;
    }
    if options.keep || matches!(report.verdict, Verdict::Fail | Verdict::Error) {
        match folder.keep() {
            Ok(()) => {
                report.files = Some(folder.path().to_owned());
                if report.verdict != Verdict::Pass {
                    let nodes = loaded.scenario.nodes.value.keys();
                    report.logs = nodes.map(|name| logs(&folder.path().join("nodes").join(name))).collect();
                }
            }
            Err(error) => report.failures.push(format!("cannot keep the files of the run: {error}")),
        }
    }
    report.duration_ms = millis(started);
    report
}

struct Run<'a> {
    loaded: &'a Loaded,
    report: &'a mut RunReport,
    node: Node,
    parties: Parties,
    ledger: Ledger,
    height: u64,
    time: u64,
    rewards: Address,
    /// Every state of every channel, by the runner's own arithmetic.
    book: Book,
}

impl<'a> Run<'a> {
    async fn play(
        loaded: &'a Loaded,
        options: &Options<'_>,
        folder: &RunDir,
        report: &'a mut RunReport,
    ) -> Result<(), Stop> {
        let mut run = Run::start(loaded, options, folder, report).await?;
        let mut stopped = Ok(());
        for step in &loaded.scenario.steps.value {
            let begun = Instant::now();
            stopped = run.step_while_node_lives(&step.value).await;
            let done = StepReport { step: step.value.to_string(), duration_ms: millis(begun) };
            (options.on_step)(&done);
            run.report.steps.push(done);
            if stopped.is_err() {
                break;
            }
        }
        // After a failure, too, the tables show how far things came.
        let concluded = run.conclude().await;
        stopped.and(concluded)
    }

    async fn start(
        loaded: &'a Loaded,
        options: &Options<'_>,
        folder: &RunDir,
        report: &'a mut RunReport,
    ) -> Result<Self, Stop> {
        let scenario = &loaded.scenario;
        let (name, spec) = scenario.nodes.value.first_key_value().expect("a checked scenario has a node");
        let program = provision::locate(options.env, Tool::Node(spec.kind.0)).map_err(|error| match error {
            LocateError::NotFound { .. } => Stop::Skip(error.to_string()),
            _ => Stop::Error(error.to_string()),
        })?;
        let cache = options.env.cache().map_err(|error| Stop::Error(error.to_string()))?;
        let ports = cache.join("ports");
        let snapshot = Snapshot::of(&program.path, &cache, &ports).await?;
        let dir = folder.path().join("nodes").join(name);
        let datadir = dir.join("data");
        snapshot.copy_to(&datadir).map_err(|error| Stop::Error(format!("{}: {error}", datadir.display())))?;
        let time = snapshot.time() + BLOCK_INTERVAL;
        let config = NodeConfig {
            name: name.clone(),
            program: program.path.clone(),
            dir: dir.clone(),
            ports,
            args: spec.args.clone(),
            time,
        };
        let node = Node::start(&config).await?;
        let version = format!("{} ({})", program.version, node.rpc().user_agent().await?);
        report.nodes.insert(name.clone(), NodeReport { kind: spec.kind.0.to_string(), version });
        let chain = node.rpc().chain().await?;
        if (chain.blocks, chain.tip) != (snapshot.height(), snapshot.tip()) {
            return Err(Stop::Error(format!(
                "node {name} started at block {} ({}), expected the pre-mined block {} ({})",
                chain.blocks,
                chain.tip,
                snapshot.height(),
                snapshot.tip()
            )));
        }
        let miner = factory_core::Wallet::generate(&mut seed::stream(scenario.seed, "miner"));
        let mut run = Run {
            loaded,
            report,
            node,
            parties: Parties::new(scenario, snapshot::faucet(), snapshot.coins()),
            ledger: Ledger::default(),
            height: chain.blocks,
            time,
            rewards: snapshot::address(&miner),
            book: Book::new(&capacities(scenario)),
        };
        // Where the chain stands is the first that a party learns.
        run.show_block(Vec::new()).await?;
        Ok(run)
    }

    async fn step_while_node_lives(&mut self, step: &Step) -> Result<(), Stop> {
        let gone = self.node.ended();
        let name = self.node.name().to_owned();
        tokio::select! {
            result = self.step(step) => result,
            () = gone => Err(Stop::Error(format!("node {name} ended while it was needed"))),
        }
    }
}

fn listed(names: &[TxName]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(TxName::to_string).collect::<Vec<_>>().join(", ")
}

fn sat(amount: Amount) -> String {
    format!("{} sat", amount.to_sat())
}

fn millis(since: Instant) -> u64 {
    since.elapsed().as_millis() as u64
}

impl From<RpcError> for Stop {
    fn from(error: RpcError) -> Self {
        Stop::Error(error.to_string())
    }
}

impl From<StartError> for Stop {
    fn from(error: StartError) -> Self {
        Stop::Error(error.to_string())
    }
}

impl From<SnapshotError> for Stop {
    fn from(error: SnapshotError) -> Self {
        Stop::Error(error.to_string())
    }
}

impl From<PartyError> for Stop {
    fn from(error: PartyError) -> Self {
        Stop::Fail(error.to_string())
    }
}
