//! What submitters and the log's thread share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

use super::accounts::Accounts;
use super::frame::Body;
use super::segment::path_of_spare;
use super::{Completion, Group, WalEntry, WalError, WalOptions};
use crate::io::Disk;
use crate::model::{Offset, TopicId};

/// An entry that waits for the log's thread.
pub(crate) struct Pending {
    /// Whose it is.
    pub(crate) topic: TopicId,
    /// The offset past its last record.
    pub(crate) next: Offset,
    /// The other topic that has records in it, the offset past them, and their bytes.
    pub(crate) beside: Option<Box<(TopicId, Offset, u64)>>,
    /// Its encoded body.
    pub(crate) body: Body,
    /// Who is told.
    pub(crate) done: Completion,
}

impl Pending {
    /// Bytes of its frame, but for the records of the other topic.
    pub(crate) fn own_bytes(&self) -> u64 {
        self.body.frame_bytes() - self.beside.as_ref().map_or(0, |beside| beside.2)
    }

    /// Encodes and checksums an entry; done by the submitter, outside any lock of the log's.
    pub(crate) fn new(entry: &WalEntry, done: Completion) -> Self {
        let next = entry.first.saturating_after(u64::from(entry.count));
        let beside = entry.beside.as_ref().map(|beside| Box::new(beside.account()));
        Self { topic: entry.topic, next, beside, body: Body::encode(entry), done }
    }
}

/// What the log's thread takes at once.
#[derive(Default)]
pub(crate) struct Work {
    /// Entries, in log order.
    pub(crate) entries: Vec<Pending>,
    /// Those who want the head sealed behind them.
    pub(crate) seals: Vec<Completion>,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.seals.is_empty()
    }
}

#[derive(Default)]
struct Queue {
    work: Work,
    /// The thread ends when it has nothing more to do.
    closing: bool,
    /// The thread has ended: nobody takes anything any more.
    closed: bool,
}

/// What submitters and the log's thread share.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: PathBuf,
    pub(crate) options: WalOptions,
    pub(crate) accounts: Mutex<Accounts>,
    /// The log position before which everything is durable.
    pub(crate) end: AtomicU64,
    /// Whether a released segment's file lies ready for the next one.
    pub(crate) spare: AtomicBool,
    /// Whether the disk was full when something was written last: nothing is kept for later then.
    pub(crate) full: AtomicBool,
    /// The newest segment that was made before this log was opened.
    pub(crate) found: Option<u64>,
    queue: Mutex<Queue>,
    wake: Condvar,
    failed: OnceLock<WalError>,
}

impl Shared {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        options: WalOptions,
        accounts: Accounts,
        found: Option<u64>,
        end: u64,
    ) -> Self {
        Self {
            disk,
            folder,
            options,
            accounts: Mutex::new(accounts),
            end: AtomicU64::new(end),
            spare: AtomicBool::new(false),
            full: AtomicBool::new(false),
            found,
            queue: Mutex::new(Queue::default()),
            wake: Condvar::new(),
            failed: OnceLock::new(),
        }
    }

    /// Enqueues an entry; gives it back when the log is closed.
    pub(crate) fn push(&self, pending: Pending) -> Result<(), Pending> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(pending);
        }
        queue.work.entries.push(pending);
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    /// Enqueues a wish to seal the head; gives it back when the log is closed.
    pub(crate) fn push_seal(&self, done: Completion) -> Result<(), Completion> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(done);
        }
        queue.work.seals.push(done);
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    /// Takes all that is enqueued; nothing if there is nothing.
    pub(crate) fn take(&self) -> Option<Work> {
        let mut queue = self.queue.lock();
        (!queue.work.is_empty()).then(|| std::mem::take(&mut queue.work))
    }

    /// Takes the entries that are enqueued and leaves the rest.
    pub(crate) fn take_entries(&self) -> Vec<Pending> {
        std::mem::take(&mut self.queue.lock().work.entries)
    }

    /// Waits for work; none when the log is closing and nothing is left, and then nothing gets in any more.
    pub(crate) fn wait(&self) -> Option<Work> {
        let mut queue = self.queue.lock();
        loop {
            if !queue.work.is_empty() {
                return Some(std::mem::take(&mut queue.work));
            }
            if queue.closing {
                queue.closed = true;
                return None;
            }
            self.wake.wait(&mut queue);
        }
    }

    /// Lets the thread end when it has nothing more to do.
    pub(crate) fn close(&self) {
        self.queue.lock().closing = true;
        self.wake.notify_all();
    }

    /// The disk is full: what is kept for the next segment makes room.
    pub(crate) fn give_back_spare(&self) {
        self.full.store(true, Ordering::Release);
        if self.spare.swap(false, Ordering::AcqRel)
            && let Err(error) = self.disk.remove(&path_of_spare(&self.folder))
        {
            tracing::warn!(%error, "a released segment's file stays on the full disk");
        }
    }

    /// Why nothing is acknowledged any more.
    pub(crate) fn failed(&self) -> Option<WalError> {
        self.failed.get().cloned()
    }

    /// Nothing is acknowledged from here on; the first cause stays.
    pub(crate) fn latch(&self, cause: String) -> WalError {
        self.failed
            .get_or_init(|| {
                tracing::error!(%cause, "the write-ahead log has failed; appends are refused until a restart");
                WalError::Failed { cause }
            })
            .clone()
    }

    /// Tells a submitter. A completion that panics must not take the log's thread, and with it every other waiter, along;
    /// but what it leaves behind is not known, so the log latches.
    pub(crate) fn complete(&self, done: Completion, result: Result<(), WalError>) {
        self.complete_in(&mut Group::default(), done, result);
    }

    /// As [`Shared::complete`], for one of a group.
    pub(crate) fn complete_in(&self, group: &mut Group, done: Completion, result: Result<(), WalError>) {
        if catch_unwind(AssertUnwindSafe(|| done(result, group))).is_err() {
            self.latch("a completion has panicked".to_owned());
        }
    }
}
