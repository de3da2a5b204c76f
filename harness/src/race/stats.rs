//! What counts and samples say, and how sure that is.

use schemars::JsonSchema;
use serde::Serialize;

/// z of a confidence of 95 %.
pub const Z_95: f64 = 1.96;
/// z of a confidence of 99.99 %: a check of what is true fails once in 10,000 times.
pub const Z_9999: f64 = 3.89;

/// How many are expected at least in each bin of a chi-squared test: with fewer, its p-value means little.
const LEAST_EXPECTED: f64 = 5.0;
/// How many bins a sample is divided into at most.
const MOST_BINS: usize = 20;

/// An interval of probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Interval {
    /// Its lower end, from 0 to 1.
    pub low: f64,
    /// Its upper end, from 0 to 1.
    pub high: f64,
}

impl Interval {
    /// The Wilson score interval of the probability of something that happened `count` times in `trials`, with a confidence
    /// given by its `z`, such as [`Z_95`]. Without trials it is everything.
    pub fn wilson(count: u64, trials: u64, z: f64) -> Self {
        if trials == 0 {
            return Interval { low: 0.0, high: 1.0 };
        }
        let (n, rate) = (trials as f64, count as f64 / trials as f64);
        let scale = 1.0 + z * z / n;
        let centre = (rate + z * z / (2.0 * n)) / scale;
        let half = z / scale * (rate * (1.0 - rate) / n + z * z / (4.0 * n * n)).sqrt();
        // At these two counts an end is 0 or 1 exactly, which rounding would miss.
        Interval {
            low: if count == 0 { 0.0 } else { (centre - half).max(0.0) },
            high: if count >= trials { 1.0 } else { (centre + half).min(1.0) },
        }
    }

    /// Whether a probability is in it.
    pub fn contains(self, probability: f64) -> bool {
        (self.low..=self.high).contains(&probability)
    }
}

/// Whether `count` of `trials` is what a probability makes one expect: within the Wilson interval of that `z`, and in every
/// trial or none where the probability is 1 or 0.
pub fn agrees(probability: f64, count: u64, trials: u64, z: f64) -> bool {
    if probability <= 0.0 {
        count == 0
    } else if probability >= 1.0 {
        count == trials
    } else {
        Interval::wilson(count, trials, z).contains(probability)
    }
}

/// How values are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Distribution {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, as that of a sample: with n − 1. 0 for a single value.
    pub sd: f64,
    /// Their median.
    pub median: f64,
    /// The value that a tenth of them are below.
    pub p10: f64,
    /// The value that nine tenths of them are below.
    pub p90: f64,
}

impl Distribution {
    /// That of these values; `None`, if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        let mean = mean(sorted.iter().copied())?;
        sorted.sort_by(f64::total_cmp);
        let squares: f64 = sorted.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = if sorted.len() > 1 { (squares / (sorted.len() - 1) as f64).sqrt() } else { 0.0 };
        let at = |part| quantile(&sorted, part);
        Some(Distribution { mean, sd, median: at(0.5)?, p10: at(0.1)?, p90: at(0.9)? })
    }
}

/// The mean; `None` of nothing.
pub fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.into_iter().fold((0_u64, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / count as f64)
}

/// The value that a `part` from 0 to 1 of `sorted` is below, interpolated between its neighbours; `None` of nothing.
pub fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

/// What a chi-squared test says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Fit {
    /// The statistic: Σ (observed − expected)² / expected.
    pub chi_squared: f64,
    /// Its degrees of freedom.
    pub degrees: u64,
    /// How probable a statistic at least as large is, if what is expected is true.
    pub p_value: f64,
}

impl Fit {
    /// Tests counts against what is expected of each; `None`, if that is fewer than two counts, or one of which less than 5
    /// is expected.
    fn of(observed: &[u64], expected: &[f64]) -> Option<Self> {
        let degrees = observed.len().checked_sub(2)? + 1;
        if expected.iter().any(|expected| *expected < LEAST_EXPECTED) {
            return None;
        }
        let pairs = observed.iter().zip(expected);
        let chi_squared = pairs.map(|(observed, expected)| (*observed as f64 - expected).powi(2) / expected).sum();
        let degrees = degrees as u64;
        Some(Fit { chi_squared, degrees, p_value: chi_squared_above(degrees, chi_squared) })
    }

