//! Finding snapshots at a target and opening one: signature, chain, keys, recipe.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::error::{bug, local};
use super::limits::{EPOCH_BYTES_MAX, RECIPE_BYTES_MAX, RECIPE_RAW_BYTES_MAX, SIGNATURE_BYTES_MAX};
use super::session::{OpenTarget, Session, read_info};
use super::{Class, OperationError};
use crate::domain::{Event, JobName, ObjectKey, Progress, SnapshotId, StoreError, WriterId};
use crate::repository::RepositoryError;
use crate::repository::crypt::{self, Identities};
use crate::repository::layout::{self, ContentName};
use crate::repository::recipe::{self, Recipe};
use crate::repository::root::{ROOT_BYTES_MAX, Root};
use crate::repository::store::{Fetch, Store};
use crate::repository::writer::{self, Writer};
use crate::targets::TargetError;

/// Which snapshot of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    Latest,
    /// A whole id or the beginning of one.
    Id(String),
    /// The newest that started at or before this time.
    At(jiff::Timestamp),
}

/// One committed snapshot at one target, its signature verified.
#[derive(Debug, Clone)]
pub struct Found {
    pub root: Root,
    pub key: ObjectKey,
    /// SHA-256 of the root: what the next one names as `previous`.
    pub sum: ContentName,
}

/// Everything that a target shows, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Listing {
    /// By time of the dump's start, oldest first.
    pub snapshots: Vec<Found>,
    /// Roots that do not verify, gaps in a chain: said, never hidden.
    pub problems: Vec<String>,
}

impl Listing {
    /// Every snapshot of several targets, once each.
    pub fn of_all<'a>(listings: impl Iterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for listing in listings {
            all.snapshots.extend(listing.snapshots.iter().cloned());
            all.problems.extend(listing.problems.iter().cloned());
        }
        all.sort();
        all.snapshots.dedup_by(|a, b| a.root.snapshot == b.root.snapshot);
        all
    }

    fn sort(&mut self) {
        self.snapshots.sort_by(|a, b| {
            let place =
                |found: &Found| (found.root.started.clone(), found.root.sequence, found.root.snapshot.to_string());
            place(a).cmp(&place(b))
        });
    }
}

/// Reads and verifies every root at a target.
pub async fn list(session: &Session, target: &OpenTarget) -> Result<Listing, OperationError> {
    if read_info(target).await?.is_none() {
        return Err(OperationError::new(Class::NotFound, format!("target `{}` holds no repository", target.name))
            .place(target.target.place())
            .hint("`lifeboat backup now` makes one; if there was one, the target may be unmounted or emptied"));
    }
    let listed = target.target.list(layout::SNAPSHOTS).await?;
    let keys: Vec<ObjectKey> =
        listed.into_iter().map(|object| object.key).filter(|key| layout::parse_root(key).is_some()).collect();
    let trusted = Trust::new(session, target).await?;
    let mut listing = Listing::default();
    listing.problems.extend(trusted.warning.clone());
    for key in keys {
        match read_root(target, &key, &trusted.keys).await {
            Ok(found) => listing.snapshots.push(found),
            Err(error) if matches!(error.class, Class::Integrity) => {
                let advice = error.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
                listing.problems.push(format!("{error}{advice}"));
            }
            Err(error) => return Err(error),
        }
    }
    listing.sort();
    let known = session.catalog.committed_at(target.name.as_str(), &target.target.place()).await?;
    listing.problems.extend(chain_problems(&listing.snapshots));
    listing.problems.extend(absences(&listing.snapshots, &known));
    Ok(listing)
}

/// Whose signatures count.
struct Trust {
    keys: Vec<String>,
    warning: Option<String>,
}

