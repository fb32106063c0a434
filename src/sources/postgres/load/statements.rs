//! Divides SQL text into statements, as far as `pg_dumpall` and `pg_restore` write it.

use crate::sources::postgres::wire::quote_ident;

/// The statements of `sql` without comments before them and without `psql`'s own commands (`\restrict`, `\connect`).
///
/// Strings, quoted names, dollar quotes and comments may hold semicolons and line ends.
pub(super) fn statements(sql: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = sql;
    loop {
        rest = skip_blank(rest);
        if rest.is_empty() {
            return found;
        }
        let end = end_of_statement(rest);
        found.push(rest[..end].trim_end());
        rest = rest[end..].strip_prefix(';').unwrap_or(&rest[end..]);
    }
}

fn skip_blank(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        if !(text.starts_with("--") || text.starts_with('\\')) {
            return text;
        }
        text = text.find('\n').map_or("", |end| &text[end..]);
    }
}

fn end_of_statement(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b';' => return at,
            b'\'' => {
                let escapes = at > 0 && matches!(bytes[at - 1], b'E' | b'e');
                at = end_of_quoted(bytes, at, escapes);
            }
            b'"' => at = end_of_quoted(bytes, at, false),
            b'$' => at = end_of_dollar(text, at),
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                at = text[at..].find('\n').map_or(bytes.len(), |end| at + end);
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Where the text continues after the quoted run that begins at `at`. A doubled quote closes and opens again.
fn end_of_quoted(bytes: &[u8], at: usize, escapes: bool) -> usize {
    let quote = bytes[at];
    let mut at = at + 1;
    while at < bytes.len() {
        if escapes && bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at] == quote {
            if !(escapes && bytes.get(at + 1) == Some(&quote)) {
                return at + 1;
            }
            at += 2;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// `$tag$ ... $tag$`; a lone `$` is an ordinary character.
fn end_of_dollar(text: &str, at: usize) -> usize {
    let rest = &text[at + 1..];
    let tag_end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    if !rest[tag_end..].starts_with('$') {
        return at + 1;
    }
    let tag = &text[at..at + tag_end + 2];
    let body = at + tag.len();
    text[body..].find(tag).map_or(text.len(), |end| body + end + tag.len())
}

/// The statement with the database that it is about called `name`; none where it is about no database.
///
/// The name is found by its place and not by its letters: in an archive of another encoding `pg_dump` spoils those that this
/// encoding does not know. A `COMMENT ON` a database that is not there would be no error, only nothing.
pub(super) fn for_database(statement: &str, name: &str) -> Option<String> {
    const WORD: &str = "DATABASE ";
    let bytes = statement.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'\'' | b'"') => {
                at = end_of_quoted(bytes, at, quote == b'\'' && at > 0 && matches!(bytes[at - 1], b'E' | b'e'));
            }
            _ if bytes[at..].starts_with(WORD.as_bytes()) && (at == 0 || bytes[at - 1] == b' ') => {
                let (_, rest) = leading_name(&statement[at + WORD.len()..])?;
                return Some(format!("{}{WORD}{}{rest}", &statement[..at], quote_ident(name)));
            }
            _ => at += 1,
        }
    }
    None
}

/// The name that stands at the start of `text`, unquoted, and what follows it.
pub(super) fn leading_name(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    if let Some(quoted) = text.strip_prefix('"') {
        let mut name = String::new();
        let mut chars = quoted.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c != '"' {
                name.push(c);
            } else if matches!(chars.peek(), Some((_, '"'))) {
                name.push('"');
                chars.next();
            } else {
                return Some((name, &quoted[at + 1..]));
            }
        }
        return None;
    }
    let end = text.find(|c: char| c.is_whitespace() || ".,;()".contains(c)).unwrap_or(text.len());
    (end > 0).then(|| (text[..end].to_owned(), &text[end..]))
}

/// `schema.name` at the start of `text`, unquoted.
pub(super) fn leading_qualified(text: &str) -> Option<(String, String)> {
    let (schema, rest) = leading_name(text)?;
    let (name, _) = leading_name(rest.strip_prefix('.')?)?;
    Some((schema, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_and_line_ends_within_quotes_do_not_end_a_statement() {
        let sql = "--\n-- Roles; all\n--\n\\restrict abc\nCREATE ROLE \"a;b\";\nCOMMENT ON ROLE x IS 'it''s;\n-- so';\n\
                   ALTER ROLE x SET a TO E'\\';\\\\';\nCREATE FUNCTION f() AS $x$ a; $$ b; $x$;\nSELECT 1";
        let expected = [
            "CREATE ROLE \"a;b\"",
            "COMMENT ON ROLE x IS 'it''s;\n-- so'",
            "ALTER ROLE x SET a TO E'\\';\\\\'",
            "CREATE FUNCTION f() AS $x$ a; $$ b; $x$",
            "SELECT 1",
        ];
        assert_eq!(statements(sql), expected);
        assert_eq!(statements(" \n-- only a comment"), Vec::<&str>::new());
    }

    #[test]
    fn the_database_of_a_statement_is_renamed_wherever_it_stands_and_however_it_is_spelled() {
        let check = |statement: &str, expected: Option<&str>| {
            assert_eq!(for_database(statement, "it's \"new\"").as_deref(), expected, "{statement}");
        };
        check("ALTER DATABASE plain OWNER TO x", Some("ALTER DATABASE \"it's \"\"new\"\"\" OWNER TO x"));
        check(
            "COMMENT ON DATABASE \"na\u{fffd} \"\"DATABASE a\" IS 'DATABASE b'",
            Some("COMMENT ON DATABASE \"it's \"\"new\"\"\" IS 'DATABASE b'"),
        );
        check(
            "ALTER ROLE \"the DATABASE a\" IN DATABASE \"a b\" SET x TO 'DATABASE c'",
            Some("ALTER ROLE \"the DATABASE a\" IN DATABASE \"it's \"\"new\"\"\" SET x TO 'DATABASE c'"),
        );
        check("COMMENT ON EXTENSION x IS E'\\' DATABASE a'", None);
        check("SELECT pg_catalog.set_config('search_path', '', false)", None);
    }

    #[test]
    fn names_are_read_quoted_or_not() {
        assert_eq!(leading_name("\"a\"\"b\" WITH").unwrap(), ("a\"b".to_owned(), " WITH"));
        assert_eq!(leading_name("plain;").unwrap(), ("plain".to_owned(), ";"));
        assert_eq!(leading_qualified("\"S\".t USING").unwrap(), ("S".to_owned(), "t".to_owned()));
        assert_eq!(leading_name("\"open"), None);
    }
}
