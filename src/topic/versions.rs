//! Versions of a topic's dataset: list, tag, cut off for a fork.

use std::sync::Arc;

use crate::backend::{Lane, OptionValues, StorageError};
use crate::catalog::{IndexRow, SchemaRow};
use crate::model::{Offset, OnInvalid, Problem, SchemaMode, SchemaVersion, TagName, Timestamp};
use crate::schema::{Columns, WideColumns};
use crate::table::{Past, Tag, VersionSummary};
use crate::topic::past::{View, unknown_tag};
use crate::topic::read::past_tail;
use crate::topic::{Moment, Topic};

/// What a fork begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForkAt {
    /// Everything that is acknowledged.
    Now,
    /// A version of the dataset.
    Version(u64),
    /// The version that a tag names.
    Tag(TagName),
    /// The records before an offset, which the fork's next record gets.
    Offset(Offset),
}

/// What a fork takes over.
pub(crate) struct ForkCut {
    /// The version that its rows are taken from, held so that it stays; none where there is no dataset yet.
    pub(crate) past: Option<Past>,
    /// The earliest offset that it keeps.
    pub(crate) earliest: Offset,
    /// The offset of its next record.
    pub(crate) next: Offset,
    /// The schema versions up to there, oldest first.
    pub(crate) schemas: Vec<SchemaRow>,
    /// The integer columns that have been wide, for the catalog.
    pub(crate) wide: String,
    pub(crate) options: OptionValues,
    pub(crate) schema_mode: Option<SchemaMode>,
    pub(crate) on_invalid: OnInvalid,
    /// The indexes that it is to have.
    pub(crate) indexes: Vec<IndexRow>,
    /// No record of it has a later time.
    pub(crate) newest: Timestamp,
    pub(crate) lane: Arc<Lane>,
}

