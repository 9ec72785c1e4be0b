use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::Int16Type;
use arrow_array::*;
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType as ArrowType, Field as ArrowField, Schema as ArrowSchema};
use half::f16;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::codec::columns::to_batch;
use crate::codec::encode::{to_chunk, to_stored};
use crate::codec::{Chunk, DecodeLimits};
use crate::model::{ErrorCode, Offset, Timestamp};

const LIMITS: DecodeLimits = DecodeLimits { record_bytes_max: 1 << 23, records_max: 1_000_000, errors_max: 100 };

pub(super) fn batch(columns: &[(&str, ArrayRef)]) -> Rows {
    let fields: Vec<ArrowField> =
        columns.iter().map(|(name, array)| ArrowField::new(*name, array.data_type().clone(), true)).collect();
    let schema = Arc::new(ArrowSchema::new(fields));
    let arrays = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    Rows { schema, batches: vec![batch], text_bytes_max: 1 << 20, held_bytes: 0 }
}

pub(super) fn one(array: ArrayRef) -> Rows {
    batch(&[("c", array)])
}

pub(super) fn schema(fields: serde_json::Value) -> Schema {
    Schema::from_json(&json!({ "fields": fields })).unwrap()
}

pub(super) fn column(field: serde_json::Value) -> Schema {
    let mut field = field;
    field["name"] = json!("c");
    schema(json!([field]))
}

pub(super) fn decoded(rows: &Rows, known: Option<&Schema>, mode: SchemaMode) -> Result<(Schema, Values), DecodeError> {
    let prepared = known.map(|known| PreparedSchema::new(Arc::new(known.clone())));
    let wide = WideColumns::default();
    let target = Target::Columns { schema: prepared.as_ref(), mode, wide: &wide };
    Ok(match decode_rows(rows, target, &LIMITS, &Room::default())? {
        Decoded::Fits(records) => (known.cloned().unwrap_or_default(), records.values),
        Decoded::Evolves(evolution) => (evolution.schema, evolution.records.values),
    })
}

pub(super) fn lines(values: &Values) -> Vec<String> {
    (0..values.len()).map(|index| String::from_utf8(values.get(index).to_vec()).unwrap()).collect()
}

pub(super) fn told(error: DecodeError) -> (ErrorCode, Vec<(u64, String)>) {
    let code = error.code();
    let problem = error.into_problem();
    (code, problem.errors.iter().map(|error| (error.record, error.pointer.clone())).collect())
}

pub(super) fn fixed<T: ArrowPrimitiveType>(
    items: impl Into<PrimitiveArray<T>>,
    dim: i32,
    nulls: Option<Vec<bool>>,
) -> ArrayRef {
    let items: PrimitiveArray<T> = items.into();
    let item = Arc::new(ArrowField::new("item", T::DATA_TYPE, true));
    Arc::new(FixedSizeListArray::new(item, dim, Arc::new(items), nulls.map(NullBuffer::from)))
}

