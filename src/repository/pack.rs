//! Packs: many frames in one age file, encrypted as they arrive, checked whole before anyone may upload them.
//!
//! `OpenPack -> SealedPack`. The check decrypts the finished ciphertext with a key made for this run alone (an extra
//! recipient) and compares the BLAKE3 of what comes out with that of what went in.

use std::io::{Read, Write};

use bytes::Bytes;

use super::crypt::{self, Identities, Recipients};
use super::index::{ChunkId, PackIndex};
use super::layout::{self, ContentName};
use super::{RepositoryError, frame};
use crate::domain::SealedObject;

/// A pack is closed once its content reaches this; it may exceed it by one frame.
pub const PACK_BYTES: usize = 32 << 20;
/// Offsets in a pack's decoded content stay below this, so that highly compressible data cannot make a pack that takes
/// hours to decode.
pub const PACK_RAW_BYTES_MAX: u64 = 1 << 30;
/// Lengths of full packs are multiples of this.
const FULL_PACK_STEP: usize = 128 << 10;
/// What a reader accepts as a pack file.
pub const PACK_FILE_BYTES_MAX: u64 = (PACK_BYTES + 2 * frame::FRAME_RAW_BYTES_MAX + (1 << 20)) as u64;

/// Keys that a run seals with.
pub struct SealKeys {
    recipients: Recipients,
    check: Identities,
}

impl SealKeys {
    /// `epoch` is the epoch's public key; the check key is made here and dies with the run.
    pub fn new(epoch: &str) -> Result<Self, RepositoryError> {
        let check = age::x25519::Identity::generate();
        let recipients = crypt::recipients(&[epoch.to_owned(), check.to_public().to_string()])?;
        Ok(Self { recipients, check: Identities::single(check) })
    }
}

/// A pack that takes frames.
pub struct OpenPack {
    writer: age::stream::StreamWriter<Vec<u8>>,
    hasher: blake3::Hasher,
    content_bytes: usize,
    raw_bytes: u64,
    chunks: Vec<(ChunkId, u32)>,
}

impl OpenPack {
    pub fn new(keys: &SealKeys) -> Result<Self, RepositoryError> {
        Ok(Self {
            writer: crypt::seal_into(Vec::with_capacity(PACK_BYTES / 8), &keys.recipients)?,
            hasher: blake3::Hasher::new(),
            content_bytes: 0,
            raw_bytes: 0,
            chunks: vec![],
        })
    }

    /// Appends a frame and returns where its content starts in the pack's decoded content.
    pub fn append(&mut self, frame: &[u8], chunks: &[(ChunkId, u32)]) -> Result<u64, RepositoryError> {
        let offset = self.raw_bytes;
        self.write(frame)?;
        self.raw_bytes += chunks.iter().map(|(_, length)| u64::from(*length)).sum::<u64>();
        self.chunks.extend_from_slice(chunks);
        Ok(offset)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), RepositoryError> {
        self.hasher.update(bytes);
        self.content_bytes += bytes.len();
        self.writer.write_all(bytes).map_err(|why| RepositoryError::local("encrypting a pack", why))
    }

    pub fn is_full(&self) -> bool {
        self.content_bytes >= PACK_BYTES || self.raw_bytes >= PACK_RAW_BYTES_MAX - frame::FRAME_RAW_BYTES_MAX as u64
    }

    /// Pads, finishes, names and checks the pack.
    pub fn seal(mut self, keys: &SealKeys) -> Result<SealedPack, RepositoryError> {
        let padding = padded(self.content_bytes) - self.content_bytes;
        if padding > 0 {
            self.write(&frame::padding(padding))?;
        }
        let expected = self.hasher.finalize();
        let sealed = self.writer.finish().map_err(|why| RepositoryError::local("encrypting a pack", why))?;
        let name = ContentName::of(&sealed);
        let key = layout::pack(&name);
        let mut reader = crypt::reader(key.as_str(), &sealed[..], &keys.check)?;
        let mut check = blake3::Hasher::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = reader.read(&mut buffer).map_err(|why| RepositoryError::damaged(key.as_str(), why))?;
            if read == 0 {
                break;
            }
            check.update(&buffer[..read]);
        }
        drop(reader);
        if check.finalize() != expected {
            return Err(RepositoryError::damaged(
                key.as_str(),
                "its content changed while it was sealed; this machine's memory may be faulty",
            ));
        }
        let index = PackIndex { pack: name, file_bytes: sealed.len() as u64, chunks: self.chunks };
        let object = SealedObject::new(key, Bytes::from(sealed)).expect("an age file under an age name");
        Ok(SealedPack { object, index })
    }
}

/// A pack that was checked and may be uploaded.
pub struct SealedPack {
    pub object: SealedObject,
    pub index: PackIndex,
}

/// Content length after padding: PADMÉ (Nikitin et al., PETS 2019), which leaves O(log log n) bits of the length visible
/// and adds at most 12 %, less the larger the pack. Full packs, of which there are many, go to the next
/// [`FULL_PACK_STEP`]: 0.2 % on average where PADMÉ would add 1.5.
fn padded(length: usize) -> usize {
    if length < 256 {
        return 256.max(length + frame::SKIPPABLE_HEADER_BYTES);
    }
    if length >= PACK_BYTES {
        return (length + frame::SKIPPABLE_HEADER_BYTES).next_multiple_of(FULL_PACK_STEP);
    }
    let exponent = length.ilog2();
    let significant = exponent.ilog2() + 1;
    let mask = (1_usize << (exponent - significant)) - 1;
    let padded = (length + mask) & !mask;
    match padded - length {
        0 => length,
        gap if gap < frame::SKIPPABLE_HEADER_BYTES => padded + mask + 1,
        _ => padded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_leaves_few_distinct_lengths_and_costs_little() {
        for length in [1, 255, 256, 257, 1_000, 65_537, 1 << 20, (32 << 20) + 12_345] {
            let padded = padded(length);
            assert!(padded == length || padded >= length + frame::SKIPPABLE_HEADER_BYTES);
            assert!(length < 256 || padded <= length + length / 8 + 16, "{length} -> {padded}");
        }
        let distinct: std::collections::BTreeSet<_> = (1 << 20..1 << 21).step_by(97).map(padded).collect();
        assert!(distinct.len() <= 40, "{}", distinct.len());
    }

    #[test]
    fn a_sealed_pack_is_named_by_its_ciphertext_and_opens_to_its_frames() {
        let epoch = age::x25519::Identity::generate();
        let keys = SealKeys::new(&epoch.to_public().to_string()).unwrap();
        let mut pack = OpenPack::new(&keys).unwrap();
        let mut compressor = frame::Compressor::new(1).unwrap();
        let frame = compressor.compress(b"hello").unwrap();
        assert_eq!(pack.append(frame, &[([1; 16], 5)]).unwrap(), 0);
        assert_eq!(pack.append(frame, &[([2; 16], 5)]).unwrap(), 5);
        let sealed = pack.seal(&keys).unwrap();
        layout::check_content(sealed.object.key(), sealed.object.bytes()).unwrap();
        let content = crypt::open("p", sealed.object.bytes(), &Identities::single(epoch), 1 << 20).unwrap();
        assert!(content.starts_with(frame));
        assert_eq!(frame::spans("p", &content[..]).unwrap().len(), 2);
        assert_eq!(sealed.index.chunks.len(), 2);
    }
}
