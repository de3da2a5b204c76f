//! A factory on running nodes, that goes on step by step.
//!
//! The runner of scenarios plays a file on a [`Testbed`]; a test of one's own can do the same with Rust. Its crate needs
//! `shopfloor` and `tokio`, and the machine the node programs (`shopfloor node install`):
//!
//! ```no_run
//! use shopfloor::bitcoin::Amount;
//! use shopfloor::{Kind, Status, Testbed};
//!
//! # #[cfg(any())] // The attribute would make this a test that is built and left out.
//! #[tokio::test(flavor = "multi_thread")]
//! # async fn in_the_page() {}
//! # #[tokio::main]
//! async fn the_close_takes_the_place_of_the_allocation() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut bed = Testbed::builder().node("alice", Kind::Core31).node("bob", Kind::Knots29).members(2).start().await?;
//!     bed.open().await?;
//!     bed.pay("operator", "m0", Amount::from_sat(100_000)).await?;
//!     bed.sign_closes().await?;
//!     bed.sign_factory_close().await?;
//!     bed.play("- partition: [[alice], [bob]]").await?;
//!     bed.send("operator", "allocation").await?;
//!     assert_eq!(bed.status("alice", "allocation")?, Some(Status::InMempool));
//!     assert_eq!(bed.status("bob", "allocation")?, Some(Status::Signed));
//!     bed.play("- heal").await?;
//!     bed.send("operator", "factory-close").await?;
//!     bed.mine(1).await?;
//!     assert_eq!(bed.balance("m0").await?, Amount::from_sat(100_000));
//!     bed.finish().await?;
//!     Ok(())
//! }
//! # fn main() {}
//! ```
//!
//! What is missing, or does not come about, is a [`Stop`]. The nodes and all their files go with the [`Testbed`]. Every
//! testbed has nodes, ports and folders of its own, so tests can run beside each other.

mod builder;
mod by_hand;
mod chain;
mod channels;
mod expect;
pub(crate) mod fill;
mod log;
mod money;
mod publish;
mod spend;
mod start;
mod steps;
mod summary;

use bitcoin::Address;
use factory_core::Party;
use factory_core::tx::funding::Coin;
use indexmap::IndexMap;

use crate::book::Book;
use crate::network::{Network, NetworkError};
use crate::parties::{Parties, PartyError};
use crate::report::NodeReport;
use crate::run_dir::RunDir;
use crate::scenario::{ChainView, Scenario};
use log::Log;

pub use crate::ledger::Status;
pub use builder::Builder;
pub use by_hand::Name;
pub(crate) use start::{Setup, locate};
pub(crate) use summary::Evidence;

/// A factory, its parties and their nodes.
#[derive(Debug)]
pub struct Testbed {
    scenario: Scenario,
    network: Network,
    parties: Parties,
    /// Where each party is: the operator first.
    homes: Vec<Home>,
    /// Every state of every channel, by the harness's own arithmetic.
    book: Book,
    log: Log,
    /// The faucet's coins that neither the funding nor anything from outside the factory has taken.
    coins: Vec<Coin>,
    /// How many spends there have been.
    spends: u32,
    /// What is reported of the nodes of a testbed that no file describes.
    nodes: IndexMap<String, NodeReport>,
    rewards: Address,
    /// Goes after the nodes, whose files are in there.
    folder: Option<RunDir>,
}

/// Through what a party sees the chain.
#[derive(Clone, Copy, Debug)]
struct Home {
    node: usize,
    view: ChainView,
}

/// Why a testbed cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// Something that is needed is not there.
    #[error("{0}")]
    Skip(String),
    /// What happened is not what was to happen.
    #[error("{0}")]
    Fail(String),
    /// The harness, or a program that it uses, failed.
    #[error("{0}")]
    Error(String),
}

impl Testbed {
    /// What it was made for.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    fn home(&self, party: Party) -> Home {
        match party {
            Party::Operator => self.homes[0],
            Party::Member(member) => self.homes[member as usize + 1],
        }
    }

    /// The node that a name means: the first one, if there is no name.
    fn node(&self, name: Option<&String>) -> Result<usize, Stop> {
        match name {
            None => Ok(0),
            Some(name) => self.network.find(name).ok_or_else(|| Stop::Error(format!("there is no node {name}"))),
        }
    }

    fn name(&self, node: usize) -> &str {
        &self.network.places[node].name
    }
}

/// Several names, as they are told.
fn listed<T: ToString>(names: &[T]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn sat(amount: bitcoin::Amount) -> String {
    format!("{} sat", amount.to_sat())
}

impl From<NetworkError> for Stop {
    fn from(error: NetworkError) -> Self {
        Stop::Error(error.to_string())
    }
}

impl From<crate::node::RpcError> for Stop {
    fn from(error: crate::node::RpcError) -> Self {
        Stop::Error(error.to_string())
    }
}

impl From<PartyError> for Stop {
    fn from(error: PartyError) -> Self {
        Stop::Fail(error.to_string())
    }
}
