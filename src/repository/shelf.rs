//! Pack files that a restore has fetched, kept for when it comes back to them: a table that changed a little every day is read
//! from the packs of all those days in turn.
//!
//! They wait as they came, encrypted, in files without a name in the state folder: nothing of them is left when the process ends,
//! and nobody who reads the disk learns more than from the target. Frames are decrypted one by one out of them.
//!
//! Disk: [`DISK_BYTES_MAX`] and one pack. Memory: a list of frames and 128 KiB for each of at most [`PACKS_MAX`] packs; where no file
//! can be written, one pack file.

use std::collections::VecDeque;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use age::stream::StreamReader;
use bytes::Bytes;

use super::RepositoryError;
use super::crypt::{self, Identities};
use super::frame::{self, FrameSpan};
use super::layout::{self, ContentName};

/// Pack files on disk, together.
const DISK_BYTES_MAX: u64 = 2 << 30;
/// Each is an open file.
const PACKS_MAX: usize = 256;

/// The packs that were used last.
#[derive(Default)]
pub(super) struct Shelf {
    /// Used last at the end.
    packs: VecDeque<Arc<ShelvedPack>>,
}

impl Shelf {
    pub(super) fn find(&mut self, name: ContentName) -> Option<Arc<ShelvedPack>> {
        let at = self.packs.iter().position(|pack| pack.name == name)?;
        let pack = self.packs.remove(at).expect("found just now");
        self.packs.push_back(Arc::clone(&pack));
        Some(pack)
    }

    pub(super) fn add(&mut self, pack: Arc<ShelvedPack>) {
        if pack.on_disk {
            let mut held: u64 = self.packs.iter().map(|pack| pack.file_bytes).sum();
            while held > DISK_BYTES_MAX || self.packs.len() >= PACKS_MAX {
                held -= self.packs.pop_front().map_or(0, |pack| pack.file_bytes);
            }
        } else {
            self.packs.retain(|pack| pack.on_disk);
        }
        self.packs.push_back(pack);
    }
}

/// A pack file whose sum was its name when it came.
pub(super) struct ShelvedPack {
    name: ContentName,
    file_bytes: u64,
    on_disk: bool,
    spans: Vec<FrameSpan>,
    content: Mutex<StreamReader<Box<dyn Sealed>>>,
}

trait Sealed: Read + Seek + Send {}
impl<T: Read + Seek + Send> Sealed for T {}

impl ShelvedPack {
    /// Puts a pack file into `folder`, or keeps it in memory where that is impossible.
    pub(super) fn open(
        name: ContentName,
        file: Bytes,
        folder: Option<&Path>,
        epochs: &[Identities],
    ) -> Result<Self, RepositoryError> {
        let key = layout::pack(&name);
        let epoch = epoch_of(key.as_str(), &file, epochs)?;
        let file_bytes = file.len() as u64;
        let shelved = folder.map(|folder| write(&file, folder));
        let on_disk = matches!(shelved, Some(Ok(_)));
        let sealed: Box<dyn Sealed> = match shelved {
            Some(Ok(shelved)) => {
                drop(file);
                Box::new(shelved)
            }
            Some(Err(error)) => {
                tracing::warn!(%error, pack = %key, "a pack waits in memory: its file in the state folder cannot be written");
                Box::new(Cursor::new(file))
            }
            None => Box::new(Cursor::new(file)),
        };
        let mut content = crypt::reader(key.as_str(), sealed, epoch)?;
        let spans = frame::spans(key.as_str(), &mut content)?;
        Ok(Self { name, file_bytes, on_disk, spans, content: Mutex::new(content) })
    }

    /// The frame that holds this byte of the decoded content.
    pub(super) fn frame_at(&self, raw_offset: u64) -> Option<FrameSpan> {
        let at = self.spans.partition_point(|span| span.raw_offset + span.raw_length as u64 <= raw_offset);
        self.spans.get(at).copied()
    }

    pub(super) fn decode(&self, span: FrameSpan) -> Result<Bytes, RepositoryError> {
        let key = layout::pack(&self.name);
        let mut compressed = vec![0; span.length];
        {
            let mut content = self.content.lock().expect("no thread panics while it holds this lock");
            content
                .seek(SeekFrom::Start(span.offset as u64))
                .and_then(|_| content.read_exact(&mut compressed))
                .map_err(|why| RepositoryError::damaged(key.as_str(), why))?;
        }
        frame::decode(key.as_str(), &compressed, span.raw_length).map(Bytes::from)
    }
}

/// The key that opens this file.
fn epoch_of<'k>(object: &str, file: &[u8], epochs: &'k [Identities]) -> Result<&'k Identities, RepositoryError> {
    let mut last = RepositoryError::damaged(object, "no key was given");
    for epoch in epochs {
        match crypt::reader(object, file, epoch) {
            Ok(_) => return Ok(epoch),
            Err(error @ RepositoryError::WrongKey { .. }) => last = RepositoryError::damaged(object, error),
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn write(file: &[u8], folder: &Path) -> std::io::Result<std::fs::File> {
    let mut shelved = tempfile::tempfile_in(folder)?;
    shelved.write_all(file)?;
    shelved.rewind()?;
    Ok(shelved)
}
