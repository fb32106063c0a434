//! A parsed file as a tree of owned values, each with its place, and serde's view of it.
//!
//! The parser's own trees do not serve: `toml_edit`'s lose their places when a table is cut out, `toml`'s borrow the text.

use std::fmt;
use std::ops::Range;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Bytes of the file; for `[table]` those of its header.
    pub(super) span: Range<usize>,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Dates and times are text too: nothing here is one.
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    List(Vec<Node>),
    Table(Table),
}

/// Entries in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) node: Node,
}

impl Table {
    pub(super) fn from_parsed(parsed: &DeTable<'_>) -> Self {
        let entries = parsed.iter().map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: key.span(),
            node: Node::from_parsed(value),
        });
        Self { entries: entries.collect() }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.entries.iter_mut().map(|entry| &mut entry.node)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Removes the entry whose key or value holds `span`, and tells its key.
    pub(super) fn remove_at(&mut self, span: &Range<usize>) -> Option<String> {
        let holds = |place: &Range<usize>| place.start <= span.start && span.end <= place.end;
        let at = self.entries.iter().position(|entry| holds(&entry.key_span) || holds(&entry.node.span))?;
        Some(self.entries.remove(at).key)
    }

    /// The value at a path of keys: `["backup", "quorum"]`.
    pub(super) fn locate(&self, path: &[&str]) -> Option<&Node> {
        let (first, rest) = path.split_first()?;
        let node = self.get(first)?;
        match (rest, &node.value) {
            ([], _) => Some(node),
            (rest, Value::Table(table)) => table.locate(rest),
            _ => None,
        }
    }
}

impl Node {
    fn from_parsed(parsed: &Spanned<DeValue<'_>>) -> Self {
        let value = match parsed.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                // Too long for any setting: as text it is refused by what reads it, with its place.
                Err(_) => Value::Text(number.to_string()),
            },
            DeValue::Float(number) => {
                number.as_str().parse().map_or_else(|_| Value::Text(number.as_str().to_owned()), Value::Float)
            }
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Datetime(moment) => Value::Text(moment.to_string()),
            DeValue::Array(list) => Value::List(list.iter().map(Self::from_parsed).collect()),
            DeValue::Table(table) => Value::Table(Table::from_parsed(table)),
        };
        Self { span: parsed.span(), value }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// What serde refused, and where.
#[derive(Debug)]
pub(super) struct ReadError {
    pub(super) message: String,
    pub(super) span: Option<Range<usize>>,
}

impl ReadError {
    fn at(mut self, span: &Range<usize>) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), span: None }
    }
}

/// Every method ends here: the place of the innermost value that an error passes through is the one it keeps.
impl<'de> Deserializer<'de> for &'de Node {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Flag(flag) => visitor.visit_bool(*flag),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter() }),
            Value::Table(table) => visitor.visit_map(Entries { entries: table.entries.iter(), next: None }),
        }
        .map_err(|error| error.at(&self.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let result = match &self.value {
            Value::Text(text) => {
                let unit: StrDeserializer<'_, ReadError> = text.as_str().into_deserializer();
                visitor.visit_enum(unit)
            }
            Value::Table(table) => match table.entries.as_slice() {
                [entry] => visitor.visit_enum(Variant { entry }),
                _ => Err(de::Error::custom("a table with exactly one key is expected")),
            },
            _ => return self.deserialize_any(visitor),
        };
        result.map_err(|error: ReadError| error.at(&self.span))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'de> {
    items: std::slice::Iter<'de, Node>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        self.items.next().map(|item| seed.deserialize(item).map_err(|error| error.at(&item.span))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, Entry>,
    next: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        self.next = self.entries.next();
        self.next.map(|entry| key(entry, seed)).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let entry = self.next.take().expect("serde asks for a value only after its key");
        seed.deserialize(&entry.node).map_err(|error| error.at(&entry.node.span))
    }
}

fn key<'de, K: DeserializeSeed<'de>>(entry: &'de Entry, seed: K) -> Result<K::Value, ReadError> {
    let text: StrDeserializer<'de, ReadError> = entry.key.as_str().into_deserializer();
    seed.deserialize(text).map_err(|error| error.at(&entry.key_span))
}

/// `{ variant = content }`.
struct Variant<'de> {
    entry: &'de Entry,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = ReadError;
    type Variant = &'de Node;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self::Variant), ReadError> {
        Ok((key(self.entry, seed)?, &self.entry.node))
    }
}

impl<'de> VariantAccess<'de> for &'de Node {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Err(ReadError { message: "this one is written as text, without a value".into(), span: Some(self.span.clone()) })
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }
}
