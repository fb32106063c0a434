//! A command of a user's own: whatever it does, it and its process group end with us, and half a stream never looks whole.
//!
//! A shell starts a watcher in the command's own group and then becomes the command, so that the command's status is the child's.
//! The watcher reads a pipe that only we write to, which the kernel closes however we end: it then ends the group. Of a command
//! that is fed it also holds the writing end of the command's input, so that the command cannot take our death for the end of the
//! stream.
//!
//! What leaves the group by `setsid` is out of reach here. Memory: the tail of what it says, [`STDERR_TAIL_BYTES`], and one
//! buffer for reading it.

use std::io::{PipeReader, PipeWriter, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Sender;
use tokio::process::{Child, ChildStdout};
use tokio::task::JoinHandle;

use super::{ProcessError, Program, STDERR_TAIL_BYTES, TERM_GRACE};

/// Standard input is the pipe that tells of our end; the command itself reads nothing. It may clean up before it is killed.
const DUMPED: &str = "( exec 3<&0 </dev/null >/dev/null 2>&1; trap '' HUP INT TERM; PATH=/usr/bin:/bin
{ read -r word <&3; kill -TERM 0; sleep 3; kill -KILL 0; } & )
exec \"$@\" </dev/null";

/// Standard output is that pipe; what the command prints goes where its errors go. It is killed at once: one that ends in
/// order might keep what it has.
const FED: &str = "hold=/dev/null; [ -w /proc/self/fd/0 ] && hold=/proc/self/fd/0
( exec 3<&1 4>\"$hold\" </dev/null >/dev/null 2>&1; trap '' HUP INT TERM
{ read -r word <&3 && [ \"$word\" = end ] && exec 4>&- && read -r word <&3; kill -KILL 0; } & )
exec \"$@\" >&2";

/// How often an end is looked for.
const POLL: Duration = Duration::from_millis(10);
/// How long, after a command has ended, its last words may take to arrive.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(500);

/// The end of what a command said on standard error, and on standard output where that was not asked for.
#[derive(Debug, Clone, Default)]
pub struct Said {
    pub bytes: Vec<u8>,
    /// It had said more before.
    pub cut: bool,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub said: Said,
}

impl Ended {
    /// `exited 3`, `was ended by signal 9`.
    pub fn how(&self) -> String {
        super::how(self.status)
    }

    /// As a shell would tell it, for a signal too.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }
}

/// A command that runs. Dropping it ends its process group.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
    group: Option<Pid>,
    /// Of a command that is dumped.
    pub stdout: Option<ChildStdout>,
    /// Of a command that is fed; closed by [`end_input`](Self::end_input).
    pub stdin: Option<Sender>,
    /// Holds the input open, and knows how much of it nobody has read.
    unread: Option<PipeReader>,
    lifeline: PipeWriter,
    fed: bool,
    said: Arc<Mutex<Said>>,
    tail: JoinHandle<()>,
}

impl Program {
    /// Starts a command whose standard output is read.
    pub fn start_dumped(&self) -> Result<Guarded, ProcessError> {
        let failed = |source| ProcessError::Start { program: self.name(), source };
        let (reader, lifeline) = std::io::pipe().map_err(failed)?;
        let mut command = tokio::process::Command::from(self.under(DUMPED).command());
        command.stdin(Stdio::from(reader)).stdout(Stdio::piped());
        self.guard(command, lifeline, None)
    }

    /// Starts a command that is written to.
    pub fn start_fed(&self) -> Result<Guarded, ProcessError> {
        let failed = |source| ProcessError::Start { program: self.name(), source };
        let (reader, lifeline) = std::io::pipe().map_err(failed)?;
        let (input, output) = std::io::pipe().map_err(failed)?;
        let sender = Sender::from_owned_fd(output.into()).map_err(failed)?;
        let mut command = tokio::process::Command::from(self.under(FED).command());
        command.stdin(Stdio::from(input.try_clone().map_err(failed)?)).stdout(Stdio::from(reader));
        self.guard(command, lifeline, Some((sender, input)))
    }

    fn under(&self, script: &str) -> Self {
        let mut guarded = self.clone();
        guarded.args = ["-c", script, "lifeboat"].map(Into::into).to_vec();
        guarded.args.push(self.path.clone().into_os_string());
        guarded.args.extend(self.args.iter().cloned());
        guarded.path = "/bin/sh".into();
        guarded
    }

    fn guard(
        &self,
        mut command: tokio::process::Command,
        lifeline: PipeWriter,
        input: Option<(Sender, PipeReader)>,
    ) -> Result<Guarded, ProcessError> {
        let spawned = command.stderr(Stdio::piped()).spawn();
        // It holds copies of the pipes' ends, whose closing must be seen.
        drop(command);
        let mut child = spawned.map_err(|source| ProcessError::Start { program: self.name(), source })?;
        let mut stderr = child.stderr.take().expect("stderr was piped just now");
        let said = Arc::new(Mutex::new(Said::default()));
        let keep = Arc::clone(&said);
        let tail = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
                let mut said = keep.lock().unwrap_or_else(PoisonError::into_inner);
                said.bytes.extend_from_slice(&buffer[..read]);
                if said.bytes.len() > STDERR_TAIL_BYTES {
                    let surplus = said.bytes.len() - STDERR_TAIL_BYTES;
                    said.bytes.drain(..surplus);
                    said.cut = true;
                }
            }
        });
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let fed = input.is_some();
        let (stdin, unread) = input.unzip();
        Ok(Guarded { stdout: child.stdout.take(), child, group, stdin, unread, lifeline, fed, said, tail })
    }
}

