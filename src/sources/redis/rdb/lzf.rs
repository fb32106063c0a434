//! Decompresses LZF as it streams.
//!
//! The format: a control byte below 32 is followed by one more literal bytes than it says; any other holds a length (3 bits, 7
//! means that a further byte is added) and the high 5 bits of an offset, whose low byte follows. So a copy is at most 264 bytes
//! long and reaches at most 8192 bytes back. Memory: [`BACK`] + [`PIECE`] bytes and one copy.

use super::error::Stop;

/// How far back a copy may reach.
const BACK: usize = 8 << 10;
/// Output is handed on in pieces of about this size.
pub(super) const PIECE: usize = 16 << 10;

#[derive(Debug, Clone, Copy)]
enum Next {
    Control,
    Literal { left: usize },
    Length { high: usize },
    Offset { high: usize, length: usize },
}

#[derive(Debug)]
pub(super) struct Lzf {
    next: Next,
    /// What later copies may reach, then what was not handed on yet.
    output: Vec<u8>,
    handed: usize,
    /// Output bytes that may still come, as stated.
    left: u64,
}

impl Lzf {
    pub(super) fn new() -> Self {
        Self { next: Next::Control, output: Vec::new(), handed: 0, left: 0 }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.output.capacity()
    }

    pub(super) fn begin(&mut self, stated: u64) {
        self.next = Next::Control;
        self.output.clear();
        self.handed = 0;
        self.left = stated;
    }

    /// Takes compressed bytes and hands the others on, in pieces.
    pub(super) fn feed(
        &mut self,
        mut input: &[u8],
        hand: &mut impl FnMut(&[u8]) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        while let Some((&first, rest)) = input.split_first() {
            match self.next {
                Next::Control if first < 32 => {
                    self.next = Next::Literal { left: usize::from(first) + 1 };
                    input = rest;
                }
                Next::Control => {
                    let (length, high) = (usize::from(first >> 5), usize::from(first & 31) << 8);
                    self.next =
                        if length == 7 { Next::Length { high } } else { Next::Offset { high, length: length + 2 } };
                    input = rest;
                }
                Next::Literal { left } => {
                    let count = left.min(input.len());
                    self.spend(count)?;
                    self.output.extend_from_slice(&input[..count]);
                    input = &input[count..];
                    self.next = if count == left { Next::Control } else { Next::Literal { left: left - count } };
                }
                Next::Length { high } => {
                    self.next = Next::Offset { high, length: usize::from(first) + 9 };
                    input = rest;
                }
                Next::Offset { high, length } => {
                    self.copy((high | usize::from(first)) + 1, length)?;
                    self.next = Next::Control;
                    input = rest;
                }
            }
            if self.output.len() >= BACK + PIECE {
                self.hand_on(hand)?;
            }
        }
        Ok(())
    }

    /// Hands the rest on; the output must be as long as stated.
    pub(super) fn end(&mut self, hand: &mut impl FnMut(&[u8]) -> Result<(), Stop>) -> Result<(), Stop> {
        self.check_end()?;
        self.hand_on(hand)
    }

    /// Decompresses a string at once whose output is at most [`PIECE`] bytes.
    pub(super) fn whole(&mut self, input: &[u8], stated: u64) -> Result<&[u8], Stop> {
        self.begin(stated);
        self.feed(input, &mut |_| Ok(()))?;
        self.check_end()?;
        Ok(&self.output)
    }

    fn check_end(&self) -> Result<(), Stop> {
        if self.left == 0 && matches!(self.next, Next::Control) {
            return Ok(());
        }
        Err(Stop::Shape("a compressed string of the stated length"))
    }

    fn hand_on(&mut self, hand: &mut impl FnMut(&[u8]) -> Result<(), Stop>) -> Result<(), Stop> {
        hand(&self.output[self.handed..])?;
        let old = self.output.len().saturating_sub(BACK);
        self.output.drain(..old);
        self.handed = self.output.len();
        Ok(())
    }

    fn copy(&mut self, back: usize, length: usize) -> Result<(), Stop> {
        if back > self.output.len() {
            return Err(Stop::Shape("a compressed string that copies only what it holds"));
        }
        self.spend(length)?;
        // A copy may overlap what it writes: it repeats the bytes between.
        let mut left = length;
        while left > 0 {
            let count = left.min(back);
            let from = self.output.len() - back;
            self.output.extend_from_within(from..from + count);
            left -= count;
        }
        Ok(())
    }

    fn spend(&mut self, count: usize) -> Result<(), Stop> {
        let left = self.left.checked_sub(count as u64);
        self.left = left.ok_or(Stop::Shape("a compressed string of the stated length"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8], stated: u64, step: usize) -> Result<Vec<u8>, Stop> {
        let mut lzf = Lzf::new();
        let mut all = vec![];
        let mut hand = |piece: &[u8]| {
            all.extend_from_slice(piece);
            Ok(())
        };
        lzf.begin(stated);
        for piece in input.chunks(step) {
            lzf.feed(piece, &mut hand)?;
            assert!(lzf.output.capacity() <= 4 * (BACK + PIECE));
        }
        lzf.end(&mut hand)?;
        Ok(all)
    }

    #[test]
    fn literals_short_copies_and_long_copies_come_out_whatever_the_pieces() {
        // "abc", a copy of 3 bytes from 3 back, one of 269 - 5 bytes from 1 back, a literal.
        let input = [2, b'a', b'b', b'c', 0x20, 2, 0xe0, 255, 0, 0, b'!'];
        let expected = [&b"abcabc"[..], &[b'c'; 264], b"!"].concat();
        for step in 1..=input.len() {
            assert_eq!(decode(&input, expected.len() as u64, step).unwrap(), expected);
        }
    }

    #[test]
    fn a_copy_reaches_8192_bytes_back_also_after_pieces_were_handed_on() {
        let block: Vec<u8> = (0..8192_u32).map(|n| (n * 31 % 251) as u8).collect();
        let mut input = vec![];
        for literal in block.chunks(32) {
            input.push(31);
            input.extend_from_slice(literal);
        }
        // 8192 bytes back is offset 8191: its high bits are 31, its low byte 255. 264 bytes each.
        for _ in 0..1000 {
            input.extend_from_slice(&[0xff, 255, 255]);
        }
        let expected: Vec<u8> = block.iter().copied().cycle().take(8192 + 264_000).collect();
        for step in [1, 7, 4096] {
            assert!(decode(&input, expected.len() as u64, step).unwrap() == expected);
        }
    }

    #[test]
    fn output_that_is_longer_or_shorter_than_stated_and_copies_before_the_start_are_refused() {
        let stated = Stop::Shape("a compressed string of the stated length");
        assert_eq!(decode(&[1, b'a', b'b'], 1, 3), Err(stated));
        assert_eq!(decode(&[1, b'a', b'b'], 3, 3), Err(stated));
        assert_eq!(decode(&[1, b'a'], 1, 3), Err(stated));
        assert_eq!(decode(&[0, b'a', 0xe0, 255, 0], 100, 1), Err(stated));
        let inside = Stop::Shape("a compressed string that copies only what it holds");
        assert_eq!(decode(&[0, b'a', 0x20, 1], 4, 4), Err(inside));
    }
}
