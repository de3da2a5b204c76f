//! Tests of the ledger: what it takes, and what it refuses and why.

mod chain;
mod policy;
mod scripts;

use std::sync::Arc;

use ::secp256k1::{Keypair, Message};
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::taproot::{LeafVersion, TaprootBuilder, TaprootSpendInfo};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, FeeRate, OutPoint, ScriptBuf, Sequence, TapLeafHash, Transaction, TxIn, TxOut, Txid, Witness, secp256k1,
};

use super::*;
use crate::keys::taproot_script;

/// The coins of these tests, in satoshis.
const COIN: u64 = 100_000;
const START: u32 = 100;

fn ledger() -> Ledger {
    Ledger::new(START, FeeRate::from_sat_per_vb_u32(1))
}

fn key(n: u8) -> Keypair {
    Keypair::from_secret_bytes([n; 32]).unwrap()
}

fn x_only(n: u8) -> [u8; 32] {
    key(n).x_only_public_key().0.to_byte_array()
}

/// The script that key `n` spends by the key path: the key is used as it is, without a tweak.
fn pays(n: u8) -> ScriptBuf {
    taproot_script(&key(n).x_only_public_key().0)
}

fn output(script_pubkey: ScriptBuf, sat: u64) -> TxOut {
    TxOut { value: Amount::from_sat(sat), script_pubkey }
}

/// A transaction without witnesses: version 2, replaceable and without relative locks.
fn unsigned(inputs: &[OutPoint], output: Vec<TxOut>) -> Transaction {
    let input = |outpoint: &OutPoint| TxIn {
        previous_output: *outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    };
    let input = inputs.iter().map(input).collect();
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
}

/// Key `n`'s signature of one input by the key path, or for a leaf.
fn schnorr(
    tx: &Transaction,
    input: usize,
    spent: &[TxOut],
    n: u8,
    leaf: Option<&ScriptBuf>,
    sighash_type: TapSighashType,
) -> Vec<u8> {
    let leaf = leaf.map(|script| (TapLeafHash::from_script(script, LeafVersion::TapScript), u32::MAX));
    let sighash =
        SighashCache::new(tx).taproot_signature_hash(input, &Prevouts::All(spent), None, leaf, sighash_type).unwrap();
    let mut signature = key(n).sign_schnorr_no_aux_rand(sighash.as_byte_array()).to_byte_array().to_vec();
    if sighash_type != TapSighashType::Default {
        signature.push(sighash_type as u8);
    }
    signature
}

/// Key `n`'s signature of the first input, for a witness script of a coin.
fn ecdsa(tx: &Transaction, n: u8, script: &ScriptBuf) -> Vec<u8> {
    let (value, all) = (Amount::from_sat(COIN), EcdsaSighashType::All);
    let sighash = SighashCache::new(tx).p2wsh_signature_hash(0, script, value, all).unwrap();
    let signature = key(n).secret_key().sign_ecdsa(Message::from_digest(sighash.to_byte_array()));
    [&signature.serialize_der()[..], &[all as u8]].concat()
}

/// Signs the first input by the key path of key `n`, the value of which is `sat`.
fn signed(mut tx: Transaction, n: u8, sat: u64) -> Arc<Transaction> {
    let signature = schnorr(&tx, 0, &[output(pays(n), sat)], n, None, TapSighashType::Default);
    tx.input[0].witness = Witness::from_slice(&[signature]);
    Arc::new(tx)
}

/// Pays `sat`, all but `fee`, from key `from` to key `to`.
fn pay(outpoint: OutPoint, sat: u64, from: u8, to: u8, fee: u64) -> Arc<Transaction> {
    signed(unsigned(&[outpoint], vec![output(pays(to), sat - fee)]), from, sat)
}

fn first_output(tx: &Transaction) -> OutPoint {
    OutPoint::new(tx.compute_txid(), 0)
}

/// A taproot output with these leaves, in a tree as deep as there are leaves. Made by `bitcoin`, not by the ledger.
fn tree(leaves: &[ScriptBuf]) -> (ScriptBuf, TaprootSpendInfo) {
    let mut builder = TaprootBuilder::new();
    for (index, leaf) in leaves.iter().enumerate() {
        let depth = if leaves.len() == 1 { 0 } else { (index + 1).min(leaves.len() - 1) };
        builder = builder.add_leaf(depth.try_into().unwrap(), leaf.clone()).unwrap();
    }
    let internal = bitcoin::XOnlyPublicKey::from_slice(&x_only(99)).unwrap();
    let info = builder.finalize(&secp256k1::Secp256k1::verification_only(), internal).unwrap();
    (ScriptBuf::new_p2tr_tweaked(info.output_key()), info)
}

/// The witness of a spend by a leaf: what its script finds, bottom first, then the script and the control block.
fn leaf_witness(info: &TaprootSpendInfo, leaf: &ScriptBuf, stack: &[Vec<u8>]) -> Witness {
    let control = info.control_block(&(leaf.clone(), LeafVersion::TapScript)).unwrap();
    let mut witness = Witness::from_slice(stack);
    witness.push(leaf.as_bytes());
    witness.push(control.serialize());
    witness
}
