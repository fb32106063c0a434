//! The `[source]` table of a Redis job.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::pattern::Pattern;
use super::replica::READY_LIMIT;
use super::sentinel::Sentinels;
use super::spool::DEFAULT_BYTES;
use super::wire::{ConnectOptions, TlsFiles};
use crate::config::{ConfigError, SecretRef, Section};
use crate::domain::parse_bytes;

/// `type = "redis"`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis`, also for Valkey.
    #[serde(rename = "type")]
    pub kind: String,
    /// `redis://host:port`, `rediss://host:port` for TLS, `unix:///path/redis.sock`; or sentinels, who know where the primary is:
    /// `redis+sentinel://host:26379,host2:26379/mymaster`. No password.
    pub url: String,
    /// The ACL user; it needs `+psync +replconf +ping`, and better `+info` too.
    pub username: Option<String>,
    pub password: Option<SecretRef>,
    /// At the sentinels themselves, where they ask for one.
    pub sentinel_username: Option<String>,
    pub sentinel_password: Option<SecretRef>,
    /// PEM file of the authority that signed the server's certificate; by default the system's.
    pub tls_ca: Option<PathBuf>,
    /// PEM files of a client's certificate and its key.
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// `"all"`, or a list of numbers: `[0, 3]`. Keys of others are left out.
    pub databases: Option<Databases>,
    /// Keys to leave out, as Redis writes patterns: `cache:*`.
    #[serde(default)]
    pub exclude_keys: Vec<String>,
    /// Read from a replica where one is in step.
    #[serde(default)]
    pub prefer_replica: bool,
    /// Where the server forbids replication, read key by key while keys change. Such a snapshot is of no single moment.
    #[serde(default)]
    pub allow_fuzzy: bool,
    /// At most so many keys a second are read one by one; by default as many as the server gives.
    pub fuzzy_keys_per_second: Option<u32>,
    /// How long a server that loads its data, or a replica that looks for its primary, is waited for: `10m`.
    pub ready_timeout: Option<String>,
    /// How long the server may send nothing: `10m`.
    pub stall_timeout: Option<String>,
    /// How much of what the server sends may wait on this machine's disk while a target is slow: `2GiB`. With `0` the server waits,
    /// and may drop the connection.
    pub spool: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Databases {
    /// `"all"`.
    Word(String),
    List(Vec<u64>),
}

/// The table, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Until the sentinels were asked, its host means nothing.
    pub options: ConnectOptions,
    pub sentinels: Option<Sentinels>,
    pub password: Option<SecretRef>,
    pub wanted: Wanted,
    pub prefer_replica: bool,
    pub allow_fuzzy: bool,
    pub fuzzy_keys_per_second: Option<u32>,
    pub ready_timeout: Duration,
    /// 0 is none.
    pub spool_bytes: u64,
}

/// Which keys the job is about.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Sorted; `None` is all.
    pub databases: Option<Vec<u64>>,
    pub exclude_keys: Vec<Pattern>,
}

impl Wanted {
    pub fn is_everything(&self) -> bool {
        self.databases.is_none() && self.exclude_keys.is_empty()
    }

    pub fn has_database(&self, database: u64) -> bool {
        self.databases.as_ref().is_none_or(|wanted| wanted.contains(&database))
    }

    pub fn has_key(&self, key: &[u8]) -> bool {
        !self.exclude_keys.iter().any(|pattern| pattern.fits(key))
    }
}

impl Settings {
    /// Everything of the server that `options` names.
    pub fn of(options: ConnectOptions) -> Self {
        Self {
            options,
            sentinels: None,
            password: None,
            wanted: Wanted::default(),
            prefer_replica: false,
            allow_fuzzy: false,
            fuzzy_keys_per_second: None,
            ready_timeout: READY_LIMIT,
            spool_bytes: 0,
        }
    }
}

