//! What sources of many named things have in common (files, objects, repositories): one list, and the content of what is in it.
//!
//! A dump writes two parts. `list` holds a line for each [`Entry`]: name, attributes, SHA-256, and where its content lies in the
//! packs. Its chunks are cut between lines, so that a run in which a hundred of a million things changed stores a hundred
//! chunks of it. `entries` is a part of digests: what is compared after a restore, which is everything in a line but the place
//! where the content lies and what only the live system can have.
//!
//! | file | does |
//! |---|---|
//! | `entry` | one line of the list |
//! | `listing` | the writer's own copy of the last list, which tells what has not changed |
//! | `plan` | live entries against that copy, in batches |
//! | `dump` | the threads: one plans, some read, one writes the list in order |
//! | `pattern` | what a job leaves out and a restore chooses |
//! | `stored` | reads a stored list back |
//! | `choice` | what a restore takes of it |
//! | `landing` | the folder that a restore writes into |
//!
//! Memory: [`dump::BATCHES`] batches of [`plan::BATCH_ENTRIES`] entries, whatever the source's size.

pub(crate) mod choice;
pub(crate) mod dump;
pub(crate) mod entry;
pub(crate) mod landing;
mod listing;
pub(crate) mod pattern;
mod plan;
pub(crate) mod stored;

use std::cmp::Ordering;

pub(crate) use dump::{Summary, TreeDump, committed};
pub(crate) use entry::{Entry, EntryKind};
pub(crate) use listing::each_of_last;
pub(crate) use pattern::Patterns;

use super::SourceError;
use crate::domain::{Lane, PartName};

/// The part that holds the list.
pub(crate) fn list_part() -> PartName {
    PartName::from_components(&["list"])
}

/// The part that holds what is compared.
pub(crate) fn digest_part() -> PartName {
    PartName::from_components(&["entries"])
}

/// How to get one thing back with stock tools.
pub(crate) const GUIDE: &str = "\
The part `list` has a line for each file or object: name, kind, size, SHA-256, attributes as JSON, where its content lies, and what was seen,
separated by tabs. In a name `%XX` stands for a byte. Where its content lies is written as `PACK:OFFSET:LENGTH`, several separated by
commas; the recipe's lines `blobs PACK SHA256` say which pack each number stands for, and `hole:LENGTH` stands for zeros. To get
one file back, for each of its pieces:

    age -d -i epoch.txt packs/AB/SHA256.age | zstd -d | tail -c +$((OFFSET + 1)) | head -c LENGTH >> file

and then compare `sha256sum file` with the line.
";

/// A live system of many named things. Blocking: it is called from threads of its own.
pub(crate) trait Origin: Send + Sync {
    /// The order in which things are found.
    fn order(&self, one: &[u8], other: &[u8]) -> Ordering;
    /// Hands over everything there is, in order, each name once. An error of `take` ends it.
    fn discover(&self, take: &mut dyn FnMut(Found) -> Result<(), SourceError>) -> Result<(), SourceError>;
    /// It was in the last list and is not found any more.
    fn gone(&self, _entry: &Entry) {}
    /// Everything has been discovered: the last word on whether that can be believed.
    fn discovered(&self) -> Result<(), SourceError> {
        Ok(())
    }
    /// Reads the content of each into a blob of `lane`, in order, and says what came of it: an entry whose outcome is
    /// [`Outcome::Read`] has a finished blob, behind those that are [spoiled](Wanted::spoiled). Called from several threads.
    fn read(&self, wanted: &mut [Wanted], lane: &mut dyn Lane) -> Result<(), SourceError>;
}

/// A thing as the live system lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) size: u64,
    /// JSON; `None` where only reading it tells.
    pub(crate) attributes: Option<String>,
    /// What is different once it has changed; empty where nothing tells.
    pub(crate) seen: String,
}

/// A thing whose content is to be read.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) found: Found,
    pub(crate) outcome: Outcome,
    /// Blobs that were finished for it and are of no use: of earlier tries.
    pub(crate) spoiled: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Not looked at yet.
    Waiting,
    Read {
        size: u64,
        /// SHA-256.
        sum: [u8; 32],
        attributes: String,
        seen: String,
        /// It changed every time that it was read.
        changing: bool,
    },
    /// It was listed and is no more.
    Vanished,
    /// It cannot be read, and why.
    Denied(String),
}
