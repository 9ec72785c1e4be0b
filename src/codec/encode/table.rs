//! Rows of a table that is no topic's, as the answer to a query: their types in the API's words, their values as records
//! print them, with `null` for what is null.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::cast::{CastOptions, can_cast_types, cast_with_options};
use arrow_cast::display::FormatOptions;
use arrow_schema::{DataType as ArrowType, Field as ArrowField, FieldRef, Schema as ArrowSchema};
use serde_json::Value;

use super::EncodeError;
use super::printer::{Nonfinite, Object};
use crate::codec::columns::{TYPE_JSON, TYPE_KEY, column_name, relabel, relabelled, timestamp_type};
use crate::schema::{DataType, Field, FloatType, IntType};

/// The columns of a table, and how they print.
#[derive(Debug)]
pub struct TableShape {
    fields: Vec<Field>,
    /// What each column is cast to.
    plain: Vec<ArrowField>,
    /// The same, under the names that the printer looks for.
    named: Vec<FieldRef>,
}

impl TableShape {
    /// The shape of rows with these columns.
    ///
    /// # Errors
    /// [`EncodeError::Type`] for a column of a type that has no form in JSON.
    pub fn of(schema: &ArrowSchema) -> Result<Self, EncodeError> {
        let (mut fields, mut plain) = (Vec::new(), Vec::new());
        for field in schema.fields() {
            let (data_type, arrow) = shape(field).ok_or_else(|| EncodeError::Type {
                column: field.name().clone(),
                data_type: field.data_type().to_string(),
            })?;
            fields.push(Field { name: field.name().clone(), data_type, nullable: true });
            plain.push(arrow);
        }
        let named = plain.iter().map(|field| {
            let field = relabelled(field, &|member| column_name(member, false));
            let name = column_name(field.name(), true);
            Arc::new(field.with_name(name))
        });
        let named = named.collect();
        Ok(Self { fields, plain, named })
    }

    /// Each column's name and type, with what the type has.
    pub fn to_json(&self) -> Vec<Value> {
        let columns = self.fields.iter().map(|field| {
            let mut json = field.to_json();
            without_nullable(&mut json);
            json
        });
        columns.collect()
    }

    /// Appends each row's text, of at most so many bytes; gives where each ends.
    ///
    /// # Errors
    /// [`EncodeError`] where the rows are not of this shape, or one of them is too long: no more of it is printed then.
    pub fn print(
        &self,
        batch: &RecordBatch,
        row_bytes_max: usize,
        out: &mut Vec<u8>,
        mut between: impl FnMut(&mut Vec<u8>, usize) -> bool,
    ) -> Result<(), EncodeError> {
        let mut columns = Vec::with_capacity(self.named.len());
        for ((column, plain), named) in batch.columns().iter().zip(&self.plain).zip(&self.named) {
            let column = cast_to(column, plain)?;
            columns.push(relabel(&column, named).map_err(|error| failed(plain, &error))?);
        }
        let rows = Object::new(&self.fields, &self.named, &columns, true, Nonfinite::Null)?;
        for row in 0..batch.num_rows() {
            let end = out.len().saturating_add(row_bytes_max);
            if !rows.print_whole(row, out, end) {
                return Err(EncodeError::LongRow { row, bytes_max: row_bytes_max });
            }
            if !between(out, row) {
                break;
            }
        }
        Ok(())
    }
}

fn failed(field: &ArrowField, error: &arrow_schema::ArrowError) -> EncodeError {
    EncodeError::Type { column: field.name().clone(), data_type: format!("{} ({error})", field.data_type()) }
}

fn cast_to(column: &ArrayRef, field: &ArrowField) -> Result<ArrayRef, EncodeError> {
    if column.data_type() == field.data_type() {
        return Ok(Arc::clone(column));
    }
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    cast_with_options(column, field.data_type(), &options).map_err(|error| failed(field, &error))
}

