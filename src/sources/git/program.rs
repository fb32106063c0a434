//! Runs `git`, away from whatever this machine's users have configured: no prompt, no hook, no helper but our own answer, no other
//! program than `ssh` and `git-lfs`, and no secret on a command line.
//!
//! Memory: one line of output, and the tail of standard error.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio_util::sync::CancellationToken;

use super::config::{Remote, Settings};
use super::hints;
use crate::config::{Environment, redact_text};
use crate::domain::Secret;
use crate::sources::SourceError;
use crate::system::process::{ProcessError, Program, Running, StdinKind};

/// For commands on local folders that answer at once.
const SHORT_LIMIT: Duration = Duration::from_mins(1);
/// A line of output is no longer: names of refs are limited to 4 KiB.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Of the caller's environment, what a way to the network may need.
const PASSED_ON: [&str; 12] = [
    "SSH_AUTH_SOCK",
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "no_proxy",
    "NO_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
];

/// `git` with settings of our own.
#[derive(Debug, Clone)]
pub(super) struct Git {
    home: PathBuf,
    cancel: CancellationToken,
    /// `GIT_SSH_COMMAND`.
    ssh: String,
    token: Option<Secret>,
    token_user: String,
    tls_ca: Option<PathBuf>,
    /// What `http.extraHeader` says.
    header: Option<Secret>,
    pub(super) answer_limit: Duration,
    pub(super) stall_limit: Duration,
}

impl Git {
    /// Writes the settings below `work`.
    pub(super) fn prepare(work: &Path, cancel: CancellationToken) -> Result<Self, SourceError> {
        let home = work.join("git-home");
        let written = std::fs::create_dir_all(&home).and_then(|()| std::fs::write(home.join("config"), CONFIG));
        written.map_err(|error| failed("settings for git", error.to_string(), "make room in the state folder"))?;
        Ok(Self {
            home,
            cancel,
            ssh: "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes".to_owned(),
            token: None,
            token_user: String::new(),
            tls_ca: None,
            header: None,
            answer_limit: SHORT_LIMIT,
            stall_limit: SHORT_LIMIT,
        })
    }

    /// With what a job says of its remotes.
    pub(super) async fn with(mut self, settings: &Settings) -> Result<Self, SourceError> {
        use base64::Engine;
        self.answer_limit = settings.answer_limit;
        self.stall_limit = settings.stall_limit;
        self.ssh += " -oServerAliveInterval=15 -oServerAliveCountMax=8 -oConnectTimeout=30";
        self.tls_ca.clone_from(&settings.tls_ca);
        if let Some(key) = &settings.ssh_key {
            self.ssh += &format!(" -oIdentitiesOnly=yes -i {}", quoted(key));
        }
        if let Some(hosts) = &settings.ssh_known_hosts {
            // `ssh` divides the value once more.
            self.ssh += &format!(" {}", quoted(Path::new(&format!("-oUserKnownHostsFile=\"{}\"", hosts.display()))));
        }
        if let Some(reference) = &settings.token {
            let token = reference
                .resolve()
                .await
                .map_err(|error| failed("token", error.to_string(), "`token` names where the token is"))?;
            let login = format!("{}:{}", settings.token_user, token.expose());
            let login = base64::engine::general_purpose::STANDARD.encode(login);
            self.header = Some(Secret::new(format!("Authorization: Basic {login}")));
            self.token = Some(token);
            self.token_user.clone_from(&settings.token_user);
        }
        Ok(self)
    }

    /// `git` with these arguments.
    pub(super) fn program<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Program {
        let environment = Environment::process();
        let mut program = Program::new("git").clear_env().args(arguments).directory(&self.home);
        for (name, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", ""),
            ("GIT_OPTIONAL_LOCKS", "0"),
            // A replaced object is to be backed up as it is.
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
            ("LC_ALL", "C"),
        ] {
            program = program.env(name, value);
        }
        for name in PASSED_ON {
            if let Some(value) = environment.filled(name) {
                program = program.env(name, value);
            }
        }
        if let Some(file) = &self.tls_ca {
            program = program.env("GIT_SSL_CAINFO", file.display().to_string());
        }
        program
            .env("HOME", self.home.display().to_string())
            .env("GIT_CONFIG_GLOBAL", self.home.join("config").display().to_string())
            .env("GIT_SSH_COMMAND", &self.ssh)
    }

    /// The same in a repository.
    pub(super) fn at(&self, folder: &Path, arguments: &[&str]) -> Program {
        let mut directory = std::ffi::OsString::from("--git-dir=");
        directory.push(folder);
        self.program(std::iter::once(directory.as_os_str()).chain(arguments.iter().map(OsStr::new)))
    }

    /// Adds what `remote` needs to let us in. The token goes with the first request: some servers show less to strangers instead of
    /// asking who it is.
    pub(super) fn towards(&self, program: Program, remote: &Remote) -> Program {
        let mut pairs =
            vec![("http.lowSpeedTime".to_owned(), Secret::new(self.stall_limit.as_secs().max(1).to_string()))];
        if let (Some(scope), Some(header)) = (remote.token_scope(), &self.header) {
            pairs.push((format!("http.{scope}.extraHeader"), header.clone()));
        }
        set(program, pairs)
    }

