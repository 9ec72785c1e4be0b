//! One topic's way from the tail into the table: one commit at a time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::backend::layered::kept::Kept;
use crate::backend::layered::pace::{Due, FAILURES_MAX, Pace};
use crate::backend::layered::{CommitQueue, storage_error};
use crate::backend::{OpenTopic, SchemaCell, StorageError};
use crate::codec::Chunk;
use crate::model::{ErrorCode, Offset, Timestamp, TopicId, TopicName};
use crate::table::{Table, TableError, TablePlace, TableSettings, Tables};
use crate::tail::{Levels, LevelsWatch, Recent, Tail};

/// The most text that one commit takes (at least one chunk).
const COMMIT_BYTES: usize = 64 << 20;

/// One topic's way from the tail into the table.
pub struct Lane {
    id: TopicId,
    name: TopicName,
    place: TablePlace,
    tables: Arc<dyn Tables>,
    table: std::sync::OnceLock<Arc<dyn Table>>,
    /// How the dataset stores what comes.
    pub(super) settings: Mutex<TableSettings>,
    pub(super) schema: SchemaCell,
    pub(super) tail: Tail,
    pub(super) kept: Kept,
    /// See [`Lane::adoptions`].
    pub(super) adoptions: AtomicU64,
    pub(super) levels: LevelsWatch,
    pub(super) queue: Arc<CommitQueue>,
    /// Where the dataset can end at the latest: what was known when the topic was opened, then what was handed over to it.
    /// None where the dataset alone knows, until it is opened.
    end_max: Mutex<Option<Offset>>,
    pub(super) queued: AtomicBool,
    /// Whether a group of the log that is being completed has records of the topic, of which readers are told at its end.
    pub(super) in_group: AtomicBool,
    /// Whether a commit was started and has not ended.
    running: AtomicBool,
    /// One writer at a time; readers do not take it.
    pub(super) writing: tokio::sync::Mutex<()>,
    pace: Mutex<Pace>,
    /// Whether records can be read only once they are committed.
    reads_committed: AtomicBool,
    /// Takes back what refused records have changed of the topic.
    rewind: std::sync::OnceLock<Rewind>,
}

/// Called for each batch that the log has refused.
pub(crate) type Rewind = Box<dyn Fn() + Send + Sync>;

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("topic", &self.name).field("levels", &self.levels.now()).finish_non_exhaustive()
    }
}

impl Lane {
    /// The lane of a topic whose tail is empty and whose table is opened at first use.
    pub(super) fn new(
        topic: &OpenTopic,
        place: TablePlace,
        tables: Arc<dyn Tables>,
        queue: Arc<CommitQueue>,
        recent: Arc<Recent>,
        is_settled: bool,
    ) -> Self {
        let mut levels = Levels::at(topic.earliest, topic.committed);
        levels.closed = topic.closed;
        Self {
            id: topic.id,
            name: topic.name.clone(),
            place,
            tables,
            table: std::sync::OnceLock::new(),
            // What was to go before the last stop and is still there goes when the dataset is opened.
            settings: Mutex::new(TableSettings { expired: topic.earliest, ..TableSettings::default() }),
            schema: Arc::clone(&topic.schema),
            tail: Tail::default(),
            kept: Kept::of(recent),
            adoptions: AtomicU64::new(0),
            levels: LevelsWatch::new(levels),
            queue,
            end_max: Mutex::new(is_settled.then_some(topic.committed)),
            queued: AtomicBool::new(false),
            in_group: AtomicBool::new(false),
            running: AtomicBool::new(false),
            writing: tokio::sync::Mutex::new(()),
            pace: Mutex::new(Pace::new()),
            reads_committed: AtomicBool::new(false),
            rewind: std::sync::OnceLock::new(),
        }
    }

    /// Sets when commits are due, and whether records can be read before they are committed.
    pub(crate) fn configure(&self, batch_size: u64, flush_interval_ms: u64, reads_committed: bool) {
        self.pace.lock().configure(batch_size, flush_interval_ms);
        self.reads_committed.store(reads_committed, Ordering::Relaxed);
        self.levels.change(|levels| self.settle_readable(levels));
    }

    /// Tells the dataset, now or when it is opened, how to store what comes.
    pub(super) fn store_as(&self, change: impl FnOnce(&mut TableSettings)) {
        let mut settings = self.settings.lock();
        change(&mut settings);
        if let Some(table) = self.table.get() {
            table.configure(&settings);
        }
    }

