//! What a read sees of a topic: as it is, or as it was.

use std::sync::Arc;

use arrow_array::RecordBatch;

use crate::backend::{Lane, StorageError};
use crate::codec::{Chunk, ColumnSet, FieldSelection};
use crate::model::{ErrorCode, Offset, Problem, SchemaVersion, TagName, Timestamp};
use crate::schema::{Columns, FieldPath};
use crate::table::search::{FoundTextIndex, FoundVectorIndex, Metric};
use crate::table::{Past, Table, Tag};
use crate::topic::{Topic, versioned};

/// A moment of a topic's past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A version of its dataset, as it was stored.
    Version(u64),
    /// The version that a tag names.
    Tag(TagName),
    /// The records appended at or before a time, under today's schema.
    AsOf(Timestamp),
}

/// What a read sees of a topic.
#[derive(Clone)]
pub(crate) enum View {
    /// The topic as it is, while it grows.
    Now,
    /// The topic as it is, less what came after.
    Until(Offset),
    /// A version of its dataset, as it was stored.
    Version {
        /// Its rows.
        past: Past,
        /// The columns that they read under.
        columns: Columns,
    },
}

/// From where to where records can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) earliest: Offset,
    pub(crate) tail: Offset,
}

impl Topic {
    /// Refuses what a topic without a dataset cannot do; the part that has the dataset.
    pub(crate) fn check_version_control(&self) -> Result<Arc<Lane>, Problem> {
        let lane = self.backend.lane().filter(|_| self.factory.capabilities().version_control);
        lane.ok_or_else(|| {
            let detail = "The topic's backend keeps no dataset, so that there are no versions, tags or forks of it.";
            self.services.unsupported(detail, "version_control", |able| able.version_control)
        })
    }

    /// What is seen at a moment; for none, the present.
    ///
    /// # Errors
    /// `unsupported_by_backend`; `not_found` for an unknown tag; `version_expired` for a version that is not kept;
    /// `internal`.
    pub(crate) async fn view(&self, at: Option<&Moment>) -> Result<View, Problem> {
        let Some(at) = at else { return Ok(View::Now) };
        let lane = self.check_version_control()?;
        match at {
            Moment::Version(version) => self.past(&lane, *version).await,
            Moment::Tag(name) => {
                let version = self.tag_in(&lane, name).await?.about.version;
                self.past(&lane, version).await
            }
            Moment::AsOf(time) => {
                let after = Timestamp::from_micros(time.as_micros().saturating_add(1));
                let end = self.backend.seek_time(after).await.map_err(|err| self.storage_problem(&err))?;
                Ok(View::Until(end))
            }
        }
    }

    async fn past(&self, lane: &Lane, version: u64) -> Result<View, Problem> {
        let past = lane.at(version).await.map_err(|err| self.storage_problem(&err))?;
        let columns = self.columns_of(past.about.schema).await?;
        Ok(View::Version { past, columns })
    }

    pub(super) async fn tag_in(&self, lane: &Lane, name: &TagName) -> Result<Tag, Problem> {
        let tag = lane.tag(name).await.map_err(|err| self.storage_problem(&err))?;
        tag.ok_or_else(|| unknown_tag(name))
    }

    /// The columns of a schema version, with all that was posted up to it; of the newest for none.
    async fn columns_of(&self, version: Option<SchemaVersion>) -> Result<Columns, Problem> {
        let newest = self.schema.load_full();
        let Some(version) = version else { return Ok(newest.map(|newest| newest.columns()).unwrap_or_default()) };
        if let Some(newest) = newest.filter(|newest| newest.version == version) {
            return Ok(newest.columns());
        }
        let mut rows = self.services.catalog.schemas(self.id).await.map_err(|err| self.catalog_problem(&err))?;
        rows.retain(|row| row.version <= version);
        let last = rows.last().filter(|row| row.version == version).ok_or_else(|| {
            self.gone().unwrap_or_else(|| {
                tracing::error!(topic = %self.name, %version, "a version of the dataset names a schema that is not there");
                Problem::internal()
            })
        })?;
        Ok(versioned(last, &rows)?.columns())
    }

