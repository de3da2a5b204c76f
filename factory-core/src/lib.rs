//! Single-funded Lightning channel factories, as a library without input or output.
//!
//! One *operator* funds a single on-chain output. Inside it, an *allocation transaction* that is kept off chain opens
//! one channel between the operator and each *member*. The only operation on the whole factory is its cooperative
//! close: the *factory close* spends the funding output directly to everybody's final balance. It is the cut-through
//! of the allocation and of every *channel close*, and pays the sum of their fees.
//!
//! # Goals
//!
//! - **The protocol and nothing else.** No clock, no network, no file, no global randomness: [`protocol::Operator`]
//!   and [`protocol::Member`] take one input and return effects, so the same code runs in a unit test, in a benchmark
//!   and against a real node.
//! - **Nobody trusts a message.** Every party derives each transaction from the [`Terms`] itself and checks what it
//!   is asked to sign before its partial signature leaves it.
//! - **Types carry the safety.** A secret nonce is consumed by signing, and cannot be copied or encoded; a
//!   [`tx::Complete`] transaction has had its signatures verified; [`Terms`] are valid once constructed.
//! - **Nothing is lost.** What a party must remember is stored before it acts on it; every wait has an end; each member
//!   ends with the same amount on every path. [`simulation`] plays out thousands of lifecycles in which everything goes
//!   wrong, and checks that.
//!
//! # Where to begin
//!
//! [`Terms`] say what a factory is, [`Factory`] binds them to a funding output, a [`Lock`] is one way to build its n-of-n,
//! [`State`] and [`Change`] are what channels go through, [`tx`] derives the transactions, and [`protocol`] is how the
//! parties come to sign them.

mod channel;
mod cores;
mod encoding;
mod factory;
mod fee;
mod keys;
mod lock;
mod name;
mod terms;

pub mod protocol;
pub mod replacement;
pub mod simulation;
pub mod tx;

pub use channel::{Change, ChangeError, ChannelRules, CloseError, Htlc, MAX_HTLCS, Split, State, hash_of};
pub use encoding::{DecodeError, VersionFound};
pub use factory::{ChannelOutput, Digest, Factory, FundingMismatch};
pub use fee::{FeeRule, FeeRuleError, MAX_RUNGS, fee};
pub use keys::{MemberKeys, MemberPublic, OperatorKeys, OperatorPublic, Wallet};
pub use lock::{AggregateNonce, Lock, LockError, LockKind, LockKindError, Nonce, Session, Share, ShareError, Signer};
pub use name::{Party, PartyNameError, TxName, TxNameError};
pub use terms::{
    Budget, DUST_LIMIT, MAX_STANDARD_WEIGHT, MAX_TRUC_VSIZE, MemberTerms, Offer, RefundLocks, Terms, TermsError,
    TxVersion,
};
