//! The command line as types: what was typed, checked as far as that goes without a configuration.
//!
//! `clap` ends the process with status 2 on a usage error, which is Lifeboat's status for usage too.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::arg_types::{Destination, FromTargets, SnapshotChoice, duration, job_name, password_variable, target_name};
use crate::domain::{JobName, TargetName, with_host};
use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

/// Backs up live systems to several targets, and keeps proving that the backups restore.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "lifeboat",
    version,
    about,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
Examples:
  lifeboat init --postgres postgres://backup@db.internal/social --target /mnt/nas/lifeboat
  lifeboat backup now
  lifeboat restore-test --from each
  lifeboat restore social@latest --to postgres://postgres@localhost/social

Exit status: 0 done, 1 failed, 2 usage or configuration, 3 partial, 4 a restore test failed,
5 a restore test could not prove, 10 no such job or snapshot, 11 locked, 12 wrong or missing key,
75 skipped, 130 cancelled."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

impl Cli {
    /// The command line of this process, `arguments[0]` being the program.
    ///
    /// `clap` repeats a refused value in its message, so what may hold a password is checked after it.
    pub fn read(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(arguments)?;
        if let Verb::Restore(RestoreArgs { to: Destination::Server(url), .. }) = &cli.verb {
            check_server_url(url).map_err(|why| {
                Self::command().error(ErrorKind::ValueValidation, format!("the URL after `--to` {why}"))
            })?;
        }
        Ok(cli)
    }
}

/// Refuses what is no URL and what holds a password. The reason never repeats the URL.
fn check_server_url(text: &str) -> Result<(), String> {
    let url = url::Url::parse(&with_host(text)).map_err(|error| format!("cannot be read: {error}"))?;
    if url.password().is_some() || url.query_pairs().any(|(key, _)| key == "password") {
        let variable = password_variable(url.scheme()).unwrap_or("PGPASSWORD");
        let other = if variable == "PGPASSWORD" { " or use a password file" } else { "" };
        return Err(format!(
            "holds a password, and every user of this machine can read command lines; set {variable}{other}"
        ));
    }
    Ok(())
}

/// Options that every verb understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
#[expect(clippy::struct_excessive_bools, reason = "each is one flag of the command line")]
pub struct Global {
    #[arg(
        short = 'c',
        long = "config",
        global = true,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        help = "Configuration file [default: $LIFEBOAT_CONFIG, ./lifeboat.toml, \
                ~/.config/lifeboat/lifeboat.toml, /etc/lifeboat/lifeboat.toml]"
    )]
    pub config: Option<PathBuf>,
    /// Say what would be done and change nothing
    #[arg(short = 'n', long, global = true)]
    pub dry_run: bool,
    /// Print events as JSON lines and a final summary
    #[arg(long, global = true)]
    pub json: bool,
    /// Be silent on success
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Never ask a question; fail where an answer is needed
    #[arg(long, global = true)]
    pub no_input: bool,
    /// Answer every question with yes
    #[arg(long, global = true)]
    pub yes: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    Init(InitArgs),
    Demo(DemoArgs),
    /// Check, show or describe the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Back up
    #[command(subcommand)]
    Backup(BackupVerb),
    Snapshots(SnapshotsArgs),
    Restore(RestoreArgs),
    RestoreTest(RestoreTestArgs),
    Report(ReportArgs),
    /// Show how each job stands: last backup, last proof, copies on each target
    Status,
    /// List the jobs with their sources, targets and schedules
    Jobs,
    /// Make or export keys
    #[command(subcommand)]
    Keys(KeysVerb),
    /// Try a target
    #[command(subcommand)]
    Target(TargetVerb),
    /// Rebuild the local catalog
    #[command(subcommand)]
    Catalog(CatalogVerb),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Write a configuration, make keys, and describe a database as the first job
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  lifeboat init --postgres postgres://backup@db.internal/social --target /mnt/nas/lifeboat
  lifeboat init /etc/lifeboat --target /mnt/a --target s3://bucket/prefix?endpoint=https://s3.example.org
  lifeboat init --dry-run --postgres postgres://localhost/app --target ./backups

