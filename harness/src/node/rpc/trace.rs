//! A record of the calls to a node: one JSON object a line.

use std::fs;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// How many characters of a parameter, a result or an error are kept.
const KEPT: usize = 2_000;

/// The file in which the calls to a node are recorded. It is written in large pieces, the last when this is dropped.
#[derive(Debug)]
pub(in crate::node) struct Trace {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: BufWriter<fs::File>,
    recorded: u64,
}

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    method: &'a str,
    params: Vec<Kept<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Kept<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    duration_ms: f64,
}

/// JSON as it is or, if it is long, its beginning as a string.
#[derive(Serialize)]
#[serde(untagged)]
enum Kept<'a> {
    Whole(&'a RawValue),
    Value(&'a Value),
    Beginning(String),
}

impl Trace {
    /// Opens the record in `path`. If the node has run before, it is continued.
    pub(in crate::node) fn append_to(path: &Path) -> io::Result<Self> {
        let recorded = match fs::File::open(path) {
            Ok(before) => BufReader::new(before).split(b'\n').try_fold(0, |count, line| line.map(|_| count + 1))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let file = BufWriter::with_capacity(1 << 16, fs::File::options().create(true).append(true).open(path)?);
        Ok(Trace { path: path.to_owned(), inner: Mutex::new(Inner { file, recorded }) })
    }

    /// Adds a call and its answer, which took `duration`.
    pub(super) fn record(
        &self,
        method: &str,
        params: &[Value],
        answer: Result<&RawValue, &dyn std::fmt::Display>,
        duration: Duration,
    ) -> io::Result<()> {
        // A thread that panicked while it wrote has left at worst half a line.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.recorded += 1;
        let line = Line {
            seq: inner.recorded,
            method,
            params: params.iter().map(Kept::value).collect(),
            result: answer.ok().map(Kept::raw),
            error: answer.err().map(|error| beginning(&error.to_string())),
            duration_ms: duration.as_micros() as f64 / 1000.0,
        };
        serde_json::to_writer(&mut inner.file, &line)?;
        inner.file.write_all(b"\n")
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = inner.file.flush() {
            eprintln!("shopfloor: cannot write {}: {error}", self.path.display());
        }
    }
}

impl<'a> Kept<'a> {
    fn raw(raw: &'a RawValue) -> Self {
        if raw.get().len() <= KEPT { Kept::Whole(raw) } else { Kept::Beginning(beginning(raw.get())) }
    }

    fn value(value: &'a Value) -> Self {
        let text = match value {
            Value::String(text) if text.len() <= KEPT => return Kept::Value(value),
            Value::String(text) => return Kept::Beginning(beginning(text)),
            Value::Array(_) | Value::Object(_) => value.to_string(),
            Value::Null | Value::Bool(_) | Value::Number(_) => return Kept::Value(value),
        };
        if text.len() <= KEPT { Kept::Value(value) } else { Kept::Beginning(beginning(&text)) }
    }
}

/// The first characters of a text; an ellipsis stands for the rest.
fn beginning(text: &str) -> String {
    match text.char_indices().nth(KEPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(path: &Path) -> Vec<Value> {
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn calls_are_numbered_on_and_what_is_long_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpc.jsonl");
        let raw = |value: Value| serde_json::value::to_raw_value(&value).unwrap();
        let time = Duration::from_micros(1_500);

        let trace = Trace::append_to(&path).unwrap();
        trace.record("getblock", &[json!("ab"), json!(2)], Ok(&raw(json!({"height": 7}))), time).unwrap();
        drop(trace);
        let trace = Trace::append_to(&path).unwrap();
        let long = "é".repeat(KEPT + 1);
        trace.record("sendrawtransaction", &[json!(long), json!([long])], Ok(&raw(json!(long))), time).unwrap();
        trace.record("stop", &[], Err(&long), time).unwrap();
        drop(trace);

        let lines = lines(&path);
        let first = json!({
            "seq": 1, "method": "getblock", "params": ["ab", 2], "result": {"height": 7}, "duration_ms": 1.5
        });
        assert_eq!(lines[0], first);
        assert_eq!((&lines[1]["seq"], &lines[2]["seq"]), (&json!(2), &json!(3)));
        let cut = json!(format!("{}…", "é".repeat(KEPT)));
        assert_eq!(lines[1]["params"][0], cut);
        for kept in [&lines[1]["params"][1], &lines[1]["result"], &lines[2]["error"]] {
            assert_eq!(kept.as_str().unwrap().chars().count(), KEPT + 1);
        }
        assert!(lines[2].get("result").is_none() && lines[1].get("error").is_none());
    }
}
