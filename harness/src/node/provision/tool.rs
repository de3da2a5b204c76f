//! What can be installed: the node kinds, and the Electrum server that some scenarios put beside a node.

use std::fmt;
use std::str::FromStr;

use super::version::{Family, Version};
use crate::node::Kind;

/// A program that Shopfloor knows how to provide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tool {
    /// The `bitcoind` of a node kind.
    Node(Kind),
    /// The Electrum server `electrs`.
    Electrs,
}

impl Tool {
    /// Every tool: the node kinds, the default first, then the rest.
    pub fn all() -> Vec<Tool> {
        Kind::ALL.into_iter().map(Tool::Node).chain([Tool::Electrs]).collect()
    }

    /// The name on the command line and in the cache.
    pub const fn name(self) -> &'static str {
        match self {
            Tool::Node(kind) => kind.name(),
            Tool::Electrs => "electrs",
        }
    }

    /// The name of the executable file.
    pub const fn executable(self) -> &'static str {
        match self {
            Tool::Node(_) => "bitcoind",
            Tool::Electrs => "electrs",
        }
    }

    /// Whose program this is.
    pub const fn family(self) -> Family {
        match self {
            Tool::Node(Kind::Core31 | Kind::Core30 | Kind::Core29 | Kind::Core28) => Family::Core,
            Tool::Node(Kind::Knots29) => Family::Knots,
            Tool::Electrs => Family::Electrs,
        }
    }

    /// The leading numbers that a version must have to be this tool: `31` takes 31.0 and 31.99.0.
    pub const fn series(self) -> &'static [u32] {
        match self {
            Tool::Node(Kind::Core31) => &[31],
            Tool::Node(Kind::Core30) => &[30],
            Tool::Node(Kind::Core29) => &[29],
            Tool::Node(Kind::Core28) => &[28],
            Tool::Node(Kind::Knots29) => &[29],
            Tool::Electrs => &[0, 10],
        }
    }

    /// Whether a program of this version, found by chance, is this tool.
    pub fn is(self, version: &Version) -> bool {
        version.family() == self.family() && version.numbers().starts_with(self.series())
    }

    /// The option that makes the program print its version and end.
    pub(crate) const fn version_option(self) -> &'static str {
        match self {
            Tool::Node(_) => "-version",
            Tool::Electrs => "--version",
        }
    }

    /// The environment variables that name an executable for this tool, the strongest first.
    pub fn variables(self) -> Vec<String> {
        let own = format!("SHOPFLOOR_{}_EXE", self.name().replace('-', "_").to_uppercase());
        if self == Tool::Node(Kind::DEFAULT) { vec![own, "BITCOIND_EXE".to_owned()] } else { vec![own] }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<Kind> for Tool {
    fn from(kind: Kind) -> Self {
        Tool::Node(kind)
    }
}

impl FromStr for Tool {
    type Err = UnknownTool;

    fn from_str(name: &str) -> Result<Self, UnknownTool> {
        Tool::all().into_iter().find(|tool| tool.name() == name).ok_or_else(|| UnknownTool(name.to_owned()))
    }
}

/// Returned when a name is no tool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown tool `{0}`: expected one of {known}", known = known())]
pub struct UnknownTool(pub String);

fn known() -> String {
    Tool::all().into_iter().map(Tool::name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_an_unknown_one_lists_them() {
        for tool in Tool::all() {
            assert_eq!(tool.name().parse(), Ok(tool));
        }
        let unknown = "core-7".parse::<Tool>().unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "unknown tool `core-7`: expected one of core-31, core-30, core-29, core-28, knots-29, electrs"
        );
    }

    #[test]
    fn only_the_default_kind_listens_to_bitcoind_exe() {
        assert_eq!(Tool::Node(Kind::Core31).variables(), ["SHOPFLOOR_CORE_31_EXE", "BITCOIND_EXE"]);
        assert_eq!(Tool::Node(Kind::Knots29).variables(), ["SHOPFLOOR_KNOTS_29_EXE"]);
        assert_eq!(Tool::Electrs.variables(), ["SHOPFLOOR_ELECTRS_EXE"]);
    }
}
