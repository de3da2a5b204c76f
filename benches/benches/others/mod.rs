//! What a user would pick in place of `factory_core`'s lock: the crates `musig2` and `schnorr_fun`.

use benches::scheme::{MESSAGE, Scheme};
use musig2::{AggNonce, KeyAggContext, PartialSignature, PubNonce, SecNonce};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;
use schnorr_fun::binonce::{self, SecretNonce};
use schnorr_fun::fun::marker::{EvenY, Normal, Public, Zero};
use schnorr_fun::fun::{KeyPair, Point, Scalar};
use schnorr_fun::musig::{AggKey, MuSig, SignSession};
use schnorr_fun::nonce::Deterministic;
use schnorr_fun::{Message, Schnorr};
use secp256k1::Keypair;
use sha2::Sha256;

/// The crate `musig2`, with its feature `secp256k1`: libsecp256k1's curve arithmetic, MuSig2 in Rust.
pub struct Musig2 {
    secret: Vec<musig2::secp::Scalar>,
    public: Vec<musig2::secp::Point>,
}

impl Scheme for Musig2 {
    const NAME: &'static str = "musig2";
    type Key = KeyAggContext;
    type Secret = SecNonce;
    type Nonce = PubNonce;
    type Sum = AggNonce;
    type Session = AggNonce;
    type Share = PartialSignature;

    fn new(keys: &[Keypair]) -> Self {
        let secret: Vec<_> = keys
            .iter()
            .map(|key| musig2::secp::Scalar::from_slice(&key.to_secret_bytes()).expect("it is a key"))
            .collect();
        let public = secret.iter().map(|key| key.base_point_mul()).collect();
        Musig2 { secret, public }
    }

    fn aggregate_keys(&self) -> KeyAggContext {
        let mut keys = self.public.clone();
        keys.sort();
        let context = KeyAggContext::new(keys).expect("there are keys");
        context.with_unspendable_taproot_tweak().expect("the tweak is no key's negation")
    }

    fn output_key(key: &KeyAggContext) -> [u8; 32] {
        key.aggregated_pubkey::<musig2::secp::Point>().serialize_xonly()
    }

    fn nonce(&self, key: &KeyAggContext, signer: usize, rng: &mut ChaCha20Rng) -> (SecNonce, PubNonce) {
        let (mut seed, mut extra) = ([0; 32], [0; 32]);
        rng.fill_bytes(&mut seed);
        rng.fill_bytes(&mut extra);
        let aggregate: musig2::secp::Point = key.aggregated_pubkey();
        let secret = SecNonce::generate(seed, self.secret[signer], aggregate, MESSAGE, extra);
        let public = secret.public_nonce();
        (secret, public)
    }

    fn sum(&self, _: &KeyAggContext, nonces: &[PubNonce]) -> AggNonce {
        AggNonce::sum(nonces)
    }

    /// There is none: every call computes what follows from the sum by itself.
    fn session(&self, _: &KeyAggContext, sum: &AggNonce, _: &[PubNonce]) -> AggNonce {
        sum.clone()
    }

    fn sign(&self, key: &KeyAggContext, sum: &AggNonce, signer: usize, secret: SecNonce) -> PartialSignature {
        musig2::sign_partial(key, self.secret[signer], secret, sum, MESSAGE).expect("it is a signer")
    }

    /// The crate verifies the whole when it adds up the shares.
    fn finish(&self, key: &KeyAggContext, sum: &AggNonce, shares: &[PartialSignature]) -> Option<[u8; 64]> {
        let shares = shares.iter().copied();
        musig2::aggregate_partial_signatures(key, sum, shares, MESSAGE).ok()
    }

    fn wrong(
        &self,
        key: &KeyAggContext,
        sum: &AggNonce,
        nonces: &[PubNonce],
        shares: &[PartialSignature],
    ) -> Vec<usize> {
        let good = |&signer: &usize| {
            let (public, nonce, share) = (self.public[signer], &nonces[signer], shares[signer]);
            musig2::verify_partial(key, share, sum, public, nonce, MESSAGE).is_ok()
        };
        (0..shares.len()).filter(|signer| !good(signer)).collect()
    }
}

/// The crate `schnorr_fun`, over `secp256kfun`: both all in Rust.
pub struct SchnorrFun {
    musig: MuSig<Sha256, Deterministic<Sha256>>,
    keys: Vec<KeyPair>,
    /// Each signer's place among the sorted keys.
    places: Vec<usize>,
    /// The signer at each place.
    sorted: Vec<usize>,
}

