//! Counts by how many rows two tables differ, exactly and in bounded memory.
//!
//! Fingerprints say that two tables differ; the count needs the rows' hashes of both sides. Each hash is cut to 16 bytes and appended
//! to one temporary file a side. What fits into memory is then sorted and merged at once; more is first dealt to
//! [`PARTITIONS`] files a side by the hash's first byte and merged partition by partition, a large one in several passes.
//!
//! Disk: 16 bytes a row and side, twice that while dealing. Memory: [`BUFFER_BYTES`] a side while collecting, at most
//! [`MEMORY_BYTES_MAX`] while counting. Open files: none while collecting, however many tables differ at once.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::ProofError;
use super::fingerprint::RecordHasher;
use crate::domain::{Block, PartReader, Shape};

/// What sorting one pass of both sides may hold.
pub const MEMORY_BYTES_MAX: u64 = 64 << 20;
/// Files a side while counting one table; two sides stay far below the usual limit of 1,024 open files.
const PARTITIONS: usize = 64;
const HASH_BYTES: usize = crate::domain::names::HASH_BYTES;
/// What a side gathers before it opens its file; a multiple of [`HASH_BYTES`].
const BUFFER_BYTES: usize = 16 << 10;
/// Passes over one partition are told apart by the hash's second byte, so there are at most this many.
const PASSES_MAX: u64 = 256;

/// Rows that only the backup has, and rows that only the restore has, duplicates counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowCounts {
    pub missing: u64,
    pub extra: u64,
}

/// The beginnings of some hashes that one side alone has, at most [`EXAMPLES_MAX`] a side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Examples {
    pub missing: Vec<[u8; HASH_BYTES]>,
    pub extra: Vec<[u8; HASH_BYTES]>,
}

/// How many differing rows of a group are told apart.
pub const EXAMPLES_MAX: usize = 20;

/// Collects the row hashes of both sides of one table. Cheap to clone through its [`RowSide`]s.
#[derive(Debug)]
pub struct RowDifference {
    recorded: RowSide,
    restored: RowSide,
    memory_bytes_max: u64,
}

impl RowDifference {
    /// Temporary files are made in the folder `spool` and removed on drop.
    pub fn new(spool: &Path) -> Self {
        Self { recorded: RowSide::new(spool), restored: RowSide::new(spool), memory_bytes_max: MEMORY_BYTES_MAX }
    }

    pub fn recorded(&self) -> RowSide {
        self.recorded.clone()
    }

    pub fn restored(&self) -> RowSide {
        self.restored.clone()
    }

    /// Counts. Call it after both sides have had all their rows.
    pub fn count(self) -> Result<RowCounts, ProofError> {
        Ok(self.count_with_examples()?.0)
    }

    /// The same, with hashes that somebody may know the names of.
    pub fn count_with_examples(self) -> Result<(RowCounts, Examples), ProofError> {
        let mut examples = Examples::default();
        let (mut recorded, mut restored) = (self.recorded.lock(), self.restored.lock());
        if (recorded.rows + restored.rows) * HASH_BYTES as u64 <= self.memory_bytes_max {
            let counts = merge(&recorded.sorted()?, &restored.sorted()?, &mut examples);
            return Ok((counts, examples));
        }
        let (mut recorded, mut restored) = (Partitions::deal(&mut recorded)?, Partitions::deal(&mut restored)?);
        let mut counts = RowCounts::default();
        for index in 0..PARTITIONS {
            let rows = recorded.rows(index) + restored.rows(index);
            let passes = (rows * HASH_BYTES as u64).div_ceil(self.memory_bytes_max).next_power_of_two().min(PASSES_MAX);
            for pass in 0..passes {
                let left = recorded.sorted(index, passes, pass)?;
                let right = restored.sorted(index, passes, pass)?;
                let found = merge(&left, &right, &mut examples);
                counts.missing += found.missing;
                counts.extra += found.extra;
            }
        }
        Ok((counts, examples))
    }
}

/// Where the hashes of one side go; the lanes of a dump share it.
#[derive(Debug, Clone)]
pub struct RowSide {
    spool: Arc<Mutex<Spool>>,
}

