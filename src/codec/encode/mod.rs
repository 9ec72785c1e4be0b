//! Columns to records in their one form: the only writer of record text besides the decoder, which uses the same scalars.

pub mod calendar;
pub mod scalar;

mod printer;
mod table;

use arrow_array::types::{TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, PrimitiveArray, RecordBatch};
use bytes::Bytes;

pub(super) use self::printer::{Nonfinite, Object};
pub use self::table::TableShape;
use super::columns::{OFFSET_COLUMN, TIMESTAMP_COLUMN};
use super::{Chunk, Values};
use crate::model::{Offset, Timestamp};
use crate::schema::Schema;

/// Why rows could not be printed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A column that every row has is missing, of another type or null.
    #[error("the rows lack the column {0}")]
    Service(&'static str),
    /// The rows are not those of the offsets that were asked for.
    #[error("row {row} has the offset {found} where {expected} belongs")]
    Offset {
        /// The row's place in the batch.
        row: usize,
        /// What its place means.
        expected: u64,
        /// What it says.
        found: u64,
    },
    /// A column of a type that the service does not write.
    #[error("column {column:?} has the type {data_type}, which records do not have")]
    Type {
        /// The column's name.
        column: String,
        /// Its Arrow type.
        data_type: String,
    },
    /// A row that prints in more than it may.
    #[error("row {row} has more than {bytes_max} bytes")]
    LongRow {
        /// The row's place in the batch.
        row: usize,
        /// What it may have.
        bytes_max: usize,
    },
    /// More text than a chunk can hold.
    #[error("the text of {rows} rows is over 4 GiB")]
    TooLarge {
        /// How many rows there are.
        rows: usize,
    },
}

/// Prints the rows of a batch, whose first must be the record at `first`. Members come in the order of `schema`; each
/// value prints by the width of its own column, which may be older (narrower, or missing) than `schema` says. Columns
/// that `schema` lacks are not printed.
///
/// # Errors
/// [`EncodeError`] where the rows are not those of `first` and after, or hold what records cannot.
pub fn to_chunk(schema: &Schema, batch: &RecordBatch, first: Offset) -> Result<Chunk, EncodeError> {
    written(schema, batch, first, Nonfinite::Null)
}

/// The same of rows whose offsets ascend but need not follow one another: a chunk for each run of them that does.
///
/// # Errors
/// As [`to_chunk`].
pub fn to_chunks(schema: &Schema, batch: &RecordBatch) -> Result<Vec<Chunk>, EncodeError> {
    let offsets = offsets_of(batch)?;
    let mut chunks = Vec::new();
    let mut from = 0;
    for run in offsets.chunk_by(|one, next| one.checked_add(1) == Some(*next)) {
        let first = run.first().copied().and_then(Offset::new).ok_or(EncodeError::Service(OFFSET_COLUMN))?;
        chunks.push(to_chunk(schema, &batch.slice(from, run.len()), first)?);
        from += run.len();
    }
    Ok(chunks)
}

/// The same as text that is stored, from which the same columns come again.
///
/// # Errors
/// As [`to_chunk`].
pub fn to_stored(schema: &Schema, batch: &RecordBatch, first: Offset) -> Result<Chunk, EncodeError> {
    written(schema, batch, first, Nonfinite::Stored)
}

fn written(schema: &Schema, batch: &RecordBatch, first: Offset, words: Nonfinite) -> Result<Chunk, EncodeError> {
    check_offsets(batch, first)?;
    let times = times_of(batch)?;
    let arrow = batch.schema();
    let object = Object::new(&schema.fields, arrow.fields(), batch.columns(), true, words)?;
    let rows = batch.num_rows();
    let mut text = Vec::with_capacity(rows.saturating_mul(64));
    let mut ends = Vec::with_capacity(rows);
    for row in 0..rows {
        object.print(row, &mut text);
        text.push(b'\n');
        ends.push(u32::try_from(text.len()).map_err(|_| EncodeError::TooLarge { rows })?);
    }
    let text = Bytes::from(text);
    let values = match words {
        Nonfinite::Null => Values::new(text, ends),
        Nonfinite::Stored => Values::with_nonfinite(text, ends),
    };
    Ok(match times.split_first() {
        Some((one, rest)) if rest.iter().all(|time| time == one) => {
            Chunk::new(first, Timestamp::from_micros(*one), values)
        }
        _ => Chunk::with_times(first, times.iter().map(|micros| Timestamp::from_micros(*micros)).collect(), values),
    })
}

/// Checks that the rows are the records from `first` on, each by its own column.
///
/// # Errors
/// [`EncodeError::Offset`], [`EncodeError::Service`].
pub fn check_offsets(batch: &RecordBatch, first: Offset) -> Result<(), EncodeError> {
    for (row, found) in offsets_of(batch)?.iter().enumerate() {
        let expected = first.get().saturating_add(row as u64);
        if *found != expected {
            return Err(EncodeError::Offset { row, expected, found: *found });
        }
    }
    Ok(())
}

/// The offsets of rows.
///
/// # Errors
/// [`EncodeError::Service`].
pub fn offsets_of(batch: &RecordBatch) -> Result<&[u64], EncodeError> {
    let column = batch.column_by_name(OFFSET_COLUMN);
    let column = column.and_then(|column| column.as_any().downcast_ref::<PrimitiveArray<UInt64Type>>());
    let offsets = column.filter(|column| column.null_count() == 0).ok_or(EncodeError::Service(OFFSET_COLUMN))?;
    Ok(offsets.values())
}

fn times_of(batch: &RecordBatch) -> Result<&[i64], EncodeError> {
    let column = batch.column_by_name(TIMESTAMP_COLUMN);
    let column = column.and_then(|column| column.as_any().downcast_ref::<PrimitiveArray<TimestampMicrosecondType>>());
    let times = column.filter(|column| column.null_count() == 0).ok_or(EncodeError::Service(TIMESTAMP_COLUMN))?;
    Ok(times.values())
}

#[cfg(test)]
mod tests;
