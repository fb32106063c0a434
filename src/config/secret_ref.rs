//! Secrets by reference: what stands in a configuration file is where a secret is, never the secret.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use zeroize::Zeroize;

use super::{ConfigError, Environment};
use crate::domain::Secret;
use crate::system::process::Program;

/// No password or identity file is larger.
const SECRET_BYTES_MAX: u64 = 1 << 20;
/// A password manager may wait for a hardware token, but not for ever.
const COMMAND_LIMIT: Duration = Duration::from_mins(1);

/// `{ file = "/run/secrets/pg" }`, `{ env = "PGPASSWORD" }`, `{ command = ["pass", "db"] }`, `{ credential = "pg" }`.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase", deny_unknown_fields)]
pub enum SecretRef {
    /// First line of a file; relative paths start at the configuration's folder.
    File(PathBuf),
    Env(String),
    /// First line of a program's output; no shell.
    Command(Vec<String>),
    /// A file in `$CREDENTIALS_DIRECTORY` (systemd `LoadCredential`).
    Credential(String),
}

impl fmt::Display for SecretRef {
    /// As a person wrote it, for errors: `` file `/run/secrets/pg` ``. Arguments of a command are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file `{}`", path.display()),
            Self::Env(name) => write!(f, "environment variable `{name}`"),
            Self::Command(words) => write!(f, "command `{}`", words.first().map_or("", String::as_str)),
            Self::Credential(name) => write!(f, "credential `{name}`"),
        }
    }
}

impl SecretRef {
    /// Reads the secret: the first line, without its line end. Errors name the reference, never the value.
    pub async fn resolve(&self) -> Result<Secret, ConfigError> {
        self.resolve_in(&Environment::process()).await
    }

    /// As [`resolve`](Self::resolve), with the environment as a value.
    pub async fn resolve_in(&self, environment: &Environment) -> Result<Secret, ConfigError> {
        let whole = self.resolve_whole_in(environment).await?;
        let line = whole.expose().lines().next().unwrap_or_default();
        if line.is_empty() { Err(self.failure("its first line is empty")) } else { Ok(Secret::new(line)) }
    }

    /// Reads all of the secret, for those that have several lines: an identity file.
    pub async fn resolve_whole(&self) -> Result<Secret, ConfigError> {
        self.resolve_whole_in(&Environment::process()).await
    }

