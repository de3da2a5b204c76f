//! The transactions of a factory, derived from its terms.
//!
//! Each but the funding spends one output by a key path and pays to pay-to-taproot outputs, so their sizes follow from
//! the number of outputs alone ([`size`]).

pub(crate) mod allocation;
pub mod channel_close;
mod factory_close;
pub mod funding;
pub mod size;
mod spend;

pub use factory_close::FactoryClose;
pub use spend::{Complete, InvalidSignature, Unsigned};

use bitcoin::Sequence;
use bitcoin::absolute::LockTime;

/// The locktime of every transaction: none.
pub const LOCK_TIME: LockTime = LockTime::ZERO;

/// The sequence of every input: replaceable by opting in (BIP 125), without a relative lock.
pub const SEQUENCE: Sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;
