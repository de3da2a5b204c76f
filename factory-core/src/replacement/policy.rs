//! Whose mempool it is.

use std::fmt;

use bitcoin::{Amount, FeeRate};

/// A feerate in satoshi per 1,000 virtual bytes, as nodes state theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelayRate(pub u64);

impl RelayRate {
    /// The fee that it asks for so many virtual bytes, rounded up to a whole satoshi.
    pub fn fee(self, vsize: u64) -> Amount {
        let fee = (u128::from(self.0) * u128::from(vsize)).div_ceil(1000);
        u64::try_from(fee).map_or(Amount::MAX_MONEY, |sat| Amount::from_sat(sat).min(Amount::MAX_MONEY))
    }
}

impl From<FeeRate> for RelayRate {
    fn from(rate: FeeRate) -> Self {
        RelayRate(rate.to_sat_per_kwu().saturating_mul(4))
    }
}

impl fmt::Display for RelayRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        write!(f, "{} sat/vB", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// How a node tells whether a replacement is better than what it evicts, beyond its fee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// Its feerate must be strictly above that of every transaction it conflicts with directly (BIP 125's practice).
    AboveConflicts {
        /// Whether feerates are cut to whole satoshi per 1,000 virtual bytes before they are compared: before Core 30.
        cut: bool,
    },
    /// The feerate diagram of the clusters it touches must improve (cluster mempool).
    Diagram,
}

/// How much may hang together in a mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// Before cluster mempool: ancestors and descendants, each with the transaction itself.
    Chain {
        /// How many transactions.
        count: u64,
        /// Their virtual bytes.
        vsize: u64,
    },
    /// Cluster mempool: everything that hangs together.
    Cluster {
        /// How many transactions.
        count: u64,
        /// Their weight, in weight units.
        weight: u64,
    },
}

/// The rules of one mempool.
///
/// The constants are the defaults of each node. A node that runs with other options, or whose mempool is full, tells its own
/// feerates by `getmempoolinfo`: put them into the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What a replacement pays for its own relay (`-incrementalrelayfee`).
    pub incremental: RelayRate,
    /// The least that any transaction pays (`-minrelaytxfee`).
    pub relay_minimum: RelayRate,
    /// The least that a transaction pays to enter a full mempool (`mempoolminfee`).
    pub mempool_minimum: RelayRate,
    /// How replacements are compared.
    pub quality: Quality,
    /// How much may hang together.
    pub limits: Limits,
    /// Whether transactions of version 3 are held to their topology (BIP 431).
    pub truc: bool,
    /// The most that one replacement may evict: transactions, or clusters under cluster mempool.
    pub most_evicted: u64,
    /// How many outputs below the dust limit a transaction without a fee may have.
    pub ephemeral_dust: usize,
}

impl Policy {
    /// Bitcoin Core 28, as of its development branch.
    pub const CORE_28: Policy = Policy::CORE_29;

    /// Bitcoin Core 29, as of its development branch.
    pub const CORE_29: Policy = Policy {
        incremental: RelayRate(1000),
        relay_minimum: RelayRate(1000),
        mempool_minimum: RelayRate(1000),
        quality: Quality::AboveConflicts { cut: true },
        limits: Limits::Chain { count: 25, vsize: 101_000 },
        truc: true,
        most_evicted: 100,
        ephemeral_dust: 1,
    };

    /// Bitcoin Core 30, as of its development branch.
    pub const CORE_30: Policy = Policy {
        incremental: RelayRate(100),
        relay_minimum: RelayRate(100),
        mempool_minimum: RelayRate(100),
        quality: Quality::AboveConflicts { cut: false },
        ..Policy::CORE_29
    };

    /// Bitcoin Core 31, as of its development branch.
    pub const CORE_31: Policy =
        Policy { quality: Quality::Diagram, limits: Limits::Cluster { count: 64, weight: 404_000 }, ..Policy::CORE_30 };

    /// Bitcoin Knots 29: version 3 is accepted and not enforced, and no dust is ephemeral.
    pub const KNOTS_29: Policy = Policy { truc: false, ephemeral_dust: 0, ..Policy::CORE_29 };
}
