//! A suite as one HTML page that needs nothing beside itself.

mod graph;
mod run;
mod timeline;

use std::fmt::{Display, Write as _};
use std::path::Path;

use indexmap::IndexMap;

use super::model::{RunReport, SuiteReport, Verdict};

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/page.js");

/// A suite as one HTML page: the verdicts, and each run with its money, its transactions and all that happened. The page
/// refers to nothing outside itself, and can be read without its script.
pub fn html(suite: &SuiteReport) -> String {
    let mut page = Page::default();
    let title = format!("Shopfloor: {}", suite.verdict.word());
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.raw("<meta name=\"color-scheme\" content=\"light dark\">\n");
    page.element("title", "", &title);
    page.raw(&format!("<style>\n{STYLE}</style>\n</head>\n<body>\n"));
    page.raw("<a class=\"leap\" href=\"#runs\">Skip to the runs</a>\n<header>\n");
    page.element("h1", "", "Shopfloor");
    page.raw(&format!("<p class=\"totals\">{} ", badge(suite.verdict)));
    page.text(suite.totals_in_words());
    page.raw("</p>\n</header>\n<main>\n");
    matrix(&mut page, suite);
    page.raw("<section id=\"runs\" aria-label=\"Runs\">\n");
    for (index, run) in suite.runs.iter().enumerate() {
        run::run(&mut page, index, run);
    }
    page.raw("</section>\n</main>\n<footer>");
    page.text(format!("shopfloor {}, report format {}", suite.shopfloor, suite.format));
    page.raw(&format!("</footer>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"));
    page.0
}

/// The verdicts: scenarios by topic, each with its cells.
fn matrix(page: &mut Page, suite: &SuiteReport) {
    /// The runs of each scenario, with their places in the suite.
    type Scenarios<'a> = IndexMap<&'a str, Vec<(usize, &'a RunReport)>>;
    let mut topics: IndexMap<String, Scenarios<'_>> = IndexMap::new();
    for (index, run) in suite.runs.iter().enumerate() {
        let scenarios = topics.entry(topic(&run.file)).or_default();
        scenarios.entry(&run.scenario).or_default().push((index, run));
    }
    page.raw("<section aria-label=\"Verdicts\">\n<form class=\"filter\" role=\"search\" hidden>\n");
    page.raw("<label>Find <input type=\"search\" id=\"find\" autocomplete=\"off\"></label>\n<fieldset><legend>Show</legend>\n");
    for verdict in Verdict::ALL {
        let (word, count) = (verdict.word(), suite.totals.get(&verdict).copied().unwrap_or(0));
        page.raw(&format!(
            "<label><input type=\"checkbox\" name=\"verdict\" value=\"{word}\" checked> {word} ({count})</label>\n"
        ));
    }
    page.raw("</fieldset>\n<output id=\"shown\"></output>\n</form>\n");
    for (topic, scenarios) in topics {
        page.raw("<table class=\"matrix\">\n<caption>");
        page.text(&topic);
        page.raw("</caption>\n<tbody>\n");
        for (scenario, runs) in scenarios {
            page.raw("<tr><th scope=\"row\">");
            page.text(scenario);
            page.raw("</th><td>");
            for (index, run) in runs {
                let mut label: Vec<String> = run.cell.values().cloned().collect();
                label.extend(run.repetition.map(|number| format!("#{number}")));
                page.raw(&format!("<a class=\"cell {}\" href=\"#run-{index}\">", run.verdict.word()));
                page.text(label.join(" "));
                page.raw(&format!(" {}</a> ", badge(run.verdict)));
            }
            page.raw("</td></tr>\n");
        }
        page.raw("</tbody>\n</table>\n");
    }
    page.raw("</section>\n");
}

/// The folder that a scenario's file is in.
fn topic(file: &Path) -> String {
    let folder = file.parent().and_then(Path::file_name);
    folder.map_or_else(|| "scenarios".to_owned(), |folder| folder.to_string_lossy().into_owned())
}

fn badge(verdict: Verdict) -> String {
    format!("<b class=\"badge {0}\">{0}</b>", verdict.word())
}

/// A page that is being written.
#[derive(Default)]
struct Page(String);

impl Page {
    /// Adds what is HTML already.
    fn raw(&mut self, html: &str) {
        self.0.push_str(html);
    }

    /// Adds a text, of which nothing is HTML.
    fn text(&mut self, text: impl Display) {
        let start = self.0.len();
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{text}");
        if self.0[start..].contains(['&', '<', '>', '"', '\'']) {
            let escaped = escaped(&self.0[start..]);
            self.0.truncate(start);
            self.0.push_str(&escaped);
        }
    }

    /// Adds an element that holds a text.
    fn element(&mut self, tag: &str, class: &str, text: impl Display) {
        match class {
            "" => self.raw(&format!("<{tag}>")),
            class => self.raw(&format!("<{tag} class=\"{class}\">")),
        }
        self.text(text);
        self.raw(&format!("</{tag}>"));
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
