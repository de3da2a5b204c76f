//! What can be known to be wrong with a scenario before any node starts.

mod expect;
mod steps;
mod steps_inside;
mod steps_outside;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use factory_core::{Party, State, TxName, TxVersion};

use super::language::{Backend, ChainView, Scenario, Topology};
use super::problem::Problem;
use super::value::{TxPattern, Txs, Who};
use crate::factory;

pub(crate) use steps_outside::SMALL_MEMPOOL;

/// How much may still be checked: single payments, transactions that are named, and channels. What is more than this would
/// take hours to run, and a short file can ask for it.
#[derive(Debug)]
pub(super) struct Work {
    left: u64,
    /// Whether it was said that it is too much.
    told: bool,
}

impl Default for Work {
    fn default() -> Self {
        Work { left: 500_000, told: false }
    }
}

/// Everything that is wrong with `scenario`, in the order of the file. All cells of a matrix share `work`.
pub(super) fn problems(scenario: &Scenario, work: &mut Work) -> Vec<Problem> {
    let mut check = Check::new(scenario, work);
    check.names();
    if check.nodes() && check.terms() {
        check.parties();
        check.steps();
        check.end();
    }
    check.problems
}

impl Scenario {
    /// What is wrong with nodes, terms and parties, for a scenario that has no steps of its own.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut work = Work::default();
        let mut check = Check::new(self, &mut work);
        if check.nodes() && check.terms() {
            check.parties();
        }
        check.problems.iter().map(|problem| format!("{}: {}", problem.path.join("."), problem.message)).collect()
    }
}

/// What the steps of a scenario that has been checked come to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Every state of every channel, by member; none if the factory is never opened.
    pub(super) states: Vec<Vec<State>>,
    /// What can be published in the end, beside refunds and claims of HTLCs.
    pub(super) signed: HashSet<TxName>,
    /// Whether a message is kept back, or a party crashes, so that it may come about differently.
    pub(super) uncertain: bool,
}

/// Follows the steps of a scenario that has been checked.
pub(super) fn outcome(scenario: &Scenario) -> Outcome {
    let mut work = Work::default();
    let mut check = Check { history: Some(Vec::new()), ..Check::new(scenario, &mut work) };
    if check.nodes() && check.terms() {
        check.steps();
    }
    Outcome { states: check.history.unwrap_or_default(), signed: check.signed, uncertain: check.uncertain }
}

/// The version that a number stands for.
pub(crate) fn version(number: u32) -> Option<TxVersion> {
    match number {
        2 => Some(TxVersion::Two),
        3 => Some(TxVersion::Three),
        _ => None,
    }
}

/// Above this, not even the tables are made that an exact answer would take.
const MAX_MEMBERS: u32 = 100_000;
/// More nodes than this are a mistake.
pub(crate) const MAX_NODES: usize = 50;

/// Why a node cannot be asked at a point of the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeState {
    Paused,
    Down,
}

struct Check<'a> {
    scenario: &'a Scenario,
    work: &'a mut Work,
    problems: Vec<Problem>,
    nodes: Vec<String>,
    opened: bool,
    frozen: bool,
    /// Whether a party has given up on the others.
    on_chain: bool,
    /// Whether a message is kept back, or a party crashes, so that what comes about is no longer known for sure.
    uncertain: bool,
    /// What can be published so far, beside refunds.
    signed: HashSet<TxName>,
    /// The newest state of every channel.
    states: Vec<State>,
    /// Every state of every channel, if they are asked for.
    history: Option<Vec<Vec<State>>>,
    /// Of which transactions the steps so far have spent an output: `spend-0` is the first.
    spent: Vec<TxName>,
    /// The height of the chain, as far as it follows from the steps.
    height: u32,
    /// Who neither gets nor sends messages.
    silent: BTreeSet<Party>,
    /// Who does nothing at all.
    offline: BTreeSet<Party>,
    /// Whose crash is still to come.
    doomed: BTreeSet<Party>,
    /// The nodes that are not running.
    not_running: BTreeMap<String, NodeState>,
}

impl<'a> Check<'a> {
    fn new(scenario: &'a Scenario, work: &'a mut Work) -> Self {
        Check {
            scenario,
            work,
            problems: Vec::new(),
            nodes: Vec::new(),
            opened: false,
            frozen: false,
            on_chain: false,
            uncertain: false,
            signed: HashSet::new(),
            states: Vec::new(),
            history: None,
            spent: Vec::new(),
            height: crate::node::snapshot::HEIGHT as u32,
            silent: BTreeSet::new(),
            offline: BTreeSet::new(),
            doomed: BTreeSet::new(),
            not_running: BTreeMap::new(),
        }
    }

    fn problem(&mut self, path: impl AsRef<str>, message: impl Into<String>) {
        self.problems.push(Problem::at(path, message));
    }

    /// Whether there is enough work left for so much. Says so once, if not.
    fn afford(&mut self, units: u64, path: &str) -> bool {
        let enough = units <= self.work.left;
        self.work.left = self.work.left.saturating_sub(units);
        if !enough && !self.work.told {
            self.work.told = true;
            let message = "all cells and steps up to here make more single payments, transactions and channels than can \
                be checked: expected less";
            self.problem(path, message);
        }
        enough
    }

