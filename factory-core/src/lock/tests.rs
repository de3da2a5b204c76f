//! Every kind of lock, signed and spoiled.

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, Sequence, TxIn, Txid, absolute, transaction};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use secp256k1::{Keypair, ecdsa};

use super::share::LowS;
use super::*;
use crate::MemberKeys;

const KINDS: [LockKind; 3] = [LockKind::MuSig2, LockKind::Tapscript, LockKind::Wsh];
const MESSAGE: [u8; 32] = [7; 32];

fn keys(n: usize) -> Vec<Keypair> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    (0..n).map(|_| MemberKeys::generate(&mut rng, ScriptBuf::new()).factory).collect()
}

fn public(keys: &[Keypair]) -> Vec<PublicKey> {
    keys.iter().map(Keypair::public_key).collect()
}

/// A lock whose signers have all signed [`MESSAGE`].
struct Signed {
    lock: Lock,
    session: Session,
    keys: Vec<PublicKey>,
    nonces: Vec<Nonce>,
    shares: Vec<Share>,
}

impl Signed {
    fn new(kind: LockKind, n: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let keys = keys(n);
        let lock = Lock::new(kind, &public(&keys)).unwrap();
        let signers: Vec<_> = keys.iter().map(|key| Signer::new(&mut rng, &lock, key, &MESSAGE)).collect();
        let nonces: Vec<_> = signers.iter().map(Signer::public).collect();
        let session = lock.session(&lock.aggregate(&nonces).unwrap(), &MESSAGE).unwrap();
        let shares = signers.into_iter().zip(&keys).map(|(signer, key)| signer.sign(&lock, &session, key)).collect();
        Signed { lock, session, keys: public(&keys), nonces, shares }
    }

    fn owed(&self, i: usize) -> bool {
        self.lock.verify_share(&self.session, &MESSAGE, &self.keys[i], &self.nonces[i], &self.shares[i])
    }

    fn assemble(&self) -> Result<Witness, ShareError> {
        self.lock.assemble(&self.session, self.keys.iter().zip(&self.shares))
    }
}

#[test]
fn all_signers_together_satisfy_the_lock() {
    for kind in KINDS {
        for n in [1, 2, 3, 17, 20] {
            let signed = Signed::new(kind, n);
            assert_eq!((signed.lock.kind(), signed.lock.signers()), (kind, n));
            assert!((0..n).all(|i| signed.owed(i)), "{n} signers, {kind}");
            let witness = signed.assemble().unwrap();
            assert!(signed.lock.verify(&MESSAGE, &witness), "{n} signers, {kind}");
            assert!(!signed.lock.verify(&[8; 32], &witness), "another message, {n} signers, {kind}");
            let back = signed.keys.iter().zip(&signed.shares).rev();
            assert_eq!(signed.lock.assemble(&signed.session, back).unwrap(), witness, "shares in another order");
        }
    }
}

#[test]
fn one_wrong_share_spoils_the_signature_and_can_be_named() {
    for kind in KINDS {
        let mut signed = Signed::new(kind, 3);
        signed.shares[1] = signed.shares[2].clone();
        assert_eq!([0, 1, 2].map(|i| signed.owed(i)), [true, false, true], "{kind}");
        assert!(!signed.lock.verify(&MESSAGE, &signed.assemble().unwrap()), "{kind}");
    }
}

