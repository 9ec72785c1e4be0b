//! Columns: what they take, how they print, what is inferred.

use serde_json::{Value, json};

use crate::support::api::{JSON, Topic};
use crate::support::local::shared;

/// A topic with one declared column `c`.
async fn column(field: &str) -> Topic {
    let mut field: Value = serde_json::from_str(field).unwrap();
    field["name"] = "c".into();
    shared().await.make(json!({"schema": {"fields": [field]}, "schema_mode": "strict"})).await
}

#[tokio::test]
async fn values_print_in_their_one_form_before_and_after_a_flush() {
    let cases: [(&str, &[(&str, &str)]); 15] = [
        (r#"{"type":"bool"}"#, &[("true", "true"), ("false", "false")]),
        (r#"{"type":"int8"}"#, &[("-128", "-128"), ("127", "127"), ("1.0", "1"), ("1e2", "100")]),
        (
            r#"{"type":"int64"}"#,
            &[
                ("-0", "0"),
                ("-0.0", "0"),
                ("9223372036854775807", "9223372036854775807"),
                ("9007199254740993", "9007199254740993"),
                ("-9223372036854775808", "-9223372036854775808"),
            ],
        ),
        (r#"{"type":"uint64"}"#, &[("18446744073709551615", "18446744073709551615"), ("0", "0")]),
        (
            r#"{"type":"float64"}"#,
            &[
                ("1", "1"),
                ("1.0", "1"),
                ("-0.0", "0"),
                ("0.1", "0.1"),
                ("1e21", "1e+21"),
                ("1e20", "100000000000000000000"),
                ("1e-6", "0.000001"),
                ("1e-7", "1e-7"),
                ("9007199254740992", "9007199254740992"),
                ("1.7976931348623157e308", "1.7976931348623157e+308"),
                ("5e-324", "5e-324"),
                ("1e-400", "0"),
            ],
        ),
        (
            r#"{"type":"float32"}"#,
            &[("0.1", "0.1"), ("16777217", "16777216"), ("3.4028235e38", "3.4028235e+38"), ("1.0", "1")],
        ),
        (
            r#"{"type":"string"}"#,
            &[(r#""\u0041\/\u00e9\ud83d\ude00\n\u001F\"\\""#, "\"A/é😀\\n\\u001f\\\"\\\\\""), ("\"\"", "\"\"")],
        ),
        (r#"{"type":"binary"}"#, &[("\"QUI=\"", "\"QUI=\""), ("\"\"", "\"\""), ("\"QUJD\"", "\"QUJD\"")]),
        (r#"{"type":"date32"}"#, &[("\"2024-02-29\"", "\"2024-02-29\""), ("\"0001-01-01\"", "\"0001-01-01\"")]),
        (
            r#"{"type":"timestamp"}"#,
            &[
                ("\"2026-11-23T10:00:00.5+01:00\"", "\"2026-11-23T09:00:00.500000Z\""),
                ("\"2026-11-23T09:00:00Z\"", "\"2026-11-23T09:00:00.000000Z\""),
                ("\"2026-11-23T09:00:00.123456-12:00\"", "\"2026-11-23T21:00:00.123456Z\""),
            ],
        ),
        (
            r#"{"type":"json"}"#,
            &[
                (r#" { "b" : [ 1.0 , null ] , "a" : "\u0041 b" } "#, r#"{"b":[1.0,null],"a":"\u0041 b"}"#),
                ("1e400", "1e400"),
                ("\"x\"", "\"x\""),
                ("[]", "[]"),
            ],
        ),
        (r#"{"type":"list","items":{"type":"int8"}}"#, &[("[1, null , 2.0]", "[1,null,2]"), ("[]", "[]")]),
        (
            r#"{"type":"struct","fields":[{"name":"a","type":"bool"},{"name":"b","type":"int8"}]}"#,
            &[(r#"{"b":1,"a":true}"#, r#"{"a":true,"b":1}"#), (r#"{"a":null}"#, "{}")],
        ),
        (r#"{"type":"vector","dim":3}"#, &[("[1, 0.1, 16777217]", "[1,0.1,16777216]")]),
        (r#"{"type":"vector","dim":2,"item":"float16"}"#, &[("[0.1, 2049]", "[0.1,2048]")]),
    ];
    for (field, values) in cases {
        let topic = column(field).await;
        let body: String = values.iter().map(|(given, _)| format!("{{ \"c\" : {given} }}\n")).collect();
        topic.append(body).await;
        let expected: Vec<String> = values.iter().map(|(_, printed)| format!("{{\"c\":{printed}}}")).collect();
        assert_eq!(topic.values(0).await, expected, "{field}");
        topic.post("flush", "").await.expect(200);
        assert_eq!(topic.values(0).await, expected, "{field} from the dataset");
        let stream = topic.get("stream?offset=0&block=false").await.text();
        assert!(expected.iter().all(|value| stream.contains(&format!("\"value\":{value}}}\n"))), "{field}");
        assert!(topic.get("records/0").await.text().ends_with(&format!("\"value\":{}}}", expected[0])), "{field}");
    }
}

#[tokio::test]
async fn no_other_coercion_and_overflow_is_422() {
    let cases: [(&str, &[(&str, &str)]); 12] = [
        (r#"{"type":"bool"}"#, &[("1", "schema_conflict"), ("\"true\"", "schema_conflict")]),
        (r#"{"type":"int8"}"#, &[("128", "invalid_record"), ("1.5", "invalid_record"), ("\"1\"", "schema_conflict")]),
        (
            r#"{"type":"int64"}"#,
            &[
                ("\"12\"", "schema_conflict"),
                ("1.5", "invalid_record"),
                ("9223372036854775808", "invalid_record"),
                ("true", "schema_conflict"),
                ("1e400", "invalid_record"),
            ],
        ),
        (r#"{"type":"uint8"}"#, &[("-1", "invalid_record"), ("256", "invalid_record")]),
        (
            r#"{"type":"float64"}"#,
            &[
                ("9007199254740993", "invalid_record"),
                ("-9007199254740993", "invalid_record"),
                ("1e309", "invalid_record"),
                ("\"1\"", "schema_conflict"),
            ],
        ),
        (r#"{"type":"float32"}"#, &[("3.5e38", "invalid_record")]),
        (r#"{"type":"string"}"#, &[("12", "schema_conflict"), ("{}", "schema_conflict")]),
        (r#"{"type":"binary"}"#, &[("\"QQ\"", "invalid_record"), ("\"*\"", "invalid_record")]),
        (r#"{"type":"date32"}"#, &[("\"2023-02-29\"", "invalid_record"), ("\"2023-2-1\"", "invalid_record")]),
        (
            r#"{"type":"timestamp"}"#,
            &[
                ("1700000000", "schema_conflict"),
                ("\"2026-11-23T10:00:00.0000001Z\"", "invalid_record"),
                ("\"2026-11-23\"", "invalid_record"),
            ],
        ),
        (
            r#"{"type":"vector","dim":2}"#,
            &[
                ("[1]", "invalid_record"),
                ("[1,2,3]", "invalid_record"),
                ("[1,null]", "invalid_record"),
                ("[1,1e39]", "invalid_record"),
            ],
        ),
        (r#"{"type":"int8","nullable":false}"#, &[("null", "invalid_record")]),
    ];
    for (field, values) in cases {
        let topic = column(field).await;
        for (value, code) in values {
            let problem = topic.refuse("", JSON, format!("{{\"c\":{value}}}"), (422, code)).await;
            let detail = problem["errors"][0]["detail"].as_str().unwrap();
            assert!(detail.contains("`c"), "names the column: {detail}");
        }
    }
    let required = column(r#"{"type":"int8","nullable":false}"#).await;
    let problem = required.refuse("", JSON, "{}", (422, "invalid_record")).await;
    assert_eq!(problem["errors"][0]["pointer"], "/c");
}

/// The type of a field in short: `list<int64>`, `struct<a:bool>`.
fn short(field: &Value) -> String {
    match field["type"].as_str().unwrap() {
        "list" => format!("list<{}>", short(&field["items"])),
        "struct" => {
            let member = |field: &Value| format!("{}:{}", field["name"].as_str().unwrap(), short(field));
            format!("struct<{}>", field["fields"].as_array().unwrap().iter().map(member).collect::<Vec<_>>().join(","))
        }
        other => other.to_owned(),
    }
}

async fn fields(topic: &Topic) -> Vec<Value> {
    topic.get("schemas/latest").await.expect(200).json()["fields"].as_array().unwrap().clone()
}

#[tokio::test]
async fn columns_are_inferred_over_all_records_of_the_batch() {
    let cases = [
        ("true;false", "bool"),
        ("\"2026-11-23\";\"x\"", "string"),
        ("1;null;-9223372036854775808", "int64"),
        ("1;9223372036854775808", "uint64"),
        ("-1;9223372036854775808", "json"),
        ("18446744073709551616", "json"),
        ("1;1.0", "float64"),
        ("1.5;9007199254740992", "float64"),
        ("1.5;9007199254740993", "json"),
        ("1e400", "json"),
        ("1;\"x\"", "json"),
        ("[]", "json"),
        ("{}", "json"),
        ("[1];[null,1.5]", "list<float64>"),
        ("[1,\"x\"]", "list<json>"),
        ("{};{\"a\":1};{\"b\":[true],\"a\":2.5}", "struct<a:float64,b:list<bool>>"),
        ("{\"a\":1};[1]", "json"),
        ("[[1],[2.5]]", "list<list<float64>>"),
    ];
    let api = shared().await;
    for (at, (values, expected)) in cases.into_iter().enumerate() {
        let topic = api.topic(if at % 2 == 0 { "persisting" } else { "lance" }).await;
        let body: String = values.split(';').map(|value| format!("{{\"c\":{value}}}")).collect();
        topic.append(body).await;
        let fields = fields(&topic).await;
        assert_eq!((fields.len(), short(&fields[0]).as_str()), (1, expected), "{values}");
        assert_eq!(fields[0]["nullable"], true);
        // The sentence of one value in one form holds for what is inferred, too.
        topic.post("flush", "").await.expect(200);
        let before = topic.values(0).await;
        assert_eq!(before.len(), values.split(';').count());
    }
    let topic = api.topic("persisting").await;
    let receipt = topic.append("{\"a\":null}{}").await;
    assert_eq!(receipt["schema_version"], Value::Null, "only null or absent: no column yet");
    assert_eq!(topic.values(0).await, ["{}", "{}"]);
    let receipt = topic.append("{\"a\":1}").await;
    assert_eq!(receipt["schema_version"], 1);
    assert_eq!(topic.values(0).await, ["{}", "{}", "{\"a\":1}"]);
}

#[tokio::test]
async fn any_key_works_and_column_names_are_encoded() {
    let api = shared().await;
    let keys = [
        "",
        "a.b",
        "100%",
        "back`tick",
        "tab\tkey",
        "_rowid",
        "_rowaddr",
        "_rowoffset",
        "_offset",
        "_timestamp",
        "_distance",
        "_score",
        "_relevance_score",
        "_row_created_at_version",
        "_row_last_updated_at_version",
        "naïve",
        "日本",
        "a\"b",
        "a/b~c",
        "%5Foffset",
        "Offset",
        "UPPER",
        "upper",
        " ",
        "\u{7f}",
    ];
    for backend in crate::http::BACKENDS {
        let topic = api.topic(backend).await;
        let record: serde_json::Map<String, Value> =
            keys.iter().enumerate().map(|(at, key)| ((*key).to_owned(), json!(at))).collect();
        let nested = json!({"s": record, "l": [record]});
        let mut whole = record.clone();
        whole.extend(nested.as_object().unwrap().clone());
        topic.append(json!(whole).to_string()).await;
        topic.append(json!(whole).to_string()).await;
        topic.post("flush", "").await.expect(200);
        topic.wait_for_tail(2).await;
        for value in topic.values(0).await {
            assert_eq!(serde_json::from_str::<Value>(&value).unwrap(), json!(whole), "{backend}");
        }
        if backend != "memory" {
            let names: Vec<String> =
                fields(&topic).await.iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect();
            assert!(keys.iter().all(|key| names.iter().any(|name| name == key)), "the API shows keys: {names:?}");
        }
        let found = topic.get("records?fields=%22a.b%22,_offset,%22%22,s.%22a.b%22&limit=1").await.expect(200).json();
        assert_eq!(found["records"][0]["value"], json!({"a.b": 1, "_offset": 8, "": 0, "s": {"a.b": 1}}), "{backend}");
    }
}

#[tokio::test]
async fn absent_and_null_are_the_same_in_columns_and_memory_keeps_text() {
    let api = shared().await;
    let body = r#"{ "b" : null, "a" : { "x" : null, "y" : 1.0 }, "l" : [ null, 1 ] }"#;
    for backend in ["lance", "persisting"] {
        let topic = api.topic(backend).await;
        topic.append(format!("{body}{{\"a\":{{\"x\":null}},\"unknown\":null}}")).await;
        topic.wait_for_tail(2).await;
        assert_eq!(topic.values(0).await, [r#"{"a":{"y":1},"l":[null,1]}"#, r#"{"a":{}}"#]);
        topic.post("flush", "").await.expect(200);
        assert_eq!(topic.values(0).await, [r#"{"a":{"y":1},"l":[null,1]}"#, r#"{"a":{}}"#]);
    }
    let memory = api.topic("memory").await;
    memory.append(body).await;
    assert_eq!(memory.values(0).await, [r#"{"b":null,"a":{"x":null,"y":1.0},"l":[null,1]}"#]);
}

#[tokio::test]
async fn at_most_a_thousand_leaf_columns() {
    let api = shared().await;
    let record = |count: usize| {
        let members: Vec<String> = (0..count).map(|index| format!("\"k{index}\":{index}")).collect();
        format!("{{{}}}", members.join(","))
    };
    let topic = api.topic("persisting").await;
    let problem = topic.refuse("", JSON, record(1_001), (422, "too_many_columns")).await;
    assert_eq!(problem["limit"], 1_000);
    topic.refuse("", JSON, format!("{{\"a\":{},\"b\":1}}", record(1_000)), (422, "too_many_columns")).await;
    topic.append(record(1_000)).await;
    let problem = topic.refuse("", JSON, "[{\"k0\":1},\n{\"more\":1}]", (422, "too_many_columns")).await;
    assert_eq!((&problem["limit"], &problem["line"]), (&json!(1_000), &json!(2)));
    let [error] = problem["errors"].as_array().unwrap().as_slice() else { panic!("{problem}") };
    assert_eq!(
        (&error["record"], &error["pointer"], &error["code"]),
        (&json!(1), &json!(""), &json!("too_many_columns"))
    );
    assert_eq!(topic.append(record(1_000)).await["first_offset"], 1);
    let memory = api.topic("memory").await;
    memory.append(record(5_000)).await;
}
