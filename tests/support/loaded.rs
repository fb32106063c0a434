//! A snapshot loaded into a scratch server of its own: what a test changes there, a comparison must find.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use lifeboat::domain::progress::Silent;
use lifeboat::domain::{PartStore, Verdict};
use lifeboat::operations::compare::{Restored, compare};
use lifeboat::operations::session::kind;
use lifeboat::operations::snapshots::{self, OpenSnapshot, Selector};
use lifeboat::scratch::{self, Lease, LeaseRequest};
use lifeboat::sources::{Context, LoadReport, LoadRequest, SourceKind};
use tokio_util::sync::CancellationToken;

use super::installation::Installation;

pub(crate) struct Loaded {
    pub(crate) lease: Box<dyn Lease>,
    snapshot: OpenSnapshot,
    context: Context,
    _installation: Installation,
    _folders: [tempfile::TempDir; 2],
}

impl Loaded {
    /// Backs up the one job there is, leases what its snapshot needs, and loads it.
    pub(crate) async fn new(installation: Installation) -> Self {
        installation.back_up();
        let session = installation.session().await;
        let job = &session.config.jobs[0];
        let target = session.target(&job.backup.targets[0]).await.unwrap();
        let listing = snapshots::list(&session, &target).await.unwrap();
        let found = snapshots::choose(&listing, &job.name, &Selector::Latest).unwrap();
        let identities = session.identities().await.unwrap();
        let snapshot = snapshots::open(&session, &target, &[], found, &identities).await.unwrap();
        let record = &snapshot.recipe.meta.source;
        let folder = || tempfile::Builder::new().prefix("lbt-").tempdir_in("/tmp").unwrap();
        let (root, work) = (folder(), folder());
        // The scratch server's user passes through.
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let cancel = CancellationToken::new();
        let needs = kind(&record.kind).unwrap().needs(record);
        let request = LeaseRequest { root: root.path().to_owned(), never: vec![], cancel: cancel.clone() };
        let engine = scratch::registry::kind(&needs.engine).unwrap();
        let section = session.config.scratch.engines.get(&needs.engine);
        let lease = engine.lease(section, &needs, &request).await.unwrap();
        let context = Context {
            job: "job".to_owned(),
            progress: Arc::new(Silent),
            cancel,
            lanes: 2,
            work: work.path().to_owned(),
            keep: work.path().join("kept"),
        };
        let loaded = Self { lease, snapshot, context, _installation: installation, _folders: [root, work] };
        loaded.load().await;
        loaded
    }

    fn kind(&self) -> &'static dyn SourceKind {
        kind(&self.snapshot.recipe.meta.source.kind).unwrap()
    }

    /// Loads what the snapshot holds into the instance as it is now.
    pub(crate) async fn load(&self) -> LoadReport {
        let load = LoadRequest {
            place: self.lease.place(""),
            only: vec![],
            overwrite: vec![],
            scratch: true,
            source: None,
            sample: None,
            dry_run: false,
            programs: vec![],
        };
        let store: Arc<dyn PartStore> = Arc::clone(&self.snapshot.store) as _;
        self.kind().load(&self.context, &self.snapshot.recipe.meta.source, store, &load).await.unwrap()
    }

    pub(crate) async fn compare(&self) -> Verdict {
        // Each comparison has a work folder of its own, as each restore test has.
        let work = tempfile::tempdir_in(&self.context.work).unwrap();
        let context = Context { work: work.path().to_owned(), ..self.context.clone() };
        let restored =
            Restored { kind: self.kind(), snapshot: &self.snapshot, lease: self.lease.as_ref(), context: &context };
        let (mismatches, evidence) = compare(&restored).await.unwrap();
        Verdict::conclude(mismatches, evidence)
    }
}
