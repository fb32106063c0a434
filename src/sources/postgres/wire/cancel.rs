//! Ends the statement of another session.

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::stream::Socket;
use super::{ConnectOptions, WireError, tls};

/// Ends the statement that a session runs, from outside.
#[derive(Debug, Clone)]
pub struct CancelHandle {
    pub(super) options: ConnectOptions,
    pub(super) process_id: i32,
    pub(super) secret_key: i32,
}

impl CancelHandle {
    /// Sends the request; the server answers nothing, the statement itself fails with `57014`.
    pub async fn cancel(&self) -> Result<(), WireError> {
        let fail = |why: String| WireError::Connect { place: self.options.place(), why };
        let work = async {
            let socket = Socket::connect(&self.options).await.map_err(|error| fail(error.to_string()))?;
            let mut socket = tls::negotiate(socket, &self.options).await?;
            let mut request = BytesMut::new();
            frontend::cancel_request(self.process_id, self.secret_key, &mut request);
            tokio::io::AsyncWriteExt::write_all(&mut socket, &request).await.map_err(|error| fail(error.to_string()))
        };
        tokio::time::timeout(self.options.connect_timeout, work)
            .await
            .unwrap_or_else(|_| Err(fail("no answer".to_owned())))
    }
}
