//! One write-ahead log for the whole process: one `fdatasync` makes a whole group of appends, of any number of topics,
//! durable.
//!
//! Submitters encode their entries and enqueue them; the log's own thread takes all that is enqueued, writes it, syncs it
//! once and tells every submitter, while the next group gathers. The log is a row of segments ([`segment`]) of frames
//! ([`frame`]); the newest segment is its head. What has become durable elsewhere is released from the oldest segment on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::{LogMark, Offset, SchemaVersion, Timestamp, TopicId, Writer};

mod accounts;
mod beside;
mod frame;
mod group;
mod head;
mod plan;
mod queue;
mod reader;
mod release;
mod replay;
mod segment;
mod sink;
mod survey;
mod writer;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

pub use group::{Group, GroupEnd};
pub use plan::{Plan, plan};
pub use replay::{Cut, ReplaySummary};
pub use writer::SegmentedWal;

/// What one append puts into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalEntry {
    /// Whose records they are.
    pub topic: TopicId,
    /// The first record's offset.
    pub first: Offset,
    /// How many records there are; 0 only for an entry that carries nothing but its writer.
    pub count: u32,
    /// The schema version that the values were decoded under; none for backends without columns.
    pub schema: Option<SchemaVersion>,
    /// When they were appended.
    pub time: Timestamp,
    /// Whether the topic is closed behind these records.
    pub close: bool,
    /// Whether the entry is a copy, made to free its segment.
    pub relocated: bool,
    /// Who wrote it.
    pub writer: Writer,
    /// Records of another topic that stand or fall with these.
    pub beside: Option<Box<Beside>>,
    /// The values, each followed by `\n` (see [`crate::codec::Values`]).
    pub values: Bytes,
}

/// Records of another topic in the same entry: after a crash both are there, or neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Whose records they are.
    pub topic: TopicId,
    /// The first record's offset.
    pub first: Offset,
    /// How many records there are.
    pub count: u32,
    /// The schema version that the values were decoded under.
    pub schema: Option<SchemaVersion>,
    /// When they were appended.
    pub time: Timestamp,
    /// The values, each followed by `\n`.
    pub values: Bytes,
}

impl Beside {
    /// What a segment holds of it: the topic, the offset past its records, and their bytes.
    fn account(&self) -> (TopicId, Offset, u64) {
        let next = self.first.saturating_after(u64::from(self.count));
        (self.topic, next, beside::LEAD_BYTES + self.values.len() as u64)
    }
}

/// Why the log cannot do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalError {
    /// A write or sync has failed: nothing is acknowledged any more until a restart.
    #[error("the write-ahead log has failed: {cause}")]
    Failed {
        /// What the disk answered.
        cause: String,
    },
    /// The disk is full and nothing of the entry was written; the log goes on when there is room.
    #[error("the disk is full")]
    DiskFull,
    /// Durable data is damaged: the server must not start.
    #[error("the write-ahead log is damaged in segment {segment} at position {position}: {reason}")]
    Damaged {
        /// The segment's number.
        segment: u64,
        /// The position in the log.
        position: u64,
        /// What was found.
        reason: &'static str,
    },
    /// The log begins behind what may be gone of it: the server must not start.
    #[error(
        "the write-ahead log begins at position {start}, and the catalog does not know that it was let go of from position \
         {released} on: was an old catalog.sqlite put back, or were segments removed?"
    )]
    StartMissing {
        /// The log position of the first entry that is there.
        start: u64,
        /// The log position before which everything may be gone.
        released: u64,
    },
    /// The log ends before what is known to have been durable: the server must not start.
    #[error(
        "the write-ahead log ends at position {end}, and it was durable up to {known}: was its folder, or a segment of it, \
         removed, is its volume not mounted, or was an old copy of it put back?"
    )]
    EndMissing {
        /// The log position past all that is there.
        end: u64,
        /// The log position up to which everything was durable.
        known: u64,
    },
    /// A segment could not be read or written while opening the log.
    #[error("the write-ahead log cannot be opened: {cause}")]
    Open {
        /// What the disk answered.
        cause: String,
    },
    /// A segment could not be read, relocated or removed; nothing of it was lost, and the log goes on.
    #[error("segment {segment} of the write-ahead log cannot be freed: {cause}")]
    Segment {
        /// The segment's number.
        segment: u64,
        /// What the disk answered, or why the segment cannot be freed.
        cause: String,
    },
    /// The log was closed before the entry came in.
    #[error("the write-ahead log is closed")]
    Closed,
}

/// Which records of a relocated segment are still wanted: asked for each entry with its topic, its first offset and the
/// offset past its last.
pub type Wanted<'a> = &'a (dyn Fn(TopicId, Offset, Offset) -> bool + Sync);

