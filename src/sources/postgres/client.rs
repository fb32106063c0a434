//! Finds a `pg_dump` that can read the server: never an older one, which would refuse or, worse, leave out what it does not
//! know.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sources::SourceError;
use crate::system::process::Program;

const DEBIAN: &str = "/usr/lib/postgresql";
const LIMIT: Duration = Duration::from_secs(20);

/// One installation's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Empty when the programs are found by `$PATH`.
    folder: PathBuf,
    /// `15.18`.
    pub version: String,
    pub major: u32,
}

impl Client {
    pub fn program(&self, name: &str) -> Program {
        Program::new(self.folder.join(name))
    }
}

/// The client that fits the server best: the same major, else the nearest later one.
pub async fn find(server_major: u32, configured: Option<&Path>) -> Result<Client, SourceError> {
    let folders = match configured {
        Some(folder) => vec![folder.to_owned()],
        None => usual_folders(),
    };
    let found = look(folders, server_major).await;
    choose(server_major, &found).cloned().ok_or_else(|| lacking(server_major, &found, configured))
}

/// The same for a load: what wrote the archive may lie in the folders `first`, or where clients usually are.
pub async fn find_also_in(first: &[PathBuf], major: u32) -> Result<Client, SourceError> {
    let found = look([first, &usual_folders()].concat(), major).await;
    choose(major, &found).cloned().ok_or_else(|| lacking(major, &found, None))
}

/// Asks the programs for their versions, until one is of the wanted major.
async fn look(folders: Vec<PathBuf>, wanted_major: u32) -> Vec<Client> {
    let mut found = Vec::new();
    for folder in folders {
        let version = Program::new(folder.join("pg_dump")).arg("--version").run(LIMIT).await;
        let version = version.ok().and_then(|output| version_of(&String::from_utf8_lossy(&output)));
        if let Some((version, major)) = version {
            found.push(Client { folder, version, major });
            if major == wanted_major {
                break;
            }
        }
    }
    found
}

/// Debian's folder of each major, then whatever `$PATH` finds.
fn usual_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(DEBIAN)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect())
        .unwrap_or_default();
    folders.retain(|folder| folder.join("pg_dump").exists());
    folders.sort();
    folders.push(PathBuf::new());
    folders
}

/// Reads `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `pg_dump (PostgreSQL) 18beta1`.
fn version_of(output: &str) -> Option<(String, u32)> {
    let version = output.split(") ").nth(1)?.split_whitespace().next()?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((version.to_owned(), digits.parse().ok()?))
}

fn choose(server_major: u32, found: &[Client]) -> Option<&Client> {
    found.iter().filter(|client| client.major >= server_major).min_by_key(|client| client.major)
}

fn lacking(server_major: u32, found: &[Client], configured: Option<&Path>) -> SourceError {
    let place = configured.map_or_else(|| "this machine".to_owned(), |folder| format!("`{}`", folder.display()));
    let why = if found.is_empty() {
        format!("{place} has no `pg_dump`")
    } else {
        let versions: Vec<&str> = found.iter().map(|client| client.version.as_str()).collect();
        format!("{place} has `pg_dump` {}, and the server is {server_major}", versions.join(", "))
    };
    SourceError::Refused {
        what: format!("no `pg_dump` of version {server_major} or later"),
        why,
        hint: format!("`apt install postgresql-client-{server_major}`, or name its folder as `client_directory`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(version: &str) -> Client {
        let (version, major) = version_of(&format!("pg_dump (PostgreSQL) {version} (Debian)\n")).unwrap();
        Client { folder: PathBuf::new(), version, major }
    }

    #[test]
    fn the_same_major_wins_then_the_nearest_later_one_and_never_an_older_one() {
        let found = [client("13.4"), client("18beta1"), client("16.2"), client("15.18")];
        let major = |server| choose(server, &found).map(|client| client.major);
        assert_eq!((major(15), major(14), major(17), major(19)), (Some(15), Some(15), Some(18), None));
    }

    #[tokio::test]
    async fn a_server_newer_than_every_client_is_refused_with_the_package_to_install() {
        let error = find(99, None).await.unwrap_err();
        assert!(matches!(error, SourceError::Refused { .. }));
        assert!(error.hint().contains("postgresql-client-99"));
    }
}
