//! What must be true, at a point of a scenario or in its end.

use std::fmt;

use factory_core::protocol::Event;
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::super::value::{PartyName, Sat, TransactionName, Txs, Who};

/// What must be true. Each entry names the transaction or the party that it means, and holds on the node `at`, or on
/// every node. The words mean different things, and none stands in for another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[serde(default)]
pub struct Expect {
    /// The node that is asked; each of them, if none is named.
    pub at: Option<String>,
    /// Complete, and never taken by the node.
    pub signed: Txs,
    /// In the node's mempool.
    pub in_mempool: Txs,
    /// Was in the mempool, until another transaction took its place.
    pub replaced: Txs,
    /// Was in the mempool, and has left it without being confirmed or replaced.
    pub evicted: Txs,
    /// In a block of the node's best chain.
    pub confirmed: Txs,
    /// Confirmed at least as deep as the terms ask of the funding.
    pub buried: Txs,
    /// In exactly so many blocks, its own included.
    pub confirmations: IndexMap<TransactionName, u32>,
    /// The factory's transactions in the node's mempool are exactly these.
    pub mempool: Option<Txs>,
    /// What a transaction pays to the miner, exactly.
    pub fees: IndexMap<TransactionName, Sat>,
    /// The virtual size of a transaction, in vB, exactly.
    pub sizes: IndexMap<TransactionName, u64>,
    /// The height of the node's best chain.
    pub height: Option<u64>,
    /// Whether all nodes are on the same block.
    pub same_tip: Option<bool>,
    /// What a party has of the factory, in unspent outputs of its own, exactly.
    pub balances: IndexMap<PartyName, Sat>,
    /// What a party has reported, at least.
    pub reported: IndexMap<PartyName, Vec<Reported>>,
    /// In the end: what lies in HTLCs that nobody has taken, exactly.
    pub outstanding: Option<Sat>,
    /// In the end: the channels that nothing has settled, so that their money is still in the factory: members, or
    /// `members` for each.
    pub unsettled: Vec<Who>,
}

impl Expect {
    /// Whether nothing is expected.
    pub fn is_empty(&self) -> bool {
        *self == Expect { at: self.at.clone(), ..Expect::default() }
    }
}

/// What a party can report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reported {
    /// A channel of the party can be used.
    Live,
    /// A channel of the party has a new state.
    Updated,
    /// Its proposal crossed with one of the operator.
    PutOff,
    /// Operator: somebody's shares of a signature are wrong.
    WrongShares,
    /// It goes on without the others.
    FellBack,
    /// It has given the factory up before any money was in it.
    Aborted,
    /// Somebody has taken an HTLC of this party on chain, and shown its preimage.
    Preimage,
    /// A state of its channel is confirmed that is older than those it keeps.
    OldState,
    /// Its money is all out of the factory.
    Closed,
}

impl Reported {
    /// What an event is called, if a scenario can name it.
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Live { .. } => Some(Reported::Live),
            Event::Updated { .. } => Some(Reported::Updated),
            Event::PutOff { .. } => Some(Reported::PutOff),
            Event::WrongShares { .. } => Some(Reported::WrongShares),
            Event::FellBack { .. } => Some(Reported::FellBack),
            Event::Aborted { .. } => Some(Reported::Aborted),
            Event::Preimage { .. } => Some(Reported::Preimage),
            Event::OldState { .. } => Some(Reported::OldState),
            Event::Closed => Some(Reported::Closed),
            Event::Joined { .. }
            | Event::Complete(_)
            | Event::HeldByAll(_)
            | Event::FundingReady
            | Event::Confirmed(_) => None,
        }
    }
}

impl fmt::Display for Reported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Reported::Live => "live",
            Reported::Updated => "updated",
            Reported::PutOff => "put-off",
            Reported::WrongShares => "wrong-shares",
            Reported::FellBack => "fell-back",
            Reported::Aborted => "aborted",
            Reported::Preimage => "preimage",
            Reported::OldState => "old-state",
            Reported::Closed => "closed",
        })
    }
}

