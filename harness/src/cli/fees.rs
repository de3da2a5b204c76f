//! `shopfloor fees`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use factory_core::{LockKind, TxVersion};

use super::run::{write_json, write_text};
use super::{AnyError, Exit, tx_version, update};
use crate::fees::{self, FeesError, FeesReport, Question};
use crate::scenario::Rate;

/// What `fees` takes.
#[derive(Debug, clap::Args)]
pub(super) struct FeesArgs {
    /// How many members the factory has
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "3,20,63,200",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    members: Vec<u32>,
    /// How the n-of-n of the factory and every channel are built: musig2, tapscript or wsh
    #[arg(long, value_name = "LOCK", value_delimiter = ',', default_value = "musig2")]
    lock: Vec<LockKind>,
    /// The version of the factory's transactions, 2 or 3 (TRUC)
    #[arg(long, value_name = "VERSION", value_delimiter = ',', default_value = "2", value_parser = tx_version)]
    version: Vec<TxVersion>,
    /// What every transaction pays by its size, but for the factory close
    #[arg(long, value_name = "FEERATE", value_delimiter = ',', default_value = "1 sat/vB")]
    feerate: Vec<Rate>,
    /// What decides every key and nonce
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report as JSON to this file, or to standard output if none is named
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
    /// Write two CSV files into this folder: of the transactions, and of the ways that they make up
    #[arg(long, value_name = "FOLDER")]
    csv: Option<PathBuf>,
    /// Write the tables as Markdown to this file, or to standard output if none is named, as if nothing is asked for
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    markdown: Option<PathBuf>,
    /// Write plots into this folder, as SVG
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
    /// Put the tables into a Markdown file, in the place that is marked for them
    #[arg(long, value_name = "FILE")]
    update: Option<PathBuf>,
}

pub(super) fn fees(args: &FeesArgs) -> Result<Exit, AnyError> {
    for folder in [&args.csv, &args.svg].into_iter().flatten() {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let question = Question {
        members: args.members.clone(),
        locks: args.lock.clone(),
        versions: args.version.clone(),
        feerates: args.feerate.iter().map(|rate| rate.0).collect(),
        seed: args.seed,
    };
    let report = match question.answer() {
        Ok(report) => report,
        Err(FeesError::Nothing(why)) => {
            why.iter().for_each(|why| eprintln!("error: {why}"));
            return Ok(Exit::BadInput);
        }
        Err(defect) => return Err(defect.into()),
    };
    for left_out in &report.left_out {
        eprintln!("left out: {left_out}");
    }
    write(args, &report)?;
    Ok(Exit::Pass)
}

fn write(args: &FeesArgs, report: &FeesReport) -> Result<(), AnyError> {
    let file = |folder: &Path, name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| AnyError::from(format!("{}: {error}", path.display())))
    };
    if let Some(folder) = &args.csv {
        file(folder, "fees.transactions.csv", &fees::transactions_csv(report))?;
        file(folder, "fees.ways.csv", &fees::ways_csv(report))?;
    }
    if let Some(folder) = &args.svg {
        for plot in fees::plots(report)? {
            file(folder, &format!("fees.{}.svg", plot.name), &plot.svg)?;
        }
    }
    if let Some(path) = &args.json {
        write_json(path, report)?;
    }
    if let Some(path) = &args.update {
        update(path, "fees", &fees::markdown(report))?;
    }
    if let Some(path) = &args.markdown {
        write_text(path, &fees::markdown(report))?;
    }
    let elsewhere = [&args.json, &args.csv, &args.svg, &args.update, &args.markdown];
    if elsewhere.into_iter().all(Option::is_none) {
        io::stdout().lock().write_all(fees::markdown(report).as_bytes())?;
    }
    Ok(())
}
