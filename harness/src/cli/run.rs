//! `shopfloor run` and `shopfloor check`.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use super::{AnyError, CheckArgs, Exit, RunArgs};
use crate::node::provision::Env;
use crate::report::RunReport;
use crate::scenario::{self, Loaded, Options};

pub(super) fn run(args: &RunArgs) -> Result<Exit, AnyError> {
    let Some(scenarios) = load(&args.check) else { return Ok(Exit::BadInput) };
    // The file is made before the runs, so that a wrong path costs no run.
    let json = args.json.as_deref().map(open).transpose()?;
    let env = Env::from_process()?;
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    let runtime = tokio::runtime::Runtime::new()?;
    let reports = runtime.block_on(async {
        tokio::select! {
            reports = run_all(&scenarios, &env, args.keep, to_stdout) => Ok(Some(reports?)),
            interrupt = tokio::signal::ctrl_c() => interrupt.map(|()| None),
        }
    })?;
    // By now the nodes of an interrupted run are gone, with their files.
    let Some(reports) = reports else {
        eprintln!("interrupted");
        return Ok(Exit::Interrupted);
    };
    if let Some(mut json) = json {
        serde_json::to_writer_pretty(&mut json, &reports)?;
        writeln!(json)?;
        json.flush()?;
    }
    Ok(Exit::of(reports.iter().map(|report| report.verdict)))
}

async fn run_all(scenarios: &[Loaded], env: &Env, keep: bool, quiet: bool) -> io::Result<Vec<RunReport>> {
    let mut reports = Vec::new();
    for loaded in scenarios {
        eprintln!("{} ({})", loaded.scenario.name.value, loaded.file.display());
        let on_step = |step: &crate::report::StepReport| eprintln!("  {:6} ms  {}", step.duration_ms, step.step);
        let report = scenario::run(loaded, &Options { env, keep, on_step }).await;
        if quiet {
            eprintln!("{}", report.verdict.word());
            report.failures.iter().for_each(|failure| eprintln!("  {failure}"));
        } else {
            write!(io::stdout(), "\n{report}")?;
        }
        reports.push(report);
    }
    Ok(reports)
}

pub(super) fn check(args: &CheckArgs) -> Result<Exit, AnyError> {
    let Some(scenarios) = load(args) else { return Ok(Exit::BadInput) };
    for loaded in &scenarios {
        println!("{}: sound", loaded.file.display());
    }
    Ok(Exit::Pass)
}

/// Reads all scenarios, or says what is wrong with each that is not sound.
fn load(args: &CheckArgs) -> Option<Vec<Loaded>> {
    let files = scenario::find(&args.paths).map_err(|invalid| eprintln!("{invalid}")).ok()?;
    let overrides = args.overrides();
    let scenarios: Vec<_> = files.iter().map(|file| scenario::load(file, &overrides)).collect();
    scenarios.iter().filter_map(|result| result.as_ref().err()).for_each(|invalid| eprintln!("{invalid}"));
    scenarios.into_iter().collect::<Result<_, _>>().ok()
}

fn open(path: &Path) -> io::Result<Box<dyn io::Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout().lock()));
    }
    let file =
        File::create(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(Box::new(io::BufWriter::new(file)))
}
