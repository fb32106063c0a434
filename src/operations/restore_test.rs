//! The story of a restore test: load a snapshot from one target into scratch, dump scratch through the same code, compare,
//! ask the job's checks, tear down.
//!
//! A verdict is always recorded, also when the test could not be carried out: "not shown" must be seen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::compare;
use super::session::{OpenTarget, Session, kind};
use super::snapshots::{self, Found, OpenSnapshot, Selector};
use super::work::WorkFolder;
use super::{Class, OperationError, restore};
use crate::catalog::{ProofRow, RunRow};
use crate::config::Job;
use crate::domain::{
    Evidence, JobName, Mismatch, PartStore, Reason, RunId, SnapshotId, SourceRecord, TargetName, Verdict,
};
use crate::proof::checks::{self, Check, Restored};
use crate::report::Measured;
use crate::repository::crypt::Identities;
use crate::scratch::{self, Lease, LeaseRequest};
use crate::sources::{Context, LoadRequest, SourceKind};
use crate::system::clock;

/// How many objects one verdict names; the rest is counted.
const MISMATCHES_SHOWN: usize = 200;

#[derive(Debug, Clone)]
pub struct Request {
    pub selector: Selector,
    /// Targets to restore from; empty: as the job says, else each.
    pub from: Vec<TargetName>,
    pub keep_scratch: bool,
}

/// One test from one target.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TestOutcome {
    pub job: String,
    /// Of the source: `redis`.
    pub kind: String,
    pub target: TargetName,
    /// `None` when not even a snapshot was found.
    pub snapshot: Option<SnapshotId>,
    pub dumped_at: String,
    #[serde(flatten)]
    pub verdict: Verdict,
    pub measured: Measured,
    /// With `--keep-scratch`: how to reach it.
    pub kept: Option<String>,
    /// What was wrong when there was no verdict to be had for a reason that is not the snapshot's.
    pub error: Option<String>,
}

/// Tests a job from each target in turn, and records every verdict.
pub async fn run(session: &Session, job: &Job, request: &Request) -> Result<Vec<TestOutcome>, OperationError> {
    let (targets, checks) = settle(session, job, request).await?;
    let mut outcomes = vec![];
    for target in targets {
        outcomes.push(test_target(session, job, request, &target, &checks).await?);
    }
    Ok(outcomes)
}

async fn test_target(
    session: &Session,
    job: &Job,
    request: &Request,
    target: &OpenTarget,
    checks: &[Box<dyn Check>],
) -> Result<TestOutcome, OperationError> {
    let name = job.name.as_str();
    let started = clock::rfc3339(clock::now());
    let mut test = Test {
        session,
        job,
        target,
        checks,
        keep_scratch: request.keep_scratch,
        outcome: TestOutcome {
            job: name.to_owned(),
            kind: job.kind.clone(),
            target: target.name.clone(),
            snapshot: None,
            dumped_at: String::new(),
            verdict: Verdict::Unproven { reason: Reason::NotTested },
            measured: Measured::default(),
            kept: None,
            error: None,
        },
    };
    session.phase(name, "open", format!("target `{}`", target.name));
    let verdict = tokio::select! {
        () = session.cancel.cancelled() => Err(OperationError::new(Class::Cancelled, "cancelled")),
        verdict = test.carry_out(&request.selector) => verdict,
    };
    let mut outcome = test.outcome;
    match verdict {
        Ok(verdict) => outcome.verdict = verdict,
        // Configuration and keys are for a person to mend now; everything else is a result of the test.
        Err(error)
            if matches!(error.class, Class::Cancelled | Class::Config | Class::Key | Class::Usage)
                || outcome.snapshot.is_none() && error.class != Class::Integrity =>
        {
            return Err(error);
        }
        Err(error) => {
            outcome.verdict = verdict_of(&error);
            outcome.error = Some(error.to_string());
        }
    }
    record(session, &outcome, &started).await?;
    Ok(outcome)
}

