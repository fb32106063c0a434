//! Asks sentinels where the primary of a service is: `redis+sentinel://host:26379,host2/mymaster`.
//!
//! The URL is read as the libraries that know it read it: `redis+sentinel://[user@]host[:port][,host2[:port]...]/service[/db]`, and
//! `rediss+sentinel://` for TLS with the servers and the sentinels. A sentinel that is down, knows no such service or names a
//! server that is no primary (any more) is passed over for the next; a failover under way is waited for.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::server;
use super::wire::{Code, ConnectOptions, Connection, Host, Value, WireError};
use crate::config::SecretRef;
use crate::domain::Secret;
use crate::sources::SourceError;

const PORT: u16 = 26379;
/// A sentinel answers at once or is down.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Between two rounds of questions, while nobody names a primary.
const PAUSE: Duration = Duration::from_secs(1);
const SENTINELS_MAX: usize = 64;

/// Who is asked, and for what.
#[derive(Debug, Clone)]
pub struct Sentinels {
    hosts: Vec<Host>,
    service: String,
    /// At the sentinels themselves, which have users of their own.
    user: Option<String>,
    password: Option<SecretRef>,
}

impl Sentinels {
    /// The sentinels, and a URL with everything else in it as if the first of them were the server; `None` for a URL of another
    /// scheme.
    pub(super) fn parse(url: &str) -> Option<Result<(Self, String), String>> {
        let (scheme, rest) = url.split_once("://")?;
        let plain = match scheme {
            "redis+sentinel" | "valkey+sentinel" => "redis",
            "rediss+sentinel" | "valkeys+sentinel" => "rediss",
            _ => return None,
        };
        Some(Self::of(plain, rest))
    }

    /// Asks them as a user of their own.
    pub(super) fn logged_in(self, user: Option<String>, password: Option<SecretRef>) -> Self {
        Self { user, password, ..self }
    }

    fn of(scheme: &str, rest: &str) -> Result<(Self, String), String> {
        let (address, query) = rest.split_once('?').map_or((rest, ""), |(address, query)| (address, query));
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (service, database) = path.split_once('/').unwrap_or((path, ""));
        if service.is_empty() {
            return Err("it names no service that the sentinels watch".to_owned());
        }
        let hosts: Vec<Host> = hosts.split(',').map(host).collect::<Result<_, _>>()?;
        if hosts.len() > SENTINELS_MAX {
            return Err(format!("it names more than {SENTINELS_MAX} sentinels"));
        }
        let login = if login.is_empty() { String::new() } else { format!("{login}@") };
        let database = if database.is_empty() { String::new() } else { format!("/{database}") };
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let sentinels = Self { hosts, service: service.to_owned(), user: None, password: None };
        Ok((sentinels, format!("{scheme}://{login}sentinel{database}{query}")))
    }

    /// For people: `mymaster of the sentinels a, b:7000`.
    pub(super) fn place(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(shown).collect();
        format!("{} of the sentinels {}", self.service, hosts.join(", "))
    }

