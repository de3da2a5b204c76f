//! What happened in a run, with a column for each node.

use indexmap::IndexMap;

use super::super::model::{Entry, Happening, RunReport};
use super::Page;

/// With more nodes than this, they share a column.
const LANES: usize = 4;
/// How many entries are shown.
const ENTRIES: usize = 600;
/// How many names are shown of a list.
const NAMES: usize = 12;

pub(super) fn timeline(page: &mut Page, run: &RunReport) {
    if run.timeline.is_empty() {
        return;
    }
    let nodes: Vec<&str> = run.nodes.keys().map(String::as_str).collect();
    let lanes: IndexMap<&str, usize> = match nodes.len() {
        0..=LANES => nodes.iter().enumerate().map(|(lane, node)| (*node, lane)).collect(),
        _ => IndexMap::new(),
    };
    let columns = lanes.len().max(1);
    page.raw("<details class=\"timeline\"><summary>Timeline</summary>\n<div class=\"wide\"><table>\n<thead><tr>");
    page.raw("<th scope=\"col\">height</th><th scope=\"col\">parties</th>");
    match lanes.is_empty() {
        true => page.raw("<th scope=\"col\">nodes</th>"),
        false => lanes.keys().for_each(|node| page.element("th", "", node)),
    }
    page.raw("</tr></thead>\n<tbody>\n");
    let mut last: Option<&Entry> = None;
    let mut alike = 0;
    for entry in run.timeline.iter().take(ENTRIES) {
        if last.is_some_and(|last| last.step == entry.step && are_alike(&last.what, &entry.what)) {
            alike += 1;
            continue;
        }
        more(page, std::mem::take(&mut alike), columns);
        if last.is_none_or(|last| last.step != entry.step) {
            header(page, run, entry.step, columns + 2);
        }
        row(page, entry, &lanes, columns);
        last = Some(entry);
    }
    more(page, alike, columns);
    if run.timeline.len() > ENTRIES {
        let more = run.timeline.len() - ENTRIES;
        page.raw(&format!(
            "<tr><td colspan=\"{}\">… and {more} more entries, in the JSON report</td></tr>\n",
            columns + 2
        ));
    }
    page.raw("</tbody></table></div>\n</details>\n");
}

/// Whether two parties say the same of themselves, numbers aside.
fn are_alike(one: &Happening, other: &Happening) -> bool {
    let bare = |text: &str| text.chars().filter(|character| !character.is_ascii_digit()).collect::<String>();
    match (one, other) {
        (Happening::Event { party: one, text: this }, Happening::Event { party: other, text: that }) => {
            bare(one) == bare(other) && bare(this) == bare(that)
        }
        _ => false,
    }
}

fn more(page: &mut Page, alike: usize, columns: usize) {
    if alike > 0 {
        let row = format!("<td></td><td>… and {alike} more alike</td><td colspan=\"{columns}\"></td>");
        page.raw(&format!("<tr class=\"messages\">{row}</tr>\n"));
    }
}

fn header(page: &mut Page, run: &RunReport, step: Option<usize>, columns: usize) {
    page.raw(&format!("<tr class=\"step\"><th colspan=\"{columns}\" scope=\"colgroup\">"));
    match step.and_then(|number| Some((number, run.steps.get(number)?))) {
        Some((number, step)) => {
            page.text(format!("{}. {}", number + 1, step.step));
            let line = step.line.map(|line| format!("line {line}, ")).unwrap_or_default();
            page.raw(" <span class=\"quiet\">");
            page.text(format!("{line}{} ms", step.duration_ms));
            page.raw("</span>");
        }
        None => page.text(if step.is_none() && run.steps.is_empty() { "start" } else { "before and after the steps" }),
    }
    page.raw("</th></tr>\n");
}

fn row(page: &mut Page, entry: &Entry, lanes: &IndexMap<&str, usize>, columns: usize) {
    let (class, node, text) = told(&entry.what);
    page.raw(&format!("<tr class=\"{class}\">"));
    page.element("td", "height", entry.height);
    let lane = node.map(|node| lanes.get(node).copied().unwrap_or(0));
    page.raw("<td>");
    if lane.is_none() {
        page.text(&text);
    }
    page.raw("</td>");
    for column in 0..columns {
        page.raw("<td>");
        if lane == Some(column) {
            if let (true, Some(node)) = (lanes.is_empty(), node) {
                page.text(format!("{node}: "));
            }
            page.text(&text);
        }
        page.raw("</td>");
    }
    page.raw("</tr>\n");
}

/// The sort of an entry, the node that it is about, and what it says.
fn told(what: &Happening) -> (&'static str, Option<&str>, String) {
    match what {
        Happening::Messages { what, from, to, count, lost } => {
            let lost = if *lost > 0 { format!(", {lost} lost") } else { String::new() };
            ("messages", None, format!("{from} → {to}: {count} × {what}{lost}"))
        }
        Happening::Event { party, text } => ("event", None, format!("{party}: {text}")),
        Happening::Fault { text } => ("fault", None, text.clone()),
        Happening::Check { text, holds: true } => ("holds", None, format!("holds: {text}")),
        Happening::Check { text, holds: false } => ("wrong", None, format!("does not hold: {text}")),
        Happening::Submitted { tx, by, node, rejected, replaced } => {
            let from = by.as_ref().map_or("from a peer".to_owned(), |by| format!("from {by}"));
            match rejected {
                Some(reason) => ("refused", Some(node), format!("refuses {tx} {from}: {reason}")),
                None if replaced.is_empty() => ("accepted", Some(node), format!("accepts {tx} {from}")),
                None => ("accepted", Some(node), format!("accepts {tx} {from}, in the place of {}", list(replaced))),
            }
        }
        Happening::Mempool { node, txs } => ("mempool", Some(node), format!("mempool: {}", list(txs))),
        Happening::Block { node, height, hash, txs } => {
            let hash = hash.get(..16).unwrap_or(hash);
            ("block", Some(node), format!("block {height} ({hash}…): {}", list(txs)))
        }
        Happening::Reorganisation { node, from, depth, txs } => {
            let text = format!("leaves {depth} blocks from {from} on; unconfirmed again: {}", list(txs));
            ("reorganisation", Some(node), text)
        }
    }
}

fn list(names: &[String]) -> String {
    match names.len() {
        0 => "nothing of the factory".to_owned(),
        1..=NAMES => names.join(", "),
        more => format!("{}, … and {} more", names[..NAMES].join(", "), more - NAMES),
    }
}
