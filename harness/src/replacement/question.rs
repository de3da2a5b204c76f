//! What is asked.

use std::fmt;
use std::str::FromStr;

use bitcoin::{Amount, FeeRate, Weight};
use factory_core::replacement::{Candidate, Entry, Mempool, Policy};
use factory_core::tx::size;
use factory_core::{LockKind, TxVersion, fee};

use crate::scenario::CloseFee;

/// One question to one node.
#[derive(Clone, Debug)]
pub struct Question {
    /// How many members the factory has.
    pub members: u32,
    /// How many of their closes are offered to the mempool after the allocation.
    pub closes: u32,
    /// What the allocation and the closes pay.
    pub feerate: FeeRate,
    /// The version of all transactions.
    pub version: TxVersion,
    /// What the factory close would pay.
    pub close_fee: CloseFee,
    /// What decides every key and nonce.
    pub seed: u64,
}

/// How many closes, where it may depend on the node and the factory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closes {
    /// So many; no more than there are members.
    Count(u32),
    /// Those of all members.
    All,
    /// Both sides of where the exact fee stops being enough, as the model has it.
    Boundary,
}

impl FromStr for Closes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Closes::All),
            "boundary" => Ok(Closes::Boundary),
            number => number
                .parse()
                .map(Closes::Count)
                .map_err(|_| format!("`{number}`: expected a number, `all` or `boundary`")),
        }
    }
}

impl fmt::Display for Closes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closes::Count(number) => number.fmt(f),
            Closes::All => f.write_str("all"),
            Closes::Boundary => f.write_str("boundary"),
        }
    }
}

impl Closes {
    /// The numbers that are meant for a factory like this under this policy, in rising order.
    pub fn numbers(self, policy: &Policy, members: u32, feerate: FeeRate, version: TxVersion) -> Vec<u32> {
        match self {
            Closes::Count(number) => vec![number],
            Closes::All => vec![members],
            Closes::Boundary => {
                let sketch = Sketch::new(policy, members, feerate, version);
                let last = (0..=members).rev().find(|&closes| sketch.exact_is_accepted(closes));
                match last {
                    Some(last) => (last..=members.min(last + 1)).collect(),
                    None => vec![0],
                }
            }
        }
    }
}

/// The factory in numbers, before there is any transaction.
struct Sketch<'a> {
    policy: &'a Policy,
    members: u32,
    feerate: FeeRate,
    version: i32,
}

impl<'a> Sketch<'a> {
    fn new(policy: &'a Policy, members: u32, feerate: FeeRate, version: TxVersion) -> Self {
        Sketch { policy, members, feerate, version: version.to_bitcoin().0 }
    }

    fn fee(&self, weight: Weight) -> Amount {
        fee(self.feerate, weight.to_vbytes_ceil()).unwrap_or(Amount::MAX_MONEY)
    }

    /// Whether the factory close at its exact fee replaces the allocation and as many of these closes as get in.
    fn exact_is_accepted(&self, closes: u32) -> bool {
        let (kind, members) = (LockKind::MuSig2, self.members as usize);
        let mut mempool = Mempool::new();
        let mut offer = |weight: Weight, parents: Vec<usize>| {
            let candidate =
                Candidate { weight, version: self.version, parents, conflicts: vec![], dust: 0, leaves_dust: false };
            let fee = self.fee(weight);
            let accepted = self.policy.judge(&mempool, &candidate, fee).accepted();
            accepted.then(|| mempool.push(Entry { fee, weight, version: self.version, parents: candidate.parents }))
        };
        let close = size::channel_spend(kind, 2);
        let allocation = offer(size::allocation(kind, members), vec![]);
        if let Some(allocation) = allocation {
            (0..closes).take_while(|_| offer(close, vec![allocation]).is_some()).count();
        }
        let weight = size::factory_close(kind, members);
        let conflicts = allocation.into_iter().collect();
        let candidate =
            Candidate { weight, version: self.version, parents: vec![], conflicts, dust: 0, leaves_dust: false };
        let exact = self.fee(size::allocation(kind, members)) + self.fee(close) * u64::from(self.members);
        self.policy.judge(&mempool, &candidate, exact).accepted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_say_how_many_closes() {
        assert_eq!("7".parse(), Ok(Closes::Count(7)));
        assert_eq!("all".parse(), Ok(Closes::All));
        let error = "-1".parse::<Closes>().unwrap_err();
        assert_eq!(error, "`-1`: expected a number, `all` or `boundary`");
    }

    #[test]
    fn the_boundary_is_where_the_exact_fee_stops_being_enough() {
        let numbers = |policy: &Policy, members, version| {
            Closes::Boundary.numbers(policy, members, FeeRate::BROADCAST_MIN, version)
        };
        assert_eq!(numbers(&Policy::CORE_31, 20, TxVersion::Two), [19, 20]);
        assert_eq!(numbers(&Policy::CORE_29, 20, TxVersion::Two), [13, 14]);
        // No more than 25 closes get in, and those of a larger factory leave enough.
        assert_eq!(numbers(&Policy::CORE_30, 100, TxVersion::Two), [100]);
        // Version 3 has one child, so what is left of three is enough for Core 31.
        assert_eq!(numbers(&Policy::CORE_31, 3, TxVersion::Three), [3]);
    }
}
