//! The `[source]` table of a job of git repositories.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::record::is_name;
use crate::config::{ConfigError, DurationText, SecretRef, Section};

/// Hosts of what is too common to be told apart by.
const SCHEMES: [&str; 5] = ["https", "http", "ssh", "git", "file"];
/// How long a server may take to say what it has.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
/// How long nothing new may arrive while a repository is fetched.
const STALL_LIMIT: Duration = Duration::from_mins(10);

/// `type = "git"`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitConfig {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "git"))]
    pub kind: String,
    /// One repository or a list of them, each a URL (`https://host/app.git`, `ssh://git@host/app.git`, `git@host:app.git`) or a path.
    /// A wiki is a repository of its own: `https://github.com/acme/app.wiki.git`.
    pub repository: Repositories,
    /// Sent to `https://` addresses, and nowhere else.
    pub token: Option<SecretRef>,
    /// The user that goes with the token; by default `x-access-token`, which GitHub, GitLab and Gitea take.
    pub token_user: Option<String>,
    /// A PEM file with the authorities that certificates of `https://` may be of; by default the system's.
    pub tls_ca: Option<PathBuf>,
    /// A private key for `ssh`; without one those of the user who runs this and its agent are tried.
    pub ssh_key: Option<PathBuf>,
    /// The file of known hosts for `ssh`; by default the user's own. A host that is not in it is refused.
    pub ssh_known_hosts: Option<PathBuf>,
    /// How long a server may take to list its refs: `1m`.
    pub answer_timeout: Option<DurationText>,
    /// How long nothing may arrive while a repository is fetched: `10m`.
    pub stall_timeout: Option<DurationText>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Repositories {
    /// First, because a list of two texts would pass for a table of two.
    Several(Vec<Repository>),
    One(Repository),
}

/// A URL or path, or that with a name: `{ url = "...", name = "acme/app" }`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Repository {
    Plain(String),
    Named(NamedRepository),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedRepository {
    pub url: String,
    /// What it is called in the backup and restored as; by default the last part of the URL without `.git`.
    pub name: String,
}

/// The table, checked.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// In the order of their names with a `/` behind, which is that of their entries.
    pub(super) remotes: Vec<Remote>,
    pub(super) token: Option<SecretRef>,
    pub(super) token_user: String,
    pub(super) tls_ca: Option<PathBuf>,
    pub(super) ssh_key: Option<PathBuf>,
    pub(super) ssh_known_hosts: Option<PathBuf>,
    pub(super) answer_limit: Duration,
    pub(super) stall_limit: Duration,
}

/// One repository of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) name: String,
    /// As git takes it: a URL, or an absolute path.
    pub(super) url: String,
}

impl Remote {
    /// The folder that it is, if it is a path.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.url.starts_with('/').then(|| Path::new(&self.url))
    }

    /// `https://host:port/`, where a token may be sent.
    pub(super) fn token_scope(&self) -> Option<String> {
        let url = url::Url::parse(&self.url).ok()?;
        let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let may = url.scheme() == "https" || (url.scheme() == "http" && local);
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        may.then(|| format!("{}://{}{port}/", url.scheme(), url.host_str().unwrap_or_default()))
    }
}

impl GitConfig {
    pub(super) fn settle(self, section: &Section) -> Result<Settings, ConfigError> {
        let bad = |key: &str, what: String, hint: &str| Err(section.error_at(key, what, hint));
        let given = match self.repository {
            Repositories::One(one) => vec![one],
            Repositories::Several(several) => several,
        };
        let mut remotes = vec![];
        for given in given {
            let (text, name) = match given {
                Repository::Plain(url) => (url, None),
                Repository::Named(NamedRepository { url, name }) => (url, Some(name)),
            };
            let url = match address(&text, section) {
                Ok(url) => url,
                Err(why) => return bad("repository", format!("`{text}` {why}"), "name a URL or a path"),
            };
            let name = name.unwrap_or_else(|| last_part(&text));
            if !is_name(&name) {
                let hint = "give it another: `{ url = \"...\", name = \"app\" }`";
                return bad("repository", format!("`{name}` is no name for a repository"), hint);
            }
            remotes.push(Remote { name, url });
        }
        if remotes.is_empty() {
            return bad("repository", "`repository` names nothing".to_owned(), "name a URL, a path, or a list of them");
        }
        let key = |name: &str| format!("{}/", name.to_lowercase());
        remotes.sort_by(|a, b| format!("{}/", a.name).cmp(&format!("{}/", b.name)));
        for (at, remote) in remotes.iter().enumerate() {
            // On a file system that takes no notice of case, `App.git` and `app.git` would be one.
            let clash = remotes[..at].iter().find(|other| {
                key(&remote.name).starts_with(&key(&other.name)) || key(&other.name).starts_with(&key(&remote.name))
            });
            if let Some(other) = clash {
                let what = format!("`{}` and `{}` would both be called `{}`", other.url, remote.url, remote.name);
                return bad("repository", what, "give one another name: `{ url = \"...\", name = \"other\" }`");
            }
        }
        if self.token.is_some()
            && let Some(remote) = remotes.iter().find(|remote| remote.url.starts_with("http://"))
            && remote.token_scope().is_none()
        {
            let what = format!("`{}` would get the token without encryption", remote.url);
            return bad("token", what, "use `https://`");
        }
        Ok(Settings {
            remotes,
            token: self.token,
            token_user: self.token_user.unwrap_or_else(|| "x-access-token".to_owned()),
            tls_ca: self.tls_ca.map(|path| section.resolve_path(&path)),
            ssh_key: self.ssh_key.map(|path| section.resolve_path(&path)),
            ssh_known_hosts: self.ssh_known_hosts.map(|path| section.resolve_path(&path)),
            answer_limit: self.answer_timeout.map_or(ANSWER_LIMIT, |limit| limit.0),
            stall_limit: self.stall_timeout.map_or(STALL_LIMIT, |limit| limit.0),
        })
    }
}

