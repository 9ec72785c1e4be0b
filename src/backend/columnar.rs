//! What backends with columns can do besides.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;

use crate::backend::StorageError;
use crate::codec::{Chunk, ColumnSet, FieldSelection};
use crate::filter::{LiveFilter, Passing, PassingRows, Reach, Sieve};
use crate::model::Offset;
use crate::schema::Columns;

/// Gives the records of one topic in columns.
#[async_trait]
pub trait Columnar: Send + Sync {
    /// The topic's columns of now.
    fn columns(&self) -> Columns;

    /// Records from `offset` on in the columns of a set, in order, dense, at most `limit` of them and about `bytes` (but at
    /// least one record). Empty at and past the readable tail.
    ///
    /// # Errors
    /// [`StorageError::Expired`] below the earliest offset; [`StorageError::Failed`] when records could not be read.
    async fn get_batches(
        &self,
        set: &ColumnSet,
        offset: Offset,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<RecordBatch>, StorageError>;

    /// The records from `offset` on that pass a filter, as far as the reach goes; only these fields of them need be there.
    /// Each call looks at one record at least, where there is one; nothing is looked at past the readable tail.
    ///
    /// # Errors
    /// As [`Columnar::get_batches`].
    async fn get_passing(
        &self,
        filter: &LiveFilter,
        fields: Option<&FieldSelection>,
        offset: Offset,
        reach: Reach,
    ) -> Result<Passing, StorageError>;

    /// Records from `offset` on as [`StorageBackend::get`](crate::backend::StorageBackend::get) gives them, of which only
    /// these fields need be there.
    ///
    /// # Errors
    /// As [`Columnar::get_batches`].
    async fn get_fields(
        &self,
        fields: &FieldSelection,
        offset: Offset,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Chunk>, StorageError>;

    /// The same rows in the columns of a set, which began with the filter's; about the reach's bytes of columns.
    ///
    /// # Errors
    /// As [`Columnar::get_batches`].
    async fn get_passing_batches(
        &self,
        set: &ColumnSet,
        sieve: &Arc<Sieve>,
        offset: Offset,
        reach: Reach,
    ) -> Result<PassingRows, StorageError>;

    /// Single records by ascending offsets below the readable tail, each in a chunk of its own, with the chosen fields at least.
    ///
    /// # Errors
    /// As [`Columnar::get_batches`].
    async fn take(&self, offsets: &[Offset], fields: Option<&FieldSelection>) -> Result<Vec<Chunk>, StorageError>;
}
