//! One signer of one message.

use std::fmt;

use rand_core::CryptoRng;
use secp256k1::Keypair;
use secp256k1::musig::{SecretNonce, SessionSecretRand};

use super::share::{AnyNonce, AnySession, AnyShare, LowS};
use super::{Form, Lock, LockKind, Nonce, Session, Share};

/// One signer of one message, with its nonces. Signing consumes them, and nothing can copy them.
pub struct Signer {
    secret: Secret,
    public: Nonce,
    message: [u8; 32],
}

/// What a signer keeps until it signs.
enum Secret {
    MuSig2(SecretNonce),
    Tapscript,
    Wsh,
}

impl fmt::Debug for Signer {
    /// Leaves the secret out: with it, whoever reads a log could compute the key from the partial signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("public", &self.public).finish_non_exhaustive()
    }
}

impl Signer {
    /// Prepares `key` to sign `message` under `lock`, and draws its nonces if the lock needs them.
    ///
    /// `rng` must never repeat its output for another message: a repeated nonce reveals the key. The secret key, the
    /// aggregate and the message are mixed in as BIP 327 recommends, so that a weak `rng` alone does not suffice.
    pub fn new(rng: &mut (impl CryptoRng + ?Sized), lock: &Lock, key: &Keypair, message: &[u8; 32]) -> Self {
        let (secret, public) = match (&lock.form, lock.kind()) {
            (Form::MuSig2(musig), _) => {
                let (mut session, mut extra) = ([0; 32], [0; 32]);
                rng.fill_bytes(&mut session);
                rng.fill_bytes(&mut extra);
                let rand = SessionSecretRand::assume_unique_per_nonce_gen(session, &key.secret_key());
                let (secret, public) =
                    musig.cache.nonce_gen_with_uniform_randomness(rand, key.public_key(), message, extra);
                (Secret::MuSig2(secret), AnyNonce::MuSig2(public))
            }
            (Form::Script(_), LockKind::Wsh) => (Secret::Wsh, AnyNonce::None),
            (Form::Script(_), _) => (Secret::Tapscript, AnyNonce::None),
        };
        Signer { secret, public: Nonce(public), message: *message }
    }

    /// The half that the other signers get.
    pub fn public(&self) -> Nonce {
        self.public.clone()
    }

    /// This signer's share. `key` must be the one that the signer was made for, and `lock` and `session` those of its
    /// message. With a lock or session of another kind the result is a share that no lock of this kind accepts.
    ///
    /// Signatures of its own are deterministic: BIP 340 without auxiliary randomness, and RFC 6979.
    pub fn sign(self, lock: &Lock, session: &Session, key: &Keypair) -> Share {
        Share(match (self.secret, &lock.form, &session.0) {
            (Secret::MuSig2(secret), Form::MuSig2(musig), AnySession::MuSig2(session)) => {
                AnyShare::Partial(session.partial_sign(secret, key, &musig.cache))
            }
            (Secret::Wsh, _, _) => AnyShare::Ecdsa(LowS::sign(&self.message, key)),
            (Secret::Tapscript | Secret::MuSig2(_), _, _) => {
                AnyShare::Schnorr(key.sign_schnorr_no_aux_rand(&self.message))
            }
        })
    }
}
