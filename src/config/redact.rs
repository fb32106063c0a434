//! Finds secrets that somebody wrote into a configuration file, so that no error and no listing repeats them.

use std::ops::Range;

use super::node::{Node, Table, Value};

/// What stands in place of a secret.
pub(super) const REDACTED: &str = "[redacted]";
/// Keys of a reference: what stands below them says where a secret is, not what it is.
pub(super) const REFERENCE_KEYS: [&str; 4] = ["file", "env", "command", "credential"];
/// How an age identity begins.
const AGE_IDENTITY: &str = "AGE-SECRET-KEY-";

/// Whether the value of a key with this name is a secret.
pub fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "passwd", "passphrase", "secret", "token"].iter().any(|word| key.contains(word))
        || key.ends_with("_key")
        || key == "identity"
}

/// Byte ranges of `text` that hold secrets; `table` is what could be parsed of it.
pub(super) fn secret_spans(text: &str, table: &Table) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    for entry in table.iter() {
        in_node(&entry.node, is_secret_key(&entry.key), &mut spans);
    }
    spans.extend(quoted_after_secret_keys(text));
    spans.extend(bare_secrets(text));
    merge(spans)
}

fn in_node(node: &Node, secret: bool, spans: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::Table(table) => {
            for entry in table.iter() {
                in_node(&entry.node, is_secret_below(&entry.key, secret), spans);
            }
        }
        Value::List(items) => items.iter().for_each(|item| in_node(item, secret, spans)),
        _ if secret => spans.push(node.span.clone()),
        _ => {}
    }
}

/// Whether what stands under `key` is secret, in a table that itself is or is not.
pub(super) fn is_secret_below(key: &str, secret: bool) -> bool {
    is_secret_key(key) || (secret && !REFERENCE_KEYS.contains(&key))
}

/// `password = "hunt` in a line that does not parse.
fn quoted_after_secret_keys(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        for (equals, _) in line.match_indices('=') {
            let before = line[..equals].trim_end().trim_end_matches(['"', '\'']);
            let name_start = before
                .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
                .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
            let after = &line[equals + 1..];
            let value = after.trim_start();
            let Some(quote) = value.chars().next().filter(|c| *c == '"' || *c == '\'') else { continue };
            if is_secret_key(&before[name_start..]) {
                let from = start + equals + 1 + (after.len() - value.len());
                let length = value[1..].find(quote).map_or(value.trim_end().len(), |end| end + 2);
                spans.push(from..from + length);
            }
        }
        start += line.len();
    }
    spans
}

/// Passwords inside URLs, and age identities, wherever they stand.
fn bare_secrets(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    for (at, _) in text.match_indices("://") {
        let rest = &text[at + 3..];
        let authority = &rest[..rest.find(['/', '?', '#', '"', '\'', ' ', '\n', '`']).unwrap_or(rest.len())];
        // The last `@` ends the user information: a password may hold an unescaped one.
        let Some(end) = authority.rfind('@') else { continue };
        if let Some(colon) = authority[..end].find(':') {
            spans.push(at + 3 + colon + 1..at + 3 + end);
        }
    }
    for (at, _) in text.match_indices(AGE_IDENTITY) {
        let length = text[at..].find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(text.len() - at);
        spans.push(at..at + length);
    }
    // `?password=...` in a connection URL.
    for (at, _) in text.match_indices("password=") {
        let from = at + "password=".len();
        let length = text[from..].find(['&', '"', '\'', ' ', '\n', '`']).unwrap_or(text.len() - from);
        spans.push(from..from + length);
    }
    spans
}

/// Whether `text` is a URL with a password written out; one that comes from a variable is not written here.
pub(super) fn is_url_with_password(text: &str) -> bool {
    let is_url = text.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
    });
    is_url && bare_secrets(text).iter().any(|span| !span.is_empty() && !text[span.clone()].contains("${"))
}

/// Sorts, drops empty ranges and joins those that touch.
fn merge(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.retain(|span| !span.is_empty());
    spans.sort_by_key(|span| span.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

/// A message or a value without the passwords of URLs and without age identities.
pub fn redact_text(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut from = 0;
    for span in merge(bare_secrets(text)) {
        clean.push_str(&text[from..span.start]);
        clean.push_str(REDACTED);
        from = span.end;
    }
    clean.push_str(&text[from..]);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Table {
        Table::from_parsed(toml::de::DeTable::parse_recoverable(text).0.get_ref())
    }

    #[test]
    fn secrets_are_found_in_urls_identities_and_under_secret_keys() {
        let cases = [
            ("url = \"postgres://u:hun@ter2@db/x\"", "hun@ter2"),
            ("identity = \"AGE-SECRET-KEY-1ABC\" # mine", "\"AGE-SECRET-KEY-1ABC\""),
            ("s = { bucket = \"b\", secret_access_key = \"hunter2\" }", "\"hunter2\""),
            ("password = { value = \"hunter2\" }", "\"hunter2\""),
            ("password = \"hunt", "\"hunt"),
            ("pass_phrase_token = 1234", "1234"),
            ("url = \"postgres://db/x?password=hunter2&a=b\"", "hunter2"),
        ];
        for (text, secret) in cases {
            let spans = secret_spans(text, &parsed(text));
            let found: Vec<&str> = spans.iter().map(|span| &text[span.clone()]).collect();
            assert_eq!(found, [secret], "{text}");
        }
    }

    #[test]
    fn references_and_ordinary_text_are_left_alone() {
        for text in ["password = { file = \"/run/pg\" }", "url = \"postgres://u@db/x\"", "access_key_id = \"AK\""] {
            assert!(secret_spans(text, &parsed(text)).is_empty(), "{text}");
        }
        assert_eq!(redact_text("at `postgres://u:p@h/d`"), "at `postgres://u:[redacted]@h/d`");
    }
}
