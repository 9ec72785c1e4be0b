//! Topics by name: made, opened on use, recovered, kept up, deleted.

mod commits;
mod create;
mod cursors;
mod entry;
mod fork;
mod health;
mod place;
mod pressure;
mod quarantine;
mod recover;
mod replayed;
mod reserve;
mod rounds;
mod shutdown;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod upkeep;
mod writers;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{MutexGuard, watch};
use tokio_util::sync::CancellationToken;

pub use health::Health;
pub use recover::{Parts, StartError};
pub use shutdown::ShutdownReport;

use crate::backend::{Admission, BackendRegistry, CommitQueue};
use crate::catalog::{Catalog, Tombstone};
use crate::engine::entry::Entry;
use crate::engine::place::Places;
use crate::io::Disk;
use crate::metrics::Metrics;
use crate::model::{ErrorCode, Problem, TopicId, TopicName};
use crate::runtime::Tasks;
use crate::topic::{
    AppendRequest, CreateTopic, Description, ForkAt, IfMatch, InflightPermit, Topic, TopicServices, check_first,
};
use crate::wal::Wal;

/// What the engine is asked to keep to; sizes in bytes.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The data folder.
    pub data_dir: PathBuf,
    /// Folders outside the data folder in which datasets may lie.
    pub storage_roots: Vec<PathBuf>,
    /// Whether an append to an unknown topic makes it.
    pub auto_create: bool,
    /// The Tail's budget.
    pub tail_bytes: u64,
    /// What the process may hold of records and requests; past it the Tail has less room. None: it is not looked at.
    pub process_bytes_max: Option<u64>,
    /// How much of it committed records may keep while nobody needs it.
    pub recent_bytes: u64,
    /// The budget of all memory topics.
    pub memory_limit_bytes: u64,
    /// The log's bound.
    pub wal_bytes_max: u64,
    /// The log's size from which on leftovers are moved to free old segments.
    pub wal_target_bytes: u64,
    /// The size of a log segment.
    pub wal_segment_bytes: u64,
    /// Free space below which appends are refused.
    pub disk_floor_bytes: u64,
    /// The largest record.
    pub record_bytes_max: u64,
    /// The most records of one batch.
    pub batch_records_max: u64,
    /// The most cursors of a topic.
    pub cursors_max: u64,
}

/// Where the server stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The log is being read.
    Recovering,
    /// It serves.
    Ready,
    /// It was asked to stop.
    Draining,
}

/// One page of topics.
#[derive(Clone, Debug)]
pub struct TopicList {
    /// Ascending by name's bytes.
    pub topics: Vec<Description>,
    /// The name to go on after.
    pub next_after: Option<TopicName>,
}

/// A topic that is deleted but has left something.
struct Remains {
    tombstone: Tombstone,
    topic: Option<Arc<Topic>>,
    removed: bool,
}

/// What is there once recovery has ended.
pub(crate) struct Core {
    options: EngineOptions,
    services: Arc<TopicServices>,
    catalog: Catalog,
    disk: Arc<dyn Disk>,
    wal: Arc<dyn Wal>,
    places: Places,
    queue: Arc<CommitQueue>,
    admission: Arc<Admission>,
    topics: RwLock<BTreeMap<TopicName, Arc<Entry>>>,
    remains: Mutex<BTreeMap<TopicId, Remains>>,
    /// Creations and deletions of one name come one at a time; names share locks by their hash.
    names: Vec<tokio::sync::Mutex<()>>,
    tasks: Tasks,
    /// One checkpoint at a time, and the log's end that the last one has noted.
    checkpointing: tokio::sync::Mutex<u64>,
    rounds: rounds::Rounds,
    reserve: Arc<reserve::Reserve>,
    /// Topics that may have lost records in an unclean stop and have not begun their new epoch yet.
    unsettled: Mutex<BTreeSet<TopicName>>,
}

