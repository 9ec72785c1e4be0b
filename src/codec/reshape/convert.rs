//! One column to another type.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt64Array, new_empty_array};
use arrow_cast::cast;
use arrow_schema::{DataType as ArrowType, Field as ArrowField, FieldRef, Schema as ArrowSchema};

use super::{ReshapeError, alone, recast};
use crate::codec::columns::{
    OFFSET_COLUMN, TIMESTAMP_COLUMN, UTC, arrow_schema, column_name, timestamp_type, to_batch,
};
use crate::codec::encode::to_chunk;
use crate::codec::{Chunk, DecodeError, DecodeLimits, Decoded, Form, PreparedSchema, Target, decode};
use crate::model::{Offset, SchemaMode, Timestamp};
use crate::schema::{DataType, Field, FieldPath, Move, WideColumns};

/// What is stored was within the limits of its time.
const UNBOUNDED: DecodeLimits = DecodeLimits { record_bytes_max: u64::MAX, records_max: u64::MAX, errors_max: 1 };

/// A column and its field under another type.
pub(super) fn retype(
    field: &FieldRef,
    array: &ArrayRef,
    from: &DataType,
    to: &Field,
    path: &FieldPath,
    top_level: bool,
) -> Result<(FieldRef, ArrayRef), ReshapeError> {
    let asks = Move::Retype { path: path.clone(), from: from.clone(), to: to.clone() }.can_be_refused();
    if !asks && *from == to.data_type {
        // Null becomes a value of it, which there is none of yet.
        return Ok((Arc::new(field.as_ref().clone().with_nullable(true)), Arc::clone(array)));
    }
    let wanted = wanted(to, top_level)?;
    // Nobody posts this, but whoever reads on as before a conversion takes it back.
    let asks = asks || (item_of(&to.data_type) == &DataType::Json && item_of(from) != &DataType::Json);
    let array = if asks { reread(array, field, from, to, path)? } else { recast(array, &wanted)? };
    Ok((Arc::new(wanted), array))
}

/// What is in a list, or in the lists in it; anything else itself.
fn item_of(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::List(item) => item_of(item),
        other => other,
    }
}

/// The Arrow field of a field, nullable: rows may be there that have nothing it could be in.
fn wanted(to: &Field, top_level: bool) -> Result<ArrowField, ReshapeError> {
    let schema = arrow_schema(&alone(to));
    let field = schema.fields().last().ok_or_else(|| ReshapeError::Shape("a field without a column".to_owned()))?;
    Ok(field.as_ref().clone().with_name(column_name(&to.name, top_level)))
}

/// Prints the values and decodes the text under the new type.
fn reread(
    array: &ArrayRef,
    field: &FieldRef,
    from: &DataType,
    to: &Field,
    path: &FieldPath,
) -> Result<ArrayRef, ReshapeError> {
    let shape = |error: String| ReshapeError::Shape(error);
    let schema = alone(to);
    let column = wanted(to, true)?;
    let is_vector = matches!(to.data_type, DataType::Vector { .. });
    if array.is_empty() {
        return Ok(new_empty_array(column.data_type()));
    }
    let old = alone(&Field { name: to.name.clone(), data_type: from.clone(), nullable: true });
    let batch = numbered(array, &field.as_ref().clone().with_name(column.name()).with_nullable(true))?;
    let printed = to_chunk(&old, &batch, Offset::ZERO).map_err(|error| shape(error.to_string()))?;
    let wide = WideColumns::default();
    let prepared = PreparedSchema::new(Arc::new(schema.clone()));
    let target = Target::Columns { schema: Some(&prepared), mode: SchemaMode::Strict, wide: &wide };
    let records = match decode(&printed.values().text(), Form::Ndjson, target, &UNBOUNDED) {
        Ok(Decoded::Fits(records)) => records,
        Ok(Decoded::Evolves(_)) => return Err(shape("a strict schema has evolved".to_owned())),
        Err(DecodeError::InvalidRecords { errors, .. }) => {
            let Some(error) = errors.into_iter().next() else { return Err(shape("refused for nothing".to_owned())) };
            let row = usize::try_from(error.record).unwrap_or(usize::MAX);
            let detail = if is_vector && has_nonfinite(array, row) {
                format!("Column `{path}` has NaN or an infinity in a list: a vector has finite numbers only.")
            } else {
                error.detail
            };
            return Err(ReshapeError::Misfit { path: path.clone(), detail });
        }
        Err(error) => return Err(ReshapeError::Misfit { path: path.clone(), detail: error.to_string() }),
    };
    let chunk = Chunk::new(Offset::ZERO, Timestamp::default(), records.values);
    if chunk.len() != array.len() {
        return Err(shape(format!("{} values were read of {}", chunk.len(), array.len())));
    }
    let batch = to_batch(&schema, &[chunk]).map_err(|error| shape(error.to_string()))?;
    batch.columns().last().cloned().ok_or_else(|| shape("a batch without columns".to_owned()))
}

/// Whether a list has a number that JSON lacks: in its text there is only a null.
fn has_nonfinite(array: &ArrayRef, row: usize) -> bool {
    let Some(lists) = array.as_list_opt::<i32>().filter(|lists| row < lists.len() && lists.is_valid(row)) else {
        return false;
    };
    let items = cast(&lists.value(row), &ArrowType::Float64).ok();
    let items = items.as_ref().and_then(|items| items.as_primitive_opt::<Float64Type>());
    items.is_some_and(|items| items.iter().flatten().any(|item| !item.is_finite()))
}

/// A column as rows that can be printed: with offsets from 0.
fn numbered(array: &ArrayRef, field: &ArrowField) -> Result<RecordBatch, ReshapeError> {
    let rows = array.len();
    let offsets = UInt64Array::from_iter_values(0..rows as u64);
    let times = TimestampMicrosecondArray::from(vec![0; rows]).with_timezone(UTC);
    let schema = ArrowSchema::new(vec![
        ArrowField::new(OFFSET_COLUMN, ArrowType::UInt64, false),
        ArrowField::new(TIMESTAMP_COLUMN, timestamp_type(), false),
        field.clone(),
    ]);
    let columns: Vec<ArrayRef> = vec![Arc::new(offsets), Arc::new(times), Arc::clone(array)];
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}
