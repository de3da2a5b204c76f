//! `shopfloor run` and `shopfloor check`.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::{AnyError, CheckArgs, RunArgs};
use crate::node::provision::Env;
use crate::race;
use crate::report::{self, RunReport, SuiteReport};
use crate::scenario::{self, FileKind, Invalid, Loaded, Override};
use crate::suite::{self, About, Display, Exit, ScenarioJob, SuiteArgs};

pub(super) fn run(args: &RunArgs) -> Result<Exit, AnyError> {
    let suite = &args.suite;
    if let Err(error) = suite.check_outputs() {
        eprintln!("error: {error}");
        return Ok(Exit::BadInput);
    }
    let Some(scenarios) = load(&args.check) else { return Ok(Exit::BadInput) };
    let titles: Vec<String> = scenarios.iter().map(|loaded| RunReport::new(loaded).title()).collect();
    let named: Vec<(Loaded, String)> = scenarios.into_iter().zip(titles).collect();
    let selected = match suite.selection().select(named, about) {
        Ok(selected) => selected,
        Err(nothing) => {
            eprintln!("error: {nothing}");
            return Ok(Exit::BadInput);
        }
    };
    // The files are made before the runs, so that a wrong path costs no run.
    let outputs = Outputs::open(suite)?;
    let env = Arc::new(Env::from_process()?);
    let begun = Instant::now();
    let jobs: Vec<ScenarioJob> = suite::repeated(selected, suite.repeat)
        .into_iter()
        .map(|((loaded, _), repetition)| ScenarioJob { loaded, repetition, env: Arc::clone(&env), keep: suite.keep })
        .collect();
    let display = Arc::new(Display::to_stderr(jobs.len(), suite.style()));
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome =
        runtime.block_on(async { suite::run(jobs, suite.budget(), suite.fail_fast, display, interrupted()).await });
    if outcome.interrupted {
        eprintln!("interrupted");
        return Ok(Exit::Interrupted);
    }
    let differences = suite::differences(&outcome.runs);
    let report = SuiteReport::new(outcome.runs, begun.elapsed().as_millis() as u64);
    if !suite.uses_stdout() {
        print(&report)?;
    }
    differences.iter().for_each(|difference| eprintln!("not the same: {difference}"));
    outputs.write(&report)?;
    let exit = Exit::of(report.runs.iter().map(|run| run.verdict));
    // What differs between repetitions is no passed run, whatever each by itself says.
    Ok(if exit == Exit::Pass && !differences.is_empty() { Exit::Fail } else { exit })
}

/// What a selection looks at.
fn about(item: &(Loaded, String)) -> About<'_> {
    let (loaded, title) = item;
    About { title, file: &loaded.file, tags: &loaded.scenario.tags }
}

/// Completes when somebody wants everything to end.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                interrupt = tokio::signal::ctrl_c() => if let Err(error) = interrupt {
                    eprintln!("shopfloor: cannot listen for Ctrl-C: {error}");
                    std::future::pending::<()>().await;
                },
                _ = terminate.recv() => {}
            }
        }
        Err(error) => {
            eprintln!("shopfloor: cannot listen for signals: {error}");
            std::future::pending::<()>().await;
        }
    }
}

/// One run is told in full, several in a line each; what did not pass in full in any case.
fn print(report: &SuiteReport) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match report.runs.as_slice() {
        [run] => write!(out, "\n{run}"),
        runs => {
            for run in runs.iter().filter(|run| run.verdict > report::Verdict::Skip) {
                writeln!(out, "\n{run}")?;
            }
            write!(out, "\n{}", report.summary())
        }
    }
}

/// Where the reports go.
struct Outputs {
    open: Vec<(Form, Box<dyn io::Write>)>,
}

/// How a suite's report is written.
type Form = fn(&SuiteReport) -> Result<String, AnyError>;

impl Outputs {
    fn open(args: &SuiteArgs) -> io::Result<Self> {
        let forms: [(&Option<std::path::PathBuf>, Form); 4] = [
            (&args.json, |report| Ok(serde_json::to_string_pretty(report)? + "\n")),
            (&args.junit, |report| Ok(report::junit(report)?)),
            (&args.markdown, |report| Ok(report::markdown(report))),
            (&args.html, |report| Ok(report::html(report))),
        ];
        let wanted = forms.into_iter().filter_map(|(path, form)| Some((form, path.as_deref()?)));
        let open = wanted.map(|(form, path)| Ok((form, create(path)?))).collect::<io::Result<_>>()?;
        Ok(Outputs { open })
    }

    fn write(self, report: &SuiteReport) -> Result<(), AnyError> {
        for (form, mut out) in self.open {
            out.write_all(form(report)?.as_bytes())?;
            out.flush()?;
        }
        Ok(())
    }
}

pub(super) fn create(path: &Path) -> io::Result<Box<dyn io::Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let file =
        File::create(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(Box::new(io::BufWriter::new(file)))
}

/// Writes a value as JSON into a file, or to standard output if its name is `-`.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), AnyError> {
    let mut out = create(path)?;
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Writes a text into a file, or to standard output if its name is `-`.
pub(super) fn write_text(path: &Path, text: &str) -> io::Result<()> {
    let mut out = create(path)?;
    out.write_all(text.as_bytes())?;
    out.flush()
}

pub(super) fn check(args: &CheckArgs) -> Result<Exit, AnyError> {
    let files = match scenario::find_all(&args.paths) {
        Ok(files) => files,
        Err(invalid) => {
            eprintln!("{invalid}");
            return Ok(Exit::BadInput);
        }
    };
    let overrides = args.overrides();
    let checked: Vec<_> = files.iter().map(|file| cells(file, &overrides)).collect();
    if checked.iter().any(Result::is_err) {
        checked.iter().filter_map(|result| result.as_ref().err()).for_each(|invalid| eprintln!("{invalid}"));
        return Ok(Exit::BadInput);
    }
    for (file, cells) in files.iter().zip(checked.into_iter().flatten()) {
        match cells {
            1 => println!("{}: sound", file.display()),
            several => println!("{}: sound ({several} cells)", file.display()),
        }
    }
    Ok(Exit::Pass)
}

/// How many cells a file has, scenario or experiment.
fn cells(file: &Path, overrides: &[Override]) -> Result<usize, Invalid> {
    let text = scenario::read_text(file)?;
    match FileKind::of(&text) {
        FileKind::Scenario => scenario::load_text(file, &text, overrides).map(|cells| cells.len()),
        FileKind::Experiment => race::load_text(file, &text, overrides).map(|cells| cells.len()),
    }
}

/// Reads all scenarios, or says what is wrong with each that is not sound. Experiments in folders are left out.
pub(super) fn load(args: &CheckArgs) -> Option<Vec<Loaded>> {
    let found = scenario::find(&args.paths).map_err(|invalid| eprintln!("{invalid}")).ok()?;
    if found.left_out > 0 {
        eprintln!("left out: {}", FileKind::Experiment.count(found.left_out));
    }
    let overrides = args.overrides();
    let scenarios: Vec<_> = found.files.iter().map(|file| scenario::load(file, &overrides)).collect();
    scenarios.iter().filter_map(|result| result.as_ref().err()).for_each(|invalid| eprintln!("{invalid}"));
    scenarios.into_iter().collect::<Result<Vec<_>, _>>().ok().map(|cells| cells.into_iter().flatten().collect())
}
