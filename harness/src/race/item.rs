//! What is mined in an experiment, and what is known of it.

use std::fmt;

use bitcoin::{Amount, Weight};

use super::language::Side;

/// A transaction of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Item {
    /// The allocation.
    Allocation,
    /// The close of a member's channel.
    Close(u32),
    /// The large child of the first member's close.
    Pin,
    /// The factory close.
    FactoryClose,
    /// What has nothing to do with the factory, by its number in the trial.
    Background(u32),
}

impl Item {
    /// The side that it belongs to.
    pub fn side(self) -> Option<Side> {
        match self {
            Item::Allocation | Item::Close(_) | Item::Pin => Some(Side::Allocation),
            Item::FactoryClose => Some(Side::FactoryClose),
            Item::Background(_) => None,
        }
    }

    /// The transaction whose output it spends, if that need not be confirmed.
    pub fn parent(self) -> Option<Item> {
        match self {
            Item::Close(_) => Some(Item::Allocation),
            Item::Pin => Some(Item::Close(0)),
            Item::Allocation | Item::FactoryClose | Item::Background(_) => None,
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Allocation => f.write_str("allocation"),
            Item::Close(member) => write!(f, "close m{member}"),
            Item::Pin => f.write_str("pin"),
            Item::FactoryClose => f.write_str("factory-close"),
            Item::Background(number) => write!(f, "background {number}"),
        }
    }
}

/// What a transaction pays and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its fee.
    pub fee: Amount,
    /// Its weight.
    pub weight: Weight,
}

impl Facts {
    /// Its size in virtual bytes, rounded up.
    pub fn vsize(self) -> u64 {
        self.weight.to_vbytes_ceil()
    }

    /// Its feerate in sat/vB.
    pub fn feerate(self) -> f64 {
        self.fee.to_sat() as f64 / self.vsize() as f64
    }
}

/// The facts of the factory's transactions. They are the same in every trial: keys change nothing in sizes and fees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sides {
    /// How many members there are.
    pub members: u32,
    /// The version of all of them.
    pub version: i32,
    /// The allocation's.
    pub allocation: Facts,
    /// Those of each close.
    pub close: Facts,
    /// The large child's, if there is one.
    pub pin: Option<Facts>,
    /// The factory close's.
    pub factory_close: Facts,
}
