//! What an experiment shows, as comma-separated values (RFC 4180). Names of columns say the unit; shares and rates are from
//! 0 to 1.

use super::report::{MinerReport, Point, RaceReport, winner};
use super::stats::{Distribution, mean};
use crate::csv::{Csv, number};

/// A line for each trial that is kept, and the header.
///
/// The columns are the axes of the matrix by their places, then `trial`, `winner` (`factory-close`, `allocation` or
/// `neither`), `blocks`, `time_s`, `decided_by`, `factory_vb`, `stale_blocks`, `margins`, `margin_mean_sat`,
/// `margin_formula_mean_sat`, `marginal_mean_sat_per_vb`, and for each miner `found_MINER` and `fees_sat_MINER`. What there
/// is not is left empty.
pub fn trials(report: &RaceReport) -> String {
    let mut table = Csv::default();
    let columns = "trial,winner,blocks,time_s,decided_by,factory_vb,stale_blocks,margins,margin_mean_sat,\
                   margin_formula_mean_sat,marginal_mean_sat_per_vb";
    let titles = report.axes().into_iter().chain(columns.split(',')).map(str::to_owned);
    let titles = titles.chain(miner_columns(report, &["found", "fees_sat"]));
    table.line(titles);
    for point in &report.points {
        for trial in &point.records {
            let decided_by = trial.decided_by.and_then(|place| point.miners.get(place));
            let means = |value: fn(&super::Margin) -> f64| number(mean(trial.margins.iter().map(value)));
            let values = [
                trial.number.to_string(),
                winner(trial.winner).to_owned(),
                trial.blocks.to_string(),
                (trial.time_ms as f64 / 1_000.0).to_string(),
                decided_by.map(|miner| miner.name.clone()).unwrap_or_default(),
                trial.factory_vsize.to_string(),
                trial.stale_blocks.to_string(),
                trial.margins.len().to_string(),
                means(|margin| margin.measured_sat as f64),
                means(|margin| margin.formula_sat),
                means(|margin| margin.marginal),
            ];
            let miners = miner_values(report, point, |place, _| {
                [number(trial.found.get(place)), number(trial.fees_sat.get(place))]
            });
            table.line(report.axis_values(point).into_iter().chain(values).chain(miners));
        }
    }
    table.text()
}

/// A line for each point, and the header.
///
/// The columns are the axes of the matrix by their places, then `trials`; for each of `factory_close`, `allocation` and
/// `neither` how often it came out (`_count`, `_rate`, and the interval of 95 % from `_low` to `_high`); `predicted_rate`,
/// `prediction_holds`; of `blocks` and `time_s` the `_mean`, `_sd`, `_median`, `_p10` and `_p90`; `factory_vb_mean`,
/// `stale_blocks`, `margins`, `margin_mean_sat`, `margin_min_sat`, `margin_max_sat`, `margin_formula_mean_sat`,
/// `marginal_mean_sat_per_vb`, `arrivals_p`, `shares_p`, `model_disagreements`; and for each miner `share_MINER`,
/// `found_MINER`, `expected_MINER` and `fees_mean_sat_MINER`. What there is not is left empty.
pub fn points(report: &RaceReport) -> String {
    let mut table = Csv::default();
    let mut titles: Vec<String> = report.axes().into_iter().map(str::to_owned).collect();
    titles.push("trials".to_owned());
    let each = |names: &[&str], parts: &[&str]| -> Vec<String> {
        names.iter().flat_map(|name| parts.iter().map(move |part| format!("{name}_{part}"))).collect()
    };
    titles.extend(each(&["factory_close", "allocation", "neither"], &["count", "rate", "low", "high"]));
    titles.extend(["predicted_rate", "prediction_holds"].map(str::to_owned));
    titles.extend(each(&["blocks", "time_s"], &["mean", "sd", "median", "p10", "p90"]));
    let columns = "factory_vb_mean,stale_blocks,margins,margin_mean_sat,margin_min_sat,margin_max_sat,\
                   margin_formula_mean_sat,marginal_mean_sat_per_vb,arrivals_p,shares_p,model_disagreements";
    titles.extend(columns.split(',').map(str::to_owned));
    titles.extend(miner_columns(report, &["share", "found", "expected", "fees_mean_sat"]));
    table.line(titles);
    for point in &report.points {
        let mut values = report.axis_values(point);
        values.push(point.trials.to_string());
        for outcome in [point.outcomes.factory_close, point.outcomes.allocation, point.outcomes.neither] {
            values.push(outcome.count.to_string());
            values.extend([outcome.rate, outcome.interval.low, outcome.interval.high].map(|rate| rate.to_string()));
        }
        values.push(number(point.predicted_rate));
        values.push(number(point.prediction_holds));
        for distribution in [point.blocks, point.time_s] {
            let parts = |Distribution { mean, sd, median, p10, p90 }| [mean, sd, median, p10, p90].map(Some);
            values.extend(distribution.map_or([None; 5], parts).map(number));
        }
        let margin = point.margin;
        values.extend([
            point.factory_vsize_mean.to_string(),
            point.stale_blocks.to_string(),
            margin.map_or(0, |margin| margin.count).to_string(),
            number(margin.map(|margin| margin.measured_mean_sat)),
            number(margin.map(|margin| margin.measured_min_sat)),
            number(margin.map(|margin| margin.measured_max_sat)),
            number(margin.map(|margin| margin.formula_mean_sat)),
            number(margin.map(|margin| margin.marginal_mean)),
            number(point.arrivals.map(|fit| fit.p_value)),
            number(point.shares.map(|fit| fit.p_value)),
            number(point.model_disagreements),
        ]);
        values.extend(miner_values(report, point, |_, miner| {
            let (found, expected) = (miner.blocks_found.to_string(), miner.blocks_expected.to_string());
            [miner.share.to_string(), found, expected, miner.fees_mean_sat.to_string()]
        }));
        table.line(values);
    }
    table.text()
}

