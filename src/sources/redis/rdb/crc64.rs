//! The CRC-64 that ends an RDB and a `DUMP` payload: the Jones polynomial, reflected, starting at 0, stored little endian.

const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// `TABLES[n][b]`: the sum of byte `b` with `n` zero bytes after it, so that 16 bytes are summed at once.
static TABLES: [[u64; 256]; 16] = tables();

#[expect(clippy::large_stack_arrays, reason = "computed by the compiler")]
const fn tables() -> [[u64; 256]; 16] {
    let mut tables = [[0; 256]; 16];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut row = 1;
    while row < 16 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[row - 1][byte];
            tables[row][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        row += 1;
    }
    tables
}

/// How many stretches of a long input are summed in step, and how long they are.
const LANES: usize = 4;
const LANE_BYTES: usize = 1 << LANE_BITS;
const LANE_BITS: usize = 11;

/// What each bit of a sum becomes by [`LANE_BYTES`] zero bytes; sums are linear in that.
static PAST_LANE: [u64; 64] = {
    let mut past = [0; 64];
    let mut bit = 0;
    while bit < 64 {
        let sum = 1_u64 << bit;
        past[bit] = sum >> 8 ^ TABLES_OF_ONE[(sum & 0xff) as usize];
        bit += 1;
    }
    // Twice as many bytes each time.
    let mut doubled = 0;
    while doubled < LANE_BITS {
        let mut next = [0; 64];
        bit = 0;
        while bit < 64 {
            next[bit] = applied(&past, past[bit]);
            bit += 1;
        }
        past = next;
        doubled += 1;
    }
    past
};
const TABLES_OF_ONE: [u64; 256] = tables()[0];

const fn applied(rows: &[u64; 64], sum: u64) -> u64 {
    let (mut result, mut bit) = (0, 0);
    while bit < 64 {
        result ^= rows[bit] & (sum >> bit & 1).wrapping_neg();
        bit += 1;
    }
    result
}

fn past_lane(sum: u64) -> u64 {
    applied(&PAST_LANE, sum)
}

fn block(sum: u64, block: &[u8; 16]) -> u64 {
    let low = sum ^ u64::from_le_bytes(*block.first_chunk().expect("16 bytes"));
    let high = block.last_chunk::<8>().expect("16 bytes");
    let mut sum = 0;
    for (at, byte) in low.to_le_bytes().iter().enumerate() {
        sum ^= TABLES[15 - at][usize::from(*byte)];
    }
    for (at, byte) in high.iter().enumerate() {
        sum ^= TABLES[7 - at][usize::from(*byte)];
    }
    sum
}

/// A running sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crc64(u64);

impl Crc64 {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn update(&mut self, bytes: &[u8]) {
        let mut sum = self.0;
        let (rows, rest) = bytes.as_chunks::<{ LANES * LANE_BYTES }>();
        for row in rows {
            let (lanes, _) = row.as_chunks::<LANE_BYTES>();
            // Each block waits for the sum of the one before it, so several sums are computed in step and put together.
            let mut sums = [sum, 0, 0, 0];
            for at in 0..LANE_BYTES / 16 {
                for (sum, lane) in sums.iter_mut().zip(lanes) {
                    *sum = block(*sum, &lane.as_chunks::<16>().0[at]);
                }
            }
            sum = sums.into_iter().reduce(|before, lane| past_lane(before) ^ lane).expect("there are lanes");
        }
        let (blocks, rest) = rest.as_chunks::<16>();
        for next in blocks {
            sum = block(sum, next);
        }
        for byte in rest {
            sum = sum >> 8 ^ TABLES[0][usize::from(sum.to_le_bytes()[0] ^ byte)];
        }
        self.0 = sum;
    }

    pub fn value(self) -> u64 {
        self.0
    }
}

/// Sums all bytes but the last 8, which may be the stored sum: where a stream ends is known only when it has ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trailing {
    sum: Crc64,
    held: [u8; 8],
    count: usize,
}

impl Trailing {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        if let Some((body, last)) = bytes.split_last_chunk::<8>() {
            self.sum.update(&self.held[..self.count]);
            self.sum.update(body);
            self.held = *last;
            self.count = 8;
            return;
        }
        let free = 8 - self.count;
        let over = bytes.len().saturating_sub(free);
        self.sum.update(&self.held[..over]);
        self.held.copy_within(over..self.count, 0);
        let kept = self.count - over;
        self.held[kept..kept + bytes.len()].copy_from_slice(bytes);
        self.count = kept + bytes.len();
    }

    /// The sum of everything but the last 8 bytes, and these as a stored sum.
    pub(super) fn sums(&self) -> (u64, u64) {
        (self.sum.value(), u64::from_le_bytes(self.held))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(bytes: &[u8]) -> u64 {
        let mut sum = Crc64::new();
        sum.update(bytes);
        sum.value()
    }

    #[test]
    fn the_published_check_value_comes_out() {
        assert_eq!(sum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn stretches_summed_in_step_give_what_single_bytes_give() {
        let bytes: Vec<u8> = (0..70_000_u32).map(|at| (at.wrapping_mul(at) % 251) as u8).collect();
        for length in [8191, 8192, 8193, 16_384, 40_000, bytes.len()] {
            let single = bytes[..length].iter().fold(Crc64(0x1234), |mut sum, byte| {
                sum.update(&[*byte]);
                sum
            });
            let mut whole = Crc64(0x1234);
            whole.update(&bytes[..length]);
            assert_eq!(whole, single, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn sixteen_bytes_at_once_give_what_single_bits_give(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let expected = bytes.iter().fold(0, |sum: u64, byte| {
                (0..8).fold(sum ^ u64::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 })
            });
            prop_assert_eq!(sum(&bytes), expected);
        }

        #[test]
        fn a_sum_does_not_depend_on_the_pieces(bytes in prop::collection::vec(any::<u8>(), 8..200), sizes in prop::collection::vec(0_usize..30, 0..20)) {
            let mut crc = Crc64::new();
            let mut trailing = Trailing::default();
            let mut rest = &bytes[..];
            for size in sizes.into_iter().chain([usize::MAX]) {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                crc.update(piece);
                trailing.update(piece);
                rest = after;
            }
            prop_assert_eq!(crc.value(), sum(&bytes));
            let (body, last) = bytes.split_last_chunk::<8>().unwrap();
            prop_assert_eq!(trailing.sums(), (sum(body), u64::from_le_bytes(*last)));
        }
    }
}
