//! From files to a [`Config`]: reads `lifeboat.toml` and every job beside it, and reports every mistake of all of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, SourceFile, into_error};
use super::document::{Document, read};
use super::explain::did_you_mean;
use super::node::{Node, Table, Value};
use super::raw::{CatchUp, Overlap, RawBackup, RawJob, RawLifeboat, RawRestoreTest, RawSchedule};
use super::{
    BackupPolicy, Config, ConfigError, Environment, Guard, Job, Keys, RestoreTestPolicy, Retention, Schedule,
    ScratchConfig, Section,
};
use crate::domain::{JobName, TargetName};

/// A configuration file is written by hand.
const FILE_BYTES_MAX: u64 = 4 << 20;
const LANES_MAX: usize = 256;
const LANES_DEFAULT_MAX: usize = 4;

impl Config {
    /// Reads `lifeboat.toml` at `path` and the jobs beside it. The error shows every mistake, each with file, line and caret.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_in(path, &Environment::process())
    }

    /// As [`load`](Self::load), with the environment as a value.
    pub fn load_in(path: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        let file = std::path::absolute(path)
            .map_err(|error| ConfigError::new(format!("`{}` is not a path: {error}", path.display())))?;
        let mut loader = Loader {
            base: file.parent().unwrap_or(Path::new("/")).to_owned(),
            environment,
            findings: vec![],
            warnings: vec![],
        };
        let (document, whole) = loader.document(path)?;
        let (mut config, targets_known) = loader.lifeboat(file, &document, whole);
        let jobs = path.parent().unwrap_or(Path::new("")).join("jobs");
        for job in job_files(&jobs)? {
            match job {
                Ok((name, path)) => config.jobs.extend(loader.job(name, &path, &config.targets, targets_known)),
                Err(finding) => loader.findings.push(*finding),
            }
        }
        config.jobs.sort_by(|a, b| a.name.cmp(&b.name));
        config.warnings = loader.warnings;
        if loader.findings.is_empty() { Ok(config) } else { Err(into_error(&loader.findings)) }
    }
}

struct Loader<'a> {
    /// The folder of `lifeboat.toml`, absolute.
    base: PathBuf,
    environment: &'a Environment,
    findings: Vec<Diagnostic>,
    warnings: Vec<String>,
}

