//! The packets of SFTP 3: what each kind is called, and how their fields are written and read.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What OpenSSH sends at most.
const PACKET_BYTES_MAX: usize = 256 << 10;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WireError {
    /// The server said so, with a code of the protocol.
    Refused(u32, String),
    /// Nothing more comes over this connection.
    Broken(String),
}

pub(super) const NO_SUCH_FILE: u32 = 2;
pub(super) const PERMISSION_DENIED: u32 = 3;
pub(super) const END_OF_FILE: u32 = 1;
pub(super) const READ_ONLY: u32 = 1;

/// The kinds of packets.
pub(super) mod kind {
    pub(in crate::sources::objects::folders) const INIT: u8 = 1;
    pub(in crate::sources::objects::folders) const VERSION: u8 = 2;
    pub(in crate::sources::objects::folders) const OPEN: u8 = 3;
    pub(in crate::sources::objects::folders) const CLOSE: u8 = 4;
    pub(in crate::sources::objects::folders) const READ: u8 = 5;
    pub(in crate::sources::objects::folders) const LSTAT: u8 = 7;
    pub(in crate::sources::objects::folders) const OPENDIR: u8 = 11;
    pub(in crate::sources::objects::folders) const READDIR: u8 = 12;
    pub(in crate::sources::objects::folders) const REALPATH: u8 = 16;
    pub(in crate::sources::objects::folders) const STAT: u8 = 17;
    pub(in crate::sources::objects::folders) const STATUS: u8 = 101;
    pub(in crate::sources::objects::folders) const HANDLE: u8 = 102;
    pub(in crate::sources::objects::folders) const DATA: u8 = 103;
    pub(in crate::sources::objects::folders) const NAME: u8 = 104;
    pub(in crate::sources::objects::folders) const ATTRS: u8 = 105;
}

/// What the server tells about a file, as far as it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) size: Option<u64>,
    /// Type and permissions as `st_mode` has them.
    pub(super) mode: Option<u32>,
    /// Seconds.
    pub(super) modified: Option<u32>,
}

pub(super) async fn packet(output: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Bytes> {
    let length = output.read_u32().await? as usize;
    if length > PACKET_BYTES_MAX {
        // What is no packet at all is often what a shell says at login.
        return Err(std::io::Error::other("what came is not SFTP; does a shell print something at login?"));
    }
    let mut packet = vec![0; length];
    output.read_exact(&mut packet).await?;
    Ok(packet.into())
}

pub(super) fn put(packet: &mut BytesMut, text: &[u8]) {
    packet.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    packet.put_slice(text);
}

pub(super) fn expect(expected: u8, (kind, content): (u8, Bytes)) -> Result<Bytes, WireError> {
    if kind == expected { Ok(content) } else { Err(nonsense()) }
}

fn nonsense() -> WireError {
    WireError::Broken("the server's answer does not read".to_owned())
}

pub(super) fn number(content: &mut Bytes) -> Result<u32, WireError> {
    if content.len() >= 4 { Ok(content.get_u32()) } else { Err(nonsense()) }
}

pub(super) fn text(content: &mut Bytes) -> Result<Bytes, WireError> {
    let length = number(content)? as usize;
    if content.len() >= length { Ok(content.split_to(length)) } else { Err(nonsense()) }
}

pub(super) fn attributes(content: &mut Bytes) -> Result<Stat, WireError> {
    let flags = number(content)?;
    let mut stat = Stat::default();
    if flags & 1 != 0 {
        stat.size = Some((u64::from(number(content)?) << 32) | u64::from(number(content)?));
    }
    if flags & 2 != 0 {
        number(content)?;
        number(content)?;
    }
    if flags & 4 != 0 {
        stat.mode = Some(number(content)?);
    }
    if flags & 8 != 0 {
        number(content)?;
        stat.modified = Some(number(content)?);
    }
    if flags & 0x8000_0000 != 0 {
        for _ in 0..number(content)? {
            text(content)?;
            text(content)?;
        }
    }
    Ok(stat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_whichever_are_there_and_nothing_is_read_behind_the_end() {
        let mut bytes = BytesMut::new();
        bytes.put_u32(0x8000_000f);
        bytes.put_u64(5 << 32);
        bytes.put_slice(&[0; 8]);
        bytes.put_u32(0o100_644);
        bytes.put_u32(1);
        bytes.put_u32(2);
        bytes.put_u32(1);
        put(&mut bytes, b"name");
        put(&mut bytes, b"value");
        let whole = bytes.freeze();
        let expected = Stat { size: Some(5 << 32), mode: Some(0o100_644), modified: Some(2) };
        assert_eq!(attributes(&mut whole.clone()), Ok(expected));
        for cut in 0..whole.len() {
            assert_eq!(attributes(&mut whole.slice(..cut)), Err(nonsense()), "{cut}");
        }
        assert_eq!(attributes(&mut Bytes::from_static(&[0; 4])), Ok(Stat::default()));
        assert_eq!(text(&mut Bytes::from_static(&[255, 255, 255, 255, 1])), Err(nonsense()));
    }
}
