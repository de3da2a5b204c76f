//! What an experiment shows, for who reads it on a terminal.

use std::fmt;

use comfy_table::{CellAlignment, Table, TableStyle, presets};
use indexmap::IndexMap;

use super::report::{MarginReport, Outcome, Point, RaceReport};
use super::stats::{Distribution, Fit};
use crate::report::grouped;

/// How many failures are told.
const FAILURES_SHOWN: usize = 12;

impl fmt::Display for RaceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = if self.points.len() == 1 { "" } else { " each" };
        writeln!(f, "{}: {} trials{each}, seed {}", self.name, grouped(self.trials), self.seed)?;
        if let Some(claim) = &self.claim {
            writeln!(f, "it bears on: {claim}")?;
        }
        writeln!(f, "{}", self.asked())?;
        if let Some(note) = &self.block_weight {
            writeln!(f, "{note}")?;
        }
        let rows: Vec<_> = self.points.iter().map(|point| (self.axis_values(point), point)).collect();
        writeln!(f, "\n{}", trimmed(&table(&self.axes(), &rows, presets::NOTHING)))?;
        if let [point] = self.points.as_slice() {
            writeln!(f, "\n{}\n", trimmed(&miners(point)))?;
            writeln!(f, "of the factory, {} vB are confirmed in the mean", signed(point.factory_vsize_mean))?;
            if let Some(MarginReport { count, measured_min_sat, measured_max_sat, marginal_mean, .. }) = point.margin {
                let (least, most) = (signed(measured_min_sat as f64), signed(measured_max_sat as f64));
                writeln!(f, "Δ: {least} to {most} sat in {count} blocks, r = {marginal_mean:.2} sat/vB in the mean")?;
            }
        } else {
            writeln!(f)?;
        }
        self.fit(f, "times between blocks", |point| point.arrivals)?;
        self.fit(f, "blocks by miner", |point| point.shares)?;
        if !self.failures.is_empty() {
            writeln!(f)?;
        }
        for failure in self.failures.iter().take(FAILURES_SHOWN) {
            writeln!(f, "fail: {failure}")?;
        }
        if let Some(more) = self.failures.len().checked_sub(FAILURES_SHOWN).filter(|more| *more > 0) {
            writeln!(f, "fail: … and {more} more")?;
        }
        Ok(())
    }
}

impl RaceReport {
    /// Which nodes there are, or that there are none.
    fn asked(&self) -> String {
        let mut nodes: IndexMap<&str, Vec<String>> = IndexMap::new();
        for (name, node) in self.points.iter().flat_map(|point| &point.nodes) {
            let versions = nodes.entry(name).or_default();
            let version = format!("{} {}", node.kind, node.version);
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        if nodes.is_empty() {
            return "the model alone, no nodes".to_owned();
        }
        let nodes = nodes.iter().map(|(name, versions)| format!("{name} is {}", versions.join(" or ")));
        nodes.collect::<Vec<_>>().join(", ")
    }

    /// How well something fits, in the point where it fits worst.
    fn fit(&self, f: &mut fmt::Formatter<'_>, what: &str, of: impl Fn(&Point) -> Option<Fit>) -> fmt::Result {
        let fits: Vec<Fit> = self.points.iter().filter_map(of).collect();
        let Some(worst) = fits.iter().min_by(|a, b| a.p_value.total_cmp(&b.p_value)) else {
            return Ok(());
        };
        let Fit { chi_squared, degrees, p_value } = *worst;
        let p_value = if p_value < 1e-4 { "p < 0.0001".to_owned() } else { format!("p = {p_value:.4}") };
        let of_all = if fits.len() > 1 { format!(", the least of {} points", fits.len()) } else { String::new() };
        writeln!(f, "{what}: {p_value}{of_all} (chi-squared {chi_squared:.2}, degrees of freedom: {degrees})")
    }
}

/// The table of these points, each with its values of the first columns, which have these titles.
pub(super) fn table(titles: &[&str], rows: &[(Vec<String>, &Point)], style: TableStyle) -> Table {
    let columns = columns(rows);
    let mut table = Table::new();
    table.load_style(style).set_header(titles.iter().copied().chain(columns.iter().map(|column| column.title)));
    for (values, point) in rows {
        table.add_row(values.iter().cloned().chain(columns.iter().map(|column| (column.cell)(point))));
    }
    align(&mut table, titles.len());
    table
}

/// What a column shows of a point.
struct Column {
    title: &'static str,
    cell: fn(&Point) -> String,
}

/// The columns in which there is something to say of any of these points.
fn columns(rows: &[(Vec<String>, &Point)]) -> Vec<Column> {
    let some = |holds: fn(&Point) -> bool| rows.iter().any(|(_, point)| holds(point));
    let mut columns: Vec<Column> = Vec::new();
    let mut add = |is_shown, title, cell| {
        if is_shown {
            columns.push(Column { title, cell });
        }
    };
    add(true, "factory close, % (95 %)", |point| rate(&point.outcomes.factory_close));
    add(some(|point| point.predicted_rate.is_some()), "predicted, %", predicted);
    add(some(|point| point.outcomes.neither.count > 0), "neither, %", |point| rate(&point.outcomes.neither));
    add(true, "blocks", |point| spread(point.blocks, 1.0));
    add(true, "time, min", |point| spread(point.time_s, 60.0));
    add(some(|point| point.stale_blocks > 0), "stale", |point| grouped(point.stale_blocks));
    add(some(|point| point.margin.is_some()), "Δ (formula), sat", margin);
    add(some(|point| point.model_disagreements.is_some()), "model differs", |point| {
        point.model_disagreements.map(grouped).unwrap_or_default()
    });
    columns
}

/// What each miner found and earned.
fn miners(point: &Point) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["miner", "policy", "share, %", "blocks", "expected", "fees per trial, sat"]);
    for miner in &point.miners {
        table.add_row([
            miner.name.clone(),
            miner.policy.clone(),
            percent(miner.share),
            grouped(miner.blocks_found),
            format!("{:.1}", miner.blocks_expected),
            signed(miner.fees_mean_sat),
        ]);
    }
    align(&mut table, 2);
    table
}

