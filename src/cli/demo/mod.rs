//! `demo`: the whole circle on this machine, in a folder of its own, with nothing left running.
//!
//! Everything goes through the same operations as the real verbs; only the source and the damage are made up.

mod redis;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::args::DemoArgs;
use super::config::counted;
use super::init::RecoveryKey;
use super::output::Output;
use super::progress::Reporter;
use super::report::write_files;
use super::restore_test::equal;
use crate::config::{Config, Job};
use crate::domain::progress::Silent;
use crate::domain::{Place, ScratchNeeds, TargetName, Verdict, human_bytes, words};
use crate::operations::backup::BackupOutcome;
use crate::operations::restore_test::{Request, TestOutcome};
use crate::operations::snapshots::Selector;
use crate::operations::{Class, OperationError, Session, backup, reporting, restore_test};
use crate::scratch::{self, Lease, LeaseRequest, ScratchError};
use crate::sources::postgres::wire::{ConnectOptions, Connection};
use crate::system::user;

const DATABASE: &str = "social";
/// The job of the Redis.
const QUEUE: &str = "queue";
/// Marks a folder as the demo's own, which a next demo may replace.
const MARKER: &str = ".lifeboat-demo";
/// Newest first: the demo takes the first that is installed.
const MAJORS: [u32; 6] = [18, 17, 16, 15, 14, 13];

pub async fn run(
    output: &Output,
    reporter: Arc<Reporter>,
    cancel: CancellationToken,
    args: &DemoArgs,
) -> Result<(), OperationError> {
    let begun = Instant::now();
    let demo = Demo { output, reporter, cancel, folder: prepare_folder(&args.directory)? };
    let scratch_root = demo.scratch_root()?;
    demo.title("Two sources: Postgres with a small social network, Redis with its sessions and its queue");
    let source = demo.source(&scratch_root).await?;
    let (told, released) = match demo.redis(&scratch_root).await {
        Ok(redis) => {
            let sources =
                Sources { postgres: source.place(DATABASE), redis: redis.as_ref().map(|lease| lease.place("")) };
            let told = tokio::select! {
                () = demo.cancel.cancelled() => Err(OperationError::new(Class::Cancelled, "cancelled")),
                told = demo.tell(&sources, &scratch_root) => told,
            };
            let released = match redis {
                Some(lease) => lease.release().await,
                None => Ok(()),
            };
            (told, released)
        }
        Err(error) => (Err(error), Ok(())),
    };
    // Whatever happened, the sources go, and what the servers had on disk.
    let released = source.release().await.and(released);
    std::fs::remove_dir(&scratch_root).ok();
    let report = told?;
    released?;
    demo.say(&format!("\nNothing is left running. The demo took {:.0} s.", begun.elapsed().as_secs_f64()));
    demo.say(&format!("Report:  {}", report.display()));
    demo.say(&format!("Look on: lifeboat -c {}/lifeboat.toml snapshots", args.directory.display()));
    demo.say(&format!(
        "         lifeboat -c {0}/lifeboat.toml restore social --from laptop --to {0}/restored",
        args.directory.display()
    ));
    Ok(())
}

/// Where the made-up sources are.
struct Sources {
    postgres: Place,
    redis: Option<Place>,
}

struct Demo<'a> {
    output: &'a Output,
    reporter: Arc<Reporter>,
    cancel: CancellationToken,
    folder: PathBuf,
}

