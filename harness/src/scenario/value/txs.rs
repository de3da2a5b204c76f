//! Transactions, by name: one, or several of one sort.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use factory_core::{Party, TxName};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::text::{Text, TextVisitor, text_schema, texts};

/// One transaction, or several of one sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxPattern {
    /// One.
    One(TxName),
    /// `close-m0..m12`: the closes of these members' channels, the last one included.
    Closes(u32, u32),
    /// `closes`: the closes of all channels.
    AllCloses,
}

/// Transactions, by name: one or a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txs(pub Vec<TxPattern>);

impl TxPattern {
    /// The transactions that it stands for, in a factory of so many members.
    pub fn names(self, members: u32) -> Vec<TxName> {
        match self {
            TxPattern::One(name) => vec![name],
            TxPattern::Closes(first, last) => (first..=last).map(TxName::Close).collect(),
            TxPattern::AllCloses => (0..members).map(TxName::Close).collect(),
        }
    }
}

impl FromStr for TxPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "closes" {
            return Ok(TxPattern::AllCloses);
        }
        let Some((first, last)) = text.split_once("..") else {
            return text.parse().map(TxPattern::One).map_err(|error: factory_core::TxNameError| error.to_string());
        };
        match (first.parse(), last.parse()) {
            (Ok(TxName::Close(first)), Ok(Party::Member(last))) if first <= last => Ok(TxPattern::Closes(first, last)),
            _ => Err(format!("`{text}` is no range of transactions: expected something like `close-m0..m4`")),
        }
    }
}

impl fmt::Display for TxPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TxPattern::One(name) => name.fmt(f),
            TxPattern::Closes(first, last) => write!(f, "close-m{first}..m{last}"),
            TxPattern::AllCloses => f.write_str("closes"),
        }
    }
}

impl Text for TxPattern {
    const WHAT: &'static str = "a transaction like `factory-close`, or several like `close-m0..m4` or `closes`";
    const PATTERN: &'static str = "^[a-z0-9-]+(\\.\\.m[0-9]+)?$";
    const NAME: &'static str = "Transactions";
}

texts!(TxPattern);

impl Txs {
    /// The transactions, in the order in which they are written, in a factory of so many members.
    pub fn names(&self, members: u32) -> Vec<TxName> {
        self.0.iter().flat_map(|pattern| pattern.names(members)).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<TxName> for Txs {
    fn from(name: TxName) -> Self {
        Txs(vec![TxPattern::One(name)])
    }
}

impl<'de> Deserialize<'de> for Txs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TxsVisitor;

        impl<'de> Visitor<'de> for TxsVisitor {
            type Value = Txs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a transaction like `factory-close`, or a list of them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Txs, E> {
                text.parse().map(|pattern| Txs(vec![pattern])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Txs, A::Error> {
                let mut patterns = Vec::new();
                while let Some(pattern) = list.next_element()? {
                    patterns.push(pattern);
                }
                Ok(Txs(patterns))
            }
        }

        deserializer.deserialize_any(TxsVisitor)
    }
}

impl JsonSchema for Txs {
    fn schema_name() -> Cow<'static, str> {
        "OneOrMoreTransactions".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<TxPattern>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

impl fmt::Display for Txs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(TxPattern::to_string).collect::<Vec<_>>().join(", "))
    }
}
