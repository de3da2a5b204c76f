//! The Electrum server `electrs`, against Debian's RocksDB: compiling RocksDB itself takes far longer than the rest.

use std::fs;

use super::build::{BuildError, Site};
use super::cargo::{Pinned, cargo};
use super::{Recipe, revision};
use crate::node::provision::cache::failed_to;
use crate::node::provision::needs::Need;
use crate::node::provision::version::{Family, Version};

/// A version of electrs.
pub(super) struct Electrs {
    version: &'static str,
    pinned: Pinned,
    program: &'static str,
}

pub(super) const ELECTRS: Electrs = Electrs {
    version: "0.10.10",
    pinned: Pinned {
        manifest: include_str!("../../../../recipes/electrs/Cargo.toml"),
        lockfile: include_str!("../../../../recipes/electrs/Cargo.lock"),
    },
    program: include_str!("../../../../recipes/electrs/src/main.rs"),
};

impl Recipe for Electrs {
    fn revision(&self) -> String {
        revision(self.version, &[self.pinned.manifest, self.pinned.lockfile, self.program])
    }

    fn made(&self) -> String {
        format!(
            "Cargo, from the crate electrs {} with its own lockfile's dependencies and Debian's RocksDB",
            self.version
        )
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::CARGO, Need::CXX, Need::STRIP, Need::PKG_CONFIG, Need::CLANG, Need::LIBCLANG, Need::ROCKSDB]
    }

    fn promises(&self, version: &Version) -> bool {
        version.family() == Family::Electrs && version.number() == self.version
    }

    fn build(&self, site: &mut Site<'_>) -> Result<String, BuildError> {
        site.step("fetching");
        site.write("Cargo.toml", self.pinned.manifest)?;
        site.write("Cargo.lock", self.pinned.lockfile)?;
        site.write("src/main.rs", self.program)?;
        let fetch = cargo(site).args(["fetch", "--locked"]);
        site.run(&fetch)?;

        site.step("compiling");
        // Where Debian's pkg-config file says RocksDB is; the headers are in the compiler's own path, which bindgen
        // does not know.
        let variable = |name| site.command("pkg-config").args([name, "rocksdb"]);
        let (libraries, headers) = (variable("--variable=libdir"), variable("--variable=includedir"));
        let (libraries, headers) = (site.lines(&libraries)?.concat(), site.lines(&headers)?.concat());
        let compile = cargo(site).args(["build", "--locked", "--offline", "--release", "--target-dir", "target"]);
        let compile = compile.var("ROCKSDB_LIB_DIR", libraries).var("ROCKSDB_INCLUDE_DIR", headers);
        // Only its progress bar tells how much there is to do.
        let compile = compile.var("CARGO_TERM_PROGRESS_WHEN", "always").var("CARGO_TERM_PROGRESS_WIDTH", "60");
        site.run_reading(&compile, percent)?;

        site.step("stripping");
        let built = site.work().join("target/release/electrs");
        let strip = site.command("strip").arg(&built);
        site.run(&strip)?;
        let executable = site.executable();
        fs::rename(&built, &executable).map_err(failed_to("move", &built))?;
        Ok("electrs".to_owned())
    }
}

/// Reads `Building [=====>   ] 37/120: bindgen, …`.
fn percent(line: &str) -> Option<u8> {
    let (done, rest) = line.split_once("Building [")?.1.split_once("] ")?.1.split_once('/')?;
    let all = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    let (done, all): (u32, u32) = (done.parse().ok()?, all.parse().ok()?);
    u8::try_from((done * 100).checked_div(all)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cargos_count() {
        assert_eq!(percent("    Building [=====>      ] 30/120: bindgen, clang-sys"), Some(25));
        assert_eq!(percent("   Compiling libc v0.2.1"), None);
        assert_eq!(percent("    Building [            ] 0/0"), None);
    }

    #[test]
    fn the_crates_version_is_the_pinned_one() {
        assert!(ELECTRS.pinned.manifest.contains(&format!("electrs = \"={}\"", ELECTRS.version)));
    }
}