impl Demo<'_> {
    fn title(&self, text: &str) {
        let (bold, plain) = if self.output.colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        self.say(&format!("\n{bold}{text}{plain}"));
    }

    fn say(&self, text: &str) {
        self.reporter.clear();
        if !self.output.quiet {
            self.output.line(text);
        }
    }

    /// Inside the demo's folder, where the server's user can get there and a socket's path is not too long; else the place
    /// that all scratch instances have.
    fn scratch_root(&self) -> Result<PathBuf, OperationError> {
        let inside = self.folder.join("servers");
        let root = if user::server_can_reach(&self.folder) && inside.as_os_str().len() < 50 {
            inside
        } else {
            scratch::default_root()
        };
        for reaped in scratch::reap(&root)? {
            self.say(&format!("  removed a server that a killed run left: {}", reaped.folder.display()));
        }
        Ok(root)
    }

    async fn source(&self, root: &Path) -> Result<Box<dyn Lease>, OperationError> {
        let engine = scratch::registry::kind("postgres").expect("postgres is registered");
        let request = LeaseRequest { root: root.to_owned(), never: vec![], cancel: self.cancel.child_token() };
        let mut lacks = vec![];
        for major in MAJORS {
            let needs = ScratchNeeds {
                engine: "postgres".to_owned(),
                major,
                superuser: "postgres".to_owned(),
                encoding: "UTF8".to_owned(),
                ..ScratchNeeds::default()
            };
            match engine.lease(None, &needs, &request).await {
                Ok(lease) => return self.fill(lease, major).await,
                Err(ScratchError::Lacks(what)) => lacks.extend(what),
                Err(error) => return Err(error.into()),
            }
        }
        Err(OperationError::new(Class::Scratch, "there is no Postgres server to run the demo on")
            .cause(lacks.join(", "))
            .hint("apt install postgresql postgresql-contrib"))
    }

    async fn fill(&self, lease: Box<dyn Lease>, major: u32) -> Result<Box<dyn Lease>, OperationError> {
        let filled = async {
            self.sql(&lease.place("postgres"), &format!("create database {DATABASE}")).await?;
            self.sql(&lease.place(DATABASE), include_str!("data.sql")).await
        };
        match filled.await {
            Ok(()) => {
                self.say(&format!(
                    "  postgres {major}, database `{DATABASE}`: accounts, statuses, follows, a partitioned table of events;\n  \
                     jsonb, bytea, arrays, an extension, roles, policies, a large object"
                ));
                Ok(lease)
            }
            Err(error) => {
                lease.release().await?;
                Err(error)
            }
        }
    }

    async fn sql(&self, place: &Place, script: &str) -> Result<(), OperationError> {
        let failed = |why: crate::sources::postgres::wire::WireError| {
            OperationError::new(Class::Source, "the demo's source could not be prepared").cause(why)
        };
        let options = ConnectOptions::parse(&place.url, place.password.clone()).map_err(failed)?;
        let mut connection = Connection::connect(&options, &self.cancel).await.map_err(failed)?;
        connection.execute(script).await.map_err(failed)?;
        connection.close().await;
        Ok(())
    }

    /// The story proper; returns the HTML report.
    async fn tell(&self, sources: &Sources, scratch_root: &Path) -> Result<PathBuf, OperationError> {
        let config = self.configure(sources, scratch_root)?;
        let session = Session::open(config, Arc::new(Silent), self.cancel.clone()).await?;
        let named = |name: &str| session.config.jobs.iter().find(|job| job.name.as_str() == name);
        let job = named("social").expect("the demo wrote this job");
        let queue = named(QUEUE);

        self.title("First backup, to two targets: `laptop` and `offsite`");
        let first = backup::run(&session, job).await?;
        self.show_backup(&first);
        if let Some(queue) = queue {
            self.show_backup(&backup::run(&session, queue).await?);
        }

        self.title("A day passes: some rows change, some arrive, some go");
        self.sql(&sources.postgres, include_str!("changes.sql")).await?;
        let second = backup::run(&session, job).await?;
        self.show_backup(&second);
        if let (Some(queue), Some(place)) = (queue, &sources.redis) {
            self.change_redis(place).await?;
            self.show_backup(&backup::run(&session, queue).await?);
        }
        let share = 100.0 * ratio(second.stored_bytes, first.stored_bytes);
        self.say(&format!("  {share:.1} % of the first backup of `social` was new; the rest was found again"));

        self.title("Restore from each target into a scratch server, and prove it");
        for job in [Some(job), queue].into_iter().flatten() {
            for outcome in self.test(&session, job, &[]).await? {
                self.show_test(&outcome);
                if outcome.verdict.word() != "PROVEN" {
                    return Err(OperationError::new(Class::TestFailed, "the demo's restore was not proven")
                        .cause(outcome.error.unwrap_or_default()));
                }
            }
        }

        self.title("Now one byte of one file at `offsite` goes bad");
        let (file, offset) = damage(&self.folder.join("offsite"))?;
        self.say(&format!("  flipped a bit at byte {offset} of {file}"));
        let offsite = TargetName::new("offsite").expect("a legal name");
        let caught = self.test(&session, job, &[offsite]).await?;
        for outcome in &caught {
            self.show_test(outcome);
        }
        if caught.iter().any(|outcome| !matches!(outcome.verdict, Verdict::Failed { .. })) {
            return Err(OperationError::new(Class::Bug, "the damage was not caught"));
        }
        self.say("  caught: nothing of it was handed out, and `laptop` still restores everything");

        self.title("The report");
        let jobs: Vec<_> = [Some(job), queue].into_iter().flatten().collect();
        let model = reporting::build(&session, &jobs, None).await?;
        let formats: Vec<_> = crate::report::FORMATS.to_vec();
        let files = write_files(&model, &formats, &self.folder.join("reports"))?;
        self.say(&format!("  {}", crate::report::answer(&model).sentence));
        files
            .into_iter()
            .find(|file| file.extension().is_some_and(|extension| extension == "html"))
            .ok_or_else(|| OperationError::new(Class::Bug, "no HTML report was written"))
    }

    async fn test(
        &self,
        session: &Session,
        job: &Job,
        from: &[TargetName],
    ) -> Result<Vec<TestOutcome>, OperationError> {
        let request = Request { selector: Selector::Latest, from: from.to_vec(), keep_scratch: false };
        restore_test::run(session, job, &request).await
    }

    /// Writes a configuration as a user would, and loads it as the other verbs do.
    fn configure(&self, sources: &Sources, scratch_root: &Path) -> Result<Config, OperationError> {
        let key = RecoveryKey::generate();
        let main = format!(
            "# Written by `lifeboat demo`.\nstate = \"state\"\n\n[keys]\nrecipients = [\"{}\"]\n\
             identity = {{ file = \"recovery.identity.txt\" }}\n\n[targets.laptop]\ntype = \"directory\"\npath = \"laptop\"\n\n\
             [targets.offsite]\ntype = \"directory\"\npath = \"offsite\"\n\n[scratch]\ndirectory = {}\n",
            key.recipient,
            quoted(&scratch_root.display().to_string()),
        );
        let job = format!(
            "# The source was the demo's own server; it is gone when the demo has ended.\n[source]\ntype = \"postgres\"\n\
             url = {}\n\n[backup]\ntargets = [\"laptop\", \"offsite\"]\n\n[restore_test]\nfrom = \"each\"\nrto = \"10m\"\n\
             rpo = \"26h\"\n\n[[restore_test.check]]\nname = \"statuses are there\"\n\
             sql = \"select count(*) from social.statuses\"\nmin = 100000\n\n[[restore_test.check]]\n\
             name = \"statuses are fresh\"\nsql = \"select max(created_at) from social.statuses\"\nmax_age = \"26h\"\n",
            quoted(&sources.postgres.url),
        );
        write(&self.folder.join("recovery.identity.txt"), &key.file_text(), 0o600)?;
        write(&self.folder.join("lifeboat.toml"), &main, 0o644)?;
        make_folder(&self.folder.join("jobs"), 0o755)?;
        write(&self.folder.join("jobs/social.toml"), &job, 0o644)?;
        if let Some(place) = &sources.redis {
            let job = format!(
                "# As the other source, gone when the demo has ended.\n[source]\ntype = \"redis\"\nurl = {}\n\n[backup]\n\
                 targets = [\"laptop\", \"offsite\"]\n\n[restore_test]\nfrom = \"each\"\nrto = \"10m\"\nrpo = \"26h\"\n\n\
                 [[restore_test.check]]\nname = \"the queue is not stuck\"\ncommand = \"LLEN queue:default\"\nmax = 100000\n",
                quoted(&place.url),
            );
            write(&self.folder.join("jobs/queue.toml"), &job, 0o644)?;
        }
        Ok(Config::load(&self.folder.join("lifeboat.toml"))?)
    }

    fn show_backup(&self, outcome: &BackupOutcome) {
        let targets: Vec<_> = outcome.copies.iter().map(|copy| copy.target.as_str()).collect();
        self.say(&format!(
            "  {:<6} snapshot {} on {}: {}, {} read, {} stored at each",
            outcome.job,
            outcome.snapshot,
            targets.join(" and "),
            words::counted(outcome.rows, words::words(&outcome.kind).rows),
            human_bytes(outcome.read_bytes),
            human_bytes(outcome.stored_bytes)
        ));
    }

    fn show_test(&self, outcome: &TestOutcome) {
        match &outcome.verdict {
            Verdict::Proven { evidence } => {
                self.say(&format!(
                    "  {:<6} from {:<7} PROVEN: {}, {}; recovered in {:.1} s",
                    outcome.job,
                    outcome.target.as_str(),
                    equal(evidence, &outcome.kind),
                    counted(evidence.checks.len(), "check"),
                    std::time::Duration::from_millis(outcome.measured.recovery_ms).as_secs_f64()
                ));
            }
            Verdict::Failed { mismatches, .. } => {
                for mismatch in mismatches {
                    self.say(&format!(
                        "  {:<6} from {:<7} FAILED: {}: {}",
                        outcome.job,
                        outcome.target.as_str(),
                        mismatch.what,
                        mismatch.difference
                    ));
                }
            }
            Verdict::Unproven { .. } => {
                let why = outcome.error.clone().unwrap_or_default();
                self.say(&format!("  {:<6} from {:<7} UNPROVEN: {why}", outcome.job, outcome.target.as_str()));
            }
        }
    }
}

