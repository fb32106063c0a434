//! What URLs have in common, whatever their scheme.

use crate::domain::percent_decoded;

/// A part of a URL as text; `None` where it is none.
pub(in crate::sources) fn text(raw: &str) -> Option<String> {
    String::from_utf8(percent_decoded(raw)?).ok()
}

/// For error texts: whatever stands between the user's name and the last `@` goes, for a password may hold one.
pub(in crate::sources) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((login, place)) => format!("{scheme}://{}@{place}", login.split(':').next().unwrap_or_default()),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_shown_in_no_part_even_where_it_is_not_escaped() {
        for (url, expected) in [
            ("postgres://u:hunter2@h/db", "postgres://u@h/db"),
            ("redis://:hunter2@h", "redis://@h"),
            ("postgres://u:hunt@er2@h/db", "postgres://u@h/db"),
            ("postgres://u:hun/ter2@h/db", "postgres://u@h/db"),
            ("postgres://h/db", "postgres://h/db"),
            ("no url", "no url"),
        ] {
            assert_eq!(without_password(url), expected);
        }
    }
}
