//! A topic as it was at one moment, in columns: what a query reads of it, however often.

use std::sync::Arc;

use arrow_array::{RecordBatch, UInt64Array};
use arrow_select::take::take_record_batch;
use futures::stream::BoxStream;

use crate::backend::StorageError;
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

/// Rows of the first step of a read from the end.
const BACK_ROWS: usize = 256;

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
    /// In the stream: `offset_expired` where the records have expired since the cut, `columns_changed` where columns of the
    /// set were dropped or converted; both are worth asking again. `internal`.
    pub fn read(
        &self,
        set: ColumnSet,
        from: Offset,
        until: Offset,
        step: Step,
    ) -> BoxStream<'static, Result<RecordBatch, Problem>> {
        let (cut, (mut next, end)) = (self.clone(), self.held(from, until));
        Box::pin(async_stream::try_stream! {
            while next < end {
                let found = cut.step(&set, (next, end), step).await?;
                next = next.saturating_after(rows_of(&found));
                for batch in found {
                    yield batch;
                }
            }
        })
    }

    /// The same, the last rows first.
    ///
    /// # Errors
    /// As [`Cut::read`].
    pub fn read_back(
        &self,
        set: ColumnSet,
        from: Offset,
        until: Offset,
        step: Step,
    ) -> BoxStream<'static, Result<RecordBatch, Problem>> {
        let (cut, (begin, mut end)) = (self.clone(), self.held(from, until));
        // Few at first: often the first of them are all that is wanted. Then as many as fit into a step's bytes.
        let mut rows = BACK_ROWS.min(step.rows);
        Box::pin(async_stream::try_stream! {
            while begin < end {
                let first = end.saturating_before(rows as u64).max(begin);
                let (mut next, mut found) = (first, Vec::new());
                while next < end {
                    let some = cut.step(&set, (next, end), step).await?;
                    next = next.saturating_after(rows_of(&some));
                    found.extend(some);
                }
                end = first;
                let bytes: usize = found.iter().map(RecordBatch::get_array_memory_size).sum();
                rows = if bytes < step.bytes { rows.saturating_mul(2).min(step.rows) } else { (rows / 2).max(1) };
                for batch in found.into_iter().rev() {
                    yield reversed(&batch)?;
                }
            }
        })
    }

    /// A range, held to what the cut has.
    fn held(&self, from: Offset, until: Offset) -> (Offset, Offset) {
        (from.max(self.mark.earliest), until.min(self.mark.tail))
    }

    /// Rows from the beginning of a range on, at least one.
    async fn step(
        &self,
        set: &ColumnSet,
        (from, end): (Offset, Offset),
        step: Step,
    ) -> Result<Vec<RecordBatch>, Problem> {
        let rows = usize::try_from(end.since(from)).unwrap_or(usize::MAX).min(step.rows);
        let found = self.topic.columns_from(set, from, rows, step.bytes).await;
        self.topic.check_unchanged(&View::Now, |now| set.has_changed(now))?;
        let found = found.map_err(|err| match &err {
            // The next query begins behind what has expired.
            StorageError::Expired { .. } if self.topic.gone().is_none() => {
                self.topic.storage_problem(&err).worth_asking_again()
            }
            _ => self.topic.storage_problem(&err),
        })?;
        if rows_of(&found) == 0 {
            if let Some(gone) = self.topic.gone() {
                return Err(gone);
            }
            // What a cut has stays readable until it has expired: an answer would be short of records.
            tracing::error!(topic = %self.topic.name, offset = from.get(), "a query finds no record at {from}");
            return Err(Problem::internal());
        }
        Ok(found)
    }
}

fn rows_of(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| batch.num_rows() as u64).sum()
}

fn reversed(batch: &RecordBatch) -> Result<RecordBatch, Problem> {
    let rows = u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
    let order = UInt64Array::from_iter_values((0..rows).rev());
    take_record_batch(batch, &order).map_err(|error| {
        tracing::error!(%error, "rows could not be put in the opposite order");
        Problem::internal()
    })
}