impl Scheme for SchnorrFun {
    const NAME: &'static str = "schnorr_fun";
    type Key = AggKey<EvenY>;
    type Secret = SecretNonce;
    type Nonce = binonce::Nonce;
    type Sum = binonce::Nonce<Zero>;
    type Session = SignSession;
    type Share = Scalar<Public, Zero>;

    fn new(keys: &[Keypair]) -> Self {
        let musig = MuSig::new(Schnorr::default());
        let key = |key: &Keypair| {
            let secret = Scalar::from_bytes(key.to_secret_bytes()).expect("it is a key");
            musig.new_keypair(secret.non_zero().expect("it is a key"))
        };
        let keys: Vec<KeyPair> = keys.iter().map(key).collect();
        let mut sorted: Vec<usize> = (0..keys.len()).collect();
        sorted.sort_by_key(|signer| keys[*signer].public_key().to_bytes());
        let mut places = vec![0; keys.len()];
        for (place, signer) in sorted.iter().enumerate() {
            places[*signer] = place;
        }
        SchnorrFun { musig, keys, places, sorted }
    }

    fn aggregate_keys(&self) -> AggKey<EvenY> {
        let mut keys: Vec<Point<Normal>> = self.keys.iter().map(KeyPair::public_key).collect();
        keys.sort_by_cached_key(Point::to_bytes);
        let key = self.musig.new_agg_key(keys).into_xonly_key();
        let internal =
            bitcoin::XOnlyPublicKey::from_slice(&key.agg_public_key().to_xonly_bytes()).expect("it is a key");
        let tweak = bitcoin::TapTweakHash::from_key_and_tweak(internal, None).to_scalar().to_be_bytes();
        let tweak: Scalar<Public, Zero> = Scalar::<Public, Zero>::from_bytes(tweak).expect("it is in range");
        key.tweak(tweak).expect("the tweak is no key's negation")
    }

    fn output_key(key: &AggKey<EvenY>) -> [u8; 32] {
        key.agg_public_key().to_xonly_bytes()
    }

    fn nonce(&self, key: &AggKey<EvenY>, signer: usize, rng: &mut ChaCha20Rng) -> (SecretNonce, binonce::Nonce) {
        let mut session = [0; 32];
        rng.fill_bytes(&mut session);
        let secret = self.keys[signer].secret_key();
        let mut rng: rand_chacha_fun::ChaCha20Rng = self.musig.seed_nonce_rng(key, secret, &session);
        let pair = self.musig.gen_nonce(&mut rng);
        (pair.secret, pair.public)
    }

    fn sum(&self, _: &AggKey<EvenY>, nonces: &[binonce::Nonce]) -> binonce::Nonce<Zero> {
        binonce::Nonce::aggregate(nonces.iter().copied())
    }

    /// The crate has no session out of a sum: every signer adds up all nonces.
    fn session(&self, key: &AggKey<EvenY>, _: &binonce::Nonce<Zero>, nonces: &[binonce::Nonce]) -> SignSession {
        let nonces = self.sorted.iter().map(|signer| nonces[*signer]).collect();
        self.musig.start_sign_session(key, nonces, Message::raw(&MESSAGE))
    }

    fn sign(&self, key: &AggKey<EvenY>, session: &SignSession, signer: usize, secret: SecretNonce) -> Self::Share {
        self.musig.sign(key, session, self.places[signer], &self.keys[signer], secret)
    }

    fn finish(&self, key: &AggKey<EvenY>, session: &SignSession, shares: &[Self::Share]) -> Option<[u8; 64]> {
        let signature = self.musig.combine_partial_signatures(key, session, shares.iter().copied());
        let valid = self.musig.schnorr.verify(&key.agg_public_key(), Message::raw(&MESSAGE), &signature);
        valid.then(|| signature.to_bytes())
    }

    fn wrong(
        &self,
        key: &AggKey<EvenY>,
        session: &SignSession,
        _: &[binonce::Nonce],
        shares: &[Self::Share],
    ) -> Vec<usize> {
        let good =
            |&signer: &usize| self.musig.verify_partial_signature(key, session, self.places[signer], shares[signer]);
        (0..shares.len()).filter(|signer| !good(signer)).collect()
    }
}
