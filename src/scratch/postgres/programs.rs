//! Finds an installed server of a wanted major version.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::system::process::Program;

const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// A folder with `initdb`, `postgres` and the clients of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    pub(super) bin: PathBuf,
    /// `15.18`.
    pub(super) version: String,
}

/// The programs of `major`, from the folders that the user named, else where distributions put them, else the `PATH`.
///
/// Only the very major will do: another one describes its catalog in other words, and equal content would look different.
pub(super) async fn find(major: u32, named: &[PathBuf]) -> Option<Programs> {
    let mut places: Vec<PathBuf> = named.iter().flat_map(|folder| [folder.clone(), folder.join("bin")]).collect();
    places.push(format!("/usr/lib/postgresql/{major}/bin").into());
    places.push(format!("/usr/pgsql-{major}/bin").into());
    places.push(format!("/opt/homebrew/opt/postgresql@{major}/bin").into());
    for bin in places {
        if let Some(programs) = of_major(&bin, major).await {
            return Some(programs);
        }
    }
    // `pg_config` on the PATH names the folder that a package without versioned folders uses.
    let output = Program::new("pg_config").arg("--bindir").clear_env().run(VERSION_LIMIT).await.ok()?;
    of_major(Path::new(String::from_utf8(output).ok()?.trim()), major).await
}

async fn of_major(bin: &Path, major: u32) -> Option<Programs> {
    if !bin.join("initdb").is_file() {
        return None;
    }
    let output = Program::new(bin.join("postgres")).arg("--version").clear_env().run(VERSION_LIMIT).await.ok()?;
    let version = version(&String::from_utf8(output).ok()?)?;
    let found = version.split('.').next()?.parse::<u32>().ok()?;
    (found == major).then(|| Programs { bin: bin.to_owned(), version })
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `... 18beta1`.
fn version(line: &str) -> Option<String> {
    let text = line.split("(PostgreSQL)").nth(1)?.split_whitespace().next()?;
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_distributions_and_betas_print() {
        let cases = [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some("15.18")),
            ("postgres (PostgreSQL) 18beta1", Some("18")),
            ("postgres (PostgreSQL) 13.22", Some("13.22")),
            ("something else", None),
        ];
        for (line, expected) in cases {
            assert_eq!(version(line).as_deref(), expected, "{line}");
        }
    }
}
