//! Counts the instructions of the hot paths and compares them with a baseline. `ci/bench` builds it and calls it.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use benches::gate::baseline::{BaselineError, Counts, Difference, Environment, VersionError};
use benches::gate::compare::Comparison;
use benches::gate::hot::Hot;
use benches::gate::measure::{self, MeasureError};
use clap::{Args, Parser, Subcommand};
use rayon::prelude::*;

/// The exit code when a path is slower, or names do not fit.
const FAILED: u8 = 1;
/// The exit code when something that it needs has failed.
const BROKEN: u8 = 4;

/// Counts the instructions of the hot paths under callgrind, and compares them with a baseline.
#[derive(Debug, Parser)]
#[command(name = "gate")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Count, compare with the baseline, print the table. Exit codes: 0 it passes, 1 it fails, 2 bad arguments, 4 something
    /// that it needs failed.
    Check(Check),
    /// Print the benchmarks' names.
    List,
    /// Run one hot path once, uncounted: what callgrind watches.
    Run {
        /// Its name.
        #[arg(value_parser = hot)]
        name: Hot,
    },
}

#[derive(Debug, Args)]
struct Check {
    /// The benchmarks to count, by their names; all, if there is none.
    #[arg(value_parser = hot)]
    names: Vec<Hot>,
    /// Write the counts as the new baseline, instead of comparing them.
    #[arg(long)]
    bless: bool,
    /// Fail over what is slower even where compilers, C library or valgrind are not those of the baseline.
    #[arg(long)]
    strict: bool,
    /// Count everything so often, print how far the counts are apart, and compare the smallest.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Write the counts for a dashboard, as an array of name, unit and value ("customSmallerIsBetter").
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The baseline.
    #[arg(long, value_name = "FILE", default_value = "benches/baseline.json")]
    baseline: PathBuf,
}

#[derive(Debug, thiserror::Error)]
enum GateError {
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    #[error(transparent)]
    Measure(#[from] MeasureError),
    #[error(transparent)]
    Version(#[from] VersionError),
    #[error("the path of this program is unknown: {0}")]
    Program(io::Error),
    #[error("{}: {error}", .path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("rayon's pool cannot be made: {0}")]
    Pool(#[from] rayon::ThreadPoolBuildError),
    #[error(
        "a part of the baseline cannot be blessed here, since the rest was made with another {what}: {baseline}, and here it is {here}; bless all of it"
    )]
    Mixed { what: &'static str, baseline: String, here: String },
}

/// The hot path of this name.
fn hot(name: &str) -> Result<Hot, String> {
    let all = Hot::all();
    let found = all.iter().find(|hot| hot.name() == name).copied();
    let names = || all.iter().map(Hot::name).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| format!("there is no such benchmark: expected one of {}", names()))
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Check(check) => check.run(),
        Command::List => {
            Hot::all().iter().for_each(|hot| println!("{}", hot.name()));
            Ok(true)
        }
        Command::Run { name } => run(name),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(BROKEN)
        }
    }
}

/// All of it in this one thread: callgrind counts what the thread does that has entered the region.
fn run(hot: Hot) -> Result<bool, GateError> {
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global()?;
    hot.run();
    Ok(true)
}

impl Check {
    fn run(self) -> Result<bool, GateError> {
        let whole = self.names.is_empty();
        // What can fail early fails before the counting, which takes its time.
        let environment = Environment::here()?;
        let baseline = match Counts::read(&self.baseline) {
            Err(BaselineError::Missing(_)) if self.bless && whole => None,
            read => Some(read?),
        };
        let hots = if whole { Hot::all() } else { self.names.clone() };
        let now = Counts { environment, instructions: self.count(&hots)?.into_iter().collect() };
        if let Some(path) = &self.json {
            let write = std::fs::write(path, now.dashboard());
            write.map_err(|error| GateError::Write { path: path.clone(), error })?;
        }
        match baseline {
            Some(old) if !self.bless => {
                let comparison = Comparison::new(&old, &now, whole, self.strict);
                println!("{}", comparison.markdown());
                if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
                    append(Path::new(&path), &format!("## Instructions\n\n{}\n", comparison.markdown()))?;
                }
                Ok(comparison.passes())
            }
            Some(mut old) if !whole => {
                let first = old.environment.differences(&now.environment).into_iter().next();
                if let Some(Difference { what, baseline, here }) = first {
                    return Err(GateError::Mixed { what, baseline, here });
                }
                old.instructions.extend(now.instructions);
                self.blessed(&old)
            }
            old => {
                // CI counts with one set of compilers: who blesses with another one should know.
                let differences = old.map(|old| old.environment.differences(&now.environment));
                for Difference { what, baseline, here } in differences.into_iter().flatten() {
                    println!(
                        "the baseline so far was made with another {what}: {baseline}; this one is made with {here}"
                    );
                }
                self.blessed(&now)
            }
        }
    }

    fn blessed(&self, counts: &Counts) -> Result<bool, GateError> {
        counts.write(&self.baseline)?;
        println!("wrote {}: read the difference before you commit it", self.baseline.display());
        Ok(true)
    }

    /// Counts, as many at once as there are cores: nothing that runs beside it changes a count.
    fn count(&self, hots: &[Hot]) -> Result<Vec<(String, u64)>, GateError> {
        let program = std::env::current_exe().map_err(GateError::Program)?;
        let count = |hot: &Hot| {
            let name = hot.name();
            let once = |_| measure::instructions(&program, &name);
            let counts = (0..self.repeat).map(once).collect::<Result<Vec<_>, _>>()?;
            let least = counts.iter().copied().min().unwrap_or_default();
            let most = counts.iter().copied().max().unwrap_or_default();
            eprintln!("{name}: {least}{}", self.spread(least, most));
            Ok((name, least))
        };
        hots.par_iter().map(count).collect()
    }

    fn spread(&self, least: u64, most: u64) -> String {
        if self.repeat == 1 {
            return String::new();
        }
        format!(" to {most} in {} runs: {:.4} % apart", self.repeat, (most - least) as f64 / least as f64 * 100.0)
    }
}

fn append(path: &Path, text: &str) -> Result<(), GateError> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| GateError::Write { path: path.to_owned(), error })
}
