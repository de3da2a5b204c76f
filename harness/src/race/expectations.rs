//! What must come out of an experiment, and whether it did.

use super::language::{MarginSign, RaceExpect};
use super::report::Point;
use super::stats::{Interval, Z_9999, agrees};

/// What is not as expected in a point: by its file, by theory, and by the model. Each text says what was expected, and what
/// was found.
///
/// How often the factory close wins has to be within chance, with a confidence of 99.99 %, and exact where it is never or
/// always. What is said of the margin must hold each time a rational miner compares.
pub fn expectations(expect: &RaceExpect, point: &Point) -> Vec<String> {
    if point.trials == 0 {
        return vec!["expected trials, found none".to_owned()];
    }
    let mut failures = Vec::new();
    if let Some(share) = expect.factory_close_wins {
        failures.extend(wins(point, share.fraction(), "the file says"));
    }
    if let Some(rate) = point.predicted_rate {
        failures.extend(wins(point, rate, "theory predicts"));
    }
    failures.extend(expect.margin.and_then(|sign| margins(point, sign)));
    if let Some(trials) = point.model_disagreements.filter(|trials| *trials > 0) {
        failures.push(format!(
            "expected the model and the nodes to agree in every trial, found that they do not in {trials} of {}",
            point.trials
        ));
    }
    failures
}

fn wins(point: &Point, rate: f64, who: &str) -> Option<String> {
    let (count, trials) = (point.outcomes.factory_close.count, point.trials);
    if agrees(rate, count, trials, Z_9999) {
        return None;
    }
    let mut failure = format!(
        "expected the factory close to win in {} % of the trials, as {who}, found {count} of {trials}",
        percent(rate)
    );
    if rate > 0.0 && rate < 1.0 {
        let Interval { low, high } = Interval::wilson(count, trials, Z_9999);
        failure.push_str(&format!(", by which it is {} % to {} %", percent(low), percent(high)));
    }
    Some(failure)
}

fn margins(point: &Point, sign: MarginSign) -> Option<String> {
    let (expected, holds): (_, fn(i64) -> bool) = match sign {
        MarginSign::Positive => ("gain by", |sat| sat > 0),
        MarginSign::Zero => ("neither gain nor lose by", |sat| sat == 0),
        MarginSign::Negative => ("lose by", |sat| sat < 0),
    };
    let expected = format!("expected every rational miner to {expected} the factory close");
    let measured = || {
        let trials = point.records.iter();
        trials.flat_map(|trial| trial.margins.iter().map(|margin| (trial.number, margin.measured_sat)))
    };
    let all = measured().count();
    let wrong = measured().filter(|(_, sat)| !holds(*sat)).count();
    if all == 0 {
        return Some(format!("{expected}, found none that had a block to fill"));
    }
    let (trial, sat) = measured().find(|(_, sat)| !holds(*sat))?;
    Some(format!("{expected}, found otherwise in {wrong} of {all} blocks, first {sat:+} sat in trial {trial}"))
}

/// A fraction of 1 in percent, with two decimals where they are needed.
fn percent(fraction: f64) -> f64 {
    (fraction * 10_000.0).round() / 100.0
}
