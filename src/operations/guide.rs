//! RESTORE.md: how to get everything back without Lifeboat.

use crate::repository::info::RepositoryInfo;

/// The guide that every repository carries. It needs `sh`, `age`, `zstd`, `sha256sum`, `awk`, `dd`, and the engine's client.
pub fn restore_md(info: &RepositoryInfo) -> String {
    include_str!("restore.md")
        .replace("{{repository}}", &info.repository)
        .replace("{{format}}", &info.format.to_string())
}
