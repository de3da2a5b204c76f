//! What a recipe needs on this machine before it can start, and which Debian package provides it.

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, io};

use super::env::Env;
use super::tool::Tool;

/// One thing that a recipe needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// What it is, as an error message names it.
    pub what: &'static str,
    /// The Debian package that brings it.
    pub package: &'static str,
    /// How to find out whether it is there.
    pub(crate) probe: Probe,
}

/// How to find out whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// A program of this name in `PATH`.
    Program(&'static str),
    /// A C++ compiler, as CMake would choose it.
    Compiler,
    /// A header that the C++ compiler finds.
    Header(&'static str),
    /// A shared library in one of the folders where the crate `clang-sys` looks for it too.
    Library(&'static str),
    /// A file in its well-known place.
    File(&'static str),
}

impl Need {
    pub(crate) const CARGO: Need = Need { what: "cargo", package: "cargo", probe: Probe::Program("cargo") };
    pub(crate) const CMAKE: Need = Need { what: "cmake", package: "cmake", probe: Probe::Program("cmake") };
    pub(crate) const MAKE: Need = Need { what: "make", package: "make", probe: Probe::Program("make") };
    pub(crate) const CXX: Need = Need { what: "a C++ compiler", package: "g++", probe: Probe::Compiler };
    pub(crate) const STRIP: Need = Need { what: "strip", package: "binutils", probe: Probe::Program("strip") };
    pub(crate) const PKG_CONFIG: Need =
        Need { what: "pkg-config", package: "pkg-config", probe: Probe::Program("pkg-config") };
    pub(crate) const BOOST: Need = Need {
        what: "boost headers",
        package: "libboost-dev",
        probe: Probe::Header("boost/multi_index_container.hpp"),
    };
    pub(crate) const LIBEVENT: Need =
        Need { what: "libevent headers", package: "libevent-dev", probe: Probe::Header("event2/event.h") };
    pub(crate) const ROCKSDB: Need =
        Need { what: "rocksdb headers", package: "librocksdb-dev", probe: Probe::Header("rocksdb/c.h") };
    pub(crate) const CLANG: Need = Need { what: "clang", package: "clang", probe: Probe::Program("clang") };
    pub(crate) const LIBCLANG: Need =
        Need { what: "libclang", package: "libclang-dev", probe: Probe::Library("libclang") };
    pub(crate) const APT: Need = Need { what: "apt-get", package: "apt", probe: Probe::Program("apt-get") };
    pub(crate) const DPKG: Need = Need { what: "dpkg-deb", package: "dpkg", probe: Probe::Program("dpkg-deb") };
    pub(crate) const KEYRING: Need = Need {
        what: "Debian's archive keys",
        package: "debian-archive-keyring",
        probe: Probe::File("/usr/share/keyrings/debian-archive-keyring.gpg"),
    };

    /// Whether it is there.
    pub(crate) fn is_met(self, env: &Env) -> bool {
        match self.probe {
            Probe::Program(name) => env.in_path(name).next().is_some(),
            Probe::Compiler => compiler(env).is_some(),
            Probe::Header(header) => has_header(header, env),
            Probe::Library(name) => has_library(name, env),
            Probe::File(path) => Path::new(path).exists(),
        }
    }
}

/// The C++ compiler that `CXX` names, else the first that is there.
fn compiler(env: &Env) -> Option<OsString> {
    if let Some(named) = env.var("CXX") {
        return Some(named.to_owned());
    }
    ["c++", "g++", "clang++"].into_iter().find_map(|name| env.in_path(name).next()).map(OsString::from)
}

/// Asks the compiler; without one, looks where Debian puts headers, so that one message can name all that is missing.
fn has_header(header: &str, env: &Env) -> bool {
    let Some(compiler) = compiler(env) else {
        return ["/usr/include", "/usr/local/include"].iter().any(|folder| Path::new(folder).join(header).exists());
    };
    let preprocess = || -> io::Result<bool> {
        let mut command = Command::new(&compiler);
        command.args(["-E", "-x", "c++", "-"]).env_clear().envs(env.vars()).current_dir(env.directory());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let probe = format!("#if !__has_include(<{header}>)\n#error missing\n#endif\n");
        let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(probe.as_bytes()));
        let status = child.wait()?;
        written.map(|()| status.success())
    };
    // A compiler that cannot be run has no headers either; the build itself will say why.
    preprocess().unwrap_or(false)
}

fn has_library(name: &str, env: &Env) -> bool {
    let named = env.var("LIBCLANG_PATH").map(|path| env.directory().join(path));
    let mut folders: Vec<_> = named.into_iter().collect();
    for base in ["/usr/lib", "/usr/local/lib", "/usr/lib64"] {
        folders.push(base.into());
        // One folder per architecture (x86_64-linux-gnu), and one per LLVM release (llvm-14/lib).
        for entry in fs::read_dir(base).into_iter().flatten().flatten() {
            folders.push(entry.path());
            folders.push(entry.path().join("lib"));
        }
    }
    let is_it = |file: &str| {
        file.strip_prefix(name)
            .is_some_and(|rest| rest.contains(".so") && rest.starts_with(['.', '-']) && !rest.starts_with("-cpp"))
    };
    let mut files = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    files.any(|file| file.file_name().to_str().is_some_and(is_it))
}

/// Returned when this machine lacks what a recipe needs; it says so in one line, with the command that helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingNeeds {
    /// For which tool.
    pub tool: Tool,
    /// What is missing; never empty.
    pub needs: Vec<Need>,
}

impl fmt::Display for MissingNeeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} needs {}: apt-get install", self.tool, and(self.needs.iter().map(|need| need.what)))?;
        packages(&self.needs).iter().try_for_each(|package| write!(f, " {package}"))
    }
}

impl std::error::Error for MissingNeeds {}

/// Packages in order, each once.
pub(crate) fn packages(needs: &[Need]) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for need in needs {
        if !packages.contains(&need.package) {
            packages.push(need.package);
        }
    }
    packages
}

fn and<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.collect();
    match words.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        words => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Kind;

    #[test]
    fn what_is_missing_is_told_in_one_line_with_the_command() {
        let missing = |needs: &[Need]| MissingNeeds { tool: Kind::Core31.into(), needs: needs.to_vec() }.to_string();
        assert_eq!(
            missing(&[Need::CMAKE, Need::BOOST]),
            "core-31 needs cmake and boost headers: apt-get install cmake libboost-dev"
        );
        assert_eq!(missing(&[Need::CXX]), "core-31 needs a C++ compiler: apt-get install g++");
    }

    #[test]
    fn an_empty_path_has_no_programs() {
        let env = Env::new([("PATH", "")], ".");
        assert!(!Need::CMAKE.is_met(&env));
        assert!(!Need::CXX.is_met(&env));
    }
}
