//! Makes one repository: objects out of bundles, refs out of the list, large objects beside them, and files where they are asked for.

use std::io::Write;
use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt;

use super::parts::{Checked, Parts, own_name};
use super::{PARTIAL, Restore, Wanted, cannot, damaged};
use crate::domain::percent_decoded;
use crate::sources::git::pointers::large_object;
use crate::sources::git::program::GitError;
use crate::sources::git::refs::object_id;
use crate::sources::git::repository::Repository;
use crate::sources::tree::Entry;
use crate::sources::{LoadReport, SourceError};
use crate::system::process::StdinKind;

/// The lines before the objects of a bundle are no longer.
const HEADER_BYTES_MAX: usize = 256 << 20;

impl Restore<'_> {
    /// Under another name, and under its own once it is whole.
    pub(super) fn restore(&self, wanted: &Wanted, parts: &Parts, report: &mut LoadReport) -> Result<(), SourceError> {
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
}
