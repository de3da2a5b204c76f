//! A transaction that spends one locked output, before and after it is signed.

use bitcoin::hashes::Hash as _;
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, Witness};
use secp256k1::schnorr;

use super::{LOCK_TIME, SEQUENCE};
use crate::keys::key_path_witness;
use crate::lock::Lock;
use crate::terms::TxVersion;

/// A transaction that spends one output by its key path, without the signature.
#[derive(Clone, Debug)]
pub struct Unsigned {
    tx: Transaction,
    txid: Txid,
    sighash: [u8; 32],
    fee: Amount,
}

/// A transaction whose signatures have been verified: any node would find it valid, once what it spends is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    tx: Transaction,
    txid: Txid,
    fee: Amount,
}

/// Returned when a signature is not the lock's for this transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not valid for transaction {txid}")]
pub struct InvalidSignature {
    /// The transaction.
    pub txid: Txid,
}

impl Unsigned {
    /// Spends `spent` at `outpoint` to `outputs`, whose sum must not be more. What they leave is the fee.
    pub(super) fn new(version: TxVersion, outpoint: OutPoint, spent: &TxOut, output: Vec<TxOut>) -> Self {
        let paid: Amount = output.iter().map(|output| output.value).sum();
        let input = TxIn {
            previous_output: outpoint,
            script_sig: ScriptBuf::new(),
            sequence: SEQUENCE,
            witness: Witness::new(),
        };
        let tx = Transaction { version: version.to_bitcoin(), lock_time: LOCK_TIME, input: vec![input], output };
        let sighash = key_path_sighash(&tx, 0, &[spent]);
        Unsigned { txid: tx.compute_txid(), sighash, fee: spent.value - paid, tx }
    }

    /// The transaction as it stands, with an empty witness.
    pub fn transaction(&self) -> &Transaction {
        &self.tx
    }

    /// Its identifier, which the signature does not change.
    pub fn txid(&self) -> Txid {
        self.txid
    }

    /// What the signers sign: the default sighash of BIP 341, over the whole transaction.
    pub fn sighash(&self) -> &[u8; 32] {
        &self.sighash
    }

    /// What it leaves to the miner.
    pub fn fee(&self) -> Amount {
        self.fee
    }

    /// Puts the signature in, if it is `lock`'s for this transaction.
    ///
    /// # Errors
    ///
    /// [`InvalidSignature`], if it is not.
    pub fn complete(&self, lock: &Lock, signature: &schnorr::Signature) -> Result<Complete, InvalidSignature> {
        if !lock.verify(&self.sighash, signature) {
            return Err(InvalidSignature { txid: self.txid });
        }
        let mut tx = self.tx.clone();
        tx.input[0].witness = key_path_witness(signature);
        Ok(Complete::new(tx, self.fee))
    }
}

impl Complete {
    /// `tx` must have been signed and verified.
    pub(super) fn new(tx: Transaction, fee: Amount) -> Self {
        Complete { txid: tx.compute_txid(), tx, fee }
    }

    /// The transaction.
    pub fn transaction(&self) -> &Transaction {
        &self.tx
    }

    /// Its identifier.
    pub fn txid(&self) -> Txid {
        self.txid
    }

    /// What it leaves to the miner.
    pub fn fee(&self) -> Amount {
        self.fee
    }
}

/// The default sighash of `input` (BIP 341), given all the outputs that `tx` spends, in the order of its inputs.
pub(super) fn key_path_sighash(tx: &Transaction, input: usize, spent: &[&TxOut]) -> [u8; 32] {
    SighashCache::new(tx)
        .taproot_key_spend_signature_hash(input, &Prevouts::All(spent), TapSighashType::Default)
        .expect("there is one spent output per input, and the default type needs no matching output")
        .to_byte_array()
}
