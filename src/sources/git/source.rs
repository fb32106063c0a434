//! The repositories of a job, and those that a snapshot was restored into.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt;
use tokio::runtime::Handle;

use super::chain::Chain;
use super::config::{Remote, Settings};
use super::mirror::{Last, Mirror, Prepared, ask, submodule_entry, what};
use super::origin::{GitOrigin, restored_in};
use super::pointers::large_objects;
use super::program::{Git, GitError, failed, no_git};
use super::record::{GitRecord, RepositoryRecord};
use super::refs::Advertised;
use super::repository::{Objects, Repository, noted, ref_entries};
use crate::domain::record::{Instant, PartGroup};
use crate::domain::{Event, Gap, Names, PackNumber, PartSink, Place, SourceRecord, human_bytes};
use crate::sources::tree::{self, EntryKind, Found, Summary, TreeDump, digest_part};
use crate::sources::{Context, Preflight, Source, SourceError};
use crate::system::clock;

/// The group that holds everything that is compared.
const GROUP: &str = "repositories";
/// Servers that are asked at once for their refs.
const ASKED_AT_ONCE: usize = 8;
/// The first `git` that takes settings by environment alone.
const OLDEST: (u32, u32) = (2, 32);

pub(super) struct GitSource {
    settings: Settings,
    /// What the preflight was told, so that a run asks once.
    asked: Mutex<Option<Vec<Advertised>>>,
}

impl GitSource {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, asked: Mutex::default() }
    }

    async fn git(&self, context: &Context) -> Result<Git, SourceError> {
        Git::prepare(&context.work, context.cancel.clone())?.with(&self.settings).await
    }

    /// Asks all of them; whoever does not answer is named, and nothing is backed up.
    async fn ask_all(&self, git: &Git) -> Result<Vec<Advertised>, SourceError> {
        let mut asking: Vec<futures::future::BoxFuture<'_, Result<Advertised, SourceError>>> = vec![];
        for remote in &self.settings.remotes {
            asking.push(Box::pin(ask(git, remote)));
        }
        let answers: Vec<_> = futures::stream::iter(asking).buffered(ASKED_AT_ONCE).collect().await;
        let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).cloned().collect();
        match refused.len() {
            0 => Ok(answers.into_iter().flatten().collect()),
            1 => Err(refused.into_iter().next().expect("there is one")),
            count => {
                let why = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                let what = format!("{count} of {} repositories", self.settings.remotes.len());
                Err(failed(&what, why, "a run backs up all repositories of its job or none"))
            }
        }
    }

    async fn prepare(
        &self,
        context: &Context,
        git: &Git,
        sink: &Arc<dyn PartSink>,
    ) -> Result<Vec<Prepared>, SourceError> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        let answers = match asked {
            Some(answers) => answers,
            None => self.ask_all(git).await?,
        };
        let mut last = self.last(context, sink).await?;
        let top = context.keep.join("git");
        let mut prepared = vec![];
        for (remote, advertised) in self.settings.remotes.iter().zip(answers) {
            let mirror = Mirror { git, remote, folder: top.join(folder_name(remote)) };
            let last = last.remove(&remote.name).unwrap_or_default();
            prepared.push(mirror.prepare(advertised, &last).await?);
        }
        self.forget_others(&top);
        Ok(prepared)
    }

    /// What the last list says, by repository.
    async fn last(&self, context: &Context, sink: &Arc<dyn PartSink>) -> Result<BTreeMap<String, Last>, SourceError> {
        let (keep, sink) = (context.keep.clone(), Arc::clone(sink));
        let names: Vec<String> = self.settings.remotes.iter().map(|remote| remote.name.clone()).collect();
        let read = tokio::task::spawn_blocking(move || {
            let mut last: BTreeMap<String, Last> = BTreeMap::new();
            tree::each_of_last(&keep, sink.as_ref(), &mut |entry, held| {
                let of = names
                    .iter()
                    .find(|name| entry.name.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"/")));
                if let Some(name) = of {
                    last.entry(name.clone()).or_default().push((entry, held));
                }
            });
            last
        });
        read.await.map_err(|error| failed("last list", error.to_string(), ""))
    }

    /// Mirrors of what the job no longer names go. Whatever stays costs disk only.
    fn forget_others(&self, top: &Path) {
        let known: Vec<String> = self.settings.remotes.iter().map(folder_name).collect();
        for entry in std::fs::read_dir(top).into_iter().flatten().flatten() {
            if !known.iter().any(|known| entry.file_name() == known.as_str()) {
                drop(std::fs::remove_dir_all(entry.path()));
            }
        }
    }

    fn record(&self, origin: &GitOrigin, summary: &Summary, at: String) -> SourceRecord {
        let mut gaps: Vec<Gap> = origin.repositories.iter().flat_map(|repository| repository.gaps.clone()).collect();
        gaps.retain(|gap| !self.is_ours(gap));
        gaps.extend(summary.gaps("entry"));
        let named = |(remote, prepared): (&Remote, &Prepared)| RepositoryRecord {
            name: remote.name.clone(),
            url: crate::config::redact_text(&remote.url),
            headless: !prepared.entries.iter().any(|entry| entry.name == format!("{}/HEAD", remote.name).as_bytes()),
        };
        let repositories = self.settings.remotes.iter().zip(&origin.repositories).map(named).collect();
        let details = GitRecord { repositories, bytes: summary.bytes };
        let instant = Instant { of: "repositories, each at the moment when it was fetched".to_owned(), at };
        record_of(self.describe(), &details, gaps, vec![instant], origin, summary)
    }

    /// A submodule that the job names itself.
    fn is_ours(&self, gap: &Gap) -> bool {
        let last = |url: &str| {
            let url = url.trim_end_matches('/');
            let url = url.strip_suffix(".git").unwrap_or(url);
            url.rsplit(['/', ':']).next().unwrap_or(url).to_owned()
        };
        let url = gap.why.split('`').nth(1).filter(|_| gap.what.starts_with("submodule "));
        url.is_some_and(|url| self.settings.remotes.iter().any(|remote| last(&remote.url) == last(url)))
    }
}

