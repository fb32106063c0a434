//! Stores that do not speak S3: each a table below `[source]`, named after the store.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::config::ObjectsConfig;
use crate::config::{ConfigError, SecretRef, Section};

/// `[source.gcs]`: a bucket of Google Cloud Storage.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoogleConfig {
    pub bucket: String,
    /// The key of a service account, as Google gives it: a text of JSON. Without one only a public bucket is read.
    pub credential: Option<SecretRef>,
    /// Google's own where there is none.
    pub endpoint: Option<String>,
    /// List one folder after the other, each in memory and sorted here: for a store that does not list in the order of keys.
    #[serde(default)]
    pub by_folder: bool,
}

/// `[source.azblob]`: a container of Azure Blob Storage.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzureConfig {
    pub account: String,
    pub container: String,
    /// The account's key. With neither this nor `sas` only a public container is read.
    pub key: Option<SecretRef>,
    /// A shared access signature that may list and read.
    pub sas: Option<SecretRef>,
    /// `https://ACCOUNT.blob.core.windows.net` where there is none.
    pub endpoint: Option<String>,
    /// List one folder after the other, each in memory and sorted here: for accounts with a hierarchical namespace.
    #[serde(default)]
    pub by_folder: bool,
}

/// `[source.webdav]`: a folder of a WebDAV server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebdavConfig {
    /// Its address: `https://cloud.example.org/remote.php/dav/files/me`.
    pub endpoint: String,
    pub user: Option<String>,
    pub password: Option<SecretRef>,
    /// A bearer token, where the server takes one instead of user and password.
    pub token: Option<SecretRef>,
}

/// `[source.sftp]`: a folder of a machine that lets us in by `ssh`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SftpConfig {
    /// A name or an address, or what `~/.ssh/config` calls the host.
    pub host: String,
    pub port: Option<u16>,
    pub user: Option<String>,
    /// A folder, relative to the one that a login begins in; by default that one.
    pub path: Option<String>,
    /// A private key for `ssh`; without one those of the user who runs this and its agent are tried.
    pub ssh_key: Option<PathBuf>,
    /// The file of known hosts for `ssh`; by default the user's own. A host that is not in it is refused.
    pub ssh_known_hosts: Option<PathBuf>,
}

/// `[source.fs]`: a folder of this machine whose files are objects and nothing more.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FsConfig {
    pub path: PathBuf,
}

/// Where the objects of a job are.
#[derive(Debug, Clone)]
pub(super) enum Where {
    /// As the keys of `[source]` itself say.
    S3,
    Google(GoogleConfig),
    Azure(AzureConfig),
    Webdav(WebdavConfig),
    Sftp(SftpConfig),
    Fs(FsConfig),
}

/// What S3 alone has.
const S3_KEYS: [&str; 10] = [
    "bucket",
    "endpoint",
    "region",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "virtual_host_style",
    "tags",
    "versions",
    "access_lists",
];
const TABLES: [&str; 5] = ["gcs", "azblob", "webdav", "sftp", "fs"];

