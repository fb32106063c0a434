//! Reads the fixed and the length-prefixed fields of one item, or says how many bytes the item needs at least.
//!
//! A step reads all fields of an item before it changes anything, so that it can be repeated with more bytes.

use super::error::Stop;

/// How a string begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// So many bytes follow.
    Plain(u64),
    /// A special encoding follows: an integer, or compressed bytes.
    Encoded(u8),
}

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        let end = self.at + count;
        let Some(taken) = self.bytes.get(self.at..end) else { return Err(Stop::Need(end)) };
        self.at = end;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        Ok(self.take(N)?.try_into().expect("as long as asked for"))
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u64_le(&mut self) -> Result<u64, Stop> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn i64_le(&mut self) -> Result<i64, Stop> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// The two top bits say how the length goes on: in this byte, with one more, or with 4 or 8 in network order.
    #[inline]
    pub(super) fn length_or_encoding(&mut self) -> Result<Length, Stop> {
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Length::Plain(u64::from(first)),
            1 => Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            2 => Length::Plain(match first {
                0x80 => u64::from(u32::from_be_bytes(self.array()?)),
                0x81 => u64::from_be_bytes(self.array()?),
                _ => return Err(Stop::Shape("a length of 32 or 64 bits")),
            }),
            _ => Length::Encoded(first & 0x3f),
        })
    }

    /// A plain text of less than 16 KiB that is there whole; else nothing is taken.
    #[inline]
    pub(super) fn short_text(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let (from, length) = match *rest {
            [first, ..] if first >> 6 == 0 => (1, usize::from(first)),
            [first, second, ..] if first >> 6 == 1 => (2, usize::from(first & 0x3f) << 8 | usize::from(second)),
            _ => return None,
        };
        let text = rest.get(from..from + length)?;
        self.at += from + length;
        Some(text)
    }

    #[inline]
    pub(super) fn length(&mut self) -> Result<u64, Stop> {
        match self.length_or_encoding()? {
            Length::Plain(length) => Ok(length),
            Length::Encoded(_) => Err(Stop::Shape("a plain length")),
        }
    }

    /// An id of a stream entry, as two lengths.
    pub(super) fn lengths<const N: usize>(&mut self) -> Result<[u64; N], Stop> {
        let mut all = [0; N];
        for length in &mut all {
            *length = self.length()?;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_taken_whole_or_not_at_all() {
        for (prefix, length) in [(&[0][..], 0), (&[63], 63), (&[0x40, 3], 3), (&[0x7f, 0xff], 16383)] {
            let bytes = [prefix, &vec![b'x'; length]].concat();
            let mut cursor = Cursor::new(&bytes);
            assert_eq!((cursor.short_text(), cursor.at), (Some(&bytes[prefix.len()..]), bytes.len()));
            for cut in [0, prefix.len() - 1, prefix.len(), bytes.len() - 1].into_iter().filter(|cut| *cut < bytes.len())
            {
                let mut cursor = Cursor::new(&bytes[..cut]);
                assert_eq!((cursor.short_text(), cursor.at), (None, 0), "cut at {cut}");
            }
        }
        for other in [&[0x80, 0, 0, 0, 1, b'x'][..], &[0xc0, 5], &[0xc3, 1, 1, b'x']] {
            assert_eq!(Cursor::new(other).short_text(), None);
        }
    }

    #[test]
    fn lengths_of_every_width_are_read_and_ask_for_what_is_missing() {
        let check = |bytes: &[u8], expected: u64| {
            let mut cursor = Cursor::new(bytes);
            assert_eq!((cursor.length(), cursor.at), (Ok(expected), bytes.len()));
            for cut in 0..bytes.len() {
                let Err(Stop::Need(need)) = Cursor::new(&bytes[..cut]).length() else {
                    panic!("{bytes:?} cut at {cut}")
                };
                assert!(cut < need && need <= bytes.len());
            }
        };
        check(&[0], 0);
        check(&[63], 63);
        check(&[0x40, 64], 64);
        check(&[0x7f, 0xff], 16383);
        check(&[0x80, 0, 0, 0x40, 0], 16384);
        check(&[0x81, 1, 0, 0, 0, 0, 0, 0, 2], (1 << 56) + 2);
        check(&[0x81, 255, 255, 255, 255, 255, 255, 255, 255], u64::MAX);
        assert_eq!(Cursor::new(&[0x82]).length(), Err(Stop::Shape("a length of 32 or 64 bits")));
        assert_eq!(Cursor::new(&[0xc0]).length(), Err(Stop::Shape("a plain length")));
        assert_eq!(Cursor::new(&[0xc3]).length_or_encoding(), Ok(Length::Encoded(3)));
    }
}
