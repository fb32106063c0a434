//! A part: one named stream of a source's backup.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a part, unique within its snapshot: `social/table/public.statuses/0003`.
///
/// Components are separated by `/`; whatever a source puts into a component is encoded by [`PartName::component`], so a
/// name is one printable line however odd the object's own name is, and never climbs out of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartName(String);

impl PartName {
    /// Joins already encoded components.
    pub fn from_components(components: &[&str]) -> Self {
        debug_assert!(components.iter().all(|c| !c.is_empty() && !c.contains('/')));
        Self(components.join("/"))
    }

    /// Percent-encodes what may not stand in a component: `/`, `%`, control characters, and a leading dot.
    pub fn component(text: &str) -> String {
        use std::fmt::Write;
        let mut encoded = String::with_capacity(text.len());
        for (at, c) in text.char_indices() {
            if c == '/' || c == '%' || c.is_control() || (at == 0 && c == '.') {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    write!(encoded, "%{byte:02X}").expect("a String takes every write");
                }
            } else {
                encoded.push(c);
            }
        }
        encoded
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One record of a [`Shape::Digest`].
pub const DIGEST_BYTES: usize = 40;

/// How a part's bytes are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Records whose order carries no meaning (rows of a table): fingerprinted one by one, cut between records. Each ends in a
    /// newline and holds no other, so that a stored part can be divided again.
    Records,
    /// One run of bytes: fingerprinted as a whole, cut by content.
    Bytes,
    /// What another part's bytes mean, record by record: fingerprinted as [`Shape::Records`] is, and not stored. Nothing of it
    /// can be read back; a restore is compared by it. A record is [`DIGEST_BYTES`] long: the BLAKE3 of what is meant, and how
    /// many bytes that has, little endian.
    Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_one_printable_line_that_stays_in_its_folder() {
        let cases = [
            ("public.statuses", "public.statuses"),
            ("a/b", "a%2Fb"),
            ("line\nbreak", "line%0Abreak"),
            ("100%", "100%25"),
            ("..", "%2E."),
            ("ünï \"x\"", "ünï \"x\""),
        ];
        for (text, encoded) in cases {
            assert_eq!(PartName::component(text), encoded);
        }
    }
}
