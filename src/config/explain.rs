//! Turns what a deserialiser says into what a person reads: a headline, and beside the caret what to do.

/// Splits a message of one of our own value types: the first line is the headline, the second stands at the caret.
pub(super) const LABEL_BREAK: char = '\n';

/// Headline and label for a deserialiser's message about `key`, the innermost key that it concerns.
pub(super) fn explain(message: &str, key: Option<&str>) -> (String, String) {
    if let Some((headline, label)) = message.split_once(LABEL_BREAK) {
        return (headline.to_owned(), label.to_owned());
    }
    if let Some((word, expected)) = unknown(message, "unknown field `") {
        return (format!("unknown key `{word}`"), suggestion(word, &expected));
    }
    if let Some((word, expected)) = unknown(message, "unknown variant `") {
        return (format!("unknown value `{word}`"), suggestion(word, &expected));
    }
    if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return (format!("missing key `{field}`"), format!("add `{field} = ...`"));
    }
    if message == "duplicate key" {
        return ("duplicate key".to_owned(), "stands above already; keep one of them".to_owned());
    }
    if message.starts_with("data did not match any variant of untagged enum ") {
        let place = key.map(|key| format!(" for `{key}`")).unwrap_or_default();
        return (format!("wrong value{place}"), "none of the forms that may stand here".to_owned());
    }
    for (prefix, what) in [("invalid type: ", "wrong type"), ("invalid value: ", "wrong value")] {
        let Some((found, expected)) = message.strip_prefix(prefix).and_then(|rest| rest.rsplit_once(", expected "))
        else {
            continue;
        };
        let place = key.map(|key| format!(" for `{key}`")).unwrap_or_default();
        return (format!("{what}{place}: found {}", plain_found(found)), format!("expected {}", plain_type(expected)));
    }
    (message.to_owned(), String::new())
}

/// The word and the expected names of `` unknown field `x`, expected one of `a`, `b` ``.
fn unknown<'a>(message: &'a str, prefix: &str) -> Option<(&'a str, Vec<&'a str>)> {
    let rest = message.strip_prefix(prefix)?;
    let (word, expected) = rest.rsplit_once("`, ")?;
    // The split above cut at the last name of a list: find the end of the word itself instead.
    let (word, expected) = match rest.split_once("`, expected ") {
        Some((word, expected)) => (word, expected),
        None => (word, expected),
    };
    Some((word, expected.split('`').skip(1).step_by(2).collect()))
}

fn suggestion(word: &str, expected: &[&str]) -> String {
    match (did_you_mean(word, expected.iter().copied()), expected) {
        (Some(name), _) => format!("did you mean `{name}`?"),
        (None, []) => "nothing may stand here".to_owned(),
        (None, [only]) => format!("only `{only}` may stand here"),
        (None, many) => {
            format!("expected one of {}", many.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
        }
    }
}

/// The candidate that `word` most likely stands for: few edits away, or what it abbreviates.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let edits_max = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(edits, candidate)| {
            *edits <= edits_max || (word.len() >= 3 && candidate.to_lowercase().starts_with(&word))
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// `string "x"` and its like read well; only a map is a Rust word.
fn plain_found(found: &str) -> String {
    match found {
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        other => other.to_owned(),
    }
}

fn plain_type(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" | "path string" => "a string in quotes",
        "a sequence" => "a list: [...]",
        "a map" => "a table",
        "a boolean" => "`true` or `false`",
        struct_name if struct_name.starts_with("struct ") => "a table",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deserialisers_words_become_a_headline_and_a_hint() {
        let cases = [
            (
                "unknown field `retension`, expected one of `source`, `retention`",
                "unknown key `retension`",
                "did you mean `retention`?",
            ),
            ("unknown field `x`, expected `y2`", "unknown key `x`", "only `y2` may stand here"),
            ("unknown field `x`, there are no fields", "unknown key `x`", "nothing may stand here"),
            ("unknown variant `zz`, expected `aa` or `bb`", "unknown value `zz`", "expected one of `aa`, `bb`"),
            ("missing field `url`", "missing key `url`", "add `url = ...`"),
            (
                "invalid type: string \"two\", expected usize",
                "wrong type for `key`: found string \"two\"",
                "expected a whole number, 0 or more",
            ),
            (
                "data did not match any variant of untagged enum Databases",
                "wrong value for `key`",
                "none of the forms that may stand here",
            ),
            ("first\nsecond", "first", "second"),
        ];
        for (message, headline, label) in cases {
            assert_eq!(explain(message, Some("key")), (headline.to_owned(), label.to_owned()), "{message}");
        }
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        assert_eq!(did_you_mean("hour", ["hourly", "yearly"]), Some("hourly"));
        assert_eq!(did_you_mean("Daily", ["daily"]), Some("daily"));
        assert_eq!(did_you_mean("colour", ["daily", "last"]), None);
    }
}
