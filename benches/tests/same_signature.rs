//! Like is compared with like: all implementations make the same key out of the same keys, and out of the same nonces the
//! same signature, which is valid by BIP 340.

#[path = "../benches/others/mod.rs"]
mod others;

use benches::scheme::{Bare, MESSAGE, Ours, Scheme, keys};
use others::{Musig2, SchnorrFun};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use schnorr_fun::binonce::{NonceKeyPair, SecretNonce};
use schnorr_fun::fun::marker::{NonZero, Secret};
use secp256k1::musig;
use secp256k1::{XOnlyPublicKey, schnorr};

/// The signature that all signers make with these nonces, and the key that it is valid under.
fn signature<S: Scheme>(scheme: &S, nonces: Vec<(S::Secret, S::Nonce)>) -> ([u8; 32], [u8; 64]) {
    let key = scheme.aggregate_keys();
    let (secrets, nonces): (Vec<_>, Vec<_>) = nonces.into_iter().unzip();
    let session = scheme.session(&key, &scheme.sum(&key, &nonces), &nonces);
    let sign = |(signer, secret)| scheme.sign(&key, &session, signer, secret);
    let mut shares: Vec<_> = secrets.into_iter().enumerate().map(sign).collect();
    assert_eq!(scheme.wrong(&key, &session, &nonces, &shares), Vec::<usize>::new(), "{}", S::NAME);
    let signature = scheme.finish(&key, &session, &shares).unwrap_or_else(|| panic!("{} makes a valid one", S::NAME));
    let output_key = S::output_key(&key);
    let verified = schnorr::verify(
        &schnorr::Signature::from_byte_array(signature),
        &MESSAGE,
        &XOnlyPublicKey::from_byte_array(output_key).unwrap(),
    );
    assert!(verified.is_ok(), "{}", S::NAME);
    // Two shares that have changed places: both are wrong, and found, and so is the whole.
    shares.swap(0, 1);
    assert_eq!(scheme.wrong(&key, &session, &nonces, &shares[..2]), [0, 1], "{}", S::NAME);
    (output_key, signature)
}

/// A signer's two secret nonces, 32 bytes each, out of libsecp256k1's secret nonce: they follow four bytes of magic.
fn scalars(bytes: &[u8; 132]) -> ([u8; 32], [u8; 32]) {
    (bytes[4..36].try_into().unwrap(), bytes[36..68].try_into().unwrap())
}

#[test]
fn all_make_the_same_signature() {
    for signers in [2, 3, 20] {
        let keys = keys(signers);
        let rng = || ChaCha20Rng::seed_from_u64(8);

        let bare = Bare::new(&keys);
        let (key, mut random) = (bare.aggregate_keys(), rng());
        let mut drawn = Vec::new();
        let mut bare_nonces = Vec::new();
        for signer in 0..signers {
            let (secret, public) = bare.nonce(&key, signer, &mut random);
            let bytes = secret.dangerous_into_bytes();
            drawn.push(scalars(&bytes));
            bare_nonces.push((musig::SecretNonce::dangerous_from_bytes(bytes), public));
        }
        let expected = signature(&bare, bare_nonces);

        let ours = Ours::new(&keys);
        let (key, mut random) = (ours.aggregate_keys(), rng());
        let nonces = (0..signers).map(|signer| ours.nonce(&key, signer, &mut random)).collect();
        assert_eq!(signature(&ours, nonces), expected, "ours, {signers} signers");

        let nonce = |((first, second), key): (&([u8; 32], [u8; 32]), &secp256k1::Keypair)| {
            let scalar = |bytes: &[u8; 32]| musig2::secp::Scalar::from_slice(bytes).unwrap();
            let public = musig2::secp::Point::from_slice(&key.public_key().serialize()).unwrap();
            let secret = musig2::SecNonce::new(scalar(first), scalar(second), public);
            let public = secret.public_nonce();
            (secret, public)
        };
        let nonces = drawn.iter().zip(&keys).map(nonce).collect();
        assert_eq!(signature(&Musig2::new(&keys), nonces), expected, "musig2, {signers} signers");

        let nonce = |(first, second): &([u8; 32], [u8; 32])| {
            let scalar = |bytes: &[u8; 32]| {
                schnorr_fun::fun::Scalar::<Secret, NonZero>::from_slice(bytes).expect("it is a nonce")
            };
            let pair = NonceKeyPair::from_secret(SecretNonce([scalar(first), scalar(second)]));
            (pair.secret, pair.public)
        };
        let nonces = drawn.iter().map(nonce).collect();
        assert_eq!(signature(&SchnorrFun::new(&keys), nonces), expected, "schnorr_fun, {signers} signers");
    }
}

#[test]
fn each_makes_a_valid_signature_with_nonces_that_it_draws() {
    fn check<S: Scheme>(expected: [u8; 32]) {
        let scheme = S::new(&keys(5));
        let (key, mut rng) = (scheme.aggregate_keys(), ChaCha20Rng::seed_from_u64(9));
        let nonces = (0..5).map(|signer| scheme.nonce(&key, signer, &mut rng)).collect();
        assert_eq!(signature(&scheme, nonces).0, expected, "{}", S::NAME);
    }
    let expected = Bare::output_key(&Bare::new(&keys(5)).aggregate_keys());
    check::<Ours>(expected);
    check::<Bare>(expected);
    check::<Musig2>(expected);
    check::<SchnorrFun>(expected);
}