A password in the URL goes into a file of its own, readable by you alone; it may also come from PGPASSWORD.
Nothing that exists is ever overwritten.")]
pub struct InitArgs {
    /// Folder to write lifeboat.toml, jobs/ and keys/ into
    #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
    /// Postgres database to look at and to write a job for
    #[arg(long, value_name = "URL")]
    pub postgres: Option<String>,
    /// Where backups go; repeat it for several independent copies
    #[arg(long = "target", value_name = "DIR|s3://BUCKET/PREFIX")]
    pub targets: Vec<String>,
}

/// Show the whole circle on this machine: back up, restore, prove, and catch a damaged copy
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Starts servers of its own with made-up data, and stops them again. Touches nothing outside its folder.

Lifeboat holds no S3 server. `make demo` builds the one of this repository (`cargo build --example s3_server`) and names it.")]
pub struct DemoArgs {
    /// Folder for everything that the demo writes
    #[arg(value_name = "DIR", default_value = "lifeboat-demo", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
    /// A program that serves a folder as S3 buckets on a loopback port; without one the demo backs up no bucket
    #[arg(long, value_name = "PROGRAM", value_hint = ValueHint::ExecutablePath)]
    pub s3_server: Option<PathBuf>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ConfigVerb {
    /// Check the configuration and every job; show all mistakes with their lines
    Check(ConfigCheckArgs),
    /// Show the configuration with all defaults, secrets hidden
    Show,
    /// Print a JSON Schema for editors
    Schema(ConfigSchemaArgs),
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  lifeboat config check
  lifeboat config check --online     # also reads secrets, reaches every target and every source")]
pub struct ConfigCheckArgs {
    /// Also read the secrets, and reach every source and target
    #[arg(long)]
    pub online: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  lifeboat config schema job > job.schema.json")]
pub struct ConfigSchemaArgs {
    /// Which file to describe
    #[arg(value_name = "FILE", value_enum, default_value_t = SchemaFile::Lifeboat)]
    pub file: SchemaFile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaFile {
    /// lifeboat.toml
    Lifeboat,
    /// A file in jobs/
    Job,
}

#[derive(Debug, Clone, Subcommand)]
pub enum BackupVerb {
    /// Back up now, to every target of the job
    Now(BackupNowArgs),
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  lifeboat backup now               # every job
  lifeboat backup now social
  lifeboat backup now --dry-run     # preflight only: what would be backed up, and what not")]
pub struct BackupNowArgs {
    /// Jobs to back up [default: all]
    #[arg(value_name = "JOB", value_parser = job_name)]
    pub jobs: Vec<JobName>,
}

/// List snapshots: when, how large, on which targets, proven or not
#[derive(Debug, Clone, Args)]
pub struct SnapshotsArgs {
    /// Only this job's
    #[arg(value_name = "JOB", value_parser = job_name)]
    pub job: Option<JobName>,
}

/// Restore a snapshot into a database or as plain files
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  lifeboat restore social --to postgres://postgres@localhost/social
  lifeboat restore social@2026-08-21T02:00 --to ./restored
  lifeboat restore social@latest --only public.statuses --to postgres://localhost/scratch
  lifeboat restore social --to postgres://localhost/social --overwrite social
  lifeboat restore cache --to redis://localhost:6379 --only 'key/session:*'
  lifeboat restore documents --to command: --overwrite documents

A database that holds anything is refused unless --overwrite names it; of a job of commands, the job is named. A time chooses the newest
snapshot that is not younger; a time without an offset is local.")]
pub struct RestoreArgs {
    /// What to restore [default selector: latest]
    #[arg(value_name = "JOB[@latest|@ID|@TIME]")]
    pub what: SnapshotChoice,
    /// Where to: a running server, a bucket (`s3://bucket/prefix`), a folder for plain files, or `command:` for the job's own `restore`
    #[arg(long, value_name = "URL|DIR|command:")]
    pub to: Destination,
    /// Read from this target [default: the first that has the snapshot]
    #[arg(long, value_name = "TARGET", value_parser = target_name)]
    pub from: Option<TargetName>,
    /// Only these tables, parts, or databases of several; of Redis, keys as `key/session:*`, `db0`, `functions`
    #[arg(long, value_name = "PART", num_args = 1..)]
    pub only: Vec<String>,
    /// Databases that may be replaced although they hold data; of Redis, `db0` and `functions`; of commands, the job
    #[arg(long, value_name = "DATABASE", num_args = 1..)]
    pub overwrite: Vec<String>,
}

/// Restore into scratch instances and prove that the content is what was backed up
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  lifeboat restore-test                      # every job, as its restore_test table says
  lifeboat restore-test social --from each   # from every target in turn
  lifeboat restore-test social --keep-scratch
  lifeboat restore-test --dry-run            # which snapshot, from where, what scratch needs

Exit status 4: a test ran and failed; 5: a test could not prove anything, and the report says why.")]
pub struct RestoreTestArgs {
    /// Jobs to test [default: all]
    #[arg(value_name = "JOB", value_parser = job_name)]
    pub jobs: Vec<JobName>,
    /// Target to restore from, or `each` [default: as the job says]
    #[arg(long, value_name = "TARGET|each")]
    pub from: Option<FromTargets>,
    /// Leave the scratch instance running, and say how to reach and to stop it
    #[arg(long)]
    pub keep_scratch: bool,
}

/// Write a report: could we recover now, from where, losing how much, in how long
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  lifeboat report
  lifeboat report --since 30d --format html,json --out /srv/reports
  lifeboat report --format md")]
pub struct ReportArgs {
    /// Period that the report covers
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
    pub since: Duration,
    /// Formats to write
    #[arg(long, value_name = "FORMAT", value_enum, value_delimiter = ',', default_value = "html")]
    pub format: Vec<ReportFormat>,
    /// Folder to write into [default: print the only format, or write below the state folder]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum ReportFormat {
    /// One file that needs no script and no network
    Html,
    /// Markdown
    Md,
    /// The record: everything that was measured
    Json,
    /// For continuous integration
    Junit,
}

#[derive(Debug, Clone, Subcommand)]
pub enum KeysVerb {
    /// Make a recovery identity and print its recipient
    New(KeysNewArgs),
    /// Print what a restore on another machine needs, without secrets unless asked
    Export(KeysExportArgs),
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  lifeboat keys new --out recovery.identity.txt

Whoever has the identity can read every backup made for it; without it no backup can be read.")]
pub struct KeysNewArgs {
    /// File to write the identity into, readable by you alone; never overwritten
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct KeysExportArgs {
    /// Folder to write into; must not hold anything yet
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// Also export the identity, which reads every backup
    #[arg(long)]
    pub with_identity: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub enum TargetVerb {
    /// Write, read back, list and delete a small object; makes the folder of a target that was never used
    Test(TargetTestArgs),
}

#[derive(Debug, Clone, Args)]
pub struct TargetTestArgs {
    /// Targets to try [default: all]
    #[arg(value_name = "TARGET", value_parser = target_name)]
    pub targets: Vec<TargetName>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum CatalogVerb {
    /// Rebuild the catalog from what the targets hold
    Rebuild(CatalogRebuildArgs),
}

#[derive(Debug, Clone, Args)]
pub struct CatalogRebuildArgs {
    /// Read only this target [default: all]
    #[arg(long, value_name = "TARGET", value_parser = target_name)]
    pub from: Option<TargetName>,
}

/// Print a completion script for a shell
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  lifeboat completions bash > /etc/bash_completion.d/lifeboat
  lifeboat completions zsh > ~/.zfunc/_lifeboat")]
pub struct CompletionsArgs {
    /// The shell that the script is for
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

/// Print the manual page, or write one for every verb into a folder
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Folder to write into
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: Option<PathBuf>,
}

#[cfg(test)]
mod tests;
