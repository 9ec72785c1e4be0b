//! A topic as a table: its cut, read in batches as they are asked for, with what the query needs of it and no more.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{Schema, SchemaRef, SortOptions};
use async_trait::async_trait;
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, DataFusionError, Result, ScalarValue, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SortOrderPushdownResult,
};
use futures::{Stream, StreamExt, TryStreamExt};

use crate::codec::ColumnSet;
use crate::codec::columns::{OFFSET_COLUMN, TIMESTAMP_COLUMN};
use crate::model::Offset;
use crate::sql::columns::{OFFSET_AT, TIMESTAMP_AT, as_table, table_schema};
use crate::sql::error::told;
use crate::sql::limits::BATCH_BYTES;
use crate::sql::made::Made;
use crate::sql::range::{self, Range};
use crate::sql::watch::Watch;
use crate::topic::{Cut, Step};

/// A topic as a table.
#[derive(Debug)]
pub(super) struct TopicTable {
    cut: Cut,
    schema: SchemaRef,
    watch: Arc<Watch>,
    batch_rows: usize,
}

impl TopicTable {
    /// The table of a cut, read in batches of so many rows.
    pub(super) fn new(cut: Cut, watch: Arc<Watch>, batch_rows: usize) -> Self {
        let schema = table_schema(cut.schema());
        Self { cut, schema, watch, batch_rows }
    }

    /// The offsets that the filters leave.
    async fn range(&self, filters: &[Expr]) -> Result<(Offset, Offset)> {
        let Range { offsets, times } = range::of(filters);
        let mark = self.cut.mark();
        let (mut from, mut until) = (mark.earliest, mark.tail);
        if let Some(least) = offsets.0 {
            from = from.max(Offset::new(least).unwrap_or(Offset::MAX));
        }
        if let Some(most) = offsets.1.and_then(Offset::new) {
            until = until.min(most.saturating_after(1));
        }
        if let Some(least) = times.0 {
            from = from.max(self.cut.seek_time(least).await.map_err(told)?);
        }
        if let Some(after) = times.1 {
            until = until.min(self.cut.seek_time(after).await.map_err(told)?);
        }
        Ok((from, until.max(from)))
    }
}

#[async_trait]
impl TableProvider for TopicTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let able = |filter: &&Expr| match filter.is_volatile() {
            true => TableProviderFilterPushDown::Unsupported,
            false => TableProviderFilterPushDown::Exact,
        };
        Ok(filters.iter().map(able).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (from, until) = self.range(filters).await?;
        let shown: Vec<usize> = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        // What filters look at is read as well, and left out after them.
        let mut read = shown.clone();
        let predicate = conjunction(filters.iter().cloned());
        for column in predicate.iter().flat_map(Expr::column_refs) {
            let at = self.schema.index_of(&column.name)?;
            if !read.contains(&at) {
                read.push(at);
            }
        }
        let read_schema = Arc::new(self.schema.project(&read)?);
        let predicate = match predicate {
            Some(predicate) => {
                let names = DFSchema::try_from(Arc::clone(&read_schema))?;
                let test = state.create_physical_expr(predicate, &names)?;
                let made = Made::by([&test], &read_schema);
                Some(Predicate { test, made })
            }
            None => None,
        };
        let is_wanted = |at: usize| read.contains(&(at + 2));
        let set = self.cut.columns(is_wanted);
        let place = |at: &usize| match *at {
            OFFSET_AT | TIMESTAMP_AT => *at,
            field => 2 + (0..field - 2).filter(|at| is_wanted(*at)).count(),
        };
        let scan = TopicScan {
            places: read.iter().map(place).collect(),
            properties: properties(self.schema.project(&shown)?, false),
            cut: self.cut.clone(),
            watch: Arc::clone(&self.watch),
            batch_rows: self.batch_rows,
            from,
            until,
            set,
            read_schema,
            shown: shown.len(),
            predicate,
            limit,
            backwards: false,
        };
        Ok(Arc::new(scan))
    }
}

/// Rows come in the order of their offsets, which is that of their times; or in the opposite one.
fn properties(shown: Schema, descending: bool) -> Arc<PlanProperties> {
    let ordered = [OFFSET_COLUMN, TIMESTAMP_COLUMN].into_iter().filter_map(|service| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(service, shown.index_of(service).ok()?));
        LexOrdering::new([PhysicalSortExpr::new(column, SortOptions { descending, nulls_first: false })])
    });
    let orderings: Vec<LexOrdering> = ordered.collect();
    let properties = PlanProperties::new(
        EquivalenceProperties::new_with_orderings(Arc::new(shown), orderings),
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        Boundedness::Bounded,
    );
    Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative))
}

/// What rows have to pass.
#[derive(Clone, Debug)]
struct Predicate {
    test: Arc<dyn PhysicalExpr>,
    made: Made,
}

impl Predicate {
    fn passing(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let kept = self.test.evaluate(batch)?.into_array(batch.num_rows())?;
        let kept: &BooleanArray = kept
            .as_boolean_opt()
            .ok_or_else(|| DataFusionError::Plan("what stands behind WHERE is true or false".to_owned()))?;
        Ok(filter_record_batch(batch, kept)?)
    }
}

