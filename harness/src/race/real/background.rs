//! Transactions that have nothing to do with the factory, of any weight and fee, to the unit.
//!
//! Each spends one coin that anybody can spend, and its first output is such a coin again. Outputs to a script of the same
//! form give it its size, and bytes in its witness what is left of that.

use bitcoin::opcodes::all::{OP_2DROP, OP_DROP, OP_PUSHNUM_1};
use bitcoin::script::Builder;
use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, VarInt, Weight, Witness, absolute, transaction,
};
use factory_core::tx::funding::Coin;

use crate::race::Facts;

/// How many bytes there can be in each piece of padding in the witness, by every kind's rules of relay.
const PIECE: usize = 80;
/// How many pieces of padding there are.
const PIECES: usize = 3;
/// An output that pays to a script's hash, in bytes: 8 of value, 1 of length, 34 of script.
const OUTPUT: u64 = 43;
/// Version, lock time, the count of inputs and one input, in bytes.
const BASE: u64 = 4 + 4 + 1 + 41;
/// Marker and flag, the count of items, the lengths of the pieces, the script and its length, in WU.
const WITNESS: u64 = 2 + 1 + PIECES as u64 + 1 + 3;
/// The smallest size, in vB.
const LEAST: u64 = 97;

/// What a background transaction of this size has; the smallest of all has 97 vB.
pub(crate) fn background_facts(size_vb: u64, fee: Amount) -> Facts {
    Facts { fee, weight: Weight::from_wu(4 * size_vb.max(LEAST)) }
}

/// The script that anybody can satisfy, with any three items.
fn anybody() -> ScriptBuf {
    Builder::new().push_opcode(OP_2DROP).push_opcode(OP_DROP).push_opcode(OP_PUSHNUM_1).into_script()
}

/// Where everybody's coins are.
pub(super) fn script_pubkey() -> ScriptBuf {
    anybody().to_p2wsh()
}

/// How many outputs only add to the size of a transaction of this weight, and how many bytes of its witness do. `None`, if
/// it is too small.
fn padding(weight: Weight) -> Option<(u64, usize)> {
    let most = weight.to_wu().checked_sub(WITNESS)? / 4;
    let stripped = |padding: u64| BASE + VarInt(1 + padding).size() as u64 + OUTPUT * (1 + padding);
    let outputs = most.checked_sub(BASE + 1 + OUTPUT)? / OUTPUT;
    // The count of outputs may take more than a byte.
    let outputs = (0..=outputs).rev().find(|outputs| stripped(*outputs) <= most)?;
    let left = weight.to_wu() - WITNESS - 4 * stripped(outputs);
    usize::try_from(left).ok().filter(|left| *left <= PIECES * PIECE).map(|left| (outputs, left))
}

/// What a coin has to hold for a transaction of these facts, without what becomes a coin again. `None`, if there can be no
/// such transaction.
pub(super) fn cost(facts: Facts) -> Option<Amount> {
    let (outputs, _) = padding(facts.weight)?;
    facts.fee.checked_add(script_pubkey().minimal_non_dust().checked_mul(outputs)?)
}

/// The transaction that spends a coin and has just these facts, and the coin that it leaves. `None`, if there can be no such
/// transaction, or the coin holds too little.
pub(super) fn build(coin: &Coin, facts: Facts) -> Option<(Transaction, Coin)> {
    let (outputs, mut bytes) = padding(facts.weight)?;
    let script_pubkey = script_pubkey();
    let least = script_pubkey.minimal_non_dust();
    let value = coin.value.checked_sub(cost(facts)?).filter(|value| *value >= least)?;
    let mut witness = Witness::new();
    for _ in 0..PIECES {
        let piece = bytes.min(PIECE);
        witness.push(vec![0; piece]);
        bytes -= piece;
    }
    witness.push(anybody());
    let output = |value| TxOut { value, script_pubkey: script_pubkey.clone() };
    let tx = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: coin.outpoint,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness,
        }],
        output: [value].into_iter().chain((0..outputs).map(|_| least)).map(output).collect(),
    };
    let left = Coin { outpoint: OutPoint::new(tx.compute_txid(), 0), value };
    Some((tx, left))
}

#[cfg(test)]
mod tests {
    use bitcoin::Txid;
    use bitcoin::hashes::Hash as _;

    use super::*;

    #[test]
    fn every_weight_and_fee_is_met_to_the_unit() {
        let coin = Coin { outpoint: OutPoint::new(Txid::all_zeros(), 0), value: Amount::from_sat(5_000_000) };
        for weight in (386..3_000).chain(43_000..45_000).chain([400_000]) {
            let facts = Facts { fee: Amount::from_sat(weight), weight: Weight::from_wu(weight) };
            let (tx, left) = build(&coin, facts).unwrap_or_else(|| panic!("{weight}"));
            assert_eq!(tx.weight(), facts.weight);
            let paid: Amount = tx.output.iter().map(|output| output.value).sum();
            assert_eq!(coin.value - paid, facts.fee, "{weight}");
            assert_eq!((tx.output[0].value, tx.compute_txid()), (left.value, left.outpoint.txid));
        }
        assert!(padding(Weight::from_wu(385)).is_none());
        assert_eq!(background_facts(0, Amount::ZERO).vsize(), LEAST);
        assert_eq!(background_facts(500, Amount::ZERO).vsize(), 500);
    }
}
