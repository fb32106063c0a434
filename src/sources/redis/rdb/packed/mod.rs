//! The compact encodings, which hold all elements of a small value in one string: read as that string streams by.
//!
//! Memory: an element of at most [`SMALL`] bytes is held whole until it is complete; a larger one is handed on in pieces. So a
//! blob may be of any size.

mod integers;
mod listpack;
mod ziplist;
mod zipmap;

use super::cursor::Cursor;
use super::error::Stop;

/// A string of at most so many bytes is taken whole, here and in the RDB itself.
pub(super) const SMALL: u64 = 16 << 10;

/// Takes the elements of a value one after the other: whole, or in pieces after its length.
pub(super) trait Elements {
    fn bytes(&mut self, whole: &[u8]) -> Result<(), Stop>;
    fn integer(&mut self, value: i64) -> Result<(), Stop>;
    fn begin(&mut self, length: u64) -> Result<(), Stop>;
    fn piece(&mut self, piece: &[u8]);
    fn end(&mut self) -> Result<(), Stop>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Listpack,
    Ziplist,
    Intset,
    Zipmap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Header,
    Element,
    /// Inside a large element.
    Body,
    /// What a layout has behind a large element.
    Tail,
    Done,
}

/// Reads one blob after the other.
#[derive(Debug)]
pub(super) struct Packed {
    packing: Packing,
    phase: Phase,
    /// The blob's length in bytes as the RDB states it, and how many of them were read.
    stated: u64,
    taken: u64,
    elements: u64,
    /// How many the header says; `None` where it leaves that open.
    elements_stated: Option<u64>,
    body_left: u64,
    /// Ziplist: the last entry's size; listpack: the open element's size without its tail; intset: the width of an integer;
    /// zipmap: the unused bytes behind the open element.
    size: u64,
    /// Ziplist: where the last entry begins, by what was read and by what the header says.
    last: (u64, u64),
    /// The begin of an item that is not complete, and how many bytes it needs at least.
    held: Vec<u8>,
    need: usize,
}

