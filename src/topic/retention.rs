//! What is no longer kept: by age, by count, by bytes, by hand.

use std::sync::Arc;

use crate::backend::StorageError;
use crate::model::{Ack, ErrorCode, Offset, Problem, Timestamp};
use crate::topic::Topic;

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
        self.services.detach(async move { topic.move_earliest(before).await }).await
    }

    /// Moves the earliest offset: in the catalog first, then for readers, then the records go.
    async fn move_earliest(&self, to: Offset) -> Result<Offset, Problem> {
        let _alone = self.configuring.lock().await;
        let present = self.backend.levels().now().earliest;
        if to <= present {
            return Ok(present);
        }
        // Without a log the records before it may be in memory alone: were they lost in a crash, the tail would lie below
        // the earliest offset.
        if self.needs_flush_at_stop() {
            self.backend.reached(to, Ack::Committed).await.map_err(|err| self.storage_problem(&err))?;
        }
        self.services.catalog.set_earliest(self.id, to).await.map_err(|err| self.catalog_problem(&err))?;
        self.backend.levels().change(|levels| levels.earliest = to);
        if let Err(err) = self.backend.trim().await {
            tracing::warn!(topic = %self.name, error = %err, "records of {} are still to be removed", self.name);
        }
        Ok(to)
    }

    /// Whether records are dropped by themselves.
    pub(crate) fn has_retention(&self) -> bool {
        !self.settings.load().retention.is_unbounded()
    }

    /// Enforces the topic's retention as of now.
    pub(crate) async fn enforce_retention(&self, now: Timestamp) {
        let retention = self.settings.load().retention;
        if retention.is_unbounded() {
            return;
        }
        match self.expiry(now).await {
            Ok(Some(earliest)) => {
                if let Err(problem) = self.move_earliest(earliest).await {
                    tracing::warn!(topic = %self.name, detail = %problem.detail, "retention of {} failed", self.name);
                }
            }
            Ok(None) => {}
            Err(StorageError::Expired { .. }) => {}
            Err(err) => {
                tracing::warn!(topic = %self.name, error = %err, "retention of {} failed", self.name);
            }
        }
    }

    /// The earliest offset that the topic's retention leaves; none where nothing has to go.
    async fn expiry(&self, now: Timestamp) -> Result<Option<Offset>, StorageError> {
        let retention = self.settings.load().retention;
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
