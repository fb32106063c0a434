//! Ziplist, until Redis 6: the size in bytes, the offset of the last entry (4 each, little endian), the number of entries (2, 65535
//! means not known), the entries, a byte 255. An entry is the size of the one before, an encoding, and its bytes.

use super::listpack::int24;
use super::{Elements, Packed, Phase, SMALL, small};
use crate::sources::redis::rdb::cursor::Cursor;
use crate::sources::redis::rdb::error::Stop;

const HEADER_BYTES: u64 = 10;

enum Item {
    Integer(i64),
    Text(u64),
}

impl Packed {
    pub(super) fn ziplist_header(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        let size = u32::from_le_bytes(cursor.array()?);
        let last = u32::from_le_bytes(cursor.array()?);
        let count = u16::from_le_bytes(cursor.array()?);
        self.check_size(u64::from(size))?;
        self.last = (HEADER_BYTES, u64::from(last));
        self.elements_stated = (count != u16::MAX).then_some(u64::from(count));
        self.phase = Phase::Element;
        Ok(cursor.at)
    }

    pub(super) fn ziplist_element(&mut self, bytes: &[u8], sink: &mut impl Elements) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        let before = match cursor.byte()? {
            0xff => {
                if self.last.0 != self.last.1 {
                    return Err(Stop::Shape("the last entry where a ziplist says"));
                }
                self.finish_elements()?;
                return Ok(1);
            }
            // The long form may stand where the short one would do.
            0xfe => u64::from(u32::from_le_bytes(cursor.array()?)),
            short => u64::from(short),
        };
        if before != self.size {
            return Err(Stop::Shape("the size of the entry before in a ziplist"));
        }
        match item(&mut cursor)? {
            Item::Integer(value) => {
                sink.integer(value)?;
                self.elements += 1;
                self.size = cursor.at as u64;
            }
            Item::Text(length) if length <= SMALL => {
                sink.bytes(cursor.take(small(length))?)?;
                self.elements += 1;
                self.size = cursor.at as u64;
            }
            Item::Text(length) => {
                self.size = cursor.at as u64 + length;
                self.open_large(length, sink)?;
            }
        }
        self.last.0 = self.taken;
        Ok(cursor.at)
    }
}

fn item(cursor: &mut Cursor<'_>) -> Result<Item, Stop> {
    let first = cursor.byte()?;
    Ok(match first {
        0x00..=0x3f => Item::Text(u64::from(first)),
        0x40..=0x7f => Item::Text(u64::from(first & 0x3f) << 8 | u64::from(cursor.byte()?)),
        0x80..=0xbf => Item::Text(u64::from(u32::from_be_bytes(cursor.array()?))),
        0xc0 => Item::Integer(i64::from(i16::from_le_bytes(cursor.array()?))),
        0xd0 => Item::Integer(i64::from(i32::from_le_bytes(cursor.array()?))),
        0xe0 => Item::Integer(cursor.i64_le()?),
        0xf0 => Item::Integer(i64::from(int24(cursor.array()?))),
        0xf1..=0xfd => Item::Integer(i64::from(first & 0x0f) - 1),
        0xfe => Item::Integer(i64::from(i8::from_le_bytes(cursor.array()?))),
        _ => return Err(Stop::Shape("an encoding of a ziplist")),
    })
}
