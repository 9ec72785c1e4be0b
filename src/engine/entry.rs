//! One topic as the catalog and the log know it, opened at first use.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::backend::{BackendFactory, EpochRule, OpenTopic, Opened, RecordForm, StorageError, VersionedSchema};
use crate::catalog::{CatalogError, TopicDefinition, TopicRow, WriterRows};
use crate::codec::Chunk;
use crate::codec::columns::{batches, wide_in};
use crate::codec::reshape::{ReshapeError, to_newest, to_newest_unread};
use crate::engine::Core;
use crate::model::{Epoch, ErrorCode, Offset, OnInvalid, Problem, SchemaVersion, Timestamp, TopicId, Writer};
use crate::schema::{Schema, WideColumns};
use crate::table::TablePlace;
use crate::topic::producers::{IdempotencyKeys, Producers, StoredReceipt};
use crate::topic::{Description, Epochs, Settings, Topic, TopicParts, TopicState, follow_all, versioned};

/// How much of a dataset is read at once to look through it.
const READ_RECORDS: usize = 8_192;
const READ_BYTES: usize = 1 << 20;

/// A run with the schema version that it was written under.
pub(super) type Found = (Option<SchemaVersion>, Chunk);

/// What the log still had of a topic.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Runs by their first offset, each with the schema version that it was written under; relocated copies fall on their
    /// originals.
    pub(super) chunks: BTreeMap<Offset, Found>,
    /// Who wrote them, in log order.
    pub(super) writers: Vec<(Writer, StoredReceipt, Timestamp)>,
    /// Whether the topic was closed behind one of them.
    pub(super) closed: bool,
    /// Whether records are missing before them or between them: the topic is left as it is then.
    pub(super) has_hole: bool,
}

/// One topic.
pub(super) struct Entry {
    row: TopicRow,
    replayed: Mutex<Option<Replayed>>,
    /// The earliest moment that its next record can have.
    time_floor: Timestamp,
    /// Whether records may be gone since the last start.
    may_have_lost: bool,
    /// Why it cannot be opened: what the start has found, or the last try.
    broken: Mutex<Option<Arc<str>>>,
    cell: OnceCell<Arc<Topic>>,
}

impl Entry {
    pub(super) fn new(row: TopicRow, replayed: Option<Replayed>, time_floor: Timestamp, may_have_lost: bool) -> Self {
        let broken = Mutex::new(None);
        Self { row, replayed: Mutex::new(replayed), time_floor, may_have_lost, broken, cell: OnceCell::new() }
    }

    /// Notes why it cannot be opened.
    pub(super) fn breaks(&self, reason: &str) {
        *self.broken.lock() = Some(reason.into());
    }

    /// Why it could not be opened the last time; none where it is open or nobody has tried.
    pub(super) fn broken(&self) -> Option<Arc<str>> {
        if self.cell.initialized() { None } else { self.broken.lock().clone() }
    }

    pub(super) const fn row(&self) -> &TopicRow {
        &self.row
    }

    pub(super) fn opened(&self) -> Option<Arc<Topic>> {
        self.cell.get().cloned()
    }

    /// What is told of it while it cannot be opened.
    pub(super) fn description(&self, factory: Option<&dyn BackendFactory>) -> Option<Description> {
        let TopicRow { definition, earliest, next, epochs, schema_version, .. } = &self.row;
        // Where the backend is not part of this server, its options are told as they were stored.
        let options = match factory {
            Some(factory) => factory.complete(&definition.options).ok()?,
            None => definition.options.clone(),
        };
        let etag = Settings::etag(&options, definition.schema_mode, definition.retention, definition.on_invalid);
        Some(Description {
            topic: definition.name.clone(),
            id: definition.id,
            epoch: epochs.last()?.epoch,
            backend: definition.backend.clone(),
            backend_options: options,
            storage_path: definition.storage_path.clone(),
            schema_mode: definition.schema_mode,
            schema_version: *schema_version,
            retention: definition.retention,
            on_invalid: self.on_invalid(factory),
            state: TopicState::Degraded,
            created_at: definition.created_at,
            earliest_offset: *earliest,
            tail_offset: (*next).max(*earliest),
            dataset_uri: self.place().map(|place| place.link.display().to_string()),
            etag,
        })
    }

    /// What is told of what becomes of records that do not fit.
    fn on_invalid(&self, factory: Option<&dyn BackendFactory>) -> Option<OnInvalid> {
        let TopicDefinition { name, options, on_invalid, .. } = &self.row.definition;
        let factory = factory.filter(|_| !name.is_reserved())?;
        factory.complete(options).is_ok_and(|options| factory.quarantines(&options)).then_some(*on_invalid)
    }

    /// Whether the log still has records of it that wait for being opened.
    pub(super) fn has_replayed(&self) -> bool {
        self.replayed.lock().is_some()
    }

    pub(super) fn place(&self) -> Option<TablePlace> {
        let place = self.row.definition.place.as_ref()?;
        Some(TablePlace { dataset: place.dataset.clone(), link: place.link.clone() })
    }
}

