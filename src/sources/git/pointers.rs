//! Pointers of git-lfs: what a repository names of large objects, and where they are kept beside it.
//!
//! Memory: the ids of the blobs of one repository that are small enough for a pointer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

use super::program::{GitError, each_line, ended};
use super::refs::object_id;
use super::repository::{Repository, excluded};
use crate::system::process::StdinKind;

/// A pointer to a large object is no longer (git-lfs's own specification).
const POINTER_BYTES_MAX: u64 = 1024;
/// How it begins.
const POINTER_MARK: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

impl Repository<'_> {
    /// The large objects that are named by what refs lead to and `known` do not.
    pub(super) async fn pointers(&self, known: &[String]) -> Result<BTreeSet<String>, GitError> {
        let small = self.small_blobs(known).await?;
        let mut found = BTreeSet::new();
        if small.is_empty() {
            return Ok(found);
        }
        let program = self.git.at(&self.folder, &["cat-file", "--batch", "--buffer"]);
        let mut running = program.start(StdinKind::Piped)?;
        let mut stdin = running.stdin.take().expect("it was piped");
        let feed = async {
            for id in &small {
                if stdin.write_all(format!("{id}\n").as_bytes()).await.is_err() {
                    break;
                }
            }
            drop(stdin.shutdown().await);
            drop(stdin);
        };
        let mut stdout = BufReader::with_capacity(64 << 10, running.stdout.take().expect("it was piped"));
        let read = async {
            let broken = |error: std::io::Error| GitError::Said(error.to_string());
            let mut content = vec![];
            for _ in &small {
                let mut header = String::new();
                tokio::io::AsyncBufReadExt::read_line(&mut stdout, &mut header).await.map_err(broken)?;
                let size: usize = header.trim_end().rsplit(' ').next().and_then(|size| size.parse().ok()).unwrap_or(0);
                if size as u64 > POINTER_BYTES_MAX {
                    return Err(GitError::Said("an object changed its size".to_owned()));
                }
                content.resize(size + 1, 0);
                stdout.read_exact(&mut content).await.map_err(broken)?;
                found.extend(pointer(&content[..size]));
            }
            Ok(())
        };
        self.git
            .unless_cancelled(async {
                let ((), read) = tokio::join!(feed, read);
                ended(running).await?;
                read
            })
            .await?;
        Ok(found)
    }

    /// Ids of blobs that are small enough for a pointer.
    async fn small_blobs(&self, known: &[String]) -> Result<Vec<String>, GitError> {
        let arguments = ["rev-list", "--objects", "--no-object-names", "--all", "--stdin"];
        let mut list = self.git.at(&self.folder, &arguments).start(StdinKind::Piped)?;
        let check = "--batch-check=%(objecttype) %(objectsize) %(objectname)";
        let mut sizes = self.git.at(&self.folder, &["cat-file", check, "--buffer"]).start(StdinKind::Piped)?;
        let mut small = vec![];
        let (mut list_in, mut list_out) = (list.stdin.take().expect("piped"), list.stdout.take().expect("piped"));
        let (mut sizes_in, sizes_out) = (sizes.stdin.take().expect("piped"), sizes.stdout.take().expect("piped"));
        let feed = async move {
            // Who ends early says why by its status.
            drop(list_in.write_all(&excluded(known)).await);
        };
        let carry = async move { drop(tokio::io::copy(&mut list_out, &mut sizes_in).await) };
        let mut take = |line: &[u8]| {
            if let Some(rest) = line.strip_prefix(b"blob ") {
                let mut fields = rest.split(|byte| *byte == b' ');
                let size = fields.next().and_then(|size| std::str::from_utf8(size).ok()?.parse::<u64>().ok());
                if size.is_some_and(|size| size < POINTER_BYTES_MAX && size > POINTER_MARK.len() as u64) {
                    small.extend(fields.next().and_then(object_id));
                }
            }
            Ok(())
        };
        let read = async {
            let mut reader = BufReader::with_capacity(64 << 10, sizes_out);
            each_line(&mut reader, &mut take).await
        };
        self.git
            .unless_cancelled(async {
                let ((), (), read) = tokio::join!(feed, carry, read);
                ended(list).await?;
                ended(sizes).await?;
                read
            })
            .await?;
        Ok(small)
    }
}

/// The id of the large object that a pointer names.
fn pointer(content: &[u8]) -> Option<String> {
    let rest = std::str::from_utf8(content.strip_prefix(POINTER_MARK)?).ok()?;
    let id = rest.lines().find_map(|line| line.strip_prefix("oid sha256:"))?;
    object_id(id.as_bytes()).filter(|id| id.len() == 64)
}

/// Large objects in a folder of git-lfs, by id.
pub(super) fn large_objects(folder: &Path) -> std::io::Result<Vec<(String, u64)>> {
    let mut found = vec![];
    for outer in entries(&folder.join("lfs/objects"))? {
        for inner in entries(&outer)? {
            for file in entries(&inner)? {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                found.push((name, file.symlink_metadata()?.len()));
            }
        }
    }
    Ok(found)
}

fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(vec![])
        }
        entries => entries?.map(|entry| entry.map(|entry| entry.path())).collect(),
    }
}

/// Where git-lfs keeps a large object.
pub(super) fn large_object(folder: &Path, id: &str) -> PathBuf {
    folder.join("lfs/objects").join(&id[..2]).join(&id[2..4]).join(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_told_from_what_merely_looks_like_one() {
        let id = "ab".repeat(32);
        let text = |oid: &str| format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 3\n");
        assert_eq!(pointer(text(&id).as_bytes()), Some(id.clone()));
        for other in ["../../etc", &id[1..], &id.to_uppercase(), &"ab".repeat(20)] {
            assert_eq!(pointer(text(other).as_bytes()), None, "{other}");
        }
        assert_eq!(pointer(format!(" {}", text(&id)).as_bytes()), None);
    }
}
