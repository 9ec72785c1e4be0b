//! One topic's dataset.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use arrow_array::RecordBatch;
use async_trait::async_trait;
use lance::Dataset;
use lance::dataset::{CommitBuilder, InsertBuilder, WriteMode, WriteParams};
use lance::session::Session;
use lance_file::version::LanceFileVersion;
use lance_table::transaction::{Operation, Transaction};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tracing::warn;

use super::commit::{Fence, Ticket};
use super::error::{blocking, foreign, joined};
use super::offsets::Layout;
use super::open::{Newest, Site, Version, load, newest, set_version_aside};
use super::{Shared, evolve, place, read, upkeep};
use crate::codec::Chunk;
use crate::codec::columns::{arrow_schema, to_batch};
use crate::model::{Offset, Timestamp};
use crate::schema::Schema;
use crate::table::{Table, TableError, TableHead, TablePlace};

/// A fragment ends when its file is about this large.
const FILE_BYTES_MAX: usize = 1 << 30;
/// Chunks are laid out in batches of about so much text.
const BATCH_TEXT_BYTES: usize = 8 << 20;
/// What the text of a row is thought to take before any was read.
const ROW_BYTES_AT_FIRST: u64 = 256;
/// The caches of a table whose version numbers were used twice: the shared ones may hold the version set aside.
const PRIVATE_CACHE_BYTES: usize = 8 << 20;

/// The place of an open dataset.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Option<Version>>);

impl Slot {
    /// Lets go of the dataset.
    pub(super) fn close(&self) {
        *self.0.lock() = None;
    }
}

/// One topic's dataset, open or not.
#[derive(Clone, Debug)]
pub(super) struct LanceTable {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    place: TablePlace,
    fence: Arc<Fence>,
    session: ArcSwap<Session>,
    head: ArcSwap<TableHead>,
    slot: Arc<Slot>,
    /// One commit, and the upkeep after it, at a time, also where callers have gone.
    lane: Arc<Semaphore>,
    /// Whether what a commit has left on disk is not known.
    unsettled: AtomicBool,
    /// Whether the last commit failed because somebody else's came first, which was then adopted.
    moved: AtomicBool,
    commits: AtomicU64,
    row_bytes: AtomicU64,
}

/// A commit that is made: what is announced of it.
struct Announced {
    next: Offset,
    base: Offset,
    last_time: Option<Timestamp>,
}

