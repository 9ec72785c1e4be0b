use std::sync::Arc;

use arrow_array::*;
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType as ArrowType, Field as ArrowField, TimeUnit};
use serde_json::json;

use super::tests::{column, decoded, fixed, lines, one, told};
use super::*;
use crate::model::ErrorCode;

#[test]
fn numbers_are_cast_only_where_they_stay_the_same() {
    let ints: fn(Vec<i64>) -> ArrayRef = |values| Arc::new(Int64Array::from(values));
    let floats: fn(Vec<f64>) -> ArrayRef = |values| Arc::new(Float64Array::from(values));
    let exact = 1_i64 << 53;
    let cases: Vec<(ArrayRef, &str, Result<&str, u64>)> = vec![
        (ints(vec![127, -128]), "int8", Ok("127")),
        (ints(vec![0, 128]), "int8", Err(1)),
        (ints(vec![-1]), "uint64", Err(0)),
        (ints(vec![exact]), "float64", Ok("9007199254740992")),
        (ints(vec![exact + 1]), "float64", Err(0)),
        (ints(vec![1 << 24]), "float32", Ok("16777216")),
        (ints(vec![0, (1 << 24) + 1]), "float32", Err(1)),
        (floats(vec![1.0, -2.0]), "int8", Ok("1")),
        (floats(vec![1.5]), "int64", Err(0)),
        (floats(vec![f64::NAN]), "int64", Err(0)),
        (floats(vec![9.3e18]), "int64", Err(0)),
        (floats(vec![0.5]), "float32", Ok("0.5")),
        (floats(vec![0.1]), "float32", Err(0)),
        (floats(vec![1e300]), "float32", Err(0)),
        (Arc::new(Float32Array::from(vec![0.1])), "float64", Ok("0.10000000149011612")),
    ];
    for (array, data_type, expected) in cases {
        let known = column(json!({"type": data_type}));
        let outcome = decoded(&one(Arc::clone(&array)), Some(&known), SchemaMode::Strict);
        match (outcome, expected) {
            (Ok((_, values)), Ok(text)) => assert_eq!(lines(&values)[0], format!("{{\"c\":{text}}}")),
            (Err(error), Err(record)) => {
                assert_eq!(told(error), (ErrorCode::InvalidRecord, vec![(record, "/c".to_owned())]), "{array:?}");
            }
            (outcome, expected) => panic!("{array:?} as {data_type}: {outcome:?}, not {expected:?}"),
        }
    }
}

#[test]
fn values_of_another_kind_are_refused_by_their_column() {
    let text: ArrayRef = Arc::new(StringArray::from(vec![None, Some("1")]));
    for (data_type, array) in [
        ("int64", &text),
        ("bool", &text),
        ("timestamp", &text),
        ("binary", &text),
        ("string", &(Arc::new(Int64Array::from(vec![None, Some(1)])) as ArrayRef)),
        ("bool", &(Arc::new(Int64Array::from(vec![None, Some(1)])) as ArrayRef)),
    ] {
        for mode in [SchemaMode::Strict, SchemaMode::Evolve] {
            let known = column(json!({"type": data_type}));
            let error = decoded(&one(Arc::clone(array)), Some(&known), mode).unwrap_err();
            assert_eq!(told(error), (ErrorCode::SchemaConflict, vec![(1, "/c".to_owned())]), "{data_type}");
        }
    }
    // Without a value there is nothing to refuse.
    let nulls: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>, None]));
    let known = column(json!({"type": "vector", "dim": 3}));
    assert_eq!(lines(&decoded(&one(nulls), Some(&known), SchemaMode::Strict).unwrap().1), ["{}", "{}"]);
}

#[test]
fn vectors_come_from_lists_of_the_right_length() {
    let known = column(json!({"type": "vector", "dim": 2}));
    let lists = |lists: Vec<Option<Vec<Option<i64>>>>| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<types::Int64Type, _, _>(lists))
    };
    let good = lists(vec![Some(vec![Some(1), Some(2)]), None, Some(vec![Some(3), Some(4)])]);
    let (_, values) = decoded(&one(good), Some(&known), SchemaMode::Evolve).unwrap();
    assert_eq!(lines(&values), [r#"{"c":[1,2]}"#, "{}", r#"{"c":[3,4]}"#]);
    for (bad, pointer) in [
        (vec![Some(vec![Some(1), Some(2)]), Some(vec![Some(1)])], "/c"),
        (vec![None, Some(vec![Some(1), None])], "/c/1"),
    ] {
        let error = decoded(&one(lists(bad)), Some(&known), SchemaMode::Evolve).unwrap_err();
        assert_eq!(told(error), (ErrorCode::InvalidRecord, vec![(1, pointer.to_owned())]));
    }
    let other = fixed::<types::Float32Type>(vec![1.0, 2.0, 3.0], 3, None);
    let error = decoded(&one(other), Some(&known), SchemaMode::Evolve).unwrap_err();
    assert_eq!(told(error), (ErrorCode::InvalidRecord, vec![(0, "/c".to_owned())]));
}

#[test]
fn a_column_of_json_takes_json_text_and_prints_the_rest() {
    let known = column(json!({"type": "json"}));
    let text: ArrayRef =
        Arc::new(StringArray::from(vec![Some(r#" {"a" : [1.0]} "#), Some("null"), Some("\"x\""), None]));
    let (_, values) = decoded(&one(text), Some(&known), SchemaMode::Strict).unwrap();
    assert_eq!(lines(&values), [r#"{"c":{"a":[1.0]}}"#, "{}", r#"{"c":"x"}"#, "{}"]);
    let numbers: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None]));
    let (_, values) = decoded(&one(numbers), Some(&known), SchemaMode::Strict).unwrap();
    assert_eq!(lines(&values), [r#"{"c":1.5}"#, "{}"]);
    for bad in [
        Arc::new(StringArray::from(vec!["x"])) as ArrayRef,
        Arc::new(StringArray::from(vec!["{} {}"])),
        Arc::new(StringArray::from(vec![r#"{"a":1,"a":2}"#])),
        Arc::new(Float64Array::from(vec![f64::NAN])),
    ] {
        let error = decoded(&one(bad), Some(&known), SchemaMode::Strict).unwrap_err();
        assert_eq!(told(error).0, ErrorCode::InvalidRecord);
    }
}

#[test]
fn times_that_are_not_of_whole_microseconds_are_refused_where_they_stand() {
    let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![Some(1_000), None, Some(1_001)]));
    let error = decoded(&one(times), None, SchemaMode::Evolve).unwrap_err();
    assert_eq!(told(error), (ErrorCode::InvalidRecord, vec![(2, "/c".to_owned())]));
    let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX]));
    assert!(decoded(&one(seconds), None, SchemaMode::Evolve).is_err());
    let days: ArrayRef = Arc::new(Date64Array::from(vec![1]));
    assert!(decoded(&one(days), None, SchemaMode::Evolve).is_err());
    let item = Arc::new(ArrowField::new("item", ArrowType::Timestamp(TimeUnit::Nanosecond, None), true));
    let values = Arc::new(TimestampNanosecondArray::from(vec![0, 1_000, 7]));
    let lists = ListArray::new(item, OffsetBuffer::from_lengths([1, 2]), values, None);
    let error = decoded(&one(Arc::new(lists)), None, SchemaMode::Evolve).unwrap_err();
    assert_eq!(told(error), (ErrorCode::InvalidRecord, vec![(1, "/c/1".to_owned())]));
}
