//! A YAML document of which every value knows its place, so that whatever is found to be wrong later, in the file or in
//! what took the place of a part of it, can be shown where it stands.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_yaml::{Location, Spanned};

use super::problem::Problem;
use super::wording;

/// A document of more values is a mistake.
const MAX_VALUES: usize = 50_000;

/// Where something stands in a file: line and column, from 1.
pub(super) type Position = (u64, u64);

/// One value of a document.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where it stands. A value from the command line stands nowhere.
    position: Option<Position>,
    pub(super) content: Content,
}

/// What it is.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Map(IndexMap<String, Entry>),
}

/// The key of an entry stands elsewhere than its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    key: Option<Position>,
    pub(super) value: Node,
}

impl Node {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// What is wrong with its form as YAML, and where.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        // Aliases can make a short text a large document.
        let options = serde_yaml::options! { budget: serde_yaml::budget! { max_nodes: MAX_VALUES } };
        let parsed: Result<Spanned<Content>, _> = serde_yaml::from_str_with_options(text, options);
        parsed.map(Node::from).map_err(|error| {
            let error = error.without_snippet();
            // Something is always somewhere: what has no place concerns the whole file, which begins at its first line.
            let position = error.location().and_then(position).unwrap_or((1, 1));
            let message = error.to_string();
            // The place is shown in front already.
            let place = format!(" at line {}, column {}", position.0, position.1);
            let message = message.strip_suffix(&place).map(str::to_owned).unwrap_or(message);
            Problem { position: Some(position), path: Vec::new(), message: wording::yaml(&message) }
        })
    }

    /// A value that stands nowhere in a file.
    pub(super) fn from_value(value: Value) -> Self {
        let content = match value {
            Value::Array(list) => Content::List(list.into_iter().map(Node::from_value).collect()),
            Value::Object(map) => {
                let entry = |(key, value)| (key, Entry { key: None, value: Node::from_value(value) });
                Content::Map(map.into_iter().map(entry).collect())
            }
            scalar => Content::Scalar(scalar),
        };
        Node { position: None, content }
    }

    /// The value at a place, if there is one.
    pub(super) fn get(&self, path: &[String]) -> Option<&Node> {
        let [first, rest @ ..] = path else { return Some(self) };
        self.child(first)?.get(rest)
    }

    /// Takes an entry out of a map.
    pub(super) fn remove(&mut self, key: &str) -> Option<Node> {
        match &mut self.content {
            Content::Map(map) => map.shift_remove(key).map(|entry| entry.value),
            _ => None,
        }
    }

    /// The entries of a map, or of a list by their numbers.
    pub(super) fn entries(&self) -> Vec<(String, &Node)> {
        match &self.content {
            Content::Scalar(_) => Vec::new(),
            Content::List(list) => list.iter().enumerate().map(|(index, node)| (index.to_string(), node)).collect(),
            Content::Map(map) => map.iter().map(|(key, entry)| (key.clone(), &entry.value)).collect(),
        }
    }

    /// How many values it is made of.
    pub(super) fn size(&self) -> usize {
        1 + match &self.content {
            Content::Scalar(_) => 0,
            Content::List(list) => list.iter().map(Node::size).sum(),
            Content::Map(map) => map.values().map(|entry| entry.value.size()).sum::<usize>(),
        }
    }

    /// Whether it is a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.content, Content::List(_))
    }

    /// Whether it is a map.
    pub(super) fn is_map(&self) -> bool {
        matches!(self.content, Content::Map(_))
    }

    /// Where it stands.
    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Where the value at a place stands, or what comes nearest: that of the innermost value around it that has a place.
    pub(super) fn position_of(&self, path: &[String]) -> Option<Position> {
        let Some((first, rest)) = path.split_first() else { return self.position };
        self.child(first).and_then(|child| child.position_of(rest)).or(self.position)
    }

    /// Where the key of an entry stands.
    pub(super) fn position_of_key(&self, path: &[String], key: &str) -> Option<Position> {
        match &self.get(path)?.content {
            Content::Map(map) => map.get(key)?.key,
            _ => None,
        }
    }

    /// Puts a value in the place of one. Maps on the way are made, since whether they may be there is the language's
    /// matter; entries of lists are not.
    ///
    /// # Errors
    ///
    /// Why there is no such place.
    pub(super) fn set(&mut self, path: &[String], value: Node) -> Result<(), String> {
        let mut place = self;
        for (depth, key) in path.iter().enumerate() {
            let here = || path[..depth].join(".");
            if let Content::Scalar(Value::Null) = place.content {
                place.content = Content::Map(IndexMap::new());
            }
            place = match &mut place.content {
                Content::Map(map) => {
                    let nothing = || Entry { key: None, value: Node::from_value(Value::Null) };
                    &mut map.entry(key.clone()).or_insert_with(nothing).value
                }
                Content::List(list) => {
                    let length = list.len();
                    let item = key.parse().ok().and_then(|index: usize| list.get_mut(index));
                    item.ok_or_else(|| {
                        format!("there is no `{key}` in `{}`: expected a number below {length}", here())
                    })?
                }
                Content::Scalar(_) => {
                    return Err(format!(
                        "`{}` is a single value, which holds no `{key}`: expected another place",
                        here()
                    ));
                }
            };
        }
        *place = value;
        Ok(())
    }

    /// The value in one line, as it would be written in a file.
    pub(super) fn brief(&self) -> String {
        match &self.content {
            Content::Scalar(Value::String(text)) => text.clone(),
            Content::Scalar(value) => value.to_string(),
            Content::List(list) => {
                format!("[{}]", list.iter().map(Node::brief).collect::<Vec<_>>().join(", "))
            }
            Content::Map(map) => {
                let entry = |(key, entry): (&String, &Entry)| format!("{key}: {}", entry.value.brief());
                format!("{{ {} }}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn child(&self, key: &str) -> Option<&Node> {
        match &self.content {
            Content::Scalar(_) => None,
            Content::List(list) => key.parse().ok().and_then(|index: usize| list.get(index)),
            Content::Map(map) => map.get(key).map(|entry| &entry.value),
        }
    }
}

impl From<Spanned<Content>> for Node {
    fn from(read: Spanned<Content>) -> Self {
        Node { position: position(read.referenced), content: read.value }
    }
}

fn position(location: Location) -> Option<Position> {
    (location != Location::UNKNOWN).then(|| (location.line(), location.column()))
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Content, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom(format!("`{value}` is no number")))?;
        Ok(Content::Scalar(Value::Number(number)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E: Error>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut nodes = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Content>>()? {
            nodes.push(item.into());
        }
        Ok(Content::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut entries = IndexMap::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value::<Spanned<Content>>()?;
            let entry = Entry { key: position(key.referenced), value: value.into() };
            if entries.insert(key.value.clone(), entry).is_some() {
                return Err(A::Error::custom(format!("`{}` is there twice", key.value)));
            }
        }
        Ok(Content::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn every_value_and_every_key_knows_its_place() {
        let text = "name: x\nfactory:\n  members: 3\nsteps:\n  - open\n  - pay: { from: m0, to: operator }\n";
        let document = Node::parse(text).unwrap();
        for (place, position) in [
            ("name", (1, 7)),
            ("factory.members", (3, 12)),
            ("factory.capacity", (3, 3)),
            ("steps.0", (5, 5)),
            ("steps.1.pay.to", (6, 26)),
            ("steps.7", (5, 3)),
            ("nothing", (1, 1)),
        ] {
            assert_eq!(document.position_of(&path(place)), Some(position), "{place}");
        }
        assert_eq!(document.position_of_key(&path("steps.1.pay"), "to"), Some((6, 22)));
    }

    #[test]
    fn a_value_takes_the_place_of_another_or_makes_one() {
        let mut document = Node::parse("a: { b: [1, 2] }\nc: 5\n").unwrap();
        document.set(&path("a.b.1"), Node::from_value(9.into())).unwrap();
        document.set(&path("d.e"), Node::from_value("x".into())).unwrap();
        assert_eq!(document.brief(), "{ a: { b: [1, 9] }, c: 5, d: { e: x } }");
        let far = document.set(&path("a.b.2"), Node::from_value(9.into())).unwrap_err();
        assert_eq!(far, "there is no `2` in `a.b`: expected a number below 2");
        let deep = document.set(&path("c.x"), Node::from_value(9.into())).unwrap_err();
        assert_eq!(deep, "`c` is a single value, which holds no `x`: expected another place");
    }

    #[test]
    fn what_is_no_yaml_is_shown_where_it_is() {
        for (text, position) in [("a: [1", (1, 4)), ("a: 1\na: 2\n", (2, 1)), ("a: *b\n", (1, 4))] {
            let problem = Node::parse(text).err().map(|problem| problem.position);
            assert_eq!(problem, Some(Some(position)), "{text}");
        }
    }
}
