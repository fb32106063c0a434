//! An S3 server for the bench and the demo: serves the folders in a folder as buckets on a loopback port, which it prints, until its
//! input ends.
//!
//! `s3_server FOLDER KEY SECRET`; without the last, the secret is what the environment says as `S3_SECRET`. Instead of a folder,
//! `generated:1000000` is one bucket `bench` of so many objects of 4 KB, which are made as they are asked for: what is measured is then the
//! client, and not how a server goes through its folders for each page.

use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    CommonPrefix, ETag, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input,
    ListObjectsV2Output, Object, Timestamp,
};
use s3s::service::S3ServiceBuilder;
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("s3_server FOLDER KEY [SECRET]");
    let (folder, key) = (PathBuf::from(next()?), next()?);
    let secret = next().map_or_else(|_| environment("S3_SECRET"), Ok)?;
    let generated = folder.to_str().and_then(|folder| folder.strip_prefix("generated:"));
    let mut service = match generated {
        Some(count) => S3ServiceBuilder::new(Generated { count: count.parse()? }),
        None => S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).map_err(|error| format!("{error:?}"))?),
    };
    service.set_auth(SimpleAuth::from_single(key, secret));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    print(&listener.local_addr()?.to_string());
    let mut ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    loop {
        tokio::select! {
            _ = &mut ended => return Ok(()),
            accepted = listener.accept() => {
                let (socket, _) = accepted?;
                // Else an answer in two pieces waits for an acknowledgement in between.
                socket.set_nodelay(true)?;
                let service = service.clone();
                tokio::spawn(async move {
                    // A client that goes away is nobody's concern.
                    drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await);
                });
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "whoever started it waits for the address")]
fn print(address: &str) {
    println!("{address}");
}

#[expect(clippy::disallowed_methods, reason = "a program of its own")]
fn environment(name: &str) -> Result<String, std::env::VarError> {
    std::env::var(name)
}

const OBJECT_BYTES: usize = 4096;
/// Each "folder" of keys holds so many.
const BELOW: u64 = 1000;
const PAGE_KEYS: usize = 1000;

/// Objects `0000/0000000` and on. Half of each compresses.
struct Generated {
    count: u64,
}

impl Generated {
    fn key(number: u64) -> String {
        format!("{:04}/{number:07}", number / BELOW)
    }

    fn number(&self, key: &str) -> S3Result<u64> {
        let number = key.split_once('/').and_then(|(_, number)| number.parse().ok());
        number.filter(|number| *number < self.count && Self::key(*number) == key).ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// The first number whose key is behind this text.
    fn behind(&self, text: &str) -> u64 {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = u64::midpoint(low, high);
            if Self::key(middle).as_str() > text {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    fn tag(number: u64) -> ETag {
        // Looks like that of an object in parts: nobody takes it for the MD5 of the content.
        ETag::Strong(format!("{number:032x}-1"))
    }

    fn time() -> Timestamp {
        Timestamp::from(std::time::UNIX_EPOCH + std::time::Duration::from_hours(480_000))
    }

    fn content(number: u64) -> Vec<u8> {
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut content: Vec<u8> = Vec::with_capacity(OBJECT_BYTES);
        while content.len() < OBJECT_BYTES / 2 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            content.extend(state.to_le_bytes());
        }
        while content.len() < OBJECT_BYTES {
            content.extend(format!("{number:016}").into_bytes());
        }
        content
    }
}

#[async_trait::async_trait]
impl S3 for Generated {
    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let prefix = input.prefix.unwrap_or_default();
        let after = input.continuation_token.or(input.start_after).unwrap_or_default();
        let mut number = self.behind(&after).max(if prefix.is_empty() { 0 } else { self.behind(&prefix) });
        let (mut contents, mut folders) = (vec![], vec![]);
        let mut last = String::new();
        while number < self.count && contents.len() + folders.len() < PAGE_KEYS {
            let key = Self::key(number);
            let Some(rest) = key.strip_prefix(&prefix) else { break };
            last.clone_from(&key);
            if input.delimiter.is_some()
                && let Some((folder, _)) = rest.split_once('/')
            {
                folders.push(CommonPrefix { prefix: Some(format!("{prefix}{folder}/")) });
                number = (number / BELOW + 1) * BELOW;
                last = Self::key(number - 1);
                continue;
            }
            contents.push(Object {
                key: Some(key),
                size: i64::try_from(OBJECT_BYTES).ok(),
                e_tag: Some(Self::tag(number)),
                last_modified: Some(Self::time()),
                ..Object::default()
            });
            number += 1;
        }
        let more = number < self.count && Self::key(number).starts_with(&prefix);
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            key_count: i32::try_from(contents.len() + folders.len()).ok(),
            is_truncated: Some(more),
            next_continuation_token: more.then_some(last),
            contents: Some(contents),
            common_prefixes: Some(folders),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let number = self.number(&request.input.key)?;
        Ok(S3Response::new(GetObjectOutput {
            body: Some(Body::from(Self::content(number)).into()),
            content_length: i64::try_from(OBJECT_BYTES).ok(),
            e_tag: Some(Self::tag(number)),
            last_modified: Some(Self::time()),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let number = self.number(&request.input.key)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: i64::try_from(OBJECT_BYTES).ok(),
            e_tag: Some(Self::tag(number)),
            last_modified: Some(Self::time()),
            ..HeadObjectOutput::default()
        }))
    }
}
