//! What the signers of a lock send each other: nonces and shares.

use secp256k1::musig::{AggregatedNonce, PartialSignature, PublicNonce};
use secp256k1::{Keypair, Message, PublicKey, ecdsa, musig, schnorr};
use serde::{Deserialize, Serialize};

use super::LockKind;

/// A signer's public nonce: 66 bytes for MuSig2 (BIP 327), nothing for locks without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nonce(pub(super) AnyNonce);

/// The nonces of all signers together: 66 bytes for MuSig2 (BIP 327), nothing for locks without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateNonce(pub(super) AnyAggregate);

/// What one signer owes: a partial signature (MuSig2, 32 bytes) or a signature of its own (64 bytes).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share(pub(super) AnyShare);

/// All that the signers must have in common before they sign one message.
#[derive(Clone, Debug)]
pub struct Session(pub(super) AnySession);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum AnyNonce {
    None,
    MuSig2(PublicNonce),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum AnyAggregate {
    None,
    MuSig2(AggregatedNonce),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum AnyShare {
    Partial(PartialSignature),
    Schnorr(schnorr::Signature),
    Ecdsa(LowS),
}

#[derive(Clone, Debug)]
pub(super) enum AnySession {
    None,
    MuSig2(musig::Session),
}

/// An ECDSA signature whose S is low, as nodes demand of what they relay (BIP 146). Its form in messages is R and S,
/// 32 bytes each: unlike DER it has one length and one encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "([u8; 32], [u8; 32])", try_from = "([u8; 32], [u8; 32])")]
pub(super) struct LowS(ecdsa::Signature);

/// Returned when an ECDSA signature is out of range or has a high S.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an ECDSA signature is out of range or has a high S")]
pub(super) struct NotLowS;

impl LowS {
    /// `key`'s signature of `message`, with the nonce of RFC 6979.
    pub(super) fn sign(message: &[u8; 32], key: &Keypair) -> Self {
        let mut signature = ecdsa::sign(Message::from_digest(*message), &key.secret_key());
        // libsecp256k1 makes only low S; this keeps what the type promises whatever signs.
        signature.normalize_s();
        LowS(signature)
    }

    /// The signature, which is low in S.
    pub(super) fn get(&self) -> &ecdsa::Signature {
        &self.0
    }
}

impl TryFrom<ecdsa::Signature> for LowS {
    type Error = NotLowS;

    fn try_from(signature: ecdsa::Signature) -> Result<Self, NotLowS> {
        let mut normal = signature;
        normal.normalize_s();
        if normal == signature { Ok(LowS(signature)) } else { Err(NotLowS) }
    }
}

impl TryFrom<([u8; 32], [u8; 32])> for LowS {
    type Error = NotLowS;

    fn try_from((r, s): ([u8; 32], [u8; 32])) -> Result<Self, NotLowS> {
        ecdsa::Signature::from_compact(&[r, s].concat()).map_err(|_| NotLowS)?.try_into()
    }
}

impl From<LowS> for ([u8; 32], [u8; 32]) {
    fn from(signature: LowS) -> Self {
        let bytes = signature.0.serialize_compact();
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&bytes[..32]);
        s.copy_from_slice(&bytes[32..]);
        (r, s)
    }
}

/// Returned when nonces or shares do not fit a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// Returned when a nonce, a session or a share belongs to another kind of lock.
    #[error("a nonce, a session or a share is not one of a {kind} lock")]
    WrongKind {
        /// The kind of the lock.
        kind: LockKind,
    },
    /// Returned when a share comes from a key that is not in the lock.
    #[error("{key} is not a signer of this lock")]
    NotASigner {
        /// The key.
        key: PublicKey,
    },
    /// Returned when there are two shares of one signer.
    #[error("there are two shares of {key}")]
    Double {
        /// The signer.
        key: PublicKey,
    },
    /// Returned when nonces or shares are missing.
    #[error("{found} of {expected} nonces or shares are there")]
    Missing {
        /// How many there are.
        found: usize,
        /// How many there must be.
        expected: usize,
    },
}
