//! Removes what a run leaves if its harness is killed.
//!
//! Processes of nodes are ended by the kernel, but nobody ends containers or removes networks and folders after a
//! `kill -9`. So each run has a *reaper*: a small process in a session of its own that reads from a pipe which only the
//! harness holds open. The pipe ends with the harness, whatever ends it, and what is left of the run is removed then.
//!
//! It is a shell script, since it must be there for every program that uses this library. What it says to a container
//! engine it says through perl, which every Debian has; a client of the engine need not be there.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

const SCRIPT: &str = include_str!("reaper.sh");
const SWEEP: &str = include_str!("reaper.pl");

/// Looks after one run. When this is dropped, or the harness ends in any other way, the reaper removes what is left of
/// the run: after a normal end, nothing.
#[derive(Debug)]
pub struct Reaper {
    run: String,
    pipe: Mutex<ChildStdin>,
}

impl Reaper {
    /// Starts the reaper of the run with this name and this folder. The folder is inside one that holds the lock under
    /// which folders of runs are removed; one that holds a file `kept` is not removed.
    ///
    /// # Errors
    ///
    /// If the process cannot be started.
    pub fn for_run(dir: &Path, run: &str) -> io::Result<Reaper> {
        let failed = |what: &str| io::Error::other(format!("the process that cleans up after run {run}: {what}"));
        // Its own session: a Ctrl-C at the terminal is for the harness. Its values are not among its arguments, by
        // which it looks for the processes of the run.
        let mut reaper = Command::new("setsid")
            .args(["--fork", "sh", "-c", SCRIPT, "shopfloor-reaper", SWEEP])
            .env("SHOPFLOOR_REAPER_DIR", dir)
            .env("SHOPFLOOR_REAPER_RUN", run)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&format!("setsid: {error}")))?;
        let pipe = reaper.stdin.take().ok_or_else(|| failed("no pipe"))?;
        let mut said = String::new();
        reaper.stdout.take().ok_or_else(|| failed("no pipe"))?.read_to_string(&mut said)?;
        let status = reaper.wait()?;
        if !status.success() || said != "ready\n" {
            return Err(failed(&format!("{status}, having said `{}`, expected `ready`", said.trim())));
        }
        Ok(Reaper { run: run.to_owned(), pipe: Mutex::new(pipe) })
    }

    /// The run's name.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Has it look at this container engine, too, for what is labelled with the run's name.
    ///
    /// # Errors
    ///
    /// If the process is not there any more.
    pub(crate) fn look_after(&self, engine: &Path) -> io::Result<()> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(pipe, "engine {}", engine.display())
    }
}

/// Whether a reaper could speak to a container engine.
pub(crate) fn can_reach_engines() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let mut perl = Command::new("perl");
        perl.args(["-MIO::Socket::UNIX", "-e", "1"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        perl.status().is_ok_and(|status| status.success())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::PathBuf;
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;

    /// Waits until something is so.
    fn becomes(mut condition: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// The processes in whose command line or environment a folder is named.
    fn processes_of(dir: &Path, file: &str) -> Vec<i32> {
        let name = dir.to_str().unwrap().as_bytes();
        let entries = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let names_it = |pid: &i32| {
            let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            text.windows(name.len()).any(|part| part == name)
        };
        entries.filter(names_it).collect()
    }

    fn run_in(base: &Path) -> PathBuf {
        let dir = base.join("run-test");
        fs::create_dir_all(dir.join("node/data")).unwrap();
        dir
    }

    #[test]
    fn a_folder_that_is_left_goes_and_so_does_the_reaper() {
        let base = tempfile::tempdir().unwrap();
        let dir = run_in(base.path());
        let reaper = Reaper::for_run(&dir, "test").unwrap();
        assert!(dir.exists());
        assert_eq!(processes_of(&dir, "environ").len(), 1);
        drop(reaper);
        assert!(becomes(|| !dir.exists()));
        assert!(becomes(|| processes_of(&dir, "environ").is_empty()));
    }

    #[test]
    fn a_folder_that_is_kept_stays() {
        let base = tempfile::tempdir().unwrap();
        let dir = run_in(base.path());
        fs::write(dir.join("kept"), "").unwrap();
        drop(Reaper::for_run(&dir, "test").unwrap());
        assert!(becomes(|| processes_of(&dir, "environ").is_empty()));
        assert!(dir.join("node/data").exists());
    }

    #[test]
    fn a_folder_stays_for_as_long_as_somebody_holds_the_lock() {
        let base = tempfile::tempdir().unwrap();
        let dir = run_in(base.path());
        let gate = fs::File::create(base.path().join("lock")).unwrap();
        gate.lock().unwrap();
        drop(Reaper::for_run(&dir, "test").unwrap());
        // It asks for the lock through a process of its own.
        assert!(becomes(|| processes_of(&dir, "environ").len() > 1));
        assert!(dir.exists());
        drop(gate);
        assert!(becomes(|| !dir.exists()));
    }

    #[test]
    fn a_folder_stays_for_as_long_as_a_process_of_the_run_lives() {
        let base = tempfile::tempdir().unwrap();
        let dir = run_in(base.path());
        let gone = base.path().join("gone");
        // It looks for its folder for as long as it lives, and nobody ends it but the reaper, who waits for a while.
        let mut node = Command::new("sh")
            .args(["-c", r#"while :; do [ -d "$0" ] || : > "$1"; sleep 0.02; done"#])
            .args([&dir.join("node"), &gone])
            .spawn()
            .unwrap();
        drop(Reaper::for_run(&dir, "test").unwrap());
        let ended = becomes(|| node.try_wait().unwrap().is_some());
        node.kill().unwrap();
        assert!(ended, "the reaper has not ended the process");
        assert_eq!(node.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
        assert!(becomes(|| !dir.exists()));
        assert!(!gone.exists(), "the folder was gone while a process of the run lived");
    }

    #[test]
    fn it_is_deaf_to_what_is_meant_for_the_harness() {
        let base = tempfile::tempdir().unwrap();
        let dir = run_in(base.path());
        let reaper = Reaper::for_run(&dir, "test").unwrap();
        let [pid] = processes_of(&dir, "environ")[..] else { panic!("expected one reaper") };
        let session = nix::unistd::getsid(Some(Pid::from_raw(pid))).unwrap();
        assert_ne!(session, nix::unistd::getsid(None).unwrap());
        for signal in [Signal::SIGINT, Signal::SIGHUP] {
            kill(Pid::from_raw(pid), signal).unwrap();
        }
        drop(reaper);
        assert!(becomes(|| !dir.exists()));
    }
}
