//! What every edge calls: a topic's records, positions and waiting readers.

mod admission;
mod ahead;
mod append;
mod ask;
mod check;
mod checkpoint;
mod close;
pub(crate) mod configure;
mod cursors;
mod cut;
mod decode;
mod epoch;
mod evolve;
mod indexes;
mod listing;
mod load;
mod load_rows;
mod log;
mod passing;
mod past;
mod post;
pub mod producers;
mod quarantine;
mod read;
mod receipt;
mod replay;
mod retention;
mod room;
mod runs;
mod services;
mod stored;
mod stream;
mod told;
mod versions;
mod view;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;

pub use crate::backend::Flushed;
pub use admission::{InflightBudget, InflightPermit};
pub(crate) use ahead::AHEAD_BYTES_MAX;
pub use ask::{
    AppendRequest, CreateTopic, Cursor, Description, EndReason, GapReason, IfMatch, Page, PutCursor, ReadRequest,
    Resume, RetentionPreview, SchemaCheck, SchemaListing, Start, StreamItem, StreamRequest, TopicPatch, TopicState,
    TopicStats,
};
pub(crate) use configure::{RETENTION_MEMBERS, Settings, read_on_invalid};
pub use cut::{Cut, Mark, Step};
pub(crate) use decode::check_first;
pub use epoch::Epochs;
pub use indexes::{CreateIndex, INDEXES_MAX, IndexListing};
pub use past::Moment;
pub(crate) use past::{Bounds, View, columns_changed};
pub(crate) use post::{follow_all, schema_etag};
pub(crate) use quarantine::{Quarantines, quarantine_schema};
pub use read::ColumnRead;
pub(crate) use read::PULL_COLUMN_BYTES;
pub use receipt::Receipt;
pub use replay::Replayed;
pub(crate) use runs::RUNS_BYTES_MAX;
pub use runs::SharedRun;
pub(crate) use services::TopicServices;
pub(crate) use stored::versioned;
pub use versions::ForkAt;
pub(crate) use versions::ForkCut;
pub use view::AsOfSchema;

use crate::backend::{BackendFactory, EpochRule, SchemaCell, StorageBackend, StorageError};
use crate::catalog::{CatalogError, IndexRow};
use crate::codec::PreparedSchema;
use crate::model::{Ack, Epoch, ErrorCode, Offset, Problem, SchemaVersion, Timestamp, TopicId, TopicName};
use crate::schema::WideColumns;
use crate::table::TablePlace;
use crate::tail::Ending;
use crate::topic::log::{Log, Phase, topic_gone};
use crate::topic::producers::{IdempotencyKeys, Producers};

/// What a topic is made of, as the engine found it.
pub(crate) struct TopicParts {
    pub(crate) name: TopicName,
    pub(crate) id: TopicId,
    pub(crate) created_at: Timestamp,
    pub(crate) factory: Arc<dyn BackendFactory>,
    pub(crate) place: Option<TablePlace>,
    pub(crate) storage_path: Option<String>,
    pub(crate) settings: Settings,
    pub(crate) schema: SchemaCell,
    pub(crate) epochs: Epochs,
    pub(crate) backend: Arc<dyn StorageBackend>,
    pub(crate) next: Offset,
    pub(crate) last_time: Timestamp,
    pub(crate) closed: bool,
    pub(crate) producers: Producers,
    pub(crate) keys: IdempotencyKeys,
    pub(crate) wide: WideColumns,
    pub(crate) checkpointed: Offset,
    /// Whether the log had writers that the catalog's checkpoint may lack.
    pub(crate) dirty: bool,
    pub(crate) indexes: Vec<IndexRow>,
    pub(crate) services: Arc<TopicServices>,
}

/// What a topic was before its deletion began.
pub(crate) struct Before {
    phase: Phase,
    /// How often its log had refused something by then.
    rewinds: u64,
}

