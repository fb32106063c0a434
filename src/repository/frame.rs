//! One zstd frame: several consecutive new chunks, compressed together so that small chunks do not cost ratio.

use std::io::Read;

use zstd_safe::CParameter;

use super::RepositoryError;

/// A frame is closed once it holds this much; it may exceed it by one chunk.
pub const FRAME_RAW_BYTES: usize = 4 << 20;
/// The whole frame is searched for matches.
const WINDOW_LOG: u32 = FRAME_RAW_BYTES.ilog2();
/// The level of a job that names none, with parameters of our own (decision 15): fast, and nearly as small as level 3.
const TUNED_LEVEL: i32 = 2;
/// 512 KiB of positions, where zstd's level 2 has 256: still within a core's cache.
const HASH_LOG: u32 = 17;
/// Rows repeat in long pieces: shorter matches cost about what they save.
const MATCH_BYTES_MIN: u32 = 7;
/// What a reader accepts as one frame's content: a full frame and the largest chunk.
pub const FRAME_RAW_BYTES_MAX: usize = FRAME_RAW_BYTES + super::chunk::CHUNK_BYTES_MAX;
/// Magic of the skippable frame used for padding (zstd's format, section 3.1.2).
const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;
/// Magic and length.
pub const SKIPPABLE_HEADER_BYTES: usize = 8;

/// What a reader accepts as one frame: content that does not compress grows by a little.
const FRAME_BYTES_MAX: usize = FRAME_RAW_BYTES_MAX + (FRAME_RAW_BYTES_MAX >> 7) + 1024;
/// How much of a pack is read at a time to find its frames.
const WALK_BYTES: usize = 256 << 10;

/// Compresses frames with one reused context into one reused buffer.
pub struct Compressor {
    context: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
}

impl Compressor {
    pub fn new(level: i32) -> Result<Self, RepositoryError> {
        let local = |why| RepositoryError::local("setting up zstd", why);
        let mut context = zstd::bulk::Compressor::new(level).map_err(local)?;
        context.include_contentsize(true).map_err(local)?;
        // age authenticates every byte already.
        context.include_checksum(false).map_err(local)?;
        context.set_parameter(CParameter::WindowLog(WINDOW_LOG)).map_err(local)?;
        if level == TUNED_LEVEL {
            context.set_parameter(CParameter::HashLog(HASH_LOG)).map_err(local)?;
            context.set_parameter(CParameter::MinMatch(MATCH_BYTES_MIN)).map_err(local)?;
        }
        Ok(Self { context, out: vec![] })
    }

    /// The frame; it is overwritten by the next.
    pub fn compress(&mut self, raw: &[u8]) -> Result<&[u8], RepositoryError> {
        self.out.clear();
        self.out.reserve(zstd_safe::compress_bound(raw.len()));
        let compressed = self.context.compress_to_buffer(raw, &mut self.out);
        compressed.map_err(|why| RepositoryError::local("compressing", why))?;
        Ok(&self.out)
    }
}

/// A skippable frame of `total` bytes, which every zstd decoder passes over.
pub fn padding(total: usize) -> Vec<u8> {
    let content = u32::try_from(total - SKIPPABLE_HEADER_BYTES).expect("padding is at most a fraction of a pack");
    let mut frame = vec![0; total];
    frame[..4].copy_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
    frame[4..8].copy_from_slice(&content.to_le_bytes());
    frame
}

/// Where one frame lies in a pack's compressed content and what it decodes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSpan {
    pub offset: usize,
    pub length: usize,
    pub raw_offset: u64,
    pub raw_length: usize,
}

