//! A sink that keeps fingerprints instead of bytes: where a restore test dumps the scratch instance to.
//!
//! Memory: one hasher a lane and one fingerprint a part. Inventories, which are compared line by line, go to files.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fingerprint::RecordHasher;
use super::rows::RowSide;
use crate::domain::{BlobAddress, Block, Fingerprint, Lane, PartName, PartSink, Shape, SinkError};

/// Fingerprints whatever is dumped into it and stores nothing but the parts that were asked for.
///
/// Shared as `Arc<FingerprintSink>`: one clone is the dump's sink, the other takes the results.
#[derive(Debug)]
pub struct FingerprintSink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    spool: PathBuf,
    keep: HashSet<PartName>,
    rows: HashMap<PartName, RowSide>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    results: SinkResults,
    open_lanes: usize,
    files: usize,
    poisoned: Option<SinkError>,
}

/// What a dump left behind.
#[derive(Debug, Default)]
pub struct SinkResults {
    pub fingerprints: HashMap<PartName, Fingerprint>,
    /// The files of the parts that were to be kept, as they came, byte for byte. The spool folder's owner removes them.
    pub files: HashMap<PartName, PathBuf>,
}

impl FingerprintSink {
    /// Parts named in `keep` (the inventories) are also written to files in the folder `spool`, which exists.
    pub fn new(spool: PathBuf, keep: HashSet<PartName>) -> Self {
        let shared = Shared { spool, keep, rows: HashMap::new(), state: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Hands the hash of every row of these parts to a counter of differing rows: for a second look at what did not match.
    pub fn with_rows(spool: PathBuf, keep: HashSet<PartName>, rows: HashMap<PartName, RowSide>) -> Self {
        let shared = Shared { spool, keep, rows, state: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Takes the results, once, after the dump has returned. An error when a part or a lane was left unfinished.
    pub fn into_results(&self) -> Result<SinkResults, SinkError> {
        let mut state = self.shared.lock();
        if let Some(error) = &state.poisoned {
            return Err(error.clone());
        }
        if state.open_lanes != 0 {
            return Err(SinkError(format!("{} lanes of the dump were not closed", state.open_lanes)));
        }
        Ok(std::mem::take(&mut state.results))
    }
}

impl Shared {
    /// A panic of another lane leaves counters and maps that are whole; the dropped lane has poisoned the dump already.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poison(&self, error: &SinkError) {
        self.lock().poisoned.get_or_insert_with(|| error.clone());
    }
}

impl PartSink for FingerprintSink {
    fn open_lane(&self) -> Result<Box<dyn Lane>, SinkError> {
        self.shared.lock().open_lanes += 1;
        Ok(Box::new(FingerprintLane {
            shared: Arc::clone(&self.shared),
            open: None,
            blob_open: false,
            blobs: 0,
            closed: false,
        }))
    }
}

struct FingerprintLane {
    shared: Arc<Shared>,
    open: Option<OpenPart>,
    blob_open: bool,
    blobs: usize,
    closed: bool,
}

struct OpenPart {
    name: PartName,
    hasher: RecordHasher,
    file: Option<Spooled>,
    rows: Option<RowSide>,
    /// Hashes of one block, handed over at once so that lanes meet at the lock once a block.
    batch: Vec<[u8; 32]>,
}

struct Spooled {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl Spooled {
    fn failed(path: &Path, error: &std::io::Error) -> SinkError {
        SinkError(format!("temporary file `{}`: {error}", path.display()))
    }
}

impl FingerprintLane {
    fn open(&mut self, part: &PartName) -> Result<Option<Spooled>, SinkError> {
        if !self.shared.keep.contains(part) {
            return Ok(None);
        }
        let number = {
            let mut state = self.shared.lock();
            state.files += 1;
            state.files
        };
        // Part names may be longer than a file name can be.
        let path = self.shared.spool.join(format!("part-{number:06}"));
        let file = File::create_new(&path).map_err(|error| Spooled::failed(&path, &error))?;
        Ok(Some(Spooled { path, writer: BufWriter::new(file) }))
    }

    fn write_open(&mut self, block: &Block) -> Result<(), SinkError> {
        let open = self.open.as_mut().ok_or_else(|| SinkError("bytes came without a part".to_owned()))?;
        if let Some(file) = &mut open.file {
            file.writer.write_all(&block.data).map_err(|error| Spooled::failed(&file.path, &error))?;
        }
        let Some(rows) = &open.rows else {
            open.hasher.update(block, |_, _| {});
            return Ok(());
        };
        open.batch.clear();
        let batch = &mut open.batch;
        open.hasher.update(block, |_, hash| batch.push(*hash));
        rows.add(batch).map_err(|error| SinkError(error.to_string()))
    }

    fn finish_open(&mut self) -> Result<Fingerprint, SinkError> {
        let open = self.open.take().ok_or_else(|| SinkError("a part ended that was not begun".to_owned()))?;
        let name = open.name;
        let fingerprint = open.hasher.finish().map_err(|error| SinkError(format!("part `{name}`: {error}")))?;
        let file = match open.file {
            Some(mut file) => {
                file.writer.flush().map_err(|error| Spooled::failed(&file.path, &error))?;
                Some(file.path)
            }
            None => None,
        };
        let mut state = self.shared.lock();
        if state.results.fingerprints.insert(name.clone(), fingerprint).is_some() {
            return Err(SinkError(format!("part `{name}` came twice")));
        }
        if let Some(path) = file {
            state.results.files.insert(name, path);
        }
        Ok(fingerprint)
    }
}

impl Lane for FingerprintLane {
    fn begin(&mut self, name: PartName, shape: Shape) -> Result<(), SinkError> {
        let result = match &self.open {
            Some(open) => Err(SinkError(format!("part `{name}` began inside part `{}`", open.name))),
            None => self.open(&name),
        };
        match result {
            Ok(file) => {
                let rows = self.shared.rows.get(&name).cloned();
                self.open = Some(OpenPart { name, hasher: RecordHasher::new(shape), file, rows, batch: vec![] });
                Ok(())
            }
            Err(error) => {
                self.shared.poison(&error);
                Err(error)
            }
        }
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        // What a blob holds is fingerprinted by whoever lists it.
        if self.blob_open {
            return Ok(());
        }
        self.write_open(block).inspect_err(|error| self.shared.poison(error))
    }

    fn finish(&mut self) -> Result<Fingerprint, SinkError> {
        self.finish_open().inspect_err(|error| self.shared.poison(error))
    }

    fn begin_blob(&mut self) -> Result<(), SinkError> {
        self.blob_open = true;
        Ok(())
    }

    fn skip(&mut self, _zeros: u64) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish_blob(&mut self) -> Result<(), SinkError> {
        self.blob_open = false;
        self.blobs += 1;
        Ok(())
    }

    /// Blobs are kept nowhere.
    fn settle(&mut self) -> Result<Vec<BlobAddress>, SinkError> {
        Ok(vec![BlobAddress::default(); std::mem::take(&mut self.blobs)])
    }

    fn close(&mut self) -> Result<(), SinkError> {
        if let Some(open) = &self.open {
            let error = SinkError(format!("part `{}` was not finished", open.name));
            self.shared.poison(&error);
            return Err(error);
        }
        if !self.closed {
            self.closed = true;
            self.shared.lock().open_lanes -= 1;
        }
        Ok(())
    }
}

impl Drop for FingerprintLane {
    fn drop(&mut self) {
        let error = match &self.open {
            Some(open) => SinkError(format!("part `{}` was not finished", open.name)),
            None if !self.closed => SinkError("a lane of the dump was dropped before it was closed".to_owned()),
            None => return,
        };
        self.shared.poison(&error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PartName {
        PartName::from_components(&[text])
    }

    fn block(text: &str) -> Block {
        let record_ends = text.match_indices('\n').map(|(at, _)| u32::try_from(at + 1).unwrap()).collect();
        Block { data: text.as_bytes().to_vec(), record_ends }
    }

    #[test]
    fn a_kept_part_is_on_disk_byte_for_byte_and_the_others_only_fingerprinted() {
        let folder = tempfile::tempdir().unwrap();
        let sink = FingerprintSink::new(folder.path().to_owned(), HashSet::from([name("inventory")]));
        let mut lane = sink.open_lane().unwrap();
        for part in ["inventory", "table"] {
            lane.begin(name(part), Shape::Records).unwrap();
            lane.write(&block("b\na\n")).unwrap();
            lane.write(&block("c\n")).unwrap();
            lane.finish().unwrap();
        }
        lane.close().unwrap();
        drop(lane);
        let results = sink.into_results().unwrap();
        assert_eq!(std::fs::read(&results.files[&name("inventory")]).unwrap(), b"b\na\nc\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(results.fingerprints[&name("table")], results.fingerprints[&name("inventory")]);
        assert_eq!(results.fingerprints[&name("table")].records, 3);
    }

    #[test]
    fn a_lane_dropped_inside_a_part_poisons_the_results() {
        let folder = tempfile::tempdir().unwrap();
        let sink = FingerprintSink::new(folder.path().to_owned(), HashSet::new());
        let mut lane = sink.open_lane().unwrap();
        lane.begin(name("table"), Shape::Records).unwrap();
        lane.write(&block("a\n")).unwrap();
        drop(lane);
        assert_eq!(sink.into_results().unwrap_err().to_string(), "part `table` was not finished");
    }

    #[test]
    fn a_lane_that_is_still_open_or_was_never_closed_gives_no_results() {
        let folder = tempfile::tempdir().unwrap();
        let sink = FingerprintSink::new(folder.path().to_owned(), HashSet::new());
        let lane = sink.open_lane().unwrap();
        assert!(sink.into_results().is_err());
        drop(lane);
        assert!(sink.into_results().unwrap_err().to_string().contains("before it was closed"));
    }

    #[test]
    fn a_part_that_comes_twice_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let sink = FingerprintSink::new(folder.path().to_owned(), HashSet::new());
        let mut lane = sink.open_lane().unwrap();
        for expected in [true, false] {
            lane.begin(name("table"), Shape::Bytes).unwrap();
            assert_eq!(lane.finish().is_ok(), expected);
        }
        lane.close().unwrap();
        assert_eq!(sink.into_results().unwrap_err().to_string(), "part `table` came twice");
    }
}