/// The names of the miners of all points.
fn miner_names(report: &RaceReport) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for miner in report.points.iter().flat_map(|point| &point.miners) {
        if !names.contains(&miner.name.as_str()) {
            names.push(&miner.name);
        }
    }
    names
}

/// The columns that every miner has.
fn miner_columns(report: &RaceReport, columns: &[&str]) -> Vec<String> {
    let names = miner_names(report).into_iter();
    names.flat_map(|name| columns.iter().map(move |column| format!("{column}_{name}"))).collect()
}

/// What there is in these columns: `of` a miner by its place in the point, or nothing if the point has no such miner.
fn miner_values<const N: usize>(
    report: &RaceReport,
    point: &Point,
    of: impl Fn(usize, &MinerReport) -> [String; N],
) -> Vec<String> {
    let values = miner_names(report).into_iter().flat_map(|name| {
        let place = point.miners.iter().position(|miner| miner.name == name);
        place.map_or_else(|| [const { String::new() }; N], |place| of(place, &point.miners[place]))
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_line_for_each_trial() {
        let mut report = samples::matrix(&["0 sat/vB"]);
        report.points.truncate(2);
        report.points[0].records.truncate(2);
        report.points[1].records.truncate(1);
        report.points[0].records[1].margins.clear();
        insta::assert_snapshot!(trials(&report), @"
        miners.alice.share,trial,winner,blocks,time_s,decided_by,factory_vb,stale_blocks,margins,margin_mean_sat,margin_formula_mean_sat,marginal_mean_sat_per_vb,found_alice,fees_sat_alice,found_bob,fees_sat_bob
        0 %,0,allocation,1,500,bob,4008,0,2,-100,-99.5,2,0,0,1,1000
        0 %,1,allocation,1,537,bob,4008,1,0,,,,0,0,1,1000
        25 %,0,factory-close,1,500,alice,971,0,2,-25,-24.5,2,1,4000,0,1000
        ");
        assert_eq!(trials(&report.without_records()).lines().count(), 1);
    }

    #[test]
    fn a_line_for_each_point() {
        let mut report = samples::matrix(&["0 sat/vB"]);
        report.points.truncate(2);
        report.points[1].margin = None;
        insta::assert_snapshot!(points(&report), @"
        miners.alice.share,trials,factory_close_count,factory_close_rate,factory_close_low,factory_close_high,allocation_count,allocation_rate,allocation_low,allocation_high,neither_count,neither_rate,neither_low,neither_high,predicted_rate,prediction_holds,blocks_mean,blocks_sd,blocks_median,blocks_p10,blocks_p90,time_s_mean,time_s_sd,time_s_median,time_s_p10,time_s_p90,factory_vb_mean,stale_blocks,margins,margin_mean_sat,margin_min_sat,margin_max_sat,margin_formula_mean_sat,marginal_mean_sat_per_vb,arrivals_p,shares_p,model_disagreements,share_alice,found_alice,expected_alice,fees_mean_sat_alice,share_bob,found_bob,expected_bob,fees_mean_sat_bob
        0 %,200,0,0,0,0.018846005918320894,200,1,0.9811539940816791,1,0,0,0,0.018846005918320894,0,true,1.56,0.8425851581553747,1,1,3,4461.5,2183.5553162435517,4459,1532.3000000000002,7365.8,4008,1,400,-80.175,-100,-20,-79.675,2,,,,0,0,0,0,1,312,312,1000
        25 %,200,59,0.295,0.23613844271901735,0.3615884197074943,141,0.705,0.6384115802925058,0.7638615572809827,0,0,0,0.018846005918320894,0.25,true,1.56,0.8425851581553747,1,1,3,4461.5,2183.5553162435517,4459,1532.3000000000002,7365.8,3112.085,1,0,,,,,,,0.012986557575743822,,0.25,59,78,1180,0.75,253,234,1000
        ");
    }

    #[test]
    fn commas_and_quotes_are_quoted() {
        let mut report = samples::single();
        report.points[0].axes.insert("a, b".to_owned(), "say \"c\"".to_owned());
        let text = points(&report);
        let starts: Vec<&str> = text.lines().map(|line| &line[..12]).collect();
        assert_eq!(starts, ["\"a, b\",trial", "\"say \"\"c\"\"\","]);
        let columns = |text: &str| text.lines().map(|line| line.matches(',').count()).collect::<Vec<_>>();
        let counts = columns(&points(&samples::single()));
        assert_eq!(counts[0], counts[1]);
    }
}
