//! A bare repository on this disk: a mirror, or what a snapshot was restored into. Only reads it.
//!
//! Memory: the names of its refs, and the ids of large objects that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

use super::program::{Git, GitError, each_line, ended};
use super::refs::{Head, RefAttributes, object_id};
use crate::sources::tree::entry::encoded;
use crate::sources::tree::{EntryKind, Found};
use crate::system::process::StdinKind;

/// A pointer to a large object is no longer (git-lfs's own specification).
const POINTER_BYTES_MAX: u64 = 1024;
/// How it begins.
const POINTER_MARK: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
/// What one look for damage may say before the rest is cut.
const COMPLAINTS_MAX: usize = 5;
/// `.gitmodules` is no larger.
const MODULES_BYTES_MAX: u64 = 1 << 20;

pub(super) struct Repository<'g> {
    pub(super) git: &'g Git,
    pub(super) folder: PathBuf,
}

/// All objects that anything points to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Objects {
    /// `sha1` or `sha256`.
    pub(super) format: String,
    pub(super) count: u64,
    /// The sum of their ids' BLAKE3 hashes, modulo 2^256, in hexadecimal.
    pub(super) sum: String,
    /// What is missing or broken; only what was restored is looked through for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) damaged: Option<String>,
}

/// Where a submodule comes from, and at which commit `HEAD` has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submodule {
    pub(super) commit: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
}

