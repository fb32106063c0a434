//! Which names a job leaves out, or a restore chooses.
//!
//! A pattern without `/` stands for a name at any depth (`*.tmp`, `node_modules`); one with `/` for a path from the top
//! (`/var/cache`, `media/2024/**`). `*` and `?` stop at `/`, `**` does not, `[a-z]` and `{a,b}` work as in a shell. Whatever
//! lies below a folder that fits, fits too.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Several patterns; none of them fits nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patterns {
    texts: Vec<String>,
    set: GlobSet,
}

impl Patterns {
    /// The error names the pattern.
    pub(crate) fn new(texts: &[String]) -> Result<Self, String> {
        let mut set = GlobSetBuilder::new();
        for text in texts {
            let trimmed = text.strip_suffix('/').unwrap_or(text);
            let glob = match trimmed.strip_prefix('/') {
                Some(path) => path.to_owned(),
                None if trimmed.contains('/') => trimmed.to_owned(),
                None => format!("**/{trimmed}"),
            };
            if glob.is_empty() || glob == "**/" {
                return Err(format!("`{text}` is an empty pattern"));
            }
            // Both the thing itself and what lies below it.
            for glob in [glob.clone(), format!("{glob}/**")] {
                let built = GlobBuilder::new(&glob).literal_separator(true).backslash_escape(true).build();
                set.add(built.map_err(|error| format!("`{text}` is not a pattern: {}", error.kind()))?);
            }
        }
        let set = set.build().map_err(|error| error.to_string())?;
        Ok(Self { texts: texts.to_vec(), set })
    }

    pub(crate) fn texts(&self) -> &[String] {
        &self.texts
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    pub(crate) fn fits(&self, name: &[u8]) -> bool {
        !self.texts.is_empty() && self.set.is_match(Path::new(OsStr::from_bytes(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_a_person_expects() {
        let cases: [(&str, &[&str], &[&str]); 6] = [
            ("*.tmp", &["a.tmp", "x/y/b.tmp", "dir.tmp/inside"], &["a.tmpx", "tmp"]),
            ("/cache", &["cache", "cache/a/b"], &["x/cache", "cached"]),
            ("media/*/small", &["media/1/small", "media/1/small/x"], &["media/1/2/small", "x/media/1/small"]),
            ("media/**/small", &["media/small", "media/1/2/small"], &["small"]),
            ("node_modules/", &["node_modules", "a/node_modules/b"], &["node_modules2"]),
            ("/a{1,2}.[ch]", &["a1.c", "a2.h"], &["a3.c", "a1.o"]),
        ];
        for (text, fitting, others) in cases {
            let patterns = Patterns::new(&[text.to_owned()]).unwrap();
            for name in fitting {
                assert!(patterns.fits(name.as_bytes()), "{text} {name}");
            }
            for name in others {
                assert!(!patterns.fits(name.as_bytes()), "{text} {name}");
            }
        }
        assert!(!Patterns::new(&[]).unwrap().fits(b"anything"));
        assert!(Patterns::new(&["*.bin".to_owned()]).unwrap().fits(b"\xff/\xfe.bin"));
        for bad in ["", "/", "[a"] {
            assert!(Patterns::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
