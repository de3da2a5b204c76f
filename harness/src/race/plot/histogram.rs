//! How long it takes until a side is confirmed.

use plotters::prelude::{Color as _, Rectangle};

use super::super::language::Side;
use super::super::report::{Point, RaceReport};
use super::points::subtitle;
use crate::plot::PlotError;
use crate::plot::canvas::{self, COLOURS, Frame, Key, Mark};

/// How many bins there are at most.
const MOST_BINS: f64 = 30.0;
const MINUTE_MS: f64 = 60_000.0;

/// In how many trials it took how long, by the side that was confirmed; nothing, if there are no such trials.
pub(super) fn confirmation(report: &RaceReport, point: &Point) -> Result<Option<String>, PlotError> {
    let times = |side| {
        let trials = point.records.iter().filter(move |trial| trial.winner == Some(side));
        trials.map(|trial| trial.time_ms as f64 / MINUTE_MS)
    };
    let sides =
        [(Side::FactoryClose, "the factory close is confirmed"), (Side::Allocation, "the allocation is confirmed")];
    let Some(last) = sides.iter().flat_map(|(side, _)| times(*side)).max_by(f64::total_cmp) else {
        return Ok(None);
    };
    let width = step(last / MOST_BINS);
    let bins = (last / width) as usize + 1;
    let mut counts = [vec![0_u32; bins], vec![0_u32; bins]];
    for ((side, _), counts) in sides.iter().zip(&mut counts) {
        for time in times(*side) {
            counts[((time / width) as usize).min(bins - 1)] += 1;
        }
    }
    let [first, second] = &counts;
    let most = first.iter().zip(second).map(|(first, second)| first + second).max().unwrap_or(1);
    let keys = sides.iter().zip(COLOURS).zip(&counts).filter(|(_, counts)| counts.iter().any(|count| *count > 0));
    let keys = keys.map(|(((_, label), colour), _)| Key { mark: Mark::Box, colour, label: (*label).to_owned() });
    let frame = Frame {
        title: "How long it takes until a side is confirmed",
        subtitle: &subtitle(report),
        x_title: &format!("simulated time, min (in steps of {} min)", canvas::number(width)),
        y_title: "trials",
        x: 0.0..bins as f64 * width,
        y: 0.0..f64::from(most) * 1.05,
        names: None,
        // There are no parts of trials.
        y_label: &|value| if value.fract() == 0.0 { canvas::number(value) } else { String::new() },
        keys: &keys.collect::<Vec<_>>(),
    };
    let svg = frame.draw(|area, at| {
        for bin in 0..bins {
            let mut below = 0.0;
            for (counts, colour) in counts.iter().zip(COLOURS) {
                let above = below + f64::from(counts[bin]);
                if above > below {
                    let ((left, top), (right, bottom)) =
                        (at(bin as f64 * width, above), at((bin + 1) as f64 * width, below));
                    area.draw(&Rectangle::new([(left + 1, top), (right - 1, bottom)], colour.filled()))?;
                }
                below = above;
            }
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

/// The least of …, 0.1, 0.2, 0.5, 1, 2, 5, 10, … that is not below a number.
fn step(least: f64) -> f64 {
    if least <= 0.0 {
        return 1.0;
    }
    let tens = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * tens).find(|step| *step >= least).unwrap_or(10.0 * tens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        for (least, expected) in [(0.3, 0.5), (1.0, 1.0), (1.1, 2.0), (7.0, 10.0), (45.0, 50.0), (0.0, 1.0)] {
            assert!((step(least) - expected).abs() < 1e-12, "{least}: found {}", step(least));
        }
    }
}
