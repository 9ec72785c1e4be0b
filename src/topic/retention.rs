//! What is no longer kept: by age, by count, by bytes, by hand.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::backend::StorageError;
use crate::io::point;
use crate::model::{Ack, ErrorCode, Offset, Problem, Retention, Timestamp};
use crate::topic::configure::merge_retention;
use crate::topic::{RetentionPreview, Topic};

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
        point::passed("retention", "stored");
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
        match self.expiry(retention, now).await {
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