    /// From where to where a view has records.
    pub(crate) fn bounds(&self, view: &View) -> Bounds {
        let levels = self.backend.levels().now();
        match view {
            View::Now => Bounds { earliest: levels.earliest, tail: levels.readable },
            // What has expired meanwhile is gone from this view too.
            View::Until(end) => Bounds { earliest: levels.earliest, tail: (*end).max(levels.earliest) },
            View::Version { past, .. } => Bounds { earliest: past.about.base, tail: past.about.next },
        }
    }

    /// Records of a view, as [`StorageBackend::get`](crate::backend::StorageBackend::get) gives them; where fields are
    /// named, only those need be there.
    ///
    /// # Errors
    /// [`StorageError`] as of the view.
    pub(crate) async fn get_in(
        &self,
        view: &View,
        from: Offset,
        records: usize,
        bytes: usize,
        fields: Option<&FieldSelection>,
    ) -> Result<Vec<Chunk>, StorageError> {
        let left = match view {
            View::Now => usize::MAX,
            View::Until(end) => usize::try_from(end.since(from)).unwrap_or(usize::MAX),
            View::Version { past, columns } => {
                let columns = FieldSelection::to_read(fields, columns);
                let read = past.view.read(&columns, from, records, bytes).await;
                return read.map_err(|err| StorageError::from(&err));
            }
        };
        if left == 0 {
            return Ok(Vec::new());
        }
        match fields.and_then(|fields| Some((self.backend.columnar()?, fields))) {
            Some((columnar, fields)) => columnar.get_fields(fields, from, records.min(left), bytes).await,
            None => self.backend.get(from, records.min(left), bytes).await,
        }
    }

    /// Single records of a view, by ascending offsets, each in a chunk of its own, with the chosen fields at least.
    ///
    /// # Errors
    /// `offset_expired`, `version_expired`, `internal`.
    pub(crate) async fn take_in(
        &self,
        view: &View,
        offsets: &[Offset],
        fields: Option<&FieldSelection>,
    ) -> Result<Vec<Chunk>, Problem> {
        let found = match view {
            View::Now | View::Until(_) => {
                self.backend.columnar().ok_or_else(Problem::internal)?.take(offsets, fields).await
            }
            View::Version { past, columns } => {
                let columns = FieldSelection::to_read(fields, columns);
                past.view.take(&columns, offsets).await.map_err(|err| StorageError::from(&err))
            }
        };
        found.map_err(|err| self.storage_problem(&err))
    }

    /// Rows of a view's dataset by ascending offsets, in the columns of a set; `columns` are those of now.
    ///
    /// # Errors
    /// `version_expired`, `internal`.
    pub(crate) async fn rows_in(
        &self,
        view: &View,
        columns: &Columns,
        set: &ColumnSet,
        offsets: &[Offset],
    ) -> Result<RecordBatch, Problem> {
        let to_read = set.to_read(columns);
        let found = match view {
            View::Version { past, .. } => past.view.take(&to_read, offsets).await,
            View::Now | View::Until(_) => self.newest_table().await?.take(&to_read, offsets).await,
        };
        let found = found.map_err(|err| self.storage_problem(&StorageError::from(&err)))?;
        set.take_all(&found, &to_read).map_err(|err| {
            self.storage_problem(&StorageError::Failed { cause: format!("single rows cannot be laid out: {err}") })
        })
    }

    /// Whether the topic's columns were changed by what was posted since a view was had; those of the past never are.
    pub(crate) fn has_moved_on(&self, view: &View, columns: &Columns) -> bool {
        let newest = |now: Columns| now.lineage.newest();
        !matches!(view, View::Version { .. })
            && self.backend.columnar().is_some_and(|now| newest(now.columns()) != columns.lineage.newest())
    }

