//! Reading a part of a topic in columns, by as many tasks as there are processors for it.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{BooleanArray, RecordBatch};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::codec::ColumnSet;
use crate::codec::columns::OFFSET_COLUMN;
use crate::filter::{BoundFilter, Reach};
use crate::model::{Offset, Problem};
use crate::topic::{PULL_COLUMN_BYTES, Topic, View};

/// Fewer rows than this are not worth a task of their own.
const TASK_ROWS: u64 = 16_384;
/// The most tasks of one scan.
const TASKS_MAX: u64 = 8;

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
    /// `internal` for a column of another type than its schema says.
    fn take(&mut self, batch: &RecordBatch, offsets: &[u64], mask: Option<&BooleanArray>) -> Result<(), Problem>;
}

impl Scan {
    /// Reads the records of ranges; each task folds its rows into a fold of its own. Folds come in the order of their rows.
    /// Dropping the future ends the tasks.
    ///
    /// # Errors
    /// `offset_expired` where records have expired meanwhile; `internal`.
    pub(super) async fn run<F: Fold>(&self, ranges: &[Range<Offset>], fold: impl Fn() -> F) -> Result<Vec<F>, Problem> {
        let workers = (self.runtime.metrics().num_workers() as u64).clamp(1, TASKS_MAX);
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
                fold.take(batch, offsets.values(), mask.as_ref())?;
                read += batch.num_rows() as u64;
            }
            if read == 0 {
                return Err(failed("a scan found no rows", &next));
            }
            next = next.saturating_after(read);
            tokio::task::consume_budget().await;
        }
        Ok(fold)
    }
}

/// A fault of ours, with its cause in the log.
pub(super) fn failed(what: &'static str, cause: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%cause, "search: {what}");
    Problem::internal()
}
