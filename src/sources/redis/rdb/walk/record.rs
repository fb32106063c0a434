//! The end of a record: its canonical bytes, which are hashed.

use super::super::batch::{Records, Tag};
use super::super::collect::{Collected, SHORT_MAX};
use super::super::digest::varint;
use super::super::error::Stop;
use super::{Signal, State, Walk};

impl Walk {
    /// Writes the record in canonical form: kind, database, expiry, metadata, name, content, count.
    pub(in super::super) fn finish_record(&mut self) -> Result<(), Stop> {
        let collected = self.sinks.collector.finish()?;
        let records = &mut self.records;
        records.data.push(self.kind.code());
        let (database, count) = varint(if self.kind.is_key() { self.db } else { 0 });
        records.data.extend_from_slice(&database[..count]);
        records.data.push(u8::from(self.expires_ms.is_some()) | u8::from(self.meta.is_some()) << 1);
        if let Some(at) = self.expires_ms {
            records.data.extend_from_slice(&at.to_le_bytes());
        }
        if let Some(meta) = &self.meta {
            records.data.extend_from_slice(meta);
        }
        self.sinks.name.push_to(&mut records.data);
        let collector = &mut self.sinks.collector;
        let digest = |records: &mut Records, tag: Tag, digest: &[u8; 32]| {
            records.begin_content(tag);
            records.data.extend_from_slice(digest);
        };
        match &collected {
            Collected::Short => {
                records.begin_content(Tag::Text);
                records.data.extend_from_slice(&collector.short);
            }
            Collected::Ordered => {
                records.begin_content(Tag::Ordered);
                records.data.extend_from_slice(collector.gather.short(SHORT_MAX).unwrap_or_default());
                collector.gather.clear();
            }
            Collected::TextDigest(of) => digest(records, Tag::TextDigest, of),
            Collected::OrderedDigest(of) => digest(records, Tag::OrderedDigest, of),
            Collected::Sum => {
                records.begin_content(Tag::Sum);
                records.push_sum(&mut collector.elements);
            }
        }
        if !matches!(collected, Collected::Short | Collected::Ordered) {
            records.data.extend_from_slice(&collector.count.to_le_bytes());
        }
        records.close();
        self.signal = Signal::Entry;
        self.state = State::Opcode;
        Ok(())
    }

    /// Hashes the records that are whole and tells the hash and the content of each.
    pub(in super::super) fn hash_records(&mut self, tell: impl FnMut(&[u8; 32], &[u8])) {
        self.records.hash_all(&mut self.sinks.collector.elements, tell);
    }

    /// After the caller has seen the record.
    pub(in super::super) fn forget_record(&mut self) {
        (self.start, self.expires_ms, self.meta) = (None, None, None);
        self.meta_raw.clear();
    }
}
