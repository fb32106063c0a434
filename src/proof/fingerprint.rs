//! Computes [`Fingerprint`]s from the very bytes that pass by.
//!
//! Cost: one BLAKE3 over the bytes and four additions a record. Records wholly inside one block are hashed side by side; only
//! one that continues over blocks goes through the incremental hasher. Memory: about 100 KB for each [`RecordHasher`].

use crate::domain::record_hash::{RUN, RecordHashes, padding};
use crate::domain::{Block, DIGEST_BYTES, Fingerprint, Shape};

/// Fingerprints one part, block by block.
#[derive(Debug)]
pub struct RecordHasher {
    shape: Shape,
    /// Little-endian limbs of the sum modulo 2^256.
    sum: [u64; 4],
    records: u64,
    bytes: u64,
    /// The record that an earlier block began, or for [`Shape::Bytes`] the whole part.
    open: blake3::Hasher,
    open_bytes: u64,
    hashes: RecordHashes,
}

/// A part of records ended inside a record: the dump was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the part ends inside a record, {bytes} bytes after its start")]
pub struct UnfinishedRecord {
    pub bytes: u64,
}

impl RecordHasher {
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            sum: [0; 4],
            records: 0,
            bytes: 0,
            open: blake3::Hasher::new(),
            open_bytes: 0,
            hashes: RecordHashes::new(),
        }
    }

    /// Takes the next block. For [`Shape::Records`], `each` is called once for each record that ends in it, in order, with the
    /// end's offset in this block and the record's hash; for [`Shape::Bytes`] it is never called. A [`Shape::Digest`] brings its
    /// hashes along.
    pub fn update(&mut self, block: &Block, mut each: impl FnMut(u32, &[u8; 32])) {
        if self.shape == Shape::Digest {
            return self.take_digests(block, each);
        }
        self.bytes += block.data.len() as u64;
        if self.shape == Shape::Bytes {
            self.open.update(&block.data);
            return;
        }
        let mut start = 0;
        let mut ends = block.record_ends.as_slice();
        if self.open_bytes > 0
            && let Some((&end, others)) = ends.split_first()
        {
            let hash = self.close(&block.data[..end as usize]);
            add(&mut self.sum, &hash);
            each(end, &hash);
            self.records += 1;
            (start, ends) = (end as usize, others);
        }
        for run in ends.chunks(RUN) {
            for (&end, hash) in run.iter().zip(self.hashes.run(&block.data, start, run)) {
                add(&mut self.sum, hash);
                each(end, hash);
            }
            self.records += run.len() as u64;
            start = run.last().map_or(start, |end| *end as usize);
        }
        let rest = &block.data[start..];
        if !rest.is_empty() {
            self.open.update(rest);
            self.open_bytes += rest.len() as u64;
        }
    }

    /// Hashes that somebody else has computed: they are added as they are. Blocks hold whole ones.
    fn take_digests(&mut self, block: &Block, mut each: impl FnMut(u32, &[u8; 32])) {
        let (records, rest) = block.data.as_chunks::<DIGEST_BYTES>();
        self.open_bytes += rest.len() as u64;
        let mut end = 0;
        for record in records {
            let (hash, length) = record.split_first_chunk::<32>().expect("a digest is longer than a hash");
            self.bytes += u64::from_le_bytes(*length.first_chunk().expect("a digest ends in a length"));
            add(&mut self.sum, hash);
            self.records += 1;
            end += u32::try_from(DIGEST_BYTES).expect("a digest is short");
            each(end, hash);
        }
    }

    /// The fingerprint of all that was taken. A part of bytes counts as one record, also when it is empty.
    pub fn finish(self) -> Result<Fingerprint, UnfinishedRecord> {
        if self.shape == Shape::Bytes {
            return Ok(Fingerprint { sum: *self.open.finalize().as_bytes(), records: 1, bytes: self.bytes });
        }
        if self.open_bytes != 0 {
            return Err(UnfinishedRecord { bytes: self.open_bytes });
        }
        let mut sum = [0; 32];
        for (bytes, limb) in sum.chunks_exact_mut(8).zip(self.sum) {
            bytes.copy_from_slice(&limb.to_le_bytes());
        }
        Ok(Fingerprint { sum, records: self.records, bytes: self.bytes })
    }

    /// Ends the record that earlier blocks began.
    fn close(&mut self, tail: &[u8]) -> [u8; 32] {
        let bytes = self.open_bytes + tail.len() as u64;
        let hash = self.open.update(tail).update(padding(bytes)).finalize();
        self.open.reset();
        self.open_bytes = 0;
        *hash.as_bytes()
    }
}

/// Adds modulo 2^256.
fn add(sum: &mut [u64; 4], hash: &[u8; 32]) {
    let mut carry = false;
    for (limb, bytes) in sum.iter_mut().zip(hash.as_chunks::<8>().0) {
        let (partial, over) = limb.overflowing_add(u64::from_le_bytes(*bytes));
        let (total, over_again) = partial.overflowing_add(u64::from(carry));
        *limb = total;
        carry = over | over_again;
    }
}

#[cfg(test)]
mod tests;
