//! Objects as files in a folder: where each key goes, and what a folder cannot hold of an object.
//!
//! A key's parts become folders and a file, as far as a file system can hold them: an empty part, `.`, `..`, a NUL, and a part of
//! more than 255 bytes are written otherwise, and a key that another one stands in the way of goes into a folder apart. The index,
//! one line of JSON for each object in the order of keys, says which file is which object and keeps its attributes.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// The index, at the top of the folder.
pub(super) const INDEX: &str = ".lifeboat-objects.jsonl";
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
    /// Below the folder.
    pub(super) path: String,
    pub(super) attributes: serde_json::Value,
}

/// Where a key goes if nothing stands in its way.
pub(super) fn path_of(key: &str) -> String {
    let parts: Vec<String> = key.split('/').map(part).collect();
    let path = parts.join("/");
    // Our own names are nobody's key.
    if path.len() > PATH_BYTES_MAX || path.starts_with(".lifeboat-") { apart(key) } else { path }
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
