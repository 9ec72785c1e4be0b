//! Reads under a schema version that the reader names.

use serde_json::{Value, json};

use super::registry::{flush, post};
use crate::support::api::{Topic, values_of};
use crate::support::local::{Setup, shared};

/// The values under a version, from a page and as lines, which are the same.
async fn under(topic: &Topic, query: &str) -> Vec<String> {
    let rest = format!("records?{query}");
    let lines = topic.call("GET", &rest, &[("accept", "application/x-ndjson")], "").await.expect(200).text();
    let page = topic.get(&rest).await.expect(200).text();
    let records = page.split_once("\"records\":[").unwrap().1.split_once("],\"next_offset\"").unwrap().0;
    assert_eq!(records, lines.trim_end().replace('\n', ","));
    values_of(&lines)
}

/// Every version that a topic goes through in the tests below, and what its records read as under each.
async fn evolved(topic: &Topic, flushed: bool) -> Vec<Vec<&'static str>> {
    let settle = async || {
        if flushed {
            flush(topic).await;
        }
    };
    topic
        .append(r#"{"a":1,"s":{"x":1,"y":"t"},"v":[0.5,1],"j":{"k":[1],"z":"2026-01-01T01:00:00+01:00"},"f":0.1}"#)
        .await;
    settle().await;
    topic.append(r#"{"a":1.5,"s":{"x":2,"z":true},"new":[1],"v":[2,3],"j":{}}"#).await;
    post(
        topic,
        json!([{"op": "rename", "path": "a", "to": "b"}, {"op": "rename", "path": "s.x", "to": "odd name"},
            {"op": "drop", "path": "s.y"}, {"op": "add", "path": "a", "to": {"type": "string"}}]),
    )
    .await;
    settle().await;
    topic.append(r#"{"b":3,"a":"text","s":{"odd name":3},"f":0.30000001192092896}"#).await;
    let members =
        json!([{"name": "z", "type": "timestamp"}, {"name": "k", "type": "list", "items": {"type": "int64"}}]);
    post(
        topic,
        json!([{"op": "widen", "path": "f", "to": {"type": "float64"}},
            {"op": "convert", "path": "v", "to": {"type": "vector", "dim": 2}},
            {"op": "convert", "path": "j", "to": {"type": "struct", "fields": members}}]),
    )
    .await;
    settle().await;
    topic.append(r#"{"b":4,"f":0.1,"s":{"y":7}}"#).await;
    vec![
        vec![
            r#"{"a":1,"s":{"x":1},"v":[0.5,1],"j":{"z":"2026-01-01T00:00:00.000000Z","k":[1]},"f":0.1}"#,
            r#"{"a":1.5,"s":{"x":2},"v":[2,3],"j":{}}"#,
            r#"{"a":3,"s":{"x":3},"f":0.3}"#,
            r#"{"a":4,"s":{},"f":0.1}"#,
        ],
        vec![
            r#"{"a":1,"s":{"x":1},"v":[0.5,1],"j":{"z":"2026-01-01T00:00:00.000000Z","k":[1]},"f":0.1}"#,
            r#"{"a":1.5,"s":{"x":2,"z":true},"v":[2,3],"j":{},"new":[1]}"#,
            r#"{"a":3,"s":{"x":3},"f":0.3}"#,
            r#"{"a":4,"s":{},"f":0.1}"#,
        ],
        vec![
            r#"{"b":1,"s":{"odd name":1},"v":[0.5,1],"j":{"z":"2026-01-01T00:00:00.000000Z","k":[1]},"f":0.1}"#,
            r#"{"b":1.5,"s":{"odd name":2,"z":true},"v":[2,3],"j":{},"new":[1]}"#,
            r#"{"b":3,"s":{"odd name":3},"f":0.3,"a":"text"}"#,
            r#"{"b":4,"s":{},"f":0.1}"#,
        ],
        vec![
            r#"{"b":1,"s":{"odd name":1},"v":[0.5,1],"j":{"z":"2026-01-01T00:00:00.000000Z","k":[1]},"f":0.10000000149011612}"#,
            r#"{"b":1.5,"s":{"odd name":2,"z":true},"v":[2,3],"j":{},"new":[1]}"#,
            r#"{"b":3,"s":{"odd name":3},"f":0.30000001192092896,"a":"text"}"#,
            r#"{"b":4,"s":{},"f":0.1}"#,
        ],
        vec![
            r#"{"b":1,"s":{"odd name":1},"v":[0.5,1],"j":{"z":"2026-01-01T00:00:00.000000Z","k":[1]},"f":0.10000000149011612}"#,
            r#"{"b":1.5,"s":{"odd name":2,"z":true},"v":[2,3],"j":{},"new":[1]}"#,
            r#"{"b":3,"s":{"odd name":3},"f":0.30000001192092896,"a":"text"}"#,
            r#"{"b":4,"s":{"y":7},"f":0.1}"#,
        ],
    ]
}

fn declared() -> Value {
    json!({"fields": [
        {"name": "a", "type": "int64"},
        {"name": "s", "type": "struct", "fields": [{"name": "x", "type": "int8"}, {"name": "y", "type": "string"}]},
        {"name": "v", "type": "list", "items": {"type": "float64"}}, {"name": "j", "type": "json"},
        {"name": "f", "type": "float32"}]})
}

#[tokio::test]
async fn every_version_reads_the_same_from_memory_and_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Setup::new(folder.path()).start().await;
    let late = json!({"flush_interval_ms": 3_600_000});
    let mut names = Vec::new();
    for flushed in [false, true] {
        let topic = server.api().make(json!({"schema": declared(), "backend_options": late})).await;
        let expected = evolved(&topic, flushed).await;
        assert_eq!(topic.get("schemas").await.json()["schemas"].as_array().unwrap().len(), expected.len());
        for _ in 0..2 {
            for (version, expected) in (1..).zip(&expected) {
                assert_eq!(under(&topic, &format!("schema_version={version}")).await, *expected, "{version}");
            }
            assert_eq!(topic.values(0).await, expected[4]);
            flush(&topic).await;
        }
        names.push((topic.name, expected));
    }
    server.stop().await;
    server = Setup::new(folder.path()).start().await;
    for (name, expected) in names {
        let topic = server.api().named(&name);
        for (version, expected) in (1..).zip(&expected) {
            assert_eq!(
                under(&topic, &format!("schema_version={version}")).await,
                *expected,
                "{version} after a restart"
            );
        }
    }
}

#[tokio::test]
async fn fields_are_those_of_the_version_and_pages_go_on() {
    let topic = shared().await.make(json!({"schema": declared()})).await;
    evolved(&topic, true).await;
    assert_eq!(
        under(&topic, "schema_version=1&fields=a,s.x&offset=1&limit=2").await,
        [r#"{"a":1.5,"s":{"x":2}}"#, r#"{"a":3,"s":{"x":3}}"#]
    );
    // The field that is called so today is another one.
    assert_eq!(under(&topic, "schema_version=2&fields=b").await, ["{}"; 4]);
    assert_eq!(under(&topic, "schema_version=5&fields=a&offset=-2").await, [r#"{"a":"text"}"#, "{}"]);
    let page = topic.get("records?schema_version=1&limit=1&offset=2").await.expect(200).json();
    assert_eq!(
        (&page["next_offset"], &page["tail_offset"], &page["up_to_date"]),
        (&json!(3), &json!(4), &json!(false))
    );
    topic.get("records?schema_version=1&offset=9").await.problem(416, "offset_out_of_range");
}

#[tokio::test]
async fn a_version_that_never_was_is_not_found() {
    let api = shared().await;
    for backend in ["lance", "persisting"] {
        let topic = api.topic(backend).await;
        topic.get("records?schema_version=1").await.problem(404, "not_found");
        topic.append(r#"{"a":1,"b":null}"#).await;
        topic.wait_for_tail(1).await;
        for _ in 0..2 {
            assert_eq!(under(&topic, "schema_version=1").await, [r#"{"a":1}"#], "{backend}");
            flush(&topic).await;
        }
        for version in ["2", "4294967297", "9007199254740991"] {
            let rest = format!("records?schema_version={version}");
            let problem = topic.get(&rest).await.problem(404, "not_found");
            assert!(problem["detail"].as_str().unwrap().contains("1 to 1"), "{problem}");
            topic.call("GET", &rest, &[("accept", "application/x-ndjson")], "").await.problem(404, "not_found");
        }
        for version in ["0", "-1", "latest", "1.0", "9007199254740992"] {
            topic.get(&format!("records?schema_version={version}")).await.problem(400, "invalid_parameter");
        }
        topic.get("records?schema_version=").await.problem(400, "invalid_parameter");
        // One record and a stream take none.
        topic.get("records/0?schema_version=1").await.problem(400, "unknown_parameter");
        topic.get("stream?schema_version=1").await.problem(400, "unknown_parameter");
    }
    let memory = api.topic("memory").await;
    memory.append(r#"{"a":1}"#).await;
    let problem = memory.get("records?schema_version=1").await.problem(400, "unsupported_by_backend");
    assert_eq!(
        (&problem["capability"], &problem["allowed"]),
        (&json!("schema_evolution"), &json!(["lance", "persisting"]))
    );
    api.named("nobody").get("records?schema_version=1").await.problem(404, "topic_not_found");
}

#[tokio::test]
async fn a_version_shows_the_same_whatever_is_posted_meanwhile() {
    let topic = shared().await.topic("persisting").await;
    topic.append((0..500).map(|n| format!("{{\"n\":{n},\"a\":{n}}}")).collect::<String>()).await;
    let expected: Vec<String> = (0..500).map(|n| format!("{{\"n\":{n},\"a\":{n}}}")).collect();
    let posting = async {
        for round in 0..12 {
            let (from, to) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
            post(
                &topic,
                json!([{"op": "rename", "path": "n", "to": "tmp"}, {"op": "rename", "path": from, "to": to},
                {"op": "rename", "path": "tmp", "to": "n"}]),
            )
            .await;
            if round == 6 {
                flush(&topic).await;
            }
        }
    };
    let reading = async {
        let mut reads = 0;
        while topic.get("").await.json()["schema_version"] != 13 {
            assert_eq!(under(&topic, "schema_version=1").await, expected);
            reads += 1;
        }
        reads
    };
    let ((), reads) = tokio::join!(posting, reading);
    assert!(reads > 0);
    assert_eq!(under(&topic, "schema_version=1").await, expected);
}
