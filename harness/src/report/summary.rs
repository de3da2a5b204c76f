//! A suite in a few lines.

use std::fmt::Write as _;

use comfy_table::{Table, presets};
use indexmap::{IndexMap, IndexSet};

use super::model::{RunReport, SuiteReport, Verdict};

impl SuiteReport {
    /// How many runs ended how, and how long it took.
    pub fn totals_in_words(&self) -> String {
        let count = |verdict| self.totals.get(&verdict).copied().unwrap_or(0);
        let words = [
            (Verdict::Pass, "passed"),
            (Verdict::Fail, "failed"),
            (Verdict::Error, "ended with an error"),
            (Verdict::Inconclusive, "inconclusive"),
            (Verdict::Skip, "skipped"),
        ];
        let told = words.into_iter().filter(|(verdict, _)| *verdict == Verdict::Pass || count(*verdict) > 0);
        let told: Vec<_> = told.map(|(verdict, word)| format!("{} {word}", count(verdict))).collect();
        let (seconds, tenths) = (self.duration_ms / 1000, self.duration_ms % 1000 / 100);
        format!("{} in {seconds}.{tenths} s", told.join(", "))
    }

    /// The totals, what was skipped or showed nothing with its reason, and a table of scenarios by cells where there are
    /// both.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        if let Some(table) = self.matrix() {
            text.push_str(&format!("{table}\n\n"));
        }
        for run in self.runs.iter().filter(|run| matches!(run.verdict, Verdict::Skip | Verdict::Inconclusive)) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}: {}: {}", run.verdict.word(), run.title(), run.failures.join("; "));
        }
        let _ = writeln!(text, "{}", self.totals_in_words());
        text
    }

    /// Scenarios by cells, if some have the same cells.
    fn matrix(&self) -> Option<Table> {
        let cell = |run: &RunReport| run.cell.values().cloned().collect::<Vec<_>>().join(", ");
        let columns: IndexSet<String> = self.runs.iter().filter(|run| !run.cell.is_empty()).map(cell).collect();
        if columns.is_empty() || columns.len() > 6 {
            return None;
        }
        let mut rows: IndexMap<&str, IndexMap<String, Verdict>> = IndexMap::new();
        for run in self.runs.iter().filter(|run| !run.cell.is_empty()) {
            let verdict = rows.entry(&run.scenario).or_default().entry(cell(run)).or_insert(run.verdict);
            *verdict = run.verdict.max(*verdict);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["scenario".to_owned()].into_iter().chain(columns.iter().cloned()));
        for (scenario, verdicts) in rows {
            let word = |column: &String| verdicts.get(column).map_or("", |verdict| verdict.word()).to_owned();
            table.add_row([scenario.to_owned()].into_iter().chain(columns.iter().map(word)));
        }
        Some(table)
    }
}
