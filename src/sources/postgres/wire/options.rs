//! Where and how to connect, read from a URL as libpq reads it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::{TlsFiles, WireError};
use crate::domain::{Secret, with_host};
use crate::sources::network::urls::{self, without_password};
use crate::system::process::Program;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const STALL_TIMEOUT: Duration = Duration::from_mins(10);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Tcp(String),
    /// The folder that holds `.s.PGSQL.<port>`.
    Unix(PathBuf),
}

/// libpq's `sslmode`; `prefer` is the default there and here. Unix sockets never use TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

#[derive(Debug, Clone)]
pub struct ConnectOptions {
    pub host: Host,
    pub port: u16,
    pub user: String,
    pub database: String,
    pub password: Option<Secret>,
    pub tls: TlsMode,
    pub files: TlsFiles,
    pub connect_timeout: Duration,
    /// How long a read may wait for the next byte; `None` waits for ever.
    pub stall_timeout: Option<Duration>,
    pub application_name: String,
}

impl ConnectOptions {
    /// Reads `postgres://user@host:port/database?sslmode=...`. A socket folder is the host, percent-encoded, or `?host=/dir`.
    ///
    /// Known parameters: `host`, `port`, `user`, `dbname`, `sslmode`, `sslrootcert`, `sslcert`, `sslkey`,
    /// `connect_timeout` (seconds), `application_name`. Any other is an error, so that none is ignored silently.
    pub fn parse(url: &str, password: Option<Secret>) -> Result<Self, WireError> {
        let bad = |why: &str| WireError::Url { url: without_password(url), why: why.to_owned() };
        let parsed = Url::parse(&with_host(url)).map_err(|error| bad(&error.to_string()))?;
        if !matches!(parsed.scheme(), "postgres" | "postgresql") {
            return Err(bad("it does not start with `postgres://`"));
        }
        let text = |raw: &str| urls::text(raw).ok_or_else(|| bad("its percent-encoding is not UTF-8"));
        let mut options = Self {
            host: host_of(&text(parsed.host_str().unwrap_or("localhost"))?),
            port: parsed.port().unwrap_or(5432),
            user: text(parsed.username())?,
            database: text(parsed.path().trim_start_matches('/'))?,
            password,
            tls: TlsMode::Prefer,
            files: TlsFiles::default(),
            connect_timeout: CONNECT_TIMEOUT,
            stall_timeout: Some(STALL_TIMEOUT),
            application_name: "lifeboat".to_owned(),
        };
        if options.password.is_none()
            && let Some(raw) = parsed.password()
        {
            options.password = Some(Secret::new(text(raw)?));
        }
        for (key, value) in parsed.query_pairs() {
            options.parameter(&key, &value).map_err(|why| bad(&why))?;
        }
        if options.user.is_empty() {
            "postgres".clone_into(&mut options.user);
        }
        if options.database.is_empty() {
            options.database.clone_from(&options.user);
        }
        if matches!(options.host, Host::Unix(_)) {
            options.tls = TlsMode::Disable;
        } else if options.files.ca.is_some() && options.tls == TlsMode::Require {
            // libpq: whoever names a root certificate wants it checked.
            options.tls = TlsMode::VerifyCa;
        }
        Ok(options)
    }