impl Core {
    /// The topic of an entry, opened if it is not; whoever comes first opens it for all.
    pub(super) async fn open(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<Arc<Topic>, Problem> {
        if let Some(topic) = entry.cell.get() {
            return Ok(Arc::clone(topic));
        }
        // Opening goes on when the client leaves: what the log had of the topic is in its hands, and would be gone with it.
        let (core, entry) = (Arc::clone(self), Arc::clone(entry));
        Box::pin(self.services.detach(async move { core.open_once(&entry).await })).await
    }

    async fn open_once(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<Arc<Topic>, Problem> {
        if entry.replayed.lock().as_ref().is_some_and(|replayed| replayed.has_hole) {
            return Err(StorageError::Unwritable { code: ErrorCode::TopicDegraded }.to_problem());
        }
        let opening = entry.cell.get_or_try_init(|| async {
            let topic = Arc::new(self.open_entry(entry).await?);
            if let Some(lane) = topic.backend().lane() {
                let topic = Arc::downgrade(&topic);
                lane.on_refusal(Box::new(move || {
                    if let Some(topic) = topic.upgrade() {
                        topic.rewind();
                    }
                }));
            }
            topic.look_after_indexes();
            Ok::<_, Problem>(topic)
        });
        let topic = opening.await?;
        self.settle_replay(topic);
        Ok(Arc::clone(topic))
    }

    async fn open_entry(&self, entry: &Entry) -> Result<Topic, Problem> {
        let row = &entry.row;
        let definition = &row.definition;
        let name = &definition.name;
        let fail = |err: CatalogError| {
            tracing::error!(topic = %name, error = %err, "the catalog failed for {name}");
            Problem::internal()
        };
        let Some(factory) = self.services.registry.get(&definition.backend).cloned() else {
            tracing::error!(topic = %name, backend = definition.backend, "the backend of {name} is not registered");
            entry.breaks("its backend is not part of this server");
            let detail = format!("The topic's backend \"{}\" is not part of this server.", definition.backend);
            return Err(Problem::new(ErrorCode::TopicDegraded, detail));
        };
        let options = factory.complete(&definition.options)?;
        let settings = {
            let (mode, retention) = (definition.schema_mode, definition.retention);
            Settings::new(&*factory, options.clone(), mode, retention, definition.on_invalid)
        };
        let schema = match row.schema_version {
            Some(_) => self.newest_schema(definition.id).await.map_err(fail)??,
            None => None,
        };
        let writers = if settings.exactly_once && factory.epoch_rule(&options) == EpochRule::Never {
            self.catalog.writers(definition.id).await.map_err(fail)?
        } else {
            WriterRows::default()
        };
        let schema = Arc::new(arc_swap::ArcSwapOption::from(schema.map(Arc::new)));
        // Not only at the creation: a crash may have come between the topic's row and its dataset. Where it cannot be made, so
        // will the topic's commits say, which are tried again.
        if definition.declared_schema.is_some()
            && row.next == Offset::ZERO
            && self.prepare(entry, &*factory).await.is_err()
        {
            tracing::warn!(topic = %name, "the dataset of {name} cannot be made yet");
        }
        let mut replayed = entry.replayed.lock().take().unwrap_or_default();
        let chunks = match newest_form(&replayed, schema.load_full().as_deref(), row.earliest) {
            Ok(chunks) => chunks,
            Err(err) => {
                *entry.replayed.lock() = Some(replayed);
                tracing::error!(topic = %name, error = %err, "what the log has of {name} cannot be read under its schema");
                entry.breaks("what the log has of it cannot be read under its schema");
                return Err(StorageError::Unwritable { code: ErrorCode::TopicDegraded }.to_problem());
            }
        };
        let mut wide = remembered_wide(&row.wide, schema.load_full().as_deref());
        if let Some(versioned) = schema.load_full()
            && factory.form() == RecordForm::EvolvingColumns
        {
            remember_wide(&mut wide, &versioned.schema, &chunks);
        }
        let opened = factory
            .open(OpenTopic {
                id: definition.id,
                name: name.clone(),
                options: options.clone(),
                place: entry.place(),
                schema: Arc::clone(&schema),
                earliest: row.earliest,
                committed: row.next,
                replayed: chunks,
                is_settled: !entry.may_have_lost,
                closed: row.closed,
            })
            .await;
        let opened = match opened {
            Ok(opened) => opened,
            Err(err) => {
                // What the log had is needed by the next try.
                *entry.replayed.lock() = Some(replayed);
                tracing::error!(topic = %name, error = %err, "the store of {name} cannot be opened");
                entry.breaks("its dataset cannot be opened, or is not what was written");
                return Err(StorageError::Unwritable { code: ErrorCode::TopicDegraded }.to_problem());
            }
        };
        let rule = factory.epoch_rule(&options);
        if rule != EpochRule::Never
            && factory.form() == RecordForm::EvolvingColumns
            && let Some(versioned) = schema.load_full()
        {
            remember_committed(&mut wide, &versioned.schema, row, &opened).await.map_err(|err| {
                tracing::error!(topic = %name, error = %err, "the newest records of {name} cannot be read");
                err.to_problem()
            })?;
        }
        let epochs = self.epochs(entry, rule, &opened).await.map_err(fail)?;
        self.settle(name);
        let mut producers = Producers::restore(writers.producers);
        let mut keys = IdempotencyKeys::restore(writers.keys);
        // A relocated copy stands behind entries that came after its original, which may be gone: by its place in the log a
        // producer's earlier request would come last, and the receipts between would be forgotten. The sort is stable.
        replayed.writers.sort_by_key(|(_, receipt, _)| receipt.first);
        let has_writers = !replayed.writers.is_empty();
        for (writer, receipt, time) in replayed.writers {
            match writer {
                Writer::Plain => {}
                Writer::Producer(write) => drop(producers.record(&write, receipt, time)),
                Writer::Keyed(write) => drop(keys.record(&write, receipt, time)),
            }
        }
        Ok(Topic::new(TopicParts {
            name: name.clone(),
            id: definition.id,
            created_at: definition.created_at,
            place: entry.place(),
            storage_path: definition.storage_path.clone(),
            settings,
            schema,
            epochs,
            backend: opened.backend,
            next: opened.next,
            last_time: opened.last_time.unwrap_or_default().max(entry.time_floor),
            closed: row.closed,
            producers,
            keys,
            wide,
            checkpointed: row.next,
            dirty: has_writers,
            indexes: self.catalog.indexes(definition.id).await.map_err(fail)?,
            services: Arc::clone(&self.services),
            factory,
        }))
    }

    /// The newest schema of a topic, with all that was posted.
    pub(super) async fn newest_schema(
        &self,
        id: TopicId,
    ) -> Result<Result<Option<VersionedSchema>, Problem>, CatalogError> {
        let Some(newest) = self.catalog.newest_schema(id).await? else { return Ok(Ok(None)) };
        let posted = self.catalog.posted_schemas(id).await?;
        Ok(versioned(&newest, &posted).map(Some))
    }

    /// The topic's epochs, with a new one where accepted records may be gone.
    async fn epochs(&self, entry: &Entry, rule: EpochRule, opened: &Opened) -> Result<Epochs, CatalogError> {
        let mut all: Vec<(Epoch, Offset)> = entry.row.epochs.iter().map(|start| (start.epoch, start.start)).collect();
        let begins = entry.may_have_lost && rule != EpochRule::Never;
        if begins || all.is_empty() {
            let begun = self.catalog.begin_epochs(&[(entry.row.definition.id, opened.next)]).await?;
            all.extend(begun.into_iter().map(|epoch| (epoch, opened.next)));
        }
        Epochs::new(all).ok_or(CatalogError::NotFound)
    }
}

/// What the log had of a topic, in the form of its newest schema. Records before `earliest` may have left the dataset before
/// a conversion was asked of its rows, so that nobody has asked them.
fn newest_form(
    replayed: &Replayed,
    schema: Option<&VersionedSchema>,
    earliest: Offset,
) -> Result<Vec<Chunk>, ReshapeError> {
    let columns = schema.map(VersionedSchema::columns).unwrap_or_default();
    let mut chunks = Vec::with_capacity(replayed.chunks.len());
    for (version, chunk) in replayed.chunks.values() {
        let expired = usize::try_from(earliest.since(chunk.first())).unwrap_or(usize::MAX);
        let (unread, read) = (chunk.slice(0, expired), chunk.slice(expired, usize::MAX));
        if !unread.is_empty() {
            chunks.push(to_newest_unread(&unread, *version, &columns)?);
        }
        if !read.is_empty() {
            chunks.push(to_newest(&read, *version, &columns)?);
        }
    }
    Ok(chunks)
}

/// The integer columns that have been wide as the catalog knows them, under their names of today.
fn remembered_wide(stored: &str, schema: Option<&VersionedSchema>) -> WideColumns {
    let (mut wide, posted) = WideColumns::from_stored(stored);
    if let Some(schema) = schema {
        follow_all(&mut wide, schema.lineage.after(posted));
    }
    wide
}

/// The same of the records that were committed since the catalog has last heard of it: without a log they alone tell it.
async fn remember_committed(
    wide: &mut WideColumns,
    schema: &Schema,
    row: &TopicRow,
    opened: &Opened,
) -> Result<(), StorageError> {
    let mut next = row.next.max(row.earliest);
    while next < opened.next {
        let chunks = opened.backend.get(next, READ_RECORDS, READ_BYTES).await?;
        let Some(last) = chunks.last() else { break };
        next = last.next();
        remember_wide(wide, schema, &chunks);
    }
    Ok(())
}

/// Integer columns that stored records have held more than 2^53 in.
fn remember_wide(wide: &mut WideColumns, schema: &Schema, chunks: &[Chunk]) {
    for batch in batches(schema, chunks) {
        // What cannot be looked at may have held anything.
        wide.union(&batch.map_or_else(|_| WideColumns::all_of(schema), |batch| wide_in(schema, &batch)));
    }
}