fn folder_name(remote: &Remote) -> String {
    let hash = blake3::hash(format!("{}\n{}", remote.name, remote.url).as_bytes());
    hash.to_hex()[..24].to_owned()
}

#[async_trait]
impl Source for GitSource {
    fn describe(&self) -> String {
        match &self.settings.remotes[..] {
            [one] => what(one),
            several => {
                let names: Vec<_> = several.iter().take(5).map(|remote| format!("`{}`", remote.name)).collect();
                let more = if several.len() > 5 { ", ..." } else { "" };
                format!("{} repositories: {}{more}", several.len(), names.join(", "))
            }
        }
    }

    async fn preflight(&self, context: &Context) -> Result<Preflight, SourceError> {
        let git = self.git(context).await?;
        let mut preflight = Preflight::default();
        preflight.facts.push(version(&git).await?);
        for folder in self.settings.remotes.iter().filter_map(Remote::folder) {
            if !folder.exists() {
                return Err(SourceError::Unreachable {
                    what: format!("repository `{}`", folder.display()),
                    why: "there is no such folder".to_owned(),
                    hint: "check the path; is its disk mounted?".to_owned(),
                });
            }
        }
        let answers = self.ask_all(&git).await?;
        for (remote, answer) in self.settings.remotes.iter().zip(&answers) {
            preflight.facts.push(format!("{}: {} refs", what(remote), answer.refs.len()));
        }
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(answers);
        preflight.estimated_parts = 1;
        Ok(preflight)
    }

