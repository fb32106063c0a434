//! The shell that stands between us and a private server, so that the server ends however we do.

use std::path::Path;

use rustix::process::Signal;

use crate::system::process::Program;

/// Runs the server, logs to `LOG`, and ends it by `SIGNAL` when the pipe on standard input closes, which the kernel does for us
/// however we end. It is sent until the server has gone: one that is just starting still ignores it, because a shell starts what runs
/// beside it so. The word `keep` on the pipe lets it run on. `LIMIT` bounds the address space in KiB.
const GUARD: &str = "exec 2>>\"$LOG\" 3<&0\n\
    if [ -n \"$LIMIT\" ]; then ulimit -v \"$LIMIT\"; fi\n\
    \"$@\" </dev/null >&2 3<&- &\n\
    server=$!\n\
    { read -r word <&3; [ \"$word\" = keep ] || while kill -\"$SIGNAL\" $server; do sleep 0.1; done; } 2>/dev/null &\n\
    reader=$!\n\
    wait $server; status=$?\n\
    kill $reader\n\
    exit $status\n";

/// The log in a server's folder.
pub(super) const LOG: &str = "log";
/// How much of the server's log an error may quote.
const LOG_TAIL_BYTES: usize = 2048;

/// The guard without the server's own command line, which the caller adds. `limit` bounds each process's address space, bytes.
pub(super) fn program(folder: &Path, signal: Signal, limit: Option<u64>) -> Program {
    Program::new("sh")
        .args(["-c", GUARD, "guard"])
        .clear_env()
        .env("LOG", folder.join(LOG).display().to_string())
        .env("LIMIT", limit.map(|bytes| (bytes >> 10).to_string()).unwrap_or_default())
        .env("SIGNAL", signal.as_raw().to_string())
        .directory(folder)
}

/// The last words of the server's log.
pub(super) async fn last_words(folder: &Path) -> String {
    let log = tokio::fs::read(folder.join(LOG)).await.unwrap_or_default();
    String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::system::process::StdinKind;

    #[tokio::test]
    async fn a_server_that_does_not_listen_to_a_signal_yet_ends_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let late = "trap '' TERM; echo deaf; sleep 0.5; trap - TERM; echo listening; while :; do sleep 0.05; done";
        let mut running =
            program(folder.path(), Signal::TERM, None).args(["sh", "-c", late]).start(StdinKind::Piped).unwrap();
        let started = Instant::now();
        while !last_words(folder.path()).await.contains("deaf") {
            assert!(started.elapsed() < Duration::from_secs(10), "it does not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(running.stdin.take());
        let ended = tokio::time::timeout(Duration::from_secs(10), running.finish()).await;
        assert!(ended.is_ok(), "it runs on: {}", last_words(folder.path()).await);
    }
}
