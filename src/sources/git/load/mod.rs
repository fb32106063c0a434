//! Makes repositories out of a snapshot: objects out of bundles, refs out of the list, large objects beside them.
//!
//! Each is made under another name and gets its own once all its objects are counted and summed up as they were. A restore that
//! was interrupted goes on: a file in the folder says which snapshot it was, and repositories that are whole are not made again.
//! Memory: the entries of one repository, and a piece of content.

mod make;
mod parts;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;

use self::parts::{Parts, own_name};
use super::origin::restored_in;
use super::program::{Git, failed};
use super::record::{GitRecord, is_name};
use super::source::has_git;
use crate::domain::{PartStore, SourceRecord, StoreError, human_bytes};
use crate::sources::tree::stored::StoredList;
use crate::sources::{Context, LoadReport, LoadRequest, SourceError};

/// Says, while a restore is under way, of which snapshot it is.
const MARKER: &str = ".lifeboat-restore";
/// What is not whole yet is called so.
const PARTIAL: &str = ".partial";
/// After a name in `--only`: with the files of `HEAD` checked out.
const WORK_TREE: &str = ":worktree";

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

fn cannot(path: &Path, error: &std::io::Error) -> SourceError {
    let what = format!("`{}` cannot be restored", path.display());
    failed(&what, error.to_string(), "the same command goes on where it stopped")
}

fn damaged(what: &str, why: &str) -> SourceError {
    SourceError::Store(StoreError::Damaged { what: what.to_owned(), why: why.to_owned() })
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
}
