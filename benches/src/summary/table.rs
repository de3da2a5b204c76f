//! The Markdown table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::fit::{Growth, growth};
use super::{BySize, Measured, by_operation};

/// Who has a column. What is measured beside them stands in the last one.
const COLUMNS: [&str; 4] = ["ours", "floor", "musig2", "schnorr_fun"];

/// Growth above this is pointed out.
pub const MOST_GROWTH: f64 = 1.1;

/// All operations over their N, and a list of those that grow faster than [`MOST_GROWTH`].
pub fn markdown(measured: &[Measured]) -> String {
    let mut text = String::from(
        "| operation | N | ours | floor | musig2 | schnorr_fun | ours ÷ floor | spread | growth | beside |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    let mut steep = Vec::new();
    for (operation, sizes) in by_operation(measured) {
        let growth = growth_of(&sizes, "ours");
        if let Some(growth) = growth.filter(|growth| growth.fitted > MOST_GROWTH) {
            steep.push(format!("`{operation}` ({:.2})", growth.fitted));
        }
        for (index, (size, by_whom)) in sizes.iter().enumerate() {
            let (name, growth) = if index == 0 { (operation, growth) } else { ("", None) };
            writeln!(text, "| {name} | {} |{}", grouped(*size), row(by_whom, growth)).expect("a string takes it");
        }
    }
    text.push('\n');
    match steep.as_slice() {
        [] => text.push_str("Nothing of ours grows faster than N^1.1.\n"),
        steep => writeln!(text, "Growing faster than N^1.1: {}.", steep.join(", ")).expect("a string takes it"),
    }
    text
}

fn growth_of(sizes: &BySize<'_>, who: &str) -> Option<Growth> {
    let point = |(size, by_whom): (&u32, &BTreeMap<&str, &Measured>)| {
        by_whom.get(who).map(|one| (f64::from(*size), one.median))
    };
    growth(&sizes.iter().filter_map(point).collect::<Vec<_>>())
}

/// All of a row after its N.
fn row(by_whom: &BTreeMap<&str, &Measured>, growth: Option<Growth>) -> String {
    let mut cells: Vec<String> =
        COLUMNS.iter().map(|who| by_whom.get(who).map(|one| time(one.median)).unwrap_or_default()).collect();
    let ratio = by_whom.get("ours").zip(by_whom.get("floor")).map(|(ours, floor)| ours.median / floor.median);
    cells.push(ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default());
    // The worst of the row: a ratio is no better than the noisier of its two.
    let spread = by_whom.values().map(|one| one.spread()).fold(0.0, f64::max);
    cells.push(format!("{:.1} %", spread * 100.0));
    cells.push(growth.map(|growth| format!("{:.2} ({:.2})", growth.fitted, growth.last)).unwrap_or_default());
    let beside = by_whom.iter().filter(|(who, _)| !COLUMNS.contains(who));
    let beside: Vec<_> = beside.map(|(who, one)| format!("{who}: {}", time(one.median))).collect();
    cells.push(beside.join(", "));
    cells.iter().fold(String::new(), |row, cell| format!("{row} {cell} |"))
}

/// A time with three digits and its unit.
fn time(nanoseconds: f64) -> String {
    let units = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
    let (unit, size) = units.into_iter().rev().find(|(_, size)| nanoseconds >= *size).unwrap_or(units[0]);
    let value = nanoseconds / size;
    let digits = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

/// A number with its thousands apart.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("they are digits")).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(who: &str, size: u32, median: f64) -> Measured {
        let operation = "signing: nonce aggregation".to_owned();
        Measured {
            operation,
            who: who.to_owned(),
            size: Some(size),
            median,
            deviation: median / 50.0,
            interval: (median, median),
        }
    }

    #[test]
    fn a_row_has_every_column_and_the_ratio() {
        let found = markdown(&[
            measured("ours", 10, 1_250.0),
            measured("floor", 10, 1_000.0),
            measured("every share", 10, 2_000_000.0),
            measured("ours", 100, 12_500.0),
            measured("ours", 1_000, 125_000.0),
        ]);
        let expected = [
            "| operation | N | ours | floor | musig2 | schnorr_fun | ours ÷ floor | spread | growth | beside |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
            "| signing: nonce aggregation | 10 | 1.25 µs | 1.00 µs |  |  | 1.25 | 2.0 % | 1.00 (1.00) | every share: 2.00 ms |",
            "|  | 100 | 12.5 µs |  |  |  |  | 2.0 % |  |  |",
            "|  | 1,000 | 125 µs |  |  |  |  | 2.0 % |  |  |",
            "",
            "Nothing of ours grows faster than N^1.1.",
        ];
        assert_eq!(found.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_grows_too_fast_is_named() {
        let found = markdown(&[1, 10, 100].map(|size| measured("ours", size, f64::from(size).powf(1.5))));
        assert!(found.ends_with("\nGrowing faster than N^1.1: `signing: nonce aggregation` (1.50).\n"), "{found}");
    }

    #[test]
    fn times_have_three_digits() {
        let expected =
            [(0.5, "0.50 ns"), (999.0, "999 ns"), (1_000.0, "1.00 µs"), (99_960.0, "100 µs"), (2.5e9, "2.50 s")];
        for (nanoseconds, text) in expected {
            assert_eq!(time(nanoseconds), text);
        }
        assert_eq!([7, 999, 2_322, 1_000_000].map(grouped), ["7", "999", "2,322", "1,000,000"]);
    }
}
