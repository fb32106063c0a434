//! The hash of one record, and the same for many records at once.
//!
//! A record is hashed with its padding: a byte 0x80 and zeros up to the next multiple of 64 bytes, which no two records have in
//! common (ISO/IEC 7816-4). Padded records of equal length can be hashed side by side in the lanes of a vector register, four
//! times as fast as one after the other: rows are too short for the parallelism that BLAKE3 has within one input.
//!
//! Memory: [`RUN`] hashes and 16 KiB of padded records.

use blake3::IncrementCounter;
use blake3::platform::{MAX_SIMD_DEGREE, Platform};

/// BLAKE3 works on blocks of this many bytes.
const BLOCK: usize = 64;
/// Up to so many blocks are one chunk of BLAKE3's tree; longer records have parallelism of their own.
const BLOCKS_MAX: usize = 16;
/// At most so many records are hashed by one call.
pub const RUN: usize = 2048;

/// BLAKE3 paper, table 3: flags of a chunk's first and last block, and of the last block of a whole input.
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 2;
const ROOT: u8 = 8;
/// BLAKE3 paper, table 1: the key of unkeyed hashing.
const IV: [u32; 8] =
    [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19];
const PADDING: [u8; BLOCK] = {
    let mut padding = [0; BLOCK];
    padding[0] = 0x80;
    padding
};

/// What follows a record of `bytes` bytes before it is hashed: 1 to 64 bytes.
pub fn padding(bytes: u64) -> &'static [u8] {
    let over = usize::try_from(bytes % BLOCK as u64).expect("below 64");
    &PADDING[..BLOCK - over]
}

/// The hash of one record.
pub fn record_hash(record: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(record).update(padding(record.len() as u64)).finalize().as_bytes()
}

/// Hashes runs of records; its buffers are reused.
#[derive(Debug)]
pub struct RecordHashes {
    platform: Platform,
    /// Padded records of equal length, one behind the other.
    padded: Vec<u8>,
    /// By number of blocks, less one: which records of the run.
    of_blocks: [Vec<u16>; BLOCKS_MAX],
    hashes: Vec<[u8; 32]>,
}

impl Default for RecordHashes {
    fn default() -> Self {
        Self::new()
    }
}

impl RecordHashes {
    pub fn new() -> Self {
        Self {
            platform: Platform::detect(),
            padded: vec![0; MAX_SIMD_DEGREE * BLOCKS_MAX * BLOCK],
            of_blocks: Default::default(),
            hashes: vec![],
        }
    }

    /// The hashes, in order, of the at most [`RUN`] records that lie in `data` back to back from `start`, up to `ends`.
    pub fn run(&mut self, data: &[u8], start: usize, ends: &[u32]) -> &[[u8; 32]] {
        debug_assert!(ends.len() <= RUN, "indices are 16 bits");
        self.hashes.clear();
        self.hashes.resize(ends.len(), [0; 32]);
        self.of_blocks.iter_mut().for_each(Vec::clear);
        let record = |at: usize| {
            let from = if at == 0 { start } else { ends[at - 1] as usize };
            &data[from..ends[at] as usize]
        };
        for at in 0..ends.len() {
            let record = record(at);
            match self.of_blocks.get_mut(record.len() / BLOCK) {
                #[expect(clippy::cast_possible_truncation, reason = "a run is shorter than 2^16")]
                Some(group) => group.push(at as u16),
                None => self.hashes[at] = record_hash(record),
            }
        }
        for (index, group) in self.of_blocks.iter().enumerate() {
            let bytes = (index + 1) * BLOCK;
            for lanes in group.chunks(MAX_SIMD_DEGREE) {
                for (slot, &at) in self.padded.chunks_exact_mut(bytes).zip(lanes) {
                    let record = record(usize::from(at));
                    slot[..record.len()].copy_from_slice(record);
                    slot[record.len()..].copy_from_slice(padding(record.len() as u64));
                }
                let mut out = [[0; 32]; MAX_SIMD_DEGREE];
                side_by_side(self.platform, &self.padded[..lanes.len() * bytes], index + 1, &mut out[..lanes.len()]);
                for (&at, hash) in lanes.iter().zip(&out) {
                    self.hashes[usize::from(at)] = *hash;
                }
            }
        }
        &self.hashes
    }
}

/// Hashes inputs of `blocks` blocks each.
fn side_by_side(platform: Platform, inputs: &[u8], blocks: usize, out: &mut [[u8; 32]]) {
    macro_rules! by_blocks {
        ($($count:literal)*) => {
            match blocks {
                $($count => hash_many::<{ $count * BLOCK }>(platform, inputs, out),)*
                _ => unreachable!("longer records are not grouped"),
            }
        };
    }
    by_blocks!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
}

/// BLAKE3's own code for chunks of one tree, used for roots of one chunk each: a flag is the whole difference.
fn hash_many<const BYTES: usize>(platform: Platform, inputs: &[u8], out: &mut [[u8; 32]]) {
    let (inputs, _) = inputs.as_chunks::<BYTES>();
    let mut lanes = [&[0; BYTES]; MAX_SIMD_DEGREE];
    for (lane, input) in lanes.iter_mut().zip(inputs) {
        *lane = input;
    }
    let lanes = &lanes[..inputs.len()];
    platform.hash_many(lanes, &IV, 0, IncrementCounter::No, 0, CHUNK_START, CHUNK_END | ROOT, out.as_flattened_mut());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: nothing but the public function of BLAKE3 over the padded record.
    fn defined(record: &[u8]) -> [u8; 32] {
        let mut padded = record.to_vec();
        padded.push(0x80);
        padded.resize(padded.len().next_multiple_of(64), 0);
        *blake3::hash(&padded).as_bytes()
    }

    fn check(records: &[Vec<u8>]) {
        let before = b"the tail of an earlier record";
        let mut data = before.to_vec();
        let mut ends = vec![];
        for record in records {
            data.extend_from_slice(record);
            ends.push(u32::try_from(data.len()).unwrap());
        }
        let expected: Vec<_> = records.iter().map(|record| defined(record)).collect();
        let mut hashes = RecordHashes::new();
        for _ in 0..2 {
            assert_eq!(hashes.run(&data, before.len(), &ends), expected);
        }
        assert!(records.iter().map(|record| record_hash(record)).eq(expected));
    }

    #[test]
    fn every_length_around_the_edges_of_blocks_and_chunks_hashes_as_defined() {
        let lengths = (0..=1100).chain([2047, 2048, 2049, 70_000]);
        check(
            &lengths.map(|length| (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()).collect::<Vec<_>>(),
        );
    }

    proptest! {
        #[test]
        fn many_at_once_are_what_each_is_alone(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..200),
        ) {
            check(&records);
        }
    }

    #[test]
    fn a_record_and_the_same_with_zeros_or_padding_behind_it_differ() {
        let hashes = [&b"a"[..], b"a\0", b"a\x80", b"a\x80\0", b""].map(record_hash);
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(hash));
        }
    }
}
