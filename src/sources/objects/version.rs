//! Names of versions in a list: the key, a NUL, and when the version was made.
//!
//! Versions stand under names that tell nothing of the store, so that a list can be restored and compared: the store's own names for
//! them cannot come back. A name is stable while older versions of the same key end. Memory: the versions of one key.

use std::cmp::Ordering;

use super::store::Listed;

const MARK: char = '\0';
/// `2026-11-21T10:15:49.000000000Z`.
const TIME_BYTES: usize = 30;

/// Where the NUL before the time is. A key may hold a NUL; what stands behind that one is no time.
fn mark(name: &[u8]) -> Option<usize> {
    let at = name.iter().rposition(|byte| *byte == 0)?;
    let time = &name[at + 1..];
    let is_time = time.len() >= TIME_BYTES && time[4] == b'-' && time[10] == b'T' && time[TIME_BYTES - 1] == b'Z';
    is_time.then_some(at)
}

/// The key, and when the version was made.
pub(super) fn split(name: &str) -> (&str, Option<&str>) {
    mark(name.as_bytes()).map_or((name, None), |at| (&name[..at], Some(&name[at + 1..])))
}

/// The key in a name of bytes.
pub(super) fn key_of(name: &[u8]) -> &[u8] {
    &name[..mark(name).unwrap_or(name.len())]
}

/// The order of names: keys as bytes, the newest version first.
pub(super) fn order(one: &[u8], other: &[u8]) -> Ordering {
    let (a, b) = (key_of(one), key_of(other));
    a.cmp(b).then_with(|| other[b.len()..].cmp(&one[a.len()..]))
}

/// Names the versions of one key, newest first.
pub(super) fn named(mut versions: Vec<Listed>) -> Vec<(String, Listed)> {
    // What a store lists as of one moment stays in its order.
    versions.sort_by_key(|version| std::cmp::Reverse(version.time));
    let text = |listed: &Listed| {
        let time = listed.time.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        time.strftime("%Y-%m-%dT%H:%M:%S%.9fZ").to_string()
    };
    let mut names: Vec<String> = versions.iter().map(text).collect();
    // The oldest of several of one moment keeps the plain name: `...Z`, `...Z.001`.
    let mut same = 0;
    for at in (0..names.len()).rev() {
        same = if names.get(at + 1).is_some_and(|older| older.starts_with(names[at].as_str())) { same + 1 } else { 0 };
        if same > 0 {
            names[at] = format!("{}.{same:06}", names[at]);
        }
    }
    names.into_iter().zip(versions).map(|(time, v)| (format!("{}{MARK}{time}", v.which.key), v)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::objects::store::Which;

    fn listed(second: i64, version: &str) -> Listed {
        Listed {
            which: Which { key: "a\0b".to_owned(), version: Some(version.to_owned()) },
            removed: false,
            size: 1,
            tag: String::new(),
            time: Some(jiff::Timestamp::new(second, 0).unwrap()),
        }
    }

    #[test]
    fn versions_have_names_in_the_order_of_the_list_and_keep_them_when_older_or_newer_ones_come_and_go() {
        let all: Vec<Listed> = [(7, "g"), (5, "f"), (5, "e"), (5, "d"), (3, "c")].map(|(s, v)| listed(s, v)).into();
        let names = named(all.clone());
        let texts: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(texts[0], "a\0b\x001970-01-01T00:00:07.000000000Z");
        assert_eq!(texts[1], "a\0b\x001970-01-01T00:00:05.000000000Z.000002");
        assert_eq!(texts[3], "a\0b\x001970-01-01T00:00:05.000000000Z");
        for pair in texts.windows(2) {
            assert_eq!(order(pair[0].as_bytes(), pair[1].as_bytes()), Ordering::Less, "{pair:?}");
        }
        assert_eq!(split(texts[0]), ("a\0b", Some("1970-01-01T00:00:07.000000000Z")));
        let fewer = named(all[1..4].to_vec());
        assert_eq!(fewer[..], names[1..4]);
    }

    #[test]
    fn keys_without_versions_are_in_the_order_of_their_bytes() {
        assert_eq!(order(b"a", b"b"), Ordering::Less);
        assert_eq!(order(b"a", b"a/b"), Ordering::Less);
        assert_eq!(order(b"a", b"a"), Ordering::Equal);
        assert_eq!(order(b"a\0b", b"a\0c"), Ordering::Less, "a NUL of the key's own");
        assert_eq!(split("a\0b"), ("a\0b", None));
        let (older, newer) = ("a\x002025-01-01T00:00:05.000000000Z", "a!\x002026-01-01T00:00:05.000000000Z");
        assert_eq!(order(older.as_bytes(), newer.as_bytes()), Ordering::Less, "the key decides");
    }
}
