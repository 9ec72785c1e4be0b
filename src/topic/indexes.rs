//! Indexes: which ones the topic is to have, kept in the catalog; the dataset builds them and keeps them up to date.
//!
//! A definition names its columns as they were called when it was made, with the schema version of then: what was posted since
//! tells where they stand today, or that they are gone, and the index with them.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::backend::Lane;
use crate::catalog::{CatalogError, IndexRow};
use crate::model::{ErrorCode, IndexId, IndexName, Offset, Problem};
use crate::schema::{FieldPath, IndexSpec, IndexType, InvalidIndex, VersionedSchema};
use crate::table::{IndexDefinition, IndexStanding, IndexState};
use crate::topic::Topic;

/// The most indexes of a topic.
pub const INDEXES_MAX: u64 = 64;

/// What a client asks an index to be.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateIndex {
    /// Its name; one is made of columns and kind where none is given.
    pub name: Option<IndexName>,
    /// Its columns.
    pub columns: Vec<FieldPath>,
    /// Its kind.
    pub kind: IndexType,
    /// Its parameters as they were given.
    pub params: Map<String, Value>,
}

/// One index as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexListing {
    /// Its name.
    pub name: IndexName,
    /// Its columns under their names of today.
    pub columns: Vec<FieldPath>,
    /// Its kind and parameters.
    pub spec: IndexSpec,
    /// How far it is.
    pub state: IndexState,
    /// How much of the build that runs is done, from 0 to 1; 1 where it is ready.
    pub progress: f64,
    /// Records that it has.
    pub rows_indexed: u64,
    /// Records that it has not; a search looks at them one by one.
    pub rows_unindexed: u64,
    /// Why it could not be built, in a sentence.
    pub error: Option<String>,
}

/// A definition with its columns of today.
struct Present<'r> {
    row: &'r IndexRow,
    columns: Vec<FieldPath>,
    /// Why its columns cannot have it any more.
    unfit: Option<InvalidIndex>,
}

impl Topic {
    /// Refuses what a topic without a dataset cannot do; the part that has the dataset.
    pub(crate) fn check_indexes(&self) -> Result<Arc<Lane>, Problem> {
        let lane = self.backend.lane().filter(|_| self.factory.capabilities().vector_search);
        lane.ok_or_else(|| {
            let detail = "The topic's backend keeps no columns, so that there are no indexes of them.";
            self.services.unsupported(detail, "vector_search", |able| able.vector_search)
        })
    }

    /// Every index, by name.
    ///
    /// # Errors
    /// `unsupported_by_backend`, `internal`.
    pub async fn indexes(&self) -> Result<Vec<IndexListing>, Problem> {
        let lane = self.check_indexes()?;
        let rows = self.indexes.load_full();
        let schema = self.schema.load_full();
        let present = present(&rows, schema.as_deref());
        let levels = self.backend.levels().now();
        let standing = lane.index_standing(levels.earliest).await.map_err(|err| self.storage_problem(&err))?;
        // After the dataset, which has no more than that.
        let levels = self.backend.levels().now();
        let records = levels.readable.since(levels.earliest);
        Ok(present.into_iter().map(|present| listing(present, &standing, records)).collect())
    }

    /// One index.
    ///
    /// # Errors
    /// `unsupported_by_backend`, `not_found`, `internal`.
    pub async fn index(&self, name: &IndexName) -> Result<IndexListing, Problem> {
        let found = self.indexes().await?.into_iter().find(|index| index.name == *name);
        found.ok_or_else(|| unknown(name))
    }

    /// Has the topic have an index, durably; it is built in the background. Again: the same. Dropping the future undoes
    /// nothing.
    ///
    /// # Errors
    /// `unsupported_by_backend`; `invalid_body` where the columns are not there or cannot have it; `topic_conflict` for
    /// another one of its name; `invalid_parameter` where the topic has as many as it may; `disk_full`, `internal`.
    pub async fn create_index(self: &Arc<Self>, ask: CreateIndex) -> Result<IndexListing, Problem> {
        let lane = self.check_indexes()?;
        let topic = Arc::clone(self);
        self.services.detach(async move { topic.create_alone(&lane, ask).await }).await
    }