    /// The topic's identity.
    pub const fn id(&self) -> TopicId {
        self.id
    }

    /// The topic's name.
    pub const fn name(&self) -> &TopicName {
        &self.name
    }

    /// How far the topic has come.
    pub const fn levels(&self) -> &LevelsWatch {
        &self.levels
    }

    pub(super) const fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Everything readable never goes back: a default that becomes stronger holds for what comes.
    pub(super) fn settle_readable(&self, levels: &mut Levels) {
        let reached = if self.reads_committed.load(Ordering::Relaxed) { levels.committed } else { levels.durable };
        levels.readable = levels.readable.max(reached);
    }

    /// Says what to do when the log refuses records; once.
    pub(crate) fn on_refusal(&self, rewind: Rewind) {
        if self.rewind.set(rewind).is_err() {
            tracing::error!(topic = %self.name, "a lane was given two topics");
        }
    }

    /// The log has refused records of the topic, and nothing of them is stored: whoever waits for them is told, and their
    /// offsets are given out again.
    pub(super) fn refuse(&self) {
        match self.rewind.get() {
            Some(rewind) => rewind(),
            None => self.levels.change(|levels| levels.refusals += 1),
        }
    }

    /// Gives up: nothing in flight is acknowledged, nothing new is taken.
    pub(super) fn fail(&self, code: ErrorCode) {
        self.levels.change(|levels| {
            levels.failed.get_or_insert(code);
        });
    }

    /// The table, opened at first use.
    ///
    /// # Errors
    /// [`StorageError::Failed`] when it could not be opened; the next call tries again.
    pub(crate) async fn table(&self) -> Result<Arc<dyn Table>, StorageError> {
        self.open_table().await.map_err(|err| {
            tracing::warn!(topic = %self.name, error = %err, "the dataset of {} cannot be opened", self.name);
            storage_error(&err)
        })
    }

    /// Several may open it at once, who get the same table. None is in the way of another: a stream whose client takes nothing
    /// is not polled any more, wherever it stands.
    async fn open_table(&self) -> Result<Arc<dyn Table>, TableError> {
        if let Some(table) = self.table.get() {
            return Ok(Arc::clone(table));
        }
        let table = self.tables.open(&self.place, Offset::ZERO).await?;
        self.check_head(&*table)?;
        let settings = self.settings.lock();
        table.configure(&settings);
        Ok(Arc::clone(self.table.get_or_init(|| table)))
    }

    /// What a dataset holds must fit what the catalog and the log knew when the topic was opened, and what was handed over
    /// since. Where it holds more, those are other records than the ones that this process gives the same offsets: they
    /// are not taken for each other.
    fn check_head(&self, table: &dyn Table) -> Result<(), TableError> {
        // In this order: a commit may end meanwhile.
        let committed = self.levels.now().committed;
        let head = table.head();
        let end_max = *self.end_max.lock().get_or_insert(head.next);
        let foreign = |reason| Err(TableError::Foreign { reason });
        if head.next < committed {
            return foreign(format!("it ends at offset {}, but {committed} was committed before", head.next));
        }
        if head.next > end_max {
            return foreign(format!("it ends at offset {}, but the topic was known up to {end_max}", head.next));
        }
        if let (Some(last), Some(time)) = (self.tail.time_before(head.next), head.last_time)
            && last != time
        {
            return foreign(format!("its last record, before offset {}, is not the one in the log", head.next));
        }
        drop(self.adopt(head.next));
        Ok(())
    }

    /// What the log had kept, or a commit is about to take, can be in the dataset.
    pub(super) fn expect_up_to(&self, next: Offset) {
        let mut end_max = self.end_max.lock();
        *end_max = end_max.map(|end| end.max(next));
    }

    /// Everything before `next` is committed; what leaves the tail with that.
    fn adopt(&self, next: Offset) -> Vec<Chunk> {
        self.levels.change(|levels| {
            levels.committed = levels.committed.max(next);
            levels.durable = levels.durable.max(next);
            self.settle_readable(levels);
        });
        self.tail.take_before(next)
    }

    /// Fragments of the dataset as far as it is known: none before it is opened.
    pub(crate) fn fragments(&self) -> u64 {
        self.table.get().map_or(0, |table| table.head().fragments.len() as u64)
    }

    /// Learns from the dataset how far it has come; the time of its last row.
    pub(super) async fn look_at_dataset(&self) -> Result<Option<Timestamp>, StorageError> {
        Ok(self.table().await?.head().last_time)
    }

