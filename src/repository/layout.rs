//! Where objects lie in a repository, in one place.

use sha2::{Digest, Sha256};

use super::RepositoryError;
use crate::domain::{ObjectKey, SnapshotId, WriterId};

pub const INFO: &str = "lifeboat.json";
pub const GUIDE: &str = "RESTORE.md";
pub const PACKS: &str = "packs/";
pub const SNAPSHOTS: &str = "snapshots/";
pub const WRITERS: &str = "writers/";

/// SHA-256 of an object's bytes: its name, where names are content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentName(pub [u8; 32]);

impl ContentName {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub fn parse(text: &str) -> Option<Self> {
        let mut name = [0; 32];
        hex::decode_to_slice(text, &mut name).ok()?;
        (hex::encode(name) == text).then_some(Self(name))
    }

    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

fn key(text: String) -> ObjectKey {
    ObjectKey::new(text).expect("layout names are legal keys")
}

pub fn info() -> ObjectKey {
    key(INFO.to_owned())
}

pub fn guide() -> ObjectKey {
    key(GUIDE.to_owned())
}

pub fn pack(name: &ContentName) -> ObjectKey {
    let hex = name.hex();
    key(format!("{PACKS}{}/{hex}.age", &hex[..2]))
}

pub fn index(name: &ContentName) -> ObjectKey {
    key(format!("index/{}.age", name.hex()))
}

pub fn recipe(name: &ContentName) -> ObjectKey {
    key(format!("recipes/{}.age", name.hex()))
}

pub fn list(name: &ContentName) -> ObjectKey {
    key(format!("lists/{}.sums", name.hex()))
}

pub fn epoch(id: &str) -> ObjectKey {
    key(format!("keys/{id}.age"))
}

pub fn writer(id: &WriterId) -> ObjectKey {
    key(format!("{WRITERS}{id}.pub"))
}

pub fn root(writer: &WriterId, sequence: u64, snapshot: &SnapshotId) -> ObjectKey {
    key(format!("{SNAPSHOTS}{writer}/{sequence:010}-{snapshot}.root"))
}

pub fn signature(root: &ObjectKey) -> ObjectKey {
    key(format!("{root}.minisig"))
}

/// The parts of a root's name; `None` for signatures and foreign objects.
pub fn parse_root(root: &ObjectKey) -> Option<(WriterId, u64, SnapshotId)> {
    let rest = root.as_str().strip_prefix(SNAPSHOTS)?.strip_suffix(".root")?;
    let (writer, name) = rest.split_once('/')?;
    let (sequence, id) = name.split_once('-')?;
    Some((WriterId::new(writer).ok()?, sequence.parse().ok()?, SnapshotId::new(id).ok()?))
}

/// The content name in `packs/ab/<sha256>.age`, `index/<sha256>.age`, `recipes/...`, `lists/...`.
pub fn content_name(object: &ObjectKey) -> Option<ContentName> {
    let file = object.as_str().rsplit('/').next()?;
    ContentName::parse(file.split_once('.')?.0)
}

/// Checks bytes against the content name of their key.
pub fn check_content(object: &ObjectKey, bytes: &[u8]) -> Result<(), RepositoryError> {
    let expected =
        content_name(object).ok_or_else(|| RepositoryError::damaged(object.as_str(), "not a content name"))?;
    let actual = ContentName::of(bytes);
    if actual == expected {
        Ok(())
    } else {
        Err(RepositoryError::damaged(
            object.as_str(),
            format!("its content does not match its name (SHA-256 is {}...)", &actual.hex()[..16]),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roots_name_reads_back_and_its_signatures_does_not() {
        let (writer, id) = (WriterId::random(), SnapshotId::random());
        let root = root(&writer, 42, &id);
        assert_eq!(parse_root(&root), Some((writer, 42, id)));
        assert_eq!(parse_root(&signature(&root)), None);
    }

    #[test]
    fn one_flipped_bit_contradicts_the_name() {
        let mut bytes = b"age-encryption.org/v1\nrest".to_vec();
        let object = pack(&ContentName::of(&bytes));
        assert!(check_content(&object, &bytes).is_ok());
        bytes[25] ^= 1;
        assert!(matches!(check_content(&object, &bytes), Err(RepositoryError::Damaged { .. })));
    }
}
