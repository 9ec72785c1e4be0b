//! One topic as the catalog and the log know it, opened at first use.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::backend::{BackendFactory, EpochRule, OpenTopic, Opened, RecordForm, StorageError, VersionedSchema};
use crate::catalog::{CatalogError, TopicDefinition, TopicRow, WriterRows};
use crate::codec::Chunk;
use crate::codec::columns::{batches, wide_in};
use crate::engine::Core;
use crate::engine::replayed::Replayed;
use crate::model::{Epoch, ErrorCode, Offset, OnInvalid, Problem, Timestamp, TopicId};
use crate::schema::{Schema, WideColumns};
use crate::table::TablePlace;
use crate::topic::producers::{IdempotencyKeys, Producers};
use crate::topic::{Description, Epochs, Settings, Topic, TopicParts, TopicState, follow_all, versioned};

/// How much of a dataset is read at once to look through it.
const READ_RECORDS: usize = 8_192;
const READ_BYTES: usize = 1 << 20;

/// One topic.
pub(super) struct Entry {
    row: TopicRow,
    /// What the log still has of it, until it is open: a try that fails leaves it to the next.
    replayed: Mutex<Option<Arc<Replayed>>>,
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
        Self {
            row,
            replayed: Mutex::new(replayed.map(Arc::new)),
            time_floor,
            may_have_lost,
            broken,
            cell: OnceCell::new(),
        }
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
        // Where the backend is not part of this server, or does not know them, its options are told as they were stored.
        let options = factory.and_then(|factory| factory.complete(&definition.options).ok());
        let options = options.unwrap_or_else(|| definition.options.clone());
        let etag = {
            let TopicDefinition { id, schema_mode, retention, on_invalid, .. } = definition;
            Settings::etag(*id, &options, *schema_mode, *retention, *on_invalid)
        };
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

    /// Whether records are missing between its dataset and what the log has of it: it cannot be opened.
    pub(super) fn has_hole(&self) -> bool {
        self.replayed.lock().as_ref().is_some_and(|replayed| replayed.has_hole)
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
        if entry.has_hole() {
            return Err(StorageError::Unwritable { code: ErrorCode::TopicDegraded }.to_problem());
        }
        let opening = entry.cell.get_or_try_init(|| async {
            let opened = self.open_entry(entry).await;
            let topic = Arc::new(opened.map_err(|Unopened { problem, reason }| {
                entry.breaks(reason);
                problem
            })?);
            if let Some(lane) = topic.backend().lane() {
                let topic = Arc::downgrade(&topic);
                lane.on_refusal(Box::new(move || {
                    if let Some(topic) = topic.upgrade() {
                        topic.rewind();
                    }
                }));
                // Nothing can fail any more: the lane of a try that came to nothing must not commit beside that of the next.
                lane.enqueue();
            }
            topic.look_after_indexes();
            Ok::<_, Problem>(topic)
        });
        let topic = opening.await?;
        drop(entry.replayed.lock().take());
        self.settle_replay(topic);
        Ok(Arc::clone(topic))
    }

