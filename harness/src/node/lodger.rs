//! Programs that run beside a node, each in a thread of its own inside the node's.

use bitcoind::BitcoinD;

/// A program that runs beside a node, and not longer than it.
pub(crate) struct Lodger {
    /// Starts the program, and returns when it has ended. The thread that runs this is the program's parent.
    pub(crate) stay: Box<dyn FnOnce(&BitcoinD) + Send>,
    /// Makes `stay` return soon, wherever it is.
    pub(crate) end: Box<dyn FnOnce() + Send>,
}
