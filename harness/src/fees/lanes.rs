//! Work on all processors at once.

use std::num::NonZero;

/// Makes `count` things on all processors, in their order.
///
/// # Errors
///
/// The first that is one.
pub(super) fn each<T: Send, E: Send>(count: u32, make: impl Fn(u32) -> Result<T, E> + Sync) -> Result<Vec<T>, E> {
    let lanes = std::thread::available_parallelism().map_or(1, NonZero::get) as u32;
    let share = count.div_ceil(lanes).max(1);
    let make = &make;
    std::thread::scope(|scope| {
        let work = |from: u32| move || (from..count.min(from + share)).map(make).collect::<Result<Vec<T>, E>>();
        let lanes: Vec<_> = (0..count).step_by(share as usize).map(|from| scope.spawn(work(from))).collect();
        let mut made = Vec::with_capacity(count as usize);
        for lane in lanes {
            made.extend(lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(made)
    })
}
