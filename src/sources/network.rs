//! What the wire clients of all sources share: connecting by name, and waits that notice a stall and a cancellation.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

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

/// Why a wait must end.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources) enum Ended {
    Cancelled,
    Stalled { secs: u64 },
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

    /// Begins a new wait: time that passed while nobody waited does not count.
    pub(in crate::sources) fn restart(&mut self) {
        self.moved = Instant::now();
        if let Some(stall) = self.stall {
            let due = self.moved + stall;
            if self.alarm.is_elapsed() || self.alarm.deadline() > due {
                self.alarm.as_mut().reset(due);
            }
        }
    }

    /// Ready with the reason why a wait must end.
    pub(in crate::sources) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
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
