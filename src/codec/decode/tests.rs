//! What the tests of decoding share, and the rules of bodies.

use serde_json::json;

use super::*;
use crate::model::ErrorCode;

pub(super) const LIMITS: DecodeLimits =
    DecodeLimits { record_bytes_max: 1 << 23, records_max: 1_000_000, errors_max: 100 };

pub(super) fn schema(fields: serde_json::Value) -> Schema {
    Schema::from_json(&json!({ "fields": fields })).unwrap()
}

/// One column `c`.
pub(super) fn column(field: &str) -> Schema {
    let mut field: serde_json::Value = serde_json::from_str(field).unwrap();
    field["name"] = "c".into();
    schema(json!([field]))
}

pub(super) fn texts(records: &Records) -> Vec<String> {
    let text = |index| String::from_utf8(records.values.get(index).to_vec()).unwrap();
    (0..records.values.len()).map(text).collect()
}

pub(super) fn decode_with(
    body: &str,
    form: Form,
    schema: Option<&Schema>,
    mode: SchemaMode,
    wide: &WideColumns,
) -> Result<Decoded, DecodeError> {
    let schema = schema.map(|schema| PreparedSchema::new(Arc::new(schema.clone())));
    decode(body.as_bytes(), form, Target::Columns { schema: schema.as_ref(), mode, wide }, &LIMITS)
}

pub(super) fn strict(body: &str, schema: &Schema) -> Result<Vec<String>, DecodeError> {
    match decode_with(body, Form::Sequence, Some(schema), SchemaMode::Strict, &WideColumns::default())? {
        Decoded::Fits(records) => Ok(texts(&records)),
        Decoded::Evolves(_) => panic!("strict does not evolve"),
    }
}

pub(super) fn first_error(error: DecodeError) -> (ErrorCode, String, String) {
    match error {
        DecodeError::InvalidRecords { mut errors, .. } => {
            let first = errors.remove(0);
            (first.code, first.pointer, first.detail)
        }
        other => (other.code(), String::new(), other.to_string()),
    }
}

/// The schema after a batch, as its fields' JSON, and the records.
pub(super) fn evolve_from(
    schema: Option<&Schema>,
    body: &str,
) -> Result<(serde_json::Value, Vec<String>), DecodeError> {
    match decode_with(body, Form::Sequence, schema, SchemaMode::Evolve, &WideColumns::default())? {
        Decoded::Fits(records) => Ok((schema.map(Schema::to_json).unwrap_or_default(), texts(&records))),
        Decoded::Evolves(evolution) => Ok((evolution.schema.to_json(), texts(&evolution.records))),
    }
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
    let limits = DecodeLimits { record_bytes_max: 9, records_max: 2, errors_max: 100 };
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

#[test]
fn lists_whose_items_take_much_more_than_their_text_are_refused() {
    let members: Vec<_> = (0..1_000).map(|at| json!({"name": format!("m{at}"), "type": "int64"})).collect();
    let structs = schema(json!([{"name": "l", "type": "list", "items": {"type": "struct", "fields": members}}]));
    let vectors = schema(json!([{"name": "l", "type": "list", "items": {"type": "vector", "dim": 65_536}}]));
    let record = |item: &str, count: usize| format!("{{\"l\":[{}{item}]}}", format!("{item},").repeat(count - 1));
    // 8,000 bytes for each item of the one, 262,144 of the other; 2^20 for a record and 128 for each byte of its text.
    for (schema, item, most) in [(&structs, "{}", 137), (&vectors, "null", 4)] {
        let body = format!("{}\n{}", record(item, most), record(item, 1));
        assert_eq!(strict(&body, schema).unwrap().len(), 2);
        let (code, pointer, detail) = first_error(strict(&record(item, most + 1), schema).unwrap_err());
        assert_eq!((code, pointer.as_str()), (ErrorCode::InvalidRecord, ""));
        assert!(detail.contains("bytes as columns"), "{detail}");
    }
    let numbers = column(r#"{"type":"list","items":{"type":"int64"}}"#);
    let many = format!("{{\"c\":[{}1]}}", "1,".repeat(1 << 21));
    assert_eq!(strict(&many, &numbers).unwrap().len(), 1);
}
