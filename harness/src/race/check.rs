//! What can be known to be wrong with an experiment before any node starts.

mod congestion;
mod factory;
mod network;
mod publish;

use bitcoin::FeeRate;
use factory_core::replacement::RelayRate;

use super::item::Sides;
use super::language::{Experiment, Miner, MiningPolicy, RaceNode};
use super::options;
use crate::claims::Claims;
use crate::scenario::check::MAX_NODES;
use crate::scenario::{Percent, Problem, Span, is_word};

pub(super) use factory::Work;

/// More miners than this are a mistake.
const MAX_MINERS: usize = 100;
/// More trials than this are a mistake.
const MAX_TRIALS: u32 = 1_000_000;
/// The longest mean time between blocks.
const MAX_INTERVAL: Span = Span(24 * 3_600_000);
/// The most blocks after which a trial may be given up.
const MAX_GIVE_UP: u32 = 100_000;

/// The bins of the file that an experiment names, or what is wrong with it.
pub(super) type Bins<'a> = Result<&'a [(FeeRate, u64)], &'a str>;

/// Everything that is wrong with an experiment. `bins` are those of the file that it names, if it does. All cells of a
/// matrix share `work`.
pub(super) fn problems(experiment: &Experiment, bins: Option<Bins<'_>>, work: &mut Work) -> Vec<Problem> {
    let mut check = Check { experiment, sides: None, problems: Vec::new() };
    check.numbers();
    // What else there is to say is about nodes, by their names.
    if check.nodes() {
        check.links();
        check.partitions();
        check.miners();
        check.publish();
        check.sides = check.factory(work);
        check.space();
        check.congestion(bins);
        check.expect();
    }
    check.problems
}

