//! A transaction that spends one locked output, before and after it is signed.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};

use super::funding::Coin;
use super::transfer::NotCovered;
use super::{LOCK_TIME, SEQUENCE};
use crate::lock::Lock;
use crate::terms::TxVersion;

/// A transaction that spends one locked output, without the signatures.
#[derive(Clone)]
pub struct Unsigned {
    tx: Arc<Transaction>,
    txid: OnceLock<Txid>,
    sighash: [u8; 32],
    fee: Amount,
}

/// A transaction whose signatures have been verified: any node would find it valid, once what it spends is there and
/// its locks have passed.
///
/// The parties of one process share what is the same for all of them: a large transaction is there once, and put
/// together with its witness only where it is published.
#[derive(Clone)]
pub struct Complete {
    unsigned: Arc<Transaction>,
    /// The witness of the only input; of several inputs the witnesses are in place.
    witness: Witness,
    tx: OnceLock<Arc<Transaction>>,
    txid: OnceLock<Txid>,
    fee: Amount,
}

impl fmt::Debug for Unsigned {
    /// Leaves out what is only remembered, so that two that are alike look alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsigned").field("tx", &self.tx).field("fee", &self.fee).finish_non_exhaustive()
    }
}

impl fmt::Debug for Complete {
    /// Leaves out what is only remembered, so that two that are alike look alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Complete").field("tx", self.transaction()).field("fee", &self.fee).finish_non_exhaustive()
    }
}

impl PartialEq for Complete {
    fn eq(&self, other: &Self) -> bool {
        self.transaction() == other.transaction() && self.fee == other.fee
    }
}

impl Eq for Complete {}

/// Returned when a witness does not satisfy the lock for this transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not valid for transaction {txid}")]
pub struct InvalidSignature {
    /// The transaction.
    pub txid: Txid,
}

impl Unsigned {
    /// Spends `spent`, which is locked by `lock`, at `outpoint` to `outputs`, whose sum must not be more. What they
    /// leave is the fee.
    pub(super) fn new(
        version: TxVersion,
        lock: &Lock,
        (outpoint, spent): (OutPoint, &TxOut),
        sequence: Sequence,
        output: Vec<TxOut>,
    ) -> Self {
        let paid: Amount = output.iter().map(|output| output.value).sum();
        let input = TxIn { previous_output: outpoint, script_sig: ScriptBuf::new(), sequence, witness: Witness::new() };
        let tx = Transaction { version: version.to_bitcoin(), lock_time: LOCK_TIME, input: vec![input], output };
        Unsigned::adopt(lock, spent, Arc::new(tx), spent.value - paid)
    }

    /// A transaction outside of any factory: spends a coin that `lock` guards to `outputs`, replaceably and without a
    /// lock in time. What they leave is the fee.
    ///
    /// # Errors
    ///
    /// [`NotCovered`], if they leave less than nothing.
    pub fn of_coin(version: TxVersion, lock: &Lock, coin: &Coin, outputs: Vec<TxOut>) -> Result<Self, NotCovered> {
        let (held, paid) = (coin.value, outputs.iter().map(|output| output.value).sum());
        if paid > held {
            return Err(NotCovered { held, paid });
        }
        let spent = TxOut { value: held, script_pubkey: lock.script_pubkey().clone() };
        Ok(Unsigned::new(version, lock, (coin.outpoint, &spent), SEQUENCE, outputs))
    }

    /// Takes a transaction over that is known to be the derived one. It pays `fee`.
    pub(super) fn adopt(lock: &Lock, spent: &TxOut, tx: Arc<Transaction>, fee: Amount) -> Self {
        Unsigned { sighash: lock.sighash(&tx, spent), txid: OnceLock::new(), tx, fee }
    }

    /// Whether `tx` is this transaction, whatever its witness is. It takes no hashing.
    pub fn is(&self, tx: &Transaction) -> bool {
        let same_input = |(ours, theirs): (&TxIn, &TxIn)| {
            (ours.previous_output, ours.sequence, &ours.script_sig)
                == (theirs.previous_output, theirs.sequence, &theirs.script_sig)
        };
        (self.tx.version, self.tx.lock_time, self.tx.input.len()) == (tx.version, tx.lock_time, tx.input.len())
            && self.tx.input.iter().zip(&tx.input).all(same_input)
            && self.tx.output == tx.output
    }