impl RedisConfig {
    /// Checks what can be checked without a network. Relative paths start where `section` says.
    pub fn settle(self, section: &Section) -> Result<Settings, ConfigError> {
        let (url, sentinels) = match Sentinels::parse(&self.url) {
            Some(Ok((sentinels, url))) => (url, Some(sentinels)),
            Some(Err(why)) => {
                let hint = "write it as `redis+sentinel://host:26379,host2:26379/mymaster`";
                return Err(section.error_at("url", format!("`url` is no URL of sentinels: {why}"), hint));
            }
            None => (self.url.clone(), None),
        };
        let mut options = ConnectOptions::parse(&url, None)
            .map_err(|error| section.error_at("url", error.to_string(), "write it as `redis://host:6379`"))?;
        let (user, password) = (self.sentinel_username, self.sentinel_password);
        if sentinels.is_none() && (user.is_some() || password.is_some()) {
            let hint = "write it as `redis+sentinel://host:26379/mymaster`";
            return Err(section.error_at("url", "`sentinel_...` is set, and `url` names no sentinels", hint));
        }
        if user.is_some() && password.is_none() {
            let hint = "`sentinel_password = { file = \"/run/secrets/sentinel\" }`";
            return Err(section.error_at("sentinel_username", "a user is named, and no password", hint));
        }
        let sentinels = sentinels.map(|sentinels| sentinels.logged_in(user, password));
        if options.password.is_some() {
            let hint = "write it elsewhere and point to it: `password = { file = \"/run/secrets/redis\" }`";
            return Err(section.error_at("url", "`url` holds a password", hint));
        }
        if let Some(user) = self.username {
            options.user = Some(user);
        }
        if options.user.is_some() && self.password.is_none() {
            let hint = "`password = { file = \"/run/secrets/redis\" }`";
            return Err(section.error_at("username", "a user is named, and no password", hint));
        }
        let files = [self.tls_ca, self.tls_cert, self.tls_key].map(|file| file.map(|file| section.resolve_path(&file)));
        if files.iter().any(Option::is_some) {
            if options.tls.is_none() {
                let hint = "write it as `rediss://host:port`";
                return Err(section.error_at("url", "`tls_...` is set, and `url` asks for no TLS", hint));
            }
            let [ca, cert, key] = files;
            if cert.is_some() != key.is_some() {
                return Err(section.error_at("tls_cert", "`tls_cert` and `tls_key` go together", "name both files"));
            }
            options.tls = Some(TlsFiles { ca, cert, key });
        }
        if let Some(text) = &self.stall_timeout {
            options.stall_timeout = Some(duration(section, "stall_timeout", text)?);
        }
        let ready_timeout = match &self.ready_timeout {
            Some(text) => duration(section, "ready_timeout", text)?,
            None => READY_LIMIT,
        };
        let spool_bytes = match &self.spool {
            Some(text) => parse_bytes(text).ok_or_else(|| {
                let hint = "write `2GiB`, or `0` for none";
                section.error_at("spool", format!("`spool` is `{text}`, which is no size"), hint)
            })?,
            None => DEFAULT_BYTES,
        };
        let databases = match self.databases {
            // A URL that names a database means that one, as it does to any client.
            None => options.database.map(|database| vec![u64::from(database)]),
            Some(Databases::Word(word)) if word == "all" => None,
            Some(Databases::Word(word)) => {
                let headline = format!("`databases` is `{word}`");
                return Err(section.error_at("databases", headline, "write `\"all\"`, or numbers: `[0, 3]`"));
            }
            Some(Databases::List(numbers)) if numbers.is_empty() => {
                return Err(section.error_at(
                    "databases",
                    "`databases` is empty",
                    "name at least one, or write `\"all\"`",
                ));
            }
            Some(Databases::List(mut numbers)) => {
                numbers.sort_unstable();
                numbers.dedup();
                Some(numbers)
            }
        };
        if self.fuzzy_keys_per_second == Some(0) {
            let hint = "leave it out to read as fast as the server gives";
            return Err(section.error_at("fuzzy_keys_per_second", "`fuzzy_keys_per_second` is 0", hint));
        }
        let exclude_keys = self.exclude_keys.iter().map(|text| Pattern::new(text)).collect();
        Ok(Settings {
            options,
            sentinels,
            password: self.password,
            wanted: Wanted { databases, exclude_keys },
            prefer_replica: self.prefer_replica,
            allow_fuzzy: self.allow_fuzzy,
            fuzzy_keys_per_second: self.fuzzy_keys_per_second,
            ready_timeout,
            spool_bytes,
        })
    }
}

