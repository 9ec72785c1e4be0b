//! What batches without a schema, or beyond it, bring.

use serde_json::json;

use super::tests::{column, decode_with, evolve_from, first_error, schema, texts};
use super::*;
use crate::model::ErrorCode;

/// The type that `c` gets from the values, in short: `list<int64>`, `struct<a:bool>`; `-` for none.
fn inferred(values: &str) -> String {
    let body = values.split(';').map(|value| format!("{{\"c\":{value}}}")).collect::<String>();
    match decode_with(&body, Form::Sequence, None, SchemaMode::Strict, &WideColumns::default()).unwrap() {
        Decoded::Fits(_) => "-".to_owned(),
        Decoded::Evolves(evolution) => short(&evolution.schema.fields[0].data_type),
    }
}

fn short(data_type: &crate::schema::DataType) -> String {
    use crate::schema::DataType;
    match data_type {
        DataType::List(item) => format!("list<{}>", short(item)),
        DataType::Struct(fields) => {
            let members: Vec<String> = fields.iter().map(|f| format!("{}:{}", f.name, short(&f.data_type))).collect();
            format!("struct<{}>", members.join(","))
        }
        other => other.name().to_owned(),
    }
}

#[test]
fn columns_are_inferred_over_the_whole_batch() {
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let cases = [
        ("null", "-".to_owned()),
        ("true;false", "bool".to_owned()),
        ("\"2026-11-23\";\"x\"", "string".to_owned()),
        ("1;-9223372036854775808;null", "int64".to_owned()),
        ("1;9223372036854775808", "uint64".to_owned()),
        ("-1;9223372036854775808", "json".to_owned()),
        ("18446744073709551616", "json".to_owned()),
        ("1;1.0", "float64".to_owned()),
        ("1.5;9007199254740992", "float64".to_owned()),
        ("1.5;9007199254740993", "json".to_owned()),
        ("1.5;-9007199254740993", "json".to_owned()),
        ("9007199254740993.0;1.5", "float64".to_owned()),
        // What an export of a float64 column has.
        ("100000000000000000;1.5", "float64".to_owned()),
        ("1.5;-100000000000000000000;1", "float64".to_owned()),
        ("1.5;100000000000000000;9007199254740993", "json".to_owned()),
        ("100000000000000000;1", "int64".to_owned()),
        ("100000000000000000000;1", "json".to_owned()),
        ("1e400", "json".to_owned()),
        ("1e300;1", "float64".to_owned()),
        ("1;\"x\"", "json".to_owned()),
        ("true;1", "json".to_owned()),
        ("[];{}", "json".to_owned()),
        ("[]", "json".to_owned()),
        ("[null]", "json".to_owned()),
        ("{}", "json".to_owned()),
        ("{\"a\":null}", "json".to_owned()),
        ("[];[1]", "list<int64>".to_owned()),
        ("[1];[null,1.5]", "list<float64>".to_owned()),
        ("[1,\"x\"]", "list<json>".to_owned()),
        ("[[],[]]", "list<json>".to_owned()),
        ("{};{\"a\":1};{\"b\":[true],\"a\":2.5}", "struct<a:float64,b:list<bool>>".to_owned()),
        ("{\"a\":1};{\"a\":\"x\"}", "struct<a:json>".to_owned()),
        ("{\"a\":1};[1]", "json".to_owned()),
        ("[{\"a\":1},{\"b\":{\"c\":null}}]", "list<struct<a:int64,b:json>>".to_owned()),
        (deep(15).as_str(), format!("{}int64{}", "list<".repeat(15), ">".repeat(15))),
        (deep(16).as_str(), format!("{}json{}", "list<".repeat(15), ">".repeat(15))),
    ]
    .map(|(values, expected)| (values.to_owned(), expected));
    for (values, expected) in cases {
        assert_eq!(inferred(&values), expected, "{values}");
    }
}

#[test]
fn every_inferred_type_is_one_that_can_be_declared() {
    let body = format!("{{\"c\":{}1{}}}", "{\"a\":[".repeat(20), "]}".repeat(20));
    let (json, _) = evolve_from(None, &body).unwrap();
    assert_eq!(Schema::from_json(&json).unwrap().to_json(), json);
}

