//! What of a snapshot is loaded: everything, or what `--only` names.

use crate::domain::{PartName, SourceRecord};
use crate::sources::SourceError;
use crate::sources::redis::pattern::Pattern;
use crate::sources::redis::rdb::{Head, Kind, Name};
use crate::sources::redis::reading::{MODULE_KEYS, MODULE_VALUES};
use crate::sources::redis::record::RedisRecord;

/// Types of keys, as groups are named after them.
const TYPES: [&str; 8] = ["string", "list", "set", "zset", "hash", "stream", "array", "module"];

/// One word after `--only`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    /// `db0`
    Database(u64),
    /// `db0/hash`
    Type(u64, &'static str),
    /// `key/session:*`, of every database; `db0/key/session:*`
    Keys(Option<u64>, Pattern),
    Functions,
    /// `shard-1/rdb`
    Part(PartName),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    /// Empty is everything.
    items: Vec<(String, Item)>,
    /// Databases of the snapshot that hold keys.
    databases: Vec<u64>,
    has_functions: bool,
}

/// The parts that hold what a word after `--only` names; `None` where it is nothing that this snapshot may hold.
pub(in crate::sources::redis) fn holding(record: &SourceRecord, word: &str) -> Option<Vec<PartName>> {
    let details = RedisRecord::of(record).ok()?;
    match item(record, &details, word)? {
        Item::Part(part) => Some(vec![part]),
        _ => Some(details.shards.into_iter().filter_map(|shard| shard.rdb).collect()),
    }
}

impl Choice {
    pub(super) fn of(record: &SourceRecord, details: &RedisRecord, only: &[String]) -> Result<Self, SourceError> {
        let mut items = vec![];
        for word in only {
            let found = item(record, details, word).ok_or_else(|| SourceError::Refused {
                what: format!("`--only {word}`"),
                why: "the snapshot holds nothing of that name".to_owned(),
                hint: "name keys as `key/session:*`, a database as `db0`, or `functions`".to_owned(),
            })?;
            items.push((word.clone(), found));
        }
        Ok(Self { items, databases: databases(details), has_functions: has_functions(record) })
    }

    pub(super) fn is_everything(&self) -> bool {
        self.items.is_empty()
    }

    /// Databases of the snapshot that keys may come from.
    pub(super) fn databases(&self) -> Vec<u64> {
        let concerned = |database: &u64| {
            self.is_everything()
                || self.items.iter().any(|(_, item)| match item {
                    Item::Database(own) | Item::Type(own, _) | Item::Keys(Some(own), _) => own == database,
                    Item::Keys(None, _) | Item::Part(_) => true,
                    Item::Functions => false,
                })
        };
        self.databases.iter().copied().filter(concerned).collect()
    }

    /// Whether the database is loaded as a whole, so that it takes the place of what is there.
    pub(super) fn is_whole(&self, database: u64) -> bool {
        let whole = |item: &Item| matches!(item, Item::Part(_)) || *item == Item::Database(database);
        self.is_everything() || self.items.iter().any(|(_, item)| whole(item))
    }

    pub(super) fn has_functions(&self) -> bool {
        let named = |item: &Item| matches!(item, Item::Part(_) | Item::Functions);
        self.has_functions && (self.is_everything() || self.items.iter().any(|(_, item)| named(item)))
    }

    pub(super) fn has_part(&self, part: &PartName) -> bool {
        let own = |item: &Item| !matches!(item, Item::Part(other) if other != part);
        self.is_everything() || self.items.iter().any(|(_, item)| own(item))
    }

    /// For [`Choice::takes`] to say which words stood for something.
    pub(super) fn seen(&self) -> Vec<bool> {
        vec![false; self.items.len()]
    }

    /// Whether a record of a part is loaded. A name that is not known whole fits no pattern: the caller refuses such keys.
    pub(super) fn takes(&self, part: &PartName, head: &Head<'_>, seen: &mut [bool]) -> bool {
        let mut takes = self.is_everything();
        for ((_, item), seen) in self.items.iter().zip(seen) {
            let fits = match item {
                Item::Part(own) => own == part,
                Item::Functions => head.kind == Kind::Function,
                _ if !head.kind.is_key() => false,
                Item::Database(database) => head.db == *database,
                Item::Type(database, name) => head.db == *database && head.kind.name() == *name,
                Item::Keys(database, pattern) => {
                    let name = match head.name {
                        Name::Whole(name) | Name::Long { start: name, .. } => name,
                    };
                    database.is_none_or(|database| head.db == database) && pattern.fits(name)
                }
            };
            *seen |= fits;
            takes |= fits;
        }
        takes
    }

    /// The words that stood for nothing.
    pub(super) fn unseen(&self, seen: &[bool]) -> Vec<&str> {
        self.items.iter().zip(seen).filter(|(_, seen)| !**seen).map(|((word, _), _)| word.as_str()).collect()
    }
}

fn databases(details: &RedisRecord) -> Vec<u64> {
    details.databases.iter().filter(|database| database.keys > 0).map(|database| database.number).collect()
}

fn has_functions(record: &SourceRecord) -> bool {
    record.groups.iter().any(|group| group.name == "functions")
}

fn item(record: &SourceRecord, details: &RedisRecord, word: &str) -> Option<Item> {
    if let Some(part) = details.shards.iter().filter_map(|shard| shard.rdb.as_ref()).find(|part| part.as_str() == word)
    {
        return Some(Item::Part(part.clone()));
    }
    if word == "functions" {
        return has_functions(record).then_some(Item::Functions);
    }
    if let Some(pattern) = word.strip_prefix("key/") {
        return Some(Item::Keys(None, Pattern::new(pattern)));
    }
    let (database, rest) = match word.split_once('/') {
        Some((database, rest)) => (database, Some(rest)),
        None => (word, None),
    };
    let database = number(database).filter(|database| databases(details).contains(database))?;
    let Some(rest) = rest else { return Some(Item::Database(database)) };
    if let Some(pattern) = rest.strip_prefix("key/") {
        return Some(Item::Keys(Some(database), Pattern::new(pattern)));
    }
    // Reports name these groups, and both are of the same keys.
    let rest = if [MODULE_KEYS, MODULE_VALUES].contains(&rest) { "module" } else { rest };
    TYPES.iter().find(|name| **name == rest).map(|name| Item::Type(database, name))
}

/// `db0`
pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_prefix("db")?.parse().ok()
}

#[cfg(test)]
mod tests;
