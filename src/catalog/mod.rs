//! What is known of topics beside their records: a SQLite file, `{data_dir}/catalog.sqlite`. All SQL is in this folder.
//!
//! - One connection writes. Changes submitted while it commits are committed together by its next transaction, each in a
//!   savepoint of its own, and answered after the commit: one fsync for all of them, and the failure of one leaves the
//!   others alone. A change whose caller has gone is made all the same.
//! - Journal mode WAL with `synchronous=FULL`: what is answered has been fsynced. What a start finds, it makes durable
//!   before anything rests on it.
//! - Paths inside of the file's folder are stored relative to it: the folder can be moved and copied.
//! - A commit that fails, except for want of room, latches: the file is not written again until a restart, and
//!   [`Health`](crate::runtime::Health) names it. The failed change may come to light then.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use sqlx::SqlitePool;
use tokio::sync::{mpsc, oneshot};

use crate::model::{
    CursorName, Epoch, IndexName, LogMark, Offset, OnInvalid, Retention, SchemaMode, SchemaVersion, Timestamp, TopicId,
};
use crate::runtime::Tasks;

mod cursors;
mod decode;
mod error;
mod forks;
mod indexes;
mod load;
mod open;
mod places;
mod rows;
mod schemas;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod topics;
mod writer;
mod writers;

pub use error::CatalogError;
pub use rows::{
    CursorPosition, CursorRow, DatasetPlace, EpochStart, ForkedTopic, IndexRow, KeyRow, Loaded, NewTopic, ProducerRow,
    SchemaCause, SchemaRow, SchemaText, StoredReceipt, Tombstone, TopicCheckpoint, TopicDefinition, TopicRow,
    WriterRows,
};

use writer::{Change, Message, QUEUE_MAX, Submitted, WriterTask};

/// The catalog. Clones share it.
#[derive(Clone, Debug)]
pub struct Catalog {
    submit: mpsc::Sender<Message>,
    readers: SqlitePool,
    folder: Arc<Path>,
}

impl Catalog {
    /// The file's name in the data folder.
    pub const FILE_NAME: &'static str = "catalog.sqlite";

    /// Opens the file, making it where it is missing (its folder must be there) and bringing an older form up to date. What
    /// it held is durable when the call returns. The writer runs as one of `tasks`, until [`Catalog::close`].
    ///
    /// # Errors
    /// [`CatalogError::Unsupported`] for the file of a newer version, else [`CatalogError::Failed`].
    pub async fn open(path: &Path, tasks: &Tasks) -> Result<Self, CatalogError> {
        let connection = open::open_writer(path).await?;
        let readers = open::open_readers(path);
        let (submit, queue) = mpsc::channel(QUEUE_MAX);
        let writer = WriterTask::new(connection, queue, tasks.health().clone());
        tasks.spawn("catalog", writer.run());
        Ok(Self { submit, readers, folder: open::folder_of(path).into() })
    }

    /// Everything that a start needs, in one consistent read.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] names a row that cannot be had.
    pub async fn load(&self) -> Result<Loaded, CatalogError> {
        load::load(&self.readers, &self.folder).await
    }

