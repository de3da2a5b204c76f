//! What a run found, as data. Every other form of a report is made of this.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bundle;
use crate::scenario::{Loaded, Scenario};

/// The number of this form of a report. It is raised when a field goes or changes its meaning, not when one is added.
pub const FORMAT: u32 = 1;

/// All runs of one call of the harness.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SuiteReport {
    /// The number of this form of a report.
    pub format: u32,
    /// The version of the harness.
    pub shopfloor: String,
    /// How it ended: the worst of the runs' verdicts.
    pub verdict: Verdict,
    /// How many runs ended how. Every verdict has an entry.
    pub totals: BTreeMap<Verdict, usize>,
    /// How long it all took, in milliseconds.
    pub duration_ms: u64,
    /// The runs, in the order of their files and of their matrix.
    pub runs: Vec<RunReport>,
}

/// How a run ended. The order is from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything that was asserted holds.
    Pass,
    /// Something that the scenario needs is not there.
    Skip,
    /// Nothing is wrong, and nothing is shown either: a fault that was to happen never did, or nothing was asserted.
    Inconclusive,
    /// Something is not as asserted.
    Fail,
    /// The harness, or a program that it uses, failed.
    Error,
}

/// One run of one scenario.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunReport {
    /// The scenario's name.
    pub scenario: String,
    /// What the scenario is there to show.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its file.
    pub file: PathBuf,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The values that this cell of the scenario's matrix has, by their place in the scenario.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub cell: IndexMap<String, String>,
    /// The values from the command line that took the place of the file's.
    #[serde(rename = "set", default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// Which repetition this is, from 1, if the run was repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition: Option<u32>,
    /// How it ended.
    pub verdict: Verdict,
    /// What was not as asserted, or went wrong, or is missing.
    pub failures: Vec<String>,
    /// How many things were asserted, by the scenario and by the harness of itself.
    pub assertions: u32,
    /// The nodes, by name.
    pub nodes: IndexMap<String, NodeReport>,
    /// The factory's transactions, by name, in the order in which a lifecycle meets them.
    pub transactions: IndexMap<String, TransactionReport>,
    /// What the parties end with, by name.
    pub balances: IndexMap<String, BalanceReport>,
    /// Whether what went into the factory came out of it.
    pub money: Option<MoneyReport>,
    /// What parties published of their own accord, and a node refused.
    pub refused: Vec<RefusedReport>,
    /// The blocks that were mined, those that a reorganisation left behind included.
    pub blocks: Vec<BlockReport>,
    /// The steps.
    pub steps: Vec<StepReport>,
    /// What happened, in its order.
    pub timeline: Vec<Entry>,
    /// How many messages the parties exchanged.
    pub messages: usize,
    /// Where the files of the run are, if they were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<PathBuf>,
    /// The last lines of the nodes' logs, if the run did not pass.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub logs: String,
    /// The command that runs the same again.
    pub replay: String,
    /// How long it all took, in milliseconds.
    pub duration_ms: u64,
}

/// A node that took part.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NodeReport {
    /// Its kind.
    pub kind: String,
    /// What its program and its network interface say of themselves.
    pub version: String,
    /// `process` or `container`.
    pub backend: String,
    /// The SHA-256 of its program, or the identifier of its image.
    pub program: String,
    /// Whether an Electrum server stands beside it.
    pub electrum: bool,
}

/// A transaction.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TransactionReport {
    /// Its identifier.
    pub txid: String,
    /// Virtual size, in vB; as a node gives it, if a node ever took it.
    pub vsize: u64,
    /// Weight, in WU; as a node gives it, if a node ever took it.
    pub weight: u64,
    /// What it pays to the miner, in satoshis; as a node gives it, if a node ever took it.
    pub fee_sat: u64,
    /// Whether size and fee were read from a node, or derived from the signed transaction.
    pub measured: bool,
    /// The factory's transactions that it spends, by name.
    pub spends: Vec<String>,
    /// For how many blocks what it spends must have been confirmed, if it has a relative lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_lock: Option<u16>,
    /// The height that it has to wait for, if it has an absolute lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute_lock: Option<u32>,
    /// Its outputs, in their order.
    pub outputs: Vec<OutputReport>,
    /// Where it stands in the end, by node.
    pub status: IndexMap<String, StatusReport>,
}

/// An output of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutputReport {
    /// What it is for: `factory`, `channel-m0`, `htlc-m0-3`, the party that is paid in the end, or `change`.
    pub to: String,
    /// What it holds, in satoshis.
    pub sat: u64,
}

/// Where a transaction stands, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusReport {
    /// `signed` (no node took it), `in-mempool`, `replaced`, `evicted` or `confirmed`.
    pub status: String,
    /// The transaction that took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<String>,
    /// The height of the block that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// In how many blocks it lies, its own included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmations: Option<u64>,
}

/// What a party ends with, out of the factory.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BalanceReport {
    /// By the terms and the payments, in satoshis.
    pub expected_sat: u64,
    /// By the unspent outputs of its node, in satoshis.
    pub final_sat: u64,
}

/// Where the factory's money went, in satoshis.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MoneyReport {
    /// What the confirmed factory output holds or held.
    pub funding_sat: u64,
    /// What is in unspent outputs of the factory, its channels and its parties.
    pub outputs_sat: u64,
    /// What the confirmed transactions paid to miners.
    pub fees_sat: u64,
    /// What of the outputs lies in HTLCs that nobody has taken yet.
    pub outstanding_sat: u64,
    /// What of the outputs lies in channels, or in the factory, that nothing has settled.
    pub unsettled_sat: u64,
}

