//! Every parser of this room against bytes that somebody else chose: valid objects bent in thousands of ways, and noise.
//!
//! What is held: no panic, no memory taken for a length that is merely claimed, and nothing read that would be written
//! otherwise. `fuzz/` goes on from here.

use proptest::prelude::*;

use super::frame::{self, Compressor, FRAME_RAW_BYTES_MAX};
use super::index::{self, Index, PackIndex};
use super::info::RepositoryInfo;
use super::layout::{self, ContentName};
use super::recipe::{self, Extent, Meta, PartRecord, Recipe};
use super::root::{self, Needed, Root};
use super::writer::verify_root;
use crate::domain::{Fingerprint, JobName, PartName, Shape, SnapshotId, SourceRecord, WriterId};

const CASES: u32 = 4_000;

/// One way to bend bytes, places given as fractions so that they fit any length.
#[derive(Debug, Clone)]
enum Bend {
    Flip { at: f64, bit: u8 },
    Overwrite { at: f64, with: Vec<u8> },
    Insert { at: f64, what: Vec<u8> },
    Remove { at: f64, length: usize },
    Repeat { at: f64, length: usize },
    Cut { at: f64 },
}

fn bends() -> impl Strategy<Value = Vec<Bend>> {
    // What parsers of lengths and lines stumble over, beside noise.
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..20),
        proptest::sample::select(vec![
            b"\n".to_vec(),
            b"\t".to_vec(),
            b"\r\n".to_vec(),
            b"-1".to_vec(),
            b"18446744073709551615".to_vec(),
            b"18446744073709551616".to_vec(),
            b"99999999999999999999999".to_vec(),
            b"../../etc/passwd".to_vec(),
            vec![0xff; 8],
            vec![0xff, 0xff, 0xff, 0x7f],
            vec![0; 16],
        ]),
    ];
    let at = || 0.0..1.0_f64;
    let bend = prop_oneof![
        4 => (at(), 0..8_u8).prop_map(|(at, bit)| Bend::Flip { at, bit }),
        2 => (at(), piece.clone()).prop_map(|(at, with)| Bend::Overwrite { at, with }),
        2 => (at(), piece).prop_map(|(at, what)| Bend::Insert { at, what }),
        1 => (at(), 1..40_usize).prop_map(|(at, length)| Bend::Remove { at, length }),
        1 => (at(), 1..200_usize).prop_map(|(at, length)| Bend::Repeat { at, length }),
        1 => at().prop_map(|at| Bend::Cut { at }),
    ];
    proptest::collection::vec(bend, 1..4)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a small object"
)]
fn place(at: f64, length: usize) -> usize {
    (at * length as f64) as usize
}

fn bend(mut bytes: Vec<u8>, bends: &[Bend]) -> Vec<u8> {
    for bend in bends {
        let length = bytes.len();
        match bend {
            Bend::Flip { at, bit } if length > 0 => bytes[place(*at, length)] ^= 1 << bit,
            Bend::Flip { .. } => {}
            Bend::Overwrite { at, with } => {
                let from = place(*at, length);
                let count = with.len().min(length - from);
                bytes[from..from + count].copy_from_slice(&with[..count]);
            }
            Bend::Insert { at, what } => {
                let from = place(*at, length);
                bytes.splice(from..from, what.iter().copied());
            }
            Bend::Remove { at, length: count } => {
                let from = place(*at, length);
                bytes.drain(from..(from + count).min(length));
            }
            Bend::Repeat { at, length: count } => {
                let from = place(*at, length);
                let again = bytes[from..(from + count).min(length)].to_vec();
                bytes.splice(from..from, again);
            }
            Bend::Cut { at } => bytes.truncate(place(*at, length)),
        }
    }
    bytes
}

fn name(seed: u8) -> ContentName {
    ContentName::of(&[seed])
}