#[test]
fn shares_that_do_not_belong_are_refused() {
    let stranger = keys(4)[3].public_key();
    for kind in KINDS {
        let mut signed = Signed::new(kind, 3);
        let all: Vec<_> = signed.keys.iter().zip(&signed.shares).collect();
        let assemble = |shares: &[(&PublicKey, &Share)]| signed.lock.assemble(&signed.session, shares.iter().copied());
        assert_eq!(assemble(&all[..2]), Err(ShareError::Missing { found: 2, expected: 3 }), "{kind}");
        let more = assemble(&[all[0], all[1], all[2], all[0]]);
        assert_eq!(more, Err(ShareError::Double { key: *all[0].0 }), "{kind}");
        let double = assemble(&[all[0], all[1], all[0]]);
        if kind == LockKind::MuSig2 {
            assert!(!signed.lock.verify(&MESSAGE, &double.unwrap()));
        } else {
            assert_eq!(double, Err(ShareError::Double { key: *all[0].0 }), "{kind}");
        }
        let foreign = assemble(&[all[0], all[1], (&stranger, all[2].1)]);
        if kind == LockKind::MuSig2 {
            // It keeps no list of keys. Here the share itself is right, so the signature is too.
            assert!(signed.lock.verify(&MESSAGE, &foreign.unwrap()));
        } else {
            assert_eq!(foreign, Err(ShareError::NotASigner { key: stranger }));
            let none = Nonce(AnyNonce::None);
            assert!(!signed.lock.verify_share(&signed.session, &MESSAGE, &stranger, &none, all[2].1));
        }
        let other = Signed::new(KINDS[(KINDS.iter().position(|other| *other == kind).unwrap() + 1) % 3], 3);
        signed.shares[1] = other.shares[1].clone();
        assert!(!signed.owed(1), "{kind}");
        assert_eq!(signed.assemble(), Err(ShareError::WrongKind { kind }));
    }
}

#[test]
fn nonces_of_another_kind_are_refused() {
    let (musig, script) = (Signed::new(LockKind::MuSig2, 2), Signed::new(LockKind::Tapscript, 2));
    let wrong = |kind| ShareError::WrongKind { kind };
    assert_eq!(musig.lock.aggregate(&script.nonces), Err(wrong(LockKind::MuSig2)));
    assert_eq!(script.lock.aggregate(&musig.nonces), Err(wrong(LockKind::Tapscript)));
    for (lock, own, other) in
        [(&musig.lock, &musig.nonces, &script.nonces), (&script.lock, &script.nonces, &musig.nonces)]
    {
        assert_eq!(lock.check_nonce(&own[0]), Ok(()));
        assert_eq!(lock.check_nonce(&other[0]), Err(wrong(lock.kind())));
    }
    assert_eq!(musig.lock.aggregate([]), Err(ShareError::Missing { found: 0, expected: 2 }));
    let aggregate = musig.lock.aggregate(&musig.nonces).unwrap();
    assert_eq!(script.lock.session(&aggregate, &MESSAGE).unwrap_err(), wrong(LockKind::Tapscript));
    let shares = musig.keys.iter().zip(&musig.shares);
    assert_eq!(musig.lock.assemble(&script.session, shares), Err(wrong(LockKind::MuSig2)));
}

#[test]
fn the_order_of_the_keys_does_not_matter() {
    for kind in KINDS {
        let mut public = public(&keys(5));
        let lock = Lock::new(kind, &public).unwrap();
        public.reverse();
        assert_eq!(Lock::new(kind, &public).unwrap(), lock, "{kind}");
        assert_eq!(Lock::new(kind, []), Err(LockError::NoKeys));
    }
}

#[test]
fn a_key_that_is_there_twice_signs_twice() {
    for kind in KINDS {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let keys = [keys(2), keys(1)].concat();
        let lock = Lock::new(kind, &public(&keys)).unwrap();
        let signers: Vec<_> = keys.iter().map(|key| Signer::new(&mut rng, &lock, key, &MESSAGE)).collect();
        let nonces: Vec<_> = signers.iter().map(Signer::public).collect();
        let session = lock.session(&lock.aggregate(&nonces).unwrap(), &MESSAGE).unwrap();
        let shares: Vec<_> =
            signers.into_iter().zip(&keys).map(|(s, key)| (key.public_key(), s.sign(&lock, &session, key))).collect();
        let witness = lock.assemble(&session, shares.iter().map(|(key, share)| (key, share))).unwrap();
        assert!(lock.verify(&MESSAGE, &witness), "{kind}");
    }
}

