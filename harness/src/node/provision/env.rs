//! The environment that provisioning looks at, gathered in one place so that a test can hand in another.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use crate::node::{Kind, UnknownKind};

/// The variables and the working directory that decide where programs are looked for and kept.
#[derive(Clone, Debug)]
pub struct Env {
    vars: BTreeMap<OsString, OsString>,
    directory: PathBuf,
    answer_limit: Duration,
}

impl Env {
    /// How long a program may take to print its version: it needs milliseconds, a loaded machine some more.
    const ANSWER_LIMIT: Duration = Duration::from_secs(10);

    /// The environment of this process.
    ///
    /// # Errors
    ///
    /// Returned when the working directory cannot be told, for instance because it was removed.
    pub fn from_process() -> io::Result<Env> {
        Ok(Env::new(std::env::vars_os(), std::env::current_dir()?))
    }

    /// An environment made of these variables and this working directory.
    pub fn new<K, V>(vars: impl IntoIterator<Item = (K, V)>, directory: impl Into<PathBuf>) -> Env
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let vars = vars.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Env { vars, directory: directory.into(), answer_limit: Env::ANSWER_LIMIT }
    }

    /// The same with another time limit for a program to print its version.
    #[must_use]
    pub fn with_answer_limit(self, answer_limit: Duration) -> Env {
        Env { answer_limit, ..self }
    }

    /// How long a program may take to print its version.
    pub fn answer_limit(&self) -> Duration {
        self.answer_limit
    }

    /// A variable's value; one that is set to nothing counts as unset, as shells' `${VAR:-default}` has it.
    pub fn var(&self, name: &str) -> Option<&OsStr> {
        self.vars.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// All variables, for a child process.
    pub(crate) fn vars(&self) -> &BTreeMap<OsString, OsString> {
        &self.vars
    }

    /// The working directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The folder that installed tools are kept in: `$SHOPFLOOR_CACHE`, else `$XDG_CACHE_HOME/shopfloor`, else
    /// `~/.cache/shopfloor`.
    ///
    /// # Errors
    ///
    /// Returned when none of the three variables is set.
    pub fn cache(&self) -> Result<PathBuf, NoCache> {
        let folder = if let Some(folder) = self.var("SHOPFLOOR_CACHE") {
            PathBuf::from(folder)
        } else if let Some(base) = self.var("XDG_CACHE_HOME") {
            Path::new(base).join("shopfloor")
        } else {
            Path::new(self.var("HOME").ok_or(NoCache)?).join(".cache/shopfloor")
        };
        Ok(self.directory.join(folder))
    }

    /// Every executable file of this name in `PATH`, in the order of `PATH`.
    pub fn in_path(&self, name: impl AsRef<Path>) -> impl Iterator<Item = PathBuf> {
        let path = self.var("PATH").unwrap_or_default();
        let folders: Vec<_> = std::env::split_paths(path).filter(|folder| !folder.as_os_str().is_empty()).collect();
        folders
            .into_iter()
            .map(move |folder| self.directory.join(folder).join(name.as_ref()))
            .filter(|file| is_executable(file))
            .collect::<Vec<_>>()
            .into_iter()
    }
}

/// Names the node kinds that are used, between commas or spaces. Without it every kind is.
pub const KINDS_VARIABLE: &str = "SHOPFLOOR_KINDS";

impl Env {
    /// The node kinds that `SHOPFLOOR_KINDS` names; `None` if it is not set.
    ///
    /// # Errors
    ///
    /// Returned when it names something that is no kind.
    pub fn kinds(&self) -> Result<Option<Vec<Kind>>, UnchosenKind> {
        let Some(names) = self.var(KINDS_VARIABLE) else { return Ok(None) };
        let names = names.to_string_lossy();
        let names = names.split([',', ' ']).filter(|name| !name.is_empty());
        names.map(str::parse).collect::<Result<Vec<Kind>, _>>().map(Some).map_err(UnchosenKind)
    }
}

/// Returned when `SHOPFLOOR_KINDS` names something that is no kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{KINDS_VARIABLE}: {0}")]
pub struct UnchosenKind(UnknownKind);

/// Whether somebody may execute this file.
pub(crate) fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Returned when no variable says where a cache might be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no place for the cache: none of SHOPFLOOR_CACHE, XDG_CACHE_HOME and HOME is set")]
pub struct NoCache;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_all_but_those_that_are_not_named() {
        let kinds = |value: &str| Env::new([(KINDS_VARIABLE, value)], "/here").kinds();
        assert_eq!(kinds(""), Ok(None));
        assert_eq!(kinds("core-30, knots-29"), Ok(Some(vec![Kind::Core30, Kind::Knots29])));
        let error = kinds("core-31,core-3").unwrap_err().to_string();
        assert!(error.starts_with("SHOPFLOOR_KINDS: unknown node kind `core-3`"), "{error}");
    }

    #[test]
    fn the_cache_is_the_first_folder_that_is_named() {
        let all = [("SHOPFLOOR_CACHE", "own"), ("XDG_CACHE_HOME", "/xdg"), ("HOME", "/home/me")];
        let cache = |vars: &[(&str, &str)]| Env::new(vars.iter().copied(), "/here").cache();
        assert_eq!(cache(&all), Ok("/here/own".into()));
        assert_eq!(cache(&all[1..]), Ok("/xdg/shopfloor".into()));
        assert_eq!(cache(&all[2..]), Ok("/home/me/.cache/shopfloor".into()));
        assert_eq!(cache(&[("HOME", "")]), Err(NoCache));
    }
}
