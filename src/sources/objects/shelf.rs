//! Objects as files in a folder: where each key goes, and what a folder cannot hold of an object.
//!
//! A key's parts become folders and a file, as far as a file system can hold them: an empty part, `.`, `..`, a NUL, and a part of
//! more than 255 bytes are written otherwise, and a key that another one stands in the way of goes into a folder apart. The index,
//! one line of JSON for each object in the order of keys, says which file is which object and keeps its attributes.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::domain::percent_decoded;
use crate::sources::tree::entry::encoded;
use crate::sources::tree::{Entry, EntryKind};

/// The index, at the top of the folder.
pub(super) const INDEX: &str = ".lifeboat-objects.jsonl";
/// For versions that others came after.
const VERSIONS: &str = ".lifeboat-versions";
/// For keys that have no other place.
const APART: &str = ".lifeboat-apart";
/// What a file system takes as one name.
const NAME_BYTES_MAX: usize = 255;
/// What it takes as one path, well below.
const PATH_BYTES_MAX: usize = 3000;

/// A line of the index.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    /// As in a list.
    pub(super) key: String,
    /// Below the folder; none where the folder holds nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    pub(super) attributes: serde_json::Value,
    /// It stands for a removal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) removed: bool,
    /// It was left out of a sample: what the list says of its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) listed: Option<ListedContent>,
}

/// What a list says of a content that was not restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListedContent {
    pub(super) size: u64,
    #[serde(with = "hex")]
    pub(super) sha256: [u8; 32],
}

impl Line {
    /// The line of an entry whose content is at `path`.
    pub(super) fn of(entry: &Entry, path: Option<String>) -> Option<Self> {
        Some(Self {
            key: encoded(&entry.name),
            path,
            attributes: serde_json::from_str(&entry.attributes).ok()?,
            removed: entry.kind == EntryKind::Removed,
            listed: None,
        })
    }

    /// The same of an entry that the sample leaves out.
    pub(super) fn left_out(entry: &Entry) -> Option<Self> {
        let listed = entry.sum.map(|sha256| ListedContent { size: entry.size, sha256 });
        Some(Self { listed, ..Self::of(entry, None)? })
    }

    /// As it stands in a list.
    pub(super) fn name(&self) -> Option<Vec<u8>> {
        percent_decoded(&self.key)
    }
}

/// Writes an index, line by line.
pub(super) struct IndexWriter {
    file: BufWriter<File>,
}

impl IndexWriter {
    pub(super) fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: BufWriter::new(File::create(path)?) })
    }

    pub(super) fn line(&mut self, line: &Line) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.file, line)?;
        self.file.write_all(b"\n")
    }

    pub(super) fn finish(self) -> std::io::Result<()> {
        self.file.into_inner().map(drop).map_err(std::io::IntoInnerError::into_error)
    }
}

/// Reads an index, line by line.
pub(super) fn lines(path: &Path) -> std::io::Result<impl Iterator<Item = std::io::Result<Line>> + use<>> {
    let file = File::open(path)?;
    Ok(BufReader::new(file).lines().map(|line| Ok(serde_json::from_str(&line?)?)))
}

/// Where an older version of a key goes.
pub(super) fn path_of_version(key: &str, time: &str) -> String {
    let path = format!("{VERSIONS}/{}", sound(&format!("{key}@{time}")));
    if path.len() > PATH_BYTES_MAX { apart(&format!("{key}@{time}")) } else { path }
}

/// Where a key goes if nothing stands in its way.
pub(super) fn path_of(key: &str) -> String {
    let path = sound(key);
    // Our own names are nobody's key.
    if path.len() > PATH_BYTES_MAX || path.starts_with(".lifeboat-") { apart(key) } else { path }
}

fn sound(key: &str) -> String {
    key.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Where it goes otherwise.
pub(super) fn apart(key: &str) -> String {
    format!("{APART}/{}", blake3::hash(key.as_bytes()).to_hex())
}

fn part(part: &str) -> String {
    match part {
        "" => "%".to_owned(),
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => {
            let mut text = String::with_capacity(part.len());
            for c in part.chars() {
                if c == '\0' {
                    text.push_str("%00");
                } else {
                    text.push(c);
                }
            }
            if text.len() <= NAME_BYTES_MAX {
                return text;
            }
            let mut end = NAME_BYTES_MAX - 33;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            let hash = blake3::hash(part.as_bytes()).to_hex();
            write!(text, "-{}", &hash[..32]).expect("a String takes every write");
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_path_that_stays_in_the_folder() {
        let long = "k".repeat(1_000);
        for key in [
            "a/b.jpg",
            "/leading",
            "a//b",
            "..",
            "../../etc/passwd",
            "a/../b",
            "./x",
            "trailing/",
            "nul\0",
            &long,
            "é/ü",
        ] {
            let path = path_of(key);
            let sound = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= 255;
            assert!(path.split('/').all(sound), "{key:?} -> {path:?}");
            assert!(!path.contains('\0'));
        }
        assert_eq!(path_of("a/b.jpg"), "a/b.jpg");
        assert_eq!(path_of("../x"), "%2E%2E/x");
        assert!(path_of(INDEX).starts_with(APART));
        let other = "k".repeat(1_001);
        assert_ne!(path_of(&long), path_of(&other));
    }
}
