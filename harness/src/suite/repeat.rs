//! The same run several times, and what differs between the times.

use indexmap::IndexMap;
use serde_json::Value;

use super::schedule::NOT_BEGUN;
use crate::report::{RunReport, Verdict};

/// How many differences are told of one run: the first says where to look, and the rest mostly follows from it.
const SHOWN: usize = 5;

/// Each item so many times, one after the other, with the number of the repetition; without a number if there is but one.
pub fn repeated<T: Clone>(items: Vec<T>, times: u32) -> Vec<(T, Option<u32>)> {
    if times <= 1 {
        return items.into_iter().map(|item| (item, None)).collect();
    }
    items.into_iter().flat_map(|item| (1..=times).map(move |time| (item.clone(), Some(time)))).collect()
}

/// What is not the same in repetitions of one run: with one seed, everything has to be, durations and paths aside. A
/// repetition is compared with the first; one that never began is left out.
pub fn differences(runs: &[RunReport]) -> Vec<String> {
    let mut groups: IndexMap<_, Vec<&RunReport>> = IndexMap::new();
    for run in runs.iter().filter(|run| run.failures != [NOT_BEGUN]) {
        let title = RunReport { repetition: None, ..run.clone() }.title();
        groups.entry((&run.file, title, &run.overrides, run.seed)).or_default().push(run);
    }
    let mut found = Vec::new();
    for group in groups.values() {
        let [first, rest @ ..] = group.as_slice() else { continue };
        for run in rest {
            let mut between = between(first, run);
            let more = between.len().saturating_sub(SHOWN);
            between.truncate(SHOWN);
            let number = first.repetition.map_or_else(|| "the first".to_owned(), |number| format!("#{number}"));
            found.extend(between.into_iter().map(|text| format!("{} is not as {number}: {text}", run.title())));
            if more > 0 {
                found.push(format!("{} is not as {number}: {more} more differences", run.title()));
            }
        }
    }
    found
}

fn between(first: &RunReport, run: &RunReport) -> Vec<String> {
    if first.verdict != run.verdict {
        // One of them stopped somewhere, so whatever comes after that differs as well.
        let why = [first, run].into_iter().find_map(|run| run.failures.first());
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        return vec![format!("verdict: {} instead of {}{why}", run.verdict.word(), first.verdict.word())];
    }
    // Where a run that broke off was at that moment is no result.
    if run.verdict == Verdict::Error {
        return Vec::new();
    }
    let mut found = Vec::new();
    compare(&mut String::new(), &comparable(first), &comparable(run), &mut found);
    found
}

/// The report without durations, paths and times of the day.
fn comparable(run: &RunReport) -> Value {
    let mut run = run.clone();
    if let Some(files) = run.files.take() {
        let files = files.display().to_string();
        run.failures.iter_mut().for_each(|failure| *failure = failure.replace(&files, "FILES"));
    }
    run.repetition = None;
    run.duration_ms = 0;
    run.steps.iter_mut().for_each(|step| step.duration_ms = 0);
    run.logs.clear();
    run.replay.clear();
    serde_json::to_value(run).expect("a report is plain data with strings as its keys")
}

fn compare(place: &mut String, first: &Value, other: &Value, found: &mut Vec<String>) {
    let length = place.len();
    let mut within = |name: &str, first: &Value, other: &Value| {
        if length > 0 {
            place.push('.');
        }
        place.push_str(name);
        compare(place, first, other, found);
        place.truncate(length);
    };
    match (first, other) {
        (Value::Object(first), Value::Object(other)) => {
            for (name, value) in first {
                within(name, value, other.get(name).unwrap_or(&Value::Null));
            }
            for (name, value) in other.iter().filter(|(name, _)| !first.contains_key(*name)) {
                within(name, &Value::Null, value);
            }
        }
        (Value::Array(first), Value::Array(other)) if first.len() == other.len() => {
            for (at, (first, other)) in first.iter().zip(other).enumerate() {
                within(&at.to_string(), first, other);
            }
        }
        (Value::Array(first), Value::Array(other)) => {
            found.push(format!("{place}: {} entries instead of {}", other.len(), first.len()));
        }
        _ if first == other => {}
        _ => found.push(format!("{place}: {} instead of {}", shown(other), shown(first))),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        _ => value.to_string(),
    }
}
