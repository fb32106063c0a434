//! Real servers of stores that do not speak S3, each started by the test that uses it: Azure's own emulator, one of Google's store, WebDAV
//! by rclone, SFTP, and a folder. `scripts/store-servers.sh` fetches them.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use sha2::{Digest, Sha256};

use super::postgres::not_tried;
use super::server::Guarded;
use super::sshd::{Sshd, program};

/// What the tests do to a store; they read it through Lifeboat alone.
pub(crate) trait Shop {
    /// The table of a job's source.
    fn table(&self) -> String;
    fn put(&self, key: &str, content: &[u8]);
    fn remove(&self, key: &str);
    /// Secrets that the table refers to: file names and what they hold.
    fn secrets(&self) -> Vec<(&'static str, String)> {
        vec![]
    }
    /// Keys that other stores have no room for.
    fn takes(&self, _key: &str) -> bool {
        true
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server of this program on a port of its own; `None` where there is none.
fn serve(variable: &str, log: &Path, port: u16, arguments: impl FnOnce(&mut Command)) -> Option<Guarded> {
    let Some(program) = program(variable) else {
        not_tried(&format!("no {variable} here; scripts/store-servers.sh says why"));
        return None;
    };
    let server = |command: &mut Command| {
        command.arg(program);
        arguments(command);
    };
    Some(Guarded::start_as_caller(log, server, || TcpStream::connect(("127.0.0.1", port)).is_ok()))
}

fn encoded(key: &str) -> String {
    key.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A folder below which files are put.
fn put_below(top: &Path, key: &str, content: &[u8]) {
    let path = top.join(key);
    let folder = path.parent().unwrap();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A plain folder.
pub(crate) struct FolderShop {
    pub(crate) top: tempfile::TempDir,
}

impl FolderShop {
    pub(crate) fn start() -> Self {
        Self { top: tempfile::tempdir().unwrap() }
    }
}

impl Shop for FolderShop {
    fn table(&self) -> String {
        format!("[source.fs]\npath = {:?}\n", self.top.path())
    }

    fn put(&self, key: &str, content: &[u8]) {
        put_below(self.top.path(), key, content);
    }

    fn remove(&self, key: &str) {
        std::fs::remove_file(self.top.path().join(key)).unwrap();
    }
}

/// The home of an `sshd`.
pub(crate) struct SftpShop {
    pub(crate) server: Sshd,
    /// Where clients connect to: the server itself, or something in between.
    pub(crate) port: u16,
    pub(crate) key: PathBuf,
    pub(crate) known_hosts: PathBuf,
}

impl SftpShop {
    pub(crate) fn start() -> Option<Self> {
        let server = Sshd::start()?;
        Some(Self { port: server.port(), key: server.key(), known_hosts: server.known_hosts(), server })
    }
}

impl Shop for SftpShop {
    fn table(&self) -> String {
        let (home, user) = (self.server.home(), self.server.user());
        let (port, key, hosts) = (self.port, &self.key, &self.known_hosts);
        format!(
            "[source.sftp]\nhost = \"127.0.0.1\"\nport = {port}\nuser = {user:?}\npath = {home:?}\n\
             ssh_key = {key:?}\nssh_known_hosts = {hosts:?}\n"
        )
    }

    fn put(&self, key: &str, content: &[u8]) {
        put_below(&self.server.home(), key, content);
    }

    fn remove(&self, key: &str) {
        std::fs::remove_file(self.server.home().join(key)).unwrap();
    }
}

/// A folder behind `rclone serve webdav`.
pub(crate) struct WebdavShop {
    pub(crate) _running: Guarded,
    pub(crate) top: tempfile::TempDir,
    pub(crate) port: u16,
    pub(crate) password: String,
}

impl WebdavShop {
    pub(crate) fn start() -> Option<Self> {
        let (top, port) = (tempfile::tempdir().unwrap(), free_port());
        std::fs::create_dir(top.path().join("served")).unwrap();
        let running = serve("LIFEBOAT_TEST_RCLONE", &top.path().join("log"), port, |command| {
            command.args(["serve", "webdav", "--config", "/dev/null", "--addr", &format!("127.0.0.1:{port}")]);
            // What a test puts there is to be seen at once; below a path, as most servers are.
            command.args(["--dir-cache-time", "1ms", "--poll-interval", "0", "--baseurl", "/dav files"]);
            command.args(["--user", "reader", "--pass", "dav-password"]).arg(top.path().join("served"));
        })?;
        Some(Self { _running: running, top, port, password: "dav-password".to_owned() })
    }
}

impl Shop for WebdavShop {
    fn table(&self) -> String {
        format!(
            "[source.webdav]\nendpoint = \"http://127.0.0.1:{}/dav%20files\"\nuser = \"reader\"\n\
             password = {{ file = \"secret\" }}\n",
            self.port
        )
    }

    fn put(&self, key: &str, content: &[u8]) {
        put_below(&self.top.path().join("served"), key, content);
    }

    fn remove(&self, key: &str) {
        std::fs::remove_file(self.top.path().join("served").join(key)).unwrap();
    }

    fn secrets(&self) -> Vec<(&'static str, String)> {
        vec![("secret", self.password.clone())]
    }
}

pub(crate) const AZURE_ACCOUNT: &str = "devstoreaccount1";
/// The one that everybody's emulator has.
pub(crate) const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A container of azurite.
pub(crate) struct AzureShop {
    pub(crate) _running: Guarded,
    pub(crate) _folder: tempfile::TempDir,
    pub(crate) port: u16,
    /// How the job names its secret, `key` or `sas`, and what it is.
    pub(crate) secret: (&'static str, String),
    pub(crate) more: &'static str,
}

impl AzureShop {
    pub(crate) fn start() -> Option<Self> {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let running = serve("LIFEBOAT_TEST_AZURITE", &folder.path().join("log"), port, |command| {
            command.args(["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]);
            command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
        })?;
        let made = Self { _running: running, _folder: folder, port, secret: ("key", AZURE_KEY.to_owned()), more: "" };
        assert_eq!(made.send("PUT", "copies", &[("restype", "container")], &[], &[]), 201);
        Some(made)
    }

    /// A signature that lets whoever has it list and read until then (service SAS, version 2019-12-12).
    pub(crate) fn signature(until: &str) -> String {
        let version = "2019-12-12";
        let place = format!("/blob/{AZURE_ACCOUNT}/copies");
        let text = format!("rl\n\n{until}\n{place}\n\n\n\n{version}\nc\n\n\n\n\n\n");
        let key = base64::engine::general_purpose::STANDARD.decode(AZURE_KEY).unwrap();
        let signature = base64::engine::general_purpose::STANDARD.encode(hmac(&key, text.as_bytes()));
        format!("sp=rl&se={}&sv={version}&sr=c&sig={}", encoded(until), encoded(&signature))
    }

    /// Sends a signed request (Shared Key, version 2021-08-06) and returns the status.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        content: &[u8],
    ) -> u16 {
        let date = lifeboat::system::clock::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let mut all = vec![("x-ms-date", date.as_str()), ("x-ms-version", "2021-08-06")];
        all.extend(headers);
        all.sort_unstable();
        let named: String =
            all.iter().filter(|(name, _)| name.starts_with("x-ms-")).map(|(n, v)| format!("{n}:{v}\n")).collect();
        let asked: String = query.iter().map(|(name, value)| format!("\n{name}:{value}")).collect();
        let length = if content.is_empty() { String::new() } else { content.len().to_string() };
        let text =
            format!("{method}\n\n\n{length}\n\n\n\n\n\n\n\n\n{named}/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{path}{asked}");
        let key = base64::engine::general_purpose::STANDARD.decode(AZURE_KEY).unwrap();
        let signature = base64::engine::general_purpose::STANDARD.encode(hmac(&key, text.as_bytes()));
        let mut url = format!("http://127.0.0.1:{}/{AZURE_ACCOUNT}/{path}", self.port);
        for (at, (name, value)) in query.iter().enumerate() {
            url += &format!("{}{name}={value}", if at == 0 { '?' } else { '&' });
        }
        runtime().block_on(async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let mut request = client.request(method.parse().unwrap(), &url);
            for (name, value) in all {
                request = request.header(name, value);
            }
            request = request.header("authorization", format!("SharedKey {AZURE_ACCOUNT}:{signature}"));
            request = request.header("content-length", content.len());
            request.body(content.to_vec()).send().await.unwrap().status().as_u16()
        })
    }
}

/// RFC 2104 with SHA-256.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    assert!(key.len() <= block.len());
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

impl Shop for AzureShop {
    fn table(&self) -> String {
        let (secret, port, more) = (self.secret.0, self.port, self.more);
        format!(
            "[source.azblob]\naccount = \"{AZURE_ACCOUNT}\"\ncontainer = \"copies\"\n{secret} = {{ file = \"secret\" }}\n\
             endpoint = \"http://127.0.0.1:{port}/{AZURE_ACCOUNT}\"\n{more}\n"
        )
    }

    fn put(&self, key: &str, content: &[u8]) {
        let headers = [
            ("x-ms-blob-type", "BlockBlob"),
            ("x-ms-blob-content-type", "text/plain"),
            ("x-ms-blob-cache-control", "no-store"),
            ("x-ms-meta-owner", "someone"),
        ];
        assert_eq!(self.send("PUT", &format!("copies/{}", encoded(key)), &[], &headers, content), 201, "{key}");
    }

    fn remove(&self, key: &str) {
        assert_eq!(self.send("DELETE", &format!("copies/{}", encoded(key)), &[], &[], &[]), 202, "{key}");
    }

    fn secrets(&self) -> Vec<(&'static str, String)> {
        vec![("secret", self.secret.1.clone())]
    }
}

/// A bucket of an emulator of Google's store. It knows neither pages nor credentials.
pub(crate) struct GoogleShop {
    pub(crate) _running: Guarded,
    pub(crate) _folder: tempfile::TempDir,
    pub(crate) port: u16,
    pub(crate) more: &'static str,
}

impl GoogleShop {
    pub(crate) fn start() -> Option<Self> {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let running = serve("LIFEBOAT_TEST_GOOGLE", &folder.path().join("log"), port, |command| {
            command.args(["start", "--host", "127.0.0.1", "--port", &port.to_string(), "--in-memory"]);
            command.args(["--default-bucket", "copies", "--quiet"]);
        })?;
        Some(Self { _running: running, _folder: folder, port, more: "" })
    }

    fn send(&self, method: &str, path: &str, content_type: &str, content: Vec<u8>) -> u16 {
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        runtime().block_on(async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let request = client.request(method.parse().unwrap(), &url).header("content-type", content_type);
            request.body(content).send().await.unwrap().status().as_u16()
        })
    }
}

impl Shop for GoogleShop {
    fn table(&self) -> String {
        format!("[source.gcs]\nbucket = \"copies\"\nendpoint = \"http://127.0.0.1:{}\"\n{}\n", self.port, self.more)
    }

    fn put(&self, key: &str, content: &[u8]) {
        let about = serde_json::json!({
            "name": key, "contentType": "text/plain", "cacheControl": "no-store", "metadata": { "owner": "someone" },
        });
        // The emulator takes the bytes of a text for its letters.
        let plain = |c: char| if c.is_ascii() { c.to_string() } else { escaped(c) };
        let about: String = about.to_string().chars().map(plain).collect();
        let mut body = format!("--b\r\ncontent-type: application/json\r\n\r\n{about}\r\n--b\r\n").into_bytes();
        body.extend_from_slice(b"content-type: text/plain\r\n\r\n");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n--b--\r\n");
        let path = "upload/storage/v1/b/copies/o?uploadType=multipart";
        assert_eq!(self.send("POST", path, "multipart/related; boundary=b", body), 200, "{key}");
    }

    fn remove(&self, key: &str) {
        let status = self.send("DELETE", &format!("storage/v1/b/copies/o/{}", encoded(key)), "text/plain", vec![]);
        assert!((200..300).contains(&status), "{key}: {status}");
    }
}

/// As JSON may write any letter.
fn escaped(c: char) -> String {
    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// Nobody but its owner may read it; the owner is not the account that servers run as, where that is another.
pub(crate) fn close(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
