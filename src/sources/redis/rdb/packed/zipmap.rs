//! Zipmap, the hashes of Redis 2.0 to 2.4: the number of pairs (1 byte, 254 and more mean not known), then field and value by turns,
//! a byte 255. Each has its length (1 byte, or 254 and 4, little endian); a value has one more byte, which says how many unused
//! bytes follow it.

use super::{Elements, Packed, Phase, SMALL, small};
use crate::sources::redis::rdb::cursor::Cursor;
use crate::sources::redis::rdb::error::Stop;

impl Packed {
    pub(super) fn zipmap_header(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        let pairs = cursor.byte()?;
        self.elements_stated = (pairs < 254).then_some(2 * u64::from(pairs));
        self.phase = Phase::Element;
        Ok(cursor.at)
    }

    pub(super) fn zipmap_element(&mut self, bytes: &[u8], sink: &mut impl Elements) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        let is_value = self.elements % 2 == 1;
        let length = match cursor.byte()? {
            255 if is_value => return Err(Stop::Shape("a value for each field of a zipmap")),
            255 => {
                self.finish_elements()?;
                return Ok(1);
            }
            254 => u64::from(u32::from_le_bytes(cursor.array()?)),
            short => u64::from(short),
        };
        let unused = if is_value { cursor.byte()? } else { 0 };
        if length > SMALL {
            self.size = u64::from(unused);
            self.open_large(length, sink)?;
            return Ok(cursor.at);
        }
        let text = cursor.take(small(length))?;
        cursor.take(usize::from(unused))?;
        sink.bytes(text)?;
        self.elements += 1;
        Ok(cursor.at)
    }
}
