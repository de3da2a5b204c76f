//! A suite as Markdown, for the page of a CI job.

use std::fmt::Write as _;

use super::model::{RunReport, SuiteReport, Verdict};

/// A suite as Markdown: the totals, a table of the runs, and what did not pass in detail.
pub fn markdown(suite: &SuiteReport) -> String {
    let mut page = format!("## Shopfloor: {}\n\n{}\n\n", suite.verdict.word(), suite.totals_in_words());
    page.push_str("| verdict | scenario | seed | s |\n|---|---|--:|--:|\n");
    for run in &suite.runs {
        let (title, seconds) = (cell(&run.title()), seconds(run));
        let verdict =
            if run.verdict == Verdict::Pass { "pass".to_owned() } else { format!("**{}**", run.verdict.word()) };
        // Writing to a string cannot fail; so it is below.
        let _ = writeln!(page, "| {verdict} | {title} | {} | {seconds} |", run.seed);
    }
    for run in suite.runs.iter().filter(|run| run.verdict != Verdict::Pass) {
        let _ = write!(page, "\n<details><summary>{}: {}</summary>\n\n", run.verdict.word(), escaped(&run.title()));
        for failure in &run.failures {
            let _ = writeln!(page, "- {}", escaped(failure).replace('\n', "<br>"));
        }
        let _ = write!(page, "\nAgain:\n\n{}\n\n</details>\n", code(&run.replay));
    }
    page
}

fn seconds(run: &RunReport) -> String {
    format!("{}.{:02}", run.duration_ms / 1000, run.duration_ms % 1000 / 10)
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    escaped(text).replace(['\n', '\r'], " ")
}

/// A text of which nothing means anything to Markdown or HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' | '~' | '!' => {
                // Numbers of characters are understood by Markdown everywhere, in tables too.
                let _ = write!(out, "&#{};", u32::from(character));
            }
            other => out.push(other),
        }
    }
    out
}

/// A block of code, fenced by more backticks than there are in it.
fn code(text: &str) -> String {
    let longest = text.split(|character| character != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(3.max(longest + 1));
    format!("{fence}\n{text}\n{fence}")
}
