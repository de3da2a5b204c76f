//! Runs one scenario on a real node.

use std::collections::HashMap;
use std::time::Instant;

use bitcoin::{Address, Amount, ScriptBuf};
use factory_core::protocol::{Command, Event};
use factory_core::{Party, TxName};

use super::language::{Broadcast, ExpectSubmission, Pay, Sign, Step};
use super::load::Loaded;
use crate::factory::final_amounts;
use crate::ledger::{Ledger, Status};
use crate::node::provision::{self, Env, LocateError, Tool};
use crate::node::snapshot::{self, BLOCK_INTERVAL, Snapshot, SnapshotError};
use crate::node::{Node, NodeConfig, RpcError, StartError, Submission, logs};
use crate::parties::{Outcome, Parties, PartyError, Watch};
use crate::report::{
    BalanceReport, BlockReport, MoneyReport, NodeReport, RunReport, StepReport, TransactionReport, Verdict,
};
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
    watches: Vec<Watch>,
    height: u64,
    time: u64,
    rewards: Address,
    /// The members' balances, by the scenario's own arithmetic.
    balances: Vec<Amount>,
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
        Ok(Run {
            loaded,
            report,
            node,
            parties: Parties::new(scenario, snapshot::faucet(), snapshot.coins()),
            ledger: Ledger::default(),
            watches: Vec::new(),
            height: chain.blocks,
            time,
            rewards: snapshot::address(&miner),
            balances: vec![Amount::ZERO; scenario.factory.members.value.0 as usize],
        })
    }

    async fn step_while_node_lives(&mut self, step: &Step) -> Result<(), Stop> {
        let gone = self.node.ended();
        let name = self.node.name().to_owned();
        tokio::select! {
            result = self.step(step) => result,
            () = gone => Err(Stop::Error(format!("node {name} ended while it was needed"))),
        }
    }

    async fn step(&mut self, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Open => self.open().await,
            Step::Pay(pay) => self.pay(pay).await,
            Step::Sign(sign) => {
                let command = match sign.value {
                    Sign::Closes => Command::SignCloses,
                    Sign::FactoryClose => Command::SignFactoryClose,
                };
                let outcome = self.parties.command(Party::Operator, command)?;
                self.settle(outcome).await
            }
            Step::Broadcast(broadcast) => self.broadcast(broadcast).await,
            Step::Mine(mine) => {
                for _ in 0..mine.blocks.0 {
                    self.mine_block().await?;
                }
                Ok(())
            }
        }
    }

    async fn open(&mut self) -> Result<(), Stop> {
        let outcome = self.parties.command(Party::Operator, Command::Open)?;
        self.settle(outcome).await?;
        for _ in 0..self.loaded.scenario.factory.confirmations.0 {
            self.mine_block().await?;
        }
        Ok(())
    }

    async fn pay(&mut self, pay: &Pay) -> Result<(), Stop> {
        let amount = pay.amount.value.0;
        let payments = pay.payments(self.balances.len() as u32).expect("a checked payment is inside channels");
        for (from, member) in payments {
            let balance = &mut self.balances[member as usize];
            let to = match from {
                Party::Operator => Party::Member(member),
                Party::Member(_) => Party::Operator,
            };
            match from {
                Party::Operator => *balance += amount,
                Party::Member(_) => *balance -= amount,
            }
            let outcome = self.parties.command(from, Command::Pay { to, amount })?;
            self.settle(outcome).await?;
        }
        Ok(())
    }

    async fn broadcast(&mut self, broadcast: &Broadcast) -> Result<(), Stop> {
        let name = broadcast.tx.value.0;
        let mut outcome = self.parties.command(broadcast.by.value.0, Command::Publish(name))?;
        let published = std::mem::take(&mut outcome.broadcasts);
        let [(published_name, tx)] = published.as_slice() else {
            return Err(Stop::Error(format!(
                "{} published {} transactions, not 1",
                broadcast.by.value.0,
                published.len()
            )));
        };
        if *published_name != name {
            return Err(Stop::Error(format!("{} published {published_name}, not {name}", broadcast.by.value.0)));
        }
        self.follow_new(&outcome);
        let submission = self.node.rpc().submit(tx.transaction()).await?;
        let node = self.node.name();
        match (&broadcast.expect, submission) {
            (ExpectSubmission::Accepted, Submission::Accepted) => {}
            (ExpectSubmission::Rejected(wanted), Submission::Rejected(reason)) if reason.contains(wanted) => {
                return Ok(());
            }
            (expected, Submission::Accepted) => {
                return Err(Stop::Fail(format!("{name} via {node}: expected {}, and it was accepted", expected)));
            }
            (expected, Submission::Rejected(reason)) => {
                return Err(Stop::Fail(format!(
                    "{name} via {node}: expected {}, and it was rejected: {reason}",
                    expected
                )));
            }
        }
        let replaced = self.ledger.accepted(name, self.node.rpc()).await?;
        if let Some(expected) = &broadcast.replaces {
            let mut expected: Vec<_> = expected.iter().map(|name| name.value.0).collect();
            expected.sort();
            if expected != replaced {
                return Err(Stop::Fail(format!(
                    "{name} via {node}: expected to replace {}, and it replaced {}",
                    listed(&expected),
                    listed(&replaced)
                )));
            }
        }
        Ok(())
    }

    /// Sends to the node what the parties publish of their own accord: all of it must be accepted.
    async fn settle(&mut self, outcome: Outcome) -> Result<(), Stop> {
        self.follow_new(&outcome);
        for (name, tx) in &outcome.broadcasts {
            self.ledger.follow(*name, tx);
            if let Submission::Rejected(reason) = self.node.rpc().submit(tx.transaction()).await? {
                return Err(Stop::Fail(format!("{name} via {}: it was rejected: {reason}", self.node.name())));
            }
            self.ledger.accepted(*name, self.node.rpc()).await?;
        }
        Ok(())
    }

    /// Enters the parties' wishes, and the transactions that they have completed.
    fn follow_new(&mut self, outcome: &Outcome) {
        self.report.messages += outcome.messages;
        self.watches.extend(&outcome.watches);
        for (party, event) in &outcome.events {
            if let (Party::Operator, Event::Complete(name)) = (party, event)
                && let Some(tx) = self.parties.transaction(*name)
            {
                self.ledger.follow(*name, tx);
            }
        }
    }

    async fn mine_block(&mut self) -> Result<(), Stop> {
        self.node.rpc().set_time(self.time).await?;
        let block = self.node.rpc().mine(&self.rewards).await?;
        self.time += BLOCK_INTERVAL;
        self.height = block.height;
        self.ledger.mined(&block, self.node.rpc()).await?;
        self.report.blocks.push(BlockReport { height: block.height, hash: block.hash.to_string() });
        let deep_enough = |watch: &Watch| match self.ledger.get(watch.tx).map(|record| record.status) {
            Some(Status::Confirmed(at)) => self.height + 1 - at >= u64::from(watch.confirmations),
            _ => false,
        };
        let (due, waiting) = self.watches.iter().copied().partition(deep_enough);
        self.watches = waiting;
        let outcome = self.parties.confirmed(&due)?;
        self.settle(outcome).await
    }

    /// Reads the end from the node, fills the tables, and compares everything with what was expected.
    async fn conclude(&mut self) -> Result<(), Stop> {
        for (name, record) in self.ledger.records() {
            self.report.transactions.insert(name.to_string(), TransactionReport::new(record, self.height));
            if let Some(measured) = record.measured
                && measured != record.derived()
            {
                let message = format!("{name}: the node measures {measured:?}, expected {:?}", record.derived());
                self.report.failures.push(message);
            }
        }
        self.check_money().await?;
        self.check_expectations();
        Ok(())
    }

    /// Every party's final amount, and that what went into the factory came out of it again.
    async fn check_money(&mut self) -> Result<(), Stop> {
        let Some(factory) = self.parties.factory() else { return Ok(()) };
        let payouts: Vec<(Party, ScriptBuf)> =
            self.parties.payouts().map(|(party, script)| (party, script.clone())).collect();
        let terms = factory.terms();
        let locks = terms.channel_locks().iter().chain([terms.factory_lock()]).map(|lock| lock.script_pubkey());
        let unspent = self.node.rpc().unspent(payouts.iter().map(|(_, script)| script).chain(locks)).await?;

        let mut held: HashMap<&ScriptBuf, Amount> = HashMap::new();
        for output in &unspent {
            *held.entry(&output.script_pubkey).or_insert(Amount::ZERO) += output.amount;
        }
        let (operator, members) = final_amounts(&self.loaded.scenario, &self.balances);
        let expected = [operator].into_iter().chain(members);
        for ((party, script), expected) in payouts.iter().zip(expected) {
            let found = held.get(script).copied().unwrap_or(Amount::ZERO);
            if found != expected {
                self.report.failures.push(format!("{party} ends with {}, expected {}", sat(found), sat(expected)));
            }
            let balance = BalanceReport { expected_sat: expected.to_sat(), final_sat: found.to_sat() };
            self.report.balances.insert(party.to_string(), balance);
        }

        let outputs: Amount = unspent.iter().map(|output| output.amount).sum();
        let fees = self
            .ledger
            .records()
            .filter(|(name, record)| *name != TxName::Funding && matches!(record.status, Status::Confirmed(_)));
        let fees: Amount = fees.filter_map(|(_, record)| record.measured).map(|measured| measured.fee).sum();
        let funding = match self.ledger.get(TxName::Funding) {
            Some(record) if matches!(record.status, Status::Confirmed(_)) => {
                record.tx.transaction().output[factory.outpoint().vout as usize].value
            }
            _ => Amount::ZERO,
        };
        if outputs + fees != funding {
            let message = format!(
                "{} went into the factory, and its outputs ({}) and fees ({}) make {}",
                sat(funding),
                sat(outputs),
                sat(fees),
                sat(outputs + fees)
            );
            self.report.failures.push(message);
        }
        self.report.money =
            Some(MoneyReport { funding_sat: funding.to_sat(), outputs_sat: outputs.to_sat(), fees_sat: fees.to_sat() });
        Ok(())
    }

    fn check_expectations(&mut self) {
        let expect = &self.loaded.scenario.expect;
        for (word, names) in [("confirmed", &expect.confirmed), ("replaced", &expect.replaced)] {
            for name in names {
                let name = name.value.0;
                let status = self.ledger.get(name).map(|record| record.status);
                if status.is_none_or(|status| status.word() != word) {
                    let found = status.map_or("not even signed".to_owned(), |status| status.to_string());
                    self.report.failures.push(format!("{name} is {found}, expected {word}"));
                }
            }
        }
        for (name, fee) in &expect.fees {
            let (name, expected) = (name.0, fee.value.0);
            let measured = self.ledger.get(name).and_then(|record| record.measured);
            match measured {
                Some(measured) if measured.fee == expected => {}
                Some(measured) => {
                    self.report.failures.push(format!("{name} pays {}, expected {}", sat(measured.fee), sat(expected)));
                }
                None => {
                    let message = format!("{name} pays nothing, since no node took it: expected {}", sat(expected));
                    self.report.failures.push(message);
                }
            }
        }
        for (party, balance) in &expect.balances {
            let expected = balance.value.0.to_sat();
            let found = self.report.balances.get(&party.0.to_string()).map_or(0, |balance| balance.final_sat);
            if found != expected {
                let difference = found as i64 - expected as i64;
                let message = format!(
                    "expect.balances: {} ends with {found} sat, expected {expected} sat: {difference:+} sat",
                    party.0
                );
                self.report.failures.push(message);
            }
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