fn sample_root() -> Root {
    let pack = |seed| Needed { key: layout::pack(&name(seed)), sum: name(seed), size: u64::from(seed) << 20 };
    Root {
        repository: "0123456789abcdef".to_owned(),
        writer: WriterId::new("00000000000000aa").unwrap(),
        job: JobName::new("it's \"odd\" 名").unwrap(),
        snapshot: SnapshotId::new("00000000000000bb").unwrap(),
        sequence: 3,
        previous: Some(name(9)),
        epoch: "0011223344556677".to_owned(),
        started: "2026-11-21T10:00:00Z".to_owned(),
        finished: "2026-11-21T10:00:09Z".to_owned(),
        raw_bytes: 100,
        added_bytes: 10,
        recipe: name(8),
        objects: (1..6).map(pack).collect(),
    }
}

fn sample_recipe(guide: &str) -> Recipe {
    let extent = |seed, offset, length| Extent { pack: name(seed), offset, length };
    let part = |component: &str, shape, extents: Vec<Extent>| PartRecord {
        name: PartName::from_components(&["shop", "table", &PartName::component(component)]),
        shape,
        fingerprint: Fingerprint {
            sum: name(7).0,
            records: 3,
            bytes: extents.iter().map(|extent| extent.length).sum(),
        },
        extents,
    };
    Recipe {
        meta: Meta {
            snapshot: SnapshotId::new("00000000000000bb").unwrap(),
            job: JobName::new("shop").unwrap(),
            writer: WriterId::new("00000000000000aa").unwrap(),
            started: "2026-11-21T10:00:00Z".to_owned(),
            finished: "2026-11-21T10:00:09Z".to_owned(),
            lifeboat: "0.1.0".to_owned(),
            source: SourceRecord {
                kind: "postgres".to_owned(),
                summary: "a\ttab and a\nnewline".to_owned(),
                version: "15.4".to_owned(),
                instants: vec![],
                gaps: vec![],
                inventories: vec![],
                groups: vec![],
                details: serde_json::json!({ "a": [1, null, "x"] }),
            },
            raw_bytes: 1 << 40,
            added_bytes: 7,
            guide: guide.to_owned(),
        },
        parts: vec![
            part("odd\nname\t", Shape::Records, vec![extent(1, 0, 5), extent(2, 7, 1 << 20), extent(1, 5, 9)]),
            part("empty", Shape::Records, vec![]),
            part("bytes", Shape::Bytes, vec![extent(2, 0, 7)]),
            part("digest", Shape::Digest, vec![]),
            part("last", Shape::Bytes, vec![extent(2, 1, 7)]),
        ],
        blob_packs: vec![(0, name(3)), (17, name(1))],
    }
}

fn sample_index() -> Index {
    let pack = |seed: u8| PackIndex {
        pack: name(seed),
        file_bytes: 1000,
        chunks: (0..seed).map(|n| ([n; 16], 70_000)).collect(),
    };
    Index { epoch: "0123456789abcdef".to_owned(), packs: vec![pack(3), pack(0), pack(5)] }
}

