//! What is no longer kept: by age, by count, by bytes, by hand.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use crate::backend::StorageError;
use crate::io::point;
use crate::model::{Ack, ErrorCode, Offset, Problem, Retention, Timestamp};
use crate::topic::configure::merge_retention;
use crate::topic::{RetentionPreview, Topic};

/// How long the answer to a trim waits for the records to leave the dataset too: mostly they do at once.
const REMOVAL_PATIENCE: Duration = Duration::from_millis(500);

impl Topic {
    /// Drops the records before an offset; the earliest offset then. An offset at or below it changes nothing.
    ///
    /// # Errors
    /// `offset_out_of_range` past the tail, `internal`.
    pub async fn trim(self: &Arc<Self>, before: Offset) -> Result<Offset, Problem> {
        let tail = self.backend.levels().now().readable;
        if before > tail {
            let detail = format!("Records can be dropped up to the tail, {tail}.");
            return Err(Problem::new(ErrorCode::OffsetOutOfRange, detail).with_tail(tail));
        }
        let topic = Arc::clone(self);
        let trimming = async move {
            let earliest = topic.move_earliest(before).await?;
            if let Some(removing) = topic.remove_expired() {
                drop(tokio::time::timeout(REMOVAL_PATIENCE, removing).await);
            }
            Ok(earliest)
        };
        self.services.detach(trimming).await
    }

    /// Moves the earliest offset: in the catalog first, then for readers. That is all that a trim promises; the records go by
    /// [`Topic::remove_expired`].
    async fn move_earliest(&self, to: Offset) -> Result<Offset, Problem> {
        // Without a log the records before it may be in memory alone: were they lost in a crash, the tail would lie below
        // the earliest offset. Before the lock, which changes of the configuration wait for: a commit may take long.
        if self.needs_flush_at_stop() && to > self.backend.levels().now().earliest {
            self.backend.reached(to, Ack::Committed).await.map_err(|err| self.storage_problem(&err))?;
        }
        let _alone = self.configuring.lock().await;
        let present = self.backend.levels().now().earliest;
        if to <= present {
            return Ok(present);
        }
        self.services.catalog.set_earliest(self.id, to).await.map_err(|err| self.catalog_problem(&err))?;
        point::passed("retention", "stored");
        self.backend.levels().change(|levels| levels.earliest = to);
        Ok(to)
    }

    /// Lets the records before the earliest offset go, on a task of its own: where the dataset's columns are being rewritten,
    /// that has to wait for the end, and nothing else of the topic does. None where a task is at it, which looks again when it
    /// is done.
    fn remove_expired(self: &Arc<Self>) -> Option<JoinHandle<()>> {
        if self.removing.swap(true, Ordering::AcqRel) {
            return None;
        }
        let topic = Arc::clone(self);
        let removing = async move {
            loop {
                let earliest = topic.backend.levels().now().earliest;
                let removed = tokio::select! {
                    removed = topic.backend.trim() => removed,
                    // What is there then goes when the dataset is opened the next time.
                    () = topic.services.draining.cancelled() => return Ok(()),
                };
                if let Err(err) = removed {
                    let name = &topic.name;
                    tracing::warn!(topic = %name, error = %err, "records of {name} are still to be removed");
                }
                // Whoever has moved it on meanwhile has left it to this task, or begins another one.
                topic.removing.swap(false, Ordering::AcqRel);
                let is_all = topic.backend.levels().now().earliest == earliest;
                if is_all || topic.removing.swap(true, Ordering::AcqRel) {
                    return Ok::<(), std::convert::Infallible>(());
                }
            }
        };
        Some(self.services.tasks.spawn("removal", removing))
    }

    /// Whether records are dropped by themselves.
    pub(crate) fn has_retention(&self) -> bool {
        !self.settings.load().retention.is_unbounded()
    }

    /// Enforces the topic's retention as of now.
    pub(crate) async fn enforce_retention(self: &Arc<Self>, now: Timestamp) {
        let retention = self.settings.load().retention;
        if retention.is_unbounded() {
            return;
        }
        match self.expiry(retention, now).await {
            Ok(Some(earliest)) => match self.move_earliest(earliest).await {
                Ok(_) => drop(self.remove_expired()),
                Err(problem) => {
                    tracing::warn!(topic = %self.name, detail = %problem.detail, "retention of {} failed", self.name);
                }
            },
            Ok(None) => {}
            Err(StorageError::Expired { .. }) => {}
            Err(err) => {
                tracing::warn!(topic = %self.name, error = %err, "retention of {} failed", self.name);
            }
        }
    }

    /// What a retention, or else the topic's own, would remove now; nothing is removed.
    ///
    /// # Errors
    /// `invalid_body` for what is no retention, `internal`.
    pub async fn preview_retention(&self, given: Option<&Map<String, Value>>) -> Result<RetentionPreview, Problem> {
        let retention = match given {
            Some(given) => merge_retention(Retention::default(), given)?,
            None => self.settings.load().retention,
        };
        loop {
            let present = self.backend.levels().now().earliest;
            let looked = async {
                let earliest = self.expiry(retention, self.services.clock.now()).await?.unwrap_or(present);
                let bytes = if earliest > present { self.backend.bytes_before(earliest).await? } else { 0 };
                Ok(RetentionPreview { earliest_offset: earliest, records: earliest.since(present), bytes })
            };
            match looked.await {
                // The topic's own has removed records meanwhile.
                Err(StorageError::Expired { .. }) => {}
                looked => return looked.map_err(|err| self.storage_problem(&err)),
            }
        }
    }

    /// Merges small fragments of the dataset in the background; how many fragments there are now.
    ///
    /// # Errors
    /// `unsupported_by_backend`, `internal`.
    pub async fn compact(&self) -> Result<u64, Problem> {
        match self.backend.compact().await.map_err(|err| self.storage_problem(&err))? {
            Some(fragments) => Ok(fragments),
            None => {
                let detail = "The topic's backend has no fragments that could be merged.";
                Err(self.services.unsupported(detail, "persistence", |able| able.persistence))
            }
        }
    }

    /// The earliest offset that a retention leaves; none where nothing has to go.
    async fn expiry(&self, retention: Retention, now: Timestamp) -> Result<Option<Offset>, StorageError> {
        let levels = self.backend.levels().now();
        let mut earliest = levels.earliest;
        if let Some(records) = retention.max_records {
            earliest = earliest.max(levels.readable.saturating_before(records));
        }
        if let Some(bytes) = retention.max_bytes
            && let Some(offset) = self.backend.offset_within_bytes(bytes).await?
        {
            earliest = earliest.max(offset.min(levels.readable));
        }
        if let Some(seconds) = retention.max_age_secs {
            let micros = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
            let cut = Timestamp::from_micros(now.as_micros().saturating_sub(micros));
            if self.oldest_is_before(earliest, cut).await? {
                earliest = earliest.max(self.backend.seek_time(cut).await?);
            }
        }
        Ok((earliest > levels.earliest).then_some(earliest))
    }

    async fn oldest_is_before(&self, earliest: Offset, cut: Timestamp) -> Result<bool, StorageError> {
        let oldest = self.backend.get(earliest, 1, 1).await?;
        Ok(oldest.first().is_some_and(|chunk| chunk.time(0) < cut))
    }
}
