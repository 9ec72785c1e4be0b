//! How long rows are. An operator that repeats a row, as a join does for each one that it is joined with, copies what is in
//! it, and no pool of memory counts the copies.

use arrow_array::cast::AsArray;
use arrow_array::{Array, OffsetSizeTrait, RecordBatch};
use arrow_schema::DataType;
use datafusion::common::Result;

use crate::sql::error::told;
use crate::sql::limits::REPEATED_ROW_BYTES_MAX;
use crate::sql::text::refused;

/// Refuses rows that would be repeated and are very long.
///
/// # Errors
/// `invalid_body` with the limit.
pub(super) fn check_rows(batch: &RecordBatch) -> Result<()> {
    if longest_row(batch) <= REPEATED_ROW_BYTES_MAX {
        return Ok(());
    }
    let detail = format!(
        "A row has more than {REPEATED_ROW_BYTES_MAX} bytes in the columns that are joined or windowed; leave the long ones out."
    );
    Err(told(refused(detail).with_limit(REPEATED_ROW_BYTES_MAX as u64)))
}

/// The bytes that the longest row can have: those of the longest values of all columns.
pub(super) fn longest_row(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| longest(column)).fold(0, usize::saturating_add)
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
pub(super) fn rows_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| bytes(column)).fold(0, usize::saturating_add)
}

fn bytes(column: &dyn Array) -> usize {
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
            bytes(&list.values().slice(begin, length))
        }
        DataType::LargeList(_) => {
            let list = column.as_list::<i64>();
            let (begin, length) = run(list.value_offsets());
            bytes(&list.values().slice(begin, length))
        }
        DataType::FixedSizeList(..) => bytes(column.as_fixed_size_list().values()),
        DataType::Struct(_) => {
            column.as_struct().columns().iter().map(|member| bytes(member)).fold(0, usize::saturating_add)
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
    fn a_row_is_as_long_as_its_longest_values() {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1); 3]), None]);
        let columns: [(&str, ArrayRef, usize); 4] = [
            ("n", Arc::new(Int64Array::from(vec![1, 2])), 8),
            ("s", Arc::new(LargeStringArray::from(vec![Some("twelve bytes"), None])), 12),
            ("v", Arc::new(StringViewArray::from(vec!["", "a text of twenty-five byte"])), 26),
            ("l", Arc::new(lists), 12),
        ];
        let mut all = 0;
        for (name, column, expected) in &columns {
            assert_eq!(longest(column), *expected, "{name}");
            all += expected;
        }
        let batch = RecordBatch::try_from_iter(columns.map(|(name, column, _)| (name, column))).unwrap();
        assert_eq!(longest_row(&batch), all);
        assert!(check_rows(&batch).is_ok());
        // 16 of numbers, 12 and 26 of texts, 12 of a list; of the second row the number and the text.
        assert_eq!((rows_bytes(&batch), rows_bytes(&batch.slice(1, 1))), (66, 34));
        let long: ArrayRef = Arc::new(LargeStringArray::from(vec!["x".repeat(REPEATED_ROW_BYTES_MAX + 1)]));
        assert!(check_rows(&RecordBatch::try_from_iter([("s", long)]).unwrap()).is_err());
    }
}
