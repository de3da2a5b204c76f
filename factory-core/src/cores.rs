//! Work of which there may be much, shared among the cores.

use rayon::prelude::*;

/// From so many pieces of work on they are shared: to wake another core takes as long as a signature or two.
const WORTH_SHARING: usize = 16;

/// `work` on each of these, in their order; on all cores, where there are many.
pub(crate) fn map<T: Send, R: Send>(pieces: Vec<T>, work: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    if pieces.len() < WORTH_SHARING {
        pieces.into_iter().map(work).collect()
    } else {
        pieces.into_par_iter().map(work).collect()
    }
}
