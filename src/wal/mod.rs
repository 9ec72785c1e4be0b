//! One write-ahead log for the whole process: one `fdatasync` makes a whole group of appends, of any number of topics,
//! durable.

use bytes::Bytes;

use crate::model::{Offset, SchemaVersion, Timestamp, TopicId, Writer};

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
    /// The values, each followed by `\n` (see [`crate::codec::Values`]).
    pub values: Bytes,
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
    /// A segment could not be read or written while opening the log.
    #[error("the write-ahead log cannot be opened: {cause}")]
    Open {
        /// What the disk answered.
        cause: String,
    },
}

/// Called once, in log order, by the log's own thread when the entry is durable or lost. It must be quick and must not
/// block.
pub type Completion = Box<dyn FnOnce(Result<(), WalError>) + Send>;

/// What is known of a segment that is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// The segment's number, ascending with age's end.
    pub segment: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// For each topic with entries in it: the offset past the last one, and the bytes of its entries.
    pub topics: Vec<(TopicId, Offset, u64)>,
}
