//! The folder of one tool in the user's cache, and the lock that guards it.
//!
//! ```text
//! <cache>/tools/<tool>/lock                  who works on this tool; stays for ever, so that all lock the same file
//! <cache>/tools/<tool>/install.log           everything the last installation printed
//! <cache>/tools/<tool>/staging/              what is being built or removed; without meaning to anybody else
//! <cache>/tools/<tool>/<revision>/           a finished tool, moved here by one rename
//! <cache>/tools/<tool>/<revision>/installed.json
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::env::{Env, NoCache};
use super::progress::{Event, Progress};
use super::tool::Tool;
use super::version::Version;

/// What the cache knows of a finished tool, kept beside it as `installed.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The tool's name.
    pub tool: String,
    /// The revision of the recipe that made it.
    pub revision: String,
    /// The version as the program printed it.
    pub version: Version,
    /// How it was made, in one line.
    pub made: String,
    /// The SHA-256 of the program, in hexadecimal.
    pub sha256: String,
    /// How long the installation took.
    pub seconds: u64,
}

impl Installed {
    const FILE: &str = "installed.json";

    /// What is installed in this folder; `None` if nothing is.
    pub(crate) fn read(folder: &Path) -> Result<Option<Installed>, CacheError> {
        let path = folder.join(Installed::FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed_to("read", &path)(error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|source| CacheError::Json { path, source })
    }

    /// Describes what is in this folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), CacheError> {
        let path = folder.join(Installed::FILE);
        let text =
            serde_json::to_string_pretty(self).map_err(|source| CacheError::Json { path: path.clone(), source })?;
        fs::write(&path, text + "\n").map_err(failed_to("write", &path))
    }
}

/// Returned when a file or folder of the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// No variable says where the cache is.
    #[error(transparent)]
    NoCache(#[from] NoCache),
    /// The system refused something.
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The description of an installed tool makes no sense.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Json {
        /// The description.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
}

/// Turns the system's error into one that says what was done to which path.
pub(crate) fn failed_to<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> CacheError + 'a {
    move |source| CacheError::Io { doing, path: path.to_owned(), source }
}

/// The folder of one tool.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    tool: Tool,
    folder: PathBuf,
}

impl Shelf {
    /// The folder that holds one folder per tool.
    pub(crate) fn all(env: &Env) -> Result<PathBuf, NoCache> {
        Ok(env.cache()?.join("tools"))
    }

    pub(crate) fn new(env: &Env, tool: Tool) -> Result<Shelf, NoCache> {
        Ok(Shelf { tool, folder: Shelf::all(env)?.join(tool.name()) })
    }

    /// Whether anything was ever done for this tool.
    pub(crate) fn exists(&self) -> Result<bool, CacheError> {
        self.folder.try_exists().map_err(failed_to("read", &self.folder))
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("install.log")
    }

    pub(crate) fn finished(&self, revision: &str) -> PathBuf {
        self.folder.join(revision)
    }

    /// What is installed of this revision; `None` if nothing is.
    pub(crate) fn installed(&self, revision: &str) -> Result<Option<Installed>, CacheError> {
        Installed::read(&self.finished(revision))
    }

    /// Takes the tool for this process alone, waiting for whoever has it.
    pub(crate) fn lock(&self, doing: &str, progress: &mut dyn Progress) -> Result<Locked, CacheError> {
        fs::create_dir_all(&self.folder).map_err(failed_to("create", &self.folder))?;
        let path = self.folder.join("lock");
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(failed_to("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(failed_to("read", &path))?;
                // Whoever took the lock this moment has not written yet.
                let holder = if holder.is_empty() { "another process" } else { holder.trim() };
                progress.event(self.tool, Event::Waiting { holder });
                file.lock().map_err(failed_to("lock", &path))?;
            }
            Err(TryLockError::Error(error)) => return Err(failed_to("lock", &path)(error)),
        }
        let holder = format!("process {}, {doing}\n", std::process::id());
        let write = || {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(holder.as_bytes())
        };
        ({ write })().map_err(failed_to("write", &path))?;
        Ok(Locked { shelf: self.clone(), file })
    }
}

/// A tool's folder while it is ours; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Locked {
    shelf: Shelf,
    file: File,
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Else the next to wait could be told of us. What we wrote is a courtesy, so a failure is none of importance.
        let _ = self.file.set_len(0);
    }
}

impl Locked {
    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// The lock itself, for children to share.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The staging folder, empty: what a killed installer left there is removed.
    pub(crate) fn fresh_staging(&self) -> Result<PathBuf, CacheError> {
        self.sweep()?;
        let staging = self.staging();
        fs::create_dir(&staging).map_err(failed_to("create", &staging))?;
        Ok(staging)
    }

    /// Removes the staging folder with all that is in it.
    pub(crate) fn sweep(&self) -> Result<(), CacheError> {
        let staging = self.staging();
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(failed_to("remove", &staging)),
        }
    }

    /// Moves a finished folder into its place, in one step.
    pub(crate) fn publish(&self, from: &Path, revision: &str) -> Result<PathBuf, CacheError> {
        let place = self.shelf.finished(revision);
        // Only something broken can be there: a tool that is installed and runs is not installed again.
        if place.exists() {
            let aside = self.staging().join("broken");
            fs::rename(&place, &aside).map_err(failed_to("move", &place))?;
        }
        fs::rename(from, &place).map_err(failed_to("move", from))?;
        Ok(place)
    }

    /// Removes everything but the lock and returns how many bytes that was.
    pub(crate) fn empty(&self) -> Result<u64, CacheError> {
        let folder = &self.shelf.folder;
        let mut bytes = size(&self.staging())?;
        let staging = self.fresh_staging()?;
        for entry in fs::read_dir(folder).map_err(failed_to("read", folder))? {
            let path = entry.map_err(failed_to("read", folder))?.path();
            if path == staging || path == folder.join("lock") {
                continue;
            }
            bytes += size(&path)?;
            // Moved away first: a removal that is interrupted must not leave half a tool where a whole one is expected.
            let aside = staging.join(path.file_name().unwrap_or_default());
            fs::rename(&path, &aside).map_err(failed_to("move", &path))?;
        }
        self.sweep()?;
        Ok(bytes)
    }

    fn staging(&self) -> PathBuf {
        self.shelf.folder.join("staging")
    }
}

/// The bytes in all files of a folder, or in one file; 0 if it is not there.
fn size(path: &Path) -> Result<u64, CacheError> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        meta => meta.map_err(failed_to("read", path))?,
    };
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path).map_err(failed_to("read", path))? {
        bytes += size(&entry.map_err(failed_to("read", path))?.path())?;
    }
    Ok(bytes)
}
