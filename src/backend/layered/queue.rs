//! Lanes that have something to commit.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::backend::layered::Lane;
use crate::model::TopicId;

/// The lanes with records that are not committed yet, and those whose commits the catalog has not heard of.
#[derive(Debug, Default)]
pub(crate) struct CommitQueue {
    pending: Mutex<HashMap<TopicId, Arc<Lane>>>,
    wake: Notify,
}

impl CommitQueue {
    /// Adds a lane that has something to commit.
    pub(crate) fn add(&self, lane: Arc<Lane>) {
        self.pending.lock().insert(lane.id(), lane);
        self.wake.notify_one();
    }

    /// Takes a lane out.
    pub(crate) fn remove(&self, id: TopicId) {
        self.pending.lock().remove(&id);
    }

    /// All lanes with something to commit, in no order.
    pub(crate) fn pending(&self) -> Vec<Arc<Lane>> {
        self.pending.lock().values().cloned().collect()
    }

    /// Bytes of memory that wait for commits which fail.
    pub(super) fn stuck_bytes(&self) -> u64 {
        let stuck = |lane: &&Arc<Lane>| lane.is_stuck();
        self.pending.lock().values().filter(stuck).map(|lane| lane.pending_bytes()).sum()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.lock().is_empty()
    }

    /// Makes whoever commits look again.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Returns when there is reason to look again.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}
