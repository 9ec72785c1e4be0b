//! Who works on a dataset beside its commits.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// Merges, or builds of indexes, of all tables: one reads and writes at a time, and none goes on in a dataset that is to be removed.
#[derive(Debug)]
pub(in crate::table::lance) struct Turns {
    pub(in crate::table::lance) merging: Semaphore,
    running: Mutex<HashMap<PathBuf, CancellationToken>>,
    /// Datasets that are being removed.
    closed: Mutex<HashSet<PathBuf>>,
    /// Whether all work has ended, for good.
    over: AtomicBool,
    ended: Notify,
}

/// Nobody works on a dataset, and nobody begins to, until it is dropped.
#[derive(Debug)]
pub(in crate::table::lance) struct Stopped {
    turns: Arc<Turns>,
    dataset: PathBuf,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.turns.closed.lock().remove(&self.dataset);
    }
}

/// The right to work on one dataset, until it is dropped.
#[derive(Debug)]
pub(in crate::table::lance) struct Turn {
    turns: Arc<Turns>,
    dataset: PathBuf,
    pub(in crate::table::lance) stop: CancellationToken,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            merging: Semaphore::new(1),
            running: Mutex::default(),
            closed: Mutex::default(),
            over: AtomicBool::new(false),
            ended: Notify::new(),
        }
    }
}

impl Turns {
    /// Takes the turn of a dataset; none where somebody has it, or where there is nothing to work on any more.
    pub(in crate::table::lance) fn begin(self: &Arc<Self>, dataset: &Path) -> Option<Turn> {
        let stop = CancellationToken::new();
        let mut running = self.running.lock();
        let closed = self.over.load(Ordering::Acquire) || self.closed.lock().contains(dataset);
        if closed || running.contains_key(dataset) || !dataset.exists() {
            return None;
        }
        running.insert(dataset.to_owned(), stop.clone());
        Some(Turn { turns: Arc::clone(self), dataset: dataset.to_owned(), stop })
    }

    /// Whether somebody has the turn of a dataset.
    pub(super) fn is_taken(&self, dataset: &Path) -> bool {
        self.running.lock().contains_key(dataset)
    }

    /// Tells whoever works on a dataset to stop; returns when nobody does, and keeps it so.
    pub(in crate::table::lance) async fn stop(self: &Arc<Self>, dataset: &Path) -> Stopped {
        self.closed.lock().insert(dataset.to_owned());
        let stopped = Stopped { turns: Arc::clone(self), dataset: dataset.to_owned() };
        self.ended(dataset, CancellationToken::cancel).await;
        stopped
    }

    /// Tells everybody to stop, for good; returns when nobody works on any dataset.
    pub(in crate::table::lance) async fn stop_all(&self) {
        loop {
            let ended = self.ended.notified();
            futures::pin_mut!(ended);
            ended.as_mut().enable();
            {
                let running = self.running.lock();
                self.over.store(true, Ordering::Release);
                if running.is_empty() {
                    return;
                }
                running.values().for_each(CancellationToken::cancel);
            }
            ended.await;
        }
    }

    /// Returns when nobody works on a dataset, of who does meanwhile each is told something.
    pub(in crate::table::lance) async fn ended(&self, dataset: &Path, tell: impl Fn(&CancellationToken)) {
        loop {
            let ended = self.ended.notified();
            futures::pin_mut!(ended);
            ended.as_mut().enable();
            match self.running.lock().get(dataset) {
                Some(stop) => tell(stop),
                None => return,
            }
            ended.await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.running.lock().remove(&self.dataset);
        self.turns.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn at_the_end_whoever_works_is_told_and_nobody_begins_any_more() {
        let (turns, one) = (Arc::new(Turns::default()), tempfile::tempdir().unwrap());
        let turn = turns.begin(one.path()).unwrap();
        let stopping = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.stop_all().await }
        });
        turn.stop.cancelled().await;
        assert!(!stopping.is_finished());
        let other = tempfile::tempdir().unwrap();
        assert!(turns.begin(other.path()).is_none());
        drop(turn);
        stopping.await.unwrap();
        assert!(turns.begin(one.path()).is_none());
    }
}
