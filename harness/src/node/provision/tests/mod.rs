//! Finding and installing with programs that are shell scripts, in a machine that is a temporary folder.

mod finding;
mod installing;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Env, Tool};
use crate::node::Kind;

const CORE: Tool = Tool::Node(Kind::Core31);
const KNOTS: Tool = Tool::Node(Kind::Knots29);

const CORE_31: &str = "echo Bitcoin Core daemon version v31.99.0-unk bitcoind";
const CORE_29: &str = "echo Bitcoin Core daemon version v29.1.0 bitcoind";
const KNOTS_29: &str = "echo Bitcoin Knots daemon version v29.4.2.knots20260508";

/// A folder that stands for a machine: its cache is `cache`, its `PATH` is `bin` and then the system's own.
struct Machine {
    folder: tempfile::TempDir,
    vars: Vec<(String, String)>,
}

impl Machine {
    fn new() -> Machine {
        Machine { folder: tempfile::tempdir().unwrap(), vars: Vec::new() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds a program to the machine.
    fn program(&self, name: &str, script: &str) -> PathBuf {
        program(&self.at(name), script)
    }

    fn var(mut self, name: &str, value: &str) -> Machine {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    fn env(&self) -> Env {
        env(self.folder.path(), self.vars.iter().cloned())
    }
}

/// The environment of the machine in `folder`. The scripts need a shell's usual programs; a `bitcoind` of the real
/// machine is in neither folder, or comes after the ones that a test puts into `bin`.
fn env(folder: &Path, more: impl IntoIterator<Item = (String, String)>) -> Env {
    let path = format!("{}:/usr/bin:/bin", folder.join("bin").display());
    let vars = [("PATH".to_owned(), path), ("SHOPFLOOR_CACHE".to_owned(), "cache".to_owned())];
    Env::new(vars.into_iter().chain(more), folder)
}

fn program(path: &Path, script: &str) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_owned()
}
