//! What goes into a party, and what comes out.

use std::fmt;
use std::sync::Arc;

use bitcoin::{Amount, OutPoint, Transaction};
use serde::{Deserialize, Serialize};

use super::Message;
use super::record::Key;
use crate::channel::Change;
use crate::name::{Party, TxName};
use crate::tx::Complete;

/// What happens to a party.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message arrives.
    Message {
        /// Who sent it, as the link knows.
        from: Party,
        /// The message.
        message: Message,
    },
    /// The party's user wants something.
    Command(Command),
    /// The party's view of the chain has a new block.
    Block(Block),
}

/// A block of the chain, as far as it matters to a party.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its height. One that is not above the last takes its place, and that of all after it: a reorganisation. After a
    /// restart a party must be shown all blocks from one that is surely on its branch of the chain; more is harmless, once
    /// it has been told how far the chain has come, by its `catch_up_until`.
    pub height: u32,
    /// At least the transactions that create or spend what the party watches, in their order.
    pub txs: Vec<Arc<Transaction>>,
}

/// What a user can ask of a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Operator: invite the members. Repeated, it asks again for what is missing until all hold the allocation.
    Open,
    /// Propose a change of a channel's state to the other side.
    Update {
        /// The other side: for a member, always the operator.
        with: Party,
        /// The change.
        change: Change,
    },
    /// Take what an HTLC holds that was offered to this party: by an update, or on chain once there is no time left.
    Claim {
        /// The other side.
        with: Party,
        /// The HTLC's number.
        id: u32,
        /// The preimage of its hash.
        preimage: [u8; 32],
    },
    /// Operator: freeze every channel and have every channel close signed. Repeated, it asks again.
    SignCloses,
    /// Operator: have the factory close signed. Repeated, it asks again.
    SignFactoryClose,
    /// Broadcast a transaction that the party holds complete, and again with every block until it is confirmed.
    Publish(TxName),
    /// Give up on the others: publish the allocation, and then what pays this party.
    FallBack,
}

/// What a party wants done, in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Store a record anew, as the party's `record` gives it, before anything that follows is done.
    Persist(Key),
    /// Send a message.
    Send {
        /// To whom.
        to: Party,
        /// The message.
        message: Message,
    },
    /// Broadcast a transaction. It may be known already, or be refused: the party tries again with the next block.
    Broadcast {
        /// Its name.
        name: TxName,
        /// The transaction.
        tx: Arc<Complete>,
    },
    /// Watch the chain: a block must show what creates this output, and what spends it.
    Watch(OutPoint),
    /// Tell the user what happened.
    Report(Event),
}

/// What happened to a party, for its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Operator: a member joined.
    Joined {
        /// The member's number.
        member: u32,
    },
    /// The party holds a transaction complete, its signatures verified.
    Complete(TxName),
    /// Operator: every other signer of a transaction has acknowledged that it holds it complete.
    HeldByAll(TxName),
    /// Operator: every party holds the allocation, so the funding is broadcast.
    FundingReady,
    /// A transaction's signatures came out wrong, because of these parties. They are found only when all shares are
    /// there. The session is over; the next block, or the command repeated, begins another.
    WrongShares {
        /// The transaction.
        tx: TxName,
        /// Whose shares are wrong.
        culprits: Vec<Party>,
    },
    /// Both sides of a channel have seen the funding confirmed: it can be used.
    Live {
        /// The member whose channel it is.
        channel: u32,
    },
    /// A channel has a new state, and this party holds its refund.
    Updated {
        /// The member whose channel it is.
        channel: u32,
        /// Who proposed it.
        by: Party,
        /// What changed.
        change: Change,
        /// The number of the state.
        state: u32,
    },
    /// Member: its proposal crossed with one of the operator, which goes first. Nothing has changed.
    PutOff {
        /// The member whose channel it is.
        channel: u32,
        /// What it had proposed.
        change: Change,
        /// The number of the state that it would have made.
        state: u32,
    },
    /// A transaction is in a block of the party's view of the chain, as deep as the terms say.
    Confirmed(TxName),
    /// The party goes on without the others: it publishes what it holds.
    FellBack {
        /// How far it was.
        phase: Phase,
        /// Why.
        cause: Cause,
        /// Who is to blame, where that can be known.
        culprits: Vec<Party>,
    },
    /// The party has given the factory up before any money was in it.
    Aborted {
        /// How far it was.
        phase: Phase,
        /// Why.
        cause: Cause,
        /// Who is to blame, where that can be known.
        culprits: Vec<Party>,
    },
    /// Somebody has taken an HTLC of this party on chain, and shown its preimage.
    Preimage {
        /// The member whose channel it was in.
        channel: u32,
        /// The HTLC's number.
        id: u32,
        /// The preimage of its hash.
        preimage: [u8; 32],
    },
    /// A channel output was spent by a transaction that this party no longer knows: a state older than those it keeps.
    OldState {
        /// The member whose channel it is.
        channel: u32,
    },
    /// The party's money is all out of the factory.
    Closed,
}

