//! The story of a backup: preflight, dump through the pipeline to every target, check, commit.
//!
//! Nothing is visible until the root is written, and the root is written last. Killing this at any moment leaves objects that
//! no root names, which cost space and no harm.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::commit::{Commit, CopyOutcome};
use super::fan_out::FanOut;
use super::lock;
use super::pipeline::BackupSink;
use super::session::{OpenTarget, Session, read_info};
use super::work::WorkFolder;
use super::{Class, OperationError, chain, targets_known};
use crate::catalog::{CopyRow, RunRow, SnapshotRow};
use crate::config::Job;
use crate::domain::{Event, PartSink, RunId, SealedObject, Shape, SnapshotId, SourceRecord, human_bytes};
use crate::repository::chunk_cache::ChunkCache;
use crate::repository::crypt;
use crate::repository::index::{self, Index};
use crate::repository::info::RepositoryInfo;
use crate::repository::layout::{self, ContentName};
use crate::repository::pack::SealKeys;
use crate::repository::pipeline::{Pipeline, Written};
use crate::repository::recipe::{self, Meta, Recipe};
use crate::repository::writer::Writer;
use crate::sources::{Context, Preflight, Source};
use crate::system::clock;

/// Runs of one dump whose source changes under it.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// An index object is at most this large before it is set aside unread.
const INDEX_BYTES_MAX: u64 = 256 << 20;
/// Recipes hold a line for each part and extent.
pub const RECIPE_RAW_BYTES_MAX: usize = 1 << 30;
/// Level for recipes and indexes: small and read by people's tools as well.
const METADATA_LEVEL: i32 = 9;

/// What a backup did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct BackupOutcome {
    pub job: String,
    pub snapshot: SnapshotId,
    pub started: String,
    pub finished: String,
    pub read_bytes: u64,
    pub rows: u64,
    pub parts: usize,
    /// New ciphertext, each target counted once.
    pub stored_bytes: u64,
    pub copies: Vec<CopyOutcome>,
    pub gaps: Vec<crate::domain::Gap>,
}

/// What a dry run found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct BackupPlan {
    pub job: String,
    pub source: String,
    pub preflight: Preflight,
    pub targets: Vec<PlannedTarget>,
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct PlannedTarget {
    pub target: String,
    pub place: String,
    /// `holds repository ...`, `will be created, with a new repository`, or what is wrong.
    pub state: String,
    pub usable: bool,
}

/// Connects, preflights and looks at the targets; writes nothing anywhere.
pub async fn plan(session: &Session, job: &Job) -> Result<BackupPlan, OperationError> {
    let source = session.kind(job)?.configure(&job.source)?;
    let work = tempfile::tempdir().map_err(local("a temporary folder"))?;
    let preflight = source.preflight(&context(session, job, work.path().to_owned())).await?;
    let mut targets = vec![];
    for target in session.targets(&job.backup.targets).await? {
        let (state, usable) = match look(session, &target).await {
            Ok(state) => (state, true),
            Err(error) => (error.to_string(), false),
        };
        targets.push(PlannedTarget { target: target.name.to_string(), place: target.target.place(), state, usable });
    }
    Ok(BackupPlan { job: job.name.to_string(), source: source.describe(), preflight, targets })
}

/// What a target holds now, in words; an error where a backup could not use it.
async fn look(session: &Session, target: &OpenTarget) -> Result<String, OperationError> {
    let state = &session.config.state;
    if targets_known::will_be_created(state, target).await? {
        return Ok("will be created, with a new repository".to_owned());
    }
    match read_info(target).await? {
        Some(info) => Ok(format!("holds repository {}", info.repository)),
        None if targets_known::is_known(state, target)? => Err(targets_known::emptied(state, target)),
        None => Ok("empty: a repository would be made".to_owned()),
    }
}

