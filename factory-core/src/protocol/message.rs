//! What the parties say to each other, and how it becomes bytes.

use std::sync::Arc;

use bitcoin::{Amount, Transaction, Witness};
use serde::{Deserialize, Serialize};

use crate::channel::Change;
use crate::encoding::{self, DecodeError};
use crate::factory::{Digest, Factory};
use crate::keys::MemberPublic;
use crate::lock::{AggregateNonce, Nonce, Share};
use crate::terms::Offer;
use crate::tx::Unsigned;

/// The version of the messages' encoding: their first byte.
pub const WIRE_VERSION: u8 = 1;

/// The longest message, in bytes: more than the factory close of the largest factory needs with every rung of its fee
/// ladder. Nothing longer is decoded.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// A message between the operator and one member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Message {
    /// The operator invites a member.
    Invite {
        /// The member's number in the agreed order.
        member: u32,
        /// The value of its channel.
        #[serde(with = "bitcoin::amount::serde::as_sat")]
        capacity: Amount,
        /// The conditions that hold for everybody alike.
        #[serde(with = "encoding::shared")]
        offer: Arc<Offer>,
    },
    /// A member joins, with its keys and its payout script.
    Join(Box<MemberPublic>),
    /// The factory that the operator has made of all that joined.
    Factory(#[serde(with = "encoding::shared")] Arc<Factory>),
    /// Everything after that, and which factory it is about.
    About {
        /// The factory.
        factory: Digest,
        /// What there is to say about it.
        body: Body,
    },
}

/// A message about one factory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Body {
    /// A step in the signing of what all parties sign together.
    Sign {
        /// What they sign.
        joint: Joint,
        /// The number of the signing session, from 1. A later session supersedes an earlier.
        session: u32,
        /// The step.
        step: Step,
    },
    /// A step in the signing of what the two sides of the channel sign.
    Channel(Box<Exchange>),
    /// The sender has seen the funding confirmed deep enough.
    Ready,
}

/// What all parties sign together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Joint {
    /// The allocation.
    Allocation,
    /// The factory close, in all its variants.
    FactoryClose,
}

/// A step in the signing of what all parties sign, in their order. Each holds one entry per variant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Step {
    /// The operator proposes what to sign.
    Propose(#[serde(with = "encoding::shared")] Arc<Proposal>),
    /// A member's public nonces.
    Nonces(Vec<Nonce>),
    /// The operator's aggregates of all nonces, its own among them.
    Aggregates(#[serde(with = "encoding::shared")] Arc<Vec<AggregateNonce>>),
    /// A member's shares of the signatures.
    Shares(Vec<Share>),
    /// The complete witnesses, from the operator.
    Signatures(#[serde(with = "encoding::shared")] Arc<Vec<WireWitness>>),
    /// A member holds the complete transactions.
    Held,
}

/// What is to be signed by all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Proposal {
    /// The allocation, which follows from the factory.
    Allocation(Proposed),
    /// The factory close.
    FactoryClose {
        /// What every member has in the end, in the agreed order.
        #[serde(with = "encoding::amounts")]
        balances: Arc<[Amount]>,
        /// The variants, by rising premium.
        rungs: Vec<Proposed>,
    },
}

/// A transaction as it is proposed. Whoever gets it compares it with what it derives itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    /// The transaction, without a witness.
    #[serde(with = "shared_transaction")]
    pub tx: Arc<Transaction>,
    /// The number of the sighash type that its signatures commit with.
    pub sighash: u8,
}

/// A witness on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireWitness(#[serde(with = "encoding::consensus")] pub Witness);

/// A step in the signing of what the two sides of a channel sign: a refund or the channel close. Who proposes signs last,
/// so it holds the transaction first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Exchange {
    /// The sender proposes a state of the channel, or its close.
    Propose {
        /// Counts the sender's proposals in this channel; the answer repeats it.
        attempt: u32,
        /// What it proposes.
        content: Content,
        /// The transaction that follows.
        proposed: Proposed,
        /// The sender's nonce.
        nonce: Nonce,
    },
    /// The sender agrees, and signs first.
    Accept {
        /// The attempt that this answers.
        attempt: u32,
        /// The sender's nonce.
        nonce: Nonce,
        /// Its share of the signature.
        share: Share,
    },
    /// The proposer's answer: the complete witness.
    Complete {
        /// Of what.
        slot: Slot,
        /// The witness.
        witness: WireWitness,
    },
    /// The sender holds the complete transaction.
    Held {
        /// Which.
        slot: Slot,
    },
}

/// What the two sides of a channel agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// The first state: all of the channel is the operator's.
    FirstState,
    /// A state.
    State {
        /// The number of the state that it is built on: the newest that the sender knows to be signed by either side.
        base: u32,
        /// What the sender changes.
        change: Change,
    },
    /// The channel close.
    Close {
        /// The number of the state that it settles.
        state: u32,
        /// What the member has in that.
        #[serde(with = "bitcoin::amount::serde::as_sat")]
        balance: Amount,
    },
}

/// What the two sides of a channel hold a transaction for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slot {
    /// A state, by its number.
    State(u32),
    /// The close.
    Close,
}

impl Message {
    /// The message as bytes: a version byte, then `postcard`.
    pub fn encode(&self) -> Vec<u8> {
        encoding::to_versioned(WIRE_VERSION, self)
    }

    /// The message that `bytes` are.
    ///
    /// # Errors
    ///
    /// [`DecodeError`], if they are none, or are longer than [`MAX_MESSAGE_BYTES`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        encoding::from_versioned(WIRE_VERSION, MAX_MESSAGE_BYTES, bytes)
    }
}

impl Proposed {
    pub(super) fn new(unsigned: &Unsigned, sighash: u8) -> Self {
        Proposed { tx: unsigned.transaction().clone(), sighash }
    }
}

mod shared_transaction {
    use std::sync::Arc;

    use bitcoin::Transaction;
    use serde::{Deserializer, Serializer};

    use crate::encoding::consensus;

    pub(super) fn serialize<S: Serializer>(tx: &Arc<Transaction>, serializer: S) -> Result<S::Ok, S::Error> {
        consensus::serialize(tx.as_ref(), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Transaction>, D::Error> {
        consensus::deserialize(deserializer).map(Arc::new)
    }
}