/// Reads a range of a cut.
#[derive(Clone, Debug)]
struct TopicScan {
    cut: Cut,
    watch: Arc<Watch>,
    batch_rows: usize,
    from: Offset,
    until: Offset,
    set: ColumnSet,
    /// What is read: the columns that are shown, then those that only the filter looks at.
    read_schema: SchemaRef,
    /// Where each of them stands among the columns of `set`.
    places: Vec<usize>,
    shown: usize,
    predicate: Option<Predicate>,
    limit: Option<usize>,
    /// Whether the last rows come first.
    backwards: bool,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for TopicScan {
    fn fmt_as(&self, _form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicScan: offsets={}..{}", self.from, self.until)
    }
}

impl TopicScan {
    /// The rows of a batch that the filter leaves, in the columns that are shown.
    fn take(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut batch = as_table(batch, &self.read_schema, &self.places)?;
        if let Some(predicate) = &self.predicate {
            let (mut left, mut passing) = (vec![batch], Vec::new());
            while let Some(some) = left.pop() {
                let some = predicate.made.first_of(some, &mut left)?;
                passing.push(predicate.passing(&some)?);
                self.watch.check()?;
            }
            batch = concat_batches(&self.read_schema, &passing)?;
        }
        if self.shown < self.read_schema.fields().len() {
            batch = batch.project(&(0..self.shown).collect::<Vec<_>>())?;
        }
        Ok(batch)
    }
}

/// The first rows of what is left of each batch; nothing is asked for behind them.
fn limited(
    batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
    limit: usize,
    mut take: impl FnMut(RecordBatch) -> Result<RecordBatch> + Send + 'static,
) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
    async_stream::try_stream! {
        let mut batches = Box::pin(batches);
        let mut left = limit;
        while left > 0 && let Some(batch) = batches.next().await {
            let batch = take(batch?)?;
            let batch = batch.slice(0, batch.num_rows().min(left));
            left -= batch.num_rows();
            if batch.num_rows() > 0 {
                yield batch;
            }
        }
    }
}

impl ExecutionPlan for TopicScan {
    fn name(&self) -> &'static str {
        "TopicScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let step = Step { rows: self.batch_rows, bytes: BATCH_BYTES };
        let (from, until, set) = (self.from, self.until, self.set.clone());
        let batches = match self.backwards {
            false => self.cut.read(set, from, until, step),
            true => self.cut.read_back(set, from, until, step),
        };
        let batches = batches.map_err(told);
        let scan = self.clone();
        let take = move |batch: RecordBatch| {
            scan.watch.check()?;
            scan.take(&batch)
        };
        let rows = limited(batches, self.limit.unwrap_or(usize::MAX), take);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self { limit, ..self.clone() }))
    }

    /// The last records first are read from the end: `ORDER BY _offset DESC LIMIT 10` reads ten.
    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        let descends = |key: &PhysicalSortExpr, service: &str| {
            let operator: &dyn Any = key.expr.as_ref();
            key.options.descending && operator.downcast_ref::<Column>().is_some_and(|column| column.name() == service)
        };
        let can = match order {
            // No two records have the same offset: what else is asked for does not matter.
            [first, ..] if descends(first, OFFSET_COLUMN) => true,
            [only] => descends(only, TIMESTAMP_COLUMN),
            [first, second, ..] => descends(first, TIMESTAMP_COLUMN) && descends(second, OFFSET_COLUMN),
            [] => false,
        };
        if !can || self.limit.is_some() || self.backwards {
            return Ok(SortOrderPushdownResult::Unsupported);
        }
        let properties = properties(self.schema().as_ref().clone(), true);
        let inner = Arc::new(Self { backwards: true, properties, ..self.clone() });
        Ok(SortOrderPushdownResult::Exact { inner })
    }

    fn partition_statistics(&self, _partition: Option<usize>) -> Result<Arc<Statistics>> {
        let schema = self.schema();
        let mut statistics = Statistics::new_unknown(&schema);
        if self.predicate.is_some() || self.limit.is_some() {
            return Ok(Arc::new(statistics));
        }
        let rows = usize::try_from(self.until.since(self.from)).unwrap_or(usize::MAX);
        statistics.num_rows = Precision::Exact(rows);
        for (field, known) in schema.fields().iter().zip(&mut statistics.column_statistics) {
            if field.name() == OFFSET_COLUMN && rows > 0 {
                let exact = |offset: u64| Precision::Exact(ScalarValue::Int64(Some(offset.cast_signed())));
                *known = ColumnStatistics {
                    null_count: Precision::Exact(0),
                    min_value: exact(self.from.get()),
                    max_value: exact(self.until.get().saturating_sub(1)),
                    distinct_count: Precision::Exact(rows),
                    ..ColumnStatistics::new_unknown()
                };
            }
        }
        Ok(Arc::new(statistics))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int64Array};

    use super::*;

    #[tokio::test]
    async fn nothing_is_read_behind_the_last_row_that_is_wanted() {
        let batch = |numbers: Vec<i64>| {
            let numbers: ArrayRef = Arc::new(Int64Array::from(numbers));
            Ok(RecordBatch::try_from_iter([("n", numbers)]).unwrap())
        };
        let behind = DataFusionError::Execution("what is behind was read".to_owned());
        let batches = futures::stream::iter([batch(vec![]), batch(vec![1, 2]), batch(vec![3, 4]), Err(behind)]);
        let rows: Vec<RecordBatch> = limited(batches, 3, Ok).try_collect().await.unwrap();
        assert_eq!(rows.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [2, 1]);
    }
}
