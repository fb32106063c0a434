//! The story of a restore: choose, open, load into a running system or write parts as plain files.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::bug;
use super::session::{OpenTarget, Session, kind};
use super::snapshots::{self, OpenSnapshot, Selector};
use super::work::WorkFolder;
use super::{Class, OperationError};
use crate::config::Section;
use crate::domain::{Block, JobName, PartName, PartStore, Place, Shape, SourceRecord, StoreError, human_bytes};
use crate::proof::RecordHasher;
use crate::sources::{Context, LoadReport, LoadRequest};

/// What to restore and where to.
#[derive(Debug, Clone)]
pub struct Request {
    pub job: JobName,
    pub selector: Selector,
    /// `None`: the job's targets in order, the first that holds it.
    pub from: Option<crate::domain::TargetName>,
    pub to: Destination,
    pub only: Vec<String>,
    pub overwrite: Vec<String>,
}

#[derive(Debug, Clone)]
pub enum Destination {
    System(Place),
    Folder(PathBuf),
}

/// What a restore would do, or did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct RestoreOutcome {
    pub job: String,
    /// Of the source: `redis`.
    pub kind: String,
    pub snapshot: String,
    pub of: String,
    pub from: String,
    pub to: String,
    pub parts: usize,
    pub bytes: u64,
    pub rows: u64,
    pub warnings: Vec<String>,
    /// Of a dry run: what it would take.
    pub plan: Vec<String>,
    pub files: Vec<PathBuf>,
}

/// Opens the snapshot that a request names, from the target that it names or the first that holds it and can be read.
pub async fn open(session: &Session, request: &Request) -> Result<(OpenTarget, OpenSnapshot), OperationError> {
    let identities = session.identities().await?;
    let names = match &request.from {
        Some(name) => vec![name.clone()],
        None => match session.config.jobs.iter().find(|job| job.name == request.job) {
            Some(job) => job.backup.targets.clone(),
            // A job that is no longer configured still restores.
            None => session.config.targets.keys().cloned().collect(),
        },
    };
    let mut last = None;
    let mut held = vec![];
    let targets = session.targets(&names).await?;
    for target in &targets {
        match snapshots::list(session, target).await {
            Ok(listing) => {
                let rolled_back = snapshots::lost_newest(session, target, &request.job, &listing).await?;
                for problem in listing.problems.iter().chain(&rolled_back) {
                    session.warn(request.job.as_str(), format!("target `{}`: {problem}", target.name));
                }
                held.push((target, listing));
            }
            Err(error) => last = Some(tell(session, request, target, names.len(), error)),
        }
    }
    // What is newest is decided over all targets: one of them may lag behind the others.
    let all = snapshots::Listing::of_all(held.iter().map(|(_, listing)| listing));
    let chosen = match snapshots::choose(&all, &request.job, &request.selector) {
        Ok(chosen) => chosen.root.snapshot.clone(),
        Err(error) => return Err(last.filter(|_| held.is_empty()).unwrap_or(error)),
    };
    let holders: Vec<_> = held
        .iter()
        .filter_map(|(target, listing)| {
            Some((target, listing.snapshots.iter().find(|found| found.root.snapshot == chosen)?))
        })
        .collect();
    for (target, found) in &holders {
        let others: Vec<_> = targets.iter().filter(|other| other.name != target.name).cloned().collect();
        match snapshots::open(session, target, &others, found, &identities).await {
            Ok(snapshot) => return Ok(((**target).clone(), snapshot)),
            Err(error) if matches!(error.class, Class::Key) => return Err(error),
            Err(error) => last = Some(tell(session, request, target, names.len(), error)),
        }
    }
    Err(last.unwrap_or_else(|| OperationError::new(Class::NotFound, "there are no targets to restore from")))
}

/// One target of several that cannot be read is worth a warning; the error says which it was.
fn tell(session: &Session, request: &Request, target: &OpenTarget, of: usize, error: OperationError) -> OperationError {
    if of > 1 {
        session.warn(request.job.as_str(), format!("target `{}`: {error}", target.name));
    }
    if error.place.is_some() { error } else { error.place(format!("target `{}`", target.name)) }
}

