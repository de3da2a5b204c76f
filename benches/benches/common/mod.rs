//! What is measured, how long and how often: enough for a spread, and little enough for all benches in ten minutes.

use std::time::Duration;

use benches::clock;
use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};

/// The time for which the measuring thread has a processor. On a machine that others use, too, it is what the wall's time
/// would be without them.
pub struct CpuTime;

/// Criterion, set for what takes less than some milliseconds.
pub fn settings() -> Criterion<CpuTime> {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20)
        .nresamples(2_000)
        .with_measurement(CpuTime)
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        clock::thread()
    }

    fn end(&self, began: Duration) -> Duration {
        clock::thread() - began
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}
