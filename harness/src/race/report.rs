//! What an experiment shows, as data. Every other form of its results is made of this.

use std::path::{Path, PathBuf};

use bitcoin::Weight;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use super::expectations::expectations;
use super::language::{Experiment, MiningPolicy, Side};
use super::record::Trial;
use super::stats::{Distribution, Fit, Interval, Z_95, Z_9999, agrees, mean};
use crate::claims::Claims;
use crate::report::grouped;
use crate::scenario::Percent;

/// The number of this form of a report. It is raised when a field goes or changes its meaning, not when one is added.
pub const FORMAT: u32 = 1;

/// What an experiment shows.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RaceReport {
    /// The number of this form of a report.
    pub format: u32,
    /// The version of the harness.
    pub shopfloor: String,
    /// The experiment's file.
    pub file: PathBuf,
    /// Its name.
    pub name: String,
    /// What it is there to show.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The claim that it bears on, in its words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// The seed.
    pub seed: u64,
    /// How many trials were made of each point.
    pub trials: u64,
    /// What has to be said of blocks that hold less than the chain allows, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_weight: Option<String>,
    /// The cells of the file's matrix, in its order; a single one, if it has no matrix.
    pub points: Vec<Point>,
    /// What is not as expected, of all points.
    pub failures: Vec<String>,
}

/// What an experiment shows in one cell of its matrix.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Point {
    /// The values that this cell has, by their places in the file. Empty, if the file has no matrix.
    pub axes: IndexMap<String, String>,
    /// The nodes that it was measured on, by name. Empty, if only the model was asked.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub nodes: IndexMap<String, NodeVersion>,
    /// How heavy a block may be, in WU.
    pub max_block_weight: u64,
    /// How many trials were made.
    pub trials: u64,
    /// How often which side was confirmed.
    pub outcomes: Outcomes,
    /// How probable theory says it is that the factory close is confirmed, from 0 to 1, if it says so.
    pub predicted_rate: Option<f64>,
    /// Whether the trials agree with that, with a confidence of 99.99 %; exactly, if it is 0 or 1.
    pub prediction_holds: Option<bool>,
    /// How many blocks it took until a side was confirmed, in the trials in which one was.
    pub blocks: Option<Distribution>,
    /// How long that took, in seconds of simulated time.
    pub time_s: Option<Distribution>,
    /// What the miners found and earned, in the order of the file.
    pub miners: Vec<MinerReport>,
    /// How many virtual bytes of the factory's transactions were confirmed when a trial ended, in the mean.
    pub factory_vsize_mean: f64,
    /// How many blocks were found that are not in the final chains, in all trials.
    pub stale_blocks: u64,
    /// What the factory close is worth to a rational miner; none, if none found a block before everything was decided.
    pub margin: Option<MarginReport>,
    /// Whether the times until the first block of each trial are distributed exponentially with their mean; none, if they
    /// are too few.
    pub arrivals: Option<Fit>,
    /// Whether the blocks in the final chains are distributed by the miners' shares; none, if they are too few. They need
    /// not be where some blocks are stale.
    pub shares: Option<Fit>,
    /// In how many trials the model and the nodes disagree; none, if only one of them was asked.
    pub model_disagreements: Option<u64>,
    /// What is not as expected.
    pub failures: Vec<String>,
    /// The trials, if they are kept.
    #[serde(rename = "records", skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<Trial>,
}

/// A node that took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NodeVersion {
    /// Its kind.
    pub kind: String,
    /// What it says of itself.
    pub version: String,
}

/// What a claim says that is known by this name.
fn words_of(id: &str) -> Option<String> {
    let claims = Claims::own().ok()?;
    claims.claims.into_iter().find(|claim| claim.id == id).map(|claim| claim.claim)
}

/// How often which side was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Outcomes {
    /// The factory close.
    pub factory_close: Outcome,
    /// The allocation.
    pub allocation: Outcome,
    /// Neither: the trial was given up.
    pub neither: Outcome,
}

/// How often something came out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Outcome {
    /// In how many trials.
    pub count: u64,
    /// In which part of them, from 0 to 1; 0 without trials.
    pub rate: f64,
    /// The Wilson score interval of its probability, with a confidence of 95 %.
    pub interval: Interval,
}

