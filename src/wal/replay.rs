//! Opens a log: reads what is there, tells a torn end from damage, makes the rest durable.
//!
//! Four rules make recovery right however often it is itself cut off:
//!
//! - *A later segment vouches.* A segment is begun only when all before its base is durable. So only the newest segment can
//!   end in a torn tail; anything wrong in an older one is damage, and so is a base that is not where the segment before
//!   ends. (A segment that was given up while it was being made holds nothing and is removed, last of all.)
//! - *`synced` vouches.* Behind the first bad frame of the newest segment, a frame header whose `synced` lies beyond the bad
//!   place says that what is bad was durable: damage. Otherwise everything from there on was written by a group that was
//!   never synced, hence never acknowledged: a torn tail, which is cut off.
//! - *What was read is written again.* A sync that has failed before the restart may have left pages that read well, count
//!   as clean and are not on the disk. So what lies past the last `synced` is written over itself before it is synced;
//!   only then is it known to be durable.
//! - *No new frame goes into an old segment.* The next frame goes into a new segment whose base is the end of what was read.
//!   Should a cut not hold, the stale frames behind it lie past the next segment's base and are not looked at: they can
//!   never become valid again. A restart alone makes no segment; the first append does.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::accounts::Accounts;
use super::queue::Shared;
use super::reader::{Next, SegmentReader, read_full};
use super::segment::{Header, Name, SEGMENT_HEADER_BYTES, decode_header, name_of, path_of};
use super::writer::{SegmentedWal, Writer};
use super::{WalEntry, WalError, WalOptions};
use crate::io::{Disk, DiskFile};

/// Bytes written again at once.
const REWRITE_BYTES: u64 = 1 << 20;

/// What opening a log has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaySummary {
    /// How many segments hold entries or could.
    pub segments: usize,
    /// How many entries were read.
    pub entries: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// What was cut off; none after a clean stop.
    pub cut: Option<Cut>,
}

/// A torn tail that was cut off: nothing of it had been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub segment: u64,
    /// The log position at which it ends now.
    pub position: u64,
    /// How many bytes are gone.
    pub bytes: u64,
}

/// A segment that is there.
struct Found {
    segment: u64,
    base: u64,
    file: Arc<dyn DiskFile>,
    /// Bytes of the file that count.
    bytes: u64,
}

/// What is in the folder.
#[derive(Default)]
struct Survey {
    /// Segments with a sound header, oldest first.
    found: Vec<Found>,
    /// Segments that were never finished being made.
    half_made: Vec<u64>,
}

impl Survey {
    fn newest(&self) -> Option<u64> {
        let found = self.found.last().map(|found| found.segment);
        found.max(self.half_made.last().copied())
    }
}

/// What is known of the segments while they are read.
struct Replay<'a> {
    on_entry: &'a mut dyn FnMut(WalEntry) -> Result<(), WalError>,
    accounts: Accounts,
    summary: ReplaySummary,
    /// The log position up to which all is known to be durable.
    synced: u64,
    /// The log position past all that was read.
    end: u64,
}

impl SegmentedWal {
    /// Opens the log in a folder, which is made if need be, and hands every entry that is there to `on_entry`, in log
    /// order; relocated copies come where they were written, so a topic's entries are taken by offset and repeats ignored.
    ///
    /// On return all that was handed over is durable. Until then nobody may be told of it. Memory: one entry.
    ///
    /// # Errors
    /// [`WalError::Damaged`] if durable entries are damaged or missing: nothing was changed. [`WalError::Open`] if the
    /// disk fails or the folder holds a file that calls itself a segment and is none. What `on_entry` answers.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: WalOptions,
        on_entry: &mut dyn FnMut(WalEntry) -> Result<(), WalError>,
    ) -> Result<(Self, ReplaySummary), WalError> {
        make_folder(&*disk, folder)?;
        let survey = survey(&*disk, folder)?;
        let mut replay = Replay {
            on_entry,
            accounts: Accounts::default(),
            summary: ReplaySummary { segments: survey.found.len(), ..ReplaySummary::default() },
            synced: 0,
            end: 0,
        };
        for (index, found) in survey.found.iter().enumerate() {
            let vouched_by_half_made = survey.half_made.last().is_some_and(|half| *half > found.segment);
            let vouched = index + 1 < survey.found.len() || vouched_by_half_made;
            replay.read(found, vouched)?;
        }
        replay.make_durable(&*disk, folder, &survey)?;
        let Replay { accounts, summary, end, .. } = replay;
        let next_segment = survey.newest().map_or(1, |newest| newest.saturating_add(1));
        let shared = Arc::new(Shared::new(disk, folder.to_owned(), options, accounts));
        let writer = Writer::new(Arc::clone(&shared), next_segment, end);
        let wal = Self::start(shared, writer).map_err(|error| open_error("its thread", &error))?;
        Ok((wal, summary))
    }
}

