//! How the parties come to sign the transactions: state machines without input or output.
//!
//! An [`Operator`] and its [`Member`]s take one [`Input`] at a time and return [`Effect`]s. Whoever drives them carries
//! the messages, broadcasts the transactions and watches the chain. Each link must keep the order of its messages and
//! say truly who sent them; beyond that, messages may come late and more than once.
//!
//! # A lifecycle
//!
//! 1. [`Command::Open`]: the operator invites every member; those who agree join with their keys. The operator builds
//!    the funding, signs it and keeps it back. Everybody gets the factory, and the allocation is signed.
//! 2. When every member has acknowledged that it holds the complete allocation, the operator broadcasts the funding.
//! 3. Once it is deep enough in a party's own view of the chain, that party tells the other side of its channel so. A
//!    channel is live when both sides have seen it.
//! 4. [`Command::Pay`]: the two sides of a channel agree on a new balance.
//! 5. [`Command::SignCloses`]: every channel is frozen at its balance, and its close is signed.
//! 6. [`Command::SignFactoryClose`]: when every member holds its channel's close, the factory close is signed.
//! 7. [`Command::Publish`]: a party broadcasts what it holds complete.
//!
//! All transactions but the funding are signed in the same way: a proposal, a nonce from each signer, the aggregate
//! nonce to each, a partial signature from each, the operator's own last, the signature to each, and an
//! acknowledgement from each that it holds the complete transaction. Repeating a command asks again for what is not
//! done: a signing session that failed or hangs is begun anew, with fresh nonces, for the same transaction.
//!
//! # What a payment is worth
//!
//! A payment changes the balance that both sides have agreed on, and that the closes will pay. The balance is backed
//! by signatures only from the channel's close on: until then nothing makes the other side sign it.

mod ceremony;
mod check;
mod end;
mod error;
mod event;
mod member;
mod message;
mod operator;
mod roster;

pub use check::Mismatch;
pub use error::{ProtocolError, Reason};
pub use event::{Command, Effect, Event, Input, Phase};
pub use member::{Agreement, Member};
pub use message::{Body, Message, Proposal, Step};
pub use operator::Operator;
