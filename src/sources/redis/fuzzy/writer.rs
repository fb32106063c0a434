//! Puts an RDB together from what `DUMP` gave.

use tokio::sync::mpsc;

use crate::sources::SourceError;
use crate::sources::bridge::BLOCK_BYTES;
use crate::sources::redis::rdb::Crc64;

/// The oldest that has everything that an empty dump needs.
const VERSION_OF_NOTHING: u16 = 9;

/// Writes an RDB.
pub(super) struct Writer {
    out: mpsc::Sender<Vec<u8>>,
    buffer: Vec<u8>,
    sum: Crc64,
    /// As the header says, once there is one.
    version: Option<u16>,
}

impl Writer {
    pub(super) fn new(out: mpsc::Sender<Vec<u8>>) -> Self {
        Self { out, buffer: vec![], sum: Crc64::default(), version: None }
    }

    /// Makes sure that the header names a version that knows what follows.
    pub(super) async fn need(&mut self, version: u16, product: &str, server_version: &str) -> Result<(), SourceError> {
        match self.version {
            Some(own) if own == version => return Ok(()),
            Some(own) => {
                return Err(SourceError::Changed {
                    what: "reading keys".to_owned(),
                    why: format!("the server's format changed from version {own} to {version}"),
                    hint: "it was upgraded meanwhile; start again".to_owned(),
                });
            }
            None => self.version = Some(version),
        }
        // Valkey counts from 80, under a name of its own.
        let header = if version >= 80 { format!("VALKEY{version:03}") } else { format!("REDIS{version:04}") };
        self.bytes(header.as_bytes()).await?;
        let name = if product == "valkey" { "valkey-ver" } else { "redis-ver" };
        if !server_version.is_empty() {
            self.bytes(&[0xFA]).await?;
            self.string(name.as_bytes()).await?;
            self.string(server_version.as_bytes()).await?;
        }
        Ok(())
    }

    pub(super) async fn select(&mut self, database: u64) -> Result<(), SourceError> {
        self.bytes(&[0xFE]).await?;
        self.length(database).await
    }

    /// `body` is the type and the value.
    pub(super) async fn key(&mut self, key: &[u8], body: &[u8], expires_ms: Option<i64>) -> Result<(), SourceError> {
        if let Some(expires_ms) = expires_ms {
            self.bytes(&[0xFC]).await?;
            self.bytes(&expires_ms.to_le_bytes()).await?;
        }
        self.bytes(&body[..1]).await?;
        self.string(key).await?;
        self.bytes(&body[1..]).await
    }

    pub(super) async fn string(&mut self, text: &[u8]) -> Result<(), SourceError> {
        self.length(text.len() as u64).await?;
        self.bytes(text).await
    }

    async fn length(&mut self, length: u64) -> Result<(), SourceError> {
        // The two shortest of the format's five ways, and the longest.
        match length {
            0..64 => self.bytes(&[length.to_le_bytes()[0]]).await,
            64..0x4000 => {
                let bytes = length.to_be_bytes();
                self.bytes(&[bytes[6] | 0x40, bytes[7]]).await
            }
            _ => {
                self.bytes(&[0x81]).await?;
                self.bytes(&length.to_be_bytes()).await
            }
        }
    }

    pub(super) async fn end(mut self, product: &str, server_version: &str) -> Result<(), SourceError> {
        if self.version.is_none() {
            self.need(VERSION_OF_NOTHING, product, server_version).await?;
        }
        self.bytes(&[0xFF]).await?;
        let sum = self.sum.value().to_le_bytes();
        self.bytes(&sum).await?;
        self.send().await
    }

    pub(super) async fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), SourceError> {
        self.sum.update(bytes);
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() >= BLOCK_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), SourceError> {
        let piece = std::mem::take(&mut self.buffer);
        self.out.send(piece).await.map_err(|_| SourceError::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lengths_of_every_size_are_written_as_the_format_has_them() {
        let (out, mut pieces) = mpsc::channel(4);
        let mut writer = Writer::new(out);
        for length in [0, 63, 64, 0x3fff, 0x4000, 1 << 40] {
            writer.length(length).await.unwrap();
        }
        writer.send().await.unwrap();
        let expected = [
            &[0][..],
            &[63],
            &[0x40, 64],
            &[0x7f, 0xff],
            &[0x81, 0, 0, 0, 0, 0, 0, 0x40, 0],
            &[0x81, 0, 0, 1, 0, 0, 0, 0, 0],
        ];
        assert_eq!(pieces.recv().await.unwrap(), expected.concat());
    }
}
