//! What can happen in a scenario.

use factory_core::Party;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::value::{Count, Named, PartyName, Rate, Sat, Seconds, Size, TransactionName, Txs, Who};
use super::{Expect, Judgement, MessageKind, Moment, PerNode};

mod words;

/// One thing that happens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Step {
    /// The parties agree on the terms and sign the allocation; the operator publishes the funding; blocks are mined
    /// until the channels are live.
    Open,
    /// A payment inside a channel.
    Pay(Pay),
    /// An HTLC is offered inside a channel.
    Htlc(Htlc),
    /// The recipient of an HTLC takes it with its secret: by an update, or on chain if the other side does not answer.
    Claim(Settle),
    /// The recipient of an HTLC gives it back by an update.
    Fail(Settle),
    /// No HTLC is pending and no state half-signed, as every party that can be asked sees it; otherwise the scenario
    /// fails.
    Quiesce,
    /// Signatures are exchanged.
    Sign(Sign),
    /// A party publishes transactions, one after the other.
    Broadcast(Broadcast),
    /// Transactions are sent to a node together, as a package (parents before children).
    SubmitPackage(SubmitPackage),
    /// A party spends its output of one of the factory's transactions: `spend-0` is made by the first such step of the
    /// file, `spend-1` by the next.
    Spend(Spend),
    /// A node's mempool is filled with transactions that are none of the factory's.
    Fill(Fill),
    /// A party gives up on the others, and goes on by what it holds.
    FallBack(FallBack),
    /// Blocks are mined.
    Mine(Mine),
    /// The last blocks of a node are replaced by another, longer branch.
    Reorg(Reorg),
    /// From now on only nodes of one group hear each other. Nodes that are not named make a group together.
    Partition(Vec<Vec<String>>),
    /// All nodes are linked again as the topology says.
    Heal,
    /// A node's process is killed: its mempool is gone.
    Kill(String),
    /// A node is stopped in good order: it keeps its mempool.
    Stop(String),
    /// A node that was stopped or killed is started again, and linked.
    Start(String),
    /// A node is frozen: it answers nobody.
    Pause(String),
    /// A frozen node goes on.
    Resume(String),
    /// From now on a party neither gets nor sends messages. It still sees the chain, and may broadcast.
    Silence(PartyName),
    /// From now on a party neither gets nor sends messages, does not see the chain and does nothing by itself.
    Offline(PartyName),
    /// A party loses what it has in memory, and is gone until it is back online.
    Crash(Crash),
    /// A party that was silent, offline or crashed is back, with what it stored, and sees all blocks that it missed.
    Online(PartyName),
    /// A party keeps back a message that it owes.
    Withhold(Withhold),
    /// Nothing goes on before something is so.
    WaitFor(WaitFor),
    /// Something must be so at this point.
    Expect(Box<Expect>),
    /// The states of a channel that may be enforced, as far as a party knows, are just these.
    ExpectStates(ExpectStates),
}

/// A payment between the operator and a member, or one for each member.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pay {
    /// Who pays: `operator`, a member, or `members` if each of them pays the operator.
    pub from: Who,
    /// Who is paid: `operator`, a member, or `members` if the operator pays each of them.
    pub to: Who,
    /// How much.
    pub amount: Sat,
}

impl Pay {
    /// The single payments: who pays, and the member on whose channel. `None` if no channel joins the two sides.
    pub fn payments(&self, members: u32) -> Option<Vec<(Party, u32)>> {
        let each = |from: fn(u32) -> Party| (0..members).map(|member| (from(member), member)).collect();
        match (self.from, self.to) {
            (Who::One(Party::Operator), Who::One(Party::Member(member))) => Some(vec![(Party::Operator, member)]),
            (Who::One(from @ Party::Member(member)), Who::One(Party::Operator)) => Some(vec![(from, member)]),
            (Who::One(Party::Operator), Who::Members) => Some(each(|_| Party::Operator)),
            (Who::Members, Who::One(Party::Operator)) => Some(each(Party::Member)),
            _ => None,
        }
    }
}

/// An HTLC between the operator and a member.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Htlc {
    /// Who offers it, and gets it back if nobody takes it: `operator` or a member.
    pub from: PartyName,
    /// Who can take it: `operator` or a member.
    pub to: PartyName,
    /// What it holds.
    pub amount: Sat,
    /// In how many blocks from now it can be taken back on chain.
    pub expiry: Count,
    /// A name for its preimage, which follows from the name and the scenario's seed.
    pub secret: String,
}

/// The end of an HTLC, by its recipient.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    /// To whom it was offered.
    pub by: PartyName,
    /// The name of its preimage.
    pub secret: String,
}

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// The close of every channel.
    Closes,
    /// The factory close.
    FactoryClose,
}

/// Transactions are sent to a node.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Broadcast {
    /// Which: one, or several in this order.
    pub tx: Txs,
    /// The node that they are sent to, instead of the party's own.
    #[serde(default)]
    pub via: Option<String>,
    /// The party that sends them.
    #[serde(default = "operator")]
    pub by: PartyName,
    /// What the node must say to each of them, or what several nodes must.
    #[serde(default)]
    pub expect: PerNode,
    /// Exactly which of the factory's transactions they must replace in that node's mempool, all together.
    #[serde(default)]
    pub replaces: Option<Txs>,
}