/// The snapshot that a test takes from a target.
pub(super) async fn find(
    session: &Session,
    job: &JobName,
    target: &OpenTarget,
    selector: &Selector,
) -> Result<Found, OperationError> {
    let listing = snapshots::list(session, target).await?;
    let found = match snapshots::choose(&listing, job, selector) {
        Ok(found) => found.clone(),
        // A snapshot whose root does not verify is a finding, not a typing error.
        Err(_) if !listing.problems.is_empty() => {
            return Err(OperationError::new(Class::Integrity, listing.problems.join("; ")).place(target.target.place()));
        }
        Err(error) => return Err(error),
    };
    if *selector == Selector::Latest
        && let Some(lost) = snapshots::lost_newest(session, target, job, &listing).await?
    {
        // To prove an older one would hide that the newest cannot be had from here.
        return Err(OperationError::new(Class::Integrity, lost)
            .cause(listing.problems.join("; "))
            .place(target.target.place())
            .hint("`lifeboat snapshots` shows what each target holds; the next backup is whole here again"));
    }
    Ok(found)
}

/// Opens it from this target alone: that the others could help is not what a test is to show.
pub(super) async fn open(
    session: &Session,
    target: &OpenTarget,
    found: &Found,
    identities: &Identities,
) -> Result<OpenSnapshot, OperationError> {
    let opened = snapshots::open(session, target, &[], found, identities).await;
    opened.map_err(|error| if error.place.is_some() { error } else { error.place(target.target.place()) })
}

/// The targets to restore from, and the job's checks.
pub(super) async fn settle(
    session: &Session,
    job: &Job,
    request: &Request,
) -> Result<(Vec<OpenTarget>, Vec<Box<dyn Check>>), OperationError> {
    let policy = job.restore_test.clone().unwrap_or_default();
    check_sample(job)?;
    let checks = policy.checks.iter().map(|check| checks::configure(check, &job.kind));
    let checks = checks.collect::<Result<Vec<_>, _>>().map_err(OperationError::from)?;
    let names = match (&request.from[..], &policy.from[..]) {
        ([], []) => job.backup.targets.clone(),
        ([], from) | (from, _) => from.to_vec(),
    };
    Ok((session.targets(&names).await?, checks))
}

/// A job may ask for a sample only where its kind can draw one.
pub fn check_sample(job: &Job) -> Result<(), OperationError> {
    let wanted = job.restore_test.as_ref().is_some_and(|policy| policy.sample.is_some());
    if !wanted || kind(&job.kind)?.samples() {
        return Ok(());
    }
    let what = format!("job `{}`: a restore test of `{}` restores everything", job.name, job.kind);
    Err(OperationError::new(Class::Config, what).hint("remove `sample` from `[restore_test]`"))
}

/// What an error says about the snapshot.
fn verdict_of(error: &OperationError) -> Verdict {
    let mismatch = |what: &str| Verdict::Failed {
        mismatches: vec![Mismatch {
            what: what.to_owned(),
            difference: error.to_string(),
            expected: "a restore that completes".to_owned(),
            actual: error.place.clone().unwrap_or_default(),
        }],
        evidence: Evidence::default(),
    };
    match error.class {
        Class::Integrity => mismatch("repository"),
        Class::Source => mismatch("restore"),
        Class::Target => mismatch("target"),
        Class::Unproven => {
            let text = error.what.strip_prefix("this machine lacks ").unwrap_or(&error.what);
            Verdict::Unproven { reason: Reason::Needs { needs: text.split(", ").map(str::to_owned).collect() } }
        }
        _ => Verdict::Unproven { reason: Reason::Scratch { message: error.to_string() } },
    }
}

struct Test<'a> {
    session: &'a Session,
    job: &'a Job,
    target: &'a OpenTarget,
    checks: &'a [Box<dyn Check>],
    keep_scratch: bool,
    outcome: TestOutcome,
}