impl LanceTable {
    pub(super) async fn open(shared: Arc<Shared>, place: TablePlace, base: Offset) -> Result<Self, TableError> {
        let fence = Arc::new(Fence::new(Arc::clone(&shared.disk), place.dataset.clone()));
        let empty = TableHead { base, next: base, version: 0, fragments: Arc::default(), last_time: None };
        let inner = Inner {
            session: ArcSwap::new(Arc::clone(&shared.session)),
            shared,
            place,
            fence,
            head: ArcSwap::from_pointee(empty),
            slot: Arc::default(),
            lane: Arc::new(Semaphore::new(1)),
            unsettled: AtomicBool::new(false),
            moved: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            row_bytes: AtomicU64::new(ROW_BYTES_AT_FIRST),
        };
        if let Some(found) = newest(&inner.site()).await? {
            inner.publish(found.version, found.last_time);
            // A crash may have come between the first commit and its link.
            inner.link().await?;
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs work on Lance's runtime, where it goes on if the caller leaves.
    async fn run<T, F, W>(&self, work: W) -> Result<T, TableError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, TableError>> + Send + 'static,
        W: FnOnce(Arc<Inner>) -> F,
    {
        joined(self.inner.shared.runtime.spawn(work(Arc::clone(&self.inner))).await)
    }

    /// The same in the lane, one at a time, from a state that is known.
    async fn run_in_lane<T, F, W>(&self, work: W) -> Result<T, TableError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, TableError>> + Send + 'static,
        W: FnOnce(Arc<Inner>) -> F + Send + 'static,
    {
        self.run(|inner| async move {
            let lane = Arc::clone(&inner.lane).acquire_owned().await;
            let lane = lane.map_err(|error| TableError::Failed { cause: error.to_string() })?;
            inner.settle().await?;
            let outcome = work(Arc::clone(&inner)).await;
            if inner.is_upkeep_due() {
                // After the answer, but before the next commit.
                inner.shared.runtime.spawn(Arc::clone(&inner).keep_up(lane));
            }
            outcome
        })
        .await
    }
}

impl Inner {
    fn site(&self) -> Site {
        Site {
            disk: Arc::clone(&self.shared.disk),
            dataset: self.place.dataset.clone(),
            fence: Arc::clone(&self.fence),
            session: self.session.load_full(),
        }
    }

    fn head(&self) -> Arc<TableHead> {
        self.head.load_full()
    }

    /// Makes a version the one that is read.
    fn publish(&self, version: Version, last_time: Option<Timestamp>) -> Arc<TableHead> {
        let head = Arc::new(TableHead {
            base: version.layout.base,
            next: version.layout.next,
            version: version.dataset.manifest().version,
            fragments: version.layout.summaries(),
            last_time,
        });
        let mut slot = self.slot.0.lock();
        *slot = Some(version);
        self.head.store(Arc::clone(&head));
        drop(slot);
        self.shared.shelf.used(&self.weak_slot());
        head
    }

    fn weak_slot(&self) -> Weak<Slot> {
        Arc::downgrade(&self.slot)
    }

    /// The head's version, opened again where it was closed; none where there is no dataset.
    async fn version(&self) -> Result<Option<Version>, TableError> {
        loop {
            let (open, head) = {
                let slot = self.slot.0.lock();
                (slot.clone(), self.head())
            };
            if head.version == 0 {
                return Ok(None);
            }
            if let Some(version) = open {
                self.shared.shelf.used(&self.weak_slot());
                return Ok(Some(version));
            }
            // By its number: a version that is just being committed is not synced yet.
            let dataset = Arc::new(load(&self.site(), head.version).await?);
            let layout = Arc::new(Layout::of(dataset.manifest(), head.base)?);
            let mut slot = self.slot.0.lock();
            if slot.is_none() && self.head().version == head.version {
                *slot = Some(Version { dataset, layout });
            }
        }
    }

    /// After a commit whose outcome is not known: what is on disk decides, less what was not acknowledged.
    async fn settle(&self) -> Result<(), TableError> {
        if !self.unsettled.load(Ordering::Acquire) {
            return Ok(());
        }
        let outcome = self.fence.disarm();
        let head = self.head();
        if let Some(version) = outcome.attempted {
            if head.version == 0 {
                // Nothing was ever committed here, and names of folders whose sync has failed are not believed later.
                self.begin_anew().await?;
            } else {
                set_version_aside(&self.site(), version).await?;
            }
            self.session.store(Arc::new(Session::new(PRIVATE_CACHE_BYTES, PRIVATE_CACHE_BYTES, Arc::default())));
        }
        match newest(&self.site()).await? {
            Some(Newest { version, .. }) if version.layout.next != head.next || version.layout.base != head.base => {
                return Err(foreign(format!("the rows end at {} instead of {}", version.layout.next, head.next)));
            }
            Some(Newest { version, last_time }) => {
                self.publish(version, last_time.or(head.last_time));
            }
            None if head.version == 0 => {}
            None => return Err(foreign("the dataset is gone")),
        }
        self.moved.store(outcome.moved, Ordering::Release);
        self.unsettled.store(false, Ordering::Release);
        Ok(())
    }

    /// Removes what a failed first commit has left.
    async fn begin_anew(&self) -> Result<(), TableError> {
        let dataset = self.place.dataset.clone();
        blocking(move || match std::fs::remove_dir_all(&dataset) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    async fn link(&self) -> Result<(), TableError> {
        let (disk, place) = (Arc::clone(&self.shared.disk), self.place.clone());
        blocking(move || place::link(&*disk, &place)).await
    }

    /// Makes one commit on top of the head, synced. When it fails, what it may have left is set aside.
    async fn commit<F, W>(&self, announced: Announced, known: Option<&Dataset>, make: W) -> Result<Version, TableError>
    where
        F: Future<Output = Result<Dataset, TableError>>,
        W: FnOnce() -> F,
    {
        let head = self.head();
        let Announced { next, base, last_time } = announced;
        let known = known.map(|dataset| Arc::clone(dataset.fragments())).unwrap_or_default();
        self.unsettled.store(true, Ordering::Release);
        self.fence.arm(Ticket { version: head.version + 1, base, next, known });
        let made = match make().await {
            Ok(dataset) => Layout::of(dataset.manifest(), base).map(|layout| (dataset, layout)),
            Err(error) => Err(error),
        };
        match made {
            Ok((dataset, layout)) => {
                self.fence.disarm();
                self.unsettled.store(false, Ordering::Release);
                self.commits.fetch_add(1, Ordering::Relaxed);
                let version = Version { dataset: Arc::new(dataset), layout: Arc::new(layout) };
                self.publish(version.clone(), last_time);
                Ok(version)
            }
            Err(error) => {
                if let Err(unsettled) = self.settle().await {
                    warn!(
                        dataset = %self.place.dataset.display(), error = %unsettled,
                        "what a failed commit has left could not be set aside"
                    );
                    // Rows that are not ours outweigh why this commit failed.
                    if matches!(unsettled, TableError::Foreign { .. }) {
                        return Err(unsettled);
                    }
                }
                Err(error)
            }
        }
    }

    fn write_params(&self, mode: WriteMode) -> WriteParams {
        WriteParams {
            mode,
            max_bytes_per_file: FILE_BYTES_MAX,
            data_storage_version: Some(LanceFileVersion::V2_2),
            commit_handler: Some(Arc::clone(&self.fence) as _),
            session: Some(self.session.load_full()),
            enable_stable_row_ids: false,
            ..WriteParams::default()
        }
    }

    /// Makes the dataset with its first rows, or none.
    async fn make_dataset(&self, schema: &Schema, mut batches: Vec<RecordBatch>, last: Last) -> Result<(), TableError> {
        let head = self.head();
        // Before the dataset, so that no dataset is ever without: both are there from the first commit.
        self.link().await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(Arc::new(arrow_schema(schema))));
        }
        let uri = self.site();
        let uri =
            uri.dataset.to_str().ok_or_else(|| TableError::Failed { cause: "the path is not UTF-8".to_owned() })?;
        let params = self.write_params(WriteMode::Create);
        let announced = Announced { next: last.next, base: head.base, last_time: last.time };
        self.commit(announced, None, || async {
            Ok(InsertBuilder::new(uri).with_params(&params).execute(batches).await?)
        })
        .await?;
        Ok(())
    }

    /// Makes one more version by a transaction that is prepared.
    async fn add_version(
        &self,
        present: &Version,
        transaction: Transaction,
        announced: Announced,
    ) -> Result<Version, TableError> {
        let dataset = Arc::clone(&present.dataset);
        self.commit(announced, Some(&present.dataset), || async move {
            Ok(CommitBuilder::new(dataset).execute(transaction).await?)
        })
        .await
    }

    /// The head with the columns of `schema`.
    async fn evolved(&self, version: Version, schema: &Schema) -> Result<Version, TableError> {
        let Some(plan) = evolve::plan(&version.dataset, schema)? else { return Ok(version) };
        let head = self.head();
        let announced = Announced { next: head.next, base: head.base, last_time: head.last_time };
        let transaction = evolve::prepare(&version.dataset, &plan).await?;
        self.add_version(&version, transaction, announced).await
    }

    async fn append_once(&self, schema: &Schema, batches: Vec<RecordBatch>, last: Last) -> Result<(), TableError> {
        let Some(version) = self.version().await? else { return self.make_dataset(schema, batches, last).await };
        let version = self.evolved(version, schema).await?;
        if batches.is_empty() {
            return Ok(());
        }
        let params = self.write_params(WriteMode::Append);
        let insert = InsertBuilder::new(Arc::clone(&version.dataset)).with_params(&params);
        let transaction = insert.execute_uncommitted(batches).await?;
        let announced = Announced { next: last.next, base: self.head().base, last_time: last.time };
        self.add_version(&version, transaction, announced).await?;
        Ok(())
    }

    async fn append(&self, schema: &Schema, chunks: &[Chunk]) -> Result<(), TableError> {
        let last = dense(chunks, &self.head())?;
        let batches = lay_out(schema, chunks)?;
        match self.append_once(schema, batches.clone(), last).await {
            Err(_) if self.moved.swap(false, Ordering::AcqRel) => self.append_once(schema, batches, last).await,
            outcome => outcome,
        }
    }

    async fn drop_before(&self, before: Offset) -> Result<(), TableError> {
        match self.drop_once(before).await {
            Err(_) if self.moved.swap(false, Ordering::AcqRel) => self.drop_once(before).await,
            outcome => outcome,
        }
    }

    async fn drop_once(&self, before: Offset) -> Result<(), TableError> {
        let Some(version) = self.version().await? else { return Ok(()) };
        let dropped = version.layout.wholly_before(before);
        let Some(last) = dropped.last() else { return Ok(()) };
        let operation = Operation::Delete {
            updated_fragments: Vec::new(),
            deleted_fragment_ids: dropped.iter().map(|placed| placed.id).collect(),
            predicate: format!("_offset < {}", last.next),
        };
        let transaction = Transaction::new_from_version(version.dataset.manifest().version, operation);
        let head = self.head();
        let announced = Announced { next: head.next, base: last.next, last_time: head.last_time };
        self.add_version(&version, transaction, announced).await?;
        Ok(())
    }

    async fn read(
        &self,
        schema: &Schema,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<Chunk>, TableError> {
        loop {
            let Some(version) = self.version().await? else { return Ok(Vec::new()) };
            let mut row_bytes = self.row_bytes.load(Ordering::Relaxed);
            let outcome = read::records(&version, schema, from, records, bytes, &mut row_bytes).await;
            self.row_bytes.store(row_bytes, Ordering::Relaxed);
            // A version that is long gone may have lost its files under the reader; the newest one has them.
            if outcome.is_err() && self.head().version > version.dataset.manifest().version {
                continue;
            }
            return outcome;
        }
    }

    fn is_upkeep_due(&self) -> bool {
        self.commits.load(Ordering::Relaxed) >= upkeep::COMMITS_BETWEEN
    }

    async fn keep_up(self: Arc<Self>, lane: tokio::sync::OwnedSemaphorePermit) {
        self.commits.store(0, Ordering::Relaxed);
        let outcome = match self.version().await {
            Ok(Some(version)) => upkeep::remove_old_versions(&version.dataset).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            warn!(dataset = %self.place.dataset.display(), error = %error, "old versions of a dataset could not be removed");
        }
        drop(lane);
    }
}

/// Where the rows of an append end.
#[derive(Clone, Copy, Debug)]
struct Last {
    next: Offset,
    time: Option<Timestamp>,
}

/// Checks that chunks follow the head without gap or overlap.
fn dense(chunks: &[Chunk], head: &TableHead) -> Result<Last, TableError> {
    let mut last = Last { next: head.next, time: head.last_time };
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
        if chunk.first() != last.next || last.next.after(chunk.len() as u64).is_none() {
            let cause = format!("records from {} were to follow {}", chunk.first(), last.next);
            return Err(TableError::Failed { cause });
        }
        last = Last { next: chunk.next(), time: Some(chunk.last_time()) };
    }
    Ok(last)
}

fn lay_out(schema: &Schema, chunks: &[Chunk]) -> Result<Vec<RecordBatch>, TableError> {
    let mut batches = Vec::new();
    let mut rest = chunks;
    while !rest.is_empty() {
        let mut bytes = 0;
        let more = rest.iter().skip(1).take_while(|chunk| {
            bytes += chunk.values().bytes();
            bytes <= BATCH_TEXT_BYTES
        });
        let (batch, later) = rest.split_at(1 + more.count());
        if batch.iter().any(|chunk| !chunk.is_empty()) {
            batches.push(to_batch(schema, batch)?);
        }
        rest = later;
    }
    Ok(batches)
}

#[async_trait]
impl Table for LanceTable {
    fn head(&self) -> Arc<TableHead> {
        self.inner.head()
    }

    async fn create(&self, schema: &Schema) -> Result<Arc<TableHead>, TableError> {
        let schema = schema.clone();
        self.run_in_lane(|inner| async move {
            let head = inner.head();
            if head.version == 0 {
                inner.make_dataset(&schema, Vec::new(), Last { next: head.next, time: None }).await?;
            }
            Ok(inner.head())
        })
        .await
    }

    async fn append(&self, schema: &Schema, chunks: Vec<Chunk>) -> Result<Arc<TableHead>, TableError> {
        let schema = schema.clone();
        self.run_in_lane(|inner| async move {
            inner.append(&schema, &chunks).await?;
            Ok(inner.head())
        })
        .await
    }

    async fn read(
        &self,
        schema: &Schema,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<Chunk>, TableError> {
        let schema = schema.clone();
        self.run(|inner| async move { inner.read(&schema, from, records, bytes).await }).await
    }

    async fn seek_time(&self, time: Timestamp) -> Result<Offset, TableError> {
        self.run(|inner| async move {
            match inner.version().await? {
                Some(version) => read::offset_at(&version, time).await,
                None => Ok(inner.head().next),
            }
        })
        .await
    }

    async fn drop_before(&self, before: Offset) -> Result<Arc<TableHead>, TableError> {
        self.run_in_lane(move |inner| async move {
            inner.drop_before(before).await?;
            Ok(inner.head())
        })
        .await
    }
}
