//! Sizes, from the structure of the transactions.

use bitcoin::{VarInt, Weight};

/// Everything but the outputs and their count: version, input count, one input with an empty script, locktime.
const BASE_BYTES: usize = 4 + 1 + 41 + 4;
/// An output with an 8-byte value and a 34-byte pay-to-taproot script after its length.
const OUTPUT_BYTES: usize = 8 + 1 + 34;
/// Segwit marker and flag, the count of witness items, and one bare 64-byte signature after its length.
const WITNESS_BYTES: usize = 2 + 1 + 1 + 64;

/// The weight of a channel close with both outputs: 154 vB.
pub const CHANNEL_CLOSE: Weight = key_path_spend(2);

/// The weight of a transaction that spends one output by the key path, to `outputs` pay-to-taproot outputs.
pub const fn key_path_spend(outputs: usize) -> Weight {
    let count_bytes = match outputs {
        0..=0xfc => 1,
        0xfd..=0xffff => 3,
        _ => 5,
    };
    Weight::from_wu_usize(4 * (BASE_BYTES + count_bytes + OUTPUT_BYTES * outputs) + WITNESS_BYTES)
}

/// The weight of the allocation: one output per member.
pub const fn allocation(members: usize) -> Weight {
    key_path_spend(members)
}

/// The weight of the factory close: one output per member, and one for the operator.
pub const fn factory_close(members: usize) -> Weight {
    key_path_spend(members + 1)
}

/// The weight of the funding, of `inputs` key path inputs to `outputs` pay-to-taproot outputs.
pub fn funding(inputs: usize, outputs: usize) -> Weight {
    let counts = VarInt::from(inputs).size() + VarInt::from(outputs).size();
    let stripped = 4 + counts + 41 * inputs + OUTPUT_BYTES * outputs + 4;
    Weight::from_wu_usize(4 * stripped + 2 + (WITNESS_BYTES - 2) * inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formulas V_A = 68 + 43·N, V_C = 154 and V_FC = 111 + 43·N, with two bytes more from 253 outputs on.
    #[test]
    fn sizes_follow_the_formulas() {
        for n in [1, 3, 20, 200, 251, 252, 253, 2322] {
            let long_count = |outputs| if outputs >= 253 { 2 } else { 0 };
            let n64 = n as u64;
            assert_eq!(allocation(n).to_vbytes_ceil(), 68 + 43 * n64 + long_count(n), "allocation, N = {n}");
            assert_eq!(factory_close(n).to_vbytes_ceil(), 111 + 43 * n64 + long_count(n + 1), "close, N = {n}");
        }
        assert_eq!(CHANNEL_CLOSE.to_vbytes_ceil(), 154);
        assert_eq!(funding(1, 2), CHANNEL_CLOSE);
    }
}
