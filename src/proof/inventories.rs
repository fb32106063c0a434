//! Compares two inventories by one merge of two sorted streams of JSON lines.
//!
//! Memory: one entry a side; the mismatches themselves are bounded by [`MISMATCHES_MAX`], beyond which they are only counted.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::BufRead;

use serde_json::{Map, Value};

use super::ProofError;
use crate::domain::Mismatch;
use crate::domain::inventory::InventoryEntry;

/// How many differences are spelled out; a restore that lost everything should not fill a report with a million lines.
pub const MISMATCHES_MAX: usize = 10_000;
/// The longest value that a mismatch shows whole, in characters.
const VALUE_CHARS_MAX: usize = 400;

/// What a comparison of two inventories found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InventoryComparison {
    pub mismatches: Vec<Mismatch>,
    /// Objects that were equal, by kind.
    pub equal_by_kind: BTreeMap<String, u64>,
}

impl InventoryComparison {
    pub fn equal(&self) -> u64 {
        self.equal_by_kind.values().sum()
    }
}

/// Compares entry by entry. Both streams must ascend by (kind, name) as bytes, each pair at most once: one that does not is
/// an error, because a merge of unsorted streams would tell nonsense.
pub fn compare_inventories(recorded: impl BufRead, restored: impl BufRead) -> Result<InventoryComparison, ProofError> {
    let mut left = Entries::new(recorded, "recorded");
    let mut right = Entries::new(restored, "restored");
    let (mut expected, mut actual) = (left.next()?, right.next()?);
    let mut found = Found::default();
    loop {
        let order = match (&expected, &actual) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => key(one).cmp(&key(other)),
        };
        match order {
            Ordering::Less => {
                if let Some(entry) = &expected {
                    found.differ(entry, "missing", "in the backup", "not in the restored system");
                }
            }
            Ordering::Greater => {
                if let Some(entry) = &actual {
                    found.differ(entry, "not in the backup", "nothing", "in the restored system");
                }
            }
            Ordering::Equal => {
                if let (Some(one), Some(other)) = (&expected, &actual) {
                    found.compare(one, other);
                }
            }
        }
        if order != Ordering::Greater {
            expected = left.next()?;
        }
        if order != Ordering::Less {
            actual = right.next()?;
        }
    }
    Ok(found.conclude())
}

fn key(entry: &InventoryEntry) -> (&str, &str) {
    (&entry.kind, &entry.name)
}

#[derive(Default)]
struct Found {
    comparison: InventoryComparison,
    untold: u64,
}

impl Found {
    fn differ(&mut self, entry: &InventoryEntry, difference: &str, expected: &str, actual: &str) {
        if self.comparison.mismatches.len() >= MISMATCHES_MAX {
            self.untold += 1;
            return;
        }
        self.comparison.mismatches.push(Mismatch {
            what: format!("{} {}", entry.kind, entry.name),
            difference: difference.to_owned(),
            expected: expected.to_owned(),
            actual: actual.to_owned(),
        });
    }

    fn compare(&mut self, expected: &InventoryEntry, actual: &InventoryEntry) {
        let mut equal = true;
        for name in names(&expected.attributes, &actual.attributes) {
            let (one, other) = (expected.attributes.get(name), actual.attributes.get(name));
            if one != other {
                equal = false;
                let (one, other) = shown_apart(one, other);
                self.differ(expected, &format!("{name} differs"), &one, &other);
            }
        }
        if equal {
            *self.comparison.equal_by_kind.entry(expected.kind.clone()).or_default() += 1;
        }
    }

    fn conclude(mut self) -> InventoryComparison {
        if self.untold > 0 {
            self.comparison.mismatches.push(Mismatch {
                what: "the catalog".to_owned(),
                difference: format!("{} more differences", self.untold),
                expected: "equal".to_owned(),
                actual: "not listed one by one".to_owned(),
            });
        }
        self.comparison
    }
}

/// The names of both, each once, in the order of the first and then of the second.
fn names<'a>(one: &'a Map<String, Value>, other: &'a Map<String, Value>) -> impl Iterator<Item = &'a str> {
    one.keys().chain(other.keys().filter(|name| !one.contains_key(*name))).map(String::as_str)
}

fn text(value: Option<&Value>) -> String {
    match value {
        None => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// Long values are cut to where they differ, so that the difference is in what is shown.
fn shown_apart(one: Option<&Value>, other: Option<&Value>) -> (String, String) {
    excerpts(&text(one), &text(other))
}

pub(super) fn excerpts(one: &str, other: &str) -> (String, String) {
    let common = one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    let start = common.saturating_sub(VALUE_CHARS_MAX / 4);
    (excerpt(one, start), excerpt(other, start))
}

fn excerpt(text: &str, start: usize) -> String {
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text.to_owned();
    }
    let middle: String = text.chars().skip(start).take(VALUE_CHARS_MAX).collect();
    let head = if start > 0 { "..." } else { "" };
    let tail = if text.chars().count() > start + VALUE_CHARS_MAX { "..." } else { "" };
    format!("{head}{middle}{tail}")
}

/// Reads entries one by one and holds them to their order.
struct Entries<R> {
    input: R,
    side: &'static str,
    line: String,
    number: u64,
    last: Option<(String, String)>,
}

impl<R: BufRead> Entries<R> {
    fn new(input: R, side: &'static str) -> Self {
        Self { input, side, line: String::new(), number: 0, last: None }
    }

    fn broken(&self, why: impl Into<String>) -> ProofError {
        ProofError::Inventory { side: self.side, line: self.number, why: why.into() }
    }

    fn next(&mut self) -> Result<Option<InventoryEntry>, ProofError> {
        self.line.clear();
        self.number += 1;
        let read = self.input.read_line(&mut self.line).map_err(|error| self.broken(error.to_string()))?;
        if read == 0 {
            return Ok(None);
        }
        let entry: InventoryEntry = serde_json::from_str(&self.line).map_err(|error| self.broken(error.to_string()))?;
        if self.last.as_ref().is_some_and(|(kind, name)| (kind.as_str(), name.as_str()) >= key(&entry)) {
            return Err(self.broken(format!("`{} {}` is out of order or comes twice", entry.kind, entry.name)));
        }
        self.last = Some((entry.kind.clone(), entry.name.clone()));
        Ok(Some(entry))
    }
}

#[cfg(test)]
mod tests;
