//! Makes repositories out of a snapshot: objects out of bundles, refs out of the list, large objects beside them.
//!
//! Each is made under another name and gets its own once all its objects are counted and summed up as they were. A restore that
//! was interrupted goes on: a file in the folder says which snapshot it was, and repositories that are whole are not made again.
//! Memory: the entries of one repository, and a piece of content.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;

use super::origin::restored_in;
use super::program::{Git, GitError, failed};
use super::record::{GitRecord, is_name};
use super::refs::{RefAttributes, object_id};
use super::repository::{Objects, Repository, large_object};
use super::source::has_git;
use crate::domain::{PartReader, PartStore, SourceRecord, StoreError, human_bytes, percent_decoded};
use crate::sources::tree::Entry;
use crate::sources::tree::stored::StoredList;
use crate::sources::{Context, LoadReport, LoadRequest, SourceError};
use crate::system::process::StdinKind;

/// Says, while a restore is under way, of which snapshot it is.
const MARKER: &str = ".lifeboat-restore";
/// What is not whole yet is called so.
const PARTIAL: &str = ".partial";
/// After a name in `--only`: with the files of `HEAD` checked out.
const WORK_TREE: &str = ":worktree";
/// The lines before the objects of a bundle are no longer.
const HEADER_BYTES_MAX: usize = 256 << 20;

pub(super) async fn load(
    context: &Context,
    record: &SourceRecord,
    store: Arc<dyn PartStore>,
    request: &LoadRequest,
) -> Result<LoadReport, SourceError> {
    let top = request.place.folder().ok_or_else(|| super::no_folder(&request.place))?;
    let git = Git::prepare(&context.work, context.cancel.clone())?;
    if let Err(error) = has_git(&git).await {
        let lacks = || SourceError::Lacks(vec!["`git` 2.32 or later".to_owned()]);
        return Err(if request.scratch { lacks() } else { error });
    }
    let wanted = wanted(&GitRecord::of(record)?, &request.only)?;
    let print = store.fingerprint(&crate::sources::tree::digest_part());
    let print = print.map(|print| hex::encode(print.sum)).unwrap_or_default();
    let choice = serde_json::to_string(&request.only).expect("plain data");
    let marker = format!(
        "a restore of {} is under way; remove this file to keep what is here: {print} {choice}\n",
        record.summary
    );
    let (dry_run, scratch, runtime) = (request.dry_run, request.scratch, Handle::current());
    let restored = tokio::task::spawn_blocking(move || {
        let restore = Restore { git, store: store.as_ref(), top, wanted, marker, scratch, runtime };
        restore.run(dry_run)
    });
    restored.await.unwrap_or_else(|error| Err(failed("restoring repositories", error.to_string(), "")))
}

/// A repository that is restored, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    name: String,
    work_tree: bool,
}

fn wanted(details: &GitRecord, only: &[String]) -> Result<Vec<Wanted>, SourceError> {
    let names: Vec<&str> = details.repositories.iter().map(|repository| repository.name.as_str()).collect();
    if let Some(bent) = names.iter().find(|name| !is_name(name)) {
        return Err(damaged("record of the snapshot", &format!("`{bent}` is no name of a repository")));
    }
    if only.is_empty() {
        return Ok(names.into_iter().map(|name| Wanted { name: name.to_owned(), work_tree: false }).collect());
    }
    let mut wanted = vec![];
    for text in only {
        let (name, work_tree) = text.strip_suffix(WORK_TREE).map_or((text.as_str(), false), |name| (name, true));
        if !names.contains(&name) {
            return Err(SourceError::Refused {
                what: format!("`{text}`"),
                why: "the snapshot holds no such repository".to_owned(),
                hint: format!("it holds `{}`; `NAME{WORK_TREE}` checks files out", names.join("`, `")),
            });
        }
        let new = Wanted { name: name.to_owned(), work_tree };
        if !wanted.contains(&new) {
            wanted.push(new);
        }
    }
    Ok(wanted)
}

struct Restore<'r> {
    git: Git,
    store: &'r dyn PartStore,
    top: PathBuf,
    wanted: Vec<Wanted>,
    marker: String,
    scratch: bool,
    runtime: Handle,
}

