//! What is left to chance in a trial. Each purpose has a stream of its own, so that what one draws changes nothing for the
//! others, and a trial draws the same whether real nodes make it or the model.

use bitcoin::{Amount, FeeRate};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;

use super::language::Feerates;
use super::setup::Setup;
use crate::seed;

/// The chance of one trial.
#[derive(Debug)]
pub(crate) struct Draws {
    arrivals: ChaCha20Rng,
    background: ChaCha20Rng,
    ties: ChaCha20Rng,
}

impl Draws {
    /// The chance of this trial of an experiment with this seed.
    pub(crate) fn new(seed: u64, trial: u64) -> Self {
        let stream = |purpose: &str| seed::stream(seed, &format!("race/{trial}/{purpose}"));
        Draws { arrivals: stream("arrivals"), background: stream("background"), ties: stream("ties") }
    }

    /// How long after the last block the next one is found, in milliseconds, and by whom: arrivals are a Poisson process,
    /// so the gaps are exponentially distributed, and each is any miner's with the probability of its share.
    pub(crate) fn arrival(&mut self, setup: &Setup) -> (u64, usize) {
        let gap = exponential(&mut self.arrivals) * setup.experiment.blocks.interval.0 as f64;
        let drawn = self.arrivals.next_u64() % crate::scenario::Percent::WHOLE.0;
        let mut sum = 0;
        let finder = setup.miners.iter().position(|miner| {
            sum += miner.share.0;
            drawn < sum
        });
        (gap.round() as u64, finder.unwrap_or(0))
    }

    /// What a background transaction pays.
    pub(crate) fn background(&mut self, setup: &Setup) -> Amount {
        let Some(congestion) = &setup.experiment.congestion else { return Amount::ZERO };
        let size = congestion.size.0;
        match &congestion.feerates {
            Feerates::Constant(rate) => whole(rate.0, size),
            Feerates::Exponential { least, mean } => {
                let above = (per_kvb(mean.0) - per_kvb(least.0)) * exponential(&mut self.background);
                whole(least.0, size) + Amount::from_sat((above * size as f64 / 1_000.0) as u64)
            }
            Feerates::Histogram(_) => {
                let all: u64 = setup.histogram.iter().map(|(_, count)| count).sum();
                let mut left = self.background.next_u64() % all.max(1);
                let bin = setup.histogram.iter().find(|(_, count)| match left.checked_sub(*count) {
                    Some(rest) => {
                        left = rest;
                        false
                    }
                    None => true,
                });
                bin.map_or(Amount::ZERO, |(rate, _)| whole(*rate, size))
            }
        }
    }

    /// A fair coin.
    pub(crate) fn coin(&mut self) -> bool {
        self.ties.next_u64() & 1 == 1
    }
}

/// Exponentially distributed, with mean 1.
fn exponential(random: &mut ChaCha20Rng) -> f64 {
    // From 53 bits, and never 0.
    let uniform = ((random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    -uniform.ln()
}

fn per_kvb(rate: FeeRate) -> f64 {
    rate.to_sat_per_kwu() as f64 * 4.0
}

/// The fee at a feerate, rounded up.
fn whole(rate: FeeRate, size: u64) -> Amount {
    factory_core::fee(rate, size).unwrap_or(Amount::MAX_MONEY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::language::Experiment;

    const DRAWN: u32 = 20_000;

    /// The fees of background transactions of 500 vB with these feerates.
    fn fees(feerates: &str, histogram: &[(u32, u64)]) -> Vec<u64> {
        let text = format!(
            "
name: drawn
nodes: {{ one: {{ kind: core-31 }} }}
factory: {{ members: 1 }}
publish: [{{ tx: allocation, at: one }}, {{ tx: factory-close, at: one }}]
miners: {{ a: {{ share: 100 %, node: one }} }}
congestion: {{ fill: 10 %, feerates: {feerates} }}
"
        );
        let experiment: Experiment = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
        let bins = histogram.iter().map(|(rate, count)| (FeeRate::from_sat_per_vb_u32(*rate), *count)).collect();
        let setup = Setup::new(&experiment, bins).unwrap();
        let mut draws = Draws::new(1, 1);
        (0..DRAWN).map(|_| draws.background(&setup).to_sat()).collect()
    }

    /// Within four standard deviations of so many draws.
    fn close(found: f64, expected: f64, sd: f64) {
        let most = 4.0 * sd / f64::from(DRAWN).sqrt();
        assert!((found - expected).abs() <= most, "found {found}, expected {expected} within {most}");
    }

    #[test]
    fn feerates_have_the_mean_and_the_least_that_they_are_given() {
        let fees = fees("{ exponential: { least: 2 sat/vB, mean: 5 sat/vB } }", &[]);
        // 500 vB pay 1,000 sat at least and 1,500 sat more in the mean, cut to whole satoshi.
        close(fees.iter().sum::<u64>() as f64 / f64::from(DRAWN), 2_499.5, 1_500.0);
        let under_the_mean = fees.iter().filter(|fee| **fee < 2_500).count();
        let expected: f64 = 1.0 - (-1.0_f64).exp();
        close(under_the_mean as f64 / f64::from(DRAWN), expected, (expected * (1.0 - expected)).sqrt());
        assert!(fees.iter().all(|fee| *fee >= 1_000));
        assert!(self::fees("{ constant: 3 sat/vB }", &[]).iter().all(|fee| *fee == 1_500));
    }

    #[test]
    fn bins_are_drawn_by_what_is_in_them() {
        let fees = fees("{ histogram: none.csv }", &[(1, 1), (4, 2), (9, 1)]);
        for (fee, expected) in [(500, 0.25_f64), (2_000, 0.5), (4_500, 0.25)] {
            let found = fees.iter().filter(|found| **found == fee).count();
            close(found as f64 / f64::from(DRAWN), expected, (expected * (1.0 - expected)).sqrt());
        }
        assert!(fees.iter().all(|fee| [500, 2_000, 4_500].contains(fee)));
    }
}
