//! What is wrong with a scenario file, and where.

use std::fmt;
use std::path::{Path, PathBuf};

use super::document::{Node, Position};
use super::load::Override;

/// Longer lines are shown in part.
const WIDTH: usize = 120;

/// Something wrong with a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file: line and column, from 1.
    pub position: Option<Position>,
    /// Which value, such as `factory`, `members`; empty if it is the whole file.
    pub path: Vec<String>,
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
    /// A problem with the value at `path`, whose parts are joined by dots.
    pub(crate) fn at(path: impl AsRef<str>, message: impl Into<String>) -> Self {
        let path = path.as_ref().split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Problem { position: None, path, message: message.into() }
    }

    /// A problem with a file that cannot be read as a scenario at all.
    pub(super) fn in_general(message: impl Into<String>) -> Self {
        Problem { position: None, path: Vec::new(), message: message.into() }
    }

    /// Gives it the place of the value that it is about.
    pub(super) fn located(mut self, document: &Node) -> Self {
        if self.position.is_none() {
            self.position = document.position_of(&self.path);
        }
        self
    }

    /// Says which override is to blame, if one is.
    pub(super) fn caused_by(mut self, overrides: &[Override]) -> Self {
        if let Some(change) = overrides.iter().rev().find(|change| change.gave(&self.path)) {
            self.path.insert(0, format!("--set {change}"));
        }
        self
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
            if !problem.path.is_empty() {
                // A value from the command line is named before its place.
                let (change, place) = match problem.path.split_first() {
                    Some((change, place)) if change.starts_with("--set ") => (Some(change), place),
                    _ => (None, problem.path.as_slice()),
                };
                change.map_or(Ok(()), |change| write!(f, "{change}: "))?;
                if !place.is_empty() {
                    write!(f, "{}: ", place.join("."))?;
                }
            }
            f.write_str(&problem.message)?;
            if let Some((line, column)) = problem.position
                && let Some(shown) = self.text.lines().nth(line as usize - 1)
            {
                let number = line.to_string();
                let margin = " ".repeat(number.len());
                let (shown, indent) = excerpt(shown, column as usize);
                write!(f, "\n {number} | {shown}\n {margin} | {indent}^")?;
            }
        }
        Ok(())
    }
}

/// The part of a line around a column, and what stands below it up to there.
fn excerpt(line: &str, column: usize) -> (String, String) {
    let skipped = if column > WIDTH { column - WIDTH / 2 } else { 0 };
    // What would move the cursor, or clear the screen, does not get to it. Tabs stay tabs, so that the mark stands below
    // its place whatever their width.
    let safe = |character: char| if character.is_control() && character != '\t' { '\u{fffd}' } else { character };
    let below = |character: char| if character == '\t' { '\t' } else { ' ' };
    let window = || line.chars().skip(skipped);
    let mut shown: String = window().take(WIDTH).map(safe).collect();
    let mut indent: String = window().take(column - 1 - skipped).map(below).collect();
    if skipped > 0 {
        shown.insert(0, '…');
        indent.insert(0, ' ');
    }
    if window().nth(WIDTH).is_some() {
        shown.push('…');
    }
    (shown, indent)
}
