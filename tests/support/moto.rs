//! moto, an S3 server that keeps versions, tags and access lists, as `scripts/moto.sh` fetches it.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;

use super::postgres::not_tried;
use super::s3::client_at;
use super::server::plain;

const START_LIMIT: Duration = Duration::from_mins(1);
/// Ends the server when the test ends, however it does.
const GUARD: &str =
    "python3 -m moto.server -H 127.0.0.1 -p 0 >\"$LOG\" 2>&1 & server=$!; read -r _; kill $server; wait $server";

/// A running server. Dropping it ends it and what it holds.
pub(crate) struct Moto {
    guard: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Moto {
    /// `None` where it cannot be had, which is said.
    pub(crate) async fn start() -> Option<Self> {
        let packages = packages()?;
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = plain(std::path::Path::new("sh"));
        command.args(["-c", GUARD]).env("PYTHONPATH", packages).env("LOG", &log).env("HOME", folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let guard = command.spawn().unwrap();
        let started = Instant::now();
        let address = loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some((_, rest)) = said.split_once("Running on http://")
                && let Some((address, _)) = rest.split_once('\n')
            {
                break address.trim().to_owned();
            }
            assert!(started.elapsed() < START_LIMIT, "moto does not start: {said}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        Some(Self { guard, address, folder })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn client(&self) -> Client {
        client_at(&self.endpoint())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests' own settings come from the environment")]
fn packages() -> Option<PathBuf> {
    let found = std::env::var_os("LIFEBOAT_TEST_MOTO").map(PathBuf::from).filter(|path| path.is_dir());
    if found.is_none() {
        assert!(
            std::env::var_os("LIFEBOAT_REQUIRE_MOTO").is_none(),
            "moto is required, and LIFEBOAT_TEST_MOTO names none"
        );
        not_tried("no S3 server with versions: LIFEBOAT_TEST_MOTO names none");
    }
    found
}
