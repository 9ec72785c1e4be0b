//! One topic's dataset.

mod reading;
mod rows;
mod settle;
mod versions;
mod write;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use lance::session::Session;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use super::commit::Fence;
use super::error::joined;
use super::offsets::{Layout, RAW_KEY, stored};
use super::open::{Site, Version, load, newest};
use super::pins::Pins;
use super::{Shared, index, search, upkeep};
use crate::codec::Chunk;
use crate::model::{Offset, Timestamp};
use crate::schema::Columns;
use crate::table::compression::Compression;
use crate::table::{IndexStanding, Indexed, Table, TableError, TableHead, TablePlace, TableSettings, TableUsage};

/// What the text of a row is thought to take before any was read.
const ROW_BYTES_AT_FIRST: u64 = 256;

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
pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) place: TablePlace,
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
    pub(super) upkeep: upkeep::State,
    pub(super) indexes: index::State,
    /// How what is written is compressed.
    compression: ArcSwap<Compression>,
    /// About how many bytes of text the rows had.
    pub(super) raw_bytes: AtomicU64,
    row_bytes: AtomicU64,
    /// The older versions that are being read.
    pub(super) pins: Pins,
}

/// A table that is not held by this.
#[derive(Clone, Debug)]
pub(super) struct WeakTable(Weak<Inner>);

impl WeakTable {
    /// The table, if somebody holds it.
    pub(super) fn upgrade(&self) -> Option<LanceTable> {
        self.0.upgrade().map(|inner| LanceTable { inner })
    }
}

impl LanceTable {
    pub(super) fn downgrade(&self) -> WeakTable {
        WeakTable(Arc::downgrade(&self.inner))
    }

    #[cfg(test)]
    pub(super) const fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub(super) async fn open(shared: Arc<Shared>, place: TablePlace, base: Offset) -> Result<Self, TableError> {
        let fence = Arc::new(Fence::new(Arc::clone(&shared.disk), place.dataset.clone()));
        let empty = TableHead { base, next: base, version: 0, fragments: Arc::default(), last_time: None };
        let policy = shared.upkeep_policy;
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
            upkeep: upkeep::State::new(policy),
            indexes: index::State::default(),
            compression: ArcSwap::default(),
            raw_bytes: AtomicU64::new(0),
            row_bytes: AtomicU64::new(ROW_BYTES_AT_FIRST),
            pins: Pins::default(),
        };
        if let Some(found) = newest(&inner.site()).await? {
            inner.upkeep.found(found.versions);
            inner.publish(found.version, found.last_time);
            // A crash may have come between the first commit and its link.
            inner.link().await?;
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Reads on Lance's runtime; that ends if the caller leaves.
    async fn run<T, F, W>(&self, work: W) -> Result<T, TableError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, TableError>> + Send + 'static,
        W: FnOnce(Arc<Inner>) -> F,
    {
        joined(AbortOnDropHandle::new(self.inner.shared.runtime.spawn(work(Arc::clone(&self.inner)))).await)
    }

    /// Runs work on Lance's runtime, where it goes on if the caller leaves.
    async fn run_to_its_end<T, F, W>(&self, work: W) -> Result<T, TableError>
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
        self.run_to_its_end(|inner| async move {
            let lane = inner.enter_lane().await?;
            let outcome = work(Arc::clone(&inner)).await;
            drop(lane);
            inner.look_after();
            inner.look_after_indexes();
            outcome
        })
        .await
    }
}

impl Inner {
    /// Waits until no commit runs; from then on the state of the dataset is known.
    pub(super) async fn enter_lane(&self) -> Result<OwnedSemaphorePermit, TableError> {
        let lane = Arc::clone(&self.lane).acquire_owned().await;
        let lane = lane.map_err(|error| TableError::Failed { cause: error.to_string() })?;
        self.settle().await?;
        self.check_in_place().await?;
        Ok(lane)
    }

    fn site(&self) -> Site {
        Site {
            disk: Arc::clone(&self.shared.disk),
            dataset: self.place.dataset.clone(),
            fence: Arc::clone(&self.fence),
            session: self.session.load_full(),
        }
    }

    pub(super) fn head(&self) -> Arc<TableHead> {
        self.head.load_full()
    }

    /// The head's version, where it is open.
    pub(super) fn open_version(&self) -> Option<Version> {
        self.slot.0.lock().clone()
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
        let raw_bytes = stored(version.dataset.manifest(), RAW_KEY).unwrap_or(0);
        self.raw_bytes.store(raw_bytes, Ordering::Relaxed);
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
    pub(super) async fn version(&self) -> Result<Option<Version>, TableError> {
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

    /// A version with what keeps it.
    pub(super) fn place_of(&self, version: Version) -> search::Place {
        let pin = Arc::new(self.pins.pin(version.dataset.manifest().version));
        search::Place { runtime: self.shared.runtime.clone(), version, pin }
    }
}

#[async_trait]
impl Table for LanceTable {
    async fn create(&self, columns: &Columns) -> Result<Arc<TableHead>, TableError> {
        let columns = columns.clone();
        self.run_in_lane(|inner| async move {
            let head = inner.head();
            if head.version == 0 {
                inner.make_empty(&columns).await?;
            }
            Ok(inner.head())
        })
        .await
    }

    async fn append(&self, columns: &Columns, chunks: Vec<Chunk>) -> Result<Arc<TableHead>, TableError> {
        let columns = columns.clone();
        self.run_in_lane(|inner| async move {
            inner.append(&columns, chunks).await?;
            Ok(inner.head())
        })
        .await
    }

    async fn drop_before(&self, before: Offset) -> Result<Arc<TableHead>, TableError> {
        self.inner.upkeep.expire(before);
        self.run_in_lane(move |inner| async move {
            inner.drop_before(before).await?;
            Ok(inner.head())
        })
        .await
    }

    fn configure(&self, settings: &TableSettings) {
        self.inner.upkeep.hold(settings.held_bytes);
        self.inner.upkeep.expire(settings.expired);
        self.inner.compression.store(Arc::clone(&settings.compression));
        self.inner.indexes.want(&settings.indexes);
        self.inner.look_after_expired();
        self.inner.look_after_indexes();
    }

    fn compact(&self) {
        self.inner.upkeep.ask();
        self.inner.look_after();
    }

    async fn usage(&self) -> Result<TableUsage, TableError> {
        self.run(|inner| async move { inner.usage().await }).await
    }

    fn indexed(&self) -> Option<&dyn Indexed> {
        Some(self)
    }
}

#[async_trait]
impl Indexed for LanceTable {
    async fn standing(&self, earliest: Offset) -> Result<Vec<IndexStanding>, TableError> {
        self.run(move |inner| async move { inner.standing(earliest).await }).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::table::lance::tests::Bench;

    #[tokio::test]
    async fn a_read_ends_when_nobody_waits_for_it() {
        let bench = Bench::new();
        let shared = Arc::clone(&bench.tables.shared);
        let table = LanceTable::open(shared, bench.place(), Offset::ZERO).await.unwrap();
        let (begin, begun) = oneshot::channel();
        let (held, gone) = oneshot::channel::<()>();
        let reading = table.run(|_| async move {
            let _held = held;
            begin.send(()).unwrap();
            std::future::pending::<Result<(), TableError>>().await
        });
        tokio::select! {
            _ = reading => unreachable!("it never ends"),
            begun = begun => begun.unwrap(),
        }
        assert!(gone.await.is_err());
    }
}
