//! Identities as types of their own, so that a job's name cannot be passed where a target's belongs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A name or id that was refused, with the rule that it broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {rule}")]
pub struct BadId {
    pub what: &'static str,
    pub text: String,
    pub rule: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn new(text: impl Into<String>) -> Result<Self, BadId> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if check(&text) {
                    Ok(Self(text))
                } else {
                    Err(BadId { what: $what, text, rule: $rule })
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

text_id!(
    /// A job, named by its file in `jobs/`. Any text that can be a file name, so spaces, quotes and unicode are ordinary.
    JobName,
    "job name",
    "1 to 200 bytes, no `/`, no NUL, no control characters, not `.` or `..`, no `@`",
    |text| {
        !text.is_empty()
            && text.len() <= 200
            && text != "."
            && text != ".."
            && !text.chars().any(|c| c == '/' || c == '@' || c.is_control())
    }
);

text_id!(
    /// A target, named by its table in `lifeboat.toml`.
    TargetName,
    "target name",
    "1 to 100 bytes of letters, digits, `-`, `_` and `.`",
    |text| {
        !text.is_empty() && text.len() <= 100 && text.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
    }
);

text_id!(
    /// One installation that backs up: 16 lower-case hexadecimal digits, made at random when its keys are.
    WriterId,
    "writer id",
    "16 lower-case hexadecimal digits",
    |text| text.len() == 16 && lower_hex(text)
);

text_id!(
    /// One committed backup: 16 lower-case hexadecimal digits, random, unique within a repository.
    SnapshotId,
    "snapshot id",
    "16 lower-case hexadecimal digits",
    |text| text.len() == 16 && lower_hex(text)
);

text_id!(
    /// One execution of a verb on a job, whatever became of it.
    RunId,
    "run id",
    "16 lower-case hexadecimal digits",
    |text| text.len() == 16 && lower_hex(text)
);

fn lower_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl SnapshotId {
    pub fn random() -> Self {
        Self(hex::encode(rand::random::<[u8; 8]>()))
    }
}

impl RunId {
    pub fn random() -> Self {
        Self(hex::encode(rand::random::<[u8; 8]>()))
    }
}

impl WriterId {
    pub fn random() -> Self {
        Self(hex::encode(rand::random::<[u8; 8]>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_name_may_hold_spaces_quotes_and_unicode_but_never_leaves_its_folder() {
        for good in ["social", "it's \"quoted\" ünïcode 名", "a.b-c_d"] {
            assert!(JobName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a\nb", "a@b", "nul\0"] {
            assert!(JobName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_read_back_from_json_are_checked_again() {
        assert!(serde_json::from_str::<SnapshotId>("\"0123456789abcdef\"").is_ok());
        assert!(serde_json::from_str::<SnapshotId>("\"../../etc/passwd\"").is_err());
    }
}