/// Runs a backup and records in the catalog how it ended, whatever happened.
pub async fn run(session: &Session, job: &Job) -> Result<BackupOutcome, OperationError> {
    let name = job.name.to_string();
    let Some(_lock) = lock::try_lock(&session.config.state, &format!("job-{name}"))? else {
        return Err(OperationError::new(Class::Skipped, format!("a run of job `{name}` is under way"))
            .hint("this run was skipped; the one that runs goes on"));
    };
    let mut row = RunRow {
        id: RunId::random().to_string(),
        verb: "backup".to_owned(),
        job: name,
        started: clock::rfc3339(clock::now()),
        finished: None,
        outcome: "running".to_owned(),
        snapshot: None,
        target: None,
        bytes_read: 0,
        bytes_stored: 0,
        message: String::new(),
    };
    session.catalog.put_run(&row).await?;
    let outcome = tokio::select! {
        () = session.cancel.cancelled() => Err(OperationError::new(Class::Cancelled, "cancelled")),
        outcome = persevere(session, job) => outcome,
    };
    row.finished = Some(clock::rfc3339(clock::now()));
    match &outcome {
        Ok(done) => {
            let failed: Vec<_> = done.copies.iter().filter(|copy| !copy.committed()).collect();
            row.outcome = String::from(if failed.is_empty() { "done" } else { "partial" });
            row.snapshot = Some(done.snapshot.to_string());
            row.bytes_read = done.read_bytes;
            row.bytes_stored = done.stored_bytes;
            row.message = failed.iter().map(|copy| copy.text()).collect::<Vec<_>>().join("; ");
        }
        Err(error) => {
            row.outcome = String::from(if error.class == Class::Cancelled { "cancelled" } else { "failed" });
            row.message = error.to_string();
        }
    }
    session.catalog.put_run(&row).await?;
    outcome
}

/// A source that changes under the dump (DDL, a standby's conflict with recovery) is worth another try.
async fn persevere(session: &Session, job: &Job) -> Result<BackupOutcome, OperationError> {
    for attempt in 1..ATTEMPTS {
        match backup(session, job).await {
            Err(error) if error.transient => {
                session.warn(job.name.as_str(), format!("attempt {attempt} of {ATTEMPTS}: {error}; trying again"));
                tokio::time::sleep(PAUSE * attempt).await;
            }
            outcome => return outcome,
        }
    }
    backup(session, job).await
}

/// Everything that is settled before the first byte is read.
struct Ready {
    writer: Writer,
    info: RepositoryInfo,
    /// Targets that answer; the others are in `failed`.
    targets: Vec<OpenTarget>,
    failed: Vec<CopyOutcome>,
    cache: ChunkCache,
}

async fn backup(session: &Session, job: &Job) -> Result<BackupOutcome, OperationError> {
    let name = job.name.as_str();
    let started = clock::rfc3339(clock::now());
    let kind = session.kind(job)?;
    let source = kind.configure(&job.source)?;
    let work = WorkFolder::make(&session.config.state).await?;
    let context = context(session, job, work.path().to_owned());
    session.phase(name, "preflight", source.describe());
    let (preflight, ready) = tokio::join!(source.preflight(&context), prepare(session, job));
    let preflight = preflight?;
    for warning in &preflight.warnings {
        session.warn(name, warning);
    }
    let ready = ready?;
    let total = preflight.estimated_bytes;
    let dumped = dump(session, job, source.as_ref(), &context, ready, total).await?;
    let (record, written, ready, fan_out) = dumped;
    guard(session, job, &record, &written).await?;
    session.phase(name, "commit", format!("{} new", human_bytes(fan_out.stored_bytes())));

    let meta = Meta {
        snapshot: SnapshotId::random(),
        job: job.name.clone(),
        writer: ready.writer.id.clone(),
        started,
        finished: clock::rfc3339(clock::now()),
        lifeboat: env!("CARGO_PKG_VERSION").to_owned(),
        guide: guide(kind, &record, &written),
        source: record,
        raw_bytes: written.raw_bytes,
        added_bytes: fan_out.stored_bytes(),
    };
    let rows = rows(&meta.source, &written);
    let metadata = seal_metadata(&ready.writer, meta.clone(), &written)?;
    for object in &metadata.objects {
        fan_out.send(object).await;
    }
    let stored_bytes = fan_out.stored_bytes();
    let delivered = fan_out.finish().await;
    let commit = Commit {
        session,
        job,
        writer: &ready.writer,
        info: &ready.info,
        meta: &meta,
        recipe: metadata.recipe,
        metadata: &metadata.objects,
        packs: &written.needed,
    };
    let (root, mut copies) = commit.run(delivered).await?;
    // The snapshot is there: what this machine fails to remember about it costs deduplication only.
    if let Err(error) = written.cache.commit() {
        session.warn(name, format!("{error}; the next run stores again what this one added"));
    }
    copies.extend(ready.failed);
    copies.sort_by(|a, b| a.target.cmp(&b.target));
    let outcome = BackupOutcome {
        job: name.to_owned(),
        snapshot: meta.snapshot.clone(),
        started: meta.started.clone(),
        finished: clock::rfc3339(clock::now()),
        read_bytes: meta.raw_bytes,
        rows,
        parts: written.parts.len(),
        stored_bytes,
        copies,
        gaps: meta.source.gaps.clone(),
    };
    record_snapshot(session, &meta, &outcome, root.0, &root.1).await?;
    Ok(outcome)
}

