//! The end of a topic: it takes no more records, and keeps all that it has.

use std::sync::Arc;

use crate::backend::StorageError;
use crate::model::{Ack, ErrorCode, Offset, Problem, StoredBefore};
use crate::topic::append::Refusal;
use crate::topic::log::{Phase, topic_gone};
use crate::topic::producers::StoredReceipt;
use crate::topic::quarantine::is_the_services;
use crate::topic::{AppendRequest, Receipt, Topic};

/// Why a topic could not be closed.
pub(super) struct NotClosed {
    problem: Problem,
    /// Whether the records before are kept all the same.
    keeps_records: bool,
}

impl From<Problem> for NotClosed {
    fn from(problem: Problem) -> Self {
        // A degraded topic's dataset gets them later.
        let keeps_records = problem.code == ErrorCode::TopicDegraded;
        Self { problem, keeps_records }
    }
}

impl Topic {
    /// Closes the topic; nothing is taken any more. Doing it again does nothing.
    ///
    /// # Errors
    /// 503 where records in flight could not be made durable, 500 where the catalog failed: closing can be repeated.
    pub async fn close(self: &Arc<Self>) -> Result<Offset, Problem> {
        if self.name.is_reserved() {
            return Err(is_the_services());
        }
        let topic = Arc::clone(self);
        self.services
            .detach(async move {
                topic.begin_close().await;
                let closed = topic.settle_close().await.inspect_err(|_| topic.abandon_close());
                closed.map_err(|failed| failed.problem)
            })
            .await
    }

    async fn begin_close(&self) {
        self.evolved().await;
        let mut log = self.log.lock();
        if log.phase == Phase::Open {
            log.phase = Phase::Closing { behind_records: false };
        }
    }

    /// The answer to a repeat, behind which the topic is closed where that is asked: the original may not have asked for it, or
    /// may have failed at it.
    ///
    /// # Errors
    /// As [`Topic::close`], with what is stored.
    pub(super) async fn repeated(
        &self,
        mut answer: Receipt,
        stored: StoredReceipt,
        ask: &AppendRequest,
        ack: Ack,
    ) -> Result<Receipt, Refusal> {
        if ask.close {
            self.begin_close().await;
            let next = self.settle_close().await.map_err(|failed| self.unclosed(failed, stored))?;
            // Closing may have taken the records further than was asked.
            let reached = self.backend.reached(next, ack).await.map_err(|err| self.storage_problem(&err))?;
            if stored.quarantined == 0 {
                answer.durability = answer.durability.max(reached);
            }
        }
        Ok(answer)
    }

    /// Tells the catalog, then the readers, that the topic is closed.
    pub(super) async fn settle_close(&self) -> Result<Offset, NotClosed> {
        let (phase, next, rewinds) = {
            let log = self.log.lock();
            (log.phase, log.next, log.rewinds)
        };
        match phase {
            Phase::Closed => return Ok(next),
            Phase::Deleting => return Err(topic_gone().into()),
            // The records that it was to be closed behind were refused meanwhile.
            Phase::Open => return Err(StorageError::Unwritable { code: ErrorCode::DiskFull }.to_problem().into()),
            Phase::Closing { .. } => {}
        }
        // A closed topic is final, so that nothing of it may be lost any more, nor come after its readers were sent away:
        // without a log it is committed first, with one the log has it, and readers can see it.
        let level = if self.needs_flush_at_stop() {
            Ack::Committed
        } else {
            self.durable_level().max(self.settings.load().acks.default)
        };
        if self.settled(next, level, rewinds).await?.is_none() {
            return Err(StorageError::Unwritable { code: ErrorCode::DiskFull }.to_problem().into());
        }
        if let Err(err) = self.services.catalog.set_closed(self.id).await {
            let problem = self.catalog_problem(&err);
            // What closes the topic is in the log, so it is closed; the catalog is told later.
            return if self.is_closing() { Ok(next) } else { Err(NotClosed { problem, keeps_records: true }) };
        }
        let mut log = self.log.lock();
        if log.phase != Phase::Deleting {
            log.phase = Phase::Closed;
        }
        self.backend.levels().change(|levels| levels.closed = true);
        drop(log);
        Ok(next)
    }

    /// Whether records in the log have closed the topic, which the catalog has not heard yet.
    pub(crate) fn is_closing(&self) -> bool {
        self.log.lock().phase == Phase::Closing { behind_records: true } && self.durable_level() == Ack::Wal
    }

    /// Where what the log must still keep begins: behind what is committed, but for the records that have closed the topic,
    /// whose entry is all that says so until the catalog has heard it.
    pub(crate) fn not_needed_before(&self) -> Offset {
        let committed = self.backend.levels().now().committed;
        if self.is_closing() { committed.min(self.log.lock().next.saturating_before(1)) } else { committed }
    }

    /// Tells the catalog again what it could not be told.
    pub(crate) async fn retry_close(&self) {
        if self.is_closing()
            && let Err(failed) = self.settle_close().await
        {
            tracing::debug!(topic = %self.name, detail = %failed.problem.detail, "{} is still to be closed", self.name);
        }
    }

    /// The answer to an append whose records are as safe as asked, but could not close the topic. Those that are kept are
    /// told, as sending them again would store them twice.
    pub(super) fn unclosed(&self, failed: NotClosed, stored: StoredReceipt) -> Problem {
        self.abandon_close();
        let NotClosed { problem, keeps_records } = failed;
        if !keeps_records {
            return problem;
        }
        let became = if self.is_closing() {
            "The topic takes no more, and is closed when its dataset can be written."
        } else {
            "But the topic could not be closed behind them and is still open: close it later."
        };
        let detail = format!("The records are kept, from offset {} on: do not send them again. {became}", stored.first);
        stored_all_the_same(problem, detail, stored)
    }

    /// A topic that could not be closed takes records again: a refused request changes nothing.
    pub(super) fn abandon_close(&self) {
        let is_logged = self.durable_level() == Ack::Wal;
        let mut log = self.log.lock();
        if matches!(log.phase, Phase::Closing { behind_records } if !(behind_records && is_logged)) {
            log.phase = Phase::Open;
        }
    }
}

/// A problem that tells what is stored.
pub(super) fn stored_all_the_same(mut problem: Problem, detail: String, stored: StoredReceipt) -> Problem {
    let StoredReceipt { first, count, .. } = stored;
    problem.detail = detail.into();
    problem.stored =
        Some(StoredBefore { first_offset: Some(first), next_offset: first.saturating_after(count), count });
    problem
}
