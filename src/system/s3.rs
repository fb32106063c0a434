//! How Lifeboat talks to an S3 store through Amazon's client.
//!
//! It retries and, where the store throttles, slows down by itself and speeds up again (its adaptive mode). Checksums beyond what
//! the protocol demands are not asked for: several providers refuse them. What this file must never do: follow a redirect, or look for
//! credentials that nobody named.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};

use crate::domain::{Place, Secret, percent_decoded};

/// How often one request is tried, the first time included.
const TRIES: u32 = 8;
/// Between tries: it doubles, from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a store may think before it answers, and how long a body may stand still.
pub const STALL: Duration = Duration::from_mins(1);
const SCHEME: &str = "s3://";

/// Where a store is, and who we are there.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Without one, Amazon's for the region.
    pub endpoint: Option<String>,
    /// `us-east-1` where the store has none.
    pub region: Option<String>,
    /// `https://bucket.host/` instead of `https://host/bucket/`.
    pub virtual_host_style: bool,
    /// `None` for a public bucket.
    pub keys: Option<Keys>,
    pub stall: Duration,
}

#[derive(Debug, Clone)]
pub struct Keys {
    pub id: String,
    pub secret: Secret,
    /// Of keys that expire.
    pub token: Option<Secret>,
}

/// A bucket, and what the keys in it begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub name: String,
    pub prefix: String,
}

/// Tells one bucket from another: the store, and its name there.
pub fn bucket_identity(endpoint: Option<&str>, region: Option<&str>, bucket: &str) -> String {
    let store = endpoint.map_or_else(|| format!("aws {}", region.unwrap_or("us-east-1")), str::to_ascii_lowercase);
    format!("{}/{bucket}", store.trim_end_matches('/'))
}