/// A transaction that a party published of its own accord, and that a node refused. Parties publish again with every
/// block, so this is no failure by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedReport {
    /// The transaction.
    pub tx: String,
    /// The party.
    pub by: String,
    /// The node's reason.
    pub reason: String,
    /// How often that happened.
    pub times: u32,
}

/// A block.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BlockReport {
    /// The node that mined it.
    pub node: String,
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: String,
    /// The factory's transactions in it.
    pub transactions: Vec<String>,
}

/// A step.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StepReport {
    /// What it does.
    pub step: String,
    /// Where it stands in the file: its line, if it is from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// The step in which it happened, from 0; none before the first and after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// The height of the highest chain at that moment.
    pub height: u64,
    /// What it was.
    #[serde(flatten)]
    pub what: Happening,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Happening {
    /// Messages of one kind in one direction, one after the other.
    Messages {
        /// What they carry, such as `nonces`.
        what: String,
        /// Who sent them: a party, or `members`.
        from: String,
        /// To whom: a party, or `members`.
        to: String,
        /// How many.
        count: usize,
        /// How many of them never arrived.
        lost: usize,
    },
    /// A party said what happened to it.
    Event {
        /// The party.
        party: String,
        /// What it said.
        text: String,
    },
    /// A transaction reached a node: from a party, or from another node.
    Submitted {
        /// The transaction.
        tx: String,
        /// The party that sent it, if it did not come from another node.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// The node.
        node: String,
        /// Why the node refused it, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rejected: Option<String>,
        /// The transactions that it took the place of.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        replaced: Vec<String>,
    },
    /// The factory's transactions in a node's mempool are other ones than before.
    Mempool {
        /// The node.
        node: String,
        /// All that are in it now.
        txs: Vec<String>,
    },
    /// A node mined a block.
    Block {
        /// The node.
        node: String,
        /// The block's height.
        height: u64,
        /// The block's hash.
        hash: String,
        /// The factory's transactions in it.
        txs: Vec<String>,
    },
    /// A node left blocks behind for a branch with more work.
    Reorganisation {
        /// The node.
        node: String,
        /// The height of the first block that it left.
        from: u64,
        /// How many blocks it left.
        depth: u64,
        /// The factory's transactions that are no longer confirmed there.
        txs: Vec<String>,
    },
    /// Something was done to nodes or parties, such as a partition or a crash.
    Fault {
        /// What.
        text: String,
    },
    /// Something was asserted.
    Check {
        /// What.
        text: String,
        /// Whether it holds.
        holds: bool,
    },
}

impl Verdict {
    /// Every verdict, from good to bad.
    pub const ALL: [Verdict; 5] = [Verdict::Pass, Verdict::Skip, Verdict::Inconclusive, Verdict::Fail, Verdict::Error];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Skip => "skip",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Fail => "fail",
            Verdict::Error => "error",
        }
    }
}

impl SuiteReport {
    /// The report of these runs.
    pub fn new(runs: Vec<RunReport>, duration_ms: u64) -> Self {
        let mut totals: BTreeMap<_, _> = Verdict::ALL.map(|verdict| (verdict, 0)).into();
        for run in &runs {
            *totals.entry(run.verdict).or_default() += 1;
        }
        SuiteReport {
            format: FORMAT,
            shopfloor: env!("CARGO_PKG_VERSION").to_owned(),
            verdict: runs.iter().map(|run| run.verdict).max().unwrap_or(Verdict::Pass),
            totals,
            duration_ms,
            runs,
        }
    }
}

impl RunReport {
    /// The report of a run that has not begun.
    pub(crate) fn new(loaded: &Loaded) -> Self {
        RunReport {
            file: loaded.file.clone(),
            cell: loaded.cell.clone(),
            overrides: loaded.overrides.iter().map(ToString::to_string).collect(),
            ..RunReport::by_hand(&loaded.scenario)
        }
        .with_replay()
    }

    /// The report of a run without a file.
    pub(crate) fn by_hand(scenario: &Scenario) -> Self {
        RunReport {
            scenario: scenario.name.clone(),
            description: scenario.description.clone(),
            file: PathBuf::new(),
            tags: scenario.tags.clone(),
            cell: IndexMap::new(),
            overrides: Vec::new(),
            seed: scenario.seed,
            repetition: None,
            verdict: Verdict::Pass,
            failures: Vec::new(),
            assertions: 0,
            nodes: IndexMap::new(),
            transactions: IndexMap::new(),
            balances: IndexMap::new(),
            money: None,
            refused: Vec::new(),
            blocks: Vec::new(),
            steps: Vec::new(),
            timeline: Vec::new(),
            messages: 0,
            files: None,
            logs: String::new(),
            replay: String::new(),
            duration_ms: 0,
        }
    }

    /// With the command that runs the same again.
    pub(crate) fn with_replay(mut self) -> Self {
        self.replay = bundle::replay(&self.file, &self.overrides, &self.cell, self.seed, self.repetition);
        self
    }

    /// What the run is called among others: the scenario's name, its cell and its repetition.
    pub fn title(&self) -> String {
        let mut title = self.scenario.clone();
        if !self.cell.is_empty() {
            let values: Vec<_> = self.cell.iter().map(|(place, value)| format!("{place}={value}")).collect();
            title.push_str(&format!(" [{}]", values.join(", ")));
        }
        if let Some(repetition) = self.repetition {
            title.push_str(&format!(" #{repetition}"));
        }
        title
    }
}