fn context(session: &Session, job: &Job, work: PathBuf) -> Context {
    Context {
        job: job.name.to_string(),
        progress: Arc::clone(&session.progress),
        cancel: session.cancel.child_token(),
        lanes: job.backup.lanes,
        work,
    }
}

/// Opens targets, agrees on the repository, learns which packs are there, opens the chunk cache.
async fn prepare(session: &Session, job: &Job) -> Result<Ready, OperationError> {
    let state = session.config.state.clone();
    let recipients = session.config.keys.recipients.clone();
    if recipients.is_empty() {
        return Err(OperationError::new(Class::Config, "`keys.recipients` is empty: nobody could restore")
            .hint("`lifeboat keys new` makes a recovery key"));
    }
    let writer = {
        let _lock = lock::lock(&state, "writer").await?;
        tokio::task::spawn_blocking(move || Writer::open_or_create(&state, &recipients)).await.map_err(bug)??
    };
    let (mut looked, mut failed) = (vec![], vec![]);
    for target in session.targets(&job.backup.targets).await? {
        match try_target(session, &target).await {
            Ok((info, packs)) => looked.push(Looked { target, info, packs }),
            Err(error) => leave_out(session, job, &target, error, &mut failed)?,
        }
    }
    enough(job, looked.len(), &failed)?;
    let info = agree(session, &looked)?;
    let (mut targets, mut held) = (vec![], vec![]);
    for Looked { target, info: found, packs } in looked {
        match introduce(session, &target, found.is_none().then_some(&info)).await {
            Ok(()) => {
                targets.push(target);
                held.push(packs);
            }
            Err(error) => leave_out(session, job, &target, error, &mut failed)?,
        }
    }
    enough(job, targets.len(), &failed)?;
    let cache = open_cache(session, job, &writer, &targets, &held).await?;
    Ok(Ready { writer, info, targets, failed, cache })
}

/// A target that answers.
struct Looked {
    target: OpenTarget,
    /// The repository that it holds; `None` for an empty one.
    info: Option<RepositoryInfo>,
    packs: HashMap<ContentName, u64>,
}

/// Makes the place where it is new, and shows that it can be written and what it holds.
async fn try_target(
    session: &Session,
    target: &OpenTarget,
) -> Result<(Option<RepositoryInfo>, HashMap<ContentName, u64>), OperationError> {
    let state = &session.config.state;
    targets_known::prepare(state, target).await?;
    target.target.probe().await?;
    let info = read_info(target).await?;
    if info.is_none() && targets_known::is_known(state, target)? {
        return Err(targets_known::emptied(state, target));
    }
    Ok((info, list_packs(target).await?))
}

/// One target that fails costs its copy; what is not the target's fault ends the run.
fn leave_out(
    session: &Session,
    job: &Job,
    target: &OpenTarget,
    error: OperationError,
    failed: &mut Vec<CopyOutcome>,
) -> Result<(), OperationError> {
    // A target whose `lifeboat.json` is damaged is no worse than one that is away.
    if !matches!(error.class, Class::Target | Class::Integrity) {
        return Err(error.place(format!("target `{}`", target.name)));
    }
    session.warn(job.name.as_str(), format!("target `{}` is left out: {error}", target.name));
    failed.push(CopyOutcome::failed(target, &error));
    Ok(())
}

