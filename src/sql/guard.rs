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
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};

use crate::sql::limits::REPEATED_ROW_BYTES_MAX;
use crate::sql::made::{Made, joined_row_bytes_max};
use crate::sql::watch::Watch;
use crate::sql::width::{check_rows, longest_row};

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
        let inputs = plan.children().into_iter().map(|input| guard(Arc::clone(input), looks.clone())).collect();
        let plan = Arc::clone(&plan).with_new_children(inputs)?;
        Ok(Transformed::yes(guard(plan, Looks::default())))
    })?;
    Ok(guard(done.data, Looks::default()))
}

/// What a guard looks at besides the time.
#[derive(Clone, Debug, Default)]
struct Looks {
    /// The longest row, where rows are repeated above.
    row_bytes_max: Option<usize>,
    /// Whether the rows that have passed are held above until the end, and what of them.
    held: Option<Held>,
    /// What is evaluated above on all rows of a batch: batches are cut so that it makes so much at most.
    evaluated: Option<Made>,
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
    let evaluated = evaluated(plan);
    let repeated = Some(REPEATED_ROW_BYTES_MAX);
    if let Some(window) = operator.downcast_ref::<WindowAggExec>() {
        return Some(Looks { row_bytes_max: repeated, held: Some(held(plan, window.window_expr())), evaluated });
    }
    if let Some(window) = operator.downcast_ref::<BoundedWindowAggExec>() {
        let streams = window.window_expr().iter().all(|function| streams(function.as_ref()));
        let held = if streams { None } else { Some(held(plan, window.window_expr())) };
        return Some(Looks { row_bytes_max: repeated, held, evaluated });
    }
    if plan.children().len() < 2 {
        return evaluated.map(|made| Looks { evaluated: Some(made), ..Looks::default() });
    }
    if operator.is::<UnionExec>() {
        return Some(Looks::default());
    }
    let filter = match operator.downcast_ref::<HashJoinExec>() {
        Some(join) => join.filter(),
        None => operator.downcast_ref::<NestedLoopJoinExec>().and_then(NestedLoopJoinExec::filter),
    };
    Some(Looks { row_bytes_max: Some(joined_row_bytes_max(filter)), ..Looks::default() })
}

/// What an operator with one input evaluates on each batch; none where that makes nothing.
fn evaluated(plan: &dyn ExecutionPlan) -> Option<Made> {
    let inputs = plan.children();
    let [input] = inputs.as_slice() else { return None };
    let made = Made::by(&expressions(plan), &input.schema());
    (!made.is_nothing()).then_some(made)
}

fn expressions(operator: &dyn Any) -> Vec<Arc<dyn PhysicalExpr>> {
    if let Some(projection) = operator.downcast_ref::<ProjectionExec>() {
        return projection.expr().iter().map(|made| Arc::clone(&made.expr)).collect();
    }
    if let Some(filter) = operator.downcast_ref::<FilterExec>() {
        return vec![Arc::clone(filter.predicate())];
    }
    if let Some(sort) = operator.downcast_ref::<SortExec>() {
        return sort.expr().iter().map(|key| Arc::clone(&key.expr)).collect();
    }
    let windows = operator.downcast_ref::<WindowAggExec>().map(WindowAggExec::window_expr);
    let windows = windows.or_else(|| operator.downcast_ref::<BoundedWindowAggExec>().map(|exec| exec.window_expr()));
    if let Some(functions) = windows {
        let all = functions.iter().flat_map(|function| {
            let keys = function.order_by().iter().map(|key| Arc::clone(&key.expr));
            function.expressions().into_iter().chain(function.partition_by().iter().cloned()).chain(keys)
        });
        return all.collect();
    }
    let Some(aggregate) = operator.downcast_ref::<AggregateExec>() else { return Vec::new() };
    let grouped = aggregate.group_expr().input_exprs();
    let folded = aggregate.aggr_expr().iter().flat_map(|function| {
        let all = function.all_expressions();
        all.args.into_iter().chain(all.order_by_exprs)
    });
    let kept = aggregate.filter_expr().iter().flatten().cloned();
    grouped.into_iter().chain(folded).chain(kept).collect()
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
            Some(input) => Ok(Arc::new(Self { input, watch: Arc::clone(&self.watch), looks: self.looks.clone() })),
            None => Ok(self),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let reserved = self.looks.held.map(|_| MemoryConsumer::new("window").register(context.memory_pool()));
        let input = self.input.execute(partition, context)?;
        let (watch, looks) = (Arc::clone(&self.watch), self.looks.clone());
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

impl Guarded {
    fn look_at(&mut self, batch: &RecordBatch) -> Result<()> {
        if let Some(most) = self.looks.row_bytes_max {
            check_rows(batch, most)?;
        }
        let (Some(held), Some(reserved)) = (self.looks.held, &self.reserved) else { return Ok(()) };
        self.rows = self.rows.saturating_add(batch.num_rows());
        let made = self.looks.evaluated.as_ref().map_or(0, |made| made.of(batch));
        self.bytes = self.bytes.saturating_add(batch.get_array_memory_size()).saturating_add(made);
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
        let this = &mut *self;
        let some = match &this.looks.evaluated {
            Some(made) => made.first_of(batch, &mut this.cut),
            None => Ok(batch),
        };
        Poll::Ready(Some(some.and_then(|batch| this.look_at(&batch).map(|()| batch))))
    }
}

impl RecordBatchStream for Guarded {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