/// A topic.
pub struct Topic {
    name: TopicName,
    id: TopicId,
    created_at: Timestamp,
    factory: Arc<dyn BackendFactory>,
    place: Option<TablePlace>,
    storage_path: Option<String>,
    settings: ArcSwap<Settings>,
    schema: SchemaCell,
    /// The schema that records were decoded under last, made ready for that.
    prepared: ArcSwapOption<(SchemaVersion, Arc<PreparedSchema>)>,
    epochs: Epochs,
    backend: Arc<dyn StorageBackend>,
    log: Mutex<Log>,
    evolution_done: tokio::sync::Notify,
    /// Changes of the configuration come one at a time.
    configuring: tokio::sync::Mutex<()>,
    /// Whether a task removes what lies before the earliest offset.
    removing: AtomicBool,
    streams: AtomicU64,
    /// What the streams share.
    runs: runs::Runs,
    /// Records and bytes of their text that were appended since the server started.
    appended: [AtomicU64; 2],
    /// The committed offset that the catalog has.
    checkpointed: AtomicU64,
    /// Where records go that do not fit, once that is known.
    quarantine: ArcSwapOption<Topic>,
    /// The indexes that it is to have, as the catalog has them.
    indexes: ArcSwap<Vec<IndexRow>>,
    /// Changes of them come one at a time.
    indexing: tokio::sync::Mutex<()>,
    /// One replay of the quarantine at a time.
    replaying: tokio::sync::Mutex<()>,
    services: Arc<TopicServices>,
}