/// What a miner found and earned.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MinerReport {
    /// Its name.
    pub name: String,
    /// How it chooses what it mines.
    pub policy: String,
    /// Its part of the hash power, from 0 to 1.
    pub share: f64,
    /// How many blocks of the final chains it found, in all trials.
    pub blocks_found: u64,
    /// How many its share makes one expect of as many blocks.
    pub blocks_expected: f64,
    /// What it earned by fees in a trial, in satoshi, in the mean.
    pub fees_mean_sat: f64,
}

/// What the factory close is worth to rational miners against the allocation's side, each time one found a block and
/// compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MarginReport {
    /// How often one compared.
    pub count: u64,
    /// The mean difference of the fees of the two templates, in satoshi.
    pub measured_mean_sat: f64,
    /// The least difference, in satoshi.
    pub measured_min_sat: i64,
    /// The largest difference, in satoshi.
    pub measured_max_sat: i64,
    /// The mean of what Δ = (f_FC − f_A − Σ f_Ci) + r · (V_A + Σ V_Ci − V_FC) says, in satoshi.
    pub formula_mean_sat: f64,
    /// The mean marginal feerate r, in sat/vB.
    pub marginal_mean: f64,
}

/// What is known of a point beside its trials.
#[derive(Clone, Debug, Default)]
pub struct Known<'a> {
    /// The nodes that it was measured on, by name; none, if only the model was asked.
    pub nodes: IndexMap<String, NodeVersion>,
    /// The time until the first block of each trial, in milliseconds: what comes later depends on when a trial ends.
    pub gaps_ms: &'a [u64],
    /// How probable theory says it is that the factory close is confirmed, from 0 to 1.
    pub predicted: Option<f64>,
    /// In how many trials the model and the nodes disagree, if both were asked.
    pub model_disagreements: Option<u64>,
}

impl RaceReport {
    /// The report of an experiment, of which `experiment` is any cell.
    pub fn new(file: &Path, experiment: &Experiment, points: Vec<Point>) -> Self {
        let failures = points.iter().flat_map(|point| {
            let title = point.title();
            point.failures.iter().map(move |failure| match title.as_str() {
                "" => failure.clone(),
                title => format!("{title}: {failure}"),
            })
        });
        RaceReport {
            format: FORMAT,
            shopfloor: env!("CARGO_PKG_VERSION").to_owned(),
            file: file.to_owned(),
            name: experiment.name.clone(),
            description: experiment.description.clone(),
            claim: experiment.claim.as_deref().and_then(words_of),
            seed: experiment.seed,
            trials: points.iter().map(|point| point.trials).max().unwrap_or(0),
            block_weight: block_weight(&points),
            failures: failures.collect(),
            points,
        }
    }

    /// The same without the trials themselves.
    pub fn without_records(mut self) -> Self {
        self.points.iter_mut().for_each(|point| point.records.clear());
        self
    }

