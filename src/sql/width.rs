//! How long rows are. An operator that repeats a row, as a join does for each one that it is joined with, copies what is in
//! it, and no pool of memory counts the copies.

use arrow_array::cast::AsArray;
use arrow_array::{Array, OffsetSizeTrait, RecordBatch};
use arrow_schema::DataType;
use datafusion::common::Result;

use crate::sql::error::told;
use crate::sql::text::refused;

/// Refuses rows that would be repeated and have more bytes than that.
///
/// # Errors
/// `invalid_body` with the limit.
pub(super) fn check_rows(batch: &RecordBatch, most: usize) -> Result<()> {
    // A row with the longest values of all columns is longer than any: where that one is not too long, none is.
    let bound = batch.columns().iter().map(|column| longest(column)).fold(0, usize::saturating_add);
    if bound <= most || longest_row(batch) <= most {
        return Ok(());
    }
    let detail = format!(
        "A row has more than {most} bytes in the columns that are joined or windowed; leave the long ones out, or compute less of them where they are joined."
    );
    Err(told(refused(detail).with_limit(most as u64)))
}

/// The bytes of the longest row.
pub(super) fn longest_row(batch: &RecordBatch) -> usize {
    let mut rows = vec![0; batch.num_rows()];
    for column in batch.columns() {
        add_lengths(column, &mut rows);
    }
    rows.into_iter().max().unwrap_or(0)
}

/// Adds to each row the bytes of its value, about, and not less than it has.
fn add_lengths(column: &dyn Array, rows: &mut [usize]) {
    match column.data_type() {
        DataType::Utf8 => add_runs(column.as_string::<i32>().value_offsets(), rows),
        DataType::LargeUtf8 => add_runs(column.as_string::<i64>().value_offsets(), rows),
        DataType::Binary => add_runs(column.as_binary::<i32>().value_offsets(), rows),
        DataType::LargeBinary => add_runs(column.as_binary::<i64>().value_offsets(), rows),
        DataType::Utf8View => add_each(column.as_string_view().lengths().map(|length| length as usize), rows),
        DataType::BinaryView => add_each(column.as_binary_view().lengths().map(|length| length as usize), rows),
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            add_items(list.value_offsets(), list.values(), rows);
        }
        DataType::LargeList(_) => {
            let list = column.as_list::<i64>();
            add_items(list.value_offsets(), list.values(), rows);
        }
        DataType::FixedSizeList(_, length) => {
            let items = item_lengths(column.as_fixed_size_list().values());
            let length = usize::try_from(*length).unwrap_or(0).max(1);
            add_each(items.chunks(length).map(|items| items.iter().sum()), rows);
        }
        DataType::Struct(_) => {
            for member in column.as_struct().columns() {
                add_lengths(member, rows);
            }
        }
        other => {
            let width = other.primitive_width().unwrap_or(1);
            add_each(std::iter::repeat_n(width, rows.len()), rows);
        }
    }
}

fn add_each(lengths: impl Iterator<Item = usize>, rows: &mut [usize]) {
    for (row, length) in rows.iter_mut().zip(lengths) {
        *row = row.saturating_add(length);
    }
}

fn add_runs<O: OffsetSizeTrait>(offsets: &[O], rows: &mut [usize]) {
    let begins = offsets.iter().zip(offsets.iter().skip(1));
    add_each(begins.map(|(begin, end)| end.as_usize().saturating_sub(begin.as_usize())), rows);
}

fn add_items<O: OffsetSizeTrait>(offsets: &[O], values: &dyn Array, rows: &mut [usize]) {
    let (begin, length) = run(offsets);
    let items = item_lengths(&values.slice(begin, length));
    let runs = offsets.iter().zip(offsets.iter().skip(1));
    let of = |(from, to): (&O, &O)| -> usize {
        let run = from.as_usize().saturating_sub(begin)..to.as_usize().saturating_sub(begin);
        items.get(run).unwrap_or_default().iter().sum()
    };
    add_each(runs.map(of), rows);
}

/// The bytes of each item of lists: none takes nothing.
fn item_lengths(values: &dyn Array) -> Vec<usize> {
    let mut items = vec![0; values.len()];
    add_lengths(values, &mut items);
    items.iter_mut().for_each(|item| *item = (*item).max(1));
    items
}

