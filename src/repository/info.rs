//! `lifeboat.json`: which repository this is and how to read it.

use serde::{Deserialize, Serialize};

use super::{RepositoryError, chunk, frame, layout};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryInfo {
    pub format: u32,
    /// 16 hexadecimal digits, the same on every target that holds this repository.
    pub repository: String,
    pub chunker: Chunker,
}

/// What a writer needs to find its own chunks again; a reader needs none of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunker {
    pub records: String,
    pub bytes: String,
    pub frame_bytes: usize,
}

impl RepositoryInfo {
    pub fn create() -> Self {
        Self {
            format: FORMAT,
            repository: hex::encode(rand::random::<[u8; 8]>()),
            chunker: Chunker {
                records: "row-hash 1".to_owned(),
                bytes: format!("fastcdc-2020 {}/{}/{}", chunk::BYTES_MIN, chunk::BYTES_AVERAGE, chunk::BYTES_MAX),
                frame_bytes: frame::FRAME_RAW_BYTES,
            },
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("plain strings and numbers serialise");
        text.push(b'\n');
        text
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, RepositoryError> {
        #[derive(Deserialize)]
        struct Versioned {
            format: u32,
        }
        let damaged = |why: serde_json::Error| RepositoryError::damaged(layout::INFO, why);
        let versioned: Versioned = serde_json::from_slice(bytes).map_err(damaged)?;
        if versioned.format > FORMAT {
            return Err(RepositoryError::TooNew {
                object: layout::INFO.to_owned(),
                found: versioned.format,
                known: FORMAT,
            });
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}
