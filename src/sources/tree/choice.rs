//! What a restore takes of a stored list: everything, what a person names, or a random sample.
//!
//! Memory: one line.

use std::collections::BTreeSet;

use rand::Rng;
use tokio_util::sync::CancellationToken;

use super::Entry;
use super::pattern::Patterns;
use super::stored::StoredList;
use crate::domain::{PackNumber, PartStore, Sampled};
use crate::sources::{LoadRequest, SourceError};

/// A store's list, and what is wanted of it.
pub(crate) struct Choice<'c> {
    pub(crate) store: &'c dyn PartStore,
    pub(crate) only: Patterns,
    /// The part of a name that patterns are about.
    pub(crate) patterns_are_about: fn(&[u8]) -> &[u8],
    pub(crate) cancel: CancellationToken,
}

/// What a choice comes to.
#[derive(Debug, Default)]
pub(crate) struct Total {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// How many have content.
    pub(crate) contents: u64,
    /// Where that lies.
    pub(crate) packs: BTreeSet<PackNumber>,
}

impl Choice<'_> {
    pub(crate) fn wants(&self, name: &[u8]) -> bool {
        self.only.is_empty() || self.only.fits((self.patterns_are_about)(name))
    }

    /// Calls `take` for every entry that is wanted.
    pub(crate) fn each(&self, take: &mut dyn FnMut(Entry) -> Result<(), SourceError>) -> Result<(), SourceError> {
        let mut list = StoredList::open(self.store)?;
        let mut any = false;
        while let Some(entry) = list.next()? {
            if self.cancel.is_cancelled() {
                return Err(SourceError::Cancelled);
            }
            if self.wants(&entry.name) {
                any = true;
                take(entry)?;
            }
        }
        if any || self.only.is_empty() {
            return Ok(());
        }
        Err(SourceError::Refused {
            what: format!("`{}`", self.only.texts().join("`, `")),
            why: "nothing in the snapshot fits it".to_owned(),
            hint: "names start at the top of what was backed up; nothing was written".to_owned(),
        })
    }

    pub(crate) fn total(&self) -> Result<Total, SourceError> {
        let mut total = Total::default();
        self.each(&mut |entry| {
            total.entries += 1;
            total.bytes += entry.size;
            total.contents += u64::from(entry.kind.has_content());
            entry.address.add_packs_to(&mut total.packs);
            Ok(())
        })?;
        Ok(total)
    }
}

/// The patterns after `--only`.
pub(crate) fn patterns(request: &LoadRequest) -> Result<Patterns, SourceError> {
    Patterns::new(&request.only).map_err(|why| SourceError::Refused {
        what: "`--only`".to_owned(),
        why,
        hint: "a name from the top, or a pattern: `--only 'media/2024/**'`".to_owned(),
    })
}

/// Draws so many of so many that pass by one after another, each set of them as likely as any other.
///
/// Selection sampling: Knuth, The Art of Computer Programming, volume 2, 3.4.2, algorithm S.
#[derive(Debug)]
pub(crate) struct Sample {
    of: u64,
    wanted: u64,
    passed: u64,
    taken: u64,
}

impl Sample {
    pub(crate) fn new(wanted: u64, of: u64) -> Self {
        Self { of, wanted: wanted.min(of), passed: 0, taken: 0 }
    }

    /// Whether the next one is taken.
    pub(crate) fn takes(&mut self, random: &mut dyn rand::RngCore) -> bool {
        let (left, missing) = (self.of.saturating_sub(self.passed), self.wanted - self.taken);
        self.passed += 1;
        let taken = missing > 0 && random.random_range(0..left.max(1)) < missing;
        self.taken += u64::from(taken);
        taken
    }

    pub(crate) fn sampled(&self) -> Sampled {
        Sampled { taken: self.taken, of: self.of }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_its_size_and_every_place_the_same_chance() {
        let mut often = [0_u32; 20];
        for _ in 0..4_000 {
            let mut sample = Sample::new(5, 20);
            let taken: Vec<bool> = (0..20).map(|_| sample.takes(&mut rand::rng())).collect();
            assert_eq!(taken.iter().filter(|taken| **taken).count(), 5);
            assert_eq!(sample.sampled(), Sampled { taken: 5, of: 20 });
            for (count, taken) in often.iter_mut().zip(taken) {
                *count += u32::from(taken);
            }
        }
        // 1,000 expected, with a standard deviation of 27.
        assert!(often.iter().all(|count| (800..1_200).contains(count)), "{often:?}");
    }

    #[test]
    fn a_sample_of_more_than_there_is_takes_everything() {
        let mut sample = Sample::new(50, 3);
        assert!((0..3).all(|_| sample.takes(&mut rand::rng())));
        assert_eq!(sample.sampled(), Sampled { taken: 3, of: 3 });
    }
}
