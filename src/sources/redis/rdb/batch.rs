//! Elements and records wait here until there are enough of them to be hashed side by side.
//!
//! The hash of an element and that of a record is [`record_hash`](crate::domain::record_hash::record_hash), as of a row of a table:
//! padded BLAKE3, which vector units compute sixteen of at once. An element may complete long after the record before it, so a
//! record that holds a sum of elements keeps a place for it.
//!
//! Memory: [`WAITING_BYTES`] of elements and as much of records, each and the largest single one ([`GATHERED_MAX`], a name)
//! beyond it; 64 bytes for each of [`RUN`] elements and [`RECORDS_MAX`] records.

use super::digest::{GATHERED_MAX, Sum256};
use crate::domain::record_hash::{RUN, RecordHashes, padding};

/// More is not held before it is hashed.
const WAITING_BYTES: usize = 128 << 10;
/// So many records wait at most.
const RECORDS_MAX: usize = 1024;

/// Sums of the hashes of elements, one for each value that waits.
#[derive(Debug)]
pub(super) struct Elementwise {
    /// Whole elements one behind the other, then the open one.
    data: Vec<u8>,
    ends: Vec<u32>,
    /// Where the open element begins.
    open: usize,
    /// Of each whole element, which sum it belongs to.
    owners: Vec<u32>,
    sums: Vec<Sum256>,
    hashes: RecordHashes,
    /// Where the open element is too long to wait: what came of it, and how many bytes.
    long: blake3::Hasher,
    long_bytes: u64,
}

impl Elementwise {
    pub(super) fn new() -> Self {
        Self {
            data: Vec::new(),
            ends: Vec::new(),
            open: 0,
            owners: Vec::new(),
            sums: vec![Sum256::new()],
            hashes: RecordHashes::new(),
            long: blake3::Hasher::new(),
            long_bytes: 0,
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.data.capacity() + 4 * (self.ends.capacity() + self.owners.capacity()) + 32 * self.sums.capacity()
    }

    /// More of the open element.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.data.len() - self.open + bytes.len() > GATHERED_MAX {
            return self.push_long(bytes);
        }
        self.data.extend_from_slice(bytes);
    }

    #[cold]
    fn push_long(&mut self, bytes: &[u8]) {
        self.long.update(&self.data[self.open..]).update(bytes);
        self.long_bytes += (self.data.len() - self.open + bytes.len()) as u64;
        self.data.truncate(self.open);
    }

    /// The open element is whole.
    #[inline]
    pub(super) fn close(&mut self) {
        if self.long_bytes > 0 {
            return self.close_long();
        }
        self.open = self.data.len();
        self.ends.push(u32::try_from(self.open).expect("few elements wait"));
        self.owners.push(u32::try_from(self.sums.len() - 1).expect("few records wait"));
        if self.ends.len() == RUN || self.open >= WAITING_BYTES {
            self.hash_waiting();
        }
    }

    #[cold]
    fn close_long(&mut self) {
        let rest = &self.data[self.open..];
        let bytes = self.long_bytes + rest.len() as u64;
        let hash = self.long.update(rest).update(padding(bytes)).finalize();
        self.sums.last_mut().expect("there is always an open sum").add(hash.as_bytes());
        self.long.reset();
        self.long_bytes = 0;
        self.data.truncate(self.open);
    }

    /// Elements from here on belong to another sum; says which one is complete once [`hash_waiting`](Self::hash_waiting) was called.
    fn next(&mut self) -> u32 {
        self.sums.push(Sum256::new());
        u32::try_from(self.sums.len() - 2).expect("few records wait")
    }

    /// Hashes all whole elements; the open one stays.
    fn hash_waiting(&mut self) {
        let hashes = self.hashes.run(&self.data, 0, &self.ends);
        for (hash, owner) in hashes.iter().zip(&self.owners) {
            self.sums[*owner as usize].add(hash);
        }
        self.data.copy_within(self.open.., 0);
        self.data.truncate(self.data.len() - self.open);
        self.open = 0;
        self.ends.clear();
        self.owners.clear();
    }

    /// Forgets all sums but the open one.
    fn forget_complete(&mut self) {
        self.sums.drain(..self.sums.len() - 1);
    }
}

/// What a record's content is in its canonical bytes; the first of them, so that no two kinds of content are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Text = 0,
    TextDigest = 1,
    Ordered = 2,
    OrderedDigest = 3,
    Sum = 4,
}

/// Records in canonical form that are not hashed yet.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) data: Vec<u8>,
    ends: Vec<u32>,
    /// Where the content of each begins.
    contents: Vec<u32>,
    /// Where a sum of elements belongs, and which one.
    places: Vec<(u32, u32)>,
    hashes: RecordHashes,
}

