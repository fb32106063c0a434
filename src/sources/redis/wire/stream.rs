//! One byte stream, whatever carries it, and the watch over its waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{ConnectOptions, Host, WireError, tls};

/// Reads are of a whole buffer, so one indirect call each costs nothing.
pub(in crate::sources::redis) trait Socket:
    AsyncRead + AsyncWrite + Send + Sync + Unpin
{
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Socket for S {}

/// Connects, with TLS where the options say so; tries every address of a name in turn.
pub(super) async fn connect(options: &ConnectOptions) -> Result<Box<dyn Socket>, WireError> {
    let fail = |error: io::Error| WireError::Connect { place: options.place(), why: error.to_string() };
    match (&options.host, &options.tls) {
        (Host::Unix(path), _) => Ok(Box::new(UnixStream::connect(path).await.map_err(fail)?)),
        (Host::Tcp { name, port }, None) => Ok(Box::new(tcp(name, *port).await.map_err(fail)?)),
        (Host::Tcp { name, port }, Some(files)) => {
            let stream = tcp(name, *port).await.map_err(fail)?;
            let secured = tls::secure(stream, name, files).await;
            Ok(Box::new(secured.map_err(|why| WireError::Tls { place: options.place(), why })?))
        }
    }
}

async fn tcp(name: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((name, port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_keepalive(true)?;
        socket.set_nodelay(true)?;
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Ends waits: on cancellation at once, on a stall after the limit. Costs nothing while bytes flow.
pub(super) struct Watch {
    stall: Option<Duration>,
    alarm: Pin<Box<Sleep>>,
    /// The last time that something moved, for the alarm is not moved with every byte.
    moved: Instant,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Watch {
    pub(super) fn new(stall: Option<Duration>, cancel: &CancellationToken) -> Self {
        Self {
            stall,
            alarm: Box::pin(tokio::time::sleep(stall.unwrap_or(Duration::ZERO))),
            moved: Instant::now(),
            cancelled: Box::pin(cancel.clone().cancelled_owned()),
        }
    }

    /// Begins a new wait: time that passed while nobody waited does not count.
    pub(super) fn restart(&mut self) {
        self.moved = Instant::now();
        if let Some(stall) = self.stall {
            let due = self.moved + stall;
            if self.alarm.is_elapsed() || self.alarm.deadline() > due {
                self.alarm.as_mut().reset(due);
            }
        }
    }

    /// Ready with the reason why a wait must end.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<WireError> {
        if self.cancelled.as_mut().poll(context).is_ready() {
            return Poll::Ready(WireError::Cancelled);
        }
        let Some(stall) = self.stall else { return Poll::Pending };
        while self.alarm.as_mut().poll(context).is_ready() {
            let due = self.moved + stall;
            if due <= Instant::now() {
                return Poll::Ready(WireError::Stalled { secs: stall.as_secs() });
            }
            self.alarm.as_mut().reset(due);
        }
        Poll::Pending
    }
}
