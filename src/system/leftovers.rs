//! Finds and ends processes by where they live: what a killed parent left behind in a folder of ours.
//!
//! A server's processes work in its data directory, so the folder tells them apart where process ids are reused and where
//! they have left their parent's process group (Postgres backends do). Reads `/proc`; finds nothing where there is none.

use std::path::Path;
use std::time::{Duration, Instant};

/// How long killed processes may take to vanish.
const GONE_LIMIT: Duration = Duration::from_secs(5);

/// A process, told apart from a later one with the same id by when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessMark {
    pub id: u32,
    /// Clock ticks since the machine started; field 22 of `/proc/<id>/stat`.
    pub started: u64,
}

impl ProcessMark {
    pub fn of_this_process() -> Self {
        let id = std::process::id();
        Self { id, started: started(id).unwrap_or(0) }
    }

    /// Whether that very process still runs; without `/proc`, whether any of that id does.
    pub fn runs(self) -> bool {
        if Path::new("/proc/self/stat").exists() {
            return started(self.id) == Some(self.started);
        }
        i32::try_from(self.id)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .is_some_and(|id| rustix::process::test_kill_process(id) != Err(rustix::io::Errno::SRCH))
    }
}

/// When process `id` started; `None` when there is none, or only its exit status is left.
fn started(id: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, so what counts comes after the last one.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The processes whose working directory is `folder` or below it, without ourselves.
pub fn processes_in(folder: &Path) -> Vec<u32> {
    let Ok(folder) = folder.canonicalize() else { return vec![] };
    let Ok(entries) = std::fs::read_dir("/proc") else { return vec![] };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|id| *id != std::process::id())
        .filter(|id| std::fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|at| at.starts_with(&folder)))
        .collect()
}

/// Kills them and waits until they are gone; says how many there were. Blocks for at most [`GONE_LIMIT`].
pub fn kill_processes_in(folder: &Path) -> usize {
    let start = Instant::now();
    let mut killed = std::collections::BTreeSet::new();
    loop {
        // Listed again each time: a server that is not dead yet may have forked.
        let left = processes_in(folder);
        if left.is_empty() || start.elapsed() > GONE_LIMIT {
            return killed.len();
        }
        for id in left {
            killed.insert(id);
            if let Some(id) = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw) {
                // One that has gone meanwhile is what we want.
                let _gone = rustix::process::kill_process(id, rustix::process::Signal::KILL);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::process::{Program, StdinKind};

    #[tokio::test]
    async fn a_process_is_found_by_its_folder_and_killed_though_it_left_its_group() {
        let folder = tempfile::tempdir().unwrap();
        let script = "setsid sleep 60 & echo $!; wait";
        let mut parent =
            Program::new("sh").args(["-c", script]).directory(folder.path()).start(StdinKind::Null).unwrap();
        while processes_in(folder.path()).len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(kill_processes_in(folder.path()) >= 2);
        assert_eq!(processes_in(folder.path()), Vec::<u32>::new());
        assert!(parent.finish().await.is_err());
    }

    #[test]
    fn a_process_that_started_at_another_time_is_another_process() {
        let us = ProcessMark::of_this_process();
        assert!(us.runs());
        assert!(!ProcessMark { started: us.started + 1, ..us }.runs());
    }
}
