//! Reads the frames of one segment in order, with bounded memory: a window, or one frame that is larger.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::WalEntry;
use super::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, decode_body};
use super::segment::SEGMENT_HEADER_BYTES;
use crate::io::DiskFile;

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// What comes next in a segment.
#[derive(Debug)]
pub(crate) enum Next {
    /// A whole frame.
    Entry(FrameHeader, WalEntry),
    /// Nothing: the frames end with the file.
    End,
    /// Bytes that are no whole frame of this place.
    Bad,
    /// A frame whose checksums are right and whose body is no entry.
    Malformed(&'static str),
}

/// A reader of one segment.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    file: Arc<dyn DiskFile>,
    segment: u64,
    base: u64,
    /// Bytes of the file that are read; more may be there.
    bytes: u64,
    /// Where the next frame begins in the file.
    at: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl SegmentReader {
    /// A reader of the frames in the first `bytes` bytes of a segment's file.
    pub(crate) fn new(file: Arc<dyn DiskFile>, segment: u64, base: u64, bytes: u64) -> Self {
        Self { file, segment, base, bytes, at: SEGMENT_HEADER_BYTES, window: Vec::new(), window_at: 0 }
    }

    /// The same reader from another place of the file on, at which a frame begins.
    pub(crate) fn from(self, at: u64) -> Self {
        Self { at, ..self }
    }

    /// The log position of the next frame.
    pub(crate) fn position(&self) -> u64 {
        self.position_of(self.at)
    }

    /// Where the next frame begins in the file.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    fn position_of(&self, at: u64) -> u64 {
        self.base.saturating_add(at.saturating_sub(SEGMENT_HEADER_BYTES))
    }

    /// Reads the next frame and moves past it; stays where it is at the end and at anything else.
    ///
    /// # Errors
    /// What the disk answers.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        if self.at >= self.bytes {
            return Ok(Next::End);
        }
        let Some(header) = self.header_at(self.at)? else {
            return Ok(Next::Bad);
        };
        let after = self.at.saturating_add(header.frame_bytes());
        // The length is bounded by the file's before anything of that size is allocated.
        let Ok(length) = usize::try_from(header.body_bytes) else {
            return Ok(Next::Bad);
        };
        if after > self.bytes {
            return Ok(Next::Bad);
        }
        let body = Bytes::from(self.read(self.at + FRAME_HEADER_BYTES as u64, length)?);
        if body.len() != length || crc32c::crc32c(&body) != header.body_crc {
            return Ok(Next::Bad);
        }
        match decode_body(&body) {
            Ok(entry) => {
                self.at = after;
                Ok(Next::Entry(header, entry))
            }
            Err(malformed) => Ok(Next::Malformed(malformed.0)),
        }
    }

    /// Looks behind the next frame's place for the header of a frame that says that everything past that place was durable
    /// when it was written; gives that frame's log position.
    ///
    /// A header alone will do: its own checksum covers its place and its `synced`.
    ///
    /// # Errors
    /// What the disk answers.
    pub(crate) fn synced_beyond(&mut self) -> io::Result<Option<u64>> {
        let bad = self.position();
        let mut at = self.at + 1;
        while at + (FRAME_HEADER_BYTES as u64) <= self.bytes {
            let left = usize::try_from(self.bytes - at).unwrap_or(usize::MAX).min(WINDOW_BYTES);
            let chunk = self.read(at, left)?;
            for found in memchr::memmem::find_iter(&chunk, &FRAME_MAGIC) {
                if let Some(header) = self.header_at(at + found as u64)?
                    && header.synced > bad
                {
                    return Ok(Some(header.position));
                }
            }
            // A magic that straddles two chunks is found by beginning the next one a little earlier.
            let step = chunk.len().saturating_sub(FRAME_MAGIC.len() - 1);
            if step == 0 {
                break;
            }
            at += step as u64;
        }
        Ok(None)
    }

    /// Whether the bytes at the next frame's place are a frame that is cut or wrong, and not what was there before one was
    /// written: zeros, and in a `reused` file whatever does not begin as a frame of this segment.
    ///
    /// # Errors
    /// What the disk answers.
    pub(crate) fn is_torn(&mut self, reused: bool) -> io::Result<bool> {
        let bytes = self.read(self.at, FRAME_HEADER_BYTES)?;
        if !reused {
            return Ok(bytes.iter().any(|byte| *byte != 0));
        }
        let begun = bytes.get(..bytes.len().min(FRAME_MAGIC.len())).unwrap_or_default();
        let is_of_another = FrameHeader::decode(&bytes).is_some_and(|header| header.segment != self.segment);
        Ok(!is_of_another && FRAME_MAGIC.starts_with(begun))
    }

    /// The header at a place of the file, if one is there that was written for this place.
    fn header_at(&mut self, at: u64) -> io::Result<Option<FrameHeader>> {
        let bytes = self.read(at, FRAME_HEADER_BYTES)?;
        let position = self.position_of(at);
        Ok(FrameHeader::decode(&bytes).filter(|header| header.segment == self.segment && header.position == position))
    }

    /// Up to `length` bytes at a place of the file, fewer only where the segment ends.
    fn read(&mut self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.bytes.saturating_sub(at)).unwrap_or(usize::MAX);
        let length = length.min(left);
        if let Some(bytes) = self.windowed(at, length) {
            return Ok(bytes.to_vec());
        }
        if length >= WINDOW_BYTES {
            let mut bytes = vec![0; length];
            let read = read_full(&*self.file, &mut bytes, at)?;
            bytes.truncate(read);
            return Ok(bytes);
        }
        self.window.resize(left.min(WINDOW_BYTES), 0);
        let read = read_full(&*self.file, &mut self.window, at)?;
        self.window.truncate(read);
        self.window_at = at;
        Ok(self.window.get(..length.min(read)).unwrap_or_default().to_vec())
    }

    fn windowed(&self, at: u64, length: usize) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.window_at)?).ok()?;
        self.window.get(from..from.checked_add(length)?)
    }
}

/// Reads until `into` is full or the file ends.
///
/// # Errors
/// What the disk answers.
pub(crate) fn read_full(file: &dyn DiskFile, into: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
