//! A repository's mirror in the state folder: brings it up to date, and says what of it is new.
//!
//! The mirror holds nothing that cannot be fetched again. Memory: the entries of one repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::chain::{Chain, as_found};
use super::config::Remote;
use super::program::{Git, GitError, failed};
use super::refs::{Advertised, Head};
use super::repository::{Objects, Repository, Submodule, noted, ref_entries};
use crate::domain::Gap;
use crate::sources::SourceError;
use crate::sources::tree::{Entry, Found};
use crate::system::process::Program;

/// How often a repository is asked again whose refs change while it is fetched.
const TRIES: usize = 4;
/// A fetch that makes progress ends some day.
const FETCH_LIMIT: Duration = Duration::from_hours(48);

/// One repository of a run.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) name: String,
    /// Its folder in the state folder.
    pub(super) folder: PathBuf,
    /// In order of their names.
    pub(super) entries: Vec<Found>,
    /// What the bundle that is to be written need not hold.
    pub(super) known: Vec<String>,
    /// Where its large objects may be.
    pub(super) large: Vec<PathBuf>,
    pub(super) gaps: Vec<Gap>,
    /// `None` where nothing changed.
    pub(super) chain: Option<Chain>,
}

/// What the last committed list says of a repository, and whether each entry's content is still held.
pub(super) type Last = Vec<(Entry, bool)>;

pub(super) struct Mirror<'m> {
    pub(super) git: &'m Git,
    pub(super) remote: &'m Remote,
    /// Its own in the state folder.
    pub(super) folder: PathBuf,
}

/// Where the mirror is in its folder.
pub(super) fn mirror_in(folder: &Path) -> PathBuf {
    folder.join("mirror.git")
}

/// What the server has.
pub(super) async fn ask(git: &Git, remote: &Remote) -> Result<Advertised, SourceError> {
    let asked = async {
        let program = git.program(["ls-remote", "--quiet", "--symref", "--", &remote.url]);
        let answer = git.within(git.answer_limit, git.towards(program, remote)).await?;
        let mut found = Advertised::read(&answer)?;
        if found.head.is_none()
            && let Some(folder) = remote.folder()
        {
            // A branch that does not exist yet is told by no server, but by the folder.
            let program = git.program(["-C".as_ref(), folder.as_os_str(), "symbolic-ref".as_ref(), "HEAD".as_ref()]);
            if let Ok(target) = git.small(program).await {
                found.hash += &hex::encode(target.trim_ascii_end());
                found.head = Some(Head::Symbolic(target.trim_ascii_end().to_vec()));
            }
        }
        Ok(found)
    };
    asked.await.map_err(|error| git.told(&what(remote), error, "check the address, the network and what may be read"))
}

pub(super) fn what(remote: &Remote) -> String {
    format!("repository `{}` at `{}`", remote.name, crate::config::redact_text(&remote.url))
}

