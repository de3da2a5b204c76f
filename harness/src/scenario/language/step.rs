//! What can happen in a scenario.

use std::fmt;

use factory_core::Party;
use serde::Deserialize;
use serde_yaml::Spanned;

use super::super::value::{Count, Named, PartyName, Sat, Side, TransactionName, Who};
use super::unwritten;

/// One thing that happens.
#[derive(Clone, Debug, Deserialize)]
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
    /// Signatures are exchanged.
    Sign(Spanned<Sign>),
    /// A party publishes a transaction.
    Broadcast(Broadcast),
    /// A party gives up on the others, and goes on by what it holds.
    FallBack(FallBack),
    /// Blocks are mined.
    Mine(Mine),
    /// From now on a party neither gets nor sends messages. It still sees the chain, and may broadcast.
    Silence(Spanned<PartyName>),
    /// From now on a party neither gets nor sends messages, does not see the chain and does nothing by itself.
    Offline(Spanned<PartyName>),
    /// A party keeps back a message that it owes.
    Withhold(Withhold),
    /// The states of a channel that may be enforced, as far as a party knows, are just these.
    ExpectStates(ExpectStates),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Open => f.write_str("open"),
            Step::Pay(pay) => {
                let amount = pay.amount.value.0.to_sat();
                write!(f, "pay {amount} sat from {} to {}", pay.from.value.0, pay.to.value.0)
            }
            Step::Htlc(htlc) => {
                let (amount, from, to) = (htlc.amount.value.0.to_sat(), htlc.from.value.0, htlc.to.value.0);
                let (secret, expiry) = (&htlc.secret.value, htlc.expiry.value.0);
                write!(f, "htlc `{secret}` of {amount} sat from {from} to {to} for {expiry} blocks")
            }
            Step::Claim(claim) => write!(f, "claim `{}` by {}", claim.secret.value, claim.by.value.0),
            Step::Fail(fail) => write!(f, "fail `{}` by {}", fail.secret.value, fail.by.value.0),
            Step::Sign(sign) => f.write_str(match sign.value {
                Sign::Closes => "sign closes",
                Sign::FactoryClose => "sign factory-close",
            }),
            Step::Broadcast(broadcast) => write!(f, "broadcast {} by {}", broadcast.tx.value.0, broadcast.by.value.0),
            Step::FallBack(fall_back) => write!(f, "fall-back by {}", fall_back.by.value.0),
            Step::Mine(mine) => write!(f, "mine {}", mine.blocks.0),
            Step::Silence(party) => write!(f, "silence {}", party.value.0),
            Step::Offline(party) => write!(f, "offline {}", party.value.0),
            Step::Withhold(withhold) => write!(f, "withhold {} from {}", withhold.message, withhold.from.value.0),
            Step::ExpectStates(expect) => {
                let states = listed(&expect.enforceable);
                write!(f, "expect-states {states} of {} at {}", expect.channel.value.0, expect.party.value.0)
            }
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

/// An HTLC between the operator and a member.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Htlc {
    /// Who offers it, and gets it back if nobody takes it: `operator` or a member.
    pub from: Spanned<PartyName>,
    /// Who can take it: `operator` or a member.
    pub to: Spanned<PartyName>,
    /// What it holds.
    pub amount: Spanned<Sat>,
    /// In how many blocks from now it can be taken back on chain.
    pub expiry: Spanned<Count>,
    /// A name for its preimage, which follows from the name and the scenario's seed.
    pub secret: Spanned<String>,
}

/// The end of an HTLC, by its recipient.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    /// To whom it was offered.
    pub by: Spanned<PartyName>,
    /// The name of its preimage.
    pub secret: Spanned<String>,
}

/// A party gives up on the others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FallBack {
    /// Which.
    pub by: Spanned<PartyName>,
}

/// A party keeps back a message that it owes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withhold {
    /// Which party.
    pub from: Spanned<PartyName>,
    /// Which message.
    pub message: Withheld,
}

/// A message that can be kept back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Withheld {
    /// The next complete signature of a channel's state: the other side has signed that state, and does not get it.
    Completion,
    /// Operator: the complete signatures of the factory close, to every member, now and later.
    Signatures,
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Withheld::Completion => "completion",
            Withheld::Signatures => "signatures",
        })
    }
}

/// Which states of a channel may be enforced, as far as a party knows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectStates {
    /// Who has to reckon with them.
    pub party: Spanned<PartyName>,
    /// The member whose channel it is.
    pub channel: Spanned<PartyName>,
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

fn one() -> Count {
    Count(1)
}

fn operator() -> Spanned<PartyName> {
    unwritten(Named(Party::Operator))
}
