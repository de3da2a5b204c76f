//! What an experiment shows, as SVG. The same report gives the same bytes.

mod axis;
mod histogram;
mod points;

use super::report::RaceReport;
pub use crate::plot::{Plot, PlotError};

/// What can be drawn of an experiment.
///
/// With a matrix, `wins`: how often the factory close is confirmed, over the matrix's first axis, and a series for each
/// combination of the others; and `margin`: what the factory close is worth to rational miners, if there are any. With a
/// single point, `confirmation`: how long it took until a side was confirmed, if the trials are kept.
///
/// # Errors
///
/// [`PlotError`], if it cannot be drawn.
pub fn plots(report: &RaceReport) -> Result<Vec<Plot>, PlotError> {
    let drawn = match report.points.as_slice() {
        [] => Vec::new(),
        [point] => vec![("confirmation", histogram::confirmation(report, point)?)],
        _ => vec![("wins", points::wins(report)?), ("margin", points::margin(report)?)],
    };
    Ok(drawn.into_iter().filter_map(|(name, svg)| Some(Plot { name, svg: svg? })).collect())
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn names(report: &RaceReport) -> Vec<&'static str> {
        plots(report).unwrap().iter().map(|plot| plot.name).collect()
    }

    #[test]
    fn what_is_drawn_depends_on_what_there_is() {
        let mut report = samples::matrix(&["0 sat/vB", "1 sat/vB"]);
        assert_eq!(names(&report), ["wins", "margin"]);
        report.points.iter_mut().for_each(|point| point.margin = None);
        assert_eq!(names(&report), ["wins"]);
        assert_eq!(names(&samples::single()), ["confirmation"]);
        assert_eq!(names(&samples::single().without_records()), [""; 0]);
        report.points.clear();
        assert_eq!(names(&report), [""; 0]);
    }

    #[test]
    fn the_same_report_gives_the_same_bytes() {
        for report in [samples::matrix(&["0 sat/vB", "1 sat/vB"]), samples::single(), samples::kinds()] {
            assert_eq!(plots(&report).unwrap(), plots(&report).unwrap());
        }
    }

    #[test]
    fn titles_units_and_keys_are_text() {
        let plot = &plots(&samples::matrix(&["0 sat/vB", "1 sat/vB"])).unwrap()[0];
        for text in [
            "How often the factory close is confirmed",
            "miners.alice.share, %",
            "trials, %",
            "factory.premium = 0 sat/vB",
            "factory.premium = 1 sat/vB",
            "a sample: 200 trials each on the model alone, seed 7",
        ] {
            assert!(plot.svg.contains(&format!("\n{text}\n</text>")), "there is no {text}");
        }
    }

    #[test]
    fn a_mark_stands_where_its_value_is() {
        // Of five points from 0 to 100 % the middle one is in the middle, whatever the plot's size is.
        let mut report = samples::matrix(&["0 sat/vB"]);
        report.points.iter_mut().for_each(|point| point.predicted_rate = None);
        let plot = &plots(&report).unwrap()[0];
        let places: Vec<(i32, i32)> = plot
            .svg
            .lines()
            .filter_map(|line| {
                let (_, rest) = line.split_once("<circle cx=\"")?;
                let (x, rest) = rest.split_once("\" cy=\"")?;
                Some((x.parse().ok()?, rest.split_once('"')?.0.parse().ok()?))
            })
            .collect();
        // The last circle is the key's.
        assert_eq!(places.len(), 6);
        assert_eq!(places[2].0 - places[0].0, places[4].0 - places[2].0);
        let middle = (places[0].1 + places[4].1) / 2;
        assert!((places[2].1 - middle).abs() <= 1, "{places:?}");
        assert!(places[0].1 > places[4].1, "more is further up: {places:?}");
    }
}
