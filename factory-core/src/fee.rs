//! Fees, and the rules for that of the factory close.

use bitcoin::{Amount, FeeRate};
use serde::{Deserialize, Serialize};

/// The most variants of the factory close that can be signed at once.
pub const MAX_RUNGS: usize = 16;

/// What the factory close pays beyond the fees of what it cuts through.
///
/// The operator pays it all, so the members' outputs are the same in every variant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeeRule {
    /// Nothing: exactly the sum of the fees of the allocation and of every channel close.
    #[default]
    Exact,
    /// So much per virtual byte of the factory close.
    Premium(FeeRate),
    /// One variant for each of these premiums, in rising order, all signed in one ceremony: a higher one can be
    /// published later without asking anybody.
    Ladder(Vec<FeeRate>),
}

/// Returned when a fee rule makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeeRuleError {
    /// Returned when a ladder has no rung, or too many.
    #[error("a fee ladder has 1 to {MAX_RUNGS} rungs, found {0}")]
    Rungs(usize),
    /// Returned when a rung is not above the one before it.
    #[error("rung {rung} of the fee ladder is not above the one before it")]
    NotRising {
        /// Its number, from 0.
        rung: usize,
    },
}

impl FeeRule {
    /// The premium of each variant, in rising order.
    pub fn premiums(&self) -> &[FeeRate] {
        match self {
            FeeRule::Exact => &[FeeRate::ZERO],
            FeeRule::Premium(premium) => std::slice::from_ref(premium),
            FeeRule::Ladder(premiums) => premiums,
        }
    }

    /// How many variants of the factory close there are.
    pub fn rungs(&self) -> usize {
        self.premiums().len()
    }

    pub(crate) fn check(&self) -> Result<(), FeeRuleError> {
        let premiums = self.premiums();
        if !(1..=MAX_RUNGS).contains(&premiums.len()) {
            return Err(FeeRuleError::Rungs(premiums.len()));
        }
        match premiums.windows(2).position(|pair| pair[0] >= pair[1]) {
            Some(below) => Err(FeeRuleError::NotRising { rung: below + 1 }),
            None => Ok(()),
        }
    }
}

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

    #[test]
    fn a_ladder_rises() {
        let rate = FeeRate::from_sat_per_vb_u32;
        let ladder = |rungs: &[u32]| FeeRule::Ladder(rungs.iter().copied().map(rate).collect()).check();
        assert_eq!(ladder(&[0, 1, 3]), Ok(()));
        assert_eq!(ladder(&[]), Err(FeeRuleError::Rungs(0)));
        assert_eq!(ladder(&(0..17).collect::<Vec<_>>()), Err(FeeRuleError::Rungs(17)));
        assert_eq!(ladder(&(0..16).collect::<Vec<_>>()), Ok(()));
        assert_eq!(ladder(&[0, 2, 2]), Err(FeeRuleError::NotRising { rung: 2 }));
        assert_eq!(FeeRule::Exact.premiums(), [FeeRate::ZERO]);
        assert_eq!([FeeRule::Exact, FeeRule::Premium(rate(2))].map(|rule| rule.rungs()), [1, 1]);
        assert_eq!(FeeRule::Ladder([0, 1, 3].map(rate).to_vec()).rungs(), 3);
    }
}
