//! What goes into a party, and what comes out.

use std::fmt;
use std::sync::Arc;

use bitcoin::{Amount, Txid};

use super::Message;
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
    /// The party's view of the chain has a transaction with so many confirmations.
    Confirmed {
        /// The transaction.
        tx: TxName,
        /// How many blocks deep it is; 1 in the newest block.
        confirmations: u32,
    },
}

/// What a user can ask of a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Operator: invite the members. Repeated, it asks again for what is missing until all hold the allocation.
    Open,
    /// Pay the other side of a channel.
    Pay {
        /// The other side: for a member, always the operator.
        to: Party,
        /// How much.
        amount: Amount,
    },
    /// Operator: freeze every channel and have every channel close signed.
    SignCloses,
    /// Operator: have the factory close signed.
    SignFactoryClose,
    /// Broadcast a transaction that the party holds complete.
    Publish(TxName),
}

/// What a party wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send a message.
    Send {
        /// To whom.
        to: Party,
        /// The message.
        message: Message,
    },
    /// Broadcast a transaction.
    Broadcast {
        /// Its name.
        name: TxName,
        /// The transaction.
        tx: Arc<Complete>,
    },
    /// Watch the chain, and say when a transaction is that deep, with [`Input::Confirmed`].
    Watch {
        /// Its name.
        tx: TxName,
        /// Its identifier.
        txid: Txid,
        /// The number of confirmations.
        confirmations: u32,
    },
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
    /// The party holds a transaction complete, its signature verified.
    Complete(TxName),
    /// Operator: every other signer of a transaction has acknowledged that it holds it complete.
    HeldByAll(TxName),
    /// Operator: every party holds the allocation, so the funding is broadcast.
    FundingReady,
    /// Operator: a transaction's signature came out wrong, because of these members. They are found only when all
    /// partial signatures are there. The session is over; to repeat the command begins another.
    WrongPartials {
        /// The transaction.
        tx: TxName,
        /// Whose partial signatures are wrong.
        culprits: Vec<Party>,
    },
    /// Both sides of a channel have seen the funding confirmed: it can be used.
    Live {
        /// The member whose channel it is.
        channel: u32,
    },
    /// A payment has been made, either way.
    Paid {
        /// The member whose channel it is.
        channel: u32,
        /// Who paid.
        payer: Party,
        /// How much.
        amount: Amount,
        /// The number of the state that it made.
        state: u64,
    },
    /// Member: its payment crossed with a payment or a close of the operator, which goes first. Nothing was paid.
    PutOff {
        /// The member whose channel it is.
        channel: u32,
        /// How much was to be paid.
        amount: Amount,
        /// The number of the state that it would have made.
        state: u64,
    },
    /// A transaction is deep enough in the party's view of the chain.
    Confirmed(TxName),
    /// The party's money is all out of the factory.
    Closed,
}

/// How far a party is. Phases only move forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Nothing has happened yet.
    New,
    /// Operator: waits for members to join. Member: has joined.
    Joining,
    /// The factory is known, and its allocation is being signed.
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
    /// Transactions that pay the party everything are confirmed deep enough.
    Closed,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Phase::New => "new",
            Phase::Joining => "joining",
            Phase::SigningAllocation => "signing the allocation",
            Phase::Funding => "funding",
            Phase::Live => "live",
            Phase::SigningCloses => "signing the closes",
            Phase::ClosesSigned => "closes signed",
            Phase::SigningFactoryClose => "signing the factory close",
            Phase::FactoryCloseSigned => "factory close signed",
            Phase::Closed => "closed",
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
            Event::WrongPartials { tx, culprits } => {
                let culprits: Vec<_> = culprits.iter().map(Party::to_string).collect();
                write!(f, "wrong partial signatures for {tx} from {}", culprits.join(", "))
            }
            Event::Live { channel } => write!(f, "channel of m{channel} is live"),
            Event::Paid { channel, payer, amount, state } => {
                write!(f, "{payer} paid {} sat in state {state} of the channel of m{channel}", amount.to_sat())
            }
            Event::PutOff { channel, amount, state } => {
                write!(f, "payment of {} sat in state {state} of the channel of m{channel} put off", amount.to_sat())
            }
            Event::Confirmed(tx) => write!(f, "{tx} is confirmed deep enough"),
            Event::Closed => write!(f, "closed"),
        }
    }
}
