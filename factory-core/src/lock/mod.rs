//! The n-of-n that guards the factory output and the channel outputs.
//!
//! There are three ways to build one, behind one interface: a key aggregate behind a taproot key path ([`musig`]), and
//! scripts that check every signature, in a tapscript leaf or behind a witness script hash ([`script`]). With each of
//! them, signers first exchange nonces (empty where there are none), then shares.

mod kind;
mod musig;
mod script;
mod share;
mod signer;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use bitcoin::{ScriptBuf, Transaction, TxOut, Witness};
use secp256k1::PublicKey;
use secp256k1::musig::AggregatedNonce;

pub use kind::{LockKind, LockKindError};
pub(crate) use musig::key_path_sighash;
pub(crate) use script::unspendable_key;
pub use share::{AggregateNonce, Nonce, Session, Share, ShareError};
pub use signer::Signer;

use musig::MuSig;
use script::ScriptLock;
use share::{AnyAggregate, AnyNonce, AnySession, AnyShare};

/// An output that keys must all sign to spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    form: Form,
    script_pubkey: ScriptBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    // In a box because the cache is three times as large as anything else here.
    MuSig2(Box<MuSig>),
    Script(ScriptLock),
}

/// Returned when keys cannot make a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Returned when there is no key.
    #[error("a lock needs at least one key")]
    NoKeys,
    /// Returned when the output tweak of these keys is not a valid scalar. The chance is about 2^-128.
    #[error("the output tweak of these keys is out of range")]
    Tweak,
    /// Returned when there are more keys than this kind of lock can have.
    #[error("a {kind} lock has at most {limit} keys, not {found}")]
    TooManyKeys {
        /// The kind of lock.
        kind: LockKind,
        /// How many keys there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
}

