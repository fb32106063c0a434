//! Where the configuration is.

use std::path::{Path, PathBuf};

use super::{Config, ConfigError, Environment};

/// The file's name wherever it is looked for.
const NAME: &str = "lifeboat.toml";

impl Config {
    /// The path of `lifeboat.toml`: `-c FILE`, else `$LIFEBOAT_CONFIG`, else the first that exists of `./lifeboat.toml`,
    /// `~/.config/lifeboat/lifeboat.toml` and `/etc/lifeboat/lifeboat.toml`. The error says where it looked.
    pub fn find(explicit: Option<&Path>) -> Result<PathBuf, ConfigError> {
        Self::find_in(explicit, &Environment::process())
    }

    /// As [`find`](Self::find), with the environment as a value.
    pub fn find_in(explicit: Option<&Path>, environment: &Environment) -> Result<PathBuf, ConfigError> {
        if let Some(path) = explicit {
            return named(path, "-c");
        }
        if let Some(path) = environment.filled("LIFEBOAT_CONFIG") {
            return named(Path::new(&path), "LIFEBOAT_CONFIG");
        }
        let folder = environment
            .filled("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| environment.filled("HOME").map(|home| Path::new(&home).join(".config")));
        let places: Vec<PathBuf> = [Some(PathBuf::from(NAME)), folder.map(|folder| folder.join("lifeboat").join(NAME))]
            .into_iter()
            .flatten()
            .chain([Path::new("/etc/lifeboat").join(NAME)])
            .collect();
        if let Some(found) = places.iter().find(|path| path.is_file()) {
            return Ok(found.clone());
        }
        let looked: Vec<String> = places.iter().map(|path| format!("`{}`", path.display())).collect();
        Err(ConfigError::new(format!(
            "no configuration found\n  looked at {}\n  hint: run `lifeboat init`, or name one with `-c FILE` or `LIFEBOAT_CONFIG`",
            looked.join(", ")
        )))
    }
}

/// A file that the user named: nothing else is tried.
fn named(path: &Path, by: &str) -> Result<PathBuf, ConfigError> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let why = if path.is_dir() { "is a directory" } else { "is not there" };
    Err(ConfigError::new(format!("configuration `{}`, named by `{by}`, {why}", path.display())))
}
