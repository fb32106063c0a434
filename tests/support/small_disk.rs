//! A disk of a few kilobytes.

use std::path::Path;
use std::process::{Command, Stdio};

use super::outcome::Outcome;
use super::server::plain;

/// Whether this account may mount a disk of its own.
pub(crate) fn can_mount() -> bool {
    let mut shell = plain(Path::new("unshare"));
    shell.args(["--mount", "true"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The command, run where `folder` is a disk of so many kilobytes; then what is left half-written there is counted.
///
/// Where no disk may be mounted, no file may grow beyond that size.
pub(crate) fn on_a_small_disk(command: &Command, folder: &Path, kilobytes: usize) -> Outcome {
    let (mut shell, script) = if can_mount() {
        let mut shell = plain(Path::new("unshare"));
        shell.args(["--mount", "sh"]);
        (shell, format!("mount -t tmpfs -o size={kilobytes}k,mode=755 none \"$0\"; \"$@\"; code=$?"))
    } else {
        (plain(Path::new("sh")), format!("trap '' XFSZ; ulimit -f {}; \"$@\"; code=$?", kilobytes * 2))
    };
    let count = "echo \"half-written: $(find \"$0\" -name '.part-*' | wc -l), roots: $(find \"$0\" -name '*.root' | wc -l)\" >&2";
    shell.args(["-c", &format!("{script}; {count}; exit $code")]).arg(folder);
    shell.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    Outcome::of(shell.output().unwrap())
}
