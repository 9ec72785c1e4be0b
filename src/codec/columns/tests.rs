use bytes::Bytes;

use super::*;
use crate::codec::Values;
use crate::codec::encode::to_chunk;
use crate::model::{Offset, Timestamp};

fn field(name: &str, data_type: DataType) -> Field {
    Field { name: name.to_owned(), data_type, nullable: true }
}

fn chunk(text: &'static str) -> Chunk {
    let values = Values::from_text(Bytes::from_static(text.as_bytes())).unwrap();
    Chunk::new(Offset::new(5).unwrap(), Timestamp::from_micros(7), values)
}

fn back(schema: &Schema, text: &'static str) -> String {
    let batch = to_batch(schema, &[chunk(text)]).unwrap();
    let chunk = to_chunk(schema, &batch, Offset::new(5).unwrap()).unwrap();
    String::from_utf8(chunk.values().text().to_vec()).unwrap()
}

#[test]
fn every_type_reads_back_as_it_was_written() {
    let pair = vec![field("x", DataType::Int(IntType::I8)), field("y", DataType::Float(FloatType::F32))];
    let schema = Schema {
        fields: vec![
            field("b", DataType::Bool),
            field("u", DataType::Int(IntType::U64)),
            field("f", DataType::Float(FloatType::F64)),
            field("s", DataType::String),
            field("bin", DataType::Binary),
            field("d", DataType::Date32),
            field("t", DataType::Timestamp),
            field("j", DataType::Json),
            field("l", DataType::List(Box::new(DataType::List(Box::new(DataType::Int(IntType::I64)))))),
            field("o", DataType::Struct(pair.clone())),
            field("os", DataType::List(Box::new(DataType::Struct(pair)))),
            field("v", DataType::Vector { dim: 2, item: FloatType::F16 }),
        ],
    };
    let text = concat!(
        r#"{"b":true,"u":18446744073709551615,"f":0.1,"s":"a\"\u0000é\\n","bin":"AQI=","d":"2024-02-29","#,
        r#""t":"2026-11-23T09:00:00.000001Z","j":{"a":[1e999,"x\/,]}"],"b":null},"l":[[1,null],null,[]],"#,
        r#""o":{"x":-128},"os":[{},null,{"x":1,"y":0.1}],"v":[0.1,-65500]}"#,
        "\n{}\n",
        r#"{"f":null,"j":[],"l":[],"o":{}}"#,
        "\n",
        r#"{"j":"text","v":[0,6e-8]}"#,
        "\n",
    );
    assert_eq!(back(&schema, text), text);
}

#[test]
fn text_of_an_older_schema_fits_its_wider_one() {
    let schema = Schema {
        fields: vec![
            field("n", DataType::Float(FloatType::F64)),
            field("m", DataType::Int(IntType::I64)),
            field("new", DataType::String),
        ],
    };
    let text = "{\"n\":9007199254740992,\"m\":-1}\n{\"m\":3}\n";
    assert_eq!(back(&schema, text), text);
}

#[test]
fn text_that_does_not_fit_is_an_error_that_says_where() {
    let schema = Schema { fields: vec![field("n", DataType::Int(IntType::I8)), field("s", DataType::String)] };
    for (text, expected) in [
        ("{\"x\":1}\n", ColumnsError::Member { record: 0, key: "x".into() }),
        ("{\"n\":1,\"n\":2}\n", ColumnsError::Member { record: 0, key: "n".into() }),
        ("{}\n{\"n\":200}\n", ColumnsError::Text { record: 1, expected: "number of the column's type", position: 8 }),
        ("{\"n\":1}}\n", ColumnsError::Text { record: 0, expected: "end of the record", position: 7 }),
        ("{\"s\":\"a\\x\"}\n", ColumnsError::Text { record: 0, expected: "escape in its shortest form", position: 10 }),
        ("{\"s\":\"a}\n", ColumnsError::Text { record: 0, expected: "end of a string", position: 6 }),
    ] {
        assert_eq!(to_batch(&schema, &[chunk(text)]).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn null_in_a_column_without_nulls_is_an_error() {
    let fields = vec![Field { name: "n".into(), data_type: DataType::Bool, nullable: false }];
    assert!(matches!(to_batch(&Schema { fields }, &[chunk("{}\n")]), Err(ColumnsError::Shape(_))));
}

#[test]
fn keys_that_lance_cannot_have_are_encoded() {
    for (key, name) in [
        ("a", "a"),
        ("a.b", "a%2Eb"),
        ("100%", "100%25"),
        ("`", "%60"),
        ("\0\n", "%00%0A"),
        ("", "%"),
        ("_offset", "%5Foffset"),
        ("_rowid", "%5Frowid"),
        ("é ", "é "),
    ] {
        assert_eq!(column_name(key, true), name);
    }
    assert_eq!(column_name("_offset", false), "_offset");
}

#[test]
fn columns_are_as_declared_and_the_service_has_its_own_two() {
    let inner = vec![Field { name: "x".into(), data_type: DataType::Bool, nullable: false }];
    let schema = Schema {
        fields: vec![
            Field { name: "n".into(), data_type: DataType::Int(IntType::I32), nullable: false },
            field("o", DataType::Struct(inner)),
            field("j", DataType::Json),
        ],
    };
    let arrow = arrow_schema(&schema);
    let names: Vec<_> = arrow.fields().iter().map(|f| (f.name().as_str(), f.is_nullable())).collect();
    assert_eq!(names, [("_offset", false), ("_timestamp", false), ("n", false), ("o", true), ("j", true)]);
    let ArrowType::Struct(inner) = arrow.field(3).data_type() else { panic!("a struct") };
    assert!(inner[0].is_nullable(), "a member of a null struct has no value");
    assert_eq!(arrow.field(4).metadata().get(TYPE_KEY).map(String::as_str), Some(TYPE_JSON));
}
