//! What is told of a topic: its description, its figures, how it does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::metrics::TopicFigures;
use crate::model::Problem;
use crate::topic::{Description, Topic, TopicState, TopicStats};

impl Topic {
    /// What `/metrics` shows of the topic; none where it has no series of its own.
    pub(crate) fn figures(&self) -> Option<TopicFigures> {
        let lane = self.backend.lane()?;
        if !self.factory.topic_metrics(&self.settings.load().options) {
            return None;
        }
        let levels = self.backend.levels().now();
        let [records, bytes] = &self.appended;
        Some(TopicFigures {
            records: records.load(Ordering::Relaxed),
            bytes: bytes.load(Ordering::Relaxed),
            tail_offset: levels.readable.get(),
            committed_offset: levels.committed.get(),
            fragments: lane.fragments(),
        })
    }

    /// All that is told of the topic.
    ///
    /// # Errors
    /// None today; a backend that must look may fail.
    pub async fn describe(&self) -> Result<Description, Problem> {
        Ok(self.description())
    }

    pub(crate) fn description(&self) -> Description {
        let settings = self.settings.load();
        let levels = self.backend.levels().now();
        Description {
            topic: self.name.clone(),
            id: self.id,
            epoch: self.epoch(),
            backend: self.factory.name().to_owned(),
            backend_options: settings.options.clone(),
            storage_path: self.storage_path.clone(),
            schema_mode: settings.schema_mode,
            schema_version: self.schema.load().as_ref().map(|versioned| versioned.version),
            retention: settings.retention,
            on_invalid: self.told_on_invalid(),
            state: self.state(),
            created_at: self.created_at,
            earliest_offset: levels.earliest,
            tail_offset: levels.readable,
            dataset_uri: self.place.as_ref().map(|place| place.link.display().to_string()),
            etag: Arc::clone(&settings.etag),
        }
    }

    fn state(&self) -> TopicState {
        let levels = self.backend.levels().now();
        if levels.degraded {
            return TopicState::Degraded;
        }
        if levels.closed { TopicState::Closed } else { TopicState::Open }
    }

    /// Why the topic is degraded, in a sentence; none where it is not.
    pub(crate) fn degraded_reason(&self) -> Option<String> {
        self.backend.lane().and_then(|lane| lane.degraded_reason())
    }

    /// Figures.
    ///
    /// # Errors
    /// `internal` where the dataset could not be looked at.
    pub async fn stats(&self) -> Result<TopicStats, Problem> {
        let store = self.backend.stats().await.map_err(|err| self.storage_problem(&err))?;
        let levels = self.backend.levels().now();
        Ok(TopicStats {
            total_count: self.backend.total_count(),
            earliest_offset: levels.earliest,
            tail_offset: levels.readable,
            committed_offset: self.backend.lane().map(|_| levels.committed),
            epoch: self.epoch().get(),
            store,
            schema_version: self.schema.load().as_ref().map(|versioned| versioned.version),
            streams: self.streams.load(Ordering::Relaxed),
            degraded: self.degraded_reason(),
        })
    }
}
