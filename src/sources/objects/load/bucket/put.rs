//! Puts one key into a bucket: all its versions, unless they are there already.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use sha2::{Digest, Sha256};

use super::{Key, PART_BYTES, PARTS_MAX, Restore, SMALL_BYTES_MAX, Start};
use crate::domain::StoreError;
use crate::sources::SourceError;
use crate::sources::objects::attributes::Attributes;
use crate::sources::objects::load::bent;
use crate::sources::objects::s3;
use crate::sources::objects::store::{Fetched, Listed, Store, Which};
use crate::sources::tree::{Entry, EntryKind};

impl Restore<'_> {
    pub(super) fn write_key(&self, key: Key, start: Start) -> Result<(), SourceError> {
        let full = format!("{}{}", self.prefix, key.name);
        let mut entries = key.entries;
        if !self.keeps {
            let older = entries.split_off(1);
            self.notes().older += older.len() as u64;
        }
        if self.is_there(&full, &entries, &key.there, start)? {
            let mut notes = self.notes();
            notes.kept += entries.len() as u64;
            notes.objects += entries.len() as u64;
            notes.bytes += entries.iter().map(|entry| entry.size).sum::<u64>();
            return Ok(());
        }
        if self.keeps && start == Start::Resumed {
            // Half of its versions, perhaps: they are our own, and their order counts.
            for listed in key.there {
                self.wait(self.destination.remove(&listed.which))?;
            }
        }
        for entry in entries.iter().rev() {
            self.write(&full, entry)?;
            let mut notes = self.notes();
            notes.objects += 1;
            notes.bytes += entry.size;
        }
        Ok(())
    }

    /// Whether the destination has all of it already. Over objects of others the newest version decides.
    fn is_there(&self, key: &str, entries: &[Entry], there: &[Listed], start: Start) -> Result<bool, SourceError> {
        let of = if start == Start::Over { &entries[..1] } else { entries };
        if there.is_empty() || there.len() < of.len() || start == Start::Resumed && there.len() != of.len() {
            return Ok(false);
        }
        for (entry, listed) in of.iter().zip(there) {
            if !self.is_equal(key, entry, listed)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_equal(&self, key: &str, entry: &Entry, listed: &Listed) -> Result<bool, SourceError> {
        if listed.removed || entry.kind == EntryKind::Removed {
            return Ok(listed.removed && entry.kind == EntryKind::Removed);
        }
        if listed.size != entry.size {
            return Ok(false);
        }
        let which = Which { key: key.to_owned(), version: listed.which.version.clone() };
        self.wait(async {
            let Fetched::Found(mut body) = self.destination.get(&which, None, 0).await? else { return Ok(false) };
            self.destination.add_extras(&which, &mut body.attributes).await?;
            if unwritten((*body.attributes).clone()) != unwritten(attributes(entry)?) {
                return Ok(false);
            }
            let mut hasher = Sha256::new();
            while let Some(piece) = body.content.next().await {
                match piece {
                    Ok(piece) => hasher.update(&piece),
                    // It is written again.
                    Err(_) => return Ok(false),
                }
            }
            Ok(Some(hasher.finalize().into()) == entry.sum)
        })
    }

    fn write(&self, key: &str, entry: &Entry) -> Result<(), SourceError> {
        if entry.kind == EntryKind::Removed {
            return if self.keeps {
                self.wait(self.destination.remove(&Which { key: key.to_owned(), version: None }))
            } else {
                Ok(())
            };
        }
        let mut attributes = attributes(entry)?;
        let access = attributes.access.take();
        if self.scratch {
            // What costs or opens something to others is for the real thing.
            attributes.storage_class = None;
        }
        if entry.size <= SMALL_BYTES_MAX {
            let content = self.read_whole(entry)?;
            self.wait(self.destination.put(key, content, &attributes))?;
        } else {
            let _turn = self.wait(async { Ok(self.large.acquire().await) })?;
            self.write_large(key, entry, &attributes)?;
        }
        if let Some(list) = access.filter(|_| !self.scratch)
            && let Err(error) = self.wait(self.destination.allow(key, &list))
        {
            let mut notes = self.notes();
            notes.unset += 1;
            if notes.unset == 1 {
                notes.unset_why = error.to_string();
            }
        }
        Ok(())
    }

    fn read_whole(&self, entry: &Entry) -> Result<Bytes, SourceError> {
        let mut content = BytesMut::with_capacity(usize::try_from(entry.size).unwrap_or_default());
        let mut reader = self.choice.store.open_blob(&entry.address)?;
        while let Some(piece) = reader.next_piece()? {
            content.extend_from_slice(&piece);
            if content.len() as u64 > entry.size {
                return Err(damaged(entry));
            }
        }
        let sum: [u8; 32] = Sha256::digest(&content).into();
        if Some(sum) == entry.sum { Ok(content.freeze()) } else { Err(damaged(entry)) }
    }

    fn write_large(&self, key: &str, entry: &Entry, attributes: &Attributes) -> Result<(), SourceError> {
        let mut upload = self.wait(self.destination.begin_upload(key, attributes))?;
        match self.write_parts(&mut upload, entry) {
            Ok(()) => self.wait(upload.finish()),
            Err(error) => {
                // Also when the run is cancelled: what was sent costs as long as it lies there.
                self.runtime.block_on(upload.abort());
                Err(error)
            }
        }
    }

    fn write_parts(&self, upload: &mut s3::Upload<'_>, entry: &Entry) -> Result<(), SourceError> {
        let part_bytes = usize::try_from(part_bytes(entry.size)).unwrap_or(usize::MAX);
        let (mut part, mut hasher, mut length) = (BytesMut::new(), Sha256::new(), 0_u64);
        let mut reader = self.choice.store.open_blob(&entry.address)?;
        while let Some(mut piece) = reader.next_piece()? {
            hasher.update(&piece);
            length += piece.len() as u64;
            while !piece.is_empty() {
                let fits = piece.split_to(piece.len().min(part_bytes - part.len()));
                part.extend_from_slice(&fits);
                if part.len() == part_bytes {
                    self.wait(upload.part(part.split().freeze()))?;
                }
            }
        }
        let sum: [u8; 32] = hasher.finalize().into();
        if Some(sum) != entry.sum || length != entry.size {
            return Err(damaged(entry));
        }
        if part.is_empty() { Ok(()) } else { self.wait(upload.part(part.freeze())) }
    }
}

pub(super) fn part_bytes(size: u64) -> u64 {
    PART_BYTES.max(size.div_ceil(PARTS_MAX))
}

fn attributes(entry: &Entry) -> Result<Attributes, SourceError> {
    serde_json::from_str(&entry.attributes).map_err(|_| bent(entry))
}

/// Without what a store says in its own words.
fn unwritten(attributes: Attributes) -> Attributes {
    Attributes { storage_class: None, access: None, ..attributes }
}

fn damaged(entry: &Entry) -> SourceError {
    SourceError::Store(StoreError::Damaged {
        what: format!("object `{}`", entry.shown()),
        why: "its content is not what was backed up".to_owned(),
    })
}