impl Records {
    pub(super) fn new() -> Self {
        Self {
            data: Vec::new(),
            ends: Vec::new(),
            contents: Vec::new(),
            places: Vec::new(),
            hashes: RecordHashes::new(),
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.data.capacity() + 4 * (self.ends.capacity() + self.contents.capacity()) + 8 * self.places.capacity()
    }

    fn at(&self) -> u32 {
        u32::try_from(self.data.len()).expect("few records wait")
    }

    /// The open record's name and all before it are there; its content comes.
    pub(super) fn begin_content(&mut self, tag: Tag) {
        self.contents.push(self.at());
        self.data.push(tag as u8);
    }

    /// The sum over the elements that came.
    pub(super) fn push_sum(&mut self, elements: &mut Elementwise) {
        self.places.push((self.at(), elements.next()));
        self.data.extend_from_slice(&[0; 32]);
    }

    /// The open record is whole.
    pub(super) fn close(&mut self) {
        self.ends.push(self.at());
    }

    pub(super) fn is_full(&self) -> bool {
        self.ends.len() >= RECORDS_MAX || self.data.len() >= WAITING_BYTES
    }

    /// Hashes all records, which are whole, and tells the hash and the content of each, in order.
    pub(super) fn hash_all(&mut self, elements: &mut Elementwise, mut tell: impl FnMut(&[u8; 32], &[u8])) {
        if self.ends.is_empty() {
            return;
        }
        elements.hash_waiting();
        for (at, owner) in self.places.drain(..) {
            let at = at as usize;
            self.data[at..at + 32].copy_from_slice(&elements.sums[owner as usize].to_bytes());
        }
        elements.forget_complete();
        let hashes = self.hashes.run(&self.data, 0, &self.ends);
        for ((hash, content), end) in hashes.iter().zip(&self.contents).zip(&self.ends) {
            tell(hash, &self.data[*content as usize..*end as usize]);
        }
        self.data.clear();
        // One large name must not cost its memory for the rest of the RDB.
        self.data.shrink_to(2 * WAITING_BYTES);
        self.ends.clear();
        self.contents.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record_hash::record_hash;

    /// The definition: the hash of each element, summed.
    fn sum_of<'e>(elements: impl Iterator<Item = &'e Vec<u8>>) -> Vec<u8> {
        let mut sum = Sum256::new();
        elements.for_each(|element| sum.add(&record_hash(element)));
        sum.to_bytes().to_vec()
    }

    #[test]
    fn sums_are_those_of_their_own_elements_however_many_wait_and_however_the_pieces_come() {
        let element = |n: usize| -> Vec<u8> {
            let length = if n.is_multiple_of(701) { 70_000 + n } else { n * 7 % 200 };
            (0..length).map(|at| u8::try_from((at + n) % 251).unwrap()).collect()
        };
        for step in [1, 7, 1000, 65_535, 65_536, 200_000] {
            let values: Vec<Vec<Vec<u8>>> = [0, 1, 5, 3000, 0, 2, 17, 2048, 1]
                .iter()
                .enumerate()
                .map(|(value, count)| (0..*count).map(|at| element(value * 31 + at)).collect())
                .collect();
            let (mut elements, mut records, mut told) = (Elementwise::new(), Records::new(), vec![]);
            for (number, value) in values.iter().enumerate() {
                for (at, element) in value.iter().enumerate() {
                    for piece in element.chunks(step) {
                        elements.push(piece);
                        // Records before may be told in the middle of an element.
                        if at == 3 {
                            records.hash_all(&mut elements, |hash, content| told.push((*hash, content.to_vec())));
                        }
                    }
                    elements.close();
                }
                records.data.push(u8::try_from(number).unwrap());
                records.begin_content(Tag::Sum);
                records.push_sum(&mut elements);
                records.close();
            }
            records.hash_all(&mut elements, |hash, content| told.push((*hash, content.to_vec())));
            let expected: Vec<_> = values
                .iter()
                .enumerate()
                .map(|(number, value)| {
                    let content = [vec![Tag::Sum as u8], sum_of(value.iter())].concat();
                    let record = [vec![u8::try_from(number).unwrap()], content.clone()].concat();
                    (record_hash(&record), content)
                })
                .collect();
            assert_eq!(told.len(), expected.len());
            assert!(told == expected, "in pieces of {step}");
            assert!(elements.held_bytes() + records.held_bytes() < 1 << 20);
        }
    }
}
