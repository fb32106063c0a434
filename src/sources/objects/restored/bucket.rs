//! A bucket that objects were restored into, compared with the index that the restore left.
//!
//! The index says what a restore test does not put into a scratch bucket (storage classes, access lists), what a sample left out, and
//! under which name a version stands in the list. Memory: a page of keys; the versions of one key; the readers' small objects.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::as_listed;
use crate::domain::Lane;
use crate::sources::SourceError;
use crate::sources::objects::attributes::{AccessList, Attributes};
use crate::sources::objects::config::Settings;
use crate::sources::objects::origin::ObjectsOrigin;
use crate::sources::objects::shelf::{self, Line};
use crate::sources::objects::store::Store;
use crate::sources::objects::version;
use crate::sources::tree::{EntryKind, Found, Origin, Outcome, Wanted};

pub(in crate::sources::objects) struct RestoredBucket {
    live: ObjectsOrigin,
    prefix: String,
    index: PathBuf,
}

/// What was seen of an object in the bucket, and what the index keeps of it.
#[derive(Serialize, Deserialize)]
struct Seen {
    name: String,
    listed: String,
    storage_class: Option<String>,
    access: Option<AccessList>,
}

/// Lines of the index, with one looked at ahead.
struct Lines {
    rest: Box<dyn Iterator<Item = std::io::Result<Line>>>,
    next: Option<(Vec<u8>, Line)>,
    path: PathBuf,
}

impl RestoredBucket {
    /// Must be called within a runtime.
    pub(in crate::sources::objects) fn new(
        store: Arc<dyn Store>,
        settings: Settings,
        keep: &Path,
        lanes: usize,
        cancel: CancellationToken,
    ) -> Self {
        let prefix = settings.config.prefix.clone();
        // Marks of another bucket mean nothing here.
        let live = ObjectsOrigin::new(store, settings, keep.join("scratch"), lanes, cancel);
        Self { live, prefix, index: keep.join(crate::sources::objects::INDEX_OF_BUCKET) }
    }

    /// The objects of one key, newest first, as the index calls them.
    fn named(&self, of_key: Vec<Found>, lines: &mut Lines, take: &mut Take<'_>) -> Result<(), SourceError> {
        let Some(first) = of_key.first() else { return Ok(()) };
        let own = |found: &Found| found.name.strip_prefix(self.prefix.as_bytes()).map(<[u8]>::to_vec);
        let stray = || lines_failed(&self.index, "a key of the bucket does not begin as it should");
        let first_kind = first.kind;
        let key = version::key_of(&own(first).ok_or_else(stray)?).to_vec();
        let mut of_lines = vec![];
        while let Some((name, _)) = lines.peek()? {
            match version::key_of(name).cmp(&key) {
                Ordering::Greater => break,
                // The bucket has nothing of that key.
                Ordering::Less => lines.pass(take)?,
                Ordering::Equal => of_lines.extend(lines.next.take()),
            }
        }
        // A store does not tell in which order a version and a removal of one second came; only which is the newest.
        let newest_fits = of_lines.first().is_none_or(|(_, line)| line.listed.is_some() || kind_of(line) == first_kind);
        let mut made = vec![];
        for (at, found) in of_key.into_iter().enumerate() {
            let place = of_lines.iter().position(|(_, line)| line.listed.is_none() && kind_of(line) == found.kind);
            let (name, kept) = match place.filter(|_| at > 0 || newest_fits) {
                Some(place) => {
                    let (name, line) = of_lines.remove(place);
                    (name, serde_json::from_value(line.attributes).unwrap_or_default())
                }
                // Nobody put it there.
                None => (own(&found).ok_or_else(stray)?, Attributes::default()),
            };
            made.push(seen_as(name, found, kept));
        }
        // What was left out is compared by the list; what else the index has is missing.
        made.extend(
            of_lines.into_iter().filter(|(_, line)| line.listed.is_some()).map(|(name, line)| left_out(name, &line)),
        );
        made.sort_by(|one, other| version::order(&one.name, &other.name));
        made.into_iter().try_for_each(take)
    }