    async fn resolve_whole_in(&self, environment: &Environment) -> Result<Secret, ConfigError> {
        let bytes = match self {
            Self::File(path) => self.read_file(path)?,
            Self::Env(name) => environment.get(name).ok_or_else(|| self.failure("it is not set"))?.into_bytes(),
            Self::Command(words) => {
                let (program, args) = words.split_first().ok_or_else(|| self.failure("no program is named"))?;
                // The error of a child quotes its standard error, which is not where a password is printed.
                Program::new(program).args(args).run(COMMAND_LIMIT).await.map_err(|error| self.failure(error))?
            }
            Self::Credential(name) => {
                let folder = environment
                    .filled("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| self.failure("`CREDENTIALS_DIRECTORY` is not set; systemd sets it for a service"))?;
                self.read_file(&Path::new(&folder).join(name))?
            }
        };
        match String::from_utf8(bytes) {
            Ok(mut text) => {
                let secret = Secret::new(text.as_str());
                text.zeroize();
                Ok(secret)
            }
            Err(error) => {
                error.into_bytes().zeroize();
                Err(self.failure("it is not UTF-8 text"))
            }
        }
    }

    fn read_file(&self, path: &Path) -> Result<Vec<u8>, ConfigError> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| self.failure(error))?;
        if bytes.len() as u64 > SECRET_BYTES_MAX {
            bytes.zeroize();
            return Err(self.failure(format_args!("it is larger than {SECRET_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    }

    fn failure(&self, why: impl fmt::Display) -> ConfigError {
        ConfigError::new(format!("secret from {self} cannot be read: {why}"))
    }
}

/// Written by hand because the derived code would quote a password that stands where a reference belongs.
impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReferenceVisitor)
    }
}

struct ReferenceVisitor;

fn inline_secret<E: de::Error>() -> E {
    E::custom(
        "a secret never stands in a configuration file\n\
         refer to it: `{ file = \"PATH\" }`, `{ env = \"NAME\" }`, `{ command = [\"PROGRAM\"] }` or `{ credential = \"NAME\" }`",
    )
}

impl<'de> Visitor<'de> for ReferenceVisitor {
    type Value = SecretRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reference such as `{ file = \"PATH\" }` or `{ env = \"NAME\" }`")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<SecretRef, E> {
        Err(inline_secret())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<SecretRef, E> {
        Err(inline_secret())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<SecretRef, E> {
        Err(inline_secret())
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<SecretRef, E> {
        Err(inline_secret())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<SecretRef, E> {
        Err(inline_secret())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretRef, A::Error> {
        const KEYS: &[&str] = &super::redact::REFERENCE_KEYS;
        let Some(key) = map.next_key::<String>()? else {
            return Err(de::Error::custom(
                "an empty secret reference\nname a `file`, `env`, `command` or `credential`",
            ));
        };
        let reference = match key.as_str() {
            "file" => SecretRef::File(map.next_value()?),
            "env" => SecretRef::Env(map.next_value()?),
            "command" => {
                let words: Vec<String> = map.next_value()?;
                if words.is_empty() {
                    return Err(de::Error::custom("an empty command\nwrite `[\"PROGRAM\", \"ARGUMENT\"]`"));
                }
                SecretRef::Command(words)
            }
            "credential" => {
                let name: String = map.next_value()?;
                if name.is_empty() || name.contains('/') || name == ".." {
                    return Err(de::Error::custom("a credential is a plain name\nnot a path"));
                }
                SecretRef::Credential(name)
            }
            other => return Err(de::Error::unknown_field(other, KEYS)),
        };
        match map.next_key::<String>()? {
            None => Ok(reference),
            Some(_) => Err(de::Error::custom(
                "a secret reference has exactly one key\nkeep one of `file`, `env`, `command` and `credential`",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolved(reference: SecretRef) -> Result<String, String> {
        let environment = Environment::of([("PW", "hunter2\nsecond"), ("EMPTY", "")]);
        reference
            .resolve_in(&environment)
            .await
            .map(|secret| secret.expose().to_owned())
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_secret_is_the_first_line_of_what_the_reference_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pw");
        std::fs::write(&file, "from file\r\nnot this\n").unwrap();
        assert_eq!(resolved(SecretRef::File(file.clone())).await.unwrap(), "from file");
        assert_eq!(resolved(SecretRef::Env("PW".into())).await.unwrap(), "hunter2");
        let command = SecretRef::Command(vec!["printf".into(), "a b\\nc".into()]);
        assert_eq!(resolved(command).await.unwrap(), "a b");
        let folder_text = folder.path().to_str().unwrap();
        let environment = Environment::of([("CREDENTIALS_DIRECTORY", folder_text)]);
        let credential = SecretRef::Credential("pw".into()).resolve_in(&environment).await.unwrap();
        assert_eq!(credential.expose(), "from file");
        assert_eq!(SecretRef::File(file).resolve_whole().await.unwrap().expose(), "from file\r\nnot this\n");
    }

    #[tokio::test]
    async fn an_error_names_the_reference_and_never_the_value() {
        let missing = resolved(SecretRef::File("/nonexistent/pw".into())).await.unwrap_err();
        assert!(missing.starts_with("secret from file `/nonexistent/pw` cannot be read: "), "{missing}");
        let unset = resolved(SecretRef::Env("NOT_SET".into())).await.unwrap_err();
        assert_eq!(unset, "secret from environment variable `NOT_SET` cannot be read: it is not set");
        let empty = resolved(SecretRef::Env("EMPTY".into())).await.unwrap_err();
        assert_eq!(empty, "secret from environment variable `EMPTY` cannot be read: its first line is empty");
        let command = SecretRef::Command(vec!["sh".into(), "-c".into(), "echo hunter2; exit 3".into()]);
        let failed = resolved(command).await.unwrap_err();
        assert!(failed.contains("exited 3") && !failed.contains("hunter2"), "{failed}");
        let credential = resolved(SecretRef::Credential("pg".into())).await.unwrap_err();
        assert!(credential.contains("`CREDENTIALS_DIRECTORY` is not set"), "{credential}");
    }
}
