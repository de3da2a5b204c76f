//! MuSig2 by one interface, so that the same steps can be timed of several implementations.

use factory_core::{AggregateNonce, Lock, LockKind, Nonce, Session, Share, Signer};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use secp256k1::musig::{self, AggregatedNonce, KeyAggCache};
use secp256k1::{Keypair, PublicKey, XOnlyPublicKey, schnorr};

use crate::bare;

/// What is signed.
pub const MESSAGE: [u8; 32] = [7; 32];

/// Keys of so many signers, always the same ones, in no order.
pub fn keys(signers: usize) -> Vec<Keypair> {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut key = || {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Keypair::from_secret_bytes(bytes).expect("no zero in sight")
    };
    (0..signers).map(|_| key()).collect()
}

/// An implementation of MuSig2 (BIP 327), holding the signers' keys in its own types. Signers are known by their place
/// among these keys. All sign [`MESSAGE`], under the key of an output without a script path (BIP 86).
pub trait Scheme: Sized {
    /// Its name in the results.
    const NAME: &'static str;
    /// The aggregate key, tweaked, with all that is remembered for signing.
    type Key;
    /// A signer's secret nonces of one signature.
    type Secret;
    /// The public half of these.
    type Nonce;
    /// The sum of all public nonces.
    type Sum;
    /// What follows from the sum, the key and the message.
    type Session;
    /// A partial signature.
    type Share;

    /// Takes the keys over, which is not timed.
    fn new(keys: &[Keypair]) -> Self;

    /// Sorts (BIP 327 `KeySort`), aggregates and tweaks the keys.
    fn aggregate_keys(&self) -> Self::Key;

    /// The tweaked aggregate key.
    fn output_key(key: &Self::Key) -> [u8; 32];

    /// Nonces of one signer.
    fn nonce(&self, key: &Self::Key, signer: usize, rng: &mut ChaCha20Rng) -> (Self::Secret, Self::Nonce);

    /// Adds up the nonces of all signers, which are in the keys' order.
    fn sum(&self, key: &Self::Key, nonces: &[Self::Nonce]) -> Self::Sum;

    /// Begins to sign.
    fn session(&self, key: &Self::Key, sum: &Self::Sum, nonces: &[Self::Nonce]) -> Self::Session;

    /// A signer's share.
    fn sign(&self, key: &Self::Key, session: &Self::Session, signer: usize, secret: Self::Secret) -> Self::Share;

    /// Adds up all shares and verifies the whole: the signature (BIP 340), if it is valid.
    fn finish(&self, key: &Self::Key, session: &Self::Session, shares: &[Self::Share]) -> Option<[u8; 64]>;

    /// Verifies every share: the signers whose shares are wrong.
    fn wrong(
        &self,
        key: &Self::Key,
        session: &Self::Session,
        nonces: &[Self::Nonce],
        shares: &[Self::Share],
    ) -> Vec<usize>;
}

/// `factory_core`'s lock and signer.
#[derive(Debug)]
pub struct Ours {
    keys: Vec<Keypair>,
    public: Vec<PublicKey>,
}

impl Scheme for Ours {
    const NAME: &'static str = "ours";
    type Key = Lock;
    type Secret = Signer;
    type Nonce = Nonce;
    type Sum = AggregateNonce;
    type Session = Session;
    type Share = Share;

    fn new(keys: &[Keypair]) -> Self {
        Ours { keys: keys.to_vec(), public: keys.iter().map(Keypair::public_key).collect() }
    }

    fn aggregate_keys(&self) -> Lock {
        Lock::new(LockKind::MuSig2, &self.public).expect("there are keys")
    }

    fn output_key(lock: &Lock) -> [u8; 32] {
        // OP_1, the length of the key, the key (BIP 341).
        lock.script_pubkey().as_bytes()[2..].try_into().expect("it pays to a key")
    }

    fn nonce(&self, lock: &Lock, signer: usize, rng: &mut ChaCha20Rng) -> (Signer, Nonce) {
        let signer = Signer::new(rng, lock, &self.keys[signer], &MESSAGE);
        let nonce = signer.public();
        (signer, nonce)
    }