    /// Tests times between blocks against the exponential distribution with this mean, in bins of equal probability; `None`,
    /// if they are too few.
    pub fn of_arrivals(gaps_ms: &[u64], mean_ms: u64) -> Option<Self> {
        let bins = (gaps_ms.len() / (2.0 * LEAST_EXPECTED) as usize).min(MOST_BINS);
        if mean_ms == 0 {
            return None;
        }
        let mut observed = vec![0; bins];
        for gap in gaps_ms {
            let before = -(-(*gap as f64) / mean_ms as f64).exp_m1();
            // So far out a probability is rounded to 1.
            let bin = ((before * bins as f64) as usize).min(bins.checked_sub(1)?);
            observed[bin] += 1;
        }
        Fit::of(&observed, &vec![gaps_ms.len() as f64 / bins as f64; bins])
    }

    /// Tests how many blocks miners found against their shares of the hash power, whatever those add up to; `None`, if fewer
    /// than two have a share, or the blocks are too few.
    pub fn of_shares(found: &[u64], shares: &[f64]) -> Option<Self> {
        let (found, shares): (Vec<u64>, Vec<f64>) =
            found.iter().zip(shares).filter(|(_, share)| **share > 0.0).map(|(found, share)| (*found, *share)).unzip();
        let blocks = found.iter().sum::<u64>() as f64;
        let whole: f64 = shares.iter().sum();
        let expected: Vec<f64> = shares.iter().map(|share| blocks * share / whole).collect();
        Fit::of(&found, &expected)
    }
}

/// How probable it is that a chi-squared distribution gives more than `statistic`: the regularised upper incomplete gamma
/// function Q(degrees/2, statistic/2).
fn chi_squared_above(degrees: u64, statistic: f64) -> f64 {
    let (a, x) = (degrees as f64 / 2.0, statistic / 2.0);
    if x <= 0.0 {
        return 1.0;
    }
    // ln Γ(a), by Γ(a) = (a − 1) Γ(a − 1) from Γ(1) = 1 or Γ(1/2) = √π: a is a multiple of 1/2.
    let start = if degrees.is_multiple_of(2) { 0.0 } else { std::f64::consts::PI.sqrt().ln() };
    let ln_gamma: f64 = start + (1..degrees.div_ceil(2)).map(|below| (a - below as f64).ln()).sum::<f64>();
    let factor = (a * x.ln() - x - ln_gamma).exp();
    match x < a + 1.0 {
        true => 1.0 - factor * lower_series(a, x),
        false => factor * upper_fraction(a, x),
    }
}

/// Σ xⁿ / (a (a + 1) … (a + n)), which converges quickly below a + 1.
fn lower_series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, 0.0);
    while term > sum * f64::EPSILON {
        n += 1.0;
        term *= x / (a + n);
        sum += term;
    }
    sum
}

