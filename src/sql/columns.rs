//! A topic's columns as a query sees them: named by their keys, with `_offset` as a signed integer, so that it can be
//! reckoned with.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema as ArrowSchema, SchemaRef};

use crate::codec::columns::{OFFSET_COLUMN, TIMESTAMP_COLUMN, arrow_schema, relabel, relabelled};
use crate::schema::Schema;
use crate::schema::names::{column_name, key_of};
use crate::sql::marks::noted;

/// Where `_offset` stands among the columns of a table.
pub(super) const OFFSET_AT: usize = 0;
/// Where `_timestamp` does.
pub(super) const TIMESTAMP_AT: usize = 1;

/// The columns of a topic, as queries name them: `_offset`, `_timestamp`, then one for each field of its schema.
pub(super) fn table_schema(schema: &Schema) -> SchemaRef {
    let stored = arrow_schema(schema);
    let mut taken: HashSet<String> = [OFFSET_COLUMN.to_owned(), TIMESTAMP_COLUMN.to_owned()].into();
    // Keys that cannot be had under themselves first: their columns' names are theirs then, whatever else is called so.
    let by_column = |key: &str| key == OFFSET_COLUMN || key == TIMESTAMP_COLUMN;
    for field in schema.fields.iter().filter(|field| by_column(&field.name)) {
        taken.insert(column_name(&field.name).into_owned());
    }
    let fields = stored.fields().iter().enumerate().map(|(at, stored)| {
        let key = at.checked_sub(2).and_then(|at| schema.fields.get(at)).map(|field| field.name.as_str());
        match key {
            None if at == OFFSET_AT => Field::new(OFFSET_COLUMN, DataType::Int64, false),
            None => stored.as_ref().clone(),
            Some(key) => {
                let own = column_name(key).into_owned();
                let name = if !by_column(key) && taken.insert(key.to_owned()) { key.to_owned() } else { own };
                noted(relabelled(stored, &|member| key_of(member).into_owned()).with_name(name))
            }
        }
    });
    Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()))
}

/// Rows as they were read, in columns that a query asks for: some of those of [`table_schema`].
pub(super) fn as_table(batch: &RecordBatch, wanted: &SchemaRef, stored: &[usize]) -> Result<RecordBatch, ArrowError> {
    let mut columns = Vec::with_capacity(stored.len());
    for (at, field) in stored.iter().zip(wanted.fields()) {
        let column = batch.columns().get(*at).ok_or_else(|| missing(field))?;
        columns.push(if *at == OFFSET_AT { signed(column) } else { relabel(column, field)? });
    }
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(wanted), columns, &options)
}

fn missing(field: &Field) -> ArrowError {
    ArrowError::SchemaError(format!("the column {} was not read", field.name()))
}

/// Offsets fit into both: they end below 2^53.
fn signed(offsets: &ArrayRef) -> ArrayRef {
    let offsets = offsets.as_primitive::<UInt64Type>();
    let signed: PrimitiveArray<Int64Type> = offsets.unary(u64::cast_signed);
    Arc::new(signed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(fields: serde_json::Value) -> Schema {
        Schema::from_json(&json!({ "fields": fields })).unwrap()
    }

    fn names(schema: &Schema) -> Vec<String> {
        table_schema(schema).fields().iter().map(|field| field.name().clone()).collect()
    }

    #[test]
    fn columns_are_named_by_their_keys_but_where_the_service_has_the_name() {
        let odd = schema(json!([
            {"name": "a.b", "type": "int64"}, {"name": "_offset", "type": "string"}, {"name": "%5Foffset", "type": "bool"},
            {"name": "_rowid", "type": "string"}, {"name": "Ü", "type": "string"}
        ]));
        assert_eq!(names(&odd), ["_offset", "_timestamp", "a.b", "%5Foffset", "%255Foffset", "_rowid", "Ü"]);
    }

    #[test]
    fn members_are_named_by_their_keys_and_keep_their_values() {
        let nested = schema(json!([{"name": "s", "type": "list", "items": {"type": "struct", "fields": [
            {"name": "a.b", "type": "int64"}]}}]));
        let stored = arrow_schema(&nested);
        let batch = RecordBatch::new_empty(Arc::new(stored));
        let table = table_schema(&nested);
        let shown = as_table(&batch, &table, &[0, 1, 2]).unwrap();
        assert_eq!(shown.schema(), table);
        let DataType::List(item) = table.field(2).data_type() else { panic!("a list") };
        let DataType::Struct(members) = item.data_type() else { panic!("structs") };
        assert_eq!(members[0].name(), "a.b");
    }
}
