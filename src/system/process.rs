//! Child processes: each in a group of its own, killed as a group, its last words kept for the error.
//!
//! A child never gets a secret on its command line: [`Program::secret_env`] passes it by environment, which `Debug` hides.
//! Memory: the tail of standard error is bounded by [`STDERR_TAIL_BYTES`].

mod find;
mod guarded;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;

pub use self::find::{NotFound, find};
pub use self::guarded::{Ended, Guarded, Said};
use super::user::ServerUser;
use crate::domain::Secret;

/// How much of a child's standard error an error may quote.
pub const STDERR_TAIL_BYTES: usize = 8 << 10;
/// How long a terminated group may take before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("`{program}` could not be started: {source}")]
    Start { program: String, source: std::io::Error },
    #[error("`{program}` {how}: {stderr}")]
    Failed { program: String, how: String, stderr: String },
    #[error("`{program}` did not finish within {secs} s and was killed")]
    TimedOut { program: String, secs: u64 },
    #[error("reading from `{program}`: {source}")]
    Io { program: String, source: std::io::Error },
}

/// A command line, built up and then started or run.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    secret_env: Vec<(String, Secret)>,
    user: Option<ServerUser>,
    directory: Option<PathBuf>,
    clear_env: bool,
}

impl Program {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            args: vec![],
            env: vec![],
            secret_env: vec![],
            user: None,
            directory: None,
            clear_env: false,
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn secret_env(mut self, name: &str, value: Secret) -> Self {
        self.secret_env.push((name.to_owned(), value));
        self
    }

    /// Starts from an empty environment but for `PATH`, so that a stray `PGHOST` or `PGOPTIONS` changes nothing.
    #[must_use]
    pub fn clear_env(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// After [`clear_env`](Self::clear_env): hands on these variables of ours, where they are set.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this room reads the environment")]
    pub fn pass_env(mut self, names: &[&str]) -> Self {
        let set = names.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        self.env.extend(set);
        self
    }

    /// Runs as this user; `None` runs as ourselves.
    #[must_use]
    pub fn user(mut self, user: Option<ServerUser>) -> Self {
        self.user = user;
        self
    }

    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns and reads PATH for children")]
    fn command(&self) -> std::process::Command {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new(&self.path);
        if self.clear_env {
            command.env_clear();
            if let Some(path) = std::env::var_os("PATH") {
                command.env("PATH", path);
            }
        }
        command.args(&self.args).process_group(0);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.envs(self.secret_env.iter().map(|(name, value)| (name, value.expose())));
        if let Some(user) = &self.user {
            // The standard library drops root's supplementary groups when a uid is set.
            command.uid(user.uid).gid(user.gid);
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    /// Starts the child with its standard output piped to us; standard input piped if asked for, else closed.
    pub fn start(&self, stdin: StdinKind) -> Result<Running, ProcessError> {
        let name = self.name();
        let mut command = tokio::process::Command::from(self.command());
        command
            .stdin(match stdin {
                StdinKind::Null => Stdio::null(),
                StdinKind::Piped => Stdio::piped(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| ProcessError::Start { program: name.clone(), source })?;
        let mut stderr = child.stderr.take().expect("stderr was piped just now");
        let tail = tokio::spawn(async move {
            let mut tail = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(read) = stderr.read(&mut buffer).await {
                if read == 0 {
                    break;
                }
                tail.extend_from_slice(&buffer[..read]);
                if tail.len() > STDERR_TAIL_BYTES {
                    tail.drain(..tail.len() - STDERR_TAIL_BYTES);
                }
            }
            String::from_utf8_lossy(&tail).trim().to_owned()
        });
        Ok(Running {
            name,
            group: child.id(),
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            child,
            tail: Some(tail),
        })
    }

    /// Runs to the end and returns standard output; an exit other than 0 is an error with the last of standard error.
    ///
    /// Standard output is held in memory: use it for commands whose output is small.
    pub async fn run(&self, limit: Duration) -> Result<Vec<u8>, ProcessError> {
        let mut running = self.start(StdinKind::Null)?;
        let name = running.name.clone();
        let mut stdout = running.stdout.take().expect("stdout was piped just now");
        let work = async {
            let mut output = Vec::new();
            stdout
                .read_to_end(&mut output)
                .await
                .map_err(|source| ProcessError::Io { program: name.clone(), source })?;
            running.finish().await?;
            Ok(output)
        };
        match tokio::time::timeout(limit, work).await {
            Ok(result) => result,
            Err(_) => Err(ProcessError::TimedOut { program: name, secs: limit.as_secs() }),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdinKind {
    Null,
    Piped,
}

/// A child that runs. Dropping it kills its whole process group.
#[derive(Debug)]
pub struct Running {
    name: String,
    group: Option<u32>,
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<ChildStdout>,
    child: Child,
    tail: Option<JoinHandle<String>>,
}

impl Running {
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the end; any status but success is an error with the last of standard error.
    pub async fn finish(&mut self) -> Result<(), ProcessError> {
        self.stdin = None;
        let status =
            self.child.wait().await.map_err(|source| ProcessError::Io { program: self.name.clone(), source })?;
        self.group = None;
        let stderr = match self.tail.take() {
            Some(tail) => tail.await.unwrap_or_default(),
            None => String::new(),
        };
        if status.success() {
            Ok(())
        } else {
            Err(ProcessError::Failed { program: self.name.clone(), how: how(status), stderr })
        }
    }

    /// Whether the child has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks the group to end, then kills it.
    pub async fn stop(&mut self, first: rustix::process::Signal) {
        self.signal(first);
        if tokio::time::timeout(TERM_GRACE, self.child.wait()).await.is_err() {
            self.signal(rustix::process::Signal::KILL);
            // The group has been killed; nothing is left to do when reaping it fails.
            drop(self.child.wait().await);
        }
        self.group = None;
    }

    /// Lets the child live on after we are gone.
    pub fn detach(mut self) {
        self.group = None;
    }

    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(group) = self.group.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw) {
            // A group that is already gone is what we want.
            rustix::process::kill_process_group(group, signal).ok();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(rustix::process::Signal::KILL);
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended for an unknown reason".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_child_that_fails_is_quoted_with_its_status_and_last_words() {
        let program = Program::new("sh").args(["-c", "echo no such relation >&2; exit 3"]);
        let error = program.run(LIMIT).await.unwrap_err().to_string();
        assert_eq!(error, "`sh` exited 3: no such relation");
    }

    #[tokio::test]
    async fn a_timed_out_child_takes_its_whole_group_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("alive");
        let script = format!("(while :; do date >> {0}; sleep 0.05; done) & wait", file.display());
        let program = Program::new("sh").args(["-c", &script]);
        assert!(matches!(program.run(Duration::from_millis(300)).await, Err(ProcessError::TimedOut { .. })));
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = std::fs::metadata(&file).unwrap().len();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(std::fs::metadata(&file).unwrap().len(), before, "the grandchild still writes");
    }

    #[tokio::test]
    async fn a_secret_reaches_the_child_by_environment_and_no_debug_output_shows_it() {
        let program = Program::new("sh")
            .args(["-c", "printf %s \"$PGPASSWORD\""])
            .secret_env("PGPASSWORD", Secret::new("hunter2"));
        assert!(!format!("{program:?}").contains("hunter2"));
        assert_eq!(program.run(LIMIT).await.unwrap(), b"hunter2");
    }
}
