//! Records that are refused: nothing is stored, and the client learns what and where.

use serde_json::{Value, json};

use crate::support::api::{Headers, JSON, NDJSON, Topic};
use crate::support::local::shared;

async fn accepts_the_next(topic: &Topic) {
    let next = topic.tail().await;
    assert_eq!(topic.append("{}").await["first_offset"].as_u64(), Some(next));
    topic.wait_for_tail(next + 1).await;
}

#[tokio::test]
async fn malformed_json_is_400_with_line_and_column() {
    let api = shared().await;
    let cases: [(Headers, &[u8], u64, u64); 21] = [
        (JSON, b"{\"a\":\n  NaN}", 2, 3),
        (JSON, b"{\"a\":Infinity}", 1, 6),
        (JSON, b"{\"a\":-Infinity}", 1, 7),
        (JSON, b"{\"a\":01}", 1, 7),
        (JSON, b"{\"a\":1.}", 1, 8),
        (JSON, b"{\"a\":+1}", 1, 6),
        (JSON, b"{\"a\":\"\t\"}", 1, 7),
        (JSON, b"{'a':1}", 1, 2),
        (JSON, b"{\"a\":1,}", 1, 8),
        (JSON, b"[{\"a\":1},]", 1, 10),
        (JSON, b"[{\"a\":1}{\"a\":2}]", 1, 9),
        (JSON, b"{\"a\":1}{\"a\":2}", 1, 8),
        (JSON, b"{\"a\":1}\nx", 2, 1),
        (JSON, b"xyz", 1, 1),
        (JSON, "{\"\u{e9}\":01}".as_bytes(), 1, 7),
        (JSON, b"{\"a\":\n\"\xff\"}", 2, 2),
        (NDJSON, b"{\"a\":1}\n\n{\"a\":}\n{}", 3, 6),
        (NDJSON, b"{\"a\":1}{\"a\":2}\n", 1, 8),
        (NDJSON, b"{\"a\":\n1}\n", 1, 6),
        (&[], b"{\"a\":1}\n{\"a\":1}\n }", 3, 2),
        (&[], b"{\"a\":1},{\"a\":2}", 1, 8),
    ];
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        for (headers, body, line, column) in cases {
            let problem = topic.refuse("", headers, body, (400, "invalid_json")).await;
            let told = (problem["line"].as_u64(), problem["column"].as_u64());
            assert_eq!(told, (Some(line), Some(column)), "{} {problem}", String::from_utf8_lossy(body));
        }
        for lone in ["\\ud800", "\\udc00", "\\ud800x", "\\ud800\\u0041", "\\x", "\\u12g4"] {
            for body in [
                format!("{{\"a\":\"{lone}\"}}"),
                format!("{{\"{lone}\":1}}"),
                format!("{{\"a\":[{{\"b\":\"{lone}\"}}]}}"),
            ] {
                topic.refuse("", JSON, body, (400, "invalid_json")).await;
            }
        }
        for cut in ["{\"a\":1", "[{\"a\":1}", "{\"a\":\"x", "{\"a\":tr", "{\"a\"", "[", "{\"a\":1}{"] {
            let problem = topic.refuse("", &[], cut, (400, "invalid_json")).await;
            assert_eq!(problem["line"], 1);
        }
        accepts_the_next(&topic).await;
    }
}

#[tokio::test]
async fn what_is_no_object_is_422_with_its_index() {
    let api = shared().await;
    let cases: [(Headers, &str, &[u64]); 11] = [
        (JSON, "7", &[0]),
        (JSON, "null", &[0]),
        (JSON, "\"text\"", &[0]),
        (JSON, "[1]", &[0]),
        (JSON, "[{\"a\":1},null,{\"a\":2},[],true]", &[1, 3, 4]),
        (JSON, "[[{\"a\":1}]]", &[0]),
        (NDJSON, "{\"a\":1}\n\n[{\"a\":1}]\n\"x\"\n", &[1, 2]),
        (NDJSON, "7\n", &[0]),
        (&[], "{\"a\":1} 7 {\"a\":1}", &[1]),
        (&[], "{\"a\":1}[{\"a\":1}]", &[1]),
        (&[], "1 2", &[0, 1]),
    ];
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        for (headers, body, records) in cases {
            let problem = topic.refuse("", headers, body, (422, "invalid_record")).await;
            let errors = problem["errors"].as_array().unwrap();
            let told: Vec<u64> = errors.iter().map(|error| error["record"].as_u64().unwrap()).collect();
            assert_eq!(told, records, "{body}");
            assert!(
                errors.iter().all(|error| error["pointer"] == "" && error["code"] == "invalid_record"),
                "{problem}"
            );
            assert!(errors.iter().all(|error| error["detail"].as_str().unwrap().len() > 10), "{problem}");
        }
        accepts_the_next(&topic).await;
    }
}

fn nested(levels: usize) -> String {
    format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels))
}

