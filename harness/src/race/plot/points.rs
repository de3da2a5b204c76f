//! Plots over the first axis of a matrix.

use super::super::report::{Point, RaceReport};
use super::axis::{Axis, Series};
use crate::plot::PlotError;
use crate::plot::canvas::{self, COLOURS, Frame, GREY, Key, Mark};
use crate::report::grouped;

/// What of a point is drawn.
struct Shown {
    /// The value, and the ends of its interval.
    value: [f64; 3],
    /// What theory says.
    theory: Option<f64>,
}

/// How often the factory close wins, in percent.
pub(super) fn wins(report: &RaceReport) -> Result<Option<String>, PlotError> {
    let shown = |point: &Point| {
        let outcome = point.outcomes.factory_close;
        let value = [outcome.interval.high, outcome.rate, outcome.interval.low].map(|rate| rate * 100.0);
        Some(Shown { value, theory: point.predicted_rate.map(|rate| rate * 100.0) })
    };
    let plot = Overlay {
        title: "How often the factory close is confirmed",
        y_title: "trials, %",
        value: "measured, with the interval of 95 %",
        theory: "predicted",
        // A little more than there can be, so that marks at the ends are whole.
        y: Some(-3.0..103.0),
    };
    plot.draw(report, shown)
}

/// What the factory close is worth to rational miners, in satoshi.
pub(super) fn margin(report: &RaceReport) -> Result<Option<String>, PlotError> {
    let shown = |point: &Point| {
        let margin = point.margin?;
        let value = [margin.measured_max_sat as f64, margin.measured_mean_sat, margin.measured_min_sat as f64];
        Some(Shown { value, theory: Some(margin.formula_mean_sat) })
    };
    let plot = Overlay {
        title: "What the factory close is worth to a rational miner",
        y_title: "Δ, sat",
        value: "measured: the mean, from the least to the most",
        theory: "by the formula, in the mean",
        y: None,
    };
    plot.draw(report, shown)
}

/// What was measured over what theory says.
struct Overlay {
    title: &'static str,
    y_title: &'static str,
    /// What the values are.
    value: &'static str,
    /// What the lines are.
    theory: &'static str,
    /// From where to where y goes; a little further than the values, if it is not said.
    y: Option<std::ops::Range<f64>>,
}

impl Overlay {
    /// The plot of what is `shown` of the points; nothing, if that is nothing.
    fn draw(&self, report: &RaceReport, shown: impl Fn(&Point) -> Option<Shown>) -> Result<Option<String>, PlotError> {
        let axis = Axis::of(report);
        let shown: Vec<Option<Shown>> = report.points.iter().map(shown).collect();
        let present: Vec<&Shown> = shown.iter().flatten().collect();
        if present.is_empty() {
            return Ok(None);
        }
        let all_series = Series::all(report, &axis);
        let y = self.y.clone().unwrap_or_else(|| around(&present));
        let has_theory = present.iter().any(|shown| shown.theory.is_some());
        let frame = Frame {
            title: self.title,
            subtitle: &subtitle(report),
            x_title: &axis.title,
            y_title: self.y_title,
            x: axis.range(),
            y: y.clone(),
            names: axis.names.as_deref(),
            y_label: &canvas::number,
            keys: &self.keys(&all_series, has_theory),
        };
        let svg = frame.draw(|area, at| {
            if y.contains(&0.0) && self.y.is_none() {
                let range = axis.range();
                canvas::line(area, GREY, vec![at(range.start, 0.0), at(range.end, 0.0)])?;
            }
            for (number, series) in all_series.iter().enumerate() {
                let colour = COLOURS[number % COLOURS.len()];
                let beside = canvas::beside(number, all_series.len());
                let known =
                    series.points.iter().filter_map(|&point| Some((axis.places[point], shown[point].as_ref()?)));
                let beside = |(x, y)| (x + beside, y);
                let theory = known.clone().filter_map(|(x, shown)| Some(beside(at(x, shown.theory?))));
                if axis.names.is_some() {
                    // There is nothing between names that a line could lead through.
                    for (x, y) in theory {
                        canvas::line(area, colour, vec![(x - 12, y), (x + 12, y)])?;
                    }
                } else {
                    let through: Vec<_> = theory.collect();
                    if through.len() > 1 {
                        canvas::line(area, colour, through)?;
                    }
                }
                for (x, Shown { value, .. }) in known {
                    let heights = value.map(|value| at(x, value).1);
                    canvas::value(area, number, colour, beside(at(x, 0.0)).0, heights)?;
                }
            }
            Ok(())
        })?;
        Ok(Some(svg))
    }

    /// What the marks mean. A single series says what it is itself.
    fn keys(&self, all_series: &[Series], has_theory: bool) -> Vec<Key> {
        let mut keys = Vec::new();
        let single = all_series.len() == 1;
        for (number, series) in all_series.iter().enumerate() {
            let label = if single { self.value.to_owned() } else { series.title.clone() };
            keys.push(Key { mark: Mark::Value(number), colour: COLOURS[number % COLOURS.len()], label });
        }
        if has_theory {
            let colour = if single { COLOURS[0] } else { GREY };
            let label =
                if single { self.theory.to_owned() } else { format!("marks: {}; lines: {}", self.value, self.theory) };
            keys.push(Key { mark: Mark::Line, colour, label });
        }
        keys
    }
}

/// A little further than the values, and 0 in it.
fn around(shown: &[&Shown]) -> std::ops::Range<f64> {
    let values = || shown.iter().flat_map(|shown| shown.value.into_iter().chain(shown.theory)).chain([0.0]);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let beyond = if most > least { (most - least) * 0.06 } else { 1.0 };
    least - beyond..most + beyond
}

/// Of what a plot is.
pub(super) fn subtitle(report: &RaceReport) -> String {
    let on = if report.points.iter().any(|point| !point.nodes.is_empty()) { "real nodes" } else { "the model alone" };
    let each = if report.points.len() > 1 { " each" } else { "" };
    format!("{}: {} trials{each} on {on}, seed {}", report.name, grouped(report.trials), report.seed)
}
