//! What stands between the operators of a plan: it ends them when the query's time is over, lets others run in between, and
//! counts the rows that a window holds, which the window itself does not.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};

use crate::sql::limits::MADE_BYTES_MAX;
use crate::sql::watch::Watch;
use crate::sql::width::{check_rows, longest_row, rows_bytes};

/// How many batches pass before others are let run.
const BATCHES_AT_ONCE: u32 = 16;

/// The plan with guards round each operator that repeats rows or holds them all, and behind its inputs.
///
/// # Errors
/// What an operator answers to having its inputs replaced.
pub(super) fn guarded(plan: Arc<dyn ExecutionPlan>, watch: &Arc<Watch>) -> Result<Arc<dyn ExecutionPlan>> {
    let guard = |input: Arc<dyn ExecutionPlan>, looks: Looks| -> Arc<dyn ExecutionPlan> {
        Arc::new(Guard { input, watch: Arc::clone(watch), looks })
    };
    let done = plan.transform_up(|plan| {
        let Some(looks) = looks(plan.as_ref()) else { return Ok(Transformed::no(plan)) };
        let inputs = plan.children().into_iter().map(|input| guard(Arc::clone(input), looks)).collect();
        let plan = Arc::clone(&plan).with_new_children(inputs)?;
        Ok(Transformed::yes(guard(plan, Looks::default())))
    })?;
    Ok(guard(done.data, Looks::default()))
}

/// What a guard looks at besides the time.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    /// Whether rows are repeated above, so that none may be very long.
    repeated: bool,
    /// Whether the rows that have passed are held above until the end, and what of them.
    held: Option<Held>,
    /// How many expressions are evaluated above on all rows of a batch: batches are cut so that they make so much at most, or
    /// have one row.
    evaluated: usize,
}

/// What is held of rows.
#[derive(Clone, Copy, Debug)]
enum Held {
    /// The rows themselves.
    Rows,
    /// Values that may be those of the longest row, for each of them.
    Longest,
}

/// What is to be looked at behind the inputs of an operator; none where it takes care of itself.
fn looks(plan: &dyn ExecutionPlan) -> Option<Looks> {
    let operator: &dyn Any = plan;
    if let Some(window) = operator.downcast_ref::<WindowAggExec>() {
        return Some(Looks { repeated: true, held: Some(held(plan, window.window_expr())), evaluated: 0 });
    }
    if let Some(window) = operator.downcast_ref::<BoundedWindowAggExec>() {
        let streams = window.window_expr().iter().all(|function| streams(function.as_ref()));
        let held = if streams { None } else { Some(held(plan, window.window_expr())) };
        return Some(Looks { repeated: true, held, evaluated: 0 });
    }
    if plan.children().len() < 2 {
        let evaluated = evaluated(operator);
        return (evaluated > 0).then_some(Looks { evaluated, ..Looks::default() });
    }
    Some(Looks { repeated: !operator.is::<UnionExec>(), ..Looks::default() })
}

/// How many expressions an operator evaluates on each batch that may make values as long as those they are given.
fn evaluated(operator: &dyn Any) -> usize {
    if let Some(projection) = operator.downcast_ref::<ProjectionExec>() {
        return projection.expr().iter().map(|made| calls(&made.expr)).sum();
    }
    if let Some(filter) = operator.downcast_ref::<FilterExec>() {
        return calls(filter.predicate());
    }
    let Some(aggregate) = operator.downcast_ref::<AggregateExec>() else { return 0 };
    let grouped = aggregate.group_expr().input_exprs();
    let folded = aggregate.aggr_expr().iter().flat_map(|function| function.expressions());
    grouped.into_iter().chain(folded).map(|expr| calls(&expr)).sum()
}

fn calls(expr: &Arc<dyn PhysicalExpr>) -> usize {
    let one: &dyn Any = expr.as_ref();
    let is_call = !one.is::<Column>() && !one.is::<Literal>();
    expr.children().into_iter().map(calls).sum::<usize>() + usize::from(is_call)
}

/// Whether a function of a window lets go of rows as it goes on.
fn streams(function: &dyn WindowExpr) -> bool {
    let name = function.name();
    if ["row_number(", "rank(", "dense_rank(", "lag("].iter().any(|looks_back| name.starts_with(looks_back)) {
        return true;
    }
    let frame = function.get_window_frame();
    frame.units == WindowFrameUnits::Rows && !matches!(frame.end_bound, WindowFrameBound::Following(_))
}

