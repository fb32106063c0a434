//! `lifeboat init`: what it writes is planned first, then either shown (`--dry-run`) or applied.
//!
//! What it must never do: overwrite a file, put a secret into a file that others may read, or print one.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret;
use url::{Position, Url};

pub use super::init_facts::{MomentColumn, PostgresIntrospection, TableFacts};
use super::init_text::{job_file, job_name, lifeboat_file, target_table};
use crate::config::redact_text;
use crate::domain::{Secret, percent_decoded, with_host};

/// Readable by everybody, as configuration is.
const PUBLIC: u32 = 0o644;
/// Readable by the owner alone.
const PRIVATE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;
const PUBLIC_FOLDER: u32 = 0o755;

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("`{}` exists already and is never overwritten: move it away, or choose another folder", .0.display())]
    Exists(PathBuf),
    #[error("`{}` cannot be written: {why}", .path.display())]
    Write { path: PathBuf, why: std::io::Error },
    /// The text never holds the URL as it was typed: that may hold a password.
    #[error("the Postgres URL {0}")]
    Url(String),
    #[error("target `{target}`: {why}")]
    Target { target: String, why: String },
}

/// A Postgres database and how to log in.
#[derive(Clone)]
pub struct PostgresRequest {
    /// As typed; a password in it is taken out.
    pub url: String,
    /// From the environment, where the URL has none.
    pub password: Option<Secret>,
    pub facts: PostgresIntrospection,
}

impl std::fmt::Debug for PostgresRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresRequest")
            .field("url", &redact_text(&self.url))
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

/// Everything that decides what `init` writes: the plan is a function of it.
#[derive(Debug, Clone)]
pub struct InitRequest {
    pub directory: PathBuf,
    /// Where relative targets start; absolute.
    pub current_directory: PathBuf,
    /// As typed: folders and `s3://bucket/prefix?endpoint=URL&region=NAME`. None means a folder beside the configuration.
    pub targets: Vec<String>,
    pub postgres: Option<PostgresRequest>,
    pub key: RecoveryKey,
}

/// A new age X25519 identity and the recipient that encrypts to it.
#[derive(Debug, Clone)]
pub struct RecoveryKey {
    pub identity: Secret,
    /// `age1...`.
    pub recipient: String,
}

impl RecoveryKey {
    pub fn generate() -> Self {
        let identity = age::x25519::Identity::generate();
        Self {
            recipient: identity.to_public().to_string(),
            identity: Secret::new(identity.to_string().expose_secret()),
        }
    }

    /// What stands in the identity's file: `age -d -i` reads it.
    pub fn file_text(&self) -> String {
        format!(
            "# Recovery identity of Lifeboat. Whoever has it reads every backup; without it nobody does.\n# public key: {}\n{}\n",
            self.recipient,
            self.identity.expose()
        )
    }
}

/// One file that will be written.
#[derive(Clone)]
pub struct PlannedFile {
    pub path: PathBuf,
    pub content: Secret,
    pub mode: u32,
}

impl std::fmt::Debug for PlannedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlannedFile({}, {:o})", self.path.display(), self.mode)
    }
}

#[derive(Debug, Clone)]
pub struct InitPlan {
    pub files: Vec<PlannedFile>,
    /// For the user, in order; without secrets.
    pub messages: Vec<String>,
}

/// Takes the password out of a Postgres URL, so that it can be kept apart.
pub fn split_password(url: &str) -> Result<(String, Option<Secret>), InitError> {
    let given = with_host(url);
    let mut parsed = Url::parse(&given).map_err(|error| InitError::Url(format!("cannot be read: {error}")))?;
    if !matches!(parsed.scheme(), "postgres" | "postgresql") {
        return Err(InitError::Url("must start with `postgres://`".into()));
    }
    let mut password = parsed.password().map(password_of).transpose()?;
    if password.is_some() {
        parsed.set_password(None).map_err(|()| InitError::Url("has a password but no host".into()))?;
    }
    // libpq takes it as a parameter too. Other parameters are kept exactly as they were written.
    if let Some(query) = parsed.query().map(str::to_owned) {
        let (secret, kept): (Vec<&str>, Vec<&str>) = query.split('&').partition(|pair| pair.starts_with("password="));
        if let Some(pair) = secret.first() {
            password = Some(password_of(&pair["password=".len()..])?);
            parsed.set_query(Some(kept.join("&")).filter(|query| !query.is_empty()).as_deref());
        }
    }
    if password.as_deref().is_some_and(|password| password.is_empty() || password.contains(['\n', '\r'])) {
        return Err(InitError::Url("has an empty password, or one of several lines".into()));
    }
    let clean = match given {
        Cow::Borrowed(_) => parsed.to_string(),
        // As it was typed: without the host that was put in.
        Cow::Owned(_) => format!("{}{}", &parsed[..Position::BeforeHost], &parsed[Position::AfterHost..]),
    };
    Ok((clean, password.map(Secret::new)))
}

fn password_of(text: &str) -> Result<String, InitError> {
    let bytes = percent_decoded(text).and_then(|bytes| String::from_utf8(bytes).ok());
    bytes.ok_or_else(|| InitError::Url("has a password whose `%` escapes are wrong".into()))
}

