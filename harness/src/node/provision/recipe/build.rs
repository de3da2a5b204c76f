//! The place where a recipe works: its folders, its log, and its way to run programs.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::node::provision::cache::{CacheError, Locked, failed_to};
use crate::node::provision::env::Env;
use crate::node::provision::progress::{Event, Progress};
use crate::node::provision::supervise::Run;
use crate::node::provision::tool::Tool;

/// How many of the log's last lines an error shows.
const TAIL: usize = 15;

/// Returned when a recipe could not make its tool.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file or folder could not be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A program could not be run at all.
    #[error("{step}: cannot run `{command}`: {source}")]
    Run {
        /// The step that was going on.
        step: String,
        /// The command.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{step}: `{command}` ended with {status}, the whole log is in {log}, its last lines:\n{tail}",
        log = .log.display())]
    Failed {
        /// The step that was going on.
        step: String,
        /// The command.
        command: String,
        /// How it ended.
        status: String,
        /// Where the whole log is.
        log: PathBuf,
        /// The last lines.
        tail: String,
    },
    /// A program did what it should, but what it made is not as expected.
    #[error("{step}: expected {expected}, found {found}")]
    Unexpected {
        /// The step that was going on.
        step: String,
        /// What should have been there.
        expected: String,
        /// What was there.
        found: String,
    },
}

/// The place where a recipe works.
pub(crate) struct Site<'a> {
    tool: Tool,
    env: &'a Env,
    lock: &'a Locked,
    progress: &'a mut dyn Progress,
    step: String,
    log: File,
    work: PathBuf,
    out: PathBuf,
}

impl<'a> Site<'a> {
    /// The machine, as the user's variables show it.
    pub(crate) fn env(&self) -> &Env {
        self.env
    }

    /// A clean place for building `tool`.
    pub(crate) fn new(
        tool: Tool,
        env: &'a Env,
        lock: &'a Locked,
        progress: &'a mut dyn Progress,
    ) -> Result<Site<'a>, CacheError> {
        let staging = lock.fresh_staging()?;
        let (work, out) = (staging.join("work"), staging.join("out"));
        for folder in [&work, &out] {
            fs::create_dir(folder).map_err(failed_to("create", folder))?;
        }
        let log = lock.shelf().log();
        let log = File::create(&log).map_err(failed_to("create", &log))?;
        Ok(Site { tool, env, lock, progress, step: String::new(), log, work, out })
    }

    /// The folder to work in; it is removed in the end.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }

    /// The folder that becomes the installed tool.
    pub(crate) fn out(&self) -> &Path {
        &self.out
    }

    /// Where the tool's executable belongs.
    pub(crate) fn executable(&self) -> PathBuf {
        self.out.join(self.tool.executable())
    }

    /// Begins a step.
    pub(crate) fn step(&mut self, step: &str) {
        step.clone_into(&mut self.step);
        self.progress.event(self.tool, Event::Step(step));
    }

    /// A program to run in the work folder, with the environment of the user.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Run {
        let vars: &BTreeMap<OsString, OsString> = self.env.vars();
        Run::new(program, &self.work, vars)
    }

    /// Runs a program that must succeed.
    pub(crate) fn run(&mut self, run: &Run) -> Result<(), BuildError> {
        self.run_reading(run, |_| None)
    }

    /// Runs a program that must succeed and returns the lines it printed.
    pub(crate) fn lines(&mut self, run: &Run) -> Result<Vec<String>, BuildError> {
        let mut lines = Vec::new();
        self.run_reading(run, |line| {
            lines.push(line.to_owned());
            None
        })?;
        Ok(lines)
    }

    /// Runs a program that must succeed, and reads from its lines how many of a hundred parts are done.
    pub(crate) fn run_reading(
        &mut self,
        run: &Run,
        mut percent: impl FnMut(&str) -> Option<u8>,
    ) -> Result<(), BuildError> {
        let command = run.shown();
        let mut tail = VecDeque::new();
        let mut logged = writeln!(self.log, "$ {command}");
        let (log, progress, tool) = (&mut self.log, &mut *self.progress, self.tool);
        let status = run.supervised(self.lock.file(), |line| {
            if logged.is_ok() {
                logged = writeln!(log, "{line}");
            }
            progress.event(tool, Event::Line(line));
            if let Some(percent) = percent(line) {
                progress.event(tool, Event::Percent(percent));
            }
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line.to_owned());
        });
        let log = self.lock.shelf().log();
        logged.map_err(failed_to("write", &log))?;
        let step = self.step.clone();
        let status =
            status.map_err(|source| BuildError::Run { step: step.clone(), command: command.clone(), source })?;
        if status.success() {
            return Ok(());
        }
        let tail = tail.into_iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n");
        Err(BuildError::Failed { step, command, status: status.to_string(), log, tail })
    }

    /// Writes a file in the work folder, with the folders above it.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), CacheError> {
        let path = self.work.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed_to("create", folder))?;
        }
        fs::write(&path, text).map_err(failed_to("write", &path))
    }

    /// An error for something that is not as expected.
    pub(crate) fn unexpected(&self, expected: impl Into<String>, found: impl Into<String>) -> BuildError {
        BuildError::Unexpected { step: self.step.clone(), expected: expected.into(), found: found.into() }
    }
}
