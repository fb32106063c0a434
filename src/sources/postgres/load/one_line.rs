//! An archive whose database has a line end in its name.
//!
//! `pg_restore --create` writes a `\connect` before what stands on the database itself, and gives up where the name would
//! break that line. Names stand in an archive as strings of their own: a zero byte, the length as four bytes (least first), the
//! text. In a copy made for this reading alone they have spaces for line ends; the statements are other strings and keep them.
//!
//! Memory: one block of [`BLOCK_BYTES`].

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

const BLOCK_BYTES: usize = 1 << 20;

/// The name as the copy has it.
pub(super) fn flat(name: &str) -> String {
    name.replace(['\n', '\r'], " ")
}

/// Copies the archive; false where it does not hold the name, as when it is of another encoding.
pub(super) fn copy(archive: &Path, to: &Path, name: &str) -> io::Result<bool> {
    std::fs::copy(archive, to)?;
    let mut file = File::options().read(true).write(true).open(to)?;
    let (wanted, replacement) = (string(name), string(&flat(name)));
    let (mut window, mut start, mut found) = (vec![], 0, false);
    while file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut window)? > 0 {
        for at in (0..window.len()).filter(|at| window[*at..].starts_with(&wanted)) {
            file.write_all_at(&replacement, start + at as u64)?;
            found = true;
        }
        // One may begin in this block and end in the next.
        let passed = window.len().saturating_sub(wanted.len() - 1);
        window.drain(..passed);
        start += passed as u64;
    }
    Ok(found)
}

/// As an archive holds it.
fn string(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a database's name is short");
    [&[0][..], &length.to_le_bytes(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_that_is_the_name_is_made_one_line_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, copied) = (folder.path().join("a"), folder.path().join("b"));
        let name = "new\nline\r";
        let statement = string("ALTER DATABASE \"new\nline\r\" SET a TO 1");
        let longer = string("new\nline\r2");
        // Across the border of two blocks, and at the very end.
        let filler = vec![7; BLOCK_BYTES - 6];
        let made = |name: &str| [&filler[..], &string(name), &statement, &longer, &string(name)].concat();
        std::fs::write(&archive, made(name)).unwrap();
        assert!(copy(&archive, &copied, name).unwrap());
        assert!(std::fs::read(&copied).unwrap() == made("new line "));
        assert!(std::fs::read(&archive).unwrap() == made(name), "the archive itself was changed");
        assert!(!copy(&archive, &copied, "other\n").unwrap());
    }
}
