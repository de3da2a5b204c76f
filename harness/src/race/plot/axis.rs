//! Where the points of a report lie in a plot.

use super::super::report::{Point, RaceReport};
use crate::scenario::Span;

/// The axis that goes to the right: the matrix's first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    /// What it shows, with its unit.
    pub(super) title: String,
    /// Where each point of the report lies on it.
    pub(super) places: Vec<f64>,
    /// What its values 0, 1, 2, … are called, if they are no numbers, or some are too near to each other.
    pub(super) names: Option<Vec<String>>,
}

/// The points that differ in nothing but the first axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    /// What they have in common; empty, if there is only one series.
    pub(super) title: String,
    /// Which points of the report they are, from left to right.
    pub(super) points: Vec<usize>,
}

impl Axis {
    /// The first axis of a report's matrix.
    pub(super) fn of(report: &RaceReport) -> Self {
        let name = report.axes().first().copied().unwrap_or_default();
        let texts: Vec<&str> =
            report.points.iter().map(|point| point.axes.get(name).map(String::as_str).unwrap_or_default()).collect();
        match measures(&texts) {
            Some((places, unit)) if !is_crowded(&places) => {
                let title = if unit.is_empty() { name.to_owned() } else { format!("{name}, {unit}") };
                Axis { title, places, names: None }
            }
            _ => Axis::categories(name, &texts),
        }
    }

    fn categories(name: &str, texts: &[&str]) -> Self {
        let mut names: Vec<String> = Vec::new();
        let place = |text: &&str| {
            let known = names.iter().position(|name| name == text);
            let place = known.unwrap_or_else(|| {
                names.push((*text).to_owned());
                names.len() - 1
            });
            place as f64
        };
        let places = texts.iter().map(place).collect();
        Axis { title: name.to_owned(), places, names: Some(names) }
    }

    /// From where to where it goes: a little further than the points.
    pub(super) fn range(&self) -> std::ops::Range<f64> {
        let least = self.places.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.places.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let beyond = match self.names {
            Some(_) => 0.5,
            None if most > least => (most - least) * 0.05,
            None => 1.0,
        };
        least - beyond..most + beyond
    }
}

impl Series {
    /// The series of a report, in the order of its matrix.
    pub(super) fn all(report: &RaceReport, axis: &Axis) -> Vec<Self> {
        let mut all: Vec<Series> = Vec::new();
        for (index, point) in report.points.iter().enumerate() {
            let title = others(point);
            match all.iter_mut().find(|series| series.title == title) {
                Some(series) => series.points.push(index),
                None => all.push(Series { title, points: vec![index] }),
            }
        }
        for series in &mut all {
            series.points.sort_by(|a, b| axis.places[*a].total_cmp(&axis.places[*b]));
        }
        all
    }
}

/// The values of all axes but the first.
fn others(point: &Point) -> String {
    let values: Vec<_> = point.axes.iter().skip(1).map(|(place, value)| format!("{place} = {value}")).collect();
    values.join(", ")
}

/// Whether two of these numbers would be drawn over each other, as 1, 2 and 1,000 are.
fn is_crowded(numbers: &[f64]) -> bool {
    /// The least distance, as a part of the whole axis.
    const LEAST: f64 = 0.02;
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.dedup();
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
        return false;
    };
    sorted.windows(2).any(|pair| pair[1] - pair[0] < (last - first) * LEAST)
}

/// The numbers in these texts, and the unit that they have in common; `None`, if one is no number, or the units differ.
fn measures(texts: &[&str]) -> Option<(Vec<f64>, String)> {
    let measures: Vec<(f64, String)> = texts.iter().map(|text| measure(text)).collect::<Option<_>>()?;
    let (_, unit) = measures.first()?.clone();
    let same = measures.iter().all(|(_, other)| *other == unit);
    same.then(|| (measures.into_iter().map(|(number, _)| number).collect(), unit))
}

/// The number in a text such as `50 %`, `1_000 vB` or `7`, and its unit. Times are in seconds, whatever their unit is.
fn measure(text: &str) -> Option<(f64, String)> {
    if let Ok(Span(milliseconds)) = text.parse() {
        return Some((milliseconds as f64 / 1_000.0, "s".to_owned()));
    }
    let text = text.trim();
    let end = text.find(|character: char| !matches!(character, '0'..='9' | '.' | '_' | '-')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.replace('_', "").parse().ok()?;
    // `1e6x` or `3-of-5` are names that begin with a digit; a unit is one word.
    let unit = unit.trim();
    let is_unit = !unit.contains(char::is_whitespace) && !unit.contains(|character: char| character.is_ascii_digit());
    is_unit.then(|| (number, unit.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_unit() {
        for (texts, expected) in [
            (&["0 %", "50 %", "100%"][..], Some((vec![0.0, 50.0, 100.0], "%"))),
            (&["1 sat/vB", "0.5 sat/vB"], Some((vec![1.0, 0.5], "sat/vB"))),
            (&["0 s", "10 s", "10 min", "1 h"], Some((vec![0.0, 10.0, 600.0, 3_600.0], "s"))),
            (&["3", "1_000"], Some((vec![3.0, 1_000.0], ""))),
            (&["200_000 WU"], Some((vec![200_000.0], "WU"))),
            (&["core-30", "core-31"], None),
            (&["10 s", "10 %"], None),
            (&["{ constant: 1 sat/vB }"], None),
            (&["template", "10"], None),
            (&["3-of-5"], None),
            (&[""], None),
        ] {
            let expected = expected.map(|(numbers, unit)| (numbers, unit.to_owned()));
            assert_eq!(measures(texts), expected, "{texts:?}");
        }
    }

    #[test]
    fn near_numbers_are_crowded() {
        for (numbers, crowded) in
            [(&[0.0, 10.0, 600.0, 10.0][..], true), (&[0.0, 50.0, 50.0, 100.0], false), (&[7.0], false), (&[], false)]
        {
            assert_eq!(is_crowded(numbers), crowded, "{numbers:?}");
        }
    }

    #[test]
    fn what_is_no_number_has_its_place_in_order() {
        let axis = Axis::categories("kind", &["core-31", "core-30", "core-31"]);
        assert_eq!(axis.places, [0.0, 1.0, 0.0]);
        assert_eq!(axis.names, Some(vec!["core-31".to_owned(), "core-30".to_owned()]));
        assert_eq!(axis.range(), -0.5..1.5);
    }
}