/// What the list says of one repository.
#[derive(Default)]
struct Parts {
    bundles: Vec<Entry>,
    large: Vec<Entry>,
    refs: Vec<(Vec<u8>, RefAttributes)>,
    head: Option<RefAttributes>,
    objects: Option<Objects>,
    entries: u64,
}

impl Restore<'_> {
    fn run(&self, dry_run: bool) -> Result<LoadReport, SourceError> {
        let resumed = self.may_begin()?;
        let mut report = LoadReport::default();
        if resumed && dry_run {
            report.warnings.push("a restore of this snapshot was interrupted here; it would go on".to_owned());
        }
        if !dry_run {
            std::fs::create_dir_all(&self.top).map_err(|error| cannot(&self.top, &error))?;
            if !self.scratch {
                self.mark()?;
            }
        }
        let mut list = StoredList::open(self.store)?;
        let mut ahead = list.next()?;
        while let Some(first) = ahead.take() {
            let of = |name: &[u8]| {
                let found = self.wanted.iter().filter(|wanted| own_name(name, &wanted.name).is_some());
                found.cloned().collect::<Vec<_>>()
            };
            let chosen = of(&first.name);
            let Some(name) = chosen.first().map(|wanted| wanted.name.clone()) else {
                ahead = list.next()?;
                continue;
            };
            let mut parts = Parts::default();
            let mut next = Some(first);
            while let Some(entry) = next.take() {
                if own_name(&entry.name, &name).is_none() {
                    ahead = Some(entry);
                    break;
                }
                parts.add(entry, &name)?;
                next = list.next()?;
            }
            for wanted in chosen {
                if !dry_run {
                    self.restore(&wanted, &parts, &mut report)?;
                }
                report.rows += parts.entries;
                report.bytes += parts.bundles.iter().chain(&parts.large).map(|entry| entry.size).sum::<u64>();
                report.loaded.push(self.place_of(&wanted).display().to_string());
            }
        }
        if dry_run {
            self.room_for(report.bytes)?;
        } else if !self.scratch {
            let marker = self.top.join(MARKER);
            std::fs::remove_file(&marker).map_err(|error| cannot(&marker, &error))?;
        }
        Ok(report)
    }

    fn place_of(&self, wanted: &Wanted) -> PathBuf {
        if wanted.work_tree { self.top.join(&wanted.name) } else { restored_in(&self.top, &wanted.name) }
    }

    fn restore(&self, wanted: &Wanted, parts: &Parts, report: &mut LoadReport) -> Result<(), SourceError> {
        let place = self.place_of(wanted);
        if place.exists() {
            // Only what is whole gets its name.
            return Ok(());
        }
        let mut partial = place.clone().into_os_string();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        if partial.exists() {
            std::fs::remove_dir_all(&partial).map_err(|error| cannot(&partial, &error))?;
        }
        let folder = if wanted.work_tree { partial.join(".git") } else { partial.clone() };
        std::fs::create_dir_all(&folder).map_err(|error| cannot(&folder, &error))?;
        let what = format!("repository `{}`", wanted.name);
        let told = |error| {
            self.git.told(&format!("{what} cannot be restored"), error, "the same command goes on where it stopped")
        };
        let objects = parts.objects.clone().ok_or_else(|| damaged(&what, "the list does not say what it holds"))?;
        if !matches!(objects.format.as_str(), "sha1" | "sha256") {
            return Err(damaged(&what, "its object format is unknown"));
        }
        let format = format!("--object-format={}", objects.format);
        let program = self.git.program(["init", "--quiet", "--bare", "--template=", &format, "--"]).arg(&folder);
        self.runtime.block_on(self.git.small(program)).map_err(told)?;
        for bundle in &parts.bundles {
            self.unbundle(&folder, bundle, &what)?;
        }
        self.set_refs(&folder, parts, &what)?;
        for large in &parts.large {
            self.large(&folder, large, wanted)?;
        }
        let repository = Repository { git: &self.git, folder: folder.clone() };
        let found = self.runtime.block_on(repository.objects());
        // In scratch the comparison tells it, and what else differs.
        match found {
            _ if self.scratch => {}
            Ok(found) if found == objects => {}
            Ok(found) => {
                let why = format!("{} objects came back, of {} that were backed up", found.count, objects.count);
                return Err(damaged(&what, &why));
            }
            Err(error) => return Err(told(error)),
        }
        if wanted.work_tree {
            self.check_out(&partial, &folder, parts, report).map_err(told)?;
        }
        std::fs::rename(&partial, &place).map_err(|error| cannot(&place, &error))
    }

    /// Streams the objects of a bundle into the repository. Bundles build upon those before.
    fn unbundle(&self, folder: &Path, bundle: &Entry, what: &str) -> Result<(), SourceError> {
        let told =
            |error| self.git.told(&format!("`{}` of {what}", bundle.shown()), error, "its target may be damaged");
        let mut reader = Checked::open(self.store, bundle)?;
        let mut head = vec![];
        let begin = loop {
            if let Some(end) = memchr::memmem::find(&head, b"\n\n") {
                break end + 2;
            }
            match reader.next()? {
                Some(piece) if head.len() < HEADER_BYTES_MAX => head.extend_from_slice(&piece),
                _ => return Err(damaged(&bundle.shown(), "it is no bundle")),
            }
        };
        if !head.starts_with(b"# v2 git bundle\n") && !head.starts_with(b"# v3 git bundle\n") {
            return Err(damaged(&bundle.shown(), "it is no bundle"));
        }
        let program = self.git.at(folder, &["index-pack", "--stdin", "--fix-thin"]);
        let entered = self.runtime.enter();
        let mut running = program.start(StdinKind::Piped).map_err(|error| told(error.into()))?;
        drop(entered);
        let mut stdin = running.stdin.take().expect("it was piped");
        let mut piece = bytes::Bytes::from(head.split_off(begin));
        loop {
            let sent = self.git.unless_cancelled(async {
                // Who stops reading says why by its status.
                Ok(stdin.write_all(&piece).await.is_ok())
            });
            if !self.runtime.block_on(sent).map_err(told)? {
                break;
            }
            match reader.next() {
                Ok(Some(next)) => piece = next,
                Ok(None) => break,
                Err(error) => return Err(error),
            }
        }
        drop(stdin);
        let mut output = running.stdout.take().expect("it was piped");
        let ended = self.git.unless_cancelled(async {
            drop(tokio::io::copy(&mut output, &mut tokio::io::sink()).await);
            Ok(running.finish().await?)
        });
        self.runtime.block_on(ended).map_err(told)
    }

    fn set_refs(&self, folder: &Path, parts: &Parts, what: &str) -> Result<(), SourceError> {
        use std::os::unix::ffi::OsStringExt;
        let told = |error| self.git.told(&format!("refs of {what}"), error, "its objects may be damaged");
        let mut orders = vec![];
        for (name, attributes) in &parts.refs {
            if let Some(id) = &attributes.object {
                orders.extend_from_slice(b"create ");
                orders.extend_from_slice(name);
                orders.extend_from_slice(format!("\0{id}\0").as_bytes());
            }
        }
        let update = self.git.at(folder, &["update-ref", "--stdin", "-z"]);
        self.runtime.block_on(self.git.lines(&update, Some(&orders), |_| Ok(()))).map_err(told)?;
        let pack = self.git.at(folder, &["pack-refs", "--all"]);
        self.runtime.block_on(self.git.small(pack)).map_err(told)?;
        let head = parts.head.iter().map(|head| (b"HEAD".to_vec(), head));
        for (name, attributes) in parts.refs.iter().map(|(name, of)| (name.clone(), of)).chain(head) {
            let name = std::ffi::OsString::from_vec(name);
            let program = match (&attributes.symbolic, &attributes.object) {
                (Some(target), _) => {
                    let target = percent_decoded(target).filter(|target| target.starts_with(b"refs/"));
                    let target = target.ok_or_else(|| damaged(what, "a symbolic ref points to no ref"))?;
                    let program = self.git.at(folder, &["symbolic-ref"]).arg(&name);
                    program.arg(std::ffi::OsString::from_vec(target))
                }
                (None, Some(id)) if name == "HEAD" => self.git.at(folder, &["update-ref", "--no-deref", "HEAD", id]),
                _ => continue,
            };
            self.runtime.block_on(self.git.small(program)).map_err(told)?;
        }
        Ok(())
    }

    fn large(&self, folder: &Path, entry: &Entry, wanted: &Wanted) -> Result<(), SourceError> {
        let own = own_name(&entry.name, &wanted.name).and_then(|name| name.strip_prefix(b"lfs/")).and_then(object_id);
        let id = own.filter(|id| entry.sum.map(hex::encode).as_ref() == Some(id));
        let id = id.ok_or_else(|| damaged(&entry.shown(), "its name is not its SHA-256"))?;
        let path = large_object(folder, &id);
        let parent = path.parent().expect("it lies in folders");
        std::fs::create_dir_all(parent).map_err(|error| cannot(parent, &error))?;
        let mut file = std::fs::File::create(&path).map_err(|error| cannot(&path, &error))?;
        let mut reader = Checked::open(self.store, entry)?;
        while let Some(piece) = reader.next()? {
            file.write_all(&piece).map_err(|error| cannot(&path, &error))?;
        }
        Ok(())
    }

    fn check_out(&self, tree: &Path, folder: &Path, parts: &Parts, report: &mut LoadReport) -> Result<(), GitError> {
        let bare = self.git.at(folder, &["config", "core.bare", "false"]);
        self.runtime.block_on(self.git.small(bare))?;
        let there = self.git.at(folder, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]);
        if self.runtime.block_on(self.git.small(there)).is_err() {
            report.warnings.push("`HEAD` points to nothing: there are no files to check out".to_owned());
            return Ok(());
        }
        let mut work_tree = std::ffi::OsString::from("--work-tree=");
        work_tree.push(tree);
        let mut directory = std::ffi::OsString::from("--git-dir=");
        directory.push(folder);
        let program = self.git.program([
            work_tree.as_os_str(),
            &directory,
            "reset".as_ref(),
            "--hard".as_ref(),
            "--quiet".as_ref(),
        ]);
        self.runtime.block_on(self.git.within(std::time::Duration::from_hours(12), program.directory(tree)))?;
        if !parts.large.is_empty() {
            report
                .warnings
                .push("files of git-lfs are pointers until `git lfs checkout` is run in the work tree".to_owned());
        }
        Ok(())
    }

    /// Whether the folder may be restored into: it is new, or empty, or was left by an interrupted restore of the same, which
    /// gives true.
    fn may_begin(&self) -> Result<bool, SourceError> {
        let mut entries = match std::fs::read_dir(&self.top) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            entries => entries.map_err(|error| cannot(&self.top, &error))?,
        };
        if entries.next().is_none() {
            return Ok(false);
        }
        let why = match std::fs::read_to_string(self.top.join(MARKER)) {
            Ok(found) if found == self.marker => return Ok(true),
            Ok(_) => "another restore into it was interrupted",
            Err(_) => "it is not empty",
        };
        Err(SourceError::NotEmpty {
            what: format!("folder `{}`", self.top.display()),
            why: why.to_owned(),
            hint: "name a new or an empty folder; nothing was written".to_owned(),
        })
    }

    fn mark(&self) -> Result<(), SourceError> {
        let path = self.top.join(MARKER);
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.top)?;
            file.write_all(self.marker.as_bytes())?;
            file.persist(&path).map(drop).map_err(|error| error.error)
        };
        write().map_err(|error: std::io::Error| cannot(&path, &error))
    }

    fn room_for(&self, bytes: u64) -> Result<(), SourceError> {
        let there = self.top.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        let Ok(disk) = rustix::fs::statvfs(there) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free >= bytes {
            return Ok(());
        }
        let why = format!("it needs {}, and {} are free", human_bytes(bytes), human_bytes(free));
        let what = format!("restore into `{}`", self.top.display());
        Err(SourceError::Refused { what, why, hint: "name a folder on a larger disk; nothing was written".to_owned() })
    }
}

