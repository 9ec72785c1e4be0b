//! What an append is answered.

use crate::backend::StorageError;
use crate::model::{Durability, Epoch, ErrorCode, Offset, SchemaVersion, TopicName};
use crate::topic::Topic;

/// The answer to an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The topic.
    pub topic: TopicName,
    /// Its epoch.
    pub epoch: Epoch,
    /// The first record's offset.
    pub first_offset: Offset,
    /// The last record's offset.
    pub last_offset: Offset,
    /// How many records were stored; 0 only where all went to the quarantine. A load in pieces can have others' records
    /// between its own.
    pub count: u64,
    /// The schema version that they were written under; none on backends without columns or before the first version.
    pub schema_version: Option<SchemaVersion>,
    /// How many records went to the quarantine.
    pub quarantined: u64,
    /// The level reached.
    pub durability: Durability,
    /// Whether the level is all that the backend can ever give, so that the answer is final (200) all the same.
    pub complete: bool,
    /// Whether the records had been stored by an earlier request.
    pub duplicate: bool,
}

impl Receipt {
    /// The offset past the records.
    pub fn next_offset(&self) -> Offset {
        if self.count == 0 { self.first_offset } else { self.last_offset.saturating_after(1) }
    }
}

/// Records in flight that count as appended, unless it turns out that nothing of them is stored. Where nobody waits for the
/// end any more they count, for they are nearly always stored.
pub(super) struct Counted<'t> {
    topic: &'t Topic,
    records: u64,
    bytes: u64,
}

impl<'t> Counted<'t> {
    pub(super) const fn new(topic: &'t Topic, records: u64, bytes: u64) -> Self {
        Self { topic, records, bytes }
    }

    /// The end is known.
    pub(super) fn end(mut self, outcome: &Result<Durability, StorageError>) {
        let is_refused = |err: &StorageError| {
            // What a degraded topic has taken it keeps.
            matches!(err, StorageError::Unwritable { code } if *code != ErrorCode::TopicDegraded)
        };
        if outcome.as_ref().err().is_some_and(is_refused) {
            (self.records, self.bytes) = (0, 0);
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.topic.count(self.records, self.bytes);
    }
}
