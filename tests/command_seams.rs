//! The source of commands between a sink that is slow and a store that lies, neither of which a real target can be made to be.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lifeboat::config::Section;
use lifeboat::domain::progress::Silent;
use lifeboat::domain::{
    Block, Fingerprint, Lane, PartName, PartReader, PartSink, PartStore, Place, Shape, SinkError, SourceRecord,
    StoreError,
};
use lifeboat::sources::command::Command;
use lifeboat::sources::{Context, LoadRequest, SourceError, SourceKind};
use tokio_util::sync::CancellationToken;

use crate::support::collecting_sink::CollectingSink;

fn context(work: &std::path::Path) -> Context {
    Context {
        job: "job".into(),
        progress: Arc::new(Silent),
        cancel: CancellationToken::new(),
        lanes: 1,
        work: work.to_owned(),
        keep: work.join("kept"),
    }
}

fn section(lines: &str) -> Section {
    Section::from_text(&format!("type = 'command'\n{lines}")).unwrap()
}

/// As slow as a target can be that is still there.
struct SlowSink(CollectingSink);

struct SlowLane(Box<dyn Lane>);

impl PartSink for SlowSink {
    fn open_lane(&self) -> Result<Box<dyn Lane>, SinkError> {
        Ok(Box::new(SlowLane(self.0.open_lane()?)))
    }
}

impl Lane for SlowLane {
    fn begin(&mut self, name: PartName, shape: Shape) -> Result<(), SinkError> {
        self.0.begin(name, shape)
    }
    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        std::thread::sleep(Duration::from_millis(700));
        self.0.write(block)
    }
    fn finish(&mut self) -> Result<Fingerprint, SinkError> {
        self.0.finish()
    }
    fn close(&mut self) -> Result<(), SinkError> {
        self.0.close()
    }
}

async fn dumped(lines: &str, cancel_after: Option<Duration>) -> (Result<SourceRecord, SourceError>, CollectingSink) {
    let folder = tempfile::tempdir().unwrap();
    let (context, collected) = (context(folder.path()), CollectingSink::default());
    if let Some(after) = cancel_after {
        let cancel = context.cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            cancel.cancel();
        });
    }
    let source = Command.configure(&section(lines)).unwrap();
    let ended = source.dump(&context, Arc::new(SlowSink(collected.clone()))).await;
    (ended, collected)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_target_is_waited_for_and_is_no_stall_of_the_command() {
    let (record, collected) = dumped("backup = 'seq 100000'\nstall = '500ms'", None).await;
    record.unwrap();
    let parts = collected.committed().expect("the dump is whole");
    let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert!(parts["stdout"].data == expected.as_bytes() && parts.len() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_dump_poisons_its_sink_and_so_does_one_that_fails_at_its_end() {
    let (ended, collected) = dumped("backup = 'echo half; sleep 60'", Some(Duration::from_millis(300))).await;
    assert!(matches!(ended, Err(SourceError::Cancelled)), "{ended:?}");
    assert!(collected.committed().is_none());
    let (ended, collected) = dumped("backup = 'seq 10; exit 3'", None).await;
    assert!(matches!(ended, Err(SourceError::Failed { .. })), "{ended:?}");
    assert!(collected.committed().is_none());
}

/// Gives `data`, and says that `recorded` is what was backed up.
struct Store {
    data: &'static [u8],
    recorded: &'static [u8],
}

struct Reader(Vec<Bytes>);

impl PartReader for Reader {
    fn next_piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.pop())
    }
}

impl PartStore for Store {
    fn names(&self) -> Vec<PartName> {
        vec![PartName::from_components(&["stdout"])]
    }
    fn fingerprint(&self, _: &PartName) -> Option<Fingerprint> {
        let bytes = self.recorded.len() as u64;
        Some(Fingerprint { sum: *blake3::hash(self.recorded).as_bytes(), records: 1, bytes })
    }
    fn open(&self, _: &PartName) -> Result<Box<dyn PartReader>, StoreError> {
        Ok(Box::new(Reader(vec![Bytes::from_static(self.data)])))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_than_were_backed_up_are_never_followed_by_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let script = "['sh', '-c', 'while read -r line; do echo $line >> came; done; : > whole']";
    let lines = format!("backup = ['x']\nfolder = '{at}'\nrestore = {script}\ntest = {script}");
    let record = SourceRecord {
        kind: "command".into(),
        summary: String::new(),
        version: String::new(),
        instants: vec![],
        gaps: vec![],
        inventories: vec![],
        groups: vec![],
        details: serde_json::Value::Null,
    };
    for (data, is_equal) in [(&b"one\ntwo\n"[..], true), (b"one\ntvo\n", false), (b"one\n", false)] {
        for scratch in [false, true] {
            let into = folder.path().join(format!("{scratch}-{is_equal}-{}", data.len()));
            std::fs::create_dir(&into).unwrap();
            let url = if scratch { format!("command:{}", into.display()) } else { "command:".to_owned() };
            let request = LoadRequest {
                place: Place { url, password: None },
                only: vec![],
                overwrite: vec!["job".into()],
                programs: vec![],
                scratch,
                source: Some(section(
                    &lines.replace(&format!("folder = '{at}'"), &format!("folder = '{}'", into.display())),
                )),
                sample: None,
                dry_run: false,
            };
            let store = Arc::new(Store { data, recorded: b"one\ntwo\n" });
            let loaded = Command.load(&context(folder.path()), &record, store, &request).await;
            assert_eq!(into.join("whole").exists(), is_equal, "{scratch} {data:?}");
            match loaded {
                Ok(report) => {
                    assert!(is_equal && report.bytes == 8);
                    let handed = report.handed_over;
                    assert_eq!(handed.is_some_and(|handed| handed.test.is_some_and(|test| test.held)), scratch);
                }
                Err(error) => {
                    assert!(!is_equal && matches!(error, SourceError::Store(StoreError::Damaged { .. })), "{error}");
                }
            }
        }
    }
}
