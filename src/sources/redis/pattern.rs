//! Patterns of keys as Redis' own `KEYS` and `SCAN` read them: bytes, `*`, `?`, `[a-z]`, `[^a]`, and `\` before what is meant
//! as it is.
//!
//! Time is bounded by the product of both lengths: only the last `*` is ever tried again.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Pattern {
    text: String,
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Any,
    One,
    Byte(u8),
    /// Ranges, ends included; `not` turns it round.
    Class {
        ranges: Vec<(u8, u8)>,
        not: bool,
    },
}

impl Pattern {
    pub fn new(text: &str) -> Self {
        let mut items = vec![];
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            items.push(match first {
                b'*' if items.last() == Some(&Item::Any) => continue,
                b'*' => Item::Any,
                b'?' => Item::One,
                b'[' => class(&mut rest),
                b'\\' => match rest.split_first() {
                    Some((meant, after)) => {
                        rest = after;
                        Item::Byte(*meant)
                    }
                    None => Item::Byte(b'\\'),
                },
                other => Item::Byte(*other),
            });
        }
        Self { text: text.to_owned(), items }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the pattern stands for the whole key.
    pub fn fits(&self, key: &[u8]) -> bool {
        let (mut item, mut at) = (0, 0);
        // Where to go on when the last `*` has to stand for one byte more.
        let mut star: Option<(usize, usize)> = None;
        while at < key.len() {
            match self.items.get(item) {
                Some(Item::Any) => {
                    star = Some((item, at));
                    item += 1;
                }
                Some(other) if other.is(key[at]) => {
                    item += 1;
                    at += 1;
                }
                _ => match star {
                    Some((star_item, taken)) => {
                        star = Some((star_item, taken + 1));
                        item = star_item + 1;
                        at = taken + 1;
                    }
                    None => return false,
                },
            }
        }
        self.items[item..].iter().all(|item| *item == Item::Any)
    }
}

impl Item {
    fn is(&self, byte: u8) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::Byte(own) => *own == byte,
            Self::Class { ranges, not } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != *not,
        }
    }
}

/// What stands between `[` and `]`; without its end it goes on to the pattern's.
fn class(rest: &mut &[u8]) -> Item {
    let not = rest.first() == Some(&b'^');
    if not {
        *rest = &rest[1..];
    }
    let mut ranges = vec![];
    loop {
        *rest = match rest {
            [] => break,
            [b']', after @ ..] => {
                *rest = after;
                break;
            }
            [b'\\', meant, after @ ..] => {
                ranges.push((*meant, *meant));
                after
            }
            [from, b'-', to, after @ ..] => {
                ranges.push((*from.min(to), *from.max(to)));
                after
            }
            [one, after @ ..] => {
                ranges.push((*one, *one));
                after
            }
        };
    }
    Item::Class { ranges, not }
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server's own answers to the same patterns are compared in `tests/redis_dump.rs`.
    #[test]
    fn patterns_stand_for_whole_keys() {
        for (pattern, key, expected) in [
            ("cache:*", &b"cache:1"[..], true),
            ("cache:*", b"my-cache:1", false),
            ("*", b"", true),
            ("", b"", true),
            ("a*b*c", b"a--b--b-c", true),
            ("a**c", b"abc", true),
            ("h?llo", b"hello", true),
            ("h?llo", b"hllo", false),
            ("h[ae]llo", b"hallo", true),
            ("h[^e]llo", b"hello", false),
            ("h[a-c]llo", b"hbllo", true),
            ("h[c-a]llo", b"hbllo", true),
            ("a\\*b", b"a*b", true),
            ("a\\*b", b"axb", false),
            ("[\\]]", b"]", true),
            ("*ÿ", "xÿ".as_bytes(), true),
            ("k*", b"k\0\r\n\xff", true),
        ] {
            assert_eq!(Pattern::new(pattern).fits(key), expected, "{pattern} {key:?}");
        }
    }

    #[test]
    fn a_pattern_of_stars_takes_no_exponential_time() {
        assert!(!Pattern::new(&"*a".repeat(200)).fits(&[b'a'; 199]));
        assert!(!Pattern::new(&format!("{}b", "*a".repeat(30))).fits(&vec![b'a'; 20_000]));
    }
}