impl Loader<'_> {
    /// A file as a document with variables replaced, and whether its syntax is whole.
    fn document(&mut self, path: &Path) -> Result<(Document, bool), ConfigError> {
        let cannot = |why: String| ConfigError::new(format!("`{}` cannot be read: {why}", path.display()));
        let size = std::fs::metadata(path).map_err(|error| cannot(error.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(cannot(format!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| cannot(error.to_string()))?;
        let (mut document, syntax) = Document::parse(path.display().to_string(), &self.base, text);
        let whole = syntax.is_empty();
        self.findings.extend(syntax);
        self.findings.extend(document.passwords_in_urls());
        self.findings.extend(document.substitute(self.environment));
        document.table.nodes_mut().for_each(|node| self.place_secret_files(node));
        Ok((document, whole))
    }

    /// Makes the files of secret references absolute, and warns of those that everybody can read.
    fn place_secret_files(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::List(items) => items.iter_mut().for_each(|item| self.place_secret_files(item)),
            Value::Table(table) => {
                let only_key = table.len() == 1;
                if let Some(Value::Text(file)) = table.get_mut("file").filter(|_| only_key).map(|node| &mut node.value)
                {
                    let path = self.base.join(&*file);
                    self.warnings.extend(open_to_others(&path));
                    // What TOML holds is unicode; where the base is not, the path stays as it was written.
                    if let Some(text) = path.to_str() {
                        text.clone_into(file);
                    }
                }
                table.nodes_mut().for_each(|node| self.place_secret_files(node));
            }
            _ => {}
        }
    }

    /// The configuration without jobs, and whether its targets could be read.
    fn lifeboat(&mut self, file: PathBuf, document: &Document, whole: bool) -> (Config, bool) {
        let table = &document.table;
        let (raw, findings) = if whole { read(&document.file, table, None) } else { (None, vec![]) };
        self.findings.extend(findings);
        let known = raw.is_some();
        let raw: RawLifeboat = raw.unwrap_or_default();
        let section = |family: &str, name: &str| Section::of(&document.file, table.locate(&[family, name])?);
        let mut targets = BTreeMap::new();
        for name in raw.targets.into_keys() {
            let Some(section) = section("targets", name.0.as_str()) else { continue };
            self.require_type(&section, "directory");
            targets.insert(name.0, section);
        }
        for (index, recipient) in raw.keys.recipients.iter().enumerate() {
            if let Some((headline, label)) = refused_recipient(recipient) {
                let place = place(table, &["keys", "recipients"], index);
                self.findings.push(Diagnostic::new(&document.file, place, headline, label));
            }
        }
        let none_named =
            table.get("targets").is_none_or(|node| matches!(&node.value, Value::Table(table) if table.len() == 0));
        if known && none_named {
            let finding = Diagnostic::new(&document.file, None, "no target is defined", "add a table `[targets.NAME]`");
            self.findings.push(finding);
        }
        let notify = raw.notify.into_keys().filter_map(|name| section("notify", &name).map(|section| (name, section)));
        let engines = ["postgres", "redis", "objects"]
            .into_iter()
            .filter_map(|engine| Some((engine.to_owned(), section("scratch", engine)?)));
        let config = Config {
            state: raw.state.map_or_else(|| state_default(self.environment), |state| self.base.join(state)),
            keys: Keys {
                recipients: raw.keys.recipients,
                identity: raw.keys.identity,
                trusted_writers: raw.keys.trusted_writers,
            },
            targets,
            scratch: ScratchConfig {
                directory: raw.scratch.directory.map(|path| self.base.join(path)),
                engines: engines.collect(),
            },
            notify: notify.collect(),
            jobs: vec![],
            warnings: vec![],
            file,
        };
        (config, known)
    }

    fn require_type(&mut self, section: &Section, example: &str) {
        if section.text("type").is_none() {
            let finding = if section.has("type") {
                section.finding_at(&["type"], "wrong type for `type`", "expected a string in quotes")
            } else {
                section.finding_at(&[], "missing key `type`", format!("add `type = \"{example}\"`"))
            };
            self.findings.push(finding);
        }
    }

    fn job(
        &mut self,
        name: JobName,
        path: &Path,
        targets: &BTreeMap<TargetName, Section>,
        targets_known: bool,
    ) -> Option<Job> {
        let (document, whole) = match self.document(path) {
            Ok(read) => read,
            Err(error) => {
                let file = SourceFile { shown: path.display().to_string(), ..SourceFile::default() };
                self.findings.push(Diagnostic::new(&Arc::new(file), None, error.to_string(), ""));
                return None;
            }
        };
        if !whole {
            return None;
        }
        let (raw, findings) = read::<RawJob>(&document.file, &document.table, None);
        self.findings.extend(findings);
        let raw = raw?;
        let source = raw.source.and_then(|_| Section::of(&document.file, document.table.get("source")?));
        match &source {
            Some(source) => self.require_type(source, "postgres"),
            // A source that is no table has been reported by now.
            None if document.table.get("source").is_none() => {
                self.findings.push(Diagnostic::new(
                    &document.file,
                    None,
                    "missing table `[source]`",
                    "say what is backed up",
                ));
            }
            None => {}
        }
        let mut view = JobView { file: &document.file, table: &document.table, findings: &mut self.findings };
        let known = targets_known.then_some(targets);
        let backup = view.backup(raw.backup, known);
        let restore_test = raw.restore_test.map(|test| view.restore_test(test, &backup.targets, known));
        let source = source?;
        Some(Job {
            kind: source.text("type").unwrap_or_default().to_owned(),
            name,
            file: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            source,
            schedule: raw.schedule.map(resolve_schedule),
            backup,
            retention: Retention {
                last: raw.retention.last,
                hourly: raw.retention.hourly,
                daily: raw.retention.daily,
                weekly: raw.retention.weekly,
                monthly: raw.retention.monthly,
                yearly: raw.retention.yearly,
                within: raw.retention.within.map(|within| within.0),
            },
            restore_test,
        })
    }
}

/// A job's file while its names and numbers are checked against the rest.
struct JobView<'a> {
    file: &'a Arc<SourceFile>,
    table: &'a Table,
    findings: &'a mut Vec<Diagnostic>,
}

