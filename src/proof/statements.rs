//! Names what differs between two groups of statements, each of which says itself what it is about.
//!
//! Memory: [`HASH_BYTES`] a statement of one side, of at most [`STATEMENTS_MAX`], and the longest statement.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, Read};

use super::ProofError;
use super::inventories::excerpts;
use crate::domain::Mismatch;
use crate::domain::record::Statement;

/// Beyond this only counts are given.
pub const STATEMENTS_MAX: usize = 1 << 20;
/// How many things one comparison names.
const NAMED_MAX: usize = 1_000;
const HASH_BYTES: usize = 16;

type Hash = [u8; HASH_BYTES];

/// Opens one side from its beginning.
pub type Open<'a> = &'a dyn Fn() -> Result<Box<dyn Read>, ProofError>;

/// Compares two sets of lines, in whatever order each has them; `read` says what a line is about.
///
/// `None` where there are too many lines, or lines that `read` does not know: the group's own mismatch then stands.
pub fn compare_statements(
    recorded: Open<'_>,
    restored: Open<'_>,
    read: fn(&str) -> Option<Statement>,
) -> Result<Option<Vec<Mismatch>>, ProofError> {
    let mut unmatched: HashSet<Hash> = HashSet::new();
    let mut too_many = false;
    each_line("recorded", recorded, |line| {
        too_many |= unmatched.len() >= STATEMENTS_MAX;
        if !too_many {
            unmatched.insert(hash(line));
        }
    })?;
    if too_many {
        return Ok(None);
    }
    let mut found = Found { read, by_thing: BTreeMap::new(), unread: false };
    each_line("restored", restored, |line| {
        if !unmatched.remove(&hash(line)) {
            found.note(line, |values, value| values.1 = values.1.take().or(Some(value)));
        }
    })?;
    if !unmatched.is_empty() {
        each_line("recorded", recorded, |line| {
            if unmatched.contains(&hash(line)) {
                found.note(line, |values, value| values.0 = values.0.take().or(Some(value)));
            }
        })?;
    }
    Ok((!found.unread && !found.by_thing.is_empty()).then(|| found.mismatches()))
}

struct Found {
    read: fn(&str) -> Option<Statement>,
    /// The first value that differs, of the backup and of the restore.
    by_thing: BTreeMap<String, (Option<String>, Option<String>)>,
    unread: bool,
}

impl Found {
    fn note(&mut self, line: &[u8], put: impl FnOnce(&mut (Option<String>, Option<String>), String)) {
        let Some(statement) = (self.read)(&String::from_utf8_lossy(line)) else {
            self.unread = true;
            return;
        };
        if self.by_thing.contains_key(&statement.what) || self.by_thing.len() < NAMED_MAX {
            put(self.by_thing.entry(statement.what).or_default(), statement.value);
        }
    }

    fn mismatches(self) -> Vec<Mismatch> {
        let text = |value: Option<String>| value.unwrap_or_else(|| "nothing".to_owned());
        let mismatch = |(what, (before, after)): (String, (Option<String>, Option<String>))| {
            let (expected, actual) = excerpts(&text(before), &text(after));
            Mismatch { what, difference: "value differs".to_owned(), expected, actual }
        };
        self.by_thing.into_iter().map(mismatch).collect()
    }
}

fn hash(line: &[u8]) -> Hash {
    *blake3::hash(line).as_bytes().first_chunk().expect("a hash has 32 bytes")
}

fn each_line(side: &'static str, open: Open<'_>, mut each: impl FnMut(&[u8])) -> Result<(), ProofError> {
    let mut input = std::io::BufReader::new(open()?);
    let mut line = vec![];
    loop {
        line.clear();
        let read = input.read_until(b'\n', &mut line);
        if read.map_err(|error| ProofError::Statements { side, why: error.to_string() })? == 0 {
            return Ok(());
        }
        each(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Statement> {
        let (what, value) = line.trim_end().split_once('=')?;
        Some(Statement { what: what.to_owned(), value: value.to_owned() })
    }

    fn compare(recorded: &'static str, restored: &'static str) -> Option<Vec<String>> {
        let open = |text: &'static str| Ok::<Box<dyn Read>, ProofError>(Box::new(text.as_bytes()));
        let found = compare_statements(&|| open(recorded), &|| open(restored), read).unwrap()?;
        Some(found.into_iter().map(|m| format!("{}: {} / {}", m.what, m.expected, m.actual)).collect())
    }

    #[test]
    fn each_thing_that_differs_is_named_once_with_both_values() {
        let told = compare("a=1\nb=2\nc=3\nc=4\n", "b=2\na=9\nc=3\nc=5\nd=6\n").unwrap();
        assert_eq!(told, ["a: 1 / 9", "c: 4 / 5", "d: nothing / 6"]);
    }

    #[test]
    fn lines_that_say_nothing_of_themselves_leave_the_group_to_its_counts() {
        assert_eq!(compare("a=1\n?\n", "a=1\n"), None);
        assert_eq!(compare("a=1\n", "a=1\n"), None);
    }
}