    fn names(&mut self) {
        if self.scenario.name.trim().is_empty() {
            self.problem("name", "it is empty: expected a few words");
        }
        for (index, tag) in self.scenario.tags.iter().enumerate() {
            if !is_word(tag) {
                let message = format!("`{tag}` is no tag: expected letters, digits, `-` and `_`, at most 64");
                self.problem(format!("tags.{index}"), message);
            }
        }
    }

    /// Whether the nodes and their links hold together.
    fn nodes(&mut self) -> bool {
        let before = self.problems.len();
        // They are counted before their names are made: there may be billions.
        let count: u64 = self.scenario.nodes.values().map(|node| node.count.map_or(1, |count| count.0.into())).sum();
        if count > MAX_NODES as u64 {
            self.problem("nodes", format!("expected at most {MAX_NODES} nodes, found {count}"));
            return false;
        }
        let names = self.scenario.node_names();
        self.nodes = names.iter().map(|(name, _)| name.clone()).collect();
        if self.nodes.is_empty() {
            self.problem("nodes", "expected at least one node");
        }
        let mut seen = HashSet::new();
        for (name, spec) in names {
            let path = format!("nodes.{name}");
            if !is_word(&name) {
                let message =
                    format!("`{name}` is no name for a node: expected letters, digits, `-` and `_`, at most 64");
                self.problem("nodes", message);
            }
            if ["rejected", "members", "operator"].contains(&name.as_str()) {
                self.problem(&path, format!("`{name}` has a meaning of its own: expected another name"));
            }
            if !seen.insert(name.clone()) {
                self.problem("nodes", format!("there are two nodes `{name}`: expected a name for each"));
            }
            if spec.image.is_some() && spec.backend != Backend::Container {
                self.problem(
                    format!("{path}.image"),
                    "a process has no image: expected it beside `backend: container`",
                );
            }
            if let Some(bad) = spec.args.iter().position(|arg| !arg.starts_with('-')) {
                let message =
                    format!("`{}` is no argument: expected something like `-mempoolfullrbf=0`", spec.args[bad]);
                self.problem(format!("{path}.args.{bad}"), message);
            }
        }
        let backends: BTreeSet<bool> =
            self.scenario.nodes.values().map(|node| node.backend == Backend::Container).collect();
        if backends.len() > 1 {
            self.problem("nodes", "expected all nodes to run as processes, or all in containers");
        }
        if let Topology::Links(pairs) = &self.scenario.topology {
            for (index, (one, other)) in pairs.iter().enumerate() {
                let path = format!("topology.links.{index}");
                self.known_node(one, &path);
                self.known_node(other, &path);
                if one == other {
                    self.problem(path, format!("`{one}` is linked with itself: expected two nodes"));
                }
            }
        }
        self.problems.len() == before
    }

    /// Whether the factory's parameters hold together.
    fn terms(&mut self) -> bool {
        let spec = &self.scenario.factory;
        // Far more than any standard factory close has room for; the exact limit follows from the sizes, below.
        if spec.members.0 > MAX_MEMBERS {
            self.problem("factory.members", format!("expected at most {MAX_MEMBERS}, found {}", spec.members.0));
            return false;
        }
        if version(spec.version.0).is_none() {
            self.problem("factory.version", format!("expected 2 or 3, found {}", spec.version.0));
            return false;
        }
        let locks = spec.refund_locks;
        for (field, count) in [("initial", locks.initial), ("step", locks.step), ("minimum", locks.minimum)] {
            if count.0 > u16::MAX.into() {
                let message = format!("expected at most {} blocks, found {}", u16::MAX, count.0);
                self.problem(format!("factory.refund_locks.{field}"), message);
                return false;
            }
        }
        let before = self.problems.len();
        for party in spec.capacities.keys() {
            let path = format!("factory.capacities.{}", party.0);
            match party.0 {
                Party::Operator => self.problem(path, "the operator has no channel of its own: expected members"),
                member => self.party(member, path),
            }
        }
        if self.problems.len() > before {
            return false;
        }
        if let Err(error) = factory::budget(self.scenario) {
            use factory_core::TermsError as E;
            let sat = bitcoin::Amount::to_sat;
            let message = match &error {
                E::CapacityTooSmall { party, found, minimum } => format!(
                    "{party}'s channel of {} sat is too small: expected at least {} sat (the fee of its close and two \
                    outputs that are not dust)",
                    sat(*found),
                    sat(*minimum)
                ),
                E::FeeRule(rule) => format!("{rule}: expected 1 to {} rising premiums", factory_core::MAX_RUNGS),
                E::TooLarge { .. } => format!("{error}: expected fewer members"),
                _ if error.to_string().contains("expected") => error.to_string(),
                _ => format!("{error}: expected less"),
            };
            let path = match error {
                E::CapacityTooSmall { .. } | E::OverMoney("the value of the factory") => "factory.capacity",
                E::OverMoney("the factory close's premium") | E::FeeRule(_) => "factory.close_fee",
                E::RefundLocks(_) => "factory.refund_locks",
                E::OverMoney(_) => "factory.feerate",
                _ => "factory.members",
            };
            self.problem(path, message);
            return false;
        }
        let needed = factory::needed(self.scenario);
        let there = crate::node::snapshot::spendable();
        if needed.is_some_and(|needed| needed > there) {
            let message = format!(
                "the factory would need {}: expected at most the {there} that the chain's first blocks hold",
                needed.unwrap_or(there)
            );
            self.problem("factory.capacity", message);
            return false;
        }
        true
    }

