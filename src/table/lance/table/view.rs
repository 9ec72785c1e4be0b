//! One dataset's newest version as readers see it.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;

use super::LanceTable;
use crate::codec::{Chunk, ColumnSet};
use crate::model::{Offset, Timestamp};
use crate::schema::{Columns, FieldPath};
use crate::table::lance::take::records_at;
use crate::table::lance::{read, search};
use crate::table::search::{FoundTextIndex, FoundVectorIndex, Metric};
use crate::table::{TableError, TableHead, TableView};

#[async_trait]
impl TableView for LanceTable {
    fn head(&self) -> Arc<TableHead> {
        self.inner.head()
    }

    async fn read(
        &self,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<Chunk>, TableError> {
        let columns = columns.clone();
        self.run(|inner| async move { inner.read(&columns, from, records, bytes).await }).await
    }

    async fn read_batches(
        &self,
        set: &ColumnSet,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<RecordBatch>, TableError> {
        let (set, columns) = (set.clone(), columns.clone());
        self.run(|inner| async move { inner.read_batches(&set, &columns, from, records, bytes).await }).await
    }

    async fn take(&self, columns: &Columns, offsets: &[Offset]) -> Result<Vec<Chunk>, TableError> {
        let (columns, offsets) = (columns.clone(), offsets.to_vec());
        self.run(|inner| async move {
            let (columns, offsets) = (&columns, offsets.as_slice());
            let found = inner.of_newest(|version| async move { records_at(&version, columns, offsets).await });
            found.await.map(Option::unwrap_or_default)
        })
        .await
    }

    async fn vector_index(
        &self,
        columns: &Columns,
        path: &FieldPath,
        metric: Option<Metric>,
    ) -> Result<FoundVectorIndex, TableError> {
        let (columns, path) = (columns.clone(), path.clone());
        self.run(move |inner| async move {
            let (columns, path) = (&columns, &path);
            let finding =
                inner.of_newest(|version| search::vector_index(inner.place_of(version), columns, path, metric));
            finding.await.map(Option::flatten)
        })
        .await
    }

    async fn text_index(&self, columns: &Columns, path: &FieldPath) -> Result<FoundTextIndex, TableError> {
        let (columns, path) = (columns.clone(), path.clone());
        self.run(|inner| async move {
            let (columns, path) = (&columns, &path);
            let finding = inner.of_newest(|version| search::text_index(inner.place_of(version), columns, path));
            finding.await.map(Option::flatten)
        })
        .await
    }

    async fn seek_time(&self, time: Timestamp) -> Result<Offset, TableError> {
        self.run(move |inner| async move {
            let found = inner.of_newest(|version| async move { read::offset_at(&version, time).await }).await?;
            Ok(found.unwrap_or_else(|| inner.head().next))
        })
        .await
    }
}