impl RowSide {
    fn new(folder: &Path) -> Self {
        Self { spool: Arc::new(Mutex::new(Spool { folder: folder.to_owned(), file: None, buffer: vec![], rows: 0 })) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the hashes of some rows, in any order.
    pub fn add(&self, hashes: &[[u8; 32]]) -> Result<(), ProofError> {
        let mut spool = self.lock();
        hashes.iter().try_for_each(|hash| spool.push(hash))
    }

    /// Takes every row of a part as it is stored. Rows of a stored part end with a line feed, which the row format escapes.
    pub fn add_part(&self, reader: &mut dyn PartReader) -> Result<(), ProofError> {
        let mut hasher = RecordHasher::new(Shape::Records);
        let mut batch = vec![];
        while let Some(piece) = reader.next_piece()? {
            let record_ends = piece
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == b'\n')
                .map(|(at, _)| u32::try_from(at + 1).expect("a piece is a few MiB"))
                .collect();
            batch.clear();
            hasher.update(&Block { data: piece.to_vec(), record_ends }, |_, hash| batch.push(*hash));
            self.add(&batch)?;
        }
        Ok(())
    }
}

/// The hashes of one side as they come. The file is open only while it is appended to or read.
#[derive(Debug)]
struct Spool {
    folder: PathBuf,
    file: Option<tempfile::TempPath>,
    buffer: Vec<u8>,
    rows: u64,
}

impl Spool {
    fn failed(&self, source: std::io::Error) -> ProofError {
        ProofError::Spool { path: self.folder.clone(), source }
    }

