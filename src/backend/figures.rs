//! Figures of a backend.

use crate::model::Offset;

/// Answer to a flush; both are none where nothing is ever committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// The offset past the last committed record.
    pub committed_offset: Option<Offset>,
    /// The dataset's version.
    pub version: Option<u64>,
}

/// Figures of a backend; what it lacks is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendStats {
    /// Records in memory.
    pub buffered_records: Option<u64>,
    /// Bytes of records in memory.
    pub buffered_bytes: Option<u64>,
    /// Bytes of the dataset's data files.
    pub stored_bytes: Option<u64>,
    /// Bytes of the topic's entries in the log.
    pub wal_bytes: Option<u64>,
    /// Fragments of the dataset.
    pub fragments: Option<u64>,
    /// Versions of the dataset that were made.
    pub versions: Option<u64>,
}
