//! One run on the page.

use super::super::model::{RunReport, Verdict};
use super::super::text::grouped;
use super::{Page, badge, graph, timeline};

/// How many parties are shown of those that end with what was expected.
const PARTIES: usize = 12;
/// How many transactions are shown, of those that no node ever took.
const UNSENT: usize = 8;
/// How many failures are shown.
const FAILURES: usize = 40;

pub(super) fn run(page: &mut Page, index: usize, run: &RunReport) {
    let word = run.verdict.word();
    let open = if run.verdict > Verdict::Skip { " open" } else { "" };
    page.raw(&format!("<details class=\"run {word}\" id=\"run-{index}\" data-verdict=\"{word}\"{open}>\n<summary>"));
    page.raw(&badge(run.verdict));
    page.raw(" <span class=\"title\">");
    page.text(run.title());
    page.raw("</span> <span class=\"quiet\">");
    page.text(format!("{} ms", grouped(run.duration_ms)));
    page.raw("</span></summary>\n<div class=\"body\">\n");
    failures(page, run);
    if !run.description.is_empty() {
        page.element("p", "description", run.description.trim());
    }
    facts(page, run);
    money(page, run);
    if !run.transactions.is_empty() {
        page.raw("<h3>Transactions</h3>\n");
        graph::graph(page, run);
        transactions(page, run);
    }
    refused(page, run);
    timeline::timeline(page, run);
    if !run.logs.is_empty() {
        page.raw("<details><summary>The ends of the logs</summary><pre>");
        page.text(&run.logs);
        page.raw("</pre></details>\n");
    }
    page.raw("</div>\n</details>\n");
}

fn failures(page: &mut Page, run: &RunReport) {
    if run.failures.is_empty() {
        return;
    }
    page.raw("<ul class=\"failures\">\n");
    for failure in run.failures.iter().take(FAILURES) {
        page.element("li", "", failure);
        page.raw("\n");
    }
    if run.failures.len() > FAILURES {
        page.element("li", "", format!("… and {} more", run.failures.len() - FAILURES));
    }
    page.raw("</ul>\n");
}

fn facts(page: &mut Page, run: &RunReport) {
    page.raw("<dl class=\"facts\">\n");
    let mut fact = |name: &str, value: String| {
        page.raw(&format!("<div><dt>{name}</dt><dd>"));
        page.text(value);
        page.raw("</dd></div>\n");
    };
    fact("file", run.file.display().to_string());
    fact("seed", run.seed.to_string());
    for (place, value) in &run.cell {
        fact("cell", format!("{place} = {value}"));
    }
    for set in &run.overrides {
        fact("set", set.clone());
    }
    for (name, node) in &run.nodes {
        let electrum = if node.electrum { ", with an Electrum server" } else { "" };
        fact("node", format!("{name}: {} {}, {}{electrum}", node.kind, node.version, node.backend));
    }
    fact("asserted", grouped(run.assertions.into()));
    fact("messages", grouped(run.messages as u64));
    if let Some(files) = &run.files {
        fact("files", files.display().to_string());
    }
    page.raw("</dl>\n<p class=\"replay\"><code>");
    page.text(&run.replay);
    page.raw("</code> <button type=\"button\" class=\"copy\" hidden>copy</button></p>\n");
}

fn money(page: &mut Page, run: &RunReport) {
    if run.balances.is_empty() {
        return;
    }
    page.raw("<h3>Money</h3>\n<div class=\"wide\"><table class=\"figures\">\n<thead><tr><th scope=\"col\">party</th>");
    page.raw("<th scope=\"col\">expected, sat</th><th scope=\"col\">final, sat</th><th scope=\"col\">difference</th></tr></thead>\n<tbody>\n");
    let (mut shown, mut folded) = (0, 0);
    for (name, balance) in &run.balances {
        let difference = i128::from(balance.final_sat) - i128::from(balance.expected_sat);
        if difference == 0 && shown >= PARTIES {
            folded += 1;
            continue;
        }
        shown += 1;
        page.raw(if difference == 0 { "<tr>" } else { "<tr class=\"wrong\">" });
        page.element("th", "", name);
        for value in [balance.expected_sat, balance.final_sat] {
            page.element("td", "", grouped(value));
        }
        page.element("td", "", if difference == 0 { "0".to_owned() } else { format!("{difference:+}") });
        page.raw("</tr>\n");
    }
    if folded > 0 {
        page.raw(&format!("<tr><td colspan=\"4\">… and {folded} more, as expected</td></tr>\n"));
    }
    page.raw("</tbody></table></div>\n");
    if let Some(money) = run.money {
        page.element("p", "sum", money.to_string().trim());
    }
}

fn transactions(page: &mut Page, run: &RunReport) {
    page.raw("<div class=\"wide\"><table class=\"figures\">\n<thead><tr><th scope=\"col\">transaction</th><th scope=\"col\">vB</th>");
    page.raw("<th scope=\"col\">WU</th><th scope=\"col\">fee, sat</th><th scope=\"col\">status</th><th scope=\"col\">txid</th></tr></thead>\n<tbody>\n");
    let (mut unsent, mut folded) = (0, 0);
    for (name, tx) in &run.transactions {
        if !tx.measured {
            unsent += 1;
            if unsent > UNSENT {
                folded += 1;
                continue;
            }
        }
        page.raw("<tr>");
        page.element("th", "", name);
        for value in [tx.vsize, tx.weight, tx.fee_sat] {
            page.element("td", "", grouped(value));
        }
        page.element("td", "words", tx.standing());
        page.element("td", "id", &tx.txid);
        page.raw("</tr>\n");
    }
    if folded > 0 {
        page.raw(&format!("<tr><td colspan=\"6\" class=\"words\">… and {folded} more that no node took</td></tr>\n"));
    }
    page.raw("</tbody></table></div>\n");
}

fn refused(page: &mut Page, run: &RunReport) {
    if run.refused.is_empty() {
        return;
    }
    page.raw("<h3>Refused</h3>\n<p class=\"quiet\">What parties published of their own accord, and a node refused. That fails nothing by itself.</p>\n<ul>\n");
    for refused in run.refused.iter().take(FAILURES) {
        let text = format!("{} by {}: {} ({} times)", refused.tx, refused.by, refused.reason, refused.times);
        page.element("li", "", text);
        page.raw("\n");
    }
    page.raw("</ul>\n");
}
