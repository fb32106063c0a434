//! What the test servers of every engine share: a folder that the server's user owns, the programs, and a guard.
//!
//! A server's life hangs on a pipe that only the test holds, so it ends however the test does, also by `kill -9`.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lifeboat::system::user;

const START_LIMIT: Duration = Duration::from_mins(1);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Runs the server; ends it at once when the pipe to the test closes, and itself when the server ends.
const GUARD: &str = "exec 2>>\"$LOG\" 3<&0; \"$@\" </dev/null >&2 3<&- & server=$!; \
    { read -r _ <&3; while kill -\"$SIGNAL\" $server; do sleep 0.1; done; } 2>/dev/null & reader=$!; \
    wait $server; status=$?; kill $reader; exit $status";

/// A server that runs. Dropping it ends it at once, as a crash would.
pub(crate) struct Guarded {
    guard: Child,
}

impl Guarded {
    /// Starts what `server` adds to the command line, and waits until it is `ready`. `signal` ends it: `QUIT`.
    pub(crate) fn start(signal: &str, log: &Path, server: impl FnOnce(&mut Command), ready: impl Fn() -> bool) -> Self {
        Self::run(as_server(Path::new("sh")), signal, log, server, ready)
    }

    /// The same as whoever runs the tests, for servers that do not mind root.
    pub(crate) fn start_as_caller(log: &Path, server: impl FnOnce(&mut Command), ready: impl Fn() -> bool) -> Self {
        Self::run(plain(Path::new("sh")), "KILL", log, server, ready)
    }

    fn run(
        mut command: Command,
        signal: &str,
        log: &Path,
        server: impl FnOnce(&mut Command),
        ready: impl Fn() -> bool,
    ) -> Self {
        command.args(["-c", GUARD, "guard"]).env("LOG", log).env("SIGNAL", signal);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        server(&mut command);
        let mut started = Self { guard: command.spawn().unwrap() };
        let start = Instant::now();
        while !ready() {
            let ended = started.guard.try_wait().unwrap();
            let said = || std::fs::read_to_string(log).unwrap_or_default();
            assert!(ended.is_none() && start.elapsed() < START_LIMIT, "no server: {ended:?}\n{}", said());
            std::thread::sleep(Duration::from_millis(5));
        }
        started
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let start = Instant::now();
        while self.guard.try_wait().unwrap().is_none() {
            if start.elapsed() > STOP_LIMIT {
                let group = rustix::process::Pid::from_child(&self.guard);
                let _gone_already = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A folder that the server's user owns, with a path short enough for a socket.
pub(crate) fn folder(prefix: &str) -> tempfile::TempDir {
    let root = tempfile::Builder::new().prefix(prefix).tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    user::give(root.path(), user::server_user().as_ref()).unwrap();
    root
}

/// A program with nothing of the caller's environment but the `PATH`.
#[expect(clippy::disallowed_methods, reason = "tests are synchronous and run the engine's own tools")]
pub(crate) fn plain(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C.UTF-8");
    command.current_dir("/");
    command
}

/// The same as the user that servers run as.
pub(crate) fn as_server(program: &Path) -> Command {
    let mut command = plain(program);
    if let Some(user) = user::server_user() {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

/// What a command says that must succeed.
pub(crate) fn output(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Command lines of what runs now and has these words in its own.
pub(crate) fn running(words: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(words)).collect()
}
