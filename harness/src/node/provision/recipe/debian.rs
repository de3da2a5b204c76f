//! Programs from a Debian package of another suite than the host's.
//!
//! apt fetches the package and the libraries it depends on into a state of its own, which touches nothing of the host
//! and works without root. It checks the suite's signature and every file's hash on the way. The program then runs with
//! these libraries, not with the host's, which may be older: a script starts it through its own dynamic loader.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::build::{BuildError, Site};
use super::{Recipe, revision};
use crate::node::provision::cache::failed_to;
use crate::node::provision::needs::Need;
use crate::node::provision::version::{Family, Version};

/// A program in a Debian package.
pub(super) struct Debian {
    suite: &'static str,
    /// What apt is asked for: names, with a version pattern where another version would be another program.
    packages: &'static [&'static str],
    program: &'static str,
    family: Family,
    major: u32,
}

pub(super) const KNOTS_29: Debian = Debian {
    suite: "testing",
    // Named, the small package that satisfies a dependency of the first's keeps apt from choosing systemd for it.
    packages: &["bitcoin-knots=29.*", "systemd-standalone-sysusers"],
    program: "bitcoind",
    family: Family::Knots,
    major: 29,
};

/// Names the mirror, for a host whose own apt knows none of Debian.
const MIRROR_VARIABLE: &str = "SHOPFLOOR_DEBIAN_MIRROR";

/// `@WORK@` is the work folder. Read after the host's configuration, of which proxies and the like stay in force.
const APT_CONF: &str = r#"
Dir::State "@WORK@/apt";
Dir::State::lists "@WORK@/apt/lists";
// No package is installed in here, so apt fetches every library, the C library included.
Dir::State::status "@WORK@/apt/status";
Dir::Cache "@WORK@/apt";
Dir::Cache::archives "@WORK@/apt/archives";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "@WORK@/apt/sources";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Install-Recommends "false";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
// A frozen mirror serves a Release file past its date. Its signature is checked all the same.
Acquire::Check-Valid-Until "false";
// The user that apt would change to may not write into another user's cache.
APT::Sandbox::User "";
// The host's hooks are for the host's packages.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
"#;

/// `@…@` are filled in. `Targets` leaves out all indexes but the one that is needed.
const SOURCES: &str = "\
Types: deb
URIs: @MIRROR@
Suites: @SUITE@
Components: main
Architectures: @ARCH@
Targets: Packages
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
";

/// `@LOADER@` and `@PROGRAM@` are filled in. All paths follow from the script's own, so the folder can be moved.
const START: &str = r#"#!/bin/sh
# Starts Debian's program with the libraries of its own suite: the host's may be older.
here=$(dirname -- "$(readlink -f -- "$0")")/lib
exec "$here/@LOADER@" --argv0 "$0" --library-path "$here" "$here/@PROGRAM@" "$@"
"#;

impl Recipe for Debian {
    fn revision(&self) -> String {
        let label = format!("{}.x", self.major);
        let parts = [self.suite, &self.packages.join(" "), self.program, APT_CONF, SOURCES, START];
        revision(&label, &parts)
    }

    fn made(&self) -> String {
        format!("Debian's package {} from {}, with its libraries", self.packages[0], self.suite)
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::APT, Need::DPKG, Need::KEYRING]
    }

    fn promises(&self, version: &Version) -> bool {
        version.family() == self.family && version.numbers().first() == Some(&self.major)
    }

    fn build(&self, site: &mut Site<'_>) -> Result<String, BuildError> {
        site.step("fetching");
        let archives = self.fetch(site)?;
        site.step("unpacking");
        let root = site.work().join("root");
        for archive in archives {
            let unpack = site.command("dpkg-deb").arg("--extract").arg(archive).arg(&root);
            site.run(&unpack)?;
        }
        site.step("collecting libraries");
        self.collect(site, &root)
    }
}