/// Whether the quorum can still be reached.
pub fn enough(job: &Job, working: usize, failed: &[CopyOutcome]) -> Result<(), OperationError> {
    if working >= job.backup.quorum && working > 0 {
        return Ok(());
    }
    let causes: Vec<_> = failed.iter().map(CopyOutcome::text).collect();
    let mut hints: Vec<_> = failed.iter().map(|copy| copy.hint.as_str()).filter(|hint| !hint.is_empty()).collect();
    hints.dedup();
    let mut hint = if hints.is_empty() { "mend the target".to_owned() } else { hints.join("; ") };
    if job.backup.quorum > 1 {
        hint.push_str("; or lower `backup.quorum` in the job");
    }
    Err(OperationError::new(
        Class::Target,
        format!(
            "{working} of {} targets work, `quorum` asks for {}; no snapshot was committed",
            job.backup.targets.len(),
            job.backup.quorum
        ),
    )
    .cause(causes.join("; "))
    .hint(hint))
}

/// The one repository that all targets hold or will hold.
fn agree(session: &Session, looked: &[Looked]) -> Result<RepositoryInfo, OperationError> {
    let pinned = pinned_repository(session);
    let known = || looked.iter().filter_map(|looked| Some((&looked.target, looked.info.as_ref()?)));
    let info = match (known().next(), &pinned) {
        (Some((_, info)), _) => info.clone(),
        (None, Some(pinned)) => RepositoryInfo { repository: pinned.clone(), ..RepositoryInfo::create() },
        (None, None) => RepositoryInfo::create(),
    };
    let wanted = pinned.as_ref().unwrap_or(&info.repository);
    if let Some((target, other)) = known().find(|(_, other)| other.repository != *wanted) {
        return Err(OperationError::new(
            Class::Config,
            format!("target `{}` holds repository {}, not {wanted}", target.name, other.repository),
        )
        .place(target.target.place())
        .hint("give each repository its own folder or prefix"));
    }
    pin_repository(session, &info.repository)?;
    Ok(info)
}

/// Makes a target one of this repository: an empty one gets `new`, and from now on it is known.
async fn introduce(session: &Session, target: &OpenTarget, new: Option<&RepositoryInfo>) -> Result<(), OperationError> {
    if let Some(info) = new {
        let object = SealedObject::new(layout::info(), Bytes::from(info.encode())).expect("a public kind");
        target.target.put(&object).await?;
    }
    targets_known::remember(&session.config.state, target)
}

