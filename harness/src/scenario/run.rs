//! Runs one scenario on real nodes.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use super::load::Loaded;
use crate::bundle::{self, Program};
use crate::node::provision::Env;
use crate::report::{RunReport, StepReport, Verdict};
use crate::run_dir::RunDir;
use crate::testbed::{Evidence, Setup, Stop, Testbed};

/// How to run.
pub struct Options<'a> {
    /// Where node programs come from.
    pub env: &'a Env,
    /// Keeps the files of every run, not only of one that did not pass.
    pub keep: bool,
    /// Is told of every step before it is done: its number from 0, how many there are, and what it does.
    pub on_step: &'a (dyn Fn(usize, usize, &str) + Sync),
}

/// Runs a scenario from the start of its nodes to the check of everybody's final amount.
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
    let mut evidence = Evidence::default();
    let deadline = loaded.scenario.deadline.0;
    let at = Mutex::new("before its first step".to_owned());
    let played = tokio::time::timeout(deadline, play(loaded, options, &folder, &at, &mut report, &mut evidence)).await;
    let played = played.unwrap_or_else(|_| {
        let at = at.lock().map(|at| at.clone()).unwrap_or_default();
        Err(Stop::Error(format!("did not end within {} s; it was {at}", deadline.as_secs())))
    });
    match played {
        Err(stop) => {
            let (verdict, reason) = match stop {
                Stop::Skip(reason) => (Verdict::Skip, reason),
                Stop::Fail(reason) => (Verdict::Fail, reason),
                Stop::Error(reason) => (Verdict::Error, reason),
            };
            report.verdict = verdict;
            report.failures.insert(0, reason);
        }
        Ok(_) if !report.failures.is_empty() => report.verdict = Verdict::Fail,
        Ok(vain) if !vain.is_empty() => {
            report.verdict = Verdict::Inconclusive;
            report.failures = vain;
        }
        Ok(_) => {}
    }
    report.duration_ms = millis(started);
    keep(loaded, options, &mut folder, &mut report, &evidence);
    report
}

/// Leaves the files of the run where they are, if they are of use to anybody.
fn keep(loaded: &Loaded, options: &Options<'_>, folder: &mut RunDir, report: &mut RunReport, evidence: &Evidence) {
    let failed = matches!(report.verdict, Verdict::Fail | Verdict::Error);
    if !options.keep && !failed {
        return;
    }
    if failed {
        report.logs = Testbed::logs(folder.path(), loaded.scenario.node_names().into_iter().map(|(name, _)| name));
    }
    report.files = Some(folder.path().to_owned());
    let directory = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
    let contents = bundle::Contents {
        scenario: &loaded.text,
        report,
        transactions: &evidence.transactions,
        mempools: &evidence.mempools,
        programs: &Program::of_nodes(report),
        directory: &directory,
    };
    let kept = folder.keep().and_then(|()| bundle::write(folder.path(), &contents));
    if let Err(error) = kept {
        report.failures.push(format!("cannot keep the files of the run: {error}"));
    }
}

/// Plays the steps. Gives what was to go wrong and never did.
async fn play(
    loaded: &Loaded,
    options: &Options<'_>,
    folder: &RunDir,
    at: &Mutex<String>,
    report: &mut RunReport,
    evidence: &mut Evidence,
) -> Result<Vec<String>, Stop> {
    let setup = Setup { env: options.env, folder };
    let mut bed = Testbed::start(loaded.scenario.clone(), &setup, &mut report.nodes).await?;
    let mut stopped = Ok(());
    let steps = &loaded.scenario.steps;
    for (number, step) in steps.iter().enumerate() {
        let (begun, text) = (Instant::now(), step.to_string());
        (options.on_step)(number, steps.len(), &text);
        if let Ok(mut at) = at.lock() {
            *at = format!("at step {} of {}: {text}", number + 1, steps.len());
        }
        stopped = bed.step_while_nodes_live(number, step).await;
        let line = loaded.lines.get(number).copied().flatten();
        report.steps.push(StepReport { step: text, line, duration_ms: millis(begun) });
        if stopped.is_err() {
            break;
        }
    }
    let vain = bed.in_vain();
    let concluded = bed.conclude(report, evidence).await;
    if stopped.is_err() {
        // The tables show how far things came. That the end was not reached needs no further words.
        report.failures.clear();
    }
    stopped.and(concluded).map(|()| vain)
}

fn millis(since: Instant) -> u64 {
    since.elapsed().as_millis() as u64
}
