//! The second half of a proof against real servers: a restored catalog is equal, and each single change to it is named.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat::domain::Secret;
use lifeboat::domain::inventory::InventoryEntry;
use lifeboat::proof::{InventoryComparison, compare_inventories};
use lifeboat::sources::postgres::inventory::{Exclusions, queries};
use lifeboat::system::process::Program;
use lifeboat::system::user::{ServerUser, give, server_user};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use crate::support::mutations::{MUTATIONS, Mutation, Needs, SeenIn};

const LIMIT: Duration = Duration::from_mins(2);
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/unusual_schema.sql");

/// A throw-away server on a socket in a folder of its own; stops when dropped.
pub(crate) struct Server {
    bin: PathBuf,
    folder: tempfile::TempDir,
    user: Option<ServerUser>,
}

impl Server {
    pub(crate) async fn start(bin: PathBuf) -> Self {
        let folder = tempfile::Builder::new().prefix("lb-inv-").tempdir_in("/tmp").unwrap();
        let user = server_user();
        give(folder.path(), user.as_ref()).unwrap();
        let server = Self { bin, folder, user };
        let (data, socket) = (server.path("data"), server.path(""));
        server
            .run("initdb", &["-D", &data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8"])
            .await;
        let options = format!("-c listen_addresses='' -k {socket} -c fsync=off -c shared_buffers=32MB");
        server.run("pg_ctl", &["-D", &data, "-w", "-l", &server.path("log"), "-o", &options, "start"]).await;
        server
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().trim_end_matches('/').to_owned()
    }

    fn program(&self, tool: &str, arguments: &[&str]) -> Program {
        Program::new(self.bin.join(tool))
            .args(arguments)
            .clear_env()
            .env("PGHOST", self.path(""))
            .env("PGUSER", "postgres")
            .secret_env("PGPASSWORD", Secret::new(""))
            .user(self.user.clone())
            .directory(self.folder.path())
    }

    pub(crate) async fn run(&self, tool: &str, arguments: &[&str]) -> Vec<u8> {
        self.program(tool, arguments).run(LIMIT).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn psql(&self, database: &str, file: &str) {
        self.run("psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", file]).await;
    }

    async fn connect(&self, database: &str) -> PgConnection {
        let options = PgConnectOptions::new_without_pgpass().socket(self.folder.path()).username("postgres");
        PgConnection::connect_with(&options.database(database)).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.path("data");
        let program = self.program("pg_ctl", &["-D", &data, "-m", "immediate", "stop"]);
        // A test that failed before the server ran has nothing to stop.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(program.run(LIMIT)).ok();
        })
        .join()
        .ok();
    }
}

/// The distribution's servers, newest first.
pub(crate) fn installed() -> Vec<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = folders.map(|entry| entry.path().join("bin")).collect();
    // Further installations, separated by colons, where a machine has them.
    found.extend(
        option_env!("LIFEBOAT_TEST_POSTGRES").into_iter().flat_map(|paths| paths.split(':')).map(PathBuf::from),
    );
    found.retain(|bin| bin.join("initdb").exists());
    found.sort();
    found
}

/// Runs every query in the connection's present transaction and gives the inventory as it would be stored.
async fn inventory(connection: &mut PgConnection, exclusions: &Exclusions) -> String {
    connection.execute("SET search_path = ''").await.unwrap();
    let version: String =
        connection.fetch_one("SELECT current_setting('server_version_num')").await.unwrap().try_get(0).unwrap();
    let mut lines = String::new();
    for query in queries(version.parse().unwrap(), exclusions) {
        let rows = sqlx::raw_sql(AssertSqlSafe(query.sql.clone())).fetch_all(&mut *connection).await;
        for row in rows.unwrap_or_else(|error| panic!("{}: {error}\n{}", query.kind, query.sql)) {
            let attributes: String = row.try_get(1).unwrap();
            let entry = InventoryEntry {
                kind: query.kind.to_owned(),
                name: row.try_get(0).unwrap(),
                attributes: serde_json::from_str(&attributes).unwrap(),
            };
            lines += &serde_json::to_string(&entry).unwrap();
            lines.push('\n');
        }
    }
    lines
}

fn compare(recorded: &str, restored: &str) -> InventoryComparison {
    compare_inventories(recorded.as_bytes(), restored.as_bytes()).unwrap()
}

/// The unusual schema on one server and its restore by stock tools on another.
struct Pair {
    source: Server,
    restored: Server,
}

impl Pair {
    async fn new(bin: &Path) -> Self {
        let (source, restored) = (Server::start(bin.to_owned()).await, Server::start(bin.to_owned()).await);
        source.run("createdb", &["unusual"]).await;
        let script = source.path("schema.sql");
        std::fs::copy(SCHEMA, &script).unwrap();
        source.psql("unusual", &script).await;
        let globals = String::from_utf8(source.run("pg_dumpall", &["-g"]).await).unwrap();
        let globals = globals.replace("CREATE ROLE postgres;\n", "");
        std::fs::write(restored.path("globals.sql"), globals).unwrap();
        std::fs::write(restored.path("dump.sql"), source.run("pg_dump", &["--create", "unusual"]).await).unwrap();
        restored.psql("postgres", &restored.path("globals.sql")).await;
        restored.psql("postgres", &restored.path("dump.sql")).await;
        Self { source, restored }
    }
}

