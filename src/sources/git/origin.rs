//! Repositories as an origin of entries: mirrors that were brought up to date, or what a snapshot was restored into.
//!
//! Memory: the entries of all repositories, some 300 bytes for each ref and large object; content passes in pieces.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::mirror::{Prepared, mirror_in};
use super::pointers::large_object;
use super::program::{Git, GitError};
use super::repository::excluded;
use crate::domain::{Block, Lane};
use crate::sources::SourceError;
use crate::sources::tree::{Found, Origin, Outcome, Wanted};
use crate::system::process::StdinKind;

/// Content is handed over in pieces of this size.
const PIECE: usize = 128 << 10;

pub(super) struct GitOrigin {
    pub(super) git: Git,
    pub(super) repositories: Vec<Prepared>,
    pub(super) runtime: Handle,
    pub(super) cancel: CancellationToken,
    /// SHA-256 of the bundles that were written, by repository.
    pub(super) written: Mutex<BTreeMap<String, String>>,
    /// These are what a snapshot was restored into: what is wrong there is to be seen.
    pub(super) restored: bool,
}

impl Origin for GitOrigin {
    fn order(&self, one: &[u8], other: &[u8]) -> Ordering {
        one.cmp(other)
    }

    fn discover(&self, take: &mut dyn FnMut(Found) -> Result<(), SourceError>) -> Result<(), SourceError> {
        self.repositories.iter().flat_map(|repository| &repository.entries).try_for_each(|entry| take(entry.clone()))
    }

    fn read(&self, wanted: &mut [Wanted], lane: &mut dyn Lane) -> Result<(), SourceError> {
        for wanted in wanted {
            let name = String::from_utf8_lossy(&wanted.found.name).into_owned();
            let owner = self.repositories.iter().find(|owner| name.starts_with(&format!("{}/", owner.name)));
            let Some(owner) = owner else {
                wanted.outcome = Outcome::Vanished;
                continue;
            };
            let own = &name[owner.name.len() + 1..];
            wanted.outcome = match own.strip_prefix("lfs/") {
                Some(id) => self.large(owner, id, lane)?,
                None => self.bundle(owner, lane)?,
            };
        }
        Ok(())
    }
}

impl GitOrigin {
    /// Streams what is new of a mirror as a bundle.
    fn bundle(&self, owner: &Prepared, lane: &mut dyn Lane) -> Result<Outcome, SourceError> {
        let told = |error| {
            self.git.told(&format!("bundle of repository `{}`", owner.name), error, "the next run begins it anew")
        };
        let io = |error: std::io::Error| told(GitError::Said(error.to_string()));
        let arguments = ["bundle", "create", "--quiet", "-", "--all", "--stdin"];
        let program = self.git.at(&mirror_in(&owner.folder), &arguments);
        let entered = self.runtime.enter();
        let mut running = program.start(StdinKind::Piped).map_err(|error| told(error.into()))?;
        drop(entered);
        let mut stdin = running.stdin.take().expect("it was piped");
        // The list is read before anything is written.
        let known = excluded(&owner.known);
        let fed = self.runtime.block_on(async { stdin.write_all(&known).await });
        drop(stdin);
        let mut stdout = running.stdout.take().expect("it was piped");
        let mut sum = Content::begin(lane)?;
        let mut piece = vec![0; PIECE];
        loop {
            let read = self.runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => Err(SourceError::Cancelled),
                    read = stdout.read(&mut piece) => read.map_err(io),
                }
            })?;
            if read == 0 {
                break;
            }
            sum.add(&piece[..read], lane)?;
        }
        self.runtime.block_on(running.finish()).map_err(|error| told(error.into()))?;
        fed.map_err(io)?;
        let (size, sum) = sum.end(lane)?;
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(owner.name.clone(), hex::encode(sum));
        let seen = hex::encode(sum);
        Ok(Outcome::Read { size, sum, attributes: "{}".to_owned(), seen, changing: false })
    }

    fn large(&self, owner: &Prepared, id: &str, lane: &mut dyn Lane) -> Result<Outcome, SourceError> {
        let opened = owner.large.iter().map(|folder| std::fs::File::open(large_object(folder, id)));
        let what = || format!("large object `{id}` of repository `{}`", owner.name);
        let changed = |why: &str| SourceError::Changed {
            what: what(),
            why: why.to_owned(),
            hint: "run again; nothing was committed".to_owned(),
        };
        let Some(mut file) = opened.flatten().next() else { return Err(changed("it vanished")) };
        let mut content = Content::begin(lane)?;
        let mut piece = vec![0; PIECE];
        loop {
            if self.cancel.is_cancelled() {
                return Err(SourceError::Cancelled);
            }
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => content.add(&piece[..read], lane)?,
                Err(error) => {
                    return Err(super::program::failed(&what(), error.to_string(), "nothing was committed"));
                }
            }
        }
        let (size, sum) = content.end(lane)?;
        // What was restored is compared, whatever it is.
        if !self.restored && hex::encode(sum) != id {
            return Err(changed("it changed while it was read"));
        }
        Ok(Outcome::Read { size, sum, attributes: "{}".to_owned(), seen: id.to_owned(), changing: false })
    }
}

/// A blob that is being written.
struct Content {
    block: Block,
    hasher: Sha256,
    size: u64,
}

impl Content {
    fn begin(lane: &mut dyn Lane) -> Result<Self, SourceError> {
        lane.begin_blob()?;
        Ok(Self { block: Block::default(), hasher: Sha256::new(), size: 0 })
    }

    fn add(&mut self, piece: &[u8], lane: &mut dyn Lane) -> Result<(), SourceError> {
        self.hasher.update(piece);
        self.size += piece.len() as u64;
        self.block.data.extend_from_slice(piece);
        if self.block.data.len() >= PIECE {
            lane.write(&self.block)?;
            self.block.clear();
        }
        Ok(())
    }

    fn end(self, lane: &mut dyn Lane) -> Result<(u64, [u8; 32]), SourceError> {
        lane.write(&self.block)?;
        lane.finish_blob()?;
        Ok((self.size, self.hasher.finalize().into()))
    }
}

/// Where the files of a folder's repository are.
pub(super) fn restored_in(top: &Path, name: &str) -> std::path::PathBuf {
    top.join(format!("{name}.git"))
}
