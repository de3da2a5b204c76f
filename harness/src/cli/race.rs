//! `shopfloor race`.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::run::{create, interrupted};
use super::{AnyError, CheckArgs, Exit, updatable, update};
use crate::node::provision::Env;
use crate::race::{self, LoadedExperiment, Options, RaceReport};
use crate::testbed::Stop;

/// What `race` takes.
#[derive(Debug, clap::Args)]
pub(super) struct RaceArgs {
    #[command(flatten)]
    check: CheckArgs,
    /// How many trials are made of each cell of the matrix [default: as many as the file says]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    trials: Option<u64>,
    /// How many trials are made at once, each on nodes of its own [default: as many as there are processors]
    #[arg(long, short, value_name = "J", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "model")]
    jobs: Option<u16>,
    /// Ask the model alone: no node is needed, and many more trials can be made
    #[arg(long)]
    model: bool,
    /// Keep every trial in the JSON
    #[arg(long)]
    records: bool,
    /// Write the reports as a JSON array to this file, or to standard output with `-`
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write two CSV files for each experiment into this folder: its trials, and its points
    #[arg(long, value_name = "FOLDER")]
    csv: Option<PathBuf>,
    /// Write the plots of each experiment into this folder, as SVG
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
    /// Put the table into a Markdown file, in the place that is marked for it
    #[arg(long, value_name = "FILE")]
    update: Option<PathBuf>,
}

pub(super) fn race(args: &RaceArgs) -> Result<Exit, AnyError> {
    let Some(experiments) = load(&args.check) else { return Ok(Exit::BadInput) };
    // Where results go is looked at before the trials, so that a wrong path costs none.
    folders(args, &experiments)?;
    if let Some(path) = &args.update {
        updatable(path, "races")?;
    }
    let json = args.json.as_deref().map(create).transpose()?;
    let lanes = match args.model {
        true => 0,
        false => args
            .jobs
            .map_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get), usize::from),
    };
    let options = Options { trials: args.trials, lanes };
    let env = Arc::new(Env::from_process()?);
    let runtime = tokio::runtime::Runtime::new()?;
    let (mut reports, mut skipped) = (Vec::new(), false);
    for cells in experiments {
        let made = runtime.block_on(async {
            tokio::select! {
                made = carry_out(&cells, options, &env) => Some(made),
                () = interrupted() => None,
            }
        });
        match made {
            None => {
                eprintln!("interrupted");
                return Ok(Exit::Interrupted);
            }
            Some(Ok(report)) => {
                files(args, &report)?;
                reports.push(report);
            }
            Some(Err(Stop::Skip(why))) => {
                eprintln!("{}: skipped: {why}", cells[0].file.display());
                skipped = true;
            }
            Some(Err(Stop::Fail(why))) => {
                eprintln!("error: {}: {why}", cells[0].file.display());
                return Ok(Exit::BadInput);
            }
            Some(Err(stop)) => return Err(format!("{}: {stop}", cells[0].file.display()).into()),
        }
    }
    for failure in reports.iter().flat_map(|report| report.failures.iter().map(move |why| (report, why))) {
        eprintln!("{}: {}", failure.0.file.display(), failure.1);
    }
    let failed = reports.iter().any(|report| !report.failures.is_empty());
    if let Some(path) = &args.update {
        update(path, "races", &race::markdown(&reports))?;
    }
    if args.json.as_deref() != Some(Path::new("-")) && args.update.is_none() {
        let mut out = io::stdout().lock();
        for report in &reports {
            writeln!(out, "{report}")?;
        }
    }
    if let Some(mut out) = json {
        let reports: Vec<RaceReport> = match args.records {
            true => reports,
            false => reports.into_iter().map(RaceReport::without_records).collect(),
        };
        serde_json::to_writer_pretty(&mut out, &reports)?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(match (failed, skipped) {
        (true, _) => Exit::Fail,
        (false, true) => Exit::Skip,
        (false, false) => Exit::Pass,
    })
}

/// Makes the folders that files are to be written into, and tries whether they can be.
fn folders(args: &RaceArgs, experiments: &[Vec<LoadedExperiment>]) -> Result<(), AnyError> {
    let folders: Vec<&PathBuf> = [&args.csv, &args.svg].into_iter().flatten().collect();
    for folder in &folders {
        let named = |what: &str, error: io::Error| format!("{}: {what}: {error}", folder.display());
        fs::create_dir_all(folder).map_err(|error| named("cannot make this folder", error))?;
        let probe = folder.join(format!(".shopfloor-{}", std::process::id()));
        fs::write(&probe, "").map_err(|error| named("cannot write into this folder", error))?;
        fs::remove_file(&probe).map_err(|error| named("cannot write into this folder", error))?;
    }
    let mut known: HashMap<String, &Path> = HashMap::new();
    for cells in experiments.iter().filter(|_| !folders.is_empty()) {
        let file = cells[0].file.as_path();
        if let Some(other) = known.insert(stem(file), file) {
            let (file, other) = (file.display(), other.display());
            return Err(format!("{other} and {file} would be written into the same files: expected other names").into());
        }
    }
    Ok(())
}

/// What the files are called that are made of an experiment's.
fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Reads all experiments, or says what is wrong with each that is not sound.
fn load(args: &CheckArgs) -> Option<Vec<Vec<LoadedExperiment>>> {
    let found = race::find(&args.paths).map_err(|invalid| eprintln!("{invalid}")).ok()?;
    let overrides = args.overrides();
    let experiments: Vec<_> = found.files.iter().map(|file| race::load(file, &overrides)).collect();
    experiments.iter().filter_map(|result| result.as_ref().err()).for_each(|invalid| eprintln!("{invalid}"));
    experiments.into_iter().collect::<Result<_, _>>().ok()
}

async fn carry_out(cells: &[LoadedExperiment], options: Options, env: &Arc<Env>) -> Result<RaceReport, Stop> {
    let count: u64 = cells.iter().map(|cell| options.trials.unwrap_or(cell.experiment.trials.0.into())).sum();
    let name = cells.first().map(|cell| cell.experiment.name.clone()).unwrap_or_default();
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg}  {wide_bar}  {pos}/{len} trials  {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(name);
    let shown = bar.clone();
    let report = race::run(cells, options, Arc::clone(env), Arc::new(move |trials| shown.inc(trials))).await;
    bar.finish_and_clear();
    report
}

/// Writes what is asked for of an experiment into files that are called after its own.
fn files(args: &RaceArgs, report: &RaceReport) -> Result<(), AnyError> {
    let stem = stem(&report.file);
    let write = |folder: &Path, name: String, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| AnyError::from(format!("{}: {error}", path.display())))
    };
    if let Some(folder) = &args.csv {
        write(folder, format!("{stem}.trials.csv"), &race::csv::trials(report))?;
        write(folder, format!("{stem}.points.csv"), &race::csv::points(report))?;
    }
    if let Some(folder) = &args.svg {
        for plot in race::plot::plots(report)? {
            write(folder, format!("{stem}.{}.svg", plot.name), &plot.svg)?;
        }
    }
    Ok(())
}
