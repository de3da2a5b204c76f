//! What the messages of the protocol are called, and the moments at which a party can crash.

use std::fmt;

use factory_core::protocol::{Body, Exchange, Key, Message, Step};
use schemars::JsonSchema;
use serde::Deserialize;

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MessageKind {
    /// The operator invites a member.
    Invitation,
    /// A member joins, with its keys.
    Joining,
    /// The operator tells the factory's terms.
    Factory,
    /// The operator proposes what all are to sign.
    Request,
    /// A member's nonces.
    Nonces,
    /// The operator's aggregates of all nonces.
    Aggregates,
    /// A member's shares of the signatures.
    Shares,
    /// Operator: the complete signatures of what all have signed.
    Signatures,
    /// A member holds what all have signed.
    Acknowledgement,
    /// A party has seen the funding confirmed.
    Ready,
    /// One side of a channel proposes a state or the close.
    Proposal,
    /// The other side agrees, and signs first.
    Acceptance,
    /// The proposer's signature, which completes the transaction.
    Completion,
    /// The other side holds it.
    Receipt,
}

/// When a party crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Moment {
    /// At once.
    Now,
    /// When it would send such a message, which is never sent.
    BeforeSending(MessageKind),
    /// When it has sent such a message.
    AfterSending(MessageKind),
    /// When it would store such a record, which is not stored.
    BeforeStoring(Stored),
    /// When it has stored such a record, and done nothing that comes after.
    AfterStoring(Stored),
}

/// What a party stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stored {
    /// The factory's terms.
    Factory,
    /// Operator: the signed funding.
    Funding,
    /// What it agreed to sign with all others, and the signatures.
    Joint,
    /// Its end of a channel.
    Channel,
    /// How far it is.
    Progress,
}

impl MessageKind {
    /// What a message carries.
    pub fn of(message: &Message) -> Self {
        let body = match message {
            Message::Invite { .. } => return MessageKind::Invitation,
            Message::Join(_) => return MessageKind::Joining,
            Message::Factory(_) => return MessageKind::Factory,
            Message::About { body, .. } => body,
        };
        match body {
            Body::Ready => MessageKind::Ready,
            Body::Sign { step, .. } => match step {
                Step::Propose(_) => MessageKind::Request,
                Step::Nonces(_) => MessageKind::Nonces,
                Step::Aggregates(_) => MessageKind::Aggregates,
                Step::Shares(_) => MessageKind::Shares,
                Step::Signatures(_) => MessageKind::Signatures,
                Step::Held => MessageKind::Acknowledgement,
            },
            Body::Channel(exchange) => match **exchange {
                Exchange::Propose { .. } => MessageKind::Proposal,
                Exchange::Accept { .. } => MessageKind::Acceptance,
                Exchange::Complete { .. } => MessageKind::Completion,
                Exchange::Held { .. } => MessageKind::Receipt,
            },
        }
    }

    /// Whether only the operator sends it.
    pub fn is_operators(self) -> bool {
        use MessageKind::*;
        matches!(self, Invitation | Factory | Request | Aggregates | Signatures)
    }

    /// Whether only members send it.
    pub fn is_members(self) -> bool {
        use MessageKind::*;
        matches!(self, Joining | Nonces | Shares | Acknowledgement)
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use MessageKind::*;
        f.pad(match self {
            Invitation => "invitation",
            Joining => "joining",
            Factory => "factory",
            Request => "request",
            Nonces => "nonces",
            Aggregates => "aggregates",
            Shares => "shares",
            Signatures => "signatures",
            Acknowledgement => "acknowledgement",
            Ready => "ready",
            Proposal => "proposal",
            Acceptance => "acceptance",
            Completion => "completion",
            Receipt => "receipt",
        })
    }
}

impl Stored {
    /// What a record is.
    pub fn of(key: Key) -> Self {
        match key {
            Key::Factory => Stored::Factory,
            Key::Funding => Stored::Funding,
            Key::Joint(_) => Stored::Joint,
            Key::Channel(_) => Stored::Channel,
            Key::Core => Stored::Progress,
        }
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stored::Factory => "factory",
            Stored::Funding => "funding",
            Stored::Joint => "joint",
            Stored::Channel => "channel",
            Stored::Progress => "progress",
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Now => f.write_str("now"),
            Moment::BeforeSending(kind) => write!(f, "before sending {kind}"),
            Moment::AfterSending(kind) => write!(f, "after sending {kind}"),
            Moment::BeforeStoring(record) => write!(f, "before storing {record}"),
            Moment::AfterStoring(record) => write!(f, "after storing {record}"),
        }
    }
}