impl Replay<'_> {
    /// Reads a segment. One that is vouched for must be sound to its end.
    fn read(&mut self, found: &Found, vouched: bool) -> Result<(), WalError> {
        let segment = found.segment;
        self.accounts.begin(segment, found.base);
        self.synced = found.base;
        let mut reader = SegmentReader::new(Arc::clone(&found.file), segment, found.base, found.bytes);
        loop {
            let position = reader.position();
            let damaged = |reason| WalError::Damaged { segment, position, reason };
            match reader.next().map_err(|error| segment_error(segment, &error))? {
                Next::Entry(header, entry) => {
                    let next = entry.first.saturating_after(u64::from(entry.count));
                    self.accounts.add(entry.topic, next, header.frame_bytes());
                    self.synced = self.synced.max(header.synced);
                    self.summary.entries += 1;
                    self.summary.bytes += header.frame_bytes();
                    (self.on_entry)(entry)?;
                }
                Next::End => break,
                Next::Malformed(reason) => return Err(damaged(reason)),
                Next::Bad if vouched => return Err(damaged("a frame is damaged, and a later segment was begun")),
                Next::Bad => {
                    if reader.synced_beyond().map_err(|error| segment_error(segment, &error))?.is_some() {
                        return Err(damaged("a frame is damaged, and a later one says that it was durable"));
                    }
                    let bytes = found.bytes - reader.at();
                    tracing::warn!(segment, position, bytes, "cutting a torn tail off the write-ahead log");
                    self.summary.cut = Some(Cut { segment, position, bytes });
                    break;
                }
            }
        }
        self.end = reader.position();
        Ok(())
    }

    /// Makes durable what was read, cuts off what was not, and removes what was never finished being made.
    fn make_durable(&self, disk: &dyn Disk, folder: &Path, survey: &Survey) -> Result<(), WalError> {
        if let Some(newest) = survey.found.last() {
            let at = |position: u64| SEGMENT_HEADER_BYTES + position.saturating_sub(newest.base);
            rewrite(&*newest.file, at(self.synced), at(self.end))
                .and_then(|()| if self.summary.cut.is_some() { newest.file.set_len(at(self.end)) } else { Ok(()) })
                .and_then(|()| newest.file.sync_data())
                .map_err(|error| segment_error(newest.segment, &error))?;
        }
        for segment in &survey.half_made {
            tracing::warn!(segment, "removing a segment of the write-ahead log that was never finished being made");
            disk.remove(&path_of(folder, *segment)).map_err(|error| segment_error(*segment, &error))?;
        }
        disk.sync_folder(folder).map_err(|error| open_error("its folder", &error))
    }
}

/// Makes the log's folder, durably.
fn make_folder(disk: &dyn Disk, folder: &Path) -> Result<(), WalError> {
    disk.create_folder(folder).map_err(|error| open_error("its folder", &error))?;
    match folder.parent() {
        Some(parent) if parent.as_os_str().is_empty() => disk.sync_folder(Path::new(".")),
        Some(parent) => disk.sync_folder(parent),
        None => Ok(()),
    }
    .map_err(|error| open_error("the folder above it", &error))
}

/// Finds the segments and checks that none is missing.
fn survey(disk: &dyn Disk, folder: &Path) -> Result<Survey, WalError> {
    let mut segments = Vec::new();
    for path in disk.list(folder).map_err(|error| open_error("its folder", &error))? {
        match name_of(&path) {
            Name::Segment(segment) => segments.push(segment),
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
    let mut survey = Survey::default();
    for segment in segments {
        let file = disk.open(&path_of(folder, segment)).map_err(|error| segment_error(segment, &error))?;
        match look_at(segment, file)? {
            Some(found) => survey.found.push(found),
            None => survey.half_made.push(segment),
        }
    }
    check_chain(&mut survey.found)?;
    Ok(survey)
}

/// Reads a segment's header; none if the segment was never finished being made.
fn look_at(segment: u64, file: Arc<dyn DiskFile>) -> Result<Option<Found>, WalError> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    let length = file.len().map_err(|error| segment_error(segment, &error))?;
    let read = read_full(&*file, &mut bytes, 0).map_err(|error| segment_error(segment, &error))?;
    let damaged = |position, reason| Err(WalError::Damaged { segment, position, reason });
    match decode_header(bytes.get(..read).unwrap_or_default()) {
        Header::Whole { segment: number, base } if number == segment => {
            Ok(Some(Found { segment, base, file, bytes: length }))
        }
        Header::Whole { base, .. } => damaged(base, "the segment has another one's name"),
        Header::OtherVersion(version) => {
            let cause = format!("segment {segment} has format version {version}, which this server does not know");
            Err(WalError::Open { cause })
        }
        // Frames are written only when the header is durable.
        Header::Broken if length > SEGMENT_HEADER_BYTES => damaged(0, "the segment's header is damaged"),
        Header::Broken => Ok(None),
    }
}

/// Checks that each segment begins where the one before ends, and leaves out what lies past the next one's base.
fn check_chain(found: &mut [Found]) -> Result<(), WalError> {
    let mut next: Option<(u64, u64)> = None;
    for this in found.iter_mut().rev() {
        if let Some((segment, base)) = next {
            let damaged = |position, reason| Err(WalError::Damaged { segment: this.segment, position, reason });
            let Some(frames) = base.checked_sub(this.base) else {
                return Err(WalError::Damaged { segment, position: base, reason: "segments are out of order" });
            };
            let bytes = SEGMENT_HEADER_BYTES.saturating_add(frames);
            if this.bytes < bytes {
                let end = this.base + (this.bytes - SEGMENT_HEADER_BYTES);
                return damaged(end, "the end of the segment, or the segment after it, is missing");
            }
            this.bytes = bytes;
        }
        next = Some((this.segment, this.base));
    }
    Ok(())
}

/// Writes a part of a file over itself, so that the next sync is one of these very bytes.
fn rewrite(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let length = usize::try_from((to - at).min(REWRITE_BYTES)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        if read_full(file, &mut bytes, at)? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all_at(&bytes, at)?;
        at += length as u64;
    }
    Ok(())
}

fn open_error(what: &str, error: &io::Error) -> WalError {
    WalError::Open { cause: format!("{what}: {error}") }
}

fn segment_error(segment: u64, error: &io::Error) -> WalError {
    WalError::Open { cause: format!("segment {segment}: {error}") }
}