impl Trust {
    /// This installation's own key and those of the configuration. With neither (a new machine that restores), the keys that
    /// the repository itself shows are taken, and that is said.
    async fn new(session: &Session, target: &OpenTarget) -> Result<Self, OperationError> {
        let mut keys = session.config.keys.trusted_writers.clone();
        let own = Writer::public_key(&session.config.state);
        let pinned = !keys.is_empty() || own.is_some();
        keys.extend(own);
        if pinned {
            return Ok(Self { keys, warning: None });
        }
        for listed in target.target.list(layout::WRITERS).await? {
            let bytes = target.target.get(&listed.key, SIGNATURE_BYTES_MAX).await?;
            let text = String::from_utf8_lossy(&bytes);
            keys.extend(text.lines().nth(1).map(str::to_owned));
        }
        let warning = (!keys.is_empty()).then(|| {
            "no writer's key is pinned here, so signatures are checked against the keys in the repository itself; set \
             `keys.trusted_writers`"
                .to_owned()
        });
        Ok(Self { keys, warning })
    }
}

/// Fetches a root with its signature and verifies it against the public keys that are trusted.
pub(super) async fn read_root(
    target: &OpenTarget,
    key: &ObjectKey,
    trusted: &[String],
) -> Result<Found, OperationError> {
    let bytes = target.target.get(key, ROOT_BYTES_MAX).await.map_err(damage)?;
    let signature = match target.target.get(&layout::signature(key), SIGNATURE_BYTES_MAX).await {
        Ok(signature) => String::from_utf8_lossy(&signature).into_owned(),
        Err(TargetError::NotFound { .. }) => String::new(),
        Err(error) => return Err(damage(error)),
    };
    let root = writer::verify_root(key.as_str(), &bytes, &signature, trusted)?;
    Ok(Found { root, key: key.clone(), sum: ContentName::of(&bytes) })
}

/// Numbers given twice, and roots that do not continue the one before.
fn chain_problems(snapshots: &[Found]) -> Vec<String> {
    let mut problems = vec![];
    for (writer, chain) in by_writer(snapshots) {
        for pair in chain.windows(2) {
            let (before, next) = (&pair[0], &pair[1].root);
            if next.sequence == before.root.sequence {
                problems.push(format!("writer {writer} has two roots with number {}", next.sequence));
            } else if next.sequence == before.root.sequence + 1 && next.previous != Some(before.sum) {
                problems.push(format!(
                    "root {} of writer {writer} does not continue root {}: one of them is not what was written",
                    next.sequence, before.root.sequence
                ));
            }
        }
    }
    problems
}

/// Snapshots that were stored here and are gone, and gaps of which nothing here is known. A gap that the catalog explains (a
/// job that does not use this target, a target that was away) is none.
///
/// `known`: writer, number, and whether the catalog saw it committed at this target.
fn absences(snapshots: &[Found], known: &[(String, u64, bool)]) -> Vec<String> {
    let chains = by_writer(snapshots);
    let shown: HashSet<(&str, u64)> =
        snapshots.iter().map(|found| (found.root.writer.as_str(), found.root.sequence)).collect();
    let mut gone: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (writer, sequence, committed) in known {
        if *committed && !shown.contains(&(writer.as_str(), *sequence)) {
            gone.entry(writer).or_default().push(*sequence);
        }
    }
    let mut problems: Vec<String> = gone
        .into_iter()
        .map(|(writer, mut numbers)| {
            numbers.sort_unstable();
            let (count, last) = (numbers.len(), numbers[numbers.len() - 1]);
            format!("{count} of writer {writer}'s snapshots, number {last} the newest, were stored here and are gone")
        })
        .collect();
    let known: HashSet<(&str, u64)> = known.iter().map(|(writer, sequence, _)| (writer.as_str(), *sequence)).collect();
    for (writer, chain) in chains {
        let (first, last) = (chain[0].root.sequence, chain[chain.len() - 1].root.sequence);
        let present: HashSet<u64> = chain.iter().map(|found| found.root.sequence).collect();
        let explained = known.iter().filter(|(of, number)| {
            *of == writer.as_str() && (first..=last).contains(number) && !present.contains(number)
        });
        // By counting: a forged number would make a loop over the gap endless.
        let missing = (last - first + 1).saturating_sub(present.len() as u64 + explained.count() as u64);
        if missing > 0 {
            problems.push(format!(
                "{missing} of writer {writer}'s snapshots between number {first} and {last} are not at this target, and \
                 nothing here says why"
            ));
        }
    }
    problems
}

