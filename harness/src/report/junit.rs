//! A suite as JUnit XML, as CI servers read it.

use std::path::Path;
use std::time::Duration;

use indexmap::IndexMap;
use quick_junit::{NonSuccessKind, Property, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::model::{RunReport, SuiteReport, Verdict};

/// A suite as JUnit XML: a test suite for each scenario file, a test case for each run.
///
/// # Errors
///
/// If the document cannot be written.
pub fn junit(suite: &SuiteReport) -> Result<String, SerializeError> {
    let mut files: IndexMap<&Path, Vec<&RunReport>> = IndexMap::new();
    for run in &suite.runs {
        files.entry(&run.file).or_default().push(run);
    }
    let mut report = Report::new("shopfloor");
    report.set_time(Duration::from_millis(suite.duration_ms));
    for (file, runs) in files {
        let name = file.display().to_string();
        let mut group = TestSuite::new(name.clone());
        group.set_time(runs.iter().map(|run| Duration::from_millis(run.duration_ms)).sum());
        group.add_test_cases(runs.into_iter().map(|run| case(&name, run)));
        report.add_test_suite(group);
    }
    report.to_string()
}

fn case(file: &str, run: &RunReport) -> TestCase {
    let reasons = run.failures.join("\n");
    let first = run.failures.first().cloned().unwrap_or_default();
    let status = match run.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Skip => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(first);
            status
        }
        // JUnit has no word for it. It has shown nothing, as if it had been skipped.
        Verdict::Inconclusive => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(format!("inconclusive: {reasons}"));
            status
        }
        Verdict::Fail | Verdict::Error => {
            let is_error = run.verdict == Verdict::Error;
            let mut status =
                TestCaseStatus::non_success(if is_error { NonSuccessKind::Error } else { NonSuccessKind::Failure });
            status.set_type(run.verdict.word());
            status.set_message(first);
            status.set_description(format!("{reasons}\nagain: {}", run.replay));
            status
        }
    };
    let mut case = TestCase::new(run.title(), status);
    case.set_classname(file);
    case.set_time(Duration::from_millis(run.duration_ms));
    case.add_property(Property::new("seed", run.seed.to_string()));
    for (name, node) in &run.nodes {
        case.add_property(Property::new(format!("node.{name}"), format!("{} {}", node.kind, node.version)));
    }
    if run.verdict > Verdict::Inconclusive {
        case.set_system_out(run.to_string());
    }
    case
}
