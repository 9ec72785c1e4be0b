//! Reading a part of a topic in columns, by as many tasks as there are processors for it.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{BooleanArray, RecordBatch};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::codec::ColumnSet;
use crate::codec::columns::{OFFSET_COLUMN, batch_bytes};
use crate::filter::{BoundFilter, Reach};
use crate::model::{ErrorCode, Offset, Problem};
use crate::topic::{PULL_COLUMN_BYTES, Topic, View};

/// Fewer rows than this are not worth a task of their own.
const TASK_ROWS: u64 = 16_384;
/// The most tasks of one scan.
const TASKS_MAX: usize = 8;
/// About so much is looked at before others run: text is cut at some megabytes a second.
const SLICE_BYTES: usize = 256 << 10;

/// What is read.
#[derive(Clone)]
pub(super) struct Scan {
    pub(super) topic: Arc<Topic>,
    pub(super) view: View,
    pub(super) set: ColumnSet,
    pub(super) filter: Option<Arc<BoundFilter>>,
    /// Where the tasks run.
    pub(super) runtime: Handle,
}

/// Takes the rows of one task, batch by batch, in order.
pub(super) trait Fold: Send + 'static {
    /// Takes a batch; beside it its offsets, and which of its rows can be hits (all, for none).
    ///
    /// # Errors
    /// `internal` for a column of another type than its schema says; [`left`].
    fn take(&mut self, batch: &RecordBatch, offsets: &[u64], mask: Option<&BooleanArray>) -> Result<(), Problem>;
}

impl Scan {
    /// How many tasks there are at a time, at most.
    pub(super) fn workers(&self) -> usize {
        self.runtime.metrics().num_workers().clamp(1, TASKS_MAX)
    }

    /// Reads the records of ranges; each task folds its rows into a fold of its own. Folds come in the order of their rows.
    /// Dropping the future ends the tasks.
    ///
    /// # Errors
    /// `offset_expired` where records have expired meanwhile; `internal`.
    pub(super) async fn run<F: Fold>(&self, ranges: &[Range<Offset>], fold: impl Fn() -> F) -> Result<Vec<F>, Problem> {
        let workers = self.workers() as u64;
        let mut folds = Vec::new();
        for range in ranges {
            let rows = range.end.since(range.start);
            let tasks = (rows / TASK_ROWS).clamp(1, workers);
            let mut running = Vec::new();
            for task in 0..tasks {
                let begin = range.start.saturating_after(rows / tasks * task);
                let last = task + 1 == tasks;
                let end = if last { range.end } else { range.start.saturating_after(rows / tasks * (task + 1)) };
                let part = self.clone().part(begin, end, fold());
                running.push(AbortOnDropHandle::new(self.runtime.spawn(part)));
            }
            for task in running {
                folds.push(task.await.map_err(|error| failed("a scan ended early", &error))??);
            }
        }
        Ok(folds)
    }

    async fn part<F: Fold>(self, from: Offset, to: Offset, mut fold: F) -> Result<F, Problem> {
        let mut next = from;
        while next < to {
            let reach = Reach { until: to, records: usize::MAX, bytes: PULL_COLUMN_BYTES, looked_at: usize::MAX };
            let found = self.topic.batches_in(&self.view, &self.set, None, next, reach).await?;
            let mut read = 0;
            for batch in &found.batches {
                let offsets = batch.column_by_name(OFFSET_COLUMN);
                let offsets = offsets.and_then(|column| column.as_primitive_opt::<UInt64Type>());
                let offsets = offsets.ok_or_else(|| failed("rows have no offsets", &next))?;
                let mask = self.filter.as_ref().map(|filter| filter.mask(batch)).transpose();
                let mask = mask.map_err(|error| failed("a filter cannot be evaluated", &error))?;
                fold_in_slices(&mut fold, batch, offsets.values(), mask.as_ref()).await?;
                read += batch.num_rows() as u64;
            }
            if read == 0 {
                return Err(failed_in(&self.topic, "a scan found no rows", &next));
            }
            next = next.saturating_after(read);
            tokio::task::consume_budget().await;
        }
        Ok(fold)
    }
}

/// Takes a batch slice by slice, and lets others run between them.
pub(super) async fn fold_in_slices<F: Fold>(
    fold: &mut F,
    batch: &RecordBatch,
    offsets: &[u64],
    mask: Option<&BooleanArray>,
) -> Result<(), Problem> {
    let slice_rows = (batch.num_rows() * SLICE_BYTES / batch_bytes(batch).max(1)).max(1);
    let mut first = 0;
    for offsets in offsets.chunks(slice_rows) {
        let mask = mask.map(|mask| mask.slice(first, offsets.len()));
        fold.take(&batch.slice(first, offsets.len()), offsets, mask.as_ref())?;
        first += offsets.len();
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// The end of a search that nobody waits for, which nobody is told.
pub(super) fn left() -> Problem {
    Problem::new(ErrorCode::Overloaded, "The search was left.")
}

/// A fault of ours, with its cause in the log.
pub(super) fn failed(what: &'static str, cause: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%cause, "search: {what}");
    Problem::internal()
}

/// The same where a topic is read.
pub(super) fn failed_in(topic: &Topic, what: &'static str, cause: &dyn std::fmt::Display) -> Problem {
    topic.gone().unwrap_or_else(|| failed(what, cause))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, LargeStringArray};

    use super::*;

    #[derive(Default)]
    struct Seen(Vec<(u64, String, bool)>, usize);

    impl Fold for Seen {
        fn take(&mut self, batch: &RecordBatch, offsets: &[u64], mask: Option<&BooleanArray>) -> Result<(), Problem> {
            assert!(batch_bytes(batch) <= SLICE_BYTES);
            let texts = batch.column(0).as_string::<i64>();
            let row = |row: usize| (offsets[row], texts.value(row).to_owned(), mask.unwrap().value(row));
            self.0.extend((0..batch.num_rows()).map(row));
            self.1 += 1;
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_large_batch_is_taken_in_slices() {
        let texts: Vec<String> = (0..100).map(|row| format!("{row}").repeat(10_000)).collect();
        let mask = BooleanArray::from((0..100).map(|row| row % 3 == 0).collect::<Vec<_>>());
        let offsets: Vec<u64> = (7..107).collect();
        let column: ArrayRef = Arc::new(LargeStringArray::from(texts.clone()));
        let batch = RecordBatch::try_from_iter([("text", column)]).unwrap();
        let mut seen = Seen::default();
        fold_in_slices(&mut seen, &batch, &offsets, Some(&mask)).await.unwrap();
        let all = offsets.iter().zip(texts).zip(0..).map(|((offset, text), row)| (*offset, text, row % 3 == 0));
        assert!(seen.1 > 4 && seen.0 == all.collect::<Vec<_>>());
    }
}
