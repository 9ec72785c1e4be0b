//! Room for records before they get offsets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::backend::StorageError;
use crate::backend::layered::CommitQueue;
use crate::model::ErrorCode;
use crate::tail::{Budget, BudgetFull, Recent, Reservation, Waiting};
use crate::wal::Wal;

/// How long an append waits for room before it is refused.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// The part of the tail that topics may hold whose commits fail.
const STUCK_PART: u64 = 4;

/// Decides whether a batch is let in: the Tail's budget, the log's bound, the disk's floor.
#[derive(Debug)]
pub(crate) struct Admission {
    tail: Arc<Budget>,
    recent: Arc<Recent>,
    wal_bytes_max: u64,
    disk_at_floor: AtomicBool,
    log_freed: Notify,
    /// How many wait for the log to let go.
    log_waiting: AtomicU64,
    queue: Arc<CommitQueue>,
}

impl Admission {
    /// Admission within these bounds; committed records keep `recent_bytes` of the tail's at most while nobody needs it.
    pub(crate) fn new(tail: Arc<Budget>, recent_bytes: u64, wal_bytes_max: u64, queue: Arc<CommitQueue>) -> Self {
        let recent = Arc::new(Recent::new(Arc::clone(&tail), recent_bytes));
        Self {
            tail,
            recent,
            wal_bytes_max,
            disk_at_floor: AtomicBool::new(false),
            log_freed: Notify::new(),
            log_waiting: AtomicU64::new(0),
            queue,
        }
    }

    /// Tells whether the disk is at its floor.
    pub(crate) fn set_disk_at_floor(&self, at_floor: bool) {
        self.disk_at_floor.store(at_floor, Ordering::Relaxed);
    }

    /// Whether the disk is at its floor.
    pub(crate) fn disk_at_floor(&self) -> bool {
        self.disk_at_floor.load(Ordering::Relaxed)
    }

    /// Tells that the log has let go of a segment.
    pub(crate) fn log_released(&self) {
        self.log_freed.notify_waiters();
    }

    /// Whether an append waits for the log to let go of a segment.
    pub(crate) fn log_is_wanted(&self) -> bool {
        self.log_waiting.load(Ordering::Relaxed) > 0
    }

    /// The Tail's budget.
    pub(crate) const fn tail(&self) -> &Arc<Budget> {
        &self.tail
    }

    /// Committed records that are still in memory.
    pub(crate) fn recent(&self) -> Arc<Recent> {
        Arc::clone(&self.recent)
    }

    /// Whether a batch may wait for commits that fail: together such topics hold a part of the tail only, or those that are well
    /// would have none.
    ///
    /// # Errors
    /// [`StorageError::Full`] past that part.
    pub(crate) fn check_stuck(&self, bytes: u64) -> Result<(), StorageError> {
        let limit = self.tail.limit() / STUCK_PART;
        if self.queue.stuck_bytes().saturating_add(bytes) > limit {
            return Err(StorageError::Full { code: ErrorCode::Overloaded, limit });
        }
        Ok(())
    }

    /// Lets a batch in, or refuses it after [`PATIENCE`].
    ///
    /// # Errors
    /// [`StorageError::Unwritable`] for a failed log or a disk at its floor, [`StorageError::Full`] for lack of room.
    pub(crate) async fn reserve(&self, bytes: u64, wal: Option<&dyn Wal>) -> Result<Reservation, StorageError> {
        if self.disk_at_floor() {
            return Err(StorageError::Unwritable { code: ErrorCode::DiskFull });
        }
        if let Some(wal) = wal {
            if wal.failed().is_some() {
                return Err(StorageError::Unwritable { code: ErrorCode::LogFailed });
            }
            self.wait_for_log(bytes, wal).await?;
        }
        let reservation = match self.tail.try_reserve(bytes) {
            Ok(reservation) => reservation,
            Err(_) => {
                self.queue.wake();
                let full = |full: BudgetFull| StorageError::Full { code: ErrorCode::Overloaded, limit: full.limit };
                self.tail.reserve(bytes, PATIENCE).await.map_err(full)?
            }
        };
        self.recent.make_room();
        Ok(reservation)
    }

    async fn wait_for_log(&self, bytes: u64, wal: &dyn Wal) -> Result<(), StorageError> {
        // What nobody waits to commit is freed as soon as the head is left, so a request alone is admitted however large.
        let has_room = || wal.bytes().saturating_add(bytes) <= self.wal_bytes_max || self.tail.used() == 0;
        let waiting = async {
            loop {
                let (freed, committed) = (self.log_freed.notified(), self.tail.freed());
                tokio::pin!(freed, committed);
                freed.as_mut().enable();
                committed.as_mut().enable();
                if has_room() {
                    return;
                }
                self.queue.wake();
                tokio::select! {
                    () = freed => {}
                    () = committed => {}
                }
            }
        };
        if has_room() {
            return Ok(());
        }
        let _waiting = Waiting::counted(&self.log_waiting);
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .map_err(|_| StorageError::Full { code: ErrorCode::Overloaded, limit: self.wal_bytes_max })
    }
}
