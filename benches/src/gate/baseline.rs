//! Counts, and what they were made with: a small file of JSON that is committed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// Counts of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// What they were made with.
    pub environment: Environment,
    /// The instructions of each hot path, by its name.
    pub instructions: IndexMap<String, u64>,
}

/// All that moves the counts, beside the code that is counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// The Rust compiler's version.
    pub rustc: String,
    /// What it compiles for.
    pub target: String,
    /// The C compiler's version: it compiles the curve library, which most instructions are in.
    pub cc: String,
    /// The C library's version: it has the copying and comparing of memory.
    pub libc: String,
    /// Valgrind's version.
    pub valgrind: String,
}

/// Something that differs between two environments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What.
    pub what: &'static str,
    /// What the baseline was made with.
    pub baseline: String,
    /// What is here.
    pub here: String,
}

/// Returned when a baseline cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Returned when there is no such file yet.
    #[error("there is no baseline {}: `ci/bench --bless` makes it", .0.display())]
    Missing(PathBuf),
    /// Returned when the file cannot be read or written.
    #[error("baseline {}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Returned when the file is not what [`Counts::write`] writes.
    #[error("baseline {}: {error}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
}

/// Returned when a program does not say its version.
#[derive(Debug, thiserror::Error)]
#[error("`{program}` does not say its version: {why}")]
pub struct VersionError {
    program: String,
    why: String,
}

impl Counts {
    /// Reads a baseline.
    ///
    /// # Errors
    ///
    /// [`BaselineError`], if the file is not there or is no baseline.
    pub fn read(path: &Path) -> Result<Self, BaselineError> {
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BaselineError::Missing(path.to_owned()),
            _ => BaselineError::File { path: path.to_owned(), error },
        })?;
        serde_json::from_str(&text).map_err(|error| BaselineError::Content { path: path.to_owned(), error })
    }

    /// Writes a baseline: one line for each path, so that a difference shows what has moved.
    ///
    /// # Errors
    ///
    /// [`BaselineError`], if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), BaselineError> {
        let text = serde_json::to_string_pretty(self).expect("names and numbers are JSON");
        fs::write(path, text + "\n").map_err(|error| BaselineError::File { path: path.to_owned(), error })
    }

    /// The counts as dashboards read them: the form `customSmallerIsBetter` of the action github-action-benchmark.
    pub fn dashboard(&self) -> String {
        let entry = |(name, value): (&String, &u64)| serde_json::json!({ "name": name, "unit": "instructions", "value": value });
        let entries: Vec<_> = self.instructions.iter().map(entry).collect();
        serde_json::to_string_pretty(&entries).expect("names and numbers are JSON") + "\n"
    }
}

impl Environment {
    /// What is on this machine. Compilers are those that cargo would take: `RUSTC` and `CC`, where they are set.
    ///
    /// # Errors
    ///
    /// [`VersionError`], if one of the programs is not there or fails.
    pub fn here() -> Result<Self, VersionError> {
        let named = |variable, program: &str| std::env::var_os(variable).unwrap_or_else(|| program.into());
        let rustc = output(named("RUSTC", "rustc"), &["-vV"])?;
        let line = |key: &str| rustc.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned();
        let first = |text: String| text.lines().next().unwrap_or_default().trim().to_owned();
        Ok(Environment {
            target: line("host: "),
            rustc: first(rustc.clone()),
            cc: first(output(named("CC", "cc"), &["--version"])?),
            libc: first(output("getconf".into(), &["GNU_LIBC_VERSION"])?),
            valgrind: first(output("valgrind".into(), &["--version"])?),
        })
    }

    /// What differs `here` from the baseline's.
    pub fn differences(&self, here: &Environment) -> Vec<Difference> {
        let pairs = [
            ("rustc", &self.rustc, &here.rustc),
            ("target", &self.target, &here.target),
            ("cc", &self.cc, &here.cc),
            ("libc", &self.libc, &here.libc),
            ("valgrind", &self.valgrind, &here.valgrind),
        ];
        let different = pairs.into_iter().filter(|(_, baseline, here)| baseline != here);
        let difference = |(what, baseline, here): (_, &String, &String)| Difference {
            what,
            baseline: baseline.clone(),
            here: here.clone(),
        };
        different.map(difference).collect()
    }
}

/// What a program prints.
fn output(program: OsString, args: &[&str]) -> Result<String, VersionError> {
    let error = |why| VersionError { program: format!("{} {}", program.display(), args.join(" ")), why };
    let output = Command::new(&program).args(args).output().map_err(|why| error(why.to_string()))?;
    if !output.status.success() {
        return Err(error(output.status.to_string()));
    }
    String::from_utf8(output.stdout).map_err(|why| error(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> Counts {
        let environment = Environment {
            rustc: "rustc 1.95.0".to_owned(),
            target: "x86_64-unknown-linux-gnu".to_owned(),
            cc: "cc 12.2.0".to_owned(),
            libc: "glibc 2.36".to_owned(),
            valgrind: "valgrind-3.19.0".to_owned(),
        };
        let instructions = [("blame/20".to_owned(), 7), ("allocation/100".to_owned(), u64::MAX)];
        Counts { environment, instructions: instructions.into_iter().collect() }
    }

    #[test]
    fn a_baseline_comes_back_as_it_was_written_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.json");
        counts().write(&path).unwrap();
        let read = Counts::read(&path).unwrap();
        assert_eq!(read, counts());
        assert!(read.instructions.keys().eq(["blame/20", "allocation/100"]));
        // A line for each.
        assert!(fs::read_to_string(&path).unwrap().contains("\n    \"blame/20\": 7,\n"));
    }

    #[test]
    fn a_baseline_that_is_missing_or_none_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.json");
        let missing = Counts::read(&path).unwrap_err().to_string();
        assert!(missing.contains("there is no baseline") && missing.contains("ci/bench --bless"), "{missing}");
        fs::write(&path, "{\"instructions\": {}}").unwrap();
        let content = Counts::read(&path).unwrap_err().to_string();
        assert!(content.contains("missing field `environment`"), "{content}");
    }

    #[test]
    fn dashboards_get_an_array_of_entries() {
        let entries: serde_json::Value = serde_json::from_str(&counts().dashboard()).unwrap();
        let expected = serde_json::json!([
            { "name": "blame/20", "unit": "instructions", "value": 7 },
            { "name": "allocation/100", "unit": "instructions", "value": u64::MAX },
        ]);
        assert_eq!(entries, expected);
    }

    #[test]
    fn environments_differ_in_what_they_differ() {
        let baseline = counts().environment;
        assert_eq!(baseline.differences(&baseline), []);
        let here = Environment { rustc: "rustc 1.96.0".to_owned(), ..baseline.clone() };
        let (was, is) = ("rustc 1.95.0".to_owned(), "rustc 1.96.0".to_owned());
        assert_eq!(baseline.differences(&here), [Difference { what: "rustc", baseline: was, here: is }]);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = output("no-such-program".into(), &["--version"]).unwrap_err().to_string();
        assert!(error.starts_with("`no-such-program --version` does not say its version: "), "{error}");
        let error = output("false".into(), &["--version"]).unwrap_err().to_string();
        assert!(error.contains("exit status: 1"), "{error}");
    }
}
