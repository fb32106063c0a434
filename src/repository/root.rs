//! The root: the signed, plain list of everything that a snapshot needs. No root, no snapshot.
//!
//! ```text
//! # lifeboat root 1
//! # repository: 0123456789abcdef
//! # ...
//! # size: 33554432
//! <sha256>  packs/ab/<sha256>.age
//! ```
//! Lines that start with `#` are comments to `sha256sum -c`, which checks the rest from the repository's folder.

use std::fmt::Write as _;

use super::{RepositoryError, layout, layout::ContentName};
use crate::domain::{JobName, ObjectKey, SnapshotId, WriterId};

const TITLE: &str = "# lifeboat root 1";
/// With more packs than this, the packs are named in lists that consecutive snapshots share.
const INLINE_PACKS_MAX: usize = 4096;
/// A list ends where a pack's name says so, about every 1,024 names, so that lists far from a change stay the same.
const LIST_CUT_MASK: u16 = 0x03ff;
/// Refused beyond this.
pub const ROOT_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    pub repository: String,
    pub writer: WriterId,
    pub job: JobName,
    pub snapshot: SnapshotId,
    /// From 1, one up for each root of this writer.
    pub sequence: u64,
    /// SHA-256 of the writer's previous root; `None` for its first.
    pub previous: Option<ContentName>,
    pub epoch: String,
    /// RFC 3339.
    pub started: String,
    pub finished: String,
    pub raw_bytes: u64,
    pub added_bytes: u64,
    pub recipe: ContentName,
    /// Everything needed, the recipe, index objects, epoch key, packs or lists of packs included.
    pub objects: Vec<Needed>,
}

/// One object that a snapshot needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needed {
    pub key: ObjectKey,
    /// SHA-256 of the object's bytes.
    pub sum: ContentName,
    pub size: u64,
}

impl Root {
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("{TITLE}\n");
        let fields = [
            ("repository", self.repository.clone()),
            ("writer", self.writer.to_string()),
            ("job", self.job.to_string()),
            ("snapshot", self.snapshot.to_string()),
            ("sequence", self.sequence.to_string()),
            ("previous", self.previous.map_or_else(|| "-".to_owned(), |name| name.hex())),
            ("epoch", self.epoch.clone()),
            ("started", self.started.clone()),
            ("finished", self.finished.clone()),
            ("raw-bytes", self.raw_bytes.to_string()),
            ("added-bytes", self.added_bytes.to_string()),
            ("recipe", self.recipe.hex()),
        ];
        for (name, value) in fields {
            writeln!(text, "# {name}: {value}").expect("a String takes every write");
        }
        text.push_str(&encode_needed(&self.objects));
        writeln!(text, "# end: {}", self.objects.len()).expect("a String takes every write");
        text.into_bytes()
    }

    pub fn decode(object: &str, bytes: &[u8]) -> Result<Self, RepositoryError> {
        let damaged = |why: &str| RepositoryError::damaged(object, why);
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
        let body = text.strip_prefix(TITLE).and_then(|rest| rest.strip_prefix('\n'));
        let mut lines = body.ok_or_else(|| damaged("it is not a root of format 1"))?.lines();
        let mut field = |name: &str| {
            lines
                .next()
                .and_then(|line| line.strip_prefix("# "))
                .and_then(|line| line.strip_prefix(name))
                .and_then(|line| line.strip_prefix(": "))
                .map(str::to_owned)
                .ok_or_else(|| damaged(&format!("no `{name}`")))
        };
        let bad = |name: &str| damaged(&format!("`{name}` does not read"));
        let root = Self {
            repository: field("repository")?,
            writer: WriterId::new(field("writer")?).map_err(|_| bad("writer"))?,
            job: JobName::new(field("job")?).map_err(|_| bad("job"))?,
            snapshot: SnapshotId::new(field("snapshot")?).map_err(|_| bad("snapshot"))?,
            sequence: field("sequence")?.parse().map_err(|_| bad("sequence"))?,
            previous: match field("previous")?.as_str() {
                "-" => None,
                name => Some(ContentName::parse(name).ok_or_else(|| bad("previous"))?),
            },
            epoch: field("epoch")?,
            started: field("started")?,
            finished: field("finished")?,
            raw_bytes: field("raw-bytes")?.parse().map_err(|_| bad("raw-bytes"))?,
            added_bytes: field("added-bytes")?.parse().map_err(|_| bad("added-bytes"))?,
            recipe: ContentName::parse(&field("recipe")?).ok_or_else(|| bad("recipe"))?,
            objects: vec![],
        };
        let rest: Vec<&str> = lines.collect();
        let (last, needed) = rest.split_last().ok_or_else(|| damaged("it is cut short"))?;
        let objects = decode_needed(object, needed)?;
        if *last != format!("# end: {}", objects.len()) {
            return Err(damaged("it is cut short"));
        }
        let root = Self { objects, ..root };
        // One spelling only: two readers never take one root for different things.
        if root.encode() == bytes { Ok(root) } else { Err(damaged("it is not spelled as a root is")) }
    }
}

