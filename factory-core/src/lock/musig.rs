//! The aggregate of keys behind a taproot key path (BIP 327).

use bitcoin::hashes::Hash as _;
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{ScriptBuf, Transaction, TxOut, Witness};
use secp256k1::musig::{KeyAggCache, PartialSignature, Session};
use secp256k1::{PublicKey, XOnlyPublicKey, schnorr};

use super::{LockError, ShareError};
use crate::keys::{key_path_tweak, key_path_witness, taproot_script};

/// An aggregate of keys. It keeps no list of them: with thousands of members, each with a lock of all, that would be
/// most of the memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MuSig {
    pub(super) cache: KeyAggCache,
    output_key: XOnlyPublicKey,
    signers: usize,
}

impl MuSig {
    /// Aggregates `keys`, which are sorted and not empty, and tweaks the aggregate as an output without a script path
    /// (BIP 86).
    pub(super) fn new(keys: &[&PublicKey]) -> Result<Self, LockError> {
        let mut cache = KeyAggCache::new(keys);
        let tweak = key_path_tweak(&cache.agg_pk()).ok_or(LockError::Tweak)?;
        let (output_key, _) = cache.pubkey_xonly_tweak_add(&tweak).map_err(|_| LockError::Tweak)?.x_only_public_key();
        Ok(MuSig { cache, output_key, signers: keys.len() })
    }

    pub(super) fn signers(&self) -> usize {
        self.signers
    }

    pub(super) fn script_pubkey(&self) -> ScriptBuf {
        taproot_script(&self.output_key)
    }

    /// Adds up one partial signature per signer. Whose they are it knows only by number, so a share that is there twice, or
    /// is of a key that is not a signer's, ends in a signature that is not valid. To look each key up would cost a
    /// coordinator more than to add its share.
    pub(super) fn assemble<'a>(
        &self,
        session: &Session,
        shares: impl IntoIterator<Item = Result<(&'a PublicKey, &'a PartialSignature), ShareError>>,
    ) -> Result<Witness, ShareError> {
        let mut partials = Vec::with_capacity(self.signers);
        for share in shares {
            let (key, partial) = share?;
            if partials.len() == self.signers {
                return Err(ShareError::Double { key: *key });
            }
            partials.push(partial);
        }
        if partials.len() != self.signers {
            return Err(ShareError::Missing { found: partials.len(), expected: self.signers });
        }
        Ok(key_path_witness(&session.partial_sig_agg(&partials).assume_valid()))
    }

    /// Whether `witness` is nothing but the aggregate's signature, with the default sighash type.
    pub(super) fn verify(&self, message: &[u8; 32], witness: &Witness) -> bool {
        let Some(Ok(signature)) = witness.nth(0).map(<[u8; 64]>::try_from) else { return false };
        witness.len() == 1
            && schnorr::verify(&schnorr::Signature::from_byte_array(signature), message, &self.output_key).is_ok()
    }
}

/// The default sighash of `input` (BIP 341), given all the outputs that `tx` spends, in the order of its inputs.
pub(crate) fn key_path_sighash(tx: &Transaction, input: usize, spent: &[&TxOut]) -> [u8; 32] {
    SighashCache::new(tx)
        .taproot_key_spend_signature_hash(input, &Prevouts::All(spent), TapSighashType::Default)
        .expect("there is one spent output per input, and the default type needs no matching output")
        .to_byte_array()
}
