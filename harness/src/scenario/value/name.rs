//! Names: of parties, transactions, node kinds and locks.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use factory_core::{LockKind, Party, TxName};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer};

use super::text::{Text, TextVisitor, text_schema, texts};
use crate::node::Kind;

/// Who takes part in a payment: `operator`, `m0`, … or `members`, which stands for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// One party.
    One(Party),
    /// Every member.
    Members,
}

/// A name that is parsed from its text: a party, a transaction, a node kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Named<T>(pub T);

/// A party, by name.
pub type PartyName = Named<Party>;
/// A transaction, by name.
pub type TransactionName = Named<TxName>;
/// A node kind, by name.
pub type KindName = Named<Kind>;

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "members" => Ok(Who::Members),
            _ => text.parse().map(Who::One).map_err(|_| {
                format!("`{text}` is no party: expected operator, m0, m1, … or members, which means each of them")
            }),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::One(party) => party.fmt(f),
            Who::Members => f.pad("members"),
        }
    }
}

impl Text for Who {
    const WHAT: &'static str = "a party: `operator`, `m0`, `m1`, …, or `members` for each of them";
    const PATTERN: &'static str = "^(operator|members|m[0-9]+)$";
    const NAME: &'static str = "PartyOrMembers";
}

impl Text for Party {
    const WHAT: &'static str = "a party: `operator`, `m0`, `m1`, …";
    const PATTERN: &'static str = "^(operator|m[0-9]+)$";
    const NAME: &'static str = "Party";
}

impl Text for TxName {
    const WHAT: &'static str = "a transaction like `factory-close`, `close-m0` or `refund-m0-1`";
    const PATTERN: &'static str = "^(funding|allocation|refund-m[0-9]+-[0-9]+|htlc-(success|timeout)-m[0-9]+-[0-9]+|close-m[0-9]+|factory-close(-[1-9][0-9]*)?)$";
    const NAME: &'static str = "Transaction";
}

impl Text for Kind {
    const WHAT: &'static str = "a node kind";
    const PATTERN: &'static str = "^(core|knots)-[0-9]+$";
    const NAME: &'static str = "NodeKind";
}

impl Text for LockKind {
    const WHAT: &'static str = "a kind of lock: `musig2`, `tapscript` or `wsh`";
    const PATTERN: &'static str = "^(musig2|tapscript|wsh)$";
    const NAME: &'static str = "Lock";
}

texts!(Who);

impl<'de, T: Text> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(std::marker::PhantomData)).map(Named)
    }
}

impl<T: Text> JsonSchema for Named<T> {
    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        text_schema::<T>()
    }
}
