//! Arrow values in columns of JSON: text is JSON text, anything else is printed.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{ArrowError, DataType as ArrowType, Field as ArrowField};

use super::faults::{Faults, misfit};
use super::fit::texts_builder;
use super::incoming::Incoming;
use super::plain::Budget;
use crate::codec::DecodeError;
use crate::codec::copy::Copier;
use crate::codec::encode::{Nonfinite, Object};
use crate::codec::fault::{Stop, excerpt};
use crate::codec::nonfinite;
use crate::codec::read::Reader;
use crate::schema::{DataType, Field};

/// The bytes of `{"":` and `}`.
const AROUND: u64 = 5;

/// The depth of a top-level column's value: the record is around it.
const DEPTH: usize = 1;

/// Texts that are JSON, less white space between tokens.
pub(super) fn texts(array: &ArrayRef, faults: &mut Faults) -> Result<ArrayRef, DecodeError> {
    let strings = array.as_string::<i64>();
    let mut builder = texts_builder(strings.len());
    for row in 0..strings.len() {
        if strings.is_null(row) {
            builder.append_null();
            continue;
        }
        match copied(strings.value(row)) {
            // A JSON null is no value, as anywhere else.
            Ok(text) if text == b"null" => builder.append_null(),
            Ok(text) => builder.append_value(std::str::from_utf8(&text).unwrap_or_default()),
            Err(stop) => {
                faults.add(row, || match stop {
                    Stop::Fault(_) => stop,
                    Stop::Malformed(_) | Stop::Evolve => misfit(
                        &DataType::Json,
                        &format!("the text {:?}, which is not JSON", excerpt(strings.value(row))),
                        "send JSON text: a string stands in double quotes",
                    ),
                });
                builder.append_null();
            }
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn copied(text: &str) -> Result<Vec<u8>, Stop> {
    let mut reader = Reader::new(text, 0, text.len());
    let mut copier = Copier::default();
    let peek = reader.peek()?;
    copier.value(&mut reader, peek, DEPTH)?;
    reader.finish()?;
    Ok(copier.out)
}

/// Values as the columns that they would have for themselves print them, each at most as large as a record may be. The record
/// that an error names is the row.
pub(super) fn printed(
    incoming: &Incoming,
    array: &ArrayRef,
    bytes_max: u64,
    budget: &mut Budget,
    faults: &mut Faults,
) -> Result<ArrayRef, DecodeError> {
    budget.charge(8 * array.len() as u64)?;
    let mut builder = texts_builder(array.len());
    let data_type = incoming.data_type(DEPTH).unwrap_or(DataType::Json);
    let field = Field { name: String::new(), data_type, nullable: true };
    let arrow = Arc::new(ArrowField::new("%", array.data_type().clone(), true));
    let columns = [Arc::clone(array)];
    let object = match &field.data_type {
        // Of what is always empty nothing but that is known.
        DataType::Json => None,
        _ => Some(
            Object::new(std::slice::from_ref(&field), &[arrow], &columns, true, Nonfinite::Stored)
                .map_err(|error| DecodeError::InvalidArrow { reason: error.to_string() })?,
        ),
    };
    let mut text = Vec::new();
    for row in 0..array.len() {
        text.clear();
        let fits = match &object {
            _ if array.is_null(row) => true,
            Some(object) => object.print_bounded(row, &mut text, bytes_max.saturating_add(AROUND)),
            None => empty(array, row, bytes_max, &mut text)?,
        };
        if !fits {
            return Err(DecodeError::RecordTooLarge { limit: bytes_max, record: row as u64, line: 0 });
        }
        // Around the value stands `{"":` and `}`.
        let value = match (&object, text.len().checked_sub(1)) {
            (Some(_), Some(end)) => text.get(4..end).unwrap_or_default(),
            _ => &text,
        };
        if value.is_empty() {
            builder.append_null();
            continue;
        }
        budget.charge(value.len() as u64)?;
        let mut plain = Vec::new();
        nonfinite::print(value, &mut plain);
        if plain != value {
            faults.add(row, || misfit(&DataType::Json, "NaN or an infinity", "JSON has no such numbers; send null"));
        }
        builder.append_value(std::str::from_utf8(&plain).unwrap_or_default());
    }
    Ok(Arc::new(builder.finish()))
}

/// Lists of nothing but nulls, and structs of nothing; false where there are more bytes of it.
fn empty(array: &ArrayRef, row: usize, bytes_max: u64, out: &mut Vec<u8>) -> Result<bool, DecodeError> {
    match array.data_type() {
        ArrowType::Null => out.extend_from_slice(b"null"),
        _ if array.is_null(row) => out.extend_from_slice(b"null"),
        ArrowType::List(_) => {
            let lists = array.as_list::<i32>();
            let (from, to) = (lists.value_offsets().get(row), lists.value_offsets().get(row + 1));
            out.push(b'[');
            for item in from.copied().unwrap_or(0)..to.copied().unwrap_or(0) {
                if out.last() != Some(&b'[') {
                    out.push(b',');
                }
                if !empty(lists.values(), usize::try_from(item).unwrap_or(0), bytes_max, out)? {
                    return Ok(false);
                }
            }
            out.push(b']');
        }
        ArrowType::Struct(_) => out.extend_from_slice(b"{}"),
        other => {
            let error = ArrowError::NotYetImplemented(other.to_string());
            return Err(super::plain::shape(&error));
        }
    }
    Ok(out.len() as u64 <= bytes_max)
}
