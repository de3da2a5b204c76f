//! What a program says it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose program it is: each has a mempool policy of its own, so one never stands in for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Bitcoin Core.
    Core,
    /// Bitcoin Knots.
    Knots,
    /// The Electrum server in Rust.
    Electrs,
}

impl Family {
    /// The name as the program prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Family::Core => "Bitcoin Core",
            Family::Knots => "Bitcoin Knots",
            Family::Electrs => "electrs",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A version as the program itself printed it.
///
/// It displays as the number alone, and a Bitcoin Core of the development branch says that it is one:
/// `31.99.0 (development snapshot between releases)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    family: Family,
    number: String,
}

impl Version {
    /// Reads the first line of what a program answers to `-version`; `None` if it is none of ours.
    pub fn parse(answer: &str) -> Option<Version> {
        let line = answer.lines().next()?.trim();
        let (family, number) = if let Some(rest) = line.strip_prefix("Bitcoin ") {
            let (family, rest) = match rest.strip_prefix("Core ") {
                Some(rest) => (Family::Core, rest),
                None => (Family::Knots, rest.strip_prefix("Knots ")?),
            };
            // "daemon" sets bitcoind apart from bitcoin-cli ("RPC client version") and the other programs.
            (family, rest.strip_prefix("daemon version ")?)
        } else {
            // electrs prints its number and nothing else.
            (Family::Electrs, line)
        };
        let number = number.split_whitespace().next()?.strip_prefix('v')?;
        // "Unknown": Core's word for the commit of a source that is no git repository.
        let number = number.strip_suffix("-unk").unwrap_or(number);
        if family == Family::Electrs && line.len() != number.len() + 1 {
            return None;
        }
        let version = Version { family, number: number.to_owned() };
        (version.numbers().len() >= 2).then_some(version)
    }

    /// Whose program it is.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The version without the `v`, as printed: `29.4.2.knots20260508`.
    pub fn number(&self) -> &str {
        &self.number
    }

    /// The numbers that the version starts with: `29.4.2.knots20260508` gives 29, 4, 2.
    pub fn numbers(&self) -> Vec<u32> {
        self.number.split(['.', '-']).map_while(|part| part.parse().ok()).collect()
    }

    /// Whether this is Bitcoin Core's development branch, which numbers itself N.99 between release N and N+1.
    pub fn is_snapshot(&self) -> bool {
        self.family == Family::Core && self.numbers().get(1) == Some(&99)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.number)?;
        if self.is_snapshot() { f.write_str(" (development snapshot between releases)") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_each_program_prints() {
        let cases = [
            ("Bitcoin Core daemon version v31.99.0-unk bitcoind\nCopyright", Family::Core, "31.99.0", vec![31, 99, 0]),
            ("Bitcoin Core daemon version v30.0.0 bitcoind\n", Family::Core, "30.0.0", vec![30, 0, 0]),
            ("Bitcoin Core daemon version v28.99.0-1a2b3c", Family::Core, "28.99.0-1a2b3c", vec![28, 99, 0]),
            ("Bitcoin Knots daemon version v29.4.2.knots1", Family::Knots, "29.4.2.knots1", vec![29, 4, 2]),
            ("v0.10.10\n", Family::Electrs, "0.10.10", vec![0, 10, 10]),
        ];
        for (answer, family, number, numbers) in cases {
            let version = Version::parse(answer).unwrap();
            assert_eq!((version.family(), version.number(), version.numbers()), (family, number, numbers));
        }
    }

    #[test]
    fn takes_nothing_else_for_a_version() {
        let cases = ["", "hello", "v", "vx.y", "Bitcoin Core RPC client version v31.99.0", "v1.0 of another program"];
        for answer in cases {
            assert_eq!(Version::parse(answer), None, "{answer:?}");
        }
    }

    #[test]
    fn a_snapshot_says_so() {
        let show = |line| Version::parse(line).unwrap().to_string();
        assert_eq!(show("Bitcoin Core daemon version v31.99.0"), "31.99.0 (development snapshot between releases)");
        assert_eq!(show("Bitcoin Core daemon version v31.0.0"), "31.0.0");
    }
}
