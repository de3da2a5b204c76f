//! What is wrong with what else there is to be mined.

use bitcoin::FeeRate;
use factory_core::replacement::RelayRate;

use super::super::item::Facts;
use super::super::language::{Congestion, Feerates, PublishedTx};
use super::{Bins, Check};
use crate::scenario::Rate;

/// The smallest and the largest background transaction, in vB.
const SIZES: std::ops::RangeInclusive<u64> = 130..=10_000;
/// More transactions than this are not kept waiting. Of the largest ones they take 50 MvB, which is less than half of what a
/// mempool of 300 MB holds.
const MAX_WAITING: u64 = 5_000;
/// Nobody pays more.
const MAX_FEERATE: FeeRate = FeeRate::from_sat_per_vb_u32(10_000);

impl Check<'_> {
    pub(super) fn congestion(&mut self, bins: Option<Bins<'_>>) {
        let Some(congestion) = &self.experiment.congestion else { return };
        self.waiting(congestion);
        match &congestion.feerates {
            Feerates::Constant(rate) => {
                let path = "congestion.feerates.constant";
                self.feerate(rate.0, path, "");
                self.tie(rate.0, path, "");
            }
            Feerates::Exponential { least, mean } => {
                let path = "congestion.feerates.exponential";
                self.feerate(least.0, &format!("{path}.least"), "");
                self.feerate(mean.0, &format!("{path}.mean"), "");
                if mean.0 <= least.0 {
                    let message = format!("the least is {least}: expected a mean above it, found {mean}");
                    self.problem(format!("{path}.mean"), message);
                }
            }
            Feerates::Histogram(name) => {
                let path = "congestion.feerates.histogram";
                match bins {
                    Some(Ok(bins)) => {
                        let rates = || bins.iter().map(|(rate, _)| *rate);
                        let extremes = [rates().min(), rates().max()].into_iter().flatten();
                        let of = format!("{name}: ");
                        extremes.for_each(|rate| self.feerate(rate, path, &of));
                        // One is enough to be told of.
                        let _ = rates().any(|rate| self.tie(rate, path, &of));
                    }
                    Some(Err(why)) => self.problem(path, why),
                    None => {}
                }
            }
        }
    }

    /// Whether so much can be kept waiting.
    fn waiting(&mut self, congestion: &Congestion) {
        let Congestion { fill, size, .. } = congestion;
        if !SIZES.contains(&size.0) {
            let (least, most) = SIZES.into_inner();
            let message = format!("found {} vB: expected {least} to {most} vB", size.0);
            self.problem("congestion.size", message);
            return;
        }
        if fill.0 == 0 {
            self.problem("congestion.fill", "nothing waits: expected more than 0 %, or no `congestion`");
            return;
        }
        let room = self.room();
        let vsize = u128::from(room) * u128::from(fill.0) / 1_000_000;
        let count = vsize / u128::from(size.0);
        // A block without room has been spoken of already.
        if count == 0 && room > 0 {
            let message = format!(
                "{fill} of a block's {room} vB is less than one transaction of {} vB: expected more, or no `congestion`",
                size.0
            );
            self.problem("congestion.fill", message);
        }
        if count > MAX_WAITING.into() {
            let message = format!(
                "{fill} of a block's {room} vB is {count} transactions of {} vB: expected at most {MAX_WAITING}, by a \
                lower fill, a larger size or a lower blocks.max_weight",
                size.0
            );
            self.problem("congestion.fill", message);
        }
    }

    /// Whether every node takes and mines what pays this, and somebody would pay it.
    fn feerate(&mut self, rate: FeeRate, path: &str, of: &str) {
        let found = Rate(rate);
        if rate > MAX_FEERATE {
            self.problem(path, format!("{of}expected at most {}, found {found}", Rate(MAX_FEERATE)));
            return;
        }
        let least = self.experiment.nodes.iter().map(|(name, node)| (name, Check::least(node)));
        let strictest = least.max_by_key(|(_, (least, _))| *least);
        if let Some((name, (least, verb))) = strictest
            && RelayRate::from(rate) < least
        {
            let message =
                format!("{of}node {name} {verb} nothing below {least}: expected at least that, found {found}");
            self.problem(path, message);
        }
    }

    /// What pays the same as one of the sides would come before or after it by chance. Whether this does.
    fn tie(&mut self, rate: FeeRate, path: &str, of: &str) -> bool {
        let factory = &self.experiment.factory;
        let pinned = self.experiment.publish.iter().any(|publish| publish.tx == PublishedTx::Pin);
        let pin = self.experiment.pin.as_ref().filter(|_| pinned);
        let same = |facts: Facts| {
            u128::from(facts.fee.to_sat()) * 250 == u128::from(rate.to_sat_per_kwu()) * u128::from(facts.vsize())
        };
        let tied = if rate == factory.feerate.0 {
            "the allocation and the closes"
        } else if self.sides.as_ref().is_some_and(|sides| same(sides.factory_close)) {
            "the factory close"
        } else if pin.is_some_and(|pin| pin.feerate.0 == rate) {
            "the pin"
        } else {
            return false;
        };
        let message = format!(
            "{of}{} is what {tied} pay{} exactly, and chance would say which is mined first: expected another feerate",
            Rate(rate),
            if tied.contains("closes") { "" } else { "s" }
        );
        self.problem(path, message);
        true
    }
}
