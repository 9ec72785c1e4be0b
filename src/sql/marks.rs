//! Which columns of an answer are JSON. A topic's column of JSON text bears a mark, which operators hand on as they please,
//! also to texts that other texts were mixed into.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::JoinType;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::codec::columns::{TYPE_JSON, TYPE_KEY};

/// The key of a column's metadata that names the places in its lists where marks were.
const IN_LISTS_KEY: &str = "persisting:json-in-lists";

/// A topic's column whose lists bear no marks: DataFusion compares the metadata of items with the type, and its scalars of lists
/// have none. The column itself notes where they were.
pub(super) fn noted(field: Field) -> Field {
    let mut places = Vec::new();
    let bare = walked(&field, &mut Vec::new(), false, &mut |field, path, in_list| {
        if !in_list || !is_marked(field) {
            return None;
        }
        places.push(shown(path));
        let mut metadata = field.metadata().clone();
        metadata.remove(TYPE_KEY);
        Some(metadata)
    });
    if places.is_empty() {
        return field;
    }
    let mut metadata = bare.metadata().clone();
    metadata.insert(IN_LISTS_KEY.to_owned(), places.join(" "));
    bare.with_metadata(metadata)
}

/// The column as the topic has it, with its marks.
fn restored(field: &FieldRef) -> FieldRef {
    let Some(places) = field.metadata().get(IN_LISTS_KEY) else { return Arc::clone(field) };
    let marked = walked(field, &mut Vec::new(), false, &mut |field, path, _| {
        let is_one = places.split(' ').any(|place| place == shown(path));
        is_one.then(|| {
            let mut metadata = field.metadata().clone();
            metadata.insert(TYPE_KEY.to_owned(), TYPE_JSON.to_owned());
            metadata
        })
    });
    let mut metadata = marked.metadata().clone();
    metadata.remove(IN_LISTS_KEY);
    Arc::new(marked.with_metadata(metadata))
}

fn shown(path: &[usize]) -> String {
    path.iter().map(usize::to_string).collect::<Vec<_>>().join(".")
}

fn is_marked(field: &Field) -> bool {
    field.metadata().get(TYPE_KEY).is_some_and(|held| held == TYPE_JSON)
}

/// A field and all that is in it, with the metadata that `change` gives some of them.
fn walked(
    field: &Field,
    path: &mut Vec<usize>,
    in_list: bool,
    change: &mut impl FnMut(&Field, &[usize], bool) -> Option<HashMap<String, String>>,
) -> Field {
    let mut within = |at: usize, inner: &FieldRef, in_list: bool| {
        path.push(at);
        let inner = walked(inner, path, in_list, change);
        path.pop();
        Arc::new(inner)
    };
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(within(0, item, true)),
        DataType::Struct(members) => {
            DataType::Struct(members.iter().enumerate().map(|(at, member)| within(at, member, in_list)).collect())
        }
        other => other.clone(),
    };
    let field = field.clone().with_data_type(data_type);
    match change(&field, path, in_list) {
        Some(metadata) => field.with_metadata(metadata),
        None => field,
    }
}

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
        Some(true) => restored(field),
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
    if is_marked(field) {
        metadata.remove(TYPE_KEY);
    }
    metadata.remove(IN_LISTS_KEY);
    Arc::new(Field::clone(field).with_data_type(data_type).with_metadata(metadata))
}
