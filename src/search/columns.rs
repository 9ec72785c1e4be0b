//! The columns that are searched: found by their paths in the schema, and in batches.

use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::{Array as _, ArrayRef, RecordBatch, StructArray};
use arrow_buffer::NullBuffer;

use crate::codec::columns::column_name;
use crate::model::Problem;
use crate::schema::{DataType, Field, FieldPath, FloatType, Schema};
use crate::search::bad;

/// A vector column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct VectorColumn {
    pub(super) path: FieldPath,
    pub(super) dim: usize,
    pub(super) item: FloatType,
}

/// The field at a path through structs.
fn field_at<'s>(fields: &'s [Field], path: &[String]) -> Option<&'s Field> {
    let (key, rest) = path.split_first()?;
    let field = fields.iter().find(|field| field.name == *key)?;
    match (&field.data_type, rest) {
        (_, []) => Some(field),
        (DataType::Struct(members), rest) => field_at(members, rest),
        _ => None,
    }
}

/// The paths of all fields of a kind, in structs too.
fn paths(fields: &[Field], above: &FieldPath, is_wanted: fn(&DataType) -> bool, found: &mut Vec<FieldPath>) {
    for field in fields {
        let path = above.child(&field.name);
        match &field.data_type {
            DataType::Struct(members) => paths(members, &path, is_wanted, found),
            data_type if is_wanted(data_type) => found.push(path),
            _ => {}
        }
    }
}

fn all(schema: &Schema, is_wanted: fn(&DataType) -> bool) -> Vec<FieldPath> {
    let mut found = Vec::new();
    paths(&schema.fields, &FieldPath::default(), is_wanted, &mut found);
    found
}

fn is_vector(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Vector { .. })
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::String => true,
        DataType::List(item) => **item == DataType::String,
        _ => false,
    }
}

fn refuse(schema: &Schema, path: &FieldPath, what: &str, is_wanted: fn(&DataType) -> bool) -> Problem {
    let detail = match field_at(&schema.fields, &path.0) {
        Some(field) => format!("The column {path} is {}, not {what}.", field.data_type.name()),
        None => format!("The topic has no column {path}."),
    };
    bad(detail).allowing(all(schema, is_wanted).iter().map(FieldPath::to_string))
}

/// The vector column at a path.
///
/// # Errors
/// `invalid_parameter` with the vector columns that there are.
pub(super) fn vector_column(schema: &Schema, path: &FieldPath) -> Result<VectorColumn, Problem> {
    match field_at(&schema.fields, &path.0).map(|field| &field.data_type) {
        Some(DataType::Vector { dim, item }) => {
            Ok(VectorColumn { path: path.clone(), dim: usize::try_from(*dim).unwrap_or(usize::MAX), item: *item })
        }
        _ => Err(refuse(schema, path, "a vector", is_vector)),
    }
}

/// The text columns at some paths, each once, or all of them.
///
/// # Errors
/// `invalid_parameter` with the text columns that there are.
pub(super) fn text_columns(schema: &Schema, asked: &[FieldPath]) -> Result<Vec<FieldPath>, Problem> {
    if asked.is_empty() {
        return Ok(all(schema, is_text));
    }
    for path in asked {
        if !field_at(&schema.fields, &path.0).is_some_and(|field| is_text(&field.data_type)) {
            return Err(refuse(schema, path, "text", is_text));
        }
    }
    let mut seen = HashSet::new();
    Ok(asked.iter().filter(|path| seen.insert(*path)).cloned().collect())
}

/// The column of a batch at a path: a row is null where it or a struct around it is.
pub(super) fn column_of(batch: &RecordBatch, path: &FieldPath) -> Option<ArrayRef> {
    let (key, rest) = path.0.split_first()?;
    let mut column = batch.column_by_name(&column_name(key, true))?.clone();
    let mut nulls: Option<NullBuffer> = None;
    for key in rest {
        let around: &StructArray = column.as_struct_opt()?;
        nulls = NullBuffer::union(nulls.as_ref(), around.nulls());
        let inner = around.column_by_name(&column_name(key, false))?.clone();
        column = inner;
    }
    if nulls.is_none() {
        return Some(column);
    }
    let nulls = NullBuffer::union(nulls.as_ref(), column.nulls());
    let masked = column.to_data().into_builder().nulls(nulls).build().ok()?;
    Some(arrow_array::make_array(masked))
}
