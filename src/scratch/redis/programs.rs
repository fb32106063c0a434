//! Finds an installed server that loads a wanted RDB version.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::ScratchNeeds;
use crate::system::process::Program;

const VERSION_LIMIT: Duration = Duration::from_secs(20);
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];
const USUAL: [&str; 6] =
    ["/usr/bin", "/usr/local/bin", "/usr/sbin", "/opt/redis-stack/bin", "/opt/homebrew/bin", "/snap/bin"];

/// From this release on, a Redis writes and loads this RDB version: `version.h` and `rdb.h` of each release.
/// Older ones than 6.0 cannot be told to load a file beside what they hold.
const REDIS: [((u32, u32), u32); 6] =
    [((6, 0), 9), ((7, 0), 10), ((7, 2), 11), ((7, 4), 12), ((8, 6), 13), ((8, 8), 14)];
/// The same of Valkey, which calls versions 12 to 79 foreign.
const VALKEY: [((u32, u32), u32); 3] = [((7, 2), 11), ((9, 0), 80), ((9, 2), 81)];
/// The last version that both products share.
const SHARED_VERSION_MAX: u32 = 11;
/// Until then a vector set was nothing that a Redis knew by itself.
const VECTOR_SETS_SINCE: (u32, u32) = (8, 0);
/// The first of Valkey's own.
const VALKEY_VERSION_MIN: u32 = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Product {
    Redis,
    Valkey,
}

impl Product {
    fn table(self) -> &'static [((u32, u32), u32)] {
        match self {
            Self::Redis => &REDIS,
            Self::Valkey => &VALKEY,
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "redis",
            Self::Valkey => "valkey",
        })
    }
}

/// What a server has to load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    rdb: u32,
    /// Every Redis from [`VECTOR_SETS_SINCE`] on has them, and nobody else.
    vector_sets: bool,
}

impl Wanted {
    pub(super) fn of(needs: &ScratchNeeds) -> Self {
        Self { rdb: needs.data_version, vector_sets: needs.modules.iter().any(|name| name == "vectorset") }
    }
}

/// An installed server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) product: Product,
    /// `7.0.15`.
    pub(super) version: String,
}