    /// The transaction as it stands, with an empty witness.
    pub fn transaction(&self) -> &Arc<Transaction> {
        &self.tx
    }

    /// Its identifier, which the signatures do not change.
    pub fn txid(&self) -> Txid {
        *self.txid.get_or_init(|| self.tx.compute_txid())
    }

    /// What the signers sign, over the whole transaction: the default sighash of BIP 341, or all of BIP 143.
    pub fn sighash(&self) -> &[u8; 32] {
        &self.sighash
    }

    /// What it leaves to the miner.
    pub fn fee(&self) -> Amount {
        self.fee
    }

    /// Puts the witness in, if it satisfies `lock` for this transaction.
    ///
    /// # Errors
    ///
    /// [`InvalidSignature`], if it does not.
    pub fn complete(&self, lock: &Lock, witness: Witness) -> Result<Complete, InvalidSignature> {
        if !lock.verify(&self.sighash, &witness) {
            return Err(InvalidSignature { txid: self.txid() });
        }
        let (unsigned, txid) = (self.tx.clone(), self.txid.clone());
        Ok(Complete { unsigned, witness, tx: OnceLock::new(), txid, fee: self.fee })
    }
}

impl Complete {
    /// `tx` must have been signed and verified.
    pub(crate) fn new(tx: Transaction, fee: Amount) -> Self {
        let tx = Arc::new(tx);
        let witness = tx.input.first().map(|input| input.witness.clone()).unwrap_or_default();
        Complete { unsigned: tx.clone(), witness, tx: OnceLock::from(tx), txid: OnceLock::new(), fee }
    }

    /// The transaction.
    pub fn transaction(&self) -> &Arc<Transaction> {
        self.tx.get_or_init(|| {
            let mut tx = Transaction::clone(&self.unsigned);
            tx.input[0].witness = self.witness.clone();
            Arc::new(tx)
        })
    }

    /// The witness of its first input: for what one lock guards, all there is to its signatures.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Its identifier.
    pub fn txid(&self) -> Txid {
        *self.txid.get_or_init(|| self.unsigned.compute_txid())
    }

    /// What it leaves to the miner.
    pub fn fee(&self) -> Amount {
        self.fee
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash as _;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::keys::{MemberKeys, Wallet};
    use crate::lock::LockKind;

    #[test]
    fn a_coin_of_a_lock_is_spent_outside_of_any_factory() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let payout = Wallet::generate(&mut rng).script_pubkey().clone();
        let keys = [(); 2].map(|()| MemberKeys::generate(&mut rng, payout.clone()).channel.public_key());
        let lock = Lock::new(LockKind::MuSig2, &keys).unwrap();
        let coin = Coin { outpoint: OutPoint::new(Txid::all_zeros(), 3), value: Amount::from_sat(1_000) };
        let outputs = |sat| vec![TxOut { value: Amount::from_sat(sat), script_pubkey: payout.clone() }; 2];
        let unsigned = Unsigned::of_coin(TxVersion::Three, &lock, &coin, outputs(423)).unwrap();
        let tx = unsigned.transaction();
        assert_eq!((tx.version.0, tx.lock_time, tx.output.len()), (3, LOCK_TIME, 2));
        assert_eq!((tx.input[0].previous_output, tx.input[0].sequence), (coin.outpoint, SEQUENCE));
        assert_eq!(unsigned.fee(), Amount::from_sat(154));
        let spent = TxOut { value: coin.value, script_pubkey: lock.script_pubkey().clone() };
        assert_eq!(unsigned.sighash(), &lock.sighash(tx, &spent));
        let too_much = Unsigned::of_coin(TxVersion::Two, &lock, &coin, outputs(501)).unwrap_err();
        assert_eq!(too_much, NotCovered { held: Amount::from_sat(1_000), paid: Amount::from_sat(1_002) });
    }
}
