//! The n-of-n that guards the factory output and the channel outputs: MuSig2 (BIP 327) behind a taproot key path.

use std::fmt;

use bitcoin::ScriptBuf;
use rand_core::CryptoRng;
use secp256k1::musig::{
    AggregatedNonce, KeyAggCache, PartialSignature, PublicNonce, SecretNonce, Session, SessionSecretRand,
};
use secp256k1::{Keypair, PublicKey, XOnlyPublicKey, schnorr};

use crate::keys::{key_path_tweak, taproot_script};

/// An aggregate of keys that must all sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    cache: KeyAggCache,
    output_key: XOnlyPublicKey,
    script_pubkey: ScriptBuf,
}

/// Returned when keys cannot be aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Returned when there is no key.
    #[error("a lock needs at least one key")]
    NoKeys,
    /// Returned when the output tweak of these keys is not a valid scalar. The chance is about 2^-128.
    #[error("the output tweak of these keys is out of range")]
    Tweak,
}

impl Lock {
    /// Aggregates `keys` in sorted order (BIP 327 `KeySort`), so that every party derives the same key whatever order
    /// it learned them in, and tweaks the aggregate as an output without a script path (BIP 86).
    ///
    /// # Errors
    ///
    /// [`LockError`], if there is no key.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> Result<Self, LockError> {
        let mut keys: Vec<&PublicKey> = keys.into_iter().collect();
        if keys.is_empty() {
            return Err(LockError::NoKeys);
        }
        secp256k1::sort_pubkeys(&mut keys);
        let mut cache = KeyAggCache::new(&keys);
        let tweak = key_path_tweak(&cache.agg_pk()).ok_or(LockError::Tweak)?;
        let (output_key, _) = cache.pubkey_xonly_tweak_add(&tweak).map_err(|_| LockError::Tweak)?.x_only_public_key();
        Ok(Lock { cache, output_key, script_pubkey: taproot_script(&output_key) })
    }

    /// The script that pays to this lock.
    pub fn script_pubkey(&self) -> &ScriptBuf {
        &self.script_pubkey
    }

    /// Whether `signature` is the aggregate's for `message`.
    pub fn verify(&self, message: &[u8; 32], signature: &schnorr::Signature) -> bool {
        schnorr::verify(signature, message, &self.output_key).is_ok()
    }

    /// The signing session of `message` under the aggregate of all signers' nonces.
    pub fn session(&self, nonces: AggregatedNonce, message: &[u8; 32]) -> Session {
        Session::new(&self.cache, nonces, message)
    }

    /// Whether `partial` is the share that the holder of `key` owes this session, given its public nonce.
    pub fn verify_partial(
        &self,
        session: &Session,
        key: PublicKey,
        nonce: &PublicNonce,
        partial: &PartialSignature,
    ) -> bool {
        session.partial_verify(&self.cache, partial, nonce, key)
    }
}

/// One signer's nonces for one message. Signing consumes them, and nothing can copy them.
pub struct Signer {
    secret: SecretNonce,
    public: PublicNonce,
}

impl fmt::Debug for Signer {
    /// Leaves the secret out: with it, whoever reads a log could compute the key from the partial signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("public", &self.public).finish_non_exhaustive()
    }
}

impl Signer {
    /// Draws nonces for `key` to sign `message` under `lock`.
    ///
    /// `rng` must never repeat its output for another message: a repeated nonce reveals the key. The secret key, the
    /// aggregate and the message are mixed in as BIP 327 recommends, so that a weak `rng` alone does not suffice.
    pub fn new(rng: &mut (impl CryptoRng + ?Sized), lock: &Lock, key: &Keypair, message: &[u8; 32]) -> Self {
        let (mut session, mut extra) = ([0; 32], [0; 32]);
        rng.fill_bytes(&mut session);
        rng.fill_bytes(&mut extra);
        let rand = SessionSecretRand::assume_unique_per_nonce_gen(session, &key.secret_key());
        let (secret, public) = lock.cache.nonce_gen_with_uniform_randomness(rand, key.public_key(), message, extra);
        Signer { secret, public }
    }

    /// The half that the other signers get.
    pub fn public(&self) -> PublicNonce {
        self.public
    }

    /// This signer's partial signature. `key` must be the one that the nonces were drawn for.
    pub fn sign(self, lock: &Lock, session: &Session, key: &Keypair) -> PartialSignature {
        session.partial_sign(self.secret, key, &lock.cache)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemberKeys;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    fn keys(n: usize) -> Vec<Keypair> {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        (0..n).map(|_| MemberKeys::generate(&mut rng, ScriptBuf::new()).factory).collect()
    }

    fn aggregate(keys: &[Keypair], message: &[u8; 32], tamper: bool) -> (Lock, schnorr::Signature) {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let public: Vec<_> = keys.iter().map(Keypair::public_key).collect();
        let lock = Lock::new(&public).unwrap();
        let signers: Vec<_> = keys.iter().map(|key| Signer::new(&mut rng, &lock, key, message)).collect();
        let nonces: Vec<_> = signers.iter().map(Signer::public).collect();
        let session = lock.session(AggregatedNonce::new(&nonces.iter().collect::<Vec<_>>()), message);
        let mut partials: Vec<_> =
            signers.into_iter().zip(keys).map(|(signer, key)| signer.sign(&lock, &session, key)).collect();
        for ((partial, key), nonce) in partials.iter().zip(&public).zip(&nonces) {
            assert!(lock.verify_partial(&session, *key, nonce, partial));
        }
        if tamper {
            partials.swap(0, 1);
            assert!(!lock.verify_partial(&session, public[0], &nonces[0], &partials[0]));
            partials[0] = partials[1];
        }
        let signature = session.partial_sig_agg(&partials.iter().collect::<Vec<_>>()).assume_valid();
        (lock, signature)
    }

    #[test]
    fn all_signers_together_satisfy_the_lock() {
        for n in [2, 3, 21] {
            let (lock, signature) = aggregate(&keys(n), &[7; 32], false);
            assert!(lock.verify(&[7; 32], &signature), "{n} signers");
            assert!(!lock.verify(&[8; 32], &signature), "another message, {n} signers");
        }
    }

    #[test]
    fn one_wrong_share_spoils_the_signature_and_can_be_named() {
        let (lock, signature) = aggregate(&keys(3), &[7; 32], true);
        assert!(!lock.verify(&[7; 32], &signature));
    }

    #[test]
    fn the_order_of_the_keys_does_not_matter() {
        let mut public: Vec<_> = keys(5).iter().map(Keypair::public_key).collect();
        let lock = Lock::new(&public).unwrap();
        public.reverse();
        assert_eq!(Lock::new(&public).unwrap().script_pubkey(), lock.script_pubkey());
        assert_eq!(Lock::new([]), Err(LockError::NoKeys));
    }
}
