//! The transactions of a factory, derived from its terms.
//!
//! The allocation, the refunds, the channel closes and the factory close each spend one output that a [`Lock`] guards;
//! their sizes follow from the kind of lock and the number of outputs alone ([`size`]).
//!
//! [`Lock`]: crate::Lock

pub(crate) mod allocation;
pub mod channel_close;
mod factory_close;
pub mod funding;
pub mod htlc;
pub mod refund;
pub mod size;
mod spend;
pub mod transfer;

pub use factory_close::FactoryClose;
pub use spend::{Complete, InvalidSignature, Unsigned};

use bitcoin::Sequence;
use bitcoin::absolute::LockTime;

/// The locktime of every transaction that several parties sign: none.
pub const LOCK_TIME: LockTime = LockTime::ZERO;

/// The sequence of every input but a refund's: replaceable by opting in (BIP 125), without a relative lock.
pub const SEQUENCE: Sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;