impl Mirror<'_> {
    /// What a run backs up of it.
    pub(super) async fn prepare(&self, advertised: Advertised, last: &Last) -> Result<Prepared, SourceError> {
        let of_last = |name: &str| last.iter().find(|(entry, _)| entry.name == self.full(name).as_bytes());
        let whole = last.iter().all(|(_, held)| *held);
        if whole && of_last("objects").is_some_and(|(entry, _)| entry.seen == advertised.hash) {
            let entries: Vec<_> = last.iter().map(|(entry, _)| as_found(entry)).collect();
            let gaps = gaps_of(&self.remote.name, &entries);
            let (name, folder) = (self.remote.name.clone(), self.folder.clone());
            return Ok(Prepared { name, folder, entries, gaps, ..Prepared::default() });
        }
        let (advertised, objects) = self.update(advertised).await?;
        let prepared = self.describe(&advertised, objects, last).await;
        prepared.map_err(|error| self.told(error))
    }

    pub(super) fn full(&self, name: &str) -> String {
        format!("{}/{name}", self.remote.name)
    }

    fn told(&self, error: GitError) -> SourceError {
        self.git.told(&what(self.remote), error, "the next run goes on from here; `-v` shows more")
    }

    pub(super) fn repository(&self) -> Repository<'_> {
        Repository { git: self.git, folder: mirror_in(&self.folder) }
    }

    fn local(&self, what: &str, error: &std::io::Error) -> SourceError {
        failed(
            &format!("{what} of {}", self::what(self.remote)),
            error.to_string(),
            "make room in the folder that `state` names",
        )
    }

    /// Makes the mirror what the server has, and gives that.
    async fn update(&self, mut advertised: Advertised) -> Result<(Advertised, Objects), SourceError> {
        let busy = self.folder.join("busy");
        std::fs::create_dir_all(&self.folder).map_err(|error| self.local("mirror", &error))?;
        if busy.exists() {
            // A run was killed while it fetched: what it locked stays locked, and what it began is worth nothing.
            clear_away(&mirror_in(&self.folder)).map_err(|error| self.local("mirror", &error))?;
        }
        std::fs::write(&busy, "").map_err(|error| self.local("mirror", &error))?;
        let mut fresh = self.begin(&advertised).await?;
        for attempt in 1.. {
            let fetched = self.fetch(&advertised).await;
            if let Err(error) = fetched {
                return Err(self.told(error));
            }
            let repository = self.repository();
            let refs = repository.refs().await.map_err(|error| self.told(error))?;
            let here = match &advertised.head {
                Some(Head::Detached(id)) => {
                    !repository.present(std::slice::from_ref(id)).await.map_err(|error| self.told(error))?.is_empty()
                }
                _ => true,
            };
            if refs == advertised.refs && here {
                self.point_head(&advertised).await.map_err(|error| self.told(error))?;
                match repository.objects().await {
                    Ok(objects) => {
                        std::fs::remove_file(&busy).map_err(|error| self.local("mirror", &error))?;
                        return Ok((advertised, objects));
                    }
                    Err(GitError::Cancelled) => return Err(SourceError::Cancelled),
                    Err(error) if fresh => return Err(self.told(error)),
                    Err(_) => {
                        // Damaged on this disk, perhaps: it is made anew, once.
                        std::fs::remove_dir_all(mirror_in(&self.folder))
                            .map_err(|error| self.local("mirror", &error))?;
                        fresh = self.begin(&advertised).await?;
                        continue;
                    }
                }
            }
            if attempt >= TRIES {
                return Err(self.never_equal(&advertised, &refs));
            }
            advertised = ask(self.git, self.remote).await?;
        }
        unreachable!("the loop ends by returning")
    }

    fn never_equal(&self, advertised: &Advertised, refs: &BTreeMap<Vec<u8>, String>) -> SourceError {
        let missing = advertised.refs.iter().find(|(name, id)| refs.get(*name) != Some(*id));
        let name =
            missing.map(|(name, _)| name).or_else(|| refs.keys().find(|name| !advertised.refs.contains_key(*name)));
        let name = name.map_or_else(|| "HEAD".to_owned(), |name| String::from_utf8_lossy(name).into_owned());
        SourceError::Changed {
            what: what(self.remote),
            why: format!("`{name}` was never fetched as the server lists it"),
            hint: "either it changes all the time, or the repository is shallow or damaged; `git fsck` there tells"
                .to_owned(),
        }
    }

    /// Whether the mirror had to be made.
    async fn begin(&self, advertised: &Advertised) -> Result<bool, SourceError> {
        let folder = mirror_in(&self.folder);
        let format = match (advertised.format(), self.remote.folder()) {
            (Some(format), _) => format.to_owned(),
            (None, Some(folder)) => {
                let arguments =
                    ["-C".as_ref(), folder.as_os_str(), "rev-parse".as_ref(), "--show-object-format".as_ref()];
                let said = self.git.small(self.git.program(arguments)).await.map_err(|error| self.told(error))?;
                String::from_utf8_lossy(said.trim_ascii_end()).into_owned()
            }
            (None, None) => "sha1".to_owned(),
        };
        if folder.exists() {
            if self.repository().format().await.is_ok_and(|found| found == format) {
                return Ok(false);
            }
            std::fs::remove_dir_all(&folder).map_err(|error| self.local("mirror", &error))?;
        }
        let format = format!("--object-format={format}");
        let arguments =
            ["init".as_ref(), "--quiet".as_ref(), "--bare".as_ref(), "--template=".as_ref(), format.as_ref()];
        let program = self.git.program(arguments.into_iter().chain(["--".as_ref(), folder.as_os_str()]));
        self.git.small(program).await.map_err(|error| self.told(error))?;
        Ok(true)
    }

    async fn fetch(&self, advertised: &Advertised) -> Result<(), GitError> {
        if advertised.refs.is_empty() && self.repository().refs().await?.is_empty() && advertised.head.is_none() {
            return Ok(());
        }
        let folder = mirror_in(&self.folder);
        let mut arguments = vec![
            "fetch",
            "--quiet",
            "--prune",
            "--no-tags",
            "--force",
            "--no-write-fetch-head",
            "--update-head-ok",
            "--no-auto-maintenance",
            "--",
            &self.remote.url,
            "+refs/*:refs/*",
        ];
        if matches!(advertised.head, Some(Head::Detached(_))) {
            arguments.push("HEAD");
        }
        let program = self.git.towards(self.git.at(&folder, &arguments), self.remote);
        self.watched(program).await
    }

    /// Runs what adds to the mirror, and gives up once nothing is added any more.
    pub(super) async fn watched(&self, program: Program) -> Result<(), GitError> {
        let (folder, limit) = (mirror_in(&self.folder), self.git.stall_limit);
        tokio::select! {
            fetched = self.git.within(FETCH_LIMIT, program) => fetched.map(drop),
            () = stalled(&folder, limit) => {
                let limit = limit.as_secs();
                Err(GitError::Said(format!("nothing arrived for {limit} s (`stall_timeout`), so that it was given up")))
            }
        }
    }

    async fn point_head(&self, advertised: &Advertised) -> Result<(), GitError> {
        let folder = mirror_in(&self.folder);
        let program = match &advertised.head {
            Some(Head::Detached(id)) => self.git.at(&folder, &["update-ref", "--no-deref", "HEAD", id]),
            Some(Head::Symbolic(target)) => {
                use std::os::unix::ffi::OsStrExt;
                self.git.at(&folder, &["symbolic-ref", "HEAD"]).arg(std::ffi::OsStr::from_bytes(target))
            }
            None => return Ok(()),
        };
        self.git.small(program).await.map(drop)
    }

    /// Entries of a mirror that is up to date.
    async fn describe(&self, advertised: &Advertised, objects: Objects, last: &Last) -> Result<Prepared, GitError> {
        let (name, repository) = (&self.remote.name, self.repository());
        let mut prepared = Prepared { name: name.clone(), folder: self.folder.clone(), ..Prepared::default() };
        let mut entries: Vec<Found> = ref_entries(name, &advertised.refs, &advertised.symbolic).collect();
        if let Some(head) = &advertised.head {
            entries.push(noted(name, b"HEAD", head.attributes().json()));
        }
        for (path, submodule) in repository.submodules().await? {
            entries.push(submodule_entry(name, &path, &submodule));
        }
        let tips = advertised.tips();
        let chain = self.chain(last);
        let known = match &chain {
            Some((chain, _)) => repository.present(&chain.tips).await?,
            None => vec![],
        };
        let before = chain.as_ref().map_or(&[][..], |(chain, _)| &chain.large);
        let incomplete = self.large_objects(&mut prepared, &mut entries, &known, before, last).await?;
        let mut objects_entry = noted(name, b"objects", serde_json::to_string(&objects).expect("plain data"));
        // What is incomplete is looked at again by the next run.
        objects_entry.seen = if incomplete { String::new() } else { advertised.hash.clone() };
        entries.push(objects_entry);
        self.bundles(&mut prepared, &mut entries, chain, known, &tips).await?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        prepared.gaps.extend(gaps_of(name, &entries));
        prepared.entries = entries;
        Ok(prepared)
    }
}