/// Walks the frames of a pack's compressed content without decoding them, one frame in memory at a time. Skippable frames are
/// passed over.
pub fn spans(object: &str, content: impl Read) -> Result<Vec<FrameSpan>, RepositoryError> {
    let damaged = |why: &str| RepositoryError::damaged(object, why);
    let mut content = Window { content, bytes: vec![], from: 0, ended: false };
    let mut spans = vec![];
    let (mut offset, mut raw_offset) = (0, 0);
    loop {
        content.fill(object, SKIPPABLE_HEADER_BYTES)?;
        if content.rest().is_empty() {
            return Ok(spans);
        }
        if let Some(length) = skippable_bytes(content.rest()) {
            content.skip(object, length)?;
            offset += length;
            continue;
        }
        let length = loop {
            match zstd_safe::find_frame_compressed_size(content.rest()) {
                Ok(length) => break length,
                // A frame that goes on looks like one that is damaged, until it is longer than any.
                Err(_) if !content.ended && content.rest().len() < FRAME_BYTES_MAX => {
                    content.fill(object, content.rest().len() + WALK_BYTES)?;
                }
                Err(_) => return Err(damaged("it holds something that is no zstd frame")),
            }
        };
        let raw_length = zstd_safe::get_frame_content_size(content.rest())
            .ok()
            .flatten()
            .and_then(|size| usize::try_from(size).ok())
            .filter(|size| *size <= FRAME_RAW_BYTES_MAX)
            .ok_or_else(|| damaged("a frame states no size or one over the bound"))?;
        spans.push(FrameSpan { offset, length, raw_offset, raw_length });
        raw_offset += raw_length as u64;
        content.skip(object, length)?;
        offset += length;
    }
}

/// How long the skippable frame is that begins here, if one does.
fn skippable_bytes(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<SKIPPABLE_HEADER_BYTES>()?;
    let [magic, content] =
        [0, 4].map(|at| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
    (magic == SKIPPABLE_MAGIC).then(|| SKIPPABLE_HEADER_BYTES + content as usize)
}

/// What of a pack is looked at.
struct Window<R> {
    content: R,
    bytes: Vec<u8>,
    /// Where in `bytes` the next frame begins.
    from: usize,
    ended: bool,
}

impl<R: Read> Window<R> {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    /// Reads on until the rest has `wanted` bytes, or all that there are.
    fn fill(&mut self, object: &str, wanted: usize) -> Result<(), RepositoryError> {
        let missing = wanted.saturating_sub(self.rest().len());
        if missing == 0 || self.ended {
            return Ok(());
        }
        self.bytes.drain(..self.from);
        self.from = 0;
        let asked = missing.max(WALK_BYTES) as u64;
        let read = self.content.by_ref().take(asked).read_to_end(&mut self.bytes);
        self.ended = (read.map_err(|why| RepositoryError::damaged(object, why))? as u64) < asked;
        Ok(())
    }

    fn skip(&mut self, object: &str, mut length: usize) -> Result<(), RepositoryError> {
        loop {
            let here = length.min(self.rest().len());
            self.from += here;
            length -= here;
            if length == 0 {
                return Ok(());
            }
            self.fill(object, length.min(WALK_BYTES))?;
            if self.rest().is_empty() {
                return Err(RepositoryError::damaged(object, "a frame claims more bytes than there are"));
            }
        }
    }
}

/// Decodes one frame whose stated size `spans` has bounded.
pub fn decode(object: &str, frame: &[u8], raw_length: usize) -> Result<Vec<u8>, RepositoryError> {
    let raw = zstd::bulk::decompress(frame, raw_length).map_err(|why| RepositoryError::damaged(object, why))?;
    if raw.len() == raw_length {
        Ok(raw)
    } else {
        Err(RepositoryError::damaged(object, format!("a frame decodes to {} bytes, not {raw_length}", raw.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_padding_walk_back_to_what_was_written() {
        let mut compressor = Compressor::new(1).unwrap();
        let raws = [b"first frame".to_vec(), vec![7; 300_000], vec![]];
        let mut content = vec![];
        for raw in &raws {
            content.extend(compressor.compress(raw).unwrap());
            content.extend(padding(100));
        }
        let spans = spans("p", &content[..]).unwrap();
        let decoded: Vec<_> = spans
            .iter()
            .map(|span| decode("p", &content[span.offset..span.offset + span.length], span.raw_length).unwrap())
            .collect();
        assert_eq!(decoded, raws);
        assert_eq!(spans[2].raw_offset, 300_011);
    }

    #[test]
    fn a_frame_that_claims_a_gigabyte_is_refused_before_it_is_decoded() {
        let bomb = zstd::bulk::compress(&vec![0; FRAME_RAW_BYTES_MAX + 1], 1).unwrap();
        assert!(matches!(spans("p", &bomb[..]), Err(RepositoryError::Damaged { .. })));
        assert!(spans("p", &b"not a frame at all"[..]).is_err());
    }
}
