//! What stores a topic's records once they are sequenced.
//!
//! A backend is a [`BackendFactory`] in the [`BackendRegistry`]; it opens one [`StorageBackend`] for each topic. The
//! three built-in ones are compositions of the same parts: `memory` is a [`Tail`](crate::tail::Tail), `lance` a tail and a
//! table, `persisting` a write-ahead log, a tail and a table.

mod capabilities;
mod columnar;
mod error;
mod figures;
mod follow;
mod layered;
mod memory;
mod options;
mod registry;
mod rules;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

pub use capabilities::Capabilities;
pub use columnar::Columnar;
pub use error::StorageError;
pub use figures::{BackendStats, Flushed};
pub use layered::{LanceFactory, LayeredServices, PersistingFactory};
pub use memory::MemoryFactory;
pub use options::{OptionKind, OptionSpec, OptionValues, check_options};
pub use registry::{AlreadyRegistered, BackendRegistry};
pub use rules::{AckLevels, EpochRule, RecordForm};

pub use crate::schema::VersionedSchema;
pub use layered::Lane;
pub(crate) use layered::{Admission, CommitQueue, Due, Still, StoredMisfit};

use crate::codec::{Chunk, Values};
use crate::model::{Ack, Durability, Offset, Problem, SchemaVersion, Timestamp, TopicId, TopicName, Writer};
use crate::table::TablePlace;
use crate::tail::{LevelsWatch, Reservation};

/// Records with their offsets. Only the topic's sequencer makes one, so offsets are dense and times non-decreasing.
#[derive(Debug)]
pub struct Sequenced {
    pub(crate) chunk: Chunk,
    pub(crate) schema: Option<SchemaVersion>,
    pub(crate) writer: Writer,
    pub(crate) close: bool,
    pub(crate) reservation: Reservation,
}

impl Sequenced {
    /// The records.
    pub const fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    /// The version of the schema that their values were decoded under; none on backends without columns.
    pub const fn schema(&self) -> Option<SchemaVersion> {
        self.schema
    }

    /// Who wrote them.
    pub const fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Whether the topic is closed behind them.
    pub const fn closes(&self) -> bool {
        self.close
    }

    /// Makes a batch by hand, for the tests of a backend.
    #[doc(hidden)]
    pub fn for_tests(first: Offset, time: Timestamp, values: Values) -> Self {
        let chunk = Chunk::new(first, time, values);
        Self { chunk, schema: None, writer: Writer::Plain, close: false, reservation: Reservation::none() }
    }
}

/// Resolves when records are as durable as asked, with the level that they have reached. Dropping it undoes nothing.
pub type Commit = BoxFuture<'static, Result<Durability, StorageError>>;

/// Stores the records of one topic.
///
/// The seven operations are `put`, `put_batch`, `get`, `get_stream`, `flush`, `stats` and `total_count`; a backend writes
/// `put_batch`, `get`, `flush`, `stats` and `levels`, the others come with the trait.
#[async_trait]
pub trait StorageBackend: Send + Sync {
    /// Stores one record: [`StorageBackend::put_batch`] of a batch of one.
    fn put(&self, record: Sequenced, ack: Ack) -> Commit {
        self.put_batch(record, ack)
    }

    /// Stores a batch. Batches come one at a time, in offset order; the call only enqueues and does not block. The result
    /// resolves when the batch has reached `ack`.
    fn put_batch(&self, batch: Sequenced, ack: Ack) -> Commit;

    /// Stores a batch, and with it one of another topic of the same backend: after a crash both are there, or neither. The
    /// batch itself may be empty. Otherwise as [`StorageBackend::put_batch`]; backends that keep a quarantine for topics
    /// ([`BackendFactory::quarantines`]) have it.
    fn put_beside(&self, batch: Sequenced, beside: (Arc<Lane>, Sequenced), ack: Ack) -> Commit {
        let _ = (batch, beside, ack);
        let cause = "the backend has no entries of two topics".to_owned();
        Box::pin(std::future::ready(Err(StorageError::Failed { cause })))
    }

    /// Records from `offset` on, in order, dense, at most `limit` of them and about `bytes` of text (but at least one
    /// record). Empty at and past the readable tail.
    ///
    /// # Errors
    /// [`StorageError::Expired`] below the earliest offset; [`StorageError::Failed`] when records could not be read.
    async fn get(&self, offset: Offset, limit: usize, bytes: usize) -> Result<Vec<Chunk>, StorageError>;

