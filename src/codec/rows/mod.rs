//! Rows of Arrow to records in their one form: each column as the plain type of its values, then as its column of the schema,
//! exactly or not at all, then as text.

mod evolve;
mod faults;
mod fit;
mod incoming;
mod json;
mod numbers;
mod plain;

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod cast_tests;
#[cfg(test)]
mod tests;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field as ArrowField, FieldRef, SchemaRef};
use bytes::Bytes;

use self::faults::Faults;
use self::fit::{Fitted, Fitting};
use self::incoming::{Member, members};
use self::plain::{Budget, plain};
pub(super) use super::columns::marked;
use super::encode::{Nonfinite, Object};
use super::{DecodeError, DecodeLimits, Decoded, Evolution, PreparedSchema, Records, Room, Target, Values};
use crate::model::{Problem, SchemaMode};
use crate::schema::{
    COLUMNS_MAX, DataType, EXACT_INTEGER_MAX, Field, FieldPath, Schema, VECTOR_ITEMS_MAX, WideColumns, diff,
};

/// Consecutive rows of one stream.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The columns of all batches.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// The most bytes of text that they may become.
    pub text_bytes_max: u64,
    /// How much of what they become is held already: no room is taken for that.
    pub held_bytes: u64,
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.batches.iter().all(|batch| batch.num_rows() == 0)
    }
}

/// Decodes rows, all or none.
///
/// # Errors
/// [`DecodeError`].
pub(super) fn decode_rows(
    rows: &Rows,
    target: Target<'_>,
    limits: &DecodeLimits,
    room: &Room,
) -> Result<Decoded, DecodeError> {
    let Target::Columns { schema, mode, wide } = target else {
        return Err(DecodeError::InvalidArrow { reason: "the topic has no columns for it".to_owned() });
    };
    if rows.len() as u64 > limits.records_max {
        return Err(DecodeError::TooManyRecords { limit: limits.records_max });
    }
    let members = members(rows.schema.fields())?;
    if rows.is_empty() {
        return Err(DecodeError::EmptyBatch);
    }
    let mut budget = Budget::new(rows.text_bytes_max, room.clone(), rows.held_bytes);
    let (batches, faults) = unpacked(rows, &mut budget)?;
    refuse(faults)?;
    let wanted = wanted_schema(&members, &batches, schema.map(PreparedSchema::schema), mode, wide);
    if wanted.leaf_count() > COLUMNS_MAX {
        return Err(DecodeError::TooManyColumns);
    }
    if wanted.vector_items() > VECTOR_ITEMS_MAX {
        let reason = format!("the vectors of a row would have more than {VECTOR_ITEMS_MAX} items together");
        return Err(DecodeError::InvalidArrow { reason });
    }
    let mut fitting = Fitting { mode, budget: &mut budget, record_bytes_max: limits.record_bytes_max };
    let (mut fitted, mut errors, mut before) = (Vec::with_capacity(batches.len()), Vec::new(), 0);
    for batch in &batches {
        let mut faults = Faults::default();
        let all = (batch.rows, None);
        let members = fitting.members(&wanted.fields, &members, &batch.columns, all, true, &mut faults);
        fitted.push((batch.rows, members.map_err(|error| error.behind(0, before))?));
        errors.extend(faults.into_errors(before));
        before += batch.rows as u64;
        if errors.len() >= Problem::ERRORS_MAX {
            break;
        }
    }
    errors.truncate(Problem::ERRORS_MAX);
    if !errors.is_empty() {
        return Err(DecodeError::InvalidRecords { errors, line: 0 });
    }
    let mut newly_wide = WideColumns::default();
    for (_, fitted) in &fitted {
        note_wide(&wanted.fields, fitted, &FieldPath::default(), wide, &mut newly_wide);
    }
    let values = printed(&wanted, &fitted, limits, rows.text_bytes_max, &mut budget)?;
    let records = Records { values, wide: newly_wide };
    let none = Schema::default();
    let known = schema.map_or(&none, PreparedSchema::schema);
    let changes = diff(known, &wanted);
    Ok(if changes.is_empty() {
        Decoded::Fits(records)
    } else {
        Decoded::Evolves(Box::new(Evolution { schema: wanted, changes, records }))
    })
}

/// A batch in plain arrays.
struct Plain {
    rows: usize,
    columns: Vec<ArrayRef>,
}

