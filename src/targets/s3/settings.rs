//! The `[targets.NAME]` table of type `s3`, and what each provider needs.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{ConfigError, SecretRef, Section};
use crate::domain::{Secret, TargetName};

/// A `[targets.NAME]` table of type `s3`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct S3Section {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "s3"))]
    _kind: String,
    /// Sets what that provider needs; `other` for any S3-compatible server.
    #[serde(default)]
    provider: Provider,
    /// `https://s3.eu-central-003.backblazeb2.com`; the provider's own by region where it has one.
    endpoint: Option<String>,
    region: Option<String>,
    bucket: String,
    /// Everything is stored below it: `prod`, `team/prod`.
    #[serde(default)]
    prefix: String,
    access_key_id: Option<TextOrSecret>,
    secret_access_key: Option<SecretRef>,
    session_token: Option<SecretRef>,
    /// Where the keys come from when they are not named here.
    credentials: Option<CredentialsFrom>,
    /// `https://bucket.host/` instead of `https://host/bucket/`.
    virtual_host_style: Option<bool>,
    /// Sent with each upload and verified by the provider; `md5` where object lock asks for it.
    checksum: Option<Checksum>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    Aws,
    Backblaze,
    CloudflareR2,
    Digitalocean,
    Wasabi,
    Garage,
    Minio,
    #[default]
    Other,
}

/// An access key's id is no secret, but it usually lies beside one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a string, or a reference such as `{ env = \"S3_KEY_ID\" }`")]
enum TextOrSecret {
    Text(String),
    Secret(SecretRef),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum CredentialsFrom {
    /// What AWS's tools would find: environment, profile, instance metadata.
    Ambient,
}

/// A checksum in the request's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    None,
    Crc32c,
    Md5,
}

/// Whose rights the requests carry.
#[derive(Debug, Clone)]
pub enum Credentials {
    Keys { access_key_id: Secret, secret_access_key: Secret, session_token: Option<Secret> },
    Ambient,
}

/// Everything that is needed to talk to one bucket, valid by construction of [`resolve`].
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// `http://` or `https://`, host, perhaps a port; no path.
    pub endpoint: String,
    pub region: String,
    pub bucket: String,
    /// Without slashes at its ends; may be empty.
    pub prefix: String,
    pub credentials: Credentials,
    pub virtual_host_style: bool,
    pub checksum: Checksum,
}

/// Checks the table as it is written.
pub(super) fn check(section: &Section) -> Result<(), ConfigError> {
    section.parse::<S3Section>().map(drop)
}

/// Checks the table and reads the secrets that it refers to.
pub(super) async fn resolve(
    name: &TargetName,
    section: &Section,
    config_folder: &Path,
) -> Result<S3Settings, ConfigError> {
    let section: S3Section = section.parse()?;
    let wrong = |what: String| ConfigError { rendered: format!("target `{name}`: {what}") };
    let (endpoint, region) = place_of(&section).map_err(wrong)?;
    if section.bucket.is_empty() || section.bucket.contains('/') {
        return Err(wrong(format!("`bucket` is `{}`; it is one name without `/`", section.bucket)));
    }
    let prefix = section.prefix.trim_matches('/').to_owned();
    if prefix.split('/').any(|level| level == "." || level == "..") {
        return Err(wrong(format!("`prefix` is `{prefix}`; it may not climb")));
    }
    // A dot in the bucket's name breaks the certificate of `bucket.host`.
    let own_host = section.provider == Provider::Aws && !section.bucket.contains('.');
    let aws_checksum = if section.provider == Provider::Aws { Checksum::Crc32c } else { Checksum::None };
    let virtual_host_style = section.virtual_host_style.unwrap_or(own_host);
    let checksum = section.checksum.unwrap_or(aws_checksum);
    let bucket = section.bucket.clone();
    let credentials = credentials_of(section, name, config_folder).await?;
    Ok(S3Settings { endpoint, region, bucket, prefix, credentials, virtual_host_style, checksum })
}

