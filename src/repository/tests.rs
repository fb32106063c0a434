//! The room as a whole: what goes in through lanes comes out of the store, whatever is in between.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proptest::prelude::*;

use super::chunk_cache::ChunkCache;
use super::crypt::Identities;
use super::lane::LaneWriter;
use super::layout::ContentName;
use super::pack::SealKeys;
use super::pipeline::{Pipeline, Written};
use super::recipe::{self, Meta, Recipe};
use super::store::{Fetch, Store};
use crate::domain::{
    Fingerprint, JobName, ObjectKey, PartName, PartStore, Shape, SnapshotId, SourceRecord, StoreError, WriterId,
};

type Objects = Arc<Mutex<HashMap<ObjectKey, Bytes>>>;

struct Bench {
    folder: tempfile::TempDir,
    epoch: age::x25519::Identity,
    objects: Objects,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            epoch: age::x25519::Identity::generate(),
            objects: Objects::default(),
        }
    }

    fn cache(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("chunks.redb")
    }

    fn pipeline(&self) -> Arc<Pipeline> {
        let held = Arc::clone(&self.objects);
        let cache =
            ChunkCache::open(&self.cache(), |name, _| held.lock().unwrap().contains_key(&super::layout::pack(name)))
                .unwrap();
        let objects = Arc::clone(&self.objects);
        let keys = SealKeys::new(&self.epoch.to_public().to_string()).unwrap();
        Pipeline::start(
            keys,
            [7; 32],
            1,
            cache,
            Box::new(move |object| {
                objects.lock().unwrap().insert(object.key().clone(), object.bytes().clone());
                Ok(())
            }),
        )
        .unwrap()
    }

    /// Writes the parts, each in blocks of `block` bytes, spread over `lanes` lanes, and commits the cache.
    fn write(&self, parts: &[(&str, Shape, Vec<Vec<u8>>)], lanes: usize) -> (Recipe, u64) {
        let pipeline = self.pipeline();
        std::thread::scope(|scope| {
            for lane_number in 0..lanes {
                let mut lane = LaneWriter::open(&pipeline).unwrap();
                scope.spawn(move || {
                    for (name, shape, pieces) in parts.iter().skip(lane_number).step_by(lanes) {
                        lane.begin(PartName::from_components(&[name]), *shape).unwrap();
                        let mut bytes = 0;
                        for piece in pieces {
                            bytes += piece.len() as u64;
                            match shape {
                                Shape::Records => {
                                    let hash = blake3::hash(piece);
                                    let hash = u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap());
                                    lane.push_record(piece, Some(hash)).unwrap();
                                }
                                Shape::Bytes => lane.push_bytes(piece).unwrap(),
                                Shape::Digest => {}
                            }
                        }
                        lane.finish(Fingerprint { bytes, ..Fingerprint::EMPTY }).unwrap();
                    }
                    lane.close().unwrap();
                });
            }
        });
        let Written { parts, added, cache, raw_bytes, blob_packs, .. } = pipeline.finish().unwrap();
        let read = parts.iter().filter(|part| part.shape != Shape::Digest).map(|part| part.fingerprint.bytes);
        assert_eq!(raw_bytes, read.sum::<u64>(), "what a digest says was not read beside what it is of");
        cache.commit().unwrap();
        let recipe = Recipe { meta: meta(), parts, blob_packs };
        let text = recipe::encode(&recipe);
        assert_eq!(recipe::decode("r", &text).unwrap(), recipe);
        (recipe, added.iter().map(|pack| pack.file_bytes).sum())
    }

    fn store(&self, recipe: &Recipe) -> Store {
        let objects = Arc::clone(&self.objects);
        let fetch: Fetch = Box::new(move |key, _| {
            objects.lock().unwrap().get(key).cloned().ok_or(StoreError::Unreachable(key.to_string()))
        });
        Store::new(recipe, Identities::single(self.epoch.clone()), fetch)
    }

    fn read(&self, recipe: &Recipe, name: &str) -> Result<Vec<u8>, StoreError> {
        let mut reader = self.store(recipe).open(&PartName::from_components(&[name]))?;
        let mut content = vec![];
        while let Some(piece) = reader.next_piece()? {
            assert!(!piece.is_empty());
            content.extend_from_slice(&piece);
        }
        Ok(content)
    }
}