fn unpacked(rows: &Rows, budget: &mut Budget) -> Result<(Vec<Plain>, Vec<crate::model::RecordError>), DecodeError> {
    let (mut batches, mut errors, mut before) = (Vec::with_capacity(rows.batches.len()), Vec::new(), 0);
    for batch in &rows.batches {
        let mut faults = Faults::default();
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let mut inner = Faults::default();
            let own = field.name() == super::columns::OFFSET_COLUMN || field.name() == super::columns::TIMESTAMP_COLUMN;
            columns.push(if own { column.clone() } else { plain(column, None, budget, &mut inner)? });
            faults.absorb_member(inner, &crate::schema::names::key_of(field.name()));
        }
        errors.extend(faults.into_errors(before));
        before += batch.num_rows() as u64;
        batches.push(Plain { rows: batch.num_rows(), columns });
    }
    errors.truncate(Problem::ERRORS_MAX);
    Ok((batches, errors))
}

fn refuse(errors: Vec<crate::model::RecordError>) -> Result<(), DecodeError> {
    if errors.is_empty() { Ok(()) } else { Err(DecodeError::InvalidRecords { errors, line: 0 }) }
}

fn wanted_schema(
    members: &[Member],
    batches: &[Plain],
    known: Option<&Schema>,
    mode: SchemaMode,
    wide: &WideColumns,
) -> Schema {
    match (known, mode) {
        (None, _) => evolve::declared(members),
        (Some(known), SchemaMode::Strict) => known.clone(),
        (Some(known), SchemaMode::Evolve) => {
            batches.iter().fold(known.clone(), |schema, batch| evolve::evolved(&schema, members, &batch.columns, wide))
        }
    }
}

/// Prints rows as text that is stored.
fn printed(
    schema: &Schema,
    fitted: &[(usize, Fitted)],
    limits: &DecodeLimits,
    bytes_max: u64,
    budget: &mut Budget,
) -> Result<Values, DecodeError> {
    let bytes_max = bytes_max.min(u64::from(u32::MAX));
    let (mut text, mut ends): (Vec<u8>, Vec<u32>) = (Vec::new(), Vec::new());
    let mut record: u64 = 0;
    for (rows, fitted) in fitted {
        let fields: Vec<FieldRef> = fitted.fields.iter().cloned().map(std::sync::Arc::new).collect();
        let object = Object::new(&schema.fields, &fields, &fitted.columns, true, Nonfinite::Stored)
            .map_err(|error| DecodeError::InvalidArrow { reason: error.to_string() })?;
        ends.reserve(*rows);
        for row in 0..*rows {
            let begin = text.len();
            if !object.print_bounded(row, &mut text, limits.record_bytes_max) {
                return Err(DecodeError::RecordTooLarge { limit: limits.record_bytes_max, record, line: 0 });
            }
            text.push(b'\n');
            budget.hold((text.len() - begin) as u64)?;
            let end = u32::try_from(text.len()).ok().filter(|end| u64::from(*end) <= bytes_max);
            ends.push(end.ok_or(DecodeError::BatchTooLarge { limit: bytes_max })?);
            record += 1;
        }
    }
    if text.capacity() - text.len() > text.len() / 8 {
        text.shrink_to_fit();
    }
    Ok(Values::with_nonfinite(Bytes::from(text), ends))
}

/// Notes the integer columns that hold a value past ±2^53 and have held none before.
fn note_wide(fields: &[Field], fitted: &Fitted, path: &FieldPath, known: &WideColumns, found: &mut WideColumns) {
    for field in fields {
        let named = |column: &&ArrowField| crate::schema::names::key_of(column.name()) == field.name;
        let column = fitted.fields.iter().zip(&fitted.columns).find(|(column, _)| named(column));
        if let Some((_, array)) = column {
            note_wide_in(&field.data_type, array, &path.child(&field.name), known, found);
        }
    }
}

fn note_wide_in(
    data_type: &DataType,
    array: &ArrayRef,
    path: &FieldPath,
    known: &WideColumns,
    found: &mut WideColumns,
) {
    match data_type {
        DataType::Int(int) if !evolve::is_never_wide(*int) && !known.contains(path) => {
            let past = |value: i128| value.abs() > EXACT_INTEGER_MAX;
            let signed = array.as_primitive_opt::<Int64Type>();
            let unsigned = array.as_primitive_opt::<UInt64Type>();
            let is_wide = signed.is_some_and(|array| array.iter().flatten().any(|value| past(value.into())))
                || unsigned.is_some_and(|array| array.iter().flatten().any(|value| past(value.into())));
            if is_wide {
                found.insert(path);
            }
        }
        DataType::List(item) => {
            if let Some(lists) = array.as_list_opt::<i32>() {
                note_wide_in(item, lists.values(), path, known, found);
            }
        }
        DataType::Struct(fields) => {
            if let Some(structs) = array.as_struct_opt() {
                let members = structs.fields().iter().map(|field| field.as_ref().clone()).collect();
                let fitted = Fitted { fields: members, columns: structs.columns().to_vec() };
                note_wide(fields, &fitted, path, known, found);
            }
        }
        _ => {}
    }
}
