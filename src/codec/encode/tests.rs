use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int32Array, TimestampMicrosecondArray, UInt64Array};
use bytes::Bytes;
use half::f16;
use proptest::prelude::*;

use super::scalar::{write_binary, write_f16, write_f32, write_f64, write_int, write_str};
use super::*;
use crate::codec::columns::to_batch;
use crate::schema::{DataType, Field, FloatType, IntType};

fn batch(offsets: Vec<u64>, times: Vec<i64>, column: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter([
        ("n", column),
        (TIMESTAMP_COLUMN, Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")) as ArrayRef),
        (OFFSET_COLUMN, Arc::new(UInt64Array::from(offsets)) as ArrayRef),
    ])
    .unwrap()
}

fn schema(data_type: DataType) -> Schema {
    let fields = [("missing", DataType::String), ("n", data_type)];
    let field = |(name, data_type): (&str, DataType)| Field { name: name.into(), data_type, nullable: true };
    Schema { fields: fields.map(field).into() }
}

#[test]
fn columns_older_than_the_schema_print_as_its_own() {
    let numbers = Arc::new(Int32Array::from(vec![Some(1), None]));
    let batch = batch(vec![3, 4], vec![5, 5], numbers);
    for newer in [DataType::Int(IntType::I64), DataType::Float(FloatType::F64)] {
        let chunk = to_chunk(&schema(newer), &batch, Offset::new(3).unwrap()).unwrap();
        assert_eq!(chunk.values().text(), "{\"n\":1}\n{}\n");
        assert_eq!((chunk.first().get(), chunk.len(), chunk.time(1).as_micros()), (3, 2, 5));
    }
}

#[test]
fn what_json_has_no_number_for_prints_null_and_stays() {
    let numbers = Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(-0.0), Some(f64::INFINITY), None]));
    let chunk = to_chunk(
        &schema(DataType::Float(FloatType::F64)),
        &batch(vec![0, 1, 2, 3], vec![1, 1, 2, 9], numbers),
        Offset::ZERO,
    );
    let chunk = chunk.unwrap();
    assert_eq!(chunk.values().text(), "{\"n\":null}\n{\"n\":0}\n{\"n\":null}\n{}\n");
    assert_eq!((0..4).map(|row| chunk.time(row).as_micros()).collect::<Vec<_>>(), [1, 1, 2, 9]);
}

#[test]
fn rows_of_other_offsets_are_refused() {
    let numbers = Arc::new(Int32Array::from(vec![1, 2]));
    let gap = batch(vec![3, 5], vec![0, 0], numbers);
    let error = to_chunk(&schema(DataType::Bool), &gap, Offset::new(3).unwrap()).unwrap_err();
    assert_eq!(error, EncodeError::Offset { row: 1, expected: 4, found: 5 });
}

/// A value of a type, in its one form; none for null.
type Text = Option<Vec<u8>>;