/// Which repository this installation writes to: an emptied target must not pass for a new one unnoticed.
fn pinned_repository(session: &Session) -> Option<String> {
    let text = std::fs::read_to_string(session.config.state.join("repository")).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn pin_repository(session: &Session, repository: &str) -> Result<(), OperationError> {
    if pinned_repository(session).as_deref() == Some(repository) {
        return Ok(());
    }
    chain::write_durably(&session.config.state.join("repository"), format!("{repository}\n").as_bytes())
}

pub async fn list_packs(target: &OpenTarget) -> Result<HashMap<ContentName, u64>, OperationError> {
    let listed = target.target.list(layout::PACKS).await?;
    Ok(listed.iter().filter_map(|object| Some((layout::content_name(&object.key)?, object.size))).collect())
}

/// Opens the job's cache for the present epoch; a new or lost one is filled from the index objects.
async fn open_cache(
    session: &Session,
    job: &Job,
    writer: &Writer,
    targets: &[OpenTarget],
    held: &[HashMap<ContentName, u64>],
) -> Result<ChunkCache, OperationError> {
    let folder = session.config.state.join("chunks");
    std::fs::create_dir_all(&folder).map_err(local("the chunk cache"))?;
    let file =
        folder.join(format!("{}-{}.redb", crate::domain::PartName::component(job.name.as_str()), writer.epoch.id));
    // With its size: a pack that was cut counts as missing, so that its chunks are stored again or it is copied anew.
    let any: HashSet<(ContentName, u64)> = held.iter().flatten().map(|(name, size)| (*name, *size)).collect();
    let empty = ChunkCache::is_empty(&file);
    let mut cache = ChunkCache::open(&file, |pack, size| any.contains(&(*pack, size)))?;
    if empty && !any.is_empty() {
        let keys = writer.index_identities();
        for target in targets {
            let Ok(listed) = target.target.list("index/").await else { continue };
            for object in listed {
                // An index that is another writer's, damaged or gone costs deduplication only.
                let Ok(bytes) = target.target.get(&object.key, INDEX_BYTES_MAX).await else { continue };
                if layout::check_content(&object.key, &bytes).is_err() {
                    continue;
                }
                let Ok(plain) = crypt::open(object.key.as_str(), &bytes, &keys, RECIPE_RAW_BYTES_MAX) else { continue };
                if let Ok(found) = index::decode(object.key.as_str(), &plain)
                    && found.epoch == writer.epoch.id
                {
                    cache.absorb(&found.packs, |pack, size| any.contains(&(*pack, size)))?;
                }
            }
        }
    }
    Ok(cache)
}

/// Streams the source into the repository and the packs to the targets.
async fn dump(
    session: &Session,
    job: &Job,
    source: &dyn Source,
    context: &Context,
    ready: Ready,
    total: u64,
) -> Result<(SourceRecord, Written, Preserved, FanOut), OperationError> {
    let Ready { writer, info, targets, failed, cache } = ready;
    let fan_out = FanOut::start(&targets, &context.cancel);
    let keys = SealKeys::new(&writer.epoch.public)?;
    let pipeline = Pipeline::start(keys, *writer.chunk_key(), job.backup.level, cache, Box::new(fan_out.sender()))?;
    let done = Arc::new(AtomicU64::new(0));
    let sink: Arc<dyn PartSink> = Arc::new(BackupSink::new(Arc::clone(&pipeline), Arc::clone(&done)));
    session.phase(job.name.as_str(), "dump", source.describe());
    let progress = tell_progress(session, job, &done, total);
    let dumped = source.dump(context, sink).await;
    progress.abort();
    let record = match dumped {
        Ok(record) => record,
        Err(error) => {
            context.cancel.cancel();
            pipeline.poison(crate::repository::RepositoryError::Cancelled);
            // The targets know best why the repository stopped taking bytes.
            let finished = tokio::task::spawn_blocking(move || pipeline.finish()).await;
            drop(finished);
            let error = OperationError::from(error).place(source.describe());
            return Err(blame(job, error, fan_out).await);
        }
    };
    let written = match tokio::task::spawn_blocking(move || pipeline.finish()).await.map_err(bug)? {
        Ok(written) => written,
        Err(error) => return Err(blame(job, error.into(), fan_out).await),
    };
    Ok((record, written, Preserved { writer, info, failed }, fan_out))
}

/// The targets' own account of why a dump could not go on, if they have one; else the error itself.
async fn blame(job: &Job, error: OperationError, fan_out: FanOut) -> OperationError {
    let delivered = fan_out.finish().await.into_iter();
    let refused: Vec<_> = delivered
        .filter_map(|delivered| Some(CopyOutcome::failed(&delivered.target, &delivered.outcome.err()?.into())))
        .filter(|copy| !copy.text().contains("cancelled"))
        .collect();
    if refused.is_empty() { error } else { enough(job, 0, &refused).err().unwrap_or(error) }
}

/// [`Ready`] without the cache, which went into the pipeline, and the targets, which the fan-out has.
struct Preserved {
    writer: Writer,
    info: RepositoryInfo,
    failed: Vec<CopyOutcome>,
}

fn tell_progress(session: &Session, job: &Job, done: &Arc<AtomicU64>, total: u64) -> tokio::task::JoinHandle<()> {
    let (progress, job, done) = (Arc::clone(&session.progress), job.name.to_string(), Arc::clone(done));
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(PROGRESS_EVERY).await;
            progress.event(Event::Advance {
                job: job.clone(),
                phase: "dump".to_owned(),
                done_bytes: done.load(Ordering::Relaxed),
                total_bytes: (total > 0).then_some(total),
            });
        }
    })
}

/// What a person said a backup of this job must look like at least.
async fn guard(session: &Session, job: &Job, record: &SourceRecord, written: &Written) -> Result<(), OperationError> {
    if let Some(max_shrink) = job.backup.guard.max_shrink
        && let Some((before, _)) = session.catalog.newest_snapshot(job.name.as_str()).await?
    {
        #[expect(clippy::cast_precision_loss, reason = "a share in percent")]
        let shrink = 1.0 - written.raw_bytes as f64 / before.raw_bytes.max(1) as f64;
        if shrink > max_shrink {
            return Err(OperationError::new(
                Class::Source,
                format!(
                    "the dump shrank by {:.0} % to {}, `guard.max_shrink` allows {:.0} %",
                    shrink * 100.0,
                    human_bytes(written.raw_bytes),
                    max_shrink * 100.0
                ),
            )
            .place(record.summary.clone())
            .hint(format!(
                "nothing was committed; snapshot {} of {} is the newest; if the source has really shrunk, raise the guard \
                 for one run",
                before.id, before.started
            )));
        }
    }
    if let Some(min) = job.backup.guard.min_bytes
        && written.raw_bytes < min
    {
        return Err(OperationError::new(
            Class::Source,
            format!("the dump has {}, `guard.min_bytes` asks for {}", human_bytes(written.raw_bytes), human_bytes(min)),
        )
        .place(record.summary.clone())
        .hint("nothing was committed; if the source has really shrunk, lower the guard"));
    }
    Ok(())
}

