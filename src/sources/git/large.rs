//! Large objects that git-lfs keeps beside a repository: which there are, and where they can be had.
//!
//! Memory: the ids of one repository's large objects.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::chain::Chain;
use super::mirror::{Last, Mirror, Prepared};
use super::pointers::large_object;
use super::program::GitError;
use crate::domain::Gap;
use crate::sources::SourceError;
use crate::sources::tree::{EntryKind, Found};

impl Mirror<'_> {
    /// Adds what git-lfs keeps beside the repository. Gives whether some of it is lacking.
    pub(super) async fn large_objects(
        &self,
        prepared: &mut Prepared,
        entries: &mut Vec<Found>,
        known: &[String],
        before: &[String],
        last: &Last,
    ) -> Result<bool, GitError> {
        let repository = self.repository();
        let prefix = self.full("lfs/");
        // Without a chain everything is looked through, and what nothing names any more goes.
        let mut sizes: BTreeMap<String, Option<u64>> = before.iter().map(|id| (id.clone(), None)).collect();
        for id in repository.pointers(known).await? {
            sizes.insert(id, None);
        }
        for (entry, held) in last {
            let id = std::str::from_utf8(&entry.name).ok().and_then(|name| name.strip_prefix(&prefix));
            if let Some(size) = id.and_then(|id| sizes.get_mut(id)) {
                *size = held.then_some(entry.size);
            }
        }
        prepared.chain = Some(Chain { large: sizes.keys().cloned().collect(), ..Chain::default() });
        prepared.large.push(repository.folder.clone());
        if sizes.values().all(Option::is_some) {
            entries.extend(sizes.into_iter().map(|(id, size)| self.large_entry(&id, size.unwrap_or_default())));
            return Ok(false);
        }
        let mut why = String::new();
        if let Some(folder) = self.remote.folder() {
            let arguments = ["-C".as_ref(), folder.as_os_str(), "rev-parse".as_ref(), "--git-common-dir".as_ref()];
            let common = self.git.small(self.git.program(arguments)).await?;
            let common: std::ffi::OsString =
                std::os::unix::ffi::OsStringExt::from_vec(common.trim_ascii_end().to_vec());
            prepared.large.push(folder.join(common));
            "it is named by the repository and not in its `lfs/objects`".clone_into(&mut why);
        } else if self.git.small(self.git.program(["lfs", "version"])).await.is_err() {
            "they are kept beside the repository: install `git-lfs` on this machine".clone_into(&mut why);
        } else {
            let url = format!("remote.origin.url={}", self.remote.url);
            let mut arguments = vec!["-c".to_owned(), url];
            arguments.push(format!("--git-dir={}", repository.folder.display()));
            arguments.extend(["lfs", "fetch", "--all", "origin"].map(str::to_owned));
            let program = self.git.towards_large(self.git.program(arguments), self.remote);
            if let Err(error) = self.watched(program).await {
                match self.git.told("large objects", error, "") {
                    SourceError::Cancelled => return Err(GitError::Cancelled),
                    error => why = format!("`git lfs fetch` could not get them: {error}"),
                }
            }
        }
        let mut lacking = vec![];
        for (id, size) in sizes {
            let size = match size {
                Some(size) => Some(size),
                None => match checked(&prepared.large, &id).await {
                    Ok(size) => size,
                    Err(other) => {
                        why = other;
                        None
                    }
                },
            };
            match size {
                Some(size) => entries.push(self.large_entry(&id, size)),
                None => lacking.push(id),
            }
        }
        if let Some(first) = lacking.first() {
            let many = if lacking.len() > 1 { format!(" and {} more", lacking.len() - 1) } else { String::new() };
            let what = format!("LFS objects of `{}`: `{first}`{many}", self.remote.name);
            prepared.gaps.push(Gap { what, why });
        }
        Ok(!lacking.is_empty())
    }

    fn large_entry(&self, id: &str, size: u64) -> Found {
        Found {
            name: self.full(&format!("lfs/{id}")).into_bytes(),
            kind: EntryKind::Content,
            size,
            attributes: Some("{}".to_owned()),
            // Its name is what it holds.
            seen: id.to_owned(),
        }
    }
}

/// The size of a large object that is here and is what its id says; the error says that it is not.
async fn checked(folders: &[PathBuf], id: &str) -> Result<Option<u64>, String> {
    let opened = folders.iter().map(|folder| std::fs::File::open(large_object(folder, id)));
    let Some(mut file) = opened.flatten().next() else { return Ok(None) };
    let summed = tokio::task::spawn_blocking(move || {
        let mut hasher = Sha256::new();
        std::io::copy(&mut file, &mut hasher).map(|size| (size, hex::encode(hasher.finalize())))
    });
    match summed.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())? {
        (size, sum) if sum == id => Ok(Some(size)),
        _ => Err("its content is not what its id says".to_owned()),
    }
}
