use serde_json::json;

use super::*;
use crate::model::ErrorCode;

pub(super) const LIMITS: DecodeLimits = DecodeLimits { record_bytes_max: 1 << 23, records_max: 1_000_000 };

pub(super) fn schema(fields: serde_json::Value) -> Schema {
    Schema::from_json(&json!({ "fields": fields })).unwrap()
}

/// One column `c`.
fn column(field: &str) -> Schema {
    let mut field: serde_json::Value = serde_json::from_str(field).unwrap();
    field["name"] = "c".into();
    schema(json!([field]))
}

pub(super) fn texts(records: &Records) -> Vec<String> {
    let text = |index| String::from_utf8(records.values.get(index).to_vec()).unwrap();
    (0..records.values.len()).map(text).collect()
}

fn decode_with(
    body: &str,
    form: Form,
    schema: Option<&Schema>,
    mode: SchemaMode,
    wide: &WideColumns,
) -> Result<Decoded, DecodeError> {
    decode(body.as_bytes(), form, Target::Columns { schema, mode, wide }, &LIMITS)
}

fn strict(body: &str, schema: &Schema) -> Result<Vec<String>, DecodeError> {
    match decode_with(body, Form::Sequence, Some(schema), SchemaMode::Strict, &WideColumns::default())? {
        Decoded::Fits(records) => Ok(texts(&records)),
        Decoded::Evolves(_) => panic!("strict does not evolve"),
    }
}

fn first_error(error: DecodeError) -> (ErrorCode, String, String) {
    match error {
        DecodeError::InvalidRecords { mut errors, .. } => {
            let first = errors.remove(0);
            (first.code, first.pointer, first.detail)
        }
        other => (other.code(), String::new(), other.to_string()),
    }
}

