//! A list that somebody bent leads nowhere.

use std::path::Path;
use std::sync::Arc;

use lifeboat::domain::progress::Silent;
use lifeboat::domain::{PartStore, Place, SourceRecord};
use lifeboat::sources::{Context, LoadReport, LoadRequest, SourceError, registry};
use tokio_util::sync::CancellationToken;

use crate::support::parts::MemoryStore;

#[tokio::test]
async fn a_list_however_bent_puts_nothing_outside_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    let climb = format!("{}evil", "../".repeat(20));
    let absolute = outside.path().join("evil").display().to_string();
    let folder = |name: &str| format!("{name}\tfolder\t0\t-\t{{\"mode\":\"755\"}}\t-\t-\n");
    let link = |name: &str, to: &str| format!("{name}\tlink\t0\t-\t{{\"target\":\"{to}\"}}\t-\t-\n");
    let to_outside = outside.path().display().to_string();
    let pipe = |name: &str| format!("{name}\tfifo\t0\t-\t{{\"mode\":\"644\"}}\t-\t-\n");
    for (name, list) in [
        ("up", folder("../evil")),
        ("far up", folder(&climb)),
        ("up within", folder("a/../../evil")),
        ("absolute", folder(&absolute)),
        ("absolute pipe", pipe(&absolute)),
        ("an empty part", folder("a//b")),
        ("itself", folder(".")),
        ("a NUL", folder("a%00b")),
        ("below a link", link("a", &to_outside) + &folder("a/evil")),
        ("below a link, the other way round", folder("a/evil") + &link("a", &to_outside)),
        ("a pipe below a link", link("a", &to_outside) + &pipe("a/evil")),
        (
            "a hard link to the outside",
            format!("a\thardlink\t0\t-\t{{\"first\":\"../../{name}\"}}\t-\t-\n", name = "etc/passwd"),
        ),
        ("a device without a number", "a\tblock\t0\t-\t{}\t-\t-\n".to_owned()),
        ("no entry", "what\tis this\n".to_owned()),
        ("no end", folder("a").trim_end().to_owned()),
    ] {
        let inner = tempfile::tempdir_in(outside.path()).unwrap();
        let to = inner.path().join("to");
        let loaded = load_list(&list, &to).await;
        assert!(loaded.is_err(), "{name}: {loaded:?}");
        let around: Vec<_> = std::fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(around, [inner.path()], "{name}");
        assert!(std::fs::read_dir(inner.path()).unwrap().count() <= 1, "{name}");
    }
}

async fn load_list(list: &str, to: &Path) -> Result<LoadReport, SourceError> {
    let parts = [("list".to_owned(), list.as_bytes().to_vec()), ("entries".to_owned(), vec![])];
    let store: Arc<dyn PartStore> = Arc::new(MemoryStore { parts: parts.into(), damaged: None });
    let record: SourceRecord = serde_json::from_value(serde_json::json!({
        "kind": "files", "summary": "files", "version": "", "instants": [], "gaps": [], "inventories": [], "groups": [],
        "details": { "roots": [""], "paths": [], "exclude": [], "entries": 1, "bytes": 0,
                     "owners": { "users": [], "groups": [], "devices": false } },
    }))
    .unwrap();
    let request = LoadRequest {
        place: Place::of_folder(to),
        only: vec![],
        overwrite: vec![],
        programs: vec![],
        scratch: false,
        source: None,
        sample: None,
        dry_run: false,
    };
    let context = Context {
        job: "job".to_owned(),
        progress: Arc::new(Silent),
        cancel: CancellationToken::new(),
        lanes: 2,
        work: std::env::temp_dir(),
        keep: std::env::temp_dir().join("no-folder"),
    };
    registry::kind("files").unwrap().load(&context, &record, store, &request).await
}