    /// All records from `offset` on, at most `limit`; with `block` it waits for more at the tail, else it ends there. The
    /// defaults of the operation are offset 0, no limit and no blocking.
    fn get_stream(
        self: Arc<Self>,
        offset: Offset,
        limit: Option<u64>,
        block: bool,
    ) -> BoxStream<'static, Result<Chunk, StorageError>>
    where
        Self: 'static,
    {
        follow::follow(self, offset, limit, block)
    }

    /// Returns when all that was put before is as safe as the backend can make it.
    ///
    /// # Errors
    /// [`StorageError`] when it could not be made so.
    async fn flush(&self) -> Result<Flushed, StorageError>;

    /// Figures.
    ///
    /// # Errors
    /// [`StorageError::Failed`] when they could not be had.
    async fn stats(&self) -> Result<BackendStats, StorageError>;

    /// How far the topic has come: the one value that readers and writers wait on.
    fn levels(&self) -> &LevelsWatch;

    /// How many records can be read.
    fn total_count(&self) -> u64 {
        let levels = self.levels().now();
        levels.readable.since(levels.earliest)
    }

    /// Makes room for a batch of so many bytes before it is sequenced, or refuses it.
    ///
    /// # Errors
    /// [`StorageError::Full`] or [`StorageError::Unwritable`].
    async fn reserve(&self, bytes: u64) -> Result<Reservation, StorageError> {
        let _ = bytes;
        Ok(Reservation::none())
    }

    /// Resolves when everything before `next` has reached `ack`.
    fn reached(&self, next: Offset, ack: Ack) -> Commit {
        let mut receiver = self.levels().subscribe();
        Box::pin(async move {
            let wanted = |levels: &crate::tail::Levels| {
                levels.reached(ack) >= next || levels.failed.is_some() || levels.ending.is_some()
            };
            let levels = match receiver.wait_for(wanted).await {
                Ok(levels) => *levels,
                Err(_) => return Err(StorageError::Deleted),
            };
            if levels.reached(ack) >= next {
                return Ok(ack);
            }
            Err(levels.failed.map_or(StorageError::Deleted, |code| StorageError::Unwritable { code }))
        })
    }

    /// As [`StorageBackend::reached`], for whoever has looked at the topic when so many refusals ([`Levels::refusals`]) had
    /// been: a refusal since then ends the waiting, though it came before the call.
    ///
    /// [`Levels::refusals`]: crate::tail::Levels::refusals
    fn reached_since(&self, next: Offset, ack: Ack, refusals: u64) -> Commit {
        let _ = refusals;
        self.reached(next, ack)
    }

    /// The first offset whose record was appended at or after `time`; the readable tail where there is none.
    ///
    /// # Errors
    /// [`StorageError::Failed`] when records could not be read.
    async fn seek_time(&self, time: Timestamp) -> Result<Offset, StorageError> {
        follow::seek_time(self, time).await
    }

