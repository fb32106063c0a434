//! One byte stream, whatever carries it.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::{ConnectOptions, Host, WireError, tls};
use crate::sources::network::tcp;

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
