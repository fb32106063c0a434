//! A writer's own secrets: they live in the state folder of one installation and never leave it.
//!
//! A host that backs up holds a signing key, a key for chunk ids and a key that opens index objects. None of them opens a
//! pack or a recipe. Losing them loses nothing but deduplication: a new writer starts.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::crypt::{self, Epoch, Identities};
use super::root::Root;
use super::{RepositoryError, layout};
use crate::domain::{Secret, WriterId};

/// Everything that one installation needs to write, opened from its state folder.
pub struct Writer {
    pub id: WriterId,
    pub epoch: WriterEpoch,
    signing: minisign::SecretKey,
    /// minisign public key in base64: what a restore trusts.
    pub public: String,
    chunk_key: [u8; 32],
    index_identity: age::x25519::Identity,
}

/// The public half of the present epoch and the sealed private half, for targets that lack it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WriterEpoch {
    pub id: String,
    pub public: String,
    /// Hexadecimal: the age file `keys/<id>.age`.
    #[serde(with = "hex::serde")]
    pub sealed_identity: Vec<u8>,
    /// Who can open it; another set in the configuration means a new epoch.
    pub recipients: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    id: WriterId,
    signing_key: String,
    #[serde(with = "hex::serde")]
    chunk_key: [u8; 32],
    index_identity: String,
    epoch: WriterEpoch,
}

impl Writer {
    /// Opens the writer in `state`, or makes one for these recovery recipients.
    pub fn open_or_create(state: &Path, recovery: &[String]) -> Result<Self, RepositoryError> {
        let file = Self::file(state);
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                let text = Secret::new(text);
                let mut stored: Stored = serde_json::from_str(text.expose())
                    .map_err(|why| RepositoryError::local(format!("reading `{}`", file.display()), why))?;
                if !same(&stored.epoch.recipients, recovery) {
                    stored.epoch = new_epoch(recovery)?;
                    save(&file, &stored)?;
                }
                Self::from_stored(stored)
            }
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
                let stored = create(recovery)?;
                save(&file, &stored)?;
                Self::from_stored(stored)
            }
            Err(why) => Err(RepositoryError::local(format!("reading `{}`", file.display()), why)),
        }
    }

    /// The public key of the writer in `state`, if there is one.
    pub fn public_key(state: &Path) -> Option<String> {
        let text = Secret::new(std::fs::read_to_string(Self::file(state)).ok()?);
        let stored: Stored = serde_json::from_str(text.expose()).ok()?;
        Self::from_stored(stored).ok().map(|writer| writer.public)
    }

    fn file(state: &Path) -> PathBuf {
        state.join("writer.json")
    }

    fn from_stored(stored: Stored) -> Result<Self, RepositoryError> {
        let signing = minisign::SecretKeyBox::from_string(&stored.signing_key)
            .and_then(minisign::SecretKeyBox::into_unencrypted_secret_key)
            .map_err(|why| RepositoryError::local("the writer's signing key", why))?;
        let public = minisign::PublicKey::from_secret_key(&signing)
            .map_err(|why| RepositoryError::local("the writer's signing key", why))?;
        let index_identity =
            stored.index_identity.parse().map_err(|why: &str| RepositoryError::local("the writer's index key", why))?;
        Ok(Self {
            id: stored.id,
            epoch: stored.epoch,
            public: public.to_base64(),
            signing,
            chunk_key: stored.chunk_key,
            index_identity,
        })
    }

    pub fn chunk_key(&self) -> &[u8; 32] {
        &self.chunk_key
    }

    /// Who can read index objects: whoever holds the epoch's key, and this writer.
    pub fn index_recipients(&self) -> Result<crypt::Recipients, RepositoryError> {
        crypt::recipients(&[self.epoch.public.clone(), self.index_identity.to_public().to_string()])
    }

    pub fn index_identities(&self) -> Identities {
        Identities::single(self.index_identity.clone())
    }

    /// Signs a root; the trusted comment repeats what must not be swapped.
    pub fn sign(&self, root: &Root, bytes: &[u8]) -> Result<String, RepositoryError> {
        let comment = trusted_comment(root);
        let comments = (Some(comment.as_str()), Some("signature of a lifeboat root; verify with minisign -V"));
        minisign::sign(None, &self.signing, bytes, comments.0, comments.1)
            .map(minisign::SignatureBox::into_string)
            .map_err(|why| RepositoryError::local("signing a root", why))
    }
}