    async fn create_alone(&self, lane: &Lane, ask: CreateIndex) -> Result<IndexListing, Problem> {
        let alone = self.indexing.lock().await;
        let spec = IndexSpec::new(ask.kind, ask.params).map_err(refused)?;
        let schema = self.schema.load_full();
        spec.check(schema.as_ref().map(|schema| &*schema.schema), &ask.columns).map_err(refused)?;
        let rows = self.indexes.load_full();
        let there = present(&rows, schema.as_deref());
        let is_same = |it: &&Present<'_>| it.row.spec == spec && it.columns == ask.columns;
        let found = match &ask.name {
            Some(name) => there.iter().find(|it| it.row.name == *name),
            None => there.iter().find(is_same),
        };
        let name = match found {
            Some(found) if is_same(&found) => found.row.name.clone(),
            Some(found) => return Err(conflict(found, &ask.columns, &spec)),
            None => {
                let name =
                    ask.name.or_else(|| free_name(&there, &ask.columns, spec.kind)).ok_or_else(Problem::internal)?;
                self.forget_gone(&rows, &there).await?;
                let from = self.backend.levels().now().readable;
                let index = IndexRow {
                    id: IndexId::fresh(),
                    name: name.clone(),
                    columns: ask.columns,
                    spec,
                    schema: schema.as_ref().map(|schema| schema.version),
                    from,
                    created_at: self.services.clock.now(),
                };
                match self.services.catalog.put_index(self.id, index, INDEXES_MAX).await {
                    Ok(()) => {}
                    Err(CatalogError::TooManyIndexes) => {
                        let detail =
                            format!("The topic has {INDEXES_MAX} indexes, as many as it may: delete one first.");
                        return Err(Problem::new(ErrorCode::InvalidParameter, detail).with_limit(INDEXES_MAX));
                    }
                    Err(err) => return Err(self.catalog_problem(&err)),
                }
                crate::io::point::passed("index", "stored");
                self.reload_indexes(lane).await?;
                // What it begins with is to be in the dataset.
                lane.demand(from);
                name
            }
        };
        drop(alone);
        self.index(&name).await
    }