    /// The dataset's version; none before the first.
    pub(super) async fn version(&self) -> Result<Option<u64>, StorageError> {
        let version = self.table().await?.head().version;
        Ok((version > 0).then_some(version))
    }

    /// Makes the dataset with the topic's columns, unless it is there.
    pub(super) async fn create_table(&self) -> Result<(), StorageError> {
        let _writing = self.writing.lock().await;
        let table = self.table().await?;
        table.create(&self.columns()).await.map_err(|err| storage_error(&err))?;
        Ok(())
    }

    /// Somebody waits until everything before `next` is committed.
    pub(crate) fn demand(&self, next: Offset) {
        self.pace.lock().demand(next);
        self.queue.wake();
    }

    /// Whether a commit is due.
    pub(crate) fn due(&self, now: Instant, wall_ms: u64) -> Due {
        let size = self.tail.size();
        if self.is_busy() {
            return Due::Not;
        }
        let committed = self.levels.now().committed;
        self.pace.lock().due(size, committed, now, wall_ms)
    }

    /// Bytes of memory that wait for a commit.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.tail.bytes()
    }

    /// Whether a commit of it is failing or has to pause before the next try.
    pub(crate) fn is_stuck(&self) -> bool {
        self.pace.lock().is_failing()
    }

    /// Why the topic is degraded, in a sentence; none where it is not.
    pub(crate) fn degraded_reason(&self) -> Option<String> {
        if self.levels.now().degraded { self.pace.lock().reason() } else { None }
    }

    /// Whether a commit of it runs, or would have to wait for another write to its dataset, which may take long.
    pub(crate) fn is_busy(&self) -> bool {
        self.running.load(Ordering::Acquire) || self.writing.try_lock().is_err()
    }

    /// Takes the turn to commit; false where a commit runs already.
    pub(crate) fn begin(&self) -> bool {
        !self.running.swap(true, Ordering::AcqRel)
    }

    /// Commits what waits, at most [`COMMIT_BYTES`] of it; true when something was committed. Failures are counted, logged
    /// and paced here.
    pub(crate) async fn commit(self: &Arc<Self>) -> bool {
        let writing = self.writing.lock().await;
        self.pace.lock().begin(Instant::now());
        let outcome = self.commit_once().await;
        drop(writing);
        let committed = match outcome {
            Ok(committed) => {
                self.succeeded();
                committed
            }
            Err(err) => {
                self.note_failure(&err);
                false
            }
        };
        self.running.store(false, Ordering::Release);
        self.leave_queue_when_empty();
        committed
    }

    fn leave_queue_when_empty(self: &Arc<Self>) {
        if self.tail.first().is_some() && self.levels.now().ending.is_none() {
            return;
        }
        self.queue.remove(self.id);
        self.queued.store(false, Ordering::Release);
        // Records may have come between the look and the leave.
        if self.tail.first().is_some()
            && self.levels.now().ending.is_none()
            && !self.queued.swap(true, Ordering::AcqRel)
        {
            self.queue.add(Arc::clone(self));
        }
    }

    async fn commit_once(&self) -> Result<bool, TableError> {
        if self.levels.now().ending.is_some() {
            return Ok(false);
        }
        let table = self.open_table().await?;
        self.check_head(&*table)?;
        let chunks = self.tail.front(self.levels.now().durable, COMMIT_BYTES);
        let Some(last) = chunks.last() else { return Ok(false) };
        self.note_expired();
        self.expect_up_to(last.next());
        let head = table.append(&self.columns(), chunks).await?;
        self.keep(self.adopt(head.next)).await;
        Ok(true)
    }

    fn succeeded(&self) {
        self.pace.lock().succeed();
        if self.levels.now().degraded {
            tracing::info!(topic = %self.name, "{} can be written again", self.name);
            self.levels.change(|levels| levels.degraded = false);
        }
    }

    fn note_failure(&self, err: &TableError) {
        let failures = self.pace.lock().fail(err, Instant::now());
        tracing::warn!(topic = %self.name, failures, error = %err, "a commit of {} failed", self.name);
        if failures >= FAILURES_MAX {
            self.levels.change(|levels| levels.degraded = true);
        }
    }

    /// Waits until no commit runs; none starts any more once the topic has ended.
    pub(crate) async fn quiesce(&self) {
        drop(self.writing.lock().await);
        self.kept.evict(Offset::MAX);
        self.queue.remove(self.id);
    }
}
