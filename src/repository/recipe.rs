//! The recipe: how to put every part of a snapshot back together, readable with `awk`.
//!
//! Text, fields separated by tabs (part names and JSON hold none), lines ended by newlines, before zstd and age:
//! ```text
//! lifeboat-recipe  1
//! meta    {JSON: snapshot, job, times, source record, totals}
//! guide   a line of Markdown: how to load the parts with stock tools; as many as it has, whatever they hold
//! pack    NUMBER  SHA256
//! part    NAME  records|bytes  BYTES  RECORDS  FINGERPRINT
//! x       NUMBER  OFFSET  LENGTH          an extent of the part above, in order
//! digest  NAME  BYTES  RECORDS  FINGERPRINT   content that is compared and not stored
//! blobs   NUMBER  SHA256                  a pack, by the number that the addresses in a list of files or objects name it by
//! end     PARTS
//! ```
//! An extent is a range of the pack's *decoded* content (`age -d | zstd -d`), so `dd` can cut it out.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{RepositoryError, layout::ContentName};
use crate::domain::{Fingerprint, JobName, PackNumber, PartName, Shape, SnapshotId, SourceRecord, WriterId};

const HEADER: &str = "lifeboat-recipe\t1";
/// Not divided further: the guide's own lines may hold tabs.
const GUIDE: &str = "guide\t";

#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub meta: Meta,
    pub parts: Vec<PartRecord>,
    /// What the numbers in blobs' addresses stand for, ascending.
    pub blob_packs: Vec<(PackNumber, ContentName)>,
}

/// Everything about a snapshot that is not an extent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    pub snapshot: SnapshotId,
    pub job: JobName,
    pub writer: WriterId,
    /// RFC 3339: before the first byte was read, and after the last.
    pub started: String,
    pub finished: String,
    pub lifeboat: String,
    pub source: SourceRecord,
    /// What was read, before deduplication and compression.
    pub raw_bytes: u64,
    /// Size of the packs that this run added.
    pub added_bytes: u64,
    /// The commands that load the parts with stock tools; Markdown that ends in a newline. In lines of its own, so that `awk`
    /// takes it out.
    #[serde(skip)]
    pub guide: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRecord {
    pub name: PartName,
    pub shape: Shape,
    pub fingerprint: Fingerprint,
    pub extents: Vec<Extent>,
}

/// A range of a pack's decoded content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub pack: ContentName,
    pub offset: u64,
    pub length: u64,
}

pub fn encode(recipe: &Recipe) -> Vec<u8> {
    let mut numbers = HashMap::new();
    let mut text = format!("{HEADER}\nmeta\t{}\n", json(&recipe.meta));
    for line in recipe.meta.guide.split_terminator('\n') {
        writeln!(text, "{GUIDE}{line}").expect("a String takes every write");
    }
    for part in &recipe.parts {
        // A pack is declared before the first part that needs it, so that one pass reads the recipe.
        for extent in &part.extents {
            let next = numbers.len();
            if let std::collections::hash_map::Entry::Vacant(entry) = numbers.entry(extent.pack) {
                entry.insert(next);
                writeln!(text, "pack\t{next}\t{}", extent.pack.hex()).expect("a String takes every write");
            }
        }
        // A digest has a line of its own: whoever gathers parts does not stumble over one without content.
        let (line, shape) = match part.shape {
            Shape::Records => ("part", "records\t"),
            Shape::Bytes => ("part", "bytes\t"),
            Shape::Digest => ("digest", ""),
        };
        let print = &part.fingerprint;
        let sum = hex::encode(print.sum);
        writeln!(text, "{line}\t{}\t{shape}{}\t{}\t{sum}", part.name, print.bytes, print.records)
            .expect("a String takes every write");
        for extent in &part.extents {
            writeln!(text, "x\t{}\t{}\t{}", numbers[&extent.pack], extent.offset, extent.length)
                .expect("a String takes every write");
        }
    }
    for (number, pack) in &recipe.blob_packs {
        writeln!(text, "blobs\t{number}\t{}", pack.hex()).expect("a String takes every write");
    }
    writeln!(text, "end\t{}", stored(&recipe.parts)).expect("a String takes every write");
    text.into_bytes()
}

/// How many parts have content.
fn stored(parts: &[PartRecord]) -> usize {
    parts.iter().filter(|part| part.shape != Shape::Digest).count()
}

fn json(meta: &Meta) -> String {
    serde_json::to_string(meta).expect("recipe metadata is plain data")
}

