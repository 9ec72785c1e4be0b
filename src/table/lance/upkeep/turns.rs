//! Who works on a dataset beside its commits.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// Merges of all tables: one reads and writes at a time, and none goes on in a dataset that is to be removed.
#[derive(Debug)]
pub(in crate::table::lance) struct Turns {
    pub(super) merging: Semaphore,
    running: Mutex<HashMap<PathBuf, CancellationToken>>,
    ended: Notify,
}

/// The right to work on one dataset, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    dataset: PathBuf,
    pub(super) stop: CancellationToken,
}

impl Default for Turns {
    fn default() -> Self {
        Self { merging: Semaphore::new(1), running: Mutex::default(), ended: Notify::new() }
    }
}

impl Turns {
    /// Takes the turn of a dataset; none where somebody has it.
    pub(super) fn begin(self: &Arc<Self>, dataset: &Path) -> Option<Turn> {
        let stop = CancellationToken::new();
        let mut running = self.running.lock();
        if running.contains_key(dataset) {
            return None;
        }
        running.insert(dataset.to_owned(), stop.clone());
        Some(Turn { turns: Arc::clone(self), dataset: dataset.to_owned(), stop })
    }

    /// Tells whoever works on a dataset to stop; returns when nobody does.
    pub(in crate::table::lance) async fn stop(&self, dataset: &Path) {
        self.ended(dataset, CancellationToken::cancel).await;
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