/// The schema after a batch, as its fields' JSON, and the records.
fn evolve_from(schema: Option<&Schema>, body: &str) -> Result<(serde_json::Value, Vec<String>), DecodeError> {
    match decode_with(body, Form::Sequence, schema, SchemaMode::Evolve, &WideColumns::default())? {
        Decoded::Fits(records) => Ok((schema.map(Schema::to_json).unwrap_or_default(), texts(&records))),
        Decoded::Evolves(evolution) => Ok((evolution.schema.to_json(), texts(&evolution.records))),
    }
}

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
fn values_print_in_their_one_form() {
    let cases = [
        (r#"{"type":"bool"}"#, "true", "true"),
        (r#"{"type":"int8"}"#, "-128", "-128"),
        (r#"{"type":"int64"}"#, "1.0", "1"),
        (r#"{"type":"int64"}"#, "1e2", "100"),
        (r#"{"type":"int64"}"#, "-0", "0"),
        (r#"{"type":"int64"}"#, "-0.0", "0"),
        (r#"{"type":"int64"}"#, "9007199254740993.0", "9007199254740993"),
        (r#"{"type":"int64"}"#, "-9223372036854775808", "-9223372036854775808"),
        (r#"{"type":"uint64"}"#, "18446744073709551615", "18446744073709551615"),
        (r#"{"type":"uint64"}"#, "1.8446744073709551615e19", "18446744073709551615"),
        (r#"{"type":"float64"}"#, "1", "1"),
        (r#"{"type":"float64"}"#, "1.0", "1"),
        (r#"{"type":"float64"}"#, "-0.0", "0"),
        (r#"{"type":"float64"}"#, "1e21", "1e+21"),
        (r#"{"type":"float64"}"#, "1e20", "100000000000000000000"),
        (r#"{"type":"float64"}"#, "0.000001", "0.000001"),
        (r#"{"type":"float64"}"#, "0.0000001", "1e-7"),
        (r#"{"type":"float64"}"#, "9007199254740992", "9007199254740992"),
        (r#"{"type":"float64"}"#, "0.1000000000000000055511151231257827", "0.1"),
        (r#"{"type":"float64"}"#, "1e-400", "0"),
        (r#"{"type":"float32"}"#, "0.1", "0.1"),
        (r#"{"type":"float32"}"#, "16777217", "16777216"),
        (r#"{"type":"float32"}"#, "9007199254740993", "9007199000000000"),
        (r#"{"type":"float32"}"#, "3.4028235e38", "3.4028235e+38"),
        (r#"{"type":"string"}"#, r#""\u0041\/\u00e9\ud83d\ude00\n\u001F\u007f""#, "\"A/é😀\\n\\u001f\u{7f}\""),
        (r#"{"type":"binary"}"#, r#""QQ=\u003d""#, r#""QQ==""#),
        (r#"{"type":"date32"}"#, r#""2024-02-29""#, r#""2024-02-29""#),
        (r#"{"type":"timestamp"}"#, r#""2026-11-23T10:00:00.5+01:00""#, r#""2026-11-23T09:00:00.500000Z""#),
        (
            r#"{"type":"json"}"#,
            r#" { "b" : [ 1.0 , null ] , "a" : "\u0041 b" } "#,
            r#"{"b":[1.0,null],"a":"\u0041 b"}"#,
        ),
        (r#"{"type":"json"}"#, "1e400", "1e400"),
        (r#"{"type":"list","items":{"type":"int8"}}"#, "[1, null , 2.0]", "[1,null,2]"),
        (r#"{"type":"list","items":{"type":"float32"}}"#, "[0.1,16777217]", "[0.1,16777216]"),
        (r#"{"type":"list","items":{"type":"json"}}"#, "[ null, {} , [ ] ]", "[null,{},[]]"),
        (
            r#"{"type":"list","items":{"type":"struct","fields":[{"name":"a","type":"bool"}]}}"#,
            r#"[{"a":null},null,{}]"#,
            "[{},null,{}]",
        ),
        (
            r#"{"type":"struct","fields":[{"name":"a","type":"bool"},{"name":"b","type":"int8"}]}"#,
            r#"{"b":1,"a":true}"#,
            r#"{"a":true,"b":1}"#,
        ),
        (r#"{"type":"struct","fields":[{"name":"a","type":"bool"}]}"#, r#"{"a":null}"#, "{}"),
        (r#"{"type":"vector","dim":3}"#, "[1, 0.1, 16777217]", "[1,0.1,16777216]"),
        (r#"{"type":"vector","dim":2,"item":"float16"}"#, "[0.1, 2049]", "[0.1,2048]"),
        (r#"{"type":"vector","dim":1,"item":"float64"}"#, "[1.50]", "[1.5]"),
    ];
    for (field, value, expected) in cases {
        let schema = column(field);
        let printed =
            strict(&format!("{{ \"c\" : {value} }}"), &schema).unwrap_or_else(|err| panic!("{field} {value}: {err}"));
        assert_eq!(printed, [format!("{{\"c\":{expected}}}")], "{field} {value}");
    }
}

#[test]
fn values_that_a_column_cannot_have_are_refused_with_column_type_and_remedy() {
    let (invalid, conflict) = (ErrorCode::InvalidRecord, ErrorCode::SchemaConflict);
    let cases = [
        (r#"{"type":"bool"}"#, "1", conflict, "/c"),
        (r#"{"type":"int8"}"#, "128", invalid, "/c"),
        (r#"{"type":"uint8"}"#, "-1", invalid, "/c"),
        (r#"{"type":"int64"}"#, "1.5", invalid, "/c"),
        (r#"{"type":"int64"}"#, "9223372036854775808", invalid, "/c"),
        (r#"{"type":"int64"}"#, "1e400", invalid, "/c"),
        (r#"{"type":"int64"}"#, "\"12\"", conflict, "/c"),
        (r#"{"type":"int64"}"#, "true", conflict, "/c"),
        (r#"{"type":"int64"}"#, "[1]", conflict, "/c"),
        (r#"{"type":"float64"}"#, "9007199254740993", invalid, "/c"),
        (r#"{"type":"float64"}"#, "-9007199254740993", invalid, "/c"),
        (r#"{"type":"float64"}"#, "1e309", invalid, "/c"),
        (r#"{"type":"float32"}"#, "3.5e38", invalid, "/c"),
        (r#"{"type":"string"}"#, "12", conflict, "/c"),
        (r#"{"type":"binary"}"#, "\"QQ\"", invalid, "/c"),
        (r#"{"type":"date32"}"#, "\"2023-02-29\"", invalid, "/c"),
        (r#"{"type":"timestamp"}"#, "\"2026-11-23T10:00:00.0000001Z\"", invalid, "/c"),
        (r#"{"type":"timestamp"}"#, "1700000000", conflict, "/c"),
        (r#"{"type":"list","items":{"type":"int8"}}"#, "[1,[],300]", conflict, "/c/1"),
        (r#"{"type":"list","items":{"type":"int8"}}"#, "{}", conflict, "/c"),
        (r#"{"type":"struct","fields":[{"name":"a/b~","type":"int8"}]}"#, r#"{"a/b~":300}"#, invalid, "/c/a~1b~0"),
        (r#"{"type":"struct","fields":[{"name":"a","type":"bool"}]}"#, "[]", conflict, "/c"),
        (r#"{"type":"struct","fields":[{"name":"a","type":"bool"}]}"#, r#"{"x":1}"#, conflict, "/c/x"),
        (r#"{"type":"struct","fields":[{"name":"a","type":"bool","nullable":false}]}"#, "{}", invalid, "/c/a"),
        (r#"{"type":"vector","dim":2}"#, "[1]", invalid, "/c"),
        (r#"{"type":"vector","dim":2}"#, "[1,2,3]", invalid, "/c"),
        (r#"{"type":"vector","dim":2}"#, "[1,null]", invalid, "/c/1"),
        (r#"{"type":"vector","dim":2}"#, "[1,\"2\"]", conflict, "/c/1"),
        (r#"{"type":"vector","dim":2,"item":"float16"}"#, "[1,65520]", invalid, "/c/1"),
        (r#"{"type":"vector","dim":2,"item":"float64"}"#, "[1,9007199254740993]", invalid, "/c/1"),
        (r#"{"type":"int8","nullable":false}"#, "null", invalid, "/c"),
    ];
    for (field, value, code, pointer) in cases {
        let refused = first_error(strict(&format!("{{\"c\":{value}}}"), &column(field)).unwrap_err());
        assert_eq!((refused.0, refused.1.as_str()), (code, pointer), "{field} {value}");
        assert!(refused.2.contains("olumn `c"), "{}", refused.2);
    }
    let missing = first_error(strict("{}", &column(r#"{"type":"int8","nullable":false}"#)).unwrap_err());
    assert_eq!(missing.1, "/c");
    assert_eq!(
        first_error(strict(r#"{"c":"12"}"#, &column(r#"{"type":"int64"}"#)).unwrap_err()).2,
        "Column `c` of type int64 cannot take the string \"12\": send an integer, or change the column's type by posting \
         a schema."
    );
}

#[test]
fn members_come_in_schema_order_and_nulls_are_left_out() {
    let schema = schema(json!([
        {"name": "a", "type": "int64"}, {"name": "b", "type": "struct", "fields": [
            {"name": "x", "type": "string"}, {"name": "y", "type": "int64"}]}, {"name": "", "type": "json"}
    ]));
    let cases = [
        (r#"{"":null,"b":{"y":1,"x":"s"},"a":1}"#, r#"{"a":1,"b":{"x":"s","y":1}}"#),
        (r#"{"a":null,"":[ ],"b":{"y":null}}"#, r#"{"b":{},"":[]}"#),
        (r#"{"b":{"y":2},"a":1,"":{"y":1, "x":2}}"#, r#"{"a":1,"b":{"y":2},"":{"y":1,"x":2}}"#),
        (r#"{"\u0061":1,"gone":null}"#, r#"{"a":1}"#),
        ("{}", "{}"),
    ];
    for (value, expected) in cases {
        assert_eq!(strict(value, &schema).unwrap(), [expected]);
    }
}

#[test]
fn a_new_key_in_strict_is_a_conflict_unless_it_is_null() {
    let schema = schema(json!([{"name": "a", "type": "int64"}]));
    assert_eq!(strict(r#"{"a":1,"b":null}"#, &schema).unwrap(), [r#"{"a":1}"#]);
    let refused = first_error(strict(r#"{"a":1,"A":2}"#, &schema).unwrap_err());
    assert_eq!((refused.0, refused.1.as_str()), (ErrorCode::SchemaConflict, "/A"));
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
    let body = format!("{{\"c\":{}}}", format!("{}1{}", "{\"a\":[".repeat(20), "]}".repeat(20)));
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
    assert_eq!(evolve_from(None, &wide_record(1_001)).unwrap_err(), DecodeError::TooManyColumns);
    let nested = format!("{{\"a\":{},\"b\":1}}", wide_record(1_000));
    assert_eq!(evolve_from(None, &nested).unwrap_err().code(), ErrorCode::TooManyColumns);
    assert_eq!(evolve_from(None, &wide_record(70_000)).unwrap_err(), DecodeError::TooManyColumns);
    // Beside another value under the same key the object is one json column.
    let mixed = format!("{{\"a\":{}}}{{\"a\":1}}", wide_record(1_001));
    assert_eq!(evolve_from(None, &mixed).unwrap().0["fields"][0]["type"], "json");
}

#[test]
fn bodies_hold_records_in_their_form() {
    let all = Schema::default();
    let count =
        |body: &str, form| match decode_with(body, form, Some(&all), SchemaMode::Strict, &WideColumns::default()) {
            Ok(Decoded::Fits(records)) => Ok(records.values.len()),
            Ok(Decoded::Evolves(_)) => panic!("nothing to evolve"),
            Err(error) => Err(error.code()),
        };
    let (empty, malformed, invalid) =
        (Err(ErrorCode::EmptyBatch), Err(ErrorCode::InvalidJson), Err(ErrorCode::InvalidRecord));
    let cases = [
        (Form::Json, "{}", Ok(1)),
        (Form::Json, " [ {} , { } ] \n", Ok(2)),
        (Form::Json, "[]", empty),
        (Form::Json, "", empty),
        (Form::Json, " \r\n\t", empty),
        (Form::Json, "{}{}", malformed),
        (Form::Json, "{},", malformed),
        (Form::Json, "[{}]]", malformed),
        (Form::Json, "[{},]", malformed),
        (Form::Json, "[{}", malformed),
        (Form::Json, "[[{}]]", invalid),
        (Form::Json, "1", invalid),
        (Form::Json, "null", invalid),
        (Form::Ndjson, "{}\n\n \t\r\n{}\r\n{}", Ok(3)),
        (Form::Ndjson, "\n\n", empty),
        (Form::Ndjson, "{}{}", malformed),
        (Form::Ndjson, "{\n}", malformed),
        (Form::Ndjson, "[{}]", invalid),
        (Form::Ndjson, "{}\nnull\n", invalid),
        (Form::Sequence, "{}{} {}\n{}", Ok(4)),
        (Form::Sequence, "[{},{}]", Ok(2)),
        (Form::Sequence, "[] ", empty),
        (Form::Sequence, "[{}][{}]", malformed),
        (Form::Sequence, "[{}]{}", malformed),
        (Form::Sequence, "{}[{}]", invalid),
        (Form::Sequence, "{},{}", malformed),
        (Form::Sequence, "1 2", invalid),
        (Form::Sequence, "a=b", malformed),
        (Form::Sequence, "\u{feff}{}", malformed),
    ];
    for (form, body, expected) in cases {
        assert_eq!(count(body, form), expected, "{form:?} {body:?}");
    }
}

#[test]
fn malformed_json_is_told_with_line_and_column() {
    let cases = [
        (Form::Json, "{\"a\":\n  NaN}", 2, 3),
        (Form::Json, "{\"a\":Infinity}", 1, 6),
        (Form::Json, "{\"a\":-Infinity}", 1, 7),
        (Form::Json, "{\"a\":01}", 1, 7),
        (Form::Json, "{\"é\":01}", 1, 7),
        (Form::Json, "{\"a\":1.}", 1, 8),
        (Form::Json, "{\"a\":\"\t\"}", 1, 7),
        (Form::Json, "{\"a\":1", 1, 7),
        (Form::Json, "{'a':1}", 1, 2),
        (Form::Json, "{\"a\":tru}", 1, 9),
        (Form::Json, "{\"a\":1,}", 1, 8),
        (Form::Json, "{} x", 1, 4),
        (Form::Ndjson, "{}\n\n{\"a\":}\n{}", 3, 6),
        (Form::Ndjson, "{}\n{} {}\n", 2, 4),
        (Form::Sequence, "{}\n{}\n }", 3, 2),
    ];
    for (form, body, line, column) in cases {
        for target in [
            Target::Documents,
            Target::Columns { schema: None, mode: SchemaMode::Evolve, wide: &WideColumns::default() },
        ] {
            let error = decode(body.as_bytes(), form, target, &LIMITS).unwrap_err();
            let DecodeError::InvalidJson { line: l, column: c, .. } = error else { panic!("{body:?}: {error:?}") };
            assert_eq!((l, c), (line, column), "{body:?}");
        }
    }
    for lone in [r#""\ud800""#, r#""\udc00x""#, r#""\ud800\u0041""#, r#""\ud800x""#, r#""\x""#, r#""\u12g4""#] {
        for body in [format!("{{\"a\":{lone}}}"), format!("{{{lone}:1}}")] {
            let error = decode(body.as_bytes(), Form::Json, Target::Documents, &LIMITS).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidJson, "{body}");
        }
    }
    let error = decode(b"{\"a\":\n\"\xff\"}", Form::Json, Target::Documents, &LIMITS).unwrap_err();
    assert!(matches!(error, DecodeError::InvalidJson { line: 2, column: 2, .. }));
}

#[test]
fn malformed_json_wins_over_refused_records() {
    let error = strict("1 {\"a\":1} {\"b\":}", &column(r#"{"type":"int8"}"#)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidJson);
    let deep = format!("{{\"a\":{}", "[".repeat(10_000));
    assert_eq!(strict(&deep, &column(r#"{"type":"json"}"#)).unwrap_err().code(), ErrorCode::InvalidJson);
}

#[test]
fn duplicate_keys_are_refused_everywhere() {
    let schema = schema(json!([{"name": "a", "type": "int64"}, {"name": "j", "type": "json"},
        {"name": "s", "type": "struct", "fields": [{"name": "x", "type": "int64"}]},
        {"name": "l", "type": "list", "items": {"type": "struct", "fields": [{"name": "x", "type": "int64"}]}}]));
    let many: String = (0..40).map(|index| format!("\"k{index}\":0,")).collect();
    let many = format!("{{\"j\":[{{{many}\"k3\":1}}]}}");
    let cases = [
        (r#"{"a":1,"a":1}"#, ""),
        (r#"{"a":null,"\u0061":1}"#, ""),
        (r#"{"x":null,"x":null}"#, ""),
        (r#"{"s":{"x":1,"x":2}}"#, "/s"),
        (r#"{"l":[{},{"x":null,"x":null}]}"#, "/l/1"),
        (r#"{"j":{"b":[{"c":1,"\u0063":2}]}}"#, "/j/b/0"),
        (many.as_str(), "/j/0"),
    ];
    for (body, pointer) in cases {
        let refused = first_error(strict(body, &schema).unwrap_err());
        assert_eq!((refused.0, refused.1.as_str()), (ErrorCode::InvalidRecord, pointer), "{body}");
        let documents = decode(body.as_bytes(), Form::Json, Target::Documents, &LIMITS).unwrap_err();
        assert_eq!(first_error(documents).1, pointer, "{body}");
        assert_eq!(first_error(evolve_from(None, body).unwrap_err()).1, pointer, "{body}");
    }
}

#[test]
fn nesting_past_a_hundred_is_refused_with_the_place() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let json = column(r#"{"type":"json"}"#);
    for (levels, sound) in [(99, true), (100, false), (5_000, false), (1_000_000, false)] {
        let body = nested(levels);
        for outcome in [
            decode(body.as_bytes(), Form::Json, Target::Documents, &LIMITS),
            decode_with(&body, Form::Json, None, SchemaMode::Strict, &WideColumns::default()),
            decode_with(&body.replace('a', "c"), Form::Json, Some(&json), SchemaMode::Strict, &WideColumns::default()),
        ] {
            match outcome {
                Ok(_) => assert!(sound, "{levels}"),
                Err(error) => {
                    let refused = first_error(error);
                    assert_eq!((sound, refused.0), (false, ErrorCode::InvalidRecord));
                    assert!(refused.1.ends_with(&"/0".repeat(99)) && refused.1.len() == 2 + 198, "{}", refused.1);
                }
            }
        }
    }
}

#[test]
fn many_refused_records_are_told_at_once() {
    let schema = column(r#"{"type":"int8"}"#);
    let body = "{\"c\":1}\n\n{\"c\":\"x\"}\n5\n{\"c\":300}\n";
    let error =
        decode_with(body, Form::Ndjson, Some(&schema), SchemaMode::Strict, &WideColumns::default()).unwrap_err();
    let problem = error.into_problem();
    let errors: Vec<(u64, &str, ErrorCode)> =
        problem.errors.iter().map(|error| (error.record, error.pointer.as_str(), error.code)).collect();
    let (invalid, conflict) = (ErrorCode::InvalidRecord, ErrorCode::SchemaConflict);
    assert_eq!(errors, [(1, "/c", conflict), (2, "", invalid), (3, "/c", invalid)]);
    assert_eq!((problem.code, problem.line), (conflict, Some(3)));
    assert!(problem.detail.contains("Record 1") && problem.detail.contains("2 more"), "{}", problem.detail);
    let DecodeError::InvalidRecords { errors, .. } = strict(&"1 ".repeat(500), &schema).unwrap_err() else {
        panic!("refused otherwise")
    };
    assert_eq!(errors.len(), 100);
}

#[test]
fn limits_of_records_are_kept() {
    let limits = DecodeLimits { record_bytes_max: 9, records_max: 2 };
    let documents = |body: &str, form| decode(body.as_bytes(), form, Target::Documents, &limits).map(|_| ());
    assert_eq!(documents("  {\"a\":123}  ", Form::Json), Ok(()));
    assert_eq!(
        documents("{}\n{\"a\":1234}", Form::Ndjson),
        Err(DecodeError::RecordTooLarge { limit: 9, record: 1, line: 2 })
    );
    assert_eq!(documents("[{},{},{}]", Form::Json), Err(DecodeError::TooManyRecords { limit: 2 }));
    assert_eq!(documents("{}{}", Form::Sequence), Ok(()));
}

#[test]
fn documents_keep_their_text_less_white_space() {
    let body = " { \"b\" : 1.0e+2 , \"a\" : [ null , \"\\u0041 \\/\" ] , \"n\" : null } {}";
    let Decoded::Fits(records) = decode(body.as_bytes(), Form::Sequence, Target::Documents, &LIMITS).unwrap() else {
        panic!("documents have no schema")
    };
    assert_eq!(texts(&records), [r#"{"b":1.0e+2,"a":[null,"\u0041 \/"],"n":null}"#, "{}"]);
    assert_eq!(records.values.text(), Values::from_text(records.values.text()).unwrap().text());
}

#[test]
fn numbers_of_thousands_of_digits_are_json() {
    let digits = "7".repeat(6_000);
    let body = format!("{{\"c\":{digits},\"d\":{digits}.5e-6000,\"e\":[{digits}]}}");
    let (json, values) = evolve_from(None, &body).unwrap();
    assert_eq!((&json["fields"][0]["type"], &json["fields"][1]["type"]), (&json!("json"), &json!("float64")));
    assert!(values[0].starts_with(&format!("{{\"c\":{digits},\"d\":0.777")));
    assert_eq!(evolve_from(None, &format!("{{\"c\":{digits}.}}")).unwrap_err().code(), ErrorCode::InvalidJson);
}