fn rows(record: &SourceRecord, written: &Written) -> u64 {
    let by_name: HashMap<_, _> = written.parts.iter().map(|part| (&part.name, part.fingerprint.records)).collect();
    // Other groups hold lines of SQL, which nobody calls rows.
    let counted = record.groups.iter().filter(|group| group.engine_count.is_some());
    counted.flat_map(|group| &group.parts).filter_map(|part| by_name.get(part)).sum()
}

fn guide(kind: &dyn crate::sources::SourceKind, record: &SourceRecord, written: &Written) -> String {
    let stored = written.parts.iter().filter(|part| part.shape != Shape::Digest);
    let files: Vec<_> = stored.map(|part| (part.name.clone(), part.name.to_string())).collect();
    kind.loading_guide(record, &files)
}

struct Metadata {
    recipe: ContentName,
    /// Index (if packs were added), then recipe: the commit order.
    objects: Vec<SealedObject>,
}

fn seal_metadata(writer: &Writer, meta: Meta, written: &Written) -> Result<Metadata, OperationError> {
    let mut objects = vec![];
    if !written.added.is_empty() {
        let plain = index::encode(&Index { epoch: writer.epoch.id.clone(), packs: written.added.clone() });
        let sealed = crypt::seal(&plain, &writer.index_recipients()?)?;
        objects.push(sealed_object(layout::index(&ContentName::of(&sealed)), sealed));
    }
    let text = recipe::encode(&Recipe { meta, parts: written.parts.clone() });
    let packed = zstd::bulk::compress(&text, METADATA_LEVEL).map_err(local("the recipe"))?;
    let sealed = crypt::seal(&packed, &crypt::recipients(std::slice::from_ref(&writer.epoch.public))?)?;
    let recipe = ContentName::of(&sealed);
    objects.push(sealed_object(layout::recipe(&recipe), sealed));
    Ok(Metadata { recipe, objects })
}

fn sealed_object(key: crate::domain::ObjectKey, bytes: Vec<u8>) -> SealedObject {
    SealedObject::new(key, Bytes::from(bytes)).expect("an age file under an age name")
}

async fn record_snapshot(
    session: &Session,
    meta: &Meta,
    outcome: &BackupOutcome,
    sequence: u64,
    root_sum: &ContentName,
) -> Result<(), OperationError> {
    let row = SnapshotRow {
        id: meta.snapshot.to_string(),
        job: meta.job.to_string(),
        writer: meta.writer.to_string(),
        sequence,
        root_sum: root_sum.hex(),
        started: meta.started.clone(),
        finished: meta.finished.clone(),
        raw_bytes: meta.raw_bytes,
        added_bytes: outcome.stored_bytes,
        rows: outcome.rows,
        instants: serde_json::to_string(&meta.source.instants).expect("plain data"),
        gaps: serde_json::to_string(&meta.source.gaps).expect("plain data"),
    };
    let copies: Vec<_> = outcome
        .copies
        .iter()
        .map(|copy| CopyRow {
            snapshot: meta.snapshot.to_string(),
            target: copy.target.clone(),
            place: copy.place.clone(),
            state: copy.state.clone(),
            at: copy.committed().then(|| outcome.finished.clone()),
            error: copy.error.clone(),
        })
        .collect();
    Ok(session.catalog.put_snapshot(&row, &copies).await?)
}

pub fn local<E: ToString>(what: &'static str) -> impl Fn(E) -> OperationError {
    move |why| OperationError::new(Class::Bug, format!("{what} cannot be used")).cause(why)
}

pub fn bug(why: tokio::task::JoinError) -> OperationError {
    OperationError::new(Class::Bug, "a task ended unexpectedly").cause(why)
}
