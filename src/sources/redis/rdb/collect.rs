//! Turns the elements of one value into its canonical digest, whatever the encoding that they came in.
//!
//! | type | content |
//! |---|---|
//! | string | the bytes (an integer is its decimal text): themselves up to [`SHORT_MAX`], else their BLAKE3 |
//! | list, array, stream, module | the elements in order, each after its length: themselves up to [`SHORT_MAX`], else their BLAKE3 |
//! | vector set | sum of the hashes that [`vectors`](super::vectors) says |
//! | set | sum of the hashes of its elements |
//! | hash | sum of the hashes of: length of the field, field, value, the field's expiry, whether it has one |
//! | sorted set | sum of the hashes of: member, the 8 bytes of the score; zero has no sign, all that is not a number is one |
//!
//! Memory: what [`batch`](super::batch) says, and 64 KiB of a list.

use super::batch::Elementwise;
use super::digest::{Gather, varint};
use super::error::Stop;
use super::packed::Elements;
use super::text::{DECIMAL_BYTES, decimal, double, score_bits};

/// Content of at most so many bytes stands for itself: hashing it twice would cost most where keys are small.
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

/// The content of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collected {
    /// A text, whose bytes are in [`Collector::short`].
    Short,
    TextDigest([u8; 32]),
    /// Elements in order are in [`Collector::gather`].
    Ordered,
    OrderedDigest([u8; 32]),
    /// The last sum of [`Collector::elements`].
    Sum,
}

#[derive(Debug)]
pub(super) struct Collector {
    shape: Shape,
    part: Part,
    /// What has an order: everything of lists, arrays, streams and modules, and a long text.
    pub(super) gather: Gather,
    pub(super) elements: Elementwise,
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
            elements: Elementwise::new(),
            short: Vec::new(),
            text: None,
            expiry: None,
            count: 0,
            bytes: 0,
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.gather.held_bytes() + self.elements.held_bytes() + self.short.capacity()
    }

    pub(super) fn start(&mut self, shape: Shape) {
        (self.shape, self.part, self.expiry) = (shape, Part::First, None);
        (self.text, self.count, self.bytes) = (None, 0, 0);
        self.short.clear();
    }

    pub(super) fn finish(&mut self) -> Result<Collected, Stop> {
        if self.part != Part::First {
            return Err(Stop::Shape("a value for each field and a score for each member"));
        }
        Ok(match self.shape {
            Shape::Text => self.text.map_or(Collected::Short, Collected::TextDigest),
            Shape::List if self.gather.short(SHORT_MAX).is_some() => Collected::Ordered,
            Shape::List => Collected::OrderedDigest(self.gather.finish()),
            _ => Collected::Sum,
        })
    }

    /// The score of the member that was read.
    pub(super) fn score(&mut self, score: f64) {
        self.bytes += 8;
        self.elements.push(&score_bits(score).to_le_bytes());
        self.close();
    }

    /// The expiry of the field whose value was read.
    pub(super) fn expire(&mut self, at: Option<i64>) {
        self.expiry = at;
        self.close_field();
    }

    /// Of a field, which its value follows.
    pub(super) fn push_length(&mut self, length: u64) {
        if let Ok(short @ 0..0x80) = u8::try_from(length) {
            return self.elements.push(&[short]);
        }
        let (bytes, count) = varint(length);
        self.elements.push(&bytes[..count]);
    }

    fn close(&mut self) {
        self.elements.close();
        self.count += 1;
        self.part = Part::First;
    }

    fn close_field(&mut self) {
        match self.expiry.take() {
            Some(at) => {
                self.bytes += 8;
                self.elements.push(&at.to_le_bytes());
                self.elements.push(&[1]);
            }
            None => self.elements.push(&[0]),
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
    #[inline]
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
                self.elements.push(whole);
                self.close();
            }
            (Shape::SortedSet, Part::Second) => {
                let score = double(whole).ok_or(Stop::Shape("a score that is a number"))?;
                self.score(score);
                return Ok(());
            }
            (_, Part::Third) => return Err(Stop::Shape("an expiry that is an integer")),
            (shape, part) => {
                if shape != Shape::SortedSet && part == Part::First {
                    self.push_length(whole.len() as u64);
                }
                self.elements.push(whole);
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
            (Shape::List, _) => self.gather.push_varint(length),
            (Shape::Hash | Shape::TimedHash, Part::First) => self.push_length(length),
            _ => {}
        }
        // Whether a string is its own content depends on its length, never on how it came.
        self.text = (self.shape == Shape::Text && length > SHORT_MAX as u64).then_some([0; 32]);
        // The length is only stated as yet.
        self.bytes = self.bytes.saturating_add(length);
        Ok(())
    }

    fn piece(&mut self, piece: &[u8]) {
        match self.shape {
            Shape::Text if self.text.is_none() => self.short.extend_from_slice(piece),
            Shape::Text | Shape::List => self.gather.push(piece),
            _ => self.elements.push(piece),
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
    use crate::sources::redis::rdb::batch::{Records, Tag};

    /// What is summed, or the bytes themselves, or their digest.
    fn content(mut collector: Collector) -> Vec<u8> {
        match collector.finish().unwrap() {
            Collected::Short => collector.short,
            Collected::Ordered => collector.gather.short(SHORT_MAX).unwrap().to_vec(),
            Collected::TextDigest(digest) | Collected::OrderedDigest(digest) => digest.to_vec(),
            Collected::Sum => {
                let mut records = Records::new();
                records.begin_content(Tag::Sum);
                records.push_sum(&mut collector.elements);
                records.close();
                let mut content = vec![];
                records.hash_all(&mut collector.elements, |_, bytes| content = bytes.to_vec());
                content
            }
        }
    }

    /// Hands the elements on whole, or in pieces of `step` bytes.
    fn digest(shape: Shape, elements: &[&[u8]], step: Option<usize>) -> Vec<u8> {
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
        content(collector)
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
        assert_eq!(content(collector), digest(Shape::SortedSet, &[b"-7", b"3"], None));
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
