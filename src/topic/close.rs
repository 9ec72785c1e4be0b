//! The end of a topic: it takes no more records, and keeps all that it has.

use std::sync::Arc;

use crate::backend::StorageError;
use crate::model::{Ack, ErrorCode, Offset, Problem};
use crate::topic::Topic;
use crate::topic::log::{Phase, topic_gone};

impl Topic {
    /// Closes the topic; nothing is taken any more. Doing it again does nothing.
    ///
    /// # Errors
    /// 503 where records in flight could not be made durable, 500 where the catalog failed: closing can be repeated.
    pub async fn close(self: &Arc<Self>) -> Result<Offset, Problem> {
        let topic = Arc::clone(self);
        self.services
            .detach(async move {
                topic.evolved().await;
                {
                    let mut log = topic.log.lock();
                    if log.phase == Phase::Open {
                        log.phase = Phase::Closing;
                    }
                }
                topic.settle_close().await
            })
            .await
    }

    /// Tells the catalog, then the readers, that the topic is closed.
    pub(super) async fn settle_close(&self) -> Result<Offset, Problem> {
        let (phase, next, rewinds) = {
            let log = self.log.lock();
            (log.phase, log.next, log.rewinds)
        };
        match phase {
            Phase::Closed => return Ok(next),
            Phase::Deleting => return Err(topic_gone()),
            // The records that it was to be closed behind were refused meanwhile.
            Phase::Open => return Err(StorageError::Unwritable { code: ErrorCode::DiskFull }.to_problem()),
            Phase::Closing => {}
        }
        // A closed topic is final, so that nothing of it may be lost any more, nor come after its readers were sent away:
        // without a log it is committed first, with one the log has it, and readers can see it.
        let level = if self.needs_flush_at_stop() {
            Ack::Committed
        } else {
            self.durable_level().max(self.settings.load().acks.default)
        };
        if self.settled(next, level, rewinds).await?.is_none() {
            return Err(StorageError::Unwritable { code: ErrorCode::DiskFull }.to_problem());
        }
        self.services.catalog.set_closed(self.id).await.map_err(|err| self.catalog_problem(&err))?;
        let mut log = self.log.lock();
        if log.phase == Phase::Closing {
            log.phase = Phase::Closed;
        }
        drop(log);
        self.backend.levels().change(|levels| levels.closed = true);
        Ok(next)
    }
}
