//! A topic as it was at one moment, in columns: what a query reads of it, however often.

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::stream::BoxStream;

use crate::codec::ColumnSet;
use crate::model::{Offset, Problem, Timestamp};
use crate::schema::{Columns, Schema};
use crate::topic::Topic;
use crate::topic::past::View;

/// From where to where a topic has records at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The first record that is kept.
    pub earliest: Offset,
    /// The first offset past the records.
    pub tail: Offset,
}

/// How much one step of a read asks for.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Rows at most.
    pub rows: usize,
    /// Bytes, about.
    pub bytes: usize,
}

/// A topic as it was at one moment. Its columns are those of that moment; records that come later are not in it.
#[derive(Clone)]
pub struct Cut {
    topic: Arc<Topic>,
    mark: Mark,
    columns: Columns,
}

impl std::fmt::Debug for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cut").field("topic", &self.topic.name).field("mark", &self.mark).finish_non_exhaustive()
    }
}

impl Topic {
    /// Where the topic stands now.
    pub fn mark(&self) -> Mark {
        let levels = self.backend.levels().now();
        Mark { earliest: levels.earliest, tail: levels.readable }
    }

    /// The topic as it stood at a mark that was taken of it. The columns are found here, after the mark: whatever lies before
    /// that was written under them or earlier ones.
    ///
    /// # Errors
    /// `unsupported_by_backend` where there are no columns.
    pub fn cut_at(self: &Arc<Self>, mark: Mark) -> Result<Cut, Problem> {
        let Some(columnar) = self.backend.columnar().filter(|_| self.factory.capabilities().arrow) else {
            let mut problem = self.services.unsupported("", "arrow", |able| able.arrow);
            problem.detail =
                format!("SQL needs columns, and the backend of the topic \"{}\" has none.", self.name).into();
            return Err(problem);
        };
        Ok(Cut { topic: Arc::clone(self), mark, columns: columnar.columns() })
    }
}

impl Cut {
    /// From where to where it has records.
    pub const fn mark(&self) -> Mark {
        self.mark
    }

    /// Its columns.
    pub fn schema(&self) -> &Schema {
        &self.columns.schema
    }

    /// How many records it has.
    pub fn records(&self) -> u64 {
        self.mark.tail.since(self.mark.earliest)
    }

    /// The first offset in it whose record was appended at or after a time; its end where there is none.
    ///
    /// # Errors
    /// `internal`.
    pub async fn seek_time(&self, time: Timestamp) -> Result<Offset, Problem> {
        let found = self.topic.seek_in(&View::Now, time).await?;
        Ok(found.clamp(self.mark.earliest, self.mark.tail))
    }

    /// The set of the columns of these fields, in the schema's order: `_offset` and `_timestamp` come first.
    pub fn columns(&self, fields: impl Fn(usize) -> bool) -> ColumnSet {
        let chosen = self.columns.schema.fields.iter().enumerate().filter(|(at, _)| fields(*at));
        let schema = Schema { fields: chosen.map(|(_, field)| field.clone()).collect() };
        ColumnSet::new(&Columns { schema: Arc::new(schema), ..self.columns.clone() }, None)
    }

    /// The rows of an offset range, which is held to what the cut has.
    ///
    /// # Errors
    /// In the stream: `offset_expired` where the records have expired since the cut, `internal`.
    pub fn read(
        &self,
        set: ColumnSet,
        from: Offset,
        until: Offset,
        step: Step,
    ) -> BoxStream<'static, Result<RecordBatch, Problem>> {
        let topic = Arc::clone(&self.topic);
        let mut next = from.max(self.mark.earliest);
        let end = until.min(self.mark.tail);
        Box::pin(async_stream::try_stream! {
            while next < end {
                let rows = usize::try_from(end.since(next)).unwrap_or(usize::MAX).min(step.rows);
                let found = topic.columns_from(&set, next, rows, step.bytes).await?;
                let count: usize = found.iter().map(RecordBatch::num_rows).sum();
                if count == 0 {
                    // What a cut has stays readable until it has expired, so that an answer would be short of records.
                    tracing::error!(topic = %topic.name, offset = next.get(), "a query finds no record at {next}");
                    Err(Problem::internal())?;
                }
                next = next.saturating_after(count as u64);
                for batch in found {
                    yield batch;
                }
            }
        })
    }
}
