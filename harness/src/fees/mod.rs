//! What does a factory cost? Sizes and fees of transactions that are really signed, against the same channels without a
//! factory.
//!
//! For every factory that a [`Question`] names, all transactions are signed by everybody, with the seed's keys: the funding F,
//! the allocation A, every channel close C_i, a refund R_i of every channel, and the factory close FC, which pays exactly
//! f_A + Σ f_Ci. Each way out is then confirmed on a chain in memory, which holds every witness, amount and lock to
//! consensus, and what was confirmed is measured. No size comes from a formula; the formulas stand beside the sizes.
//!
//! # The ways
//!
//! All outputs that pay somebody, and all inputs that come from outside, are P2TR.
//!
//! - [`Way::Cooperative`]: F and FC. F has one input of the operator's, the factory output and change; FC one output for
//!   each member and one for the operator.
//! - [`Way::Fallback`]: F, A and every C_i, with an output for each side.
//! - [`Way::Unilateral`]: F, A and every R_i, with a balance on each side that is no dust, and no HTLC. An HTLC would add an
//!   output of 43 vB, and a transaction that claims it.
//! - [`Way::Separate`]: the same channels without a factory. Each is opened by a transaction of its own, with one input of the
//!   operator's, the channel and change, and closed by one with an output for each side.
//! - [`Way::Batched`]: the same, but one transaction with one input opens all channels, with one change output.
//!
//! Every channel, in a factory or not, is a 2-of-2 of the same kind of lock, holds the same and ends half and half. F and
//! what opens channels without a factory is of version 2; all else is of the version that was asked for. The version changes
//! no size; but in version 3 (BIP 431) an unconfirmed A has at most one child, so all but one C_i or R_i wait for A.
//!
//! Every transaction but FC pays the feerate by its size, where signatures have no fixed length by the most that it can be;
//! fees are rounded up, each by itself.

mod csv;
mod measure;
mod plot;
mod published;
mod question;
mod report;
mod schema;
mod sign;
#[cfg(test)]
mod tests;
mod text;

pub use csv::{transactions_csv, ways_csv};
pub use plot::plots;
pub use question::{FeesError, Question};
pub use report::{
    CloseFee, FORMAT, FactoryReport, FeesReport, LeftOut, Published, Shape, Tx, TxReport, Way, WayReport,
};
pub use schema::schema;
pub use text::markdown;