impl Guarded {
    /// Returns once the command itself has ended. It is not reaped yet, so its id, and its group's, cannot be another's.
    pub async fn exited(&self) {
        let Some(pid) = self.group else { return };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), options), Ok(None)) {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Lets the command see the end of what it is fed.
    pub fn end_input(&mut self) -> std::io::Result<()> {
        // The watcher first: as long as it holds the input open, nothing has ended.
        self.stdin = None;
        self.lifeline.write_all(b"end\n")
    }

    /// How much of what it was fed it did not read. Asked once it has ended.
    pub fn unread_bytes(&self) -> u64 {
        self.unread.as_ref().and_then(|input| rustix::io::ioctl_fionread(input).ok()).unwrap_or(0)
    }

    /// Waits for its end, and ends what it left running in its group.
    pub async fn end(&mut self) -> Result<Ended, ProcessError> {
        self.exited().await;
        // Something else may hold standard error open for ever.
        let heard = tokio::time::timeout(LAST_WORDS_LIMIT, &mut self.tail).await;
        self.signal(Signal::KILL);
        let status =
            self.child.wait().await.map_err(|source| ProcessError::Io { program: "command".to_owned(), source })?;
        self.group = None;
        if heard.is_err() {
            self.tail.abort();
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Ended { status, said })
    }

    /// Ends it now: one that is dumped is asked first. `None` where it cannot even be reaped.
    pub async fn stop(&mut self) -> Option<Ended> {
        if !self.fed {
            self.signal(Signal::TERM);
            // What does not listen is killed.
            drop(tokio::time::timeout(TERM_GRACE, self.exited()).await);
        }
        self.signal(Signal::KILL);
        self.end().await.ok()
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // A group that is already gone is what we want.
            kill_process_group(group, signal).ok();
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Of one that is dumped the watcher asks first, as soon as our end of its pipe closes; asked twice, a command would be
        // disturbed while it cleans up.
        if self.fed {
            self.signal(Signal::KILL);
        }
        self.tail.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn shell(script: &str) -> Program {
        Program::new("/bin/sh").args(["-c", script])
    }

    /// Whether any process of this group is left, zombies aside.
    fn group_runs(group: Pid) -> bool {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        stats.filter_map(|stat| Some(stat[stat.rfind(')')? + 2..].to_owned())).any(|rest| {
            let fields: Vec<&str> = rest.split(' ').collect();
            fields[0] != "Z" && fields[2] == group.as_raw_nonzero().get().to_string()
        })
    }

    async fn gone(group: Pid, limit: Duration) {
        let gone = async {
            while group_runs(group) {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(limit, gone).await.expect("the group outlives its guard");
    }

    #[tokio::test]
    async fn a_command_ends_with_its_own_status_and_last_words_and_leaves_nothing_in_its_group() {
        let mut command = shell("sleep 60 & echo out; echo err >&2; exit 3").start_dumped().unwrap();
        let group = command.group.unwrap();
        let ended = command.end().await.unwrap();
        assert_eq!((ended.code(), ended.how().as_str()), (3, "exited 3"));
        assert_eq!(ended.said.bytes, b"err\n");
        gone(group, Duration::from_secs(2)).await;
    }

    #[tokio::test]
    async fn a_dropped_command_that_does_not_listen_is_killed_with_its_group() {
        let command = shell("trap '' TERM; sleep 60 & while :; do sleep 1; done").start_dumped().unwrap();
        let group = command.group.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(group_runs(group));
        drop(command);
        gone(group, Duration::from_secs(8)).await;
    }

    #[tokio::test]
    async fn a_command_that_is_fed_never_takes_a_dropped_guard_for_the_end_of_its_input() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = shell("cat > got; echo whole > end").directory(folder.path()).start_fed().unwrap();
        let group = command.group.unwrap();
        command.stdin.as_mut().unwrap().write_all(b"half").await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(command);
        gone(group, Duration::from_secs(2)).await;
        assert!(!folder.path().join("end").exists());
    }

    #[tokio::test]
    async fn what_a_fed_command_did_not_read_is_counted() {
        for (script, unread) in [("cat >/dev/null", 0), ("head -c 3 >/dev/null", 7), ("exit 0", 10)] {
            // `head` reads more than it takes from a pipe; `dd` does not.
            let script = script.replace("head -c 3", "dd bs=1 count=3 status=none");
            let mut command = shell(&script).start_fed().unwrap();
            command.stdin.as_mut().unwrap().write_all(b"0123456789").await.unwrap();
            command.end_input().unwrap();
            command.exited().await;
            assert_eq!(command.unread_bytes(), unread, "{script}");
            assert_eq!(command.end().await.unwrap().code(), 0);
        }
    }
}
