//! What a run found: for people as tables, for programs as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use comfy_table::{CellAlignment, Table, presets};
use factory_core::{Party, TxName};
use serde::{Serialize, Serializer};

use crate::ledger::{Record, Status};
use crate::scenario::Loaded;

/// How many channel closes the table shows, of those that are only signed.
const CLOSES_SHOWN: usize = 5;
/// How many parties the table shows, of those that end with what was expected.
const BALANCES_SHOWN: usize = 6;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything is as expected.
    Pass,
    /// Something is not.
    Fail,
    /// Something that the scenario needs is not there.
    Skip,
    /// The harness, or a program that it uses, failed.
    Error,
}

/// One run of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// The scenario's name.
    pub scenario: String,
    /// Its file.
    pub file: PathBuf,
    /// The values that took the place of the file's.
    #[serde(rename = "set", skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// How it ended.
    pub verdict: Verdict,
    /// What was not as expected, or went wrong.
    pub failures: Vec<String>,
    /// The nodes, by name.
    pub nodes: BTreeMap<String, NodeReport>,
    /// The factory's transactions, by name.
    #[serde(serialize_with = "in_order")]
    pub transactions: Entries<TransactionReport>,
    /// What the parties end with, by name.
    #[serde(serialize_with = "in_order")]
    pub balances: Entries<BalanceReport>,
    /// Whether what went into the factory came out of it.
    pub money: Option<MoneyReport>,
    /// What parties published of their own accord, and the node refused.
    pub refused: Vec<RefusedReport>,
    /// The blocks that were mined.
    pub blocks: Vec<BlockReport>,
    /// The steps, with how long each took.
    pub steps: Vec<StepReport>,
    /// How many messages the parties exchanged.
    pub messages: usize,
    /// Where the files of the run are, if they were kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<PathBuf>,
    /// The last lines of the nodes' logs, if the run did not pass.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub logs: String,
    /// How long it all took, in milliseconds.
    pub duration_ms: u64,
}

/// Named entries in the order in which they were entered.
#[derive(Clone, Debug)]
pub struct Entries<T>(Vec<(String, T)>);

/// A node that took part.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReport {
    /// Its kind.
    pub kind: String,
    /// What its program and its network interface say of themselves.
    pub version: String,
}

/// A transaction.
#[derive(Clone, Debug, Serialize)]
pub struct TransactionReport {
    /// Its identifier.
    pub txid: String,
    /// Virtual size, in vB; as the node gives it, if the node ever took it.
    pub vsize: u64,
    /// Weight, in WU; as the node gives it, if the node ever took it.
    pub weight: u64,
    /// What it pays to the miner; as the node gives it, if the node ever took it.
    pub fee_sat: u64,
    /// Where it stands: `signed`, `in-mempool`, `replaced`, `evicted` or `confirmed`.
    pub status: &'static str,
    /// The transaction that took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<String>,
    /// In how many blocks it lies, its own included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmations: Option<u64>,
    /// Whether size and fee were read from a node, or derived from the signed transaction.
    pub measured: bool,
    #[serde(skip)]
    words: String,
}

/// What a party ends with, out of the factory.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BalanceReport {
    /// By the terms and the payments.
    pub expected_sat: u64,
    /// By the node's unspent outputs.
    pub final_sat: u64,
}

/// Where the factory's money went.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MoneyReport {
    /// What the confirmed factory output holds or held.
    pub funding_sat: u64,
    /// What is in unspent outputs of the factory, its channels and its parties.
    pub outputs_sat: u64,
    /// What the confirmed transactions paid to miners.
    pub fees_sat: u64,
    /// What of the outputs lies in HTLCs that nobody has taken yet.
    pub outstanding_sat: u64,
}

/// A transaction that a party published of its own accord, and that the node refused. Parties publish again with every
/// block, so this is no failure by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, Serialize)]
pub struct BlockReport {
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: String,
}

/// A step.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// What it does.
    pub step: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl Verdict {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Skip => "skip",
            Verdict::Error => "error",
        }
    }
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Entries(Vec::new())
    }
}

impl<T> Entries<T> {
    /// Enters one more.
    pub fn insert(&mut self, name: String, entry: T) {
        self.0.push((name, entry));
    }

    /// The entry of that name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, entry)| entry)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, entry)| (name.as_str(), entry))
    }
}

fn in_order<T: Serialize, S: Serializer>(entries: &Entries<T>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter())
}

impl RunReport {
    /// The report of a run that has not begun.
    pub(crate) fn new(loaded: &Loaded) -> Self {
        RunReport {
            scenario: loaded.scenario.name.value.clone(),
            file: loaded.file.clone(),
            overrides: loaded.overrides.iter().map(ToString::to_string).collect(),
            seed: loaded.scenario.seed,
            verdict: Verdict::Pass,
            failures: Vec::new(),
            nodes: BTreeMap::new(),
            transactions: Entries::default(),
            balances: Entries::default(),
            money: None,
            refused: Vec::new(),
            blocks: Vec::new(),
            steps: Vec::new(),
            messages: 0,
            files: None,
            logs: String::new(),
            duration_ms: 0,
        }
    }

