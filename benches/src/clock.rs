//! Time that others on the machine cannot take away: the processor's, not the wall's.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// For how long this thread has had a processor.
pub fn thread() -> Duration {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// For how long all threads of this process have had a processor, together.
pub fn process() -> Duration {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).expect("every kernel has this clock").into()
}
