//! Values that are written as texts of a certain form.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{Schema, json_schema};
use serde::de::{Error, Visitor};

/// A value that is written as a text of a certain form.
pub trait Text: FromStr<Err: fmt::Display> {
    /// What it is, for an error: "an amount like `10_000 sat`".
    const WHAT: &'static str;
    /// Its form as a regular expression, for editors.
    const PATTERN: &'static str;
    /// What its schema is called.
    const NAME: &'static str;
}

/// Reads such a text.
pub(super) struct TextVisitor<T>(pub(super) PhantomData<T>);

impl<T: Text> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// What an editor is told of such a text.
pub(super) fn text_schema<T: Text>() -> Schema {
    json_schema!({ "type": "string", "pattern": T::PATTERN, "description": T::WHAT })
}

/// Reads these types as texts, and describes them.
macro_rules! texts {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor::<Self>(std::marker::PhantomData))
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                <$type as Text>::NAME.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                text_schema::<$type>()
            }
        }
    )*};
}

pub(super) use texts;