    fn parameter(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "host" => self.host = host_of(value),
            "port" => self.port = value.parse().map_err(|_| format!("`port` is `{value}`"))?,
            "user" => value.clone_into(&mut self.user),
            "dbname" => value.clone_into(&mut self.database),
            "application_name" => value.clone_into(&mut self.application_name),
            "sslrootcert" if value == "system" => {}
            "sslrootcert" => self.files.ca = Some(PathBuf::from(value)),
            "sslcert" => self.files.cert = Some(PathBuf::from(value)),
            "sslkey" => self.files.key = Some(PathBuf::from(value)),
            "connect_timeout" => {
                let secs: u64 = value.parse().map_err(|_| format!("`connect_timeout` is `{value}`"))?;
                self.connect_timeout = Duration::from_secs(secs.max(2));
            }
            "sslmode" => {
                self.tls = match value {
                    "disable" => TlsMode::Disable,
                    "allow" | "prefer" => TlsMode::Prefer,
                    "require" => TlsMode::Require,
                    "verify-ca" => TlsMode::VerifyCa,
                    "verify-full" => TlsMode::VerifyFull,
                    _ => {
                        return Err(format!(
                            "`sslmode` is `{value}`; it takes disable, prefer, require, verify-ca or verify-full"
                        ));
                    }
                }
            }
            _ => return Err(format!("it has an unknown parameter `{key}`")),
        }
        Ok(())
    }

    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        Self { database: database.to_owned(), ..self.clone() }
    }

    /// For people, without secrets: `db.internal/social`, `/run/postgresql/social`; the port only when it is unusual.
    pub fn place(&self) -> String {
        format!("{}/{}", self.server(), self.database)
    }

    /// The place without the database.
    pub fn server(&self) -> String {
        let host = match &self.host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        };
        if self.port == 5432 { host } else { format!("{host}:{}", self.port) }
    }

    /// Points a Postgres client program at the same place; nothing of ours is seen on its command line.
    #[must_use]
    pub fn environment(&self, program: Program) -> Program {
        let host = match &self.host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        };
        let mode = match self.tls {
            TlsMode::Disable => "disable",
            TlsMode::Prefer => "prefer",
            TlsMode::Require => "require",
            TlsMode::VerifyCa => "verify-ca",
            TlsMode::VerifyFull => "verify-full",
        };
        let mut program = program
            .clear_env()
            .env("PGHOST", host)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", &self.user)
            .env("PGAPPNAME", &self.application_name)
            .env("PGCONNECT_TIMEOUT", self.connect_timeout.as_secs().to_string())
            .env("PGSSLMODE", mode);
        let TlsFiles { ca, cert, key } = &self.files;
        for (name, file) in [("PGSSLROOTCERT", ca), ("PGSSLCERT", cert), ("PGSSLKEY", key)] {
            if let Some(file) = file {
                program = program.env(name, file.display().to_string());
            }
        }
        match &self.password {
            Some(password) => program.secret_env("PGPASSWORD", password.clone()),
            // A file that cannot be: `~/.pgpass` of whoever runs us is not part of the configuration.
            None => program.env("PGPASSFILE", "/dev/null/none"),
        }
    }

    pub(super) fn socket(folder: &Path, port: u16) -> PathBuf {
        folder.join(format!(".s.PGSQL.{port}"))
    }
}

fn host_of(text: &str) -> Host {
    if text.starts_with('/') {
        Host::Unix(PathBuf::from(text))
    } else if text.is_empty() {
        Host::Tcp("localhost".to_owned())
    } else {
        Host::Tcp(text.trim_start_matches('[').trim_end_matches(']').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> ConnectOptions {
        ConnectOptions::parse(url, None).unwrap()
    }

    #[test]
    fn a_socket_folder_is_a_percent_encoded_host_or_a_parameter() {
        let encoded = parse("postgres://u@%2Ftmp%2Fsock:5433/db");
        assert_eq!(encoded.host, Host::Unix("/tmp/sock".into()));
        assert_eq!((encoded.port, encoded.user.as_str(), encoded.database.as_str()), (5433, "u", "db"));
        let parameter = parse("postgresql:///my%20db?host=/tmp/sock&user=it%27s&sslmode=require");
        assert_eq!(parameter.host, Host::Unix("/tmp/sock".into()));
        assert_eq!((parameter.user.as_str(), parameter.database.as_str()), ("it's", "my db"));
        assert_eq!(parameter.tls, TlsMode::Disable, "a socket has no TLS");
    }

    #[test]
    fn a_login_may_stand_without_a_host_as_libpq_has_it() {
        let socket = parse("postgres://u@/db?host=/tmp/sock");
        assert_eq!((socket.host, socket.user.as_str()), (Host::Unix("/tmp/sock".into()), "u"));
        let port = parse("postgres://u@:5433/db?host=%2Ftmp%2Fsock");
        assert_eq!((port.host, port.port, port.database.as_str()), (Host::Unix("/tmp/sock".into()), 5433, "db"));
        let encoded = parse("postgres://%2ftmp%2fsock/db");
        assert_eq!((encoded.host, encoded.database.as_str()), (Host::Unix("/tmp/sock".into()), "db"));
        assert_eq!(parse("postgres://u@/db").host, Host::Tcp("localhost".into()));
    }

    #[test]
    fn tls_is_preferred_by_default_and_a_named_root_is_checked() {
        assert_eq!(parse("postgres://h/db").tls, TlsMode::Prefer);
        assert_eq!(parse("postgres://h/db?sslmode=require&sslrootcert=/ca.pem").tls, TlsMode::VerifyCa);
        assert_eq!(parse("postgres://[::1]:6000/db").host, Host::Tcp("::1".into()));
    }

    #[test]
    fn an_unknown_parameter_is_refused_and_no_error_shows_a_password() {
        let error = ConnectOptions::parse("postgres://u:hunter2@h/db?sslmod=require", None).unwrap_err().to_string();
        assert_eq!(
            error,
            "`postgres://u@h/db?sslmod=require` is not a Postgres URL: it has an unknown parameter `sslmod`"
        );
        assert!(ConnectOptions::parse("mysql://h/db", None).is_err());
    }
}