fn duration(section: &Section, key: &str, text: &str) -> Result<Duration, ConfigError> {
    let wrong = |why: String| section.error_at(key, format!("`{key}` is `{text}`: {why}"), "write `30s` or `10m`");
    let span: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| wrong(error.to_string()))?;
    match Duration::try_from(span) {
        Ok(duration) if duration >= Duration::from_secs(1) => Ok(duration),
        _ => Err(wrong("it must be at least a second".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(text: &str) -> Result<Settings, String> {
        let section = Section::from_text(&format!("type = 'redis'\n{text}")).unwrap();
        let config: RedisConfig = section.parse().map_err(|error| error.to_string())?;
        config.settle(&section).map_err(|error| error.to_string())
    }

    #[test]
    fn a_job_takes_every_database_unless_its_url_or_a_list_says_otherwise() {
        let databases = |text: &str| settle(text).unwrap().wanted.databases;
        assert_eq!(databases("url = 'redis://h'"), None);
        assert_eq!(databases("url = 'redis://h/3'"), Some(vec![3]));
        assert_eq!(databases("url = 'redis://h/3'\ndatabases = 'all'"), None);
        assert_eq!(databases("url = 'redis://h'\ndatabases = [5, 0, 5]"), Some(vec![0, 5]));
        let wanted = settle("url = 'redis://h'\nexclude_keys = ['cache:*']\ndatabases = [1]").unwrap().wanted;
        assert!(!wanted.is_everything() && wanted.has_database(1) && !wanted.has_database(0));
        assert!(wanted.has_key(b"session:1") && !wanted.has_key(b"cache:1"));
    }

    #[test]
    fn files_and_limits_go_where_they_belong() {
        let text = "url = 'rediss://h'\ntls_ca = '/ca.pem'\nusername = 'bk'\npassword = { env = 'X' }\n\
                    stall_timeout = '2m'\nready_timeout = '30s'\nspool = '64MiB'";
        let settings = settle(text).unwrap();
        assert_eq!(settings.options.tls.unwrap().ca, Some("/ca.pem".into()));
        assert_eq!(settings.options.user.as_deref(), Some("bk"));
        assert_eq!(settings.options.stall_timeout, Some(Duration::from_mins(2)));
        assert_eq!(settings.ready_timeout, Duration::from_secs(30));
        assert_eq!(settings.spool_bytes, 64 << 20);
        assert!(settle("url = 'rediss://h'").unwrap().options.tls.is_some());
        let spool = |text: &str| settle(&format!("url = 'redis://h'\n{text}")).unwrap().spool_bytes;
        assert_eq!((spool(""), spool("spool = '0'")), (DEFAULT_BYTES, 0));
    }

    #[test]
    fn mistakes_are_refused_with_what_to_write() {
        for (text, says) in [
            ("url = 'redis://h'\nurll = 'x'", "urll"),
            ("url = 'http://h'", "redis://host:6379"),
            ("url = 'redis://h'\nusername = 'bk'", "no password"),
            ("url = 'redis://h'\ntls_ca = 'x'", "rediss://host"),
            ("url = 'rediss://h'\ntls_cert = 'x'", "go together"),
            ("url = 'redis://h'\ndatabases = 'some'", "`[0, 3]`"),
            ("url = 'redis://h'\ndatabases = []", "name at least one"),
            ("url = 'redis://h'\nstall_timeout = 'soon'", "write `30s`"),
            ("url = 'redis+sentinel://h'", "names no service"),
            ("url = 'redis+sentinel://u:hunter2@h/m'", "password = {"),
            ("url = 'redis://h'\nsentinel_username = 'x'", "names no sentinels"),
            ("url = 'redis+sentinel://h/m'\nsentinel_username = 'x'", "sentinel_password"),
            ("url = 'redis://h'\nspool = 'much'", "`0` for none"),
            ("url = 'redis://h'\nfuzzy_keys_per_second = 0", "leave it out"),
        ] {
            let error = settle(text).unwrap_err();
            assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
        }
        let error = settle("url = 'redis://bk:hunter2@h'").unwrap_err();
        assert!(error.contains("password = {"), "{error}");
    }
}
