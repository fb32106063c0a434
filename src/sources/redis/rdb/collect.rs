//! Turns the elements of one value into its canonical digest, whatever the encoding that they came in.
//!
//! | type | content |
//! |---|---|
//! | string | the bytes (an integer is its decimal text): themselves up to [`SHORT_MAX`], else their BLAKE3 |
//! | list, array | BLAKE3 over the elements in order, each after its length |
//! | set | sum of the hashes of its elements |
//! | hash | sum of the hashes of: length of the field, field, value, the field's expiry, whether it has one |
//! | sorted set | sum of the hashes of: member, the 8 bytes of the score; zero has no sign, all that is not a number is one |
//!
//! Memory: one element up to 64 KiB, then a hasher.

use super::digest::{Elementwise, Gather};
use super::error::Stop;
use super::packed::Elements;
use super::text::{DECIMAL_BYTES, decimal, double, score_bits};

/// A string of at most so many bytes is its own content: hashing it twice would cost most where keys are small.
pub(super) const SHORT_MAX: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    List,
    Set,
    Hash,
    /// A hash whose every value is followed by an expiry.
    TimedHash,
    SortedSet,
}

/// Which part of an element comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    First,
    Second,
    Third,
}

/// The content of a value: short, or a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collected {
    /// The bytes are in [`Collector::short`].
    Short,
    Digest([u8; 32]),
}

#[derive(Debug)]
pub(super) struct Collector {
    shape: Shape,
    part: Part,
    /// The open element; for lists, arrays, streams and modules everything.
    pub(super) gather: Gather,
    sum: Elementwise,
    pub(super) short: Vec<u8>,
    text: Option<[u8; 32]>,
    /// Of the field that is being read, in milliseconds since 1970.
    pub(super) expiry: Option<i64>,
    pub(super) count: u64,
    /// Bytes of content, the same for every encoding.
    pub(super) bytes: u64,
}

impl Collector {
    pub(super) fn new() -> Self {
        Self {
            shape: Shape::Text,
            part: Part::First,
            gather: Gather::new(),
            sum: Elementwise::default(),
            short: Vec::new(),
            text: None,
            expiry: None,
            count: 0,
            bytes: 0,
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.gather.held_bytes() + self.short.capacity()
    }

    pub(super) fn start(&mut self, shape: Shape) {
        (self.shape, self.part, self.expiry) = (shape, Part::First, None);
        (self.sum, self.text, self.count, self.bytes) = (Elementwise::default(), None, 0, 0);
        self.short.clear();
    }

    pub(super) fn finish(&mut self) -> Result<Collected, Stop> {
        if self.part != Part::First {
            return Err(Stop::Shape("a value for each field and a score for each member"));
        }
        Ok(match self.shape {
            Shape::Text => self.text.map_or(Collected::Short, Collected::Digest),
            Shape::List => Collected::Digest(self.gather.finish()),
            _ => Collected::Digest(self.sum.finish()),
        })
    }

    /// The score of the member that was read.
    pub(super) fn score(&mut self, score: f64) {
        self.bytes += 8;
        self.gather.push_u64(score_bits(score));
        self.close();
    }

    /// The expiry of the field whose value was read.
    pub(super) fn expire(&mut self, at: Option<i64>) {
        self.expiry = at;
        self.close_field();
    }

    fn close(&mut self) {
        self.sum.add_gathered(&mut self.gather);
        self.count += 1;
        self.part = Part::First;
    }

    fn close_field(&mut self) {
        match self.expiry.take() {
            Some(at) => {
                self.bytes += 8;
                self.gather.push(&at.to_le_bytes());
                self.gather.push_byte(1);
            }
            None => self.gather.push_byte(0),
        }
        self.close();
    }

    /// After the last byte of a field, value or member.
    fn next_part(&mut self) {
        match (self.shape, self.part) {
            (Shape::Hash, Part::Second) => self.close_field(),
            (_, Part::First) => self.part = Part::Second,
            _ => self.part = Part::Third,
        }
    }
}

impl Elements for Collector {
    fn bytes(&mut self, whole: &[u8]) -> Result<(), Stop> {
        match (self.shape, self.part) {
            (Shape::Text, _) => {
                self.count = 1;
                if whole.len() <= SHORT_MAX {
                    self.short.extend_from_slice(whole);
                } else {
                    self.text = Some(*blake3::hash(whole).as_bytes());
                }
            }
            (Shape::List, _) => {
                self.count += 1;
                self.gather.push_varint(whole.len() as u64);
                self.gather.push(whole);
            }
            (Shape::Set, _) => {
                self.count += 1;
                self.sum.add(whole, &mut self.gather);
            }
            (Shape::SortedSet, Part::Second) => {
                let score = double(whole).ok_or(Stop::Shape("a score that is a number"))?;
                self.score(score);
                return Ok(());
            }
            (_, Part::Third) => return Err(Stop::Shape("an expiry that is an integer")),
            (shape, part) => {
                if shape != Shape::SortedSet && part == Part::First {
                    self.gather.push_varint(whole.len() as u64);
                }
                self.gather.push(whole);
                self.next_part();
            }
        }
        self.bytes += whole.len() as u64;
        Ok(())
    }

