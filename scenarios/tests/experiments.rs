//! Makes some trials of every experiment of this package, on real nodes and by the model, as one test each.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use shopfloor::Kind;
use shopfloor::node::provision::{self, Env, LocateError, Tool};
use shopfloor::race::{self, LoadedExperiment, Options};

/// How many trials each cell has, where `SHOPFLOOR_TRIALS` does not say.
const TRIALS: u64 = 24;

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // Each has nodes enough to keep the machine busy.
    args.test_threads = args.test_threads.or(Some(1));
    match trials(Path::new(env!("CARGO_MANIFEST_DIR"))) {
        Ok(trials) => libtest_mimic::run(&args, trials).exit_code(),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn trials(root: &Path) -> Result<Vec<Trial>, Box<dyn std::error::Error>> {
    let count = match std::env::var("SHOPFLOOR_TRIALS") {
        Ok(text) => text.parse().map_err(|_| format!("SHOPFLOOR_TRIALS={text}: expected a number of trials"))?,
        Err(_) => TRIALS,
    };
    let mut trials = Vec::new();
    for file in race::find(&[root.to_owned()])?.files {
        let name = file.strip_prefix(root).unwrap_or(&file).with_extension("").display().to_string();
        let cells = race::load(&file, &[])?;
        trials.push(Trial::test(name.clone(), move || carry_out(&name, &cells, count)));
    }
    Ok(trials)
}

/// Passes if the model and the nodes agree on every trial, and what was expected came out. Only kinds of node that are not
/// asked for may be missing.
fn carry_out(name: &str, cells: &[LoadedExperiment], trials: u64) -> Result<(), Failed> {
    let env = Arc::new(Env::from_process()?);
    if let Some(kind) = left_out(&env, cells)? {
        println!("{name} was skipped: {kind} is left out");
        return Ok(());
    }
    let lanes = std::thread::available_parallelism()?.get();
    let runtime = tokio::runtime::Runtime::new()?;
    let options = Options { trials: Some(trials), lanes };
    let report = runtime.block_on(race::run(cells, options, env, Arc::new(|_| {})))?;
    let made: u64 = report.points.iter().map(|point| point.trials).sum();
    if made != trials * cells.len() as u64 {
        return Err(format!("{made} trials were made of {}", trials * cells.len() as u64).into());
    }
    if report.points.iter().any(|point| point.model_disagreements.is_none()) {
        return Err("the model was not asked".into());
    }
    if !report.failures.is_empty() {
        return Err(format!("{}\n{report}", report.failures.join("\n")).into());
    }
    Ok(())
}

/// A kind of the nodes that is left out by `SHOPFLOOR_KINDS`; or not installed, where that names none and it is not the
/// default kind.
fn left_out(env: &Env, cells: &[LoadedExperiment]) -> Result<Option<Kind>, Failed> {
    let chosen = env.kinds()?;
    let mut kinds = cells.iter().flat_map(|cell| cell.experiment.nodes.values().map(|node| node.kind.0));
    Ok(kinds.find(|kind| match &chosen {
        Some(chosen) => !chosen.contains(kind),
        None if *kind == Kind::DEFAULT => false,
        None => matches!(provision::locate(env, Tool::Node(*kind)), Err(LocateError::NotFound { .. })),
    }))
}
