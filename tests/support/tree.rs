//! A folder with everything that a folder can hold, and what an independent look finds in one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

/// The size of the file that is nearly all hole.
pub(crate) const SPARSE_BYTES: u64 = 48 << 20;

pub(crate) fn fill(top: &Path) {
    let path = |name: &[u8]| top.join(OsStr::from_bytes(name));
    let write = |name: &[u8], content: &[u8]| {
        let path = path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    write(b"empty", b"");
    write(b"small", b"content\n");
    write(b"again/small", b"content\n");
    // Before and behind `/` in the order of bytes.
    write(b"again-", b"x");
    write(b"again.txt", b"y");
    write(b"deep/a/b/c/d/e/f/g", b"deep");
    write(b"odd/\xff\xfe not UTF-8", b"1");
    write(b"odd/line\nbreak\tand tab %41", b"2");
    write("odd/caf\u{e9}".as_bytes(), b"composed");
    write("odd/cafe\u{301}".as_bytes(), b"decomposed");
    write(b"odd/ leading and trailing ", b"3");
    write(b"odd/..well...", b"4");
    write(b"odd/-rf", b"5");
    write(&[b"odd/".as_slice(), &b"n".repeat(255)].concat(), b"6");
    let noise: Vec<u8> = (0..5_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    write(b"large", &noise);
    let mut sparse = File::create(path(b"sparse")).unwrap();
    sparse.write_all(b"at the start").unwrap();
    sparse.seek(SeekFrom::Start(SPARSE_BYTES / 2)).unwrap();
    sparse.write_all(&noise[..10_000]).unwrap();
    sparse.set_len(SPARSE_BYTES).unwrap();
    std::fs::create_dir_all(path(b"empty folder")).unwrap();
    std::fs::hard_link(path(b"small"), path(b"a hard link")).unwrap();
    std::fs::hard_link(path(b"small"), path(b"deep/another")).unwrap();
    symlink("small", path(b"link")).unwrap();
    symlink("/nowhere/at all", path(b"dangling")).unwrap();
    symlink("loop", path(b"loop")).unwrap();
    symlink("..", path(b"deep/up")).unwrap();
    symlink("again", path(b"folder link")).unwrap();
    rustix::fs::mknodat(CWD, path(b"pipe"), FileType::Fifo, Mode::from(0o640), 0).unwrap();
    drop(std::os::unix::net::UnixListener::bind(path(b"socket")).unwrap());
    write(b"secret", b"only mine");
    for (name, mode) in [(&b"secret"[..], 0o400), (b"small", 0o6755), (b"empty folder", 0o1777), (b"pipe", 0o602)] {
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(path(b"large"), Some(1234), Some(4321)).unwrap();
        std::os::unix::fs::lchown(path(b"dangling"), Some(1234), Some(4321)).unwrap();
        rustix::fs::mknodat(
            CWD,
            path(b"null"),
            FileType::CharacterDevice,
            Mode::from(0o600),
            rustix::fs::makedev(1, 3),
        )
        .unwrap();
    }
    for name in [&b"small"[..], b"empty folder"] {
        rustix::fs::setxattr(path(name), "user.colour", b"blue\0\xff", XattrFlags::empty()).unwrap();
    }
    // Long ago, so that nothing is too fresh to be trusted, with a fraction; and before 1970.
    for (name, seconds) in
        [(&b"again"[..], 1_000_000_000), (b"dangling", 7), (b"large", -5), (b"deep/a", 2_000_000_000)]
    {
        set_time(&path(name), seconds);
    }
    std::fs::set_permissions(path(b"deep/a/b"), std::fs::Permissions::from_mode(0o500)).unwrap();
}

pub(crate) fn set_time(path: &Path, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Waits until nothing that was written before is too fresh to be taken for unchanged.
pub(crate) fn settle() {
    std::thread::sleep(Duration::from_millis(1_100));
}

/// Everything about everything below a folder, by its name; hard links as sets of names.
pub(crate) fn look(top: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut links: BTreeMap<(u64, u64), Vec<Vec<u8>>> = BTreeMap::new();
    look_into(top, top, &mut found, &mut links);
    for names in links.values().filter(|names| names.len() > 1) {
        found.insert([b"names of ".as_slice(), &names[0]].concat(), format!("{names:?}"));
    }
    found
}

fn look_into(
    top: &Path,
    folder: &Path,
    found: &mut BTreeMap<Vec<u8>, String>,
    links: &mut BTreeMap<(u64, u64), Vec<Vec<u8>>>,
) {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(top).unwrap().as_os_str().as_bytes().to_vec();
        let is = path.symlink_metadata().unwrap();
        let kind = is.file_type();
        let content = if kind.is_symlink() {
            format!("to {:?}", std::fs::read_link(&path).unwrap())
        } else if kind.is_file() && is.len() < SPARSE_BYTES {
            blake3::hash(&std::fs::read(&path).unwrap()).to_hex().to_string()
        } else {
            format!("device {}", is.rdev())
        };
        let mut names = vec![0; 1000];
        let length = rustix::fs::llistxattr(&path, &mut names).unwrap_or_default();
        let word = [kind.is_dir(), kind.is_fifo(), kind.is_socket(), kind.is_char_device(), kind.is_symlink()];
        let folder_size = if kind.is_dir() { 0 } else { is.len() };
        let text = format!(
            "{word:?} {:o} {}:{} {}.{:09} {folder_size} {content} {:?}",
            is.mode(),
            is.uid(),
            is.gid(),
            is.mtime(),
            is.mtime_nsec(),
            names[..length].escape_ascii().to_string(),
        );
        found.insert(name.clone(), text);
        if !kind.is_dir() {
            links.entry((is.dev(), is.ino())).or_default().push(name);
        }
        if kind.is_dir() {
            look_into(top, &path, found, links);
        }
    }
}
