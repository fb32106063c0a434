//! Cutting parts into chunks by content, so that what did not change is found again.
//!
//! Records are cut between records, by the record's own hash: the fingerprint has computed it already, so cutting costs
//! nothing, and a changed row changes the chunk that holds it and no other. Bytes are cut by FastCDC.

/// No chunk is larger, however large a record is.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;
/// A record boundary before this length never cuts.
const RECORDS_MIN: usize = 8 << 10;
/// Below this length a cut is unlikely, above it likely: sizes gather around it (normalised chunking).
const RECORDS_AVERAGE: usize = 28 << 10;

/// Parameters of FastCDC for parts of shape bytes; see the golden vector in the tests.
pub const BYTES_MIN: usize = 8 << 10;
pub const BYTES_AVERAGE: usize = 32 << 10;
pub const BYTES_MAX: usize = 128 << 10;

/// Whether a chunk of `length` bytes ends after a record of `record_length` bytes whose hash starts with `hash`.
///
/// The chance of a cut is the record's length over a target length, so that it does not depend on how long records are.
pub fn cuts_after_record(length: usize, record_length: usize, hash: u64) -> bool {
    if length >= CHUNK_BYTES_MAX {
        return true;
    }
    if length < RECORDS_MIN {
        return false;
    }
    let target = if length < RECORDS_AVERAGE { 4 * RECORDS_AVERAGE } else { RECORDS_AVERAGE / 3 };
    if record_length >= target {
        return true;
    }
    let threshold = (u64::MAX / target as u64).saturating_mul(record_length as u64);
    hash < threshold
}

/// Where FastCDC cuts `data`, of which more may follow: `None` while it needs to see more.
pub fn cut_bytes(data: &[u8], at_end: bool) -> Option<usize> {
    if data.is_empty() || (!at_end && data.len() < BYTES_MAX) {
        return None;
    }
    let cdc = fastcdc::v2020::FastCDC::new(data, BYTES_MIN, BYTES_AVERAGE, BYTES_MAX);
    let (_, end) = cdc.cut(0, data.len().min(BYTES_MAX));
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[3]
        })
        .take(length)
        .collect()
    }

    #[test]
    fn the_cut_points_of_bytes_are_pinned() {
        let data = noise(300_000);
        let (mut at, mut lengths) = (0, vec![]);
        while let Some(length) = cut_bytes(&data[at..], true) {
            lengths.push(length);
            at += length;
        }
        assert_eq!(lengths.iter().sum::<usize>(), data.len());
        // Another cut makes every repository store everything once more: do not update this line lightly.
        assert_eq!(lengths, GOLDEN);
    }

    const GOLDEN: &[usize] = &[70291, 25073, 34056, 35340, 56026, 9599, 50859, 18756];

    #[test]
    fn the_cut_points_of_records_are_pinned() {
        let (mut length, mut lengths) = (0, vec![]);
        for (number, hash) in noise(8 * 4_000).chunks_exact(8).enumerate() {
            let record_length = 20 + number % 90;
            length += record_length;
            if cuts_after_record(length, record_length, u64::from_le_bytes(hash.try_into().unwrap())) {
                lengths.push(length);
                length = 0;
            }
        }
        // As above: another cut stores everything once more.
        assert_eq!(lengths, GOLDEN_RECORDS);
    }

    const GOLDEN_RECORDS: &[usize] = &[30213, 30807, 29520, 49451, 40720, 30357, 14382];

    #[test]
    fn records_are_cut_near_the_average_whatever_their_length() {
        for record_length in [1, 20, 300, 5_000, 40_000] {
            let hashes = noise(8 * 20_000);
            let (mut length, mut chunks, mut total) = (0, 0, 0);
            for hash in hashes.chunks_exact(8) {
                length += record_length;
                total += record_length;
                if cuts_after_record(length, record_length, u64::from_le_bytes(hash.try_into().unwrap())) {
                    chunks += 1;
                    length = 0;
                }
            }
            let average = total / std::cmp::max(chunks, 1);
            let expected = RECORDS_AVERAGE.max(record_length);
            if total > 10 * expected {
                assert!((expected * 6 / 10..=expected * 14 / 10).contains(&average), "{record_length}: {average}");
            }
        }
    }
}
