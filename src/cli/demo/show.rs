//! What the demo says of a run.

use super::Demo;
use crate::cli::config::counted;
use crate::cli::restore_test::equal;
use crate::domain::{Verdict, human_bytes, words};
use crate::operations::backup::BackupOutcome;
use crate::operations::restore_test::TestOutcome;

/// Below this, how little was new says nothing.
const SHARED_BYTES_MIN: u64 = 1 << 20;

impl Demo<'_> {
    /// `first` is what the first backup of the same stored.
    pub(super) fn show_backup(&self, outcome: &BackupOutcome, first: Option<u64>) {
        let targets: Vec<_> = outcome.copies.iter().map(|copy| copy.target.as_str()).collect();
        // What fits into one chunk is stored whole each time.
        let of_first = first.filter(|first| *first >= SHARED_BYTES_MIN);
        let of_first =
            of_first.map(|first| format!(", {:.1} % of the first", 100.0 * ratio(outcome.stored_bytes, first)));
        self.say(&format!(
            "  {:<6} snapshot {} on {}: {}, {} read, {} stored at each{}",
            outcome.job,
            outcome.snapshot,
            targets.join(" and "),
            words::counted(outcome.rows, words::words(&outcome.kind).rows),
            human_bytes(outcome.read_bytes),
            human_bytes(outcome.stored_bytes),
            of_first.unwrap_or_default()
        ));
    }

    pub(super) fn show_test(&self, outcome: &TestOutcome) {
        match &outcome.verdict {
            Verdict::Proven { evidence } => {
                let checks = match evidence.checks.len() {
                    0 => String::new(),
                    several => format!(", {}", counted(several, "check")),
                };
                self.say(&format!(
                    "  {:<6} from {:<7} PROVEN: {}{checks}; recovered in {:.1} s",
                    outcome.job,
                    outcome.target.as_str(),
                    equal(evidence, &outcome.kind),
                    std::time::Duration::from_millis(outcome.measured.recovery_ms).as_secs_f64()
                ));
            }
            Verdict::Failed { mismatches, .. } => {
                for mismatch in mismatches {
                    self.say(&format!(
                        "  {:<6} from {:<7} FAILED: {}: {}",
                        outcome.job,
                        outcome.target.as_str(),
                        mismatch.what,
                        mismatch.difference
                    ));
                }
            }
            Verdict::Unproven { .. } => {
                let why = outcome.error.clone().unwrap_or_default();
                self.say(&format!("  {:<6} from {:<7} UNPROVEN: {why}", outcome.job, outcome.target.as_str()));
            }
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let ratio = part as f64 / whole.max(1) as f64;
    ratio
}
