//! Writes frames one after the other, gathered into few writes.

use std::io;

use super::frame::{Body, FrameHeader};
use crate::io::DiskFile;

/// Values of at least so many bytes are not copied before they are written.
const DIRECT_BYTES: usize = 256 << 10;

/// Where the next frame goes in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The segment.
    pub(crate) segment: u64,
    /// The frame's log position.
    pub(crate) position: u64,
    /// The log position up to which all is known to be durable.
    pub(crate) synced: u64,
}

/// Frames on their way into a file.
pub(crate) struct FrameSink<'a> {
    file: &'a dyn DiskFile,
    /// Where the buffer's first byte goes in the file.
    at: u64,
    place: Place,
    buffer: &'a mut Vec<u8>,
    buffer_bytes: usize,
}

impl<'a> FrameSink<'a> {
    /// A sink into a file from `at` on, that writes when `buffer` holds about `buffer_bytes` bytes.
    pub(crate) fn new(
        file: &'a dyn DiskFile,
        at: u64,
        place: Place,
        buffer: &'a mut Vec<u8>,
        buffer_bytes: usize,
    ) -> Self {
        buffer.clear();
        Self { file, at, place, buffer, buffer_bytes }
    }

    /// Puts a frame behind the others.
    ///
    /// # Errors
    /// What the disk answers; any part may be written then.
    pub(crate) fn put(&mut self, body: &Body) -> io::Result<()> {
        let Place { segment, position, synced } = self.place;
        let header = FrameHeader { body_bytes: body.bytes(), segment, position, synced, body_crc: body.crc };
        self.place.position += header.frame_bytes();
        header.encode(self.buffer);
        self.buffer.extend_from_slice(&body.lead);
        if body.values.len() >= DIRECT_BYTES.min(self.buffer_bytes) {
            self.flush()?;
            self.file.write_all_at(&body.values, self.at)?;
            self.at += body.values.len() as u64;
            return Ok(());
        }
        self.buffer.extend_from_slice(&body.values);
        if self.buffer.len() >= self.buffer_bytes { self.flush() } else { Ok(()) }
    }

    /// Writes what is left; gives the end of the frames in the file.
    ///
    /// # Errors
    /// What the disk answers; any part may be written then.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        Ok(self.at)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_all_at(self.buffer, self.at)?;
            self.at += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}