/// Transactions are sent to a node together.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitPackage {
    /// Which, parents before children.
    pub txs: Txs,
    /// The node that they are sent to, instead of the party's own.
    #[serde(default)]
    pub via: Option<String>,
    /// The party that sends them.
    #[serde(default = "operator")]
    pub by: PartyName,
    /// What the node must say to the package.
    #[serde(default = "accepted")]
    pub expect: Judgement,
    /// Exactly which of the factory's transactions it must replace in that node's mempool.
    #[serde(default)]
    pub replaces: Option<Txs>,
}

/// A party spends its output of one of the factory's transactions. What it spends returns to it in full; a coin from
/// outside the factory pays the fee, and makes the transaction as large as it is to be.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spend {
    /// The party, whose own output it is.
    pub by: PartyName,
    /// Whose output is spent: a close, a refund or a factory close.
    pub tx: TransactionName,
    /// Its virtual size: as small as it can be (200 vB), if nothing is said. Below 500 vB not every size can be met, and
    /// the next larger one is taken.
    #[serde(default)]
    pub size: Option<Size>,
    /// What it pays to the miner; by the factory's feerate, if nothing is said.
    #[serde(default)]
    pub fee: Option<Sat>,
    /// The transaction version, 2 or 3; that of the factory, if nothing is said.
    #[serde(default)]
    pub version: Option<Count>,
    /// The node that it is sent to, instead of the party's own.
    #[serde(default)]
    pub via: Option<String>,
    /// What the node must say to it, or what several nodes must.
    #[serde(default)]
    pub expect: PerNode,
    /// Exactly which of the factory's transactions it must replace in that node's mempool.
    #[serde(default)]
    pub replaces: Option<Txs>,
}

/// A node's mempool is filled with transactions that are none of the factory's, until it takes nothing below a feerate.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fill {
    /// The node, which must have the argument `-maxmempool=5`; the first one, if none is named.
    #[serde(default)]
    pub node: Option<String>,
    /// What those transactions pay per virtual byte. The node asks more than this in the end.
    pub feerate: Rate,
}

/// A party gives up on the others.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FallBack {
    /// Which.
    pub by: PartyName,
}

/// Blocks are mined on a node, from its own template.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mine {
    /// The node; the first one, if none is named.
    #[serde(default)]
    pub by: Option<String>,
    /// How many; one, if nothing else is said.
    #[serde(default)]
    pub blocks: Option<Count>,
    /// Instead: as many as it takes until the node's chain is so high.
    #[serde(default)]
    pub to_height: Option<Count>,
    /// Whether they hold nothing, whatever is in the mempool.
    #[serde(default)]
    pub empty: bool,
}

/// The last blocks of a node are replaced by another branch. What they held returns to the mempool, as far as the node
/// takes it again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reorg {
    /// The node; the first one, if none is named.
    #[serde(default)]
    pub on: Option<String>,
    /// How many blocks are replaced.
    pub depth: Count,
    /// How many blocks the other branch has; one more than it replaces, if nothing is said.
    #[serde(default)]
    pub blocks: Option<Count>,
    /// Whether the other branch holds nothing, so that everything is unconfirmed again.
    #[serde(default)]
    pub empty: bool,
}

/// A party loses what it has in memory.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Crash {
    /// Which party.
    pub party: PartyName,
    /// When. A moment that never comes makes the run inconclusive.
    #[serde(default = "now")]
    pub at: Moment,
}

/// A party keeps back messages that it owes. If it owes none, the run is inconclusive.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Withhold {
    /// Which party.
    pub from: PartyName,
    /// Which message.
    pub message: MessageKind,
    /// Only that to this party.
    #[serde(default)]
    pub to: Option<PartyName>,
    /// Whether every such message is kept back from now on, and not just the next one.
    #[serde(default)]
    pub always: bool,
}

/// Nothing goes on before something is so.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitFor {
    /// What.
    pub expect: Box<Expect>,
    /// For how long at most.
    #[serde(default = "half_a_minute")]
    pub within: Seconds,
}

/// Which states of a channel may be enforced, as far as a party knows.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectStates {
    /// Who has to reckon with them.
    pub party: PartyName,
    /// The member whose channel it is.
    pub channel: PartyName,
    /// The numbers of the states, rising.
    pub enforceable: Vec<u32>,
}

/// The member in whose channel one party deals with another. `None` if no channel joins them.
pub(crate) fn channel_of(one: Party, other: Party) -> Option<u32> {
    match (one, other) {
        (Party::Operator, Party::Member(member)) | (Party::Member(member), Party::Operator) => Some(member),
        _ => None,
    }
}

/// Numbers, as they are written in a list.
pub(crate) fn listed(numbers: &[u32]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
    format!("[{}]", numbers.join(", "))
}

fn operator() -> PartyName {
    Named(Party::Operator)
}

fn accepted() -> Judgement {
    Judgement::Accepted
}

fn now() -> Moment {
    Moment::Now
}

fn half_a_minute() -> Seconds {
    Seconds(std::time::Duration::from_secs(30))
}
