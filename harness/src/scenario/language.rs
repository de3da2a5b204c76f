//! What a scenario file may say. The doc comments of these types are what an editor shows, through the JSON Schema.

mod expect;
mod message;
mod step;

use factory_core::{LockKind, Party, RefundLocks};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{Count, KindName, Named, PartyName, Premium, Rate, Sat, Seconds, Who};

pub use expect::{Expect, Judgement, PerNode, Reported};
pub use message::{MessageKind, Moment, Stored};
pub use step::{
    Broadcast, Crash, ExpectStates, FallBack, Fill, Htlc, Mine, Pay, Reorg, Settle, Sign, Spend, Step, SubmitPackage,
    WaitFor, Withhold,
};
pub(crate) use step::{channel_of, listed};

/// One scenario: nodes, a factory, what happens to them, and how it must end.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called in reports.
    pub name: String,
    /// What it is there to show.
    #[serde(default)]
    pub description: String,
    /// Words by which it can be chosen, such as `--tag htlc`.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Decides every key, nonce and address. The same seed gives the same transactions and blocks.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// How long the whole run may take.
    #[serde(default = "default_deadline")]
    pub deadline: Seconds,
    /// The nodes, by name. The first one is meant where none is named.
    pub nodes: IndexMap<String, NodeSpec>,
    /// Which nodes are linked.
    #[serde(default)]
    pub topology: Topology,
    /// How single parties follow the chain. An entry for `members` holds for each of them that has none of its own.
    #[serde(default)]
    pub parties: IndexMap<Who, PartySpec>,
    /// The factory.
    pub factory: FactorySpec,
    /// What happens, in this order.
    pub steps: Vec<Step>,
    /// What must be true in the end. That every party has its exact final amount, and that nothing of the factory's
    /// money is lost, is checked in any case.
    #[serde(default)]
    pub expect: Expect,
}

/// One node, or several alike.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its kind.
    pub kind: KindName,
    /// More arguments for its program, such as `-incrementalrelayfee=0`.
    #[serde(default)]
    pub args: Vec<String>,
    /// How many nodes of this sort there are. With more than one, they are called `NAME-0`, `NAME-1`, …
    #[serde(default)]
    pub count: Option<Count>,
    /// Whether it runs as a process of this machine or in a container.
    #[serde(default)]
    pub backend: Backend,
    /// Containers: the image to run, instead of one that is built out of the installed program of this kind.
    #[serde(default)]
    pub image: Option<String>,
}

/// How a node runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// As a process of this machine.
    #[default]
    Process,
    /// In a container.
    Container,
}

/// Which nodes are linked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Topology {
    /// Each with each.
    #[default]
    Mesh,
    /// Each with the next one, in the order of the file.
    Line,
    /// The first one with each of the others.
    Star,
    /// None with any.
    Apart,
    /// These pairs.
    Links(Vec<(String, String)>),
}

/// How a party follows the chain.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartySpec {
    /// The node that it publishes to and learns from; the first one, if none is named.
    #[serde(default)]
    pub node: Option<String>,
    /// Through what it sees the chain of that node.
    #[serde(default)]
    pub chain_view: ChainView,
}

/// Through what a party sees the chain of its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChainView {
    /// The node's own interface.
    #[default]
    Rpc,
    /// An Electrum server beside the node.
    Electrum,
}

/// The factory's terms.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FactorySpec {
    /// How many members there are beside the operator: `m0`, `m1`, …
    pub members: Count,
    /// The value of each channel. All of it is the operator's at first.
    pub capacity: Sat,
    /// The value of single members' channels, where it is another.
    #[serde(default)]
    pub capacities: IndexMap<PartyName, Sat>,
    /// What the allocation and each channel close pay per virtual byte. The funding pays the same.
    #[serde(default = "default_feerate")]
    pub feerate: Rate,
    /// The transaction version: 2, or 3 (TRUC, BIP 431).
    #[serde(default = "default_version")]
    pub version: Count,
    /// How the n-of-n and every 2-of-2 are built.
    #[serde(default = "default_lock")]
    pub lock: Named<LockKind>,
    /// What the factory close pays beyond the fees of what it cuts through.
    #[serde(default)]
    pub close_fee: CloseFee,
    /// How many confirmations the funding needs before the channels go live.
    #[serde(default = "default_confirmations")]
    pub confirmations: Count,
    /// The relative locks of the refunds.
    #[serde(default)]
    pub refund_locks: RefundLocksSpec,
    /// For how many blocks a party waits for another one before it goes on without it.
    #[serde(default = "default_patience")]
    pub patience: Count,
}

