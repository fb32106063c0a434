//! The demo's third source: a bucket of images and documents, on a server that somebody else brings.

use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::Client;
use futures::{StreamExt, TryStreamExt};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{Demo, make_folder, quoted, write};
use crate::domain::Secret;
use crate::operations::{Class, OperationError};
use crate::system::process::{Program, Running, StdinKind};
use crate::system::s3::{Connection, Keys};

const BUCKET: &str = "media";
const KEY: &str = "demo";
/// Where the secret of the demo's own server stands, beside the configuration.
const SECRET_FILE: &str = "media.secret";
const IMAGES: u32 = 1_600;
const DOCUMENTS: u32 = 400;
const AT_ONCE: usize = 16;
/// A server on this machine says its address at once.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A bucket, and the server that holds it. Dropping it ends the server.
pub(super) struct Bucket {
    server: Running,
    address: String,
    client: Client,
}

impl Demo<'_> {
    /// A filled bucket; `None` where no server was named.
    pub(super) async fn bucket(&self, program: Option<&Path>) -> Result<Option<Bucket>, OperationError> {
        let Some(program) = program else { return Ok(None) };
        let top = self.folder.join("s3");
        make_folder(&top.join(BUCKET), 0o755)?;
        let secret = Secret::new(hex::encode(rand::random::<[u8; 16]>()));
        write(&self.folder.join(SECRET_FILE), secret.expose(), 0o600)?;
        let bucket = Bucket::open(program, &top, &secret).await?;
        bucket.fill().await?;
        Ok(Some(bucket))
    }
}

/// The line about it, or about there being none.
pub(super) fn told(bucket: Option<&Bucket>) -> &'static str {
    match bucket {
        Some(_) => "  a bucket `media`: 1600 images and 400 documents with types, owners and what caches may do",
        None => "  no bucket beside them: no server was named (`make demo` builds one and names it with `--s3-server`)",
    }
}

impl Bucket {
    async fn open(program: &Path, top: &Path, secret: &Secret) -> Result<Self, OperationError> {
        let program =
            Program::new(program).args([top.as_os_str(), KEY.as_ref()]).secret_env("S3_SECRET", secret.clone());
        let mut server = program.start(StdinKind::Piped).map_err(|why| failed(&why))?;
        let mut address = String::new();
        let mut said = BufReader::new(server.stdout.take().expect("it was piped"));
        let read = tokio::time::timeout(START_LIMIT, said.read_line(&mut address)).await;
        let address = address.trim().to_owned();
        if !matches!(read, Ok(Ok(_))) || address.is_empty() {
            let why =
                server.finish().await.err().map_or_else(|| "it said no address".to_owned(), |why| why.to_string());
            return Err(failed(&why));
        }
        let connection = Connection {
            endpoint: Some(format!("http://{address}")),
            region: None,
            virtual_host_style: false,
            keys: Some(Keys { id: KEY.to_owned(), secret: secret.clone(), token: None }),
            stall: START_LIMIT,
        };
        Ok(Self { server, address, client: connection.client() })
    }

    /// The `[source]` table of its job.
    pub(super) fn source(&self) -> String {
        format!(
            "type = \"objects\"\nbucket = \"{BUCKET}\"\nendpoint = {}\naccess_key_id = \"{KEY}\"\n\
             secret_access_key = {{ file = \"{SECRET_FILE}\" }}",
            quoted(&format!("http://{}", self.address))
        )
    }

    async fn fill(&self) -> Result<(), OperationError> {
        let images = (0..IMAGES).map(|number| self.image(number, 0));
        let documents = (0..DOCUMENTS).map(|number| self.document(number));
        futures::stream::iter(images).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        futures::stream::iter(documents).buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    /// One image is another, one is gone, one is new.
    pub(super) async fn change(&self) -> Result<(), OperationError> {
        self.image(7, 1).await?;
        let gone = self.client.delete_object().bucket(BUCKET).key(image(8));
        gone.send().await.map_err(|why| failed(&aws_sdk_s3::error::DisplayErrorContext(&why)))?;
        self.image(IMAGES, 0).await
    }

    /// Nothing in it repeats, as in an image.
    async fn image(&self, number: u32, edition: u8) -> Result<(), OperationError> {
        let key = image(number);
        let mut content = vec![0; 2_000 + usize::try_from(number * 37 % 4_000).expect("it is small")];
        blake3::Hasher::new().update(key.as_bytes()).update(&[edition]).finalize_xof().fill(&mut content);
        let put = self.client.put_object().bucket(BUCKET).key(key).body(content.into()).content_type("image/jpeg");
        let put = put.cache_control("public, max-age=31536000").metadata("account", (number * 7 % 3_000).to_string());
        put.send().await.map(drop).map_err(|why| failed(&aws_sdk_s3::error::DisplayErrorContext(&why)))
    }

    async fn document(&self, number: u32) -> Result<(), OperationError> {
        let key = format!("documents/{}/notes {number}.md", number % 12 + 1);
        let text = format!("# Notes {number}\n\n{}", "Nothing is lost that was proven to come back.\n".repeat(20));
        let put = self.client.put_object().bucket(BUCKET).key(key).body(text.into_bytes().into());
        let put = put.content_type("text/markdown; charset=utf-8").metadata("account", (number % 50).to_string());
        put.send().await.map(drop).map_err(|why| failed(&aws_sdk_s3::error::DisplayErrorContext(&why)))
    }

    /// The server ends once nobody holds its input.
    pub(super) async fn close(mut self) {
        drop(self.server.stdin.take());
        self.server.stop(rustix::process::Signal::TERM).await;
    }
}

fn image(number: u32) -> String {
    format!("images/{:02x}/{number:05}.jpg", number % 64)
}

fn failed(why: &impl std::fmt::Display) -> OperationError {
    OperationError::new(Class::Source, "the demo's bucket could not be prepared")
        .cause(why)
        .hint("`--s3-server` names the example `s3_server` of this repository; without it the demo backs up no bucket")
}