/// Whether both name the same recipients, in whatever order: a new epoch stores everything once more.
fn same(one: &[String], other: &[String]) -> bool {
    let set =
        |texts: &[String]| texts.iter().map(|text| text.trim().to_owned()).collect::<std::collections::BTreeSet<_>>();
    set(one) == set(other)
}

fn trusted_comment(root: &Root) -> String {
    format!("lifeboat root {} of writer {} in {}", root.sequence, root.writer, root.repository)
}

/// Verifies a root against the minisign public keys that are trusted, then reads it.
pub fn verify_root(object: &str, bytes: &[u8], signature: &str, trusted: &[String]) -> Result<Root, RepositoryError> {
    let untrusted = |why: &str| RepositoryError::Untrusted { object: object.to_owned(), why: why.to_owned() };
    let signature =
        minisign::SignatureBox::from_string(signature).map_err(|_| untrusted("the signature does not read"))?;
    let verified = trusted.iter().filter_map(|key| minisign::PublicKey::from_base64(key).ok()).any(|key| {
        key.keynum() == signature.keynum()
            && minisign::verify(&key, &signature, std::io::Cursor::new(bytes), true, false, false).is_ok()
    });
    if !verified {
        return Err(untrusted("no trusted key verifies the signature"));
    }
    let root = Root::decode(object, bytes)?;
    let comment = signature.trusted_comment().unwrap_or_default();
    if comment != trusted_comment(&root) {
        return Err(untrusted("the signature belongs to another root"));
    }
    let own = layout::root(&root.writer, root.sequence, &root.snapshot);
    if own.as_str() != object {
        return Err(untrusted(&format!("it is the root `{own}` under another name")));
    }
    Ok(root)
}

fn create(recovery: &[String]) -> Result<Stored, RepositoryError> {
    let pair = minisign::KeyPair::generate_unencrypted_keypair()
        .map_err(|why| RepositoryError::local("making a signing key", why))?;
    let boxed = pair.sk.to_box(None).map_err(|why| RepositoryError::local("making a signing key", why))?;
    let index_identity = age::x25519::Identity::generate();
    Ok(Stored {
        id: WriterId::random(),
        signing_key: boxed.into_string(),
        chunk_key: rand::random(),
        index_identity: age::secrecy::ExposeSecret::expose_secret(&index_identity.to_string()).to_owned(),
        epoch: new_epoch(recovery)?,
    })
}

fn new_epoch(recovery: &[String]) -> Result<WriterEpoch, RepositoryError> {
    let epoch = Epoch::generate(&crypt::recipients(recovery)?)?;
    Ok(WriterEpoch {
        id: epoch.id,
        public: epoch.public,
        sealed_identity: epoch.sealed_identity,
        recipients: recovery.to_vec(),
    })
}

/// Writes whole or not at all, readable by us alone, durable before it is used.
fn save(file: &Path, stored: &Stored) -> Result<(), RepositoryError> {
    let local = |why| RepositoryError::local(format!("writing `{}`", file.display()), why);
    let text = Secret::new(serde_json::to_string_pretty(stored).expect("plain data serialises"));
    let folder = file.parent().expect("the state folder");
    std::fs::create_dir_all(folder).map_err(local)?;
    let temporary = file.with_extension("json.part");
    let mut output = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(local)?;
    output.write_all(text.expose().as_bytes()).and_then(|()| output.sync_all()).map_err(local)?;
    std::fs::rename(&temporary, file).map_err(local)?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(local)
}
