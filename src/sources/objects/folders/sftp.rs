//! A folder of another machine, by SFTP through the `ssh` of this one.
//!
//! `ssh` itself decides whom to trust and how to log in, without a question: a key and known hosts as the job names them, else as the user's
//! own settings say. One connection serves all requests; one that broke is made anew. What this file must never do: write, follow a
//! link, or take a folder that is not there for an empty one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::Mutex;

use super::packet::{NO_SUCH_FILE, PERMISSION_DENIED, Stat, WireError};
use super::wire::Session;
use super::{Asked, Content, Folders, Thing, ThingKind};
use crate::sources::SourceError;
use crate::sources::objects::attributes::Attributes;
use crate::sources::objects::elsewhere::SftpConfig;
use crate::system::process::Program;

/// How often one request is tried, the first time included.
const TRIES: u32 = 5;
/// Before another try; it doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// The bits of a mode that tell the type.
const TYPE: u32 = 0o170_000;
const TYPE_FOLDER: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;

pub(in crate::sources::objects) struct SftpFolder {
    ssh: Program,
    idle: Duration,
    place: String,
    /// As the server knows it, without a `/` at its end.
    top: Vec<u8>,
    session: Mutex<Option<Arc<Session>>>,
}

impl SftpFolder {
    pub(in crate::sources::objects) async fn connect(
        config: &SftpConfig,
        place: &str,
        idle: Duration,
    ) -> Result<Self, SourceError> {
        let ssh = program(config);
        let mut made = Self { ssh, idle, place: place.to_owned(), top: vec![], session: Mutex::new(None) };
        let path = config.path.as_deref().filter(|path| !path.is_empty()).unwrap_or(".");
        let top = made.ask(|session| async move {
            let top = session.real_path(path.as_bytes()).await?;
            let found = session.stat(&top).await?;
            Ok((top, found))
        });
        let refused = |why: &str| SourceError::Refused {
            what: format!("folder at {place}"),
            why: why.to_owned(),
            hint: "check `path`".to_owned(),
        };
        let top = match top.await? {
            Asked::Found((top, found)) if found.mode.is_none_or(|mode| mode & TYPE == TYPE_FOLDER) => top,
            Asked::Found(_) => return Err(refused("it is no folder")),
            Asked::Gone => return Err(refused("it is not there")),
            Asked::Denied | Asked::Changed => return Err(refused("permission denied")),
        };
        made.top = top.strip_suffix(b"/").unwrap_or(&top).to_vec();
        Ok(made)
    }

    fn whole(&self, path: &str) -> Vec<u8> {
        let path = [&self.top[..], b"/", path.as_bytes()].concat();
        path.strip_suffix(b"/").filter(|path| !path.is_empty()).map_or(path.clone(), <[u8]>::to_vec)
    }

    async fn session(&self) -> Result<Arc<Session>, WireError> {
        let mut session = self.session.lock().await;
        if let Some(session) = &*session {
            return Ok(Arc::clone(session));
        }
        let begun = Arc::new(Session::begin(&self.ssh, self.idle).await?);
        *session = Some(Arc::clone(&begun));
        Ok(begun)
    }

    /// Asks over the connection; where that broke, again over another.
    async fn ask<T, F: Future<Output = Result<T, WireError>>>(
        &self,
        request: impl Fn(Arc<Session>) -> F,
    ) -> Result<Asked<T>, SourceError> {
        let mut tries = 1;
        loop {
            let session = self.session().await;
            let asked = match &session {
                Ok(session) => request(Arc::clone(session)).await,
                Err(error) => Err(error.clone()),
            };
            let why = match asked {
                Ok(found) => return Ok(Asked::Found(found)),
                Err(WireError::Refused(NO_SUCH_FILE, _)) => return Ok(Asked::Gone),
                Err(WireError::Refused(PERMISSION_DENIED, _)) => return Ok(Asked::Denied),
                Err(WireError::Refused(_, why)) => return Err(self.failed(why)),
                Err(WireError::Broken(why)) => match &session {
                    Ok(session) => session.why(&why).await,
                    Err(_) => why,
                },
            };
            if let Ok(broken) = session {
                let mut current = self.session.lock().await;
                if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &broken)) {
                    *current = None;
                }
            }
            if tries >= TRIES || is_final(&why) {
                return Err(self.failed(why));
            }
            tracing::debug!(place = %self.place, tries, %why, "a connection by ssh is made anew");
            tokio::time::sleep(PAUSE * 2_u32.pow(tries - 1)).await;
            tries += 1;
        }
    }

    fn failed(&self, why: String) -> SourceError {
        let what = format!("reading {}", self.place);
        if is_final(&why) {
            let hint = "check `user`, `ssh_key` and `ssh_known_hosts`, and that the account may use SFTP".to_owned();
            return SourceError::Refused { what, why, hint };
        }
        SourceError::Unreachable { what, why, hint: "run again; what was read is found again".to_owned() }
    }
}