pub(super) fn submodule_entry(name: &str, path: &[u8], submodule: &Submodule) -> Found {
    let attributes = serde_json::to_string(submodule).expect("plain data");
    noted(name, &[b"submodules/", path].concat(), attributes)
}

/// What the entries of a repository show not to be in the backup.
fn gaps_of(name: &str, entries: &[Found]) -> Vec<Gap> {
    let prefix = format!("{name}/submodules/");
    let mut gaps = vec![];
    if !entries.iter().any(|entry| entry.name == format!("{name}/HEAD").as_bytes()) {
        let why = "it points to a branch that does not exist, and the server does not say which".to_owned();
        gaps.push(Gap { what: format!("`HEAD` of `{name}`"), why });
    }
    for entry in entries {
        if let Some(path) = entry.name.strip_prefix(prefix.as_bytes()) {
            let read = entry.attributes.as_deref().and_then(|json| serde_json::from_str::<Submodule>(json).ok());
            let url = crate::config::redact_text(&read.and_then(|submodule| submodule.url).unwrap_or_default());
            let what = format!("submodule `{}` of `{name}`", String::from_utf8_lossy(path));
            let why = format!("it is a repository of its own, `{url}`: name it in a job, too");
            gaps.push(Gap { what, why });
        }
    }
    gaps
}

/// Returns once nothing in the folder has grown for so long.
async fn stalled(folder: &Path, limit: Duration) {
    let (mut size, mut since) = (0, Instant::now());
    loop {
        tokio::time::sleep((limit / 8).clamp(Duration::from_millis(50), Duration::from_secs(10))).await;
        let now = size_of(folder);
        if now != size {
            (size, since) = (now, Instant::now());
        } else if since.elapsed() >= limit {
            return;
        }
    }
}

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => 1 + size_of(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Removes locks and files that were being written.
fn clear_away(folder: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // No ref ends so; one may well begin like git's own temporary files.
        let among_objects = path.components().any(|part| part.as_os_str() == "objects");
        let leftover = name.rsplit('.').next() == Some("lock") || (among_objects && name.starts_with("tmp_"));
        if entry?.is_dir() {
            if leftover {
                std::fs::remove_dir_all(path)?;
            } else {
                clear_away(&path)?;
            }
        } else if leftover {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
