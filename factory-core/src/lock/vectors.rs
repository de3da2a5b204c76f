//! The official test vectors of BIP 327 and BIP 341, as far as this module uses what they test. See
//! `tests/vectors/README.md` for their source.

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::taproot::LeafVersion;
use bitcoin::{Amount, TapLeafHash};
use hex_conservative::FromHex as _;
use secp256k1::musig::{KeyAggCache, PartialSignature, PublicNonce, Session};
use secp256k1::{Scalar, XOnlyPublicKey};
use serde_json::Value;

use super::script::single_leaf;
use super::*;
use crate::keys::{key_path_tweak, taproot_script};

macro_rules! vectors {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!("../../tests/vectors/", $name))).unwrap()
    };
}

fn bytes<const N: usize>(hex: &Value) -> [u8; N] {
    <[u8; N]>::from_hex(hex.as_str().unwrap()).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

/// The items of `all` at `indices`.
fn at<T: Clone>(all: &[T], indices: &Value) -> Vec<T> {
    list(indices).iter().map(|i| all[i.as_u64().unwrap() as usize].clone()).collect()
}

/// The keys at `indices`, `None` if one is not valid.
fn keys(all: &Value, indices: &Value) -> Option<Vec<PublicKey>> {
    at(list(all), indices).iter().map(|key| PublicKey::from_byte_array_compressed(bytes(key)).ok()).collect()
}

/// The aggregate of `keys` with the tweaks of `case`, `None` if a tweak is not valid.
fn tweaked(keys: &[PublicKey], tweaks: &Value, case: &Value) -> Option<KeyAggCache> {
    let mut cache = KeyAggCache::new(&keys.iter().collect::<Vec<_>>());
    for (tweak, xonly) in at(list(tweaks), &case["tweak_indices"]).iter().zip(list(&case["is_xonly"])) {
        let tweak = Scalar::from_be_bytes(bytes(tweak)).ok()?;
        let added = if xonly.as_bool().unwrap() {
            cache.pubkey_xonly_tweak_add(&tweak)
        } else {
            cache.pubkey_ec_tweak_add(&tweak)
        };
        added.ok()?;
    }
    Some(cache)
}

fn nonce(hex: &Value) -> Option<Nonce> {
    Some(Nonce(AnyNonce::MuSig2(PublicNonce::from_byte_array(&bytes(hex)).ok()?)))
}

fn any_musig_lock() -> Lock {
    let all = vectors!("bip327_key_sort.json");
    let keys: Vec<_> =
        list(&all["pubkeys"]).iter().map(|key| PublicKey::from_byte_array_compressed(bytes(key)).unwrap()).collect();
    Lock::new(LockKind::MuSig2, &keys).unwrap()
}

#[test]
fn bip327_key_sort() {
    let all = vectors!("bip327_key_sort.json");
    let read = |name: &str| -> Vec<PublicKey> {
        list(&all[name]).iter().map(|key| PublicKey::from_byte_array_compressed(bytes(key)).unwrap()).collect()
    };
    let (given, expected) = (read("pubkeys"), read("sorted_pubkeys"));
    let mut sorted: Vec<_> = given.iter().collect();
    secp256k1::sort_pubkeys(&mut sorted);
    assert_eq!(sorted, expected.iter().collect::<Vec<_>>());
    // Finding a key in a script lock relies on it that keys compare in the same order.
    assert!(expected.is_sorted());
}

#[test]
fn bip327_key_agg() {
    let all = vectors!("bip327_key_agg.json");
    for case in list(&all["valid"]) {
        let keys = keys(&all["pubkeys"], &case["key_indices"]).unwrap();
        let cache = KeyAggCache::new(&keys.iter().collect::<Vec<_>>());
        assert_eq!(cache.agg_pk().to_byte_array(), bytes(&case["expected"]));
    }
    for case in list(&all["error"]) {
        let keys = keys(&all["pubkeys"], &case["key_indices"]);
        match case["error"].as_str().unwrap() {
            "pubkey" => assert!(keys.is_none(), "{case}"),
            _ => assert!(tweaked(&keys.unwrap(), &all["tweaks"], case).is_none(), "{case}"),
        }
    }
}

#[test]
fn bip327_nonce_agg() {
    let all = vectors!("bip327_nonce_agg.json");
    let lock = any_musig_lock();
    for case in list(&all["valid"]) {
        let nonces: Vec<_> = at(list(&all["pnonces"]), &case["pnonce_indices"]).iter().flat_map(nonce).collect();
        assert_eq!(nonces.len(), 2);
        let AggregateNonce(AnyAggregate::MuSig2(aggregate)) = lock.aggregate(&nonces).unwrap() else {
            panic!("{case}")
        };
        assert_eq!(aggregate.serialize(), bytes(&case["expected"]));
    }
    for case in list(&all["error"]) {
        let nonces: Vec<_> = at(list(&all["pnonces"]), &case["pnonce_indices"]).iter().map(nonce).collect();
        let invalid = case["invalid"].as_u64().unwrap() as usize;
        assert!((0..2).all(|i| nonces[i].is_none() == (i == invalid)), "{case}");
    }
}

/// Checks partial signatures only: the crate takes no secret nonce as BIP 327 writes it.
#[test]
fn bip327_sign_verify_and_tweak() {
    let all = vectors!("bip327_sign_verify.json");
    for case in list(&all["valid"]) {
        let keys = keys(&all["pubkeys"], &case["key_indices"]).unwrap();
        let cache = KeyAggCache::new(&keys.iter().collect::<Vec<_>>());
        let aggregate = &all["aggnonces"][case["aggnonce_index"].as_u64().unwrap() as usize];
        let aggregate = AggregatedNonce::from_byte_array(&bytes(aggregate)).unwrap();
        let session = Session::new(&cache, aggregate, &bytes(&all["msg"]));
        let partial = PartialSignature::from_byte_array(&bytes(&case["expected"])).unwrap();
        let signer = case["signer_index"].as_u64().unwrap() as usize;
        // In all of these, the signer's is the first nonce, as it is the first key.
        let nonce = PublicNonce::from_byte_array(&bytes(&all["pubnonces"][0])).unwrap();
        assert!(session.partial_verify(&cache, &partial, &nonce, keys[signer]), "{case}");
    }
    for index in list(&all["invalid_aggnonces"]) {
        let nonce = bytes(&all["aggnonces"][index.as_u64().unwrap() as usize]);
        assert!(AggregatedNonce::from_byte_array(&nonce).is_err());
    }
    for case in list(&all["verify_fail"]) {
        let keys = keys(&all["pubkeys"], &case["key_indices"]).unwrap();
        let nonces: Vec<_> = at(list(&all["pubnonces"]), &case["nonce_indices"])
            .iter()
            .map(|nonce| PublicNonce::from_byte_array(&bytes(nonce)).unwrap())
            .collect();
        let cache = KeyAggCache::new(&keys.iter().collect::<Vec<_>>());
        let aggregate = AggregatedNonce::new(&nonces.iter().collect::<Vec<_>>());
        let session = Session::new(&cache, aggregate, &bytes(&all["msg"]));
        let signer = case["signer_index"].as_u64().unwrap() as usize;
        match PartialSignature::from_byte_array(&bytes(&case["sig"])) {
            Ok(partial) => assert!(!session.partial_verify(&cache, &partial, &nonces[signer], keys[signer]), "{case}"),
            Err(_) => assert_eq!(case["error"], "sig"),
        }
    }

    let all = vectors!("bip327_tweak.json");
    for case in list(&all["valid"]) {
        let keys = keys(&all["pubkeys"], &case["key_indices"]).unwrap();
        let cache = tweaked(&keys, &all["tweaks"], case).unwrap();
        let aggregate = AggregatedNonce::from_byte_array(&bytes(&all["aggnonce"])).unwrap();
        let session = Session::new(&cache, aggregate, &bytes(&all["msg"]));
        let partial = PartialSignature::from_byte_array(&bytes(&case["expected"])).unwrap();
        let signer = case["signer_index"].as_u64().unwrap() as usize;
        let nonce = &at(list(&all["pubnonces"]), &case["nonce_indices"])[signer];
        let nonce = PublicNonce::from_byte_array(&bytes(nonce)).unwrap();
        assert!(session.partial_verify(&cache, &partial, &nonce, keys[signer]), "{case}");
    }
    for case in list(&all["error"]) {
        let keys = keys(&all["pubkeys"], &case["key_indices"]).unwrap();
        assert!(tweaked(&keys, &all["tweaks"], case).is_none(), "{case}");
    }
}

#[test]
fn bip327_sig_agg() {
    let all = vectors!("bip327_sig_agg.json");
    for case in list(&all["valid"]) {
        let keys = keys(&all["pubkeys"], &case["key_indices"]).unwrap();
        let cache = tweaked(&keys, &all["tweaks"], case).unwrap();
        let aggregate = AggregatedNonce::from_byte_array(&bytes(&case["aggnonce"])).unwrap();
        let session = Session::new(&cache, aggregate, &bytes(&all["msg"]));
        let partials: Vec<_> = at(list(&all["psigs"]), &case["psig_indices"])
            .iter()
            .map(|partial| PartialSignature::from_byte_array(&bytes(partial)).unwrap())
            .collect();
        let signature = session.partial_sig_agg(&partials.iter().collect::<Vec<_>>()).assume_valid();
        assert_eq!(signature.to_byte_array(), bytes(&case["expected"]));
        assert!(
            secp256k1::schnorr::verify(&signature, &bytes::<32>(&all["msg"]), &cache.agg_pk()).is_ok() || {
                // `agg_pk` is the aggregate without tweaks.
                let key = cache.agg_pk_full().x_only_public_key().0;
                secp256k1::schnorr::verify(&signature, &bytes::<32>(&all["msg"]), &key).is_ok()
            }
        );
    }
    for case in list(&all["error"]) {
        let partials = at(list(&all["psigs"]), &case["psig_indices"]);
        let invalid = &partials[case["invalid"].as_u64().unwrap() as usize];
        assert!(PartialSignature::from_byte_array(&bytes(invalid)).is_err());
    }
}

#[test]
fn bip341_outputs() {
    let all = vectors!("bip341_wallet.json");
    let mut leaves = 0;
    for case in list(&all["scriptPubKey"]) {
        let internal = XOnlyPublicKey::from_byte_array(bytes(&case["given"]["internalPubkey"])).unwrap();
        let tree = &case["given"]["scriptTree"];
        let output_key = if tree.is_null() {
            let tweak = key_path_tweak(&internal).unwrap();
            assert_eq!(tweak.to_be_bytes(), bytes(&case["intermediary"]["tweak"]));
            internal.add_tweak(&tweak).unwrap().0
        } else if tree.is_object() {
            leaves += 1;
            let script = ScriptBuf::from_hex(tree["script"].as_str().unwrap()).unwrap();
            let leaf = TapLeafHash::from_script(&script, LeafVersion::TapScript);
            assert_eq!(leaf.to_string(), case["intermediary"]["merkleRoot"].as_str().unwrap());
            let (output_key, control) = single_leaf(&internal, leaf).unwrap();
            assert_eq!(control, bytes(&case["expected"]["scriptPathControlBlocks"][0]));
            output_key
        } else {
            // Trees of several leaves are nothing that a lock makes.
            continue;
        };
        assert_eq!(output_key.to_byte_array(), bytes(&case["intermediary"]["tweakedPubkey"]));
        let expected = case["expected"]["scriptPubKey"].as_str().unwrap();
        assert_eq!(taproot_script(&output_key).to_hex_string(), expected);
    }
    assert_eq!(leaves, 2);
}

#[test]
fn bip341_key_path_sighash() {
    let all = vectors!("bip341_wallet.json");
    let case = &all["keyPathSpending"][0];
    let tx: Transaction = deserialize_hex(case["given"]["rawUnsignedTx"].as_str().unwrap()).unwrap();
    let spent: Vec<_> = list(&case["given"]["utxosSpent"])
        .iter()
        .map(|output| TxOut {
            value: Amount::from_sat(output["amountSats"].as_u64().unwrap()),
            script_pubkey: ScriptBuf::from_hex(output["scriptPubKey"].as_str().unwrap()).unwrap(),
        })
        .collect();
    let spent: Vec<_> = spent.iter().collect();
    // Only one input is signed with the default type.
    let default: Vec<_> = list(&case["inputSpending"]).iter().filter(|input| input["given"]["hashType"] == 0).collect();
    let [input] = default[..] else { panic!("one input has the default type") };
    let index = input["given"]["txinIndex"].as_u64().unwrap() as usize;
    assert_eq!(musig::key_path_sighash(&tx, index, &spent), bytes(&input["intermediary"]["sigHash"]));
}

/// The locks themselves, against what the `bitcoin` crate derives from the same script and keys.
#[test]
fn a_tapscript_lock_is_what_the_builder_of_the_bitcoin_crate_makes() {
    let all = vectors!("bip327_key_sort.json");
    let keys: Vec<_> =
        list(&all["pubkeys"]).iter().map(|key| PublicKey::from_byte_array_compressed(bytes(key)).unwrap()).collect();
    let lock = Lock::new(LockKind::Tapscript, &keys).unwrap();
    let Form::Script(script) = &lock.form else { panic!("tapscript is a script") };
    let secp = bitcoin::secp256k1::Secp256k1::verification_only();
    let internal = bitcoin::XOnlyPublicKey::from_slice(&unspendable_key().to_byte_array()).unwrap();
    let builder = bitcoin::taproot::TaprootBuilder::new().add_leaf(0, script.script().clone()).unwrap();
    let info = builder.finalize(&secp, internal).unwrap();
    assert_eq!(lock.script_pubkey(), &ScriptBuf::new_p2tr_tweaked(info.output_key()));
    let control = info.control_block(&(script.script().clone(), LeafVersion::TapScript)).unwrap();
    assert_eq!(control.serialize(), script.control().unwrap());
}
