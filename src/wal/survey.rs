//! What is in a log's folder, before any frame is read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::WalError;
use super::reader::read_full;
use super::segment::{HEADER_LENGTH, Header, Name, SEGMENT_HEADER_BYTES, SegmentHeader, name_of, path_of};
use crate::io::{Disk, DiskFile};

/// A segment that is there.
#[derive(Debug)]
pub(crate) struct Found {
    /// What it says of itself.
    pub(crate) header: SegmentHeader,
    /// Its file.
    pub(crate) file: Arc<dyn DiskFile>,
    /// Bytes of the file that count: up to the base of the next segment.
    pub(crate) bytes: u64,
}

/// What is in the folder.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Segments with a sound header, oldest first, each of which begins where the one before ends.
    pub(crate) found: Vec<Found>,
    /// The largest number that any segment has.
    pub(crate) newest: Option<u64>,
    /// Files that hold nothing that is looked at.
    pub(crate) empty: Vec<PathBuf>,
}

/// Looks through the folder. Segments that end at or before `released`, a log position, are not looked at, nor are those before
/// the one that the newest says the log begins with.
///
/// # Errors
/// [`WalError::Damaged`] if a segment is missing, cut or has a damaged header; [`WalError::Open`] if the disk fails or a
/// file calls itself a segment and cannot be one.
pub(crate) fn survey(disk: &dyn Disk, folder: &Path, released: u64) -> Result<Survey, WalError> {
    let (mut survey, mut segments) = (Survey::default(), Vec::new());
    for path in disk.list(folder).map_err(|error| open_error("its folder", &error))? {
        match name_of(&path) {
            Name::Segment(segment) => segments.push(segment),
            Name::Unfinished => survey.empty.extend(path.file_name().map(|name| folder.join(name))),
            Name::Broken => {
                let cause = format!("{} is no name of a segment", path.display());
                return Err(WalError::Open { cause });
            }
            Name::Foreign => {
                tracing::warn!(file = %path.display(), "ignoring a foreign file in the write-ahead log's folder");
            }
        }
    }
    segments.sort_unstable();
    survey.newest = segments.last().copied();
    for segment in segments {
        let path = path_of(folder, segment);
        let file = disk.open(&path).map_err(|error| segment_error(segment, &error))?;
        survey.found.push(look_at(segment, file)?);
    }
    // A removal that could not be synced may be undone by a power loss: while later ones hold, and when nobody knows any more
    // whose entries those are.
    let start = survey.found.iter().map(|found| found.header.start).max().unwrap_or_default();
    let needed = survey.found.iter().rev().find(|found| found.header.base <= released);
    let start = start.max(needed.map_or(0, |oldest| oldest.header.segment));
    let gone = survey.found.extract_if(.., |found| found.header.segment < start);
    survey.empty.extend(gone.map(|found| path_of(folder, found.header.segment)));
    check_chain(&mut survey.found)?;
    Ok(survey)
}

/// Reads a segment's header, which was durable before the segment had its name.
fn look_at(segment: u64, file: Arc<dyn DiskFile>) -> Result<Found, WalError> {
    let mut bytes = [0; HEADER_LENGTH];
    let length = file.len().map_err(|error| segment_error(segment, &error))?;
    let read = read_full(&*file, &mut bytes, 0).map_err(|error| segment_error(segment, &error))?;
    let damaged = |position, reason| Err(WalError::Damaged { segment, position, reason });
    match SegmentHeader::decode(bytes.get(..read).unwrap_or_default()) {
        Header::Whole(header) if header.segment == segment => Ok(Found { header, file, bytes: length }),
        Header::Whole(header) => damaged(header.base, "the segment has another one's name"),
        Header::OtherVersion(version) => {
            let cause = format!("segment {segment} has format version {version}, which this server does not know");
            Err(WalError::Open { cause })
        }
        Header::Broken => damaged(0, "the segment's header is damaged"),
    }
}

/// Checks that each segment begins where the one before ends, and leaves out what lies past the next one's base.
fn check_chain(found: &mut [Found]) -> Result<(), WalError> {
    let mut next: Option<SegmentHeader> = None;
    for this in found.iter_mut().rev() {
        let SegmentHeader { segment, base, .. } = this.header;
        if let Some(next) = next {
            let Some(frames) = next.base.checked_sub(base) else {
                let reason = "the segment begins before the one that precedes it";
                return Err(WalError::Damaged { segment: next.segment, position: next.base, reason });
            };
            let bytes = SEGMENT_HEADER_BYTES.saturating_add(frames);
            if this.bytes < bytes {
                let position = base.saturating_add(this.bytes.saturating_sub(SEGMENT_HEADER_BYTES));
                let reason = "the end of the segment, or the segment after it, is missing";
                return Err(WalError::Damaged { segment, position, reason });
            }
            this.bytes = bytes;
        }
        next = Some(this.header);
    }
    Ok(())
}

/// What the disk has answered, about a part of the log.
pub(crate) fn open_error(what: &str, error: &io::Error) -> WalError {
    WalError::Open { cause: format!("{what}: {error}") }
}

/// What the disk has answered, about a segment.
pub(crate) fn segment_error(segment: u64, error: &io::Error) -> WalError {
    WalError::Open { cause: format!("segment {segment}: {error}") }
}