/// Aligns the columns from `first` on as numbers.
fn align(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// A table without spaces at the ends of its lines.
fn trimmed(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn percent(fraction: f64) -> String {
    format!("{:.1}", fraction * 100.0)
}

fn rate(outcome: &Outcome) -> String {
    let Outcome { rate, interval, .. } = outcome;
    format!("{} ({}–{})", percent(*rate), percent(interval.low), percent(interval.high))
}

fn predicted(point: &Point) -> String {
    let missed = if point.prediction_holds == Some(false) { ", MISSED" } else { "" };
    point.predicted_rate.map(|rate| format!("{}{missed}", percent(rate))).unwrap_or_default()
}

/// The mean, and between what four fifths are, in units of `unit`.
fn spread(distribution: Option<Distribution>, unit: f64) -> String {
    let text = |Distribution { mean, p10, p90, .. }: Distribution| {
        format!("{:.1} ({:.1}–{:.1})", mean / unit, p10 / unit, p90 / unit)
    };
    distribution.map(text).unwrap_or_default()
}

fn margin(point: &Point) -> String {
    let text = |MarginReport { measured_mean_sat, formula_mean_sat, .. }: MarginReport| {
        format!("{} ({})", signed(measured_mean_sat), signed(formula_mean_sat))
    };
    point.margin.map(text).unwrap_or_default()
}

/// A whole number with its sign, and its digits in groups of three.
fn signed(number: f64) -> String {
    let rounded = number.round();
    let sign = if rounded < 0.0 { "-" } else { "" };
    format!("{sign}{}", grouped(rounded.abs() as u64))
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_single_point_shows_its_miners() {
        insta::assert_snapshot!(samples::single(), @"
        a sample: 200 trials, seed 7
        node is core-31 31.99

         factory close, % (95 %)         blocks          time, min  stale  Δ (formula), sat  model differs
                60.0 (53.1–66.5)  1.6 (1.0–3.0)  74.4 (25.5–122.8)      1           20 (20)              0

         miner  policy                             share, %  blocks  expected  fees per trial, sat
         alice  rational                               50.0     120     156.0                2,400
         bob    bribed: 20,000 sat for allocation      50.0     192     156.0                1,000

        of the factory, 2,186 vB are confirmed in the mean
        Δ: 0 to 80 sat in 400 blocks, r = 2.00 sat/vB in the mean
        blocks by miner: p < 0.0001 (chi-squared 16.62, degrees of freedom: 1)
        ");
    }

    #[test]
    fn a_matrix_is_a_line_for_each_point() {
        let mut report = samples::matrix(&["0 sat/vB", "1 sat/vB"]);
        report.points.truncate(3);
        report.points[1].prediction_holds = Some(false);
        report.failures = vec!["something".to_owned(); FAILURES_SHOWN + 2];
        report.failures.truncate(FAILURES_SHOWN + 1);
        insta::assert_snapshot!(report, @"
        a sample: 200 trials each, seed 7
        the model alone, no nodes

         miners.alice.share  factory.premium  factory close, % (95 %)  predicted, %         blocks          time, min  stale  Δ (formula), sat
         0 %                 0 sat/vB                   0.0 (0.0–1.9)           0.0  1.6 (1.0–3.0)  74.4 (25.5–122.8)      1         -80 (-80)
         0 %                 1 sat/vB                   0.0 (0.0–1.9)   0.0, MISSED  1.6 (1.0–3.0)  74.4 (25.5–122.8)      1         891 (891)
         25 %                0 sat/vB                29.5 (23.6–36.2)          25.0  1.6 (1.0–3.0)  74.4 (25.5–122.8)      1           -5 (-5)

        blocks by miner: p = 0.0130 (chi-squared 6.17, degrees of freedom: 1)

        fail: something
        fail: something
        fail: something
        fail: something
        fail: something
        fail: something
        fail: something
        fail: something
        fail: something
        fail: something
        fail: something
        fail: something
        fail: … and 1 more
        ");
    }
}