pub async fn run(session: &Session, request: &Request, dry_run: bool) -> Result<RestoreOutcome, OperationError> {
    let job = request.job.as_str();
    session.phase(job, "open", "reading the snapshot's recipe");
    let (target, snapshot) = open(session, request).await?;
    // What is chosen within a list is counted as it is loaded.
    let by_list = kind(&snapshot.recipe.meta.source.kind)?.restores_into_folders();
    let folder = match &request.to {
        Destination::Folder(folder) if by_list => {
            Some(Place::of_folder(&std::path::absolute(folder).map_err(|why| cannot_write(folder, &why))?))
        }
        _ => None,
    };
    let wanted = wanted_parts(&snapshot, request)?;
    let groups = snapshot.recipe.meta.source.groups.iter().filter(|group| group.engine_count.is_some());
    let with_rows: HashSet<&PartName> = groups.flat_map(|group| &group.parts).collect();
    let prints = || wanted.iter().filter_map(|name| Some((name, snapshot.store.fingerprint(name)?)));
    let mut outcome = RestoreOutcome {
        job: job.to_owned(),
        kind: snapshot.recipe.meta.source.kind.clone(),
        snapshot: snapshot.root.snapshot.to_string(),
        of: snapshot.root.started.clone(),
        from: format!("{} ({})", target.name, target.target.place()),
        to: match &request.to {
            Destination::System(place) => place.url.clone(),
            Destination::Folder(folder) => folder.display().to_string(),
        },
        parts: wanted.len(),
        bytes: prints().map(|(_, print)| print.bytes).sum(),
        rows: prints().filter(|(name, _)| with_rows.contains(name)).map(|(_, print)| print.records).sum::<u64>()
            + records_within(&snapshot, &request.only),
        warnings: vec![],
        plan: vec![],
        files: vec![],
    };
    if dry_run {
        match (&folder, &request.to) {
            (Some(place), _) | (None, Destination::System(place)) => {
                let LoadReport { warnings, plan, rows, bytes, .. } =
                    load(session, request, &snapshot, place, true).await?;
                (outcome.warnings, outcome.plan) = (warnings, plan);
                if by_list {
                    (outcome.rows, outcome.bytes) = (rows, bytes);
                }
            }
            (None, Destination::Folder(folder)) => refuse_full_folder(folder)?,
        }
        return Ok(outcome);
    }
    let bytes = if by_list { snapshot.recipe.meta.raw_bytes } else { outcome.bytes };
    session.phase(job, "load", format!("{} from {}", human_bytes(bytes), target.target.place()));
    match (&folder, &request.to) {
        (Some(place), _) | (None, Destination::System(place)) => {
            let LoadReport { warnings, rows, bytes, .. } = load(session, request, &snapshot, place, false).await?;
            outcome.warnings = warnings;
            if outcome.rows == 0 || by_list {
                outcome.rows = rows;
            }
            if by_list {
                outcome.bytes = bytes;
            }
        }
        (None, Destination::Folder(folder)) => {
            outcome.files = write_files(&snapshot, &wanted, folder).await?;
        }
    }
    Ok(outcome)
}

async fn load(
    session: &Session,
    request: &Request,
    snapshot: &OpenSnapshot,
    place: &Place,
    dry_run: bool,
) -> Result<LoadReport, OperationError> {
    let work = WorkFolder::make(&session.config.state).await?;
    let context = Context {
        job: request.job.to_string(),
        progress: Arc::clone(&session.progress),
        cancel: session.cancel.child_token(),
        lanes: lanes(session, &request.job),
        keep: work.path().join("kept"),
        work: work.path().to_owned(),
    };
    let load = LoadRequest {
        place: place.clone(),
        only: request.only.clone(),
        overwrite: request.overwrite.clone(),
        programs: program_folders(session, &request.job, &snapshot.recipe.meta.source)?,
        scratch: false,
        source: source_of(session, &request.job, &snapshot.recipe.meta.source),
        sample: None,
        dry_run,
    };
    let record = &snapshot.recipe.meta.source;
    if place.url == "command:" && record.kind != "command" {
        let what =
            format!("`--to command:` is for jobs of commands, and job `{}` is of `{}`", request.job, record.kind);
        return Err(OperationError::new(Class::Usage, what).hint("name a server by its URL, or a folder"));
    }
    let store: Arc<dyn PartStore> = Arc::clone(&snapshot.store) as _;
    let loaded = kind(&record.kind)?.load(&context, record, store, &load).await;
    loaded.map_err(|error| {
        let error = OperationError::from(error).during(format!("job `{}` did not restore", request.job));
        // A restore is no restore test: what is lacking here keeps it from being done.
        if error.class == Class::Unproven { OperationError { class: Class::Source, ..error } } else { error }
    })
}