impl JobView<'_> {
    fn report(&mut self, span: Option<Range<usize>>, headline: impl Into<String>, label: impl Into<String>) {
        self.findings.push(Diagnostic::new(self.file, span, headline, label));
    }

    fn place(&self, path: &[&str], index: usize) -> Option<Range<usize>> {
        place(self.table, path, index)
    }

    /// `known` is `None` when `lifeboat.toml` could not be read: then no name can be called unknown.
    fn backup(&mut self, raw: RawBackup, known: Option<&BTreeMap<TargetName, Section>>) -> BackupPolicy {
        let targets = match (raw.targets, known) {
            (Some(names), _) => {
                if names.is_empty() {
                    self.report(
                        self.table.locate(&["backup", "targets"]).map(|node| node.span.clone()),
                        "the job has no target",
                        "name one, or leave `targets` out to use all",
                    );
                }
                let all: Option<Vec<TargetName>> = known.map(|known| known.keys().cloned().collect());
                self.names(&["backup", "targets"], &names, all.as_deref(), "defined")
            }
            (None, Some(known)) => known.keys().cloned().collect(),
            (None, None) => vec![],
        };
        let count = targets.len();
        let quorum = raw.quorum.unwrap_or(count);
        if known.is_some() && count > 0 && !(1..=count).contains(&quorum) {
            let headline = format!("quorum {quorum} is out of range");
            let label = if count == 1 {
                "the job has 1 target: 1".into()
            } else {
                format!("the job has {count} targets: 1 to {count}")
            };
            self.report(self.place(&["backup", "quorum"], 0), headline, label);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let lanes = raw.lanes.unwrap_or(cores.min(LANES_DEFAULT_MAX));
        if !(1..=LANES_MAX).contains(&lanes) {
            let headline = format!("lanes {lanes} is out of range");
            self.report(self.place(&["backup", "lanes"], 0), headline, format!("1 to {LANES_MAX}"));
        }
        let level = raw.level.unwrap_or(2);
        if !(1..=19).contains(&level) {
            self.report(self.place(&["backup", "level"], 0), format!("level {level} is out of range"), "1 to 19");
        }
        let guard = Guard {
            min_bytes: raw.guard.min_bytes.map(|size| size.0),
            max_shrink: raw.guard.max_shrink.map(|percent| percent.0),
        };
        BackupPolicy { targets, quorum, lanes, level, guard }
    }

    fn restore_test(
        &mut self,
        raw: RawRestoreTest,
        targets: &[TargetName],
        known: Option<&BTreeMap<TargetName, Section>>,
    ) -> RestoreTestPolicy {
        if raw.sample == Some(0) {
            let at = self.place(&["restore_test", "sample"], 0);
            self.report(at, "a sample of nothing shows nothing".to_owned(), "4603 is enough for most");
        }
        let path = ["restore_test", "from"];
        let allowed = known.map(|_| targets);
        RestoreTestPolicy {
            cron: raw.cron.map(|cron| cron.0),
            from: self.names(&path, &raw.from.0, allowed, "among the job's"),
            rto: raw.rto.map(|rto| rto.0),
            rpo: raw.rpo.map(|rpo| rpo.0),
            sample: raw.sample,
            checks: match self.table.locate(&["restore_test", "check"]).map(|node| &node.value) {
                Some(Value::List(items)) => items.iter().filter_map(|item| Section::of(self.file, item)).collect(),
                _ => vec![],
            },
        }
    }

    /// Names of targets, each legal, allowed and named once.
    fn names(
        &mut self,
        path: &[&str],
        names: &[String],
        allowed: Option<&[TargetName]>,
        relation: &str,
    ) -> Vec<TargetName> {
        let mut good: Vec<TargetName> = Vec::new();
        for (index, text) in names.iter().enumerate() {
            let name = match TargetName::new(text.as_str()) {
                Ok(name) => name,
                Err(error) => {
                    self.report(self.place(path, index), error.to_string(), "");
                    continue;
                }
            };
            if good.contains(&name) {
                self.report(self.place(path, index), format!("target `{name}` is named twice"), "name it once");
            } else if let Some(allowed) = allowed.filter(|allowed| !allowed.contains(&name)) {
                let known: Vec<&str> = allowed.iter().map(TargetName::as_str).collect();
                let label = match did_you_mean(text, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => String::new(),
                    None => format!("{relation}: {}", quoted(&known)),
                };
                self.report(self.place(path, index), format!("unknown target `{name}`"), label);
            } else {
                good.push(name);
            }
        }
        good
    }
}