fn encode_needed(objects: &[Needed]) -> String {
    let mut text = String::with_capacity(objects.len() * 160);
    for needed in objects {
        writeln!(text, "# size: {}\n{}  {}", needed.size, needed.sum.hex(), needed.key)
            .expect("a String takes every write");
    }
    text
}

fn decode_needed(object: &str, lines: &[&str]) -> Result<Vec<Needed>, RepositoryError> {
    let damaged = || RepositoryError::damaged(object, "a line names no object");
    let pairs = lines.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(damaged());
    }
    pairs
        .map(|pair| {
            let size = pair[0].strip_prefix("# size: ").and_then(|size| size.parse().ok()).ok_or_else(damaged)?;
            let (sum, key) = pair[1].split_once("  ").ok_or_else(damaged)?;
            Ok(Needed {
                key: ObjectKey::new(key).map_err(|_| damaged())?,
                sum: ContentName::parse(sum).ok_or_else(damaged)?,
                size,
            })
        })
        .collect()
}

/// Divides many packs into lists: objects of their own, with the `Needed` that names each.
///
/// Few packs come back as they are, without lists.
pub fn fold_packs(mut packs: Vec<Needed>) -> (Vec<Needed>, Vec<(ObjectKey, Vec<u8>)>) {
    packs.sort();
    packs.dedup();
    if packs.len() <= INLINE_PACKS_MAX {
        return (packs, vec![]);
    }
    let cuts = |needed: &Needed| u16::from_be_bytes([needed.sum.0[0], needed.sum.0[1]]) & LIST_CUT_MASK == 0;
    let (mut named, mut lists) = (vec![], vec![]);
    for group in packs.split_inclusive(cuts) {
        let bytes = encode_needed(group).into_bytes();
        let sum = ContentName::of(&bytes);
        let key = layout::list(&sum);
        named.push(Needed { key: key.clone(), sum, size: bytes.len() as u64 });
        lists.push((key, bytes));
    }
    (named, lists)
}

/// Reads a list object back.
pub fn unfold_list(object: &str, bytes: &[u8]) -> Result<Vec<Needed>, RepositoryError> {
    let text = std::str::from_utf8(bytes).map_err(|_| RepositoryError::damaged(object, "it is not text"))?;
    decode_needed(object, &text.lines().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packs(count: u32) -> Vec<Needed> {
        (0..count)
            .map(|number| {
                let sum = ContentName::of(&number.to_le_bytes());
                Needed { key: layout::pack(&sum), sum, size: 7 }
            })
            .collect()
    }

    fn sample() -> Root {
        Root {
            repository: "0123456789abcdef".into(),
            writer: WriterId::random(),
            job: JobName::new("it's \"odd\" 名").unwrap(),
            snapshot: SnapshotId::random(),
            sequence: 3,
            previous: Some(ContentName::of(b"before")),
            epoch: "00112233".into(),
            started: "2026-11-21T10:00:00Z".into(),
            finished: "2026-11-21T10:00:09Z".into(),
            raw_bytes: 100,
            added_bytes: 10,
            recipe: ContentName::of(b"recipe"),
            objects: packs(3),
        }
    }

    #[test]
    fn a_root_reads_back_and_no_truncation_does() {
        let root = sample();
        let bytes = root.encode();
        assert_eq!(Root::decode("r", &bytes).unwrap(), root);
        for length in 0..bytes.len() {
            assert!(Root::decode("r", &bytes[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn lists_of_packs_are_shared_by_snapshots_that_differ_by_one_pack() {
        let many = packs(10_000);
        let (named, lists) = fold_packs(many.clone());
        assert!(named.len() > 3 && named.len() < 40, "{}", named.len());
        let mut back: Vec<_> =
            lists.iter().flat_map(|(key, bytes)| unfold_list(key.as_str(), bytes).unwrap()).collect();
        back.sort();
        let mut sorted = many;
        sorted.sort();
        assert_eq!(back, sorted);
        let (other, _) = fold_packs(packs(10_001));
        let shared = other.iter().filter(|needed| named.contains(needed)).count();
        assert!(shared + 2 >= named.len(), "{shared} of {} lists are shared", named.len());
    }
}
