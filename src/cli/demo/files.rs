//! The demo's fourth source: a tree of files as a server's `/etc` is one.

use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use super::{Demo, make_folder};
use crate::operations::{Class, OperationError};

/// Beside the configuration.
pub(super) const FOLDER: &str = "etc";
const SITES: u32 = 300;
/// Of the sparse file: it holds a few bytes far apart.
const SPARSE_BYTES: u64 = 64 << 20;

impl Demo<'_> {
    pub(super) fn files(&self) -> Result<(), OperationError> {
        let top = self.folder.join(FOLDER);
        make_folder(&top.join("sites"), 0o755)?;
        make_folder(&top.join("secrets"), 0o700)?;
        fill(&top).map_err(failed)?;
        self.say(&format!(
            "  a folder `{FOLDER}`: {SITES} sites, links and hard links, a secret of its own mode, a sparse file of 64 MiB"
        ));
        Ok(())
    }

    /// One file is another, one is gone, one is new, and one has another mode.
    pub(super) fn change_files(&self) -> Result<(), OperationError> {
        let top = self.folder.join(FOLDER);
        let change = || {
            std::fs::write(top.join("hostname"), "two.example.org\n")?;
            std::fs::remove_file(top.join("sites/site-007.conf"))?;
            std::fs::write(top.join("sites/new.conf"), site(SITES))?;
            std::fs::set_permissions(top.join("secrets/key"), std::os::unix::fs::PermissionsExt::from_mode(0o400))
        };
        change().map_err(failed)
    }
}

fn fill(top: &Path) -> std::io::Result<()> {
    std::fs::write(top.join("hostname"), "one.example.org\n")?;
    for number in 0..SITES {
        std::fs::write(top.join(format!("sites/site-{number:03}.conf")), site(number))?;
    }
    symlink("sites/site-000.conf", top.join("default"))?;
    symlink("nowhere", top.join("dangling"))?;
    std::fs::hard_link(top.join("sites/site-001.conf"), top.join("www"))?;
    let mut key = [0; 400];
    blake3::Hasher::new().update(b"key").finalize_xof().fill(&mut key);
    std::fs::write(top.join("secrets/key"), hex::encode(key))?;
    std::fs::set_permissions(top.join("secrets/key"), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let sparse = std::fs::File::create(top.join("lastlog"))?;
    sparse.set_len(SPARSE_BYTES)?;
    sparse.write_all_at(b"root", 4096)?;
    sparse.write_all_at(b"www-data", SPARSE_BYTES / 2)
}

/// Alike, but for what tells one from another.
fn site(number: u32) -> String {
    let id = hex::encode(blake3::hash(&number.to_le_bytes()).as_bytes());
    format!(
        "server {{\n    listen 443 ssl;\n    server_name site-{number}.example.org;\n    # {id}\n    root /srv/www/{number};\n\
         {}}}\n",
        "    location /media/ { proxy_pass http://media.internal; proxy_set_header Host $host; }\n".repeat(4)
    )
}

fn failed(why: std::io::Error) -> OperationError {
    OperationError::new(Class::Source, "the demo's files could not be prepared").cause(why)
}
