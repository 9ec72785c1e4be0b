//! Posted schemas and time: restarts, appends at the same moment, readers that go on.

use serde_json::{Value, json};

use super::registry::{flush, post};
use crate::support::api::JSON;
use crate::support::local::{Local, Setup, shared};

#[tokio::test]
async fn a_name_that_comes_back_brings_no_old_value_with_it() {
    let topic = shared().await.topic("persisting").await;
    let mut expected = Vec::new();
    for round in 0..4 {
        topic.append(format!("{{\"keep\":{round},\"a\":{round}}}")).await;
        if round % 2 == 1 {
            flush(&topic).await;
        }
        post(&topic, json!([{"op": "drop", "path": "a"}])).await;
        expected.push(format!("{{\"keep\":{round}}}"));
        assert_eq!(topic.values(0).await, expected);
        // Another type under the same name, by an append.
        topic.append(format!("{{\"keep\":{round},\"a\":\"{round}\"}}")).await;
        expected.push(format!("{{\"keep\":{round},\"a\":\"{round}\"}}"));
        assert_eq!(topic.values(0).await, expected);
        flush(&topic).await;
        assert_eq!(topic.values(0).await, expected);
        post(&topic, json!([{"op": "drop", "path": "a"}])).await;
        expected.pop();
        expected.push(format!("{{\"keep\":{round}}}"));
    }
    flush(&topic).await;
    assert_eq!(topic.values(0).await, expected);
}

