//! Where a running system is, and what a scratch instance of it must offer.

use std::borrow::Cow;

use std::path::{Path, PathBuf};

use super::{Secret, human_bytes};

/// A running system that a source, a loader or a check connects to.
#[derive(Debug, Clone)]
pub struct Place {
    /// `postgres://user@host:port/database`; percent-encoded socket directories are understood
    /// (`postgres://user@%2Ftmp%2Fsock:5432/db`); no password.
    pub url: String,
    pub password: Option<Secret>,
}

const FOLDER: &str = "file://";

impl Place {
    /// A folder as a place; any path is understood.
    pub fn of_folder(path: &Path) -> Self {
        use std::fmt::Write;
        use std::os::unix::ffi::OsStrExt;
        let mut url = FOLDER.to_owned();
        for byte in path.as_os_str().as_bytes() {
            if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
                url.push(char::from(*byte));
            } else {
                write!(url, "%{byte:02X}").expect("a String takes every write");
            }
        }
        Self { url, password: None }
    }

    /// The folder that this place is, if it is one.
    pub fn folder(&self) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        let path = percent_decoded(self.url.strip_prefix(FOLDER)?)?;
        Some(PathBuf::from(std::ffi::OsString::from_vec(path))).filter(|path| !path.as_os_str().is_empty())
    }
}

/// The URL with a host, for parsers that want one after a login or before a port; libpq wants none there:
/// `postgres://user@/db?host=/run/postgresql`. What is put in stands for the default, as it does in `postgres:///db`, and gives
/// way to the parameter.
pub fn with_host(url: &str) -> Cow<'_, str> {
    let Some(authority) = url.find("://").map(|at| at + 3) else { return url.into() };
    let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |end| authority + end);
    let host = url[authority..end].rfind('@').map_or(authority, |at| authority + at + 1);
    if end > authority && (host == end || url[host..].starts_with(':')) {
        format!("{}localhost{}", &url[..host], &url[host..]).into()
    } else {
        url.into()
    }
}

/// The bytes of a part of a URL; `None` where a `%` is not followed by two hexadecimal digits.
pub fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.extend(hex::decode(digits).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

/// What a scratch instance must offer to hold one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ScratchNeeds {
    /// `postgres`.
    pub engine: String,
    /// The major version that wrote the snapshot.
    pub major: u32,
    /// Extensions that must be installable: name and version.
    pub extensions: Vec<(String, String)>,
    /// The role that made the source's cluster (oid 10): scratch is made by a role of the same name, so owners are equal.
    pub superuser: String,
    /// Names the live system itself, which scratch must never be; empty where nothing does.
    pub source_identity: String,
    /// libc locales, as `pg_database.datcollate` and `datctype` name them.
    pub locales: Vec<String>,
    /// Locales of the ICU library; a server without ICU has none.
    pub icu_locales: Vec<String>,
    /// Collations that a new cluster brings along, by name.
    pub collations: Vec<String>,
    /// `UTF8`.
    pub encoding: String,
    /// Libraries for `shared_preload_libraries`.
    pub preload: Vec<String>,
    /// How many bytes the loaded system may take on disk.
    pub bytes: u64,
    /// The most relations that one transaction locks, for `max_locks_per_transaction`.
    pub relations: u64,
    /// Version of the format that the data are in, where it says more than `major`: an RDB's. 0 where nothing does.
    #[serde(skip_serializing_if = "is_zero")]
    pub data_version: u32,
    /// How many numbered databases there must be; 0 leaves it to the server.
    #[serde(skip_serializing_if = "is_zero")]
    pub databases: u64,
    /// Modules whose data the snapshot holds, as the server names them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
    /// Whom files belong to, by number, and whether there are devices: not everybody may give files away or make devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
    #[serde(skip_serializing_if = "is_zero")]
    pub devices: bool,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

impl ScratchNeeds {
    /// `postgres 15`; `a scratch folder` where no server is needed.
    pub fn instance(&self) -> String {
        if self.major == 0 { "a scratch folder".to_owned() } else { format!("{} {}", self.engine, self.major) }
    }

    /// One entry for each need, in the words in which a machine is said to lack it.
    pub fn describe(&self) -> Vec<String> {
        // What is restored into a folder needs no server.
        let mut needs = if self.major == 0 { vec![] } else { vec![self.instance()] };
        needs.extend(self.extensions.iter().map(|(name, version)| format!("extension {name} {version}")));
        needs.extend(self.locales.iter().map(|locale| format!("locale {locale}")));
        needs.extend(self.icu_locales.iter().map(|locale| format!("locale {locale} of ICU")));
        needs.extend(self.collations.iter().map(|collation| format!("collation {collation}")));
        needs.extend(self.preload.iter().map(|library| format!("server library {library}")));
        if self.data_version > 0 {
            needs.push(format!("a server that loads RDB version {}", self.data_version));
        }
        needs.extend(self.modules.iter().map(|module| format!("module {module}")));
        needs.push(format!("{} of free disk", human_bytes(self.bytes)));
        needs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_folder_is_a_place_and_comes_back() {
        use std::os::unix::ffi::OsStrExt;
        for path in [&b"/a/b"[..], b"/with space/%41/\xff", b"rel/x"] {
            let path = Path::new(std::ffi::OsStr::from_bytes(path));
            assert_eq!(Place::of_folder(path).folder().as_deref(), Some(path));
        }
        assert_eq!(Place { url: "postgres:///x".to_owned(), password: None }.folder(), None);
    }

    #[test]
    fn a_host_is_put_in_only_where_a_login_or_a_port_stands_without_one() {
        for (url, expected) in [
            ("postgres://u@/db?host=/dir", "postgres://u@localhost/db?host=/dir"),
            ("postgres://u:p%40w@:5433/db", "postgres://u:p%40w@localhost:5433/db"),
            ("postgres://:5433?host=/a@b", "postgres://localhost:5433?host=/a@b"),
            ("postgres://u@", "postgres://u@localhost"),
        ] {
            assert_eq!(with_host(url), expected);
        }
        for url in
            ["postgres:///db?host=/u@:1", "postgres://u@h/db", "postgres://%2Fdir/db", "postgres://[::1]:1/d", "x"]
        {
            assert_eq!(with_host(url), url);
        }
    }

    #[test]
    fn escapes_are_read_as_bytes_and_a_broken_one_is_refused() {
        assert_eq!(percent_decoded("%2Ftmp/a%20b%ff").unwrap(), b"/tmp/a b\xff");
        for broken in ["%", "a%2", "%zz", "%+1"] {
            assert_eq!(percent_decoded(broken), None, "{broken}");
        }
    }
}