impl Parts {
    fn add(&mut self, entry: Entry, repository: &str) -> Result<(), SourceError> {
        let bent = || damaged(&entry.shown(), "no list of repositories holds such a thing");
        let name = own_name(&entry.name, repository).ok_or_else(bent)?.to_vec();
        if entry.kind.is_compared() {
            self.entries += 1;
        }
        let attributes = || serde_json::from_str::<RefAttributes>(&entry.attributes).map_err(|_| bent());
        if name.starts_with(b"refs/") {
            let attributes = attributes()?;
            if attributes.object.as_ref().is_some_and(|id| object_id(id.as_bytes()).is_none()) || name.contains(&0) {
                return Err(bent());
            }
            self.refs.push((name, attributes));
        } else if name == b"HEAD" {
            self.head = Some(attributes()?);
        } else if name == b"objects" {
            self.objects = Some(serde_json::from_str(&entry.attributes).map_err(|_| bent())?);
        } else if name.starts_with(b"bundle.") {
            self.bundles.push(entry);
        } else if name.starts_with(b"lfs/") {
            self.large.push(entry);
        } else if !name.starts_with(b"submodules/") {
            return Err(bent());
        }
        Ok(())
    }
}

/// What an entry is called within its repository.
fn own_name<'n>(name: &'n [u8], repository: &str) -> Option<&'n [u8]> {
    name.strip_prefix(repository.as_bytes())?.strip_prefix(b"/")
}