#[tokio::test]
async fn integers_past_2_to_53_are_remembered_under_the_new_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Setup::new(folder.path()).start().await;
    let topic = server.api().topic("persisting").await;
    topic.append(r#"{"big":9007199254740993,"gone":9007199254740993}"#).await;
    post(&topic, json!([{"op": "rename", "path": "big", "to": "huge"}, {"op": "drop", "path": "gone"}])).await;
    for _ in 0..2 {
        let topic = server.api().named(&topic.name);
        topic.refuse("", JSON, r#"{"huge":1.5}"#, (422, "schema_conflict")).await;
        flush(&topic).await;
        server.stop().await;
        server = Setup::new(folder.path()).start().await;
    }
    let topic = server.api().named(&topic.name);
    topic.append(r#"{"gone":1}"#).await;
    topic.append(r#"{"gone":1.5}"#).await;
    assert_eq!(topic.values(1).await, [r#"{"gone":1}"#, r#"{"gone":1.5}"#]);
}

#[tokio::test]
async fn a_restart_knows_all_that_was_posted() {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(folder.path()).start().await;
    let api = server.api();
    let late = json!({"flush_interval_ms": 3_600_000});
    let schema = json!({"fields": [
        {"name": "a", "type": "int64"}, {"name": "b", "type": "string"}, {"name": "j", "type": "json"}]});
    let topic = api.make(json!({"backend_options": late, "schema": schema})).await;
    topic.append(r#"{"a":1,"b":"x","j":{"k":1}}"#).await;
    flush(&topic).await;
    topic.append(r#"{"a":2,"j":{"k":2}}"#).await;
    post(&topic, json!([{"op": "rename", "path": "a", "to": "b2"}, {"op": "rename", "path": "b", "to": "a"}, {"op": "rename", "path": "b2", "to": "b"}])).await;
    topic.append(r#"{"b":3,"a":"y","j":{"k":3}}"#).await;
    post(
        &topic,
        json!([{"op": "convert", "path": "j", "to": {"type": "struct", "fields": [{"name": "k", "type": "int64"}]}}]),
    )
    .await;
    topic.append(r#"{"b":4,"j":{"k":4}}"#).await;
    let expected = [
        r#"{"b":1,"a":"x","j":{"k":1}}"#,
        r#"{"b":2,"j":{"k":2}}"#,
        r#"{"b":3,"a":"y","j":{"k":3}}"#,
        r#"{"b":4,"j":{"k":4}}"#,
    ];
    assert_eq!(topic.values(0).await, expected);
    server.stop().await;
    let server = Setup::new(folder.path()).start().await;
    let topic = server.api().named(&topic.name);
    assert_eq!(topic.values(0).await, expected);
    flush(&topic).await;
    assert_eq!(topic.values(0).await, expected);
    let causes: Vec<Value> = topic.get("schemas").await.json()["schemas"]
        .as_array()
        .unwrap()
        .iter()
        .map(|schema| schema["cause"].clone())
        .collect();
    assert_eq!(causes, ["declared", "posted", "posted"]);
}

#[tokio::test]
async fn two_evolving_writers_and_a_poster_all_find_their_place() {
    let (server, _folder) = Local::fresh().await;
    let topic = server.api().make(json!({"backend_options": {"flush_interval_ms": 20}})).await;
    topic.append(r#"{"n":0,"x":0}"#).await;
    let writers = (0..2_u64).map(|writer| {
        let topic = topic.clone();
        tokio::spawn(async move {
            for round in 0..40 {
                let n = 1 + writer * 40 + round;
                topic.append(format!("{{\"n\":{n},\"w{writer}r{}\":{n}}}", round / 4)).await;
            }
        })
    });
    let poster = {
        let topic = topic.clone();
        tokio::spawn(async move {
            for round in 0..12_u32 {
                let (from, to) = if round % 2 == 0 { ("x", "y") } else { ("y", "x") };
                post(&topic, json!([{"op": "rename", "path": from, "to": to}, {"op": "add", "path": format!("p{round}"), "to": {"type": "bool"}}])).await;
            }
        })
    };
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    poster.await.unwrap();
    for _ in 0..2 {
        let values = topic.values(0).await;
        let mut seen: Vec<u64> = Vec::new();
        for value in &values {
            let value: Value = serde_json::from_str(value).unwrap();
            let n = value["n"].as_u64().unwrap();
            assert_eq!(value.as_object().unwrap().len(), 2, "{value}");
            if n > 0 {
                let (writer, round) = ((n - 1) / 40, (n - 1) % 40);
                assert_eq!(value[format!("w{writer}r{}", round / 4)], n);
            } else {
                assert_eq!(value["x"], 0);
            }
            seen.push(n);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..81).collect::<Vec<_>>());
        flush(&topic).await;
    }
}

#[tokio::test]
async fn appends_do_not_slip_past_a_conversion() {
    let (server, _folder) = Local::fresh().await;
    let topic = server
        .api()
        .make(json!({"schema": {"fields": [{"name": "v", "type": "json"}, {"name": "n", "type": "int64"}]}}))
        .await;
    topic.append(r#"{"v":1,"n":0}"#.repeat(500)).await;
    flush(&topic).await;
    let writing = {
        let topic = topic.clone();
        tokio::spawn(async move {
            for n in 0..200 {
                let body = if n == 120 { r#"{"v":"x"}"# } else { r#"{"v":2}"# };
                let answer = topic.post("records", body).await;
                assert!(matches!(answer.status.as_u16(), 200 | 422), "{answer}");
            }
        })
    };
    let change = r#"{"changes":[{"op":"convert","path":"v","to":{"type":"int64"}}]}"#;
    let answer = topic.post("schemas", change).await;
    writing.await.unwrap();
    let texts = topic.values(500).await;
    let strings = texts.iter().filter(|text| text.contains('x')).count();
    match answer.status.as_u16() {
        201 => assert_eq!((strings, texts.len()), (0, 199)),
        422 => assert_eq!((strings, texts.len()), (1, 200)),
        _ => panic!("{answer}"),
    }
    flush(&topic).await;
    assert_eq!(topic.values(500).await, texts);
}

#[tokio::test]
async fn a_stream_tells_the_version_and_delivers_in_its_form() {
    let topic = shared().await.topic("persisting").await;
    topic.append(r#"{"a":1}"#).await;
    post(&topic, json!([{"op": "rename", "path": "a", "to": "b"}])).await;
    topic.append(r#"{"b":2}"#).await;
    let lines =
        topic.call("GET", "stream?offset=0&block=false", &[("accept", "application/x-ndjson")], "").await.text();
    let values: Vec<&str> = lines.lines().filter(|line| line.contains("\"value\"")).collect();
    assert!(values[0].contains(r#""value":{"b":1}"#) && values[1].contains(r#""value":{"b":2}"#), "{lines}");
}

#[tokio::test]
async fn changes_that_lead_back_to_the_same_schema_are_made() {
    let topic = shared().await.topic("persisting").await;
    topic.append(r#"{"n":1,"a":1}"#).await;
    let before = topic.get("schemas/latest").await.json();
    let made =
        post(&topic, json!([{"op": "drop", "path": "a"}, {"op": "add", "path": "a", "to": {"type": "int64"}}])).await;
    assert_eq!((&made["fields"], &made["version"]), (&before["fields"], &json!(2)));
    for _ in 0..2 {
        assert_eq!(topic.values(0).await, [r#"{"n":1}"#]);
        flush(&topic).await;
    }
}