/// What a node must say to a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The node takes it into its mempool.
    Accepted,
    /// The node refuses it, with a reason that contains this.
    Rejected(String),
    /// It does not reach the node at all.
    Unreached,
}

/// What the nodes must say to a transaction: the one that it is sent to, or several by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PerNode {
    /// The node that it is sent to.
    There(Judgement),
    /// Each of these.
    Each(IndexMap<String, Judgement>),
}

impl Default for PerNode {
    fn default() -> Self {
        PerNode::There(Judgement::Accepted)
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Judgement::Accepted => f.write_str("accepted"),
            Judgement::Rejected(reason) => write!(f, "rejected with `{reason}`"),
            Judgement::Unreached => f.write_str("unreached"),
        }
    }
}

const JUDGEMENT: &str = "`accepted`, `unreached`, or `{ rejected: REASON }`";

fn word<E: Error>(text: &str) -> Result<Judgement, E> {
    match text {
        "accepted" => Ok(Judgement::Accepted),
        "unreached" => Ok(Judgement::Unreached),
        "rejected" => {
            Err(E::custom("`rejected` goes with a part of the node's reason: expected `{ rejected: REASON }`"))
        }
        _ => Err(E::custom(format!("`{text}` is nothing that a node says: expected {JUDGEMENT}"))),
    }
}

impl<'de> Deserialize<'de> for Judgement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JudgementVisitor;

        impl<'de> Visitor<'de> for JudgementVisitor {
            type Value = Judgement;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(JUDGEMENT)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Judgement, E> {
                word(text)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Judgement, A::Error> {
                match map.next_entry::<String, String>()? {
                    Some((key, reason)) if key == "rejected" && map.next_key::<String>()?.is_none() => {
                        Ok(Judgement::Rejected(reason))
                    }
                    _ => Err(A::Error::custom(format!("expected {JUDGEMENT}"))),
                }
            }
        }

        deserializer.deserialize_any(JudgementVisitor)
    }
}

impl<'de> Deserialize<'de> for PerNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PerNodeVisitor;

        impl<'de> Visitor<'de> for PerNodeVisitor {
            type Value = PerNode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{JUDGEMENT}, or one of them for each of several nodes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<PerNode, E> {
                word(text).map(PerNode::There)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PerNode, A::Error> {
                let mut nodes = IndexMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    // No node can be called that.
                    if key == "rejected" {
                        let reason = map.next_value()?;
                        if let Some(other) = map.next_key::<String>()? {
                            return Err(A::Error::custom(format!(
                                "`{other}` does not go together with `rejected`: expected `{{ rejected: REASON }}` alone, or nodes alone"
                            )));
                        }
                        return match nodes.is_empty() {
                            true => Ok(PerNode::There(Judgement::Rejected(reason))),
                            false => Err(A::Error::custom(
                                "`rejected` does not go together with nodes: expected `{ rejected: REASON }` alone, or nodes alone",
                            )),
                        };
                    }
                    let judgement = map.next_value()?;
                    nodes.insert(key, judgement);
                }
                Ok(PerNode::Each(nodes))
            }
        }

        deserializer.deserialize_any(PerNodeVisitor)
    }
}

impl JsonSchema for Judgement {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Judgement".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "what a node must say to a transaction",
            "anyOf": [
                { "enum": ["accepted", "unreached"] },
                {
                    "type": "object",
                    "properties": { "rejected": { "type": "string", "description": "a part of the node's reason" } },
                    "required": ["rejected"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl JsonSchema for PerNode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JudgementPerNode".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Judgement>();
        json_schema!({
            "description": "what the node that it is sent to must say, or what each of several must, by name",
            "anyOf": [one, { "type": "object", "additionalProperties": one }],
        })
    }
}
