//! A testbed made with Rust instead of a scenario file.

use bitcoin::{Amount, FeeRate};
use indexmap::IndexMap;

use super::{Setup, Stop, Testbed};
use crate::node::Kind;
use crate::node::provision::Env;
use crate::run_dir::RunDir;
use crate::scenario::{Backend, CloseFee, Count, FactorySpec, Named, NodeSpec, Rate, Sat, Scenario, Topology};

/// What a testbed is to be: one node of the default kind and three members with a million satoshis each, where nothing
/// else is said.
#[derive(Clone, Debug)]
pub struct Builder {
    scenario: Scenario,
}

impl Testbed {
    /// A testbed that is still to be described, and then [started](Builder::start).
    pub fn builder() -> Builder {
        let factory = FactorySpec::of(Count(3), Sat(Amount::from_sat(1_000_000)));
        Builder { scenario: Scenario::of(factory) }
    }
}

impl Builder {
    /// Adds a node that runs as a process. Nodes are linked each with each.
    pub fn node(self, name: &str, kind: Kind) -> Self {
        self.node_with(
            name,
            NodeSpec { kind: Named(kind), args: Vec::new(), count: None, backend: Backend::Process, image: None },
        )
    }

    /// Adds a node.
    pub fn node_with(mut self, name: &str, node: NodeSpec) -> Self {
        self.scenario.nodes.insert(name.to_owned(), node);
        self
    }

    /// Says which nodes are linked.
    pub fn topology(mut self, topology: Topology) -> Self {
        self.scenario.topology = topology;
        self
    }

    /// Says how many members there are beside the operator.
    pub fn members(mut self, members: u32) -> Self {
        self.scenario.factory.members = Count(members);
        self
    }

    /// Says what each channel holds.
    pub fn capacity(mut self, capacity: Amount) -> Self {
        self.scenario.factory.capacity = Sat(capacity);
        self
    }

    /// Says what the allocation and the closes pay.
    pub fn feerate(mut self, feerate: FeeRate) -> Self {
        self.scenario.factory.feerate = Rate(feerate);
        self
    }

    /// Says what the factory close pays beyond the fees of what it cuts through.
    pub fn close_fee(mut self, fee: CloseFee) -> Self {
        self.scenario.factory.close_fee = fee;
        self
    }

    /// Changes whatever else the factory's terms say.
    pub fn terms(mut self, change: impl FnOnce(&mut FactorySpec)) -> Self {
        change(&mut self.scenario.factory);
        self
    }

    /// Says what decides every key, nonce and address.
    pub fn seed(mut self, seed: u64) -> Self {
        self.scenario.seed = seed;
        self
    }

    /// Starts the nodes and seats the parties. Programs are found as the command line finds them: by variables of the
    /// environment, in the user's cache, in `PATH`.
    ///
    /// # Errors
    ///
    /// [`Stop::Fail`], if what was said does not hold together; [`Stop::Skip`], if a program is missing;
    /// [`Stop::Error`], if a node does not start.
    pub async fn start(mut self) -> Result<Testbed, Stop> {
        if self.scenario.nodes.is_empty() {
            self = self.node("node", Kind::DEFAULT);
        }
        let problems = self.scenario.problems();
        if !problems.is_empty() {
            return Err(Stop::Fail(problems.join("; ")));
        }
        let error = |error: &dyn std::fmt::Display| Stop::Error(error.to_string());
        let env = Env::from_process().map_err(|why| error(&why))?;
        let folder = RunDir::new().map_err(|why| error(&why))?;
        let setup = Setup { env: &env, folder: &folder };
        let mut nodes = IndexMap::new();
        let mut bed = Testbed::start(self.scenario, &setup, &mut nodes).await?;
        bed.parties.keep_stores();
        bed.nodes = nodes;
        bed.folder = Some(folder);
        Ok(bed)
    }
}