/// Decides what to write. Touches nothing.
pub fn plan_init(request: &InitRequest) -> Result<InitPlan, InitError> {
    let at = |name: &str| request.directory.join(name);
    let typed: &[String] = &request.targets;
    let beside = ["backups".to_owned()];
    let (typed, base) =
        if typed.is_empty() { (&beside[..], None) } else { (typed, Some(request.current_directory.as_path())) };
    let mut tables = Vec::new();
    for target in typed {
        let table = target_table(target, base, &tables)
            .map_err(|why| InitError::Target { target: redact_text(target), why })?;
        tables.push(table);
    }
    let mut files = vec![
        file(at("lifeboat.toml"), &lifeboat_file(&request.key.recipient, &tables), PUBLIC),
        file(at("keys/recovery.identity.txt"), &request.key.file_text(), PRIVATE),
        file(at("keys/.gitignore"), "*\n", PRIVATE),
    ];
    let mut messages = Vec::new();
    if let Some(postgres) = &request.postgres {
        let name = job_name(&postgres.facts.database);
        let (url, in_url) = split_password(&postgres.url)?;
        if in_url.is_some() {
            messages.push(
                "the password was taken out of the URL; your shell's history may still hold it: next time set `PGPASSWORD`"
                    .to_owned(),
            );
        }
        let password = in_url.or_else(|| postgres.password.clone());
        let password_file = password.as_ref().map(|_| format!("secrets/{name}.password"));
        if let (Some(password), Some(path)) = (&password, &password_file) {
            files.push(file(at(path), &format!("{}\n", password.expose()), PRIVATE));
            files.push(file(at("secrets/.gitignore"), "*\n", PRIVATE));
        }
        let job = job_file(&url, password_file.as_deref(), &postgres.facts);
        files.push(file(at(&format!("jobs/{name}.toml")), &job, PUBLIC));
    }
    messages.extend(closing_messages(request, tables.len()));
    Ok(InitPlan { files, messages })
}

fn file(path: PathBuf, content: &str, mode: u32) -> PlannedFile {
    PlannedFile { path, content: Secret::new(content), mode }
}

fn closing_messages(request: &InitRequest, targets: usize) -> Vec<String> {
    let identity = request.directory.join("keys/recovery.identity.txt");
    let mut messages = vec![
        format!("backups are encrypted to {}", request.key.recipient),
        format!(
            "KEEP A COPY OF `{}` OFF THIS MACHINE: without it no backup can ever be restored, and whoever has it reads all of them",
            identity.display()
        ),
        "a host that only backs up does not need it: once it is safe elsewhere, delete it here and `identity` in lifeboat.toml"
            .to_owned(),
    ];
    if request.targets.is_empty() {
        messages.push(
            "backups go into a folder on this machine: add a target elsewhere before you rely on them".to_owned(),
        );
    } else if targets == 1 {
        messages.push("there is one target: a second, independent one survives the loss of the first".to_owned());
    }
    if request.postgres.is_none() {
        messages
            .push("no job yet: describe a source in jobs/NAME.toml, or run `lifeboat init --postgres URL`".to_owned());
    }
    let config = request.directory.join("lifeboat.toml");
    messages.push(format!("next: lifeboat -c {} config check, then backup now", config.display()));
    messages
}

impl InitPlan {
    /// What `--dry-run` prints: each file with its mode and content; of a private file only that it is one.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            let content = if file.mode == PRIVATE { "(kept private)\n" } else { file.content.expose() };
            let _infallible = writeln!(text, "--- {} (mode {:04o})\n{content}", file.path.display(), file.mode);
        }
        text
    }

    /// Writes everything, or nothing: an error takes away what this call had written.
    pub fn apply(&self) -> Result<(), InitError> {
        // A look ahead gives the clear error; `create_new` below is what guarantees it.
        if let Some(file) = self.files.iter().find(|file| file.path.symlink_metadata().is_ok()) {
            return Err(InitError::Exists(file.path.clone()));
        }
        let mut written: Vec<&Path> = Vec::new();
        for file in &self.files {
            if let Err(error) = write(file) {
                for path in written {
                    // The first error is the one to report; what cannot be removed is complete and harmless.
                    drop(std::fs::remove_file(path));
                }
                return Err(error);
            }
            written.push(&file.path);
        }
        Ok(())
    }
}

fn write(file: &PlannedFile) -> Result<(), InitError> {
    use std::io::Write;
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let refusal = |why: std::io::Error| match why.kind() {
        std::io::ErrorKind::AlreadyExists => InitError::Exists(file.path.clone()),
        _ => InitError::Write { path: file.path.clone(), why },
    };
    if let Some(folder) = file.path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        // Folders above keep what the umask says; only the innermost may have to be private.
        if let Some(above) = folder.parent() {
            std::fs::create_dir_all(above).map_err(refusal)?;
        }
        let mode = if file.mode == PRIVATE { PRIVATE_FOLDER } else { PUBLIC_FOLDER };
        std::fs::DirBuilder::new().mode(mode).create(folder).map_err(refusal)?;
    }
    let mut out =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(file.mode).open(&file.path).map_err(refusal)?;
    out.write_all(file.content.expose().as_bytes()).and_then(|()| out.sync_all()).map_err(|why| {
        drop(std::fs::remove_file(&file.path));
        refusal(why)
    })
}