impl Test<'_> {
    async fn carry_out(&mut self, selector: &Selector) -> Result<Verdict, OperationError> {
        let name = self.job.name.as_str();
        let begun = Instant::now();
        let identities = self.session.identities().await?;
        let found = find(self.session, &self.job.name, self.target, selector).await?;
        self.outcome.snapshot = Some(found.root.snapshot.clone());
        self.outcome.dumped_at.clone_from(&found.root.started);
        let snapshot = open(self.session, self.target, &found, &identities).await?;
        let record = snapshot.recipe.meta.source.clone();
        let kind = kind(&record.kind)?;
        let work = WorkFolder::make(&self.session.config.state).await?;
        let context = Context {
            job: name.to_owned(),
            progress: Arc::clone(&self.session.progress),
            cancel: self.session.cancel.child_token(),
            lanes: restore::lanes(self.session, &self.job.name),
            keep: work.path().join("kept"),
            work: work.path().to_owned(),
        };
        let lease = self.lease(kind, &record).await?;
        self.outcome.measured.scratch = lease.facts().join(", ");
        let tested = tokio::select! {
            () = lease.expired() => Err(OperationError::new(Class::Scratch, "the scratch instance reached its time limit")),
            verdict = self.restore_and_compare(kind, &record, &snapshot, &context, lease.as_ref(), begun) => verdict,
        };
        if self.keep_scratch {
            self.outcome.kept = Some(lease.keep().await?);
        } else {
            lease.release().await?;
        }
        tested
    }

    fn sample(&self) -> Option<u64> {
        self.job.restore_test.as_ref().and_then(|policy| policy.sample)
    }

    async fn lease(&self, kind: &dyn SourceKind, record: &SourceRecord) -> Result<Box<dyn Lease>, OperationError> {
        let scratch = &self.session.config.scratch;
        let mut needs = kind.needs(record);
        if self.sample().is_some() {
            // How much room a sample takes shows only as it is drawn.
            needs.bytes = 0;
        }
        self.session.phase(self.job.name.as_str(), "scratch", needs.instance());
        let root = scratch.directory.clone().unwrap_or_else(scratch::default_root);
        for reaped in scratch::reap(&root)? {
            self.session.warn(
                self.job.name.as_str(),
                format!("a scratch instance left by a killed run was removed: {}", reaped.folder.display()),
            );
        }
        let engine = scratch::registry::kind(&needs.engine).ok_or_else(|| {
            OperationError::new(Class::Unproven, format!("this machine lacks a scratch engine `{}`", needs.engine))
        })?;
        let never = Some(needs.source_identity.clone()).filter(|identity| !identity.is_empty()).into_iter().collect();
        let request = LeaseRequest { root, never, cancel: self.session.cancel.child_token() };
        Ok(engine.lease(scratch.engines.get(&needs.engine), &needs, &request).await?)
    }

    async fn restore_and_compare(
        &mut self,
        kind: &dyn SourceKind,
        record: &SourceRecord,
        snapshot: &OpenSnapshot,
        context: &Context,
        lease: &dyn Lease,
        begun: Instant,
    ) -> Result<Verdict, OperationError> {
        let name = self.job.name.as_str();
        let place = lease.place("");
        let store: Arc<dyn PartStore> = Arc::clone(&snapshot.store) as _;
        let mut programs = lease.programs();
        programs.extend(restore::program_folders(self.session, &self.job.name, record)?);
        let load = LoadRequest {
            place: place.clone(),
            only: vec![],
            overwrite: vec![],
            programs,
            scratch: true,
            source: restore::source_of(self.session, &self.job.name, record),
            sample: self.sample(),
            dry_run: false,
        };
        self.session.phase(name, "load", record.summary.clone());
        let loading = Instant::now();
        let loaded = kind.load(context, record, Arc::clone(&store), &load).await;
        self.outcome.measured.fetch_ms = millis(snapshot.store.fetching());
        let loaded = loaded.map_err(|error| {
            OperationError::from(error).place(format!(
                "target `{}`, scratch {}",
                self.target.name,
                lease.facts().join(", ")
            ))
        })?;
        self.outcome.measured.load_ms = millis(loading.elapsed());
        self.outcome.measured.recovery_ms = millis(begun.elapsed());
        self.outcome.measured.bytes = loaded.bytes;
        for warning in &loaded.warnings {
            self.session.warn(name, warning);
        }

        self.session.phase(name, "compare", record.summary.clone());
        let comparing = Instant::now();
        let restored = compare::Restored { kind, snapshot, lease, context };
        let (mut mismatches, mut evidence) = match &loaded.handed_over {
            Some(handed) => compare::compare_handed_over(&restored, handed),
            None => compare::compare(&restored).await?,
        };
        evidence.sampled = loaded.sampled;
        self.outcome.measured.compare_ms = millis(comparing.elapsed());

        let checking = Instant::now();
        let instant = snapshot.root.started.parse().unwrap_or_else(|_| clock::now());
        let main = main_database(record);
        evidence.checks =
            checks::run_checks(self.checks, &Restored { place: &place, database: main.as_deref(), instant }).await;
        self.outcome.measured.check_ms = millis(checking.elapsed());
        bound(&mut mismatches);
        if let Some(handed) = loaded.handed_over {
            evidence.checks.extend(handed.test.clone());
            // Equal bytes are no proof that anything can be made of them.
            if handed.test.is_none() && mismatches.is_empty() {
                return Ok(Verdict::Unproven { reason: Reason::BytesOnly { bytes: evidence.bytes } });
            }
        }
        Ok(Verdict::conclude(mismatches, evidence))
    }
}

