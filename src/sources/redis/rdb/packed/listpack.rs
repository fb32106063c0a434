//! Listpack, since Redis 5 in streams and since 7 elsewhere: the size in bytes (4, little endian), the number of elements (2, 65535
//! means not known), the elements, a byte 255. An element is an encoding byte, what that asks for, and its size backwards.

use super::{Elements, Packed, Phase, SMALL, small};
use crate::sources::redis::rdb::cursor::Cursor;
use crate::sources::redis::rdb::error::Stop;

const NOT_ITS_SIZE: &str = "an element's own size behind it in a listpack";

enum Item {
    End,
    Integer(i64),
    Text(u64),
}

impl Packed {
    pub(super) fn listpack_header(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        let size = u32::from_le_bytes(cursor.array()?);
        let count = u16::from_le_bytes(cursor.array()?);
        self.check_size(u64::from(size))?;
        self.elements_stated = (count != u16::MAX).then_some(u64::from(count));
        self.phase = Phase::Element;
        Ok(cursor.at)
    }

    pub(super) fn listpack_element(&mut self, bytes: &[u8], sink: &mut impl Elements) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        match item(&mut cursor)? {
            Item::End => self.finish_elements()?,
            Item::Integer(value) => {
                let size = cursor.at as u64;
                check_back(&mut cursor, size)?;
                sink.integer(value)?;
                self.elements += 1;
            }
            Item::Text(length) if length <= SMALL => {
                let text = cursor.take(small(length))?;
                let size = cursor.at as u64;
                check_back(&mut cursor, size)?;
                sink.bytes(text)?;
                self.elements += 1;
            }
            Item::Text(length) => {
                self.size = cursor.at as u64 + length;
                self.open_large(length, sink)?;
            }
        }
        Ok(cursor.at)
    }
}

#[inline]
fn item(cursor: &mut Cursor<'_>) -> Result<Item, Stop> {
    let first = cursor.byte()?;
    Ok(match first {
        0..=0x7f => Item::Integer(i64::from(first)),
        0x80..=0xbf => Item::Text(u64::from(first & 0x3f)),
        0xc0..=0xdf => {
            let value = i64::from(first & 0x1f) << 8 | i64::from(cursor.byte()?);
            Item::Integer(if value >= 1 << 12 { value - (1 << 13) } else { value })
        }
        0xe0..=0xef => Item::Text(u64::from(first & 0x0f) << 8 | u64::from(cursor.byte()?)),
        0xf0 => Item::Text(u64::from(u32::from_le_bytes(cursor.array()?))),
        0xf1 => Item::Integer(i64::from(i16::from_le_bytes(cursor.array()?))),
        0xf2 => Item::Integer(i64::from(int24(cursor.array()?))),
        0xf3 => Item::Integer(i64::from(i32::from_le_bytes(cursor.array()?))),
        0xf4 => Item::Integer(cursor.i64_le()?),
        0xff => Item::End,
        _ => return Err(Stop::Shape("an encoding of a listpack")),
    })
}

/// Three bytes, little endian, signed.
pub(super) fn int24(bytes: [u8; 3]) -> i32 {
    i32::from_le_bytes([0, bytes[0], bytes[1], bytes[2]]) >> 8
}

/// Reads the size of an element as it stands behind it, seven bits a byte, the highest first; it must be `size`.
pub(super) fn check_back(cursor: &mut Cursor<'_>, size: u64) -> Result<(), Stop> {
    // Nearly all are so short.
    if size <= 127 {
        return if u64::from(cursor.byte()? & 0x7f) == size { Ok(()) } else { Err(Stop::Shape(NOT_ITS_SIZE)) };
    }
    // The limits are the format's own: 16383 takes three bytes.
    let count = match size {
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    };
    let mut says = 0;
    for byte in cursor.take(count)? {
        says = says << 7 | u64::from(byte & 0x7f);
    }
    if says == size { Ok(()) } else { Err(Stop::Shape(NOT_ITS_SIZE)) }
}
