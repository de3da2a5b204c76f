//! What experiments show, as a table in a Markdown file.

use comfy_table::presets;

use super::report::{Point, RaceReport};
use super::text::table;

/// A table of the points of all experiments; with a column for each axis of the matrix, if there is only one experiment.
pub fn markdown(reports: &[RaceReport]) -> String {
    let points = reports.iter().flat_map(|report| report.points.iter().map(move |point| (report, point)));
    let (titles, rows): (_, Vec<(Vec<String>, &Point)>) = match reports {
        [report] => (report.axes(), report.points.iter().map(|point| (report.axis_values(point), point)).collect()),
        // Different experiments have different axes.
        _ => {
            let rows = points.map(|(report, point)| (vec![report.name.clone(), point.title()], point));
            (vec!["experiment", "where"], rows.collect())
        }
    };
    let escaped = |values: Vec<String>| values.into_iter().map(|value| value.replace('|', "&#124;")).collect();
    let rows: Vec<_> = rows.into_iter().map(|(values, point)| (escaped(values), point)).collect();
    let mut page = format!("{}\n", table(&titles, &rows, presets::ASCII_MARKDOWN));
    for note in reports.iter().filter_map(|report| note(report, reports.len() > 1)) {
        page.push_str(&format!("\n{note}\n"));
    }
    page
}

fn note(report: &RaceReport, is_named: bool) -> Option<String> {
    let note = report.block_weight.as_ref()?;
    Some(if is_named { format!("In {}, {note}.", report.name) } else { format!("Here {note}.") })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn one_experiment_has_its_axes_and_several_have_their_names() {
        let mut first = samples::matrix(&["0 sat/vB"]);
        first.points.truncate(2);
        first.block_weight = Some("blocks are small".to_owned());
        insta::assert_snapshot!(markdown(std::slice::from_ref(&first)), @"
        | miners.alice.share | factory close, % (95 %) | predicted, % |        blocks |         time, min | stale | Δ (formula), sat |
        |--------------------|-------------------------|--------------|---------------|-------------------|-------|------------------|
        | 0 %                |           0.0 (0.0–1.9) |          0.0 | 1.6 (1.0–3.0) | 74.4 (25.5–122.8) |     1 |        -80 (-80) |
        | 25 %               |        29.5 (23.6–36.2) |         25.0 | 1.6 (1.0–3.0) | 74.4 (25.5–122.8) |     1 |          -5 (-5) |

        Here blocks are small.
        ");
        insta::assert_snapshot!(markdown(&[first, samples::single()]), @"
        | experiment | where                   | factory close, % (95 %) | predicted, % |        blocks |         time, min | stale | Δ (formula), sat | model differs |
        |------------|-------------------------|-------------------------|--------------|---------------|-------------------|-------|------------------|---------------|
        | a sample   | miners.alice.share=0 %  |           0.0 (0.0–1.9) |          0.0 | 1.6 (1.0–3.0) | 74.4 (25.5–122.8) |     1 |        -80 (-80) |               |
        | a sample   | miners.alice.share=25 % |        29.5 (23.6–36.2) |         25.0 | 1.6 (1.0–3.0) | 74.4 (25.5–122.8) |     1 |          -5 (-5) |               |
        | a sample   |                         |        60.0 (53.1–66.5) |              | 1.6 (1.0–3.0) | 74.4 (25.5–122.8) |     1 |          20 (20) |             0 |

        In a sample, blocks are small.
        ");
    }
}
