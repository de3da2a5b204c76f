//! What a lifecycle is made of: the operations on curve and hashes, with nothing between them.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use factory_core::{Lock, LockKind, TxName};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use secp256k1::musig::{AggregatedNonce, KeyAggCache, PublicNonce, SecretNonce, Session, SessionSecretRand};
use secp256k1::{Keypair, PublicKey, XOnlyPublicKey, schnorr};

use crate::clock;
use crate::parties::Parties;

/// The operations on curve and hashes alone, in loops, with nothing between them.
#[derive(Debug)]
pub struct Bare {
    operator: [Keypair; 2],
    members: Vec<[Keypair; 2]>,
    rng: ChaCha20Rng,
}

impl Bare {
    /// Keys for an operator and `members` members.
    pub fn new(members: u32) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut pair = || {
            [(); 2].map(|()| {
                let mut bytes = [0; 32];
                rng.fill_bytes(&mut bytes);
                Keypair::from_secret_bytes(bytes).expect("no zero in sight")
            })
        };
        let operator = pair();
        let members = (0..members).map(|_| pair()).collect();
        Bare { operator, members, rng }
    }

    /// All that one lifecycle takes: the factory's and the channels' keys; three signatures in every channel (the first
    /// refund, that after a payment, the close), two of all parties (the allocation and the factory close). Returns for how
    /// long the thread had a processor.
    pub fn lifecycle(mut self, parties: &Parties) -> Duration {
        let factory = parties.operator.factory().expect("it has run").clone();
        let close = parties.operator.transaction(TxName::FactoryClose(0)).expect("it has run").clone();
        let channel_close = parties.operator.transaction(TxName::Close(0)).expect("it has run").clone();
        let began = clock::thread();
        // Both keys of each party are sorted and aggregated as the lock does it, with the tweak of the output.
        let everybody: Vec<PublicKey> =
            self.members.iter().chain([&self.operator]).map(|pair| pair[0].public_key()).collect();
        let factory_cache = aggregate(&everybody);
        let caches: Vec<_> =
            self.members.iter().map(|pair| aggregate(&[pair[1].public_key(), self.operator[1].public_key()])).collect();
        // Each side of a channel hashes what it signs there.
        let channel_output = factory.channel(0).expect("there is a member").output.clone();
        for _ in 0..3 {
            for (member, cache) in caches.iter().enumerate() {
                let message = [7; 32];
                for _ in 0..2 {
                    black_box(sighash(factory.channel(0).expect("it is there").lock, &channel_close, &channel_output));
                }
                let keys = [self.members[member][1], self.operator[1]];
                self.sign(cache, &keys, &message, 2);
            }
        }
        let keys: Vec<Keypair> = self.members.iter().chain([&self.operator]).map(|pair| pair[0]).collect();
        let factory_output = factory.terms().factory_output();
        for per_party in [false, true] {
            // The allocation is derived once with the factory; each party derives the factory close by itself.
            let message = [9; 32];
            for _ in 0..if per_party { keys.len() } else { 1 } {
                black_box(sighash(factory.terms().factory_lock(), &close, &factory_output));
            }
            self.sign(&factory_cache, &keys, &message, keys.len());
        }
        clock::thread() - began
    }

    /// One signature by all of `keys`: nonces, one aggregate of them, and for each signer the session, its share, and a
    /// verification of the whole. Where there are but two signers each aggregates the nonces itself.
    pub fn sign(
        &mut self,
        (cache, output_key): &(KeyAggCache, XOnlyPublicKey),
        keys: &[Keypair],
        message: &[u8; 32],
        verifiers: usize,
    ) {
        let nonces: Vec<_> = keys.iter().map(|key| nonce(cache, key, message, &mut self.rng)).collect();
        let public: Vec<_> = nonces.iter().map(|(_, public)| public).collect();
        if keys.len() == 2 {
            black_box(AggregatedNonce::new(&public));
        }
        let aggregated = AggregatedNonce::new(&public);
        let mut partials = Vec::with_capacity(keys.len());
        let mut last = None;
        for (key, (secret, _)) in keys.iter().zip(nonces) {
            let session = Session::new(cache, aggregated, message);
            partials.push(session.partial_sign(secret, key, cache));
            last = Some(session);
        }
        let signature: schnorr::Signature =
            last.expect("there is a signer").partial_sig_agg(&partials.iter().collect::<Vec<_>>()).assume_valid();
        for _ in 0..verifiers {
            assert!(schnorr::verify(&signature, message, output_key).is_ok());
        }
    }
}

/// Nonces of one signer, drawn as BIP 327 recommends: with the secret key, the aggregate and the message mixed in.
pub fn nonce(
    cache: &KeyAggCache,
    key: &Keypair,
    message: &[u8; 32],
    rng: &mut ChaCha20Rng,
) -> (SecretNonce, PublicNonce) {
    let (mut session, mut extra) = ([0; 32], [0; 32]);
    rng.fill_bytes(&mut session);
    rng.fill_bytes(&mut extra);
    let rand = SessionSecretRand::assume_unique_per_nonce_gen(session, &key.secret_key());
    cache.nonce_gen_with_uniform_randomness(rand, key.public_key(), message, extra)
}

/// Keys, sorted, aggregated and tweaked as an output without a script path.
pub fn aggregate(keys: &[PublicKey]) -> (KeyAggCache, XOnlyPublicKey) {
    let mut keys: Vec<&PublicKey> = keys.iter().collect();
    secp256k1::sort_pubkeys(&mut keys);
    let mut cache = KeyAggCache::new(&keys);
    let tweak = <bitcoin::TapTweakHash as bitcoin::hashes::Hash>::hash(&cache.agg_pk().to_byte_array());
    let tweak = secp256k1::Scalar::from_be_bytes(bitcoin::hashes::Hash::to_byte_array(tweak)).expect("in range");
    let tweaked = cache.pubkey_xonly_tweak_add(&tweak).expect("the tweak is no key's negation");
    (cache, tweaked.x_only_public_key().0)
}

fn sighash(lock: &Lock, complete: &Arc<factory_core::tx::Complete>, spent: &bitcoin::TxOut) -> [u8; 32] {
    assert_eq!(lock.kind(), LockKind::MuSig2);
    lock.sighash(complete.transaction(), spent)
}