impl Debian {
    /// Fetches the packages and returns the files.
    fn fetch(&self, site: &mut Site<'_>) -> Result<Vec<PathBuf>, BuildError> {
        let architecture = site.lines(&site.command("dpkg").arg("--print-architecture"))?.concat();
        let mirror = mirror(site)?;
        let sources =
            SOURCES.replace("@MIRROR@", &mirror).replace("@SUITE@", self.suite).replace("@ARCH@", &architecture);
        site.write("apt/sources/shopfloor.sources", &sources)?;
        site.write("apt/status", "")?;
        let work = site.work().display().to_string();
        site.write("apt/apt.conf", &APT_CONF.replace("@WORK@", &work))?;
        for folder in ["lists", "archives"] {
            let folder = site.work().join("apt").join(folder).join("partial");
            fs::create_dir_all(&folder).map_err(failed_to("create", &folder))?;
        }
        // With `-c` apt reads the file last; named by APT_CONFIG it would come first, and the host's would win.
        let apt = site.command("apt-get").without(["APT_CONFIG"]).var("LC_ALL", "C.UTF-8").args(["-c", "apt/apt.conf"]);
        site.run(&apt.clone().args(["update", "--error-on=any"]))?;
        site.run(&apt.args(["--yes", "--download-only", "install"]).args(self.packages))?;
        let archives = site.work().join("apt/archives");
        let mut files = Vec::new();
        for entry in fs::read_dir(&archives).map_err(failed_to("read", &archives))? {
            let path = entry.map_err(failed_to("read", &archives))?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// Copies the program, its loader and the libraries it loads out of the unpacked root, and writes the start script.
    fn collect(&self, site: &mut Site<'_>, root: &Path) -> Result<String, BuildError> {
        let program = root.join("usr/bin").join(self.program);
        let Some(loader) = find_loader(root)? else {
            return Err(site.unexpected("a dynamic loader `ld-linux…` among the packages' files", "none"));
        };
        let libraries = loader.parent().unwrap_or(root);
        let list = site.command(&loader).arg("--library-path").arg(libraries).arg("--list").arg(&program);
        let list = site.lines(&list)?;
        let lib = site.out().join("lib");
        fs::create_dir(&lib).map_err(failed_to("create", &lib))?;
        let copy = |from: &Path, name: &Path| {
            let to = lib.join(name);
            fs::copy(from, &to).map_err(failed_to("copy", from)).map(drop)
        };
        for line in &list {
            let Some((_, path)) = line.split_once("=>") else { continue };
            let path = Path::new(path.split(" (0x").next().unwrap_or_default().trim());
            if path == loader {
                continue;
            }
            let Some(name) = path.file_name().filter(|_| path.starts_with(root)) else {
                return Err(site.unexpected("every library among the packages' files", line.trim()));
            };
            copy(path, name.as_ref())?;
        }
        let loader_name = loader.file_name().unwrap_or_default();
        copy(&loader, loader_name.as_ref())?;
        copy(&program, self.program.as_ref())?;
        let script = START.replace("@LOADER@", &loader_name.to_string_lossy()).replace("@PROGRAM@", self.program);
        let executable = site.executable();
        fs::write(&executable, script).map_err(failed_to("write", &executable))?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&executable, mode).map_err(failed_to("make executable", &executable))?;
        Ok(format!("lib/{}", self.program))
    }
}

/// The mirror that the user names, else the one that the host's apt takes Debian from.
fn mirror(site: &mut Site<'_>) -> Result<String, BuildError> {
    if let Some(named) = site.env().var(MIRROR_VARIABLE) {
        return Ok(named.to_string_lossy().into_owned());
    }
    let format = "$(REPO_URI)|$(ORIGIN)|$(LABEL)";
    let list = site.command("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]);
    let lines = site.lines(&list)?;
    lines.iter().find_map(|line| debian_mirror(line)).map(str::to_owned).ok_or_else(|| {
        let expected = format!("a mirror of Debian among apt's sources, or its address in {MIRROR_VARIABLE}");
        site.unexpected(expected, "neither")
    })
}

/// The address in a line of apt's list if it is Debian itself, over the network.
fn debian_mirror(line: &str) -> Option<&str> {
    let (address, release) = line.split_once('|')?;
    let is_debian = match release {
        // The indexes were never fetched, so nothing but the address tells what is there.
        "|" => address.trim_end_matches('/').ends_with("/debian"),
        release => release == "Debian|Debian",
    };
    (is_debian && ["http://", "https://"].iter().any(|scheme| address.starts_with(scheme))).then_some(address)
}

/// The dynamic loader in an unpacked root: Debian 12 and 13 keep it in different folders.
fn find_loader(folder: &Path) -> Result<Option<PathBuf>, BuildError> {
    for entry in fs::read_dir(folder).map_err(failed_to("read", folder))? {
        let entry = entry.map_err(failed_to("read", folder))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed_to("read", folder))?);
        if kind.is_dir() {
            if let Some(loader) = find_loader(&path)? {
                return Ok(Some(loader));
            }
        } else if kind.is_file() && entry.file_name().to_string_lossy().starts_with("ld-linux") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_mirror_is_one_that_serves_debian_itself() {
        let cases = [
            ("http://mirror.example/debian/|Debian|Debian", Some("http://mirror.example/debian/")),
            ("http://mirror.example/debian/||", Some("http://mirror.example/debian/")),
            ("http://mirror.example/debian-security/|Debian|Debian-Security", None),
            ("http://mirror.example/ubuntu/|Ubuntu|Ubuntu", None),
            ("http://mirror.example/tools/||", None),
            ("cdrom://disc/debian/|Debian|Debian", None),
        ];
        for (line, mirror) in cases {
            assert_eq!(debian_mirror(line), mirror, "{line}");
        }
    }
}