impl Packed {
    pub(super) fn new() -> Self {
        Self {
            packing: Packing::Listpack,
            phase: Phase::Done,
            stated: 0,
            taken: 0,
            elements: 0,
            elements_stated: None,
            body_left: 0,
            size: 0,
            last: (0, 0),
            held: Vec::new(),
            need: 0,
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held.capacity()
    }

    pub(super) fn begin(&mut self, packing: Packing, stated: u64) {
        self.packing = packing;
        self.phase = Phase::Header;
        self.stated = stated;
        (self.taken, self.elements, self.elements_stated, self.size, self.last) = (0, 0, None, 0, (0, 0));
        self.held.clear();
    }

    pub(super) fn piece(&mut self, mut bytes: &[u8], sink: &mut impl Elements) -> Result<(), Stop> {
        while !self.held.is_empty() {
            let count = self.need.saturating_sub(self.held.len()).min(bytes.len());
            self.held.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if self.held.len() < self.need {
                return Ok(());
            }
            let mut held = std::mem::take(&mut self.held);
            let used = self.run(&held, sink)?;
            held.drain(..used);
            self.held = held;
        }
        let used = self.run(bytes, sink)?;
        self.held.extend_from_slice(&bytes[used..]);
        Ok(())
    }

    /// Every byte of the blob must belong to it, and nothing may be missing.
    pub(super) fn end(&self) -> Result<(), Stop> {
        if self.phase == Phase::Done && self.held.is_empty() {
            return Ok(());
        }
        Err(Stop::Shape("a compact encoding that ends with its string"))
    }

    fn run(&mut self, bytes: &[u8], sink: &mut impl Elements) -> Result<usize, Stop> {
        let mut at = 0;
        while at < bytes.len() {
            match self.step(&bytes[at..], sink) {
                Ok(count) => {
                    at += count;
                    self.taken += count as u64;
                }
                Err(Stop::Need(need)) => {
                    self.need = need;
                    break;
                }
                Err(stop) => return Err(stop),
            }
        }
        Ok(at)
    }

    fn step(&mut self, bytes: &[u8], sink: &mut impl Elements) -> Result<usize, Stop> {
        match (self.phase, self.packing) {
            (Phase::Element, Packing::Listpack) => self.listpack_element(bytes, sink),
            (Phase::Element, Packing::Ziplist) => self.ziplist_element(bytes, sink),
            (Phase::Element, Packing::Intset) => self.intset_element(bytes, sink),
            (Phase::Element, Packing::Zipmap) => self.zipmap_element(bytes, sink),
            (Phase::Header, Packing::Listpack) => self.listpack_header(bytes),
            (Phase::Header, Packing::Ziplist) => self.ziplist_header(bytes),
            (Phase::Header, Packing::Intset) => self.intset_header(bytes),
            (Phase::Header, Packing::Zipmap) => self.zipmap_header(bytes),
            (Phase::Body, packing) => {
                let count = bytes.len().min(usize::try_from(self.body_left).unwrap_or(usize::MAX));
                sink.piece(&bytes[..count]);
                self.body_left -= count as u64;
                if self.body_left == 0 {
                    self.phase = Phase::Tail;
                    if packing == Packing::Ziplist || (packing == Packing::Zipmap && self.size == 0) {
                        self.close_large(sink)?;
                    }
                }
                Ok(count)
            }
            (Phase::Tail, Packing::Listpack) => {
                let mut cursor = Cursor::new(bytes);
                listpack::check_back(&mut cursor, self.size)?;
                self.close_large(sink)?;
                Ok(cursor.at)
            }
            (Phase::Tail, _) => {
                let mut cursor = Cursor::new(bytes);
                cursor.take(usize::try_from(self.size).expect("one byte says it"))?;
                self.close_large(sink)?;
                Ok(cursor.at)
            }
            (Phase::Done, _) => Err(Stop::Shape("the end of a compact encoding")),
        }
    }

    /// Begins to hand on an element that is too large to be held whole.
    fn open_large(&mut self, length: u64, sink: &mut impl Elements) -> Result<(), Stop> {
        sink.begin(length)?;
        self.body_left = length;
        self.phase = Phase::Body;
        Ok(())
    }

    fn close_large(&mut self, sink: &mut impl Elements) -> Result<(), Stop> {
        sink.end()?;
        self.elements += 1;
        self.phase = Phase::Element;
        Ok(())
    }

    fn finish_elements(&mut self) -> Result<(), Stop> {
        if self.elements_stated.is_some_and(|stated| stated != self.elements) {
            return Err(Stop::Shape("as many elements as a compact encoding states"));
        }
        self.phase = Phase::Done;
        Ok(())
    }

    fn check_size(&self, says: u64) -> Result<(), Stop> {
        if says == self.stated { Ok(()) } else { Err(Stop::Shape("a compact encoding as long as its string")) }
    }
}

/// A length that was compared with [`SMALL`] before.
fn small(length: u64) -> usize {
    usize::try_from(length).expect("a small length")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what it gets, in words.
    #[derive(Default)]
    struct Noting {
        seen: Vec<String>,
        open: Vec<u8>,
    }

    impl Elements for Noting {
        fn bytes(&mut self, whole: &[u8]) -> Result<(), Stop> {
            self.seen.push(String::from_utf8_lossy(whole).into_owned());
            Ok(())
        }
        fn integer(&mut self, value: i64) -> Result<(), Stop> {
            self.seen.push(format!("int {value}"));
            Ok(())
        }
        fn begin(&mut self, _length: u64) -> Result<(), Stop> {
            self.open.clear();
            Ok(())
        }
        fn piece(&mut self, piece: &[u8]) {
            self.open.extend_from_slice(piece);
        }
        fn end(&mut self) -> Result<(), Stop> {
            self.seen.push(format!("large {}", self.open.len()));
            Ok(())
        }
    }

    fn read(packing: Packing, blob: &[u8], step: usize) -> Result<Vec<String>, Stop> {
        let (mut packed, mut noting) = (Packed::new(), Noting::default());
        packed.begin(packing, blob.len() as u64);
        for piece in blob.chunks(step) {
            packed.piece(piece, &mut noting)?;
            assert!(packed.held.len() as u64 <= SMALL + 16, "{} bytes are held", packed.held.len());
        }
        packed.end()?;
        Ok(noting.seen)
    }

    fn check(packing: Packing, blob: &[u8], expected: &[&str]) {
        for step in [1, 2, 3, 7, 1000, blob.len()] {
            assert_eq!(read(packing, blob, step).unwrap(), expected, "in pieces of {step}");
        }
        for cut in 0..blob.len() {
            assert!(read(packing, &blob[..cut], blob.len()).is_err(), "cut at {cut}");
        }
        assert!(read(packing, &[blob, &[0xff]].concat(), blob.len() + 1).is_err());
    }

    fn with_size(mut blob: Vec<u8>) -> Vec<u8> {
        let size = u32::try_from(blob.len()).unwrap();
        blob[..4].copy_from_slice(&size.to_le_bytes());
        blob
    }

    #[test]
    fn a_listpack_of_every_encoding_is_read_in_pieces_of_any_size() {
        let mut blob = vec![0, 0, 0, 0, 12, 0];
        for entry in [
            &[0x7f, 1][..],
            &[0x82, b'h', b'i', 3],
            &[0xdf, 0xff, 2],
            &[0xf1, 0x00, 0x80, 3],
            &[0xf2, 0xff, 0xff, 0x7f, 4],
            &[0xf3, 0, 0, 0, 0x80, 5],
            &[0xf4, 0, 0, 0, 0, 0, 0, 0, 0x80, 9],
            &[0xc0, 5, 2],
            &[0x80, 1],
        ] {
            blob.extend_from_slice(entry);
        }
        blob.extend_from_slice(&[0xe0, 200]);
        blob.extend_from_slice(&[b'x'; 200]);
        blob.extend_from_slice(&[1, 0xca]);
        blob.extend_from_slice(&[0xf0, 3, 0, 0, 0, b'a', b'b', b'c', 8]);
        let large = 20_000_u32;
        blob.push(0xf0);
        blob.extend_from_slice(&large.to_le_bytes());
        blob.extend_from_slice(&vec![b'y'; 20_000]);
        // 20005 in seven bits a byte.
        blob.extend_from_slice(&[1, 0x9c, 0xa5, 0xff]);
        let x = "x".repeat(200);
        let expected = [
            "int 127",
            "hi",
            "int -1",
            "int -32768",
            "int 8388607",
            "int -2147483648",
            "int -9223372036854775808",
            "int 5",
            "",
            &x,
            "abc",
            "large 20000",
        ];
        for step in [1, 2, 3, 7, 1000, blob.len()] {
            assert_eq!(
                read(Packing::Listpack, &with_size(blob.clone()), step).unwrap(),
                expected,
                "in pieces of {step}"
            );
        }
    }

    #[test]
    fn small_blobs_of_each_layout_are_read_and_refused_wherever_they_are_cut() {
        let listpack = with_size([&[0, 0, 0, 0, 2, 0][..], &[0x81, b'a', 2], &[0x01, 1], &[0xff]].concat());
        check(Packing::Listpack, &listpack, &["a", "int 1"]);
        check(Packing::Listpack, &with_size(vec![0, 0, 0, 0, 0, 0, 0xff]), &[]);
        let open = with_size([&[0, 0, 0, 0, 0xff, 0xff][..], &[0x81, b'a', 2], &[0xff]].concat());
        check(Packing::Listpack, &open, &["a"]);
        let ziplist = with_size(
            [
                &[0, 0, 0, 0, 31, 0, 0, 0, 8, 0][..],
                &[0, 0x02, b'h', b'i'],
                &[4, 0xc0, 0xff, 0xff],
                &[4, 0xfe, 0x80],
                &[3, 0xf1],
                &[2, 0xfd],
                &[2, 0xf0, 0, 0, 0x80],
                &[0xfe, 5, 0, 0, 0, 0x40, 1, b'z'],
            ]
            .concat(),
        );
        let ziplist = with_size([&ziplist[..], &[8, 0xd0, 1, 0, 0, 0, 0xff]].concat());
        let mut ziplist = ziplist;
        ziplist[4] = 38;
        check(
            Packing::Ziplist,
            &ziplist,
            &["hi", "int -1", "int -128", "int 0", "int 12", "int -8388608", "z", "int 1"],
        );
        let intset = [&[2, 0, 0, 0, 2, 0, 0, 0][..], &[0xfe, 0xff], &[5, 0]].concat();
        check(Packing::Intset, &intset, &["int -2", "int 5"]);
        let intset = [&[8, 0, 0, 0, 1, 0, 0, 0][..], &i64::MIN.to_le_bytes()].concat();
        check(Packing::Intset, &intset, &["int -9223372036854775808"]);
        let zipmap = [&[2_u8][..], &[1, b'a', 2, 1, b'x', b'y', 0], &[254, 1, 0, 0, 0, b'b', 0, 0], &[0xff]].concat();
        check(Packing::Zipmap, &zipmap, &["a", "xy", "b", ""]);
    }

    #[test]
    fn a_large_element_of_a_ziplist_and_a_zipmap_streams() {
        let large = vec![b'q'; 20_000];
        let mut ziplist = vec![0, 0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0x80, 0, 0, 0x4e, 0x20];
        ziplist.extend_from_slice(&large);
        let tail = u32::try_from(ziplist.len()).unwrap();
        ziplist[4..8].copy_from_slice(&tail.to_le_bytes());
        ziplist.extend_from_slice(&[0xfe, 0x26, 0x4e, 0, 0, 0xf2, 0xff]);
        let mut zipmap = vec![1, 254, 0x20, 0x4e, 0, 0];
        zipmap.extend_from_slice(&large);
        zipmap.extend_from_slice(&[254, 0x20, 0x4e, 0, 0, 3]);
        zipmap.extend_from_slice(&large);
        zipmap.extend_from_slice(&[0, 0, 0, 0xff]);
        for step in [1, 5000, 100_000] {
            assert_eq!(read(Packing::Ziplist, &with_size(ziplist.clone()), step).unwrap(), ["large 20000", "int 1"]);
            assert_eq!(read(Packing::Zipmap, &zipmap, step).unwrap(), ["large 20000", "large 20000"]);
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let refuse =
            |packing, blob: &[u8]| assert!(matches!(read(packing, blob, blob.len()), Err(Stop::Shape(_))), "{blob:?}");
        refuse(Packing::Listpack, &[9, 0, 0, 0, 0, 0, 0xff]);
        refuse(Packing::Listpack, &[7, 0, 0, 0, 1, 0, 0xff]);
        refuse(Packing::Listpack, &[9, 0, 0, 0, 1, 0, 1, 2, 0xff]);
        refuse(Packing::Listpack, &[9, 0, 0, 0, 1, 0, 0xf5, 1, 0xff]);
        refuse(Packing::Ziplist, &[13, 0, 0, 0, 10, 0, 0, 0, 1, 0, 3, 0xf1, 0xff]);
        refuse(Packing::Ziplist, &[13, 0, 0, 0, 11, 0, 0, 0, 1, 0, 0, 0xf1, 0xff]);
        refuse(Packing::Intset, &[3, 0, 0, 0, 0, 0, 0, 0]);
        refuse(Packing::Intset, &[2, 0, 0, 0, 255, 255, 255, 255]);
        refuse(Packing::Zipmap, &[2, 0, 0, 0, 0xff]);
        refuse(Packing::Zipmap, &[1, 255]);
    }
}
