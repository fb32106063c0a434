//! What the wire clients of all sources share: connecting by name, TLS, what URLs have in common, and waits that notice a stall
//! and a cancellation.
//!
//! What it must never do: know a protocol. Memory: none of its own.

pub(in crate::sources) mod tls;
pub(in crate::sources) mod urls;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Tries every address of a name in turn.
pub(in crate::sources) async fn tcp(name: &str, port: u16) -> io::Result<TcpStream> {
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

/// Why a wait came to nothing.
#[derive(Debug, Clone)]
pub(in crate::sources) enum Ended {
    Cancelled,
    Stalled {
        secs: u64,
    },
    /// The connection itself; what the system says, or that the server closed it.
    Broken(String),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Ends waits: on cancellation at once, on a stall after the limit. Costs nothing while bytes flow.
pub(in crate::sources) struct Watch {
    stall: Option<Duration>,
    alarm: Pin<Box<Sleep>>,
    /// The last time that something moved, for the alarm is not moved with every byte.
    moved: Instant,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Watch {
    pub(in crate::sources) fn new(stall: Option<Duration>, cancel: &CancellationToken) -> Self {
        Self {
            stall,
            alarm: Box::pin(tokio::time::sleep(stall.unwrap_or(Duration::ZERO))),
            moved: Instant::now(),
            cancelled: Box::pin(cancel.clone().cancelled_owned()),
        }
    }

    pub(in crate::sources) fn set_stall(&mut self, stall: Option<Duration>) {
        self.stall = stall;
        self.restart();
    }

    /// Reads once, which is one byte at least.
    pub(in crate::sources) async fn read(
        &mut self,
        socket: &mut (impl AsyncRead + Unpin),
        room: &mut [u8],
    ) -> Result<usize, Ended> {
        self.restart();
        let read = poll_fn(|context| {
            let mut room = ReadBuf::new(room);
            match Pin::new(&mut *socket).poll_read(context, &mut room) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(room.filled().len())),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                Poll::Pending => self.poll(context).map(Err),
            }
        })
        .await?;
        if read == 0 { Err(Ended::Broken("the server closed it".to_owned())) } else { Ok(read) }
    }

    /// Writes all of it and flushes; the limit holds for each piece that the socket takes.
    pub(in crate::sources) async fn write_all(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        mut data: &[u8],
    ) -> Result<(), Ended> {
        self.restart();
        while !data.is_empty() {
            let written = poll_fn(|context| match Pin::new(&mut *socket).poll_write(context, data) {
                Poll::Ready(result) => Poll::Ready(result.map_err(Ended::from)),
                Poll::Pending => self.poll(context).map(Err),
            })
            .await?;
            if written == 0 {
                return Err(Ended::Broken("the server takes no more bytes".to_owned()));
            }
            data = &data[written..];
            self.restart();
        }
        poll_fn(|context| match Pin::new(&mut *socket).poll_flush(context) {
            Poll::Ready(result) => Poll::Ready(result.map_err(Ended::from)),
            Poll::Pending => self.poll(context).map(Err),
        })
        .await
    }

    /// Begins a new wait: time that passed while nobody waited does not count.
    fn restart(&mut self) {
        self.moved = Instant::now();
        if let Some(stall) = self.stall {
            let due = self.moved + stall;
            if self.alarm.is_elapsed() || self.alarm.deadline() > due {
                self.alarm.as_mut().reset(due);
            }
        }
    }

    /// Ready with the reason why a wait must end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        if self.cancelled.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ended::Cancelled);
        }
        let Some(stall) = self.stall else { return Poll::Pending };
        while self.alarm.as_mut().poll(context).is_ready() {
            let due = self.moved + stall;
            if due <= Instant::now() {
                return Poll::Ready(Ended::Stalled { secs: stall.as_secs() });
            }
            self.alarm.as_mut().reset(due);
        }
        Poll::Pending
    }
}
