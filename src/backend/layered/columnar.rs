//! Rows in columns: those of the tail are laid out as a commit would do it, older ones come from the dataset.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;

use super::posted::aside;
use super::{Layered, storage_error};
use crate::backend::{Columnar, StorageError};
use crate::codec::{Chunk, ColumnSet, FieldSelection};
use crate::filter::{LiveFilter, Passing, PassingRows, Reach, Sieve};
use crate::model::Offset;
use crate::schema::Columns;
use crate::table::{Table, TableError};

/// How often a read is tried anew because the topic's columns moved on under it.
const TRIES_MAX: usize = 100;

#[async_trait]
impl Columnar for Layered {
    fn columns(&self) -> Columns {
        self.lane.columns()
    }

    async fn get_batches(
        &self,
        set: &ColumnSet,
        offset: Offset,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<RecordBatch>, StorageError> {
        self.under_one_form(|before| async move { self.try_batches(set, &before, offset, limit, bytes).await }).await
    }

    async fn get_passing(
        &self,
        filter: &LiveFilter,
        fields: Option<&FieldSelection>,
        offset: Offset,
        reach: Reach,
    ) -> Result<Passing, StorageError> {
        // Before the columns are: what can be read by then has none that they lack.
        let until = reach.until.min(self.lane.levels().now().readable);
        let reach = Reach { until, ..reach };
        let read = |before| async move { self.try_passing(filter, fields, &{ before }, offset, reach).await };
        self.under_one_form(read).await
    }

    async fn get_fields(
        &self,
        fields: &FieldSelection,
        offset: Offset,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Chunk>, StorageError> {
        self.get_records(Some(fields), offset, limit, bytes).await
    }

    async fn get_passing_batches(
        &self,
        set: &ColumnSet,
        sieve: &Arc<Sieve>,
        offset: Offset,
        reach: Reach,
    ) -> Result<PassingRows, StorageError> {
        let read = |before| async move { self.try_passing_batches(set, sieve, &{ before }, offset, reach).await };
        self.under_one_form(read).await
    }

    async fn take(&self, offsets: &[Offset], fields: Option<&FieldSelection>) -> Result<Vec<Chunk>, StorageError> {
        let levels = self.lane.levels().now();
        if offsets.first().is_some_and(|first| *first < levels.earliest) {
            return Err(StorageError::Expired { earliest: levels.earliest });
        }
        // The tail first: it lets go only of what the published table holds.
        let (mut found, mut older) = (Vec::with_capacity(offsets.len()), Vec::new());
        for offset in offsets {
            match self.lane.tail().read(*offset, offset.saturating_after(1), 1, 1) {
                Some(chunks) => found.extend(chunks.into_iter().map(Chunk::printed).filter(|chunk| !chunk.is_empty())),
                None => older.push(*offset),
            }
        }
        if !older.is_empty() {
            found.extend(self.of_table(fields, |table, columns| take(table, columns, &older)).await?);
            found.sort_unstable_by_key(Chunk::first);
        }
        let earliest = self.lane.levels().now().earliest;
        if offsets.first().is_some_and(|first| *first < earliest) {
            return Err(StorageError::Expired { earliest });
        }
        Ok(found)
    }
}

impl Layered {
    /// What is read under one form of the topic's columns: read anew where they have moved on meanwhile.
    async fn under_one_form<T, F>(&self, read: impl Fn(Columns) -> F + Send) -> Result<T, StorageError>
    where
        F: Future<Output = Result<T, StorageError>> + Send,
    {
        let mut tries = 0;
        loop {
            let adoptions = self.lane.adoptions();
            let before = self.lane.columns();
            let outcome = read(before.clone()).await;
            tries += 1;
            // What was read while a version was being posted may be of both.
            let is_of_one = adoptions.is_multiple_of(2) && adoptions == self.lane.adoptions();
            if is_of_one && !self.lane.has_moved_on(&before.lineage) {
                let has_failed = matches!(outcome, Err(StorageError::Failed { .. }));
                if !has_failed || self.lane.columns() == before {
                    return outcome;
                }
            }
            if tries == TRIES_MAX {
                return outcome;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn try_batches(
        &self,
        set: &ColumnSet,
        before: &Columns,
        offset: Offset,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<RecordBatch>, StorageError> {
        let levels = self.lane.levels().now();
        if offset < levels.earliest {
            return Err(StorageError::Expired { earliest: levels.earliest });
        }
        if offset >= levels.readable || limit == 0 {
            return Ok(Vec::new());
        }
        if let Some(chunks) = self.lane.tail().read(offset, levels.readable, limit, bytes) {
            // After the text: it may be of a version that has come since.
            let (set, now) = (set.clone(), self.lane.columns());
            return laid_out(chunks, set, now).await;
        }
        let table = self.lane.table().await?;
        let batches = table.read_batches(set, before, offset, limit, bytes).await.map_err(|err| storage_error(&err))?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let earliest = self.lane.levels().now().earliest;
        if earliest > offset {
            return Err(StorageError::Expired { earliest });
        }
        if rows == 0 || table.head().base > offset {
            let cause = format!("the dataset has no row where a read of offset {offset} begins");
            return Err(StorageError::Failed { cause });
        }
        Ok(within(batches, levels.readable.since(offset)))
    }
}

async fn take(table: Arc<dyn Table>, columns: Columns, offsets: &[Offset]) -> Result<Vec<Chunk>, TableError> {
    table.take(&columns, offsets).await
}

async fn laid_out(chunks: Vec<Chunk>, set: ColumnSet, now: Columns) -> Result<Vec<RecordBatch>, StorageError> {
    if chunks.iter().all(Chunk::is_empty) {
        return Ok(Vec::new());
    }
    let batch = aside(move || set.take_chunks(&chunks, &now)).await;
    batch.map(|batch| vec![batch]).map_err(|error| StorageError::Failed { cause: error.to_string() })
}

/// The first rows.
fn within(batches: Vec<RecordBatch>, rows: u64) -> Vec<RecordBatch> {
    let mut left = usize::try_from(rows).unwrap_or(usize::MAX);
    let cut = batches.into_iter().map(|batch| {
        let batch = batch.slice(0, batch.num_rows().min(left));
        left -= batch.num_rows();
        batch
    });
    cut.filter(|batch| batch.num_rows() > 0).collect()
}