    async fn dump(&self, context: &Context, sink: Arc<dyn PartSink>) -> Result<SourceRecord, SourceError> {
        let at = clock::rfc3339(clock::now());
        let git = self.git(context).await?;
        let repositories = self.prepare(context, &git, &sink).await?;
        let fetched = repositories.iter().filter(|repository| repository.chain.is_some()).count();
        let origin = Arc::new(GitOrigin {
            git,
            repositories,
            runtime: Handle::current(),
            cancel: context.cancel.clone(),
            written: Mutex::default(),
            restored: false,
        });
        let dump = TreeDump {
            origin: Arc::clone(&origin) as Arc<dyn tree::Origin>,
            keep: Some(context.keep.clone()),
            full_read: false,
            names: None,
        };
        let summary = dump.run(context, sink).await?;
        summary.tell(context, "entry");
        let written = origin.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for repository in &origin.repositories {
            if let Some(mut chain) = repository.chain.clone() {
                chain.bundles.extend(written.get(&repository.name).cloned());
                chain.write(&repository.folder).map_err(|error| {
                    failed(&format!("state of repository `{}`", repository.name), error.to_string(), "make room")
                })?;
            }
        }
        let detail = format!(
            "{fetched} of {} repositories fetched, {} in {} bundles and large objects read",
            origin.repositories.len(),
            human_bytes(summary.read_bytes),
            summary.read_entries
        );
        context.progress.event(Event::Phase { job: context.job.clone(), phase: "read".to_owned(), detail });
        Ok(self.record(&origin, &summary, at))
    }

    fn committed(&self, context: &Context, packs: &[(PackNumber, [u8; 32])]) -> Result<(), SourceError> {
        tree::committed(&context.keep, packs)?;
        for remote in &self.settings.remotes {
            Chain::commit(&context.keep.join("git").join(folder_name(remote)))
                .map_err(|error| failed(&format!("state of {}", what(remote)), error.to_string(), "make room"))?;
        }
        Ok(())
    }
}

fn record_of(
    summary_line: String,
    details: &GitRecord,
    gaps: Vec<Gap>,
    instants: Vec<Instant>,
    origin: &GitOrigin,
    summary: &Summary,
) -> SourceRecord {
    let entries = origin.repositories.iter().flat_map(|repository| &repository.entries);
    let compared = entries.filter(|entry| entry.kind.is_compared()).count() as u64;
    SourceRecord {
        kind: super::KIND.to_owned(),
        summary: summary_line,
        version: String::new(),
        instants,
        gaps,
        inventories: vec![],
        groups: vec![PartGroup {
            name: GROUP.to_owned(),
            parts: vec![digest_part()],
            // What could not be read is among the gaps.
            engine_count: Some(compared - summary.vanished.count - summary.denied.count),
            compared: true,
        }],
        details: serde_json::to_value(details).expect("plain data"),
    }
}

/// `git 2.47.3`; an error where it is too old.
pub(super) async fn version(git: &Git) -> Result<String, SourceError> {
    let said = git.small(git.program(["--version"])).await.map_err(|error| git.told("git", error, ""))?;
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let number = said.strip_prefix("git version ").unwrap_or(&said);
    let mut parts = number.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if found < OLDEST {
        return Err(failed("git", format!("it is {number}"), "install 2.32 or later"));
    }
    Ok(format!("git {number}"))
}

/// What a snapshot was restored into, read as the live repositories were.
pub(super) struct RestoredGit {
    top: PathBuf,
    record: SourceRecord,
    details: GitRecord,
    names: Option<Arc<Names>>,
}

impl RestoredGit {
    pub(super) fn of(record: &SourceRecord, place: &Place) -> Result<Self, SourceError> {
        let top = place.folder().ok_or_else(|| super::no_folder(place))?;
        Ok(Self { top, record: record.clone(), details: GitRecord::of(record)?, names: None })
    }

    pub(super) fn naming(self, names: Arc<Names>) -> Self {
        Self { names: Some(names), ..self }
    }

