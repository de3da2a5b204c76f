//! Signatures by everybody at once, where one place holds all the keys.

use bitcoin::Witness;
use factory_core::{Lock, Signer};
use rand_core::CryptoRng;
use secp256k1::Keypair;

/// The witness of all signers of a lock for a message. It is not verified.
///
/// # Panics
///
/// If `keys` are not those of the lock.
pub(crate) fn witness(
    random: &mut (impl CryptoRng + ?Sized),
    lock: &Lock,
    keys: &[&Keypair],
    sighash: &[u8; 32],
) -> Witness {
    let signers: Vec<_> = keys.iter().map(|key| Signer::new(random, lock, key, sighash)).collect();
    let nonces: Vec<_> = signers.iter().map(Signer::public).collect();
    let session = lock.aggregate(&nonces).and_then(|nonce| lock.session(&nonce, sighash));
    let session = session.expect("every signer of the lock has given a nonce");
    let shares: Vec<_> = signers.into_iter().zip(keys).map(|(signer, key)| signer.sign(lock, &session, key)).collect();
    let public: Vec<_> = keys.iter().map(|key| key.public_key()).collect();
    lock.assemble(&session, public.iter().zip(&shares)).expect("every signer of the lock has signed")
}
