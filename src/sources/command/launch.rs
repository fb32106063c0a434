//! A job's command line made ready to run: its program found, its variables read, its secrets known so that no error repeats them.
//!
//! It gets no environment of ours but what every program expects ([`HANDED_ON`]); a stray variable, and the keys of our targets,
//! are none of its business.

use std::path::{Path, PathBuf};

use super::config::{Line, Settings, Variable};
use crate::config::{SecretRef, redact_text};
use crate::domain::Secret;
use crate::sources::SourceError;
use crate::system::process::{NotFound, Program, Said, find};

/// Variables that a command gets of ours, beside `PATH`.
const HANDED_ON: [&str; 10] =
    ["HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SSL_CERT_FILE"];
/// The job's folder, for a test that runs elsewhere.
const FOLDER: &str = "LIFEBOAT_FOLDER";
/// A secret that is shorter may stand in a command line by chance.
const TELLING_BYTES: usize = 6;
/// How much of its last words an error quotes.
const QUOTED_BYTES: usize = 2 << 10;
const QUOTED_LINES: usize = 12;
const REDACTED: &str = "[redacted]";

/// What is known not to be shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Hidden(Vec<Secret>);

impl Hidden {
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = redact_text(text);
        for secret in self.0.iter().filter(|secret| !secret.expose().is_empty()) {
            text = text.replace(secret.expose(), REDACTED);
        }
        text
    }

    /// A secret must not stand where every user can read it.
    pub(super) fn keep_off(&self, line: &Line) -> Result<(), SourceError> {
        let tells = |word: &String| {
            self.0.iter().any(|secret| secret.expose().len() >= TELLING_BYTES && word.contains(secret.expose()))
        };
        if !line.words.iter().any(tells) {
            return Ok(());
        }
        Err(SourceError::Refused {
            what: self.redact(&format!("`{}`", brief(&line.shown))),
            why: "it holds a secret, and every user of this machine can read command lines".to_owned(),
            hint: "hand it over by `environment`, or by a file that the command reads".to_owned(),
        })
    }

    /// The last lines of what a command said, after a colon; nothing where it said nothing.
    pub(super) fn last_words(&self, said: &Said) -> String {
        let mut bytes = said.bytes.as_slice();
        if said.cut {
            // The cut may go through a secret.
            let longest = self.0.iter().map(|secret| secret.expose().len()).max().unwrap_or(0);
            bytes = &bytes[longest.min(bytes.len())..];
        }
        let text = self.redact(String::from_utf8_lossy(bytes).trim());
        let lines = text.rmatch_indices('\n').nth(QUOTED_LINES - 1).map_or(0, |(at, _)| at + 1);
        let mut from = text.len().saturating_sub(QUOTED_BYTES).max(lines);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        if text.is_empty() {
            String::new()
        } else {
            format!(": {}{}", if from > 0 { "... " } else { "" }, &text[from..])
        }
    }
}

/// Ready to run.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) program: Program,
    /// The file that is run.
    pub(super) found: PathBuf,
    /// `` `mongodump --archive` ``, for errors.
    pub(super) shown: String,
    pub(super) hidden: Hidden,
}

impl Settings {
    /// The program of a line.
    pub(super) fn find(&self, line: &Line) -> Result<PathBuf, NotFound> {
        let path = match self.environment.get("PATH") {
            Some(Variable::Plain(path)) => Some(path.as_str()),
            _ => None,
        };
        find(&line.words[0], path, &self.folder)
    }

