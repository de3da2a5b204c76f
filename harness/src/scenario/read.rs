//! Reads the language's types out of a document, with errors that a person can use.

use std::fmt;

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use super::document::{Content, Node};
use super::wording::{expected, found, list, nearest};

/// Why a value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct ReadError {
    message: String,
    /// The key that there may not be, if it is that.
    pub(super) unknown: Option<String>,
}

impl serde::de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        ReadError { message: message.to_string(), unknown: None }
    }

    fn invalid_type(unexpected: Unexpected<'_>, what: &dyn Expected) -> Self {
        ReadError::custom(format!("found {}: expected {}", found(unexpected), expected(&what.to_string())))
    }

    fn invalid_value(unexpected: Unexpected<'_>, what: &dyn Expected) -> Self {
        ReadError::invalid_type(unexpected, what)
    }

    fn invalid_length(length: usize, what: &dyn Expected) -> Self {
        ReadError::custom(format!("found a list of {length}: expected {}", expected(&what.to_string())))
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        ReadError::custom(unknown("word", variant, known))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        let mut known = known.to_vec();
        // A matrix is a part of a file, but none of a single scenario or experiment.
        if known.contains(&"steps") || known.contains(&"miners") {
            known.push("matrix");
        }
        ReadError { message: unknown("key", field, &known), unknown: Some(field.to_owned()) }
    }

    fn missing_field(field: &'static str) -> Self {
        ReadError::custom(format!("expected a key `{field}`, which is missing"))
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let guess = nearest(name, known).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    format!("unknown {what} `{name}`: {guess}expected {}", list(known))
}

/// Reads a value.
///
/// # Errors
///
/// What is wrong with it, and the path of the value that it is wrong with.
pub(super) fn read<'a, T: Deserialize<'a>>(node: &'a Node) -> Result<T, serde_path_to_error::Error<ReadError>> {
    serde_path_to_error::deserialize(node)
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.content {
            Content::Scalar(Value::Null) => visitor.visit_unit(),
            Content::Scalar(Value::Bool(value)) => visitor.visit_bool(*value),
            Content::Scalar(Value::String(text)) => visitor.visit_borrowed_str(text),
            Content::Scalar(Value::Number(number)) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, Some(number)) => visitor.visit_f64(number),
                _ => Err(ReadError::custom(format!("`{number}` is no number"))),
            },
            Content::Scalar(other) => Err(ReadError::custom(format!("found {other}: expected a single value"))),
            Content::List(list) => visitor.visit_seq(Items(list.iter())),
            Content::Map(map) => visitor.visit_map(Entries { entries: map.iter(), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.content {
            Content::Scalar(Value::Null) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    /// Numbers may have underscores between their digits, as amounts do.
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if let Content::Scalar(Value::String(text)) = &self.content
            && text.split('_').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
            && let Ok(number) = text.replace('_', "").parse()
        {
            return visitor.visit_u64(number);
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, ReadError> {
        match &self.content {
            Content::List(list) if list.len() != length => {
                Err(ReadError::custom(format!("found a list of {}: expected a list of {length}", list.len())))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_u64(visitor)
    }

    /// A list in the order of the keys would do for serde, but nobody could read it.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.content {
            Content::Map(_) => self.deserialize_any(visitor),
            _ => Err(ReadError::custom(format!("found {}: expected a map with {}", self.described(), list(fields)))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let wrong = |found: String| Err(ReadError::custom(format!("found {found}: expected {}", list(variants))));
        match &self.content {
            Content::Scalar(Value::String(word)) => visitor.visit_enum(Word { word, value: None }),
            Content::Map(map) => match map.iter().next() {
                Some((word, entry)) if map.len() == 1 => visitor.visit_enum(Word { word, value: Some(&entry.value) }),
                Some(_) => {
                    let keys: Vec<&str> = map.keys().map(String::as_str).collect();
                    wrong(format!("{} keys in one ({})", keys.len(), keys.join(", ")))
                }
                None => wrong("an empty map".to_owned()),
            },
            _ => wrong(self.described()),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple_struct map identifier ignored_any
    }
}

impl Node {
    /// What it is, for an error.
    fn described(&self) -> String {
        match &self.content {
            Content::Scalar(Value::Null) => found(Unexpected::Unit),
            Content::Scalar(Value::String(text)) => found(Unexpected::Str(text)),
            Content::Scalar(value) => format!("`{value}`"),
            Content::List(_) => found(Unexpected::Seq),
            Content::Map(_) => found(Unexpected::Map),
        }
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        self.0.next().map(|node| seed.deserialize(node)).transpose()
    }
}

struct Entries<'de> {
    entries: indexmap::map::Iter<'de, String, super::document::Entry>,
    value: Option<&'de Node>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, entry)) = self.entries.next() else { return Ok(None) };
        self.value = Some(&entry.value);
        let key: StrDeserializer<'de, ReadError> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let value = self.value.take().ok_or_else(|| ReadError::custom("a value was read before its key"))?;
        seed.deserialize(value)
    }
}

/// One of several words, alone or with a value.
struct Word<'de> {
    word: &'de str,
    value: Option<&'de Node>,
}

impl<'de> EnumAccess<'de> for Word<'de> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        let word: StrDeserializer<'de, ReadError> = self.word.into_deserializer();
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'de> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        match self.value {
            Some(Node { content: Content::Scalar(Value::Null), .. }) | None => Ok(()),
            Some(value) => Err(ReadError::custom(format!(
                "found {}: expected just `{}`, without a value",
                value.described(),
                self.word
            ))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        let missing = || ReadError::custom(format!("`{}` alone says nothing: expected a value after it", self.word));
        seed.deserialize(self.value.ok_or_else(missing)?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        let missing = || ReadError::custom(format!("`{}` alone says nothing: expected a list after it", self.word));
        self.value.ok_or_else(missing)?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let missing =
            || ReadError::custom(format!("`{}` alone says nothing: expected a map with {}", self.word, list(fields)));
        self.value.ok_or_else(missing)?.deserialize_struct("", fields, visitor)
    }
}
