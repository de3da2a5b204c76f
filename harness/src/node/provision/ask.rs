//! Asking a program for its version, without trusting that it is one of ours or that it answers at all.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::env::{Env, is_executable};
use super::version::Version;

/// How much of an answer is read: a version text is about 700 bytes, and a wrong program may print without end.
const ANSWER_BYTES: u64 = 16 * 1024;

/// Returned when a file is no program that tells a version we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is no such file.
    #[error("no such file")]
    Missing,
    /// It is a folder, or may not be executed.
    #[error("not an executable file")]
    NotExecutable,
    /// The system could not start it.
    #[error("it does not start: {0}")]
    Start(String),
    /// It was still running when the time was up.
    #[error("it gave no version within {limit:?}, having answered {answer}", answer = quote(.said))]
    Hangs {
        /// How long it was given.
        limit: Duration,
        /// What it had printed by then.
        said: String,
    },
    /// It ended with an error.
    #[error("it ended with {how}, having answered {answer}", answer = quote(.said))]
    Failed {
        /// How it ended: an exit code or a signal.
        how: String,
        /// What it printed.
        said: String,
    },
    /// It printed something else.
    #[error("it answered {answer}", answer = quote(.said))]
    Unknown {
        /// What it printed.
        said: String,
    },
}

/// The first lines of an answer on one line, in quotes.
fn quote(said: &str) -> String {
    if said.trim().is_empty() {
        return "nothing".to_owned();
    }
    let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect();
    let text: String = lines.join(" / ").chars().take(300).collect();
    format!("`{text}`")
}

/// Asks the program at `path` for its version; a process asks each file once, unless the file changes.
pub(crate) fn version(path: &Path, option: &str, env: &Env) -> Result<Version, AskError> {
    type Key = (PathBuf, u64, SystemTime);
    static KNOWN: Mutex<Option<HashMap<Key, Version>>> = Mutex::new(None);

    let meta = path.metadata().map_err(|_| AskError::Missing)?;
    let key = (path.to_owned(), meta.len(), meta.modified().unwrap_or(SystemTime::UNIX_EPOCH));
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(version) = known().as_ref().and_then(|map| map.get(&key)) {
        return Ok(version.clone());
    }
    if !is_executable(path) {
        return Err(AskError::NotExecutable);
    }
    let (status, said) = answer(path, option, env)?;
    if !status.success() {
        return Err(AskError::Failed { how: how(status), said });
    }
    let version = Version::parse(&said).ok_or(AskError::Unknown { said })?;
    known().get_or_insert_default().insert(key, version.clone());
    Ok(version)
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

/// Runs the program with one option and returns how it ended and what it printed, standard output first.
fn answer(path: &Path, option: &str, env: &Env) -> Result<(ExitStatus, String), AskError> {
    let limit = env.answer_limit();
    let deadline = Instant::now() + limit;
    let start_error = |error: io::Error| AskError::Start(error.to_string());
    // Even for its version alone, bitcoind writes a settings file below the home folder, and fails if another does so at
    // that moment. Nothing of the user's is touched, and nobody meets there.
    let home = tempfile::tempdir().map_err(start_error)?;
    let mut child = spawn(path, option, env, home.path(), deadline).map_err(start_error)?;
    let outputs = [
        child.stdout.take().map(|pipe| read_aside(Box::new(pipe))),
        child.stderr.take().map(|pipe| read_aside(Box::new(pipe))),
    ];
    let in_time = ends_before(&child, deadline);
    // The program leads a group of its own, and is not reaped yet, so its number still means that group. Whatever it
    // left behind goes too: it would hold the pipes open. That the group is gone already is no error.
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let status = child.wait().map_err(start_error)?;
    let mut said = String::new();
    for output in outputs.into_iter().flatten() {
        // A process that left the group may hold a pipe open still: then what it printed is done without.
        if let Ok(text) = output.recv_timeout(Duration::from_secs(1)) {
            said.push_str(&text);
        }
    }
    if in_time { Ok((status, said)) } else { Err(AskError::Hangs { limit, said }) }
}

fn spawn(path: &Path, option: &str, env: &Env, home: &Path, deadline: Instant) -> io::Result<Child> {
    let mut command = Command::new(path);
    command.arg(option).env_clear().envs(env.vars()).env("HOME", home).current_dir(env.directory()).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    loop {
        match command.spawn() {
            // A file just written stays busy while any child that was forked meanwhile has not yet called exec.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {
                thread::yield_now();
            }
            done => return done,
        }
    }
}

fn read_aside(pipe: Box<dyn Read + Send>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // An error ends the answer as its end does; what came before it counts.
        let _ = pipe.take(ANSWER_BYTES).read_to_end(&mut bytes);
        // Nobody listens any more if the time was up.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// Waits for the child to end, without reaping it; false if the deadline comes first.
fn ends_before(child: &Child, deadline: Instant) -> bool {
    let pid = Pid::from_raw(child.id().cast_signed());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(nix::errno::Errno::EINTR) {}
        // Nobody listens any more if the time was up.
        let _ = sender.send(());
    });
    receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
}
