//! age: sealing and opening whole objects in memory.

use std::io::{Read, Write};
use std::str::FromStr;

use age::secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::RepositoryError;
use crate::domain::Secret;

pub type Recipients = Vec<Box<dyn age::Recipient + Send + Sync>>;

/// Private keys that open epochs. Several: a recovery key and a test machine's.
pub struct Identities(Vec<Box<dyn age::Identity + Send + Sync>>);

impl Identities {
    /// Reads an age identity file: comment lines and `AGE-SECRET-KEY-1...` lines.
    pub fn parse(text: &Secret) -> Result<Self, RepositoryError> {
        let mut keys: Vec<Box<dyn age::Identity + Send + Sync>> = vec![];
        for line in text.expose().lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            // The error text must not hold the line: it may be a mistyped key.
            let key = age::x25519::Identity::from_str(line).map_err(|_| RepositoryError::WrongKey {
                object: "the identity".to_owned(),
                why: "it is not an age X25519 identity (`AGE-SECRET-KEY-1...`)".to_owned(),
            })?;
            keys.push(Box::new(key));
        }
        if keys.is_empty() {
            return Err(RepositoryError::WrongKey {
                object: "the identity".to_owned(),
                why: "it holds no key".to_owned(),
            });
        }
        Ok(Self(keys))
    }

    pub fn single(identity: age::x25519::Identity) -> Self {
        Self(vec![Box::new(identity)])
    }
}

/// Parses `age1...` recipients.
pub fn recipients(texts: &[String]) -> Result<Recipients, RepositoryError> {
    texts
        .iter()
        .map(|text| {
            age::x25519::Recipient::from_str(text.trim())
                .map(|recipient| Box::new(recipient) as Box<dyn age::Recipient + Send + Sync>)
                .map_err(|why| RepositoryError::local(format!("recipient `{text}`"), why))
        })
        .collect()
}

/// Encrypts a small object whole.
pub fn seal(plain: &[u8], recipients: &Recipients) -> Result<Vec<u8>, RepositoryError> {
    let mut sealed = Vec::with_capacity(plain.len() + 1024);
    let mut writer = seal_into(&mut sealed, recipients)?;
    writer
        .write_all(plain)
        .and_then(|()| writer.finish().map(drop))
        .map_err(|why| RepositoryError::local("encrypting", why))?;
    Ok(sealed)
}

/// Starts an age file in `output`; the caller must call `finish`.
pub fn seal_into<W: Write>(
    output: W,
    recipients: &Recipients,
) -> Result<age::stream::StreamWriter<W>, RepositoryError> {
    age::Encryptor::with_recipients(recipients.iter().map(|recipient| &**recipient as &dyn age::Recipient))
        .map_err(|why| RepositoryError::local("encrypting", why))?
        .wrap_output(output)
        .map_err(|why| RepositoryError::local("encrypting", why))
}

/// Opens an object of at most `plain_max` bytes of content.
pub fn open(object: &str, sealed: &[u8], keys: &Identities, plain_max: usize) -> Result<Vec<u8>, RepositoryError> {
    let mut reader = reader(object, sealed, keys)?;
    let mut plain = Vec::with_capacity(sealed.len().min(plain_max));
    reader
        .by_ref()
        .take(plain_max as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|why| RepositoryError::damaged(object, why))?;
    if plain.len() > plain_max {
        return Err(RepositoryError::damaged(object, format!("its content is larger than {plain_max} bytes")));
    }
    Ok(plain)
}

/// Decrypts as it is read; the end is authenticated by age itself.
pub fn reader<R: Read>(
    object: &str,
    sealed: R,
    keys: &Identities,
) -> Result<age::stream::StreamReader<R>, RepositoryError> {
    let decryptor = age::Decryptor::new(sealed).map_err(|why| RepositoryError::damaged(object, why))?;
    decryptor.decrypt(keys.0.iter().map(|key| &**key as &dyn age::Identity)).map_err(|why| match why {
        age::DecryptError::NoMatchingKeys | age::DecryptError::KeyDecryptionFailed => {
            RepositoryError::WrongKey { object: object.to_owned(), why: why.to_string() }
        }
        other => RepositoryError::damaged(object, other),
    })
}