    /// The same for git-lfs. It would send such a header beside the one that a server names for each object, and be refused for two
    /// (git-lfs #4889), so that it is told the token when it asks.
    pub(super) fn towards_large(&self, program: Program, remote: &Remote) -> Program {
        let plain = |text: &str| Secret::new(text.to_owned());
        let mut pairs = vec![("lfs.transfer.maxRetries".to_owned(), plain("2"))];
        let (Some(scope), Some(token)) = (remote.token_scope(), &self.token) else { return set(program, pairs) };
        pairs.push((format!("credential.{scope}.helper"), plain(ANSWER)));
        pairs.push((format!("lfs.{scope}.access"), plain("basic")));
        let program = program.env("LIFEBOAT_TOKEN_USER", &self.token_user).secret_env("LIFEBOAT_TOKEN", token.clone());
        set(program, pairs)
    }

    /// What a command says whose output is small, within the limit for local folders.
    pub(super) async fn small(&self, program: Program) -> Result<Vec<u8>, GitError> {
        self.within(SHORT_LIMIT, program).await
    }

    pub(super) async fn within(&self, limit: Duration, program: Program) -> Result<Vec<u8>, GitError> {
        self.unless_cancelled(async { Ok(program.run(limit).await?) }).await
    }

    /// Gives up once cancelled; what runs is killed as it is dropped.
    pub(super) async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, GitError>>,
    ) -> Result<T, GitError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(GitError::Cancelled),
            result = work => result,
        }
    }

    /// Hands over every line of output, without its end, and `input` to the child meanwhile.
    pub(super) async fn lines(
        &self,
        program: &Program,
        input: Option<&[u8]>,
        mut take: impl FnMut(&[u8]) -> Result<(), GitError>,
    ) -> Result<(), GitError> {
        let mut running = program.start(if input.is_some() { StdinKind::Piped } else { StdinKind::Null })?;
        let stdin = running.stdin.take();
        let feed = async {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A child that ends early says why by its status.
                drop(stdin.write_all(input).await);
                drop(stdin.shutdown().await);
            }
        };
        let work = async {
            let read = async {
                let mut reader = BufReader::with_capacity(64 << 10, running.stdout.take().expect("it was piped"));
                each_line(&mut reader, &mut take).await
            };
            let ((), read) = tokio::join!(feed, read);
            running.finish().await?;
            read
        };
        self.unless_cancelled(work).await
    }

    /// The error of a repository, without the secret.
    pub(super) fn told(&self, what: &str, error: GitError, hint: &str) -> SourceError {
        let why = match error {
            GitError::Cancelled => return SourceError::Cancelled,
            GitError::Process(ProcessError::Start { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return no_git();
            }
            GitError::Process(error) => error.to_string(),
            GitError::Said(why) => why,
        };
        let mut why = redact_text(&why);
        for secret in [&self.token, &self.header].into_iter().flatten() {
            why = why.replace(secret.expose(), "[redacted]");
        }
        let lines: Vec<&str> = why.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let hint = hints::hint(&why).unwrap_or(hint);
        failed(what, lines.join("; "), hint)
    }
}

/// Settings by environment, where nobody else sees them.
fn set(program: Program, pairs: Vec<(String, Secret)>) -> Program {
    let mut program = program.env("GIT_CONFIG_COUNT", pairs.len().to_string());
    for (at, (key, value)) in pairs.into_iter().enumerate() {
        program = program.env(&format!("GIT_CONFIG_KEY_{at}"), key);
        program = program.secret_env(&format!("GIT_CONFIG_VALUE_{at}"), value);
    }
    program
}

pub(super) async fn each_line(
    reader: &mut (impl tokio::io::AsyncBufRead + Unpin),
    take: &mut impl FnMut(&[u8]) -> Result<(), GitError>,
) -> Result<(), GitError> {
    use tokio::io::AsyncReadExt;
    let mut line = vec![];
    loop {
        line.clear();
        let read = reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await;
        if read.map_err(|error| GitError::Said(error.to_string()))? == 0 {
            return Ok(());
        }
        let Some(line) = line.strip_suffix(b"\n") else {
            return Err(GitError::Said("its output was cut short".to_owned()));
        };
        take(line)?;
    }
}

/// A child that is fed by us to its end.
pub(super) async fn ended(mut running: Running) -> Result<(), GitError> {
    Ok(running.finish().await?)
}

#[derive(Debug)]
pub(super) enum GitError {
    Process(ProcessError),
    /// What is wrong with what it said.
    Said(String),
    Cancelled,
}

impl From<ProcessError> for GitError {
    fn from(error: ProcessError) -> Self {
        Self::Process(error)
    }
}

pub(super) fn no_git() -> SourceError {
    failed("git", "it is not installed".to_owned(), "install `git`, 2.32 or later")
}

pub(super) fn failed(what: &str, why: String, hint: &str) -> SourceError {
    SourceError::Failed { what: what.to_owned(), why, hint: hint.to_owned() }
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// What git runs to ask for a login: the shell answers with what its environment holds.
const ANSWER: &str = r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$LIFEBOAT_TOKEN_USER" "$LIFEBOAT_TOKEN"; :; }; f"#;

/// What git is set to, whatever else this machine says. `safe.directory`: whoever a repository belongs to, nothing of its settings
/// is run by what we call.
const CONFIG: &str = "\
[safe]
\tdirectory = *
[core]
\thooksPath = /dev/null
\tfsmonitor = false
\tattributesFile = /dev/null
\texcludesFile = /dev/null
\tlogAllRefUpdates = false
[protocol]
\tversion = 2
[protocol \"ext\"]
\tallow = never
[gc]
\tauto = 0
[maintenance]
\tauto = false
[fetch]
\tunpackLimit = 1
\trecurseSubmodules = false
\twriteCommitGraph = false
[transfer]
\tunpackLimit = 1
[submodule]
\trecurse = false
[http]
\tlowSpeedLimit = 1
[credential]
\thelper =
[init]
\tdefaultBranch = main
[advice]
\tdetachedHead = false
";
