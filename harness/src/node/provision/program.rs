//! A program that was found.

use std::fmt;
use std::path::PathBuf;

use super::cache::{CacheError, Installed};
use super::install::sha256;
use super::tool::Tool;
use super::version::Version;

/// A program that was found and that told its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The tool that it stands for.
    pub tool: Tool,
    /// The executable, as an absolute path.
    pub path: PathBuf,
    /// What the program says it is. By a variable it may be another version than the tool's.
    pub version: Version,
    /// How it was found.
    pub source: Source,
}

impl Program {
    /// The SHA-256 of the program, in hexadecimal: that of the executable file, except for a tool in the cache that a
    /// script starts, where it is that of the program behind the script.
    ///
    /// # Errors
    ///
    /// Returned when the file, or its description in the cache, cannot be read.
    pub fn sha256(&self) -> Result<String, CacheError> {
        if let (Source::Cache, Some(folder)) = (&self.source, self.path.parent())
            && let Some(installed) = Installed::read(folder)?
        {
            return Ok(installed.sha256);
        }
        sha256(&self.path)
    }
}

/// How a program was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Named by this variable.
    Variable(String),
    /// In the user's cache.
    Cache,
    /// In `PATH`.
    Path,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Variable(variable) => f.pad(variable),
            Source::Cache => f.pad("cache"),
            Source::Path => f.pad("PATH"),
        }
    }
}