pub fn decode(object: &str, bytes: &[u8]) -> Result<Recipe, RepositoryError> {
    let text = std::str::from_utf8(bytes).map_err(|why| RepositoryError::damaged(object, why))?;
    // Not `lines`, which would drop a carriage return that belongs to the guide.
    let whole = text.strip_suffix('\n').ok_or_else(|| RepositoryError::damaged(object, "the recipe is cut short"))?;
    let mut lines = whole.split('\n').enumerate().peekable();
    let at = |number: usize, why: &str| RepositoryError::damaged(object, format!("line {}: {why}", number + 1));
    match lines.next() {
        Some((_, HEADER)) => {}
        _ => return Err(at(0, "not a recipe of format 1")),
    }
    let mut meta: Meta = lines
        .next()
        .and_then(|(_, line)| line.strip_prefix("meta\t"))
        .ok_or_else(|| at(1, "no metadata"))
        .and_then(|json| serde_json::from_str(json).map_err(|why| at(1, &why.to_string())))?;
    while let Some(line) = lines.peek().and_then(|(_, line)| line.strip_prefix(GUIDE)) {
        meta.guide.push_str(line);
        meta.guide.push('\n');
        lines.next();
    }
    let (mut packs, mut parts, mut ended) = (vec![], Vec::<PartRecord>::new(), false);
    let mut blob_packs = Vec::<(PackNumber, ContentName)>::new();
    for (number, line) in lines {
        if ended {
            return Err(at(number, "something follows the end"));
        }
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["pack", index, name] => {
                let name = ContentName::parse(name).ok_or_else(|| at(number, "not a pack's name"))?;
                if index.parse() != Ok(packs.len()) {
                    return Err(at(number, "packs are not numbered in order"));
                }
                packs.push(name);
            }
            ["part", name, shape @ ("records" | "bytes"), bytes, records, sum] => {
                let part = parse_part(name, shape, bytes, records, sum).ok_or_else(|| at(number, "not a part"))?;
                parts.push(part);
            }
            ["digest", name, bytes, records, sum] => {
                let part = parse_part(name, "digest", bytes, records, sum).ok_or_else(|| at(number, "not a digest"))?;
                parts.push(part);
            }
            ["x", index, offset, length] => {
                let extent = parse_extent(&packs, index, offset, length).ok_or_else(|| at(number, "not an extent"))?;
                match parts.last_mut() {
                    Some(part) if part.shape != Shape::Digest => part.extents.push(extent),
                    _ => return Err(at(number, "an extent before any part")),
                }
            }
            ["blobs", index, name] => {
                let pack = index.parse().ok().zip(ContentName::parse(name));
                let pack = pack.filter(|(number, _)| blob_packs.last().is_none_or(|(last, _)| last < number));
                blob_packs.push(pack.ok_or_else(|| at(number, "not a pack of blobs, in order"))?);
            }
            ["end", count] if count.parse() == Ok(stored(&parts)) => ended = true,
            _ => return Err(at(number, "not a line of a recipe")),
        }
    }
    if !ended {
        return Err(RepositoryError::damaged(object, "the recipe is cut short"));
    }
    for part in parts.iter().filter(|part| part.shape != Shape::Digest) {
        let total = part.extents.iter().try_fold(0_u64, |sum, extent| sum.checked_add(extent.length));
        if total != Some(part.fingerprint.bytes) {
            return Err(RepositoryError::damaged(object, format!("the extents of `{}` do not add up", part.name)));
        }
    }
    Ok(Recipe { meta, parts, blob_packs })
}

fn parse_part(name: &str, shape: &str, bytes: &str, records: &str, sum: &str) -> Option<PartRecord> {
    let shape = match shape {
        "records" => Shape::Records,
        "bytes" => Shape::Bytes,
        "digest" => Shape::Digest,
        _ => return None,
    };
    let fingerprint =
        Fingerprint { sum: ContentName::parse(sum)?.0, records: records.parse().ok()?, bytes: bytes.parse().ok()? };
    let components: Vec<&str> = name.split('/').collect();
    if components.iter().any(|c| c.is_empty() || c.starts_with('.')) {
        return None;
    }
    Some(PartRecord { name: PartName::from_components(&components), shape, fingerprint, extents: vec![] })
}

fn parse_extent(packs: &[ContentName], index: &str, offset: &str, length: &str) -> Option<Extent> {
    let pack = *packs.get(index.parse::<usize>().ok()?)?;
    let (offset, length): (u64, u64) = (offset.parse().ok()?, length.parse().ok()?);
    offset.checked_add(length)?;
    Some(Extent { pack, offset, length })
}