    /// Deletes the definitions whose columns are gone, which nobody sees: they would count.
    async fn forget_gone(&self, rows: &[IndexRow], there: &[Present<'_>]) -> Result<(), Problem> {
        for row in rows.iter().filter(|row| there.iter().all(|it| it.row.id != row.id)) {
            let gone = self.services.catalog.delete_index(self.id, row.name.clone()).await;
            gone.map_err(|err| self.catalog_problem(&err))?;
        }
        Ok(())
    }

    /// Has the topic have an index no more, durably; the dataset lets go of it in the background. Dropping the future undoes
    /// nothing.
    ///
    /// # Errors
    /// `unsupported_by_backend`, `not_found`; `disk_full`, `internal`.
    pub async fn delete_index(self: &Arc<Self>, name: &IndexName) -> Result<(), Problem> {
        let lane = self.check_indexes()?;
        let (topic, name) = (Arc::clone(self), name.clone());
        let deleting = async move {
            let _alone = topic.indexing.lock().await;
            let (rows, schema) = (topic.indexes.load_full(), topic.schema.load_full());
            if present(&rows, schema.as_deref()).iter().all(|index| index.row.name != name) {
                return Err(unknown(&name));
            }
            let gone = topic.services.catalog.delete_index(topic.id, name.clone()).await;
            if !gone.map_err(|err| topic.catalog_problem(&err))? {
                return Err(unknown(&name));
            }
            topic.reload_indexes(&lane).await
        };
        self.services.detach(deleting).await
    }

    async fn reload_indexes(&self, lane: &Lane) -> Result<(), Problem> {
        let rows = self.services.catalog.indexes(self.id).await.map_err(|err| self.catalog_problem(&err))?;
        self.indexes.store(Arc::new(rows));
        self.tell_indexes();
        // It builds what it is told of when it is opened.
        lane.table().await.map(drop).map_err(|err| self.storage_problem(&err))
    }

    /// Tells the dataset which indexes there are to be, over the columns of now.
    pub(crate) fn tell_indexes(&self) {
        let Some(lane) = self.backend.lane() else { return };
        let (rows, schema) = (self.indexes.load_full(), self.schema.load_full());
        let lineage = schema.as_ref().map(|schema| Arc::clone(&schema.lineage)).unwrap_or_default();
        let fit = present(&rows, schema.as_deref()).into_iter().filter(|present| present.unfit.is_none());
        // Records that an unclean stop has lost do not come.
        let next = self.backend.levels().now().readable;
        let wanted = fit.map(|Present { row, columns, .. }| IndexDefinition {
            id: row.id,
            name: row.name.clone(),
            columns,
            lineage: Arc::clone(&lineage),
            spec: row.spec.clone(),
            from: row.from.min(next),
        });
        lane.want_indexes(wanted.collect());
    }

    /// Opens the dataset where it has indexes to be looked after.
    pub(crate) fn look_after_indexes(self: &Arc<Self>) {
        let Some(lane) = self.backend.lane().filter(|_| !self.indexes.load().is_empty()) else { return };
        self.services.tasks.spawn("indexes", async move {
            // What fails is logged, and tried again when the dataset is needed.
            drop(lane.table().await);
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// The definitions that a fork takes over whose schema versions end with one: what was defined under later ones may be of
    /// columns that it has not got.
    pub(super) fn indexes_for_fork(&self, schema: &crate::schema::Columns, next: Offset) -> Vec<IndexRow> {
        let rows = self.indexes.load_full();
        let kept = rows.iter().filter(|row| row.schema <= schema.version);
        let copied = kept.map(|row| IndexRow { id: IndexId::fresh(), from: next, ..row.clone() });
        copied.collect()
    }
}

/// The definitions whose columns are there, under their names of today.
fn present<'r>(rows: &'r [IndexRow], schema: Option<&VersionedSchema>) -> Vec<Present<'r>> {
    let followed = |row: &'r IndexRow| {
        let columns = row.columns.iter().map(|path| match schema {
            Some(schema) => schema.lineage.followed(path, row.schema),
            None => Some(path.clone()),
        });
        let columns = columns.collect::<Option<Vec<FieldPath>>>()?;
        let unfit = row.spec.check(schema.map(|schema| &*schema.schema), &columns).err();
        Some(Present { row, columns, unfit })
    };
    rows.iter().filter_map(followed).collect()
}

fn listing(present: Present<'_>, standing: &[IndexStanding], records: u64) -> IndexListing {
    let Present { row, columns, unfit } = present;
    let found = standing.iter().find(|standing| standing.id == row.id);
    let rows_indexed = found.map_or(0, |standing| standing.rows).min(records);
    let (state, progress, error) = match (unfit, found) {
        (Some(unfit), _) => (IndexState::Failed, 0.0, Some(unfit.detail)),
        (None, Some(found)) => (found.state, found.progress, found.error.clone()),
        (None, None) => (IndexState::Building, 0.0, None),
    };
    IndexListing {
        name: row.name.clone(),
        columns,
        spec: row.spec.clone(),
        state,
        progress,
        rows_indexed,
        rows_unindexed: records - rows_indexed,
        error,
    }
}

/// A name of columns and kind that no other index has.
fn free_name(there: &[Present<'_>], columns: &[FieldPath], kind: IndexType) -> Option<IndexName> {
    let keys = columns.iter().flat_map(|path| &path.0).map(String::as_str);
    let words: Vec<&str> = keys.chain([kind.as_str()]).collect();
    let name: String = words.join("_").chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name = name.trim_start_matches('_');
    let names = std::iter::once(String::new()).chain((2_u64..).map(|number| format!("_{number}")));
    let mut free = names.filter_map(|ending| {
        let kept: String = name.chars().take(IndexName::BYTES_MAX - ending.len()).collect();
        IndexName::parse(&format!("{kept}{ending}")).ok()
    });
    let taken = |name: &IndexName| there.iter().any(|index| index.row.name == *name);
    free.find(|name| !taken(name))
}

fn refused(error: InvalidIndex) -> Problem {
    let code = if error.is_out_of_range { ErrorCode::InvalidParameter } else { ErrorCode::InvalidBody };
    let problem = Problem::new(code, error.detail);
    if error.allowed.is_empty() { problem } else { problem.allowing(error.allowed) }
}

fn conflict(found: &Present<'_>, columns: &[FieldPath], spec: &IndexSpec) -> Problem {
    let mut differs = Vec::new();
    if found.columns != columns {
        differs.push("columns");
    }
    if found.row.spec.kind != spec.kind {
        differs.push("type");
    }
    if found.row.spec.params != spec.params {
        differs.push("params");
    }
    let detail = format!("There is an index \"{}\" already, with other {}.", found.row.name, differs.join(" and "));
    Problem::new(ErrorCode::TopicConflict, detail)
}

fn unknown(name: &IndexName) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("The topic has no index \"{name}\"."))
}
