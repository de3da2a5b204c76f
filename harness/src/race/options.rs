//! The options of nodes that the model knows, and what they make of a node's rules.

use bitcoin::{Amount, Denomination};
use factory_core::replacement::{Policy, RelayRate};

use super::language::RaceNode;
use crate::node::Kind;

/// The options by which a feerate is set, in BTC per 1,000 virtual bytes.
const FEERATES: [&str; 3] = ["-incrementalrelayfee", "-minrelaytxfee", "-blockmintxfee"];
/// The option of Knots that says how it treats version 3.
const TRUC: &str = "-mempooltruc";

/// What the options of a node say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    incremental: Option<RelayRate>,
    relay_minimum: Option<RelayRate>,
    block_minimum: Option<RelayRate>,
    truc: Option<bool>,
}

/// The rules of a node's mempool, with its options. Options that are not sound change nothing.
pub(crate) fn policy(node: &RaceNode) -> Policy {
    let usual = node.kind.0.policy();
    let options = Options::of(node);
    let incremental = options.incremental.unwrap_or(usual.incremental);
    // A node that is told of the one alone does not let the other be less.
    let relay_minimum = options.relay_minimum.unwrap_or(usual.relay_minimum.max(incremental));
    let truc = options.truc.unwrap_or(usual.truc);
    Policy { incremental, relay_minimum, mempool_minimum: relay_minimum, truc, ..usual }
}

/// The least that a transaction pays, with the ancestors that it takes along, to be put into a node's block template.
pub(crate) fn block_min_feerate(node: &RaceNode) -> RelayRate {
    let usual = match node.kind.0 {
        Kind::Core31 | Kind::Core30 => RelayRate(1),
        Kind::Core29 | Kind::Core28 | Kind::Knots29 => RelayRate(1_000),
    };
    Options::of(node).block_minimum.unwrap_or(usual)
}

/// What is wrong with the options of a node, by their places.
pub(super) fn problems(node: &RaceNode) -> Vec<(usize, String)> {
    let mut options = Options::default();
    let read = |(place, arg): (usize, &String)| options.read(node.kind.0, arg).err().map(|why| (place, why));
    node.args.iter().enumerate().filter_map(read).collect()
}

impl Options {
    fn of(node: &RaceNode) -> Options {
        let mut options = Options::default();
        for arg in &node.args {
            // What is wrong with it was said when the file was checked.
            let _ = options.read(node.kind.0, arg);
        }
        options
    }

    /// Reads one more option.
    fn read(&mut self, kind: Kind, arg: &str) -> Result<(), String> {
        let (name, value) = arg.split_once('=').unwrap_or((arg, ""));
        let twice = |known: bool| match known {
            true => Err(format!("`{name}` is there twice: expected each option once")),
            false => Ok(()),
        };
        let known: Vec<&str> = FEERATES.into_iter().chain((kind == Kind::Knots29).then_some(TRUC)).collect();
        let place = match name {
            "-incrementalrelayfee" => &mut self.incremental,
            "-minrelaytxfee" => &mut self.relay_minimum,
            "-blockmintxfee" => &mut self.block_minimum,
            TRUC if kind == Kind::Knots29 => {
                twice(self.truc.is_some())?;
                self.truc = Some(truc(value)?);
                return Ok(());
            }
            TRUC => return Err(format!("{kind} has no `{TRUC}`, only Knots has: expected {}", known.join(", "))),
            _ => return Err(format!("the model knows nothing of `{name}`: expected one of {}", known.join(", "))),
        };
        twice(place.is_some())?;
        *place = Some(feerate(name, value)?);
        Ok(())
    }
}

fn truc(value: &str) -> Result<bool, String> {
    match value {
        "enforce" => Ok(true),
        "accept" => Ok(false),
        "reject" => Err(format!(
            "the model knows no node that refuses every transaction of version 3: expected `{TRUC}=accept` or \
            `{TRUC}=enforce`"
        )),
        _ => Err(format!("`{value}` is no way to treat version 3: expected `{TRUC}=accept` or `{TRUC}=enforce`")),
    }
}