struct Check<'a> {
    experiment: &'a Experiment,
    /// What the factory's transactions are like, once that is known.
    sides: Option<Sides>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, path: impl AsRef<str>, message: impl Into<String>) {
        self.problems.push(Problem::at(path, message));
    }

    /// What stands for itself.
    fn numbers(&mut self) {
        let Experiment { name, trials, blocks, .. } = self.experiment;
        if name.trim().is_empty() {
            self.problem("name", "it is empty: expected a few words");
        }
        if let Some(claim) = &self.experiment.claim
            && let Ok(claims) = Claims::own()
            && !claims.claims.iter().any(|known| known.id == *claim)
        {
            let known: Vec<&str> = claims.claims.iter().map(|known| known.id.as_str()).collect();
            self.problem("claim", format!("`{claim}` is no claim: expected one of {}", known.join(", ")));
        }
        if trials.0 > MAX_TRIALS {
            self.problem("trials", format!("expected at most {MAX_TRIALS}, found {}", trials.0));
        }
        if blocks.interval.0 == 0 || blocks.interval > MAX_INTERVAL {
            let message = format!("found {}: expected more than 0 s, and at most 24 h", blocks.interval);
            self.problem("blocks.interval", message);
        }
        if blocks.give_up.0 > MAX_GIVE_UP {
            self.problem(
                "blocks.give_up",
                format!("expected at most {MAX_GIVE_UP} blocks, found {}", blocks.give_up.0),
            );
        }
    }

    /// Whether there are nodes, with names.
    fn nodes(&mut self) -> bool {
        let before = self.problems.len();
        let nodes = &self.experiment.nodes;
        if nodes.is_empty() {
            self.problem("nodes", "there is no node: expected at least one");
        }
        if nodes.len() > MAX_NODES {
            self.problem("nodes", format!("expected at most {MAX_NODES} nodes, found {}", nodes.len()));
        }
        for name in nodes.keys().filter(|name| !is_word(name)) {
            let message = format!("`{name}` is no name for a node: expected letters, digits, `-` and `_`, at most 64");
            self.problem("nodes", message);
        }
        let sound = self.problems.len() == before;
        for (name, node) in nodes {
            for (place, message) in options::problems(node) {
                self.problem(format!("nodes.{name}.args.{place}"), message);
            }
        }
        sound
    }

    /// Says so if there is no such node. Whether there is.
    fn known(&mut self, name: &str, path: impl AsRef<str>) -> bool {
        let known = self.experiment.nodes.contains_key(name);
        if !known {
            let names: Vec<&str> = self.experiment.nodes.keys().map(String::as_str).collect();
            self.problem(path, format!("there is no node `{name}`: expected {}", names.join(" or ")));
        }
        known
    }

    /// Says so if this is after the end of every trial.
    fn in_time(&mut self, span: Span, path: impl AsRef<str>) {
        let blocks = self.experiment.blocks;
        let end = Span(blocks.interval.0.saturating_mul(blocks.give_up.0.into()));
        // That no time may pass between two blocks is said elsewhere.
        if span > end && end.0 > 0 {
            let message = format!(
                "{span} is past the end of every trial: expected at most {end} ({} blocks of {} each)",
                blocks.give_up.0, blocks.interval
            );
            self.problem(path, message);
        }
    }

    fn miners(&mut self) {
        let miners = &self.experiment.miners;
        if miners.is_empty() {
            self.problem("miners", "there is no miner: expected at least one, with a share of 100 %");
            return;
        }
        if miners.len() > MAX_MINERS {
            self.problem("miners", format!("expected at most {MAX_MINERS} miners, found {}", miners.len()));
            return;
        }
        for (name, miner) in miners {
            if !is_word(name) {
                let message =
                    format!("`{name}` is no name for a miner: expected letters, digits, `-` and `_`, at most 64");
                self.problem("miners", message);
                continue;
            }
            self.miner(miner, &format!("miners.{name}"));
        }
        let left_out: Vec<&str> =
            miners.iter().filter(|(_, miner)| miner.share.is_none()).map(|(name, _)| name.as_str()).collect();
        let shares = miners.values().filter_map(|miner| miner.share);
        let sum = Percent(shares.fold(0, |sum, share| sum.saturating_add(share.0)));
        let off = Percent(sum.0.abs_diff(Percent::WHOLE.0));
        let word = if sum > Percent::WHOLE { "more" } else { "less" };
        match left_out.as_slice() {
            [] if sum == Percent::WHOLE => {}
            [] => self.problem("miners", format!("the shares add up to {sum}, {off} {word} than all: expected 100 %")),
            [_] if sum < Percent::WHOLE => {}
            [name] => {
                let message = format!("the others' shares add up to {sum}, so nothing is left for {name}");
                self.problem(format!("miners.{name}"), message + ": expected less than 100 %");
            }
            [first, others @ ..] => {
                let message =
                    format!("{first} and {} have no share: expected at most one without", others.join(" and "));
                self.problem("miners", message);
            }
        }
        self.shared_nodes();
    }

    fn miner(&mut self, miner: &Miner, path: &str) {
        if miner.share == Some(Percent(0)) {
            let message = "a miner with 0 % never finds a block: expected a larger share, or no such miner";
            self.problem(format!("{path}.share"), message);
        }
        let known = self.known(&miner.node, format!("{path}.node"));
        let policy = format!("{path}.policy");
        match &miner.policy {
            MiningPolicy::Rational { second } => {
                let place = format!("{policy}.rational.second");
                if self.known(second, &place) && known && *second == miner.node {
                    let message = format!("`{second}` is its own node: expected another one, with the other side");
                    self.problem(place, message);
                }
            }
            MiningPolicy::Bribed { payment, .. } if payment.0 == bitcoin::Amount::ZERO => {
                let message = "a bribe of 0 sat changes nothing: expected more, or `template`";
                self.problem(format!("{policy}.bribed.payment"), message);
            }
            MiningPolicy::Stale { lag: Span(0) } => {
                let message = "without a lag nothing is late: expected more than 0 s, or `template`";
                self.problem(format!("{policy}.stale.lag"), message);
            }
            MiningPolicy::Stale { lag } => self.in_time(*lag, format!("{policy}.stale.lag")),
            MiningPolicy::Template
            | MiningPolicy::FirstSeen
            | MiningPolicy::ReplacedAnyway
            | MiningPolicy::Bribed { .. }
            | MiningPolicy::Empty => {}
        }
    }

    /// What one miner's policy keeps from its node must not change what another one mines.
    fn shared_nodes(&mut self) {
        let miners = &self.experiment.miners;
        let uses = |miner: &Miner, node: &str| match &miner.policy {
            MiningPolicy::Rational { second } => miner.node == node || second == node,
            _ => miner.node == node,
        };
        for (place, (name, miner)) in miners.iter().enumerate() {
            for (other, rival) in miners.iter().take(place) {
                let (changed, by) = match (changes(&rival.policy), changes(&miner.policy)) {
                    (Some(word), _) if uses(miner, &rival.node) => (&rival.node, format!("`{word}` of {other}")),
                    (_, Some(word)) if uses(rival, &miner.node) => (&miner.node, format!("`{word}` of {name}")),
                    _ => continue,
                };
                let message = format!(
                    "{name} and {other} share the node {changed}, and {by} changes what that is told: expected a node \
                    for each"
                );
                self.problem(format!("miners.{name}.node"), message);
            }
        }
    }

    fn expect(&mut self) {
        let expect = self.experiment.expect;
        if let Some(share) = expect.factory_close_wins
            && share > Percent::WHOLE
        {
            self.problem("expect.factory_close_wins", format!("found {share}: expected at most 100 %"));
        }
        let rational = |miner: &Miner| matches!(miner.policy, MiningPolicy::Rational { .. });
        if expect.margin.is_some() && !self.experiment.miners.values().any(rational) {
            let message = "nobody compares the two sides: expected a miner with `policy: { rational: { second: … } }`";
            self.problem("expect.margin", message);
        }
    }

    /// The least feerate that a node both relays and mines, and the word for which of the two asks for it.
    fn least(node: &RaceNode) -> (RelayRate, &'static str) {
        let (relays, mines) = (options::policy(node).relay_minimum, options::block_min_feerate(node));
        if mines > relays { (mines, "mines") } else { (relays, "relays") }
    }
}

/// The name of a policy that changes what its node is told.
fn changes(policy: &MiningPolicy) -> Option<&'static str> {
    match policy {
        MiningPolicy::FirstSeen => Some("first-seen"),
        MiningPolicy::Stale { .. } => Some("stale"),
        MiningPolicy::Template
        | MiningPolicy::Rational { .. }
        | MiningPolicy::ReplacedAnyway
        | MiningPolicy::Bribed { .. }
        | MiningPolicy::Empty => None,
    }
}
