//! What is wrong with the factory, and with the room that it is given.

use std::collections::HashMap;

use bitcoin::{Amount, FeeRate, Weight};
use factory_core::{MAX_STANDARD_WEIGHT, fee};

use super::super::item::{Facts, Sides};
use super::super::language::{Experiment, PublishedTx, Side};
use super::super::setup::RESERVED;
use super::super::sides;
use super::Check;
use crate::scenario::check::version;
use crate::scenario::{Premium, Rate};

/// No factory close of more members is relayed; the exact limit follows from its size.
const MAX_MEMBERS: u32 = 5_000;
/// The coin that pays for the large child holds far more.
const MAX_FEE: Amount = Amount::ONE_BTC;

/// What is known of factories already, so that all cells of a matrix that have the same one take no more time than one.
#[derive(Debug)]
pub(in super::super) struct Work {
    known: HashMap<Key, Result<Sides, (&'static str, String)>>,
    /// Of how many members the keys may still be made.
    left: u32,
    /// Whether it was said that it is too much.
    told: bool,
}

/// What sizes and fees depend on.
type Key = (u32, FeeRate, u32, FeeRate, Option<(u64, FeeRate)>);

impl Default for Work {
    fn default() -> Self {
        Work { known: HashMap::new(), left: 5_000, told: false }
    }
}

impl Work {
    /// What the factory of an experiment is like, or which value makes it impossible, and why. `None` if it would take too
    /// long to know.
    fn sides(&mut self, experiment: &Experiment) -> Option<Result<Sides, (&'static str, String)>> {
        let factory = &experiment.factory;
        let pin = experiment.pin.as_ref().map(|pin| (pin.size.0, pin.feerate.0));
        let key = (factory.members.0, factory.feerate.0, factory.version.0, factory.premium.0, pin);
        if let Some(known) = self.known.get(&key) {
            return Some(known.clone());
        }
        self.left = self.left.checked_sub(factory.members.0)?;
        let found = sides::facts(experiment).map_err(|stop| (to_blame(experiment), stop.to_string()));
        self.known.insert(key, found.clone());
        Some(found)
    }
}

/// Which value makes a factory impossible: the one without which it is none any more.
fn to_blame(experiment: &Experiment) -> &'static str {
    let mut simpler = experiment.clone();
    simpler.pin = None;
    if sides::facts(&simpler).is_ok() {
        return "pin";
    }
    simpler.factory.premium = Premium(FeeRate::ZERO);
    if sides::facts(&simpler).is_ok() {
        return "factory.premium";
    }
    simpler.factory.feerate = Rate(FeeRate::BROADCAST_MIN);
    if sides::facts(&simpler).is_ok() { "factory.feerate" } else { "factory.members" }
}

impl Check<'_> {
    /// What the factory's transactions are like, if there can be such a factory.
    pub(super) fn factory(&mut self, work: &mut Work) -> Option<Sides> {
        let before = self.problems.len();
        let factory = &self.experiment.factory;
        if factory.members.0 > MAX_MEMBERS {
            self.problem("factory.members", format!("expected at most {MAX_MEMBERS}, found {}", factory.members.0));
        }
        if version(factory.version.0).is_none() {
            self.problem("factory.version", format!("expected 2 or 3, found {}", factory.version.0));
        }
        if let Some(pin) = &self.experiment.pin {
            let (size, most) = (pin.size.0, MAX_STANDARD_WEIGHT.to_vbytes_floor());
            if size > most {
                let message = format!("expected at most {most} vB, the most that nodes relay, found {size} vB");
                self.problem("pin.size", message);
            } else if fee(pin.feerate.0, size).is_none_or(|fee| fee > MAX_FEE) {
                let message = format!("at {} the pin pays over {MAX_FEE}: expected less", pin.feerate);
                self.problem("pin.feerate", message);
            }
        }
        if self.problems.len() > before {
            return None;
        }
        match work.sides(self.experiment) {
            Some(Ok(sides)) => return Some(sides),
            Some(Err((path, why))) => {
                let expected = match path {
                    _ if why.contains("expected") => "",
                    "factory.members" => ": expected fewer members",
                    _ => ": expected less",
                };
                self.problem(path, format!("{why}{expected}"));
            }
            None if !work.told => {
                work.told = true;
                let message =
                    "the factories of all cells up to here are too many to be checked: expected fewer members";
                self.problem("factory.members", message);
            }
            None => {}
        }
        None
    }

    /// Whether each side has room in a block.
    pub(super) fn space(&mut self) {
        let found = self.experiment.blocks.max_weight.0;
        if found > Weight::MAX_BLOCK {
            let message = format!("expected at most {}, found {}", wu(Weight::MAX_BLOCK), wu(found));
            self.problem("blocks.max_weight", message);
            return;
        }
        let Some(sides) = &self.sides else { return };
        let takes = [Side::Allocation, Side::FactoryClose].map(|side| (side, self.takes(sides, side)));
        let largest = takes.into_iter().max_by_key(|(_, takes)| *takes);
        if let Some((side, takes)) = largest
            && takes + RESERVED > found
        {
            let side = match side {
                Side::Allocation => "all that is published of the allocation's side takes",
                Side::FactoryClose => "the factory close takes",
            };
            let message = format!(
                "{side} {}, which never fits into a block of {} with its {} for header and coinbase: expected at least {}",
                wu(takes),
                wu(found),
                wu(RESERVED),
                wu(takes + RESERVED)
            );
            self.problem("blocks.max_weight", message);
        }
    }

    /// The weight of all that is published of a side.
    fn takes(&self, sides: &Sides, side: Side) -> Weight {
        if side == Side::FactoryClose {
            return sides.factory_close.weight;
        }
        let closes = |tx| match tx {
            PublishedTx::Closes => sides.members,
            PublishedTx::FirstCloses(count) => count.0.min(sides.members),
            PublishedTx::Allocation | PublishedTx::Pin | PublishedTx::FactoryClose => 0,
        };
        let closes = self.experiment.publish.iter().map(|publish| closes(publish.tx)).max().unwrap_or(0);
        let pin = sides.pin.map_or(Weight::ZERO, |pin: Facts| pin.weight);
        sides.allocation.weight + sides.close.weight * u64::from(closes) + pin
    }

    /// How many virtual bytes of a block are there for transactions.
    pub(super) fn room(&self) -> u64 {
        self.experiment.blocks.max_weight.0.checked_sub(RESERVED).unwrap_or(Weight::ZERO).to_vbytes_floor()
    }
}

fn wu(weight: Weight) -> String {
    format!("{} WU", weight.to_wu())
}
