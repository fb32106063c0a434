//! Blobs: content without a name of its own, found again by its address. A source that holds millions of things (files, objects)
//! lists them in one part and puts where their content lies into that list, so that the recipe stays short and a run writes
//! down only what changed.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A pack as the writer's chunk cache numbers it. Numbers are never given twice within one cache.
pub type PackNumber = u32;

/// Where a blob's bytes are, in order. As text `3:0:4096,7:1024:96,hole:65536`, and `-` where there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlobAddress(Vec<BlobPiece>);

/// A run of a blob's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobPiece {
    /// A range of a pack's decoded content.
    Stored { pack: PackNumber, offset: u64, length: u64 },
    /// Zeros that are stored nowhere.
    Hole { length: u64 },
}

impl BlobPiece {
    pub fn length(&self) -> u64 {
        match self {
            Self::Stored { length, .. } | Self::Hole { length } => *length,
        }
    }
}

impl BlobAddress {
    /// Adds a piece behind the others, joined with the last where it continues it.
    pub fn push(&mut self, piece: BlobPiece) {
        match (self.0.last_mut(), piece) {
            (
                Some(BlobPiece::Stored { pack, offset, length }),
                BlobPiece::Stored { pack: next, offset: from, length: more },
            ) if *pack == next && *offset + *length == from => *length += more,
            (Some(BlobPiece::Hole { length }), BlobPiece::Hole { length: more }) => *length += more,
            _ => self.0.push(piece),
        }
    }

    pub fn pieces(&self) -> &[BlobPiece] {
        &self.0
    }

    /// How many bytes the blob has; `None` for an address that adds up to more than there can be.
    pub fn bytes(&self) -> Option<u64> {
        self.0.iter().try_fold(0_u64, |sum, piece| sum.checked_add(piece.length()))
    }

    pub fn packs(&self) -> impl Iterator<Item = PackNumber> {
        self.0.iter().filter_map(|piece| match piece {
            BlobPiece::Stored { pack, .. } => Some(*pack),
            BlobPiece::Hole { .. } => None,
        })
    }

    pub fn add_packs_to(&self, packs: &mut BTreeSet<PackNumber>) {
        for pack in self.packs() {
            packs.insert(pack);
        }
    }
}

impl fmt::Display for BlobAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        for (at, piece) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match piece {
                BlobPiece::Stored { pack, offset, length } => write!(f, "{pack}:{offset}:{length}")?,
                BlobPiece::Hole { length } => write!(f, "hole:{length}")?,
            }
        }
        Ok(())
    }
}

/// The text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the address of a blob")]
pub struct NoAddress;

impl FromStr for BlobAddress {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let mut address = Self::default();
        if text == "-" {
            return Ok(address);
        }
        for piece in text.split(',') {
            let number = |text: &str| text.parse::<u64>().map_err(|_| NoAddress);
            let mut fields = piece.split(':');
            let piece = match (fields.next(), fields.next(), fields.next(), fields.next()) {
                (Some("hole"), Some(length), None, None) => BlobPiece::Hole { length: number(length)? },
                (Some(pack), Some(offset), Some(length), None) => BlobPiece::Stored {
                    pack: pack.parse().map_err(|_| NoAddress)?,
                    offset: number(offset)?,
                    length: number(length)?,
                },
                _ => return Err(NoAddress),
            };
            if let BlobPiece::Stored { offset, length, .. } = piece
                && offset.checked_add(length).is_none()
            {
                return Err(NoAddress);
            }
            address.0.push(piece);
        }
        address.bytes().map(|_| address).ok_or(NoAddress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_from_its_text_and_pieces_that_continue_are_one() {
        let mut address = BlobAddress::default();
        assert_eq!(address.to_string(), "-");
        for piece in [
            BlobPiece::Stored { pack: 3, offset: 0, length: 10 },
            BlobPiece::Stored { pack: 3, offset: 10, length: 5 },
            BlobPiece::Hole { length: 7 },
            BlobPiece::Hole { length: 1 },
            BlobPiece::Stored { pack: 3, offset: 20, length: 5 },
        ] {
            address.push(piece);
        }
        assert_eq!(address.to_string(), "3:0:15,hole:8,3:20:5");
        assert_eq!(address.to_string().parse(), Ok(address.clone()));
        assert_eq!(address.bytes(), Some(28));
        assert_eq!("-".parse(), Ok(BlobAddress::default()));
    }

    #[test]
    fn what_is_no_address_or_adds_up_to_too_much_is_refused() {
        let most = u64::MAX;
        for text in [
            "",
            "1",
            "1:2",
            "1:2:3:4",
            "hole",
            "hole:1:2",
            "x:1:2",
            "1:2:3,",
            &format!("1:{most}:1"),
            &format!("hole:{most},hole:1"),
        ] {
            assert_eq!(text.parse::<BlobAddress>(), Err(NoAddress), "{text}");
        }
    }
}
