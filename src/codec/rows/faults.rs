//! What is wrong with values, row by row.

use std::collections::BTreeMap;

use arrow_buffer::OffsetBuffer;

use crate::codec::fault::Stop;
use crate::model::{ErrorCode, Problem, RecordError};
use crate::schema::DataType;

/// The first fault of each row, of so many rows as are told.
#[derive(Debug, Default)]
pub(super) struct Faults {
    by_row: BTreeMap<usize, Stop>,
}

impl Faults {
    /// Adds a fault, unless the row has one or enough rows before it have.
    pub(super) fn add(&mut self, row: usize, stop: impl FnOnce() -> Stop) {
        let enough = self.by_row.len() >= Problem::ERRORS_MAX;
        if self.by_row.contains_key(&row)
            || (enough && self.by_row.last_key_value().is_some_and(|(last, _)| *last < row))
        {
            return;
        }
        self.by_row.insert(row, stop());
        if enough {
            self.by_row.pop_last();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_row.is_empty()
    }

    /// Adds those of a part, each where `place` says.
    pub(super) fn absorb(&mut self, inner: Faults, place: impl Fn(usize, Stop) -> Option<(usize, Stop)>) {
        for (row, stop) in inner.by_row {
            if let Some((row, stop)) = place(row, stop) {
                self.add(row, || stop);
            }
        }
    }

    /// Adds those of a column.
    pub(super) fn absorb_member(&mut self, inner: Faults, key: &str) {
        self.absorb(inner, |row, stop| Some((row, stop.under_key(key))));
    }

    /// Adds those of the items of lists.
    pub(super) fn absorb_items(&mut self, inner: Faults, offsets: &OffsetBuffer<i32>) {
        self.absorb(inner, |item, stop| {
            let end = |end: &i32| usize::try_from(*end).unwrap_or(0);
            let row = offsets.partition_point(|offset| end(offset) <= item).checked_sub(1)?;
            Some((row, stop.under_item(item - end(offsets.get(row)?))))
        });
    }

    /// A time that no column has.
    pub(super) fn timestamp(&mut self, row: usize) {
        self.add(row, || {
            misfit(
                &DataType::Timestamp,
                "a time that is not of whole microseconds or not of the years 0 to 9999",
                "round it to microseconds before sending",
            )
        });
    }

    /// A day that no column has.
    pub(super) fn date32(&mut self, row: usize) {
        self.add(row, || {
            misfit(
                &DataType::Date32,
                "a date that is not a whole day of the years 0 to 9999",
                "send a timestamp, or a whole day",
            )
        });
    }

    /// As errors of the API; `before` records come before the first row.
    pub(super) fn into_errors(self, before: u64) -> Vec<RecordError> {
        let told = |(row, stop): (usize, Stop)| match stop {
            Stop::Fault(fault) => Some(fault.into_error(before + row as u64)),
            Stop::Malformed(_) | Stop::Evolve => None,
        };
        self.by_row.into_iter().filter_map(told).collect()
    }
}

/// A column's type in words.
pub(super) fn words(data_type: &DataType) -> String {
    match data_type {
        DataType::Vector { dim, item } => format!("vector of {dim} {}", item.name()),
        other => other.name().to_owned(),
    }
}

/// A value that a column does not hold.
pub(super) fn misfit(data_type: &DataType, cannot: &str, remedy: &str) -> Stop {
    Stop::column(ErrorCode::InvalidRecord, words(data_type), cannot.to_owned(), remedy.to_owned())
}

/// Null where a column has none.
pub(super) fn null_in_required(data_type: &DataType) -> Stop {
    misfit(data_type, "null or be absent", "it is not nullable; send a value")
}
