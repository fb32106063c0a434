//! Fingerprints against a slow reference, whatever the sizes of the blocks.

use proptest::prelude::*;

use super::*;
use crate::domain::record_hash::record_hash;

/// The definition, word for word: hash each record, add the hashes as 256-bit numbers.
fn reference(records: &[Vec<u8>]) -> Fingerprint {
    records.iter().fold(Fingerprint::EMPTY, |total, record| {
        let sum = record_hash(record);
        total.combine(Fingerprint { sum, records: 1, bytes: record.len() as u64 })
    })
}

/// Lays the records out back to back and cuts the bytes into blocks of the given sizes, the last takes the rest.
fn blocks(records: &[Vec<u8>], sizes: &[usize]) -> Vec<Block> {
    let all = records.concat();
    let ends: Vec<usize> = records
        .iter()
        .scan(0, |at, record| {
            *at += record.len();
            Some(*at)
        })
        .collect();
    let mut blocks = vec![];
    let mut start = 0;
    for size in sizes.iter().copied().chain([usize::MAX]) {
        let stop = start + size.min(all.len() - start);
        let record_ends = ends
            .iter()
            .filter(|&&end| start < end && end <= stop)
            .map(|&end| u32::try_from(end - start).unwrap())
            .collect();
        blocks.push(Block { data: all[start..stop].to_vec(), record_ends });
        start = stop;
    }
    blocks
}

fn fingerprint(blocks: &[Block], shape: Shape) -> Fingerprint {
    let mut hasher = RecordHasher::new(shape);
    for block in blocks {
        hasher.update(block, |_, _| {});
    }
    hasher.finish().unwrap()
}

fn rows() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..30)
}

proptest! {
    #[test]
    fn cutting_the_stream_anywhere_changes_nothing(
        rows in rows(),
        sizes in prop::collection::vec(0_usize..50, 0..20),
    ) {
        prop_assert_eq!(fingerprint(&blocks(&rows, &sizes), Shape::Records), reference(&rows));
        let whole = fingerprint(&blocks(&rows, &sizes), Shape::Bytes);
        prop_assert_eq!(whole, fingerprint(&blocks(&rows, &[]), Shape::Bytes));
    }

    #[test]
    fn the_order_of_rows_does_not_matter((rows, shuffled) in rows().prop_flat_map(|r| (Just(r.clone()), Just(r).prop_shuffle()))) {
        prop_assert_eq!(
            fingerprint(&blocks(&rows, &[64; 8]), Shape::Records),
            fingerprint(&blocks(&shuffled, &[]), Shape::Records)
        );
    }

    #[test]
    fn a_duplicate_never_cancels_a_row(rows in rows(), copies in 1_usize..4) {
        prop_assume!(!rows.is_empty());
        let mut more = rows.clone();
        more.extend(std::iter::repeat_n(rows[0].clone(), copies));
        let (one, two) = (reference(&rows), fingerprint(&blocks(&more, &[]), Shape::Records));
        prop_assert_ne!(one.sum, two.sum);
        prop_assert_eq!(two.records, one.records + copies as u64);
    }

    #[test]
    fn every_record_is_reported_with_its_end_and_hash(rows in rows(), size in 1_usize..60) {
        let blocks = blocks(&rows, &[size; 40]);
        let mut hasher = RecordHasher::new(Shape::Records);
        let mut seen = vec![];
        for block in &blocks {
            let mut ends = vec![];
            hasher.update(block, |end, hash| {
                ends.push(end);
                seen.push(*hash);
            });
            prop_assert_eq!(&ends, &block.record_ends);
        }
        let expected: Vec<[u8; 32]> = rows.iter().map(|row| record_hash(row)).collect();
        prop_assert_eq!(seen, expected);
    }
}

#[test]
fn a_part_of_bytes_is_one_record_also_when_empty() {
    let empty = RecordHasher::new(Shape::Bytes).finish().unwrap();
    assert_eq!(empty, Fingerprint { sum: *blake3::hash(b"").as_bytes(), records: 1, bytes: 0 });
    assert_eq!(RecordHasher::new(Shape::Records).finish().unwrap(), Fingerprint::EMPTY);
}

#[test]
fn a_part_that_ends_inside_a_record_has_no_fingerprint() {
    let mut hasher = RecordHasher::new(Shape::Records);
    hasher.update(&Block { data: b"one\ntw".to_vec(), record_ends: vec![4] }, |_, _| {});
    assert_eq!(hasher.finish(), Err(UnfinishedRecord { bytes: 2 }));
}

#[test]
fn a_record_may_end_exactly_where_the_next_block_begins() {
    let mut hasher = RecordHasher::new(Shape::Records);
    hasher.update(&Block { data: b"one\n".to_vec(), record_ends: vec![] }, |_, _| {});
    hasher.update(&Block { data: b"two\n".to_vec(), record_ends: vec![0, 4] }, |_, _| {});
    assert_eq!(hasher.finish().unwrap(), reference(&[b"one\n".to_vec(), b"two\n".to_vec()]));
}

#[test]
fn digests_are_added_as_they_are_and_half_of_one_is_unfinished() {
    let rows: Vec<Vec<u8>> = [&b"one"[..], b"two", b"two", b""].iter().map(|row| row.to_vec()).collect();
    let digest = |row: &Vec<u8>| [record_hash(row).as_slice(), &(row.len() as u64).to_le_bytes()].concat();
    let data: Vec<u8> = rows.iter().flat_map(digest).collect();
    let mut hasher = RecordHasher::new(Shape::Digest);
    let mut ends = vec![];
    hasher.update(&Block { data: data[..80].to_vec(), record_ends: vec![] }, |end, _| ends.push(end));
    hasher.update(&Block { data: data[80..].to_vec(), record_ends: vec![] }, |end, _| ends.push(end));
    assert_eq!(ends, [40, 80, 40, 80]);
    assert_eq!(hasher.finish().unwrap(), reference(&rows));
    let mut hasher = RecordHasher::new(Shape::Digest);
    hasher.update(&Block { data: data[..79].to_vec(), record_ends: vec![] }, |_, _| {});
    assert!(hasher.finish().is_err());
}
