//! How each tool is made on this machine.

mod build;
mod cargo;
mod core;
mod debian;
mod electrs;

pub use build::BuildError;
pub(crate) use build::Site;

use super::needs::Need;
use super::tool::Tool;
use super::version::Version;
use crate::node::Kind;

/// A way to make a tool.
pub(crate) trait Recipe {
    /// Names all that decides what comes out: another text, another program. It names a folder in the cache.
    fn revision(&self) -> String;

    /// How the tool is made, in one line.
    fn made(&self) -> String;

    /// What must be on this machine.
    fn needs(&self) -> Vec<Need>;

    /// Whether the program that came out is the one that was meant.
    fn promises(&self, version: &Version) -> bool;

    /// Makes the tool in the site's `out` folder. Returns the name of the program in it whose hash tells one build from
    /// another: the executable itself, or what it starts.
    fn build(&self, site: &mut Site<'_>) -> Result<String, BuildError>;
}

/// The recipe of a tool.
pub(crate) fn recipe(tool: Tool) -> Box<dyn Recipe> {
    match tool {
        Tool::Node(Kind::Core31) => Box::new(core::CORE_31),
        Tool::Node(Kind::Core30) => Box::new(core::CORE_30),
        Tool::Node(Kind::Core29) => Box::new(core::CORE_29),
        Tool::Node(Kind::Core28) => Box::new(core::CORE_28),
        Tool::Node(Kind::Knots29) => Box::new(debian::KNOTS_29),
        Tool::Electrs => Box::new(electrs::ELECTRS),
    }
}

/// A revision's name: something for people to read, and a hash over all that decides what comes out.
fn revision(label: &str, parts: &[&str]) -> String {
    use bitcoin::hashes::{Hash, HashEngine, sha256};
    let mut engine = sha256::Hash::engine();
    for part in parts {
        engine.input(&(part.len() as u64).to_le_bytes());
        engine.input(part.as_bytes());
    }
    let hash = sha256::Hash::from_engine(engine).to_string();
    format!("{label}-{}", &hash[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_file_names_and_differ() {
        let revisions: Vec<_> = Tool::all().into_iter().map(|tool| recipe(tool).revision()).collect();
        for (index, revision) in revisions.iter().enumerate() {
            assert!(!revision.contains(['/', ' ']), "{revision}");
            assert!(!revisions[..index].contains(revision), "{revision}");
        }
        assert_ne!(revision("a", &["b", "c"]), revision("a", &["bc", ""]));
    }
}