#[test]
fn each_kind_has_its_limit() {
    let many = public(&keys(1000));
    for (kind, limit) in [(LockKind::Tapscript, 999), (LockKind::Wsh, 20)] {
        assert_eq!(kind.max_signers(), Some(limit));
        assert!(Lock::new(kind, &many[..limit]).is_ok());
        let found = limit + 1;
        assert_eq!(Lock::new(kind, &many[..found]), Err(LockError::TooManyKeys { kind, found, limit }));
    }
    assert_eq!(LockKind::MuSig2.max_signers(), None);
    assert!(Lock::new(LockKind::MuSig2, &many).is_ok());
}

#[test]
fn a_changed_witness_is_refused() {
    for kind in KINDS {
        let signed = Signed::new(kind, 3);
        let good = signed.assemble().unwrap().to_vec();
        let refused = |what: &str, change: &dyn Fn(&mut Vec<Vec<u8>>)| {
            let mut items = good.clone();
            change(&mut items);
            assert_ne!(items, good, "{kind}, {what}");
            assert!(!signed.lock.verify(&MESSAGE, &Witness::from_slice(&items)), "{kind}, {what}");
        };
        refused("nothing", &|items| items.clear());
        refused("an item more", &|items| items.push(vec![]));
        refused("an item more in front", &|items| items.insert(0, vec![]));
        refused("an annex", &|items| items.push(vec![0x50]));
        refused("an item less", &|items| drop(items.pop()));
        let first = usize::from(kind == LockKind::Wsh);
        refused("a sighash byte", &|items| items[first].push(1));
        refused("another sighash type", &|items| *items[first].last_mut().unwrap() ^= 2);
        refused("an empty signature", &|items| items[first].clear());
        if kind != LockKind::MuSig2 {
            refused("swapped signatures", &|items| items.swap(first, first + 1));
            refused("another script", &|items| items[first + 3][5] ^= 1);
        }
        if kind == LockKind::Tapscript {
            refused("the other parity", &|items| items[4][0] ^= 1);
            refused("a longer path", &|items| items[4].extend([0; 32]));
        }
        if kind == LockKind::Wsh {
            refused("an item that is not empty", &|items| items[0].push(0));
            refused("a high S", &|items| {
                let der = &items[1][..items[1].len() - 1];
                items[1] = high_s(&ecdsa::Signature::from_der(der).unwrap()).serialize_der().to_vec();
                items[1].push(1);
            });
        }
    }
}

/// The same signature with the order of the group minus S, which verifies by the plain rules of ECDSA.
fn high_s(signature: &ecdsa::Signature) -> ecdsa::Signature {
    let bytes = signature.serialize_compact();
    let s = secp256k1::SecretKey::from_secret_bytes(bytes[32..].try_into().unwrap()).unwrap().negate();
    ecdsa::Signature::from_compact(&[&bytes[..32], &s.to_secret_bytes()].concat()).unwrap()
}

#[test]
fn a_high_s_is_no_share() {
    let signature = ecdsa::sign(secp256k1::Message::from_digest(MESSAGE), &keys(1)[0].secret_key());
    assert!(LowS::try_from(signature).is_ok());
    assert!(LowS::try_from(high_s(&signature)).is_err());
    let bytes = high_s(&signature).serialize_compact();
    assert!(postcard::from_bytes::<LowS>(&bytes).is_err());
    assert!(postcard::from_bytes::<LowS>(&[0xff; 64]).is_err());
}

#[test]
fn the_debug_form_of_a_signer_has_no_secret() {
    let key = &keys(1)[0];
    for kind in KINDS {
        let lock = Lock::new(kind, [&key.public_key()]).unwrap();
        let signer = Signer::new(&mut ChaCha20Rng::seed_from_u64(4), &lock, key, &MESSAGE);
        let public = format!("Signer {{ public: {:?}, .. }}", signer.public());
        assert_eq!(format!("{signer:?}"), public, "{kind}: nothing but the public half");
    }
}

