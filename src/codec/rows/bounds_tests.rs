use std::sync::Arc;

use arrow_array::*;
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::{DataType as ArrowType, Field as ArrowField, Fields};
use serde_json::json;

use super::tests::{column, one};
use super::*;
use crate::model::SchemaMode;

fn lists(items: ArrayRef, lengths: &[usize]) -> ArrayRef {
    let item = Arc::new(ArrowField::new("item", items.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Arc::new(ListArray::new(item, offsets, items, None))
}

fn empties(count: usize) -> ArrayRef {
    Arc::new(StructArray::new_empty_fields(count, None))
}

/// The error of rows whose records may have `record_bytes_max`, and which may take `bytes_max`.
fn error(array: ArrayRef, known: Option<&Schema>, record_bytes_max: u64, bytes_max: u64) -> Option<DecodeError> {
    let prepared = known.map(|known| PreparedSchema::new(Arc::new(known.clone())));
    let wide = WideColumns::default();
    let target = Target::Columns { schema: prepared.as_ref(), mode: SchemaMode::Evolve, wide: &wide };
    let limits = DecodeLimits { record_bytes_max, records_max: 1_000, errors_max: 1 };
    decode_rows(&Rows { text_bytes_max: bytes_max, ..one(array) }, target, &limits, &Room::default()).err()
}

#[test]
fn items_that_take_nothing_are_counted() {
    let batch_too_large = Some(DecodeError::BatchTooLarge { limit: 1 << 20 });
    // Nothing but a length: the text of each would fit.
    assert_eq!(error(lists(empties(200_000), &[200_000]), None, 1 << 23, 1 << 20), batch_too_large);
    let none = FixedSizeBinaryArray::try_new(0, Buffer::default(), Some(NullBuffer::new_valid(150_000)));
    let none: ArrayRef = Arc::new(none.unwrap());
    assert_eq!(error(lists(none, &[150_000]), None, 1 << 23, 1 << 20), batch_too_large);
    let item = Arc::new(ArrowField::new("item", ArrowType::Null, true));
    let fixed: ArrayRef =
        Arc::new(FixedSizeListArray::try_new_with_length(item, 0, Arc::new(NullArray::new(0)), None, 100_000).unwrap());
    assert_eq!(error(lists(fixed, &[100_000]), None, 1 << 23, 1 << 20), batch_too_large);
}

#[test]
fn a_record_is_left_where_it_becomes_too_large() {
    let too_large = |record| Some(DecodeError::RecordTooLarge { limit: 1_000, record, line: 0 });
    let many = 100_000_000;
    let nulls = || lists(Arc::new(NullArray::new(many + 1)), &[1, many]);
    assert_eq!(error(nulls(), None, 1_000, u32::MAX.into()), too_large(1));
    // What stands in the items of a list is told of its record.
    let ints: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
    let known = column(json!({"type": "list", "items": {"type": "json"}}));
    let nested = lists(lists(ints, &[1, 2, 3, 994]), &[2, 1, 0, 1]);
    assert_eq!(error(nested, Some(&known), 1_000, 1 << 20), too_large(3));
}

#[test]
fn printing_ends_at_its_bound() {
    let bits: ArrayRef = Arc::new(BooleanArray::from(vec![false; 100_000]));
    let member = Arc::new(ArrowField::new("k".repeat(100), ArrowType::Boolean, true));
    let structs: ArrayRef = Arc::new(StructArray::new(Fields::from(vec![member]), vec![bits], None));
    let texts: ArrayRef = Arc::new(LargeStringArray::from(vec!["\0".repeat(50_000)]));
    let json =
        [json!({"type": "list", "items": {"type": "struct", "fields": [{"name": "k".repeat(100), "type": "bool"}]}})];
    for (array, field) in [(lists(structs, &[100_000]), json[0].clone()), (texts, json!({"type": "string"}))] {
        let schema = column(field);
        let fields = [Arc::new(ArrowField::new("c", array.data_type().clone(), true))];
        let columns = [array];
        let object = Object::new(&schema.fields, &fields, &columns, true, Nonfinite::Stored).unwrap();
        let mut text = b"before".to_vec();
        assert!(!object.print_bounded(0, &mut text, 10_000));
        assert!(text.len() < 11_000, "{}", text.len());
        let mut whole = Vec::new();
        object.print(0, &mut whole);
        assert!(!object.print_bounded(0, &mut Vec::new(), whole.len() as u64 - 1));
        assert!(object.print_bounded(0, &mut Vec::new(), whole.len() as u64));
    }
}

#[test]
fn values_that_many_views_share_are_counted_by_what_is_taken_of_them() {
    // A million views of the same mebibyte, which would be a tebibyte.
    let shared = Buffer::from(vec![b'x'; 1 << 20]);
    let view = builder::make_view(&shared, 0, 0);
    let views = vec![view; 1_000_000];
    let texts = StringViewArray::try_new(views.clone().into(), vec![shared.clone()], None).unwrap();
    let bytes = BinaryViewArray::try_new(views.into(), vec![shared], None).unwrap();
    let batch_too_large = Some(DecodeError::BatchTooLarge { limit: 4 << 20 });
    for values in [Arc::new(texts) as ArrayRef, Arc::new(bytes) as ArrayRef] {
        let dictionary = |keys: Vec<i32>| -> ArrayRef {
            Arc::new(DictionaryArray::try_new(Int32Array::from(keys), Arc::clone(&values)).unwrap())
        };
        assert_eq!(error(dictionary(vec![0]), None, 1 << 23, 4 << 20), None);
        assert_eq!(error(dictionary(vec![0, 1, 2, 3, 4, 5]), None, 1 << 23, 4 << 20), batch_too_large);
        let ends = Int32Array::from_iter_values(1..=1_000_000);
        let runs: ArrayRef = Arc::new(RunArray::try_new(&ends, &values).unwrap().slice(0, 6));
        assert_eq!(error(runs, None, 1 << 23, 4 << 20), batch_too_large);
    }
}

#[test]
fn a_fixed_size_list_that_is_too_long_for_a_vector_is_a_list() {
    let item = Arc::new(ArrowField::new("item", ArrowType::Float32, true));
    let long = || -> ArrayRef {
        let items = Arc::new(Float32Array::from(vec![0.5; 65_537]));
        Arc::new(FixedSizeListArray::new(Arc::clone(&item), 65_537, items, None))
    };
    assert_eq!(error(long(), None, 1 << 23, 1 << 23), None);
    let known = column(json!({"type": "list", "items": {"type": "float64"}}));
    assert_eq!(error(long(), Some(&known), 1 << 23, 1 << 23), None);
}
