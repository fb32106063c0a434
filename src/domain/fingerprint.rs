//! The value of a fingerprint; `proof` computes it, recipes and reports carry it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An order-independent digest of a part's content.
///
/// For records: the sum modulo 2^256 of the BLAKE3 hash of each record, so order does not matter and duplicates do (a sum
/// does not cancel as XOR does). For bytes: the BLAKE3 hash of the whole, with one record counted.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// 32 bytes, little endian when summed.
    #[serde(with = "hex::serde")]
    pub sum: [u8; 32],
    pub records: u64,
    /// Length of the content in bytes.
    pub bytes: u64,
}

impl Fingerprint {
    pub const EMPTY: Self = Self { sum: [0; 32], records: 0, bytes: 0 };

    /// The fingerprint of two disjoint sets of records together: a table of its ranges.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        let mut sum = [0_u8; 32];
        let mut carry = 0_u16;
        for (index, byte) in sum.iter_mut().enumerate() {
            let total = u16::from(self.sum[index]) + u16::from(other.sum[index]) + carry;
            *byte = (total & 0xff) as u8;
            carry = total >> 8;
        }
        Self { sum, records: self.records + other.records, bytes: self.bytes + other.bytes }
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({}, {} records, {} bytes)", hex::encode(self.sum), self.records, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_carries_across_every_byte_and_wraps_at_the_top() {
        let ones = Fingerprint { sum: [0xff; 32], records: 1, bytes: 2 };
        let mut one = Fingerprint { sum: [0; 32], records: 1, bytes: 3 };
        one.sum[0] = 1;
        let total = ones.combine(one);
        assert_eq!(total, Fingerprint { sum: [0; 32], records: 2, bytes: 5 });
    }
}
