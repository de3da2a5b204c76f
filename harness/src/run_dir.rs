//! One folder per run, that holds all the run's files and goes with it, unless it is kept.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::reaper::Reaper;

/// In a folder that is to stay.
const KEPT: &str = "kept";
/// Locked for as long as the run goes on.
const LOCK: &str = "lock";

/// The folder of one run.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: fs::File,
    kept: bool,
    reaper: Reaper,
}

impl RunDir {
    /// Makes a folder for a run below the system's temporary folder, and removes those of runs that were killed.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made.
    pub fn new() -> io::Result<Self> {
        let user = nix::unistd::getuid();
        RunDir::new_in(&std::env::temp_dir().join(format!("shopfloor-{user}")))
    }

    fn new_in(base: &Path) -> io::Result<Self> {
        let context = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", base.display()));
        if base.to_str().is_none() {
            return Err(context(io::Error::other("the path is not UTF-8")));
        }
        match fs::DirBuilder::new().mode(0o700).create(base) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(context(error)),
            _ => {}
        }
        let _gate = gate(base).map_err(context)?;
        // What cannot be removed is no reason not to run.
        if let Err(error) = sweep(base) {
            eprintln!("shopfloor: cannot remove what a killed run left in {}: {error}", base.display());
        }
        // The reaper is there before the folder, so that there is no moment in which a kill would leave it.
        let make = |path: &Path| {
            if path.exists() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let reaper = Reaper::for_run(path, &name)?;
            fs::DirBuilder::new().mode(0o700).create(path)?;
            Ok(reaper)
        };
        let made = tempfile::Builder::new().prefix("run-").make_in(base, make).map_err(context)?;
        let (reaper, path) = made.keep().map_err(|error| context(error.error))?;
        let lock = fs::File::create(path.join(LOCK)).map_err(context)?;
        lock.lock().map_err(context)?;
        Ok(RunDir { path, _lock: lock, kept: false, reaper })
    }

    /// Who removes what the run leaves if the harness is killed.
    pub(crate) fn reaper(&self) -> &Reaper {
        &self.reaper
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder where it is.
    ///
    /// # Errors
    ///
    /// If it cannot be marked as kept.
    pub fn keep(&mut self) -> io::Result<()> {
        fs::File::create(self.path.join(KEPT))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let base = self.path.parent().expect("a run's folder was made inside another");
        let removed = gate(base).and_then(|_gate| fs::remove_dir_all(&self.path));
        if let Err(error) = removed {
            eprintln!("shopfloor: cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Whoever holds this makes or removes folders alone: so nobody sweeps one that is not locked yet, or half gone.
fn gate(base: &Path) -> io::Result<fs::File> {
    let gate = fs::File::create(base.join(LOCK))?;
    gate.lock()?;
    Ok(gate)
}

/// Removes the folders of runs that have ended without removing them, other than the kept ones.
fn sweep(base: &Path) -> io::Result<()> {
    for entry in fs::read_dir(base)? {
        let path = entry?.path();
        if !path.is_dir() || path.join(KEPT).exists() {
            continue;
        }
        let abandoned = match fs::File::open(path.join(LOCK)) {
            Ok(lock) => lock.try_lock().is_ok(),
            // Its harness was killed before it locked it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        if abandoned {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_go_with_their_runs_and_abandoned_ones_with_the_next() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().join("runs");
        let first = RunDir::new_in(&base).unwrap();
        let mut second = RunDir::new_in(&base).unwrap();
        second.keep().unwrap();
        let abandoned = base.join("run-abandoned");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join(LOCK), "").unwrap();
        let (first_path, second_path) = (first.path().to_owned(), second.path().to_owned());

        let third = RunDir::new_in(&base).unwrap();
        assert!(!abandoned.exists());
        assert!(first_path.is_dir() && second_path.is_dir() && third.path().is_dir());
        drop((first, second));
        assert!(!first_path.exists());
        assert!(second_path.is_dir());
    }
}
