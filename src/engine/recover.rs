//! Start: catalog + log to topics. Opens no dataset.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

use crate::backend::{
    Admission, AlreadyRegistered, BackendFactory, BackendRegistry, CommitQueue, EpochRule, LanceFactory,
    LayeredServices, MemoryFactory, PersistingFactory,
};
use crate::catalog::{Catalog, CatalogError, Loaded, TopicRow};
use crate::codec::{Chunk, DecodeLimits, Values};
use crate::engine::entry::Entry;
use crate::engine::place::Places;
use crate::engine::pressure::Pressure;
use crate::engine::replayed::Replayed;
use crate::engine::reserve::Reserve;
use crate::engine::{Core, Engine, EngineOptions, Remains};
use crate::io::{Clock, Disk};
use crate::model::{LogMark, Offset, Problem, Timestamp, TopicId, TopicName, Writer};
use crate::runtime::{Tasks, anonymous_bytes, processors};
use crate::table::Tables;
use crate::tail::Budget;
use crate::topic::producers::StoredReceipt;
use crate::topic::{AHEAD_BYTES_MAX, Quarantines, RUNS_BYTES_MAX, TopicServices};
use crate::wal::{self, Beside, SegmentedWal, WalEntry, WalError, WalOptions};

/// Locks that creations and deletions share by their name's hash.
const NAME_LOCKS: usize = 64;

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder cannot be made or resolved.
    #[error("the folder {folder} cannot be used: {cause}")]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the file system answered.
        cause: std::io::Error,
    },
    /// The catalog cannot be used.
    #[error("the catalog cannot be used: {0}")]
    Catalog(#[from] CatalogError),
    /// The log cannot be used.
    #[error("{0}")]
    Wal(#[from] WalError),
    /// The log holds records of a topic that the catalog has never heard of.
    #[error(
        "the write-ahead log holds records of topic {id}, which the catalog has never heard of: \
         was an old catalog.sqlite put back?"
    )]
    UnknownTopic {
        /// The topic's identity.
        id: TopicId,
    },
    /// A topic's dataset lies where this server has nothing to look for.
    #[error(
        "the dataset of topic {name} lies in {folder}, which is neither in the data folder nor in a folder that \
         --storage-root allows"
    )]
    Outside {
        /// The topic's name, or that of a deleted one that has left something.
        name: TopicName,
        /// Where it lies.
        folder: PathBuf,
    },
    /// Two backends have one name.
    #[error(transparent)]
    Backend(#[from] AlreadyRegistered),
}

/// What a start needs beside its options.
pub struct Parts {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Where datasets come from.
    pub tables: Arc<dyn Tables>,
    /// Tasks on the runtime of the edge.
    pub tasks: Tasks,
    /// Backends beside the built-in ones.
    pub backends: Vec<Arc<dyn BackendFactory>>,
    /// Observes the log's syncs.
    pub wal_observer: Option<Arc<dyn wal::WalObserver>>,
}

impl Engine {
    /// Reads catalog and log, then serves.
    ///
    /// # Errors
    /// [`StartError`]; nothing was changed that a later start would miss.
    pub async fn recover(self: &Arc<Self>, options: EngineOptions, parts: Parts) -> Result<(), StartError> {
        let data_dir = resolve_folder(&options.data_dir)?;
        let roots = options.storage_roots.iter().map(|root| resolve_folder(root)).collect::<Result<Vec<_>, _>>()?;
        let places = Places::new(data_dir.clone(), roots);
        let reserve = Arc::new(Reserve::of(Arc::clone(&parts.disk), &data_dir, options.disk_floor_bytes));
        let looked_at = Arc::clone(&reserve);
        // The catalog and the log are written to before anybody can make room on a full disk.
        drop(tokio::task::spawn_blocking(move || looked_at.look()).await);
        let catalog = Catalog::open(&data_dir.join(Catalog::FILE_NAME), &parts.tasks).await?;
        let loaded = catalog.load().await?;
        check_places(&places, &loaded)?;

        let replaying = {
            let (disk, folder) = (Arc::clone(&parts.disk), places.wal());
            let wal_options = WalOptions {
                segment_bytes: options.wal_segment_bytes,
                known: loaded.log,
                observer: parts.wal_observer.clone(),
                ..WalOptions::default()
            };
            let mut replay = Replay::new(&loaded);
            tokio::task::spawn_blocking(move || {
                let opened = SegmentedWal::open(disk, &folder, wal_options, &mut |entry| replay.take(entry));
                opened.map(|(log, _)| (log, replay))
            })
        };
        let (log, replay) = match replaying.await {
            Ok(outcome) => outcome?,
            Err(err) => std::panic::resume_unwind(err.into_panic()),
        };
        if let Some(id) = replay.unknown {
            return Err(StartError::UnknownTopic { id });
        }
        let core = assemble(self, options, parts, (places, reserve), catalog, Arc::new(log))?;
        core.restore(loaded, replay).await?;
        core.look_at_disk().await;
        core.delete_orphans().await;
        // Nothing has been accepted before, so a start that ends earlier leaves the last stop as it was.
        let found =
            LogMark { released: core.wal.segments().first().map_or(0, |oldest| oldest.base), end: core.wal.end() };
        core.catalog.set_clean(false, found).await?;
        *core.checkpointing.lock().await = found.end;
        self.core.send_replace(Some(Arc::clone(&core)));
        core.start_upkeep();
        Ok(())
    }
}

