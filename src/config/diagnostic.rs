//! One finding in one file, and how it looks.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::ConfigError;
use super::redact::{REDACTED, redact_text};

/// A file that was read: what errors quote from.
#[derive(Debug, Default)]
pub(super) struct SourceFile {
    /// As errors show it.
    pub(super) shown: String,
    /// What relative paths in it start at: the folder of `lifeboat.toml`.
    pub(super) base: PathBuf,
    pub(super) text: String,
    /// Byte ranges that are never shown, sorted and disjoint.
    pub(super) secrets: Vec<Range<usize>>,
}

/// What is wrong, where, and what to do about it.
#[derive(Debug, Clone)]
pub(super) struct Diagnostic {
    pub(super) file: Arc<SourceFile>,
    /// Bytes of the file; `None` where the file as a whole is meant.
    pub(super) span: Option<Range<usize>>,
    pub(super) headline: String,
    /// Stands beside the caret; may be empty.
    pub(super) label: String,
}

impl Diagnostic {
    pub(super) fn new(
        file: &Arc<SourceFile>,
        span: impl Into<Option<Range<usize>>>,
        headline: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        Self { file: file.clone(), span: span.into(), headline: headline.into(), label: label.into() }
    }

    pub(super) fn render(&self) -> String {
        let headline = redact_text(&self.headline);
        let label = redact_text(&self.label);
        let Some(span) = self.span.as_ref().filter(|_| !self.file.text.is_empty()) else {
            let mut text = format!("error: {headline}\n --> {}", self.file.shown);
            if !label.is_empty() {
                let _infallible = write!(text, "\n   = {label}");
            }
            return text;
        };
        let line = Line::of(&self.file.text, span);
        let column = self.file.text[line.bytes.start..line.mark.start].chars().count() + 1;
        let (shown, before, width) = line.show(&self.file);
        let number = line.number.to_string();
        let gutter = " ".repeat(number.len());
        let marks = "^".repeat(width);
        let space = if label.is_empty() { "" } else { " " };
        format!(
            "error: {headline}\n{gutter}--> {file}:{number}:{column}\n{gutter} |\n{number} | {shown}\n{gutter} | {pad}{marks}{space}{label}",
            file = self.file.shown,
            pad = " ".repeat(before),
        )
    }
}

/// Many findings as one error: by file in the order they were read, then by line.
pub(super) fn into_error(diagnostics: &[Diagnostic]) -> ConfigError {
    ConfigError { rendered: diagnostics.iter().map(Diagnostic::render).collect::<Vec<_>>().join("\n\n") }
}

/// The line of a file that holds the start of a span.
struct Line {
    /// From 1.
    number: usize,
    bytes: Range<usize>,
    /// What the caret marks, within `bytes`.
    mark: Range<usize>,
}

impl Line {
    fn of(text: &str, span: &Range<usize>) -> Self {
        let at = (0..=span.start.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
        let end = start + text[start..end].trim_end().len();
        let number = text[..start].matches('\n').count() + 1;
        let at = at.min(end);
        let mark_end = (at..=span.end.clamp(at, end)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(at);
        let mut mark = at..mark_end;
        // The key of a header is shown with its brackets: the finding is about the table.
        let content = &text[start..end];
        let key = &text[mark.clone()];
        if !key.is_empty() && (content == format!("[{key}]") || content == format!("[[{key}]]")) {
            mark = start..end;
        }
        Self { number, bytes: start..end, mark }
    }

    /// The line without secrets and tabs, how many characters stand before the mark, and how many it covers (at least 1).
    fn show(&self, file: &SourceFile) -> (String, usize, usize) {
        let mut shown = String::new();
        let (mut before, mut until) = (None, None);
        let mut hidden = false;
        for (offset, c) in file.text[self.bytes.clone()].char_indices() {
            let at = self.bytes.start + offset;
            let length = shown.chars().count();
            if at >= self.mark.start && before.is_none() {
                before = Some(length);
            }
            if at >= self.mark.end && until.is_none() {
                until = Some(length);
            }
            let secret = file.secrets.iter().any(|span| span.contains(&at));
            match (secret, hidden) {
                (true, false) => shown.push_str(REDACTED),
                (true, true) => {}
                (false, _) => shown.push(if c.is_control() { ' ' } else { c }),
            }
            hidden = secret;
        }
        let length = shown.chars().count();
        let before = before.unwrap_or(length);
        let until = until.unwrap_or(length);
        (shown, before, until.saturating_sub(before).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, span: Range<usize>, secret: Option<Range<usize>>, expected: &str) {
        let file = SourceFile {
            shown: "a.toml".into(),
            text: text.into(),
            secrets: secret.into_iter().collect(),
            ..SourceFile::default()
        };
        let rendered = Diagnostic::new(&Arc::new(file), span, "wrong", "here").render();
        assert_eq!(rendered, expected);
    }

    #[test]
    fn the_caret_marks_the_span_below_its_line_and_columns_count_characters() {
        check("a = 1\nü = 22\n", 11..13, None, "error: wrong\n --> a.toml:2:5\n  |\n2 | ü = 22\n  |     ^^ here");
        check("[tabel]\n", 1..6, None, "error: wrong\n --> a.toml:1:1\n  |\n1 | [tabel]\n  | ^^^^^^^ here");
        check("a =\n", 3..4, None, "error: wrong\n --> a.toml:1:4\n  |\n1 | a =\n  |    ^ here");
    }

    #[test]
    fn the_caret_stays_below_its_word_when_a_secret_before_it_is_hidden() {
        check(
            "s = { p = \"pw\", x = 1 }",
            16..17,
            Some(10..14),
            "error: wrong\n --> a.toml:1:17\n  |\n1 | s = { p = [redacted], x = 1 }\n  |                       ^ here",
        );
    }
}