/// Where the job, if it is still configured, finds its engine's programs.
pub fn program_folders(
    session: &Session,
    job: &JobName,
    record: &SourceRecord,
) -> Result<Vec<PathBuf>, OperationError> {
    let kind = kind(&record.kind)?;
    let job = session.config.job(job).filter(|job| job.kind == record.kind);
    Ok(job.map_or_else(Vec::new, |job| kind.program_folders(&job.source)))
}

/// The job's `[source]` table, where it is still configured as what was backed up.
pub fn source_of(session: &Session, job: &JobName, record: &SourceRecord) -> Option<Section> {
    session.config.job(job).filter(|job| job.kind == record.kind).map(|job| job.source.clone())
}

pub fn lanes(session: &Session, job: &JobName) -> usize {
    session.config.jobs.iter().find(|known| known.name == *job).map_or(2, |job| job.backup.lanes)
}

/// Records that are stored within a part of bytes, by the digests that are recorded of them; none where only some are chosen.
fn records_within(snapshot: &OpenSnapshot, only: &[String]) -> u64 {
    if !only.is_empty() {
        return 0;
    }
    let digests = snapshot.recipe.parts.iter().filter(|part| part.shape == Shape::Digest);
    digests.map(|part| part.fingerprint.records).sum()
}

/// The parts that `--only` names: a part, a group, what the kind of source finds within a part, or everything.
fn wanted_parts(snapshot: &OpenSnapshot, request: &Request) -> Result<Vec<PartName>, OperationError> {
    let all = snapshot.store.names();
    if request.only.is_empty() {
        return Ok(all);
    }
    let source = &snapshot.recipe.meta.source;
    let kind = kind(&source.kind)?;
    let groups = &source.groups;
    let mut wanted = vec![];
    for name in &request.only {
        if let Some(holding) = kind.holding(source, name) {
            let whole = holding.iter().any(|part| part.as_str() == name);
            if !whole && matches!(request.to, Destination::Folder(_)) && !kind.restores_into_folders() {
                let what = format!("`{name}` is not a file of its own");
                return Err(OperationError::new(Class::Usage, what)
                    .hint("restore it into a server, or everything into the folder; nothing was written"));
            }
            wanted.extend(holding);
            continue;
        }
        // A database of several, whole: its parts lie below its name.
        if source.instants.len() > 1 && source.instants.iter().any(|instant| instant.of == format!("database {name}")) {
            let below = format!("{}/", PartName::component(name));
            wanted.extend(all.iter().filter(|part| part.as_str().starts_with(&below)).cloned());
            continue;
        }
        let matches =
            |full: &str| full == name || full.ends_with(&format!("/{name}")) || full.ends_with(&format!(".{name}"));
        let of_groups: Vec<_> = groups.iter().filter(|group| matches(&group.name)).collect();
        match of_groups[..] {
            [group] => wanted.extend(group.parts.iter().cloned()),
            [] => {
                let parts: Vec<_> = all.iter().filter(|part| matches(part.as_str())).cloned().collect();
                if parts.is_empty() {
                    return Err(no_such_part(name, groups.iter().map(|group| group.name.as_str())));
                }
                wanted.extend(parts);
            }
            _ => {
                let names: Vec<_> = of_groups.iter().map(|group| format!("`{}`", group.name)).collect();
                return Err(OperationError::new(Class::Usage, format!("`{name}` is ambiguous"))
                    .hint(format!("say one of {}", names.join(", "))));
            }
        }
    }
    wanted.sort();
    wanted.dedup();
    Ok(wanted)
}

