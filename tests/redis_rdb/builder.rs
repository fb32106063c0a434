//! Writes RDBs byte by byte, of any version and with any encoding, also such that no server writes any more.

/// An RDB on its way.
#[derive(Clone)]
pub(crate) struct Rdb(pub(crate) Vec<u8>);

/// An element of a compact encoding.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Item<'a> {
    I(i64),
    T(&'a [u8]),
}
use Item::{I, T};

impl Rdb {
    /// `REDIS0009`.
    pub(crate) fn new(header: &str) -> Self {
        Self(header.as_bytes().to_vec())
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn len(self, length: u64) -> Self {
        self.raw(&len(length))
    }

    pub(crate) fn lens(self, lengths: &[u64]) -> Self {
        lengths.iter().fold(self, |rdb, length| rdb.len(*length))
    }

    /// Stored as it is.
    pub(crate) fn text(self, text: &[u8]) -> Self {
        self.len(text.len() as u64).raw(text)
    }

    pub(crate) fn texts(self, texts: &[&[u8]]) -> Self {
        texts.iter().fold(self, |rdb, text| rdb.text(text))
    }

    /// An integer that fits 8, 16 or 32 bits.
    pub(crate) fn int(self, value: i32) -> Self {
        if let Ok(value) = i8::try_from(value) {
            return self.raw(&[0xc0]).raw(&value.to_le_bytes());
        }
        if let Ok(value) = i16::try_from(value) {
            return self.raw(&[0xc1]).raw(&value.to_le_bytes());
        }
        self.raw(&[0xc2]).raw(&value.to_le_bytes())
    }

    /// Compressed: runs of one byte are copies, the rest literals.
    pub(crate) fn compressed(self, text: &[u8]) -> Self {
        let packed = lzf(text);
        self.raw(&[0xc3]).len(packed.len() as u64).len(text.len() as u64).raw(&packed)
    }

    /// The type of a value and its key.
    pub(crate) fn key(self, opcode: u8, key: &str) -> Self {
        self.raw(&[opcode]).text(key.as_bytes())
    }

    pub(crate) fn expires_ms(self, at: i64) -> Self {
        self.raw(&[252]).raw(&at.to_le_bytes())
    }

    /// The end, with a checksum where the version has one.
    pub(crate) fn end(self) -> Vec<u8> {
        let mut bytes = self.raw(&[255]).0;
        let digits = if bytes.starts_with(b"VALKEY") { &bytes[6..9] } else { &bytes[5..9] };
        if std::str::from_utf8(digits).unwrap().parse::<u32>().unwrap() >= 5 {
            let sum = crc64(&bytes);
            bytes.extend_from_slice(&sum.to_le_bytes());
        }
        bytes
    }

    /// The end of a server that was told to compute no checksum.
    pub(crate) fn end_unsummed(self) -> Vec<u8> {
        self.raw(&[255, 0, 0, 0, 0, 0, 0, 0, 0]).0
    }
}

/// Bit by bit, from the polynomial.
pub(crate) fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(
            sum ^ u64::from(*byte),
            |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0x95ac_9329_ac4b_c9b5 } else { sum >> 1 },
        )
    })
}

pub(crate) fn len(length: u64) -> Vec<u8> {
    if let Ok(short @ 0..64) = u8::try_from(length) {
        return vec![short];
    }
    if let Ok(medium @ 0..16_384) = u16::try_from(length) {
        return (medium | 0x4000).to_be_bytes().to_vec();
    }
    match u32::try_from(length) {
        Ok(long) => [&[0x80][..], &long.to_be_bytes()].concat(),
        Err(_) => [&[0x81][..], &length.to_be_bytes()].concat(),
    }
}

pub(crate) fn lzf(text: &[u8]) -> Vec<u8> {
    let mut packed = vec![];
    let mut at = 0;
    while at < text.len() {
        let run =
            if at == 0 { 0 } else { text[at..].iter().take(264).take_while(|byte| **byte == text[at - 1]).count() };
        if run >= 9 {
            packed.extend_from_slice(&[0xe0, u8::try_from(run - 9).unwrap(), 0]);
            at += run;
        } else if run >= 3 {
            packed.extend_from_slice(&[u8::try_from(run - 2).unwrap() << 5, 0]);
            at += run;
        } else {
            packed.extend_from_slice(&[0, text[at]]);
            at += 1;
        }
    }
    packed
}