fn printed(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn float_text(float: FloatType) -> BoxedStrategy<Vec<u8>> {
    match float {
        FloatType::F16 => any::<u16>()
            .prop_map(f16::from_bits)
            .prop_filter("finite", |value| value.is_finite())
            .prop_map(|value| printed(|out| write_f16(value, out)))
            .boxed(),
        FloatType::F32 => any::<f32>().prop_map(|value| printed(|out| write_f32(value, out))).boxed(),
        FloatType::F64 => any::<f64>().prop_map(|value| printed(|out| write_f64(value, out))).boxed(),
    }
}

fn int_text(int: IntType) -> BoxedStrategy<Vec<u8>> {
    match int {
        IntType::I8 => any::<i8>().prop_map(|value| printed(|out| write_int(value, out))).boxed(),
        IntType::I16 => any::<i16>().prop_map(|value| printed(|out| write_int(value, out))).boxed(),
        IntType::I32 => any::<i32>().prop_map(|value| printed(|out| write_int(value, out))).boxed(),
        IntType::I64 => any::<i64>().prop_map(|value| printed(|out| write_int(value, out))).boxed(),
        IntType::U8 => any::<u8>().prop_map(|value| printed(|out| write_int(value, out))).boxed(),
        IntType::U16 => any::<u16>().prop_map(|value| printed(|out| write_int(value, out))).boxed(),
        IntType::U32 => any::<u32>().prop_map(|value| printed(|out| write_int(value, out))).boxed(),
        IntType::U64 => any::<u64>().prop_map(|value| printed(|out| write_int(value, out))).boxed(),
    }
}

fn quoted(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    printed(|out| {
        out.push(b'"');
        write(out);
        out.push(b'"');
    })
}

fn text_of(data_type: &DataType) -> BoxedStrategy<Vec<u8>> {
    match data_type {
        DataType::Bool => any::<bool>().prop_map(|value| value.to_string().into_bytes()).boxed(),
        DataType::Int(int) => int_text(*int),
        DataType::Float(float) => float_text(*float),
        DataType::String => any::<String>().prop_map(|value| printed(|out| write_str(&value, out))).boxed(),
        DataType::Json => prop::sample::select(vec![
            &b"{}"[..],
            b"[]",
            b"0",
            b"-1.50e+999",
            b"true",
            b"\"\\/,\\u00e9}\"",
            b"[null,{\"a\":[]},\"]\"]",
            b"{\"\":{\"b\":1}}",
        ])
        .prop_map(<[u8]>::to_vec)
        .boxed(),
        DataType::Binary => any::<Vec<u8>>().prop_map(|value| printed(|out| write_binary(&value, out))).boxed(),
        DataType::Date32 => any::<i32>().prop_map(|days| quoted(|out| calendar::write_date(days, out))).boxed(),
        DataType::Timestamp => any::<i64>().prop_map(|at| quoted(|out| calendar::write_timestamp(at, out))).boxed(),
        DataType::List(item) => {
            prop::collection::vec(prop::option::of(text_of(item)), 0..4).prop_map(|items| array(&items)).boxed()
        }
        DataType::Vector { dim, item } => {
            let finite = float_text(*item).prop_map(Some);
            prop::collection::vec(finite, *dim as usize).prop_map(|items| array(&items)).boxed()
        }
        DataType::Struct(fields) => object_text(fields),
    }
}

fn array(items: &[Text]) -> Vec<u8> {
    let items: Vec<&[u8]> = items.iter().map(|item| item.as_deref().unwrap_or(b"null")).collect();
    [&b"["[..], &items.join(&b','), b"]"].concat()
}

fn object_text(fields: &[Field]) -> BoxedStrategy<Vec<u8>> {
    let members: Vec<_> = fields.iter().map(|field| prop::option::of(text_of(&field.data_type))).collect();
    let labels: Vec<Vec<u8>> = fields.iter().map(|field| printed(|out| write_str(&field.name, out))).collect();
    let join = move |values: Vec<Text>| {
        let there =
            labels.iter().zip(values).filter_map(|(label, value)| Some([label.as_slice(), b":", &value?].concat()));
        [&b"{"[..], &there.collect::<Vec<_>>().join(&b','), b"}"].concat()
    };
    members.prop_map(join).boxed()
}

fn data_type() -> impl Strategy<Value = DataType> {
    let ints =
        [IntType::I8, IntType::I16, IntType::I32, IntType::I64, IntType::U8, IntType::U16, IntType::U32, IntType::U64];
    let floats = prop::sample::select(vec![FloatType::F16, FloatType::F32, FloatType::F64]);
    let leaf = prop_oneof![
        prop::sample::select(vec![
            DataType::Bool,
            DataType::String,
            DataType::Binary,
            DataType::Date32,
            DataType::Timestamp,
            DataType::Json,
        ]),
        prop::sample::select(ints.to_vec()).prop_map(DataType::Int),
        prop::sample::select(vec![FloatType::F32, FloatType::F64]).prop_map(DataType::Float),
        (1..5_u32, floats).prop_map(|(dim, item)| DataType::Vector { dim, item }),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| DataType::List(Box::new(item))),
            fields_of(inner, 1..4).prop_map(DataType::Struct),
        ]
    })
}

fn fields_of(
    inner: impl Strategy<Value = DataType>,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<Field>> {
    let name = prop_oneof!["[a-z]{1,3}", any::<String>(), Just("_offset".to_owned()), Just(String::new())];
    prop::collection::btree_map(name, inner, count).prop_map(|fields| {
        fields.into_iter().map(|(name, data_type)| Field { name, data_type, nullable: true }).collect()
    })
}

fn records() -> impl Strategy<Value = (Schema, Vec<Vec<u8>>)> {
    fields_of(data_type(), 0..6).prop_flat_map(|fields| {
        let record = object_text(&fields);
        (Just(Schema { fields }), prop::collection::vec(record, 1..12))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn text_laid_out_in_columns_prints_the_same_to_the_byte((schema, records) in records()) {
        let mut text = records.join(&b'\n');
        text.push(b'\n');
        let first = Offset::new(41).unwrap();
        let values = Values::from_text(Bytes::from(text.clone())).unwrap();
        let batch = to_batch(&schema, &[Chunk::new(first, Timestamp::from_micros(3), values)]).unwrap();
        let chunk = to_chunk(&schema, &batch, first).unwrap();
        let printed = chunk.values().text();
        prop_assert_eq!(String::from_utf8_lossy(&printed), String::from_utf8_lossy(&text));
    }
}