    fn sum(&self, lock: &Lock, nonces: &[Nonce]) -> AggregateNonce {
        lock.aggregate(nonces).expect("they are this lock's")
    }

    fn session(&self, lock: &Lock, sum: &AggregateNonce, _: &[Nonce]) -> Session {
        lock.session(sum, &MESSAGE).expect("it is this lock's")
    }

    fn sign(&self, lock: &Lock, session: &Session, signer: usize, secret: Signer) -> Share {
        secret.sign(lock, session, &self.keys[signer])
    }

    fn finish(&self, lock: &Lock, session: &Session, shares: &[Share]) -> Option<[u8; 64]> {
        let witness = lock.assemble(session, self.public.iter().zip(shares)).ok()?;
        lock.verify(&MESSAGE, &witness).then(|| witness[0].try_into().expect("it is a signature"))
    }

    fn wrong(&self, lock: &Lock, session: &Session, nonces: &[Nonce], shares: &[Share]) -> Vec<usize> {
        let good = |&signer: &usize| {
            lock.verify_share(session, &MESSAGE, &self.public[signer], &nonces[signer], &shares[signer])
        };
        (0..shares.len()).filter(|signer| !good(signer)).collect()
    }
}

/// The calls of the crate `secp256k1` that are needed, and nothing else.
#[derive(Debug)]
pub struct Bare {
    keys: Vec<Keypair>,
    public: Vec<PublicKey>,
}

impl Scheme for Bare {
    const NAME: &'static str = "floor";
    type Key = (KeyAggCache, XOnlyPublicKey);
    type Secret = musig::SecretNonce;
    type Nonce = musig::PublicNonce;
    type Sum = AggregatedNonce;
    type Session = musig::Session;
    type Share = musig::PartialSignature;

    fn new(keys: &[Keypair]) -> Self {
        Bare { keys: keys.to_vec(), public: keys.iter().map(Keypair::public_key).collect() }
    }

    fn aggregate_keys(&self) -> Self::Key {
        bare::aggregate(&self.public)
    }

    fn output_key((_, output_key): &Self::Key) -> [u8; 32] {
        output_key.to_byte_array()
    }

    fn nonce(&self, (cache, _): &Self::Key, signer: usize, rng: &mut ChaCha20Rng) -> (Self::Secret, Self::Nonce) {
        bare::nonce(cache, &self.keys[signer], &MESSAGE, rng)
    }

    fn sum(&self, _: &Self::Key, nonces: &[Self::Nonce]) -> AggregatedNonce {
        AggregatedNonce::new(&nonces.iter().collect::<Vec<_>>())
    }

    fn session(&self, (cache, _): &Self::Key, sum: &AggregatedNonce, _: &[Self::Nonce]) -> musig::Session {
        musig::Session::new(cache, *sum, &MESSAGE)
    }

    fn sign(
        &self,
        (cache, _): &Self::Key,
        session: &musig::Session,
        signer: usize,
        secret: Self::Secret,
    ) -> Self::Share {
        session.partial_sign(secret, &self.keys[signer], cache)
    }

    fn finish(
        &self,
        (_, output_key): &Self::Key,
        session: &musig::Session,
        shares: &[Self::Share],
    ) -> Option<[u8; 64]> {
        let signature = session.partial_sig_agg(&shares.iter().collect::<Vec<_>>()).assume_valid();
        schnorr::verify(&signature, &MESSAGE, output_key).ok().map(|()| signature.to_byte_array())
    }

    fn wrong(
        &self,
        (cache, _): &Self::Key,
        session: &musig::Session,
        nonces: &[Self::Nonce],
        shares: &[Self::Share],
    ) -> Vec<usize> {
        let good =
            |&signer: &usize| session.partial_verify(cache, &shares[signer], &nonces[signer], self.public[signer]);
        (0..shares.len()).filter(|signer| !good(signer)).collect()
    }
}
