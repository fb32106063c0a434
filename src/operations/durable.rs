//! Small files of the state folder that must survive a power cut.

use std::io::Write;
use std::path::Path;

use super::{Class, OperationError};

/// Replaces a small file whole or not at all, also across a power cut.
pub fn write_durably(file: &Path, bytes: &[u8]) -> Result<(), OperationError> {
    let folder = file.parent().expect("a file of the state folder");
    let replace = || {
        let mut part = tempfile::NamedTempFile::new_in(folder)?;
        part.write_all(bytes)?;
        part.as_file().sync_all()?;
        part.persist(file).map_err(|why| why.error)?;
        std::fs::File::open(folder)?.sync_all()
    };
    replace().map_err(|why| failed(file, why))
}

/// A file of the state folder that cannot be read or written.
pub fn failed(file: &Path, why: std::io::Error) -> OperationError {
    OperationError::new(Class::Bug, format!("`{}` cannot be used", file.display())).cause(why)
}
