//! What a file has beside its content.

use std::collections::BTreeMap;

use rustix::fs::{FileType, Stat, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// In a list as JSON: what a restore gives back and a restore test compares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attributes {
    /// Permissions in octal: `644`, `4755`. A link has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gid: Option<u32>,
    /// Seconds since 1970 and nanoseconds: `1700000000.000000001`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mtime: Option<String>,
    /// Where a link points to, as a name is written in a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
    /// The first name of a file that has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<String>,
    /// Major and minor number of a device: `8:1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<String>,
    /// Extended attributes, access lists among them; values in hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) xattrs: BTreeMap<String, String>,
}

impl Attributes {
    /// Without extended attributes, targets and first names.
    pub(super) fn of(stat: &Stat) -> Self {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let device = matches!(kind, FileType::BlockDevice | FileType::CharacterDevice)
            .then(|| format!("{}:{}", rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)));
        Self {
            mode: (kind != FileType::Symlink).then(|| format!("{:o}", stat.st_mode & 0o7777)),
            uid: Some(stat.st_uid),
            gid: Some(stat.st_gid),
            mtime: Some(format!("{}.{:09}", stat.st_mtime, stat.st_mtime_nsec)),
            device,
            ..Self::default()
        }
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }

    pub(super) fn read(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    pub(super) fn mode_bits(&self) -> Option<u32> {
        u32::from_str_radix(self.mode.as_deref()?, 8).ok().filter(|mode| *mode <= 0o7777)
    }

    /// Seconds and nanoseconds.
    pub(super) fn times(&self) -> Option<(i64, i64)> {
        let (seconds, nanoseconds) = self.mtime.as_deref()?.split_once('.')?;
        Some((seconds.parse().ok()?, nanoseconds.parse().ok().filter(|n| (0..1_000_000_000).contains(n))?))
    }

    pub(super) fn device_numbers(&self) -> Option<(u32, u32)> {
        let (major, minor) = self.device.as_deref()?.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }
}

/// Reads all extended attributes of an open file, or of whatever `path` names without following it.
pub(super) fn xattrs_of(path: &std::path::Path) -> Result<BTreeMap<String, String>, Errno> {
    let Some(names) = grow(|buffer| rustix::fs::llistxattr(path, buffer))? else { return Ok(BTreeMap::new()) };
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // Gone between listing and reading.
        if let Some(value) = grow(|buffer| rustix::fs::lgetxattr(path, name, buffer))? {
            found.insert(crate::sources::tree::entry::encoded(name), hex::encode(value));
        }
    }
    Ok(found)
}

pub(super) fn set_xattr(path: &std::path::Path, name: &str, value: &str) -> Result<(), Errno> {
    let (Some(name), Ok(value)) = (crate::domain::percent_decoded(name), hex::decode(value)) else {
        return Err(Errno::INVAL);
    };
    rustix::fs::lsetxattr(path, name.as_slice(), &value, XattrFlags::empty())
}

/// Asks for the length, then for the content, and again where it grew meanwhile. `None` where there is none, or the file system
/// has no such thing.
fn grow(mut ask: impl FnMut(&mut Vec<u8>) -> Result<usize, Errno>) -> Result<Option<Vec<u8>>, Errno> {
    let mut buffer = vec![0; 4096];
    loop {
        match ask(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}
