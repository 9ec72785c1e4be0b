//! Reads of the newest version.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::RecordBatch;
use async_trait::async_trait;

use super::{Inner, LanceTable};
use crate::codec::{Chunk, ColumnSet};
use crate::filter::{Passing, PassingRows, Reach, Sieve};
use crate::model::{Offset, Timestamp};
use crate::schema::{Columns, FieldPath};
use crate::table::lance::open::Version;
use crate::table::lance::take::records_at;
use crate::table::lance::{passing, read, search};
use crate::table::search::{FoundTextIndex, FoundVectorIndex, Metric};
use crate::table::{TableError, TableHead, TableView};

impl Inner {
    /// What is read of the newest version; none where there is no dataset. A version that is long gone may have lost its files
    /// under the reader; the newest one has them.
    pub(super) async fn of_newest<T, F>(&self, read: impl Fn(Version) -> F) -> Result<Option<T>, TableError>
    where
        F: Future<Output = Result<T, TableError>>,
    {
        loop {
            let Some(version) = self.version().await? else { return Ok(None) };
            let number = version.dataset.manifest().version;
            let outcome = read(version).await;
            if outcome.is_ok() || self.head().version == number {
                return outcome.map(Some);
            }
        }
    }

    async fn read(
        &self,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<Chunk>, TableError> {
        let found = self.of_newest(|version| async move {
            let mut row_bytes = self.row_bytes.load(Ordering::Relaxed);
            let outcome = read::records(&version, columns, from, records, bytes, &mut row_bytes).await;
            self.row_bytes.store(row_bytes, Ordering::Relaxed);
            outcome
        });
        found.await.map(Option::unwrap_or_default)
    }

    async fn read_batches(
        &self,
        set: &ColumnSet,
        columns: &Columns,
        from: Offset,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<RecordBatch>, TableError> {
        let found = self.of_newest(|version| async move {
            let mut row_bytes = self.row_bytes.load(Ordering::Relaxed);
            read::batches(&version, set, columns, from, records, bytes, &mut row_bytes).await
        });
        found.await.map(Option::unwrap_or_default)
    }
}

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

    async fn read_passing(
        &self,
        columns: &Columns,
        sieve: &Arc<Sieve>,
        from: Offset,
        reach: Reach,
    ) -> Result<Passing, TableError> {
        let (columns, sieve) = (columns.clone(), Arc::clone(sieve));
        self.run(move |inner| async move {
            let read = |version| async { passing::passing(&{ version }, &columns, &sieve, from, reach).await };
            Ok(inner.of_newest(read).await?.unwrap_or(Passing { chunks: Vec::new(), next: from }))
        })
        .await
    }

    async fn read_passing_batches(
        &self,
        set: &ColumnSet,
        columns: &Columns,
        sieve: &Arc<Sieve>,
        from: Offset,
        reach: Reach,
    ) -> Result<PassingRows, TableError> {
        let (set, columns, sieve) = (set.clone(), columns.clone(), Arc::clone(sieve));
        self.run(move |inner| async move {
            let read = |version| async { passing::batches(&{ version }, &set, &columns, &sieve, from, reach).await };
            Ok(inner.of_newest(read).await?.unwrap_or(PassingRows { batches: Vec::new(), next: from }))
        })
        .await
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