#[test]
fn the_weights_are_those_of_the_protocol() {
    // The table of PROTOCOL.md, section 2.
    for (n, weights) in [(3, [66, 333, 327]), (10, [66, 1028, 1078]), (20, [66, 2018, 2150]), (100, [66, 9938, 0])] {
        for (kind, weight) in KINDS.into_iter().zip(weights).filter(|(_, weight)| *weight != 0) {
            assert_eq!(kind.witness_weight(n).to_wu(), weight, "{n} signers, {kind}");
        }
    }
}

#[test]
fn signed_witnesses_have_the_weight_that_is_foretold() {
    for kind in KINDS {
        for n in [1, 2, 3, 7, 8, 10, 16, 17, 20, 100, 251, 999] {
            if kind.max_signers().is_some_and(|limit| n > limit) || (kind == LockKind::MuSig2 && n > 100) {
                continue;
            }
            let size = Signed::new(kind, n).assemble().unwrap().size();
            let foretold = kind.witness_weight(n).to_wu() as usize;
            let slack = if kind == LockKind::Wsh { n } else { 0 };
            assert!((foretold - slack..=foretold).contains(&size), "{n} signers, {kind}: {size}, not {foretold}");
        }
    }
}

#[test]
fn messages_survive_the_wire() {
    fn there_and_back<T>(value: &T) -> usize
    where
        T: serde::Serialize + for<'de> serde::Deserialize<'de> + PartialEq + std::fmt::Debug,
    {
        let bytes = postcard::to_stdvec(value).unwrap();
        assert_eq!(&postcard::from_bytes::<T>(&bytes).unwrap(), value);
        assert_eq!(&serde_json::from_str::<T>(&serde_json::to_string(value).unwrap()).unwrap(), value);
        for len in 0..bytes.len() {
            assert!(postcard::from_bytes::<T>(&bytes[..len]).is_err(), "cut after {len} bytes");
        }
        bytes.len()
    }
    // One byte tells the kind; all but ECDSA's have a length in front.
    for (kind, sizes) in KINDS.into_iter().zip([[68, 68, 34], [1, 1, 66], [1, 1, 65]]) {
        let signed = Signed::new(kind, 2);
        let aggregate = signed.lock.aggregate(&signed.nonces).unwrap();
        let found = [there_and_back(&signed.nonces[0]), there_and_back(&aggregate), there_and_back(&signed.shares[0])];
        assert_eq!(found, sizes, "{kind}");
        there_and_back(&kind);
        assert_eq!(kind.to_string().parse(), Ok(kind));
        assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
    }
    assert!("p2sh".parse::<LockKind>().is_err());
}

#[test]
fn the_sighash_commits_to_the_whole_transaction_and_what_it_spends() {
    for kind in KINDS {
        let lock = Lock::new(kind, &public(&keys(3))).unwrap();
        let spent = TxOut { value: Amount::from_sat(100_000), script_pubkey: lock.script_pubkey().clone() };
        let input = TxIn {
            previous_output: OutPoint::new(Txid::all_zeros(), 0),
            sequence: Sequence(0xffff_fffd),
            ..TxIn::default()
        };
        let output = vec![TxOut { value: Amount::from_sat(99_000), ..spent.clone() }];
        let tx = Transaction {
            version: transaction::Version(2),
            lock_time: absolute::LockTime::ZERO,
            input: vec![input],
            output,
        };
        let sighash = lock.sighash(&tx, &spent);
        let more = TxOut { value: Amount::from_sat(100_001), ..spent.clone() };
        assert_ne!(lock.sighash(&tx, &more), sighash, "{kind}: the amount");
        let mut other = tx.clone();
        other.output[0].value = Amount::from_sat(98_999);
        assert_ne!(lock.sighash(&other, &spent), sighash, "{kind}: an output");
        let mut other = tx.clone();
        other.input[0].sequence = Sequence(0);
        assert_ne!(lock.sighash(&other, &spent), sighash, "{kind}: the sequence");
        let mut signed = tx.clone();
        signed.input[0].witness.push([0]);
        assert_eq!(lock.sighash(&signed, &spent), sighash, "{kind}: the witness is not signed");
    }
}
