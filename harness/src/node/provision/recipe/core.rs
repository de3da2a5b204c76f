//! Bitcoin Core, out of the crate that carries its source.

use std::fs;
use std::thread;

use super::build::{BuildError, Site};
use super::cargo::{Pinned, cargo};
use super::{Recipe, revision};
use crate::node::provision::cache::failed_to;
use crate::node::provision::needs::Need;
use crate::node::provision::version::{Family, Version};

/// A Bitcoin Core version: what differs between versions, as data.
pub(super) struct Core {
    /// The version of the crate `libbitcoinkernel-sys`, as pinned in the manifest.
    crate_version: &'static str,
    pinned: Pinned,
    /// The numbers of the version that the source inside has.
    numbers: [u32; 3],
    /// Options for CMake, beside the ones that are the same everywhere.
    options: &'static [&'static str],
}

pub(super) const CORE_31: Core = Core {
    crate_version: "0.4.1",
    pinned: Pinned {
        manifest: include_str!("../../../../recipes/core-31/Cargo.toml"),
        lockfile: include_str!("../../../../recipes/core-31/Cargo.lock"),
    },
    numbers: [31, 99, 0],
    // The node alone. No wallet: keys, coins and signatures are the harness's own.
    options: &[
        "-DBUILD_DAEMON=ON",
        "-DBUILD_BITCOIN_BIN=OFF",
        "-DBUILD_CLI=OFF",
        "-DBUILD_TESTS=OFF",
        "-DBUILD_TX=OFF",
        "-DBUILD_UTIL=OFF",
        "-DBUILD_BENCH=OFF",
        "-DBUILD_FUZZ_BINARY=OFF",
        "-DENABLE_WALLET=OFF",
        "-DENABLE_EXTERNAL_SIGNER=OFF",
        "-DENABLE_IPC=OFF",
        "-DWITH_ZMQ=OFF",
        "-DWITH_EMBEDDED_ASMAP=OFF",
        "-DWITH_CCACHE=OFF",
        "-DINSTALL_MAN=OFF",
    ],
};

impl Recipe for Core {
    fn revision(&self) -> String {
        revision(self.crate_version, &[self.pinned.manifest, self.pinned.lockfile, &self.options.join(" ")])
    }

    fn made(&self) -> String {
        let version = self.crate_version;
        format!("CMake, from the source in the crate libbitcoinkernel-sys {version}; {}", self.options.join(" "))
    }

    fn needs(&self) -> Vec<Need> {
        let tools = [Need::CARGO, Need::CMAKE, Need::MAKE, Need::CXX, Need::STRIP, Need::PKG_CONFIG];
        [&tools[..], &[Need::BOOST, Need::LIBEVENT]].concat()
    }

    fn promises(&self, version: &Version) -> bool {
        version.family() == Family::Core && version.numbers() == self.numbers
    }

    fn build(&self, site: &mut Site<'_>) -> Result<String, BuildError> {
        site.step("fetching");
        site.write("Cargo.toml", self.pinned.manifest)?;
        site.write("Cargo.lock", self.pinned.lockfile)?;
        site.write("src/lib.rs", "")?;
        let vendor = cargo(site).args(["vendor", "--locked", "vendor"]);
        site.run(&vendor)?;

        site.step("configuring");
        // The generator is fixed because the count in its lines is read below.
        let configure = ["-S", "vendor/libbitcoinkernel-sys/bitcoin", "-B", "build", "-G", "Unix Makefiles"];
        let configure = site.command("cmake").args(configure).arg("-DCMAKE_BUILD_TYPE=Release").args(self.options);
        site.run(&configure)?;

        site.step("compiling");
        let jobs = thread::available_parallelism().map_or(1, usize::from).to_string();
        let compile = site.command("cmake").args(["--build", "build", "--target", "bitcoind", "--parallel", &jobs]);
        // Inherited from a `make` above us, these would set jobs and options for ours.
        let compile = compile.without(["MAKEFLAGS", "MFLAGS", "MAKELEVEL"]);
        site.run_reading(&compile, percent)?;

        site.step("stripping");
        let built = site.work().join("build/bin/bitcoind");
        let strip = site.command("strip").arg(&built);
        site.run(&strip)?;
        let executable = site.executable();
        fs::rename(&built, &executable).map_err(failed_to("move", &built))?;
        Ok("bitcoind".to_owned())
    }
}

/// Reads `[ 37%] Building CXX object …`.
fn percent(line: &str) -> Option<u8> {
    line.strip_prefix('[')?.split_once("%]")?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cmakes_count() {
        assert_eq!(percent("[  3%] Building CXX object src/a.cpp.o"), Some(3));
        assert_eq!(percent("[100%] Built target bitcoind"), Some(100));
        assert_eq!(percent("-- Configuring done"), None);
    }

    #[test]
    fn the_crates_version_is_the_pinned_one() {
        let core = CORE_31;
        assert!(core.pinned.manifest.contains(&format!("\"={}\"", core.crate_version)));
        let locked = format!("name = \"libbitcoinkernel-sys\"\nversion = \"{}\"", core.crate_version);
        assert!(core.pinned.lockfile.contains(&locked));
        assert!(core.pinned.lockfile.matches("\nchecksum = ").count() >= 2);
    }
}