/// The place of a key's value, or of its item at `index` where the value is a list.
fn place(table: &Table, path: &[&str], index: usize) -> Option<Range<usize>> {
    let node = table.locate(path)?;
    match &node.value {
        Value::List(items) => items.get(index).map(|item| item.span.clone()),
        _ => Some(node.span.clone()),
    }
}

/// What is wrong with a recipient, as far as its text tells; the text may be an identity, so it is not repeated.
fn refused_recipient(text: &str) -> Option<(&'static str, &'static str)> {
    if text.starts_with("AGE-SECRET-KEY-") || text.starts_with("AGE-PLUGIN-") {
        return Some((
            "an identity stands where a recipient belongs",
            "it is a secret: write its public key, `age1...`",
        ));
    }
    // A second `1` ends the name of another kind: plugins', tags', post-quantum.
    let native = text.strip_prefix("age1").is_some_and(|rest| !rest.contains('1'));
    let bad_native = native && text.parse::<age::x25519::Recipient>().is_err();
    if bad_native || !(text.starts_with("age1") || text.starts_with("ssh-")) {
        return Some(("this is not an age recipient", "copy the whole `age1...` that `lifeboat keys new` prints"));
    }
    None
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn resolve_schedule(raw: RawSchedule) -> Schedule {
    Schedule {
        cron: raw.cron.0,
        timezone: raw.timezone.map_or_else(|| "UTC".to_owned(), |zone| zone.0),
        splay: raw.splay.map(|splay| splay.0).unwrap_or_default(),
        catch_up: match raw.catch_up {
            CatchUp::Once => "once",
            CatchUp::Never => "never",
        }
        .to_owned(),
        overlap: match raw.overlap {
            Overlap::Skip => "skip",
        }
        .to_owned(),
    }
}

/// The jobs of a folder by name; no folder means no jobs. A file that is not a job by its name is a finding.
type JobFile = Result<(JobName, PathBuf), Box<Diagnostic>>;

fn job_files(folder: &Path) -> Result<Vec<JobFile>, ConfigError> {
    let cannot = |error: std::io::Error| ConfigError::new(format!("`{}` cannot be read: {error}", folder.display()));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(cannot(error)),
    };
    let mut paths =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>().map_err(cannot)?;
    // Hidden files are editors' and version control's.
    paths.retain(|path| {
        path.extension().is_some_and(|extension| extension == "toml")
            && !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    });
    paths.sort();
    Ok(paths
        .into_iter()
        .map(|path| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            JobName::new(stem).map(|name| (name, path.clone())).map_err(|error| {
                let file = SourceFile { shown: path.display().to_string(), ..SourceFile::default() };
                Box::new(Diagnostic::new(&Arc::new(file), None, error.to_string(), "rename the file: it names the job"))
            })
        })
        .collect())
}

/// A warning when anybody on the machine can read the file of a secret.
fn open_to_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o004 != 0).then(|| {
        let path = path.display();
        format!("secret file `{path}` can be read by every user (mode {:04o}): run `chmod 600 {path}`", mode & 0o7777)
    })
}

/// `/var/lib/lifeboat` for root, else `$XDG_STATE_HOME/lifeboat` or `~/.local/state/lifeboat`.
fn state_default(environment: &Environment) -> PathBuf {
    if let Some(state) = environment.filled("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
        return state.join("lifeboat");
    }
    match environment.filled("HOME") {
        Some(home) if !rustix::process::geteuid().is_root() => Path::new(&home).join(".local/state/lifeboat"),
        _ => PathBuf::from("/var/lib/lifeboat"),
    }
}
