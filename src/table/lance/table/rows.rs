//! Rows of an append as Lance takes them.

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::stream;
use lance::deps::datafusion::error::DataFusionError;
use lance::deps::datafusion::execution::SendableRecordBatchStream;
use lance::deps::datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use crate::codec::Chunk;
use crate::codec::columns::{Runs, arrow_schema};
use crate::schema::Columns;

/// Records that are laid out as columns while they are written, some at a time: as columns they may take many times the room
/// of their text.
pub(super) struct Rows(Arc<Vec<Chunk>>);

impl Rows {
    pub(super) fn new(chunks: Vec<Chunk>) -> Self {
        Self(Arc::new(chunks))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Chunk::is_empty)
    }

    /// The rows, in these columns. As often as it is asked.
    pub(super) fn laid_out(&self, columns: &Columns) -> SendableRecordBatchStream {
        let (chunks, schema) = (Arc::clone(&self.0), Arc::clone(&columns.schema));
        let arrow = Arc::new(arrow_schema(&schema));
        let mut runs = Runs::new(&schema);
        let batches = std::iter::from_fn(move || {
            let batch = runs.next_batch(&schema, &chunks)?;
            Some(batch.map_err(|error| DataFusionError::External(Box::new(error))))
        });
        Box::pin(RecordBatchStreamAdapter::new(arrow, stream::iter(batches)))
    }
}

/// A stream of one batch.
pub(super) fn one(batch: RecordBatch) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(batch.schema(), stream::iter([Ok(batch)])))
}