/// An epoch's key pair. The private half is sealed to the recovery recipients at once and kept nowhere else.
pub struct Epoch {
    /// The first 16 hexadecimal digits of the SHA-256 of the public key: a swapped key file does not fit its name.
    pub id: String,
    /// `age1...`
    pub public: String,
    /// `keys/<id>.age`
    pub sealed_identity: Vec<u8>,
}

impl Epoch {
    pub fn generate(recovery: &Recipients) -> Result<Self, RepositoryError> {
        let identity = age::x25519::Identity::generate();
        let public = identity.to_public().to_string();
        let text = identity_file(&identity);
        Ok(Self { id: epoch_id(&public), sealed_identity: seal(text.expose().as_bytes(), recovery)?, public })
    }
}

/// Opens `keys/<id>.age` and checks that it holds the key that its name promises.
pub fn open_epoch(id: &str, sealed: &[u8], keys: &Identities) -> Result<Identities, RepositoryError> {
    let object = format!("keys/{id}.age");
    let text = open(&object, sealed, keys, 64 << 10)?;
    let text = String::from_utf8(text).map_err(|why| RepositoryError::damaged(&object, why))?;
    let line = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap_or_default();
    let identity = age::x25519::Identity::from_str(line)
        .map_err(|_| RepositoryError::damaged(&object, "it holds no age identity"))?;
    if epoch_id(&identity.to_public().to_string()) != id {
        return Err(RepositoryError::damaged(&object, "it holds another epoch's key"));
    }
    Ok(Identities::single(identity))
}

/// The text of an identity file for stock `age -d -i`.
pub fn identity_file(identity: &age::x25519::Identity) -> Secret {
    Secret::new(format!("# public key: {}\n{}\n", identity.to_public(), identity.to_string().expose_secret()))
}

fn epoch_id(public: &str) -> String {
    hex::encode(&Sha256::digest(public.as_bytes())[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Recipients, Identities) {
        let identity = age::x25519::Identity::generate();
        (recipients(&[identity.to_public().to_string()]).unwrap(), Identities::single(identity))
    }

    #[test]
    fn what_is_sealed_opens_and_nothing_else_opens_it() {
        let (recipients, keys) = pair();
        let sealed = seal(b"content", &recipients).unwrap();
        assert_eq!(open("x", &sealed, &keys, 100).unwrap(), b"content");
        let (_, others) = pair();
        assert!(matches!(open("x", &sealed, &others, 100), Err(RepositoryError::WrongKey { .. })));
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_refused() {
        let (recipients, keys) = pair();
        let sealed = seal(b"content", &recipients).unwrap();
        for length in 0..sealed.len() {
            assert!(open("x", &sealed[..length], &keys, 100).is_err(), "cut to {length}");
        }
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(open("x", &bent, &keys, 100).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn content_over_its_bound_is_refused() {
        let (recipients, keys) = pair();
        let sealed = seal(&[7; 101], &recipients).unwrap();
        assert!(matches!(open("x", &sealed, &keys, 100), Err(RepositoryError::Damaged { .. })));
    }

    #[test]
    fn an_epoch_key_under_another_epochs_name_is_refused() {
        let (recovery, keys) = pair();
        let (one, two) = (Epoch::generate(&recovery).unwrap(), Epoch::generate(&recovery).unwrap());
        assert!(open_epoch(&one.id, &one.sealed_identity, &keys).is_ok());
        assert!(matches!(open_epoch(&one.id, &two.sealed_identity, &keys), Err(RepositoryError::Damaged { .. })));
    }

    #[test]
    fn a_mistyped_identity_is_not_quoted() {
        let error = Identities::parse(&Secret::new("AGE-SECRET-KEY-1OOPS")).err().unwrap().to_string();
        assert!(!error.contains("OOPS"), "{error}");
    }
}
