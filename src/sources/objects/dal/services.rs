//! opendal's services with what a job says, over an HTTP client of ours.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use http::{Request, Response};
use opendal::layers::{RetryEvent, RetryLayer, TimeoutLayer};
use opendal::raw::Servicer;
use opendal::{Buffer, Builder, HttpBody, HttpTransport, HttpTransporter, OperationContext, Operator};
use opendal_http_transport_reqwest::ReqwestTransport;

use super::failure::Translator;
use super::{Dal, Kind};
use crate::config::ConfigError;
use crate::domain::Secret;
use crate::sources::SourceError;
use crate::sources::objects::elsewhere::{AzureConfig, GoogleConfig, WebdavConfig};

/// How often one request is tried, the first time included.
const TRIES: usize = 6;
/// Between tries: it doubles, from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection whose sent data nobody acknowledges for so long is dead.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_mins(1);
const GOOGLE: &str = "https://storage.googleapis.com";
/// Of Google's scopes the one that cannot write.
const READ_ONLY: &str = "https://www.googleapis.com/auth/devstorage.read_only";

pub(in crate::sources::objects) async fn google(
    config: &GoogleConfig,
    place: &str,
    idle: Duration,
) -> Result<Dal, SourceError> {
    let endpoint = config.endpoint.as_deref().unwrap_or(GOOGLE).trim_end_matches('/');
    let mut service = opendal::services::Gcs::default()
        .bucket(&config.bucket)
        .endpoint(endpoint)
        .scope(READ_ONLY)
        .disable_config_load()
        .disable_vm_metadata();
    let mut hidden = vec![];
    match &config.credential {
        Some(reference) => {
            let credential = told(reference.resolve_whole().await, place)?;
            // It would be passed over without a word.
            serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(credential.expose()).map_err(|_| {
                SourceError::Refused {
                    what: format!("keys for {place}"),
                    why: "`credential` is no JSON".to_owned(),
                    hint: "it is the whole text of the key file of a service account".to_owned(),
                }
            })?;
            service = service.credential(&base64::engine::general_purpose::STANDARD.encode(credential.expose()));
            hidden.push(credential);
        }
        None => service = service.skip_signature(),
    }
    reach(service, endpoint, Kind::Google, place, hidden, idle)
}

pub(in crate::sources::objects) async fn azure(
    config: &AzureConfig,
    place: &str,
    idle: Duration,
) -> Result<Dal, SourceError> {
    let endpoint = match &config.endpoint {
        Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
        None => format!("https://{}.blob.core.windows.net", config.account),
    };
    let mut service = opendal::services::Azblob::default()
        .container(&config.container)
        .account_name(&config.account)
        .endpoint(&endpoint);
    let mut hidden = vec![];
    match (&config.key, &config.sas) {
        (Some(reference), _) => {
            let key = told(reference.resolve().await, place)?;
            service = service.account_key(key.expose());
            hidden.push(key);
        }
        (None, Some(reference)) => {
            let sas = told(reference.resolve().await, place)?;
            service = service.sas_token(sas.expose().trim_start_matches('?'));
            hidden.push(sas);
        }
        (None, None) => service = service.skip_signature(),
    }
    reach(service, &endpoint, Kind::Azure, place, hidden, idle)
}

pub(in crate::sources::objects) async fn webdav(
    config: &WebdavConfig,
    place: &str,
    idle: Duration,
) -> Result<Dal, SourceError> {
    let mut service = opendal::services::Webdav::default().endpoint(config.endpoint.trim_end_matches('/'));
    let mut hidden = vec![];
    if let (Some(user), Some(reference)) = (&config.user, &config.password) {
        let password = told(reference.resolve().await, place)?;
        service = service.username(user).password(password.expose());
        hidden.push(password);
    }
    if let Some(reference) = &config.token {
        let token = told(reference.resolve().await, place)?;
        service = service.token(token.expose());
        hidden.push(token);
    }
    reach(service, &config.endpoint, Kind::Webdav, place, hidden, idle)
}

fn told(resolved: Result<Secret, ConfigError>, place: &str) -> Result<Secret, SourceError> {
    resolved.map_err(|error| SourceError::Refused {
        what: format!("keys for {place}"),
        why: error.to_string(),
        hint: String::new(),
    })
}

fn reach(
    service: impl Builder,
    endpoint: &str,
    which: Kind,
    place: &str,
    hidden: Vec<Secret>,
    idle: Duration,
) -> Result<Dal, SourceError> {
    let translator = Translator::new(hidden);
    let broken = |why: String| SourceError::Failed {
        what: format!("settings for {place}"),
        why,
        hint: "check the keys and names of the job".to_owned(),
    };
    let client = http_client(endpoint).map_err(|error| broken(error.to_string()))?;
    let transport = HttpTransporter::new(AsStored(ReqwestTransport::new(client)));
    let service = service.build().map_err(|error| translator.translate(format!("settings for {place}"), &error))?;
    // Not the operator's own layers: they know no name but those that they would have given themselves.
    let operator =
        Operator::from_parts(OperationContext::new().with_http_transport(transport), Arc::new(service) as Servicer)
            .layer(TimeoutLayer::new().with_timeout(idle).with_io_timeout(idle))
            .layer(
                RetryLayer::new()
                    .with_min_delay(FIRST_PAUSE)
                    .with_max_delay(LONGEST_PAUSE)
                    .with_max_times(TRIES - 1)
                    .with_jitter()
                    .with_notify(|event: RetryEvent<'_>| {
                        tracing::debug!(operation = ?event.op, attempt = event.attempt, "a request is tried again");
                    }),
            );
    let (context, service) = operator.into_parts();
    Ok(Dal { context, service, place: place.to_owned(), translator, which })
}

/// Google unpacks objects that are stored compressed, unless it is told that they are wanted as they are.
struct AsStored(ReqwestTransport);

impl HttpTransport for AsStored {
    async fn fetch(&self, mut request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        if request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "alt=media")) {
            let headers = request.headers_mut();
            headers.insert(http::header::ACCEPT_ENCODING, http::HeaderValue::from_static("gzip"));
        }
        self.0.fetch(request).await
    }
}

fn http_client(endpoint: &str) -> Result<reqwest::Client, reqwest::Error> {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(UNACKNOWLEDGED_MAX)
        .user_agent(concat!("lifeboat/", env!("CARGO_PKG_VERSION")));
    // The environment's proxy cannot reach a server on this machine.
    let client = if is_on_this_machine(endpoint) { client.no_proxy() } else { client };
    #[cfg(target_os = "linux")]
    let client = client.tcp_user_timeout(UNACKNOWLEDGED_MAX);
    client.build()
}

fn is_on_this_machine(endpoint: &str) -> bool {
    match url::Url::parse(endpoint).ok().as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