/// The bytes of the longest value of a column, about, and not less than it has.
fn longest(column: &dyn Array) -> usize {
    match column.data_type() {
        DataType::Utf8 => longest_run(column.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => longest_run(column.as_string::<i64>().value_offsets()),
        DataType::Binary => longest_run(column.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => longest_run(column.as_binary::<i64>().value_offsets()),
        DataType::Utf8View => column.as_string_view().lengths().max().unwrap_or(0) as usize,
        DataType::BinaryView => column.as_binary_view().lengths().max().unwrap_or(0) as usize,
        DataType::List(_) => {
            items(longest_run(column.as_list::<i32>().value_offsets()), column.as_list::<i32>().values())
        }
        DataType::LargeList(_) => {
            items(longest_run(column.as_list::<i64>().value_offsets()), column.as_list::<i64>().values())
        }
        DataType::FixedSizeList(_, length) => {
            items(usize::try_from(*length).unwrap_or(0), column.as_fixed_size_list().values())
        }
        DataType::Struct(_) => {
            column.as_struct().columns().iter().map(|member| longest(member)).fold(0, usize::saturating_add)
        }
        other => other.primitive_width().unwrap_or(1),
    }
}

/// The bytes of the values of some rows.
pub(crate) fn rows_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column_bytes(column)).fold(0, usize::saturating_add)
}

/// The bytes of the values of a column, of the rows that it has.
pub(super) fn column_bytes(column: &dyn Array) -> usize {
    match column.data_type() {
        DataType::Utf8 => run(column.as_string::<i32>().value_offsets()).1,
        DataType::LargeUtf8 => run(column.as_string::<i64>().value_offsets()).1,
        DataType::Binary => run(column.as_binary::<i32>().value_offsets()).1,
        DataType::LargeBinary => run(column.as_binary::<i64>().value_offsets()).1,
        DataType::Utf8View => column.as_string_view().lengths().map(|length| length as usize).sum(),
        DataType::BinaryView => column.as_binary_view().lengths().map(|length| length as usize).sum(),
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            let (begin, length) = run(list.value_offsets());
            column_bytes(&list.values().slice(begin, length))
        }
        DataType::LargeList(_) => {
            let list = column.as_list::<i64>();
            let (begin, length) = run(list.value_offsets());
            column_bytes(&list.values().slice(begin, length))
        }
        DataType::FixedSizeList(..) => column_bytes(column.as_fixed_size_list().values()),
        DataType::Struct(_) => {
            column.as_struct().columns().iter().map(|member| column_bytes(member)).fold(0, usize::saturating_add)
        }
        other => column.len().saturating_mul(other.primitive_width().unwrap_or(1)),
    }
}

/// Where the values of these offsets begin, and how long they are together.
fn run<O: OffsetSizeTrait>(offsets: &[O]) -> (usize, usize) {
    match offsets {
        [first, .., last] => (first.as_usize(), last.as_usize().saturating_sub(first.as_usize())),
        _ => (0, 0),
    }
}

fn items(most: usize, values: &dyn Array) -> usize {
    most.saturating_mul(longest(values).max(1))
}

fn longest_run<O: OffsetSizeTrait>(offsets: &[O]) -> usize {
    let runs = offsets.windows(2).map(|pair| match pair {
        [begin, end] => end.as_usize().saturating_sub(begin.as_usize()),
        _ => 0,
    });
    runs.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int32Type;
    use arrow_array::{ArrayRef, Int64Array, LargeStringArray, ListArray, StringViewArray};

    use super::*;

    #[test]
    fn a_row_is_as_long_as_its_own_values() {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1); 3]), None]);
        let columns: [(&str, ArrayRef, [usize; 2]); 4] = [
            ("n", Arc::new(Int64Array::from(vec![1, 2])), [8, 8]),
            ("s", Arc::new(LargeStringArray::from(vec![Some("twelve bytes"), None])), [12, 0]),
            ("v", Arc::new(StringViewArray::from(vec!["", "a text of twenty-five byte"])), [0, 26]),
            ("l", Arc::new(lists), [12, 0]),
        ];
        for (name, column, expected) in &columns {
            let mut rows = vec![0; 2];
            add_lengths(column, &mut rows);
            assert_eq!(rows, expected, "{name}");
            assert_eq!(longest(column), *expected.iter().max().unwrap(), "{name}");
            assert_eq!(column_bytes(column), expected.iter().sum::<usize>(), "{name}");
        }
        let batch = RecordBatch::try_from_iter(columns.map(|(name, column, _)| (name, column))).unwrap();
        assert_eq!((longest_row(&batch), longest_row(&batch.slice(0, 1))), (34, 32));
        assert!(check_rows(&batch, 34).is_ok());
        assert!(check_rows(&batch, 33).is_err());
        assert_eq!((rows_bytes(&batch), rows_bytes(&batch.slice(1, 1))), (66, 34));
    }

    #[test]
    fn long_values_of_other_rows_make_no_row_longer() {
        let text = |at: usize, of: usize| (at == of).then(|| "x".repeat(4_000));
        let columns = (0..20).map(|at| {
            let texts: Vec<_> = (0..20).map(|row| text(at, row)).collect();
            (format!("c{at}"), Arc::new(LargeStringArray::from(texts)) as ArrayRef)
        });
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        assert!(check_rows(&batch, 4_000).is_ok());
        let error = check_rows(&batch, 3_999).unwrap_err();
        assert!(error.to_string().contains("3999 bytes"), "{error}");
    }
}
