//! Reads experiment files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bitcoin::FeeRate;
use indexmap::IndexMap;

use super::check::{self, Work};
use super::histogram;
use super::language::{Experiment, Feerates};
use crate::scenario::{self, Cell, FileKind, Found, Invalid, Override};

/// An experiment that has been read and checked: one cell of its matrix, if it has one.
#[derive(Clone, Debug)]
pub struct LoadedExperiment {
    /// The file.
    pub file: PathBuf,
    /// What is in the file.
    pub text: String,
    /// The overrides, as they were given.
    pub overrides: Vec<Override>,
    /// The values that this cell of the matrix has, by their places.
    pub cell: IndexMap<String, String>,
    /// What it says.
    pub experiment: Experiment,
    /// The bins of the file that `congestion.feerates.histogram` names: feerates, and how many transactions pay them, which
    /// is at least one in each.
    pub histogram: Option<Vec<(FeeRate, u64)>>,
}

/// The experiments that `paths` name: files as they are, folders with all experiments in and below them, sorted.
///
/// # Errors
///
/// [`Invalid`], if a path cannot be read, or a folder holds no experiment.
pub fn find(paths: &[PathBuf]) -> Result<Found, Invalid> {
    scenario::find_only(FileKind::Experiment, paths)
}

/// Reads and checks an experiment file, with `overrides` put in: one experiment for each cell of its matrix, and one if it
/// has none.
///
/// # Errors
///
/// [`Invalid`] shows every problem that could be found, with its place.
pub fn load(file: &Path, overrides: &[Override]) -> Result<Vec<LoadedExperiment>, Invalid> {
    load_text(file, &scenario::read_text(file)?, overrides)
}

/// Like [`load`], for a file that has been read already. What it names is looked for beside it.
///
/// # Errors
///
/// [`Invalid`] shows every problem that could be found, with its place.
pub fn load_text(file: &Path, text: &str, overrides: &[Override]) -> Result<Vec<LoadedExperiment>, Invalid> {
    if FileKind::of(text) == FileKind::Scenario && scenario::has(text, "steps") {
        return Err(FileKind::Scenario.misplaced(file, text));
    }
    let mut work = Work::default();
    // A file that several cells name is read once.
    let mut read: HashMap<String, Result<Vec<(FeeRate, u64)>, String>> = HashMap::new();
    let cells = scenario::cells(file, text, overrides, |experiment: &Experiment| {
        let bins = histogram_of(experiment)
            .map(|name| read.entry(name.to_owned()).or_insert_with(|| histogram::read(&beside(file, name))).as_deref());
        check::problems(experiment, bins.map(|bins| bins.map_err(String::as_str)), &mut work)
    })?;
    let loaded = |Cell { cell, said, .. }: Cell<Experiment>| {
        let histogram = histogram_of(&said).and_then(|name| read.get(name)?.clone().ok());
        let (file, text) = (file.to_owned(), text.to_owned());
        LoadedExperiment { file, text, overrides: overrides.to_vec(), cell, experiment: said, histogram }
    };
    Ok(cells.into_iter().map(loaded).collect())
}

/// The file of feerates that an experiment names.
fn histogram_of(experiment: &Experiment) -> Option<&str> {
    match &experiment.congestion.as_ref()?.feerates {
        Feerates::Histogram(name) => Some(name),
        Feerates::Constant(_) | Feerates::Exponential { .. } => None,
    }
}

/// A file that another one names relative to itself.
fn beside(file: &Path, name: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(name)
}