    /// Refuses what was read of a view if columns that it needs have been changed, so that it would be right no more. To be
    /// called after the read, whatever that has come to: what was dropped until then reads as nothing.
    ///
    /// # Errors
    /// `columns_changed`, which is worth asking again.
    pub(crate) fn check_unchanged(
        &self,
        view: &View,
        has_changed: impl FnOnce(&Columns) -> bool,
    ) -> Result<(), Problem> {
        let now = self.backend.columnar().filter(|_| !matches!(view, View::Version { .. }));
        if now.is_some_and(|now| has_changed(&now.columns())) { Err(columns_changed()) } else { Ok(()) }
    }

    /// The columns that a view's records read under.
    ///
    /// # Errors
    /// `internal` where there are none.
    pub(crate) fn columns_in(&self, view: &View) -> Result<Columns, Problem> {
        match view {
            View::Version { columns, .. } => Ok(columns.clone()),
            View::Now | View::Until(_) => Ok(self.backend.columnar().ok_or_else(Problem::internal)?.columns()),
        }
    }

    /// An index of a vector column of a view that measures by a metric, by any for none.
    ///
    /// # Errors
    /// `version_expired`, `internal`.
    pub(crate) async fn vector_index_in(
        &self,
        view: &View,
        columns: &Columns,
        path: &FieldPath,
        metric: Option<Metric>,
    ) -> Result<FoundVectorIndex, Problem> {
        let found = match view {
            View::Version { past, .. } => past.view.vector_index(columns, path, metric).await,
            View::Now => self.newest_table().await?.vector_index(columns, path, metric).await,
            View::Until(_) => Ok(None),
        };
        found.map_err(|err| self.storage_problem(&StorageError::from(&err)))
    }

    /// An index of a text column of a view.
    ///
    /// # Errors
    /// `version_expired`, `internal`.
    pub(crate) async fn text_index_in(
        &self,
        view: &View,
        columns: &Columns,
        path: &FieldPath,
    ) -> Result<FoundTextIndex, Problem> {
        let found = match view {
            View::Version { past, .. } => past.view.text_index(columns, path).await,
            View::Now => self.newest_table().await?.text_index(columns, path).await,
            View::Until(_) => Ok(None),
        };
        found.map_err(|err| self.storage_problem(&StorageError::from(&err)))
    }

    async fn newest_table(&self) -> Result<Arc<dyn Table>, Problem> {
        let lane = self.backend.lane().ok_or_else(Problem::internal)?;
        lane.table().await.map_err(|err| self.storage_problem(&err))
    }

    /// Refuses what a topic without columns cannot do.
    pub(crate) fn check_search(&self) -> Result<(), Problem> {
        if self.factory.capabilities().vector_search {
            return Ok(());
        }
        let detail = "The topic's backend has no columns that could be searched.";
        Err(self.services.unsupported(detail, "vector_search", |able| able.vector_search))
    }

    /// The first offset of a view whose record was appended at or after a time; its tail where there is none.
    ///
    /// # Errors
    /// `version_expired`, `internal`.
    pub(super) async fn seek_in(&self, view: &View, time: Timestamp) -> Result<Offset, Problem> {
        let found = match view {
            View::Now | View::Until(_) => self.backend.seek_time(time).await,
            View::Version { past, .. } => past.view.seek_time(time).await.map_err(|err| StorageError::from(&err)),
        };
        let found = found.map_err(|err| self.storage_problem(&err))?;
        Ok(match view {
            View::Now => found,
            View::Until(_) | View::Version { .. } => {
                let Bounds { earliest, tail } = self.bounds(view);
                found.clamp(earliest, tail)
            }
        })
    }
}

pub(super) fn unknown_tag(name: &TagName) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("The topic has no tag \"{name}\"."))
}

/// That a read would be right no more.
pub(crate) fn columns_changed() -> Problem {
    let detail = "The topic's columns were changed while they were read; ask again.";
    Problem::new(ErrorCode::ColumnsChanged, detail).worth_asking_again()
}