fn no_such_part<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> OperationError {
    let nearest = known
        .max_by(|a, b| strsim::jaro_winkler(last(a), last(name)).total_cmp(&strsim::jaro_winkler(last(b), last(name))));
    OperationError::new(Class::NotFound, format!("the snapshot holds no part `{name}`"))
        .hint(nearest.map(|nearest| format!("did you mean `{nearest}`?")).unwrap_or_default())
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Writes parts as plain files with a README that says how to load them. Nothing is left under the final name until a file is
/// whole and its fingerprint equals the recorded one.
async fn write_files(
    snapshot: &OpenSnapshot,
    wanted: &[PartName],
    folder: &Path,
) -> Result<Vec<PathBuf>, OperationError> {
    refuse_full_folder(folder)?;
    std::fs::create_dir_all(folder).map_err(|why| cannot_write(folder, &why))?;
    let record = &snapshot.recipe.meta.source;
    let kind = kind(&record.kind)?;
    let mut files = vec![];
    let mut named = vec![];
    for name in wanted {
        let relative = kind.file_name(name).unwrap_or_else(|| file_name(name));
        let path = folder.join(&relative);
        let (store, name, target) = (Arc::clone(&snapshot.store), name.clone(), path.clone());
        let shape = snapshot.recipe.parts.iter().find(|part| part.name == name).map(|part| part.shape);
        let part = name.clone();
        tokio::task::spawn_blocking(move || write_part(store.as_ref(), &part, shape.unwrap_or(Shape::Bytes), &target))
            .await
            .map_err(bug)??;
        named.push((name, relative));
        files.push(path);
    }
    let guide = kind.loading_guide(record, &named);
    let readme = folder.join("README.md");
    let head = format!(
        "# Job `{}`, snapshot {} of {}\n\n{}\n\n",
        snapshot.root.job, snapshot.root.snapshot, snapshot.root.started, record.summary
    );
    std::fs::write(&readme, head + &guide).map_err(|why| cannot_write(&readme, &why))?;
    files.push(readme);
    Ok(files)
}

/// A part's name as a relative path; components too long for a file system are cut and made unique by a hash.
fn file_name(name: &PartName) -> String {
    const COMPONENT_BYTES_MAX: usize = 200;
    let shorten = |component: &str| {
        if component.len() <= COMPONENT_BYTES_MAX {
            return component.to_owned();
        }
        let hash = blake3::hash(component.as_bytes()).to_hex();
        let mut end = COMPONENT_BYTES_MAX - 20;
        while !component.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}-{}", &component[..end], &hash[..16])
    };
    name.as_str().split('/').map(shorten).collect::<Vec<_>>().join("/")
}

fn write_part(store: &dyn PartStore, name: &PartName, shape: Shape, path: &Path) -> Result<(), OperationError> {
    let folder = path.parent().expect("a file in a folder");
    std::fs::create_dir_all(folder).map_err(|why| cannot_write(folder, &why))?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|why| cannot_write(folder, &why))?;
    let mut reader = store.open(name)?;
    let mut hasher = RecordHasher::new(shape);
    while let Some(piece) = reader.next_piece()? {
        file.write_all(&piece).map_err(|why| cannot_write(path, &why))?;
        hasher.update(&Block::of_lines(&piece), |_, _| {});
    }
    let found = hasher.finish().map_err(|why| OperationError::new(Class::Integrity, why.to_string()))?;
    if Some(found) != store.fingerprint(name) {
        let damaged = StoreError::Damaged {
            what: format!("part `{name}`"),
            why: "its content is not what was backed up".to_owned(),
        };
        return Err(damaged.into());
    }
    file.as_file().sync_all().map_err(|why| cannot_write(path, &why))?;
    file.persist(path).map_err(|why| cannot_write(path, &why.error))?;
    Ok(())
}

fn refuse_full_folder(folder: &Path) -> Result<(), OperationError> {
    let mut entries = match std::fs::read_dir(folder) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|why| cannot_write(folder, &why))?,
    };
    if entries.next().is_some() {
        return Err(OperationError::new(Class::Usage, format!("the folder `{}` is not empty", folder.display()))
            .hint("name a new or an empty folder; nothing was written"));
    }
    Ok(())
}

fn cannot_write(path: &Path, why: &std::io::Error) -> OperationError {
    OperationError::new(Class::Usage, format!("`{}` cannot be written", path.display())).cause(why)
}