/// The rows, unless what is made of them can be as long as the longest of them for each.
fn held(plan: &dyn ExecutionPlan, functions: &[Arc<dyn WindowExpr>]) -> Held {
    let schema = plan.schema();
    let mut made = schema.fields().iter().rev().take(functions.len());
    let are_short = made.all(|field| field.data_type().is_primitive() || *field.data_type() == DataType::Boolean);
    if are_short { Held::Rows } else { Held::Longest }
}

/// Passes on what its input gives.
#[derive(Debug)]
struct Guard {
    input: Arc<dyn ExecutionPlan>,
    watch: Arc<Watch>,
    looks: Looks,
}

impl DisplayAs for Guard {
    fn fmt_as(&self, _form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

impl ExecutionPlan for Guard {
    fn name(&self) -> &'static str {
        "Guard"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.into_iter().next() {
            Some(input) => Ok(Arc::new(Self { input, watch: Arc::clone(&self.watch), looks: self.looks })),
            None => Ok(self),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let reserved = self.looks.held.map(|_| MemoryConsumer::new("window").register(context.memory_pool()));
        let input = self.input.execute(partition, context)?;
        let (watch, looks) = (Arc::clone(&self.watch), self.looks);
        Ok(Box::pin(Guarded {
            input,
            watch,
            looks,
            reserved,
            passed: 0,
            rows: 0,
            bytes: 0,
            longest: 0,
            cut: Vec::new(),
        }))
    }
}

struct Guarded {
    input: SendableRecordBatchStream,
    watch: Arc<Watch>,
    looks: Looks,
    reserved: Option<MemoryReservation>,
    passed: u32,
    /// Rows so far, their bytes, and those of the longest.
    rows: usize,
    bytes: usize,
    longest: usize,
    /// What is still to be passed on of a batch, the last rows first.
    cut: Vec<RecordBatch>,
}

/// The first rows of a batch of which so many expressions make no more than they may, but one at least; the rest is left.
fn first_of(mut batch: RecordBatch, evaluated: usize, rest: &mut Vec<RecordBatch>) -> RecordBatch {
    while batch.num_rows() > 1 && rows_bytes(&batch).saturating_mul(evaluated) > MADE_BYTES_MAX {
        let half = batch.num_rows() / 2;
        rest.push(batch.slice(half, batch.num_rows() - half));
        batch = batch.slice(0, half);
    }
    batch
}

impl Guarded {
    fn look_at(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.looks.repeated {
            check_rows(batch)?;
        }
        let (Some(held), Some(reserved)) = (self.looks.held, &self.reserved) else { return Ok(()) };
        self.rows = self.rows.saturating_add(batch.num_rows());
        self.bytes = self.bytes.saturating_add(batch.get_array_memory_size());
        self.longest = self.longest.max(longest_row(batch));
        let most = match held {
            Held::Rows => 0,
            Held::Longest => self.rows.saturating_mul(self.longest),
        };
        reserved.try_resize(self.bytes.max(most))
    }
}

impl Stream for Guarded {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Err(error) = self.watch.check() {
            return Poll::Ready(Some(Err(error)));
        }
        if self.passed >= BATCHES_AT_ONCE {
            self.passed = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let batch = match self.cut.pop() {
            Some(batch) => batch,
            None => match self.input.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(batch))) => batch,
                polled => return polled,
            },
        };
        self.passed += 1;
        let evaluated = self.looks.evaluated;
        let batch = if evaluated > 0 { first_of(batch, evaluated, &mut self.cut) } else { batch };
        Poll::Ready(Some(self.look_at(&batch).map(|()| batch)))
    }
}

impl RecordBatchStream for Guarded {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, LargeStringArray};

    use super::*;

    #[test]
    fn a_batch_is_cut_until_its_expressions_make_no_more_than_they_may() {
        let texts: ArrayRef = Arc::new(LargeStringArray::from(vec!["x".repeat(1 << 20); 16]));
        let batch = RecordBatch::try_from_iter([("s", texts)]).unwrap();
        let cut = |evaluated| {
            let (mut rest, mut rows) = (vec![batch.clone()], Vec::new());
            while let Some(batch) = rest.pop() {
                rows.push(first_of(batch, evaluated, &mut rest).num_rows());
            }
            rows
        };
        assert_eq!(cut(4), [16]);
        assert_eq!(cut(5), [8, 8]);
        assert_eq!(cut(1_000), [1; 16]);
    }
}
