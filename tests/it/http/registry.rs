//! Schemas that clients post: what each change does, on each backend, in memory and on disk.

use serde_json::{Value, json};

use crate::support::api::Topic;
use crate::support::local::shared;

/// Every kind of field that changes are tried on.
fn declared() -> Value {
    json!({"fields": [
        {"name": "i", "type": "int32"}, {"name": "big", "type": "int64"}, {"name": "f", "type": "float32"},
        {"name": "j", "type": "json"}, {"name": "t", "type": "string"}, {"name": "v", "type": "list", "items": {"type": "float64"}},
        {"name": "s", "type": "struct", "fields": [{"name": "x", "type": "int8"}, {"name": "y", "type": "json"}]},
        {"name": "l", "type": "list", "items": {"type": "struct", "fields": [
            {"name": "m", "type": "int64"}, {"name": "n", "type": "string"}]}}
    ]})
}

const ROWS: [&str; 3] = [
    r#"{"i":1,"big":9007199254740993,"f":0.1,"j":{"a":[1]},"t":"x","v":[0.5,1],"s":{"x":1,"y":5},"l":[{"m":1,"n":"a"},null,{}]}"#,
    "{}",
    r#"{"i":-2,"j":{"a":[]},"v":[-1,0.1],"s":{},"l":[]}"#,
];

async fn fields(topic: &Topic) -> Value {
    topic.get("schemas/latest").await.expect(200).json()["fields"].clone()
}

pub(super) async fn flush(topic: &Topic) {
    topic.post("flush", "").await.expect(200);
}

pub(super) async fn post(topic: &Topic, changes: Value) -> Value {
    topic.post("schemas", json!({ "changes": changes }).to_string()).await.expect(201).json()
}