async fn credentials_of(section: S3Section, name: &TargetName, folder: &Path) -> Result<Credentials, ConfigError> {
    let wrong = |what: &str| ConfigError { rendered: format!("target `{name}`: {what}") };
    let (id, secret) = match (section.access_key_id, section.secret_access_key, section.credentials) {
        (None, None, Some(CredentialsFrom::Ambient)) if section.session_token.is_none() => {
            return Ok(Credentials::Ambient);
        }
        (_, _, Some(CredentialsFrom::Ambient)) => {
            return Err(wrong("`credentials = \"ambient\"` and keys exclude each other"));
        }
        (Some(id), Some(secret), None) => (id, secret),
        (_, _, None) => {
            return Err(wrong("`access_key_id` and `secret_access_key` are needed, or `credentials = \"ambient\"`"));
        }
    };
    let access_key_id = match id {
        TextOrSecret::Text(text) => Secret::new(text),
        TextOrSecret::Secret(reference) => below(reference, folder).resolve().await?,
    };
    let secret_access_key = below(secret, folder).resolve().await?;
    let session_token = match section.session_token {
        Some(reference) => Some(below(reference, folder).resolve().await?),
        None => None,
    };
    // An empty key would make the client look for others elsewhere.
    if access_key_id.expose().is_empty() || secret_access_key.expose().is_empty() {
        return Err(wrong("`access_key_id` or `secret_access_key` is empty"));
    }
    Ok(Credentials::Keys { access_key_id, secret_access_key, session_token })
}

fn below(reference: SecretRef, folder: &Path) -> SecretRef {
    match reference {
        SecretRef::File(path) => SecretRef::File(folder.join(path)),
        other => other,
    }
}

/// Endpoint and region: as written, else by the provider's rules.
fn place_of(section: &S3Section) -> Result<(String, String), String> {
    let given = section.endpoint.as_deref().map(check_endpoint).transpose()?;
    let host = given.as_deref().and_then(|endpoint| endpoint.split_once("://")).map_or("", |(_, host)| host);
    let region = match &section.region {
        Some(region) if !region.is_empty() => Some(region.clone()),
        _ => default_region(section.provider, host),
    };
    let endpoint = given.or_else(|| default_endpoint(section.provider, region.as_deref()?));
    match (endpoint, region) {
        (Some(endpoint), Some(region)) => Ok((endpoint, region)),
        (None, _) if section.provider == Provider::CloudflareR2 => {
            Err("`endpoint` is needed: `https://ACCOUNT_ID.r2.cloudflarestorage.com`".to_owned())
        }
        (_, None) if has_own_endpoints(section.provider) => Err("`region` is needed for this provider".to_owned()),
        (_, _) => Err("`endpoint` is needed: `https://host` or `http://host:port`".to_owned()),
    }
}

