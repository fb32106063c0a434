//! Where this writer's chunks lie: a local, rebuildable map from chunk id to pack.
//!
//! A stale or damaged cache never harms: a pack counts only while a target's listing shows it, and a lost cache costs
//! deduplication until the index objects are read again. Memory: [`CACHE_BYTES`] of pages and at most
//! [`FRESH_ENTRIES_MAX`] entries of about 80 bytes that are not yet written.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::RepositoryError;
use super::index::{ChunkId, PackIndex};
use super::layout::ContentName;

pub const CACHE_BYTES: usize = 16 << 20;
pub const FRESH_ENTRIES_MAX: usize = 200_000;

/// Chunk id -> (number of the pack, offset in its decoded content).
const CHUNKS: TableDefinition<&[u8; 16], (u32, u32)> = TableDefinition::new("chunks");
/// Number of a pack -> its name and the size of its file.
const PACKS: TableDefinition<u32, (&[u8; 32], u64)> = TableDefinition::new("packs");

/// A chunk's place: the pack by its number in this cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    pub pack: u32,
    pub offset: u32,
}

/// One run's view: what was known before, less what no target holds, plus what the run adds.
pub struct ChunkCache {
    transaction: redb::WriteTransaction,
    /// Packs by number; `None` while a pack of this run is not yet sealed.
    packs: Vec<PackState>,
    fresh: HashMap<ChunkId, Location>,
}

#[derive(Debug, Clone)]
struct PackState {
    name: Option<ContentName>,
    file_bytes: u64,
    usable: bool,
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn local(why: impl ToString) -> RepositoryError {
    RepositoryError::local("the chunk cache", why.to_string())
}

impl ChunkCache {
    /// Opens the cache in `file` for one run. A cache that does not open or read is set aside and started anew.
    ///
    /// `held` tells which packs targets are known to hold with this size, by listing.
    pub fn open(file: &Path, held: impl Fn(&ContentName, u64) -> bool) -> Result<Self, RepositoryError> {
        if let Ok(cache) = Self::open_sound(file, &held) {
            return Ok(cache);
        }
        std::fs::rename(file, file.with_extension("damaged")).map_err(local)?;
        Self::open_sound(file, &held)
    }

    fn open_sound(file: &Path, held: &impl Fn(&ContentName, u64) -> bool) -> Result<Self, RepositoryError> {
        let transaction = Self::database(file)?.begin_write().map_err(local)?;
        let mut packs = vec![];
        {
            let table = transaction.open_table(PACKS).map_err(local)?;
            transaction.open_table(CHUNKS).map_err(local)?;
            for row in table.iter().map_err(local)? {
                let (number, pack) = row.map_err(local)?;
                let (name, file_bytes) = pack.value();
                let name = ContentName(*name);
                if number.value() as usize != packs.len() {
                    return Err(local("packs are not numbered in order"));
                }
                packs.push(PackState { usable: held(&name, file_bytes), name: Some(name), file_bytes });
            }
        }
        Ok(Self { transaction, packs, fresh: HashMap::new() })
    }

    fn database(file: &Path) -> Result<Database, RepositoryError> {
        redb::Builder::new().set_cache_size(CACHE_BYTES).create(file).map_err(local)
    }

    /// Whether the cache in `file` knows any pack at all; if not, reading the index objects pays.
    pub fn is_empty(file: &Path) -> bool {
        let Ok(database) = Self::database(file) else { return true };
        let Ok(read) = database.begin_read() else { return true };
        let Ok(table) = read.open_table(PACKS) else { return true };
        redb::ReadableTableMetadata::is_empty(&table).unwrap_or(true)
    }

    pub fn find(&self, id: &ChunkId) -> Result<Option<Location>, RepositoryError> {
        if let Some(location) = self.fresh.get(id) {
            return Ok(Some(*location));
        }
        let table = self.transaction.open_table(CHUNKS).map_err(local)?;
        let found = table.get(id).map_err(local)?.map(|value| value.value());
        Ok(found
            .map(|(pack, offset)| Location { pack, offset })
            .filter(|location| self.packs.get(location.pack as usize).is_some_and(|pack| pack.usable)))
    }

    /// Numbers a pack that this run opens.
    pub fn open_pack(&mut self) -> u32 {
        self.packs.push(PackState { name: None, file_bytes: 0, usable: true });
        u32::try_from(self.packs.len() - 1).expect("fewer than 2^32 packs")
    }

    pub fn add(&mut self, id: ChunkId, location: Location) -> Result<(), RepositoryError> {
        self.fresh.insert(id, location);
        if self.fresh.len() >= FRESH_ENTRIES_MAX { self.write_fresh() } else { Ok(()) }
    }