/// Each writer's roots by number; none is empty.
fn by_writer(snapshots: &[Found]) -> BTreeMap<&WriterId, Vec<&Found>> {
    let mut chains: BTreeMap<&WriterId, Vec<&Found>> = BTreeMap::new();
    for found in snapshots {
        chains.entry(&found.root.writer).or_default().push(found);
    }
    for chain in chains.values_mut() {
        chain.sort_by_key(|found| found.root.sequence);
    }
    chains
}

/// The snapshot of a job that a selector names.
pub fn choose<'a>(listing: &'a Listing, job: &JobName, selector: &Selector) -> Result<&'a Found, OperationError> {
    let of_job = || listing.snapshots.iter().filter(|found| found.root.job == *job);
    let not_found = |what: String| {
        let newest: Vec<_> =
            of_job().rev().take(3).map(|found| format!("{} of {}", found.root.snapshot, found.root.started)).collect();
        let hint = if newest.is_empty() {
            listing.problems.first().cloned().unwrap_or_else(|| "`lifeboat snapshots` lists what there is".to_owned())
        } else {
            format!("the newest are {}", newest.join(", "))
        };
        OperationError::new(Class::NotFound, what).hint(hint)
    };
    match selector {
        Selector::Latest => of_job().next_back().ok_or_else(|| not_found(format!("job `{job}` has no snapshot"))),
        Selector::Id(id) => {
            let matching: Vec<_> =
                of_job().filter(|found| found.root.snapshot.as_str().starts_with(id.as_str())).collect();
            match matching[..] {
                [only] => Ok(only),
                [] => Err(not_found(format!("job `{job}` has no snapshot `{id}`"))),
                _ => Err(not_found(format!("`{id}` is the beginning of {} snapshots of job `{job}`", matching.len()))),
            }
        }
        Selector::At(time) => of_job()
            .rfind(|found| found.root.started.parse::<jiff::Timestamp>().is_ok_and(|started| started <= *time))
            .ok_or_else(|| not_found(format!("job `{job}` has no snapshot from {time} or before"))),
    }
}

/// A snapshot whose recipe has been read: ready to be restored.
pub struct OpenSnapshot {
    pub root: Root,
    pub recipe: Recipe,
    pub store: Arc<Store>,
}

/// The job's newest snapshot that this installation committed to the target and that the target does not show: it was rolled
/// back, or its root is damaged. A signature cannot tell what is not there; the catalog can.
pub async fn lost_newest(
    session: &Session,
    target: &OpenTarget,
    job: &JobName,
    listing: &Listing,
) -> Result<Option<String>, OperationError> {
    let Some((newest, copies)) = session.catalog.newest_snapshot(job.as_str()).await? else { return Ok(None) };
    let committed = copies.iter().any(|copy| {
        copy.target == target.name.as_str() && copy.place == target.target.place() && copy.state == "committed"
    });
    let shown = listing.snapshots.iter().any(|found| found.root.snapshot.as_str() == newest.id);
    let lost = committed && !shown;
    Ok(lost.then(|| {
        format!(
            "snapshot {} of {} was committed here and its root is missing or does not verify",
            newest.id, newest.started
        )
    }))
}

