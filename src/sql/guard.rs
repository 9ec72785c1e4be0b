//! What stands between the operators of a plan: it ends them when the query's time is over, lets others run in between, and
//! counts the rows that a window holds, which the window itself does not.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};

use crate::sql::watch::Watch;

/// How many batches pass before others are let run.
const BATCHES_AT_ONCE: u32 = 16;

/// The plan with guards round each operator that has several inputs, behind its inputs, and behind windows.
///
/// # Errors
/// What an operator answers to having its inputs replaced.
pub(super) fn guarded(plan: Arc<dyn ExecutionPlan>, watch: &Arc<Watch>) -> Result<Arc<dyn ExecutionPlan>> {
    let guard = |input: Arc<dyn ExecutionPlan>, holds: bool| -> Arc<dyn ExecutionPlan> {
        Arc::new(Guard { input, watch: Arc::clone(watch), holds })
    };
    let done = plan.transform_up(|plan| {
        let operator: &dyn Any = plan.as_ref();
        let is_window = operator.is::<WindowAggExec>() || operator.is::<BoundedWindowAggExec>();
        let inputs = plan.children();
        if inputs.len() < 2 && !is_window {
            return Ok(Transformed::no(plan));
        }
        let inputs = inputs.into_iter().map(|input| guard(Arc::clone(input), is_window)).collect();
        let plan = Arc::clone(&plan).with_new_children(inputs)?;
        Ok(Transformed::yes(guard(plan, false)))
    })?;
    Ok(guard(done.data, false))
}

/// Passes on what its input gives.
#[derive(Debug)]
struct Guard {
    input: Arc<dyn ExecutionPlan>,
    watch: Arc<Watch>,
    /// Whether the rows that have passed count as held until the end.
    holds: bool,
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
            Some(input) => Ok(Arc::new(Self { input, watch: Arc::clone(&self.watch), holds: self.holds })),
            None => Ok(self),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let held = self.holds.then(|| MemoryConsumer::new("window").register(context.memory_pool()));
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(Guarded { input, watch: Arc::clone(&self.watch), held, passed: 0 }))
    }
}

struct Guarded {
    input: SendableRecordBatchStream,
    watch: Arc<Watch>,
    held: Option<MemoryReservation>,
    passed: u32,
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
        let polled = self.input.poll_next_unpin(cx);
        if let Poll::Ready(Some(Ok(batch))) = &polled {
            self.passed += 1;
            let bytes = batch.get_array_memory_size();
            if let Some(Err(error)) = self.held.as_ref().map(|held| held.try_grow(bytes)) {
                return Poll::Ready(Some(Err(error)));
            }
        }
        polled
    }
}

impl RecordBatchStream for Guarded {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
