//! Reads scenario files.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::check::{self, Work};
use super::document::Node;
use super::find::FileKind;
use super::language::Scenario;
use super::problem::{Invalid, Problem};
use super::read;
use crate::node::Kind;

/// More cells than this are a mistake.
const MAX_CELLS: usize = 1_000;
/// More axes than these are a mistake.
const MAX_AXES: usize = 20;
/// What all cells may take together, in bytes of text, and in values of [`VALUE_BYTES`].
const MAX_TOTAL: usize = 256 << 20;
/// What one value counts for.
const VALUE_BYTES: usize = 64;
/// More problems than these are not shown.
const MAX_PROBLEMS: usize = 50;
/// A scenario file that is longer than this is a mistake.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// A value that takes the place of one in the file, such as `factory.members=200`.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    text: String,
    path: Vec<String>,
    value: Value,
}

/// Returned when a text is no override.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {why}: expected something like `factory.members=200`")]
pub struct OverrideError {
    text: String,
    why: String,
}

/// A scenario that has been read and checked: one cell of its matrix, if it has one.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file.
    pub file: PathBuf,
    /// What is in the file.
    pub text: String,
    /// The overrides, as they were given.
    pub overrides: Vec<Override>,
    /// The values that this cell of the matrix has, by their places.
    pub cell: IndexMap<String, String>,
    /// What it says.
    pub scenario: Scenario,
    /// The line of each step, where it is from the file.
    pub lines: Vec<Option<u64>>,
}

/// One axis of a matrix: a place, and the values that it takes.
struct Axis {
    name: String,
    path: Vec<String>,
    values: Vec<Node>,
}

impl std::str::FromStr for Override {
    type Err = OverrideError;

    fn from_str(text: &str) -> Result<Self, OverrideError> {
        let error = |why: &str| OverrideError { text: text.to_owned(), why: why.to_owned() };
        let (path, value) = text.split_once('=').ok_or_else(|| error("there is no `=`"))?;
        let path: Vec<_> = path.trim().split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err(error("a part of the path is empty"));
        }
        let value = serde_yaml::from_str(value).map_err(|why| error(&why.without_snippet().to_string()))?;
        Ok(Override { text: text.to_owned(), path, value })
    }
}

impl std::fmt::Display for Override {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Override {
    /// Sets the scenario's seed.
    pub fn seed(seed: u64) -> Self {
        Override { text: format!("seed={seed}"), path: vec!["seed".to_owned()], value: seed.into() }
    }

    /// Sets a node's kind.
    pub fn kind(node: &str, kind: Kind) -> Self {
        let path = ["nodes", node, "kind"].map(str::to_owned).to_vec();
        Override { text: format!("nodes.{node}.kind={kind}"), path, value: kind.name().into() }
    }

    /// Whether the value at `path` is, or is inside, what this put there.
    pub(super) fn gave(&self, path: &[String]) -> bool {
        path.starts_with(&self.path)
    }

