//! Live entries against the last list: a merge of two sorted streams, divided into batches that are worth a thread's time.

use std::cmp::Ordering;

use super::entry::Entry;
use super::listing::LastListing;
use super::{Found, Origin, Outcome, Wanted};
use crate::domain::PartSink;
use crate::sources::SourceError;

/// A batch is full at so many entries.
pub(super) const BATCH_ENTRIES: usize = 2048;
/// Or once this much content is to be read for it.
const BATCH_BYTES: u64 = 16 << 20;

/// Consecutive entries.
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) items: Vec<Item>,
}

pub(super) enum Item {
    /// Nothing of it is read: it has no content, or that has not changed.
    Known(Entry),
    /// The n-th of what is to be read for this batch.
    Read(usize),
}

/// A batch and what is to be read for it.
pub(super) struct Work {
    pub(super) batch: Batch,
    pub(super) wanted: Vec<Wanted>,
}

/// Divides what an origin discovers.
pub(super) struct Planner<'p> {
    origin: &'p dyn Origin,
    sink: &'p dyn PartSink,
    last: Option<LastListing>,
    /// The first entry of the last list that is not behind what was discovered.
    ahead: Option<Entry>,
    /// To notice an origin that goes back.
    previous: Option<Vec<u8>>,
    work: Work,
    bytes: u64,
    number: u64,
    pub(super) found: u64,
}

impl<'p> Planner<'p> {
    pub(super) fn new(origin: &'p dyn Origin, sink: &'p dyn PartSink, mut last: Option<LastListing>) -> Self {
        let ahead = last.as_mut().and_then(LastListing::next);
        let work = Work { batch: Batch { number: 0, items: vec![] }, wanted: vec![] };
        Self { origin, sink, last, ahead, previous: None, work, bytes: 0, number: 0, found: 0 }
    }

    /// Takes the next entry; gives a batch that it made full.
    pub(super) fn take(&mut self, found: Found) -> Result<Option<Work>, SourceError> {
        if let Some(previous) = &self.previous
            && self.origin.order(previous, &found.name) != Ordering::Less
        {
            return Err(SourceError::Failed {
                what: format!("list at `{}`", super::entry::encoded(&found.name)),
                why: format!("it comes after `{}`, which it should not", super::entry::encoded(previous)),
                hint: "the store does not list in order, or listed something twice; run again, and tell us if it stays"
                    .to_owned(),
            });
        }
        self.found += 1;
        let before = self.before(&found.name);
        self.previous = Some(found.name.clone());
        let item = match before {
            Some(before) if self.unchanged(&before, &found) => Item::Known(before),
            _ if !found.kind.has_content() => Item::Known(Entry {
                name: found.name,
                kind: found.kind,
                size: found.size,
                sum: None,
                address: crate::domain::BlobAddress::default(),
                attributes: found.attributes.unwrap_or_else(|| "{}".to_owned()),
                seen: found.seen,
            }),
            _ => {
                self.bytes += found.size;
                self.work.wanted.push(Wanted { found, outcome: Outcome::Waiting, spoiled: 0 });
                Item::Read(self.work.wanted.len() - 1)
            }
        };
        self.work.batch.items.push(item);
        let full = self.work.batch.items.len() >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES;
        Ok(full.then(|| self.cut()))
    }

    /// What is left, and how many batches there were.
    pub(super) fn finish(mut self) -> (Option<Work>, u64) {
        while let Some(ahead) = self.ahead.take() {
            self.origin.gone(&ahead);
            self.ahead = self.last.as_mut().and_then(LastListing::next);
        }
        let rest = (!self.work.batch.items.is_empty()).then(|| self.cut());
        (rest, self.found)
    }

    fn cut(&mut self) -> Work {
        self.number += 1;
        self.bytes = 0;
        let next = Work { batch: Batch { number: self.number, items: vec![] }, wanted: vec![] };
        std::mem::replace(&mut self.work, next)
    }

    /// The entry of this name in the last list.
    fn before(&mut self, name: &[u8]) -> Option<Entry> {
        loop {
            match self.origin.order(&self.ahead.as_ref()?.name, name) {
                Ordering::Less => {
                    self.origin.gone(self.ahead.as_ref()?);
                    self.ahead = self.last.as_mut()?.next();
                }
                Ordering::Equal => {
                    let found = self.ahead.take();
                    self.ahead = self.last.as_mut()?.next();
                    return found;
                }
                Ordering::Greater => return None,
            }
        }
    }

    fn unchanged(&self, before: &Entry, found: &Found) -> bool {
        found.kind.has_content()
            && before.kind == found.kind
            && before.size == found.size
            && !found.seen.is_empty()
            && before.seen == found.seen
            && found.attributes.as_ref().is_none_or(|attributes| before.attributes == *attributes)
            && self.last.as_ref().is_some_and(|last| last.holds(before, self.sink))
    }
}