    /// Enters that the node refused what a party published of its own accord.
    pub(crate) fn refuse(&mut self, by: Party, tx: TxName, reason: &str) {
        let (tx, by) = (tx.to_string(), by.to_string());
        let known = |refused: &&mut RefusedReport| refused.tx == tx && refused.by == by && refused.reason == reason;
        match self.refused.iter_mut().find(known) {
            Some(refused) => refused.times += 1,
            None => self.refused.push(RefusedReport { tx, by, reason: reason.to_owned(), times: 1 }),
        }
    }

    /// The command that runs the same again.
    pub fn replay(&self) -> String {
        let quote = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=+".contains(c);
            if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
        };
        let mut words = vec!["shopfloor run".to_owned(), quote(&self.file.display().to_string())];
        words.extend(self.overrides.iter().map(|change| format!("--set {}", quote(change))));
        words.join(" ")
    }
}

impl TransactionReport {
    pub(crate) fn new(record: &Record, height: u64) -> Self {
        let sizes = record.measured.unwrap_or_else(|| record.derived());
        TransactionReport {
            txid: record.tx.txid().to_string(),
            vsize: sizes.vsize,
            weight: sizes.weight,
            fee_sat: sizes.fee.to_sat(),
            status: record.status.word(),
            replaced_by: match record.status {
                Status::Replaced(by) => Some(by.to_string()),
                _ => None,
            },
            confirmations: match record.status {
                Status::Confirmed(at) => Some(height + 1 - at),
                _ => None,
            },
            measured: record.measured.is_some(),
            words: record.status.to_string(),
        }
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (seed {}, {} ms", self.scenario, self.verdict.word(), self.seed, self.duration_ms)?;
        for (name, node) in &self.nodes {
            write!(f, ", {name} is {} {}", node.kind, node.version)?;
        }
        writeln!(f, ")")?;
        if self.transactions.iter().len() > 0 {
            writeln!(f, "\n{}", self.transaction_table())?;
        }
        if self.balances.iter().len() > 0 {
            writeln!(f, "\n{}", self.balance_table())?;
        }
        if let Some(money) = self.money {
            let (funding, outputs, fees) =
                (grouped(money.funding_sat), grouped(money.outputs_sat), grouped(money.fees_sat));
            writeln!(f, "\nfunding {funding} sat = outputs {outputs} sat + fees {fees} sat")?;
            if money.outstanding_sat > 0 {
                writeln!(
                    f,
                    "{} sat of the outputs are in HTLCs that nobody has taken",
                    grouped(money.outstanding_sat)
                )?;
            }
        }
        for RefusedReport { tx, by, reason, times } in &self.refused {
            writeln!(f, "refused: {tx} by {by}: {reason} ({times} times)")?;
        }
        if !self.failures.is_empty() {
            writeln!(f)?;
        }
        for failure in &self.failures {
            writeln!(f, "{}: {failure}", self.verdict.word())?;
        }
        f.write_str(&self.logs)?;
        if let Some(files) = &self.files {
            writeln!(f, "files: {}", files.display())?;
        }
        if !self.failures.is_empty() {
            writeln!(f, "again: {}", self.replay())?;
        }
        Ok(())
    }
}

impl RunReport {
    fn transaction_table(&self) -> Table {
        let mut table = table(["transaction", "txid", "vB", "WU", "fee, sat", "status"], 2..5);
        let mut hidden = 0;
        for (name, tx) in self.transactions.iter() {
            let is_close = name.starts_with("close-") && tx.status == Status::Signed.word();
            if is_close && name.trim_start_matches("close-m").parse().is_ok_and(|index: usize| index >= CLOSES_SHOWN) {
                hidden += 1;
                continue;
            }
            if hidden > 0 && !is_close {
                table.add_row([format!("… {hidden} more closes")]);
                hidden = 0;
            }
            let words = tx.words.clone();
            table.add_row([
                name.to_owned(),
                tx.txid.clone(),
                grouped(tx.vsize),
                grouped(tx.weight),
                grouped(tx.fee_sat),
                words,
            ]);
        }
        table
    }

    fn balance_table(&self) -> Table {
        let mut table = table(["party", "expected, sat", "final, sat", ""], 1..3);
        let (mut shown, mut hidden) = (0, 0);
        for (name, balance) in self.balances.iter() {
            let difference = i128::from(balance.final_sat) - i128::from(balance.expected_sat);
            if difference == 0 && shown == BALANCES_SHOWN {
                hidden += 1;
                continue;
            }
            let remark = if difference == 0 { String::new() } else { format!("{difference:+} sat") };
            table.add_row([name.to_owned(), grouped(balance.expected_sat), grouped(balance.final_sat), remark]);
            shown += usize::from(difference == 0);
        }
        if hidden > 0 {
            table.add_row([format!("… {hidden} more as expected")]);
        }
        table
    }
}

fn table<const N: usize>(header: [&str; N], numbers: std::ops::Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for index in numbers {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
