//! What can go wrong on the wire, and what a server's error means.

use std::fmt;

use crate::sources::network::Ended;

/// The errors that decide what happens next; the first word of the server's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// `NOAUTH`: a password is wanted and none was given.
    NoAuth,
    /// `WRONGPASS`, or the older texts for a wrong password.
    WrongPass,
    /// `NOPERM`: the user's ACL forbids the command (or a key).
    NoPerm,
    /// `LOADING`: the data set is being read into memory; later it will answer.
    Loading,
    /// `NOMASTERLINK`: a replica that has no data of its own to give yet.
    NoMasterLink,
    /// `MASTERDOWN`: a replica that serves nothing while its link is down.
    MasterDown,
    /// `MOVED`, `ASK`: the key lives on another node of the cluster.
    Moved,
    ClusterDown,
    /// `DENIED`: protected mode, which lets nobody in from elsewhere.
    Denied,
    /// `MISCONF`, `BUSY`, `OOM`, `TRYAGAIN`: the server is in trouble of its own.
    Trouble,
    /// The command does not exist there: renamed, removed by the provider, or too new.
    Unknown,
    Other,
}

/// An error that the server reported, and the command that it was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    pub code: Code,
    /// `PSYNC`, `CONFIG GET`; empty where the server spoke unasked. Never an argument.
    pub command: String,
    /// The server's line, without the dash and without what it repeats of the arguments.
    pub text: String,
}

impl ServerError {
    /// Reads the line after `-`. What the server repeats of a command's arguments is cut off: it may be a password.
    pub fn parse(line: &[u8], command: &str) -> Self {
        let whole = String::from_utf8_lossy(line);
        let text = whole.split(", with args beginning with").next().unwrap_or_default().trim_end().to_owned();
        let code = match text.split_whitespace().next().unwrap_or_default() {
            "NOAUTH" => Code::NoAuth,
            "WRONGPASS" => Code::WrongPass,
            "NOPERM" => Code::NoPerm,
            "LOADING" => Code::Loading,
            "NOMASTERLINK" => Code::NoMasterLink,
            "MASTERDOWN" => Code::MasterDown,
            "MOVED" | "ASK" => Code::Moved,
            "CLUSTERDOWN" => Code::ClusterDown,
            "DENIED" => Code::Denied,
            "MISCONF" | "BUSY" | "OOM" | "TRYAGAIN" => Code::Trouble,
            "ERR" => ordinary(&text[3..]),
            _ => Code::Other,
        };
        Self { code, command: command.to_owned(), text }
    }

    /// Whether the same command may be answered in a while.
    pub fn is_passing(&self) -> bool {
        matches!(self.code, Code::Loading | Code::NoMasterLink | Code::MasterDown)
    }

    /// Whether the server will not do this command for this user, ever.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.code, Code::NoPerm | Code::Unknown)
    }
}

/// Most errors begin with `ERR` and differ in their text only.
fn ordinary(text: &str) -> Code {
    let text = text.trim_start().to_ascii_lowercase();
    if text.starts_with("unknown command") || text.starts_with("unknown subcommand") {
        Code::Unknown
    } else if text.starts_with("invalid password")
        || text.contains("no password is set")
        || text.contains("called without any password")
    {
        Code::WrongPass
    } else {
        Code::Other
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.command.is_empty() {
            f.write_str(&self.text)
        } else {
            write!(f, "`{}` was answered with `{}`", self.command, self.text)
        }
    }
}

impl std::error::Error for ServerError {}

#[derive(Debug, Clone, thiserror::Error)]
pub enum WireError {
    #[error("`{url}` is not a Redis URL: {why}")]
    Url { url: String, why: String },
    #[error("no connection to {place}: {why}")]
    Connect { place: String, why: String },
    #[error("TLS with {place}: {why}")]
    Tls { place: String, why: String },
    #[error("{0}")]
    Server(#[from] ServerError),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the server sent no byte for {secs} s")]
    Stalled { secs: u64 },
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The server was asked again and again, and never came to be ready.
    #[error("the server was not ready within {secs} s: {why}")]
    NotReady { secs: u64, why: String },
    #[error("cancelled")]
    Cancelled,
}

impl From<Ended> for WireError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Cancelled => Self::Cancelled,
            Ended::Stalled { secs } => Self::Stalled { secs },
            Ended::Broken(why) => Self::Broken(why),
        }
    }
}

impl WireError {
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Server(error) => Some(error),
            _ => None,
        }
    }

    pub fn code(&self) -> Option<Code> {
        self.server().map(|error| error.code)
    }

    pub fn is_forbidden(&self) -> bool {
        self.server().is_some_and(ServerError::is_forbidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_by_its_code_and_names_the_command() {
        for (line, code) in [
            ("NOAUTH Authentication required.", Code::NoAuth),
            ("WRONGPASS invalid username-password pair or user is disabled.", Code::WrongPass),
            ("ERR invalid password", Code::WrongPass),
            ("ERR AUTH <password> called without any password configured for the default user", Code::WrongPass),
            ("NOPERM this user has no permissions to run the 'psync' command", Code::NoPerm),
            ("LOADING Redis is loading the dataset in memory", Code::Loading),
            ("NOMASTERLINK Can't SYNC while not connected with my master", Code::NoMasterLink),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Code::MasterDown),
            ("MOVED 3999 127.0.0.1:6381", Code::Moved),
            ("CLUSTERDOWN The cluster is down", Code::ClusterDown),
            ("ERR unknown command 'PSYNC', with args beginning with: '?' '-1' ", Code::Unknown),
            ("ERR Unrecognized REPLCONF option: version", Code::Other),
        ] {
            let error = ServerError::parse(line.as_bytes(), "PSYNC");
            assert_eq!(error.code, code, "{line}");
            assert!(error.to_string().starts_with("`PSYNC` was answered with `"), "{error}");
        }
    }

    #[test]
    fn what_a_server_repeats_of_the_arguments_is_cut_off() {
        let line = b"ERR unknown command 'AUTH', with args beginning with: 'backup' 'hunter2' ";
        let error = ServerError::parse(line, "AUTH");
        assert_eq!(error.text, "ERR unknown command 'AUTH'");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