#[test]
fn new_columns_come_in_the_order_of_their_keys() {
    let (json, values) = evolve_from(None, r#"{"b":1,"z":null}{"a":true,"b":2.5}"#).unwrap();
    assert_eq!(json["fields"][0]["name"], "b");
    assert_eq!(json["fields"][1], json!({"name": "a", "type": "bool", "nullable": true}));
    assert_eq!(json["fields"].as_array().unwrap().len(), 2);
    assert_eq!(values, [r#"{"b":1}"#, r#"{"b":2.5,"a":true}"#]);
}

#[test]
fn a_batch_without_a_value_brings_no_schema() {
    for mode in [SchemaMode::Strict, SchemaMode::Evolve] {
        let decoded = decode_with("[{},{\"a\":null}]", Form::Json, None, mode, &WideColumns::default()).unwrap();
        assert!(matches!(decoded, Decoded::Fits(records) if texts(&records) == ["{}", "{}"]));
    }
}

#[test]
fn columns_evolve_at_every_depth() {
    let cases = [
        (r#"{"type":"int8"}"#, "300", r#"{"type":"int16"}"#),
        (r#"{"type":"int8"}"#, "3e2", r#"{"type":"int16"}"#),
        (r#"{"type":"uint8"}"#, "-1", r#"{"type":"int16"}"#),
        (r#"{"type":"uint32"}"#, "18446744073709551615", r#"{"type":"uint64"}"#),
        (r#"{"type":"int8"}"#, "1.5", r#"{"type":"float64"}"#),
        (r#"{"type":"int64"}"#, "1e30", r#"{"type":"float64"}"#),
        (r#"{"type":"int64"}"#, "1e19", r#"{"type":"float64"}"#),
        (r#"{"type":"int8"}"#, "9007199254740993", r#"{"type":"int64"}"#),
        (r#"{"type":"int8"}"#, "100000000000000000", r#"{"type":"int64"}"#),
        (
            r#"{"type":"list","items":{"type":"int8"}}"#,
            "[1.5,100000000000000000,100000000000000000000]",
            r#"{"type":"list","items":{"type":"float64"}}"#,
        ),
        (r#"{"type":"list","items":{"type":"int8"}}"#, "[1,null,300]", r#"{"type":"list","items":{"type":"int16"}}"#),
        (
            r#"{"type":"list","items":{"type":"struct","fields":[{"name":"a","type":"int8"}]}}"#,
            r#"[{"a":300},{"b":[true]}]"#,
            r#"{"type":"list","items":{"type":"struct","fields":[{"name":"a","type":"int16","nullable":true},
                {"name":"b","type":"list","items":{"type":"bool"},"nullable":true}]}}"#,
        ),
        (
            r#"{"type":"struct","fields":[{"name":"a","type":"int8","nullable":false}]}"#,
            r#"{"b":{"c":1},"a":0.5}"#,
            r#"{"type":"struct","fields":[{"name":"a","type":"float64","nullable":false},
                {"name":"b","type":"struct","nullable":true,"fields":[{"name":"c","type":"int64","nullable":true}]}]}"#,
        ),
    ];
    for (field, value, expected) in cases {
        let (json, _) = evolve_from(Some(&column(field)), &format!("{{\"c\":{value}}}")).unwrap();
        let mut expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        expected["name"] = "c".into();
        expected["nullable"] = true.into();
        assert_eq!(json["fields"][0], expected, "{field} {value}");
    }
}

#[test]
fn a_batch_widens_a_column_for_all_its_values() {
    let schema = column(r#"{"type":"int8"}"#);
    let (json, values) = evolve_from(Some(&schema), r#"{"c":300}{"c":1}{"c":0.5}{"c":-0}"#).unwrap();
    assert_eq!(json["fields"][0]["type"], "float64");
    assert_eq!(values, [r#"{"c":300}"#, r#"{"c":1}"#, r#"{"c":0.5}"#, r#"{"c":0}"#]);
    let (json, _) = evolve_from(Some(&schema), r#"{"c":300}{"c":70000}"#).unwrap();
    assert_eq!(json["fields"][0]["type"], "int32");
}

#[test]
fn what_the_rules_of_evolution_forbid_is_a_conflict() {
    let conflict = ErrorCode::SchemaConflict;
    let cases = [
        (r#"{"type":"int64"}"#, "9223372036854775808", conflict),
        (r#"{"type":"int64"}"#, "100000000000000000000", conflict),
        (r#"{"type":"uint64"}"#, "-1", conflict),
        (r#"{"type":"int64"}"#, "\"x\"", conflict),
        (r#"{"type":"bool"}"#, "1", conflict),
        (r#"{"type":"float64"}"#, "9007199254740993", ErrorCode::InvalidRecord),
        (r#"{"type":"vector","dim":2}"#, "[1]", ErrorCode::InvalidRecord),
        (r#"{"type":"string"}"#, "{}", conflict),
    ];
    for (field, value, code) in cases {
        let refused = first_error(evolve_from(Some(&column(field)), &format!("{{\"c\":{value}}}")).unwrap_err());
        assert_eq!(refused.0, code, "{field} {value}");
    }
    // The integer of the same batch stands against the float.
    let both = evolve_from(Some(&column(r#"{"type":"int64"}"#)), r#"{"c":9007199254740993}{"c":1.5}"#);
    let DecodeError::InvalidRecords { errors, .. } = both.unwrap_err() else { panic!("refused otherwise") };
    assert_eq!((errors.len(), errors[0].record, errors[0].code), (1, 1, conflict));
}

#[test]
fn an_integer_past_the_doubles_keeps_its_column_an_integer_for_ever() {
    let schema =
        schema(json!([{"name": "a", "type": "list", "items": {"type": "int64"}}, {"name": "b", "type": "int64"}]));
    let mut wide = WideColumns::default();
    let body = r#"{"a":[1,-9007199254740993],"b":9007199254740992}"#;
    let Decoded::Fits(records) = decode_with(body, Form::Json, Some(&schema), SchemaMode::Evolve, &wide).unwrap()
    else {
        panic!("the schema holds it")
    };
    assert_eq!(records.wide.to_json(), r#"["a"]"#);
    wide.union(&records.wide);
    let again = decode_with(body, Form::Json, Some(&schema), SchemaMode::Evolve, &wide).unwrap();
    assert!(matches!(again, Decoded::Fits(records) if records.wide.is_empty()));
    let refused = decode_with(r#"{"a":[1.5]}"#, Form::Json, Some(&schema), SchemaMode::Evolve, &wide).unwrap_err();
    assert_eq!(first_error(refused).0, ErrorCode::SchemaConflict);
    let widened = decode_with(r#"{"b":1.5}"#, Form::Json, Some(&schema), SchemaMode::Evolve, &wide).unwrap();
    assert!(matches!(widened, Decoded::Evolves(evolution) if evolution.schema.fields[1].data_type.name() == "float64"));
}

#[test]
fn an_evolution_tells_what_changes() {
    let schema = schema(json!([{"name": "n", "type": "int8"}, {"name": "s", "type": "list", "items":
        {"type": "struct", "fields": [{"name": "x", "type": "int64"}]}}]));
    let body = r#"{"n":300,"odd name":1,"s":[{"y":true}]}"#;
    let decoded = decode_with(body, Form::Json, Some(&schema), SchemaMode::Evolve, &WideColumns::default()).unwrap();
    let Decoded::Evolves(evolution) = decoded else { panic!("the schema evolves") };
    let changes: Vec<serde_json::Value> = evolution.changes.iter().map(SchemaChange::to_json).collect();
    assert_eq!(
        json!(changes),
        json!([
            {"op": "widen", "path": "n", "from": {"name": "n", "type": "int8", "nullable": true},
             "to": {"name": "n", "type": "int16", "nullable": true}},
            {"op": "add", "path": "s.y", "to": {"name": "y", "type": "bool", "nullable": true}},
            {"op": "add", "path": "\"odd name\"", "to": {"name": "odd name", "type": "int64", "nullable": true}},
        ])
    );
}

#[test]
fn more_columns_than_a_topic_can_have_are_refused() {
    let wide_record = |count: usize| {
        let members: Vec<String> = (0..count).map(|index| format!("\"k{index}\":{index}")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert!(evolve_from(None, &wide_record(1_000)).is_ok());
    let refused = |body: &str| {
        let DecodeError::InvalidRecords { errors, line } = evolve_from(None, body).unwrap_err() else {
            panic!("a record is named")
        };
        assert_eq!((errors.len(), errors[0].code, errors[0].pointer.as_str()), (1, ErrorCode::TooManyColumns, ""));
        (errors[0].record, line)
    };
    assert_eq!(refused(&wide_record(1_001)), (0, 1));
    // Each brings a column, and one of them the last that there is room for.
    let each: String = (0..1_200).map(|index| format!("{{\"k{index}\":1}}\n{{\"k0\":2}}\n")).collect();
    assert_eq!(refused(&each), (2_000, 2_001));
    let nested = format!("{{\"a\":{},\"b\":1}}", wide_record(1_000));
    assert_eq!(evolve_from(None, &nested).unwrap_err().code(), ErrorCode::TooManyColumns);
    assert_eq!(refused(&wide_record(70_000)), (0, 1));
    // Beside another value under the same key the object is one json column.
    let mixed = format!("{{\"a\":{}}}{{\"a\":1}}", wide_record(1_001));
    assert_eq!(evolve_from(None, &mixed).unwrap().0["fields"][0]["type"], "json");
}
