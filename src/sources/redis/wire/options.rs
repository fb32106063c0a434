//! Where and how to connect, read from a URL as Redis' own clients write it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::{TlsFiles, WireError};
use crate::domain::Secret;
use crate::sources::network::urls::{self, without_password};

const PORT: u16 = 6379;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A server that saves to its disk before it sends says a line feed every ten seconds meanwhile.
const STALL_TIMEOUT: Duration = Duration::from_mins(10);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Tcp {
        name: String,
        port: u16,
    },
    /// The socket itself.
    Unix(PathBuf),
}

#[derive(Debug, Clone)]
pub struct ConnectOptions {
    pub host: Host,
    /// The ACL user; `None` is the server's `default`.
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// The database that the URL names.
    pub database: Option<u32>,
    /// Always checked in full: chain and name. `None` for a plain connection.
    pub tls: Option<TlsFiles>,
    pub connect_timeout: Duration,
    /// How long a read may wait for the next byte; `None` waits for ever.
    pub stall_timeout: Option<Duration>,
}

impl ConnectOptions {
    /// Reads `redis://user@host:port/0`, `rediss://...` for TLS, `unix:///path?db=0` or `redis+unix:///path?db=0`.
    ///
    /// `valkey://` and `valkeys://` mean the same. Known parameters: `db`, `user`, and `tls_ca`, `tls_cert`, `tls_key` for
    /// `rediss://`. Any other is an error, so that none is ignored silently.
    pub fn parse(url: &str, password: Option<Secret>) -> Result<Self, WireError> {
        let bad = |why: &str| WireError::Url { url: without_password(url), why: why.to_owned() };
        let parsed = Url::parse(url).map_err(|error| bad(&error.to_string()))?;
        let text = |raw: &str| urls::text(raw).ok_or_else(|| bad("its percent-encoding is not UTF-8"));
        let mut database = None;
        let (host, tls) = match parsed.scheme() {
            "redis" | "valkey" | "rediss" | "valkeys" => {
                let name = text(parsed.host_str().filter(|name| !name.is_empty()).unwrap_or("localhost"))?;
                let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
                let path = parsed.path().trim_matches('/');
                if !path.is_empty() {
                    database = Some(path.parse().map_err(|_| bad("its path is not the number of a database"))?);
                }
                let tls = matches!(parsed.scheme(), "rediss" | "valkeys").then(TlsFiles::default);
                (Host::Tcp { name, port: parsed.port().unwrap_or(PORT) }, tls)
            }
            "unix" | "redis+unix" | "valkey+unix" => {
                if parsed.host_str().is_some_and(|host| !host.is_empty()) {
                    return Err(bad("a socket's path follows three slashes: `unix:///run/redis.sock`"));
                }
                let path = text(parsed.path())?;
                if path.len() < 2 {
                    return Err(bad("it names no socket"));
                }
                (Host::Unix(PathBuf::from(path)), None)
            }
            _ => return Err(bad("it does not start with `redis://`, `rediss://` or `unix://`")),
        };
        let user = Some(text(parsed.username())?).filter(|user| !user.is_empty());
        let mut options = Self {
            host,
            user,
            password,
            database,
            tls,
            connect_timeout: CONNECT_TIMEOUT,
            stall_timeout: Some(STALL_TIMEOUT),
        };
        if options.password.is_none()
            && let Some(raw) = parsed.password()
        {
            options.password = Some(Secret::new(text(raw)?));
        }
        for (key, value) in parsed.query_pairs() {
            options.parameter(&key, &value).map_err(|why| bad(&why))?;
        }
        Ok(options)
    }

    fn parameter(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "db" => self.database = Some(value.parse().map_err(|_| format!("`db` is `{value}`"))?),
            "user" => self.user = Some(value.to_owned()),
            "tls_ca" | "tls_cert" | "tls_key" => {
                let tls = self.tls.as_mut().ok_or_else(|| format!("`{key}` needs `rediss://`"))?;
                let file = Some(PathBuf::from(value));
                match key {
                    "tls_ca" => tls.ca = file,
                    "tls_cert" => tls.cert = file,
                    _ => tls.key = file,
                }
            }
            _ => return Err(format!("it has an unknown parameter `{key}`")),
        }
        Ok(())
    }

    /// The same user and certificates at another node of the cluster.
    #[must_use]
    pub fn at(&self, name: &str, port: u16) -> Self {
        Self { host: Host::Tcp { name: name.to_owned(), port }, ..self.clone() }
    }

    /// For people, without secrets: `db.internal`, `db.internal:7000`, `/run/redis.sock`.
    pub fn place(&self) -> String {
        match &self.host {
            Host::Tcp { name, port: PORT } => name.clone(),
            Host::Tcp { name, port } if name.contains(':') => format!("[{name}]:{port}"),
            Host::Tcp { name, port } => format!("{name}:{port}"),
            Host::Unix(path) => path.display().to_string(),
        }
    }

    /// The socket, where it is one.
    pub fn socket(&self) -> Option<&Path> {
        match &self.host {
            Host::Unix(path) => Some(path),
            Host::Tcp { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> ConnectOptions {
        ConnectOptions::parse(url, None).unwrap()
    }

    #[test]
    fn urls_are_read_as_the_usual_clients_write_them() {
        let plain = parse("redis://backup@db.internal:7000/3");
        assert_eq!(plain.host, Host::Tcp { name: "db.internal".into(), port: 7000 });
        assert_eq!((plain.user.as_deref(), plain.database, plain.tls), (Some("backup"), Some(3), None));
        assert_eq!(plain.password, None);
        assert_eq!(parse("redis://").place(), "localhost");
        assert_eq!(parse("redis://[::1]:7000").place(), "[::1]:7000");
        assert_eq!(parse("valkey://h").place(), "h");
        assert_eq!(parse("redis://:p%40ss@h").password, Some(Secret::new("p@ss")));
        let tls = parse("rediss://h?tls_ca=/ca.pem&tls_cert=/c.pem&tls_key=/k.pem").tls.unwrap();
        assert_eq!((tls.ca, tls.key), (Some("/ca.pem".into()), Some("/k.pem".into())));
        for url in ["unix:///run/my%20redis.sock?db=2&user=b", "redis+unix:///run/my%20redis.sock?db=2&user=b"] {
            let socket = parse(url);
            assert_eq!(socket.host, Host::Unix("/run/my redis.sock".into()));
            assert_eq!((socket.database, socket.user.as_deref()), (Some(2), Some("b")));
        }
    }

    #[test]
    fn a_url_that_means_nothing_is_refused_without_its_password() {
        for (url, says) in [
            ("redis://u:hunter2@h/x", "not the number of a database"),
            ("redis://u:hunter2@h?dbb=1", "unknown parameter `dbb`"),
            ("redis://u:hunter2@h?tls_ca=/x", "needs `rediss://`"),
            ("http://u:hunter2@h", "does not start with"),
            ("redis://u:hunter2@h:port", "invalid port"),
            ("redis://u:hunt@er2@h/x", "not the number"),
            ("unix://run/redis.sock", "three slashes"),
            ("unix:///", "names no socket"),
        ] {
            let error = ConnectOptions::parse(url, None).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("hunt") && !error.contains("er2"), "{error}");
        }
    }
}
