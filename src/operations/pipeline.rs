//! Introduces a source's bytes to their fingerprint and to the repository: one pass, one row hash for both.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::{BlobAddress, Block, Fingerprint, Lane, PackNumber, PartName, PartSink, Shape, SinkError};
use crate::proof::RecordHasher;
use crate::repository::RepositoryError;
use crate::repository::lane::LaneWriter;
use crate::repository::pipeline::Pipeline;

/// The sink of a backup.
pub struct BackupSink {
    pipeline: Arc<Pipeline>,
    done_bytes: Arc<AtomicU64>,
}

impl BackupSink {
    /// `done_bytes` grows as bytes pass; a progress display reads it.
    pub fn new(pipeline: Arc<Pipeline>, done_bytes: Arc<AtomicU64>) -> Self {
        Self { pipeline, done_bytes }
    }
}

impl PartSink for BackupSink {
    fn open_lane(&self) -> Result<Box<dyn Lane>, SinkError> {
        let writer = LaneWriter::open(&self.pipeline).map_err(sink_error)?;
        Ok(Box::new(BackupLane { writer, open: Open::Nothing, done_bytes: Arc::clone(&self.done_bytes) }))
    }

    fn held_pack(&self, number: PackNumber) -> Option<[u8; 32]> {
        self.pipeline.held_pack(number).map(|name| name.0)
    }

    fn refer(&self, packs: &BTreeSet<PackNumber>, bytes: u64) -> Result<(), SinkError> {
        self.pipeline.refer(packs, bytes);
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn sink_error(error: RepositoryError) -> SinkError {
    SinkError(error.to_string())
}

struct BackupLane {
    writer: LaneWriter,
    open: Open,
    done_bytes: Arc<AtomicU64>,
}

enum Open {
    Nothing,
    Part(Shape, Box<RecordHasher>),
    Blob,
}

impl Lane for BackupLane {
    fn begin(&mut self, name: PartName, shape: Shape) -> Result<(), SinkError> {
        self.open = Open::Part(shape, Box::new(RecordHasher::new(shape)));
        self.writer.begin(name, shape).map_err(sink_error)
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        let (shape, hasher) = match &mut self.open {
            Open::Part(shape, hasher) => (shape, hasher),
            Open::Blob => {
                self.done_bytes.fetch_add(block.data.len() as u64, Ordering::Relaxed);
                return self.writer.push_bytes(&block.data).map_err(sink_error);
            }
            Open::Nothing => return Err(SinkError("no part is open in this lane".to_owned())),
        };
        if *shape != Shape::Digest {
            self.done_bytes.fetch_add(block.data.len() as u64, Ordering::Relaxed);
        }
        let mut result = Ok(());
        let mut from = 0;
        let writer = &mut self.writer;
        match shape {
            Shape::Records => {
                hasher.update(block, |end, hash| {
                    let end = end as usize;
                    let cut = u64::from_le_bytes(*hash.first_chunk().expect("a hash has 32 bytes"));
                    if result.is_ok() {
                        result = writer.push_record(&block.data[from..end], Some(cut));
                    }
                    from = end;
                });
                if result.is_ok() && from < block.data.len() {
                    result = writer.push_record(&block.data[from..], None);
                }
            }
            Shape::Bytes => {
                hasher.update(block, |_, _| {});
                result = writer.push_bytes(&block.data);
            }
            Shape::Digest => hasher.update(block, |_, _| {}),
        }
        result.map_err(sink_error)
    }

    fn finish(&mut self) -> Result<Fingerprint, SinkError> {
        let Open::Part(_, hasher) = std::mem::replace(&mut self.open, Open::Nothing) else {
            return Err(SinkError("no part is open in this lane".to_owned()));
        };
        let fingerprint = hasher.finish().map_err(|why| SinkError(why.to_string()))?;
        self.writer.finish(fingerprint).map_err(sink_error)?;
        Ok(fingerprint)
    }

    fn begin_blob(&mut self) -> Result<(), SinkError> {
        self.open = Open::Blob;
        self.writer.begin_blob().map_err(sink_error)
    }

    fn skip(&mut self, zeros: u64) -> Result<(), SinkError> {
        self.done_bytes.fetch_add(zeros, Ordering::Relaxed);
        self.writer.skip(zeros).map_err(sink_error)
    }

    fn finish_blob(&mut self) -> Result<(), SinkError> {
        self.open = Open::Nothing;
        self.writer.finish_blob().map_err(sink_error)
    }

    fn settle(&mut self) -> Result<Vec<BlobAddress>, SinkError> {
        self.writer.settle().map_err(sink_error)
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.writer.close().map_err(sink_error)
    }
}
