//! Holds counts against a baseline.

use std::fmt::Write as _;

use super::baseline::{Counts, Difference};

/// By how much a count may be over its baseline, in percent; and from how much below it on the baseline is called stale.
pub const TOLERANCE_PERCENT: u64 = 5;

/// What is said of one hot path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is about what it was.
    Same,
    /// It is over the baseline by more than the tolerance.
    Slower,
    /// It is below the baseline by more than the tolerance. That does not fail, but as long as the baseline is not written
    /// anew, it would let as much of it be lost again.
    Faster,
    /// It has no baseline.
    New,
    /// There is a baseline, but no such hot path.
    Unknown,
}

/// One hot path, then and now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its instructions in the baseline.
    pub baseline: Option<u64>,
    /// Its instructions now.
    pub now: Option<u64>,
    /// What is said of it.
    pub verdict: Verdict,
}

/// Counts held against a baseline.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The hot paths: those counted, in their order, then those that only the baseline knows.
    pub rows: Vec<Row>,
    /// How this machine differs from the baseline's. If it does, a slower path may be the compiler's doing.
    pub differences: Vec<Difference>,
    strict: bool,
}

impl Verdict {
    fn of(baseline: Option<u64>, now: Option<u64>) -> Self {
        let (baseline, now) = match (baseline, now) {
            (Some(baseline), Some(now)) => (u128::from(baseline), u128::from(now)),
            (None, _) => return Verdict::New,
            (Some(_), None) => return Verdict::Unknown,
        };
        let tolerance = u128::from(TOLERANCE_PERCENT);
        if now * 100 > baseline * (100 + tolerance) {
            Verdict::Slower
        } else if now * 100 < baseline * (100 - tolerance) {
            Verdict::Faster
        } else {
            Verdict::Same
        }
    }

    fn words(self) -> &'static str {
        match self {
            Verdict::Same => "ok",
            Verdict::Slower => "**slower**",
            Verdict::Faster => "faster: bless it",
            Verdict::New => "**no baseline**",
            Verdict::Unknown => "**no such benchmark**",
        }
    }
}

impl Comparison {
    /// Compares. `whole` says that every hot path was counted, so that a name that only the baseline has is an unknown one.
    /// With `strict`, a machine that differs from the baseline's is no excuse.
    pub fn new(baseline: &Counts, now: &Counts, whole: bool, strict: bool) -> Self {
        let row = |name: &String| {
            let (then, now) = (baseline.instructions.get(name).copied(), now.instructions.get(name).copied());
            Row { name: name.clone(), baseline: then, now, verdict: Verdict::of(then, now) }
        };
        let mut rows: Vec<_> = now.instructions.keys().map(row).collect();
        if whole {
            let unknown = baseline.instructions.keys().filter(|name| !now.instructions.contains_key(*name));
            rows.extend(unknown.map(row));
        }
        Comparison { rows, differences: baseline.environment.differences(&now.environment), strict }
    }

    /// Whether slower paths count: the counts were made with what the baseline was made with, or that is no excuse.
    fn gates(&self) -> bool {
        self.strict || self.differences.is_empty()
    }

    /// The names of all with this verdict.
    pub fn with(&self, verdict: Verdict) -> Vec<&str> {
        self.rows.iter().filter(|row| row.verdict == verdict).map(|row| row.name.as_str()).collect()
    }

    /// Whether nothing is wrong.
    pub fn passes(&self) -> bool {
        let names = self.with(Verdict::New).is_empty() && self.with(Verdict::Unknown).is_empty();
        names && (!self.gates() || self.with(Verdict::Slower).is_empty())
    }

    /// The table, and what there is to say about it, in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::from("| benchmark | baseline | now | change | verdict |\n|---|---:|---:|---:|---|\n");
        for Row { name, baseline, now, verdict } in &self.rows {
            let count = |count: &Option<u64>| count.map_or("-".to_owned(), grouped);
            let change = match (baseline, now) {
                (Some(baseline), Some(now)) if *baseline > 0 => {
                    format!("{:+.2} %", (*now as f64 / *baseline as f64 - 1.0) * 100.0)
                }
                _ => "-".to_owned(),
            };
            let (baseline, now, verdict) = (count(baseline), count(now), verdict.words());
            writeln!(text, "| {name} | {baseline} | {now} | {change} | {verdict} |").expect("a string takes it");
        }
        for line in self.remarks() {
            write!(text, "\n{line}\n").expect("a string takes it");
        }
        text
    }

    /// What is wrong and what to do about it, a paragraph each.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for Difference { what, baseline, here } in &self.differences {
            remarks.push(format!("The baseline was made with another {what}: {baseline}; here it is {here}."));
        }
        if !self.differences.is_empty() {
            remarks.push(if self.strict {
                "Counts move with these; all the same the gate is strict, and slower paths fail.".to_owned()
            } else {
                "Counts move with these, so slower paths are reported and do not fail here: `--strict` makes them."
                    .to_owned()
            });
        }
        let mut about = |verdict, says: String| {
            let names = self.with(verdict);
            if !names.is_empty() {
                remarks.push(format!("{says}: {}.", names.join(", ")));
            }
        };
        about(
            Verdict::Slower,
            format!(
                "Over {TOLERANCE_PERCENT} % slower. Mend it, or if it is worth its price, `ci/bench --bless` writes the new baseline"
            ),
        );
        about(
            Verdict::Faster,
            format!(
                "Over {TOLERANCE_PERCENT} % faster. This does not fail; `ci/bench --bless` writes the new baseline, so that it stays so"
            ),
        );
        about(Verdict::New, "Without a baseline, which `ci/bench --bless` writes".to_owned());
        about(
            Verdict::Unknown,
            "In the baseline, but no benchmark of this name: bring it back, or `ci/bench --bless`".to_owned(),
        );
        let (gated, passed) = (self.gates(), self.passes());
        remarks.push(format!(
            "The gate {}{}.",
            if passed { "passes" } else { "fails" },
            if gated { "" } else { " (slower paths were not gated)" }
        ));
        remarks
    }
}