/// Fetches keys and recipe, decrypts and checks them. Packs are fetched as parts are read, from `others` where the target
/// itself does not have them whole.
pub async fn open(
    session: &Session,
    target: &OpenTarget,
    others: &[OpenTarget],
    found: &Found,
    identities: &Identities,
) -> Result<OpenSnapshot, OperationError> {
    let root = found.root.clone();
    let epoch = epoch_identities(target, &root, identities).await?;
    let key = layout::recipe(&root.recipe);
    let sealed = target.target.get(&key, RECIPE_BYTES_MAX).await.map_err(missing)?;
    layout::check_content(&key, &sealed)?;
    let plain = crypt::open(key.as_str(), &sealed, &epoch, RECIPE_RAW_BYTES_MAX)?;
    let recipe = tokio::task::spawn_blocking(move || {
        let text = zstd::bulk::decompress(&plain, recipe_bytes(&plain)?).map_err(local("the recipe"))?;
        Ok::<_, OperationError>(recipe::decode(key.as_str(), &text)?)
    })
    .await
    .map_err(bug)??;
    if recipe.meta.snapshot != root.snapshot || recipe.meta.job != root.job {
        return Err(OperationError::new(
            Class::Integrity,
            format!("the recipe of snapshot {} belongs to another snapshot", root.snapshot),
        ));
    }
    let epoch = epoch_identities(target, &root, identities).await?;
    let mut store = Store::new(&recipe, epoch, fetch(target, &root, None)).shelved_in(session.config.state.clone());
    for other in others {
        store = store.or_from(fetch(other, &root, Some(Arc::clone(&session.progress))));
    }
    Ok(OpenSnapshot { root, recipe, store: Arc::new(store) })
}

fn recipe_bytes(packed: &[u8]) -> Result<usize, OperationError> {
    let size = zstd_safe::get_frame_content_size(packed).ok().flatten().and_then(|size| usize::try_from(size).ok());
    size.filter(|size| *size <= RECIPE_RAW_BYTES_MAX)
        .ok_or_else(|| OperationError::new(Class::Integrity, "the recipe states no size or one over the bound"))
}

async fn epoch_identities(
    target: &OpenTarget,
    root: &Root,
    identities: &Identities,
) -> Result<Identities, OperationError> {
    let key = layout::epoch(&root.epoch);
    let sealed = target.target.get(&key, EPOCH_BYTES_MAX).await.map_err(missing)?;
    crypt::open_epoch(&root.epoch, &sealed, identities).map_err(|error| {
        // A bent header looks like one for somebody else. The file may have been wrapped anew since the root was signed, so
        // another sum alone proves nothing.
        let signed = root.objects.iter().find(|needed| needed.key == key).map(|needed| needed.sum);
        match error {
            RepositoryError::WrongKey { .. } if signed.is_some_and(|sum| sum != ContentName::of(&sealed)) => {
                let what = format!("`{key}` is damaged, or no identity at hand opens it");
                OperationError::new(Class::Integrity, what).cause(error)
            }
            other => other.into(),
        }
    })
}

/// A root that is larger than any, or that went away after it was listed, says nothing about the others.
fn damage(error: TargetError) -> OperationError {
    match error {
        TargetError::Oversized { .. } => OperationError::new(Class::Integrity, error.to_string()),
        other => missing(other),
    }
}

/// An object that a signed root names and the target does not hold is a damage, not a typing error.
fn missing(error: TargetError) -> OperationError {
    match error {
        TargetError::NotFound { key, place } => {
            OperationError::new(Class::Integrity, format!("`{key}` is missing")).place(place)
        }
        other => other.into(),
    }
}

/// Lets the store's blocking threads read from an async target. One that stands in for another says so.
fn fetch(target: &OpenTarget, root: &Root, stands_in: Option<Arc<dyn Progress>>) -> Fetch {
    let runtime = Handle::current();
    let target = target.clone();
    let snapshot: SnapshotId = root.snapshot.clone();
    let job = root.job.to_string();
    Box::new(move |key, size_max| -> Result<Bytes, StoreError> {
        if let Some(progress) = &stands_in {
            let message = format!(
                "`{key}` is read from target `{}`: it is missing or damaged where it was looked for",
                target.name
            );
            progress.event(Event::Warning { job: job.clone(), message });
        }
        runtime.block_on(target.target.get(key, size_max)).map_err(|error| store_error(error, &snapshot))
    })
}

fn store_error(error: TargetError, snapshot: &SnapshotId) -> StoreError {
    match error {
        TargetError::NotFound { key, place } => StoreError::Damaged {
            what: format!("`{key}`"),
            why: format!("missing at {place}, and snapshot {snapshot} needs it"),
        },
        other => StoreError::Unreachable(other.to_string()),
    }
}
