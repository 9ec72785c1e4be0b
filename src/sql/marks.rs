//! Which columns of an answer are JSON. A topic's column of JSON text bears a mark, which operators hand on as they please,
//! also to texts that other texts were mixed into.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::JoinType;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::codec::columns::{TYPE_JSON, TYPE_KEY};

/// For each column of a plan, whether it is one of a topic, as it stands there.
pub(super) fn kept(plan: &LogicalPlan) -> Vec<bool> {
    (0..plan.schema().fields().len()).map(|at| is_of_topic(plan, at)).collect()
}

fn is_of_topic(plan: &LogicalPlan, mut at: usize) -> bool {
    let mut plan = plan;
    loop {
        plan = match plan {
            LogicalPlan::TableScan(_) => return true,
            LogicalPlan::Filter(filter) => &filter.input,
            LogicalPlan::Sort(sort) => &sort.input,
            LogicalPlan::Limit(limit) => &limit.input,
            LogicalPlan::SubqueryAlias(named) => &named.input,
            LogicalPlan::Projection(projection) => {
                let Some(place) = projection.expr.get(at).and_then(|expr| place(expr, &projection.input)) else {
                    return false;
                };
                at = place;
                &projection.input
            }
            LogicalPlan::Join(join) => {
                let left = join.left.schema().fields().len();
                match join.join_type {
                    JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full if at < left => &join.left,
                    JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                        at -= left;
                        &join.right
                    }
                    JoinType::LeftSemi | JoinType::LeftAnti => &join.left,
                    JoinType::RightSemi | JoinType::RightAnti => &join.right,
                    _ => return false,
                }
            }
            _ => return false,
        };
    }
}

/// Where the column stands that an expression is; none where it is more than that.
fn place(expr: &Expr, input: &LogicalPlan) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => place(&alias.expr, input),
        Expr::Column(column) => input.schema().maybe_index_of_column(column),
        _ => None,
    }
}

/// The columns with marks where they are kept.
pub(super) fn only(schema: &Schema, kept: &[bool]) -> SchemaRef {
    let fields = schema.fields().iter().enumerate().map(|(at, field)| match kept.get(at) {
        Some(true) => Arc::clone(field),
        _ => unmarked(field),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

fn unmarked(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(unmarked(item)),
        DataType::LargeList(item) => DataType::LargeList(unmarked(item)),
        DataType::ListView(item) => DataType::ListView(unmarked(item)),
        DataType::LargeListView(item) => DataType::LargeListView(unmarked(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(unmarked(item), *length),
        DataType::Struct(members) => DataType::Struct(members.iter().map(unmarked).collect()),
        other => other.clone(),
    };
    let mut metadata = field.metadata().clone();
    if metadata.get(TYPE_KEY).is_some_and(|held| held == TYPE_JSON) {
        metadata.remove(TYPE_KEY);
    }
    Arc::new(Field::clone(field).with_data_type(data_type).with_metadata(metadata))
}