    async fn look(&self, context: &Context, git: &Git, name: &str) -> Result<Prepared, SourceError> {
        let folder = restored_in(&self.top, name);
        let mut prepared = Prepared { name: name.to_owned(), folder: folder.clone(), ..Prepared::default() };
        if !folder.is_dir() {
            return Ok(prepared);
        }
        let entries = entries_of(git, name, &folder).await;
        let (mut entries, complaints) =
            entries.map_err(|error| git.told(&format!("restored repository `{name}`"), error, ""))?;
        for complaint in complaints.iter().filter(|_| self.names.is_none()) {
            let message = format!("repository `{name}`, as it was backed up: {complaint}");
            context.progress.event(Event::Warning { job: context.job.clone(), message });
        }
        let large = large_objects(&folder);
        for (id, size) in large.map_err(|error| failed("large objects", error.to_string(), ""))? {
            let name = format!("{name}/lfs/{id}").into_bytes();
            let attributes = Some("{}".to_owned());
            entries.push(Found { name, kind: EntryKind::Content, size, attributes, seen: String::new() });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        prepared.entries = entries;
        prepared.large.push(folder);
        Ok(prepared)
    }
}

async fn entries_of(git: &Git, name: &str, folder: &Path) -> Result<(Vec<Found>, Vec<String>), GitError> {
    let repository = Repository { git, folder: folder.to_owned() };
    let (damage, complaints) = repository.look_for_damage().await?;
    let damaged = |damage: String| Objects { damaged: Some(damage), ..Objects::default() };
    let objects = match (damage, repository.objects().await) {
        (_, Err(GitError::Cancelled)) => return Err(GitError::Cancelled),
        (Some(damage), _) => damaged(damage),
        (None, Err(GitError::Process(error))) => damaged(error.to_string()),
        (None, Err(GitError::Said(why))) => damaged(why),
        (None, Ok(objects)) => objects,
    };
    let mut entries = vec![noted(name, b"objects", serde_json::to_string(&objects).expect("plain data"))];
    let (refs, symbolic) = (repository.refs().await?, repository.symbolic().await?);
    entries.extend(ref_entries(name, &refs, &symbolic));
    if let Some(head) = repository.head().await? {
        entries.push(noted(name, b"HEAD", head.attributes().json()));
    }
    for (path, submodule) in repository.submodules().await? {
        entries.push(submodule_entry(name, &path, &submodule));
    }
    Ok((entries, complaints))
}

#[async_trait]
impl Source for RestoredGit {
    fn describe(&self) -> String {
        self.record.summary.clone()
    }

    async fn preflight(&self, _context: &Context) -> Result<Preflight, SourceError> {
        Ok(Preflight::default())
    }

    async fn dump(&self, context: &Context, sink: Arc<dyn PartSink>) -> Result<SourceRecord, SourceError> {
        let git = Git::prepare(&context.work, context.cancel.clone())?;
        let mut repositories = vec![];
        for repository in &self.details.repositories {
            let mut found = self.look(context, &git, &repository.name).await?;
            if repository.headless {
                found.entries.retain(|entry| entry.name != format!("{}/HEAD", repository.name).as_bytes());
            }
            repositories.push(found);
        }
        let origin = Arc::new(GitOrigin {
            git,
            repositories,
            runtime: Handle::current(),
            cancel: context.cancel.clone(),
            written: Mutex::default(),
            restored: true,
        });
        let dump = TreeDump {
            origin: Arc::clone(&origin) as Arc<dyn tree::Origin>,
            keep: None,
            full_read: true,
            names: self.names.clone(),
        };
        let summary = dump.run(context, sink).await?;
        let record = &self.record;
        Ok(record_of(record.summary.clone(), &self.details, vec![], record.instants.clone(), &origin, &summary))
    }
}

/// Whether this machine can restore repositories.
pub(super) async fn has_git(git: &Git) -> Result<(), SourceError> {
    match git.program(["--version"]).run(std::time::Duration::from_secs(30)).await {
        Ok(_) => version(git).await.map(drop),
        Err(_) => Err(no_git()),
    }
}
