//! A real S3 server on a loopback port, and a TCP proxy that breaks connections.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use lifeboat::domain::Secret;
use lifeboat::targets::s3::{Checksum, Credentials, S3Settings};
use s3s::S3Result;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::path::S3Path;
use s3s::service::S3ServiceBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub(crate) const BUCKET: &str = "copies";
pub(crate) const ACCESS_KEY: &str = "test-access-key";
pub(crate) const SECRET_KEY: &str = "test-secret-key";

/// What is done to a request or to its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Answered so without asking the server: a status, and a code as S3 gives it.
    Status(u16, &'static str),
    /// The body ends after so many bytes, whatever length was announced.
    Truncate(usize),
    /// Never answered.
    Hang,
    /// The body stands still for good after so many bytes.
    Stall(usize),
    /// The text in the answer is replaced, lengths adjusted.
    Replace(String, String),
}

/// Decides by method, path with query, and how many requests there were before.
pub(crate) type Faults = Arc<dyn Fn(&str, &str, usize) -> Fault + Send + Sync>;

/// A client of a store there, with the tests' keys.
pub(crate) fn client_at(endpoint: &str) -> aws_sdk_s3::Client {
    use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation};
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"))
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

/// Serves one bucket until it is dropped.
pub(crate) struct S3Server {
    address: SocketAddr,
    folder: tempfile::TempDir,
    task: JoinHandle<()>,
}

/// Lets a user with a signature do everything but write one object.
struct AllBut(&'static str);

#[async_trait::async_trait]
impl S3Access for AllBut {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let refused = context.s3_op().name() == "PutObject"
            && matches!(context.s3_path(), S3Path::Object { key, .. } if !self.0.is_empty() && key.ends_with(self.0));
        if refused || context.credentials().is_none() { Err(s3s::s3_error!(AccessDenied)) } else { Ok(()) }
    }
}

impl S3Server {
    pub(crate) async fn start() -> Self {
        Self::start_refusing("").await
    }

    /// Refuses to store objects whose key ends so, as a policy of a bucket may.
    pub(crate) async fn start_refusing(end: &'static str) -> Self {
        Self::start_with(end, Arc::new(|_, _, _| Fault::None)).await
    }

    /// Does this to requests.
    pub(crate) async fn start_faulty(faults: Faults) -> Self {
        Self::start_with("", faults).await
    }

    async fn start_with(end: &'static str, faults: Faults) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        service.set_access(AllBut(end));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(async move {
            // Dropped with this task, and every connection with it.
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (service, faults, asked) = (service.clone(), Arc::clone(&faults), Arc::clone(&asked));
                let service = service_fn(move |request: Request<Incoming>| {
                    let number = asked.fetch_add(1, Ordering::SeqCst);
                    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
                    let fault = faults(request.method().as_str(), path, number);
                    answer(service.clone(), request, fault)
                });
                connections.spawn(async move {
                    let http = Builder::new(TokioExecutor::new());
                    // A client that goes away is part of the tests.
                    drop(http.serve_connection(TokioIo::new(socket), service).await);
                });
            }
        });
        Self { address, folder, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the bucket's objects lie as files.
    pub(crate) fn bucket_folder(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    /// Settings that work with this server.
    pub(crate) fn settings(&self, prefix: &str) -> S3Settings {
        settings_at(self.address, prefix)
    }
}

async fn answer(
    service: s3s::service::S3Service,
    request: Request<Incoming>,
    fault: Fault,
) -> Result<Response<s3s::Body>, s3s::HttpError> {
    let request = request.map(s3s::Body::from);
    match fault {
        Fault::None => service.call(request).await,
        Fault::Status(status, code) => {
            let body = format!(
                "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as a test wants it</Message></Error>"
            );
            Ok(Response::builder().status(status).body(s3s::Body::from(body)).unwrap())
        }
        Fault::Hang => std::future::pending().await,
        Fault::Stall(bytes) => {
            let mut answer = service.call(request).await?;
            let whole = answer.body_mut().store_all_limited(1 << 30).await.unwrap();
            let sent = whole.slice(..bytes.min(whole.len()));
            let announced = whole.len().to_string().parse().unwrap();
            answer.headers_mut().insert("content-length", announced);
            let first: Result<_, std::io::Error> = Ok(Frame::data(sent));
            let pieces = futures::stream::iter([first]).chain(futures::stream::pending());
            *answer.body_mut() = s3s::Body::http_body_unsync(StreamBody::new(pieces));
            Ok(answer)
        }
        Fault::Truncate(bytes) => {
            let mut answer = service.call(request).await?;
            let whole = answer.body_mut().store_all_limited(1 << 30).await.unwrap();
            // The server notices that less comes than it announced, and cuts the connection.
            let cut = whole.slice(..bytes.min(whole.len()));
            let announced = whole.len().to_string().parse().unwrap();
            answer.headers_mut().insert("content-length", announced);
            let pieces = futures::stream::iter([Ok(Frame::data(cut)), Err(std::io::Error::other("cut"))]);
            *answer.body_mut() = s3s::Body::http_body_unsync(StreamBody::new(pieces));
            Ok(answer)
        }
        Fault::Replace(from, to) => {
            let mut answer = service.call(request).await?;
            let whole = answer.body_mut().store_all_limited(1 << 30).await.unwrap();
            let text = String::from_utf8(whole.to_vec()).unwrap().replace(&from, &to);
            answer.headers_mut().remove("content-length");
            *answer.body_mut() = s3s::Body::from(text);
            Ok(answer)
        }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The server's settings, reached at another address.
pub(crate) fn settings_at(address: SocketAddr, prefix: &str) -> S3Settings {
    S3Settings {
        endpoint: format!("http://{address}"),
        region: "us-east-1".to_owned(),
        bucket: BUCKET.to_owned(),
        prefix: prefix.to_owned(),
        credentials: Credentials::Keys {
            access_key_id: Secret::new(ACCESS_KEY),
            secret_access_key: Secret::new(SECRET_KEY),
            session_token: None,
        },
        virtual_host_style: false,
        checksum: Checksum::None,
    }
}

/// When a connection is cut: after so many bytes in that direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) request_bytes: usize,
    pub(crate) reply_bytes: usize,
}

/// Passes bytes on to a server, but cuts its first few connections.
pub(crate) struct Proxy {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Cuts the first `times` connections.
    pub(crate) async fn start(server: SocketAddr, cut: Cut, times: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, bytes) = (Arc::clone(&accepted), Arc::clone(&sent));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let cut = (count.fetch_add(1, Ordering::SeqCst) < times).then_some(cut);
                connections.spawn(pass_on(client, server, cut, Arc::clone(&bytes)));
            }
        });
        Self { address, accepted, sent, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What all clients have sent, headers included.
    pub(crate) fn request_bytes(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(mut client: TcpStream, server: SocketAddr, cut: Option<Cut>, sent: Arc<AtomicUsize>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let limit = |choose: fn(Cut) -> usize| cut.map_or(usize::MAX, choose);
    let answered = AtomicUsize::new(0);
    // Whichever direction ends first ends both: that is the cut.
    tokio::select! {
        () = copy(&mut from_client, &mut to_server, limit(|cut| cut.request_bytes), &sent) => {}
        () = copy(&mut from_server, &mut to_client, limit(|cut| cut.reply_bytes), &answered) => {}
    }
}

async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut left: usize,
    count: &AtomicUsize,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer).await {
        let passed = read.min(left);
        if read == 0 || to.write_all(&buffer[..passed]).await.is_err() || passed < read {
            return;
        }
        left -= passed;
        count.fetch_add(passed, Ordering::SeqCst);
    }
}
