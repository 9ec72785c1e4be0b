//! Opens a log: reads what is there, tells a torn end from damage, makes the rest durable.
//!
//! Five rules make recovery right however often it is itself cut off:
//!
//! - *A later segment vouches.* A segment is begun only when all before its base is durable. So only the newest segment can
//!   end in a torn tail; anything wrong in an older one is damage, and so is one that ends before the next one's base.
//! - *`synced` vouches.* Behind the first bad frame of the newest segment, a frame header whose `synced` lies beyond the bad
//!   place says that what is bad was durable: damage. Otherwise everything from there on was written by a group that was
//!   never synced, hence never acknowledged: a torn tail, which is dropped.
//! - *A segment's header vouches for what was copied into it.* A segment gets its name when those frames are durable. So in
//!   the newest one too they are sound, or damaged: never torn.
//! - *What nothing vouches for is copied.* Past the last `synced` lies the last group. It reads well, but a sync of it that
//!   failed before the restart may have left its pages clean and not on the disk, where no later sync would write them. So
//!   it is copied, at its own log positions, into a new segment, which gets its name when it is durable. Nothing is ever
//!   written over something that may have been acknowledged: the copy or the original is always there.
//! - *No new frame goes into an old segment.* Frames are appended behind that copy, or else in a segment that the first
//!   append begins. What lies past the next segment's base is never looked at, so that frames behind a bad one, or the
//!   originals of copied ones, cannot become valid again, whether or not cutting them off holds.
//!
//! One thing is left open on purpose: if the sync that takes a write to a full disk back fails, and the power is lost after
//! a restart that nothing was appended after, entries that were neither acknowledged nor refused (the log had latched) may
//! be found by the second recovery though the first has not seen them. They follow what was there, and nothing is lost.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::accounts::Accounts;
use super::frame::Body;
use super::head::{self, BeginError, Head};
use super::queue::Shared;
use super::reader::{Next, SegmentReader};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::sink::{FrameSink, Place};
use super::survey::{Found, Survey, open_error, segment_error, survey};
use super::writer::{SegmentedWal, Writer};
use super::{WalEntry, WalError, WalOptions};
use crate::io::{Disk, DiskFile};
use crate::model::{LogMark, Offset, TopicId};

/// What opening a log has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaySummary {
    /// How many segments were read.
    pub segments: usize,
    /// How many entries were read.
    pub entries: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// What was dropped; none after a clean stop.
    pub cut: Option<Cut>,
}

/// A torn tail that was dropped: nothing of it had been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub segment: u64,
    /// The log position at which the log ended.
    pub position: u64,
    /// How many bytes are gone.
    pub bytes: u64,
}

/// An entry that nothing vouches for.
struct Unsure {
    topic: TopicId,
    next: Offset,
    beside: Option<(TopicId, Offset, u64)>,
    bytes: u64,
    position: u64,
}

impl Unsure {
    /// It is in the newest segment.
    fn count(&self, accounts: &mut Accounts) {
        let beside = self.beside.map_or(0, |(.., bytes)| bytes);
        accounts.add(self.topic, self.next, self.bytes - beside);
        if let Some((topic, next, bytes)) = self.beside {
            accounts.add(topic, next, bytes);
        }
    }
}

/// What is known while segments are read.
struct Replay<'a> {
    on_entry: &'a mut dyn FnMut(WalEntry) -> Result<(), WalError>,
    accounts: Accounts,
    summary: ReplaySummary,
    /// The log position up to which all is known to be durable.
    synced: u64,
    /// What was read past it.
    unsure: VecDeque<Unsure>,
    /// The log position past all that was read.
    end: u64,
}