impl Repository<'_> {
    /// By name, the symbolic ones among them with what they come to.
    pub(super) async fn refs(&self) -> Result<BTreeMap<Vec<u8>, String>, GitError> {
        let mut refs = BTreeMap::new();
        let program = self.git.at(&self.folder, &["for-each-ref", "--format=%(objectname) %(refname)"]);
        self.git
            .lines(&program, None, |line| {
                let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
                let id = object_id(&line[..space]).ok_or_else(|| GitError::Said("a ref has no object".to_owned()))?;
                refs.insert(line.get(space + 1..).unwrap_or_default().to_vec(), id);
                Ok(())
            })
            .await?;
        Ok(refs)
    }

    /// Those that point to other refs.
    pub(super) async fn symbolic(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, GitError> {
        let mut found = BTreeMap::new();
        let format = "--format=%(symref) %(refname)";
        self.git
            .lines(&self.git.at(&self.folder, &["for-each-ref", format]), None, |line| {
                let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
                if space > 0 {
                    found.insert(line.get(space + 1..).unwrap_or_default().to_vec(), line[..space].to_vec());
                }
                Ok(())
            })
            .await?;
        Ok(found)
    }

    pub(super) async fn head(&self) -> Result<Option<Head>, GitError> {
        if let Ok(target) = self.git.small(self.git.at(&self.folder, &["symbolic-ref", "HEAD"])).await {
            return Ok(Some(Head::Symbolic(target.trim_ascii_end().to_vec())));
        }
        let id = self.git.small(self.git.at(&self.folder, &["rev-parse", "--verify", "--quiet", "HEAD"])).await;
        Ok(id.ok().and_then(|id| object_id(id.trim_ascii_end())).map(Head::Detached))
    }

    pub(super) async fn format(&self) -> Result<String, GitError> {
        let said = self.git.small(self.git.at(&self.folder, &["rev-parse", "--show-object-format"])).await?;
        Ok(String::from_utf8_lossy(said.trim_ascii_end()).into_owned())
    }

    /// Counts and sums up all objects that refs and `HEAD` lead to; fails where one is missing on the way.
    pub(super) async fn objects(&self) -> Result<Objects, GitError> {
        let (mut count, mut sum) = (0, [0_u64; 4]);
        let program = self.git.at(&self.folder, &["rev-list", "--objects", "--no-object-names", "--all"]);
        self.git
            .lines(&program, None, |line| {
                count += 1;
                add(&mut sum, blake3::hash(line).as_bytes());
                Ok(())
            })
            .await?;
        let sum = hex::encode(sum.iter().rev().flat_map(|lane| lane.to_be_bytes()).collect::<Vec<u8>>());
        Ok(Objects { format: self.format().await?, count, sum, damaged: None })
    }

    /// How many objects refs lead to that `known` do not.
    pub(super) async fn news(&self, known: &[String]) -> Result<u64, GitError> {
        let mut count = 0;
        let arguments = ["rev-list", "--objects", "--no-object-names", "--all", "--stdin"];
        let program = self.git.at(&self.folder, &arguments);
        self.git
            .lines(&program, Some(&excluded(known)), |_| {
                count += 1;
                Ok(())
            })
            .await?;
        Ok(count)
    }

    /// Those of `ids` that are here.
    pub(super) async fn present(&self, ids: &[String]) -> Result<Vec<String>, GitError> {
        let mut present = vec![];
        let program = self.git.at(&self.folder, &["cat-file", "--batch-check=%(objectname)", "--buffer"]);
        let input = ids.join("\n") + "\n";
        self.git
            .lines(&program, Some(input.as_bytes()), |line| {
                present.extend(object_id(line));
                Ok(())
            })
            .await?;
        Ok(present)
    }

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

    /// What `HEAD` has of other repositories, by path.
    pub(super) async fn submodules(&self) -> Result<BTreeMap<Vec<u8>, Submodule>, GitError> {
        let mut found = BTreeMap::new();
        let there = self.git.at(&self.folder, &["rev-parse", "--verify", "--quiet", "HEAD^{tree}"]);
        if self.git.small(there).await.is_err() {
            return Ok(found);
        }
        // Where nothing says where they come from there are none: a look through a large tree is spared.
        let size = self.git.small(self.git.at(&self.folder, &["cat-file", "-s", "HEAD:.gitmodules"])).await;
        let size = size.ok().and_then(|size| String::from_utf8(size).ok()?.trim().parse::<u64>().ok());
        if size.is_none_or(|size| size > MODULES_BYTES_MAX) {
            return Ok(found);
        }
        let listed = self.git.at(&self.folder, &["config", "--blob", "HEAD:.gitmodules", "--list", "-z"]);
        let (mut paths, mut urls) = (BTreeMap::new(), BTreeMap::new());
        // A file that is bent names nothing.
        for setting in self.git.small(listed).await.unwrap_or_default().split(|byte| *byte == 0) {
            let text = String::from_utf8_lossy(setting);
            if let Some((key, value)) = text.split_once('\n') {
                if let Some(name) = key.strip_prefix("submodule.").and_then(|key| key.strip_suffix(".path")) {
                    paths.insert(value.as_bytes().to_vec(), name.to_owned());
                } else if let Some(name) = key.strip_prefix("submodule.").and_then(|key| key.strip_suffix(".url")) {
                    urls.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        for (path, name) in paths {
            let mut arguments = vec![std::ffi::OsString::from("--literal-pathspecs")];
            let mut folder = std::ffi::OsString::from("--git-dir=");
            folder.push(&self.folder);
            arguments.push(folder);
            arguments.extend(["ls-tree", "-z", "--full-tree", "HEAD", "--"].map(std::ffi::OsString::from));
            arguments.push(std::os::unix::ffi::OsStringExt::from_vec(path.clone()));
            let line = self.git.small(self.git.program(arguments)).await.unwrap_or_default();
            if let Some(commit) = line.strip_prefix(b"160000 commit ") {
                let end = commit.iter().position(|byte| *byte == b'\t').unwrap_or(commit.len());
                if let Some(commit) = object_id(&commit[..end]) {
                    found.insert(path, Submodule { commit, url: urls.get(&name).cloned() });
                }
            }
        }
        Ok(found)
    }

    /// Reads every object and its links, as `git fsck` does. Gives what is damaged, and what merely is not as git writes today.
    pub(super) async fn look_for_damage(&self) -> Result<(Option<String>, Vec<String>), GitError> {
        let program = self.git.at(&self.folder, &["fsck", "--full", "--strict", "--no-dangling", "--no-progress"]);
        let mut complaints = vec![];
        let mut damage: Option<String> = None;
        let looked = self
            .git
            .lines(&program, None, |line| {
                let line = String::from_utf8_lossy(line).into_owned();
                if is_complaint(&line) {
                    if complaints.len() < COMPLAINTS_MAX {
                        complaints.push(line);
                    }
                } else if !line.starts_with("notice") {
                    damage.get_or_insert(line);
                }
                Ok(())
            })
            .await;
        if let Err(error) = looked {
            let GitError::Process(crate::system::process::ProcessError::Failed { stderr, .. }) = error else {
                return Err(error);
            };
            let (style, rest): (Vec<_>, Vec<_>) = stderr.lines().partition(|line| is_complaint(line));
            let rest = rest.into_iter().filter(|line| !line.starts_with("notice") && !line.starts_with("Checking"));
            for line in rest {
                damage.get_or_insert(line.to_owned());
            }
            complaints.extend(style.into_iter().map(str::to_owned));
            if damage.is_none() && complaints.is_empty() {
                damage = Some("`git fsck` failed and did not say why".to_owned());
            }
            complaints.truncate(COMPLAINTS_MAX);
        }
        Ok((damage, complaints))
    }
}

/// About how an object is written, which its id shows to be as it was; not about one that is broken or not there.
fn is_complaint(line: &str) -> bool {
    (line.starts_with("error in ") || line.starts_with("warning in "))
        && line.split_once(": ").is_some_and(|(_, what)| what.split(':').next().is_some_and(|id| !id.contains(' ')))
}

/// The id of the large object that a pointer names.
fn pointer(content: &[u8]) -> Option<String> {
    let rest = std::str::from_utf8(content.strip_prefix(POINTER_MARK)?).ok()?;
    let id = rest.lines().find_map(|line| line.strip_prefix("oid sha256:"))?;
    object_id(id.as_bytes()).filter(|id| id.len() == 64)
}

pub(super) fn excluded(known: &[String]) -> Vec<u8> {
    known.iter().flat_map(|id| format!("^{id}\n").into_bytes()).collect()
}

fn add(sum: &mut [u64; 4], hash: &[u8; 32]) {
    let mut carry = false;
    for (lane, bytes) in sum.iter_mut().zip(hash.chunks_exact(8)) {
        let (added, over) = lane.overflowing_add(u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
        let (added, over_again) = added.overflowing_add(u64::from(carry));
        (*lane, carry) = (added, over || over_again);
    }
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

/// What the list says of refs.
pub(super) fn ref_entries<'e>(
    name: &'e str,
    refs: &'e BTreeMap<Vec<u8>, String>,
    symbolic: &'e BTreeMap<Vec<u8>, Vec<u8>>,
) -> impl Iterator<Item = Found> + 'e {
    refs.iter().map(move |(of, id)| {
        let target = symbolic.get(of).map(|target| encoded(target));
        let object = if target.is_some() { None } else { Some(id.clone()) };
        noted(name, of, RefAttributes { object, symbolic: target }.json())
    })
}

/// An entry without content.
pub(super) fn noted(repository: &str, name: &[u8], attributes: String) -> Found {
    let name = [repository.as_bytes(), b"/", name].concat();
    Found { name, kind: EntryKind::Link, size: 0, attributes: Some(attributes), seen: String::new() }
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

    #[test]
    fn a_complaint_about_style_is_no_damage() {
        assert!(is_complaint("error in tree 0123: zeroPaddedFilemode: contains zero-padded file modes"));
        for line in [
            "missing blob 0123",
            "error: 0123: object corrupt or missing: ./x",
            "broken link from tree 0123",
            "fatal: x",
        ] {
            assert!(!is_complaint(line), "{line}");
        }
    }

    #[test]
    fn a_sum_tells_sets_apart_in_any_order() {
        let hashes: Vec<_> = (0..50_u8).map(|n| *blake3::hash(&[n]).as_bytes()).collect();
        let sum = |hashes: &mut dyn Iterator<Item = &[u8; 32]>| {
            let mut sum = [0; 4];
            hashes.for_each(|hash| add(&mut sum, hash));
            sum
        };
        assert_eq!(sum(&mut hashes.iter()), sum(&mut hashes.iter().rev()));
        assert_ne!(sum(&mut hashes.iter()), sum(&mut hashes.iter().skip(1)));
        let mut carried = [u64::MAX, u64::MAX, 0, 0];
        let mut one = [0; 32];
        one[0] = 1;
        add(&mut carried, &one);
        assert_eq!(carried, [0, 0, 1, 0]);
    }
}