fn resolve_folder(folder: &Path) -> Result<PathBuf, StartError> {
    let fail = |cause| StartError::Folder { folder: folder.to_owned(), cause };
    folder.canonicalize().map_err(fail)
}

/// A data folder may be a copy, whose original has a server of its own: of what lies outside, only that is touched which the
/// operator allows here too.
fn check_places(places: &Places, loaded: &Loaded) -> Result<(), StartError> {
    let living = loaded.topics.iter().map(|row| (&row.definition.name, &row.definition.place));
    let deleted = loaded.tombstones.iter().map(|tombstone| (&tombstone.name, &tombstone.place));
    for (name, place) in living.chain(deleted) {
        if let Some(place) = place.as_ref().filter(|place| !places.is_ours(place)) {
            let folder = place.dataset.parent().unwrap_or(&place.dataset).to_owned();
            return Err(StartError::Outside { name: name.clone(), folder });
        }
    }
    Ok(())
}

fn assemble(
    engine: &Engine,
    options: EngineOptions,
    parts: Parts,
    (places, reserve): (Places, Arc<Reserve>),
    catalog: Catalog,
    log: Arc<dyn wal::Wal>,
) -> Result<Arc<Core>, StartError> {
    let queue = Arc::new(CommitQueue::default());
    let tail = Budget::new(options.tail_bytes);
    let admission =
        Arc::new(Admission::new(Arc::clone(&tail), options.recent_bytes, options.wal_bytes_max, Arc::clone(&queue)));
    let layered = LayeredServices {
        wal: Arc::clone(&log),
        tables: Arc::clone(&parts.tables),
        queue: Arc::clone(&queue),
        admission: Arc::clone(&admission),
    };
    let mut registry = BackendRegistry::new();
    let memory = Budget::new(options.memory_limit_bytes);
    registry.register(Arc::new(MemoryFactory::new(Arc::clone(&memory))))?;
    registry.register(Arc::new(LanceFactory::new(layered.clone())))?;
    registry.register(Arc::new(PersistingFactory::new(layered)))?;
    for factory in parts.backends {
        registry.register(factory)?;
    }
    engine.set_registry(&registry);
    let decode_limits = DecodeLimits {
        record_bytes_max: options.record_bytes_max,
        records_max: options.batch_records_max,
        errors_max: Problem::ERRORS_MAX,
    };
    let services = Arc::new(TopicServices {
        runs_budget: Budget::new(RUNS_BYTES_MAX),
        ahead_budget: Budget::new(AHEAD_BYTES_MAX),
        catalog: catalog.clone(),
        registry: Arc::new(registry),
        clock: parts.clock,
        metrics: engine.metrics(),
        tasks: parts.tasks.child(),
        draining: engine.draining(),
        decode_limits,
        decoders: Arc::new(Semaphore::new(processors())),
        cursors_max: options.cursors_max,
        quarantines: std::sync::OnceLock::new(),
    });
    if let Some(allowed) = options.process_bytes_max {
        let held = move || anonymous_bytes().map(|held| held.saturating_sub(memory.used()));
        let pressure = Pressure::new(tail, admission.recent(), allowed, held().unwrap_or(0));
        let looking = pressure.keep_within(held, engine.draining());
        parts.tasks.spawn("memory", looking.map(Ok::<(), std::convert::Infallible>));
    }
    let core = Arc::new(Core {
        options,
        services,
        catalog,
        disk: parts.disk,
        wal: log,
        places,
        reserve,
        queue,
        admission,
        topics: RwLock::default(),
        remains: Mutex::default(),
        names: std::iter::repeat_with(|| tokio::sync::Mutex::new(())).take(NAME_LOCKS).collect(),
        tasks: parts.tasks.child(),
        checkpointing: tokio::sync::Mutex::default(),
        rounds: super::rounds::Rounds::default(),
        unsettled: Mutex::default(),
    });
    let quarantines: std::sync::Weak<dyn Quarantines> = Arc::downgrade(&core) as _;
    // Set once, here.
    drop(core.services.quarantines.set(quarantines));
    Ok(core)
}

