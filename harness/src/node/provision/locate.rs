//! Finding the program of a tool on this machine.

use std::path::{Path, PathBuf};

use super::ask::{self, AskError};
use super::cache::{CacheError, Shelf};
use super::env::Env;
use super::install;
use super::recipe::recipe;
use super::tool::Tool;
use super::version::{Family, Version};
use super::{Program, Source};

/// Returned when the program of a tool was not found, or the one that was named is not it.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// A variable names a file that is no such program. Nothing else is tried: who names a program means that one.
    #[error("{variable}={value}: expected the {executable} of {tool}, but {path}: {source}",
        executable = .tool.executable(), path = .path.display())]
    Refused {
        /// The tool.
        tool: Tool,
        /// The variable.
        variable: String,
        /// Its value.
        value: String,
        /// The file that it means.
        path: PathBuf,
        /// What is wrong with it.
        source: AskError,
    },
    /// A variable holds a bare name that is not in `PATH`.
    #[error("{variable}={value}: expected the {executable} of {tool}, but no program of that name is in PATH (a file \
        in the working directory is written ./{value})", executable = .tool.executable())]
    NotInPath {
        /// The tool.
        tool: Tool,
        /// The variable.
        variable: String,
        /// Its value.
        value: String,
    },
    /// A variable names another family's program, which has another mempool policy.
    #[error("{variable}={value}: expected {expected} for {tool}, found {found} {version}", found = .version.family())]
    WrongFamily {
        /// The tool.
        tool: Tool,
        /// The variable.
        variable: String,
        /// Its value.
        value: String,
        /// The family that the tool is of.
        expected: Family,
        /// What the program says it is.
        version: Version,
    },
    /// A tool in the cache no longer runs, for instance because a library it was built against was removed.
    #[error("the {tool} in the cache does not run: {path}: {source}; `shopfloor node install {tool}` makes it anew",
        path = .path.display())]
    Broken {
        /// The tool.
        tool: Tool,
        /// Its executable.
        path: PathBuf,
        /// What is wrong with it.
        source: AskError,
    },
    /// The cache cannot be read.
    #[error("{tool}: {source}")]
    Cache {
        /// The tool.
        tool: Tool,
        /// What is wrong with which path.
        source: CacheError,
    },
    /// It is nowhere.
    #[error("no {tool} here: run `shopfloor node install {tool}`, or set {variable} to its {executable}{others}",
        variable = .tool.variables().pop().unwrap_or_default(),
        executable = .tool.executable(),
        others = others(.passed_over))]
    NotFound {
        /// The tool.
        tool: Tool,
        /// Programs of the right name in `PATH` that are something else, and what they are.
        passed_over: Vec<(PathBuf, String)>,
    },
}

fn others(passed_over: &[(PathBuf, String)]) -> String {
    passed_over.iter().map(|(path, what)| format!("; in PATH is {}: {what}", path.display())).collect()
}

/// Finds the program of a tool: the file that a variable names, else the one in the cache, else one in `PATH` whose
/// version says that it is this tool.
///
/// A variable always wins. The strongest is `SHOPFLOOR_<TOOL>_EXE`; for the default kind `BITCOIND_EXE` comes next. Its
/// value is a path, from the working directory if it is relative, or a bare name in `PATH`. What it names must be a
/// program of the tool's family: a development build of another version is taken, and tells its own version; Knots for
/// a Core kind is refused, because a verdict on one policy would be put down to another.
///
/// Each program found is asked for its version, once per process.
///
/// # Errors
///
/// Returned when a variable names something else, the cache is broken, or there is none.
pub fn locate(env: &Env, tool: Tool) -> Result<Program, LocateError> {
    for variable in tool.variables() {
        if let Some(value) = env.var(&variable) {
            return named(env, tool, variable, value.as_ref());
        }
    }
    match in_cache(env, tool)? {
        Some(program) => Ok(program),
        None => in_path(env, tool),
    }
}

fn named(env: &Env, tool: Tool, variable: String, named: &Path) -> Result<Program, LocateError> {
    let value = named.display().to_string();
    let is_bare = named.components().count() == 1 && !value.contains('/');
    let path = if is_bare { env.in_path(named).next() } else { Some(env.directory().join(named)) };
    let Some(path) = path else {
        return Err(LocateError::NotInPath { tool, variable, value });
    };
    match ask::version(&path, tool.version_option(), env) {
        Err(source) => Err(LocateError::Refused { tool, variable, value, path, source }),
        Ok(version) if version.family() != tool.family() => {
            Err(LocateError::WrongFamily { tool, variable, value, expected: tool.family(), version })
        }
        Ok(version) => Ok(Program { tool, path, version, source: Source::Variable(variable) }),
    }
}

fn in_cache(env: &Env, tool: Tool) -> Result<Option<Program>, LocateError> {
    // Without a place for a cache there is nothing in it.
    let Ok(shelf) = Shelf::new(env, tool) else { return Ok(None) };
    let cache_error = |source| LocateError::Cache { tool, source };
    let Some(installed) = shelf.installed(&recipe(tool).revision()).map_err(cache_error)? else { return Ok(None) };
    let program = install::program(tool, &shelf, installed);
    match ask::version(&program.path, tool.version_option(), env) {
        Ok(version) => Ok(Some(Program { version, ..program })),
        Err(source) => Err(LocateError::Broken { tool, path: program.path, source }),
    }
}

fn in_path(env: &Env, tool: Tool) -> Result<Program, LocateError> {
    let mut passed_over = Vec::new();
    for path in env.in_path(tool.executable()) {
        match ask::version(&path, tool.version_option(), env) {
            Ok(version) if tool.is(&version) => {
                return Ok(Program { tool, path, version, source: Source::Path });
            }
            Ok(version) => passed_over.push((path, format!("{} {version}", version.family()))),
            Err(error) => passed_over.push((path, error.to_string())),
        }
    }
    Err(LocateError::NotFound { tool, passed_over })
}
