//! A sink that keeps every part in memory and notices when a dump is not whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lifeboat::domain::{Block, DIGEST_BYTES, Fingerprint, Lane, PartName, PartSink, Shape, SinkError};

#[derive(Default)]
struct State {
    parts: BTreeMap<String, Part>,
    open_lanes: usize,
    poisoned: bool,
}

/// One finished part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) data: Vec<u8>,
    pub(crate) records: u64,
    pub(crate) fingerprint: Fingerprint,
}

#[derive(Clone, Default)]
pub(crate) struct CollectingSink(Arc<Mutex<State>>);

impl CollectingSink {
    /// Every part, once all lanes are gone; `None` when the dump must not be committed.
    pub(crate) fn committed(&self) -> Option<BTreeMap<String, Part>> {
        for _ in 0..400 {
            if self.0.lock().unwrap().open_lanes == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let state = self.0.lock().unwrap();
        assert_eq!(state.open_lanes, 0, "a lane outlived its dump");
        (!state.poisoned).then(|| state.parts.clone())
    }
}

impl PartSink for CollectingSink {
    fn open_lane(&self) -> Result<Box<dyn Lane>, SinkError> {
        self.0.lock().unwrap().open_lanes += 1;
        Ok(Box::new(CollectingLane { sink: self.clone(), open: None, closed: false }))
    }
}

struct CollectingLane {
    sink: CollectingSink,
    open: Option<Open>,
    closed: bool,
}

struct Open {
    name: PartName,
    shape: Shape,
    data: Vec<u8>,
    ends: Vec<usize>,
}

impl Lane for CollectingLane {
    fn begin(&mut self, name: PartName, shape: Shape) -> Result<(), SinkError> {
        assert!(self.open.is_none(), "{name} begins inside another part");
        self.open = Some(Open { name, shape, data: vec![], ends: vec![0] });
        Ok(())
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        let open = self.open.as_mut().expect("a part is open");
        open.ends.extend(block.record_ends.iter().map(|end| open.data.len() + *end as usize));
        open.data.extend_from_slice(&block.data);
        Ok(())
    }

    fn finish(&mut self) -> Result<Fingerprint, SinkError> {
        let Open { name, shape, data, ends } = self.open.take().expect("a part is open");
        let one =
            |bytes: &[u8]| Fingerprint { sum: *blake3::hash(bytes).as_bytes(), records: 1, bytes: bytes.len() as u64 };
        let fingerprint = match shape {
            Shape::Bytes => one(&data),
            Shape::Digest => {
                let (records, rest) = data.as_chunks::<DIGEST_BYTES>();
                assert!(rest.is_empty(), "{name} ends inside a digest");
                let one = |record: &[u8; DIGEST_BYTES]| Fingerprint {
                    sum: record[..32].try_into().unwrap(),
                    records: 1,
                    bytes: u64::from_le_bytes(record[32..].try_into().unwrap()),
                };
                records.iter().map(one).fold(Fingerprint::EMPTY, Fingerprint::combine)
            }
            Shape::Records => {
                assert_eq!(ends.last(), Some(&data.len()), "{name} ends inside a record");
                ends.windows(2).map(|pair| one(&data[pair[0]..pair[1]])).fold(Fingerprint::EMPTY, Fingerprint::combine)
            }
        };
        let part = Part { records: fingerprint.records, data, fingerprint };
        let before = self.sink.0.lock().unwrap().parts.insert(name.as_str().to_owned(), part);
        assert!(before.is_none(), "{name} was written twice");
        Ok(fingerprint)
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.closed = true;
        Ok(())
    }
}

impl Drop for CollectingLane {
    fn drop(&mut self) {
        let mut state = self.sink.0.lock().unwrap();
        state.open_lanes -= 1;
        state.poisoned |= !self.closed || self.open.is_some();
    }
}