fn meta() -> Meta {
    Meta {
        snapshot: SnapshotId::random(),
        job: JobName::new("test").unwrap(),
        writer: WriterId::random(),
        started: "2026-01-01T00:00:00Z".into(),
        finished: "2026-01-01T00:00:01Z".into(),
        lifeboat: "0".into(),
        source: SourceRecord {
            kind: "test".into(),
            summary: "tab\tand\nnewline".into(),
            version: "1".into(),
            instants: vec![],
            gaps: vec![],
            inventories: vec![],
            groups: vec![],
            details: serde_json::Value::Null,
        },
        raw_bytes: 0,
        added_bytes: 0,
        guide: String::new(),
    }
}

/// Rows that look like a table's: `count` of them, varied by `seed`.
fn rows(count: usize, seed: u64) -> Vec<Vec<u8>> {
    (0..count)
        .map(|row| {
            let hash = blake3::hash(&[row as u64, seed].map(u64::to_le_bytes).concat());
            format!("{row}\t{}\tthe quick brown fox {}\n", hash.to_hex(), row % 17).into_bytes()
        })
        .collect()
}

#[test]
fn parts_of_every_shape_and_size_come_back_byte_for_byte_from_parallel_lanes() {
    let bench = Bench::new();
    let many = rows(60_000, 1);
    let parts = vec![
        ("big", Shape::Records, many.clone()),
        ("empty", Shape::Records, vec![]),
        ("one-row", Shape::Records, vec![b"\n".to_vec()]),
        ("huge-row", Shape::Records, vec![vec![b'x'; 3 << 20], b"tail\n".to_vec()]),
        ("archive", Shape::Bytes, many[..30_000].to_vec()),
        ("no-bytes", Shape::Bytes, vec![]),
    ];
    let (recipe, _) = bench.write(&parts, 3);
    for (name, _, pieces) in &parts {
        assert_eq!(bench.read(&recipe, name).unwrap(), pieces.concat(), "{name}");
    }
}

#[test]
fn a_second_run_of_the_same_rows_stores_no_pack_and_a_changed_row_stores_little() {
    let bench = Bench::new();
    let mut table = rows(100_000, 2);
    let (_, first) = bench.write(&[("t", Shape::Records, table.clone())], 1);
    let (again, nothing) = bench.write(&[("t", Shape::Records, table.clone())], 1);
    assert_eq!(nothing, 0);
    assert_eq!(bench.read(&again, "t").unwrap(), table.concat());
    assert!(again.parts[0].extents.len() <= 2, "{:?}", again.parts[0].extents);
    table[50_000] = b"changed\n".to_vec();
    let (changed, little) = bench.write(&[("t", Shape::Records, table.clone())], 1);
    assert!(little > 0 && little < first / 20, "{little} of {first}");
    assert_eq!(bench.read(&changed, "t").unwrap(), table.concat());
}

#[test]
fn many_tiny_parts_share_frames() {
    let bench = Bench::new();
    let names: Vec<String> = (0..2_000).map(|number| format!("t{number}")).collect();
    let parts: Vec<_> =
        names.iter().enumerate().map(|(at, name)| (name.as_str(), Shape::Records, rows(2, at as u64))).collect();
    let raw: u64 = parts.iter().flat_map(|(_, _, rows)| rows).map(|row| row.len() as u64).sum();
    let (recipe, stored) = bench.write(&parts, 2);
    assert!(stored < raw * 7 / 10, "{stored} of {raw}");
    for (name, _, pieces) in &parts {
        assert_eq!(bench.read(&recipe, name).unwrap(), pieces.concat(), "{name}");
    }
}

#[test]
fn a_lane_dropped_in_the_middle_of_a_part_fails_the_run() {
    let bench = Bench::new();
    let cache = ChunkCache::open(&bench.cache(), |_, _| true).unwrap();
    let keys = SealKeys::new(&bench.epoch.to_public().to_string()).unwrap();
    let pipeline = Pipeline::start(keys, [7; 32], 1, cache, Box::new(|_| Ok(()))).unwrap();
    let mut lane = LaneWriter::open(&pipeline).unwrap();
    lane.begin(PartName::from_components(&["half"]), Shape::Records).unwrap();
    lane.push_record(b"row\n", Some(1)).unwrap();
    drop(lane);
    assert!(pipeline.finish().is_err());
}

