//! Compares a restored snapshot with what the backup recorded: content, engine counts, catalog.
//!
//! Scratch is dumped through the source's own code. Where groups differ, only those are dumped again to name what differs in
//! them; an ordinary client counts rows as an independent second path.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::error::{bug, local};
use super::snapshots::OpenSnapshot;
use super::{Class, OperationError};
use crate::domain::record::{PartGroup, Statement};
use crate::domain::{Evidence, Fingerprint, Mismatch, Names, PartName, PartReader, PartSink, PartStore, SourceRecord};
use crate::proof::checks::client;
use crate::proof::{
    self, FingerprintSink, GroupComparison, NamedRecords, ProofError, RowDifference, RowSide, Side, SinkResults,
};
use crate::scratch::Lease;
use crate::sources::{Context, HandedOver, Look, SourceError, SourceKind};

/// Groups whose differing rows are counted one by one; a side of each buffers 16 KiB.
const GROUPS_COUNTED_MAX: usize = 1_000;
/// Groups whose differing records are named, each by at most 20 a side.
const GROUPS_NAMED_MAX: usize = 100;
/// The ordinary client's limit for one count.
const COUNT_LIMIT: Duration = Duration::from_hours(1);

/// A snapshot and the scratch instance that it was loaded into.
pub struct Restored<'a> {
    pub kind: &'a dyn SourceKind,
    pub snapshot: &'a OpenSnapshot,
    pub lease: &'a dyn Lease,
    pub context: &'a Context,
}

type GroupsByName<'r> = HashMap<&'r str, &'r PartGroup>;

fn by_name(record: &SourceRecord) -> GroupsByName<'_> {
    record.groups.iter().map(|group| (group.name.as_str(), group)).collect()
}

/// Dumps scratch through the source's own code and compares everything with what the snapshot recorded.
pub async fn compare(restored: &Restored<'_>) -> Result<(Vec<Mismatch>, Evidence), OperationError> {
    let record = restored.record();
    let again = restored.kind.again(record, &restored.lease.place(""), &[])?;
    let keep: HashSet<PartName> = record.inventories.iter().cloned().collect();
    let sink = Arc::new(FingerprintSink::new(restored.context.work.clone(), keep));
    let found = again.dump(restored.context, Arc::clone(&sink) as Arc<dyn PartSink>).await.map_err(scratch_error)?;
    let results = sink.into_results().map_err(|why| OperationError::new(Class::Scratch, why.to_string()))?;
    let recorded: HashMap<PartName, Fingerprint> =
        restored.snapshot.recipe.parts.iter().map(|part| (part.name.clone(), part.fingerprint)).collect();
    let mut groups = proof::compare_groups(
        Side { record, fingerprints: &recorded },
        Side { record: &found, fingerprints: &results.fingerprints },
    );
    if restored.names_its_records()? {
        restored.name_what_differs(&found, &mut groups).await?;
    } else if !groups.differing.is_empty() {
        restored.look_closer(&found, &mut groups).await?;
    }
    for group in groups.differing.clone() {
        if let Some(why) = restored.kind.shows_nothing(record, &group) {
            groups.undecide(&group, &why);
        }
    }
    restored.count_with_an_ordinary_client(&recorded, &found, &mut groups).await?;
    let GroupComparison { mut mismatches, mut evidence, .. } = groups;
    let objects = restored.compare_inventories(results).await?;
    mismatches.extend(objects.mismatches);
    evidence.objects = objects.equal_by_kind.values().sum();
    evidence.objects_by_kind = objects.equal_by_kind.into_iter().collect();
    Ok((mismatches, evidence))
}

/// Compares what a kind handed to a command with what the snapshot recorded: there is no system to dump again.
pub fn compare_handed_over(restored: &Restored<'_>, handed: &HandedOver) -> (Vec<Mismatch>, Evidence) {
    let record = restored.record();
    let recorded: HashMap<PartName, Fingerprint> =
        restored.snapshot.recipe.parts.iter().map(|part| (part.name.clone(), part.fingerprint)).collect();
    let found = handed.fingerprints.iter().cloned().collect();
    let groups = proof::compare_groups(Side { record, fingerprints: &recorded }, Side { record, fingerprints: &found });
    (groups.mismatches, groups.evidence)
}

/// Scratch is our own: what goes wrong there says nothing about the backup.
fn scratch_error(error: SourceError) -> OperationError {
    let error = OperationError::from(error);
    OperationError { class: if error.class == Class::Source { Class::Scratch } else { error.class }, ..error }
}