/// What a client is told of a catalog that failed.
pub(crate) fn catalog_answer(err: &CatalogError) -> Problem {
    match err {
        CatalogError::DiskFull => StorageError::Unwritable { code: ErrorCode::DiskFull }.to_problem(),
        // The topic was deleted meanwhile.
        CatalogError::NotFound => StorageError::Deleted.to_problem(),
        _ => Problem::internal(),
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic").field("name", &self.name).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Topic {
    pub(crate) fn new(parts: TopicParts) -> Self {
        let log = Log {
            next: parts.next,
            last_time: parts.last_time,
            phase: if parts.closed { Phase::Closed } else { Phase::Open },
            producers: parts.producers,
            keys: parts.keys,
            wide: parts.wide,
            dirty: parts.dirty,
            ..Log::empty()
        };
        parts.backend.hold(parts.settings.retention.max_bytes);
        let topic = Self {
            name: parts.name,
            id: parts.id,
            created_at: parts.created_at,
            factory: parts.factory,
            place: parts.place,
            storage_path: parts.storage_path,
            settings: ArcSwap::from_pointee(parts.settings),
            schema: parts.schema,
            prepared: ArcSwapOption::empty(),
            epochs: parts.epochs,
            backend: parts.backend,
            log: Mutex::new(log),
            evolution_done: tokio::sync::Notify::new(),
            configuring: tokio::sync::Mutex::new(()),
            removing: AtomicBool::new(false),
            streams: AtomicU64::new(0),
            runs: runs::Runs::default(),
            appended: [AtomicU64::new(0), AtomicU64::new(0)],
            checkpointed: AtomicU64::new(parts.checkpointed.get()),
            quarantine: ArcSwapOption::empty(),
            indexes: ArcSwap::from_pointee(parts.indexes),
            indexing: tokio::sync::Mutex::new(()),
            replaying: tokio::sync::Mutex::new(()),
            services: parts.services,
        };
        topic.tell_indexes();
        topic
    }

    /// Its name.
    pub const fn name(&self) -> &TopicName {
        &self.name
    }

    /// Its identity.
    pub const fn id(&self) -> TopicId {
        self.id
    }

    /// The epoch that holds now.
    pub const fn epoch(&self) -> Epoch {
        self.epochs.current()
    }

    /// What stores its records.
    pub fn backend(&self) -> &Arc<dyn StorageBackend> {
        &self.backend
    }

    pub(crate) fn factory(&self) -> &Arc<dyn BackendFactory> {
        &self.factory
    }

    /// That the topic was deleted, where it was. Whoever still reads it finds files and rows gone, and no fault in that.
    pub(crate) fn gone(&self) -> Option<Problem> {
        self.backend.levels().now().ending.map(|Ending::Deleted| topic_gone())
    }

    /// Tells a client of a failure below, and the log of its cause.
    fn storage_problem(&self, err: &StorageError) -> Problem {
        if let Some(gone) = self.gone() {
            return gone;
        }
        if let StorageError::Failed { cause } = err {
            tracing::error!(topic = %self.name, cause, "the record store of {} failed", self.name);
        }
        err.to_problem()
    }

    fn catalog_problem(&self, err: &CatalogError) -> Problem {
        if let Some(gone) = self.gone() {
            return gone;
        }
        tracing::error!(topic = %self.name, error = %err, "the catalog failed for {}", self.name);
        catalog_answer(err)
    }

    fn count(&self, records: u64, bytes: u64) {
        let [all_records, all_bytes] = &self.appended;
        all_records.fetch_add(records, Ordering::Relaxed);
        all_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.services.metrics.appended_records.inc_by(records);
        self.services.metrics.appended_bytes.inc_by(bytes);
    }

    /// The versions after `known` whose first record lies before `until`, oldest first.
    fn versions_after(&self, known: Option<SchemaVersion>, until: Offset) -> Vec<(SchemaVersion, Offset)> {
        if self.schema.load().as_ref().map(|versioned| versioned.version) == known {
            return Vec::new();
        }
        let log = self.log.lock();
        let newer = log.versions.iter().filter(|(version, first)| Some(*version) > known && *first < until);
        newer.copied().collect()
    }

    /// Commits all that was acknowledged before.
    ///
    /// # Errors
    /// 503 and 507 where it could not be committed.
    pub async fn flush(&self) -> Result<Flushed, Problem> {
        // What was acknowledged in memory may not be in the log yet, and only what is there can be committed.
        let (next, rewinds) = {
            let log = self.log.lock();
            (log.next, log.rewinds)
        };
        if self.settled(next, self.durable_level(), rewinds).await?.is_none() {
            return Err(StorageError::Unwritable { code: ErrorCode::DiskFull }.to_problem());
        }
        self.backend.flush().await.map_err(|err| self.storage_problem(&err))
    }

    /// Takes back what refused records have changed. Called by the log's thread for each of them, before any later record
    /// can come in behind it.
    pub(crate) fn rewind(&self) {
        let mut log = self.log.lock();
        log.rewind(self.backend.levels().now().durable);
        // Under the log's lock, so that whoever looks at the log knows which refusals it has seen.
        self.backend.levels().change(|levels| levels.refusals = log.rewinds);
    }

    /// Takes no more appends: the topic is being deleted. Returns when no schema version is being made.
    pub(crate) async fn begin_delete(&self) -> Before {
        let before = {
            let mut log = self.log.lock();
            Before { phase: std::mem::replace(&mut log.phase, Phase::Deleting), rewinds: log.rewinds }
        };
        self.evolved().await;
        before
    }

    pub(crate) fn epoch_rule(&self) -> EpochRule {
        self.factory.epoch_rule(&self.settings.load().options)
    }

    /// Whether accepted records are in memory alone, and can be committed.
    pub(crate) fn needs_flush_at_stop(&self) -> bool {
        self.epoch_rule() == EpochRule::UncleanStop
    }

    /// Records that are accepted but not committed.
    pub(crate) fn uncommitted(&self) -> u64 {
        let levels = self.backend.levels().now();
        levels.durable.since(levels.committed)
    }

    /// The deletion could not be stored: the topic goes on as it was, or closed if it was closed meanwhile.
    pub(crate) fn abandon_delete(&self, before: Before) {
        let mut log = self.log.lock();
        log.phase = match before.phase {
            _ if self.backend.levels().now().closed => Phase::Closed,
            // What was to close it was refused meanwhile, as in any other phase.
            Phase::Closing { .. } if log.rewinds != before.rewinds => Phase::Open,
            phase => phase,
        };
    }

    /// Sends readers and writers away.
    pub(crate) fn end(&self) {
        self.backend.levels().change(|levels| levels.ending = Some(Ending::Deleted));
    }

    /// The time of the last record, or a later one.
    pub(crate) fn last_time(&self) -> Timestamp {
        self.log.lock().last_time
    }

    fn durable_level(&self) -> Ack {
        let levels = &self.settings.load().acks.available;
        if levels.contains(&Ack::Wal) { Ack::Wal } else { Ack::Accepted }
    }
}
