//! What the catalog keeps, row by row.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::model::{
    CursorName, Epoch, IndexId, IndexName, LogMark, Offset, OnInvalid, Retention, SchemaMode, SchemaVersion, Timestamp,
    TopicId, TopicName,
};
use crate::schema::{FieldPath, IndexSpec};

/// What a topic is: all of it but the retention, the options and the mode stays as it was created.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicDefinition {
    /// Its identity, never used twice.
    pub id: TopicId,
    /// Its name, of one living topic only.
    pub name: TopicName,
    /// Its backend's name.
    pub backend: String,
    /// Its backend's options, as the backend wants them kept.
    pub options: Map<String, Value>,
    /// The folder for the dataset, as it was asked for.
    pub storage_path: Option<String>,
    /// Where the dataset lies; none on backends without one.
    pub place: Option<DatasetPlace>,
    /// The schema that the topic was created with, as sent.
    pub declared_schema: Option<Value>,
    /// None on backends without columns.
    pub schema_mode: Option<SchemaMode>,
    /// How long records are kept.
    pub retention: Retention,
    /// What becomes of records that do not fit.
    pub on_invalid: OnInvalid,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Where a dataset lies. What the caller gave inside of the catalog's folder is told inside of the folder where that is now;
/// the catalog makes nothing else of these paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetPlace {
    /// The dataset's own folder.
    pub dataset: PathBuf,
    /// The symlink for other tools.
    pub link: PathBuf,
}

/// A topic to be made, its first epoch beginning at offset 0.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTopic {
    /// What it is.
    pub definition: TopicDefinition,
    /// Its first schema version, where one is declared.
    pub schema: Option<SchemaRow>,
}

/// What a topic begins with whose dataset was made from another one's.
#[derive(Clone, Debug, PartialEq)]
pub struct ForkedTopic {
    /// Which topic.
    pub id: TopicId,
    /// The earliest offset kept.
    pub earliest: Offset,
    /// The offset past the last record that its dataset holds, synced.
    pub next: Offset,
    /// What the owner of the table keeps of its columns.
    pub wide: String,
    /// Its schema versions, from the first one on.
    pub schemas: Vec<SchemaRow>,
    /// No record of it has a later time.
    pub newest: Timestamp,
    /// The indexes that it is to have.
    pub indexes: Vec<IndexRow>,
}

/// An index that a topic is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexRow {
    /// Which one: another one of its name has another identity.
    pub id: IndexId,
    /// Its name, of one index of the topic.
    pub name: IndexName,
    /// Its columns as they are called under its schema version.
    pub columns: Vec<FieldPath>,
    /// Its kind and parameters.
    pub spec: IndexSpec,
    /// The schema version under which it was defined.
    pub schema: Option<SchemaVersion>,
    /// It is complete for the first time when it has the records before this offset.
    pub from: Offset,
    /// When it was defined.
    pub created_at: Timestamp,
}

/// A living topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicRow {
    /// What it is.
    pub definition: TopicDefinition,
    /// Whether it takes no more records.
    pub closed: bool,
    /// The earliest offset kept.
    pub earliest: Offset,
    /// The offset past the last record that the dataset is known to hold, synced.
    pub next: Offset,
    /// What the owner of the table keeps of its columns, opaque here; empty before the first checkpoint.
    pub wide: String,
    /// Its epochs, oldest first; the last one holds. An epoch that a later one has voided down to the earliest offset is
    /// dropped: a reader that resumes with it is sent to the same place as one with a foreign epoch.
    pub epochs: Vec<EpochStart>,
    /// The newest schema version; none before the first.
    pub schema_version: Option<SchemaVersion>,
}

/// Where an epoch of a topic began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// Its number, never used by any other topic.
    pub epoch: Epoch,
    /// The first offset assigned in it.
    pub start: Offset,
}

/// A deleted topic whose folder is still to be removed, or whose records are still in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Its identity.
    pub id: TopicId,
    /// The name that it had, which another topic can have by now.
    pub name: TopicName,
    /// Where its dataset lay.
    pub place: Option<DatasetPlace>,
}

