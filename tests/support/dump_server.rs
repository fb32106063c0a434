//! A Postgres server on a unix socket in a temporary directory, ended when the test ends.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat::sources::postgres::wire::{ConnectOptions, Connection};
use lifeboat::system::process::{Program, Running, StdinKind};
use lifeboat::system::user::{give, server_user};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_mins(1);

/// One running server with trust authentication for the superuser `postgres`.
pub(crate) struct TestServer {
    folder: tempfile::TempDir,
    running: Running,
}

/// The newest installed server's programs.
pub(crate) fn server_bin() -> PathBuf {
    let mut majors: Vec<u32> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("a Postgres server is installed (`apt install postgresql`)")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|major| Path::new(&format!("/usr/lib/postgresql/{major}/bin/initdb")).exists())
        .collect();
    majors.sort_unstable();
    PathBuf::from(format!("/usr/lib/postgresql/{}/bin", majors.last().expect("one server at least")))
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::with_settings(&[]).await
    }

    /// `settings` are lines of `postgresql.conf`.
    pub(crate) async fn with_settings(settings: &[&str]) -> Self {
        let folder = private_folder();
        let data = folder.path().join("data");
        let initdb = Program::new(server_bin().join("initdb"))
            .args(["-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "--auth=trust", "-D"])
            .arg(&data)
            .user(server_user())
            .directory(folder.path());
        initdb.run(LIMIT).await.unwrap();
        let mut text = std::fs::read_to_string(data.join("postgresql.conf")).unwrap();
        for line in ["fsync = off", "shared_buffers = 16MB", "max_wal_size = 64MB", "wal_level = replica"]
            .iter()
            .chain(settings)
        {
            text.push_str(line);
            text.push('\n');
        }
        std::fs::write(data.join("postgresql.conf"), text).unwrap();
        Self::serve(folder).await
    }

    /// A hot standby that streams from this server.
    pub(crate) async fn standby(&self) -> Self {
        let folder = private_folder();
        let backup = Program::new(server_bin().join("pg_basebackup"))
            .args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-U", "postgres", "-h"])
            .arg(self.folder.path())
            .arg("-D")
            .arg(folder.path().join("data"))
            .user(server_user())
            .directory(folder.path());
        backup.run(LIMIT).await.unwrap();
        Self::serve(folder).await
    }

    async fn serve(folder: tempfile::TempDir) -> Self {
        let running = Program::new(server_bin().join("postgres"))
            .arg("-D")
            .arg(folder.path().join("data"))
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses="])
            .user(server_user())
            .directory(folder.path())
            .start(StdinKind::Null)
            .unwrap();
        let mut server = Self { folder, running };
        for _ in 0..300 {
            if let Ok(connection) = server.try_connect("postgres").await {
                connection.close().await;
                return server;
            }
            assert!(!server.running.has_ended(), "the server ended while it started");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server did not start");
    }

    /// Lines of `pg_hba.conf`, in force at once.
    pub(crate) async fn set_hba(&self, lines: &str) {
        std::fs::write(self.folder.path().join("data/pg_hba.conf"), lines).unwrap();
        self.sql("postgres", "SELECT pg_reload_conf()").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    pub(crate) fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    pub(crate) fn url_as(&self, user: &str, database: &str) -> String {
        let encoded: String = database.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let host = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://{user}@{host}/{encoded}")
    }

    async fn try_connect(&self, database: &str) -> Result<Connection, lifeboat::sources::postgres::wire::WireError> {
        let options = ConnectOptions::parse(&self.url(database), None).unwrap();
        Connection::connect(&options, &CancellationToken::new()).await
    }

    pub(crate) async fn connect(&self, database: &str) -> Connection {
        self.try_connect(database).await.unwrap()
    }

    /// Runs statements as the superuser and returns the first column of the rows.
    pub(crate) async fn sql(&self, database: &str, sql: &str) -> Vec<String> {
        let mut connection = self.connect(database).await;
        let rows = connection.query(sql).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
        connection.close().await;
        rows.iter().map(|row| row.text(0).unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // `Running` kills the group; nothing outlives the test.
        assert!(self.running.id().is_some() || self.running.has_ended());
    }
}

/// A folder that the server's user owns, with a path short enough for a socket.
fn private_folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("lbpg").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    give(folder.path(), server_user().as_ref()).unwrap();
    folder
}