    /// Finds and reads all that `line` needs. In `scratch` it finds a folder of its own.
    pub(super) async fn launch(&self, line: &Line, scratch: Option<&Path>) -> Result<Launch, SourceError> {
        let found = self.find(line).map_err(|why| not_found(&line.shown, &why))?;
        let (variables, hidden) = self.variables(true).await?;
        hidden.keep_off(line)?;
        self.folder_is_there()?;
        let mut program = Program::new(&found).clear_env().pass_env(&HANDED_ON).args(&line.words[1..]);
        program = program.env(FOLDER, self.folder.display().to_string());
        if let Some(scratch) = scratch {
            let own = scratch.display().to_string();
            program = program.env("HOME", own.clone()).env("TMPDIR", own);
        }
        for (name, value) in &variables {
            program = match value {
                Value::Plain(text) => program.env(name, text.clone()),
                Value::Secret(secret) => program.secret_env(name, secret.clone()),
            };
        }
        let program = program.directory(scratch.unwrap_or(&self.folder));
        Ok(Launch { program, found, shown: hidden.redact(&format!("`{}`", brief(&line.shown))), hidden })
    }

    /// What can be known without running anything: secrets that a command prints are left out.
    pub(super) async fn hidden(&self) -> Result<Hidden, SourceError> {
        self.variables(false).await.map(|(_, hidden)| hidden)
    }

    async fn variables(&self, run: bool) -> Result<(Vec<(&str, Value)>, Hidden), SourceError> {
        let (mut variables, mut hidden) = (vec![], vec![]);
        for (name, value) in &self.environment {
            let value = match value {
                Variable::Plain(text) => Value::Plain(text.clone()),
                Variable::Secret(SecretRef::Command(_)) if !run => continue,
                Variable::Secret(reference) => {
                    let secret = reference.resolve().await.map_err(|error| SourceError::Refused {
                        what: format!("variable `{name}` of the job's `environment`"),
                        why: error.to_string(),
                        hint: String::new(),
                    })?;
                    hidden.push(secret.clone());
                    Value::Secret(secret)
                }
            };
            variables.push((name.as_str(), value));
        }
        // The longest first: another may be a part of it.
        hidden.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        Ok((variables, Hidden(hidden)))
    }

    pub(super) fn folder_is_there(&self) -> Result<(), SourceError> {
        if self.folder.is_dir() {
            return Ok(());
        }
        Err(SourceError::Refused {
            what: format!("folder `{}`", self.folder.display()),
            why: "it is not there, and the job's command runs in it".to_owned(),
            hint: "`folder` in the job's `[source]` names another".to_owned(),
        })
    }
}

enum Value {
    Plain(String),
    Secret(Secret),
}

pub(super) fn not_found(shown: &str, why: &NotFound) -> SourceError {
    let hint = match why {
        NotFound::Missing { program, .. } => {
            format!("install `{program}`, or write its whole path; `environment = {{ PATH = \"...\" }}` adds folders")
        }
        NotFound::NoFile(_) => {
            "a path that is not absolute starts at the job's `folder`, by default the configuration's".to_owned()
        }
        NotFound::NotExecutable(file) => format!("`chmod +x {}`", file.display()),
    };
    SourceError::Refused { what: redact_text(&format!("`{}`", brief(shown))), why: why.to_string(), hint }
}

/// The first line, and not too much of it.
pub(super) fn brief(text: &str) -> String {
    const CHARS_MAX: usize = 120;
    let line = text.lines().next().unwrap_or_default();
    let cut: String = line.chars().take(CHARS_MAX).collect();
    if cut.len() < text.len() { format!("{cut}...") } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(secrets: &[&str]) -> Hidden {
        Hidden(secrets.iter().map(|secret| Secret::new(*secret)).collect())
    }

    #[test]
    fn last_words_hide_secrets_also_one_that_the_cut_goes_through() {
        let said = |bytes: &str, cut| Said { bytes: bytes.as_bytes().to_vec(), cut };
        let hide = hidden(&["hunter2", "y"]);
        assert_eq!(hide.last_words(&said("bad password hunter2\n", false)), ": bad password [redacted]");
        assert_eq!(hide.last_words(&said("unter2: no such user", true)), ": no such user");
        assert_eq!(hide.last_words(&said(" \n", false)), "");
        let long = hide.last_words(&said(&"é".repeat(3000), false));
        assert!(long.starts_with(": ... é") && long.len() < QUOTED_BYTES + 10, "{}", long.len());
    }
}
