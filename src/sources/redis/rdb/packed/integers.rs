//! Intset: the width of an integer (2, 4 or 8), their number (4 each, little endian), the integers.

use super::{Elements, Packed, Phase};
use crate::sources::redis::rdb::cursor::Cursor;
use crate::sources::redis::rdb::error::Stop;

const HEADER_BYTES: u64 = 8;

impl Packed {
    pub(super) fn intset_header(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        let width = u32::from_le_bytes(cursor.array()?);
        let count = u32::from_le_bytes(cursor.array()?);
        if !matches!(width, 2 | 4 | 8) {
            return Err(Stop::Shape("integers of 2, 4 or 8 bytes in a set"));
        }
        self.size = u64::from(width);
        self.check_size(HEADER_BYTES + self.size * u64::from(count))?;
        self.elements_stated = Some(u64::from(count));
        self.phase = if count == 0 { Phase::Done } else { Phase::Element };
        Ok(cursor.at)
    }

    pub(super) fn intset_element(&mut self, bytes: &[u8], sink: &mut impl Elements) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        let value = match self.size {
            2 => i64::from(i16::from_le_bytes(cursor.array()?)),
            4 => i64::from(i32::from_le_bytes(cursor.array()?)),
            _ => cursor.i64_le()?,
        };
        sink.integer(value)?;
        self.elements += 1;
        if Some(self.elements) == self.elements_stated {
            self.phase = Phase::Done;
        }
        Ok(cursor.at)
    }
}
