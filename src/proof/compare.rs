//! Compares what a backup recorded with what its restore holds, group by group.

use std::collections::{HashMap, HashSet};

use super::rows::{EXAMPLES_MAX, RowCounts};
use crate::domain::record::PartGroup;
use crate::domain::words::{self, Noun, counted};
use crate::domain::{Evidence, Fingerprint, Mismatch, PartName, SourceRecord};

/// One side of a comparison: a dump's record and the fingerprints of its parts.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    pub record: &'a SourceRecord,
    pub fingerprints: &'a HashMap<PartName, Fingerprint>,
}

/// A group that the restored system lacks, and one that it has beyond the backup.
const MISSING: &str = "missing";
const EXTRA: &str = "not in the backup";

/// What a comparison of groups found.
#[derive(Debug, Clone, Default)]
pub struct GroupComparison {
    pub mismatches: Vec<Mismatch>,
    pub evidence: Evidence,
    /// Groups whose content differs although both sides have all their parts: worth counting the rows that differ.
    pub differing: Vec<String>,
    /// Of the source: what its records are called.
    kind: String,
}

/// Compares every group that either side has, and the engine's counts with ours on both sides.
///
/// Groups are matched by name, whatever parts each side cut them into.
pub fn compare_groups(recorded: Side<'_>, restored: Side<'_>) -> GroupComparison {
    let mut comparison = GroupComparison { kind: recorded.record.kind.clone(), ..GroupComparison::default() };
    let counterparts: HashMap<&str, &PartGroup> =
        restored.record.groups.iter().map(|group| (group.name.as_str(), group)).collect();
    for group in &recorded.record.groups {
        match counterparts.get(group.name.as_str()) {
            Some(counterpart) => comparison.compare(group, recorded, counterpart, restored),
            None => comparison.differ(&group.name, MISSING, "in the backup", "not in the restored system"),
        }
    }
    let known: HashSet<&str> = recorded.record.groups.iter().map(|group| group.name.as_str()).collect();
    for group in restored.record.groups.iter().filter(|group| !known.contains(group.name.as_str())) {
        comparison.differ(&group.name, EXTRA, "nothing", "in the restored system");
    }
    comparison
}

impl GroupComparison {
    fn compare(&mut self, group: &PartGroup, recorded: Side<'_>, counterpart: &PartGroup, restored: Side<'_>) {
        let name = &group.name;
        let totals = (total(group, recorded.fingerprints), total(counterpart, restored.fingerprints));
        let (ours, theirs) = match totals {
            (Ok(ours), Ok(theirs)) => (ours, theirs),
            (Err(part), _) => {
                return self.differ(name, "incomplete", "a fingerprint of every part", &no_part(part, "backup"));
            }
            (_, Err(part)) => return self.differ(name, "incomplete", "every part", &no_part(part, "restored system")),
        };
        let counted_before = self.engine_count(group, ours, "the backup");
        let counted_after = self.engine_count(counterpart, theirs, "the restored system");
        if counted_before == Some(true) && counted_after == Some(true) {
            self.evidence.engine_counts += 1;
        }
        if !group.compared {
            return;
        }
        if ours == theirs {
            self.evidence.groups += 1;
            // Lines of SQL about sequences and large objects are compared all the same, but nobody calls them rows.
            self.evidence.rows += group.engine_count.map_or(0, |_| ours.records);
            self.evidence.bytes += ours.bytes;
            return;
        }
        self.differing.push(name.clone());
        let noun = self.noun(name);
        self.differ(name, &difference(ours, theirs, noun), &shown(ours, noun), &shown(theirs, noun));
    }

    /// `None` where the engine did not count; a count that differs from ours is a mismatch.
    fn engine_count(&mut self, group: &PartGroup, fingerprint: Fingerprint, place: &str) -> Option<bool> {
        let count = group.engine_count?;
        let equal = count == fingerprint.records;
        if !equal {
            let noun = self.noun(&group.name);
            self.differ(
                &group.name,
                &format!("the engine's own count differs from the {} read from {place}", noun[1]),
                &counted(count, noun),
                &counted(fingerprint.records, noun),
            );
        }
        Some(equal)
    }

    fn noun(&self, group: &str) -> Noun {
        words::records(&self.kind, group)
    }

    fn differ(&mut self, group: &str, difference: &str, expected: &str, actual: &str) {
        self.mismatches.push(Mismatch {
            what: group.to_owned(),
            difference: difference.to_owned(),
            expected: expected.to_owned(),
            actual: actual.to_owned(),
        });
    }

    /// Puts exact counts in the place of what the fingerprints alone could say about a group in `differing`.
    pub fn refine(&mut self, group: &str, counts: RowCounts) {
        let noun = self.noun(group);
        let named =
            self.mismatches.iter_mut().find(|mismatch| mismatch.what == group && mismatch.expected.contains("sum "));
        if let Some(mismatch) = named {
            mismatch.difference = row_difference(counts, noun);
        }
    }
}

/// What records are called that one side alone has, or both under the same name with other content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedRecords {
    pub changed: Vec<String>,
    pub missing: Vec<String>,
    pub extra: Vec<String>,
}

