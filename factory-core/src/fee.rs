//! Fees.

use bitcoin::{Amount, FeeRate};

/// The fee that `feerate` asks for `vsize` virtual bytes, rounded up to a whole satoshi.
///
/// Nodes compare feerates over the virtual size and not over the weight, so the size is rounded up first.
/// `None` if the fee does not fit an [`Amount`].
pub fn fee(feerate: FeeRate, vsize: u64) -> Option<Amount> {
    feerate.fee_vb(vsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_round_up() {
        let tenth = FeeRate::from_sat_per_kwu(25);
        for (vsize, sat) in [(154, 16), (197, 20), (240, 24), (241, 25)] {
            assert_eq!(fee(tenth, vsize), Some(Amount::from_sat(sat)), "{vsize} vB at 0.1 sat/vB");
        }
        assert_eq!(fee(FeeRate::from_sat_per_vb_u32(1), 197), Some(Amount::from_sat(197)));
        assert_eq!(fee(FeeRate::MAX, 2), None);
    }
}