#[test]
fn a_new_column_has_the_type_of_its_arrow_column() {
    let mut words = StringDictionaryBuilder::<Int16Type>::new();
    words.append_value("x");
    let micros = |array: TimestampMicrosecondArray| -> ArrayRef { Arc::new(array) };
    let cases: Vec<(ArrayRef, serde_json::Value, &str)> = vec![
        (Arc::new(BooleanArray::from(vec![true])), json!({"type": "bool"}), "true"),
        (Arc::new(Int8Array::from(vec![-1])), json!({"type": "int8"}), "-1"),
        (Arc::new(UInt64Array::from(vec![u64::MAX])), json!({"type": "uint64"}), "18446744073709551615"),
        (Arc::new(Float16Array::from(vec![f16::from_f64(0.1)])), json!({"type": "float32"}), "0.099975586"),
        (Arc::new(Float32Array::from(vec![0.1])), json!({"type": "float32"}), "0.1"),
        (Arc::new(Float64Array::from(vec![-0.0])), json!({"type": "float64"}), "0"),
        (Arc::new(StringArray::from(vec!["é\n"])), json!({"type": "string"}), r#""é\n""#),
        (
            Arc::new(StringViewArray::from(vec!["longer than twelve bytes"])),
            json!({"type": "string"}),
            r#""longer than twelve bytes""#,
        ),
        (Arc::new(words.finish()), json!({"type": "string"}), r#""x""#),
        (Arc::new(BinaryArray::from(vec![&b"\xff"[..]])), json!({"type": "binary"}), r#""/w==""#),
        (
            Arc::new(FixedSizeBinaryArray::try_from_iter([b"ab"].into_iter()).unwrap()),
            json!({"type": "binary"}),
            r#""YWI=""#,
        ),
        (Arc::new(Date32Array::from(vec![0])), json!({"type": "date32"}), r#""1970-01-01""#),
        (Arc::new(Date64Array::from(vec![86_400_000])), json!({"type": "date32"}), r#""1970-01-02""#),
        (
            Arc::new(TimestampSecondArray::from(vec![1])),
            json!({"type": "timestamp"}),
            r#""1970-01-01T00:00:01.000000Z""#,
        ),
        (
            micros(TimestampMicrosecondArray::from(vec![-1]).with_timezone("+02:00")),
            json!({"type": "timestamp"}),
            r#""1969-12-31T23:59:59.999999Z""#,
        ),
        (
            Arc::new(TimestampNanosecondArray::from(vec![1_000])),
            json!({"type": "timestamp"}),
            r#""1970-01-01T00:00:00.000001Z""#,
        ),
        (
            fixed::<types::Float64Type>(vec![1.5, 2.0], 2, None),
            json!({"type": "vector", "dim": 2, "item": "float64"}),
            "[1.5,2]",
        ),
        (
            fixed::<types::Float16Type>(vec![f16::ONE], 1, None),
            json!({"type": "vector", "dim": 1, "item": "float16"}),
            "[1]",
        ),
        (fixed::<types::Int8Type>(vec![1, 2], 2, None), json!({"type": "list", "items": {"type": "int8"}}), "[1,2]"),
    ];
    for (array, expected, text) in cases {
        let shown = format!("{:?}", array.data_type());
        let (schema, values) = decoded(&one(array), None, SchemaMode::Strict).unwrap();
        assert_eq!(schema, column(expected), "{shown}");
        assert_eq!(lines(&values), [format!("{{\"c\":{text}}}")], "{shown}");
    }
}

#[test]
fn what_nothing_is_known_of_is_json_or_no_column_yet() {
    let empty_list = ListArray::new(
        Arc::new(ArrowField::new("item", ArrowType::Null, true)),
        OffsetBuffer::from_lengths([0, 2]),
        Arc::new(NullArray::new(2)),
        None,
    );
    let rows = batch(&[
        ("n", Arc::new(NullArray::new(2))),
        ("l", Arc::new(empty_list)),
        ("_offset", Arc::new(UInt64Array::from(vec![7, 8]))),
    ]);
    let (schema, values) = decoded(&rows, None, SchemaMode::Evolve).unwrap();
    assert_eq!(schema, self::schema(json!([{"name": "l", "type": "json"}])));
    assert_eq!(lines(&values), [r#"{"l":[]}"#, r#"{"l":[null,null]}"#]);
}

#[test]
fn types_that_no_column_has_are_refused_with_what_is_allowed() {
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Decimal128Array::from(vec![1])),
        Arc::new(DurationSecondArray::from(vec![1])),
        Arc::new(Time32SecondArray::from(vec![1])),
        Arc::new(IntervalYearMonthArray::from(vec![1])),
    ];
    for array in arrays {
        let nested: ArrayRef = Arc::new(StructArray::from(vec![(
            Arc::new(ArrowField::new("a/b", array.data_type().clone(), true)),
            Arc::clone(&array),
        )]));
        let known = schema(json!([{"name": "c", "type": "float64"}]));
        for (array, pointer) in [(array, "/c"), (nested, "/c/a~1b")] {
            let error = decoded(&one(array), Some(&known), SchemaMode::Evolve).unwrap_err();
            assert!(
                error
                    .clone()
                    .into_problem()
                    .allowed
                    .as_ref()
                    .is_some_and(|allowed| allowed.contains(&"float64".to_owned()))
            );
            assert_eq!(told(error), (ErrorCode::SchemaConflict, vec![(0, pointer.to_owned())]));
        }
    }
}

#[test]
fn strict_takes_no_new_column_but_one_of_nulls() {
    let known = schema(json!([{"name": "a", "type": "int64"}]));
    let a: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let none: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>, None]));
    let some: ArrayRef = Arc::new(StringArray::from(vec![None, Some("x")]));
    let rows = batch(&[("a", Arc::clone(&a)), ("b", none)]);
    assert_eq!(lines(&decoded(&rows, Some(&known), SchemaMode::Strict).unwrap().1), [r#"{"a":1}"#, r#"{"a":2}"#]);
    let rows = batch(&[("a", a), ("b", some)]);
    let error = decoded(&rows, Some(&known), SchemaMode::Strict).unwrap_err();
    assert_eq!(told(error), (ErrorCode::SchemaConflict, vec![(1, "/b".to_owned())]));
    let (evolved, values) = decoded(&rows, Some(&known), SchemaMode::Evolve).unwrap();
    assert_eq!(evolved, schema(json!([{"name": "a", "type": "int64"}, {"name": "b", "type": "string"}])));
    assert_eq!(lines(&values)[1], r#"{"a":2,"b":"x"}"#);
}

#[test]
fn columns_evolve_at_every_depth() {
    let known = schema(json!([
        {"name": "s", "type": "struct", "fields": [{"name": "n", "type": "int8"}]},
        {"name": "l", "type": "list", "items": {"type": "int16"}},
    ]));
    let n: ArrayRef = Arc::new(Int64Array::from(vec![300]));
    let new: ArrayRef = Arc::new(Int32Array::from(vec![7]));
    let members = vec![
        (Arc::new(ArrowField::new("new", ArrowType::Int32, true)), new),
        (Arc::new(ArrowField::new("n", ArrowType::Int64, true)), n),
    ];
    let list = ListArray::from_iter_primitive::<types::Float64Type, _, _>(vec![Some(vec![Some(1.5), None])]);
    let rows = batch(&[("s", Arc::new(StructArray::from(members))), ("l", Arc::new(list))]);
    let (evolved, values) = decoded(&rows, Some(&known), SchemaMode::Evolve).unwrap();
    let expected = schema(json!([
        {"name": "s", "type": "struct", "fields": [{"name": "n", "type": "int16"}, {"name": "new", "type": "int32"}]},
        {"name": "l", "type": "list", "items": {"type": "float64"}},
    ]));
    assert_eq!((evolved, lines(&values)), (expected, vec![r#"{"s":{"n":300,"new":7},"l":[1.5,null]}"#.to_owned()]));
}

#[test]
fn numbers_that_json_lacks_are_kept_in_floats_and_refused_in_vectors() {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(f64::NEG_INFINITY), None, Some(0.5)]));
    let (schema, values) = decoded(&one(floats), None, SchemaMode::Evolve).unwrap();
    assert_eq!(lines(&values), [r#"{"c":NaN}"#, r#"{"c":-Infinity}"#, "{}", r#"{"c":0.5}"#]);
    assert_eq!(lines(&values.printed()), [r#"{"c":null}"#, r#"{"c":null}"#, "{}", r#"{"c":0.5}"#]);
    let chunk = Chunk::new(Offset::ZERO, Timestamp::from_micros(1), values);
    let columns = to_batch(&schema, std::slice::from_ref(&chunk)).unwrap();
    assert_eq!(lines(to_stored(&schema, &columns, Offset::ZERO).unwrap().values()), lines(chunk.values()));
    assert_eq!(
        lines(to_chunk(&schema, &columns, Offset::ZERO).unwrap().values()),
        lines(&chunk.printed().values().clone())
    );
    for item in [f32::NAN, f32::INFINITY] {
        let vectors = fixed::<types::Float32Type>(vec![1.0, 2.0, 3.0, item], 2, None);
        let error = decoded(&one(vectors), None, SchemaMode::Evolve).unwrap_err();
        assert_eq!(told(error), (ErrorCode::InvalidRecord, vec![(1, "/c/1".to_owned())]));
    }
    // What lies under a null is nobody's value.
    let vectors = fixed::<types::Float32Type>(vec![1.0, 2.0, 3.0, f32::NAN], 2, Some(vec![true, false]));
    assert_eq!(lines(&decoded(&one(vectors), None, SchemaMode::Evolve).unwrap().1), [r#"{"c":[1,2]}"#, "{}"]);
}

#[test]
fn required_columns_must_come_with_values() {
    let known = schema(json!([{"name": "a", "type": "int64", "nullable": false}, {"name": "b", "type": "int64"}]));
    let b: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let error = decoded(&batch(&[("b", Arc::clone(&b))]), Some(&known), SchemaMode::Evolve).unwrap_err();
    assert_eq!(told(error).1, [(0, "/a".to_owned()), (1, "/a".to_owned())]);
    let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let error = decoded(&batch(&[("a", a), ("b", b)]), Some(&known), SchemaMode::Evolve).unwrap_err();
    assert_eq!(told(error), (ErrorCode::InvalidRecord, vec![(1, "/a".to_owned())]));
}

#[test]
fn wide_integers_are_noted_and_never_become_floats() {
    let known = column(json!({"type": "int64"}));
    let prepared = PreparedSchema::new(Arc::new(known));
    let mut wide = WideColumns::default();
    let rows = one(Arc::new(Int64Array::from(vec![1 << 60])));
    let target = Target::Columns { schema: Some(&prepared), mode: SchemaMode::Evolve, wide: &wide };
    let Ok(Decoded::Fits(records)) = decode_rows(&rows, target, &LIMITS, &Room::default()) else { panic!() };
    assert!(wide.union(&records.wide));
    let target = Target::Columns { schema: Some(&prepared), mode: SchemaMode::Evolve, wide: &wide };
    let error =
        decode_rows(&one(Arc::new(Float64Array::from(vec![0.5]))), target, &LIMITS, &Room::default()).unwrap_err();
    assert_eq!(told(error).0, ErrorCode::SchemaConflict);
}

#[test]
fn a_small_body_cannot_become_a_large_one() {
    let long = "x".repeat(10_000);
    let mut words = StringDictionaryBuilder::<Int16Type>::new();
    (0..1_000).for_each(|_| words.append_value(&long));
    let error = decoded(&one(Arc::new(words.finish())), None, SchemaMode::Evolve).unwrap_err();
    assert_eq!(error, DecodeError::BatchTooLarge { limit: 1 << 20 });
    let nulls = ListArray::new(
        Arc::new(ArrowField::new("item", ArrowType::Null, true)),
        OffsetBuffer::from_lengths([1 << 20]),
        Arc::new(NullArray::new(1 << 20)),
        None,
    );
    let known = column(json!({"type": "list", "items": {"type": "vector", "dim": 60_000}}));
    let error = decoded(&one(Arc::new(nulls)), Some(&known), SchemaMode::Evolve).unwrap_err();
    assert_eq!(error, DecodeError::BatchTooLarge { limit: 1 << 20 });
}

fn floats() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        Just(None),
        any::<f64>().prop_map(Some),
        Just(Some(f64::NAN)),
        Just(Some(f64::INFINITY)),
        Just(Some(-0.0))
    ]
}

proptest! {
    /// One value, one form: what rows become prints the same from memory and from columns, and comes back as it was.
    #[test]
    fn rows_come_back_as_they_were(
        doubles in prop::collection::vec(floats(), 1..8),
        texts in prop::collection::vec(prop::option::of("\\PC{0,4}|[\"\\\\\0-\x1f]{0,3}"), 8),
        ints in prop::collection::vec(prop::option::of(any::<i64>()), 8),
        singles in prop::collection::vec(prop::option::of(any::<f32>()), 8),
    ) {
        let rows = doubles.len();
        let lists = ListArray::from_iter_primitive::<types::Float64Type, _, _>(doubles.iter().map(|double| double.map(|_| doubles.clone())));
        let singles: ArrayRef = Arc::new(Float32Array::from(singles[..rows].to_vec()));
        let members = vec![(Arc::new(ArrowField::new("f", ArrowType::Float32, true)), singles)];
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("d", Arc::new(Float64Array::from(doubles.clone()))),
            ("t", Arc::new(LargeStringArray::from(texts[..rows].to_vec()))),
            ("i", Arc::new(Int64Array::from(ints[..rows].to_vec()))),
            ("l", Arc::new(lists)),
            ("o", Arc::new(StructArray::from(members))),
        ];
        let (schema, values) = decoded(&batch(&columns), None, SchemaMode::Evolve).unwrap();
        let chunk = Chunk::new(Offset::ZERO, Timestamp::from_micros(1), values);
        let stored = to_batch(&schema, std::slice::from_ref(&chunk)).unwrap();
        prop_assert_eq!(lines(to_chunk(&schema, &stored, Offset::ZERO).unwrap().values()), lines(chunk.clone().printed().values()));
        let again = Rows { schema: stored.schema(), batches: vec![stored], text_bytes_max: 1 << 20, held_bytes: 0 };
        let (same, text) = decoded(&again, Some(&schema), SchemaMode::Strict).unwrap();
        prop_assert_eq!((same, lines(&text)), (schema, lines(chunk.values())));
    }
}