/// A column's type in the API's words, and the Arrow type that it is printed from.
fn shape(field: &ArrowField) -> Option<(DataType, ArrowField)> {
    let is_json = field.metadata().get(TYPE_KEY).is_some_and(|held| held == TYPE_JSON);
    let int = |int| (DataType::Int(int), field.data_type().clone());
    let text = || Some((DataType::String, ArrowType::LargeUtf8));
    let (data_type, arrow) = match field.data_type() {
        ArrowType::Boolean => (DataType::Bool, ArrowType::Boolean),
        ArrowType::Int8 => int(IntType::I8),
        ArrowType::Int16 => int(IntType::I16),
        ArrowType::Int32 => int(IntType::I32),
        ArrowType::Int64 => int(IntType::I64),
        ArrowType::UInt8 => int(IntType::U8),
        ArrowType::UInt16 => int(IntType::U16),
        ArrowType::UInt32 => int(IntType::U32),
        ArrowType::UInt64 => int(IntType::U64),
        ArrowType::Float16 => (DataType::Float(FloatType::F16), ArrowType::Float16),
        ArrowType::Float32 => (DataType::Float(FloatType::F32), ArrowType::Float32),
        ArrowType::Float64 => (DataType::Float(FloatType::F64), ArrowType::Float64),
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View if is_json => {
            (DataType::Json, ArrowType::LargeUtf8)
        }
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => (DataType::String, ArrowType::LargeUtf8),
        ArrowType::Binary | ArrowType::LargeBinary | ArrowType::BinaryView | ArrowType::FixedSizeBinary(_) => {
            (DataType::Binary, ArrowType::LargeBinary)
        }
        ArrowType::Date32 => (DataType::Date32, ArrowType::Date32),
        ArrowType::Date64 | ArrowType::Timestamp(..) => (DataType::Timestamp, timestamp_type()),
        // Nothing but nulls.
        ArrowType::Null => (DataType::Json, ArrowType::LargeUtf8),
        ArrowType::List(item)
        | ArrowType::LargeList(item)
        | ArrowType::ListView(item)
        | ArrowType::LargeListView(item) => {
            let (item, inner) = shape(item)?;
            (DataType::List(Box::new(item)), ArrowType::List(Arc::new(inner)))
        }
        ArrowType::FixedSizeList(item, length) => {
            let (item, inner) = shape(item)?;
            let dim = u32::try_from(*length).ok()?;
            match item {
                DataType::Float(item) => {
                    (DataType::Vector { dim, item }, ArrowType::FixedSizeList(Arc::new(inner), *length))
                }
                item => (DataType::List(Box::new(item)), ArrowType::List(Arc::new(inner))),
            }
        }
        ArrowType::Struct(members) => {
            let shapes = members.iter().map(|member| shape(member)).collect::<Option<Vec<_>>>()?;
            let (types, arrow): (Vec<_>, Vec<_>) = shapes.into_iter().unzip();
            let fields = members.iter().zip(types).map(|(member, data_type)| Field {
                name: member.name().clone(),
                data_type,
                nullable: true,
            });
            (DataType::Struct(fields.collect()), ArrowType::Struct(arrow.into()))
        }
        ArrowType::Dictionary(_, values) => {
            return shape(&field.clone().with_data_type(values.as_ref().clone()));
        }
        // What JSON has no type for: decimals with all of their digits, times of day, spans of time.
        other if can_cast_types(other, &ArrowType::LargeUtf8) => text()?,
        _ => return None,
    };
    let arrow = field.clone().with_data_type(arrow).with_nullable(true);
    Some((data_type, arrow))
}

/// Takes `nullable` out of a field's object, at every depth: the answer to a query does not promise it.
fn without_nullable(json: &mut Value) {
    match json {
        Value::Object(members) => {
            members.remove("nullable");
            members.values_mut().for_each(without_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nullable),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Decimal128Array, Int64Array, NullArray, StringViewArray};

    use super::*;

    fn printed(fields: Vec<ArrowField>, columns: Vec<ArrayRef>) -> (String, String) {
        let schema = Arc::new(ArrowSchema::new(fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        let shape = TableShape::of(&schema).unwrap();
        let mut out = Vec::new();
        let line = |out: &mut Vec<u8>, _| {
            out.push(b'\n');
            true
        };
        shape.print(&batch, usize::MAX, &mut out, line).unwrap();
        (Value::Array(shape.to_json()).to_string(), String::from_utf8(out).unwrap())
    }

    #[test]
    fn rows_have_all_columns_and_types_their_words() {
        let decimal = Decimal128Array::from(vec![Some(1250), None]).with_precision_and_scale(10, 2).unwrap();
        let (columns, rows) = printed(
            vec![
                ArrowField::new("_offset", ArrowType::Int64, false),
                ArrowField::new("a.b", ArrowType::Utf8View, true),
                ArrowField::new("d", ArrowType::Decimal128(10, 2), true),
                ArrowField::new("n", ArrowType::Null, true),
            ],
            vec![
                Arc::new(Int64Array::from(vec![1, 2])),
                Arc::new(StringViewArray::from(vec![Some("x\""), None])),
                Arc::new(decimal),
                Arc::new(NullArray::new(2)),
            ],
        );
        assert_eq!(
            columns,
            r#"[{"name":"_offset","type":"int64"},{"name":"a.b","type":"string"},{"name":"d","type":"string"},{"name":"n","type":"json"}]"#
        );
        assert_eq!(
            rows,
            "{\"_offset\":1,\"a.b\":\"x\\\"\",\"d\":\"12.50\",\"n\":null}\n{\"_offset\":2,\"a.b\":null,\"d\":null,\"n\":null}\n"
        );
    }
}
