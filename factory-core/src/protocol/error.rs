//! Why a party refuses an input.

use std::fmt;

use super::record::Key;
use super::{Mismatch, Phase};
use crate::channel::{ChangeError, CloseError};
use crate::encoding::DecodeError;
use crate::factory::{Digest, FundingMismatch};
use crate::lock::ShareError;
use crate::name::{Party, TxName};
use crate::terms::TermsError;
use crate::tx::InvalidSignature;
use crate::tx::funding::NotEnoughMoney;

/// Returned when a party refuses an input. Its state is as it was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError {
    /// How far the party was.
    pub phase: Phase,
    /// Who sent what was refused, if it was a message.
    pub culprit: Option<Party>,
    /// What is wrong with it.
    pub reason: Reason,
}

impl std::error::Error for ProtocolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.reason)
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(culprit) = self.culprit {
            write!(f, "message from {culprit} refused")?;
        } else {
            write!(f, "refused")?;
        }
        write!(f, " in phase `{}`: {}", self.phase, self.reason)
    }
}

/// What is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Returned when a message is from somebody who has no business with this party.
    #[error("{0} has no channel with this party")]
    UnknownSender(Party),
    /// Returned when a payment is for somebody who has no business with this party.
    #[error("{0} has no channel with this party to be paid in")]
    UnknownPayee(Party),
    /// Returned when a command or a message does not belong in the phase.
    #[error("{0} does not belong here")]
    Unexpected(&'static str),
    /// Returned when a member is given a command that only the operator can carry out.
    #[error("only the operator can {0}")]
    OperatorOnly(&'static str),
    /// Returned when a message is about another factory.
    #[error("the message is about another factory: expected {expected}, found {found}")]
    OtherFactory {
        /// This party's factory.
        expected: Digest,
        /// The message's.
        found: Digest,
    },
    /// Returned when a message contradicts an earlier one.
    #[error("the {0} differs from the one before")]
    Contradiction(&'static str),
    /// Returned when a field is not what was agreed.
    #[error("{0}")]
    Mismatch(#[from] Mismatch),
    /// Returned when a member joins with a key that somebody else has.
    #[error("its {which} key is that of {owner}")]
    KeyTaken {
        /// `factory` or `channel`.
        which: &'static str,
        /// Who has it.
        owner: Party,
    },
    /// Returned when the parameters cannot make a factory.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// Returned when the operator cannot fund the factory.
    #[error(transparent)]
    Money(#[from] NotEnoughMoney),
    /// Returned when the funding does not pay to the factory.
    #[error(transparent)]
    Funding(#[from] FundingMismatch),
    /// Returned when a channel is not live yet.
    #[error("the channel of m{0} is not live")]
    NotLive(u32),
    /// Returned when a channel is frozen for its close.
    #[error("the channel of m{0} is frozen for its close")]
    Frozen(u32),
    /// Returned when a channel is to be updated that is on its way to the chain.
    #[error("the channel of m{0} is on its way to the chain")]
    OnChain(u32),
    /// Returned when something is proposed or half-signed in a channel already.
    #[error("an update is in flight in the channel of m{0}")]
    InFlight(u32),
    /// Returned when a channel is to be closed in which HTLCs are pending.
    #[error("{pending} HTLCs are pending in the channel of m{channel}")]
    HtlcsPending {
        /// The member whose channel it is.
        channel: u32,
        /// How many.
        pending: usize,
    },
    /// Returned when a state cannot follow another.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// Returned when a close is not possible.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// Returned when a party is to sign the factory close and does not hold what it replaces.
    #[error("it comes before this party holds {0}")]
    NotYetHeld(TxName),
    /// Returned when a signature is wrong.
    #[error(transparent)]
    Signature(#[from] InvalidSignature),
    /// Returned when a nonce or a share is not for the lock.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// Returned when a transaction cannot be published.
    #[error("cannot publish {tx}: {missing}")]
    CannotPublish {
        /// The transaction.
        tx: TxName,
        /// What is missing.
        missing: &'static str,
    },
    /// Returned when a stored record is not what this party stored.
    #[error("the record {key}: {error}")]
    Record {
        /// Which.
        key: Key,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// Returned when stored records do not belong together.
    #[error("the stored records do not belong together: {0}")]
    Records(&'static str),
}