fn sample_frames() -> Vec<u8> {
    let mut compressor = Compressor::new(1).unwrap();
    let mut content = vec![];
    for raw in [b"first frame".to_vec(), vec![7; 30_000], vec![]] {
        content.extend(compressor.compress(&raw).unwrap());
        content.extend(frame::padding(40));
    }
    content
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_bent_root_is_refused_or_reads_as_exactly_what_it_says(bends in bends()) {
        let bytes = bend(sample_root().encode(), &bends);
        if let Ok(root) = Root::decode("r", &bytes) {
            prop_assert_eq!(root.encode(), bytes.clone());
        }
        // Unsigned, nothing of it counts, whatever it says.
        prop_assert!(verify_root("r", &bytes, &String::from_utf8_lossy(&bytes), &[]).is_err());
    }

    #[test]
    fn a_bent_list_names_no_object_outside_the_repository(bends in bends()) {
        let whole = sample_root().encode();
        let from = whole.windows(8).position(|window| window == b"# size: ").unwrap();
        let to = whole.windows(7).position(|window| window == b"# end: ").unwrap();
        let bytes = bend(whole[from..to].to_vec(), &bends);
        if let Ok(needed) = root::unfold_list("l", &bytes) {
            for needed in &needed {
                prop_assert!(needed.key.as_str().split('/').all(|c| !c.is_empty() && !c.starts_with('.')));
            }
            root::fold_packs(needed);
        }
    }

    #[test]
    fn a_bent_recipe_is_refused_or_reads_the_same_twice(bends in bends()) {
        let bytes = bend(recipe::encode(&sample_recipe("# How\n\n\ttab\r\n```sh\nx\n```\n")), &bends);
        if let Ok(read) = recipe::decode("r", &bytes) {
            let again = recipe::decode("r", &recipe::encode(&read)).unwrap();
            prop_assert_eq!(&again, &read);
            for part in &read.parts {
                let total: u64 = part.extents.iter().map(|extent| extent.length).sum();
                // Nothing is stored of a digest, whatever it says that it was computed of.
                let stored = if part.shape == Shape::Digest { 0 } else { part.fingerprint.bytes };
                prop_assert_eq!(total, stored);
                prop_assert!(!part.name.as_str().split('/').any(|c| c.is_empty() || c.starts_with('.')));
            }
        }
    }

    #[test]
    fn any_guide_comes_back_byte_for_byte(lines in proptest::collection::vec("[^\n]{0,40}", 0..8)) {
        let guide: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let recipe = sample_recipe(&guide);
        prop_assert_eq!(recipe::decode("r", &recipe::encode(&recipe)).unwrap(), recipe);
    }

    #[test]
    fn a_bent_index_is_refused_or_reads_as_exactly_what_it_says(bends in bends()) {
        let bytes = bend(index::encode(&sample_index()), &bends);
        if let Ok(read) = index::decode("i", &bytes) {
            prop_assert_eq!(index::encode(&read), bytes);
        }
    }

    #[test]
    fn bent_frames_never_decode_to_more_than_the_bound(bends in bends()) {
        let content = bend(sample_frames(), &bends);
        if let Ok(spans) = frame::spans("p", &content[..]) {
            for span in spans {
                prop_assert!(span.raw_length <= FRAME_RAW_BYTES_MAX);
                let compressed = &content[span.offset..span.offset + span.length];
                if let Ok(raw) = frame::decode("p", compressed, span.raw_length) {
                    prop_assert_eq!(raw.len(), span.raw_length);
                }
            }
        }
    }

    #[test]
    fn noise_is_refused_by_every_parser(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Root::decode("r", &noise).is_err());
        prop_assert!(recipe::decode("r", &noise).is_err());
        prop_assert!(index::decode("i", &noise).is_err());
        prop_assert!(RepositoryInfo::decode(&noise).is_err());
        let _frames_may_hide_in_noise = frame::spans("p", &noise[..]);
    }
}

#[test]
fn a_length_that_is_merely_claimed_takes_no_memory() {
    let mut bytes = index::encode(&Index { packs: vec![], ..sample_index() });
    bytes.extend([1; 32]);
    bytes.extend(9_u64.to_le_bytes());
    // Four billion chunks would be 96 GB.
    bytes.extend(u32::MAX.to_le_bytes());
    bytes.extend([0; 20]);
    assert!(index::decode("i", &bytes).is_err());

    // A frame header that claims 2^62 bytes: single segment, eight bytes of content size.
    let mut claim = vec![0x28, 0xB5, 0x2F, 0xFD, 0b1110_0000];
    claim.extend((1_u64 << 62).to_le_bytes());
    claim.extend([1, 0, 0]);
    assert!(frame::spans("p", &claim[..]).is_err());

    // A skippable frame that claims four gigabytes.
    let mut skippable = 0x184D_2A50_u32.to_le_bytes().to_vec();
    skippable.extend(u32::MAX.to_le_bytes());
    skippable.extend([0; 100]);
    assert!(frame::spans("p", &skippable[..]).is_err());
}

#[test]
fn extents_whose_sum_overflows_are_refused() {
    let half = u64::MAX / 2 + 1;
    let text = recipe::encode(&sample_recipe(""));
    let text = String::from_utf8(text).unwrap().replace("x\t0\t0\t5\n", &format!("x\t0\t0\t{half}\nx\t0\t0\t{half}\n"));
    assert!(recipe::decode("r", text.as_bytes()).unwrap_err().to_string().contains("do not add up"));
    let beyond = text.replace(&format!("x\t0\t0\t{half}"), &format!("x\t0\t{half}\t{half}"));
    assert!(recipe::decode("r", beyond.as_bytes()).unwrap_err().to_string().contains("not an extent"));
}