    async fn open_entry(&self, entry: &Entry) -> Result<Topic, Unopened> {
        let row = &entry.row;
        let definition = &row.definition;
        let name = &definition.name;
        let Some(factory) = self.services.registry.get(&definition.backend).cloned() else {
            tracing::error!(topic = %name, backend = definition.backend, "the backend of {name} is not registered");
            let detail = format!("The topic's backend \"{}\" is not part of this server.", definition.backend);
            let problem = Problem::new(ErrorCode::TopicDegraded, detail);
            return Err(Unopened { problem, reason: "its backend is not part of this server" });
        };
        let options = factory.complete(&definition.options).map_err(|problem| {
            tracing::error!(topic = %name, detail = %problem.detail, "the options of {name} cannot be had");
            Unopened::degraded("its options are not those of its backend")
        })?;
        let settings = {
            let (mode, retention) = (definition.schema_mode, definition.retention);
            Settings::new(&*factory, definition.id, options.clone(), mode, retention, definition.on_invalid)
        };
        let unread = |err: CatalogError| {
            tracing::error!(topic = %name, error = %err, "the catalog failed for {name}");
            Unopened::degraded("the catalog does not tell what it holds of it")
        };
        let schema = match row.schema_version {
            Some(_) => self.newest_schema(definition.id).await.map_err(unread)?.map_err(|problem| {
                tracing::error!(topic = %name, detail = %problem.detail, "the schema of {name} cannot be read");
                Unopened::degraded("its schema cannot be read")
            })?,
            None => None,
        };
        let writers = if settings.exactly_once && factory.epoch_rule(&options) == EpochRule::Never {
            self.catalog.writers(definition.id).await.map_err(unread)?
        } else {
            WriterRows::default()
        };
        let indexes = self.catalog.indexes(definition.id).await.map_err(unread)?;
        let schema = Arc::new(arc_swap::ArcSwapOption::from(schema.map(Arc::new)));
        // Not only at the creation: a crash may have come between the topic's row and its dataset. Where it cannot be made, so
        // will the topic's commits say, which are tried again.
        if definition.declared_schema.is_some()
            && row.next == Offset::ZERO
            && self.prepare(entry, &*factory).await.is_err()
        {
            tracing::warn!(topic = %name, "the dataset of {name} cannot be made yet");
        }
        let replayed = entry.replayed.lock().clone().unwrap_or_default();
        let chunks = replayed.newest_form(schema.load_full().as_deref(), row.earliest).map_err(|err| {
            tracing::error!(topic = %name, error = %err, "what the log has of {name} cannot be read under its schema");
            Unopened::degraded("what the log has of it cannot be read under its schema")
        })?;
        let mut wide = remembered_wide(&row.wide, schema.load_full().as_deref());
        if let Some(versioned) = schema.load_full()
            && factory.form() == RecordForm::EvolvingColumns
        {
            remember_wide(&mut wide, &versioned.schema, &chunks);
        }
        let opening = factory.open(OpenTopic {
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
        });
        let opened = opening.await.map_err(|err| {
            tracing::error!(topic = %name, error = %err, "the store of {name} cannot be opened");
            Unopened::degraded("its dataset cannot be opened, or is not what was written")
        })?;
        let rule = factory.epoch_rule(&options);
        if rule != EpochRule::Never
            && factory.form() == RecordForm::EvolvingColumns
            && let Some(versioned) = schema.load_full()
        {
            remember_committed(&mut wide, &versioned.schema, row, &opened).await.map_err(|err| {
                tracing::error!(topic = %name, error = %err, "the newest records of {name} cannot be read");
                Unopened::degraded("its newest records cannot be read")
            })?;
        }
        // Whoever repeats such a request would wait for records that never come.
        if writers.next() > opened.next {
            let (known, tail) = (writers.next(), opened.next);
            tracing::error!(topic = %name, %known, %tail, "{name} ends before records that its writers were told are stored");
            return Err(Unopened::degraded("it ends before records that its writers were told are stored"));
        }
        let epochs = self.epochs(entry, rule, &opened).await.map_err(unread)?;
        self.settle(name);
        let mut producers = Producers::restore(writers.producers);
        let mut keys = IdempotencyKeys::restore(writers.keys);
        replayed.writers.tell(&mut producers, &mut keys);
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
            dirty: replayed.is_mentioned,
            indexes,
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

/// Why a topic could not be opened.
struct Unopened {
    /// What whoever wanted it is told.
    problem: Problem,
    /// What everybody else is told, who asks for the state of the topic.
    reason: &'static str,
}

impl Unopened {
    fn degraded(reason: &'static str) -> Self {
        Self { problem: StorageError::Unwritable { code: ErrorCode::TopicDegraded }.to_problem(), reason }
    }
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