    /// The places of the matrix's axes.
    pub(super) fn axes(&self) -> Vec<&str> {
        self.points.first().map(|point| point.axes.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// The values that a point has on them.
    pub(super) fn axis_values(&self, point: &Point) -> Vec<String> {
        self.axes().into_iter().map(|axis| point.axes.get(axis).cloned().unwrap_or_default()).collect()
    }
}

/// What has to be said of blocks that hold less than the chain allows.
fn block_weight(points: &[Point]) -> Option<String> {
    let chain = Weight::MAX_BLOCK.to_wu();
    let mut lowered: Vec<u64> =
        points.iter().map(|point| point.max_block_weight).filter(|weight| *weight < chain).collect();
    lowered.sort_unstable();
    lowered.dedup();
    let lowered: Vec<String> = lowered.into_iter().map(grouped).collect();
    (!lowered.is_empty()).then(|| {
        let lowered = lowered.join(" or ");
        format!("-blockmaxweight is lowered: blocks hold at most {lowered} WU, not {} WU", grouped(chain))
    })
}

impl Point {
    /// What the trials of a cell of an experiment show. `axes` are the values of that cell, by their places in the file.
    pub fn new(axes: IndexMap<String, String>, experiment: &Experiment, trials: Vec<Trial>, known: Known<'_>) -> Self {
        let count = trials.len() as u64;
        let outcome = |winner: Option<Side>| {
            let wins = trials.iter().filter(|trial| trial.winner == winner).count() as u64;
            Outcome::of(wins, count)
        };
        let outcomes = Outcomes {
            factory_close: outcome(Some(Side::FactoryClose)),
            allocation: outcome(Some(Side::Allocation)),
            neither: outcome(None),
        };
        let decided = || trials.iter().filter(|trial| trial.winner.is_some());
        let miners = miners(experiment, &trials);
        let found: Vec<u64> = miners.iter().map(|miner| miner.blocks_found).collect();
        let shares: Vec<f64> = miners.iter().map(|miner| miner.share).collect();
        let mut point = Point {
            axes,
            nodes: known.nodes,
            max_block_weight: experiment.blocks.max_weight.0.to_wu(),
            trials: count,
            outcomes,
            predicted_rate: known.predicted,
            prediction_holds: known.predicted.map(|rate| agrees(rate, outcomes.factory_close.count, count, Z_9999)),
            blocks: Distribution::of(decided().map(|trial| f64::from(trial.blocks))),
            time_s: Distribution::of(decided().map(|trial| trial.time_ms as f64 / 1_000.0)),
            miners,
            factory_vsize_mean: mean(trials.iter().map(|trial| trial.factory_vsize as f64)).unwrap_or(0.0),
            stale_blocks: trials.iter().map(|trial| u64::from(trial.stale_blocks)).sum(),
            margin: MarginReport::of(&trials),
            arrivals: Fit::of_arrivals(known.gaps_ms, experiment.blocks.interval.0),
            shares: Fit::of_shares(&found, &shares),
            model_disagreements: known.model_disagreements,
            failures: Vec::new(),
            records: trials,
        };
        point.failures = expectations(&experiment.expect, &point);
        point
    }

    /// What the point is called among others: the values of its axes.
    pub fn title(&self) -> String {
        let values: Vec<_> = self.axes.iter().map(|(place, value)| format!("{place}={value}")).collect();
        values.join(", ")
    }
}

fn miners(experiment: &Experiment, trials: &[Trial]) -> Vec<MinerReport> {
    let found = |trial: &Trial, place| u64::from(trial.found.get(place).copied().unwrap_or(0));
    let miners = experiment.miners.len();
    let all: u64 = trials.iter().flat_map(|trial| (0..miners).map(|place| found(trial, place))).sum();
    let report =
        |(place, ((name, miner), share)): (usize, ((&String, &super::language::Miner), Percent))| MinerReport {
            name: name.clone(),
            policy: policy(&miner.policy),
            share: share.fraction(),
            blocks_found: trials.iter().map(|trial| found(trial, place)).sum(),
            blocks_expected: share.fraction() * all as f64,
            fees_mean_sat: mean(trials.iter().map(|trial| trial.fees_sat.get(place).copied().unwrap_or(0) as f64))
                .unwrap_or(0.0),
        };
    experiment.miners.iter().zip(experiment.shares()).enumerate().map(report).collect()
}

/// A policy in a few words.
fn policy(policy: &MiningPolicy) -> String {
    match policy {
        MiningPolicy::Template => "template".to_owned(),
        MiningPolicy::Rational { .. } => "rational".to_owned(),
        MiningPolicy::FirstSeen => "first-seen".to_owned(),
        MiningPolicy::ReplacedAnyway => "replaced-anyway".to_owned(),
        MiningPolicy::Bribed { side, payment } => {
            format!("bribed: {} sat for {}", grouped(payment.0.to_sat()), winner(Some(*side)))
        }
        MiningPolicy::Empty => "empty".to_owned(),
        MiningPolicy::Stale { lag } => format!("stale by {lag}"),
    }
}

/// The word for who won.
pub(super) fn winner(side: Option<Side>) -> &'static str {
    match side {
        Some(Side::FactoryClose) => "factory-close",
        Some(Side::Allocation) => "allocation",
        None => "neither",
    }
}

impl Outcome {
    fn of(count: u64, trials: u64) -> Self {
        let rate = if trials == 0 { 0.0 } else { count as f64 / trials as f64 };
        Outcome { count, rate, interval: Interval::wilson(count, trials, Z_95) }
    }
}

impl MarginReport {
    fn of(trials: &[Trial]) -> Option<Self> {
        let margins = || trials.iter().flat_map(|trial| &trial.margins);
        let measured = || margins().map(|margin| margin.measured_sat);
        Some(MarginReport {
            count: margins().count() as u64,
            measured_mean_sat: mean(measured().map(|sat| sat as f64))?,
            measured_min_sat: measured().min()?,
            measured_max_sat: measured().max()?,
            formula_mean_sat: mean(margins().map(|margin| margin.formula_sat))?,
            marginal_mean: mean(margins().map(|margin| margin.marginal))?,
        })
    }
}

#[cfg(test)]
mod tests;