#[test]
fn a_digest_keeps_its_fingerprint_and_stores_nothing() {
    let bench = Bench::new();
    let parts = [("keys", Shape::Digest, rows(5_000, 3)), ("rdb", Shape::Bytes, rows(10, 4))];
    let (recipe, stored) = bench.write(&parts, 1);
    // An age header's length varies.
    assert!(stored < 2_000, "{stored}");
    let read = recipe::decode("recipe", &recipe::encode(&recipe)).unwrap();
    assert_eq!(read, recipe);
    let digest = &read.parts[0];
    assert_eq!((digest.shape, digest.extents.len()), (Shape::Digest, 0));
    assert!(digest.fingerprint.bytes > 100_000);
    assert!(matches!(bench.read(&recipe, "keys"), Err(StoreError::NoSuchPart(_))));
    bench.read(&recipe, "rdb").unwrap();
    let text = String::from_utf8(recipe::encode(&recipe)).unwrap();
    for bent in [text.replace("end\t1", "end\t2"), text.replace("digest\tkeys", "part\tkeys\tdigest")] {
        assert_ne!(bent, text);
        recipe::decode("recipe", bent.as_bytes()).unwrap_err();
    }
}

#[test]
fn a_receiver_that_fails_fails_the_run() {
    let bench = Bench::new();
    let cache = ChunkCache::open(&bench.cache(), |_, _| true).unwrap();
    let keys = SealKeys::new(&bench.epoch.to_public().to_string()).unwrap();
    let failure = || super::RepositoryError::Local { what: "upload".into(), why: "disk full".into() };
    let pipeline = Pipeline::start(keys, [7; 32], 1, cache, Box::new(move |_| Err(failure()))).unwrap();
    let mut lane = LaneWriter::open(&pipeline).unwrap();
    lane.begin(PartName::from_components(&["t"]), Shape::Records).unwrap();
    lane.push_record(b"row\n", Some(1)).unwrap();
    lane.finish(Fingerprint { bytes: 4, ..Fingerprint::EMPTY }).unwrap();
    lane.close().unwrap();
    assert!(pipeline.finish().err().unwrap().to_string().contains("disk full"));
}

#[test]
fn a_pack_swapped_cut_bent_or_missing_is_refused_before_a_byte_of_it_is_handed_out() {
    let bench = Bench::new();
    let (recipe, _) = bench.write(&[("t", Shape::Records, rows(1_000, 3))], 1);
    let (other, _) = bench.write(&[("u", Shape::Records, rows(1_000, 4))], 1);
    let key = |recipe: &Recipe| super::layout::pack(&recipe.parts[0].extents[0].pack);
    let (pack, foreign) = (key(&recipe), key(&other));
    assert_ne!(pack, foreign);
    let good = bench.objects.lock().unwrap()[&pack].clone();
    let swapped = bench.objects.lock().unwrap()[&foreign].clone();
    let mut bent = good.to_vec();
    bent[good.len() / 2] ^= 1;
    for bad in [swapped, Bytes::from(bent), good.slice(..good.len() - 1), Bytes::new()] {
        bench.objects.lock().unwrap().insert(pack.clone(), bad);
        assert!(matches!(bench.read(&recipe, "t"), Err(StoreError::Damaged { .. })));
    }
    bench.objects.lock().unwrap().remove(&pack);
    assert!(matches!(bench.read(&recipe, "t"), Err(StoreError::Unreachable(_))));
}

#[test]
fn a_recipe_with_any_line_missing_or_doubled_is_refused() {
    let bench = Bench::new();
    let (recipe, _) = bench.write(&[("t", Shape::Records, rows(50, 3)), ("u", Shape::Records, rows(9, 5))], 1);
    let text = String::from_utf8(recipe::encode(&recipe)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for at in 0..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(at);
        assert!(recipe::decode("r", (fewer.join("\n") + "\n").as_bytes()).is_err(), "without line {at}");
        let mut more = lines.clone();
        more.insert(at, lines[at]);
        assert!(recipe::decode("r", (more.join("\n") + "\n").as_bytes()).is_err(), "with line {at} twice");
    }
    assert_eq!(ContentName::parse("zz"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_written_is_read(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40_000), 0..40),
        bytes in any::<bool>(),
    ) {
        let bench = Bench::new();
        let shape = if bytes { Shape::Bytes } else { Shape::Records };
        let (recipe, _) = bench.write(&[("p", shape, pieces.clone())], 1);
        prop_assert_eq!(bench.read(&recipe, "p").unwrap(), pieces.concat());
    }
}

