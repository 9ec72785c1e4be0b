//! The segment that is written: begun in a new file or a released one, prepared ahead of what is written.
//!
//! A sync of a file that grows waits for the file system's journal; one of bytes that were there before does not. So a file
//! is filled with zeros some way ahead, and a released segment's file is used again instead of being removed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::segment::{SEGMENT_HEADER_BYTES, SETTLED_AT, SegmentHeader, path_of, path_of_spare, path_while_made};
use crate::io::{Disk, DiskFile};

/// The least that is prepared at a time, unless the segment ends before.
const AHEAD_BYTES_MIN: u64 = 256 << 10;
/// A run of more bytes than this is not slowed down by the journal, and does not pay for zeros.
const SMALL_RUN_BYTES: u64 = 256 << 10;
/// Zeros written at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The segment that frames are written to.
#[derive(Debug)]
pub(crate) struct Head {
    /// Its number.
    pub(crate) segment: u64,
    /// The log position of its first frame.
    pub(crate) base: u64,
    /// Its file.
    pub(crate) file: Arc<dyn DiskFile>,
    /// Bytes written and synced, header included; the next frame goes there.
    pub(crate) bytes: u64,
    /// Bytes that the file has, as far as they are known to be prepared.
    prepared: u64,
}

impl Head {
    /// The log position of the next frame.
    pub(crate) fn position(&self) -> u64 {
        self.base + (self.bytes - SEGMENT_HEADER_BYTES)
    }

    /// Whether it holds no frame.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == SEGMENT_HEADER_BYTES
    }

    /// Fills the file with zeros behind a run that was written up to `end` and has left what is prepared: about as much
    /// again as the segment holds, at most `bytes_max`, and not past `segment_bytes`. No room for that is no failure.
    ///
    /// # Errors
    /// What the disk answers.
    pub(crate) fn prepare(&mut self, end: u64, bytes_max: u64, segment_bytes: u64) -> io::Result<()> {
        if end <= self.prepared {
            return Ok(());
        }
        self.prepared = end;
        if end.saturating_sub(self.bytes) > SMALL_RUN_BYTES {
            return Ok(());
        }
        let ahead = end.max(AHEAD_BYTES_MIN).min(bytes_max);
        let until = end.saturating_add(ahead).min(segment_bytes);
        while self.prepared < until {
            let left = usize::try_from(until - self.prepared).unwrap_or(usize::MAX);
            let zeros = ZEROS.get(..left.min(ZEROS.len())).unwrap_or(&ZEROS);
            match self.file.write_all_at(zeros, self.prepared) {
                Ok(()) => self.prepared += zeros.len() as u64,
                Err(error) if is_full(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes back what a failed write has left behind the end, so that it can never be read again.
    ///
    /// # Errors
    /// What the disk answers; what is there is not known then.
    pub(crate) fn cut_back(&mut self) -> io::Result<()> {
        self.prepared = self.bytes;
        self.file.set_len(self.bytes)?;
        self.file.sync_data()
    }

    /// Gives back what was prepared and is not needed. Whether that holds does not matter.
    pub(crate) fn trim(&mut self) {
        self.prepared = self.bytes;
        if let Err(error) = self.file.set_len(self.bytes) {
            tracing::warn!(segment = self.segment, %error, "a segment keeps room that it does not need");
        }
    }
}

/// Why a segment could not be begun.
#[derive(Debug)]
pub(crate) enum BeginError {
    /// The disk is full, or no more files can be open; nothing of it is left.
    Full,
    /// Anything else: what is on the disk is not known.
    Unknown(io::Error),
}

/// Whether a write failed for want of room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

/// Whether a file could not be opened because too many are, in the process or on the machine (`open(2)`).
fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Makes a new segment, of the released one if there is a `spare`. All frames before its base must be durable, but for those that `fill` writes behind the header
/// (`header.copied` bytes); on return so are its header, those frames and its name.
///
/// # Errors
/// [`BeginError`].
pub(crate) fn begin(
    disk: &dyn Disk,
    folder: &Path,
    header: SegmentHeader,
    spare: bool,
    fill: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
) -> Result<Head, BeginError> {
    let SegmentHeader { segment, base, copied, .. } = header;
    let (unfinished, path) = (path_while_made(folder, segment), path_of(folder, segment));
    let reused = spare.then(|| disk.rename(&path_of_spare(folder), &unfinished).and_then(|()| disk.open(&unfinished)));
    let is_reused = matches!(reused, Some(Ok(_)));
    let made = match reused {
        Some(Ok(file)) => Ok(file),
        Some(Err(error)) => {
            tracing::warn!(segment, %error, "a released segment's file cannot be used again");
            // It may have been moved and not opened.
            disk.remove(&unfinished).or(Ok(())).and_then(|()| disk.create(&unfinished))
        }
        None => disk.create(&unfinished),
    };
    let file = match made {
        Ok(file) => file,
        Err(error) if is_full(&error) => return Err(BeginError::Full),
        // Nothing of it is there either, and files are closed again.
        Err(error) if is_out_of_files(&error) => {
            tracing::error!(segment, %error, "a segment cannot be begun now");
            return Err(BeginError::Full);
        }
        Err(error) => return Err(BeginError::Unknown(error)),
    };
    let header = SegmentHeader { reused: is_reused, ..header };
    match file.write_all_at(&header.encode(), 0).and_then(|()| fill(&*file)) {
        Ok(()) => {}
        Err(error) if is_full(&error) => {
            drop(file);
            disk.remove(&unfinished).map_err(BeginError::Unknown)?;
            return Err(BeginError::Full);
        }
        Err(error) => return Err(BeginError::Unknown(error)),
    }
    let finish = || {
        file.sync_data()?;
        disk.rename(&unfinished, &path)?;
        disk.sync_folder(folder)?;
        disk.open(&path)
    };
    let file = finish().map_err(BeginError::Unknown)?;
    let prepared = file.len().map_err(BeginError::Unknown)?;
    Ok(Head { segment, base, file, bytes: SEGMENT_HEADER_BYTES + copied, prepared })
}

/// Notes in a segment that its copied frames are durable under its name. It is only a note: nothing depends on its being
/// written.
pub(crate) fn settle(head: &Head) {
    if let Err(error) = head.file.write_all_at(&[1], SETTLED_AT) {
        tracing::warn!(segment = head.segment, %error, "the note that a segment is durable was not written");
    }
}
