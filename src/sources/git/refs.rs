//! What a repository says it has: refs, which of them are symbolic, and `HEAD`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::program::GitError;
use crate::sources::tree::entry::encoded;

/// The answer to `git ls-remote --symref`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Advertised {
    /// Object ids in hexadecimal, by name.
    pub(super) refs: BTreeMap<Vec<u8>, String>,
    /// Where symbolic ones point to.
    pub(super) symbolic: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) head: Option<Head>,
    /// Of the whole answer.
    pub(super) hash: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Head {
    /// To a branch, which need not exist.
    Symbolic(Vec<u8>),
    /// At an object.
    Detached(String),
}

/// What stands for a ref in the list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RefAttributes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) object: Option<String>,
    /// Where it points to, as names are written in a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) symbolic: Option<String>,
}

impl Advertised {
    pub(super) fn read(answer: &[u8]) -> Result<Self, GitError> {
        let mut found = Self { hash: hex::encode(Sha256::digest(answer)), ..Self::default() };
        let mut head = None;
        for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let tab = line.iter().position(|byte| *byte == b'\t');
            let (value, name) = tab.map(|at| (&line[..at], &line[at + 1..])).ok_or_else(|| odd(line))?;
            if let Some(target) = value.strip_prefix(b"ref: ") {
                found.symbolic.insert(name.to_vec(), target.to_vec());
            } else if name == b"HEAD" {
                head = Some(object_id(value).ok_or_else(|| odd(line))?);
            } else if name.starts_with(b"refs/") && !name.ends_with(b"^{}") {
                found.refs.insert(name.to_vec(), object_id(value).ok_or_else(|| odd(line))?);
            }
        }
        found.head = match found.symbolic.remove(b"HEAD".as_slice()) {
            Some(target) => Some(Head::Symbolic(target)),
            None => head.map(Head::Detached),
        };
        Ok(found)
    }

    /// `sha1` or `sha256`, by the length of an id; `None` where there is none.
    pub(super) fn format(&self) -> Option<&'static str> {
        let detached = match &self.head {
            Some(Head::Detached(id)) => Some(id),
            _ => None,
        };
        let id = self.refs.values().next().or(detached)?;
        Some(if id.len() == 64 { "sha256" } else { "sha1" })
    }

    /// Every object that something points to.
    pub(super) fn tips(&self) -> Vec<String> {
        let mut tips: Vec<String> = self.refs.values().cloned().collect();
        if let Some(Head::Detached(id)) = &self.head {
            tips.push(id.clone());
        }
        tips.sort();
        tips.dedup();
        tips
    }
}

impl Head {
    pub(super) fn attributes(&self) -> RefAttributes {
        match self {
            Self::Symbolic(target) => RefAttributes { symbolic: Some(encoded(target)), object: None },
            Self::Detached(id) => RefAttributes { object: Some(id.clone()), symbolic: None },
        }
    }
}

impl RefAttributes {
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }
}

pub(super) fn object_id(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let sound = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    sound.then(|| text.to_owned())
}

fn odd(line: &[u8]) -> GitError {
    GitError::Said(format!("`{}` is no line of refs", encoded(&line[..line.len().min(200)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn an_answer_is_read_with_symbolic_refs_and_without_peeled_tags() {
        let text = format!(
            "ref: refs/heads/main\tHEAD\n{ID}\tHEAD\n{ID}\trefs/heads/main\nref: refs/heads/main\trefs/remotes/o/HEAD\n\
             {ID}\trefs/remotes/o/HEAD\n{ID}\trefs/tags/v1\n{ID}\trefs/tags/v1^{{}}\n"
        );
        let found = Advertised::read(text.as_bytes()).unwrap();
        assert_eq!(found.head, Some(Head::Symbolic(b"refs/heads/main".to_vec())));
        assert_eq!(found.refs.len(), 3);
        assert_eq!(found.symbolic.len(), 1);
        assert_eq!(found.format(), Some("sha1"));
        let detached = Advertised::read(format!("{ID}\tHEAD\n").as_bytes()).unwrap();
        assert_eq!(detached.head, Some(Head::Detached(ID.to_owned())));
        assert_eq!(detached.tips(), [ID]);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in ["x", "deadbeef\trefs/heads/a", "<html>\n", &format!("{}\trefs/heads/a", ID.to_uppercase())] {
            assert!(Advertised::read(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(Advertised::read(b"").unwrap().head, None);
    }
}
