//! Half-written files: how they are named, finished, and recognised when their writer is gone.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

/// A leading dot: no object's key has one, so listings cannot show a part and no object can collide with one.
pub(super) const PART_PREFIX: &str = ".part-";
/// When a part whose writer cannot be asked (another machine, another container) counts as left behind.
const STALE_AFTER: Duration = Duration::from_hours(24);

/// A synced file that is not in its place yet. Dropping it removes it.
#[derive(Debug)]
pub(super) struct PartFile {
    path: PathBuf,
    /// Whether the file is still at `path`.
    there: bool,
}

impl PartFile {
    /// Writes and syncs `.part-<machine>-<process>-<random>` in `folder`.
    pub(super) fn write(folder: &Path, bytes: &[u8]) -> io::Result<Self> {
        let name = format!("{PART_PREFIX}{}-{}-{:016x}", *MACHINE, std::process::id(), rand::random::<u64>());
        let path = folder.join(name);
        let mut file = File::options().write(true).create_new(true).open(&path)?;
        let part = Self { path, there: true };
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(part)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn rename_to(mut self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)?;
        self.there = false;
        Ok(())
    }

    pub(super) fn remove(mut self) -> io::Result<()> {
        self.there = false;
        std::fs::remove_file(&self.path)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if self.there
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "could not remove a half-written file");
        }
    }
}

/// Whether the part's writer is gone: dead on this machine, or older than a day anywhere.
///
/// `now` is by the clock that also stamped the part, which on a network share is the server's.
pub(super) fn is_stale(path: &Path, now: SystemTime) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(rest) = name.strip_prefix(PART_PREFIX) else { return false };
    let mut fields = rest.split('-');
    if fields.next() == Some(MACHINE.as_str())
        && let Some(process) = fields.next().and_then(|text| text.parse().ok())
        && !is_running(process)
    {
        return true;
    }
    let modified = std::fs::symlink_metadata(path).and_then(|found| found.modified());
    modified.is_ok_and(|modified| now.duration_since(modified).is_ok_and(|age| age > STALE_AFTER))
}

/// Its writer may finish or remove it at the same moment.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn is_running(process: i32) -> bool {
    let Some(process) = rustix::process::Pid::from_raw(process) else { return false };
    // Only "no such process" says that it is gone; "not permitted" says that it runs as somebody else.
    rustix::process::test_kill_process(process) != Err(rustix::io::Errno::SRCH)
}

/// Eight hexadecimal digits, equal for processes that see the same process ids: this boot of this machine, this container.
static MACHINE: LazyLock<String> = LazyLock::new(|| {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id");
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    match (boot, namespace) {
        (Ok(boot), Ok(namespace)) => {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&boot);
            hasher.update(namespace.as_os_str().as_encoded_bytes());
            hasher.finalize().to_hex().as_str()[..8].to_owned()
        }
        // Nobody shares it, so that only age decides.
        _ => format!("{:08x}", rand::random::<u32>()),
    }
});

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: i32 = i32::MAX - 1;

    fn check(name: &str, age_hours: u64, stale: bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, b"half").unwrap();
        let now = std::fs::metadata(&path).unwrap().modified().unwrap() + Duration::from_secs(age_hours * 3600);
        assert_eq!(is_stale(&path, now), stale, "{name} after {age_hours} h");
    }

    #[test]
    fn a_part_is_stale_when_its_writer_died_or_a_day_has_passed() {
        let (here, alive) = (MACHINE.as_str(), std::process::id());
        check(&format!(".part-{here}-{DEAD}-00"), 0, true);
        check(&format!(".part-{here}-{alive}-00"), 1, false);
        check(&format!(".part-{here}-{alive}-00"), 25, true);
        check(&format!(".part-elsewher-{DEAD}-00"), 1, false);
        check(&format!(".part-elsewher-{DEAD}-00"), 25, true);
        check("photo.jpg", 1000, false);
    }
}
