//! Reads under a schema version that a caller names.

use std::sync::Arc;

use crate::codec::{Chunk, FieldSelection, SchemaView, Unmappable};
use crate::filter::{LiveFilter, Passing, Reach};
use crate::model::{ErrorCode, Offset, Problem, SchemaVersion};
use crate::schema::{Lineage, Schema};
use crate::topic::Topic;
use crate::topic::past::View;

/// A schema version that records are read under.
#[derive(Clone, Debug)]
pub struct AsOfSchema {
    version: SchemaVersion,
    schema: Schema,
}

/// Pulls records in the form that is asked for.
pub(super) struct Puller {
    wanted: Option<AsOfSchema>,
    filter: Option<Arc<LiveFilter>>,
    /// The fields that need be there.
    fields: Option<FieldSelection>,
    /// What the version shows, and the posted version that it was made for.
    view: Option<(Option<SchemaVersion>, SchemaView)>,
}

impl Puller {
    /// Records under a version, none for the newest; all of them, or those that pass a filter; with the fields at least that
    /// are named, all for none.
    pub(super) fn new(
        wanted: Option<AsOfSchema>,
        filter: Option<Arc<LiveFilter>>,
        fields: Option<FieldSelection>,
    ) -> Self {
        Self { wanted, filter, fields, view: None }
    }

    /// Records of what is seen, those that pass the filter if there is one; failures as problems. Of a version of the dataset,
    /// which has a schema of its own, no other can be asked for.
    pub(super) async fn get(
        &mut self,
        topic: &Topic,
        seen: &View,
        from: Offset,
        reach: Reach,
    ) -> Result<Passing, Problem> {
        let Some(wanted) = &self.wanted else { return self.pull(topic, seen, from, reach).await };
        loop {
            let lineage = topic.lineage();
            let found = self.pull(topic, seen, from, reach).await?;
            // A version posted meanwhile has rewritten what was read, or has not.
            if topic.lineage().newest() != lineage.newest() {
                continue;
            }
            let view = match self.view.take() {
                Some((made_for, view)) if made_for == lineage.newest() => view,
                _ => SchemaView::new(&wanted.schema, lineage.after(Some(wanted.version))),
            };
            let shown: Result<_, Unmappable> = found.chunks.iter().map(|chunk| view.apply(chunk)).collect();
            self.view = Some((lineage.newest(), view));
            let shown = shown.map_err(|err| {
                tracing::error!(topic = %topic.name, error = %err, "a stored value of {} cannot be read", topic.name);
                Problem::internal()
            });
            return shown.map(|chunks| Passing { chunks, next: found.next });
        }
    }

    async fn pull(&self, topic: &Topic, seen: &View, from: Offset, reach: Reach) -> Result<Passing, Problem> {
        // Under another version the names are others.
        let fields = self.fields.as_ref().filter(|_| self.wanted.is_none());
        let found = match &self.filter {
            Some(filter) => topic.get_passing_in(seen, filter, fields, from, reach).await,
            None => {
                let left = usize::try_from(reach.until.since(from)).unwrap_or(usize::MAX);
                let chunks = topic.get_in(seen, from, reach.records.min(left), reach.bytes, fields).await;
                chunks.map(|chunks| Passing { next: chunks.last().map_or(from, Chunk::next), chunks })
            }
        };
        if let Some(filter) = &self.filter {
            topic.check_unchanged(seen, |now| filter.has_changed(now))?;
            // Where nothing passes, a read goes on without waiting for anything.
            tokio::task::yield_now().await;
        }
        found.map_err(|err| topic.storage_problem(&err))
    }
}

impl Topic {
    /// A version to read under, by its number.
    ///
    /// # Errors
    /// `unsupported_by_backend` without columns; `not_found` where there never was one of this number.
    pub async fn schema_as_of(&self, number: u64) -> Result<AsOfSchema, Problem> {
        self.check_columns()?;
        let rows = self.services.catalog.schemas(self.id).await.map_err(|err| self.catalog_problem(&err))?;
        let Some(row) = rows.iter().find(|row| u64::from(row.version.get()) == number) else {
            let detail = match rows.last() {
                Some(newest) => format!("The topic has no schema version {number}: it has 1 to {}.", newest.version),
                None => format!("The topic has no schema version {number}: it has none before its first column."),
            };
            return Err(Problem::new(ErrorCode::NotFound, detail));
        };
        let schema = Schema::from_stored(&serde_json::json!({ "fields": row.fields })).map_err(|err| {
            tracing::error!(topic = %self.name, error = %err, "a stored schema cannot be read");
            Problem::internal()
        })?;
        Ok(AsOfSchema { version: row.version, schema })
    }

    /// What was posted so far. Taken under the lock under which the tail is rewritten, so that what is read between two
    /// looks that find the same has the form of that time.
    fn lineage(&self) -> std::sync::Arc<Lineage> {
        let _log = self.log.lock();
        self.schema.load().as_ref().map(|versioned| std::sync::Arc::clone(&versioned.lineage)).unwrap_or_default()
    }
}
