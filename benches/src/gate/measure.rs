//! Runs a hot path under callgrind and reads how many instructions it took.

use std::path::Path;
use std::process::Command;
use std::{fs, io};

use super::hot::COUNTED_SYMBOL;

/// Returned when a hot path cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// Returned when valgrind cannot be started.
    #[error("valgrind cannot be started: {0}")]
    Start(io::Error),
    /// Returned when the hot path fails, or valgrind does.
    #[error("{name} failed under valgrind ({status}):\n{output}")]
    Failed {
        /// The hot path.
        name: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what was printed.
        output: String,
    },
    /// Returned when callgrind's file cannot be read.
    #[error("{name}: the file that callgrind writes: {error}")]
    File {
        /// The hot path.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// Returned when there is no count in callgrind's file.
    #[error("{name}: {why}")]
    NoCount {
        /// The hot path.
        name: String,
        /// Why.
        why: String,
    },
}

/// The instructions that the hot path `name` takes between the entries and the ends of its counted regions. `program` is
/// started as `program run NAME`.
///
/// # Errors
///
/// [`MeasureError`], if anything fails, or if nothing at all was counted.
pub fn instructions(program: &Path, name: &str) -> Result<u64, MeasureError> {
    let file = |error| MeasureError::File { name: name.to_owned(), error };
    let folder = tempfile::tempdir().map_err(file)?;
    let path = folder.path().join("callgrind.out");
    let mut command = Command::new("valgrind");
    // A longer environment moves the stack, and with it how memory is aligned.
    command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "VALGRIND_LIB"));
    command.args(["--tool=callgrind", "--quiet"]);
    // It counts nothing until the function is entered.
    command.arg(format!("--toggle-collect=*{COUNTED_SYMBOL}*"));
    command.arg(format!("--callgrind-out-file={}", path.display()));
    let output = command.arg(program).args(["run", name]).output().map_err(MeasureError::Start)?;
    if !output.status.success() {
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed);
        let lines: Vec<_> = printed.lines().collect();
        let output_end = lines[lines.len().saturating_sub(20)..].join("\n");
        return Err(MeasureError::Failed { name: name.to_owned(), status: output.status, output: output_end });
    }
    let text = fs::read_to_string(&path).map_err(file)?;
    total(&text).map_err(|why| MeasureError::NoCount { name: name.to_owned(), why })
}

/// The sum of a file of callgrind's, whose only event is an instruction ("Ir").
fn total(text: &str) -> Result<u64, String> {
    let value = |key| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    match value("events:") {
        Some("Ir") => {}
        found => return Err(format!("callgrind's file counts {found:?}: expected \"Ir\" alone")),
    }
    let found = value("summary:").ok_or("callgrind's file has no summary")?;
    match found.parse() {
        Ok(0) => Err(format!("nothing was counted: callgrind has not found the symbol {COUNTED_SYMBOL}, or its end")),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("callgrind's summary is {found:?}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_summary() {
        let text =
            "# callgrind format\nversion: 1\nevents: Ir\nsummary: 4012345\n\nfn=(1) main\n0 7\ntotals: 4012345\n";
        assert_eq!(total(text), Ok(4_012_345));
    }

    #[test]
    fn a_file_without_a_count_is_no_count() {
        let error = |text| total(text).unwrap_err();
        assert!(error("events: Ir\nsummary: 0\n").starts_with("nothing was counted"));
        assert!(error("events: Ir Dr\nsummary: 1 2\n").contains("expected \"Ir\" alone"));
        assert!(error("events: Ir\n").contains("no summary"));
        assert!(error("events: Ir\nsummary: many\n").contains("\"many\""));
        assert!(error("").contains("expected \"Ir\" alone"));
    }
}