impl NamedRecords {
    /// From the names of both sides' examples.
    pub fn of(missing: Vec<String>, extra: Vec<String>) -> Self {
        let (both, missing) = missing.into_iter().partition::<Vec<_>, _>(|name| extra.contains(name));
        let extra = extra.into_iter().filter(|name| !both.contains(name)).collect();
        Self { changed: both, missing, extra }
    }

    /// As in a report: changed names, missing ones, extra ones.
    fn told(&self) -> String {
        let lists = [("changed", &self.changed), ("missing", &self.missing), ("extra", &self.extra)];
        let some = lists.into_iter().filter(|(_, names)| !names.is_empty()).map(|(word, names)| {
            let names: Vec<String> = names.iter().take(EXAMPLES_MAX).map(|name| format!("`{name}`")).collect();
            format!("{word}: {}", names.join(", "))
        });
        some.collect::<Vec<_>>().join("; ")
    }
}

impl GroupComparison {
    /// Groups that one side alone has.
    pub fn one_sided(&self) -> Vec<String> {
        let one_sided = self.mismatches.iter().filter(|mismatch| is_one_sided(mismatch));
        one_sided.map(|mismatch| mismatch.what.clone()).collect()
    }

    /// Puts exact counts and some names in the place of what the fingerprints alone could say about a group.
    pub fn refine_by_names(&mut self, group: &str, counts: RowCounts, named: &NamedRecords) {
        let noun = self.noun(group);
        let is_meant = |mismatch: &&mut Mismatch| {
            mismatch.what == group && (mismatch.expected.contains("sum ") || is_one_sided(mismatch))
        };
        if let Some(mismatch) = self.mismatches.iter_mut().find(is_meant) {
            let (difference, told) = (row_difference(counts, noun), named.told());
            mismatch.difference = if told.is_empty() { difference } else { format!("{difference} ({told})") };
        }
    }
}

fn is_one_sided(mismatch: &Mismatch) -> bool {
    (mismatch.difference.as_str(), mismatch.expected.as_str()) == (MISSING, "in the backup")
        || (mismatch.difference.as_str(), mismatch.expected.as_str()) == (EXTRA, "nothing")
}

impl GroupComparison {
    /// Puts what was found inside a group in `differing` in the place of what its fingerprint alone could say.
    pub fn replace(&mut self, group: &str, found: Vec<Mismatch>) {
        self.mismatches.retain(|mismatch| !(mismatch.what == group && mismatch.expected.contains("sum ")));
        self.mismatches.extend(found);
    }
}

impl GroupComparison {
    /// What differs in the content of a group shows nothing, and `why`. That one side lacks it, or a part of it, still does.
    pub fn undecide(&mut self, group: &str, why: &str) {
        let is_meant = |mismatch: &Mismatch| mismatch.what == group && mismatch.expected.contains("sum ");
        let (meant, rest) = std::mem::take(&mut self.mismatches).into_iter().partition(is_meant);
        self.mismatches = rest;
        self.evidence.undecided.extend(
            meant.into_iter().map(|mismatch: Mismatch| Mismatch {
                difference: format!("{}; {why}", mismatch.difference),
                ..mismatch
            }),
        );
    }
}

/// The group's fingerprint, or the part that has none.
fn total<'g>(group: &'g PartGroup, parts: &HashMap<PartName, Fingerprint>) -> Result<Fingerprint, &'g PartName> {
    group.parts.iter().try_fold(Fingerprint::EMPTY, |sum, part| match parts.get(part) {
        Some(fingerprint) => Ok(sum.combine(*fingerprint)),
        None => Err(part),
    })
}

fn no_part(part: &PartName, place: &str) -> String {
    format!("the {place} has no part `{part}`")
}

/// Records, bytes and the first eight bytes of the sum: what a person can compare at a glance.
fn shown(fingerprint: Fingerprint, noun: Noun) -> String {
    let sum = hex::encode(&fingerprint.sum[..8]);
    format!("{}, {} bytes, sum {sum}", counted(fingerprint.records, noun), fingerprint.bytes)
}

/// What two fingerprints alone say.
fn difference(recorded: Fingerprint, restored: Fingerprint, [_, many]: Noun) -> String {
    let (before, after) = (recorded.records, restored.records);
    match before.cmp(&after) {
        std::cmp::Ordering::Greater => format!("{many} differ: {} missing", before - after),
        std::cmp::Ordering::Less => format!("{many} differ: {} extra", after - before),
        std::cmp::Ordering::Equal => format!("{many} differ: same count, content differs"),
    }
}

/// What counting row by row says. A row with another value is one missing and one extra.
pub fn row_difference(counts: RowCounts, [_, many]: Noun) -> String {
    match (counts.missing, counts.extra) {
        (missing, 0) => format!("{many} differ: {missing} missing"),
        (0, extra) => format!("{many} differ: {extra} extra"),
        (missing, extra) => format!("{many} differ: {missing} missing, {extra} extra"),
    }
}

#[cfg(test)]
mod tests;