    /// The primary, with the job's user and certificates. Asks again for at most `limit`.
    pub(super) async fn primary(
        &self,
        options: &ConnectOptions,
        cancel: &CancellationToken,
        limit: Duration,
        mut told: impl FnMut(&str),
    ) -> Result<ConnectOptions, SourceError> {
        let password = match &self.password {
            Some(reference) => Some(reference.resolve().await.map_err(|error| SourceError::Refused {
                what: format!("password for {}", self.place()),
                why: error.to_string(),
                hint: String::new(),
            })?),
            None => None,
        };
        let start = Instant::now();
        let mut is_told = false;
        loop {
            let mut answers = vec![];
            for host in &self.hosts {
                match self.ask(host, options, password.as_ref(), cancel).await {
                    Ok(primary) => return Ok(primary),
                    Err(Answer::Cancelled) => return Err(SourceError::Cancelled),
                    Err(answer) => answers.push((shown(host), answer)),
                }
            }
            let says = |(host, answer): &(String, Answer)| format!("{host}: {}", answer.text());
            let why = answers.iter().map(says).collect::<Vec<_>>().join("; ");
            let passes = answers.iter().any(|(_, answer)| matches!(answer, Answer::NotNow(_)));
            if !passes || start.elapsed() + PAUSE > limit {
                return Err(SourceError::Unreachable {
                    what: format!("primary of {}", self.place()),
                    why,
                    hint: "are the sentinels running, and is the service called so in their configuration?".to_owned(),
                });
            }
            if !std::mem::replace(&mut is_told, true) {
                told(&why);
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(SourceError::Cancelled),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn ask(
        &self,
        host: &Host,
        options: &ConnectOptions,
        password: Option<&Secret>,
        cancel: &CancellationToken,
    ) -> Result<ConnectOptions, Answer> {
        let sentinel = ConnectOptions {
            host: host.clone(),
            user: self.user.clone(),
            password: password.cloned(),
            database: None,
            connect_timeout: ANSWER_LIMIT.min(options.connect_timeout),
            stall_timeout: Some(ANSWER_LIMIT),
            ..options.clone()
        };
        let answer = async {
            let mut connection = Connection::connect(&sentinel, cancel).await?;
            connection.call(&[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self.service.as_bytes()]).await
        };
        let answer = answer.await.map_err(Answer::of)?;
        let address = answer.array().unwrap_or_default();
        let [name, port] = address else {
            return Err(Answer::No(format!("it watches no service `{}`", self.service)));
        };
        let port = port.text().and_then(|port| port.parse().ok());
        let (Some(name), Some(port)) = (name.text(), port) else {
            return Err(Answer::No("its answer is no address".to_owned()));
        };
        let primary = options.at(name, port);
        let place = primary.place();
        // A sentinel may not know yet what has become of the server that it names.
        let inspected = server::inspect(&primary, cancel).await;
        let (facts, mut connection) = match inspected {
            Ok(inspected) => inspected,
            Err(SourceError::Cancelled) => return Err(Answer::Cancelled),
            // A wrong password does not become right by waiting.
            Err(error @ SourceError::Refused { .. }) => {
                return Err(Answer::No(format!("it names {place}: {error} ({})", error.hint())));
            }
            Err(error) => return Err(Answer::NotNow(format!("it names {place}: {error}"))),
        };
        let role = connection.call(&[b"ROLE"]).await.ok();
        let role = role.as_ref().and_then(Value::array).and_then(|role| role.first()?.text()).unwrap_or(&facts.role);
        if role != "master" && !role.is_empty() {
            return Err(Answer::NotNow(format!("it names {place}, which is no primary")));
        }
        Ok(primary)
    }
}

/// What a sentinel is good for.
enum Answer {
    /// Nothing, also later.
    No(String),
    /// A failover may be under way.
    NotNow(String),
    Cancelled,
}

impl Answer {
    fn of(error: WireError) -> Self {
        match error {
            WireError::Cancelled => Self::Cancelled,
            WireError::Server(error) if error.is_passing() => Self::NotNow(error.to_string()),
            WireError::Server(error) if matches!(error.code, Code::NoAuth | Code::WrongPass | Code::NoPerm) => {
                Self::No(format!("{error} (`sentinel_username` and `sentinel_password` are those of the sentinels)"))
            }
            error => Self::No(error.to_string()),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::No(why) | Self::NotNow(why) => why,
            Self::Cancelled => "cancelled",
        }
    }
}

/// `host`, `host:port`, `[::1]:port`.
fn host(text: &str) -> Result<Host, String> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) => (name, port.strip_prefix(':').or(port.is_empty().then_some(""))),
            None => (rest, None),
        },
        None => text.split_once(':').map_or((text, Some("")), |(name, port)| (name, Some(port))),
    };
    let port = match port {
        Some("") => Some(PORT),
        Some(port) => port.parse().ok(),
        None => None,
    };
    match port {
        Some(port) if !name.is_empty() => Ok(Host::Tcp { name: name.to_owned(), port }),
        _ => Err(format!("`{text}` is no `host:port` of a sentinel")),
    }
}

fn shown(host: &Host) -> String {
    match host {
        Host::Tcp { name, port: PORT } => name.clone(),
        Host::Tcp { name, port } if name.contains(':') => format!("[{name}]:{port}"),
        Host::Tcp { name, port } => format!("{name}:{port}"),
        Host::Unix(path) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_read_as_others_write_it() {
        let read = |url: &str| {
            let (sentinels, plain) = Sentinels::parse(url).unwrap().unwrap();
            (sentinels.place(), plain)
        };
        let own = |place: &str, plain: &str| (place.to_owned(), plain.to_owned());
        assert_eq!(read("redis+sentinel://a/mymaster"), own("mymaster of the sentinels a", "redis://sentinel"));
        assert_eq!(
            read("rediss+sentinel://bk@a:26379,b:7000,[::1]:7/svc/3?tls_ca=/ca.pem"),
            own("svc of the sentinels a, b:7000, [::1]:7", "rediss://bk@sentinel/3?tls_ca=/ca.pem")
        );
        assert!(Sentinels::parse("redis://h").is_none());
        for wrong in ["redis+sentinel://a", "redis+sentinel://a/", "redis+sentinel:///m", "redis+sentinel://a,/m"] {
            assert!(Sentinels::parse(wrong).unwrap().is_err(), "{wrong}");
        }
        for wrong in ["redis+sentinel://a:x/m", "redis+sentinel://[::1/m", "redis+sentinel://[::1]7/m"] {
            assert!(Sentinels::parse(wrong).unwrap().is_err(), "{wrong}");
        }
    }
}
