//! The index object: which chunks lie in which packs. It lets a writer deduplicate after its cache is lost.
//!
//! Content, before zstd and age, integers little endian:
//! ```text
//! "LBIDX1\n" | the epoch's id, 16 hexadecimal digits
//! for each pack: 32 bytes SHA-256 | u64 size of the pack file | u32 number of chunks
//!                then for each chunk: 16 bytes keyed id | u32 raw length
//! ```
//! Chunks of a pack are listed in order and lie back to back in the pack's decoded content, so offsets follow.

use super::{RepositoryError, layout::ContentName};

const MAGIC: &[u8] = b"LBIDX1\n";
const EPOCH_BYTES: usize = 16;

/// BLAKE3 keyed with the writer's secret, cut to 128 bits: without the key an id says nothing about content.
pub type ChunkId = [u8; 16];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackIndex {
    pub pack: ContentName,
    pub file_bytes: u64,
    pub chunks: Vec<(ChunkId, u32)>,
}

/// One index object's content: the packs that one run added in one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub epoch: String,
    pub packs: Vec<PackIndex>,
}

pub fn encode(index: &Index) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    debug_assert_eq!(index.epoch.len(), EPOCH_BYTES);
    out.extend(index.epoch.as_bytes());
    for pack in &index.packs {
        out.extend(pack.pack.0);
        out.extend(pack.file_bytes.to_le_bytes());
        out.extend(u32::try_from(pack.chunks.len()).expect("a pack holds at most 2^30 bytes").to_le_bytes());
        for (id, length) in &pack.chunks {
            out.extend(id);
            out.extend(length.to_le_bytes());
        }
    }
    out
}

pub fn decode(object: &str, mut bytes: &[u8]) -> Result<Index, RepositoryError> {
    let damaged = || RepositoryError::damaged(object, "the index ends in the middle of an entry");
    bytes = bytes.strip_prefix(MAGIC).ok_or_else(|| RepositoryError::damaged(object, "it is no index"))?;
    let epoch: [u8; EPOCH_BYTES] = take(&mut bytes).ok_or_else(damaged)?;
    let epoch = String::from_utf8(epoch.to_vec()).map_err(|_| damaged())?;
    let mut packs = vec![];
    while !bytes.is_empty() {
        let pack = ContentName(take(&mut bytes).ok_or_else(damaged)?);
        let file_bytes = u64::from_le_bytes(take(&mut bytes).ok_or_else(damaged)?);
        let count = u32::from_le_bytes(take(&mut bytes).ok_or_else(damaged)?) as usize;
        if bytes.len() / 20 < count {
            return Err(damaged());
        }
        let mut chunks = Vec::with_capacity(count);
        for _ in 0..count {
            let id = take(&mut bytes).ok_or_else(damaged)?;
            chunks.push((id, u32::from_le_bytes(take(&mut bytes).ok_or_else(damaged)?)));
        }
        packs.push(PackIndex { pack, file_bytes, chunks });
    }
    Ok(Index { epoch, packs })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_reads_back_and_every_truncation_is_refused() {
        let packs = vec![
            PackIndex { pack: ContentName([1; 32]), file_bytes: 99, chunks: vec![([2; 16], 5), ([3; 16], 70_000)] },
            PackIndex { pack: ContentName([4; 32]), file_bytes: 1, chunks: vec![] },
        ];
        let index = Index { epoch: "0123456789abcdef".to_owned(), packs };
        let bytes = encode(&index);
        assert_eq!(decode("i", &bytes).unwrap(), index);
        let head = MAGIC.len() + EPOCH_BYTES;
        let whole_entries = [head, head + 44 + 40];
        for length in (0..bytes.len()).filter(|length| !whole_entries.contains(length)) {
            assert!(decode("i", &bytes[..length]).is_err(), "cut to {length}");
        }
    }
}
