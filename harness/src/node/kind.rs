//! The names of the Bitcoin node programs that Shopfloor knows how to provide.

use std::fmt;
use std::str::FromStr;

use factory_core::replacement::Policy;

/// A *node kind*: one Bitcoin node program at one version, with its own mempool policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Bitcoin Core 31 (cluster mempool), a development snapshot between releases.
    Core31,
    /// Bitcoin Core 30 (0.1 sat/vB, before cluster mempool), a development snapshot between releases.
    Core30,
    /// Bitcoin Core 29 (1 sat/vB), a development snapshot between releases.
    Core29,
    /// Bitcoin Core 28 (the first with TRUC and package replacement), a development snapshot between releases.
    Core28,
    /// Bitcoin Knots 29, as Debian packages it.
    Knots29,
}

impl Kind {
    /// Every kind, the default first.
    pub const ALL: [Kind; 5] = [Kind::Core31, Kind::Core30, Kind::Core29, Kind::Core28, Kind::Knots29];

    /// The kind that is meant where none is named.
    pub const DEFAULT: Kind = Kind::Core31;

    /// The name in scenarios and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Core31 => "core-31",
            Kind::Core30 => "core-30",
            Kind::Core29 => "core-29",
            Kind::Core28 => "core-28",
            Kind::Knots29 => "knots-29",
        }
    }

    /// The rules of its mempool, where no option changes them.
    pub const fn policy(self) -> Policy {
        match self {
            Kind::Core31 => Policy::CORE_31,
            Kind::Core30 => Policy::CORE_30,
            Kind::Core29 => Policy::CORE_29,
            Kind::Core28 => Policy::CORE_28,
            Kind::Knots29 => Policy::KNOTS_29,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownKind(name.to_owned()))
    }
}

/// Returned when a name is no node kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown node kind `{0}`: expected one of {known}", known = Kind::ALL.map(Kind::name).join(", "))]
pub struct UnknownKind(pub String);
