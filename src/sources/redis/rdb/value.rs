//! Values, type by type.

use super::collect::Shape;
use super::cursor::Cursor;
use super::error::{Stop, Unreadable};
use super::packed::{Elements as _, Packing};
use super::record::{Kind, ModuleId, Version};
use super::sinks::Target;
use super::stream::Layout;
use super::text::double;
use super::vectors::Vectors;
use super::walk::{State, Walk};

/// Where in a value the reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// One string.
    Text,
    /// How many items follow.
    Count(Items),
    Items {
        items: Items,
        left: u64,
        part: u8,
    },
    /// The earliest expiry of a hash's fields stands before everything else.
    Earliest(After),
    /// One string that holds all elements.
    Packed(Packing),
    /// How many nodes of a list follow, in which packing; since Redis 7 each says whether it is one element or many.
    NodeCount {
        kinds: bool,
    },
    Nodes {
        kinds: bool,
        left: u64,
        next: Node,
    },
    ModuleId,
    Module,
    ArrayHead,
    Array {
        left: u64,
        text: bool,
    },
    Stream(Layout),
}

/// What one item is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Items {
    Element,
    Pair,
    /// A member and its score in text, or as its 8 bytes.
    ScoreText,
    ScoreBytes,
    /// A field's expiry after the earliest, or absolute where that is 0, then field and value.
    Timed {
        earliest: u64,
    },
    /// Field, value, absolute expiry.
    TimedAfter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Count,
    Packed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Kind,
    Element,
    Packed(Packing),
}

impl Value {
    /// What a type of the RDB means. Types from 22 on mean other things to Redis and to Valkey, and to forks of old versions.
    pub(super) fn of(opcode: u8, version: Version) -> Result<(Kind, Self, Shape), Stop> {
        use Kind::{Hash, List, Set, SortedSet};
        let redis = if version.valkey { 0 } else { version.number };
        Ok(match opcode {
            0 => (Kind::String, Self::Text, Shape::Text),
            1 => (List, Self::Count(Items::Element), Shape::List),
            2 => (Set, Self::Count(Items::Element), Shape::Set),
            3 => (SortedSet, Self::Count(Items::ScoreText), Shape::SortedSet),
            4 => (Hash, Self::Count(Items::Pair), Shape::Hash),
            5 => (SortedSet, Self::Count(Items::ScoreBytes), Shape::SortedSet),
            7 => (Kind::Module(ModuleId(0)), Self::ModuleId, Shape::List),
            9 => (Hash, Self::Packed(Packing::Zipmap), Shape::Hash),
            10 => (List, Self::Packed(Packing::Ziplist), Shape::List),
            11 => (Set, Self::Packed(Packing::Intset), Shape::Set),
            12 => (SortedSet, Self::Packed(Packing::Ziplist), Shape::SortedSet),
            13 => (Hash, Self::Packed(Packing::Ziplist), Shape::Hash),
            14 => (List, Self::NodeCount { kinds: false }, Shape::List),
            15 => (Kind::Stream, Self::Stream(Layout::One), Shape::List),
            16 => (Hash, Self::Packed(Packing::Listpack), Shape::Hash),
            17 => (SortedSet, Self::Packed(Packing::Listpack), Shape::SortedSet),
            18 => (List, Self::NodeCount { kinds: true }, Shape::List),
            19 => (Kind::Stream, Self::Stream(Layout::Two), Shape::List),
            20 => (Set, Self::Packed(Packing::Listpack), Shape::Set),
            21 => (Kind::Stream, Self::Stream(Layout::Three), Shape::List),
            22 if version.valkey => (Hash, Self::Count(Items::TimedAfter), Shape::TimedHash),
            22 if redis >= 12 => (Hash, Self::Count(Items::Timed { earliest: 0 }), Shape::Hash),
            23 if redis >= 12 => (Hash, Self::Packed(Packing::Listpack), Shape::TimedHash),
            24 if redis >= 12 => (Hash, Self::Earliest(After::Count), Shape::Hash),
            25 if redis >= 12 => (Hash, Self::Earliest(After::Packed), Shape::TimedHash),
            26 if redis >= 13 => (Kind::Stream, Self::Stream(Layout::Four), Shape::List),
            27 if redis >= 14 => (Kind::Stream, Self::Stream(Layout::Five), Shape::List),
            28 if redis >= 14 => (Kind::Array, Self::ArrayHead, Shape::List),
            // 6 is the modules' format of 4.0's release candidates, which nothing but the module can read.
            opcode => return Err(Stop::Unknown(Unreadable::Opcode { opcode })),
        })
    }
}

