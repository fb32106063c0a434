//! The end of a backup: every target that holds everything gets the root; no other does.
//!
//! Order at each target: packs, index, recipe (already sent), epoch key, writer's public key, guide, lists, packs that it
//! lacks from an earlier run, then a listing that must show every object with its size, then the signature, the root last.
//! Only the last two happen under the lock of the chain: bringing a target up to date may take hours.

use std::collections::HashMap;

use bytes::Bytes;
use futures::future::join_all;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::chain::{self, Head};
use super::copies::{CopyOutcome, enough};
use super::fan_out::Delivered;
use super::session::{OpenTarget, Session, list_packs};
use super::{Class, OperationError, guide, lock};
use crate::config::Job;
use crate::domain::{ObjectKey, SealedObject};
use crate::repository::info::RepositoryInfo;
use crate::repository::layout::{self, ContentName};
use crate::repository::pack::PACK_FILE_BYTES_MAX;
use crate::repository::recipe::Meta;
use crate::repository::root::{self, Needed, Root};
use crate::repository::writer::Writer;

/// Small objects of one target that are under way together: what they cost is waiting for its disk or its answer.
const AT_ONCE: usize = 4;

pub struct Commit<'a> {
    pub session: &'a Session,
    pub job: &'a Job,
    pub writer: &'a Writer,
    pub info: &'a RepositoryInfo,
    pub meta: &'a Meta,
    pub recipe: ContentName,
    pub metadata: &'a [SealedObject],
    /// Every pack that the recipe names, with the size of its file.
    pub packs: &'a [(ContentName, u64)],
}

/// The root's sequence and its SHA-256.
pub type RootName = (u64, ContentName);

