//! What is wrong with a scenario file, and where.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_yaml::Location;

/// Something wrong with a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file, if it is there at all: line and column, from 1.
    pub position: Option<(u64, u64)>,
    /// Which value, such as `factory.members`, if the file's structure could be read.
    pub path: Option<String>,
    /// What is wrong.
    pub message: String,
}

/// Returned when a file is no valid scenario. It shows every problem with its place and line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The file.
    pub file: PathBuf,
    /// The problems, at least one.
    pub problems: Vec<Problem>,
    text: String,
}

impl Problem {
    pub(super) fn new(location: Location, path: impl Into<String>, message: impl Into<String>) -> Self {
        let position = (location != Location::UNKNOWN).then(|| (location.line(), location.column()));
        Problem { position, path: Some(path.into()), message: message.into() }
    }

    pub(super) fn in_general(message: impl Into<String>) -> Self {
        Problem { position: None, path: None, message: message.into() }
    }
}

impl Invalid {
    /// `problems` of `file`, whose content is `text`.
    pub(super) fn new(file: &Path, text: &str, problems: Vec<Problem>) -> Self {
        Invalid { file: file.to_owned(), problems, text: text.to_owned() }
    }
}

impl std::error::Error for Invalid {}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.file.display())?;
            if let Some((line, column)) = problem.position {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
            if let Some(path) = &problem.path {
                write!(f, "{path}: ")?;
            }
            f.write_str(&problem.message)?;
            if let Some((line, column)) = problem.position
                && let Some(shown) = self.text.lines().nth(line as usize - 1)
            {
                let number = line.to_string();
                let margin = " ".repeat(number.len());
                // Tabs stay tabs, so that the mark stands below its place whatever their width.
                let indent: String = shown
                    .chars()
                    .take(column as usize - 1)
                    .map(|character| if character == '\t' { '\t' } else { ' ' })
                    .collect();
                write!(f, "\n {number} | {shown}\n {margin} | {indent}^")?;
            }
        }
        Ok(())
    }
}
