//! Reads scenario files.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::check;
use super::language::Scenario;
use super::problem::{Invalid, Problem};

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

/// A scenario that has been read and checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file.
    pub file: PathBuf,
    /// The overrides, as they were given.
    pub overrides: Vec<Override>,
    /// What it says.
    pub scenario: Scenario,
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

    /// Puts the value in its place. Maps on the way are made, since whether they may be there is the language's matter.
    fn apply(&self, document: &mut Value) -> Result<(), Problem> {
        let mut place = document;
        for (depth, key) in self.path.iter().enumerate() {
            let here = || self.path[..depth].join(".");
            if place.is_null() {
                *place = Value::Object(serde_json::Map::new());
            }
            place = match place {
                Value::Object(map) => map.entry(key.clone()).or_insert(Value::Null),
                Value::Array(list) => {
                    let length = list.len();
                    key.parse().ok().and_then(|index: usize| list.get_mut(index)).ok_or_else(|| {
                        let message = format!("there is no `{key}` in `{}`, a list of {length}", here());
                        Problem { position: None, path: Some(format!("--set {self}")), message }
                    })?
                }
                _ => {
                    let message = format!("`{}` is a single value, it holds no `{key}`", here());
                    return Err(Problem { position: None, path: Some(format!("--set {self}")), message });
                }
            };
        }
        *place = self.value.clone();
        Ok(())
    }
}

/// Reads and checks a scenario file, with `overrides` put in.
///
/// # Errors
///
/// [`Invalid`] shows every problem that could be found, with its place.
pub fn load(file: &Path, overrides: &[Override]) -> Result<Loaded, Invalid> {
    let text = fs::read_to_string(file)
        .map_err(|error| Invalid::new(file, "", vec![Problem::in_general(error.to_string())]))?;
    load_text(file, &text, overrides)
}

/// Like [`load`], for a file that has been read already.
///
/// # Errors
///
/// [`Invalid`] shows every problem that could be found, with its place.
pub fn load_text(file: &Path, text: &str, overrides: &[Override]) -> Result<Loaded, Invalid> {
    let invalid = |problems| Invalid::new(file, text, problems);
    let mut scenario: Scenario = parse(text).map_err(|problem| invalid(vec![problem]))?;
    if !overrides.is_empty() {
        let mut document: Value = parse(text).map_err(|problem| invalid(vec![problem]))?;
        for change in overrides {
            change.apply(&mut document).map_err(|problem| invalid(vec![problem]))?;
        }
        scenario = serde_path_to_error::deserialize(document).map_err(|error| {
            let message = format!("{} (with {})", error.inner(), listed(overrides));
            invalid(vec![Problem { position: None, path: Some(error.path().to_string()), message }])
        })?;
    }
    let problems = check::problems(&scenario);
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    Ok(Loaded { file: file.to_owned(), overrides: overrides.to_vec(), scenario })
}

/// The scenario files that `paths` name: files as they are, folders with all `.yaml` files in and below them, sorted.
///
/// # Errors
///
/// [`Invalid`], if a path cannot be read, or a folder holds no scenario.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Invalid> {
    let mut files = Vec::new();
    for path in paths {
        let invalid = |message: String| Invalid::new(path, "", vec![Problem::in_general(message)]);
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        let mut folders = vec![path.clone()];
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
        if files.len() == before {
            return Err(invalid("no scenario (*.yaml) in this folder".to_owned()));
        }
        files[before..].sort();
    }
    Ok(files)
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    serde_yaml::from_str(text).map_err(|error| {
        let error = error.without_snippet();
        let position = error.location().map(|location| (location.line(), location.column()));
        let mut message = error.to_string();
        if let Some((line, column)) = position {
            // The place is shown in front already.
            let place = format!(" at line {line}, column {column}");
            message = message.strip_suffix(&place).map(str::to_owned).unwrap_or(message);
        }
        Problem { position, path: None, message }
    })
}

fn listed(overrides: &[Override]) -> String {
    overrides.iter().map(|change| format!("--set {change}")).collect::<Vec<_>>().join(" ")
}
