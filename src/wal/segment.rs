//! One file of the log.
//!
//! A segment is `{number:020}.wal`: a header, then frames without anything between them. Its header, little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic `50 53 54 57 41 4C F7 FE` |
//! | 8..10 | format version, `u16`: 1 |
//! | 10..12 | 0 |
//! | 12..20 | the segment's number, `u64` |
//! | 20..28 | `base`, the log position of its first frame, `u64` |
//! | 28..36 | `start`, the number of the oldest segment when this one was made: all before it are released, `u64` |
//! | 36..44 | `copied`, bytes of the frames that recovery put into it before it got its name, `u64` |
//! | 44..48 | CRC-32C of bytes 0..44, `u32` |
//! | 48 | `settled`: 1 when the copied frames are known to be durable under the segment's name |
//! | 49 | `reused`: 1 when the file was that of a released segment, of which the rest may be left behind the frames |
//! | 50..64 | 0 |
//!
//! `settled` is written when the rest is durable and not synced itself; a single byte cannot be torn. Without it the copied
//! frames are copied once more.
//!
//! A segment is made under the name `{number:020}.wal.new` and gets its own when its header, and what recovery puts into it
//! at once, are durable. It is begun only when all frames before its base are durable, and appended to only when its name is.
//! So a segment's existence vouches for all that lies before it, and an appended frame for its segment.
//!
//! Behind its frames a segment's file may hold zeros, or frames of the released segment that it was made of: those name
//! another segment, and so are none of this one.

use std::path::{Path, PathBuf};

use super::frame::take;

/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = HEADER_LENGTH as u64;
/// The same, as the length of a buffer.
pub(crate) const HEADER_LENGTH: usize = 64;

/// How the name of a segment ends while it is being made.
const UNFINISHED: &str = ".wal.new";
const MAGIC: [u8; 8] = [b'P', b'S', b'T', b'W', b'A', b'L', 0xF7, 0xFE];
const VERSION: u16 = 1;
const CHECKED_BYTES: usize = 44;
/// Where the note lies that copied frames are durable.
pub(crate) const SETTLED_AT: u64 = 48;

/// The path of a segment.
pub(crate) fn path_of(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:020}.wal"))
}

/// The path of a released segment that the next one is made of.
pub(crate) fn path_of_spare(folder: &Path) -> PathBuf {
    folder.join(format!("spare{UNFINISHED}"))
}

/// The path of a segment that is being made.
pub(crate) fn path_while_made(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:020}{UNFINISHED}"))
}

/// What a name in the log's folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A segment.
    Segment(u64),
    /// A segment that was never finished being made.
    Unfinished,
    /// Something that calls itself a segment and cannot be one.
    Broken,
    /// Something else.
    Foreign,
}

/// Tells what a path in the log's folder stands for.
pub(crate) fn name_of(path: &Path) -> Name {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.ends_with(UNFINISHED) {
        return Name::Unfinished;
    }
    let Some(stem) = name.strip_suffix(".wal") else { return Name::Foreign };
    if stem.len() != 20 || !stem.bytes().all(|byte| byte.is_ascii_digit()) {
        return Name::Broken;
    }
    stem.parse().map_or(Name::Broken, Name::Segment)
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Its number.
    pub(crate) segment: u64,
    /// The log position of its first frame.
    pub(crate) base: u64,
    /// The number of the oldest segment when it was made.
    pub(crate) start: u64,
    /// Bytes of the frames that recovery put into it.
    pub(crate) copied: u64,
    /// Whether those are known to be durable under its name.
    pub(crate) settled: bool,
    /// Whether the file was that of a released segment; not covered by the checksum, nothing that is kept depends on it.
    pub(crate) reused: bool,
}

/// What the first bytes of a segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// A header.
    Whole(SegmentHeader),
    /// One that was written by a newer version of the server.
    OtherVersion(u16),
    /// Cut or damaged.
    Broken,
}

impl SegmentHeader {
    /// The header as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LENGTH);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.base.to_le_bytes());
        out.extend_from_slice(&self.start.to_le_bytes());
        out.extend_from_slice(&self.copied.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.push(u8::from(self.settled));
        out.push(u8::from(self.reused));
        out.extend_from_slice(&[0; 14]);
        out
    }

    /// Reads a segment's header from its first bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Header {
        fields_of(bytes).unwrap_or(Header::Broken)
    }
}

fn fields_of(bytes: &[u8]) -> Option<Header> {
    let (checked, mut rest) = bytes.split_at_checked(CHECKED_BYTES)?;
    let crc = u32::from_le_bytes(take(&mut rest)?);
    let [settled, reused, ..]: [u8; 16] = take(&mut rest)?;
    let mut fields = checked.strip_prefix(&MAGIC)?;
    if crc32c::crc32c(checked) != crc {
        return None;
    }
    let version = u16::from_le_bytes(take(&mut fields)?);
    if version != VERSION {
        return Some(Header::OtherVersion(version));
    }
    let [_, _] = take(&mut fields)?;
    Some(Header::Whole(SegmentHeader {
        segment: u64::from_le_bytes(take(&mut fields)?),
        base: u64::from_le_bytes(take(&mut fields)?),
        start: u64::from_le_bytes(take(&mut fields)?),
        copied: u64::from_le_bytes(take(&mut fields)?),
        settled: settled == 1,
        reused: reused == 1,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_segments_sort_as_their_numbers_and_are_read_back() {
        let path = path_of(Path::new("log"), 42);
        assert_eq!(path, Path::new("log/00000000000000000042.wal"));
        assert_eq!(name_of(&path), Name::Segment(42));
        assert_eq!(name_of(&path_of(Path::new(""), u64::MAX)), Name::Segment(u64::MAX));
    }

    #[test]
    fn names_that_only_look_like_segments_are_told_apart_from_foreign_files() {
        for name in ["1.wal", "99999999999999999999.wal", "0000000000000000000x.wal", ".wal"] {
            assert_eq!(name_of(Path::new(name)), Name::Broken, "{name}");
        }
        for name in ["README", "00000000000000000001.wal.bak", "lost+found"] {
            assert_eq!(name_of(Path::new(name)), Name::Foreign, "{name}");
        }
        assert_eq!(name_of(&path_while_made(Path::new("log"), 1)), Name::Unfinished);
    }

    const HEADER: SegmentHeader =
        SegmentHeader { segment: 7, base: 4_096, start: 99, copied: 5, settled: false, reused: false };

    #[test]
    fn a_header_is_read_back_and_any_flipped_bit_is_seen() {
        let bytes = HEADER.encode();
        assert_eq!(bytes.len() as u64, SEGMENT_HEADER_BYTES);
        assert_eq!(SegmentHeader::decode(&bytes), Header::Whole(HEADER));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            let expected = match at {
                0..48 => Header::Broken,
                48 => Header::Whole(SegmentHeader { settled: true, ..HEADER }),
                49 => Header::Whole(SegmentHeader { reused: true, ..HEADER }),
                _ => Header::Whole(HEADER),
            };
            assert_eq!(SegmentHeader::decode(&flipped), expected, "byte {at}");
            assert_eq!(SegmentHeader::decode(&bytes[..at]), Header::Broken, "cut at {at}");
        }
    }

    #[test]
    fn a_header_of_a_newer_version_is_named_as_such() {
        let mut bytes = HEADER.encode();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..CHECKED_BYTES + 4].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Header::OtherVersion(2));
    }
}