pub(crate) fn listpack(items: &[Item<'_>]) -> Vec<u8> {
    let mut body = vec![];
    for item in items {
        let entry = match item {
            I(value @ 0..=127) => vec![u8::try_from(*value).unwrap()],
            I(value @ -4096..=4095) => (u16::try_from(value & 0x1fff).unwrap() | 0xc000).to_be_bytes().to_vec(),
            I(value) => match (i16::try_from(*value), i32::try_from(*value)) {
                (Ok(value), _) => [&[0xf1][..], &value.to_le_bytes()].concat(),
                (_, Ok(value @ -8_388_608..=8_388_607)) => [&[0xf2][..], &value.to_le_bytes()[..3]].concat(),
                (_, Ok(value)) => [&[0xf3][..], &value.to_le_bytes()].concat(),
                _ => [&[0xf4][..], &value.to_le_bytes()].concat(),
            },
            T(text) => match text.len() {
                short @ 0..64 => [&[u8::try_from(short).unwrap() | 0x80][..], text].concat(),
                medium @ 64..4096 => [&(u16::try_from(medium).unwrap() | 0xe000).to_be_bytes()[..], text].concat(),
                long => [&[0xf0][..], &u32::try_from(long).unwrap().to_le_bytes(), text].concat(),
            },
        };
        body.extend_from_slice(&entry);
        let size = entry.len();
        let count = [127, 16_382, 2_097_150, 268_435_454].iter().take_while(|max| size > **max).count() + 1;
        for place in (0..count).rev() {
            let bits = u8::try_from(size >> (7 * place) & 127).unwrap();
            body.push(if place == count - 1 { bits } else { bits | 128 });
        }
    }
    let count = u16::try_from(items.len()).unwrap_or(u16::MAX);
    let size = u32::try_from(body.len() + 7).unwrap();
    [&size.to_le_bytes()[..], &count.to_le_bytes(), &body, &[0xff]].concat()
}

pub(crate) fn ziplist(items: &[Item<'_>]) -> Vec<u8> {
    let mut body: Vec<u8> = vec![];
    let (mut before, mut last) = (0, 10);
    for item in items {
        let previous = match u8::try_from(before) {
            Ok(short @ 0..254) => vec![short],
            _ => [&[0xfe][..], &u32::try_from(before).unwrap().to_le_bytes()].concat(),
        };
        let entry = match item {
            I(value @ 0..=12) => vec![0xf1 + u8::try_from(*value).unwrap()],
            I(value) => match (i8::try_from(*value), i16::try_from(*value), i32::try_from(*value)) {
                (Ok(value), ..) => [&[0xfe][..], &value.to_le_bytes()].concat(),
                (_, Ok(value), _) => [&[0xc0][..], &value.to_le_bytes()].concat(),
                (.., Ok(value @ -8_388_608..=8_388_607)) => [&[0xf0][..], &value.to_le_bytes()[..3]].concat(),
                (.., Ok(value)) => [&[0xd0][..], &value.to_le_bytes()].concat(),
                _ => [&[0xe0][..], &value.to_le_bytes()].concat(),
            },
            T(text) => match text.len() {
                short @ 0..64 => [&[u8::try_from(short).unwrap()][..], text].concat(),
                medium @ 64..16_384 => [&(u16::try_from(medium).unwrap() | 0x4000).to_be_bytes()[..], text].concat(),
                long => [&[0x80][..], &u32::try_from(long).unwrap().to_be_bytes(), text].concat(),
            },
        };
        last = 10 + body.len();
        before = previous.len() + entry.len();
        body.extend_from_slice(&previous);
        body.extend_from_slice(&entry);
    }
    let number = |value: usize| u32::try_from(value).unwrap().to_le_bytes();
    let count = u16::try_from(items.len()).unwrap_or(u16::MAX).to_le_bytes();
    [&number(body.len() + 11)[..], &number(last), &count, &body, &[0xff]].concat()
}

pub(crate) fn intset(values: &[i64]) -> Vec<u8> {
    let fits = |max: i64| values.iter().all(|value| -max - 1 <= *value && *value <= max);
    let width = if fits(i64::from(i16::MAX)) {
        2
    } else if fits(i64::from(i32::MAX)) {
        4
    } else {
        8
    };
    let count = u32::try_from(values.len()).unwrap();
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let body: Vec<u8> = sorted.iter().flat_map(|value| value.to_le_bytes()[..width].to_vec()).collect();
    [&u32::try_from(width).unwrap().to_le_bytes()[..], &count.to_le_bytes(), &body].concat()
}

pub(crate) fn zipmap(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let length = |text: &[u8]| match u8::try_from(text.len()) {
        Ok(short @ 0..254) => vec![short],
        _ => [&[254][..], &u32::try_from(text.len()).unwrap().to_le_bytes()].concat(),
    };
    let mut bytes = vec![u8::try_from(pairs.len()).unwrap_or(254).min(254)];
    for (field, value) in pairs {
        bytes.extend_from_slice(&length(field));
        bytes.extend_from_slice(field);
        bytes.extend_from_slice(&length(value));
        bytes.push(2);
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"??");
    }
    bytes.push(255);
    bytes
}

/// Milliseconds and sequence as a stream's nodes and pending entries have them.
pub(crate) fn id(milliseconds: u64, sequence: u64) -> Vec<u8> {
    [milliseconds.to_be_bytes(), sequence.to_be_bytes()].concat()
}