#[tokio::test]
async fn duplicate_keys_and_deep_nesting_are_422_with_the_objects_pointer_on_every_backend() {
    let api = shared().await;
    let cases = [
        ("{\"a\":1,\"a\":1}", 0, ""),
        ("{\"a\":null,\"\\u0061\":null}", 0, ""),
        ("[{\"b\":1},{\"s\":{\"x\":1,\"x\":2}}]", 1, "/s"),
        ("{\"l\":[{},{\"x\":null,\"x\":null}]}", 0, "/l/1"),
        ("{\"a/b\":{\"c~d\":{\"x\":1,\"x\":1}}}", 0, "/a~1b/c~0d"),
        ("{\"\":{\"x\":1,\"x\":1}}", 0, "/"),
    ];
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        for (body, record, pointer) in cases {
            let problem = topic.refuse("", JSON, body, (422, "invalid_record")).await;
            let first = &problem["errors"][0];
            assert_eq!((first["record"].as_u64(), first["pointer"].as_str()), (Some(record), Some(pointer)), "{body}");
        }
        for levels in [100, 101, 5_000, 200_000] {
            let problem = topic.refuse("", JSON, nested(levels), (422, "invalid_record")).await;
            let pointer = problem["errors"][0]["pointer"].as_str().unwrap();
            assert!(pointer.starts_with("/a/0/0"), "{problem}");
        }
        topic.append(nested(99)).await;
        accepts_the_next(&topic).await;
        topic.wait_for_tail(2).await;
        assert_eq!(topic.values(0).await[0], nested(99));
        // What is no JSON at all wins.
        topic.refuse("", JSON, format!("{{\"a\":{}", "[".repeat(100_000)), (400, "invalid_json")).await;
        topic.refuse("", &[], "1 {\"a\":1,\"a\":2} {\"b\":}", (400, "invalid_json")).await;
    }
}

#[tokio::test]
async fn at_most_a_hundred_errors_are_told() {
    let topic = shared().await.topic("memory").await;
    let problem = topic.refuse("", &[], "1 ".repeat(500), (422, "invalid_record")).await;
    assert_eq!(problem["errors"].as_array().unwrap().len(), 100);
    let problem = topic.refuse("", NDJSON, "{}\n{}\n7\n", (422, "invalid_record")).await;
    assert_eq!((problem["errors"].as_array().unwrap().len(), &problem["line"]), (1, &json!(3)));
}

#[tokio::test]
async fn one_bad_record_keeps_out_the_whole_batch() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        let mut records: Vec<Value> = (0..500).map(|index| json!({"n": index})).collect();
        records[499] = json!(7);
        let problem = topic.refuse("", JSON, json!(records).to_string(), (422, "invalid_record")).await;
        assert_eq!(problem["errors"][0]["record"], 499);
        assert_eq!(topic.get("").await.json()["schema_version"], Value::Null, "no column either");
        accepts_the_next(&topic).await;
    }
}

#[tokio::test]
async fn a_pointer_leads_to_the_value_at_every_depth() {
    let schema = json!({"fields": [
        {"name": "n", "type": "int8"},
        {"name": "s", "type": "struct", "fields": [
            {"name": "x", "type": "int8"},
            {"name": "deep", "type": "list", "items": {"type": "struct", "fields": [{"name": "y", "type": "bool"}]}}]},
        {"name": "v", "type": "vector", "dim": 2},
        {"name": "req", "type": "list", "items": {"type": "int8"}}]});
    let api = shared().await;
    for backend in ["lance", "persisting"] {
        let topic = api.make(json!({"backend": backend, "schema": schema, "schema_mode": "strict"})).await;
        for (body, pointer, code) in [
            (r#"{"n":1.5}"#, "/n", "invalid_record"),
            (r#"{"n":"1"}"#, "/n", "schema_conflict"),
            (r#"{"s":{"x":300}}"#, "/s/x", "invalid_record"),
            (r#"{"s":{"z":1}}"#, "/s/z", "schema_conflict"),
            (r#"{"s":{"deep":[{"y":true},{},{"y":1}]}}"#, "/s/deep/2/y", "schema_conflict"),
            (r#"{"s":{"deep":{}}}"#, "/s/deep", "schema_conflict"),
            (r#"{"v":[1]}"#, "/v", "invalid_record"),
            (r#"{"v":[1,null]}"#, "/v/1", "invalid_record"),
            (r#"{"req":[1,2,300]}"#, "/req/2", "invalid_record"),
            (r#"{"other":1}"#, "/other", "schema_conflict"),
        ] {
            let problem = topic.refuse("", JSON, format!("[{{}},{body}]"), (422, code)).await;
            let error = &problem["errors"][0];
            assert_eq!(
                (&error["record"], error["pointer"].as_str(), error["code"].as_str()),
                (&json!(1), Some(pointer), Some(code)),
                "{body}"
            );
            let detail = error["detail"].as_str().unwrap();
            let column = pointer.split('/').nth(1).unwrap();
            assert!(detail.contains(column), "names the column: {detail}");
        }
        assert_eq!(topic.append("{\"n\":1}").await["first_offset"], 0);
    }
}

#[tokio::test]
async fn refused_appends_are_counted_and_change_no_stats() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    let before = topic.get("stats").await.json();
    topic.refuse("", JSON, "{\"a\":", (400, "invalid_json")).await;
    topic.refuse("", JSON, "7", (422, "invalid_record")).await;
    assert_eq!(topic.get("stats").await.json(), before);
    assert_eq!(topic.get("count").await.json(), json!({"total_count": 0}));
}

#[tokio::test]
async fn what_is_wrong_with_the_text_outranks_what_the_columns_say() {
    let schema = json!({"fields": [{"name": "a", "type": "int64"}]});
    for backend in ["lance", "persisting"] {
        let ask = json!({"backend": backend, "schema": schema, "schema_mode": "strict"});
        let topic = shared().await.make(ask).await;
        let deep = format!("{{\"b\":{}{}}}", "[".repeat(101), "]".repeat(101));
        for (record, pointer) in [
            (r#"{"b":1,"b":2}"#, Some("")),
            (r#"{"b":{"c":1,"c":2}}"#, Some("/b")),
            (r#"{"a":"x","a":1}"#, Some("")),
            (deep.as_str(), None),
        ] {
            let problem = topic.refuse("", &[], record, (422, "invalid_record")).await;
            assert!(pointer.is_none_or(|pointer| problem["errors"][0]["pointer"] == pointer), "{problem}");
        }
    }
}
