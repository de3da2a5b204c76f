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
    /// Where the build leaves the program.
    built: &'static str,
    /// Headers that the crate leaves out though the node includes them: the path and what stands in for them.
    stand_ins: &'static [(&'static str, &'static str)],
}

/// Options for CMake: the node alone, as one process. No wallet: keys, coins and signatures are the harness's own. An
/// option that a version does not know yet, it ignores.
const OPTIONS: &[&str] = &[
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
];

macro_rules! pinned {
    ($kind:literal) => {
        Pinned {
            manifest: include_str!(concat!("../../../../recipes/", $kind, "/Cargo.toml")),
            lockfile: include_str!(concat!("../../../../recipes/", $kind, "/Cargo.lock")),
        }
    };
}

pub(super) const CORE_31: Core = Core {
    crate_version: "0.4.1",
    pinned: pinned!("core-31"),
    numbers: [31, 99, 0],
    built: "build/bin/bitcoind",
    stand_ins: &[],
};

pub(super) const CORE_30: Core = Core {
    crate_version: "0.1.0",
    pinned: pinned!("core-30"),
    numbers: [30, 99, 0],
    built: "build/bin/bitcoind",
    // It catches what only the parts that the crate leaves out, and that are not built here, could throw.
    stand_ins: &[(
        "ipc/exception.h",
        "#pragma once\n#include <stdexcept>\nnamespace ipc { class Exception : public std::runtime_error { using \
         std::runtime_error::runtime_error; }; }\n",
    )],
};

pub(super) const CORE_29: Core = Core {
    crate_version: "0.0.20",
    pinned: pinned!("core-29"),
    numbers: [29, 99, 0],
    built: "build/bin/bitcoind",
    stand_ins: &[],
};

pub(super) const CORE_28: Core = Core {
    crate_version: "0.0.15",
    pinned: pinned!("core-28"),
    numbers: [28, 99, 0],
    built: "build/src/bitcoind",
    stand_ins: &[],
};

impl Recipe for Core {
    fn revision(&self) -> String {
        let options = OPTIONS.join(" ");
        let mut parts = vec![self.pinned.manifest, self.pinned.lockfile, &options];
        parts.extend(self.stand_ins.iter().flat_map(|(path, text)| [*path, *text]));
        revision(self.crate_version, &parts)
    }

    fn made(&self) -> String {
        let version = self.crate_version;
        format!("CMake, from the source in the crate libbitcoinkernel-sys {version}; {}", OPTIONS.join(" "))
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
        let configure = site.command("cmake").args(configure).arg("-DCMAKE_BUILD_TYPE=Release");
        let mut configure = configure.args(OPTIONS);
        for (path, text) in self.stand_ins {
            site.write(&format!("stand-ins/{path}"), text)?;
        }
        if !self.stand_ins.is_empty() {
            configure = configure.arg(format!("-DCMAKE_CXX_FLAGS=-I{}", site.work().join("stand-ins").display()));
        }
        site.run(&configure)?;

        site.step("compiling");
        let jobs = thread::available_parallelism().map_or(1, usize::from).to_string();
        let compile = site.command("cmake").args(["--build", "build", "--target", "bitcoind", "--parallel", &jobs]);
        // Inherited from a `make` above us, these would set jobs and options for ours.
        let compile = compile.without(["MAKEFLAGS", "MFLAGS", "MAKELEVEL"]);
        site.run_reading(&compile, percent)?;

        site.step("stripping");
        let built = site.work().join(self.built);
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
        for core in [CORE_31, CORE_30, CORE_29, CORE_28] {
            assert!(core.pinned.manifest.contains(&format!("\"={}\"", core.crate_version)));
            let locked = format!("name = \"libbitcoinkernel-sys\"\nversion = \"{}\"", core.crate_version);
            assert!(core.pinned.lockfile.contains(&locked));
            assert!(core.pinned.lockfile.matches("\nchecksum = ").count() >= 2);
        }
    }
}
