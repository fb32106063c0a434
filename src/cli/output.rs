//! What people and programs read: data on standard output, everything else on standard error.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use super::args::Global;
use crate::operations::OperationError;

/// How to say things, decided once from the options and the terminal.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is one option of the command line")]
pub struct Output {
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
    /// Standard error is a terminal: bars instead of lines.
    pub terminal: bool,
    pub colour: bool,
}

impl Output {
    pub fn new(global: &Global) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose > 0,
            terminal: terminal && !global.json,
            colour: terminal && !crate::system::environment_has("NO_COLOR"),
        }
    }

    /// A line of data. A closed pipe (`| head`) is no error.
    pub fn line(&self, text: impl AsRef<str>) {
        writeln!(std::io::stdout(), "{}", text.as_ref()).ok();
    }

    /// Bytes of data: a report, a completion script.
    pub fn raw(&self, bytes: &[u8]) {
        let mut out = std::io::stdout();
        out.write_all(bytes).and_then(|()| out.flush()).ok();
    }

    /// The final result: a JSON object under `--json`, else text, unless `-q`.
    pub fn result(&self, summary: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            self.line(serde_json::to_string(&Summary { event: "summary", summary }).expect("plain data"));
        } else if !self.quiet {
            self.line(text().trim_end());
        }
    }

    /// Something for a person, on standard error, unless `-q`.
    pub fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            writeln!(std::io::stderr(), "{}", text.as_ref()).ok();
        }
    }

    pub fn error(&self, error: &OperationError) {
        if self.json {
            let line = JsonError {
                event: "error",
                class: format!("{:?}", error.class).to_lowercase(),
                exit: error.class.exit_code(),
                what: &error.what,
                cause: error.cause.as_deref(),
                place: error.place.as_deref(),
                hint: error.hint.as_deref(),
            };
            self.line(serde_json::to_string(&line).expect("plain data"));
        }
        writeln!(std::io::stderr(), "{}", render(error, self.colour)).ok();
    }
}

#[derive(Serialize)]
struct Summary<'a, T> {
    event: &'static str,
    #[serde(flatten)]
    summary: &'a T,
}

#[derive(Serialize)]
struct JsonError<'a> {
    event: &'static str,
    class: String,
    exit: u8,
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// What, then cause, where and hint, each on its line.
pub fn render(error: &OperationError, colour: bool) -> String {
    let paint = |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    // A configuration error brings lines of its own, with the word already in front.
    let mut text = match error.what.strip_prefix("error:") {
        Some(rest) => format!("{}{rest}", paint("1;31", "error:")),
        None => format!("{} {}", paint("1;31", "error:"), error.what),
    };
    let lines = [("cause:", &error.cause), ("where:", &error.place), ("hint: ", &error.hint)];
    for (word, value) in lines {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            text.push_str(&format!("\n  {} {}", paint("1", word), value.trim().replace('\n', "\n         ")));
        }
    }
    text
}

/// Text columns, each as wide as its widest cell; numbers to the right.
pub struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
}

impl Table {
    pub fn new(header: &[&str], right: &[usize]) -> Self {
        Self { rows: vec![header.iter().map(|cell| (*cell).to_owned()).collect()], right: right.to_vec() }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let gap = " ".repeat(widths[column] - cell.chars().count());
                if self.right.contains(&column) {
                    line.push_str(&gap);
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.push_str(&gap);
                }
                line.push_str("  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::Class;

    #[test]
    fn an_error_reads_what_cause_where_hint() {
        let error = OperationError::new(Class::Scratch, "snapshot `orders` did not restore")
            .cause("`pg_restore` exited 1: relation \"invoice\" already exists")
            .place("target `b2-eu`, scratch postgres 16")
            .hint("rerun with `--keep-scratch` to inspect the instance");
        let expected = "error: snapshot `orders` did not restore\n  \
             cause: `pg_restore` exited 1: relation \"invoice\" already exists\n  \
             where: target `b2-eu`, scratch postgres 16\n  \
             hint:  rerun with `--keep-scratch` to inspect the instance";
        assert_eq!(render(&error, false), expected);
    }

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let mut table = Table::new(&["job", "bytes"], &[1]);
        table.row(vec!["名前".into(), "7".into()]);
        table.row(vec!["x".into(), "1234567".into()]);
        assert_eq!(table.render(), "job    bytes\n名前         7\nx    1234567\n");
    }
}
