//! What a snapshot's list says of one repository, checked, and its content.

use sha2::{Digest, Sha256};

use super::damaged;
use crate::domain::{PartReader, PartStore};
use crate::sources::SourceError;
use crate::sources::git::refs::{RefAttributes, object_id};
use crate::sources::git::repository::Objects;
use crate::sources::tree::Entry;

/// What the list says of one repository.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) bundles: Vec<Entry>,
    pub(super) large: Vec<Entry>,
    pub(super) refs: Vec<(Vec<u8>, RefAttributes)>,
    pub(super) head: Option<RefAttributes>,
    pub(super) objects: Option<Objects>,
    pub(super) entries: u64,
}

impl Parts {
    pub(super) fn add(&mut self, entry: Entry, repository: &str) -> Result<(), SourceError> {
        let bent = || damaged(&entry.shown(), "no list of repositories holds such a thing");
        let name = own_name(&entry.name, repository).ok_or_else(bent)?.to_vec();
        if entry.kind.is_compared() {
            self.entries += 1;
        }
        let attributes = || serde_json::from_str::<RefAttributes>(&entry.attributes).map_err(|_| bent());
        if name.starts_with(b"refs/") {
            let attributes = attributes()?;
            if attributes.object.as_ref().is_some_and(|id| object_id(id.as_bytes()).is_none()) || name.contains(&0) {
                return Err(bent());
            }
            self.refs.push((name, attributes));
        } else if name == b"HEAD" {
            self.head = Some(attributes()?);
        } else if name == b"objects" {
            self.objects = Some(serde_json::from_str(&entry.attributes).map_err(|_| bent())?);
        } else if name.starts_with(b"bundle.") {
            self.bundles.push(entry);
        } else if name.starts_with(b"lfs/") {
            self.large.push(entry);
        } else if !name.starts_with(b"submodules/") {
            return Err(bent());
        }
        Ok(())
    }
}

/// What an entry is called within its repository.
pub(super) fn own_name<'n>(name: &'n [u8], repository: &str) -> Option<&'n [u8]> {
    name.strip_prefix(repository.as_bytes())?.strip_prefix(b"/")
}

/// Content whose size and sum are compared at its end.
pub(super) struct Checked<'e> {
    reader: Box<dyn PartReader>,
    entry: &'e Entry,
    hasher: Sha256,
    size: u64,
}

impl<'e> Checked<'e> {
    pub(super) fn open(store: &dyn PartStore, entry: &'e Entry) -> Result<Self, SourceError> {
        Ok(Self { reader: store.open_blob(&entry.address)?, entry, hasher: Sha256::new(), size: 0 })
    }

    /// The next piece; an error at the end where it is not what was backed up.
    pub(super) fn next(&mut self) -> Result<Option<bytes::Bytes>, SourceError> {
        if let Some(piece) = self.reader.next_piece()? {
            self.hasher.update(&piece);
            self.size += piece.len() as u64;
            return Ok(Some(piece));
        }
        let sum: [u8; 32] = std::mem::take(&mut self.hasher).finalize().into();
        if Some(sum) == self.entry.sum && self.size == self.entry.size {
            return Ok(None);
        }
        Err(damaged(&self.entry.shown(), "its content is not what was backed up"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_no_repository_has_is_refused() {
        let entry = |name: &str, attributes: &str| {
            let line = format!("app/{name}\tlink\t0\t-\t{attributes}\t-\t-");
            Parts::default().add(Entry::read_line(line.as_bytes()).unwrap(), "app")
        };
        let id = "01".repeat(20);
        assert!(entry("refs/heads/a", &format!("{{\"object\":\"{id}\"}}")).is_ok());
        for (name, attributes) in [
            ("refs/heads/a", "{\"object\":\"x\"}"),
            ("refs/heads/a%00b", &*format!("{{\"object\":\"{id}\"}}")),
            ("refs/heads/a", "no json"),
            ("config", "{}"),
            ("hooks/post-checkout", "{}"),
        ] {
            assert!(entry(name, attributes).is_err(), "{name} {attributes}");
        }
    }
}
