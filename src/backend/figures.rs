//! Figures of a backend.

use crate::model::Offset;
use crate::table::Upkeep;

/// Answer to a flush; both are none where nothing is ever committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// The offset past the last committed record.
    pub committed_offset: Option<Offset>,
    /// The dataset's version.
    pub version: Option<u64>,
}

/// Figures of a backend; what it lacks is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BackendStats {
    /// Records in memory.
    pub buffered_records: Option<u64>,
    /// Bytes of records in memory.
    pub buffered_bytes: Option<u64>,
    /// Bytes of the JSON text of the records that are kept.
    pub raw_bytes: Option<u64>,
    /// How many bytes of text one byte of the dataset stands for.
    pub compression_ratio: Option<f64>,
    /// Bytes of the dataset's data files.
    pub stored_bytes: Option<u64>,
    /// Bytes of the topic's entries in the log.
    pub wal_bytes: Option<u64>,
    /// Fragments of the dataset.
    pub fragments: Option<u64>,
    /// Versions of the dataset that are kept.
    pub versions: Option<u64>,
    /// Bytes of data files that hold records of the newest version.
    pub live_bytes: Option<u64>,
    /// Bytes of data files besides.
    pub dead_bytes: Option<u64>,
    /// What was last done to keep the dataset small, since the topic was opened.
    pub last_upkeep: Option<Upkeep>,
}