    fn push(&mut self, hash: &[u8; 32]) -> Result<(), ProofError> {
        self.buffer.extend_from_slice(&hash[..HASH_BYTES]);
        self.rows += 1;
        if self.buffer.len() >= BUFFER_BYTES { self.flush().map_err(|error| self.failed(error)) } else { Ok(()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.file.is_none() {
            self.file = Some(tempfile::NamedTempFile::new_in(&self.folder)?.into_temp_path());
        }
        if let Some(path) = &self.file {
            OpenOptions::new().append(true).open(path)?.write_all(&self.buffer)?;
        }
        self.buffer.clear();
        Ok(())
    }

    fn try_for_each(&mut self, mut each: impl FnMut(&[u8; HASH_BYTES]) -> std::io::Result<()>) -> std::io::Result<()> {
        self.flush()?;
        let Some(path) = &self.file else { return Ok(()) };
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
        let mut hash = [0; HASH_BYTES];
        for _ in 0..self.rows {
            reader.read_exact(&mut hash)?;
            each(&hash)?;
        }
        Ok(())
    }

    fn sorted(&mut self) -> Result<Vec<[u8; HASH_BYTES]>, ProofError> {
        let mut hashes = vec![];
        let read = self.try_for_each(|hash| {
            hashes.push(*hash);
            Ok(())
        });
        read.map_err(|error| self.failed(error))?;
        hashes.sort_unstable();
        Ok(hashes)
    }
}

/// The hashes of one side, dealt to files by their first byte.
#[derive(Debug)]
struct Partitions {
    folder: PathBuf,
    partitions: Vec<Option<Partition>>,
}

#[derive(Debug)]
struct Partition {
    writer: BufWriter<File>,
    rows: u64,
}

impl Partitions {
    fn deal(spool: &mut Spool) -> Result<Self, ProofError> {
        let mut dealt = Self { folder: spool.folder.clone(), partitions: (0..PARTITIONS).map(|_| None).collect() };
        spool.try_for_each(|hash| dealt.push(hash)).map_err(|error| spool.failed(error))?;
        Ok(dealt)
    }

    fn failed(&self, source: std::io::Error) -> ProofError {
        ProofError::Spool { path: self.folder.clone(), source }
    }

    fn push(&mut self, hash: &[u8; HASH_BYTES]) -> std::io::Result<()> {
        let slot = &mut self.partitions[usize::from(hash[0]) % PARTITIONS];
        let partition = match slot {
            Some(partition) => partition,
            None => slot.insert(Partition { writer: BufWriter::new(tempfile::tempfile_in(&self.folder)?), rows: 0 }),
        };
        partition.rows += 1;
        partition.writer.write_all(hash)
    }

    fn rows(&self, index: usize) -> u64 {
        self.partitions[index].as_ref().map_or(0, |partition| partition.rows)
    }

    /// The hashes of one pass over a partition, sorted.
    fn sorted(&mut self, index: usize, passes: u64, pass: u64) -> Result<Vec<[u8; 16]>, ProofError> {
        let Some(partition) = &mut self.partitions[index] else { return Ok(vec![]) };
        let hashes = read_pass(partition, passes, pass);
        let mut hashes = hashes.map_err(|error| self.failed(error))?;
        hashes.sort_unstable();
        Ok(hashes)
    }
}

fn read_pass(partition: &mut Partition, passes: u64, pass: u64) -> std::io::Result<Vec<[u8; 16]>> {
    partition.writer.flush()?;
    let file = partition.writer.get_mut();
    file.rewind()?;
    let mut reader = BufReader::with_capacity(1 << 16, &*file);
    let mut hashes = vec![];
    let mut hash = [0; HASH_BYTES];
    for _ in 0..partition.rows {
        reader.read_exact(&mut hash)?;
        if u64::from(hash[1]) % passes == pass {
            hashes.push(hash);
        }
    }
    Ok(hashes)
}

/// The multiset difference of two sorted runs, both ways.
fn merge(recorded: &[[u8; 16]], restored: &[[u8; 16]], examples: &mut Examples) -> RowCounts {
    use std::cmp::Ordering;
    let (mut left, mut right) = (0, 0);
    let mut counts = RowCounts::default();
    while left < recorded.len() && right < restored.len() {
        match recorded[left].cmp(&restored[right]) {
            Ordering::Less => {
                counts.missing += 1;
                keep(&mut examples.missing, &recorded[left..=left]);
                left += 1;
            }
            Ordering::Greater => {
                counts.extra += 1;
                keep(&mut examples.extra, &restored[right..=right]);
                right += 1;
            }
            Ordering::Equal => {
                left += 1;
                right += 1;
            }
        }
    }
    counts.missing += (recorded.len() - left) as u64;
    counts.extra += (restored.len() - right) as u64;
    keep(&mut examples.missing, &recorded[left..]);
    keep(&mut examples.extra, &restored[right..]);
    counts
}

fn keep(examples: &mut Vec<[u8; HASH_BYTES]>, hashes: &[[u8; HASH_BYTES]]) {
    let room = EXAMPLES_MAX.saturating_sub(examples.len());
    examples.extend(hashes.iter().take(room));
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::StoreError;
    use crate::domain::record_hash::record_hash;

    fn hashes(rows: &[u16]) -> Vec<[u8; 32]> {
        rows.iter().map(|row| *blake3::hash(&row.to_le_bytes()).as_bytes()).collect()
    }

    /// The definition: rows by value with their surplus.
    fn reference(recorded: &[u16], restored: &[u16]) -> RowCounts {
        let mut surplus: HashMap<u16, i64> = HashMap::new();
        for (rows, sign) in [(recorded, 1), (restored, -1)] {
            for row in rows {
                *surplus.entry(*row).or_default() += sign;
            }
        }
        let total = |sign: i64| surplus.values().map(|n| (n * sign).max(0)).sum::<i64>().unsigned_abs();
        RowCounts { missing: total(1), extra: total(-1) }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn missing_and_extra_rows_are_counted_exactly_in_however_many_passes(
            recorded in prop::collection::vec(0_u16..300, 0..400),
            restored in prop::collection::vec(0_u16..300, 0..400),
            memory_bytes_max in prop::sample::select(vec![16_u64, 100, 1 << 20]),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut difference = RowDifference::new(folder.path());
            difference.memory_bytes_max = memory_bytes_max;
            difference.recorded().add(&hashes(&recorded)).unwrap();
            difference.restored().add(&hashes(&restored)).unwrap();
            let (counts, examples) = difference.count_with_examples().unwrap();
            prop_assert_eq!(counts, reference(&recorded, &restored));
            let (left, right) = (hashes(&recorded), hashes(&restored));
            for (examples, count, of) in [(&examples.missing, counts.missing, &left), (&examples.extra, counts.extra, &right)] {
                prop_assert_eq!(examples.len() as u64, count.min(EXAMPLES_MAX as u64));
                prop_assert!(examples.iter().all(|example| of.iter().any(|hash| hash.starts_with(example))));
            }
        }
    }

    struct Pieces(Vec<&'static [u8]>);

    impl PartReader for Pieces {
        fn next_piece(&mut self) -> Result<Option<Bytes>, StoreError> {
            Ok((!self.0.is_empty()).then(|| Bytes::from_static(self.0.remove(0))))
        }
    }

    #[test]
    fn a_stored_part_gives_the_same_hashes_as_the_dump_it_came_from() {
        let folder = tempfile::tempdir().unwrap();
        let difference = RowDifference::new(folder.path());
        difference.recorded().add_part(&mut Pieces(vec![b"1\ta\n2\t", b"b\n", b"3\tc", b"\n"])).unwrap();
        let rows: Vec<[u8; 32]> =
            [b"3\tc\n", b"1\ta\n", b"4\td\n", b"4\td\n"].iter().map(|row| record_hash(*row)).collect();
        difference.restored().add(&rows).unwrap();
        assert_eq!(difference.count().unwrap(), RowCounts { missing: 1, extra: 2 });
    }
}