impl Topic {
    /// At most `limit` of the dataset's versions before `below`, newest first, and whether there are more.
    ///
    /// # Errors
    /// `unsupported_by_backend`, `internal`.
    pub async fn versions(&self, below: Option<u64>, limit: usize) -> Result<(Vec<VersionSummary>, bool), Problem> {
        let lane = self.check_version_control()?;
        let mut found =
            lane.versions(below, limit.saturating_add(1)).await.map_err(|err| self.storage_problem(&err))?;
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    /// Every tag, by name.
    ///
    /// # Errors
    /// `unsupported_by_backend`, `internal`.
    pub async fn tags(&self) -> Result<Vec<Tag>, Problem> {
        self.check_version_control()?.tags().await.map_err(|err| self.storage_problem(&err))
    }

    /// One tag.
    ///
    /// # Errors
    /// `unsupported_by_backend`, `not_found`, `internal`.
    pub async fn tag(&self, name: &TagName) -> Result<Tag, Problem> {
        let lane = self.check_version_control()?;
        self.tag_in(&lane, name).await
    }

    /// Names a version, durably; for none all that is acknowledged is committed first, and the newest named. True where the
    /// name is new. Dropping the future undoes nothing.
    ///
    /// # Errors
    /// `unsupported_by_backend`; `version_expired` for a version that is not kept, or where there is none yet; what a flush
    /// may answer; `internal`.
    pub async fn put_tag(self: &Arc<Self>, name: &TagName, version: Option<u64>) -> Result<(Tag, bool), Problem> {
        let lane = self.check_version_control()?;
        if version.is_none() {
            self.flush().await?;
        }
        let (topic, name) = (Arc::clone(self), name.clone());
        let putting = async move { lane.put_tag(&name, version).await.map_err(|err| topic.storage_problem(&err)) };
        self.services.detach(putting).await
    }

    /// Forgets a tag, durably. Dropping the future undoes nothing.
    ///
    /// # Errors
    /// `unsupported_by_backend`, `not_found`, `internal`.
    pub async fn delete_tag(self: &Arc<Self>, name: &TagName) -> Result<(), Problem> {
        let lane = self.check_version_control()?;
        let (topic, name) = (Arc::clone(self), name.clone());
        let deleting = async move {
            let is_gone = lane.delete_tag(&name).await.map_err(|err| topic.storage_problem(&err))?;
            if is_gone { Ok(()) } else { Err(unknown_tag(&name)) }
        };
        self.services.detach(deleting).await
    }

    /// What a fork takes over of the topic, which goes on meanwhile.
    ///
    /// # Errors
    /// `unsupported_by_backend`; `not_found`, `version_expired`; `offset_expired`, `offset_out_of_range`; what a flush may
    /// answer; `internal`.
    pub(crate) async fn cut(&self, at: &ForkAt) -> Result<ForkCut, Problem> {
        let lane = self.check_version_control()?;
        let at = match at {
            ForkAt::Version(version) => Moment::Version(*version),
            ForkAt::Tag(name) => Moment::Tag(name.clone()),
            ForkAt::Now => return self.cut_present(lane, None).await,
            ForkAt::Offset(offset) => return self.cut_present(lane, Some(*offset)).await,
        };
        let View::Version { past, columns } = self.view(Some(&at)).await? else { return Err(Problem::internal()) };
        let (earliest, next) = (past.about.base, past.about.next);
        let schema = columns.version;
        self.cut_of(lane, Some(past), (earliest, next), schema, &columns).await
    }

    async fn cut_present(&self, lane: Arc<Lane>, until: Option<Offset>) -> Result<ForkCut, Problem> {
        let check = |offset: Offset| {
            let levels = self.backend.levels().now();
            if offset > levels.readable {
                return Err(past_tail(offset, levels.readable));
            }
            if offset < levels.earliest {
                return Err(StorageError::Expired { earliest: levels.earliest }.to_problem());
            }
            Ok(())
        };
        until.map_or(Ok(()), check)?;
        self.flush().await?;
        // After the flush and before the dataset: a schema is never older than the rows that are read under it.
        let past = lane.newest().await.map_err(|err| self.storage_problem(&err))?;
        let schema = self.schema.load_full();
        let columns = schema.as_ref().map(|schema| schema.columns()).unwrap_or_default();
        // Records may have expired meanwhile.
        until.map_or(Ok(()), check)?;
        let levels = self.backend.levels().now();
        let (base, end) = past.as_ref().map_or((Offset::ZERO, Offset::ZERO), |it| (it.about.base, it.about.next));
        let next = until.unwrap_or(end);
        let earliest = levels.earliest.max(base).min(next);
        self.cut_of(lane, past, (earliest, next), columns.version, &columns).await
    }

    async fn cut_of(
        &self,
        lane: Arc<Lane>,
        past: Option<Past>,
        (earliest, next): (Offset, Offset),
        schema: Option<SchemaVersion>,
        columns: &Columns,
    ) -> Result<ForkCut, Problem> {
        let mut schemas = self.services.catalog.schemas(self.id).await.map_err(|err| self.catalog_problem(&err))?;
        schemas.retain(|row| Some(row.version) <= schema);
        let settings = self.settings.load_full();
        Ok(ForkCut {
            past,
            earliest,
            next,
            wide: self.wide_under(columns).to_stored(columns.lineage.newest()),
            schemas,
            options: settings.options.clone(),
            schema_mode: settings.schema_mode,
            on_invalid: settings.on_invalid,
            indexes: self.indexes_for_fork(columns, next),
            newest: self.last_time(),
            lane,
        })
    }

    /// The integer columns that can no longer become floats, among these. Under columns from before something was posted the
    /// names of today say nothing: any that can be wide may have been.
    fn wide_under(&self, columns: &Columns) -> WideColumns {
        let may_be = WideColumns::all_of(&columns.schema);
        // They change together, under this lock.
        let log = self.log.lock();
        let newest = self.schema.load_full().and_then(|schema| schema.lineage.newest());
        if columns.lineage.newest() == newest { may_be.within(&log.wide) } else { may_be }
    }
}