    /// Makes a topic with its first epoch and, where one is declared, its first schema version.
    ///
    /// # Errors
    /// [`CatalogError::NameTaken`] when a living topic has the name.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<Epoch, CatalogError> {
        let topic = NewTopic { definition: self.to_stored(topic.definition), ..topic };
        self.submit(topics::Create(topic)).await
    }

    /// Notes a topic whose dataset is going to be made: as a tombstone, so that a start finds what is left of one that was
    /// never completed.
    ///
    /// # Errors
    /// [`CatalogError`]; nothing may be made then.
    pub async fn begin_fork(&self, definition: TopicDefinition) -> Result<(), CatalogError> {
        self.submit(forks::Begin(self.to_stored(definition))).await
    }

    /// Makes a living topic, with its first epoch, of one that was noted and whose dataset is durable.
    ///
    /// # Errors
    /// [`CatalogError::NameTaken`] when a living topic has the name; [`CatalogError::NotFound`] when it was not noted.
    pub async fn complete_fork(&self, fork: ForkedTopic) -> Result<Epoch, CatalogError> {
        self.submit(forks::Complete(fork)).await
    }

    /// Turns a topic into a tombstone: its name is free at once, its schemas, writers, cursors and epochs are gone.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when no living topic has the identity.
    pub async fn bury(&self, id: TopicId) -> Result<(), CatalogError> {
        self.submit(topics::Bury(id)).await
    }

    /// Removes a tombstone, when neither folder nor log has anything of the topic any more.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when there is no such tombstone.
    pub async fn forget(&self, id: TopicId) -> Result<(), CatalogError> {
        self.submit(topics::Forget(id)).await
    }

    /// Closes a topic; again: nothing.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when no living topic has the identity.
    pub async fn set_closed(&self, id: TopicId) -> Result<(), CatalogError> {
        self.submit(topics::SetClosed(id)).await
    }

    /// Raises the earliest offset kept; one at or below the stored one changes nothing.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when no living topic has the identity.
    pub async fn set_earliest(&self, id: TopicId, earliest: Offset) -> Result<(), CatalogError> {
        self.submit(topics::SetEarliest(id, earliest)).await
    }

    /// Replaces the changeable configuration.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when no living topic has the identity.
    pub async fn set_config(
        &self,
        id: TopicId,
        retention: Retention,
        options: serde_json::Map<String, serde_json::Value>,
        mode: Option<SchemaMode>,
        on_invalid: OnInvalid,
    ) -> Result<(), CatalogError> {
        self.submit(topics::SetConfig { id, retention, options, mode, on_invalid }).await
    }

    /// Begins a new epoch of each topic at the offset of its next record, in one transaction; the epochs come in the order
    /// of the topics. What is stored as earliest and next offset is lowered to that offset where it is past it.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when one of them is no living topic; none has a new epoch then.
    pub async fn begin_epochs(&self, starts: &[(TopicId, Offset)]) -> Result<Vec<Epoch>, CatalogError> {
        if starts.is_empty() {
            return Ok(Vec::new());
        }
        self.submit(topics::BeginEpochs(starts.to_vec())).await
    }

    /// Stores the schema version that comes next.
    ///
    /// # Errors
    /// [`CatalogError::VersionTaken`] when it is not the one after the newest, [`CatalogError::NotFound`] when no living
    /// topic has the identity.
    pub async fn insert_schema(&self, id: TopicId, schema: SchemaRow) -> Result<(), CatalogError> {
        self.submit(schemas::InsertSchema { id, schema }).await
    }

    /// Every schema version of a topic, oldest first; none where there is no such topic.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] names a row that cannot be had.
    pub async fn schemas(&self, id: TopicId) -> Result<Vec<SchemaRow>, CatalogError> {
        schemas::all(&self.readers, id).await
    }

    /// Schema versions of a topic after one, oldest first, at most so many and about so many bytes, but one at least; and
    /// whether there are more.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] names a row that cannot be had.
    pub async fn schema_texts(
        &self,
        id: TopicId,
        after: Option<SchemaVersion>,
        versions_max: usize,
        bytes_max: usize,
    ) -> Result<(Vec<SchemaText>, bool), CatalogError> {
        schemas::texts(&self.readers, id, after, (versions_max, bytes_max)).await
    }

    /// One schema version of a topic, none for the newest.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] names a row that cannot be had.
    pub async fn schema_text(
        &self,
        id: TopicId,
        version: Option<SchemaVersion>,
    ) -> Result<Option<SchemaText>, CatalogError> {
        schemas::text(&self.readers, id, version).await
    }

    /// The newest schema version of a topic.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] names a row that cannot be had.
    pub async fn newest_schema(&self, id: TopicId) -> Result<Option<SchemaRow>, CatalogError> {
        schemas::newest(&self.readers, id).await
    }

    /// Every posted schema version of a topic and the one before each, oldest first.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] names a row that cannot be had.
    pub async fn posted_schemas(&self, id: TopicId) -> Result<Vec<SchemaRow>, CatalogError> {
        schemas::posted(&self.readers, id).await
    }

    /// Stores what has changed of many topics, and how far the log has come, in one transaction. Topics deleted meanwhile are
    /// passed over. Everything that the rows rest on must be durable before the call, and so must the log be up to its end:
    /// after a crash they are believed. `newest` is no earlier than the time of any record of theirs.
    ///
    /// # Errors
    /// [`CatalogError`]; nothing is stored then.
    pub async fn checkpoint(
        &self,
        topics: &[TopicCheckpoint],
        newest: Timestamp,
        log: LogMark,
    ) -> Result<(), CatalogError> {
        self.submit(writers::Checkpoint::of(topics, newest, log)?).await
    }

    /// The writers of one topic as of its last checkpoint.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] names a row that cannot be had.
    pub async fn writers(&self, id: TopicId) -> Result<WriterRows, CatalogError> {
        writers::of_topic(&self.readers, id).await
    }

    /// The writers of every topic that has any, as of the last checkpoints.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] names a row that cannot be had.
    pub async fn all_writers(&self) -> Result<HashMap<TopicId, WriterRows>, CatalogError> {
        writers::of_all(&self.readers).await
    }

    /// Sets a cursor, making it where it is not there and the topic has fewer than `cursors_max`. With `expected` only if it
    /// stands there.
    ///
    /// # Errors
    /// [`CatalogError::CursorMoved`], [`CatalogError::TooManyCursors`]; [`CatalogError::NotFound`] when no living topic has
    /// the identity.
    pub async fn put_cursor(
        &self,
        id: TopicId,
        cursor: CursorRow,
        expected: Option<CursorPosition>,
        cursors_max: u64,
    ) -> Result<(), CatalogError> {
        self.submit(cursors::Put { id, cursor, expected, cursors_max }).await
    }

    /// Forgets a cursor; false where there is none.
    ///
    /// # Errors
    /// [`CatalogError`]; the cursor is as before.
    pub async fn delete_cursor(&self, id: TopicId, name: CursorName) -> Result<bool, CatalogError> {
        self.submit(cursors::Delete { id, name }).await
    }

    /// One cursor of a topic.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] names a row that cannot be had.
    pub async fn cursor(&self, id: TopicId, name: &CursorName) -> Result<Option<CursorRow>, CatalogError> {
        cursors::one(&self.readers, id, name).await
    }

    /// Every cursor of a topic, by name.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] names a row that cannot be had.
    pub async fn cursors(&self, id: TopicId) -> Result<Vec<CursorRow>, CatalogError> {
        cursors::of_topic(&self.readers, id).await
    }

    /// Every cursor of every topic that has any, by name.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] names a row that cannot be had.
    pub async fn all_cursors(&self) -> Result<HashMap<TopicId, Vec<CursorRow>>, CatalogError> {
        cursors::of_all(&self.readers).await
    }

    /// Stores the definition of an index in place of another one of its name, where the topic has fewer than `indexes_max`
    /// others.
    ///
    /// # Errors
    /// [`CatalogError::TooManyIndexes`]; [`CatalogError::NotFound`] when no living topic has the identity.
    pub async fn put_index(&self, id: TopicId, index: IndexRow, indexes_max: u64) -> Result<(), CatalogError> {
        self.submit(indexes::Put { id, index, indexes_max }).await
    }

    /// Forgets the definition of an index; false where there is none.
    ///
    /// # Errors
    /// [`CatalogError`]; it is as before.
    pub async fn delete_index(&self, id: TopicId, name: IndexName) -> Result<bool, CatalogError> {
        self.submit(indexes::Delete { id, name }).await
    }

    /// The definition of every index of a topic, by name.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] names a row that cannot be had.
    pub async fn indexes(&self, id: TopicId) -> Result<Vec<IndexRow>, CatalogError> {
        indexes::of_topic(&self.readers, id).await
    }

    /// The topics that are to have an index.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] names a row that cannot be had.
    pub async fn indexed_topics(&self) -> Result<HashSet<TopicId>, CatalogError> {
        indexes::topics(&self.readers).await
    }

    /// Notes whether the server has stopped in order (false once it runs, true as its last word), and how far the log has
    /// come.
    ///
    /// # Errors
    /// [`CatalogError`]; the note is as before.
    pub async fn set_clean(&self, clean: bool, log: LogMark) -> Result<(), CatalogError> {
        self.submit(topics::SetClean(clean, log)).await
    }

    /// Makes the changes that are waiting, then closes the file. Later calls fail. Again: nothing.
    ///
    /// # Errors
    /// [`CatalogError::Failed`] when SQLite could not close it; every answered change is durable all the same.
    pub async fn close(&self) -> Result<(), CatalogError> {
        self.readers.close().await;
        let (done, closed) = oneshot::channel();
        if self.submit.send(Message::Close(done)).await.is_err() {
            return Ok(());
        }
        // A second close that crosses the first one finds nobody to answer.
        closed.await.unwrap_or(Ok(()))
    }

    fn to_stored(&self, definition: TopicDefinition) -> TopicDefinition {
        let place = definition.place.map(|place| places::to_stored(&self.folder, place));
        TopicDefinition { place, ..definition }
    }

    async fn submit<C: Change>(&self, change: C) -> Result<C::Answer, CatalogError> {
        let (sender, answer) = oneshot::channel();
        let job = Box::new(Submitted::new(change, sender));
        self.submit.send(Message::Change(job)).await.map_err(|_| CatalogError::failed("the catalog is closed"))?;
        answer.await.unwrap_or_else(|_| Err(CatalogError::failed("the catalog's writer has gone")))
    }
}