    /// Gives up the records before the earliest offset, which the topic has moved already. A backend may keep them longer.
    ///
    /// # Errors
    /// [`StorageError::Failed`]; the call is repeated later.
    async fn trim(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// The lowest offset from which on at most `bytes` are held, for retention by bytes; none where nothing is to go.
    ///
    /// # Errors
    /// [`StorageError::Failed`] when it could not be found out.
    async fn offset_within_bytes(&self, bytes: u64) -> Result<Option<Offset>, StorageError> {
        let _ = bytes;
        Ok(None)
    }

    /// Tells how many bytes retention leaves; none for no bound.
    fn hold(&self, bytes: Option<u64>) {
        let _ = bytes;
    }

    /// About how many bytes are held by the records from the earliest offset up to `before`.
    ///
    /// # Errors
    /// [`StorageError::Failed`] when it could not be found out.
    async fn bytes_before(&self, before: Offset) -> Result<u64, StorageError> {
        let _ = before;
        Ok(0)
    }

    /// Merges what can be merged, in the background: how many fragments there are now; none where there are no fragments.
    ///
    /// # Errors
    /// [`StorageError::Failed`] when the dataset could not be opened.
    async fn compact(&self) -> Result<Option<u64>, StorageError> {
        Ok(None)
    }

    /// Its records in columns, where it has columns.
    fn columnar(&self) -> Option<&dyn Columnar> {
        None
    }

    /// The part that commits to a dataset, where the backend has one.
    fn lane(&self) -> Option<Arc<Lane>> {
        None
    }
}

/// The newest schema of a topic, shared between the topic and its backend.
pub type SchemaCell = Arc<arc_swap::ArcSwapOption<VersionedSchema>>;

/// What a backend is told of a topic that it opens.
#[derive(Clone, Debug)]
pub struct OpenTopic {
    /// The topic's identity.
    pub id: TopicId,
    /// The topic's name.
    pub name: TopicName,
    /// Its options, checked, defaults filled in.
    pub options: OptionValues,
    /// Where its dataset lies; none for backends without columns.
    pub place: Option<TablePlace>,
    /// Its newest schema.
    pub schema: SchemaCell,
    /// The earliest offset kept.
    pub earliest: Offset,
    /// Everything before it is known to have been committed.
    pub committed: Offset,
    /// Records from `committed` on that the write-ahead log still had.
    pub replayed: Vec<Chunk>,
    /// Whether `committed` and `replayed` are all that there is: the last stop was in order.
    pub is_settled: bool,
    /// Whether the topic is closed.
    pub closed: bool,
}

/// An opened topic.
pub struct Opened {
    /// What stores its records.
    pub backend: Arc<dyn StorageBackend>,
    /// The offset that the next record gets.
    pub next: Offset,
    /// When the last record was appended, where that is known.
    pub last_time: Option<Timestamp>,
}

/// Makes backends of one kind.
#[async_trait]
pub trait BackendFactory: Send + Sync {
    /// The name that topics choose it by.
    fn name(&self) -> &str;

    /// What it is, ending with what it is for.
    fn description(&self) -> &str;

    /// What it can do today.
    fn capabilities(&self) -> Capabilities;

    /// The options that it takes.
    fn options(&self) -> Vec<OptionSpec> {
        Vec::new()
    }

    /// The given options, checked already, with the defaults of all others.
    ///
    /// # Errors
    /// A problem `invalid_body` where options do not go together.
    fn complete(&self, given: &OptionValues) -> Result<OptionValues, Problem> {
        Ok(options::with_defaults(&self.options(), given))
    }

    /// Applies changed options to an open topic.
    fn reconfigure(&self, backend: &dyn StorageBackend, options: &OptionValues) {
        let _ = (backend, options);
    }

    /// How records are decoded for it.
    fn form(&self) -> RecordForm {
        RecordForm::Documents
    }

    /// The levels of a topic with these options.
    fn acks(&self, options: &OptionValues) -> AckLevels {
        let _ = options;
        AckLevels { available: vec![Ack::Accepted], default: Ack::Accepted, complete: true }
    }

    /// When a topic with these options begins a new epoch.
    fn epoch_rule(&self, options: &OptionValues) -> EpochRule {
        let _ = options;
        EpochRule::EveryRestart
    }

    /// Whether producer headers and idempotency keys are kept for a topic with these options.
    fn exactly_once(&self, options: &OptionValues) -> bool {
        let _ = options;
        self.capabilities().exactly_once
    }

    /// Whether a topic with these options can have a quarantine for records that do not fit its columns.
    fn quarantines(&self, options: &OptionValues) -> bool {
        let _ = options;
        false
    }

    /// Whether storage series of a topic with these options are on `/metrics`.
    fn topic_metrics(&self, options: &OptionValues) -> bool {
        let _ = options;
        self.capabilities().metrics
    }

    /// Opens or makes the store of a topic.
    ///
    /// # Errors
    /// [`StorageError`]; the topic cannot be used then.
    async fn open(&self, topic: OpenTopic) -> Result<Opened, StorageError>;

    /// Makes what must be there before the creation of a topic is answered.
    ///
    /// # Errors
    /// [`StorageError`]; the creation is undone then.
    async fn prepare(&self, topic: &OpenTopic) -> Result<(), StorageError> {
        let _ = topic;
        Ok(())
    }

    /// Removes everything that a deleted topic has left; it can be called again.
    ///
    /// # Errors
    /// [`StorageError::Failed`]; it is tried again later.
    async fn remove(&self, id: TopicId, place: Option<&TablePlace>) -> Result<(), StorageError> {
        let _ = (id, place);
        Ok(())
    }
}
