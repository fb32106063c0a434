//! The names of keys, dealt to temporary files by their hash, sorted and freed of doubles.
//!
//! Memory: the names of one file, bounded by [`FILE_BYTES_MAX`], and a small buffer for each.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};

pub(super) const FILES: usize = 64;
/// Of one file of names, which is sorted in memory.
const FILE_BYTES_MAX: u64 = 128 << 20;

/// The names of one database's keys, in files by their hash.
pub(super) struct Names {
    files: Vec<(std::path::PathBuf, BufWriter<File>, u64)>,
}

impl Names {
    pub(super) fn create(folder: &std::path::Path, database: u64) -> std::io::Result<Self> {
        let file = |number: usize| {
            let path = folder.join(format!("names-{database}-{number}"));
            let file = BufWriter::with_capacity(16 << 10, File::create_new(&path)?);
            Ok::<_, std::io::Error>((path, file, 0))
        };
        Ok(Self { files: (0..FILES).map(file).collect::<Result<_, _>>()? })
    }

    pub(super) fn add(&mut self, name: &[u8]) -> std::io::Result<()> {
        let number = usize::from(blake3::hash(name).as_bytes()[0]) % FILES;
        let (_, file, bytes) = &mut self.files[number];
        let length = u32::try_from(name.len()).map_err(std::io::Error::other)?;
        *bytes += 4 + u64::from(length);
        if *bytes > FILE_BYTES_MAX {
            let most = (FILES as u64 * FILE_BYTES_MAX) >> 30;
            return Err(std::io::Error::other(format!("the names of all keys have more than {most} GiB")));
        }
        file.write_all(&length.to_le_bytes())?;
        file.write_all(name)
    }

    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.files.iter_mut().try_for_each(|(_, file, _)| file.flush())
    }

    /// The names of one file, each once.
    pub(super) fn sorted(&self, number: usize) -> std::io::Result<Vec<Vec<u8>>> {
        let (path, _, _) = &self.files[number];
        let mut file = BufReader::new(File::open(path)?);
        let mut names = vec![];
        loop {
            let mut length = [0; 4];
            match file.read_exact(&mut length) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
            let mut name = vec![0; u32::from_le_bytes(length) as usize];
            file.read_exact(&mut name)?;
            names.push(name);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_came_twice_is_read_once_and_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let mut names = Names::create(folder.path(), 0).unwrap();
        let odd: Vec<Vec<u8>> = (0..2_000_u32).map(|number| [&number.to_le_bytes()[..], b"\n\0"].concat()).collect();
        for name in odd.iter().chain(&odd[500..700]).chain([&vec![]]) {
            names.add(name).unwrap();
        }
        names.flush().unwrap();
        let mut all: Vec<_> = (0..FILES).flat_map(|number| names.sorted(number).unwrap()).collect();
        all.sort();
        let mut expected = odd;
        expected.push(vec![]);
        expected.sort();
        assert!(all == expected);
    }
}
