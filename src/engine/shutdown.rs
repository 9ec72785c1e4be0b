//! An orderly stop.

use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;

use crate::engine::{Core, Engine};
use crate::topic::Topic;

/// What an orderly stop could not do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Accepted records of topics without a log that could not be committed in time.
    pub unflushed_records: u64,
}

impl Engine {
    /// Commits what only memory holds, stores the state of all topics, closes log and catalog. The edge takes no more
    /// requests by now.
    pub async fn shut_down(&self, deadline: Instant) -> ShutdownReport {
        let Some(core) = self.core.borrow().clone() else { return ShutdownReport::default() };
        core.shut_down(deadline).await
    }
}

impl Core {
    async fn shut_down(self: &Arc<Self>, deadline: Instant) -> ShutdownReport {
        let topics = self.opened();
        let only_in_memory: Vec<&Arc<Topic>> = topics.iter().filter(|topic| topic.needs_flush_at_stop()).collect();
        let flushes = join_all(only_in_memory.iter().map(|topic| topic.flush()));
        if tokio::time::timeout_at(deadline.into(), flushes).await.is_err() {
            tracing::warn!("not every topic could be flushed in time");
        }
        let unflushed_records = only_in_memory.iter().map(|topic| topic.uncommitted()).sum();
        self.tasks.stop().await;
        let stored = self.checkpoint().await;
        let wal = Arc::clone(&self.wal);
        if let Err(err) = tokio::task::spawn_blocking(move || wal.close()).await {
            tracing::error!(error = %err, "closing the log panicked");
        }
        if stored && unflushed_records == 0 && self.is_settled() {
            if let Err(err) = self.catalog.set_clean(true).await {
                tracing::error!(error = %err, "the orderly stop could not be stored");
            }
        }
        if let Err(err) = self.catalog.close().await {
            tracing::error!(error = %err, "closing the catalog failed");
        }
        ShutdownReport { unflushed_records }
    }
}
