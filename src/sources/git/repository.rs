//! A bare repository on this disk: a mirror, or what a snapshot was restored into. Only reads it.
//!
//! Memory: the names of its refs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::program::{Git, GitError};
use super::refs::{Head, RefAttributes, object_id};
use crate::sources::tree::entry::encoded;
use crate::sources::tree::{EntryKind, Found};
use serde::{Deserialize, Serialize};

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
