//! What must hold of an installation whatever happened to it before.

use std::path::{Path, PathBuf};

use super::installation::Installation;
use super::outcome::{Outcome, contents, entries};
use super::server::plain;

impl Installation {
    /// Every visible root's objects have the sums that it names, nothing is left of scratch instances or of work in progress, and
    /// nothing of ours runs. Call it after a run that ended by itself.
    #[track_caller]
    pub(crate) fn assert_sound(&self, targets: &[&str]) {
        for target in targets {
            self.assert_roots_are_whole(target);
            let parts: Vec<_> =
                contents(&self.target(target)).into_keys().filter(|path| path.contains("/.part-")).collect();
            assert_eq!(parts, Vec::<String>::new(), "half-written files stay at `{target}`");
        }
        self.assert_no_scratch();
        let work: Vec<_> =
            entries(&self.state()).into_iter().filter(|path| path.to_string_lossy().contains("/work-")).collect();
        assert_eq!(work, Vec::<PathBuf>::new(), "work folders stay");
        assert_eq!(self.processes(), Vec::<String>::new(), "processes stay");
    }

    /// `sha256sum -c` of every root that a target shows, as a person would run it.
    #[track_caller]
    pub(crate) fn assert_roots_are_whole(&self, target: &str) {
        for root in self.roots(target) {
            assert!(root.with_extension("root.minisig").exists(), "{} is not signed", root.display());
            let checked = self.sha256sum(target, &root);
            assert_eq!(checked.code, 0, "{}\n{}", root.display(), checked.all());
        }
    }

    pub(crate) fn sha256sum(&self, target: &str, root: &Path) -> Outcome {
        let mut command = plain(Path::new("sha256sum"));
        command.arg("-c").arg(root).current_dir(self.target(target));
        Outcome::of(command.output().unwrap())
    }

    /// By name, so in the order of the chain.
    pub(crate) fn roots(&self, target: &str) -> Vec<PathBuf> {
        let all = contents(&self.target(target).join("snapshots")).into_keys();
        all.map(PathBuf::from).filter(|path| path.extension().is_some_and(|kind| kind == "root")).collect()
    }

    /// Command lines of processes that name this folder or work in it.
    pub(crate) fn processes(&self) -> Vec<String> {
        let ours = self.root().to_string_lossy().into_owned();
        let mut found = vec![];
        for entry in entries(Path::new("/proc")) {
            let Ok(command) = std::fs::read(entry.join("cmdline")) else { continue };
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let inside = std::fs::read_link(entry.join("cwd")).is_ok_and(|at| at.starts_with(&ours));
            if (inside || command.contains(&ours)) && !command.is_empty() {
                found.push(command);
            }
        }
        found
    }
}
