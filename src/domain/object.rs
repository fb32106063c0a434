//! Objects of a repository as targets see them.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The place of an object within a repository: `packs/ab/<sha256>.age`. Relative, `/`-separated, never climbing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

/// A key that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a repository object's name")]
pub struct BadKey(pub String);

impl ObjectKey {
    pub fn new(text: impl Into<String>) -> Result<Self, BadKey> {
        let text = text.into();
        let component_ok = |c: &str| {
            !c.is_empty() && !c.starts_with('.') && c.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if text.len() <= 512 && text.split('/').all(component_ok) { Ok(Self(text)) } else { Err(BadKey(text)) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = BadKey;
    fn try_from(text: String) -> Result<Self, BadKey> {
        Self::new(text)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> String {
        key.0
    }
}

/// An object that may leave this machine: ciphertext, or one of the few kinds that are public by design.
///
/// A target's `put` takes nothing else, and the constructors check, so plaintext cannot reach a target.
#[derive(Debug, Clone)]
pub struct SealedObject {
    key: ObjectKey,
    bytes: Bytes,
}

const AGE_MAGIC: &[u8] = b"age-encryption.org/v1\n";

/// What is written in the clear: these names reveal no content.
const PUBLIC: [(&str, &str); 6] = [
    ("", "lifeboat.json"),
    ("", "RESTORE.md"),
    ("snapshots/", ".root"),
    ("snapshots/", ".minisig"),
    ("writers/", ".pub"),
    ("lists/", ".sums"),
];

/// Bytes that may not be stored under the name asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("object `{0}` is neither an age file nor one of the public kinds; it was not stored")]
pub struct NotSealed(pub ObjectKey);

impl SealedObject {
    pub fn new(key: ObjectKey, bytes: Bytes) -> Result<Self, NotSealed> {
        let name = key.as_str();
        let sealed = if has_suffix(name, ".age") {
            bytes.starts_with(AGE_MAGIC)
        } else {
            PUBLIC.iter().any(|(folder, suffix)| {
                if folder.is_empty() { name == *suffix } else { name.starts_with(folder) && has_suffix(name, suffix) }
            })
        };
        if sealed { Ok(Self { key, bytes }) } else { Err(NotSealed(key)) }
    }

    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Case matters: names are made by us, and an object store's names are bytes.
fn has_suffix(name: &str, suffix: &str) -> bool {
    name.as_bytes().ends_with(suffix.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ObjectKey {
        ObjectKey::new(text).unwrap()
    }

    #[test]
    fn a_key_never_climbs_out_of_the_repository() {
        for bad in ["", "/etc", "../x", "a//b", "a/./b", "a/.part", "a\\b", "a\nb"] {
            assert!(ObjectKey::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn plaintext_under_an_age_name_is_refused() {
        let plain = Bytes::from_static(b"COPY public.users FROM stdin;");
        assert!(SealedObject::new(key("packs/ab/abcd.age"), plain.clone()).is_err());
        assert!(SealedObject::new(key("notes.txt"), plain).is_err());
        let sealed = Bytes::from_static(b"age-encryption.org/v1\n-> X25519 ...");
        assert!(SealedObject::new(key("packs/ab/abcd.age"), sealed).is_ok());
        assert!(SealedObject::new(key("lifeboat.json"), Bytes::from_static(b"{}")).is_ok());
    }
}
