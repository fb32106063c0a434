//! The writer's own copy of the last list: what has not changed since need not be read again.
//!
//! A file `<job>.list` in the state folder: the list in zstd, then what its pack numbers stand for, also in zstd, then the length of that, the BLAKE3 of it all,
//! and a mark. A copy that is damaged, or whose packs are gone, costs a full read and nothing else. Memory: one line, and 40 bytes a pack.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::entry::{Entry, LINE_BYTES_MAX};
use crate::domain::{PackNumber, PartSink};

const MARK: &[u8; 8] = b"LBLIST1\n";
/// Length of the packs, BLAKE3, mark.
const TAIL_BYTES: usize = 8 + 32 + 8;
const NAME: &str = "list";
const NEW: &str = "list.new";

/// Reads the last list in order.
pub(super) struct LastListing {
    lines: BufReader<zstd::Decoder<'static, BufReader<std::io::Take<File>>>>,
    packs: HashMap<PackNumber, [u8; 32]>,
    line: Vec<u8>,
}

impl LastListing {
    /// `None` where there is none, or none that can be used.
    pub(super) fn open(folder: &Path) -> Option<Self> {
        let path = folder.join(NAME);
        if !path.exists() {
            return None;
        }
        let opened = Self::try_open(&path);
        if opened.is_none() {
            tracing::warn!(path = %path.display(), "the copy of the last list cannot be used; everything is read once");
        }
        opened
    }

    fn try_open(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let size = file.metadata().ok()?.len();
        let mut tail = [0; TAIL_BYTES];
        let tail_at = size.checked_sub(TAIL_BYTES as u64)?;
        file.seek(SeekFrom::Start(tail_at)).ok()?;
        file.read_exact(&mut tail).ok()?;
        file.rewind().ok()?;
        // Damage must not pass for something that has not changed.
        let (length, sum) = (u64::from_le_bytes(*tail.first_chunk()?), &tail[8..40]);
        if tail[40..] != *MARK || sum_of((&file).take(tail_at)).ok()?.as_bytes() != sum {
            return None;
        }
        let packs_at = tail_at.checked_sub(length)?;
        file.seek(SeekFrom::Start(packs_at)).ok()?;
        let packs = read_packs(&mut (&file).take(length))?;
        file.rewind().ok()?;
        let lines = unpacked(file.take(packs_at)).ok()?;
        Some(Self { lines: BufReader::new(lines), packs, line: vec![] })
    }

    /// The next entry; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Entry> {
        self.line.clear();
        let read = (&mut self.lines).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut self.line);
        if !matches!(read, Ok(1..)) {
            return None;
        }
        Entry::read_line(self.line.strip_suffix(b"\n")?)
    }

    /// Whether everything that the entry's content lies in is still held, under the names that these numbers had.
    pub(super) fn holds(&self, entry: &Entry, sink: &dyn PartSink) -> bool {
        entry.address.packs().all(|number| {
            let then = self.packs.get(&number);
            then.is_some() && sink.held_pack(number).as_ref() == then
        })
    }
}

/// Hands over every entry of the last committed list, in order, and whether its content is still held.
pub(crate) fn each_of_last(folder: &Path, sink: &dyn PartSink, take: &mut dyn FnMut(Entry, bool)) {
    let Some(mut last) = LastListing::open(folder) else { return };
    while let Some(entry) = last.next() {
        let held = last.holds(&entry, sink);
        take(entry, held);
    }
}

#[expect(clippy::disallowed_methods, reason = "the sum has been checked: this is what we wrote")]
fn unpacked<R: Read>(packed: R) -> std::io::Result<zstd::Decoder<'static, BufReader<R>>> {
    zstd::Decoder::new(packed)
}

fn sum_of(content: impl Read) -> std::io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(content)?;
    Ok(hasher.finalize())
}

fn read_packs(packed: &mut dyn Read) -> Option<HashMap<PackNumber, [u8; 32]>> {
    let mut packs = HashMap::new();
    for line in BufReader::new(unpacked(packed).ok()?).lines() {
        let line = line.ok()?;
        let (number, name) = line.split_once('\t')?;
        packs.insert(number.parse().ok()?, hex::decode(name).ok()?.try_into().ok()?);
    }
    Some(packs)
}

