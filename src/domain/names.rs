//! What records are called, for a second look at those that differ.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// A record's hash is told apart by this many bytes of it.
pub const HASH_BYTES: usize = 16;
/// Longer names are cut when they are told.
const NAME_CHARS_MAX: usize = 100;

/// Asks whoever reads the records of one side again for the names of some of them.
///
/// Memory: one name for each hash that is wanted; the caller bounds these.
#[derive(Debug, Default)]
pub struct Names {
    wanted: HashSet<[u8; HASH_BYTES]>,
    found: Mutex<Vec<([u8; HASH_BYTES], String)>>,
}

impl Names {
    pub fn of(wanted: HashSet<[u8; HASH_BYTES]>) -> Self {
        Self { wanted, found: Mutex::default() }
    }

    /// Notes the record's name if it is one that is asked for.
    pub fn note(&self, hash: &[u8; 32], name: &[u8]) {
        let beginning = hash.first_chunk().expect("a hash has more bytes");
        if !self.wanted.contains(beginning) {
            return;
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() < self.wanted.len() {
            found.push((*beginning, shown(name)));
        }
    }

    pub fn found(&self) -> Vec<([u8; HASH_BYTES], String)> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Text as it is, anything else escaped; on one line and of bounded length.
fn shown(name: &[u8]) -> String {
    let text = match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => name.escape_ascii().to_string(),
    };
    match text.char_indices().nth(NAME_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_noted_and_names_are_one_short_line() {
        let names = Names::of([[1; 16], [2; 16]].into());
        names.note(&[1; 32], "köy:1".as_bytes());
        names.note(&[2; 32], b"a\n\xff");
        names.note(&[3; 32], b"other");
        let found: Vec<_> = names.found().into_iter().map(|(_, name)| name).collect();
        assert_eq!(found, ["köy:1", "a\\n\\xff"]);
        assert_eq!(shown(&[b'x'; 200]).chars().count(), 101);
    }
}
