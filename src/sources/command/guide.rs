//! How to hand a stream back by hand.

use super::config::quoted;
use super::record::{CommandRecord, PART};
use crate::domain::{PartName, SourceRecord};

/// Markdown for the stream that lies as a file under the name given.
pub(super) fn loading_guide(record: &SourceRecord, files: &[(PartName, String)]) -> String {
    let details = CommandRecord::read(record);
    let file = files.iter().find(|(name, _)| name.as_str() == PART).map_or(PART, |(_, file)| file.as_str());
    let mut text = format!(
        "The file `{file}` is, byte for byte, what this command wrote to its standard output:\n\n{}\n\n",
        indented(&details.backup)
    );
    if let Some(test) = &details.test {
        text.push_str(&format!(
            "The job's own test of it, which reads it on standard input:\n\n{}\n\n",
            indented(test)
        ));
    }
    let Some(words) = details.restore_words else {
        text.push_str(
            "The job named no command that takes it back: whatever reads what that tool writes does.\n\n```sh\n\
             echo 'the job named no command that restores it: read the guide' >&2\nexit 1\n```\n",
        );
        return text;
    };
    text.push_str(
        "The job's restore takes it on standard input. It may replace what is there: read it before you run it. It stops with \
         an error unless the command exits 0.\n\n",
    );
    if !details.environment.is_empty() {
        text.push_str(&format!(
            "These variables were set for it, and may have to be set again: {}.\n\n",
            details.environment.join(", ")
        ));
    }
    text.push_str(&format!("It ran in the folder `{}`.\n\n", details.folder));
    let line: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    text.push_str(&format!("```sh\n{} < {}\n```\n", line.join(" "), quoted(file)));
    text
}

/// A block of Markdown that no script is taken from.
fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