impl SegmentedWal {
    /// Opens the log in a folder, which is made if need be (the one above it must be durable), and hands every entry that is there to `on_entry`, in log
    /// order; relocated copies come where they were written, so a topic's entries are taken by offset and repeats ignored.
    ///
    /// On return all that was handed over is durable. Until then nobody may be told of it. Memory: one entry, and a few
    /// words for each entry of the last group.
    ///
    /// # Errors
    /// [`WalError::Damaged`] if durable entries are damaged or missing, [`WalError::StartMissing`] and
    /// [`WalError::EndMissing`] if the log has less than is known: nothing was changed. [`WalError::Open`] if the
    /// disk fails or the folder holds a file that calls itself a segment and is none. What `on_entry` answers.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: WalOptions,
        on_entry: &mut dyn FnMut(WalEntry) -> Result<(), WalError>,
    ) -> Result<(Self, ReplaySummary), WalError> {
        make_folder(&*disk, folder)?;
        let known = options.known.unwrap_or_default();
        let survey = survey(&*disk, folder, known.released)?;
        if options.known.is_some() {
            check_start(&survey, known)?;
        }
        let mut replay = Replay {
            on_entry,
            accounts: Accounts::default(),
            summary: ReplaySummary { segments: survey.found.len(), ..ReplaySummary::default() },
            synced: 0,
            unsure: VecDeque::new(),
            end: 0,
        };
        for found in &survey.found {
            replay.read(found, survey.newest > Some(found.header.segment))?;
        }
        if replay.end < known.end {
            return Err(WalError::EndMissing { end: replay.end, known: known.end });
        }
        remove_empty(&*disk, &survey);
        let mut next_segment = survey.newest.map_or(1, |newest| newest.saturating_add(1));
        let head = replay.copy_unsure(&*disk, folder, &options, &survey, next_segment)?;
        if head.is_some() {
            next_segment = next_segment.saturating_add(1);
        }
        replay.cut(&survey);
        let Replay { accounts, summary, end, .. } = replay;
        let shared = Arc::new(Shared::new(disk, folder.to_owned(), options, accounts, survey.newest, end));
        let writer = Writer::new(Arc::clone(&shared), head, next_segment, end);
        let wal = Self::start(shared, writer).map_err(|error| open_error("its thread", &error))?;
        Ok((wal, summary))
    }
}

