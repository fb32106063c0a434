//! No root is written before everything that it names is seen at the target: objects are lost between their upload and the root.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lifeboat::domain::{ObjectKey, SealedObject, SnapshotId, SourceRecord, TargetName};
use lifeboat::operations::commit::Commit;
use lifeboat::operations::fan_out::Delivered;
use lifeboat::operations::session::OpenTarget;
use lifeboat::repository::crypt;
use lifeboat::repository::info::RepositoryInfo;
use lifeboat::repository::layout::{self, ContentName};
use lifeboat::repository::recipe::Meta;
use lifeboat::repository::writer::Writer;
use lifeboat::targets::{Listed, Target, TargetError};

use crate::support::installation::{Installation, files};

/// A folder that takes an object whose key begins so, says that it has it, and loses it.
struct Forgetful {
    folder: Arc<dyn Target>,
    loses: &'static str,
    /// How much of it is kept: a torn object has its name and another size.
    torn: bool,
    place: std::path::PathBuf,
}

#[async_trait]
impl Target for Forgetful {
    fn place(&self) -> String {
        self.folder.place()
    }

    async fn initialise(&self) -> Result<(), TargetError> {
        self.folder.initialise().await
    }

    async fn put(&self, object: &SealedObject) -> Result<(), TargetError> {
        self.folder.put(object).await?;
        if !object.key().as_str().starts_with(self.loses) {
            return Ok(());
        }
        if self.torn {
            let file = self.place.join(object.key().as_str());
            std::fs::OpenOptions::new()
                .write(true)
                .open(file)
                .unwrap()
                .set_len(object.bytes().len() as u64 - 1)
                .unwrap();
            return Ok(());
        }
        self.folder.delete(object.key()).await
    }

    async fn get(&self, key: &ObjectKey, size_max: u64) -> Result<Bytes, TargetError> {
        self.folder.get(key, size_max).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, TargetError> {
        self.folder.list(prefix).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), TargetError> {
        self.folder.delete(key).await
    }

    async fn probe(&self) -> Result<(), TargetError> {
        self.folder.probe().await
    }
}

/// Stores and commits a snapshot of one pack at a target that loses what begins with `loses`: what came of it and the roots there.
async fn commit(loses: &'static str, torn: bool) -> (Result<(), String>, usize) {
    let installation = Installation::new();
    let place = installation.add_target("one");
    installation.job("job", "postgres://nobody@%2Fnowhere/none", "");
    let session = installation.session().await;
    let job = &session.config.jobs[0];
    let writer = Writer::open_or_create(&session.config.state, &session.config.keys.recipients).unwrap();
    let name = TargetName::new("one").unwrap();
    let folder = session.target(&name).await.unwrap().target;
    folder.initialise().await.unwrap();
    let target = OpenTarget { name, target: Arc::new(Forgetful { folder, loses, torn, place: place.clone() }) };

    let recipients = crypt::recipients(std::slice::from_ref(&writer.epoch.public)).unwrap();
    let sealed = |text: &str, key: fn(&ContentName) -> ObjectKey| {
        let bytes = crypt::seal(text.as_bytes(), &recipients).unwrap();
        let sum = ContentName::of(&bytes);
        (sum, SealedObject::new(key(&sum), Bytes::from(bytes)).unwrap())
    };
    let (pack, index, recipe) =
        (sealed("pack", layout::pack), sealed("index", layout::index), sealed("recipe", layout::recipe));
    for (_, object) in [&pack, &index, &recipe] {
        target.target.put(object).await.unwrap();
    }
    let at = "2026-08-21T02:00:00Z".to_owned();
    let meta = Meta {
        snapshot: SnapshotId::random(),
        job: job.name.clone(),
        writer: writer.id.clone(),
        started: at.clone(),
        finished: at,
        lifeboat: "0".to_owned(),
        source: SourceRecord {
            kind: "postgres".to_owned(),
            summary: String::new(),
            version: String::new(),
            instants: vec![],
            gaps: vec![],
            inventories: vec![],
            groups: vec![],
            details: serde_json::Value::Null,
        },
        raw_bytes: 4,
        added_bytes: 4,
        guide: String::new(),
    };
    let commit = Commit {
        session: &session,
        job,
        writer: &writer,
        info: &RepositoryInfo::create(),
        meta: &meta,
        recipe: recipe.0,
        metadata: &[index.1, recipe.1],
        packs: &[(pack.0, pack.1.bytes().len() as u64)],
    };
    let outcome = commit.run(vec![Delivered { target, outcome: Ok(()) }]).await;
    let roots = files(&place.join("snapshots")).iter().filter(|name| name.ends_with(".root")).count();
    (outcome.map(drop).map_err(|error| error.to_string()), roots)
}

#[tokio::test]
async fn an_object_that_is_lost_or_torn_between_its_upload_and_the_root_leaves_no_root() {
    assert_eq!(commit("none/", false).await, (Ok(()), 1));
    for loses in ["packs/", "index/", "recipes/", "keys/", "writers/", "RESTORE.md"] {
        for torn in [false, true] {
            let (outcome, roots) = commit(loses, torn).await;
            let error = outcome.expect_err(loses);
            assert!(
                error.contains("no snapshot was committed") && error.contains(loses.trim_end_matches("s/")),
                "{error}"
            );
            assert_eq!(roots, 0, "a root was written although what begins with `{loses}` is not there whole");
        }
    }
}
