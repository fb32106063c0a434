//! The outcome of a restore test: never a bool, because "not shown" is neither yes nor no.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Everything in the evidence was compared and equal.
    Proven { evidence: Evidence },
    /// At least one thing differs. `evidence` counts what was compared all the same.
    Failed { mismatches: Vec<Mismatch>, evidence: Evidence },
    /// The test could not be carried out; nothing was shown either way.
    Unproven { reason: Reason },
}

/// What was compared. Zero comparisons can never be `Proven`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Groups (tables) whose fingerprints were equal.
    pub groups: u64,
    pub rows: u64,
    pub bytes: u64,
    /// Catalog objects that were equal, by kind and in total.
    pub objects: u64,
    pub objects_by_kind: Vec<(String, u64)>,
    /// Groups whose rows the engine itself counted to the same number.
    pub engine_counts: u64,
    /// Checks of the job that held: name, what was seen.
    pub checks: Vec<CheckResult>,
    /// Differences from which nothing follows, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undecided: Vec<Mismatch>,
    /// Where not everything was read back, but so much, drawn at random; the rest was compared by what the list says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Sampled>,
}

/// A random sample without replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampled {
    pub taken: u64,
    pub of: u64,
}

/// How sure a sample makes.
const CONFIDENCE: f64 = 0.99;

impl Sampled {
    /// What a sample without a damaged one shows: `sampled 4603 of 9800000: with 99 % confidence fewer than 0.1 % damaged`.
    ///
    /// Were a share p damaged, a sample of n would miss all of them with a chance of at most (1 - p)^n.
    pub fn sentence(&self) -> String {
        let Self { taken, of } = self;
        if taken >= of {
            return format!("all {of} read back");
        }
        if *taken == 0 {
            return format!("sampled none of {of}");
        }
        #[expect(clippy::cast_precision_loss, reason = "samples are small, and the result is rounded up")]
        let percent = (1.0 - (1.0 - CONFIDENCE).powf(1.0 / *taken as f64)) * 100.0;
        // Two digits, rounded up.
        #[expect(clippy::cast_possible_truncation, reason = "a logarithm of a percentage")]
        let digits = (1 - percent.log10().floor() as i32).clamp(0, 12);
        let scale = 10_f64.powi(digits);
        let rounded = ((percent * scale).ceil() / scale).min(100.0);
        format!("sampled {taken} of {of}: with 99 % confidence fewer than {rounded} % damaged")
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    pub check: String,
    pub expected: String,
    pub actual: String,
    pub held: bool,
}

/// One difference, named so that a person can act: which thing, what was expected, what came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// `table public.statuses`, `index public.statuses_pkey`, `check "recent posts"`.
    pub what: String,
    /// `rows differ: 2 missing, 1 extra`, `definition: owner`.
    pub difference: String,
    pub expected: String,
    pub actual: String,
}

/// Why nothing could be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Reason {
    /// The scratch machine lacks something: `postgres 18`, `extension postgis 3.4`, `locale de_DE.utf8`.
    Needs { needs: Vec<String> },
    /// There was nothing to compare.
    NothingCompared,
    /// The scratch instance itself broke, or a limit was reached.
    Scratch { message: String },
    /// Every byte came back equal, and nothing has tried to use them: the job has no test.
    BytesOnly { bytes: u64 },
    /// Something differs, and nothing follows from it: neither that it is the same nor that it is not. All else was equal.
    Undecided { differences: Vec<String> },
    /// Never tested.
    NotTested,
}

impl Verdict {
    /// `PROVEN`, `FAILED` or `UNPROVEN`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Proven { .. } => "PROVEN",
            Self::Failed { .. } => "FAILED",
            Self::Unproven { .. } => "UNPROVEN",
        }
    }

    /// Draws the conclusion: any mismatch fails, no comparison proves nothing, and neither does one that decides nothing.
    pub fn conclude(mut mismatches: Vec<Mismatch>, evidence: Evidence) -> Self {
        for check in evidence.checks.iter().filter(|check| !check.held) {
            mismatches.push(Mismatch {
                what: format!("check {}", check.check),
                difference: "check did not hold".to_owned(),
                expected: check.expected.clone(),
                actual: check.actual.clone(),
            });
        }
        if !mismatches.is_empty() {
            Self::Failed { mismatches, evidence }
        } else if evidence.groups == 0 && evidence.objects == 0 {
            Self::Unproven { reason: Reason::NothingCompared }
        } else if !evidence.undecided.is_empty() {
            let told = |it: &Mismatch| format!("{}: {}", it.what, it.difference);
            Self::Unproven { reason: Reason::Undecided { differences: evidence.undecided.iter().map(told).collect() } }
        } else {
            Self::Proven { evidence }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_says_how_sure_it_makes() {
        let sentence = |taken, of| Sampled { taken, of }.sentence();
        assert_eq!(
            sentence(4_603, 9_800_000),
            "sampled 4603 of 9800000: with 99 % confidence fewer than 0.1 % damaged"
        );
        assert_eq!(sentence(459, 1_000_000), "sampled 459 of 1000000: with 99 % confidence fewer than 1 % damaged");
        assert_eq!(sentence(100, 1_000), "sampled 100 of 1000: with 99 % confidence fewer than 4.6 % damaged");
        assert_eq!(sentence(1, 1_000), "sampled 1 of 1000: with 99 % confidence fewer than 99 % damaged");
        assert_eq!(sentence(10, 10), "all 10 read back");
        assert_eq!(sentence(0, 10), "sampled none of 10");
    }

    #[test]
    fn nothing_compared_is_unproven_however_many_checks_held() {
        let held = CheckResult { check: "c".into(), expected: "1".into(), actual: "1".into(), held: true };
        let evidence = Evidence { checks: vec![held], ..Evidence::default() };
        assert_eq!(Verdict::conclude(vec![], evidence), Verdict::Unproven { reason: Reason::NothingCompared });
    }

    #[test]
    fn a_difference_from_which_nothing_follows_proves_nothing_and_hides_no_other() {
        let difference = |what: &str| Mismatch {
            what: what.to_owned(),
            difference: "values differ".to_owned(),
            expected: String::new(),
            actual: String::new(),
        };
        let evidence = Evidence { groups: 9, undecided: vec![difference("db0/module-values")], ..Evidence::default() };
        let verdict = Verdict::conclude(vec![], evidence.clone());
        let differences = vec!["db0/module-values: values differ".to_owned()];
        assert_eq!(verdict, Verdict::Unproven { reason: Reason::Undecided { differences } });
        assert_eq!(Verdict::conclude(vec![difference("db0/string")], evidence).word(), "FAILED");
    }

    #[test]
    fn a_check_that_did_not_hold_fails_a_restore_with_equal_rows() {
        let failed = CheckResult { check: "rows".into(), expected: ">= 5".into(), actual: "4".into(), held: false };
        let evidence = Evidence { groups: 3, checks: vec![failed], ..Evidence::default() };
        let verdict = Verdict::conclude(vec![], evidence);
        assert_eq!(verdict.word(), "FAILED");
    }
}