impl Connection {
    pub fn client(&self) -> Client {
        let retries = RetryConfig::adaptive()
            .with_max_attempts(TRIES)
            .with_initial_backoff(FIRST_PAUSE)
            .with_max_backoff(LONGEST_PAUSE);
        let mut builder = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region.clone().unwrap_or_else(|| "us-east-1".to_owned())))
            .force_path_style(!self.virtual_host_style)
            .retry_config(retries)
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(self.stall).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(self.stall).build())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        builder = match &self.keys {
            Some(Keys { id, secret, token }) => {
                let token = token.as_ref().map(|token| token.expose().to_owned());
                builder.credentials_provider(Credentials::new(id, secret.expose(), token, None, "lifeboat"))
            }
            None => builder.allow_no_auth(),
        };
        Client::from_conf(builder.build())
    }

    /// `s3://KEYID@bucket/prefix?endpoint=...&region=...`; the secret key, and behind a line feed the session token, stand apart.
    pub fn place(&self, bucket: &Bucket) -> Place {
        let mut url = SCHEME.to_owned();
        // A `+` for a space is understood in a query alone.
        let escaped =
            |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
        if let Some(keys) = &self.keys {
            url.push_str(&format!("{}@", escaped(&keys.id)));
        }
        let prefix = bucket.prefix.split('/').map(escaped).collect::<Vec<_>>();
        url.push_str(&format!("{}/{}", bucket.name, prefix.join("/")));
        let mut pairs = vec![];
        for (name, value) in [("endpoint", &self.endpoint), ("region", &self.region)] {
            if let Some(value) = value {
                pairs.push(format!("{name}={}", escaped(value)));
            }
        }
        if self.virtual_host_style {
            pairs.push("virtual_host_style=true".to_owned());
        }
        if !pairs.is_empty() {
            url.push_str(&format!("?{}", pairs.join("&")));
        }
        let password = self.keys.as_ref().map(|keys| match &keys.token {
            Some(token) => Secret::new(format!("{}\n{}", keys.secret.expose(), token.expose())),
            None => keys.secret.clone(),
        });
        Place { url, password }
    }

    /// The bucket of a place, and how it is reached: what the URL leaves open is as in `default`. `None` for a place of another
    /// kind; an error says what is wrong with the URL.
    pub fn of_place(place: &Place, default: Option<&Self>) -> Option<Result<(Self, Bucket), String>> {
        let rest = place.url.strip_prefix(SCHEME)?;
        Some(Self::read(rest, place.password.as_ref(), default))
    }

    fn read(rest: &str, password: Option<&Secret>, default: Option<&Self>) -> Result<(Self, Bucket), String> {
        let decoded = |text: &str| {
            percent_decoded(text)
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| format!("`{text}` does not read"))
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (id, path) = path.split_once('@').map_or((None, path), |(id, path)| (Some(id), path));
        let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
        if name.is_empty() {
            return Err("it names no bucket: `s3://bucket/prefix`".to_owned());
        }
        let mut made = default.cloned().unwrap_or(Self {
            endpoint: None,
            region: None,
            virtual_host_style: false,
            keys: None,
            stall: STALL,
        });
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "endpoint" if value.starts_with("https://") || value.starts_with("http://") => {
                    made.endpoint = Some(value.into_owned());
                }
                "region" => made.region = Some(value.into_owned()),
                "virtual_host_style" => made.virtual_host_style = value == "true",
                _ => {
                    return Err(format!(
                        "`{name}={value}` is not understood; there are `endpoint`, `region` and `virtual_host_style`"
                    ));
                }
            }
        }
        match (id, password) {
            (Some(id), Some(password)) => {
                let text = password.expose();
                let (secret, token) = text.split_once('\n').map_or((text, None), |(s, t)| (s, Some(t)));
                made.keys = Some(Keys { id: decoded(id)?, secret: Secret::new(secret), token: token.map(Secret::new) });
            }
            (Some(_), None) => {
                return Err("it names a key, whose secret AWS_SECRET_ACCESS_KEY does not give".to_owned());
            }
            (None, _) => {}
        }
        if made.endpoint.is_none() && made.region.is_none() {
            return Err("it does not say where the bucket is: `?endpoint=https://...` or `?region=...`".to_owned());
        }
        Ok((made, Bucket { name: decoded(name)?, prefix: decoded(prefix)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection {
            endpoint: Some("http://127.0.0.1:9000/x?y".to_owned()),
            region: Some("eu-1".to_owned()),
            virtual_host_style: true,
            keys: Some(Keys {
                id: "key/+@ id".to_owned(),
                secret: Secret::new("secret"),
                token: Some(Secret::new("token")),
            }),
            stall: STALL,
        }
    }

    #[test]
    fn a_connection_comes_back_from_its_place_and_the_place_holds_no_secret() {
        let bucket = Bucket { name: "media".to_owned(), prefix: "a b/ü%+/".to_owned() };
        let place = connection().place(&bucket);
        assert!(!place.url.contains("secret") && !place.url.contains("token"), "{}", place.url);
        let (read, of) = Connection::of_place(&place, None).unwrap().unwrap();
        assert_eq!(of, bucket);
        assert_eq!(format!("{read:?}"), format!("{:?}", connection()));
        let keys = read.keys.unwrap();
        assert_eq!((keys.secret.expose(), keys.token.unwrap().expose()), ("secret", "token"));
    }

    #[test]
    fn what_an_url_leaves_open_is_as_by_default_and_nonsense_is_named() {
        let place = |url: &str| Place { url: url.to_owned(), password: None };
        let (read, bucket) = Connection::of_place(&place("s3://other/x"), Some(&connection())).unwrap().unwrap();
        assert_eq!((bucket.name.as_str(), bucket.prefix.as_str()), ("other", "x"));
        assert_eq!(read.keys.unwrap().id, "key/+@ id");
        for (url, why) in [
            ("s3:///x?region=r", "no bucket"),
            ("s3://b/x", "where the bucket is"),
            ("s3://b/x?regoin=r", "regoin"),
            ("s3://b/x?endpoint=ftp://h", "not understood"),
            ("s3://id@b/x?region=r", "AWS_SECRET_ACCESS_KEY"),
        ] {
            let said = Connection::of_place(&place(url), None).unwrap().unwrap_err();
            assert!(said.contains(why), "{url}: {said}");
        }
        assert!(Connection::of_place(&place("redis://b/x"), None).is_none());
    }
}
