//! Finds files, and tells scenarios from experiments.

use std::fs;
use std::path::{Path, PathBuf};

use super::document::Node;
use super::load::{MAX_BYTES, read_text};
use super::problem::{Invalid, Problem};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// What happens to a factory, step by step.
    Scenario,
    /// A race of both sides of a factory to miners.
    Experiment,
}

/// Files of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The files.
    pub files: Vec<PathBuf>,
    /// How many files of the other kind lie in the folders.
    pub left_out: usize,
}

impl FileKind {
    /// What a text is: an experiment is what has a key `miners`. A text that cannot be read is taken for a scenario.
    pub fn of(text: &str) -> FileKind {
        if has(text, "miners") { FileKind::Experiment } else { FileKind::Scenario }
    }

    /// What the file is. One that cannot be read is taken for a scenario.
    fn of_file(file: &Path) -> FileKind {
        read_text(file).map_or(FileKind::Scenario, |text| FileKind::of(&text))
    }

    /// So many of them, and what to do with one.
    pub(crate) fn count(self, count: usize) -> String {
        let what = match self {
            FileKind::Scenario => "scenario",
            FileKind::Experiment => "experiment",
        };
        let several = if count == 1 { "" } else { "s" };
        format!("{count} {what}{several}: `shopfloor {} FILE` runs one", self.command())
    }

    /// Says that a file is of this kind where it was to be of the other.
    pub(crate) fn misplaced(self, file: &Path, text: &str) -> Invalid {
        let (found, key, expected) = match self {
            FileKind::Scenario => ("a scenario", "steps", "an experiment"),
            FileKind::Experiment => ("an experiment", "miners", "a scenario"),
        };
        let message = format!(
            "this is {found}, since it has `{key}`: expected {expected}; `shopfloor {} {}` runs {found}",
            self.command(),
            file.display()
        );
        let position = Node::parse(text).ok().and_then(|document| document.position_of_key(&[], key));
        let position = Some(position.unwrap_or((1, 1)));
        Invalid::new(file, text, vec![Problem { position, ..Problem::in_general(message) }])
    }

    /// What runs it.
    fn command(self) -> &'static str {
        match self {
            FileKind::Scenario => "run",
            FileKind::Experiment => "race",
        }
    }
}

/// The scenarios that `paths` name: files as they are, folders with all scenarios in and below them, sorted.
///
/// # Errors
///
/// [`Invalid`], if a path cannot be read, or a folder holds no scenario.
pub fn find(paths: &[PathBuf]) -> Result<Found, Invalid> {
    find_only(FileKind::Scenario, paths)
}

/// The files of one kind that `paths` name: files as they are, folders with all such files in and below them, sorted.
///
/// # Errors
///
/// [`Invalid`], if a path cannot be read, or a folder holds no such file.
pub(crate) fn find_only(kind: FileKind, paths: &[PathBuf]) -> Result<Found, Invalid> {
    let mut found = Found::default();
    for path in paths {
        if !path.is_dir() {
            found.files.push(path.clone());
            continue;
        }
        let (files, others): (Vec<_>, Vec<_>) =
            files_in(path)?.into_iter().partition(|file| FileKind::of_file(file) == kind);
        if let ([], [other, ..]) = (files.as_slice(), others.as_slice()) {
            let message =
                format!("in this folder there is nothing but {}", FileKind::of_file(other).count(others.len()));
            return Err(Invalid::new(path, "", vec![Problem::in_general(message)]));
        }
        found.left_out += others.len();
        found.files.extend(files);
    }
    Ok(found)
}

/// The files that `paths` name, of whatever kind: files as they are, folders with all `.yaml` files in and below them,
/// sorted.
///
/// # Errors
///
/// [`Invalid`], if a path cannot be read, or a folder holds no such file.
pub fn find_all(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Invalid> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => files.extend(files_in(path)?),
            false => files.push(path.clone()),
        }
    }
    Ok(files)
}

/// Whether a text has a key at its outermost level.
pub(crate) fn has(text: &str, key: &str) -> bool {
    let read = (text.len() <= MAX_BYTES).then(|| Node::parse(text).ok()).flatten();
    read.is_some_and(|document| document.get(&[key.to_owned()]).is_some())
}

/// All `.yaml` files in and below a folder, sorted.
fn files_in(path: &Path) -> Result<Vec<PathBuf>, Invalid> {
    let invalid = |message: String| Invalid::new(path, "", vec![Problem::in_general(message)]);
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| invalid(error.to_string()))? {
            let path = entry.map_err(|error| invalid(error.to_string()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        return Err(invalid("no scenario and no experiment (*.yaml) in this folder".to_owned()));
    }
    files.sort();
    Ok(files)
}
