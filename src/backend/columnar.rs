//! What backends with columns can do besides.

use arrow_array::RecordBatch;
use async_trait::async_trait;

use crate::backend::StorageError;
use crate::codec::{Chunk, ColumnSet, FieldSelection};
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

    /// Single records by ascending offsets below the readable tail, each in a chunk of its own, with the chosen fields at least.
    ///
    /// # Errors
    /// As [`Columnar::get_batches`].
    async fn take(&self, offsets: &[Offset], fields: Option<&FieldSelection>) -> Result<Vec<Chunk>, StorageError>;
}