impl Replay<'_> {
    /// Reads a segment. One that is vouched for must be sound to its end, any other one to the end of what was copied into it.
    fn read(&mut self, found: &Found, vouched: bool) -> Result<(), WalError> {
        let SegmentHeader { segment, base, copied, settled, reused, .. } = found.header;
        self.accounts.begin(segment, base);
        let copied = base.saturating_add(copied);
        self.synced = if settled { copied } else { base };
        let mut reader = SegmentReader::new(Arc::clone(&found.file), segment, base, found.bytes);
        loop {
            let position = reader.position();
            let damaged = |reason| WalError::Damaged { segment, position, reason };
            match reader.next().map_err(|error| segment_error(segment, &error))? {
                Next::Entry(header, entry) => {
                    let (next, bytes) = (entry.first.saturating_after(u64::from(entry.count)), header.frame_bytes());
                    self.summary.entries += 1;
                    self.summary.bytes += bytes;
                    let beside = entry.beside.as_ref().map(|beside| beside.account());
                    self.unsure.push_back(Unsure { topic: entry.topic, next, beside, bytes, position });
                    self.vouch(header.synced);
                    (self.on_entry)(entry)?;
                }
                // What was copied may have been copied again since: then it ends where the segment after it begins.
                Next::End if !vouched && position < copied => {
                    return Err(damaged("the segment is cut within what was durable before it had its name"));
                }
                Next::End => break,
                Next::Malformed(reason) => return Err(damaged(reason)),
                Next::Bad if vouched => return Err(damaged("a frame is damaged, and a later segment was begun")),
                Next::Bad if position < copied => {
                    return Err(damaged("a frame is damaged that was durable before the segment had its name"));
                }
                Next::Bad => {
                    if reader.synced_beyond().map_err(|error| segment_error(segment, &error))?.is_some() {
                        return Err(damaged("a frame is damaged, and a later one says that it was durable"));
                    }
                    if !reader.is_torn(reused).map_err(|error| segment_error(segment, &error))? {
                        // What was prepared for frames that never came.
                        break;
                    }
                    let bytes = found.bytes - reader.at();
                    tracing::warn!(segment, position, bytes, "dropping a torn tail of the write-ahead log");
                    self.summary.cut = Some(Cut { segment, position, bytes });
                    break;
                }
            }
        }
        self.end = reader.position();
        if vouched {
            self.vouch(self.end);
        }
        Ok(())
    }

    /// All before a log position is durable.
    fn vouch(&mut self, synced: u64) {
        self.synced = self.synced.max(synced);
        while let Some(sure) = self.unsure.pop_front_if(|unsure| unsure.position < self.synced) {
            sure.count(&mut self.accounts);
        }
    }

    /// Copies what nothing vouches for into a new segment; that one is the head then.
    fn copy_unsure(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        options: &WalOptions,
        survey: &Survey,
        segment: u64,
    ) -> Result<Option<Head>, WalError> {
        let Some(newest) = survey.found.last().filter(|_| !self.unsure.is_empty()) else { return Ok(None) };
        let SegmentHeader { segment: old, base, .. } = newest.header;
        let (from, to) = (self.place_in(newest, self.synced), self.place_in(newest, self.end));
        let reader = SegmentReader::new(Arc::clone(&newest.file), old, base, to).from(from);
        // The segment is seen only when all of it is durable. But its name may not be, when it is seen; so its frames must
        // not vouch for themselves.
        let place = Place { segment, position: self.synced, synced: self.synced };
        let start = self.accounts.oldest().map_or(segment, |(oldest, _)| oldest);
        let copied = self.end - self.synced;
        let header = SegmentHeader { segment, base: self.synced, start, copied, ..SegmentHeader::default() };
        let fill = |file: &dyn DiskFile| copy(reader, file, place, options.buffer_bytes);
        let head = head::begin(disk, folder, header, false, fill).map_err(|error| match error {
            BeginError::Full => WalError::Open { cause: "the disk is full".to_owned() },
            BeginError::Unknown(error) => segment_error(segment, &error),
        })?;
        head::settle(&head);
        self.accounts.begin(segment, self.synced);
        for unsure in self.unsure.drain(..) {
            unsure.count(&mut self.accounts);
        }
        Ok(Some(head))
    }

    /// Frees the room of what is not looked at any more. Whether that holds does not matter.
    fn cut(&self, survey: &Survey) {
        let Some(newest) = survey.found.last() else { return };
        let keep = self.place_in(newest, self.synced);
        if keep < newest.bytes
            && let Err(error) = newest.file.set_len(keep)
        {
            tracing::warn!(segment = newest.header.segment, %error, "a segment's dropped end stays on the disk");
        }
    }

    fn place_in(&self, found: &Found, position: u64) -> u64 {
        SEGMENT_HEADER_BYTES + position.saturating_sub(found.header.base)
    }
}

/// Copies the frames that a reader gives to another place.
fn copy(mut from: SegmentReader, to: &dyn DiskFile, place: Place, buffer_bytes: usize) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    let mut sink = FrameSink::new(to, SEGMENT_HEADER_BYTES, place, &mut buffer, buffer_bytes);
    loop {
        match from.next()? {
            Next::Entry(_, entry) => sink.put(&Body::encode(&entry))?,
            Next::End => return sink.finish().map(drop),
            Next::Bad | Next::Malformed(_) => {
                return Err(std::io::Error::other("a frame does not read the same twice"));
            }
        }
    }
}

/// The log must begin where it was let go of, or earlier. Told by positions: numbers of segments are not dense, for a segment
/// whose name never became durable is left out by a loss of power, while the next one begins where it began.
fn check_start(survey: &Survey, known: LogMark) -> Result<(), WalError> {
    match survey.found.first().map(|oldest| oldest.header.base) {
        Some(start) if start > known.released => Err(WalError::StartMissing { start, released: known.released }),
        _ => Ok(()),
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

/// Removes files that hold nothing that is looked at. Should one come back, it still holds nothing.
fn remove_empty(disk: &dyn Disk, survey: &Survey) {
    for path in &survey.empty {
        if let Err(error) = disk.remove(path) {
            tracing::warn!(file = %path.display(), %error, "a file that the write-ahead log does not need stays on the disk");
        }
    }
}