/// A number with its digits in threes.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::baseline::Environment;
    use super::*;

    fn counts(rustc: &str, instructions: &[(&str, u64)]) -> Counts {
        let environment = Environment {
            rustc: rustc.to_owned(),
            target: "x86_64-unknown-linux-gnu".to_owned(),
            cc: "cc 12.2.0".to_owned(),
            libc: "glibc 2.36".to_owned(),
            valgrind: "valgrind-3.19.0".to_owned(),
        };
        let instructions = instructions.iter().map(|&(name, count)| (name.to_owned(), count)).collect();
        Counts { environment, instructions }
    }

    #[test]
    fn five_percent_are_allowed_and_not_one_instruction_more() {
        let of = |now| Verdict::of(Some(1_000_000), Some(now));
        assert_eq!(of(1_050_000), Verdict::Same);
        assert_eq!(of(1_050_001), Verdict::Slower);
        assert_eq!(of(950_000), Verdict::Same);
        assert_eq!(of(949_999), Verdict::Faster);
        assert_eq!(Verdict::of(Some(u64::MAX), Some(u64::MAX)), Verdict::Same);
        // A baseline of nothing allows nothing.
        assert_eq!(Verdict::of(Some(0), Some(1)), Verdict::Slower);
    }

    #[test]
    fn a_slower_path_fails_and_is_named() {
        let baseline = counts("rustc 1.95.0", &[("a/1", 1000), ("b/1", 2_000_000)]);
        let now = counts("rustc 1.95.0", &[("a/1", 1050), ("b/1", 2_150_000)]);
        let comparison = Comparison::new(&baseline, &now, true, false);
        assert!(!comparison.passes());
        assert_eq!(comparison.with(Verdict::Slower), ["b/1"]);
        let text = comparison.markdown();
        assert!(text.contains("| a/1 | 1,000 | 1,050 | +5.00 % | ok |\n"), "{text}");
        assert!(text.contains("| b/1 | 2,000,000 | 2,150,000 | +7.50 % | **slower** |\n"), "{text}");
        assert!(text.contains("`ci/bench --bless` writes the new baseline: b/1.\n"), "{text}");
        assert!(text.ends_with("The gate fails.\n"), "{text}");
    }

    #[test]
    fn a_faster_path_is_to_be_blessed_and_does_not_fail() {
        let (baseline, now) = (counts("rustc 1.95.0", &[("a/1", 1000)]), counts("rustc 1.95.0", &[("a/1", 900)]));
        let comparison = Comparison::new(&baseline, &now, true, false);
        assert!(comparison.passes());
        let text = comparison.markdown();
        assert!(text.contains("| a/1 | 1,000 | 900 | -10.00 % | faster: bless it |\n"), "{text}");
        assert!(text.ends_with("The gate passes.\n"), "{text}");
    }

    #[test]
    fn names_that_only_one_side_has_fail() {
        let (baseline, now) = (counts("rustc 1.95.0", &[("old/1", 5)]), counts("rustc 1.95.0", &[("new/1", 5)]));
        let comparison = Comparison::new(&baseline, &now, true, false);
        assert!(!comparison.passes());
        assert_eq!((comparison.with(Verdict::New), comparison.with(Verdict::Unknown)), (vec!["new/1"], vec!["old/1"]));
        let text = comparison.markdown();
        assert!(text.contains("| new/1 | - | 5 | - | **no baseline** |\n"), "{text}");
        assert!(text.contains("| old/1 | 5 | - | - | **no such benchmark** |\n"), "{text}");
        // Each of the two alone is enough, on another compiler too.
        let only_new = Comparison::new(&counts("rustc 1.96.0", &[]), &now, true, false);
        assert!(!only_new.passes());
        let only_old = Comparison::new(&baseline, &counts("rustc 1.96.0", &[]), true, false);
        assert!(!only_old.passes());
        // Where only some were asked for, the others are not missed.
        assert!(Comparison::new(&baseline, &counts("rustc 1.95.0", &[]), false, false).passes());
    }

    #[test]
    fn another_compiler_is_said_and_excuses_what_is_slower_unless_it_is_strict() {
        let (baseline, now) = (counts("rustc 1.95.0", &[("a/1", 1000)]), counts("rustc 1.96.0", &[("a/1", 2000)]));
        let lenient = Comparison::new(&baseline, &now, true, false);
        assert!(lenient.passes());
        let text = lenient.markdown();
        assert!(text.contains("made with another rustc: rustc 1.95.0; here it is rustc 1.96.0.\n"), "{text}");
        assert!(text.contains("| **slower** |") && text.contains("`--strict` makes them"), "{text}");
        assert!(text.ends_with("The gate passes (slower paths were not gated).\n"), "{text}");
        let strict = Comparison::new(&baseline, &now, true, true);
        assert!(!strict.passes());
        assert!(strict.markdown().ends_with("The gate fails.\n"));
    }

    #[test]
    fn digits_stand_in_threes() {
        assert_eq!([0, 999, 1000, 12_345_678].map(grouped), ["0", "999", "1,000", "12,345,678"]);
    }
}
