//! How far the write-ahead log has come, as the catalog keeps it.

/// How far the write-ahead log has come: what it must still have at the next start. Neither number ever goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMark {
    /// The log position before which everything may be gone.
    pub released: u64,
    /// The log position before which everything was durable.
    pub end: u64,
}