fn cannot(path: &Path, error: &std::io::Error) -> SourceError {
    let what = format!("`{}` cannot be restored", path.display());
    failed(&what, error.to_string(), "the same command goes on where it stopped")
}

fn damaged(what: &str, why: &str) -> SourceError {
    SourceError::Store(StoreError::Damaged { what: what.to_owned(), why: why.to_owned() })
}

/// Content whose size and sum are compared at its end.
struct Checked<'e> {
    reader: Box<dyn PartReader>,
    entry: &'e Entry,
    hasher: Sha256,
    size: u64,
}

impl<'e> Checked<'e> {
    fn open(store: &dyn PartStore, entry: &'e Entry) -> Result<Self, SourceError> {
        Ok(Self { reader: store.open_blob(&entry.address)?, entry, hasher: Sha256::new(), size: 0 })
    }

    fn next(&mut self) -> Result<Option<bytes::Bytes>, SourceError> {
        if let Some(piece) = self.reader.next_piece()? {
            self.hasher.update(&piece);
            self.size += piece.len() as u64;
            return Ok(Some(piece));
        }
        let sum: [u8; 32] = std::mem::take(&mut self.hasher).finalize().into();
        if Some(sum) == self.entry.sum && self.size == self.entry.size {
            return Ok(None);
        }
        Err(damaged(&self.entry.shown(), "its content is not what was backed up"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::git::record::RepositoryRecord;

    fn details(names: &[&str]) -> GitRecord {
        let record = |name: &&str| RepositoryRecord { name: (*name).to_owned(), ..RepositoryRecord::default() };
        GitRecord { repositories: names.iter().map(record).collect(), bytes: 0 }
    }

    #[test]
    fn a_bent_record_leads_nowhere_outside_the_folder() {
        for name in ["..", "../x", "/x", "a/../b", "a//b", "", ".git", "x.git", "x.git/hooks", "-x", "a\nb", "a/.ssh"] {
            assert!(wanted(&details(&["app", name]), &[]).is_err(), "{name}");
        }
        assert!(wanted(&details(&["app", "ops/app", "it's"]), &[]).is_ok());
    }

    #[test]
    fn a_repository_is_chosen_by_its_name_with_or_without_files() {
        let chosen = wanted(&details(&["app", "ops/app"]), &["ops/app:worktree".to_owned(), "app".to_owned()]).unwrap();
        let shown: Vec<_> = chosen.iter().map(|wanted| (wanted.name.as_str(), wanted.work_tree)).collect();
        assert_eq!(shown, [("ops/app", true), ("app", false)]);
        assert!(wanted(&details(&["app"]), &["ap".to_owned()]).is_err());
    }

    #[test]
    fn an_entry_that_no_repository_has_is_refused() {
        let entry = |name: &str, attributes: &str| {
            let line = format!("app/{name}\tlink\t0\t-\t{attributes}\t-\t-");
            Parts::default().add(Entry::read_line(line.as_bytes()).unwrap(), "app")
        };
        let id = "01".repeat(20);
        assert!(entry("refs/heads/a", &format!("{{\"object\":\"{id}\"}}")).is_ok());
        for (name, attributes) in [
            ("refs/heads/a", "{\"object\":\"x\"}"),
            ("refs/heads/a%00b", &*format!("{{\"object\":\"{id}\"}}")),
            ("refs/heads/a", "no json"),
            ("config", "{}"),
            ("hooks/post-checkout", "{}"),
        ] {
            assert!(entry(name, attributes).is_err(), "{name} {attributes}");
        }
    }
}
