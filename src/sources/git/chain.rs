//! The bundles of a repository form a chain: the first has everything, each further one what came since. A chain that got long, or
//! longer than the whole, begins anew. What a chain holds counts only while every bundle of it is in the last committed list and still
//! held by a target.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mirror::{Last, Mirror, Prepared};
use super::program::GitError;
use crate::sources::tree::{Entry, EntryKind, Found};

/// A chain of so many bundles begins anew.
const BUNDLES_MAX: usize = 20;
/// Increments may be larger than the first bundle up to this size in all.
const INCREMENTS_FREE: u64 = 1 << 20;
const REPACK_LIMIT: Duration = Duration::from_hours(12);
const CHAIN: &str = "chain";
const CHAIN_NEW: &str = "chain.new";

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Chain {
    /// SHA-256 of each bundle, in order; of one that is still to be written it is added later.
    pub(super) bundles: Vec<String>,
    /// What they hold leads to these.
    pub(super) tips: Vec<String>,
    /// Large objects that they name, also those that could not be had.
    pub(super) large: Vec<String>,
}

impl Chain {
    pub(super) fn write(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::write(folder.join(CHAIN_NEW), serde_json::to_vec(self).expect("plain data"))
    }

    fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(CHAIN)).ok()?).ok()
    }

    /// The snapshot is committed: what was written for it counts.
    pub(super) fn commit(folder: &Path) -> std::io::Result<()> {
        match std::fs::rename(folder.join(CHAIN_NEW), folder.join(CHAIN)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            renamed => renamed,
        }
    }
}

impl Mirror<'_> {
    /// The bundles so far, if they can be built upon.
    pub(super) fn chain(&self, last: &Last) -> Option<(Chain, Vec<Entry>)> {
        let chain = Chain::read(&self.folder)?;
        let prefix = self.full("bundle.");
        let bundles = last.iter().filter(|(entry, _)| entry.name.starts_with(prefix.as_bytes()));
        let (bundles, held): (Vec<_>, Vec<_>) = bundles.cloned().unzip();
        let same = bundles.len() == chain.bundles.len()
            && bundles.iter().zip(&chain.bundles).all(|(entry, sum)| entry.sum.map(hex::encode).as_ref() == Some(sum));
        (same && !bundles.is_empty() && held.iter().all(|held| *held)).then_some((chain, bundles))
    }

    /// Adds the bundles that there are, and one for what is new.
    pub(super) async fn bundles(
        &self,
        prepared: &mut Prepared,
        entries: &mut Vec<Found>,
        chain: Option<(Chain, Vec<Entry>)>,
        known: Vec<String>,
        tips: &[String],
    ) -> Result<(), GitError> {
        let repository = self.repository();
        let mut chain = chain;
        let is_new = chain.is_none() || repository.news(&known).await? > 0;
        if is_new && let Some((_, bundles)) = &chain {
            let increments: u64 = bundles.iter().skip(1).map(|bundle| bundle.size).sum();
            let first = bundles.first().map_or(0, |bundle| bundle.size);
            if bundles.len() >= BUNDLES_MAX || increments > first.max(INCREMENTS_FREE) {
                // What nothing leads to any more goes from the mirror, too.
                let repack = self.git.at(&repository.folder, &["repack", "-a", "-d", "-q"]);
                self.git.within(REPACK_LIMIT, repack).await?;
                chain = None;
            }
        }
        let (chain, bundles) = chain.map_or_else(|| (None, vec![]), |(chain, bundles)| (Some(chain), bundles));
        entries.extend(bundles.iter().map(as_found));
        prepared.known = if chain.is_some() { known } else { vec![] };
        let mut chain = Chain { tips: vec![], ..chain.unwrap_or_default() };
        chain.tips = prepared.known.iter().chain(tips).cloned().collect::<BTreeSet<_>>().into_iter().collect();
        if is_new && !tips.is_empty() {
            let name = self.full(&format!("bundle.{:04}", chain.bundles.len() + 1)).into_bytes();
            entries.push(Found {
                name,
                kind: EntryKind::Carrier,
                size: 0,
                attributes: Some("{}".to_owned()),
                seen: String::new(),
            });
        }
        chain.large = prepared.chain.take().unwrap_or_default().large;
        prepared.chain = Some(chain);
        Ok(())
    }
}

/// As it was listed.
pub(super) fn as_found(entry: &Entry) -> Found {
    Found {
        name: entry.name.clone(),
        kind: entry.kind,
        size: entry.size,
        attributes: Some(entry.attributes.clone()),
        seen: entry.seen.clone(),
    }
}
