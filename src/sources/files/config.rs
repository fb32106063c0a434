//! The `[source]` table of a job of files.

use std::path::{Component, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{ConfigError, Section};
use crate::sources::tree::Patterns;

/// `type = "files"`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesConfig {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "files"))]
    pub kind: String,
    /// A folder, whose content is named from there: `"/srv/media"`. Or several folders and files, named by their whole paths:
    /// `["/etc", "/srv/media"]`. Relative paths start at the configuration's folder.
    pub path: Paths,
    /// What to leave out: `*.tmp` and `node_modules` at any depth, `/cache` and `media/**/small` from the top. What lies below a
    /// folder that is left out is left out too.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Stay on the file system that each path is on. What is mounted below is left out and said so.
    #[serde(default)]
    pub one_file_system: bool,
    /// Read every file in every run, also those whose size and times have not changed.
    #[serde(default)]
    pub full_read: bool,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Paths {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

/// The table, checked.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) roots: Vec<Root>,
    pub(super) exclude: Patterns,
    pub(super) one_file_system: bool,
    pub(super) full_read: bool,
}

/// One place that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    /// What its own name is in the list, before which nothing stands; empty where its content is named from it.
    pub(super) name: Vec<u8>,
}

impl FilesConfig {
    pub(super) fn settle(self, section: &Section) -> Result<Settings, ConfigError> {
        let bad = |key: &str, what: String, hint: &str| section.error_at(key, what, hint);
        let exclude = Patterns::new(&self.exclude).map_err(|why| bad("exclude", why, "patterns are as in `*.tmp`"))?;
        let roots = match &self.path {
            Paths::One(path) => vec![Root { path: section.resolve_path(path), name: vec![] }],
            Paths::Several(paths) => {
                let mut roots: Vec<Root> =
                    paths.iter().map(|path| section.resolve_path(path)).map(Root::named).collect();
                roots.sort_by(|a, b| super::origin::path_order(&a.name, &b.name));
                roots
            }
        };
        if roots.is_empty() || roots.iter().any(|root| root.path.as_os_str().is_empty()) {
            return Err(bad("path", "`path` names nothing".to_owned(), "name a folder, or a list of them"));
        }
        for root in &roots {
            if root.path.components().any(|part| part == Component::ParentDir) {
                let what = format!("`{}` goes up by `..`", root.path.display());
                return Err(bad("path", what, "name the folder itself"));
            }
        }
        for (at, root) in roots.iter().enumerate() {
            if let Some(outer) = roots[..at].iter().find(|outer| root.path.starts_with(&outer.path)) {
                let what = format!("`{}` lies within `{}`", root.path.display(), outer.path.display());
                return Err(bad("path", what, "the outer one brings it along; name each once"));
            }
        }
        Ok(Settings { roots, exclude, one_file_system: self.one_file_system, full_read: self.full_read })
    }
}

impl Root {
    fn named(path: PathBuf) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let parts: Vec<&[u8]> = path
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name.as_bytes()),
                _ => None,
            })
            .collect();
        let name = parts.join(&b'/');
        Self { path, name }
    }
}
