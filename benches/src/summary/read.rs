//! Reads the files that criterion leaves.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What was measured: criterion's group.
    pub operation: String,
    /// By whom: criterion's function; `ours` where there is none.
    pub who: String,
    /// For how many members, signers, or whatever it is measured over: criterion's parameter, if it is a number.
    pub size: Option<u32>,
    /// The median, in nanoseconds.
    pub median: f64,
    /// The median of the absolute deviations from the median, in nanoseconds, times 1.4826: the standard deviation, if the
    /// noise were normal.
    pub deviation: f64,
    /// The interval that holds the median with a probability of 95 percent (bootstrapped), in nanoseconds.
    pub interval: (f64, f64),
}

impl Measured {
    /// The deviation as a part of the median: the machine's noise.
    pub fn spread(&self) -> f64 {
        self.deviation / self.median
    }
}

/// Returned when results cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Returned when a file or folder cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Returned when a file is not what criterion writes.
    #[error("{}: {error}", path.display())]
    Json {
        /// Which.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// Returned when nothing has been measured.
    #[error("no results in {}: expected what `cargo bench -p benches` leaves there", .0.display())]
    Nothing(PathBuf),
}

/// `benchmark.json`, as far as it matters.
#[derive(Deserialize)]
struct Name {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
}

/// `estimates.json`, as far as it matters.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
    median_abs_dev: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

/// The last measurement of everything that criterion has a folder of, sorted by operation, size and who.
///
/// # Errors
///
/// [`ReadError`], if there is nothing, or something that criterion has not written.
pub fn read(folder: &Path) -> Result<Vec<Measured>, ReadError> {
    let mut found = Vec::new();
    walk(folder, &mut found)?;
    if found.is_empty() {
        return Err(ReadError::Nothing(folder.to_owned()));
    }
    found.sort_by(|one, other| (&one.operation, one.size, &one.who).cmp(&(&other.operation, other.size, &other.who)));
    Ok(found)
}

fn walk(folder: &Path, found: &mut Vec<Measured>) -> Result<(), ReadError> {
    let error = |error| ReadError::Io { path: folder.to_owned(), error };
    for entry in fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else if path.ends_with("new/benchmark.json") {
            found.push(
                measured(&text(&path)?, &text(&path.with_file_name("estimates.json"))?)
                    .map_err(|error| ReadError::Json { path: folder.to_owned(), error })?,
            );
        }
    }
    Ok(())
}

fn text(path: &Path) -> Result<String, ReadError> {
    fs::read_to_string(path).map_err(|error| ReadError::Io { path: path.to_owned(), error })
}

fn measured(name: &str, estimates: &str) -> Result<Measured, serde_json::Error> {
    let name: Name = serde_json::from_str(name)?;
    let Estimates { median, median_abs_dev } = serde_json::from_str(estimates)?;
    // Criterion has one name where there is no parameter, and the group's parameter where there is no function.
    Ok(Measured {
        operation: name.group_id,
        who: name.function_id.unwrap_or_else(|| "ours".to_owned()),
        size: name.value_str.and_then(|value| value.parse().ok()),
        median: median.point_estimate,
        deviation: median_abs_dev.point_estimate,
        interval: (median.confidence_interval.lower_bound, median.confidence_interval.upper_bound),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As criterion 0.8 writes them.
    const NAME: &str = r#"{"group_id":"signing: nonce aggregation","function_id":"musig2","value_str":"1000",
        "throughput":null,"full_id":"signing: nonce aggregation/musig2/1000",
        "directory_name":"signing_ nonce aggregation/musig2/1000","title":"signing: nonce aggregation/musig2/1000"}"#;
    const ESTIMATES: &str = r#"{
        "mean":{"confidence_interval":{"confidence_level":0.95,"lower_bound":1.0,"upper_bound":2.0},
            "point_estimate":1.5,"standard_error":0.1},
        "median":{"confidence_interval":{"confidence_level":0.95,"lower_bound":390.5,"upper_bound":411.0},
            "point_estimate":400.0,"standard_error":0.1},
        "median_abs_dev":{"confidence_interval":{"confidence_level":0.95,"lower_bound":5.0,"upper_bound":12.0},
            "point_estimate":10.0,"standard_error":0.1},
        "slope":null,
        "std_dev":{"confidence_interval":{"confidence_level":0.95,"lower_bound":1.0,"upper_bound":2.0},
            "point_estimate":1.5,"standard_error":0.1}}"#;

    #[test]
    fn the_median_and_its_noise_are_read() {
        let found = measured(NAME, ESTIMATES).unwrap();
        let expected = Measured {
            operation: "signing: nonce aggregation".to_owned(),
            who: "musig2".to_owned(),
            size: Some(1000),
            median: 400.0,
            deviation: 10.0,
            interval: (390.5, 411.0),
        };
        assert_eq!(found, expected);
        assert_eq!(found.spread(), 0.025);
    }

    #[test]
    fn folders_are_searched_and_older_results_are_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        for (place, name) in [
            ("g/musig2/1000/new", NAME.to_owned()),
            ("g/musig2/1000/base", NAME.replace("1000", "7")),
            ("g/20/new", NAME.replace("1000", "20").replace("\"musig2\"", "null")),
        ] {
            let path = folder.path().join(place);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("benchmark.json"), name).unwrap();
            fs::write(path.join("estimates.json"), ESTIMATES).unwrap();
        }
        let found = read(folder.path()).unwrap();
        let names: Vec<_> = found.iter().map(|one| (one.who.as_str(), one.size)).collect();
        assert_eq!(names, [("ours", Some(20)), ("musig2", Some(1000))]);
    }

    #[test]
    fn errors_say_where() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("no results in {}", folder.path().display())), "{error}");
        let path = folder.path().join("g/new");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("benchmark.json"), "{}").unwrap();
        fs::write(path.join("estimates.json"), ESTIMATES).unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()) && error.contains("group_id"), "{error}");
    }
}
