//! Everything that is settled before the first byte is read: which targets answer, that they hold one and the same
//! repository, which packs they show, and the chunk cache. A target that fails here costs its copy, not the run, as long as
//! the quorum can be reached.
//!
//! Memory: the names and sizes of all packs of each target, about 64 bytes a pack, and one index object at a time
//! ([`INDEX_BYTES_MAX`]).

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::Job;
use crate::domain::{JobName, PartName, SealedObject};
use crate::operations::copies::{CopyOutcome, enough};
use crate::operations::durable::write_durably;
use crate::operations::error::{bug, local};
use crate::operations::limits::{INDEX_BYTES_MAX, RECIPE_RAW_BYTES_MAX};
use crate::operations::session::{OpenTarget, Session, list_packs, read_info};
use crate::operations::{Class, OperationError, lock, targets_known};
use crate::repository::chunk_cache::ChunkCache;
use crate::repository::info::RepositoryInfo;
use crate::repository::layout::{self, ContentName};
use crate::repository::writer::Writer;
use crate::repository::{crypt, index};
use crate::sources::Context;

/// Everything that is settled before the first byte is read.
pub(super) struct Ready {
    pub(super) writer: Writer,
    pub(super) info: RepositoryInfo,
    /// Targets that answer; the others are in `failed`.
    pub(super) targets: Vec<OpenTarget>,
    pub(super) failed: Vec<CopyOutcome>,
    pub(super) cache: ChunkCache,
}

/// Opens targets, agrees on the repository, learns which packs are there, opens the chunk cache.
pub(super) async fn prepare(session: &Session, job: &Job) -> Result<Ready, OperationError> {
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

pub(super) fn context(session: &Session, job: &Job, work: PathBuf) -> Context {
    Context {
        job: job.name.to_string(),
        progress: Arc::clone(&session.progress),
        cancel: session.cancel.child_token(),
        lanes: job.backup.lanes,
        work,
        keep: keep(session, &job.name),
    }
}

/// Where a source keeps what helps its next run.
fn keep(session: &Session, job: &JobName) -> PathBuf {
    session.config.state.join("kept").join(PartName::component(job.as_str()))
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
    write_durably(&session.config.state.join("repository"), format!("{repository}\n").as_bytes())
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
    let file = folder.join(format!("{}-{}.redb", PartName::component(job.name.as_str()), writer.epoch.id));
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