impl Walk {
    pub(super) fn value_step(&mut self, value: Value, bytes: &[u8]) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        match value {
            Value::Text => return self.string(bytes, Target::Element),
            Value::Packed(packing) => return self.string(bytes, Target::Packed(packing)),
            Value::Items { items, left, part } => return self.item_step(items, left, part, bytes),
            Value::Stream(_) => return self.stream_step(self.stream, bytes),
            Value::Module => return self.module_step(bytes),
            Value::Nodes { left, next, .. } => return self.node_step(left, next, bytes),
            Value::Array { left, text } => return self.array_step(left, text, bytes),
            Value::Count(items) => {
                let left = cursor.length()?;
                self.go_on(left, Value::Items { items, left, part: 0 })?;
            }
            Value::Earliest(after) => {
                let earliest = cursor.u64_le()?;
                self.state = State::Value(match after {
                    After::Count => Value::Count(Items::Timed { earliest }),
                    After::Packed => Value::Packed(Packing::Listpack),
                });
            }
            Value::NodeCount { kinds } => {
                let left = cursor.length()?;
                let next = if kinds { Node::Kind } else { Node::Packed(Packing::Ziplist) };
                self.go_on(left, Value::Nodes { kinds, left, next })?;
            }
            Value::ModuleId => {
                let id = cursor.length()?;
                self.kind = Kind::Module(ModuleId(id));
                self.vectors = Vectors::of(ModuleId(id));
                match self.vectors {
                    // A set of other things than texts.
                    Some(_) => self.sinks.collector.start(Shape::Set),
                    None => self.sinks.collector.gather.push_u64(id),
                }
                self.state = State::Value(Value::Module);
            }
            Value::ArrayHead => {
                let [left, has_cursor] = cursor.lengths()?;
                let next = match has_cursor {
                    0 => None,
                    1 => Some(cursor.length()?),
                    _ => return Err(Stop::Shape("whether an array has a cursor")),
                };
                let gather = &mut self.sinks.collector.gather;
                gather.push_byte(u8::from(next.is_some()));
                gather.push_u64(next.unwrap_or_default());
                self.go_on(left, Value::Array { left, text: false })?;
            }
        }
        Ok(cursor.at)
    }

    /// A value whose items are all read is complete at once: its end must not wait for bytes of the next record.
    fn go_on(&mut self, left: u64, value: Value) -> Result<(), Stop> {
        if left == 0 {
            return self.finish_record();
        }
        self.state = State::Value(value);
        Ok(())
    }

    pub(super) fn value_string_done(&mut self, value: Value) -> Result<(), Stop> {
        match value {
            Value::Items { items, left, part } => {
                let last = match items {
                    Items::Element => part == 0,
                    Items::Pair => part == 1,
                    Items::Timed { .. } => part == 2,
                    // A score or an expiry follows.
                    Items::ScoreText | Items::ScoreBytes | Items::TimedAfter => false,
                };
                if last {
                    self.go_on(left - 1, Value::Items { items, left: left - 1, part: 0 })
                } else {
                    self.state = State::Value(Value::Items { items, left, part: part + 1 });
                    Ok(())
                }
            }
            Value::Nodes { kinds, left, next } => {
                let next = if kinds { Node::Kind } else { next };
                self.go_on(left - 1, Value::Nodes { kinds, left: left - 1, next })
            }
            Value::Array { left, .. } => self.go_on(left - 1, Value::Array { left: left - 1, text: false }),
            Value::Stream(_) => self.stream_string_done(self.stream),
            Value::Module => {
                self.module_text_done();
                Ok(())
            }
            _ => self.finish_record(),
        }
    }

    fn item_step(&mut self, items: Items, left: u64, part: u8, bytes: &[u8]) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        let collector = &mut self.sinks.collector;
        match (items, part) {
            (Items::ScoreText, 1) => {
                let score = match cursor.byte()? {
                    253 => f64::NAN,
                    254 => f64::INFINITY,
                    255 => f64::NEG_INFINITY,
                    length => {
                        double(cursor.take(usize::from(length))?).ok_or(Stop::Shape("a score that is a number"))?
                    }
                };
                collector.score(score);
            }
            (Items::ScoreBytes, 1) => collector.score(f64::from_le_bytes(cursor.array()?)),
            (Items::TimedAfter, 2) => {
                let at = cursor.i64_le()?;
                collector.expire((at >= 0).then_some(at));
            }
            (Items::Timed { earliest }, 0) => {
                collector.expiry = field_expiry(earliest, cursor.length()?)?;
                self.state = State::Value(Value::Items { items, left, part: 1 });
                return Ok(cursor.at);
            }
            _ => return self.string(bytes, Target::Element),
        }
        self.go_on(left - 1, Value::Items { items, left: left - 1, part: 0 })?;
        Ok(cursor.at)
    }

    fn node_step(&mut self, left: u64, next: Node, bytes: &[u8]) -> Result<usize, Stop> {
        let target = match next {
            Node::Element => Target::Element,
            Node::Packed(packing) => Target::Packed(packing),
            Node::Kind => {
                let mut cursor = Cursor::new(bytes);
                let next = match cursor.length()? {
                    1 => Node::Element,
                    2 => Node::Packed(Packing::Listpack),
                    _ => return Err(Stop::Shape("a kind of a list's node")),
                };
                self.state = State::Value(Value::Nodes { kinds: true, left, next });
                return Ok(cursor.at);
            }
        };
        self.string(bytes, target)
    }

    /// An element of an array: its index, its type, its value. Integers stand for their decimal text.
    fn array_step(&mut self, left: u64, text: bool, bytes: &[u8]) -> Result<usize, Stop> {
        if text {
            return self.string(bytes, Target::Element);
        }
        let mut cursor = Cursor::new(bytes);
        let [index, kind] = cursor.lengths()?;
        let collector = &mut self.sinks.collector;
        match kind {
            0 | 3 => {
                collector.gather.push_u64(index);
                collector.gather.push_byte(0);
                self.state = State::Value(Value::Array { left, text: true });
                return Ok(cursor.at);
            }
            1 => {
                let value = cursor.i64_le()?;
                collector.gather.push_u64(index);
                collector.gather.push_byte(0);
                collector.integer(value)?;
            }
            2 => {
                let value = f64::from_le_bytes(cursor.array()?);
                collector.gather.push_u64(index);
                collector.gather.push_byte(1);
                collector.gather.push_u64(value.to_bits());
                collector.count += 1;
                collector.bytes += 8;
            }
            _ => return Err(Stop::Shape("a type of an array's element")),
        }
        self.go_on(left - 1, Value::Array { left: left - 1, text: false })?;
        Ok(cursor.at)
    }
}

/// 0 says that a field does not expire; with an earliest expiry of all fields, the rest counts from 1 after that.
fn field_expiry(earliest: u64, says: u64) -> Result<Option<i64>, Stop> {
    let at = match (earliest, says) {
        (_, 0) => return Ok(None),
        (0, at) => Some(at),
        (earliest, after) => earliest.checked_add(after - 1),
    };
    let at = at.and_then(|at| i64::try_from(at).ok());
    at.map(Some).ok_or(Stop::Shape("an expiry of a field"))
}
