//! `demo`: the whole circle on this machine, in a folder of its own, with nothing left running.
//!
//! Everything goes through the same operations as the real verbs; only the sources and the damage are made up.

mod damage;
mod files;
mod objects;
mod postgres;
mod redis;
mod show;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use self::damage::{damage, packs};
use self::objects::Bucket;
use self::postgres::DATABASE;
use super::args::DemoArgs;
use super::init::RecoveryKey;
use super::output::Output;
use super::progress::Reporter;
use super::report::write_files;
use crate::config::{Config, Job};
use crate::domain::progress::Silent;
use crate::domain::{Place, TargetName, Verdict};
use crate::operations::restore_test::{Request, TestOutcome};
use crate::operations::snapshots::Selector;
use crate::operations::{Class, OperationError, Session, backup, reporting, restore_test};
use crate::scratch::{self, Lease};
use crate::system::user;

/// The jobs, in the order in which the demo tells of them.
const SOCIAL: &str = "social";
const QUEUE: &str = "queue";
const MEDIA: &str = "media";
const ETC: &str = "etc";
/// Marks a folder as the demo's own, which a next demo may replace.
const MARKER: &str = ".lifeboat-demo";

pub async fn run(
    output: &Output,
    reporter: Arc<Reporter>,
    cancel: CancellationToken,
    args: &DemoArgs,
) -> Result<(), OperationError> {
    let begun = Instant::now();
    let demo = Demo { output, reporter, cancel, folder: prepare_folder(&args.directory)? };
    let scratch_root = demo.scratch_root()?;
    demo.title("The sources, made up: a social network's database, its queue, its bucket of media, its /etc");
    let mut leases = vec![];
    let told = tokio::select! {
        () = demo.cancel.cancelled() => Err(OperationError::new(Class::Cancelled, "cancelled")),
        told = demo.with_sources(&mut leases, &scratch_root, args) => told,
    };
    // Whatever happened, the sources go, and what the servers had on disk.
    let mut released = Ok(());
    for lease in leases {
        released = lease.release().await.and(released);
    }
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
    bucket: Option<Bucket>,
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

    /// Makes the sources and tells the story; what is leased is the caller's to release. Returns the HTML report.
    async fn with_sources(
        &self,
        leases: &mut Vec<Box<dyn Lease>>,
        scratch_root: &Path,
        args: &DemoArgs,
    ) -> Result<PathBuf, OperationError> {
        // Both take a while, and each on a server of its own.
        let (lease, bucket) = tokio::join!(self.postgres(scratch_root), self.bucket(args.s3_server.as_deref()));
        let lease = lease?;
        let postgres = lease.place(DATABASE);
        leases.push(lease);
        let bucket = bucket?;
        let lease = self.redis(scratch_root).await?;
        let redis = lease.as_ref().map(|lease| lease.place(""));
        leases.extend(lease);
        self.say(objects::told(bucket.as_ref()));
        self.files()?;
        let sources = Sources { postgres, redis, bucket };
        let told = self.tell(&sources, scratch_root).await;
        if let Some(bucket) = sources.bucket {
            bucket.close().await;
        }
        told
    }

    /// The story proper; returns the HTML report.
    async fn tell(&self, sources: &Sources, scratch_root: &Path) -> Result<PathBuf, OperationError> {
        let config = self.configure(sources, scratch_root)?;
        let session = Session::open(config, Arc::new(Silent), self.cancel.clone()).await?;
        let named = |name: &&str| session.config.jobs.iter().find(|job| job.name.as_str() == *name);
        let jobs: Vec<&Job> = [SOCIAL, QUEUE, MEDIA, ETC].iter().filter_map(named).collect();
        let offsite = self.folder.join("offsite");

        self.title("First backup, to two targets: `laptop` and `offsite`");
        let (mut firsts, mut written) = (vec![], vec![]);
        for job in &jobs {
            let before = packs(&offsite)?;
            let first = backup::run(&session, job).await?;
            self.show_backup(&first, None);
            firsts.push(first.stored_bytes);
            written.push(packs(&offsite)?.difference(&before).cloned().collect::<Vec<_>>());
        }

        self.title("A day passes: something changes everywhere, something arrives, something goes");
        for (job, first) in jobs.iter().zip(&firsts) {
            self.change(job, sources).await?;
            self.show_backup(&backup::run(&session, job).await?, Some(*first));
        }

        self.title("Restore from each target into scratch, and prove it");
        for job in &jobs {
            for outcome in self.test(&session, job, &[]).await? {
                self.show_test(&outcome);
                if outcome.verdict.word() != "PROVEN" {
                    return Err(OperationError::new(Class::TestFailed, "the demo's restore was not proven")
                        .cause(outcome.error.unwrap_or_default()));
                }
            }
        }

        self.title("Now single bits of what `offsite` holds go bad");
        for (job, packs) in jobs.iter().zip(&written) {
            if [SOCIAL, MEDIA].contains(&job.name.as_str()) {
                let (file, offset) = damage(&offsite, packs)?;
                self.say(&format!("  flipped a bit at byte {offset} of {file}"));
                self.caught(&session, job).await?;
            }
        }
        self.say("  caught: nothing of it was handed out, and `laptop` still restores everything");

        self.title("The report");
        let model = reporting::build(&session, &jobs, None).await?;
        let formats: Vec<_> = crate::report::FORMATS.to_vec();
        let files = write_files(&model, &formats, &self.folder.join("reports"))?;
        self.say(&format!("  {}", crate::report::answer(&model).sentence));
        files
            .into_iter()
            .find(|file| file.extension().is_some_and(|extension| extension == "html"))
            .ok_or_else(|| OperationError::new(Class::Bug, "no HTML report was written"))
    }

    async fn change(&self, job: &Job, sources: &Sources) -> Result<(), OperationError> {
        match (job.name.as_str(), &sources.redis, &sources.bucket) {
            (SOCIAL, ..) => self.sql(&sources.postgres, include_str!("changes.sql")).await,
            (QUEUE, Some(place), _) => self.change_redis(place).await,
            (MEDIA, _, Some(bucket)) => bucket.change().await,
            _ => self.change_files(),
        }
    }

    /// A restore from the damaged target must fail.
    async fn caught(&self, session: &Session, job: &Job) -> Result<(), OperationError> {
        let offsite = TargetName::new("offsite").expect("a legal name");
        let outcomes = self.test(session, job, &[offsite]).await?;
        for outcome in &outcomes {
            self.show_test(outcome);
        }
        if outcomes.iter().all(|outcome| matches!(outcome.verdict, Verdict::Failed { .. })) {
            return Ok(());
        }
        Err(OperationError::new(Class::Bug, "the damage was not caught"))
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
        write(&self.folder.join("recovery.identity.txt"), &key.file_text(), 0o600)?;
        write(&self.folder.join("lifeboat.toml"), &main, 0o644)?;
        make_folder(&self.folder.join("jobs"), 0o755)?;
        self.job(
            SOCIAL,
            &format!("type = \"postgres\"\nurl = {}", quoted(&sources.postgres.url)),
            "[[restore_test.check]]\nname = \"statuses are there\"\nsql = \"select count(*) from social.statuses\"\n\
             min = 100000\n\n[[restore_test.check]]\nname = \"statuses are fresh\"\n\
             sql = \"select max(created_at) from social.statuses\"\nmax_age = \"26h\"\n",
        )?;
        if let Some(place) = &sources.redis {
            self.job(
                QUEUE,
                &format!("type = \"redis\"\nurl = {}", quoted(&place.url)),
                "[[restore_test.check]]\nname = \"the queue is not stuck\"\ncommand = \"LLEN queue:default\"\nmax = 100000\n",
            )?;
        }
        if let Some(bucket) = &sources.bucket {
            self.job(MEDIA, &bucket.source(), "")?;
        }
        self.job(ETC, &format!("type = \"files\"\npath = {}", quoted(files::FOLDER)), "")?;
        Ok(Config::load(&self.folder.join("lifeboat.toml"))?)
    }

    fn job(&self, name: &str, source: &str, checks: &str) -> Result<(), OperationError> {
        let text = format!(
            "# The source was the demo's own: a server is gone when the demo has ended.\n[source]\n{source}\n\n[backup]\n\
             targets = [\"laptop\", \"offsite\"]\n\n[restore_test]\nfrom = \"each\"\nrto = \"10m\"\nrpo = \"26h\"\n\n{checks}"
        );
        write(&self.folder.join(format!("jobs/{name}.toml")), &format!("{}\n", text.trim_end()), 0o644)
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

/// A TOML basic string.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