    fn write_fresh(&mut self) -> Result<(), RepositoryError> {
        let mut table = self.transaction.open_table(CHUNKS).map_err(local)?;
        // In order of ids neighbouring pages are touched once.
        let mut entries: Vec<_> = self.fresh.drain().collect();
        entries.sort_unstable_by_key(|(id, _)| *id);
        for (id, location) in entries {
            table.insert(&id, (location.pack, location.offset)).map_err(local)?;
        }
        Ok(())
    }

    /// The pack of this number has been sealed under this name.
    pub fn name_pack(&mut self, number: u32, index: &PackIndex) {
        let state = &mut self.packs[number as usize];
        state.name = Some(index.pack);
        state.file_bytes = index.file_bytes;
    }

    /// Name and file size of a sealed pack.
    pub fn pack(&self, number: u32) -> Option<(ContentName, u64)> {
        let state = self.packs.get(number as usize)?;
        Some((state.name?, state.file_bytes))
    }

    /// The name of a sealed pack that targets hold.
    pub fn held_pack(&self, number: u32) -> Option<ContentName> {
        self.packs.get(number as usize).filter(|pack| pack.usable)?.name
    }

    /// Takes in what an index object says, for packs that a target holds.
    pub fn absorb(
        &mut self,
        indexes: &[PackIndex],
        held: impl Fn(&ContentName, u64) -> bool,
    ) -> Result<(), RepositoryError> {
        let mut known: HashSet<ContentName> = self.packs.iter().filter_map(|pack| pack.name).collect();
        for index in indexes.iter().filter(|index| held(&index.pack, index.file_bytes)) {
            if !known.insert(index.pack) {
                continue;
            }
            let number = self.open_pack();
            self.name_pack(number, index);
            let mut offset = 0_u32;
            for (id, length) in &index.chunks {
                self.add(*id, Location { pack: number, offset })?;
                // An index that claims more than a pack can hold says nothing about what follows.
                let Some(next) = offset.checked_add(*length) else { break };
                offset = next;
            }
        }
        Ok(())
    }

    /// Keeps what this run added, for later runs. Without it the cache stays as it was.
    pub fn commit(mut self) -> Result<(), RepositoryError> {
        self.write_fresh()?;
        {
            let mut table = self.transaction.open_table(PACKS).map_err(local)?;
            for (number, pack) in self.packs.iter().enumerate() {
                let number = u32::try_from(number).expect("fewer than 2^32 packs");
                // A number is never given twice: chunks of a pack that no target shows any more still point to it.
                let name = pack.name.ok_or_else(|| local("a pack was not sealed"))?;
                table.insert(number, (&name.0, pack.file_bytes)).map_err(local)?;
            }
        }
        self.transaction.commit().map_err(local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(seed: u8) -> PackIndex {
        PackIndex {
            pack: ContentName([seed; 32]),
            file_bytes: 9,
            chunks: vec![([seed; 16], 100), ([seed + 1; 16], 50)],
        }
    }

    #[test]
    fn chunks_of_packs_that_no_target_shows_are_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chunks.redb");
        let mut cache = ChunkCache::open(&file, |_, _| true).unwrap();
        cache.absorb(&[index(1), index(10)], |_, _| true).unwrap();
        cache.commit().unwrap();
        assert!(!ChunkCache::is_empty(&file));
        let cache = ChunkCache::open(&file, |name, _| name.0[0] == 10).unwrap();
        assert_eq!(cache.find(&[1; 16]).unwrap(), None);
        assert_eq!(cache.find(&[11; 16]).unwrap(), Some(Location { pack: 1, offset: 100 }));
        assert_eq!(cache.pack(1), Some((ContentName([10; 32]), 9)));
    }

    #[test]
    fn a_run_that_does_not_commit_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chunks.redb");
        let mut cache = ChunkCache::open(&file, |_, _| true).unwrap();
        cache.absorb(&[index(1)], |_, _| true).unwrap();
        drop(cache);
        assert_eq!(ChunkCache::open(&file, |_, _| true).unwrap().find(&[1; 16]).unwrap(), None);
    }

    #[test]
    fn a_damaged_cache_is_set_aside_and_started_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chunks.redb");
        std::fs::write(&file, b"this is no database, but it is long enough to be taken for one".repeat(100)).unwrap();
        let mut cache = ChunkCache::open(&file, |_, _| true).unwrap();
        cache.absorb(&[index(1)], |_, _| true).unwrap();
        cache.commit().unwrap();
        assert!(ChunkCache::open(&file, |_, _| true).unwrap().find(&[1; 16]).unwrap().is_some());
        assert!(folder.path().join("chunks.damaged").exists());
    }
}
