//! Names and texts as SQL writes them.

/// `a"b` becomes `"a""b"`. Always quoted: no list of keywords to go stale.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `"schema"."name"`.
pub fn quote_qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_ident(schema), quote_ident(name))
}

/// A text constant on one line; with backslashes or line ends as `E'...'`, which means the same whatever
/// `standard_conforming_strings` says.
pub fn quote_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains(['\\', '\n', '\r']) {
        format!(" E'{}'", doubled.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r"))
    } else {
        format!("'{doubled}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_in_names_and_texts_are_doubled() {
        assert_eq!(quote_ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_qualified("s", "t\n"), "\"s\".\"t\n\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\'b\n"), " E'a\\\\''b\\n'");
    }
}
