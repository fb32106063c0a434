//! Who runs child servers. Postgres refuses root, so root starts them as an unprivileged user.

use std::path::Path;

/// An account that servers run under when Lifeboat itself runs as root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUser {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// `None` when this process is not root: servers then run as ourselves.
///
/// As root: the `postgres` account of the distribution's package, else `nobody`.
pub fn server_user() -> Option<ServerUser> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    ["postgres", "nobody"].iter().find_map(|wanted| account(&accounts, wanted))
}

fn account(accounts: &str, wanted: &str) -> Option<ServerUser> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| *name == wanted)?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(ServerUser { name: name.to_owned(), uid, gid })
    })
}

/// Gives `path` to the server user, so that the server can write there. Nothing to do when servers run as ourselves.
pub fn give(path: &Path, user: Option<&ServerUser>) -> std::io::Result<()> {
    match user {
        Some(user) => std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)),
        None => Ok(()),
    }
}

/// Whether the account that servers run under may pass through every folder down to `folder`.
pub fn server_can_reach(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Some(user) = server_user() else { return true };
    let Ok(folder) = folder.canonicalize() else { return false };
    folder.ancestors().all(|level| {
        std::fs::metadata(level).is_ok_and(|entry| {
            let bit = match (entry.uid() == user.uid, entry.gid() == user.gid) {
                (true, _) => 0o100,
                (_, true) => 0o010,
                _ => 0o001,
            };
            entry.mode() & bit != 0
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let accounts =
            "root:x:0:0::/root:/bin/sh\npostgresql:x:5:5::/:\npostgres:x:101:104::/var/lib/postgresql:/bin/bash\n";
        let user = account(accounts, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert_eq!(account(accounts, "nobody"), None);
    }
}