/// Writes the copy of the list that is being made. It takes the place of the last one once the snapshot is committed.
pub(super) struct NewListing {
    file: zstd::Encoder<'static, std::io::BufWriter<File>>,
}

impl NewListing {
    pub(super) fn begin(folder: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let file = std::io::BufWriter::new(File::create(folder.join(NEW))?);
        Ok(Self { file: zstd::Encoder::new(file, 1)? })
    }

    pub(super) fn line(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.file.write_all(line)
    }

    pub(super) fn finish(self) -> std::io::Result<()> {
        self.file.finish()?.flush()
    }
}

/// The snapshot whose list was written last is committed: its copy takes the place of the one before.
pub(super) fn commit(folder: &Path, packs: &[(PackNumber, [u8; 32])]) -> std::io::Result<()> {
    let path: PathBuf = folder.join(NEW);
    let mut file = File::options().read(true).append(true).open(&path)?;
    let mut table = zstd::Encoder::new(vec![], 1)?;
    for (number, name) in packs {
        writeln!(table, "{number}\t{}", hex::encode(name))?;
    }
    let table = table.finish()?;
    file.write_all(&table)?;
    file.rewind()?;
    let sum = sum_of(&file)?;
    file.write_all(&(table.len() as u64).to_le_bytes())?;
    file.write_all(sum.as_bytes())?;
    file.write_all(MARK)?;
    file.sync_all()?;
    std::fs::rename(path, folder.join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Lane, SinkError};
    use crate::sources::tree::EntryKind;

    struct Holds(PackNumber, [u8; 32]);

    impl PartSink for Holds {
        fn open_lane(&self) -> Result<Box<dyn Lane>, SinkError> {
            Err(SinkError("nothing is written here".to_owned()))
        }

        fn held_pack(&self, number: PackNumber) -> Option<[u8; 32]> {
            (number == self.0).then_some(self.1)
        }
    }

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.into(),
            kind: EntryKind::Content,
            size: 1,
            sum: Some([1; 32]),
            address: "3:0:1".parse().unwrap(),
            attributes: "{}".to_owned(),
            seen: "x".to_owned(),
        }
    }

    fn write(folder: &Path) {
        let mut listing = NewListing::begin(folder).unwrap();
        for name in ["a", "b"] {
            let mut line = vec![];
            entry(name).write_line(&mut line);
            listing.line(&line).unwrap();
        }
        listing.finish().unwrap();
    }

    #[test]
    fn only_a_committed_list_is_read_and_only_while_its_packs_are_what_they_were() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        assert!(LastListing::open(folder.path()).is_none(), "not committed yet");
        commit(folder.path(), &[(3, [9; 32])]).unwrap();
        write(folder.path());
        let mut last = LastListing::open(folder.path()).unwrap();
        let first = last.next().unwrap();
        assert_eq!(first, entry("a"));
        assert!(last.holds(&first, &Holds(3, [9; 32])));
        assert!(!last.holds(&first, &Holds(3, [8; 32])), "the number stands for another pack");
        assert!(!last.holds(&first, &Holds(4, [9; 32])), "the pack is gone");
        assert_eq!(last.next(), Some(entry("b")));
        assert_eq!(last.next(), None);
    }

    #[test]
    fn a_copy_that_is_cut_or_bent_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        commit(folder.path(), &[(3, [9; 32])]).unwrap();
        let whole = std::fs::read(folder.path().join(NAME)).unwrap();
        for length in 0..whole.len() {
            std::fs::write(folder.path().join(NAME), &whole[..length]).unwrap();
            assert!(LastListing::open(folder.path()).is_none(), "cut to {length}");
        }
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 0x10;
            std::fs::write(folder.path().join(NAME), &bent).unwrap();
            assert!(LastListing::open(folder.path()).is_none(), "bent at {at}");
        }
        std::fs::write(folder.path().join(NAME), &whole).unwrap();
        assert!(LastListing::open(folder.path()).is_some());
    }
}
