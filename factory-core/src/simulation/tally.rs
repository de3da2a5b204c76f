//! Many lifecycles, and how many took each way.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::audit::Violation;
use super::plan::Plan;
use super::verdict::{Outcome, Path};
use super::world::run;

/// How many lifecycles took each way, and what happened in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many took each way.
    pub paths: BTreeMap<Path, u64>,
    /// How many messages were delivered.
    pub messages: u64,
    /// How many blocks were mined.
    pub blocks: u64,
    /// How often a party crashed.
    pub crashes: u64,
    /// How many HTLCs were taken on chain with their preimage.
    pub htlc_successes: u64,
    /// How many HTLCs were taken back on chain.
    pub htlc_timeouts: u64,
    /// How many wrong shares were found.
    pub wrong_shares: u64,
    /// How many inputs were refused.
    pub refused: u64,
    /// What must never happen and did, by seed.
    pub violations: BTreeMap<u64, Violation>,
}

impl Tally {
    fn enter(&mut self, seed: u64, result: Result<Outcome, Violation>) {
        match result {
            Ok(outcome) => {
                *self.paths.entry(outcome.path).or_default() += 1;
                self.messages += outcome.messages;
                self.blocks += u64::from(outcome.blocks);
                self.crashes += u64::from(outcome.crashes);
                self.htlc_successes += u64::from(outcome.htlc_successes);
                self.htlc_timeouts += u64::from(outcome.htlc_timeouts);
                self.wrong_shares += u64::from(outcome.wrong_shares);
                self.refused += u64::from(outcome.refused);
            }
            Err(violation) => {
                self.violations.insert(seed, violation);
            }
        }
    }

    fn add(mut self, other: Tally) -> Tally {
        for (path, count) in other.paths {
            *self.paths.entry(path).or_default() += count;
        }
        self.messages += other.messages;
        self.blocks += other.blocks;
        self.crashes += other.crashes;
        self.htlc_successes += other.htlc_successes;
        self.htlc_timeouts += other.htlc_timeouts;
        self.wrong_shares += other.wrong_shares;
        self.refused += other.refused;
        self.violations.extend(other.violations);
        self
    }

    /// How many lifecycles were played out.
    pub fn lifecycles(&self) -> u64 {
        self.paths.values().sum::<u64>() + self.violations.len() as u64
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} lifecycles", self.lifecycles())?;
        for (path, count) in &self.paths {
            writeln!(f, "{count:>8}  {path}")?;
        }
        writeln!(
            f,
            "{} messages, {} blocks, {} crashes, {} wrong shares, {} inputs refused, HTLCs on chain: {} taken, {} taken back",
            self.messages,
            self.blocks,
            self.crashes,
            self.wrong_shares,
            self.refused,
            self.htlc_successes,
            self.htlc_timeouts
        )?;
        for (seed, violation) in &self.violations {
            writeln!(f, "seed {seed}: {violation}")?;
        }
        Ok(())
    }
}

/// Plays out the plans of `seeds`, on so many threads. What comes of a seed depends on nothing else.
pub fn run_many(seeds: Range<u64>, threads: usize) -> Tally {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut tally = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return tally;
            }
            tally.enter(seed, run(Plan::from_seed(seed)));
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let tallies = threads.into_iter().map(|thread| thread.join().expect("a lifecycle does not panic"));
        tallies.fold(Tally::default(), Tally::add)
    })
}
