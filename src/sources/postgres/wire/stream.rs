//! One byte stream, whatever carries it, whose reads notice a stall and a cancellation.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{ConnectOptions, Host, WireError};

pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Socket {
    /// Connects without TLS; tries every address of a name in turn.
    pub(super) async fn connect(options: &ConnectOptions) -> io::Result<Self> {
        match &options.host {
            Host::Unix(folder) => {
                Ok(Self::Unix(UnixStream::connect(ConnectOptions::socket(folder, options.port)).await?))
            }
            Host::Tcp(name) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                for address in tokio::net::lookup_host((name.as_str(), options.port)).await? {
                    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                    socket.set_keepalive(true)?;
                    socket.set_nodelay(true)?;
                    match socket.connect(address).await {
                        Ok(stream) => return Ok(Self::Tcp(stream)),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, data),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
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

    pub(super) fn set_stall(&mut self, stall: Option<Duration>) {
        self.stall = stall;
        self.restart();
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