/// All topics.
pub struct Engine {
    core: watch::Sender<Option<Arc<Core>>>,
    draining: CancellationToken,
    registry: Arc<std::sync::OnceLock<Vec<serde_json::Value>>>,
    metrics: Arc<Metrics>,
    auto_create: bool,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("phase", &self.phase()).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine that recovers: it answers [`Phase::Recovering`] until [`Engine::recover`] has ended.
    pub fn recovering(auto_create: bool, metrics: Arc<Metrics>, draining: CancellationToken) -> Arc<Self> {
        let registry = Arc::default();
        Arc::new(Self { core: watch::Sender::new(None), draining, registry, metrics, auto_create })
    }

    /// Where the server stands in its life.
    pub fn phase(&self) -> Phase {
        if self.draining.is_cancelled() {
            Phase::Draining
        } else if self.core.borrow().is_none() {
            Phase::Recovering
        } else {
            Phase::Ready
        }
    }

    /// Returns when recovery has ended (at once when it has).
    pub async fn recovered(&self) {
        let mut core = self.core.subscribe();
        // The sender lives as long as `self`.
        drop(core.wait_for(Option::is_some).await);
    }

    /// Cancelled when the server is asked to stop.
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// The metrics that everything counts into.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Brings the figures up to date that nothing counts as it happens.
    pub async fn refresh_metrics(&self) {
        if let Ok(core) = self.core() {
            core.refresh_metrics();
            core.refresh_cursors().await;
        }
    }

    fn core(&self) -> Result<Arc<Core>, Problem> {
        self.core
            .borrow()
            .clone()
            .ok_or_else(|| Problem::new(ErrorCode::Recovering, "The server is still reading its write-ahead log."))
    }

    /// The comparison table as the API serves it.
    pub fn backends(&self) -> Vec<serde_json::Value> {
        self.registry.get().cloned().unwrap_or_default()
    }

    /// Makes a topic, or finds that it is there; true when it was made. Dropping the future undoes nothing.
    ///
    /// # Errors
    /// What the contract says of creation; nothing is made then.
    pub async fn create(&self, name: &TopicName, ask: CreateTopic) -> Result<(Description, bool), Problem> {
        let core = self.core()?;
        let name = name.clone();
        let services = Arc::clone(&core.services);
        services.detach(async move { core.create(&name, ask).await }).await
    }

    /// The topic of a name.
    ///
    /// # Errors
    /// `topic_not_found`; `internal` where its store cannot be opened.
    pub async fn topic(&self, name: &TopicName) -> Result<Arc<Topic>, Problem> {
        self.core()?.topic(name).await
    }

    /// All that is told of a topic, also of one that cannot be opened at present.
    ///
    /// # Errors
    /// `topic_not_found`, `internal`.
    pub async fn describe(&self, name: &TopicName) -> Result<Description, Problem> {
        self.core()?.describe(name).await
    }

    /// Whether an append to an unknown topic makes it.
    pub const fn makes_topics(&self) -> bool {
        self.auto_create
    }

    /// Refuses an append that a topic made for it would refuse.
    ///
    /// # Errors
    /// What the contract says of appends.
    pub async fn check_first(&self, ask: &AppendRequest, permit: &mut InflightPermit) -> Result<(), Problem> {
        let core = self.core()?;
        check_first(ask, &core.services.decode_limits, core.services.clock.now(), permit).await
    }

    /// The topic of a name, made with defaults where that is allowed.
    ///
    /// # Errors
    /// As [`Engine::topic`] and [`Engine::create`].
    pub async fn topic_to_append(&self, name: &TopicName) -> Result<Arc<Topic>, Problem> {
        match self.topic(name).await {
            Err(problem) if problem.code == ErrorCode::TopicNotFound && self.auto_create => {
                // Somebody else may make it first, with other options: that is the topic then.
                match self.create(name, CreateTopic::default()).await {
                    Err(problem) if problem.code != ErrorCode::TopicConflict => Err(problem),
                    _ => self.topic(name).await,
                }
            }
            found => found,
        }
    }

    /// Topics by name, ascending by bytes.
    ///
    /// # Errors
    /// `internal` where the store of one cannot be opened.
    pub async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<TopicList, Problem> {
        let core = self.core()?;
        let mut names = core.names_from(prefix, after, limit.saturating_add(1));
        let more = names.len() > limit;
        names.truncate(limit);
        let next_after = if more { names.last().cloned() } else { None };
        let mut topics = Vec::with_capacity(names.len());
        for name in &names {
            match core.describe(name).await {
                Ok(description) => topics.push(description),
                // Deleted meanwhile.
                Err(problem) if problem.code == ErrorCode::TopicNotFound => {}
                Err(problem) => return Err(problem),
            }
        }
        Ok(TopicList { topics, next_after })
    }