/// The database that checks ask when they name none: the first of the job.
fn main_database(record: &SourceRecord) -> Option<String> {
    record.instants.first().and_then(|instant| instant.of.strip_prefix("database ")).map(str::to_owned)
}

/// A report of a thousand lines helps nobody: the first are named, the rest counted.
fn bound(mismatches: &mut Vec<Mismatch>) {
    let rest = mismatches.len().saturating_sub(MISMATCHES_SHOWN);
    if rest > 0 {
        mismatches.truncate(MISMATCHES_SHOWN);
        mismatches.push(Mismatch {
            what: format!("{rest} more"),
            difference: "not listed".to_owned(),
            expected: String::new(),
            actual: String::new(),
        });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn record(session: &Session, outcome: &TestOutcome, started: &str) -> Result<(), OperationError> {
    let finished = clock::rfc3339(clock::now());
    let (word, message) = match &outcome.verdict {
        Verdict::Proven { .. } => ("done", String::new()),
        Verdict::Failed { mismatches, .. } => ("failed", mismatches.first().map(describe).unwrap_or_default()),
        Verdict::Unproven { .. } => ("unproven", outcome.error.clone().unwrap_or_default()),
    };
    let run = RunRow {
        id: RunId::random().to_string(),
        verb: "restore-test".to_owned(),
        job: outcome.job.clone(),
        started: started.to_owned(),
        finished: Some(finished.clone()),
        outcome: word.to_owned(),
        snapshot: outcome.snapshot.as_ref().map(ToString::to_string),
        target: Some(outcome.target.to_string()),
        bytes_read: outcome.measured.bytes,
        bytes_stored: 0,
        message,
    };
    session.catalog.put_run(&run).await?;
    let proof = ProofRow {
        id: run.id,
        job: outcome.job.clone(),
        snapshot: run.snapshot.unwrap_or_default(),
        target: outcome.target.to_string(),
        dumped_at: outcome.dumped_at.clone(),
        started: started.to_owned(),
        finished,
        verdict: serde_json::to_string(&outcome.verdict).expect("plain data"),
        measured: serde_json::to_string(&outcome.measured).expect("plain data"),
    };
    Ok(session.catalog.put_proof(&proof).await?)
}

fn describe(mismatch: &Mismatch) -> String {
    format!("{}: {}", mismatch.what, mismatch.difference)
}