/// 1 / (x + 1 − a − 1·(1 − a) / (x + 3 − a − 2·(2 − a) / (x + 5 − a − …))), which converges quickly above a + 1, by Lentz's
/// method.
fn upper_fraction(a: f64, x: f64) -> f64 {
    /// Takes the place of a denominator that vanishes.
    const TINY: f64 = 1e-300;
    /// Far more than it ever takes.
    const MOST_STEPS: u32 = 10_000;
    let nonzero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / TINY, 1.0 / nonzero(b));
    let mut fraction = d;
    for step in 1..=MOST_STEPS {
        let n = f64::from(step);
        let numerator = n * (a - n);
        b += 2.0;
        d = 1.0 / nonzero(numerator * d + b);
        c = nonzero(b + numerator / c);
        fraction *= c * d;
        if (c * d - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal in the first four or so digits.
    fn close(found: f64, known: f64) {
        assert!((found - known).abs() <= 1e-4 * known.abs().max(1.0), "found {found}, expected {known}");
    }

    #[test]
    fn wilson_intervals_known_from_the_literature() {
        // Newcombe (1998), Two-sided confidence intervals for the single proportion, table I, method 3.
        for (count, trials, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let Interval { low: found_low, high: found_high } = Interval::wilson(count, trials, 1.959_964);
            close(found_low, low);
            close(found_high, high);
        }
        assert_eq!(Interval::wilson(20, 20, Z_95).high, 1.0);
        assert_eq!(Interval::wilson(0, 0, Z_95), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn never_and_always_are_exact() {
        for (probability, count, agreed) in [
            (0.0, 0, true),
            (0.0, 1, false),
            (1.0, 200, true),
            (1.0, 199, false),
            (0.5, 100, true),
            (0.5, 130, false),
            (0.999, 200, true),
        ] {
            assert_eq!(agrees(probability, count, 200, Z_9999), agreed, "{probability} {count}");
        }
    }

    #[test]
    fn distributions() {
        let found = Distribution::of([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        close(found.mean, 5.0);
        close(found.sd, (32.0_f64 / 7.0).sqrt());
        close(found.median, 4.5);
        close(found.p10, 3.4);
        close(found.p90, 7.6);
        assert_eq!(
            Distribution::of([3.0]).unwrap(),
            Distribution { mean: 3.0, sd: 0.0, median: 3.0, p10: 3.0, p90: 3.0 }
        );
        assert_eq!(Distribution::of([]), None);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 1.0), Some(4.0));
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.0), Some(1.0));
    }

    #[test]
    fn mendel_s_peas() {
        // 315, 108, 101 and 32 peas against 9:3:3:1; with 3 degrees of freedom.
        let fit = Fit::of_shares(&[315, 108, 101, 32], &[9.0, 3.0, 3.0, 1.0]).unwrap();
        close(fit.chi_squared, 0.4700);
        assert_eq!(fit.degrees, 3);
        close(fit.p_value, 0.9254);
    }

    #[test]
    fn the_critical_values_of_the_tables() {
        for (degrees, critical, p) in [
            (1, 0.003_932_14, 0.95),
            (1, 3.841_458_82, 0.05),
            (2, 9.210_340_37, 0.01),
            (3, 2.365_973_88, 0.5),
            (10, 18.307_038_1, 0.05),
            (19, 43.820_196, 0.001),
            (19, 6.843_971_4, 0.995),
            (100, 124.342_113, 0.05),
        ] {
            let found = chi_squared_above(degrees, critical);
            assert!((found / p - 1.0).abs() < 1e-5, "{degrees}: found {found}, expected {p}");
        }
    }

    #[test]
    fn two_degrees_of_freedom_are_an_exponential() {
        for statistic in [0.0, 1e-9, 0.1, 1.0, 3.9, 4.1, 10.0, 100.0, 1_000.0] {
            let (found, known) = (chi_squared_above(2, statistic), (-statistic / 2.0).exp());
            assert!((found - known).abs() <= 1e-13 * known, "{statistic}: found {found}, expected {known}");
        }
    }

    #[test]
    fn who_has_no_share_is_left_out() {
        let all = Fit::of_shares(&[60, 0, 40], &[0.5, 0.0, 0.5]).unwrap();
        close(all.chi_squared, 4.0);
        assert_eq!(all.degrees, 1);
        close(all.p_value, 0.0455);
        assert_eq!(Fit::of_shares(&[100], &[1.0]), None);
        assert_eq!(Fit::of_shares(&[3, 4], &[0.5, 0.5]), None);
        assert_eq!(Fit::of_shares(&[], &[]), None);
    }

    /// The quantiles of the exponential distribution: a sample that fits as well as one can.
    fn exponential(count: u32, mean_ms: f64) -> Vec<u64> {
        let at = |index| (f64::from(index) + 0.5) / f64::from(count);
        (0..count).map(|index| (-mean_ms * (1.0 - at(index)).ln()).round() as u64).collect()
    }

    #[test]
    fn arrivals() {
        let gaps = exponential(1_000, 600_000.0);
        let fit = Fit::of_arrivals(&gaps, 600_000).unwrap();
        assert_eq!((fit.chi_squared, fit.degrees, fit.p_value), (0.0, 19, 1.0));
        // A mean that is a third off is noticed, and so are blocks that come like a clock.
        assert!(Fit::of_arrivals(&gaps, 400_000).unwrap().p_value < 1e-3);
        assert!(Fit::of_arrivals(&[600_000; 100], 600_000).unwrap().p_value < 1e-9);
        assert!(Fit::of_arrivals(&[u64::MAX; 100], 1).unwrap().p_value < 1e-9);
        // 20 make two bins, divided at the median.
        let halves: Vec<u64> = [100; 13].into_iter().chain([1_000; 7]).collect();
        let fit = Fit::of_arrivals(&halves, 600).unwrap();
        close(fit.chi_squared, 1.8);
        close(fit.p_value, 0.1797);
        for few in [&gaps[..0], &gaps[..19]] {
            assert_eq!(Fit::of_arrivals(few, 600_000), None);
        }
        assert_eq!(Fit::of_arrivals(&gaps, 0), None);
    }
}