    /// Reads what lies in the bucket, and puts back what the index keeps.
    fn read_live(&self, wanted: &mut [Wanted], lane: &mut dyn Lane) -> Result<(), SourceError> {
        let mut live = Vec::with_capacity(wanted.len());
        let mut kept = Vec::with_capacity(wanted.len());
        for wanted in wanted.iter() {
            let seen: Seen = serde_json::from_str(&wanted.found.seen)
                .map_err(|error| lines_failed(&self.index, &error.to_string()))?;
            let found = Found {
                name: seen.name.clone().into_bytes(),
                kind: EntryKind::Content,
                size: wanted.found.size,
                attributes: None,
                seen: seen.listed.clone(),
            };
            live.push(Wanted { found, outcome: Outcome::Waiting, spoiled: 0 });
            kept.push(seen);
        }
        self.live.read(&mut live, lane)?;
        for ((wanted, live), kept) in wanted.iter_mut().zip(live).zip(kept) {
            wanted.spoiled = live.spoiled;
            wanted.outcome = live.outcome;
            if let Outcome::Read { attributes, .. } = &mut wanted.outcome {
                let read: Attributes = serde_json::from_str(attributes).unwrap_or_default();
                let whole = Attributes { storage_class: kept.storage_class, access: kept.access, ..read };
                *attributes = whole.json();
            }
        }
        Ok(())
    }
}

type Take<'t> = dyn FnMut(Found) -> Result<(), SourceError> + 't;

impl Origin for RestoredBucket {
    fn order(&self, one: &[u8], other: &[u8]) -> Ordering {
        version::order(one, other)
    }

    fn discover(&self, take: &mut dyn FnMut(Found) -> Result<(), SourceError>) -> Result<(), SourceError> {
        let opened = shelf::lines(&self.index).map_err(|error| lines_failed(&self.index, &error.to_string()))?;
        let mut lines = Lines { rest: Box::new(opened), next: None, path: self.index.clone() };
        let mut of_key: Vec<Found> = vec![];
        self.live.discover(&mut |found| {
            let same = of_key.first().is_none_or(|first| version::key_of(&first.name) == version::key_of(&found.name));
            if !same {
                self.named(std::mem::take(&mut of_key), &mut lines, take)?;
            }
            of_key.push(found);
            Ok(())
        })?;
        self.named(of_key, &mut lines, take)?;
        while lines.peek()?.is_some() {
            lines.pass(take)?;
        }
        Ok(())
    }

    fn read(&self, wanted: &mut [Wanted], lane: &mut dyn Lane) -> Result<(), SourceError> {
        // Blobs are finished in order, so that what is in the bucket is read run by run.
        let is_listed = |wanted: &Wanted| !wanted.found.seen.starts_with('{');
        for run in wanted.chunk_by_mut(|one, other| is_listed(one) == is_listed(other)) {
            if run.first().is_some_and(is_listed) {
                for wanted in run {
                    wanted.outcome = as_listed(wanted, lane)?;
                }
            } else {
                self.read_live(run, lane)?;
            }
        }
        Ok(())
    }
}

fn seen_as(name: Vec<u8>, found: Found, kept: Attributes) -> Found {
    let seen = Seen {
        name: String::from_utf8_lossy(&found.name).into_owned(),
        listed: found.seen,
        storage_class: kept.storage_class,
        access: kept.access,
    };
    let seen = serde_json::to_string(&seen).expect("plain data");
    Found { name, kind: found.kind, size: found.size, attributes: found.attributes, seen }
}

fn kind_of(line: &Line) -> EntryKind {
    if line.removed { EntryKind::Removed } else { EntryKind::Content }
}

fn left_out(name: Vec<u8>, line: &Line) -> Found {
    let listed = line.listed.as_ref();
    Found {
        name,
        kind: EntryKind::Content,
        size: listed.map_or(0, |listed| listed.size),
        attributes: Some(line.attributes.to_string()),
        seen: listed.map_or_else(String::new, |listed| hex::encode(listed.sha256)),
    }
}

impl Lines {
    fn peek(&mut self) -> Result<Option<&(Vec<u8>, Line)>, SourceError> {
        if self.next.is_none()
            && let Some(line) = self.rest.next()
        {
            let line = line.map_err(|error| lines_failed(&self.path, &error.to_string()))?;
            let name = line.name().ok_or_else(|| lines_failed(&self.path, "a key does not read"))?;
            self.next = Some((name, line));
        }
        Ok(self.next.as_ref())
    }

    /// Goes past a line that the bucket has nothing of: what was left out is taken as it is listed, anything else is missing.
    fn pass(&mut self, take: &mut Take<'_>) -> Result<(), SourceError> {
        match self.next.take() {
            Some((name, line)) if line.listed.is_some() => take(left_out(name, &line)),
            _ => Ok(()),
        }
    }
}

fn lines_failed(path: &Path, why: &str) -> SourceError {
    SourceError::Failed { what: format!("index `{}`", path.display()), why: why.to_owned(), hint: String::new() }
}
