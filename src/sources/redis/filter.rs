//! Takes keys out of an RDB as it passes, so that what a job leaves out is nowhere in the backup.
//!
//! The counts that an RDB states for a database are hints for the size of tables and stay; the checksum at the end is computed
//! anew. Memory: a piece, and what precedes a key until its name is known, at most [`HELD_BYTES_MAX`].

use super::rdb::Crc64;

/// A key's name with everything before it; longer ones cannot be left out.
pub(super) const HELD_BYTES_MAX: usize = 64 << 20;
const CHECKSUM_BYTES: usize = 8;

/// What the reader of the RDB found in a piece, in order. Offsets are those in the RDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// A record began here, and this is what shall become of it.
    Begin {
        start: u64,
        keep: bool,
    },
    End {
        end: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a record: bytes wait until somebody knows whose they are.
    Between,
    Keep,
    Drop,
}

pub(super) struct Filter {
    state: State,
    held: Vec<u8>,
    /// Offset of the first held byte.
    held_at: u64,
    sum: Crc64,
}

/// A record begins with more than can be held until it is decided upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's name is longer than {HELD_BYTES_MAX} bytes")]
pub(super) struct TooLong;

impl Filter {
    pub(super) fn new() -> Self {
        Self { state: State::Between, held: vec![], held_at: 0, sum: Crc64::default() }
    }

    /// Takes the next piece with the cuts that were found in it, and appends to `out` what is kept of all so far.
    pub(super) fn pass(&mut self, piece: &[u8], cuts: &[Cut], out: &mut Vec<u8>) -> Result<(), TooLong> {
        self.held.extend_from_slice(piece);
        let from = out.len();
        let mut at = 0;
        for cut in cuts {
            let (offset, next) = match *cut {
                Cut::Begin { start, keep } => (start, if keep { State::Keep } else { State::Drop }),
                Cut::End { end } => (end, State::Between),
            };
            // A record may have begun in an earlier piece, before anything that is still held; then it is being kept.
            let to = usize::try_from(offset.saturating_sub(self.held_at)).unwrap_or(usize::MAX).min(self.held.len());
            if self.state != State::Drop {
                out.extend_from_slice(&self.held[at..to]);
            }
            at = to;
            self.state = next;
        }
        match self.state {
            State::Between => {}
            State::Keep => {
                out.extend_from_slice(&self.held[at..]);
                at = self.held.len();
            }
            State::Drop => at = self.held.len(),
        }
        self.held.drain(..at);
        self.held_at += at as u64;
        self.sum.update(&out[from..]);
        if self.held.len() > HELD_BYTES_MAX + piece.len() { Err(TooLong) } else { Ok(()) }
    }

    /// The RDB is over and was understood to its end.
    pub(super) fn finish(mut self, with_checksum: bool, out: &mut Vec<u8>) {
        if !with_checksum {
            out.extend_from_slice(&self.held);
            return;
        }
        let body = self.held.len().saturating_sub(CHECKSUM_BYTES);
        self.sum.update(&self.held[..body]);
        out.extend_from_slice(&self.held[..body]);
        // 0 means that the server computes none: then neither do we.
        let off = self.held[body..].iter().all(|byte| *byte == 0);
        out.extend_from_slice(&if off { [0; CHECKSUM_BYTES] } else { self.sum.value().to_le_bytes() });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A stream of a header, records and an end, with what is between records before each; and how long each part is.
    fn stream(records: &[(Vec<u8>, Vec<u8>, bool)]) -> (Vec<u8>, Vec<Cut>) {
        let (mut bytes, mut cuts) = (b"REDIS0010".to_vec(), vec![]);
        for (between, record, keep) in records {
            bytes.extend_from_slice(between);
            cuts.push(Cut::Begin { start: bytes.len() as u64, keep: *keep });
            bytes.extend_from_slice(record);
            cuts.push(Cut::End { end: bytes.len() as u64 });
        }
        bytes.extend_from_slice(b"\xff12345678");
        (bytes, cuts)
    }

    fn run(bytes: &[u8], cuts: &[Cut], size: usize, late: usize) -> Vec<u8> {
        let (mut filter, mut out, mut fed, mut told) = (Filter::new(), vec![], 0, 0);
        for piece in bytes.chunks(size) {
            fed += piece.len();
            // A reader knows a record's name some bytes after its first one, and its end at once.
            let known = |cut: &&Cut| match cut {
                Cut::Begin { start, .. } => usize::try_from(*start).unwrap() + late <= fed,
                Cut::End { end } => usize::try_from(*end).unwrap() <= fed,
            };
            let now = cuts[told..].iter().take_while(known).count();
            filter.pass(piece, &cuts[told..told + now], &mut out).unwrap();
            told += now;
        }
        assert_eq!(told, cuts.len());
        filter.finish(true, &mut out);
        out
    }

    proptest! {
        #[test]
        fn what_is_kept_is_whole_wherever_the_pieces_end(
            records in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..5), prop::collection::vec(any::<u8>(), 3..30), any::<bool>()), 0..8),
            size in 1_usize..50, late in 0_usize..3,
        ) {
            let (bytes, cuts) = stream(&records);
            let kept: Vec<_> = records.iter().map(|(between, record, keep)| {
                [between.clone(), if *keep { record.clone() } else { vec![] }].concat()
            }).collect();
            let mut expected = [b"REDIS0010".to_vec(), kept.concat(), b"\xff".to_vec()].concat();
            let mut sum = Crc64::default();
            sum.update(&expected);
            expected.extend(sum.value().to_le_bytes());
            prop_assert_eq!(run(&bytes, &cuts, size, late), expected);
        }
    }
}
