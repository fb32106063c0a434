//! What a lane hands over, and how it ends when one side fails.

use std::sync::Mutex;

use super::*;

/// Keeps what it gets, fails when told, and notes whether every lane was closed.
#[derive(Default)]
struct Kept {
    log: Mutex<Vec<String>>,
    fail_at: Option<usize>,
}

struct KeptLane(Arc<Kept>, usize, usize);

impl Lane for KeptLane {
    fn begin(&mut self, name: PartName, _shape: Shape) -> Result<(), SinkError> {
        self.0.log.lock().unwrap().push(format!("begin {name}"));
        Ok(())
    }
    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        self.1 += block.data.len();
        self.2 += block.record_ends.len();
        match self.0.fail_at {
            Some(bytes) if self.1 > bytes => Err(SinkError("disk full".to_owned())),
            _ => Ok(()),
        }
    }
    fn finish(&mut self) -> Result<Fingerprint, SinkError> {
        Ok(Fingerprint { records: self.2 as u64, bytes: self.1 as u64, ..Fingerprint::EMPTY })
    }
    fn close(&mut self) -> Result<(), SinkError> {
        self.0.log.lock().unwrap().push("close".to_owned());
        Ok(())
    }
}

struct Sink(Arc<Kept>);

impl PartSink for Sink {
    fn open_lane(&self) -> Result<Box<dyn Lane>, SinkError> {
        Ok(Box::new(KeptLane(Arc::clone(&self.0), 0, 0)))
    }
}

fn start(kept: &Arc<Kept>) -> LaneThread {
    let sink: Arc<dyn PartSink> = Arc::new(Sink(Arc::clone(kept)));
    LaneThread::start(&sink)
}

#[tokio::test]
async fn records_larger_than_a_block_arrive_whole_and_counted() {
    let kept = Arc::new(Kept::default());
    let mut lane = start(&kept);
    let mut records = RecordWriter::begin(&mut lane, PartName::from_components(&["a"])).await.unwrap();
    let sizes = [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES, 3];
    for size in sizes {
        records.record(&vec![b'x'; size]).await.unwrap();
    }
    let fingerprint = records.finish().await.unwrap();
    assert_eq!((fingerprint.records, fingerprint.bytes), (6, sizes.iter().sum::<usize>() as u64));
    lane.close().await.unwrap();
    assert_eq!(*kept.log.lock().unwrap(), ["begin a", "close"]);
}

#[tokio::test]
async fn a_failing_lane_reports_its_own_error_and_never_hangs() {
    let kept = Arc::new(Kept { fail_at: Some(10), ..Kept::default() });
    let mut lane = start(&kept);
    lane.begin(PartName::from_components(&["a"]), Shape::Bytes).await.unwrap();
    let error = loop {
        let result = async {
            let mut block = lane.block().await?;
            block.data.extend_from_slice(b"12345678");
            lane.write(block).await
        };
        if let Err(error) = result.await {
            break error;
        }
    };
    assert_eq!(error.0, "disk full");
}

#[tokio::test]
async fn a_dropped_thread_never_closes_its_lane() {
    let kept = Arc::new(Kept::default());
    let mut lane = start(&kept);
    lane.begin(PartName::from_components(&["a"]), Shape::Bytes).await.unwrap();
    drop(lane);
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        if Arc::strong_count(&kept) == 1 {
            break;
        }
    }
    assert_eq!(*kept.log.lock().unwrap(), ["begin a"]);
}
