//! What an append is answered.

use crate::model::{Durability, Epoch, Offset, SchemaVersion, TopicName};

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