impl Commit<'_> {
    pub async fn run(&self, delivered: Vec<Delivered>) -> Result<(RootName, Vec<CopyOutcome>), OperationError> {
        let (mut healthy, mut copies) = (vec![], vec![]);
        for Delivered { target, outcome } in delivered {
            match outcome {
                Ok(()) => healthy.push(target),
                Err(error) => copies.push(CopyOutcome::failed(&target, &error.into())),
            }
        }
        enough(self.job, healthy.len(), &copies)?;

        let (objects, lists) = self.objects();
        let small = self.small_objects(&lists);
        let completed = join_all(healthy.iter().map(|target| self.complete(target, &healthy, &small))).await;
        let mut ready = vec![];
        for (target, completed) in healthy.iter().zip(completed) {
            match completed {
                Ok(()) => ready.push(target),
                Err(error) => {
                    copies.push(CopyOutcome { state: "lagging".to_owned(), ..CopyOutcome::failed(target, &error) });
                }
            }
        }
        enough(self.job, ready.len(), &copies)?;
        let head = self.store_root(objects, &ready, &mut copies).await?;
        Ok(((head.sequence, head.sum.expect("a root has a sum")), copies))
    }

    /// Gives the root the next place in this writer's chain and stores it at every target that is ready for it.
    async fn store_root(
        &self,
        objects: Vec<Needed>,
        ready: &[&OpenTarget],
        copies: &mut Vec<CopyOutcome>,
    ) -> Result<Head, OperationError> {
        let state = &self.session.config.state;
        // Several jobs of one installation share a chain of roots.
        let _lock = lock::lock(state, "chain").await?;
        let root = self.root(chain::head(self.session, self.writer, ready).await?, objects);
        let bytes = Bytes::from(root.encode());
        let head = Head { sequence: root.sequence, sum: Some(ContentName::of(&bytes)) };
        let key = layout::root(&root.writer, root.sequence, &root.snapshot);
        let signature = self.writer.sign(&root, &bytes)?;
        let signature = object(layout::signature(&key), Bytes::from(signature.into_bytes()));
        let root = object(key, bytes);
        chain::intend(state, &self.writer.id, head, ready)?;
        let stored = join_all(ready.iter().map(|target| async {
            target.target.put(&signature).await?;
            target.target.put(&root).await
        }))
        .await;
        let mut committed = 0;
        for (target, stored) in ready.iter().zip(stored) {
            match stored {
                Ok(()) => {
                    committed += 1;
                    copies.push(CopyOutcome::done(target));
                }
                Err(error) => copies.push(CopyOutcome::failed(target, &error.into())),
            }
        }
        if committed == 0 {
            enough(self.job, 0, copies)?;
        }
        chain::settle(state, &self.writer.id, head)?;
        Ok(head)
    }

    fn root(&self, head: Head, objects: Vec<Needed>) -> Root {
        Root {
            repository: self.info.repository.clone(),
            writer: self.writer.id.clone(),
            job: self.meta.job.clone(),
            snapshot: self.meta.snapshot.clone(),
            sequence: head.sequence + 1,
            previous: head.sum,
            epoch: self.writer.epoch.id.clone(),
            started: self.meta.started.clone(),
            finished: self.meta.finished.clone(),
            raw_bytes: self.meta.raw_bytes,
            added_bytes: self.meta.added_bytes,
            recipe: self.recipe,
            objects,
        }
    }

    /// Everything that the root names, and the lists of packs among it.
    fn objects(&self) -> (Vec<Needed>, Vec<SealedObject>) {
        let packs = self.packs.iter().map(|(name, size)| needed(layout::pack(name), *name, *size)).collect();
        let (mut objects, lists) = root::fold_packs(packs);
        let lists = lists.into_iter().map(|(key, bytes)| object(key, Bytes::from(bytes))).collect();
        for small in self.metadata {
            objects.push(needed(small.key().clone(), ContentName::of(small.bytes()), small.bytes().len() as u64));
        }
        let epoch = &self.writer.epoch;
        let sealed = &epoch.sealed_identity;
        objects.push(needed(layout::epoch(&epoch.id), ContentName::of(sealed), sealed.len() as u64));
        objects.sort();
        (objects, lists)
    }

    /// What every target needs besides packs, index and recipe.
    fn small_objects(&self, lists: &[SealedObject]) -> Vec<SealedObject> {
        let epoch = &self.writer.epoch;
        let public = minisign_file(&self.writer.public);
        let mut objects = vec![
            object(layout::epoch(&epoch.id), Bytes::from(epoch.sealed_identity.clone())),
            object(layout::writer(&self.writer.id), Bytes::from(public)),
            object(layout::guide(), Bytes::from(guide::restore_md(self.info))),
        ];
        objects.extend_from_slice(lists);
        objects
    }

    /// Brings a target to hold everything that the root names, and shows that it does.
    async fn complete(
        &self,
        target: &OpenTarget,
        others: &[OpenTarget],
        small: &[SealedObject],
    ) -> Result<(), OperationError> {
        let puts = small.iter().map(|object| target.target.put(object));
        stream::iter(puts).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let mut held = list_packs(target).await?;
        let missing: Vec<_> = self.packs.iter().filter(|(name, size)| held.get(name) != Some(size)).collect();
        let cut = missing.iter().filter(|(name, _)| held.contains_key(name)).count();
        if cut > 0 {
            let what = format!("target `{}` shows {cut} packs with a wrong size; they are copied anew", target.name);
            self.session.warn(self.job.name.as_str(), what);
        }
        for (name, _) in &missing {
            copy_pack(name, target, others).await?;
        }
        if !missing.is_empty() {
            held = list_packs(target).await?;
        }
        self.verify_listing(target, &held, small).await
    }

    /// The listing shows every object of this snapshot with its size.
    async fn verify_listing(
        &self,
        target: &OpenTarget,
        held: &HashMap<ContentName, u64>,
        small: &[SealedObject],
    ) -> Result<(), OperationError> {
        let absent = &|what: &str| {
            OperationError::new(
                Class::Target,
                format!("{} does not show {what} after it was stored", target.target.place()),
            )
        };
        for (name, size) in self.packs {
            if held.get(name) != Some(size) {
                return Err(absent(&format!("pack {}", name.hex())));
            }
        }
        let shown = self.metadata.iter().chain(small).map(|wanted| async move {
            let listed = target.target.list(wanted.key().as_str()).await?;
            let size = wanted.bytes().len() as u64;
            let shown = listed.iter().any(|object| object.key == *wanted.key() && object.size == size);
            if shown { Ok(()) } else { Err(absent(&format!("`{}`", wanted.key()))) }
        });
        stream::iter(shown).buffer_unordered(AT_ONCE).try_collect::<()>().await
    }
}

/// Copies one pack's ciphertext from another target that holds it.
async fn copy_pack(name: &ContentName, to: &OpenTarget, others: &[OpenTarget]) -> Result<(), OperationError> {
    let key = layout::pack(name);
    let mut last = None;
    for other in others.iter().filter(|other| other.name != to.name) {
        match other.target.get(&key, PACK_FILE_BYTES_MAX).await {
            Ok(bytes) if layout::check_content(&key, &bytes).is_ok() => {
                to.target.put(&object(key, bytes)).await?;
                return Ok(());
            }
            Ok(_) => last = Some(format!("the copy at {} is damaged", other.target.place())),
            Err(error) => last = Some(error.to_string()),
        }
    }
    Err(OperationError::new(Class::Target, format!("{} lacks pack {}", to.target.place(), name.hex()))
        .cause(last.unwrap_or_else(|| "no other target holds it".to_owned())))
}

fn needed(key: ObjectKey, sum: ContentName, size: u64) -> Needed {
    Needed { key, sum, size }
}

fn object(key: ObjectKey, bytes: Bytes) -> SealedObject {
    SealedObject::new(key, bytes).expect("layout keys and their kinds agree")
}

/// A public key file as `minisign -V -p` reads it.
fn minisign_file(public: &str) -> String {
    format!("untrusted comment: public key of a lifeboat writer\n{public}\n")
}