    fn integer(&mut self, value: i64) -> Result<(), Stop> {
        match (self.shape, self.part) {
            (Shape::TimedHash, Part::Third) => self.expire((value != 0).then_some(value)),
            // The servers convert so, too.
            #[expect(clippy::cast_precision_loss, reason = "a score beyond 2^53 is rounded by the server as well")]
            (Shape::SortedSet, Part::Second) => self.score(value as f64),
            _ => return self.bytes(decimal(value, &mut [0; DECIMAL_BYTES])),
        }
        Ok(())
    }

    fn begin(&mut self, length: u64) -> Result<(), Stop> {
        match (self.shape, self.part) {
            (Shape::SortedSet, Part::Second) => return Err(Stop::Shape("a score that is a number")),
            (_, Part::Third) => return Err(Stop::Shape("an expiry that is an integer")),
            (Shape::List, _) | (Shape::Hash | Shape::TimedHash, Part::First) => self.gather.push_varint(length),
            _ => {}
        }
        // Whether a string is its own content depends on its length, never on how it came.
        self.text = (self.shape == Shape::Text && length > SHORT_MAX as u64).then_some([0; 32]);
        // The length is only stated as yet.
        self.bytes = self.bytes.saturating_add(length);
        Ok(())
    }

    fn piece(&mut self, piece: &[u8]) {
        if self.shape == Shape::Text && self.text.is_none() {
            self.short.extend_from_slice(piece);
        } else {
            self.gather.push(piece);
        }
    }

    fn end(&mut self) -> Result<(), Stop> {
        match self.shape {
            Shape::Text => {
                self.count = 1;
                if self.text.is_some() {
                    self.text = Some(self.gather.finish());
                }
            }
            Shape::List => self.count += 1,
            Shape::Set => self.close(),
            _ => self.next_part(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands the elements on whole, or in pieces of `step` bytes.
    fn digest(shape: Shape, elements: &[&[u8]], step: Option<usize>) -> Collected {
        let mut collector = Collector::new();
        collector.start(shape);
        for element in elements {
            let Some(step) = step else {
                collector.bytes(element).unwrap();
                continue;
            };
            collector.begin(element.len() as u64).unwrap();
            element.chunks(step).for_each(|piece| collector.piece(piece));
            collector.end().unwrap();
        }
        collector.finish().unwrap()
    }

    #[test]
    fn elements_in_pieces_give_the_digest_of_whole_ones() {
        let large = vec![b'l'; 70_000];
        for shape in [Shape::List, Shape::Set, Shape::Hash, Shape::Text] {
            let elements: &[&[u8]] = if shape == Shape::Text { &[&large] } else { &[b"one", b"", &large, b"two"] };
            let whole = digest(shape, elements, None);
            for step in [1, 1000, 65_536, 70_000] {
                assert_eq!(digest(shape, elements, Some(step)), whole, "{shape:?} in pieces of {step}");
            }
        }
    }

    #[test]
    fn what_differs_has_another_digest() {
        let all = [
            digest(Shape::List, &[b"ab", b"c"], None),
            digest(Shape::List, &[b"a", b"bc"], None),
            digest(Shape::List, &[b"c", b"ab"], None),
            digest(Shape::List, &[b"abc"], None),
            digest(Shape::Hash, &[b"ab", b"c"], None),
            digest(Shape::Hash, &[b"a", b"bc"], None),
            digest(Shape::Hash, &[b"a", b"b", b"c", b"d"], None),
            digest(Shape::Hash, &[b"a", b"d", b"c", b"b"], None),
            digest(Shape::SortedSet, &[b"a", b"1", b"b", b"2"], None),
            digest(Shape::SortedSet, &[b"a", b"2", b"b", b"1"], None),
            digest(Shape::Set, &[b"a"], None),
            digest(Shape::Set, &[b"a", b"a"], None),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one), "{at}");
        }
    }

    #[test]
    fn order_and_encoding_do_not_matter_where_they_are_no_content() {
        let same =
            |shape, one: &[&[u8]], other: &[&[u8]]| assert_eq!(digest(shape, one, None), digest(shape, other, None));
        same(Shape::Set, &[b"a", b"b"], &[b"b", b"a"]);
        same(Shape::Hash, &[b"a", b"1", b"b", b"2"], &[b"b", b"2", b"a", b"1"]);
        same(Shape::SortedSet, &[b"a", b"1"], &[b"a", b"1.0"]);
        same(Shape::SortedSet, &[b"a", b"0"], &[b"a", b"-0"]);
        let mut collector = Collector::new();
        collector.start(Shape::SortedSet);
        collector.integer(-7).unwrap();
        collector.integer(3).unwrap();
        assert_eq!(collector.finish().unwrap(), digest(Shape::SortedSet, &[b"-7", b"3"], None));
    }

    #[test]
    fn a_field_without_a_value_and_a_score_that_is_none_are_refused() {
        let mut collector = Collector::new();
        collector.start(Shape::Hash);
        collector.bytes(b"field").unwrap();
        assert!(collector.finish().is_err());
        collector.start(Shape::SortedSet);
        collector.bytes(b"member").unwrap();
        assert!(collector.bytes(b"much").is_err());
    }
}
