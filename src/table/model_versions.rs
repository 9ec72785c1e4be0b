//! The versions of a table in memory.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use parking_lot::Mutex;

use super::model::{Dataset, ModelTable};
use super::{Past, TableError, TableHead, TablePlace, TableView, Tag, VersionSummary, Versions};
use crate::codec::{Chunk, ColumnSet};
use crate::model::{Offset, TagName, Timestamp};
use crate::schema::Columns;

/// One version that is being read.
#[derive(Debug)]
struct ModelVersion(Arc<Dataset>);

impl Dataset {
    fn about(&self) -> VersionSummary {
        VersionSummary {
            version: self.head.version,
            // The table has no clock: when its last row was appended is the earliest that it can be.
            created_at: self.head.last_time.unwrap_or_default(),
            base: self.head.base.max(self.expired).min(self.head.next),
            next: self.head.next,
            schema: self.schema,
            cause: self.cause.as_str().to_owned(),
        }
    }

    fn version(&self, version: u64) -> Result<Arc<Dataset>, TableError> {
        self.kept.get(&version).cloned().ok_or(TableError::VersionGone { version })
    }
}

#[async_trait]
impl TableView for ModelVersion {
    fn head(&self) -> Arc<TableHead> {
        Arc::clone(&self.0.head)
    }

    async fn read(
        &self,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<Chunk>, TableError> {
        if records == 0 { Ok(Vec::new()) } else { self.0.read(columns, from, records, bytes) }
    }

    async fn read_batches(
        &self,
        set: &ColumnSet,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<RecordBatch>, TableError> {
        self.0.read_batches(set, columns, from, records, bytes)
    }

    async fn seek_time(&self, time: Timestamp) -> Result<Offset, TableError> {
        Ok(self.0.seek_time(time))
    }
}

#[async_trait]
impl Versions for ModelTable {
    async fn at(&self, version: u64) -> Result<Past, TableError> {
        let kept = self.dataset.lock().version(version)?;
        let about = kept.about();
        Ok(Past { view: Arc::new(ModelVersion(kept)), about })
    }

    async fn versions(&self, below: Option<u64>, limit: usize) -> Result<Vec<VersionSummary>, TableError> {
        let dataset = self.dataset.lock();
        let older = dataset.kept.range(..below.unwrap_or(u64::MAX)).rev();
        Ok(older.take(limit).map(|(_, kept)| kept.about()).collect())
    }

    async fn tags(&self) -> Result<Vec<Tag>, TableError> {
        Ok(self.dataset.lock().tags.values().cloned().collect())
    }

    async fn tag(&self, name: &TagName) -> Result<Option<Tag>, TableError> {
        Ok(self.dataset.lock().tags.get(name).cloned())
    }

    async fn put_tag(&self, name: &TagName, version: Option<u64>) -> Result<(Tag, bool), TableError> {
        let mut dataset = self.dataset.lock();
        let about = dataset.version(version.unwrap_or(dataset.head.version))?.about();
        let created_at = dataset.tags.get(name).map_or(about.created_at, |before| before.created_at);
        let tag = Tag { name: name.clone(), created_at, about };
        let is_new = dataset.tags.insert(name.clone(), tag.clone()).is_none();
        Ok((tag, is_new))
    }

    async fn delete_tag(&self, name: &TagName) -> Result<bool, TableError> {
        Ok(self.dataset.lock().tags.remove(name).is_some())
    }

    async fn fork(&self, version: u64, range: Range<Offset>, to: &TablePlace) -> Result<Arc<TableHead>, TableError> {
        let fork = self.dataset.lock().version(version)?.fork(range);
        let head = Arc::clone(&fork.head);
        self.datasets.lock().insert(to.dataset.clone(), Arc::new(Mutex::new(fork)));
        Ok(head)
    }
}
