//! The `[source]` table of a job whose backup is what a command writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{ConfigError, DurationText, SecretRef, Section, is_secret_key, redact_text};

/// Unless the table says otherwise.
const TIMEOUT: Duration = Duration::from_hours(24);
const STALL: Duration = Duration::from_mins(15);
/// A shell that fails where any command of a pipeline fails; POSIX's own does not.
const SHELL: [&str; 4] = ["bash", "-eo", "pipefail", "-c"];

/// `type = "command"`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// `command`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What writes the backup to its standard output: `["mongodump", "--archive", "--quiet"]`. A text is a script of `bash`, which
    /// fails where any part of it fails: `"pg_dump app | sed s/x/y/"`.
    pub backup: CommandLine,
    /// What takes it back, on its standard input: `["mongorestore", "--archive", "--drop"]`.
    pub restore: Option<CommandLine>,
    /// What shows that it can be used, in a folder of its own: it reads it on its standard input and exits 0.
    pub test: Option<CommandLine>,
    /// How long each of them may take: `24h`.
    pub timeout: Option<DurationText>,
    /// How long `backup` may write nothing: `15m`.
    pub stall: Option<DurationText>,
    /// Variables that they get beside `PATH`, `HOME` and the like; secrets by reference: `{ TOKEN = { file = "/run/secrets/x" } }`.
    #[serde(default)]
    pub environment: BTreeMap<String, Variable>,
    /// Where they run; by default the configuration's folder.
    pub folder: Option<PathBuf>,
    /// What `backup` may exit with when all is well: `[0]`.
    pub exit_status: Option<Vec<u8>>,
    /// Whether a backup of no bytes is one.
    #[serde(default)]
    pub may_be_empty: bool,
}

/// A program with its arguments, or a script.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a list such as `[\"PROGRAM\", \"ARGUMENT\"]`, or a script in quotes")]
pub enum CommandLine {
    Words(Vec<String>),
    Script(String),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, or a reference such as `{ file = \"PATH\" }` or `{ env = \"NAME\" }`")]
pub enum Variable {
    Plain(String),
    Secret(SecretRef),
}

/// The table, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    pub backup: Line,
    pub restore: Option<Line>,
    pub test: Option<Line>,
    pub timeout: Duration,
    pub stall: Duration,
    pub environment: BTreeMap<String, Variable>,
    pub folder: PathBuf,
    pub exit_status: Vec<u8>,
    pub may_be_empty: bool,
}

/// What is run, and what people are shown of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// At least one, the program.
    pub words: Vec<String>,
    /// As a person would type it.
    pub shown: String,
    /// The program alone, which holds no secret: `mongodump`, `a script`.
    pub name: String,
}

impl CommandConfig {
    /// Checks what can be checked without running anything.
    pub fn settle(self, section: &Section) -> Result<Settings, ConfigError> {
        let optional = |key: &str, line: Option<&CommandLine>| line.map(|line| settle(section, key, line)).transpose();
        for (name, value) in &self.environment {
            variable(section, name, value)?;
        }
        let exit_status = self.exit_status.unwrap_or_else(|| vec![0]);
        if exit_status.is_empty() {
            let hint = "leave it out to take 0 alone for success";
            return Err(section.error_at("exit_status", "`exit_status` names no status", hint));
        }
        let folder = section.resolve_path(self.folder.as_deref().unwrap_or(Path::new(".")));
        Ok(Settings {
            backup: settle(section, "backup", &self.backup)?,
            restore: optional("restore", self.restore.as_ref())?,
            test: optional("test", self.test.as_ref())?,
            timeout: span(section, "timeout", self.timeout.as_ref(), TIMEOUT)?,
            stall: span(section, "stall", self.stall.as_ref(), STALL)?,
            environment: self.environment,
            // A base of a configuration that stands in no file is empty.
            folder: std::path::absolute(&folder).unwrap_or(folder),
            exit_status,
            may_be_empty: self.may_be_empty,
        })
    }
}

fn settle(section: &Section, key: &str, line: &CommandLine) -> Result<Line, ConfigError> {
    let line = match line {
        CommandLine::Words(words) => {
            let shown = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
            let program = words.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
            Line { words: words.clone(), shown, name: program.to_string_lossy().into_owned() }
        }
        CommandLine::Script(text) => {
            let words = SHELL.iter().map(|word| (*word).to_owned()).chain([text.clone()]);
            let words = if text.trim().is_empty() { vec![] } else { words.collect() };
            Line { words, shown: text.trim().to_owned(), name: "a script".to_owned() }
        }
    };
    if line.words.first().is_none_or(String::is_empty) {
        return Err(section.error_at(key, format!("`{key}` names no program"), "write `[\"PROGRAM\", \"ARGUMENT\"]`"));
    }
    if line.words.iter().any(|word| word.contains('\0')) {
        return Err(section.error_at(key, format!("`{key}` holds a NUL"), "no command line can"));
    }
    if line.words.iter().any(|word| redact_text(word) != *word) {
        let headline = format!("`{key}` holds a password, and every user of this machine can read command lines");
        return Err(section.error_at(
            key,
            headline,
            "hand it over by `environment`, or by a file that the command reads",
        ));
    }
    Ok(line)
}

