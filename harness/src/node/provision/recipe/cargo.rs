//! What the recipes that fetch with Cargo share.

use super::build::Site;
use crate::node::provision::supervise::Run;

/// A package that pins what to fetch, embedded so that an installed program needs no source tree.
pub(super) struct Pinned {
    pub(super) manifest: &'static str,
    /// It carries the checksum of every crate, which Cargo checks.
    pub(super) lockfile: &'static str,
}

/// Variables by which a developer's shell, or Cargo around a test, would change what is built or where.
const FOREIGN: [&str; 8] = [
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
    "__CARGO_DEFAULT_LIB_METADATA",
];

/// Cargo in the work folder, with the user's own configuration (a mirror of the registry, say) in force.
pub(super) fn cargo(site: &Site<'_>) -> Run {
    site.command("cargo").without(FOREIGN)
}
