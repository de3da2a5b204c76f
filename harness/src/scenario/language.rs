//! What a scenario file may say.
//!
//! No field is flattened and no enum untagged, since either would cost the position in error messages.

use std::collections::BTreeMap;
use std::fmt;

use factory_core::Party;
use serde::Deserialize;
use serde_yaml::Spanned;

use super::value::{Count, KindName, PartyName, Rate, Sat, Side, TransactionName, Who};

/// One scenario: a factory, what happens to it, and how it must end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called in reports.
    pub name: Spanned<String>,
    /// What it is there to show.
    #[serde(default)]
    pub description: String,
    /// Decides every key, nonce and address. The same seed gives the same transactions and blocks.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// The nodes, by name.
    pub nodes: Spanned<BTreeMap<String, NodeSpec>>,
    /// The factory.
    pub factory: FactorySpec,
    /// What happens, in this order.
    pub steps: Spanned<Vec<Spanned<Step>>>,
    /// What must be true in the end. That every party has its exact final amount, and that nothing of the factory's
    /// money is lost, is checked in any case.
    #[serde(default)]
    pub expect: Expect,
}

/// One node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its kind.
    pub kind: KindName,
    /// More arguments for its program, such as `-incrementalrelayfee=0`.
    #[serde(default)]
    pub args: Vec<String>,
}

/// The factory's terms.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactorySpec {
    /// How many members there are beside the operator: `m0`, `m1`, …
    pub members: Spanned<Count>,
    /// The value of each channel. All of it is the operator's at first.
    pub capacity: Spanned<Sat>,
    /// What the allocation and each channel close pay per virtual byte. The funding pays the same.
    #[serde(default = "default_feerate")]
    pub feerate: Spanned<Rate>,
    /// The transaction version: 2, or 3 (TRUC, BIP 431).
    #[serde(default = "default_version")]
    pub version: Spanned<Count>,
    /// How many confirmations the funding needs before the channels go live.
    #[serde(default = "default_confirmations")]
    pub confirmations: Count,
}

/// One thing that happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Step {
    /// The parties agree on the terms and sign the allocation; the operator publishes the funding; blocks are mined
    /// until the channels are live.
    Open,
    /// A payment inside a channel.
    Pay(Pay),
    /// Signatures are exchanged.
    Sign(Spanned<Sign>),
    /// A party publishes a transaction.
    Broadcast(Broadcast),
    /// Blocks are mined.
    Mine(Mine),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Open => f.write_str("open"),
            Step::Pay(pay) => {
                let amount = pay.amount.value.0.to_sat();
                write!(f, "pay {amount} sat from {} to {}", pay.from.value.0, pay.to.value.0)
            }
            Step::Sign(sign) => f.write_str(match sign.value {
                Sign::Closes => "sign closes",
                Sign::FactoryClose => "sign factory-close",
            }),
            Step::Broadcast(broadcast) => write!(f, "broadcast {} by {}", broadcast.tx.value.0, broadcast.by.value.0),
            Step::Mine(mine) => write!(f, "mine {}", mine.blocks.0),
        }
    }
}

impl fmt::Display for ExpectSubmission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExpectSubmission::Accepted => f.write_str("accepted"),
            ExpectSubmission::Rejected(reason) => write!(f, "rejected with `{reason}`"),
        }
    }
}

/// A payment between the operator and a member, or one for each member.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pay {
    /// Who pays: `operator`, a member, or `members` if each of them pays the operator.
    pub from: Spanned<Side>,
    /// Who is paid: `operator`, a member, or `members` if the operator pays each of them.
    pub to: Spanned<Side>,
    /// How much.
    pub amount: Spanned<Sat>,
}

impl Pay {
    /// The single payments: who pays, and the member on whose channel. `None` if no channel joins the two sides.
    pub fn payments(&self, members: u32) -> Option<Vec<(Party, u32)>> {
        let each = |from: fn(u32) -> Party| (0..members).map(|member| (from(member), member)).collect();
        match (self.from.value.0, self.to.value.0) {
            (Who::One(Party::Operator), Who::One(Party::Member(member))) => Some(vec![(Party::Operator, member)]),
            (Who::One(from @ Party::Member(member)), Who::One(Party::Operator)) => Some(vec![(from, member)]),
            (Who::One(Party::Operator), Who::Members) => Some(each(|_| Party::Operator)),
            (Who::Members, Who::One(Party::Operator)) => Some(each(Party::Member)),
            _ => None,
        }
    }
}

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// The close of every channel.
    Closes,
    /// The factory close.
    FactoryClose,
}

/// A transaction is sent to a node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broadcast {
    /// Which.
    pub tx: Spanned<TransactionName>,
    /// The node that it is sent to; needed only if there are several.
    pub via: Option<Spanned<String>>,
    /// The party that sends it.
    #[serde(default = "operator")]
    pub by: Spanned<PartyName>,
    /// What the node must say to it.
    #[serde(default)]
    pub expect: ExpectSubmission,
    /// Exactly which of the factory's transactions it must replace in that node's mempool.
    pub replaces: Option<Vec<Spanned<TransactionName>>>,
}

/// What a node must say to a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum ExpectSubmission {
    /// The node takes it into its mempool.
    #[default]
    Accepted,
    /// The node refuses it, with a reason that contains this.
    Rejected(String),
}

/// Blocks are mined on a node, from its own template.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mine {
    /// The node; needed only if there are several.
    pub by: Option<Spanned<String>>,
    /// How many.
    #[serde(default = "one")]
    pub blocks: Count,
}

/// What must be true in the end. Each entry names the transaction or the party that it means.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// In a block of the best chain.
    #[serde(default)]
    pub confirmed: Vec<Spanned<TransactionName>>,
    /// Was in a mempool, until another transaction took its place.
    #[serde(default)]
    pub replaced: Vec<Spanned<TransactionName>>,
    /// What a transaction pays to the miner, exactly.
    #[serde(default)]
    pub fees: BTreeMap<TransactionName, Spanned<Sat>>,
    /// What a party ends with out of the factory, exactly.
    #[serde(default)]
    pub balances: BTreeMap<PartyName, Spanned<Sat>>,
}

/// A value that no file gave.
fn unwritten<T>(value: T) -> Spanned<T> {
    Spanned::new(value, serde_yaml::Location::UNKNOWN, serde_yaml::Location::UNKNOWN)
}

fn default_seed() -> u64 {
    1
}

fn default_feerate() -> Spanned<Rate> {
    unwritten(Rate(bitcoin::FeeRate::BROADCAST_MIN))
}

fn default_version() -> Spanned<Count> {
    unwritten(Count(2))
}

fn default_confirmations() -> Count {
    Count(3)
}

fn one() -> Count {
    Count(1)
}

fn operator() -> Spanned<PartyName> {
    unwritten(super::value::Named(factory_core::Party::Operator))
}