#[tokio::test]
async fn the_unusual_schema_restores_to_an_equal_inventory_and_every_single_change_to_it_is_named() {
    for bin in installed() {
        let pair = Pair::new(&bin).await;
        let mut source = pair.source.connect("unusual").await;
        let mut restored = pair.restored.connect("unusual").await;
        let recorded = inventory(&mut source, &Exclusions::default()).await;
        let comparison = compare(&recorded, &inventory(&mut restored, &Exclusions::default()).await);
        assert_eq!(comparison.mismatches, [], "{}", bin.display());
        assert!(comparison.equal() > 1_900, "{} objects", comparison.equal());

        // 1,600 columns a hundred times over would only take time.
        let recorded = inventory(&mut source, &without_wide()).await;

        let contrib: bool =
            one(&mut restored, "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citext')").await;
        let major: i32 = one(&mut restored, "SELECT current_setting('server_version_num')::int / 10000").await;
        let possible = |mutation: &&Mutation| match mutation.needs {
            Needs::Any => true,
            Needs::Contrib => contrib,
            Needs::Major(least) => u32::try_from(major).unwrap() >= least,
        };
        let mut unnoticed = vec![];
        for mutation in MUTATIONS.iter().filter(|m| m.seen_in == SeenIn::Inventory).filter(possible) {
            let found = after(&mut restored, mutation, &recorded).await;
            if !found.iter().flatten().any(|what| what == mutation.what) {
                unnoticed.push(format!("{}: expected `{}`, found {found:?}", mutation.name, mutation.what));
            }
        }
        for mutation in MUTATIONS.iter().filter(|m| m.seen_in == SeenIn::Content).filter(possible) {
            let changed = change(&mut restored, mutation).await;
            restored.execute("ROLLBACK").await.unwrap();
            if changed != Ok(1) {
                unnoticed.push(format!("{}: changed {changed:?} rows instead of one", mutation.name));
            }
        }
        assert!(unnoticed.is_empty(), "{}:\n{}", bin.display(), unnoticed.join("\n"));
    }
}

fn without_wide() -> Exclusions {
    Exclusions { schemas: vec![], tables: vec!["app.wide".to_owned()] }
}

#[tokio::test]
async fn an_ordinary_role_can_take_an_inventory_and_exclusions_take_what_depends_on_them_along() {
    let bin = installed().pop().expect("a Postgres server is installed");
    let server = Server::start(bin).await;
    server.run("createdb", &["unusual"]).await;
    let script = server.path("schema.sql");
    std::fs::copy(SCHEMA, &script).unwrap();
    server.psql("unusual", &script).await;

    let options = PgConnectOptions::new_without_pgpass().socket(server.folder.path()).username("unusual_reader");
    let mut reader = PgConnection::connect_with(&options.database("unusual")).await.unwrap();
    let all = inventory(&mut server.connect("unusual").await, &Exclusions::default()).await;
    let seen = compare(&all, &inventory(&mut reader, &Exclusions::default()).await);
    let unseen: Vec<&str> = seen.mismatches.iter().map(|mismatch| mismatch.what.as_str()).collect();
    assert_eq!(unseen, ["subscription unusual_subscription"]);

    let exclusions = Exclusions {
        schemas: vec![r#""Odd ""Schema"" ü""#.to_owned()],
        tables: vec!["app.people".to_owned(), "app.no_rows".to_owned()],
    };
    let kept = inventory(&mut server.connect("unusual").await, &exclusions).await;
    let kept: Vec<InventoryEntry> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for gone in ["app.people", "app.no_rows", "app.never_used", "app.careful", "app.summary", "app.grouped", "\"Odd"] {
        let left: Vec<_> = kept.iter().filter(|e| e.name == gone || e.name.starts_with(&format!("{gone}."))).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    let named = |kind: &str, name: &str| kept.iter().any(|entry| entry.kind == kind && entry.name == name);
    assert!(!named("constraint", "app.orders.orders_unchecked"), "its table is gone");
    assert!(named("constraint", "app.orders.orders_parent"));
    assert!(named("table", "app.orders") && named("index", "app.orders_pkey") && named("schema", "app"));
}

async fn one<T>(connection: &mut PgConnection, sql: &'static str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    connection.fetch_one(sql).await.unwrap().try_get(0).unwrap()
}

/// Begins a transaction, makes the change and says how many rows it touched.
async fn change(connection: &mut PgConnection, mutation: &Mutation) -> Result<u64, String> {
    connection.execute("BEGIN; SET LOCAL search_path = public").await.unwrap();
    let changed = connection.execute(sqlx::raw_sql(AssertSqlSafe(mutation.sql))).await;
    changed.map(|done| done.rows_affected()).map_err(|error| error.to_string())
}

/// What a comparison names after the change, which is then rolled back.
async fn after(connection: &mut PgConnection, mutation: &Mutation, recorded: &str) -> Result<Vec<String>, String> {
    let found = match change(connection, mutation).await {
        Ok(_) => Ok(compare(recorded, &inventory(connection, &without_wide()).await)),
        Err(error) => Err(error),
    };
    connection.execute("ROLLBACK").await.unwrap();
    Ok(found?.mismatches.into_iter().map(|mismatch| mismatch.what).collect())
}
