//! `shopfloor fees`, as a user runs it. It needs no node.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

fn fees(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shopfloor"));
    let output = command.arg("fees").args(args).stdin(Stdio::null()).output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// What is said of arguments that are wrong.
fn refused(args: &[&str]) -> String {
    let (code, stdout, stderr) = fees(args);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}: {stderr}");
    stderr.replace("\n\nFor more information, try '--help'.", "")
}

#[test]
fn what_cannot_be_is_an_error_that_names_the_limit() {
    insta::assert_snapshot!(
        refused(&["--members", "2323"]),
        @"error: 2323 members, musig2, version 2, 1 sat/vB: 2323 members make the factory-close 400008 WU, over the limit of 400000 WU that nodes relay"
    );
    insta::assert_snapshot!(refused(&["--lock", "wsh", "--members", "20,63"]), @r"
    error: 20 members, wsh, version 2, 1 sat/vB: 20 members and the operator are 21 keys: a wsh lock holds at most 20
    error: 63 members, wsh, version 2, 1 sat/vB: 63 members and the operator are 64 keys: a wsh lock holds at most 20
    ");
    insta::assert_snapshot!(
        refused(&["--version", "3", "--members", "230", "--feerate", "2.5 sat/vB"]),
        @"error: 230 members, musig2, version 3, 2.5 sat/vB: 230 members make the factory-close 10001 vB, over the limit of 10000 vB for version 3 that nodes relay"
    );
    insta::assert_snapshot!(
        refused(&["--members", "0"]),
        @"error: invalid value '0' for '--members <N>': 0 is not in 1..=1000000"
    );
    insta::assert_snapshot!(
        refused(&["--lock", "musig"]),
        @"error: invalid value 'musig' for '--lock <LOCK>': `musig` is no kind of lock: expected musig2, tapscript or wsh"
    );
    insta::assert_snapshot!(
        refused(&["--version", "1"]),
        @"error: invalid value '1' for '--version <VERSION>': `1`: expected 2 or 3"
    );
    insta::assert_snapshot!(
        refused(&["--feerate", "0 sat/vB"]),
        @"error: invalid value '0 sat/vB' for '--feerate <FEERATE>': `0 sat/vB` is no feerate: it is zero; expected something like `1 sat/vB`"
    );
}

#[test]
fn what_cannot_be_beside_what_can_is_left_out_with_a_word() {
    let (code, stdout, stderr) = fees(&["--members", "3", "--lock", "wsh", "--version", "2,3", "--members", "20"]);
    assert_eq!(code, Some(0), "{stderr}");
    insta::assert_snapshot!(stderr, @r"
    left out: 20 members, wsh, version 2, 1 sat/vB: 20 members and the operator are 21 keys: a wsh lock holds at most 20
    left out: 20 members, wsh, version 3, 1 sat/vB: 20 members and the operator are 21 keys: a wsh lock holds at most 20
    ");
    for line in stderr.lines() {
        assert!(stdout.lines().any(|shown| shown == line), "{stdout}");
    }
}

#[test]
fn every_form_is_of_the_same_figures() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let page = dir.path().join("page.md");
    fs::write(&page, "above\n<!-- fees: begin -->\n<!-- fees: end -->\nbelow\n").unwrap();
    let (code, printed, _) = fees(&["--members", "3,20"]);
    assert_eq!(code, Some(0));
    let (json, markdown, csv, svg) = (path("fees.json"), path("fees.md"), path("a/csv"), path("a/svg"));
    let page_path = page.display().to_string();
    let files = ["--json", &json, "--markdown", &markdown, "--csv", &csv, "--svg", &svg, "--update", &page_path];
    let (code, stdout, stderr) = fees(&[&["--members", "3,20"], &files[..]].concat());
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "", ""));
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(read(&markdown), printed);
    assert_eq!(read(&page_path), format!("above\n<!-- fees: begin -->\n\n{printed}\n<!-- fees: end -->\nbelow\n"));
    let report: Value = serde_json::from_str(&read(&json)).unwrap();
    assert_eq!((&report["format"], &report["seed"]), (&1.into(), &1.into()));
    assert_eq!(report["factories"][1]["ways"][0]["vb"], 1_125);
    let (code, piped, _) = fees(&["--members", "3,20", "--json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&piped).unwrap()), (Some(0), report));
    let ways = read(&format!("{csv}/fees.ways.csv"));
    assert_eq!((ways.lines().count(), read(&format!("{csv}/fees.transactions.csv")).lines().count()), (11, 19));
    assert!(ways.contains("\n20,musig2,2,1,cooperative,2,1125,56.25,"), "{ways}");
    for plot in ["saved", "size", "close-fee"] {
        assert!(read(&format!("{svg}/fees.{plot}.svg")).starts_with("<svg "), "{plot}");
    }
    assert!(!Path::new("fees.json").exists());
}
