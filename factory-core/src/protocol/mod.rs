//! How the parties come to sign the transactions, and what they do when others fail: state machines without input or
//! output.
//!
//! An [`Operator`] and its [`Member`]s take one [`Input`] at a time and return [`Effect`]s. Whoever drives them carries
//! the messages, stores the records, broadcasts the transactions and shows them the chain. A link must say truly who
//! sent a message; beyond that, messages may be lost, come twice, late, and in another order: with every block the
//! parties ask again for what is missing.
//!
//! # A lifecycle
//!
//! 1. [`Command::Open`]: the operator invites every member; those who agree join with their keys. The operator builds
//!    the funding, signs it and keeps it back. Everybody gets the factory.
//! 2. The first refund of each channel is signed, then the allocation. When every member has acknowledged that it holds
//!    the complete allocation, the operator broadcasts the funding: until then only abandoning the plan can come of it.
//! 3. Once the funding is deep enough in a party's own view of the chain, that party tells the other side of its
//!    channel so. A channel is live when both sides have seen it.
//! 4. [`Command::Update`]: the two sides of a channel go from one state to the next. Each state has a refund, with a
//!    shorter relative lock than the one before.
//! 5. [`Command::SignCloses`]: every channel, quiescent, is frozen at its last state, and its close is signed.
//! 6. [`Command::SignFactoryClose`]: when every member holds its channel's close, the factory close is signed, all of
//!    its variants at once.
//! 7. [`Command::Publish`]: a party broadcasts what it holds, with every block until it is confirmed; of a fee ladder
//!    the next rung, after as many blocks as the terms' patience.
//!
//! What all parties sign is signed in two rounds: a proposal, nonces from each signer, the aggregate nonces to each,
//! shares from each, the operator's own last, the witnesses to each, and an acknowledgement from each. What the two
//! sides of a channel sign takes four messages: the proposal with a nonce, the other side's nonce and share, the
//! complete witness, and an acknowledgement. So who proposes signs last, and the other side has to reckon with a state
//! that it has signed and does not hold: [`ChannelEnd::enforceable`] says which states those are.
//!
//! # When others fail
//!
//! A party waits for others for as many blocks as the terms say; members wait twice as long as the operator, who has to
//! wait for other members, too. Then it gives up, if the money is not in the factory yet ([`Event::Aborted`]), or goes on
//! chain ([`Event::FellBack`]): it publishes the allocation, and once that is confirmed its channel's close, or the
//! refund of its newest state as soon as the lock has passed, and then claims the HTLCs. It does so too when an HTLC is
//! about to expire, or when somebody else has published the allocation. Who holds the factory close publishes that.
//!
//! # What is stored
//!
//! [`Effect::Persist`] names a record that must be stored before the effects after it are carried out. A party that is
//! restored from its records goes on where they end. Secret nonces are never in them: signing sessions that were under
//! way are begun anew with fresh nonces, and a party never releases shares twice in one session. That holds only if a
//! restored party's random numbers are not those that it drew before.

mod ceremony;
mod channel_end;
mod check;
mod error;
mod event;
mod member;
mod message;
mod operator;
mod record;
mod roster;
mod stake;
mod user;

pub use channel_end::ChannelEnd;
pub use check::Mismatch;
pub use error::{ProtocolError, Reason};
pub use event::{Block, Cause, Command, Effect, Event, Input, Phase};
pub use member::{Agreement, Member};
pub use message::{
    Body, Content, Exchange, Joint, MAX_MESSAGE_BYTES, Message, Proposal, Proposed, Slot, Step, WIRE_VERSION,
    WireWitness,
};
pub use operator::Operator;
pub use record::{Key, MAX_SNAPSHOT_BYTES, RECORD_VERSION, Snapshot};
