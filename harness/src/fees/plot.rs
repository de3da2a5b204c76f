//! What factories cost, as SVG. The same report gives the same bytes.

use factory_core::LockKind;

use super::report::{FactoryReport, FeesReport, Way};
use crate::plot::canvas::{self, COLOURS, Frame, Key, Mark};
use crate::plot::{Plot, PlotError};
use crate::report::grouped;

/// The points of one kind over the numbers of members.
struct Series {
    title: String,
    colour: usize,
    /// Another mark for each lock.
    mark: usize,
    /// The place of the number of members, and the value.
    points: Vec<(usize, f64)>,
}

/// What a plot shows of a factory: a name for each value.
type Values = fn(&FactoryReport) -> Vec<(String, f64)>;

/// What can be drawn: `saved`, which part of the chain space each way saves of that of separate channels; `size`, the chain
/// space per member; `close-fee`, what the factory close pays per member, by the exact rule and by its size.
///
/// Each lock has series of its own. Of several versions and feerates the first is drawn that there is.
///
/// # Errors
///
/// [`PlotError`], if it cannot be drawn.
pub fn plots(report: &FeesReport) -> Result<Vec<Plot>, PlotError> {
    let drawn: [(&str, &str, &str, Values); 3] = [
        ("saved", "The chain space that a factory saves", "saved of separate channels, %", |factory| {
            let ways = factory.ways.iter().filter(|way| way.way != Way::Separate);
            ways.map(|way| (told(way.way).to_owned(), way.vb_saved_of_separate * 100.0)).collect()
        }),
        ("size", "The chain space that a member takes", "vB per member", |factory| {
            factory.ways.iter().map(|way| (told(way.way).to_owned(), way.vb_per_member)).collect()
        }),
        ("close-fee", "What the factory close pays", "sat per member", |factory| {
            let (fee, members) = (&factory.factory_close, f64::from(factory.shape.members));
            vec![
                ("by the exact rule".to_owned(), fee.exact_sat as f64 / members),
                ("what its size costs".to_owned(), fee.by_size_sat as f64 / members),
            ]
        }),
    ];
    let factories = shown(report);
    let Some(first) = factories.first() else { return Ok(Vec::new()) };
    let subtitle =
        format!("version {}, {} sat/vB, seed {}", first.shape.version, first.shape.sat_per_vb(), report.seed);
    let plot = |(name, title, y_title, values): (&'static str, &str, &str, Values)| {
        Ok(Plot { name, svg: draw(title, &subtitle, y_title, &factories, values)? })
    };
    drawn.into_iter().map(plot).collect()
}

fn told(way: Way) -> &'static str {
    match way {
        Way::Cooperative => "cooperative: F and FC",
        Way::Fallback => "fallback: F, A and every C",
        Way::Unilateral => "unilateral: F, A and every R",
        Way::Batched => "no factory, one open",
        Way::Separate => "no factory",
    }
}

/// One factory for each lock and number of members.
fn shown(report: &FeesReport) -> Vec<&FactoryReport> {
    let mut shown: Vec<&FactoryReport> = Vec::new();
    for factory in &report.factories {
        let same = |other: &&FactoryReport| {
            (other.shape.lock, other.shape.members) == (factory.shape.lock, factory.shape.members)
        };
        if !shown.iter().any(same) {
            shown.push(factory);
        }
    }
    shown
}

fn draw(
    title: &str,
    subtitle: &str,
    y_title: &str,
    factories: &[&FactoryReport],
    values: Values,
) -> Result<String, PlotError> {
    let mut members: Vec<u32> = factories.iter().map(|factory| factory.shape.members).collect();
    members.sort_unstable();
    members.dedup();
    let names: Vec<String> = members.iter().map(|&members| grouped(members.into())).collect();
    let all = series(factories, &members, values);
    let values = || all.iter().flat_map(|series| series.points.iter().map(|(_, value)| *value)).chain([0.0]);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let beyond = if most > least { (most - least) * 0.06 } else { 1.0 };
    let keys: Vec<Key> = all
        .iter()
        .map(|series| Key {
            mark: Mark::Value(series.mark),
            colour: COLOURS[series.colour % COLOURS.len()],
            label: series.title.clone(),
        })
        .collect();
    let frame = Frame {
        title,
        subtitle,
        x_title: "members",
        y_title,
        x: -0.5..members.len() as f64 - 0.5,
        y: least - beyond..most + beyond,
        names: Some(&names),
        y_label: &canvas::number,
        keys: &keys,
    };
    frame.draw(|area, at| {
        for (number, series) in all.iter().enumerate() {
            let colour = COLOURS[series.colour % COLOURS.len()];
            let beside = canvas::beside(number, all.len());
            let place = |&(place, value): &(usize, f64)| {
                let (x, y) = at(place as f64, value);
                (x + beside, y)
            };
            let places: Vec<_> = series.points.iter().map(place).collect();
            if places.len() > 1 {
                canvas::line(area, colour, places.clone())?;
            }
            for (x, y) in places {
                canvas::value(area, series.mark, colour, x, [y, y, y])?;
            }
        }
        Ok(())
    })
}

/// A series for each lock and name, from few members to many.
fn series(factories: &[&FactoryReport], members: &[u32], values: Values) -> Vec<Series> {
    let mut locks: Vec<LockKind> = Vec::new();
    for factory in factories {
        if !locks.contains(&factory.shape.lock) {
            locks.push(factory.shape.lock);
        }
    }
    let mut all: Vec<Series> = Vec::new();
    for factory in factories {
        let lock = factory.shape.lock;
        let mark = locks.iter().position(|other| *other == lock).unwrap_or(0);
        let Ok(place) = members.binary_search(&factory.shape.members) else { continue };
        for (colour, (name, value)) in values(factory).into_iter().enumerate() {
            let title = if locks.len() > 1 { format!("{name}, {lock}") } else { name };
            match all.iter_mut().find(|series| series.title == title) {
                Some(series) => series.points.push((place, value)),
                None => all.push(Series { title, colour, mark, points: vec![(place, value)] }),
            }
        }
    }
    for series in &mut all {
        series.points.sort_by_key(|(place, _)| *place);
    }
    all
}