/// Why a party goes on without the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Somebody did not answer for as many blocks as the terms say.
    Silence,
    /// An HTLC has to be taken on chain before it expires, or taken back since it has expired.
    HtlcExpiry,
    /// Somebody has published the allocation, and it is confirmed.
    AllocationConfirmed,
    /// The user wanted it.
    Command,
}

/// How far a party is. Phases only move forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Nothing has happened yet.
    New,
    /// Operator: waits for members to join. Member: has joined.
    Joining,
    /// The factory is known, and the first refund of each channel is being signed.
    SigningRefunds,
    /// The allocation is being signed. Operator: every refund is held by both sides. Member: it holds its own.
    SigningAllocation,
    /// Waits until the funding is confirmed deep enough. Operator: every party holds the allocation. Member: it does.
    Funding,
    /// Operator: every channel is live. Member: its channel is.
    Live,
    /// Channels are frozen, and their closes are being signed.
    SigningCloses,
    /// Operator: every member holds its channel's close. Member: it does.
    ClosesSigned,
    /// The factory close is being signed.
    SigningFactoryClose,
    /// The party holds the factory close.
    FactoryCloseSigned,
    /// The party goes on without the others, by the allocation and what spends it.
    OnChain,
    /// Transactions that pay the party everything are confirmed deep enough.
    Closed,
    /// The factory was given up before any money was in it.
    Aborted,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Phase::New => "new",
            Phase::Joining => "joining",
            Phase::SigningRefunds => "signing the refunds",
            Phase::SigningAllocation => "signing the allocation",
            Phase::Funding => "funding",
            Phase::Live => "live",
            Phase::SigningCloses => "signing the closes",
            Phase::ClosesSigned => "closes signed",
            Phase::SigningFactoryClose => "signing the factory close",
            Phase::FactoryCloseSigned => "factory close signed",
            Phase::OnChain => "on chain",
            Phase::Closed => "closed",
            Phase::Aborted => "aborted",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Cause::Silence => "no answer",
            Cause::HtlcExpiry => "an HTLC's expiry",
            Cause::AllocationConfirmed => "the allocation is confirmed",
            Cause::Command => "by command",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Joined { member } => write!(f, "m{member} joined"),
            Event::Complete(tx) => write!(f, "holds {tx}"),
            Event::HeldByAll(tx) => write!(f, "every signer holds {tx}"),
            Event::FundingReady => write!(f, "every party holds the allocation: funding goes out"),
            Event::WrongShares { tx, culprits } => write!(f, "wrong shares of {tx}{}", blamed(culprits)),
            Event::Live { channel } => write!(f, "channel of m{channel} is live"),
            Event::Updated { channel, by, change, state } => {
                write!(f, "{by} {change} in state {state} of the channel of m{channel}")
            }
            Event::PutOff { channel, change, state } => {
                write!(f, "put off: m{channel} {change} in state {state} of its channel")
            }
            Event::Confirmed(tx) => write!(f, "{tx} is confirmed deep enough"),
            Event::FellBack { phase, cause, culprits } => {
                write!(f, "goes on chain in phase `{phase}`: {cause}{}", blamed(culprits))
            }
            Event::Aborted { phase, cause, culprits } => {
                write!(f, "gives up in phase `{phase}`: {cause}{}", blamed(culprits))
            }
            Event::Preimage { channel, id, .. } => {
                write!(f, "HTLC {id} of the channel of m{channel} was taken on chain: its preimage is known")
            }
            Event::OldState { channel } => write!(f, "an old state of the channel of m{channel} is confirmed"),
            Event::Closed => write!(f, "closed"),
        }
    }
}

fn blamed(culprits: &[Party]) -> String {
    if culprits.is_empty() {
        return String::new();
    }
    format!(" from {}", culprits.iter().map(Party::to_string).collect::<Vec<_>>().join(", "))
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sat = |amount: &Amount| amount.to_sat();
        match self {
            Change::Pay { amount } => write!(f, "paid {} sat", sat(amount)),
            Change::AddHtlc { amount, expiry, .. } => {
                write!(f, "offered an HTLC of {} sat until block {expiry}", sat(amount))
            }
            Change::FulfilHtlc { id, .. } => write!(f, "took HTLC {id}"),
            Change::FailHtlc { id } => write!(f, "failed HTLC {id}"),
        }
    }
}