/// Another try would end the same.
fn is_final(why: &str) -> bool {
    [
        "Permission denied",
        "Host key verification failed",
        "not SFTP",
        "Could not resolve hostname",
        "could not be started",
    ]
    .iter()
    .any(|sign| why.contains(sign))
}

fn program(config: &SftpConfig) -> Program {
    let mut ssh = Program::new("ssh").clear_env().pass_env(&["HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK"]);
    ssh = ssh.env("LC_ALL", "C").args(["-oBatchMode=yes", "-oConnectTimeout=30", "-oServerAliveInterval=15"]);
    ssh = ssh.args(["-oServerAliveCountMax=4", "-oClearAllForwardings=yes", "-oPermitLocalCommand=no", "-T"]);
    if let Some(key) = &config.ssh_key {
        ssh = ssh.arg("-oIdentitiesOnly=yes").arg("-i").arg(key);
    }
    if let Some(hosts) = &config.ssh_known_hosts {
        // `ssh` divides the value once more.
        ssh = ssh.arg(format!("-oUserKnownHostsFile=\"{}\"", hosts.display()));
    }
    if let Some(port) = config.port {
        ssh = ssh.args(["-p", &port.to_string()]);
    }
    if let Some(user) = &config.user {
        ssh = ssh.args(["-l", user]);
    }
    ssh.args(["-s", "--", &config.host, "sftp"])
}

fn thing(name: String, stat: &Stat) -> Thing {
    let kind = match stat.mode.map(|mode| mode & TYPE) {
        Some(TYPE_FOLDER) => ThingKind::Folder,
        Some(TYPE_FILE) => ThingKind::File,
        _ => ThingKind::Other,
    };
    let size = stat.size.filter(|_| kind == ThingKind::File).unwrap_or_default();
    let time = stat.modified.and_then(|seconds| jiff::Timestamp::from_second(i64::from(seconds)).ok());
    Thing { name, kind, size, tag: String::new(), time }
}

#[async_trait]
impl Folders for SftpFolder {
    fn place(&self) -> &str {
        &self.place
    }

    async fn children(&self, folder: &str) -> Result<Asked<Vec<Thing>>, SourceError> {
        let path = &self.whole(folder);
        let listed = self.ask(|session| async move { session.list(path).await }).await?;
        let text =
            |name| String::from_utf8(name).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        let named = |(name, stat): (Vec<u8>, Stat)| thing(text(name), &stat);
        Ok(listed.map(|found| found.into_iter().map(named).collect()))
    }

    async fn look(&self, path: &str) -> Result<Asked<(Thing, Attributes)>, SourceError> {
        let whole = &self.whole(path);
        let found = self.ask(|session| async move { session.look(whole).await }).await?;
        Ok(found.map(|stat| (thing(path.to_owned(), &stat), Attributes::default())))
    }

    async fn open(&self, path: &str, thing: &Thing, from: u64) -> Result<Asked<Content>, SourceError> {
        let whole = &self.whole(path);
        let opened = self.ask(|session| async move { session.open(whole, from, thing.size).await }).await?;
        Ok(opened.map(|reading| {
            let content = futures::stream::unfold(Some(reading), |reading| async move {
                let mut reading = reading?;
                match reading.next().await {
                    Ok(Some(piece)) => Some((Ok(piece), Some(reading))),
                    Ok(None) => None,
                    Err(error) => Some((Err(reading.why(error).await), None)),
                }
            });
            content.boxed()
        }))
    }
}