impl Found {
    pub(super) fn release(&self) -> (u32, u32) {
        let mut numbers = self.version.split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// The RDB version that it writes.
    fn writes(&self) -> u32 {
        let release = self.release();
        let known = self.product.table().iter().rev().find(|(from, _)| *from <= release);
        known.map_or(0, |(_, version)| *version)
    }

    fn loads(&self, Wanted { rdb, vector_sets }: Wanted) -> bool {
        let has_vector_sets = self.product == Product::Redis && self.release() >= VECTOR_SETS_SINCE;
        if vector_sets && !has_vector_sets {
            return false;
        }
        match self.product {
            Product::Redis => rdb <= self.writes() && rdb < VALKEY_VERSION_MIN,
            Product::Valkey => rdb <= self.writes() && (rdb <= SHARED_VERSION_MAX || rdb >= VALKEY_VERSION_MIN),
        }
    }
}

/// The server to use: of those that load `rdb` the one that is nearest in age, the user's own folders first.
///
/// A newer server reads an older RDB, and what it cannot know it fills in as every reader of ours does; the nearest does so
/// least.
pub(super) async fn find(wanted: Wanted, named: &[PathBuf]) -> Result<Found, Vec<String>> {
    let folders = named.iter().flat_map(|folder| [folder.clone(), folder.join("bin")]);
    let folders: Vec<PathBuf> = folders.chain(USUAL.map(PathBuf::from)).collect();
    let mut places: Vec<PathBuf> = folders.iter().flat_map(|folder| NAMES.map(|name| folder.join(name))).collect();
    places.retain(|path| path.is_file());
    // The `PATH` comes last and names them without a folder.
    places.extend(NAMES.map(PathBuf::from));
    let mut found: Vec<Found> = vec![];
    for path in places {
        if let Some(server) = ask(path).await
            && !found.iter().any(|known| (known.product, &known.version) == (server.product, &server.version))
        {
            found.push(server);
        }
    }
    choose(&found, wanted).ok_or_else(|| vec![lacking(&found, wanted)])
}

fn choose(found: &[Found], wanted: Wanted) -> Option<Found> {
    let fitting = found.iter().filter(|server| server.loads(wanted));
    fitting.min_by_key(|server| (server.writes(), server.product == Product::Valkey)).cloned()
}

/// `redis-server >= 7.2 or valkey-server >= 7.2 (this machine has redis-server 7.0.15)`.
fn lacking(found: &[Found], Wanted { rdb, vector_sets }: Wanted) -> String {
    let since = |product: Product| {
        let mut versions = product.table().iter();
        let (release, _) = versions.find(|(_, version)| *version >= rdb)?;
        let (major, minor) = if vector_sets { VECTOR_SETS_SINCE.max(*release) } else { *release };
        Some(format!("{product}-server >= {major}.{minor}"))
    };
    let redis = since(Product::Redis).filter(|_| rdb < VALKEY_VERSION_MIN);
    let valkey = since(Product::Valkey).filter(|_| rdb <= SHARED_VERSION_MAX || rdb >= VALKEY_VERSION_MIN);
    let valkey = valkey.filter(|_| !vector_sets);
    let wanted: Vec<String> = redis.into_iter().chain(valkey).collect();
    let wanted = if wanted.is_empty() { format!("a server that loads RDB version {rdb}") } else { wanted.join(" or ") };
    let has: Vec<String> = found.iter().map(|server| format!("{}-server {}", server.product, server.version)).collect();
    // A comma would part it into two needs.
    if has.is_empty() { wanted } else { format!("{wanted} (this machine has {})", has.join(" and ")) }
}

async fn ask(path: PathBuf) -> Option<Found> {
    let output = Program::new(&path).arg("--version").clear_env().run(VERSION_LIMIT).await.ok()?;
    let (product, version) = version(&String::from_utf8(output).ok()?)?;
    Some(Found { path, product, version })
}

/// `Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=...`, `Valkey server v=8.1.0 ...`.
fn version(line: &str) -> Option<(Product, String)> {
    let product = match line.split_whitespace().next()? {
        "Redis" => Product::Redis,
        "Valkey" => Product::Valkey,
        _ => return None,
    };
    let text = line.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| (product, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(product: Product, version: &str) -> Found {
        Found { path: PathBuf::from("x"), product, version: version.to_owned() }
    }

    fn wanted(rdb: u32) -> Wanted {
        Wanted { rdb, vector_sets: false }
    }

    #[test]
    fn versions_are_read_from_what_both_products_print() {
        let cases = [
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", Some((Product::Redis, "7.0.15"))),
            ("Valkey server v=8.1.0 sha=0 bits=64", Some((Product::Valkey, "8.1.0"))),
            ("redis-server: not found", None),
            ("Redis server v=unstable", None),
        ];
        for (line, expected) in cases {
            assert_eq!(version(line), expected.map(|(product, text)| (product, text.to_owned())), "{line}");
        }
    }

    #[test]
    fn the_nearest_server_that_loads_the_version_is_chosen() {
        use Product::{Redis, Valkey};
        let all = [
            (Redis, "6.2.14"),
            (Redis, "7.0.15"),
            (Redis, "7.2.4"),
            (Redis, "8.0.1"),
            (Redis, "8.6.0"),
            (Redis, "9.1.0"),
            (Valkey, "8.1.0"),
            (Valkey, "9.0.1"),
            (Valkey, "9.2.0"),
        ];
        let all = all.map(|(product, version)| server(product, version));
        for (rdb, expected) in [
            (9, Some("6.2.14")),
            (10, Some("7.0.15")),
            (11, Some("7.2.4")),
            (12, Some("8.0.1")),
            (13, Some("8.6.0")),
            (14, Some("9.1.0")),
            (15, None),
            (80, Some("9.0.1")),
            (81, Some("9.2.0")),
            (82, None),
        ] {
            assert_eq!(choose(&all, wanted(rdb)).map(|server| server.version).as_deref(), expected, "{rdb}");
        }
        let valkey = [server(Valkey, "9.0.1")];
        assert!(choose(&valkey, wanted(11)).is_some() && choose(&valkey, wanted(12)).is_none());
    }

    #[test]
    fn what_is_lacking_names_the_oldest_release_that_would_do_and_what_is_there() {
        let found = [server(Product::Redis, "7.0.15")];
        for (rdb, expected) in [
            (11, "redis-server >= 7.2 or valkey-server >= 7.2 (this machine has redis-server 7.0.15)"),
            (12, "redis-server >= 7.4 (this machine has redis-server 7.0.15)"),
            (80, "valkey-server >= 9.0 (this machine has redis-server 7.0.15)"),
            (15, "a server that loads RDB version 15 (this machine has redis-server 7.0.15)"),
        ] {
            assert_eq!(lacking(&found, wanted(rdb)), expected);
        }
        assert_eq!(lacking(&[], wanted(14)), "redis-server >= 8.8");
    }

    #[test]
    fn vector_sets_need_a_redis_that_has_them_also_where_an_older_one_knows_the_version() {
        let vectors = |rdb| Wanted { rdb, vector_sets: true };
        let older = [server(Product::Redis, "7.4.1"), server(Product::Valkey, "9.1.2")];
        assert!(choose(&older, wanted(12)).is_some() && choose(&older, vectors(12)).is_none());
        let says = "redis-server >= 8.0 (this machine has redis-server 7.4.1 and valkey-server 9.1.2)";
        assert_eq!(lacking(&older, vectors(12)), says);
        assert_eq!(lacking(&[], vectors(13)), "redis-server >= 8.6");
        let newer = [&older[..], &[server(Product::Redis, "8.0.2")]].concat();
        assert_eq!(choose(&newer, vectors(12)).unwrap().version, "8.0.2");
        assert_eq!(choose(&newer, wanted(12)).unwrap().version, "7.4.1");
    }
}
