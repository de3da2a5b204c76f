//! Every form of one small suite, with names that mean something to HTML, XML and Markdown.

use super::*;
use crate::published;
use crate::suite::tests::report;

const NASTY: &str = "<script>alert('x')</script> | `code` & \"quotes\"";

fn suite() -> SuiteReport {
    let mut passed = report("lifecycle", Verdict::Pass, &[]);
    passed.description = NASTY.to_owned();
    let mut failed = report(NASTY, Verdict::Fail, &["m0 has 1 sat, expected 2 sat", NASTY]);
    failed.cell.insert("nodes.alice.kind".to_owned(), "knots-29".to_owned());
    failed.timeline = vec![
        Entry { step: Some(0), height: 200, what: Happening::Fault { text: NASTY.to_owned() } },
        Entry {
            step: Some(0),
            height: 201,
            what: Happening::Mempool { node: "alice".into(), txs: vec![NASTY.into()] },
        },
    ];
    let skipped = report("no engine", Verdict::Skip, &["no container engine answers"]);
    let vain = report("in vain", Verdict::Inconclusive, &["m0 was to withhold its shares, and had none to send"]);
    let error = report("broken", Verdict::Error, &["node alice ended"]);
    SuiteReport::new(vec![passed, failed, skipped, vain, error], 1234)
}

/// The ends of elements that do not fit their beginnings, then the elements that are never closed.
fn unbalanced(page: &str) -> Vec<String> {
    const VOID: [&str; 3] = ["meta", "input", "br"];
    let (mut open, mut wrong) = (Vec::new(), Vec::new());
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let end = rest.find('>').unwrap_or(rest.len());
        let tag = &rest[..end];
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap_or_default().to_owned();
        rest = &rest[end..];
        if tag.starts_with('!') || tag.ends_with('/') || VOID.contains(&name.as_str()) {
            continue;
        }
        if tag.starts_with('/') {
            if open.pop().as_ref() != Some(&name) {
                wrong.push(tag.to_owned());
            }
            continue;
        }
        // Nothing in a script or a style is an element.
        if ["script", "style"].contains(&name.as_str()) {
            rest = &rest[rest.find(&format!("</{name}>")).unwrap_or(rest.len())..];
        }
        open.push(name);
    }
    wrong.extend(open);
    wrong
}

#[test]
fn the_page_is_sound_and_shows_names_as_texts() {
    let page = html(&suite());
    assert_eq!(unbalanced(&page), Vec::<String>::new());
    // The check itself can fail.
    assert_eq!(unbalanced("<p><b>x</p></b><br><i>"), ["/p", "/b", "i"]);
    assert!(!page.contains("<script>alert"), "a name became HTML");
    assert!(page.matches("&lt;script&gt;alert(&#39;x&#39;)").count() >= 4);
    for outside in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "the page refers to {outside}");
    }
}

#[test]
fn what_did_not_pass_is_open_and_says_why() {
    let page = html(&suite());
    assert_eq!(page.matches("<details class=\"run").count(), 5);
    assert_eq!(page.matches("\" open>").count(), 3, "failed, inconclusive and broken runs are open");
    assert!(page.contains("m0 has 1 sat, expected 2 sat"));
}

#[test]
fn a_large_suite_makes_a_page_that_can_be_opened() {
    let mut run = report("large", Verdict::Pass, &[]);
    let transaction = TransactionReport {
        txid: "0".repeat(64),
        vsize: 154,
        weight: 616,
        fee_sat: 154,
        measured: false,
        spends: vec!["allocation".to_owned()],
        relative_lock: None,
        absolute_lock: None,
        outputs: Vec::new(),
        status: Default::default(),
    };
    for member in 0..1_000 {
        run.transactions.insert(format!("close-m{member}"), transaction.clone());
        run.balances.insert(format!("m{member}"), BalanceReport { expected_sat: 5, final_sat: 5 });
        let event = Happening::Event { party: format!("m{member}"), text: "closed".to_owned() };
        run.timeline.push(Entry { step: Some(0), height: 200, what: event });
    }
    let page = html(&SuiteReport::new(vec![run; 150], 1));
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    assert!(page.contains("… and 988 more, as expected"));
    assert!(page.contains("… and 997 more closes"));
    assert!(page.contains("… and 599 more alike"));
}

#[test]
fn junit_tells_each_verdict_by_its_own_word() {
    let xml = junit(&suite()).unwrap();
    assert!(xml.contains("tests=\"5\" skipped=\"2\" failures=\"1\" errors=\"1\""), "{xml}");
    assert!(xml.contains("message=\"inconclusive: m0 was to withhold its shares"), "{xml}");
    assert!(xml.contains("again: "), "{xml}");
    assert!(!xml.contains("<script>"), "{xml}");
}

#[test]
fn markdown_holds_its_table_together() {
    let page = markdown(&suite());
    let table: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(table.len(), 2 + 5);
    for row in table {
        assert_eq!(row.matches('|').count(), 5, "{row}");
    }
    // In a fence everything is text.
    assert!(page.split("```").step_by(2).all(|text| !text.contains("<script>")), "{page}");
    assert_eq!(page.matches("<details>").count(), 4);
}

#[test]
fn the_summary_names_what_shows_nothing() {
    let text = suite().summary();
    assert!(text.contains("skip: no engine: no container engine answers"), "{text}");
    assert!(text.contains("inconclusive: in vain: m0 was to withhold"), "{text}");
    assert!(
        text.ends_with("1 passed, 1 failed, 1 ended with an error, 1 inconclusive, 1 skipped in 1.2 s\n"),
        "{text}"
    );
}

#[test]
fn the_schema_in_the_repository_is_that_of_the_report() {
    published::is_up_to_date("report.json", &schema());
}

#[test]
fn a_report_is_read_back_as_it_was_written() {
    let text = serde_json::to_string(&suite()).unwrap();
    let read: SuiteReport = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
}