impl Lock {
    /// A lock of `keys` in sorted order (BIP 327 `KeySort`), so that every party derives the same lock whatever order
    /// it learned them in.
    ///
    /// # Errors
    ///
    /// [`LockError`], if there is no key, or more than [`LockKind::max_signers`].
    pub fn new<'a>(kind: LockKind, keys: impl IntoIterator<Item = &'a PublicKey>) -> Result<Self, LockError> {
        let mut keys: Vec<&PublicKey> = keys.into_iter().collect();
        if keys.is_empty() {
            return Err(LockError::NoKeys);
        }
        if let Some(limit) = kind.max_signers().filter(|limit| keys.len() > *limit) {
            return Err(LockError::TooManyKeys { kind, found: keys.len(), limit });
        }
        secp256k1::sort_pubkeys(&mut keys);
        let form = match kind {
            LockKind::MuSig2 => Form::MuSig2(Box::new(MuSig::new(&keys)?)),
            LockKind::Tapscript => Form::Script(ScriptLock::tapscript(&keys)?),
            LockKind::Wsh => Form::Script(ScriptLock::wsh(&keys)),
        };
        let script_pubkey = match &form {
            Form::MuSig2(musig) => musig.script_pubkey(),
            Form::Script(script) => script.script_pubkey(),
        };
        Ok(Lock { form, script_pubkey })
    }

    /// How it is built.
    pub fn kind(&self) -> LockKind {
        match &self.form {
            Form::MuSig2(_) => LockKind::MuSig2,
            Form::Script(script) => script.kind(),
        }
    }

    /// How many keys must sign.
    pub fn signers(&self) -> usize {
        match &self.form {
            Form::MuSig2(musig) => musig.signers(),
            Form::Script(script) => script.signers(),
        }
    }

    /// The script that pays to this lock.
    pub fn script_pubkey(&self) -> &ScriptBuf {
        &self.script_pubkey
    }

    /// What the signers of `tx` sign, whose only input spends `spent`, which pays to this lock: the default sighash of
    /// BIP 341 for MuSig2 and (with BIP 342) for tapscript, `SIGHASH_ALL` of BIP 143 for a witness script.
    ///
    /// # Panics
    ///
    /// If `tx` has not exactly one input.
    pub fn sighash(&self, tx: &Transaction, spent: &TxOut) -> [u8; 32] {
        match &self.form {
            Form::MuSig2(_) => musig::key_path_sighash(tx, 0, &[spent]),
            Form::Script(script) => script.sighash(tx, spent),
        }
    }

    /// Checks that `nonce` is one of this kind of lock, without a single operation on the curve.
    ///
    /// # Errors
    ///
    /// [`ShareError::WrongKind`], if it is not.
    pub fn check_nonce(&self, nonce: &Nonce) -> Result<(), ShareError> {
        match (&self.form, &nonce.0) {
            (Form::MuSig2(_), AnyNonce::MuSig2(_)) | (Form::Script(_), AnyNonce::None) => Ok(()),
            _ => Err(ShareError::WrongKind { kind: self.kind() }),
        }
    }

    /// Adds up the nonces of all signers, in any order (BIP 327 `NonceAgg`).
    ///
    /// # Errors
    ///
    /// [`ShareError::WrongKind`], if a nonce is not one of this kind of lock; [`ShareError::Missing`], if a lock that
    /// needs nonces gets none at all.
    pub fn aggregate<'a>(&self, nonces: impl IntoIterator<Item = &'a Nonce>) -> Result<AggregateNonce, ShareError> {
        let wrong = ShareError::WrongKind { kind: self.kind() };
        let nonces = nonces.into_iter();
        match &self.form {
            Form::MuSig2(musig) => {
                let mut public = Vec::with_capacity(musig.signers());
                for nonce in nonces {
                    let AnyNonce::MuSig2(nonce) = &nonce.0 else { return Err(wrong) };
                    public.push(nonce);
                }
                if public.is_empty() {
                    return Err(ShareError::Missing { found: 0, expected: musig.signers() });
                }
                Ok(AggregateNonce(AnyAggregate::MuSig2(AggregatedNonce::new(&public))))
            }
            Form::Script(_) => {
                let mut nonces = nonces;
                if nonces.any(|nonce| nonce.0 != AnyNonce::None) {
                    Err(wrong)
                } else {
                    Ok(AggregateNonce(AnyAggregate::None))
                }
            }
        }
    }

    /// The signing session of `message` under the aggregate of all signers' nonces.
    ///
    /// # Errors
    ///
    /// [`ShareError::WrongKind`], if `aggregate` is not one of this kind of lock.
    pub fn session(&self, aggregate: &AggregateNonce, message: &[u8; 32]) -> Result<Session, ShareError> {
        match (&self.form, &aggregate.0) {
            (Form::MuSig2(musig), AnyAggregate::MuSig2(nonce)) => {
                Ok(Session(AnySession::MuSig2(secp256k1::musig::Session::new(&musig.cache, *nonce, message))))
            }
            (Form::Script(_), AnyAggregate::None) => Ok(Session(AnySession::None)),
            _ => Err(ShareError::WrongKind { kind: self.kind() }),
        }
    }

    /// Whether `share` is what the holder of `key` owes this session of `message`, given its public nonce.
    ///
    /// A MuSig2 lock keeps no list of its keys: there, the caller must know that `key` is one of them.
    pub fn verify_share(
        &self,
        session: &Session,
        message: &[u8; 32],
        key: &PublicKey,
        nonce: &Nonce,
        share: &Share,
    ) -> bool {
        match (&self.form, &session.0, &nonce.0) {
            (Form::MuSig2(musig), AnySession::MuSig2(session), AnyNonce::MuSig2(nonce)) => match &share.0 {
                AnyShare::Partial(partial) => session.partial_verify(&musig.cache, partial, nonce, *key),
                _ => false,
            },
            (Form::Script(script), AnySession::None, AnyNonce::None) => script.verify_share(message, key, &share.0),
            _ => false,
        }
    }

    /// Puts the shares of all signers, in any order, together into the witness. It is not verified: see
    /// [`Lock::verify`].
    ///
    /// # Errors
    ///
    /// [`ShareError`], if a share or the session is not one of this kind of lock, or if a signer's share is missing,
    /// there twice, or of a key that is not a signer. A MuSig2 lock keeps no list of its keys and counts: there, as many
    /// shares as signers are no error even if one is there twice or of a foreign key, but end in a witness that
    /// [`Lock::verify`] refuses.
    pub fn assemble<'a>(
        &self,
        session: &Session,
        shares: impl IntoIterator<Item = (&'a PublicKey, &'a Share)>,
    ) -> Result<Witness, ShareError> {
        let wrong = ShareError::WrongKind { kind: self.kind() };
        let shares = shares.into_iter().map(|(key, share)| (key, &share.0));
        match (&self.form, &session.0) {
            (Form::MuSig2(musig), AnySession::MuSig2(session)) => {
                let partials = shares.map(|(key, share)| match share {
                    AnyShare::Partial(partial) => Ok((key, partial)),
                    _ => Err(wrong),
                });
                musig.assemble(session, partials)
            }
            (Form::Script(script), AnySession::None) => script.assemble(shares),
            _ => Err(wrong),
        }
    }

    /// Whether `witness` satisfies this lock for `message`: every signature, and the exact form, so that nobody can
    /// change a witness that was verified into another one with the same meaning.
    pub fn verify(&self, message: &[u8; 32], witness: &Witness) -> bool {
        match &self.form {
            Form::MuSig2(musig) => musig.verify(message, witness),
            Form::Script(script) => script.verify(message, witness),
        }
    }
}
