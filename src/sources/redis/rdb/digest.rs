//! Digests of bytes that come piece by piece, and sums of hashes.

/// So many bytes are gathered before they are hashed: at once is several times as fast as in small pieces.
pub(super) const GATHERED_MAX: usize = 64 << 10;

/// A sum modulo 2^256 of hashes: order does not matter, duplicates do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum256([u64; 4]);

impl Sum256 {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&mut self, hash: &[u8; 32]) {
        let mut carry = false;
        for (limb, bytes) in self.0.iter_mut().zip(hash.as_chunks::<8>().0) {
            let (partial, over) = limb.overflowing_add(u64::from_le_bytes(*bytes));
            let (total, over_again) = partial.overflowing_add(u64::from(carry));
            *limb = total;
            carry = over | over_again;
        }
    }

    /// Little endian, as a [`Fingerprint`](crate::domain::Fingerprint) holds it.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (bytes, limb) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *bytes = limb.to_le_bytes();
        }
        bytes
    }
}

/// The BLAKE3 of bytes that come in pieces of any size. Holds at most [`GATHERED_MAX`] of them; the few of a usual element are
/// hashed by one call.
#[derive(Debug)]
pub(super) struct Gather {
    bytes: Vec<u8>,
    hasher: blake3::Hasher,
    spilled: bool,
}

impl Gather {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), hasher: blake3::Hasher::new(), spilled: false }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() > GATHERED_MAX {
            self.hasher.update(&self.bytes);
            self.bytes.clear();
            self.spilled = true;
            if bytes.len() > GATHERED_MAX {
                self.hasher.update(bytes);
                return;
            }
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn push_byte(&mut self, byte: u8) {
        self.push(&[byte]);
    }

    pub(super) fn push_u64(&mut self, value: u64) {
        self.push(&value.to_le_bytes());
    }

    /// Seven bits a byte, the lowest first; short for the short lengths that are usual.
    pub(super) fn push_varint(&mut self, value: u64) {
        let (bytes, count) = varint(value);
        self.push(&bytes[..count]);
    }

    /// The digest; the next begins.
    pub(super) fn finish(&mut self) -> [u8; 32] {
        let digest = if self.spilled {
            let digest = self.hasher.update(&self.bytes).finalize();
            self.hasher.reset();
            digest
        } else {
            blake3::hash(&self.bytes)
        };
        self.spilled = false;
        self.bytes.clear();
        *digest.as_bytes()
    }
}

impl Gather {
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// All bytes, where they are at most `max`; [`clear`](Self::clear) forgets them.
    pub(super) fn short(&self, max: usize) -> Option<&[u8]> {
        (!self.spilled && self.bytes.len() <= max).then_some(&self.bytes)
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Hands on what was gathered, `length` bytes, where that is at most `max`, else its digest; the next begins.
    pub(super) fn take_or_digest(&mut self, max: u64, length: u64, mut hand: impl FnMut(&[u8])) {
        if length > max {
            hand(&self.finish());
        } else {
            hand(&self.bytes);
            self.bytes.clear();
        }
    }
}

/// Seven bits a byte, the lowest first, the top bit of all but the last set.
pub(super) fn varint(mut value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut count = 0;
    while value >= 0x80 {
        bytes[count] = (value & 0x7f) as u8 | 0x80;
        value >>= 7;
        count += 1;
    }
    bytes[count] = (value & 0x7f) as u8;
    (bytes, count + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Fingerprint;

    #[test]
    fn a_sum_is_that_of_a_fingerprint() {
        let hashes: Vec<[u8; 32]> = (0..50_u8).map(|n| *blake3::hash(&[n]).as_bytes()).collect();
        let mut sum = Sum256::new();
        let mut expected = Fingerprint::EMPTY;
        for hash in &hashes {
            sum.add(hash);
            expected = expected.combine(Fingerprint { sum: *hash, records: 1, bytes: 0 });
        }
        assert_eq!(sum.to_bytes(), expected.sum);
    }

    #[test]
    fn gathered_bytes_hash_to_one_digest_whatever_the_pieces() {
        let all: Vec<u8> = (0..300_000_u32).map(|n| (n * 7 % 253) as u8).collect();
        for step in [1000, 65_535, 65_536, 65_537, 300_000] {
            for length in [0, 1, 65_536, 65_537, 131_072, all.len()] {
                let mut gather = Gather::new();
                all[..length].chunks(step).for_each(|piece| gather.push(piece));
                assert!(gather.bytes.len() <= GATHERED_MAX);
                assert_eq!(gather.finish(), *blake3::hash(&all[..length]).as_bytes());
                assert_eq!(gather.finish(), *blake3::hash(b"").as_bytes());
            }
        }
    }
}