/// Called once, in log order, by the log's own thread when the entry is durable or lost. It must be quick and must not
/// block.
pub type Completion = Box<dyn FnOnce(Result<(), WalError>, &mut Group) + Send>;

/// What is known of a segment that is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// The segment's number; younger segments have larger ones.
    pub segment: u64,
    /// The log position of its first entry.
    pub base: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// For each topic with entries in it: the offset past the last one, and the bytes of its entries.
    pub topics: Vec<(TopicId, Offset, u64)>,
}

/// The log as its users see it. Only the simulations and [`SegmentedWal`] implement it so far.
pub trait Wal: Send + Sync + fmt::Debug {
    /// Enqueues an entry; never blocks on the disk.
    ///
    /// `done` is called exactly once, in log order, on the log's own thread: with `Ok` when the entry is durable, with
    /// [`WalError::DiskFull`] when nothing of it is in the log nor ever will be, with [`WalError::Failed`] when that is not
    /// known. When it is called with [`WalError::DiskFull`], every entry that was enqueued before it returns is refused
    /// likewise: a submitter who enqueues under a lock of his own, and whose `done` takes that lock to note the refusal,
    /// never gets a later entry in behind a refused one.
    ///
    /// After [`Wal::close`] it is called with [`WalError::Closed`], on a thread of its own.
    fn append(&self, entry: WalEntry, done: Completion);

    /// Why nothing is acknowledged any more until a restart; none while the log is sound.
    fn failed(&self) -> Option<WalError>;

    /// The log position before which everything is durable. It never goes back, not by a restart either.
    fn end(&self) -> u64;

    /// Bytes of all segments on disk.
    fn bytes(&self) -> u64;

    /// Bytes of a topic's entries that are still in the log.
    fn topic_bytes(&self, topic: TopicId) -> u64;

    /// The segments, oldest first, the newest (the head) last. An entry is counted here before it is acknowledged.
    fn segments(&self) -> Vec<SegmentSummary>;

    /// Removes the oldest segments up to and including `through_segment`, never the newest one. Blocks on the disk.
    ///
    /// Everything in them must be durable elsewhere.
    ///
    /// # Errors
    /// [`WalError::Segment`] if a file cannot be removed: those before it are gone. [`WalError::Failed`] if the removal
    /// cannot be made durable, which latches, and when the log has latched before.
    fn release(&self, through_segment: u64) -> Result<(), WalError>;

    /// Copies the entries of a sealed segment that hold wanted records to the head of the log: same offsets, timestamps
    /// and writer, marked as relocated. Blocks until the copies are durable; after that the segment can be released.
    ///
    /// # Errors
    /// [`WalError::Segment`] if it is not a sealed segment or cannot be read, [`WalError::Damaged`] if it is damaged, and
    /// what [`Wal::append`] completes with. Some copies may be in the log all the same.
    fn relocate(&self, segment: u64, wanted: Wanted<'_>) -> Result<(), WalError>;

    /// Begins a new head if the present one holds entries, so that those can be released though nothing is appended any
    /// more. Blocks on the disk.
    ///
    /// # Errors
    /// [`WalError::DiskFull`], [`WalError::Failed`] or [`WalError::Closed`].
    fn seal_head(&self) -> Result<(), WalError>;

    /// Writes and syncs what is enqueued, tells everybody and ends the log's thread; idempotent. Nothing is appended
    /// afterwards.
    fn close(&self);
}

/// Learns of each group that was made durable, for metrics. Called on the log's thread: it must be quick.
pub trait WalObserver: Send + Sync + fmt::Debug {
    /// A group of `group` entries and `bytes` bytes is durable; its sync alone took `took`.
    fn synced(&self, group: usize, bytes: u64, took: Duration);
}

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// Bytes at which a segment is sealed. A single larger entry gets a segment of its own.
    pub segment_bytes: u64,
    /// Bytes of frames that are gathered in memory before they are written; larger values are written from where they are.
    pub buffer_bytes: usize,
    /// The most bytes of a segment's file that are prepared ahead of what is written, and whether a released segment's file
    /// is used again; 0 for neither.
    pub ahead_bytes_max: u64,
    /// What the log must have when it is opened; none where that is not known.
    pub known: Option<LogMark>,
    /// Who learns of synced groups.
    pub observer: Option<Arc<dyn WalObserver>>,
    /// Whether the log has a thread of its own; simulations have none and call [`SegmentedWal::step`].
    pub threaded: bool,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            buffer_bytes: 8 << 20,
            ahead_bytes_max: 8 << 20,
            known: None,
            observer: None,
            threaded: true,
        }
    }
}