    /// Makes a topic that begins as another one was. Dropping the future undoes nothing.
    ///
    /// # Errors
    /// `topic_not_found`, `unsupported_by_backend`; `topic_conflict` where the name is taken; `invalid_topic_name` for one that
    /// is the service's own; `not_found`, `version_expired`, `offset_expired`, `offset_out_of_range`; `internal`. Nothing is
    /// made then.
    pub async fn fork(&self, source: &TopicName, name: &TopicName, at: ForkAt) -> Result<Description, Problem> {
        let core = self.core()?;
        let (source, name) = (source.clone(), name.clone());
        let services = Arc::clone(&core.services);
        services.detach(async move { core.fork(&source, &name, at).await }).await
    }

    /// Deletes a topic, where its configuration meets a condition; its name is free at once.
    ///
    /// # Errors
    /// `topic_not_found`, `precondition_failed`, `internal`.
    pub async fn delete(&self, name: &TopicName, condition: Option<IfMatch>) -> Result<(), Problem> {
        let core = self.core()?;
        let name = name.clone();
        let services = Arc::clone(&core.services);
        services.detach(async move { core.delete(&name, condition.as_ref()).await }).await
    }

    pub(crate) fn set_registry(&self, registry: &BackendRegistry) {
        // Set once, at the start of recovery.
        drop(self.registry.set(registry.to_json()));
    }
}

impl Core {
    fn entry(&self, name: &TopicName) -> Option<Arc<Entry>> {
        self.topics.read().get(name).cloned()
    }

    /// The names with a prefix, after a name, ascending.
    fn names_from(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<TopicName> {
        use std::ops::Bound;
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let topics = self.topics.read();
        let names = topics.range::<str, _>((from, Bound::Unbounded)).map(|(name, _)| name);
        names.take_while(|name| name.as_str().starts_with(prefix)).take(limit).cloned().collect()
    }

    async fn topic(self: &Arc<Self>, name: &TopicName) -> Result<Arc<Topic>, Problem> {
        let entry = self
            .entry(name)
            .ok_or_else(|| Problem::new(ErrorCode::TopicNotFound, format!("There is no topic \"{name}\".")))?;
        self.open(&entry).await
    }

    async fn describe(self: &Arc<Self>, name: &TopicName) -> Result<Description, Problem> {
        let opened = self.topic(name).await;
        match (opened, self.entry(name)) {
            (Ok(topic), _) => Ok(topic.description()),
            (Err(problem), Some(entry)) if problem.code == ErrorCode::TopicDegraded => {
                let factory = self.services.registry.get(&entry.row().definition.backend);
                entry.description(factory.map(|factory| &**factory)).ok_or(problem)
            }
            (Err(problem), _) => Err(problem),
        }
    }

    /// Every topic that is open.
    fn opened(&self) -> Vec<Arc<Topic>> {
        self.topics.read().values().filter_map(|entry| entry.opened()).collect()
    }

    fn entries(&self) -> Vec<Arc<Entry>> {
        self.topics.read().values().cloned().collect()
    }

    fn name_lock(&self, name: &TopicName) -> &tokio::sync::Mutex<()> {
        &self.names[self.lock_of(name)]
    }

    fn lock_of(&self, name: &TopicName) -> usize {
        let hash = blake3::hash(name.as_str().as_bytes());
        usize::from(hash.as_bytes()[0]) % self.names.len().max(1)
    }

    /// The locks of two names, which may be the same one; always in the same order.
    async fn both_names(&self, one: &TopicName, other: &TopicName) -> [Option<MutexGuard<'_, ()>>; 2] {
        let (one, other) = (self.lock_of(one), self.lock_of(other));
        let first = self.names[one.min(other)].lock().await;
        let second = if one == other { None } else { Some(self.names[one.max(other)].lock().await) };
        [Some(first), second]
    }
}