/// Changes with what the three rows read as afterwards.
fn changes() -> Vec<(Value, [&'static str; 3])> {
    vec![
        (
            json!([{"op": "add", "path": "new", "to": {"type": "bool"}}, {"op": "add", "path": "l.new", "to": {"type": "int8"}}]),
            ROWS,
        ),
        (
            json!([{"op": "rename", "path": "t", "to": "odd name."}, {"op": "rename", "path": "s.x", "to": "z"},
                {"op": "rename", "path": "l.n", "to": "name"}]),
            [
                r#"{"i":1,"big":9007199254740993,"f":0.1,"j":{"a":[1]},"odd name.":"x","v":[0.5,1],"s":{"z":1,"y":5},"l":[{"m":1,"name":"a"},null,{}]}"#,
                "{}",
                ROWS[2],
            ],
        ),
        (
            json!([{"op": "rename", "path": "i", "to": "tmp"}, {"op": "rename", "path": "t", "to": "i"},
                {"op": "rename", "path": "tmp", "to": "t"}]),
            [
                r#"{"t":1,"big":9007199254740993,"f":0.1,"j":{"a":[1]},"i":"x","v":[0.5,1],"s":{"x":1,"y":5},"l":[{"m":1,"n":"a"},null,{}]}"#,
                "{}",
                r#"{"t":-2,"j":{"a":[]},"v":[-1,0.1],"s":{},"l":[]}"#,
            ],
        ),
        (
            json!([{"op": "drop", "path": "j"}, {"op": "drop", "path": "s.x"}, {"op": "drop", "path": "l.m"},
                {"op": "add", "path": "j", "to": {"type": "json"}}, {"op": "add", "path": "l.m", "to": {"type": "int64"}}]),
            [
                r#"{"i":1,"big":9007199254740993,"f":0.1,"t":"x","v":[0.5,1],"s":{"y":5},"l":[{"n":"a"},null,{}]}"#,
                "{}",
                r#"{"i":-2,"v":[-1,0.1],"s":{},"l":[]}"#,
            ],
        ),
        (
            json!([{"op": "widen", "path": "i", "to": {"type": "float64"}}, {"op": "widen", "path": "f", "to": {"type": "float64"}},
                {"op": "widen", "path": "s.x", "to": {"type": "int64"}}, {"op": "widen", "path": "l.m", "to": {"type": "float64"}}]),
            [
                r#"{"i":1,"big":9007199254740993,"f":0.10000000149011612,"j":{"a":[1]},"t":"x","v":[0.5,1],"s":{"x":1,"y":5},"l":[{"m":1,"n":"a"},null,{}]}"#,
                "{}",
                ROWS[2],
            ],
        ),
        (
            json!([{"op": "convert", "path": "v", "to": {"type": "vector", "dim": 2}},
                {"op": "convert", "path": "j", "to": {"type": "struct", "fields": [{"name": "a", "type": "list", "items": {"type": "int64"}}]}},
                {"op": "convert", "path": "s.y", "to": {"type": "int64"}}]),
            ROWS,
        ),
    ]
}

#[tokio::test]
async fn a_posted_change_is_consent_in_either_mode_in_memory_and_on_disk() {
    for mode in ["evolve", "strict"] {
        for flushed in [false, true] {
            for (changes, expected) in changes() {
                let topic = shared().await.make(json!({"schema": declared(), "schema_mode": mode})).await;
                topic.append(ROWS[..2].join("\n")).await;
                if flushed {
                    flush(&topic).await;
                }
                topic.append(ROWS[2]).await;
                let body = json!({ "changes": changes }).to_string();
                let checked = topic.post("schemas/check", body.clone()).await.expect(200).json();
                assert_eq!((&checked["compatible"], &checked["problems"]), (&json!(true), &json!([])), "{changes}");
                let answer = topic.post("schemas", body).await.expect(201);
                let made = answer.json();
                assert_eq!(
                    (&made["version"], &made["cause"], &made["changes"]),
                    (&json!(2), &json!("posted"), &checked["changes"])
                );
                assert_eq!(answer.header("location"), Some(topic.at("schemas/2").as_str()));
                assert_eq!(made["changes"].as_array().unwrap().len(), changes.as_array().unwrap().len());
                assert_eq!(topic.get("schemas/latest").await.json(), made);
                assert_eq!(topic.values(0).await, expected, "{changes} at once");
                flush(&topic).await;
                assert_eq!(topic.values(0).await, expected, "{changes} on disk");
                // What was printed is taken again.
                let receipt = topic.append(expected[0]).await;
                assert_eq!(receipt["schema_version"], 2, "{changes}");
                flush(&topic).await;
                assert_eq!(topic.values(3).await, [expected[0]], "{changes}");
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_and_changes_nothing() {
    let topic = shared().await.make(json!({"schema": declared()})).await;
    topic.append(ROWS.join("\n")).await;
    flush(&topic).await;
    topic.append(r#"{"v":[1],"j":1}"#).await;
    let one = |change: Value| json!({ "changes": [change] });
    for (body, status, code, says) in [
        (one(json!({"op": "rename", "path": "t", "to": "i"})), 422, "schema_conflict", "\"i\""),
        (one(json!({"op": "rename", "path": "t", "to": "_offset"})), 422, "schema_conflict", "reserved"),
        (one(json!({"op": "widen", "path": "i", "to": {"type": "int8"}})), 422, "schema_conflict", "int8 from int32"),
        (one(json!({"op": "widen", "path": "big", "to": {"type": "float64"}})), 422, "schema_conflict", "2^53"),
        (one(json!({"op": "drop", "path": "no"})), 422, "schema_conflict", "no field no"),
        (
            one(json!({"op": "convert", "path": "v", "to": {"type": "vector", "dim": 2}})),
            422,
            "schema_conflict",
            "offset 3",
        ),
        (
            one(json!({"op": "convert", "path": "v", "to": {"type": "vector", "dim": 3}})),
            422,
            "schema_conflict",
            "offset 0",
        ),
        (one(json!({"op": "convert", "path": "j", "to": {"type": "int64"}})), 422, "schema_conflict", "offset 0"),
        (json!({"fields": [{"name": "i", "type": "string"}]}), 422, "schema_conflict", "string from int32"),
        (json!({"fields": [{"name": "i", "type": "int"}]}), 400, "invalid_body", "/fields/0/type"),
        (one(json!({"op": "widen", "path": "i"})), 400, "invalid_body", "/changes/0/to"),
        (one(json!({"op": "remove", "path": "i"})), 400, "invalid_body", "/changes/0/op"),
        (
            json!({"fields": [{"name": "w", "type": "vector", "dim": 0}]}),
            400,
            "invalid_parameter",
            "an integer above 0. (at /fields/0/dim)",
        ),
        (
            one(json!({"op": "convert", "path": "v", "to": {"type": "vector", "dim": 70_000}})),
            422,
            "schema_conflict",
            "65536 items",
        ),
        (json!({"fields": [], "changes": []}), 400, "invalid_body", "either"),
        (json!({}), 400, "invalid_body", "either"),
        (json!({"schema": {}}), 400, "invalid_body", "schema"),
    ] {
        let problem = topic.post("schemas", body.to_string()).await.problem(status, code);
        assert!(problem["detail"].as_str().unwrap().contains(says), "{body}: {problem}");
        let checked = topic.post("schemas/check", body.to_string()).await;
        if status == 400 {
            checked.problem(400, code);
        } else {
            let checked = checked.expect(200).json();
            assert_eq!(checked["compatible"], false, "{body}");
            assert!(checked["problems"][0]["detail"].as_str().unwrap().contains(says), "{body}: {checked}");
        }
    }
    topic.post("schemas", "{").await.problem(400, "invalid_json");
    topic.call("POST", "schemas", &[("content-type", "text/csv")], "{}").await.problem(415, "unsupported_media_type");
    topic.post("schemas?x=1", "{}").await.problem(400, "unknown_parameter");
    assert_eq!(topic.get("schemas").await.json()["schemas"].as_array().unwrap().len(), 1);
    assert_eq!(topic.values(0).await[..3], ROWS);
}

#[tokio::test]
async fn each_backend_has_its_own_answer() {
    let api = shared().await;
    let body = r#"{"changes":[{"op":"rename","path":"a","to":"b"},{"op":"add","path":"c","to":{"type":"bool"}}]}"#;
    let memory = api.topic("memory").await;
    for rest in ["schemas", "schemas/check"] {
        let problem = memory.post(rest, body).await.problem(400, "unsupported_by_backend");
        assert_eq!(
            (&problem["capability"], &problem["allowed"]),
            (&json!("schema_evolution"), &json!(["lance", "persisting"]))
        );
    }
    let lance = api.topic("lance").await;
    lance.append(r#"{"a":1}"#).await;
    let problem = lance.post("schemas", body).await.problem(422, "schema_conflict");
    assert!(problem["detail"].as_str().unwrap().contains("rename a, add c"), "{problem}");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2);
    let checked = lance.post("schemas/check", body).await.expect(200).json();
    assert_eq!((checked["compatible"].as_bool(), checked["problems"].as_array().unwrap().len()), (Some(false), 2));
    // What it is already is no change.
    let same = r#"{"fields":[{"name":"a","type":"int64"}]}"#;
    assert_eq!(lance.post("schemas", same).await.expect(200).json()["version"], 1);
    assert_eq!(
        lance.post("schemas/check", same).await.expect(200).json(),
        json!({"compatible": true, "changes": [], "problems": []})
    );
    for backend in ["lance", "persisting"] {
        api.named("nobody").post("schemas", body).await.problem(404, "topic_not_found");
        assert_eq!(api.topic(backend).await.get("schemas").await.json(), json!({"schemas": []}));
    }
}

#[tokio::test]
async fn the_precondition_is_the_newest_schema() {
    let topic = shared().await.topic("persisting").await;
    let first = r#"{"fields":[{"name":"a","type":"int64"}]}"#;
    topic.call("POST", "schemas", &[("if-match", "*")], first).await.problem(412, "precondition_failed");
    let made = topic.post("schemas", first).await.expect(201);
    assert_eq!((&made.json()["version"], &made.json()["cause"]), (&json!(1), &json!("posted")));
    let etag = topic.get("schemas/latest").await.header("etag").unwrap().to_owned();
    assert_eq!(made.header("etag"), Some(etag.as_str()));
    topic.append(r#"{"a":1,"more":2}"#).await;
    let change = r#"{"changes":[{"op":"drop","path":"more"}]}"#;
    topic.call("POST", "schemas", &[("if-match", &etag)], change).await.problem(412, "precondition_failed");
    let etag = topic.get("schemas/latest").await.header("etag").unwrap().to_owned();
    topic.call("POST", "schemas", &[("if-match", &etag)], change).await.expect(201);
    topic.call("POST", "schemas", &[("if-match", &etag)], first).await.problem(412, "precondition_failed");
    // The same again is no new version.
    assert_eq!(topic.post("schemas", first).await.expect(200).json()["version"], 3);
    assert_eq!(topic.values(0).await, [r#"{"a":1}"#]);
}

#[tokio::test]
async fn the_whole_schema_says_what_goes_and_in_which_order_records_print() {
    let topic = shared().await.topic("persisting").await;
    topic.append(r#"{"a":1,"b":"x","c":true}"#).await;
    let whole = json!({"fields": [{"name": "d", "type": "json"}, {"name": "c", "type": "bool"}, {"name": "a", "type": "float64"}]});
    let made = topic.post("schemas", whole.to_string()).await.expect(201).json();
    let ops: Vec<String> = made["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| format!("{} {}", change["op"].as_str().unwrap(), change["path"].as_str().unwrap()))
        .collect();
    assert_eq!(ops, ["widen a", "drop b", "add d"]);
    assert_eq!(topic.values(0).await, [r#"{"c":true,"a":1}"#]);
    topic.append(r#"{"a":0.5,"d":[1]}"#).await;
    flush(&topic).await;
    assert_eq!(topic.values(0).await, [r#"{"c":true,"a":1}"#, r#"{"d":[1],"a":0.5}"#]);
    let names: Vec<Value> =
        fields(&topic).await.as_array().unwrap().iter().map(|field| field["name"].clone()).collect();
    assert_eq!(names, ["d", "c", "a"]);
}

#[tokio::test]
async fn versions_are_listed_page_by_page() {
    let topic = shared().await.topic("persisting").await;
    for n in 1..=5 {
        topic.append(format!("{{\"c{n}\":1}}")).await;
    }
    let all = topic.get("schemas").await.expect(200).json();
    assert_eq!(all["schemas"].as_array().unwrap().len(), 5);
    assert!(all.get("next_after").is_none(), "{all}");
    let (mut paged, mut pages, mut query) = (Vec::new(), 0, "limit=2".to_owned());
    loop {
        let page = topic.get(&format!("schemas?{query}")).await.expect(200).json();
        paged.extend(page["schemas"].as_array().unwrap().clone());
        pages += 1;
        let Some(after) = page.get("next_after") else { break };
        query = format!("limit=2&after={after}");
    }
    assert_eq!(pages, 3);
    assert_eq!(json!(paged), all["schemas"]);
    for (version, told) in (1..).zip(&paged) {
        assert_eq!(told["version"], version);
        assert_eq!(topic.get(&format!("schemas/{version}")).await.expect(200).json(), *told);
    }
    assert_eq!(topic.get("schemas/latest").await.expect(200).json(), paged[4]);
    assert_eq!(topic.get("schemas?after=5").await.expect(200).json(), json!({"schemas": []}));
    topic.get("schemas/6").await.problem(404, "not_found");
    topic.get("schemas/4294967296").await.problem(404, "not_found");
    for query in ["limit=0", "limit=1001", "after=0", "after=x", "after=4294967296"] {
        topic.get(&format!("schemas?{query}")).await.problem(400, "invalid_parameter");
    }
}