fn variable(section: &Section, name: &str, value: &Variable) -> Result<(), ConfigError> {
    let wrong = |headline: String, hint: String| Err(section.error_at("environment", headline, hint));
    if name.is_empty() || name.contains(['=', '\0']) {
        return wrong(format!("`{name}` is not the name of a variable"), "write letters, digits and `_`".to_owned());
    }
    let Variable::Plain(text) = value else { return Ok(()) };
    if text.contains('\0') {
        return wrong(format!("`{name}` holds a NUL"), "no variable can".to_owned());
    }
    let upper = name.to_ascii_uppercase();
    let names_a_file = ["_FILE", "_PATH", "_DIR"].iter().any(|end| upper.ends_with(end));
    if redact_text(text) != *text || is_secret_key(name) && !names_a_file {
        let hint = format!("refer to it: `{name} = {{ env = \"{name}\" }}` or `{{ file = \"PATH\" }}`");
        return wrong(format!("`{name}` looks like a secret, which never stands in a configuration file"), hint);
    }
    Ok(())
}

fn span(section: &Section, key: &str, text: Option<&DurationText>, default: Duration) -> Result<Duration, ConfigError> {
    match text {
        None => Ok(default),
        Some(DurationText(span)) if span.is_zero() => {
            Err(section.error_at(key, format!("`{key}` is no time at all"), "write `30s`, `15m` or `6h`"))
        }
        Some(DurationText(span)) => Ok(*span),
    }
}

/// One word of a POSIX shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings, String> {
        let section = Section::from_text(&format!("type = 'command'\n{text}")).unwrap();
        let config: CommandConfig = section.parse().map_err(|error| error.to_string())?;
        config.settle(&section).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_is_run_as_it_is_and_a_text_by_a_shell_that_fails_with_any_part() {
        let read = settings("backup = ['dump', '--all', 'a b']\nrestore = 'gunzip | load'").unwrap();
        assert_eq!((read.backup.words.len(), read.backup.shown.as_str()), (3, "dump --all 'a b'"));
        let restore = read.restore.unwrap();
        assert_eq!(restore.words, ["bash", "-eo", "pipefail", "-c", "gunzip | load"]);
        assert_eq!(restore.shown, "gunzip | load");
        assert_eq!((read.timeout, read.stall, read.exit_status), (TIMEOUT, STALL, vec![0]));
        assert!(!read.may_be_empty && read.test.is_none() && read.folder.is_absolute());
    }

    #[test]
    fn limits_statuses_and_variables_are_read() {
        let read = settings(
            "backup = ['x']\ntimeout = '6h'\nstall = '2s'\nexit_status = [0, 1]\nmay_be_empty = true\nfolder = '/srv'\n\
             environment = { A = 'b', TOKEN = { env = 'T' }, TOKEN_FILE = '/x' }",
        )
        .unwrap();
        assert_eq!((read.timeout.as_secs(), read.stall.as_secs()), (21_600, 2));
        assert_eq!((read.exit_status, read.folder.to_str(), read.may_be_empty), (vec![0, 1], Some("/srv"), true));
        assert!(matches!(read.environment["TOKEN"], Variable::Secret(_)) && read.environment.len() == 3);
    }

    #[test]
    fn mistakes_are_refused_with_what_to_write() {
        for (text, says) in [
            ("", "missing key `backup`"),
            ("backup = []", "names no program"),
            ("backup = ''", "names no program"),
            ("backup = ['']", "names no program"),
            ("backup = 5", "a list such as"),
            ("backup = ['x']\nrestor = ['y']", "did you mean `restore`"),
            ("backup = ['x']\ntest = ' '", "`test` names no program"),
            ("backup = ['x']\nstall = 'soon'", "not a duration"),
            ("backup = ['x']\ntimeout = '0s'", "no time at all"),
            ("backup = ['x']\nexit_status = []", "names no status"),
            ("backup = ['x']\nexit_status = [256]", "exit_status"),
            ("backup = ['x']\nenvironment = { TOKEN = 'hunter2' }", "TOKEN = { env = \"TOKEN\" }"),
            ("backup = ['x']\nenvironment = { 'A=B' = 'x' }", "not the name of a variable"),
            ("backup = ['x']\nenvironment = { A = 5 }", "a reference such as"),
        ] {
            let error = settings(text).unwrap_err();
            assert!(error.contains(says) && !error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_also_where_a_variable_brought_it() {
        let section = Section::from_text("backup = ['x']").unwrap();
        for line in [
            CommandLine::Words(vec!["mongodump".into(), "--uri=mongodb://u:hunter2@h".into()]),
            CommandLine::Script("mongodump --uri=mongodb://u:hunter2@h".into()),
        ] {
            let error = settle(&section, "backup", &line).unwrap_err().to_string();
            assert!(error.contains("hand it over by `environment`") && !error.contains("hunter2"), "{error}");
        }
    }
}