/// Collects what the log holds.
struct Replay {
    committed: HashMap<TopicId, Offset>,
    buried: HashSet<TopicId>,
    found: HashMap<TopicId, Replayed>,
    unknown: Option<TopicId>,
    newest: Timestamp,
}

impl Replay {
    fn new(loaded: &Loaded) -> Self {
        Self {
            committed: loaded.topics.iter().map(|row| (row.definition.id, row.next)).collect(),
            buried: loaded.tombstones.iter().map(|tombstone| tombstone.id).collect(),
            found: HashMap::new(),
            unknown: None,
            newest: Timestamp::default(),
        }
    }

    /// Takes an entry by its offset, not by its position: relocated copies are repeats.
    fn take(&mut self, mut entry: WalEntry) -> Result<(), WalError> {
        let beside = entry.beside.take();
        let quarantined = beside.as_ref().map_or(0, |beside| u64::from(beside.count));
        if let Some(beside) = beside {
            let Beside { topic, first, count, schema, time, values } = *beside;
            let (writer, beside) = (Writer::Plain, None);
            let (close, relocated) = (false, entry.relocated);
            self.take_part(WalEntry { topic, first, count, schema, time, close, relocated, writer, beside, values }, 0);
        }
        self.take_part(entry, quarantined);
        Ok(())
    }

    /// Takes the part of an entry that belongs to its own topic; so many records of its request went to another.
    fn take_part(&mut self, entry: WalEntry, quarantined: u64) {
        self.newest = self.newest.max(entry.time);
        let Some(committed) = self.committed.get(&entry.topic) else {
            if !self.buried.contains(&entry.topic) {
                self.unknown.get_or_insert(entry.topic);
            }
            return;
        };
        let found = self.found.entry(entry.topic).or_default();
        let (first, count, schema) = (entry.first, u64::from(entry.count), entry.schema);
        let receipt = StoredReceipt { first, count, schema, quarantined };
        found.is_mentioned = true;
        found.writers.take(entry.writer, receipt, entry.time);
        found.closed |= entry.close;
        // An entry may have nothing but its writer.
        if count == 0 || first.saturating_after(count) <= *committed {
            return;
        }
        match Values::from_text(entry.values).filter(|values| values.len() as u64 == u64::from(entry.count)) {
            Some(values) => {
                let chunk = Chunk::new(entry.first, entry.time, values).from_offset(*committed, usize::MAX);
                found.chunks.insert(chunk.first(), (entry.schema, chunk));
            }
            // Its checksum holds, so no disk has done this.
            None => found.has_hole = true,
        }
    }
}

impl Core {
    async fn restore(self: &Arc<Self>, loaded: Loaded, mut replay: Replay) -> Result<(), StartError> {
        let newest = replay.newest.max(loaded.newest);
        let mut topics = BTreeMap::new();
        for mut row in loaded.topics {
            let mut found = replay.found.remove(&row.definition.id);
            let hole = found.as_ref().and_then(|found| hole_in(&row, found));
            if let Some(found) = &mut found {
                found.has_hole |= hole.is_some();
                if found.closed && !row.closed {
                    self.catalog.set_closed(row.definition.id).await?;
                    row.closed = true;
                }
            }
            let name = row.definition.name.clone();
            let rule = self.epoch_rule(&row);
            let lost = match rule {
                EpochRule::EveryRestart => true,
                EpochRule::UncleanStop => !loaded.was_clean,
                EpochRule::Never => false,
            };
            if lost && rule == EpochRule::UncleanStop {
                self.unsettled.lock().insert(name.clone());
            }
            let entry = Entry::new(row, found, newest, lost);
            if let Some((from, to)) = hole {
                tracing::error!(topic = %name, %from, %to, "records of {name} are neither in its dataset nor in the log");
                entry.breaks("records are missing between its dataset and the log");
            }
            topics.insert(name, Arc::new(entry));
        }
        *self.topics.write() = topics;
        let remains = loaded
            .tombstones
            .into_iter()
            .map(|tombstone| (tombstone.id, Remains { tombstone, topic: None, removed: false }));
        self.remains.lock().extend(remains);
        Ok(())
    }

    fn epoch_rule(&self, row: &TopicRow) -> EpochRule {
        let factory = self.services.registry.get(&row.definition.backend);
        factory.map_or(EpochRule::Never, |factory| factory.epoch_rule(&row.definition.options))
    }
}

/// The log must go on where the dataset ends, without a hole: from where to where records are missing.
fn hole_in(row: &TopicRow, found: &Replayed) -> Option<(Offset, Offset)> {
    let mut next = row.next;
    for (_, chunk) in found.chunks.values() {
        if chunk.first() > next {
            return Some((next, chunk.first()));
        }
        next = next.max(chunk.next());
    }
    None
}