/// As git takes it. What would make it run another program is no address.
fn address(text: &str, section: &Section) -> Result<String, &'static str> {
    if text.is_empty() || text.starts_with('-') || text.contains(['\n', '\0']) {
        return Err("is no address of a repository");
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let known = SCHEMES.contains(&scheme) && !rest.is_empty() && !rest.starts_with('-');
        return if known { Ok(text.to_owned()) } else { Err("is no URL that a repository can be fetched from") };
    }
    if text.contains("::") {
        return Err("names a program to fetch by, which is not allowed");
    }
    // `host:path`, as for scp: with a colon before any slash.
    if text.split('/').next().is_some_and(|first| first.contains(':')) {
        return Ok(text.to_owned());
    }
    let path = std::path::absolute(section.resolve_path(Path::new(text))).map_err(|_| "is no path")?;
    path.into_os_string().into_string().map_err(|_| "is no path in UTF-8")
}

/// `app` of `https://host/acme/app.git`.
fn last_part(address: &str) -> String {
    let trimmed = address.trim_end_matches('/');
    let trimmed = trimmed.strip_suffix("/.git").unwrap_or(trimmed);
    let last = trimmed.rsplit(['/', ':']).next().unwrap_or(trimmed);
    last.strip_suffix(".git").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(text: &str) -> Result<Settings, String> {
        let section = Section::from_text(&format!("type = \"git\"\n{text}\n")).unwrap();
        section.parse::<GitConfig>().and_then(|config| config.settle(&section)).map_err(|error| error.to_string())
    }

    #[test]
    fn repositories_are_named_by_the_last_part_of_their_address() {
        for (address, name) in [
            ("https://host/acme/app.git", "app"),
            ("https://host/acme/app.wiki.git", "app.wiki"),
            ("git@host:app.git", "app"),
            ("ssh://git@host:22/~me/app/", "app"),
            ("/srv/git/app.git", "app"),
            ("/srv/app/.git", "app"),
            ("/srv/with space's", "with space's"),
        ] {
            let settings = settled(&format!("repository = {address:?}")).unwrap();
            assert_eq!(settings.remotes[0].name, name, "{address}");
        }
    }

    #[test]
    fn a_list_of_two_is_two_repositories() {
        let settings = settled("repository = [\"/a/one\", \"/b/two\"]").unwrap();
        let names: Vec<_> = settings.remotes.iter().map(|remote| remote.name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
    }

    #[test]
    fn what_is_no_address_or_would_run_a_program_is_refused() {
        for address in ["", "-upload-pack=x", "ext::sh -c true", "fd::3", "ext://x", "https://-x", "/"] {
            assert!(settled(&format!("repository = {address:?}")).is_err(), "{address}");
        }
        for names in [
            "[\"/a/app\", \"/b/app.git\"]",
            "[\"/a/App\", \"/b/app\"]",
            "[{ url = \"/a\", name = \"x\" }, { url = \"/b\", name = \"x/y\" }]",
            "[{ url = \"/a\", name = \"../x\" }]",
            "[{ url = \"/a\", name = \"x.git/y\" }]",
            "[]",
        ] {
            assert!(settled(&format!("repository = {names}")).is_err(), "{names}");
        }
    }

    #[test]
    fn a_token_goes_to_encrypted_addresses_only() {
        let token = "token = { env = \"T\" }";
        assert!(settled(&format!("repository = \"http://host/x\"\n{token}")).is_err());
        let scope = |url: &str| {
            let settings = settled(&format!("repository = {url:?}\n{token}")).unwrap();
            settings.remotes[0].token_scope()
        };
        assert_eq!(scope("https://host:8443/a/b").as_deref(), Some("https://host:8443/"));
        assert_eq!(scope("http://127.0.0.1:80/a").as_deref(), Some("http://127.0.0.1/"));
        assert_eq!(scope("ssh://host/a"), None);
        assert_eq!(scope("/a"), None);
    }
}
