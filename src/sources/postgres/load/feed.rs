//! Carries a part from the store's blocking reader into an async session.
//!
//! Memory: [`PIECES_AHEAD`] pieces for each part that is read.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::domain::{PartName, PartStore, StoreError};
use crate::sources::SourceError;

const PIECES_AHEAD: usize = 2;

/// One part being read on a thread of its own.
pub(super) struct Feed {
    pieces: mpsc::Receiver<Result<Bytes, StoreError>>,
    reader: JoinHandle<()>,
    name: PartName,
}

impl Feed {
    pub(super) fn start(store: &Arc<dyn PartStore>, name: &PartName) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let (store, part) = (Arc::clone(store), name.clone());
        let reader = tokio::task::spawn_blocking(move || {
            let mut reader = match store.open(&part) {
                Ok(reader) => reader,
                Err(error) => return drop(sender.blocking_send(Err(error))),
            };
            while let Some(piece) = reader.next_piece().transpose() {
                let failed = piece.is_err();
                // A receiver that is gone wants no more.
                if sender.blocking_send(piece).is_err() || failed {
                    return;
                }
            }
        });
        Self { pieces, reader, name: name.clone() }
    }

    /// The next piece; `None` only when the reader reached its checked end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        if let Some(piece) = self.pieces.recv().await {
            return Ok(Some(piece?));
        }
        // A reader that panicked also closes the channel; that is not the end of the part.
        (&mut self.reader).await.map(|()| None).map_err(|error| SourceError::Failed {
            what: format!("reading part `{}`", self.name),
            why: error.to_string(),
            hint: String::new(),
        })
    }
}
