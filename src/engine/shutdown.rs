//! An orderly stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::engine::{Core, Engine};
use crate::model::LogMark;
use crate::topic::Topic;

/// What work under way gets to end when flushes have used up the time.
const LAST_WORDS: Duration = Duration::from_millis(500);

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
        let is_whole = self.end_tasks(deadline).await && self.checkpoint().await;
        let wal = Arc::clone(&self.wal);
        if let Err(err) = tokio::task::spawn_blocking(move || wal.close()).await {
            tracing::error!(error = %err, "closing the log panicked");
        }
        if is_whole
            && unflushed_records == 0
            && self.is_settled()
            && let Err(err) = self.catalog.set_clean(true, LogMark { end: self.wal.end(), released: 0 }).await
        {
            tracing::error!(error = %err, "the orderly stop could not be stored");
        }
        if let Err(err) = self.catalog.close().await {
            tracing::error!(error = %err, "closing the catalog failed");
        }
        ShutdownReport { unflushed_records }
    }

    /// Waits for what goes on by itself and for what clients have left behind; false where it did not end in time. Nothing
    /// of it is lost then: what it was about to store is stored by nobody, or found by the next start.
    async fn end_tasks(&self, deadline: Instant) -> bool {
        let latest = deadline.max(Instant::now() + LAST_WORDS);
        let ended = tokio::time::timeout_at(latest.into(), async {
            self.services.tasks.finish().await;
            self.tasks.stop().await;
        });
        let in_time = ended.await.is_ok();
        if !in_time {
            tracing::warn!("not everything that went on has ended in time");
        }
        in_time
    }
}
