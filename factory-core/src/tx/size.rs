//! Sizes, from the structure of the transactions.

use bitcoin::{VarInt, Weight};

use crate::lock::LockKind;

/// Everything but the outputs and their count: version, input count, one input with an empty script, locktime.
const BASE_BYTES: usize = 4 + 1 + 41 + 4;
/// An output with an 8-byte value and a 34-byte script after its length: pay-to-taproot or pay-to-witness-script-hash.
const OUTPUT_BYTES: usize = 8 + 1 + 34;
/// Segwit marker and flag.
const MARKER_WEIGHT: u64 = 2;
/// The witness of one key path spend: the count of items, and one bare 64-byte signature after its length.
const KEY_PATH_WEIGHT: usize = 1 + 1 + 64;

/// The weight of a transaction that spends one lock of `signers` keys to `outputs` outputs with 34-byte scripts. It is
/// exact where signatures have one length, and the most that it can be where they do not (ECDSA).
pub fn lock_spend(kind: LockKind, signers: usize, outputs: usize) -> Weight {
    one_input(outputs) + kind.witness_weight(signers)
}

fn one_input(outputs: usize) -> Weight {
    let stripped = BASE_BYTES + VarInt::from(outputs).size() + OUTPUT_BYTES * outputs;
    Weight::from_wu(4 * stripped as u64 + MARKER_WEIGHT)
}

/// The weight of a transaction that spends a channel output to `outputs` outputs: a channel close has at most 2, a
/// refund one more for every HTLC.
pub fn channel_spend(kind: LockKind, outputs: usize) -> Weight {
    lock_spend(kind, 2, outputs)
}

/// The weight of the allocation: one output per member.
pub fn allocation(kind: LockKind, members: usize) -> Weight {
    lock_spend(kind, members + 1, members)
}

/// The weight of the factory close: one output per member, and one for the operator.
pub fn factory_close(kind: LockKind, members: usize) -> Weight {
    lock_spend(kind, members + 1, members + 1)
}

/// The weight of a transaction that spends one output to one output, with a witness of `witness` weight units.
pub fn claim(witness: usize) -> Weight {
    one_input(1) + Weight::from_wu(witness as u64)
}

/// The weight of the funding, of `inputs` key path inputs to `outputs` outputs with 34-byte scripts.
pub fn funding(inputs: usize, outputs: usize) -> Weight {
    let counts = VarInt::from(inputs).size() + VarInt::from(outputs).size();
    let stripped = 4 + counts + 41 * inputs + OUTPUT_BYTES * outputs + 4;
    Weight::from_wu((4 * stripped + KEY_PATH_WEIGHT * inputs) as u64 + MARKER_WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formulas V_A = 68 + 43·N, V_C = 154 and V_FC = 111 + 43·N, with two bytes more from 253 outputs on.
    #[test]
    fn sizes_follow_the_formulas() {
        let kind = LockKind::MuSig2;
        for n in [1, 3, 20, 200, 251, 252, 253, 2322] {
            let long_count = |outputs| if outputs >= 253 { 2 } else { 0 };
            let n64 = n as u64;
            assert_eq!(allocation(kind, n).to_vbytes_ceil(), 68 + 43 * n64 + long_count(n), "allocation, N = {n}");
            assert_eq!(factory_close(kind, n).to_vbytes_ceil(), 111 + 43 * n64 + long_count(n + 1), "close, N = {n}");
        }
        assert_eq!(channel_spend(kind, 2).to_vbytes_ceil(), 154);
        assert_eq!(funding(1, 2), channel_spend(kind, 2));
    }
}
