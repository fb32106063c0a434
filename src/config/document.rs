//! One parsed file: its text, its tables with their places, and reading a table so that every mistake in it is found.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::de::DeTable;

use super::diagnostic::{Diagnostic, SourceFile};
use super::environment::Environment;
use super::explain::explain;
use super::node::{Node, Table, Value};
use super::redact::{is_url_with_password, secret_spans};

/// Mistakes that one table may show; a file that is something else altogether would show thousands.
const FINDINGS_MAX: usize = 50;

/// A file as tables with places.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) file: Arc<SourceFile>,
    pub(super) table: Table,
}

impl Document {
    /// Parses `text`; the document holds what could be understood even when there are findings.
    pub(super) fn parse(shown: String, base: &Path, text: String) -> (Self, Vec<Diagnostic>) {
        let (table, errors) = DeTable::parse_recoverable(&text);
        let table = Table::from_parsed(table.get_ref());
        let secrets = secret_spans(&text, &table);
        let file = Arc::new(SourceFile { shown, base: base.to_owned(), text, secrets });
        let findings = errors
            .iter()
            .take(FINDINGS_MAX)
            .map(|error| {
                let (headline, label) = explain(error.message(), None);
                Diagnostic::new(&file, error.span(), headline, label)
            })
            .collect();
        (Self { file, table }, findings)
    }

    /// Findings for every URL that has a password written out. Asked before variables are replaced.
    pub(super) fn passwords_in_urls(&mut self) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        for_each_string(&mut self.table, &mut |text, span| {
            if is_url_with_password(text) {
                findings.push(Diagnostic::new(
                    &self.file,
                    span,
                    "a password stands in a URL",
                    "take it out and refer to it beside the URL: `password = { file = \"PATH\" }` or `{ env = \"NAME\" }`",
                ));
            }
        });
        findings
    }

    /// Puts the values of variables in place of `${VAR}` in every string; `$${` stands for a plain `${`.
    pub(super) fn substitute(&mut self, environment: &Environment) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        for_each_string(&mut self.table, &mut |text, span| match substituted(text, environment) {
            Ok(Some(value)) => *text = value,
            Ok(None) => {}
            Err(problem) => {
                let raw = &self.file.text[span.clone()];
                let place = raw.find(&problem.written).map(|at| {
                    let start = span.start + at;
                    start..start + problem.written.len()
                });
                findings.push(Diagnostic::new(
                    &self.file,
                    place.unwrap_or(span),
                    problem.headline,
                    "set it, or write `$${` for a plain `${`",
                ));
            }
        });
        findings
    }
}

/// A `${...}` that stands for nothing.
struct BadVariable {
    written: String,
    headline: String,
}

/// The text with its variables replaced; `None` when it has none.
fn substituted(text: &str, environment: &Environment) -> Result<Option<String>, BadVariable> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut value = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            value.push_str(&rest[..at - 1]);
            value.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        value.push_str(&rest[..at]);
        let tail = &rest[at + 2..];
        let Some((name, after)) = tail.split_once('}') else {
            return Err(BadVariable { written: "${".into(), headline: "`${` is not closed with `}`".into() });
        };
        let replacement = environment.get(name).ok_or_else(|| BadVariable {
            written: format!("${{{name}}}"),
            headline: format!("environment variable `{name}` is not set"),
        })?;
        value.push_str(&replacement);
        rest = after;
    }
    value.push_str(rest);
    Ok(Some(value))
}

/// Visits every string value at any depth, with its place.
fn for_each_string(table: &mut Table, visit: &mut impl FnMut(&mut String, Range<usize>)) {
    fn in_node(node: &mut Node, visit: &mut impl FnMut(&mut String, Range<usize>)) {
        match &mut node.value {
            Value::Text(text) => visit(text, node.span.clone()),
            Value::List(items) => items.iter_mut().for_each(|item| in_node(item, visit)),
            Value::Table(table) => table.nodes_mut().for_each(|node| in_node(node, visit)),
            _ => {}
        }
    }
    table.nodes_mut().for_each(|node| in_node(node, visit));
}

/// Reads a table into `T`; `header` is its place, `None` for a whole file. Every mistake is reported, not only the first:
/// what is wrong is taken out and the rest is read again. The value is there only if what remained was whole.
pub(super) fn read<T: DeserializeOwned>(
    file: &Arc<SourceFile>,
    table: &Table,
    header: Option<&Range<usize>>,
) -> (Option<T>, Vec<Diagnostic>) {
    // An empty place never holds anything, so an error of the table as a whole is told from those inside it.
    let mut node = Node { span: 0..0, value: Value::Table(table.clone()) };
    let mut findings = Vec::new();
    let mut removed: Vec<String> = Vec::new();
    while findings.len() < FINDINGS_MAX {
        let error = match T::deserialize(&node) {
            Ok(value) => return (Some(value), findings),
            Err(error) => error,
        };
        let missing = error.message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        if missing.is_some_and(|name| removed.iter().any(|key| key == name)) {
            // It is not missing, it was wrong, and that has been said.
            break;
        }
        let span = error.span.filter(|span| !span.is_empty());
        let key = span.as_ref().and_then(|span| remove_at(&mut node, span));
        let (headline, label) = explain(&error.message, key.as_deref());
        findings.push(Diagnostic::new(file, span.or_else(|| header.cloned()), headline, label));
        match key {
            Some(key) => removed.push(key),
            None => break,
        }
    }
    (None, findings)
}

/// Removes the innermost entry whose key or value holds `span`, and tells its key.
fn remove_at(node: &mut Node, span: &Range<usize>) -> Option<String> {
    match &mut node.value {
        Value::Table(table) => {
            let inner = table.nodes_mut().find_map(|node| remove_at(node, span));
            inner.or_else(|| table.remove_at(span))
        }
        Value::List(items) => items.iter_mut().find_map(|item| remove_at(item, span)),
        _ => None,
    }
}