impl Restored<'_> {
    fn record(&self) -> &SourceRecord {
        &self.snapshot.recipe.meta.source
    }

    /// A second look at the groups that differ: exactly how many rows are missing and extra, and which statements.
    async fn look_closer(&self, found: &SourceRecord, groups: &mut GroupComparison) -> Result<(), OperationError> {
        let names: Vec<String> = groups.differing.iter().take(GROUPS_COUNTED_MAX).cloned().collect();
        let (recorded, restored) = (by_name(self.record()), by_name(found));
        let parts_of = |groups: &GroupsByName<'_>, name: &str| {
            groups.get(name).map(|group| group.parts.clone()).unwrap_or_default()
        };
        let (mut counters, mut stated) = (vec![], vec![]);
        let (mut sides, mut keep) = (HashMap::new(), HashSet::new());
        for name in &names {
            let parts = parts_of(&recorded, name);
            if let Some(read) = self.kind.statements(name) {
                let restored = parts_of(&restored, name);
                keep.extend(restored.iter().cloned());
                stated.push((name, parts, restored, read));
                continue;
            }
            let counter = RowDifference::new(&self.context.work);
            let (side, store) = (counter.recorded(), Arc::clone(&self.snapshot.store));
            tokio::task::spawn_blocking(move || {
                parts.iter().try_for_each(|part| side.add_part(store.open(part)?.as_mut()))
            })
            .await
            .map_err(bug)??;
            // A restored table may be cut into other parts than the recorded one was.
            sides.extend(parts_of(&restored, name).into_iter().map(|part| (part, counter.restored())));
            counters.push((name, counter));
        }
        let spool = tempfile::tempdir_in(&self.context.work).map_err(local("a temporary folder"))?;
        let sink = Arc::new(FingerprintSink::with_rows(spool.path().to_owned(), keep, sides));
        let again = self.kind.again(self.record(), &self.lease.place(""), &names)?;
        again.dump(self.context, Arc::clone(&sink) as Arc<dyn PartSink>).await.map_err(scratch_error)?;
        let mut results = sink.into_results().map_err(|why| OperationError::new(Class::Scratch, why.to_string()))?;
        for (name, counter) in counters {
            groups.refine(name, counter.count()?);
        }
        for (name, parts, restored, read) in stated {
            let files = restored.iter().filter_map(|part| results.files.remove(part)).collect();
            if let Some(mut found) = self.compare_statements(parts, files, read).await? {
                for mismatch in &mut found {
                    self.add_database(name, mismatch);
                }
                groups.replace(name, found);
            }
        }
        Ok(())
    }

    /// Whether groups hold digests of what has names, and not rows that are stored.
    fn names_its_records(&self) -> Result<bool, OperationError> {
        let look = Look::Restored(self.lease.place(""));
        Ok(self.kind.look_again(self.record(), look, &[], Arc::default())?.is_some())
    }

    /// A second look at groups of digests: how many records differ, and a third: what some of them are called.
    async fn name_what_differs(
        &self,
        found: &SourceRecord,
        groups: &mut GroupComparison,
    ) -> Result<(), OperationError> {
        let mut names = groups.differing.clone();
        names.extend(groups.one_sided());
        names.truncate(GROUPS_NAMED_MAX);
        if names.is_empty() {
            return Ok(());
        }
        let counters: Vec<_> =
            names.iter().map(|name| (name.as_str(), RowDifference::new(&self.context.work))).collect();
        let stored = Look::Stored(Arc::clone(&self.snapshot.store) as Arc<dyn PartStore>);
        let looks = [stored, Look::Restored(self.lease.place(""))];
        for (look, record) in looks.iter().zip([self.record(), found]) {
            let groups = by_name(record);
            let mut sides = HashMap::new();
            for (name, counter) in &counters {
                let side = if matches!(look, Look::Stored(_)) { counter.recorded() } else { counter.restored() };
                let parts = groups.get(name).map(|group| group.parts.as_slice()).unwrap_or_default();
                sides.extend(parts.iter().map(|part| (part.clone(), side.clone())));
            }
            self.look_again(look, &names, Arc::default(), sides).await?;
        }
        let mut counted = vec![];
        for (name, counter) in counters {
            let (counts, examples) = counter.count_with_examples()?;
            counted.push((name, counts, examples));
        }
        let mut called = vec![];
        for look in &looks {
            let of_side = |examples: &proof::Examples| {
                if matches!(look, Look::Stored(_)) { examples.missing.clone() } else { examples.extra.clone() }
            };
            let wanted = counted.iter().flat_map(|(_, _, examples)| of_side(examples)).collect();
            let asked = Arc::new(Names::of(wanted));
            self.look_again(look, &names, Arc::clone(&asked), HashMap::new()).await?;
            called.push(asked.found().into_iter().collect::<HashMap<_, _>>());
        }
        for (name, counts, examples) in counted {
            let names_of = |hashes: &[_], side: usize| -> Vec<String> {
                hashes.iter().filter_map(|hash| called[side].get(hash).cloned()).collect()
            };
            let differing = NamedRecords::of(names_of(&examples.missing, 0), names_of(&examples.extra, 1));
            groups.refine_by_names(name, counts, &differing);
        }
        Ok(())
    }

    async fn look_again(
        &self,
        look: &Look,
        only: &[String],
        names: Arc<Names>,
        sides: HashMap<PartName, RowSide>,
    ) -> Result<(), OperationError> {
        let spool = tempfile::tempdir_in(&self.context.work).map_err(local("a temporary folder"))?;
        let sink = Arc::new(FingerprintSink::with_rows(spool.path().to_owned(), HashSet::new(), sides));
        let Some(source) = self.kind.look_again(self.record(), look.clone(), only, names)? else { return Ok(()) };
        let dumped = source.dump(self.context, Arc::clone(&sink) as Arc<dyn PartSink>).await;
        match look {
            Look::Stored(_) => dumped.map_err(OperationError::from)?,
            Look::Restored(_) => dumped.map_err(scratch_error)?,
        };
        sink.into_results().map_err(|why| OperationError::new(Class::Scratch, why.to_string()))?;
        Ok(())
    }

    async fn compare_statements(
        &self,
        parts: Vec<PartName>,
        files: Vec<PathBuf>,
        read: fn(&str) -> Option<Statement>,
    ) -> Result<Option<Vec<Mismatch>>, OperationError> {
        let store = Arc::clone(&self.snapshot.store);
        let compared = tokio::task::spawn_blocking(move || {
            let recorded = || {
                parts.iter().try_fold(Box::new(std::io::empty()) as Box<dyn Read>, |before, part| {
                    Ok::<Box<dyn Read>, ProofError>(Box::new(before.chain(Content::new(store.open(part)?))))
                })
            };
            let restored = || {
                files.iter().try_fold(Box::new(std::io::empty()) as Box<dyn Read>, |before, path| {
                    let file = File::open(path).map_err(|source| ProofError::Spool { path: path.clone(), source })?;
                    Ok::<Box<dyn Read>, ProofError>(Box::new(before.chain(file)))
                })
            };
            proof::compare_statements(&recorded, &restored, read)
        });
        Ok(compared.await.map_err(bug)??)
    }

    /// Several databases hold things of the same name: `b/sequence public.s`.
    fn add_database(&self, part: &str, mismatch: &mut Mismatch) {
        if self.record().inventories.len() > 1
            && let Some((database, _)) = part.split_once('/')
        {
            mismatch.what = format!("{database}/{}", mismatch.what);
        }
    }

    /// The independent second path: a client that shares no code with the dump counts what scratch holds. A table that is
    /// not there has been named already.
    async fn count_with_an_ordinary_client(
        &self,
        recorded: &HashMap<PartName, Fingerprint>,
        found: &SourceRecord,
        groups: &mut GroupComparison,
    ) -> Result<(), OperationError> {
        let (expected_groups, found_groups) = (by_name(self.record()), by_name(found));
        for (database, mut tables) in self.kind.countable(self.record()) {
            tables.retain(|table| found_groups.contains_key(table.group.as_str()));
            let names: Vec<_> = tables.iter().map(|table| (table.schema.clone(), table.name.clone())).collect();
            let place = self.lease.place(&database);
            let counts = client::count_rows(&place, Some(&database), &names, COUNT_LIMIT).await?;
            for (table, count) in tables.iter().zip(counts) {
                let expected: Option<u64> = expected_groups.get(table.group.as_str()).map(|group| {
                    group.parts.iter().filter_map(|part| recorded.get(part)).map(|print| print.records).sum()
                });
                if expected != Some(count) {
                    groups.mismatches.push(Mismatch {
                        what: table.group.clone(),
                        difference: "an ordinary client counts another number of rows".to_owned(),
                        expected: expected.map_or_else(|| "a recorded group".to_owned(), |rows| rows.to_string()),
                        actual: count.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    async fn compare_inventories(
        &self,
        mut results: SinkResults,
    ) -> Result<proof::InventoryComparison, OperationError> {
        let mut total = proof::InventoryComparison::default();
        for name in &self.record().inventories {
            let recorded = Content::new(self.snapshot.store.open(name)?);
            let file = results.files.remove(name);
            let mut found = tokio::task::spawn_blocking(move || {
                let restored: Box<dyn Read> = match &file {
                    Some(file) => Box::new(File::open(file).map_err(local("a temporary file"))?),
                    None => Box::new(std::io::empty()),
                };
                Ok::<_, OperationError>(proof::compare_inventories(BufReader::new(recorded), BufReader::new(restored))?)
            })
            .await
            .map_err(bug)??;
            for mismatch in &mut found.mismatches {
                self.add_database(name.as_str(), mismatch);
            }
            total.mismatches.extend(found.mismatches);
            for (kind, count) in found.equal_by_kind {
                *total.equal_by_kind.entry(kind).or_default() += count;
            }
        }
        Ok(total)
    }
}

/// A stored part as a reader of bytes.
struct Content {
    reader: Box<dyn PartReader>,
    piece: Bytes,
}

impl Content {
    fn new(reader: Box<dyn PartReader>) -> Self {
        Self { reader, piece: Bytes::new() }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.piece.is_empty() {
            match self.reader.next_piece().map_err(std::io::Error::other)? {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}
