//! Environment variables as a value, so that tests need not change the process's own.

use std::collections::BTreeMap;

/// Where `${VAR}`, `{ env = "VAR" }` and the places of the configuration are looked up.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `None` asks the process.
    fixed: Option<BTreeMap<String, String>>,
}

impl Environment {
    /// The environment of this process, read anew at every look-up.
    pub fn process() -> Self {
        Self { fixed: None }
    }

    /// Exactly these variables.
    pub fn of<const N: usize>(variables: [(&str, &str); N]) -> Self {
        let fixed = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { fixed: Some(fixed) }
    }

    /// The value, if the variable is set to valid unicode.
    #[expect(clippy::disallowed_methods, reason = "this is the one place of the room that reads the environment")]
    pub fn get(&self, name: &str) -> Option<String> {
        match &self.fixed {
            Some(variables) => variables.get(name).cloned(),
            // A name with `=` or NUL is never set; the standard library says the same without a panic.
            None => std::env::var(name).ok(),
        }
    }

    /// As [`get`](Self::get), but an empty value counts as unset.
    pub fn filled(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty())
    }
}