/// What the factory close pays beyond the fees of what it cuts through.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum CloseFee {
    /// Nothing.
    #[default]
    Exact,
    /// So much per virtual byte of the factory close.
    Premium(Rate),
    /// One variant for each of these premiums, in rising order: `factory-close`, `factory-close-1`, …
    Ladder(Vec<Premium>),
}

/// The relative locks of the refunds, in blocks: a newer state has a shorter one.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundLocksSpec {
    /// The lock of state 0.
    pub initial: Count,
    /// By how much it shrinks with every state.
    pub step: Count,
    /// The shortest lock that a refund may have. With it the channel can only be closed.
    pub minimum: Count,
}

impl Scenario {
    /// A scenario of a factory alone: no nodes, no steps.
    pub(crate) fn of(factory: FactorySpec) -> Self {
        Scenario {
            name: "by hand".to_owned(),
            description: String::new(),
            tags: Vec::new(),
            seed: default_seed(),
            deadline: default_deadline(),
            nodes: IndexMap::new(),
            topology: Topology::default(),
            parties: IndexMap::new(),
            factory,
            steps: Vec::new(),
            expect: Expect::default(),
        }
    }

    /// The names of all nodes, in the order of the file, each with what was said of it.
    pub fn node_names(&self) -> Vec<(String, &NodeSpec)> {
        let names = self.nodes.iter().flat_map(|(name, spec)| -> Vec<(String, &NodeSpec)> {
            match spec.count {
                Some(Count(count)) if count > 1 => (0..count).map(|index| (format!("{name}-{index}"), spec)).collect(),
                _ => vec![(name.clone(), spec)],
            }
        });
        names.collect()
    }

    /// Which nodes are linked, by their places in [`Scenario::node_names`]. Names that are no node's are left out.
    pub fn links(&self) -> Vec<(usize, usize)> {
        let names: Vec<String> = self.node_names().into_iter().map(|(name, _)| name).collect();
        let count = names.len();
        match &self.topology {
            Topology::Mesh => (0..count).flat_map(|one| (one + 1..count).map(move |other| (one, other))).collect(),
            Topology::Line => (1..count).map(|other| (other - 1, other)).collect(),
            Topology::Star => (1..count).map(|other| (0, other)).collect(),
            Topology::Apart => Vec::new(),
            Topology::Links(pairs) => {
                let place = |name: &String| names.iter().position(|known| known == name);
                pairs.iter().filter_map(|(one, other)| Some((place(one)?, place(other)?))).collect()
            }
        }
    }

    /// How a party follows the chain.
    pub fn party(&self, party: Party) -> PartySpec {
        let own = self.parties.get(&Who::One(party));
        let general = || matches!(party, Party::Member(_)).then(|| self.parties.get(&Who::Members)).flatten();
        own.or_else(general).cloned().unwrap_or_default()
    }

    /// Every party: the operator, then the members.
    pub fn everybody(&self) -> impl Iterator<Item = Party> + use<> {
        [Party::Operator].into_iter().chain((0..self.factory.members.0).map(Party::Member))
    }
}

impl FactorySpec {
    /// A factory of so many members with channels of so much, on the terms that hold where nothing else is said.
    pub fn of(members: Count, capacity: Sat) -> Self {
        FactorySpec {
            members,
            capacity,
            capacities: IndexMap::new(),
            feerate: default_feerate(),
            version: default_version(),
            lock: default_lock(),
            close_fee: CloseFee::default(),
            confirmations: default_confirmations(),
            refund_locks: RefundLocksSpec::default(),
            patience: default_patience(),
        }
    }
}

impl Default for RefundLocksSpec {
    fn default() -> Self {
        let RefundLocks { initial, step, minimum } = RefundLocks::default();
        let count = |blocks: u16| Count(blocks.into());
        RefundLocksSpec { initial: count(initial), step: count(step), minimum: count(minimum) }
    }
}

fn default_seed() -> u64 {
    1
}

fn default_deadline() -> Seconds {
    Seconds(std::time::Duration::from_secs(120))
}

fn default_feerate() -> Rate {
    Rate(bitcoin::FeeRate::BROADCAST_MIN)
}

fn default_version() -> Count {
    Count(2)
}

fn default_confirmations() -> Count {
    Count(3)
}

fn default_lock() -> Named<LockKind> {
    Named(LockKind::default())
}

fn default_patience() -> Count {
    Count(factory_core::Offer::default().patience)
}