fn check_endpoint(text: &str) -> Result<String, String> {
    let bad = |why: &str| format!("`endpoint` is `{text}`; {why}");
    // What stands before an `@` is a password, which may not be shown.
    if text.contains('@') {
        return Err("`endpoint` holds a user or password; use `access_key_id` and `secret_access_key`".to_owned());
    }
    let url = url::Url::parse(text).map_err(|_| bad("it is `https://host` or `http://host:port`"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("it is `https://host` or `http://host:port`"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it has no path: name the `bucket` and the `prefix` by themselves"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn has_own_endpoints(provider: Provider) -> bool {
    matches!(provider, Provider::Aws | Provider::Backblaze | Provider::Digitalocean | Provider::Wasabi)
}

fn default_endpoint(provider: Provider, region: &str) -> Option<String> {
    match provider {
        Provider::Aws => Some(format!("https://s3.{region}.amazonaws.com")),
        Provider::Backblaze => Some(format!("https://s3.{region}.backblazeb2.com")),
        Provider::Digitalocean => Some(format!("https://{region}.digitaloceanspaces.com")),
        Provider::Wasabi => Some(format!("https://s3.{region}.wasabisys.com")),
        Provider::CloudflareR2 | Provider::Garage | Provider::Minio | Provider::Other => None,
    }
}

fn default_region(provider: Provider, host: &str) -> Option<String> {
    let between = |before: &str, after: &str| {
        let region = host.strip_prefix(before)?.strip_suffix(after)?;
        (!region.is_empty()).then(|| region.to_owned())
    };
    match provider {
        Provider::Aws => between("s3.", ".amazonaws.com"),
        Provider::Backblaze => between("s3.", ".backblazeb2.com"),
        Provider::Digitalocean => between("", ".digitaloceanspaces.com"),
        Provider::Wasabi => between("s3.", ".wasabisys.com"),
        Provider::CloudflareR2 => Some("auto".to_owned()),
        // As in Garage's own example configuration.
        Provider::Garage => Some("garage".to_owned()),
        Provider::Minio | Provider::Other => Some("us-east-1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<(String, String), String> {
        let table = format!("type = \"s3\"\nbucket = \"b\"\n{text}");
        place_of(&Section::from_text(&table).unwrap().parse().unwrap())
    }

    fn check(text: &str, endpoint: &str, region: &str) {
        assert_eq!(place(text).unwrap(), (endpoint.to_owned(), region.to_owned()), "{text}");
    }

    fn check_refused(text: &str, part: &str) {
        let error = place(text).unwrap_err();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn a_provider_sets_endpoint_and_region() {
        check("provider = \"aws\"\nregion = \"eu-west-1\"", "https://s3.eu-west-1.amazonaws.com", "eu-west-1");
        check(
            "provider = \"wasabi\"\nregion = \"eu-central-2\"",
            "https://s3.eu-central-2.wasabisys.com",
            "eu-central-2",
        );
        check("provider = \"digitalocean\"\nregion = \"fra1\"", "https://fra1.digitaloceanspaces.com", "fra1");
        let b2 = "https://s3.eu-central-003.backblazeb2.com";
        check(&format!("provider = \"backblaze\"\nendpoint = \"{b2}/\""), b2, "eu-central-003");
        let r2 = "https://0123.r2.cloudflarestorage.com";
        check(&format!("provider = \"cloudflare-r2\"\nendpoint = \"{r2}\""), r2, "auto");
        check("provider = \"garage\"\nendpoint = \"http://[::1]:3900\"", "http://[::1]:3900", "garage");
        check("endpoint = \"http://127.0.0.1:9000\"", "http://127.0.0.1:9000", "us-east-1");
    }

    #[test]
    fn what_no_provider_can_guess_is_asked_for() {
        check_refused("provider = \"aws\"", "`region` is needed");
        check_refused("provider = \"cloudflare-r2\"", "r2.cloudflarestorage.com");
        check_refused("", "`endpoint` is needed");
    }

    #[test]
    fn an_endpoint_with_a_password_or_path_is_refused_without_showing_the_password() {
        check_refused("endpoint = \"https://host/bucket\"", "it has no path");
        check_refused("endpoint = \"ftp://host\"", "it is `https://host`");
        let error = place("endpoint = \"https://user:hunter2@host\"").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn keys_are_never_looked_for_unless_asked() {
        let resolve = async |text: &str| {
            let table = format!("type = \"s3\"\nbucket = \"b\"\nendpoint = \"http://h\"\n{text}");
            let section = Section::from_text(&table).unwrap();
            super::resolve(&TargetName::new("nas").unwrap(), &section, Path::new("/")).await
        };
        assert!(resolve("").await.unwrap_err().rendered.contains("`secret_access_key` are needed"));
        assert!(resolve("access_key_id = \"AK\"").await.is_err());
        let ambient = resolve("credentials = \"ambient\"").await.unwrap();
        assert!(matches!(ambient.credentials, Credentials::Ambient));
        assert_eq!(ambient.checksum, Checksum::None);
        let both = resolve("credentials = \"ambient\"\naccess_key_id = \"AK\"").await.unwrap_err();
        assert!(both.rendered.contains("exclude each other"));
    }
}