#[test]
fn a_table_that_changed_a_little_every_day_is_read_and_each_pack_fetched_once() {
    let bench = Bench::new();
    let mut table = rows(150_000, 1);
    let (mut recipe, mut stored) = bench.write(&[("t", Shape::Records, table.clone())], 1);
    for day in 0..20 {
        table.iter_mut().skip(day * 70).step_by(1_500).for_each(|row| row.insert(0, b'!'));
        let (next, added) = bench.write(&[("t", Shape::Records, table.clone())], 1);
        (recipe, stored) = (next, stored + added);
    }
    let extents = &recipe.parts[0].extents;
    let packs: std::collections::HashSet<_> = extents.iter().map(|extent| extent.pack).collect();
    let turns = extents.windows(2).filter(|pair| pair[0].pack != pair[1].pack).count();
    assert!(packs.len() > 15 && turns > 300, "{} packs, {turns} turns", packs.len());

    let folder = tempfile::tempdir().unwrap();
    let shelved = bench.store(&recipe).shelved_in(folder.path().to_owned());
    assert!(read_all(&shelved, "t") == table.concat());
    let fetched = shelved.fetched_bytes();
    assert!(fetched <= stored, "{fetched} bytes were fetched of {stored}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a shelved pack has a name");

    let without_a_disk = bench.store(&recipe).shelved_in(folder.path().join("missing"));
    assert!(read_all(&without_a_disk, "t") == table.concat());
    assert!(without_a_disk.fetched_bytes() > fetched);
}

fn read_all(store: &Store, name: &str) -> Vec<u8> {
    read_to_end(store.open(&PartName::from_components(&[name])).unwrap())
}

fn read_to_end(mut reader: Box<dyn crate::domain::PartReader>) -> Vec<u8> {
    let mut content = vec![];
    while let Some(piece) = reader.next_piece().unwrap() {
        content.extend_from_slice(&piece);
    }
    content
}

#[test]
fn blobs_read_back_by_their_addresses_also_those_of_earlier_runs_and_holes_take_no_room() {
    let bench = Bench::new();
    let noise: Vec<u8> = rows(60_000, 3).concat();
    let blobs: Vec<(&[u8], u64)> =
        vec![(b"", 0), (b"small", 0), (&noise, 0), (b"before the hole", 20 << 30), (b"small", 0)];
    let pipeline = bench.pipeline();
    let mut lane = LaneWriter::open(&pipeline).unwrap();
    for (content, hole) in &blobs {
        lane.begin_blob().unwrap();
        lane.push_bytes(content).unwrap();
        if *hole > 0 {
            lane.skip(*hole).unwrap();
            lane.push_bytes(b"behind it").unwrap();
        }
        lane.finish_blob().unwrap();
    }
    let addresses = lane.settle().unwrap();
    assert_eq!(lane.settle().unwrap(), []);
    lane.close().unwrap();
    drop(lane);
    let packs = addresses.iter().flat_map(crate::domain::BlobAddress::packs).collect();
    pipeline.refer(&packs, 0);
    let Written { cache, .. } = pipeline.finish().unwrap();
    cache.commit().unwrap();
    assert_eq!(
        addresses.iter().map(|address| address.bytes().unwrap()).collect::<Vec<_>>(),
        [0, 5, noise.len() as u64, 15 + (20 << 30) + 9, 5]
    );
    assert_eq!(addresses[1], addresses[4], "equal content lies in one place");
    assert_eq!(addresses[3].pieces().len(), 3, "{}", addresses[3]);

    // A later run writes nothing and only says what it needs.
    let pipeline = bench.pipeline();
    assert!(packs.iter().all(|pack| pipeline.held_pack(*pack).is_some()));
    assert!(pipeline.held_pack(packs.last().unwrap() + 1).is_none());
    pipeline.refer(&packs, 7);
    let Written { parts, blob_packs, needed, raw_bytes, .. } = pipeline.finish().unwrap();
    assert_eq!((needed.len(), raw_bytes), (packs.len(), 7));
    let recipe = Recipe { meta: meta(), parts, blob_packs };
    let recipe = recipe::decode("r", &recipe::encode(&recipe)).unwrap();
    let store = bench.store(&recipe);
    for (address, (content, hole)) in addresses.iter().zip(&blobs).filter(|(_, (_, hole))| *hole == 0) {
        let text: crate::domain::BlobAddress = address.to_string().parse().unwrap();
        assert!(read_to_end(store.open_blob(&text).unwrap()) == *content, "{hole}");
    }
    let mut reader = store.open_blob(&addresses[3]).unwrap();
    assert_eq!(reader.next_piece().unwrap().unwrap(), "before the hole");
    assert!(reader.next_piece().unwrap().unwrap().iter().all(|byte| *byte == 0));
    let lost = format!("{}:0:5", packs.last().unwrap() + 1).parse().unwrap();
    assert!(store.open_blob(&lost).is_err());
}