/// A feerate as nodes are told it.
fn feerate(name: &str, value: &str) -> Result<RelayRate, String> {
    let plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let amount = Amount::from_str_in(value, Denomination::Bitcoin).ok().filter(|_| plain);
    amount.filter(|amount| *amount <= Amount::MAX_MONEY).map(|amount| RelayRate(amount.to_sat())).ok_or_else(|| {
        format!("`{value}` is no feerate: expected something like `{name}=0.00001`, in BTC per 1,000 vB (1 sat/vB)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Named;

    fn node(kind: Kind, args: &[&str]) -> RaceNode {
        RaceNode { kind: Named(kind), args: args.iter().map(|arg| (*arg).to_owned()).collect(), only: None }
    }

    #[test]
    fn without_options_a_node_is_like_its_kind() {
        for kind in Kind::ALL {
            assert_eq!(policy(&node(kind, &[])), kind.policy());
            assert!(problems(&node(kind, &[])).is_empty());
        }
    }

    /// Both as the nodes tell them: `getmempoolinfo` of each kind, started with these.
    #[test]
    fn options_change_the_rules_as_in_the_nodes() {
        for (args, incremental, minimum) in [
            (&["-incrementalrelayfee=0.00002"][..], 2_000, 2_000),
            (&["-incrementalrelayfee=0"], 0, 1_000),
            (&["-minrelaytxfee=0.00003"], 1_000, 3_000),
            (&["-minrelaytxfee=0.00000001", "-incrementalrelayfee=0.00005"], 5_000, 1),
        ] {
            for kind in [Kind::Core28, Kind::Core29, Kind::Knots29] {
                let node = node(kind, args);
                let policy = policy(&node);
                assert_eq!(policy.incremental, RelayRate(incremental), "{kind} {args:?}");
                assert_eq!(policy.relay_minimum, RelayRate(minimum), "{kind} {args:?}");
                assert_eq!(policy.mempool_minimum, RelayRate(minimum), "{kind} {args:?}");
                assert!(problems(&node).is_empty(), "{kind} {args:?}");
            }
        }
        assert_eq!(block_min_feerate(&node(Kind::Core31, &[])), RelayRate(1));
        assert_eq!(block_min_feerate(&node(Kind::Knots29, &[])), RelayRate(1_000));
        assert_eq!(block_min_feerate(&node(Kind::Core31, &["-blockmintxfee=0.00007"])), RelayRate(7_000));
        assert!(policy(&node(Kind::Knots29, &["-mempooltruc=enforce"])).truc);
    }

    #[test]
    fn what_the_model_does_not_know_is_refused() {
        for (kind, arg, why) in [
            (Kind::Core31, "-maxmempool=5", "the model knows nothing of `-maxmempool`: expected one of -incremental"),
            (Kind::Core31, "-mempooltruc=accept", "core-31 has no `-mempooltruc`, only Knots has: expected"),
            (Kind::Knots29, "-mempooltruc=reject", "refuses every transaction of version 3: expected"),
            (Kind::Knots29, "-mempooltruc", "`` is no way to treat version 3: expected"),
            (Kind::Core31, "-minrelaytxfee", "`` is no feerate: expected something like `-minrelaytxfee=0.00001`"),
            (Kind::Core31, "-minrelaytxfee=-1", "`-1` is no feerate"),
            (Kind::Core31, "-minrelaytxfee=0.000000001", "is no feerate"),
            (Kind::Core31, "-minrelaytxfee=22000000", "is no feerate"),
        ] {
            let found = problems(&node(kind, &[arg]));
            assert!(matches!(&found[..], [(0, message)] if message.contains(why)), "{arg}: {found:?}");
        }
        let twice = problems(&node(Kind::Core31, &["-minrelaytxfee=0", "-minrelaytxfee=0"]));
        assert!(matches!(&twice[..], [(1, message)] if message.contains("twice")), "{twice:?}");
    }
}
