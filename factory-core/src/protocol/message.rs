//! What the parties say to each other.

use std::sync::Arc;

use bitcoin::Amount;
use secp256k1::musig::{AggregatedNonce, PartialSignature, PublicNonce};
use secp256k1::schnorr;

use crate::factory::{Digest, Factory};
use crate::keys::MemberPublic;
use crate::name::TxName;
use crate::terms::Offer;
use crate::tx::FactoryClose;

/// A message between the operator and one member.
#[derive(Clone, Debug)]
pub enum Message {
    /// The operator invites a member.
    Invite {
        /// The member's number in the agreed order.
        member: u32,
        /// The value of its channel.
        capacity: Amount,
        /// The conditions that hold for everybody alike.
        offer: Offer,
    },
    /// A member joins, with its keys and its payout script.
    Join(MemberPublic),
    /// The factory that the operator has made of all that joined.
    Factory(Arc<Factory>),
    /// Everything after that, and which factory it is about.
    About {
        /// The factory.
        factory: Digest,
        /// What there is to say about it.
        body: Body,
    },
}

/// A message about one factory.
#[derive(Clone, Debug)]
pub enum Body {
    /// A step in the signing of a transaction.
    Sign {
        /// Which transaction.
        tx: TxName,
        /// The number of the signing session, from 1. A later session of the same transaction supersedes an earlier.
        session: u32,
        /// The step.
        step: Step,
    },
    /// The sender has seen the funding confirmed deep enough.
    Ready,
    /// The sender pays the receiver.
    Pay {
        /// The number of the state that this makes.
        state: u64,
        /// How much.
        amount: Amount,
    },
    /// The sender has accepted the payment that makes this state.
    Paid {
        /// The number of the state.
        state: u64,
    },
}

/// A step in the signing of a transaction, in their order.
#[derive(Clone, Debug)]
pub enum Step {
    /// The operator proposes what to sign.
    Propose(Proposal),
    /// A member's public nonce.
    Nonce(PublicNonce),
    /// The operator's aggregate of all nonces, its own among them.
    Aggregate(AggregatedNonce),
    /// A member's partial signature.
    Partial(PartialSignature),
    /// The signature, from the operator.
    Signature(schnorr::Signature),
    /// A member holds the complete transaction.
    Held,
}

/// What is to be signed. Each party derives the transaction itself.
#[derive(Clone, Debug)]
pub enum Proposal {
    /// The allocation, which follows from the factory.
    Allocation,
    /// The close of the receiver's channel.
    Close {
        /// What the member has in the end.
        balance: Amount,
        /// The number of the state in which it has that.
        state: u64,
    },
    /// The factory close.
    FactoryClose(Arc<FactoryClose>),
}
