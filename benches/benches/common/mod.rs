//! How long and how often is measured: enough for a spread, and little enough for all benches in ten minutes.

use std::time::Duration;

use criterion::Criterion;

/// For what takes less than some milliseconds.
pub fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20)
        .nresamples(2_000)
}