    fn parties(&mut self) {
        let by_containers = self.scenario.nodes.values().any(|node| node.backend == Backend::Container);
        for (who, spec) in &self.scenario.parties {
            let path = format!("parties.{who}");
            if let Who::One(party) = who {
                self.party(*party, &path);
            }
            if let Some(node) = &spec.node {
                self.known_node(node, format!("{path}.node"));
            }
            if spec.chain_view == ChainView::Electrum && by_containers {
                let message = "an Electrum server cannot stand beside a container: expected `rpc`, or nodes that run as processes";
                self.problem(format!("{path}.chain_view"), message);
            }
        }
    }

    /// Says so if there is no such node. Whether there is.
    fn known_node(&mut self, name: &str, path: impl AsRef<str>) -> bool {
        let known = self.nodes.iter().any(|known| known == name);
        if !known {
            let message = format!("there is no node `{name}`: expected {}", self.nodes.join(" or "));
            self.problem(path, message);
        }
        known
    }

    /// Says so if there is no such node, or it cannot be asked at this point.
    fn node(&mut self, name: Option<&String>, path: impl AsRef<str>) {
        let Some(name) = name.cloned().or_else(|| self.nodes.first().cloned()) else { return };
        if self.known_node(&name, &path)
            && let Some(state) = self.not_running.get(&name)
        {
            let word = if *state == NodeState::Paused { "paused" } else { "not running" };
            self.problem(path, format!("node {name} is {word} at this point: expected a node that runs"));
        }
    }

    fn party(&mut self, party: Party, path: impl AsRef<str>) {
        let members = self.scenario.factory.members.0;
        if let Party::Member(member) = party
            && member >= members
        {
            let message = format!("there is no m{member}: expected m0{}", range(members));
            self.problem(path, message);
        }
    }

    /// Says so if a name is no transaction of this factory. Gives those that are.
    fn transactions(&mut self, txs: &Txs, path: &str) -> Vec<TxName> {
        let members = self.scenario.factory.members.0;
        let mut names = Vec::new();
        for (index, pattern) in txs.0.iter().enumerate() {
            // One alone is not written as a list.
            let path = if txs.0.len() == 1 { path.to_owned() } else { format!("{path}.{index}") };
            if let TxPattern::Closes(_, last) = pattern
                && *last >= members
            {
                self.party(Party::Member(*last), &path);
                continue;
            }
            let units = match pattern {
                TxPattern::One(_) => 1,
                TxPattern::Closes(first, last) => last - first + 1,
                TxPattern::AllCloses => members,
            };
            if !self.afford(units.into(), &path) {
                break;
            }
            names.extend(pattern.names(members).into_iter().filter(|name| self.transaction(*name, &path)));
        }
        names
    }

    /// How many variants of the factory close there are.
    fn rungs(&self) -> usize {
        factory::offer(self.scenario).close_fee.rungs()
    }

    /// Whether there is such a transaction in this factory.
    fn transaction(&mut self, name: TxName, path: &str) -> bool {
        let before = self.problems.len();
        match name {
            TxName::Close(member)
            | TxName::Refund(member, _)
            | TxName::HtlcSuccess(member, _)
            | TxName::HtlcTimeout(member, _) => self.party(Party::Member(member), path),
            TxName::FactoryClose(rung) if usize::from(rung) >= self.rungs() => {
                let message =
                    format!("there is no {name}: expected one of the {} that factory.close_fee makes", self.rungs());
                self.problem(path, message);
            }
            TxName::Spend(number) if self.spent.get(number as usize).is_none() => {
                let message = match self.spent.len() {
                    0 => format!("there is no {name} at this point: expected a step `spend` before"),
                    1 => format!("there is no {name} at this point: expected spend-0, of the only step `spend` before"),
                    made => format!(
                        "there is no {name} at this point: expected spend-0 to spend-{}, of the {made} steps `spend` before",
                        made - 1
                    ),
                };
                self.problem(path, message);
            }
            _ => {}
        }
        if let TxName::Refund(_, state) = name {
            let last = factory::offer(self.scenario).refund_locks.last_state();
            if state > last {
                self.problem(
                    path,
                    format!("there is no state {state}: expected at most {last}, the last by factory.refund_locks"),
                );
            }
        }
        self.problems.len() == before
    }
}

/// The members after the first, as a sentence goes on with them.
fn range(members: u32) -> String {
    match members {
        1 => ", the only member".to_owned(),
        2 => " or m1".to_owned(),
        _ => format!(" to m{}", members - 1),
    }
}

/// Whether this can be the name of a node, which is also that of its folder, or a tag.
pub(crate) fn is_word(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}