/// A new folder, or the one of an earlier demo emptied; never anybody else's.
fn prepare_folder(folder: &Path) -> Result<PathBuf, OperationError> {
    let failed = |why: std::io::Error| {
        OperationError::new(Class::Usage, format!("the folder `{}` cannot be used", folder.display())).cause(why)
    };
    if folder.exists() {
        if !folder.join(MARKER).exists() {
            return Err(OperationError::new(
                Class::Usage,
                format!("`{}` exists and is not a demo's", folder.display()),
            )
            .hint("name a folder that does not exist: `lifeboat demo DIR`"));
        }
        std::fs::remove_dir_all(folder).map_err(failed)?;
    }
    make_folder(folder, 0o755)?;
    write(&folder.join(MARKER), "made by `lifeboat demo`; a next demo replaces this folder\n", 0o644)?;
    folder.canonicalize().map_err(failed)
}

fn make_folder(folder: &Path, mode: u32) -> Result<(), OperationError> {
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(folder).map_err(|why| {
        OperationError::new(Class::Usage, format!("the folder `{}` cannot be made", folder.display())).cause(why)
    })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), OperationError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|why| OperationError::new(Class::Usage, format!("`{}` cannot be written", path.display())).cause(why))
}

/// Flips one bit in the middle of the largest pack; returns its name and the offset.
fn damage(target: &Path) -> Result<(String, u64), OperationError> {
    use std::os::unix::fs::FileExt;
    let failed =
        |why: std::io::Error| OperationError::new(Class::Bug, "the demo could not damage its own copy").cause(why);
    let mut largest: Option<(u64, PathBuf)> = None;
    for folder in std::fs::read_dir(target.join("packs")).map_err(failed)? {
        for file in std::fs::read_dir(folder.map_err(failed)?.path()).map_err(failed)? {
            let file = file.map_err(failed)?;
            let size = file.metadata().map_err(failed)?.len();
            if largest.as_ref().is_none_or(|(most, _)| size > *most) {
                largest = Some((size, file.path()));
            }
        }
    }
    let (size, path) = largest.ok_or_else(|| OperationError::new(Class::Bug, "the demo's target holds no pack"))?;
    let file = std::fs::File::options().read(true).write(true).open(&path).map_err(failed)?;
    let (mut byte, offset) = ([0], size / 2);
    file.read_exact_at(&mut byte, offset).map_err(failed)?;
    file.write_all_at(&[byte[0] ^ 1], offset).map_err(failed)?;
    let shown = path.strip_prefix(target).unwrap_or(&path).display().to_string();
    Ok((shown, offset))
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn ratio(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let ratio = part as f64 / whole.max(1) as f64;
    ratio
}
