//! Records as text: from the tail, or from the dataset.

use std::sync::Arc;

use super::{Layered, storage_error};
use crate::backend::StorageError;
use crate::codec::{Chunk, FieldSelection};
use crate::model::Offset;
use crate::schema::Columns;
use crate::table::{Table, TableError};

impl Layered {
    /// Records, of which only the fields that are named need be there.
    pub(super) async fn get_records(
        &self,
        fields: Option<&FieldSelection>,
        offset: Offset,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Chunk>, StorageError> {
        let levels = self.lane.levels().now();
        if offset < levels.earliest {
            return Err(StorageError::Expired { earliest: levels.earliest });
        }
        if offset >= levels.readable || limit == 0 {
            return Ok(Vec::new());
        }
        // Of what is in the table, some columns are read with less effort than the whole text.
        let in_memory = match fields {
            None => self.lane.in_memory(offset, levels.readable, limit, bytes),
            Some(_) => self.lane.tail().read(offset, levels.readable, limit, bytes),
        };
        if let Some(chunks) = in_memory {
            return Ok(chunks.into_iter().map(Chunk::printed).collect());
        }
        let chunks = self.read_table(fields, offset, limit, bytes).await?;
        match chunks.first().map(Chunk::first) {
            Some(first) if first == offset => Ok(chunks),
            // Dropped while it was read: what is left begins later.
            _ if self.lane.levels().now().earliest > offset => {
                Err(StorageError::Expired { earliest: self.lane.levels().now().earliest })
            }
            found => Err(StorageError::Failed {
                cause: format!("the dataset gave {found:?} where a read of offset {offset} begins"),
            }),
        }
    }

    async fn read_table(
        &self,
        fields: Option<&FieldSelection>,
        offset: Offset,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Chunk>, StorageError> {
        let read = |table: Arc<dyn Table>, columns| async move { table.read(&{ columns }, offset, limit, bytes).await };
        // Before the columns are taken: what can be read by then has none that they lack.
        let readable = self.lane.levels().now().readable;
        let chunks = self.of_table(fields, read).await?;
        Ok(chunks
            .into_iter()
            .map(|chunk| {
                let count = usize::try_from(readable.since(chunk.first())).unwrap_or(usize::MAX);
                chunk.slice(0, count)
            })
            .filter(|chunk| !chunk.is_empty())
            .collect())
    }

    /// What is read of the dataset under the topic's columns, of which only the fields that are named need be there: read
    /// anew where it has followed meanwhile what was posted.
    pub(super) async fn of_table<F>(
        &self,
        fields: Option<&FieldSelection>,
        read: impl Fn(Arc<dyn Table>, Columns) -> F + Send,
    ) -> Result<Vec<Chunk>, StorageError>
    where
        F: Future<Output = Result<Vec<Chunk>, TableError>> + Send,
    {
        let table = self.lane.table().await?;
        loop {
            let columns = self.lane.columns();
            match read(Arc::clone(&table), FieldSelection::to_read(fields, &columns)).await {
                Ok(chunks) => return Ok(chunks),
                Err(_) if self.lane.has_moved_on(&columns.lineage) => {}
                Err(err) => return Err(storage_error(&err)),
            }
        }
    }
}