impl Where {
    pub(super) fn of(config: &ObjectsConfig, section: &Section) -> Result<Self, ConfigError> {
        let named: Vec<&str> = TABLES.into_iter().filter(|table| section.has(table)).collect();
        let hint = "a job reads one store; write another job for the other";
        if let [first, second, ..] = named[..] {
            return Err(section.error_at(second, format!("`{first}` and `{second}` are two stores"), hint));
        }
        if let Some(table) = named.first()
            && let Some(key) = S3_KEYS.iter().find(|key| section.has(key))
        {
            return Err(section.error_at(key, format!("`{key}` is of S3, and `{table}` is another store"), hint));
        }
        if !named.is_empty() && config.prefix.starts_with('/') {
            let what = format!("`prefix = \"{}\"` begins with `/`", config.prefix);
            return Err(section.error_at("prefix", what, "keys of this store do not"));
        }
        let wrong = |table: &str, what: String, hint: &str| Err(section.error_at(table, what, hint));
        if let Some(google) = &config.gcs {
            check_name(section, "gcs", "bucket", &google.bucket)?;
            check_endpoint(section, "gcs", google.endpoint.as_deref())?;
            return Ok(Self::Google(google.clone()));
        }
        if let Some(azure) = &config.azblob {
            check_name(section, "azblob", "container", &azure.container)?;
            check_name(section, "azblob", "account", &azure.account)?;
            check_endpoint(section, "azblob", azure.endpoint.as_deref())?;
            if azure.key.is_some() && azure.sas.is_some() {
                return wrong("azblob", "`key` and `sas` exclude each other".to_owned(), "one of them is enough");
            }
            return Ok(Self::Azure(azure.clone()));
        }
        if let Some(webdav) = &config.webdav {
            check_endpoint(section, "webdav", Some(&webdav.endpoint))?;
            if webdav.user.is_some() != webdav.password.is_some() || (webdav.user.is_some() && webdav.token.is_some()) {
                let what = "`user` and `password` go together, or `token` alone".to_owned();
                return wrong("webdav", what, "name what the server asks for, or none");
            }
            return Ok(Self::Webdav(webdav.clone()));
        }
        if let Some(sftp) = &config.sftp {
            let odd = |text: &str| text.is_empty() || text.starts_with('-') || text.contains(char::is_whitespace);
            if odd(&sftp.host) || sftp.user.as_deref().is_some_and(odd) {
                return wrong("sftp", "`host` or `user` is no name".to_owned(), "as in `host = \"files.example.org\"`");
            }
            let mut sftp = sftp.clone();
            sftp.ssh_key = sftp.ssh_key.map(|path| section.resolve_path(&path));
            sftp.ssh_known_hosts = sftp.ssh_known_hosts.map(|path| section.resolve_path(&path));
            return Ok(Self::Sftp(sftp));
        }
        if let Some(fs) = &config.fs {
            return Ok(Self::Fs(FsConfig { path: section.resolve_path(&fs.path) }));
        }
        Ok(Self::S3)
    }

    /// For people and for records: the store and what it calls the place.
    pub(super) fn place(&self, config: &ObjectsConfig) -> String {
        let prefix = &config.prefix;
        match self {
            Self::S3 => format!("s3://{}/{prefix}", config.bucket),
            Self::Google(google) => format!("gcs://{}/{prefix}", google.bucket),
            Self::Azure(azure) => format!("azblob://{}/{}/{prefix}", azure.account, azure.container),
            Self::Webdav(webdav) => format!("{}/{prefix}", webdav.endpoint.trim_end_matches('/')),
            Self::Sftp(sftp) => {
                let path = sftp.path.as_deref().unwrap_or_default().trim_end_matches('/');
                format!("sftp://{}/{}/{prefix}", sftp.host, path.trim_start_matches('/'))
            }
            Self::Fs(fs) => format!("{}/{prefix}", fs.path.display()),
        }
    }

    /// Whether the store knows folders, and files with owners.
    pub(super) fn has_folders(&self) -> bool {
        matches!(self, Self::Webdav(_) | Self::Sftp(_) | Self::Fs(_))
    }

    /// What the record calls the bucket.
    pub(super) fn bucket(&self, config: &ObjectsConfig) -> String {
        match self {
            Self::S3 => config.bucket.clone(),
            Self::Google(google) => google.bucket.clone(),
            Self::Azure(azure) => azure.container.clone(),
            Self::Webdav(webdav) => webdav.endpoint.clone(),
            Self::Sftp(sftp) => sftp.host.clone(),
            Self::Fs(fs) => fs.path.display().to_string(),
        }
    }
}

fn check_name(section: &Section, table: &str, key: &str, name: &str) -> Result<(), ConfigError> {
    if name.is_empty() || name.contains('/') {
        let what = format!("`{key} = \"{name}\"` is not the name of one");
        return Err(section.error_at(table, what, "the name alone; what keys begin with is `prefix`"));
    }
    Ok(())
}

/// What stands before an `@` is a password, which may not be shown.
fn check_endpoint(section: &Section, table: &str, endpoint: Option<&str>) -> Result<(), ConfigError> {
    let Some(endpoint) = endpoint else { return Ok(()) };
    let url = url::Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = url else {
        let what = if endpoint.contains('@') {
            "`endpoint` is no address".to_owned()
        } else {
            format!("`{endpoint}` is no address")
        };
        return Err(section.error_at(table, what, "as in `https://store.example.com`"));
    };
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        let what = "`endpoint` holds more than a host and a path".to_owned();
        return Err(section.error_at(table, what, "secrets have keys of their own"));
    }
    Ok(())
}