/// All that a start needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// Living topics, by identity, which is about the order of their creation.
    pub topics: Vec<TopicRow>,
    /// Deleted ones that are still to be cleared away.
    pub tombstones: Vec<Tombstone>,
    /// Whether the last server stopped in order.
    pub was_clean: bool,
    /// No record that the checkpoints know of has a later time.
    pub newest: Timestamp,
    /// How far the log had come; none where no server has noted it yet.
    pub log: Option<LogMark>,
}

/// Why a schema version came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SchemaCause {
    /// Given at creation.
    Declared,
    /// Made from the first records.
    Inferred,
    /// Made by records that did not fit the one before.
    Evolved,
    /// Sent by a client.
    Posted,
}

impl SchemaCause {
    /// Every cause.
    pub const ALL: [SchemaCause; 4] =
        [SchemaCause::Declared, SchemaCause::Inferred, SchemaCause::Evolved, SchemaCause::Posted];

    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            SchemaCause::Declared => "declared",
            SchemaCause::Inferred => "inferred",
            SchemaCause::Evolved => "evolved",
            SchemaCause::Posted => "posted",
        }
    }

    /// The cause that a word of the API names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == word)
    }
}

/// One schema version of a topic, with `J` for JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaRow<J = Value> {
    /// Its number: 1, then one more than the newest.
    pub version: SchemaVersion,
    /// The columns, as the API writes them.
    pub fields: J,
    /// What tells it from others.
    pub fingerprint: String,
    /// Why it came to be.
    pub cause: SchemaCause,
    /// What is different from the version before, as the API writes it.
    pub changes: J,
    /// When it was made.
    pub created_at: Timestamp,
}

/// One that is told: what of it is JSON stays text.
pub type SchemaText = SchemaRow<Box<RawValue>>;

/// Where a cursor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorPosition {
    /// The epoch in which it was set there.
    pub epoch: Epoch,
    /// The first offset that its reader has not dealt with.
    pub next: Offset,
}

/// A named position in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorRow {
    /// Its name, of one cursor of the topic.
    pub name: CursorName,
    /// Where it stands.
    pub position: CursorPosition,
    /// When it was set there.
    pub updated_at: Timestamp,
}

/// What is kept of an append to answer its repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredReceipt {
    /// The first record's offset.
    pub first: Offset,
    /// How many records were stored.
    pub count: u64,
    /// The schema version that they were written under.
    pub schema: Option<SchemaVersion>,
    /// How many more went to the quarantine.
    pub quarantined: u64,
}

/// What is known of a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerRow {
    /// Its `Producer-Id`.
    pub id: Arc<str>,
    /// Its newest epoch.
    pub epoch: u64,
    /// The last sequence number of that epoch.
    pub last_seq: u64,
    /// The answers to the last requests of that epoch, oldest first, the last one to `last_seq`; never empty.
    pub receipts: Vec<StoredReceipt>,
    /// When it last wrote.
    pub last_used: Timestamp,
}

/// What is known of an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The key.
    pub key: Arc<str>,
    /// Hash of the body that it was used for.
    pub body_hash: [u8; 32],
    /// The answer.
    pub receipt: StoredReceipt,
    /// When it was used.
    pub created_at: Timestamp,
}

/// Everything that is kept of a topic's writers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterRows {
    /// Its producers, by id.
    pub producers: Vec<ProducerRow>,
    /// Its idempotency keys, by key.
    pub keys: Vec<KeyRow>,
}

impl WriterRows {
    /// The offset past the last record that one of the answers tells of.
    pub fn next(&self) -> Offset {
        let producers = self.producers.iter().flat_map(|row| &row.receipts);
        let receipts = producers.chain(self.keys.iter().map(|row| &row.receipt));
        receipts.map(|receipt| receipt.first.saturating_after(receipt.count)).max().unwrap_or(Offset::ZERO)
    }
}

/// What has changed of a topic since its last checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicCheckpoint {
    /// Which topic.
    pub id: TopicId,
    /// The offset past the last record that its dataset holds, synced. One below the stored one changes nothing.
    pub next: Offset,
    /// What the owner of the table keeps of its columns.
    pub wide: String,
    /// Producers that have written.
    pub producers: Vec<ProducerRow>,
    /// Producers that are forgotten.
    pub removed_producers: Vec<Arc<str>>,
    /// Keys that were used.
    pub keys: Vec<KeyRow>,
    /// Keys that are forgotten.
    pub removed_keys: Vec<Arc<str>>,
}