    fn apply(&self, document: &mut Node) -> Result<(), Problem> {
        let done = match self.path.first().is_some_and(|first| first == "matrix") {
            true => Err("a matrix cannot be set: expected the place of a value, such as `factory.members`".to_owned()),
            false => document.set(&self.path, Node::from_value(self.value.clone())),
        };
        done.map_err(|message| Problem {
            position: document.position_of(&self.path),
            path: vec![format!("--set {self}")],
            message,
        })
    }
}

/// Reads and checks a scenario file, with `overrides` put in: one scenario for each cell of its matrix, and one if it
/// has none.
///
/// # Errors
///
/// [`Invalid`] shows every problem that could be found, with its place.
pub fn load(file: &Path, overrides: &[Override]) -> Result<Vec<Loaded>, Invalid> {
    load_text(file, &read_text(file)?, overrides)
}

/// What is in a file that may be a scenario, or belong to one.
///
/// # Errors
///
/// [`Invalid`], if it cannot be read, or is no text.
pub(crate) fn read_text(file: &Path) -> Result<String, Invalid> {
    // What is no scenario may be as long as a disk: no more is read than it takes to know.
    let mut bytes = Vec::new();
    let read = fs::File::open(file).and_then(|opened| opened.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let problem = Problem { position: Some((1, 1)), ..Problem::in_general(format!("cannot be read: {error}")) };
        return Err(Invalid::new(file, "", vec![problem]));
    }
    String::from_utf8(bytes).map_err(|error| not_utf8(file, &error))
}

/// Shows the first byte that is no text, with what stands in front of it.
fn not_utf8(file: &Path, error: &FromUtf8Error) -> Invalid {
    let (sound, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
    let sound = String::from_utf8_lossy(sound);
    let line = sound.matches('\n').count() as u64 + 1;
    let column = sound.chars().rev().take_while(|character| *character != '\n').count() as u64 + 1;
    let byte = rest.first().copied().unwrap_or_default();
    let message = format!("the byte 0x{byte:02x} is no UTF-8: expected a text file in UTF-8");
    let text = String::from_utf8_lossy(error.as_bytes());
    Invalid::new(file, &text, vec![Problem { position: Some((line, column)), ..Problem::in_general(message) }])
}

/// Like [`load`], for a file that has been read already.
///
/// # Errors
///
/// [`Invalid`] shows every problem that could be found, with its place.
pub fn load_text(file: &Path, text: &str, overrides: &[Override]) -> Result<Vec<Loaded>, Invalid> {
    if FileKind::of(text) == FileKind::Experiment {
        return Err(FileKind::Experiment.misplaced(file, text));
    }
    let mut work = Work::default();
    let loaded = |Cell { cell, said, document }: Cell<Scenario>| {
        let lines = (0..said.steps.len())
            .map(|step| document.get(&["steps".to_owned(), step.to_string()])?.position())
            .map(|position| position.map(|(line, _)| line));
        let lines = lines.collect();
        let (file, text) = (file.to_owned(), text.to_owned());
        Loaded { file, text, overrides: overrides.to_vec(), cell, scenario: said, lines }
    };
    let cells = cells(file, text, overrides, |scenario| check::problems(scenario, &mut work))?;
    Ok(cells.into_iter().map(loaded).collect())
}

/// One cell of the matrix of a file.
pub(crate) struct Cell<T> {
    /// The values that it has, by their places.
    pub(crate) cell: IndexMap<String, String>,
    /// What the file says for it.
    pub(crate) said: T,
    document: Node,
}

/// Reads and checks a text, with `overrides` put in: once for each cell of its matrix.
///
/// # Errors
///
/// [`Invalid`] shows every problem that could be found, with its place.
pub(crate) fn cells<T: DeserializeOwned>(
    file: &Path,
    text: &str,
    overrides: &[Override],
    mut check: impl FnMut(&T) -> Vec<Problem>,
) -> Result<Vec<Cell<T>>, Invalid> {
    let invalid = |problems| Invalid::new(file, text, problems);
    if text.len() > MAX_BYTES {
        let message = format!("expected at most {MAX_BYTES} bytes, found {}", text.len());
        return Err(invalid(vec![Problem { position: Some((1, 1)), path: Vec::new(), message }]));
    }
    let mut document = Node::parse(text).map_err(|problem| invalid(vec![problem]))?;
    let matrix = document.remove("matrix");
    let axes = axes(matrix.as_ref(), overrides).map_err(|problem| invalid(vec![problem]))?;
    let mut problems: Vec<Problem> = Vec::new();
    let cell_size = text.len() + VALUE_BYTES * document.size();
    let count: usize = axes.iter().map(|axis| axis.values.len()).product();
    if count > 1 && count.saturating_mul(cell_size) > MAX_TOTAL {
        let message = format!("a file of this size with {count} cells is too much: expected less of one of the two");
        let position = matrix.as_ref().and_then(Node::position);
        return Err(invalid(vec![Problem { position, path: vec!["matrix".to_owned()], message }]));
    }
    // What is wrong in every cell alike is said once.
    let mut add = |problem: Problem| {
        let alike = |known: &Problem| (&known.path, &known.message) == (&problem.path, &problem.message);
        if problems.len() < MAX_PROBLEMS && !problems.iter().any(alike) {
            problems.push(problem);
        }
    };
    let mut cells = Vec::new();
    for values in product(&axes) {
        let mut document = document.clone();
        let mut cell = IndexMap::new();
        for (axis, value) in axes.iter().zip(values) {
            cell.insert(axis.name.clone(), value.brief());
            if let Err(message) = document.set(&axis.path, value.clone()) {
                let path = vec!["matrix".to_owned(), axis.name.clone()];
                add(Problem { position: value.position(), path, message });
            }
        }
        for change in overrides {
            change.apply(&mut document).map_err(|problem| invalid(vec![problem]))?;
        }
        match read_cell(&document, &mut check) {
            Ok(said) => cells.push(Cell { cell, said, document }),
            Err(found) => found.into_iter().for_each(|problem| add(problem.caused_by(overrides))),
        }
    }
    if problems.is_empty() { Ok(cells) } else { Err(invalid(problems)) }
}

/// Reads and checks one cell.
fn read_cell<T: DeserializeOwned>(document: &Node, check: impl FnOnce(&T) -> Vec<Problem>) -> Result<T, Vec<Problem>> {
    let said: T = read::read(document).map_err(|error| {
        let path: Vec<String> = error.path().iter().filter_map(segment).collect();
        let message = error.inner().to_string();
        // A key that may not be there is shown where it stands, and not where the map around it begins.
        let position = error.inner().unknown.as_ref().and_then(|key| {
            let parent = if path.last() == Some(key) { &path[..path.len() - 1] } else { &path };
            document.position_of_key(parent, key)
        });
        vec![Problem { position, path, message }.located(document)]
    })?;
    let problems = check(&said);
    match problems.is_empty() {
        true => Ok(said),
        false => Err(problems.into_iter().map(|problem| problem.located(document)).collect()),
    }
}

fn segment(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    }
}

/// The axes of a matrix, but those that an override has set to one value.
fn axes(matrix: Option<&Node>, overrides: &[Override]) -> Result<Vec<Axis>, Problem> {
    let Some(matrix) = matrix else { return Ok(Vec::new()) };
    let problem = |path: &[&str], node: &Node, message: String| Problem {
        position: node.position(),
        path: path.iter().map(|part| (*part).to_owned()).collect(),
        message,
    };
    if !matrix.is_map() {
        let message = "expected places and the values that they take, such as `nodes.alice.kind: [core-31, knots-29]`";
        return Err(problem(&["matrix"], matrix, message.to_owned()));
    }
    let entries = matrix.entries();
    if entries.len() > MAX_AXES {
        let message = format!("expected at most {MAX_AXES} places, found {}", entries.len());
        return Err(problem(&["matrix"], matrix, message));
    }
    let mut axes = Vec::new();
    let mut cells = 1_usize;
    for (name, list) in entries {
        let values: Vec<Node> = list.entries().into_iter().map(|(_, value)| value.clone()).collect();
        if !list.is_list() || values.is_empty() {
            return Err(problem(&["matrix", &name], list, "expected a list of at least one value".to_owned()));
        }
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            let message = "expected a place, such as `nodes.alice.kind`".to_owned();
            return Err(problem(&["matrix", &name], list, message));
        }
        cells = cells.saturating_mul(values.len());
        if cells > MAX_CELLS {
            let message = format!("expected at most {MAX_CELLS} cells, found {cells} up to here");
            return Err(problem(&["matrix", &name], list, message));
        }
        if !overrides.iter().any(|change| change.path == path) {
            axes.push(Axis { name, path, values });
        }
    }
    Ok(axes)
}

/// Every combination of a value of each axis; the last axis changes first.
fn product(axes: &[Axis]) -> Vec<Vec<&Node>> {
    axes.iter().fold(vec![Vec::new()], |cells, axis| {
        let mut longer = Vec::with_capacity(cells.len() * axis.values.len());
        for cell in &cells {
            for value in &axis.values {
                longer.push(cell.iter().copied().chain([value]).collect());
            }
        }
        longer
    })
}
