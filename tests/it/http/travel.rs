//! Versions, tags and reads of the past.

use serde_json::{Value, json};

use super::registry::{flush, post};
use crate::support::api::{Api, NDJSON, Topic, allowed, until, values_of};
use crate::support::local::{Local, Setup, shared};

pub const BACKENDS: [&str; 2] = ["lance", "persisting"];

/// Appends records that are in the dataset afterwards, in a version of their own.
pub async fn commit(topic: &Topic, body: &str) -> u64 {
    topic.post("records?ack=committed", body).await.expect(200);
    topic.post("flush", "").await.expect(200).json()["version"].as_u64().unwrap()
}

async fn versions(topic: &Topic) -> Vec<Value> {
    topic.get("versions").await.expect(200).json()["versions"].as_array().unwrap().clone()
}

async fn page(topic: &Topic, query: &str) -> Value {
    topic.get(&format!("records?{query}")).await.expect(200).json()
}

fn read(page: &Value) -> Vec<Value> {
    page["records"].as_array().unwrap().iter().map(|record| record["value"].clone()).collect()
}

/// The values of a view, which a page and lines agree on.
async fn values(topic: &Topic, query: &str) -> Vec<String> {
    let lines = topic.call("GET", &format!("records?{query}"), &[("accept", "application/x-ndjson")], "").await;
    let lines = values_of(&lines.expect(200).text());
    let text = topic.get(&format!("records?{query}")).await.expect(200).text();
    for line in &lines {
        assert!(text.contains(&format!("\"value\":{line}}}")), "{line} is not in {text}");
    }
    assert_eq!(page(topic, query).await["records"].as_array().unwrap().len(), lines.len());
    lines
}

#[tokio::test]
async fn versions_are_listed_newest_first_and_page_by_page() {
    let api = shared().await;
    for backend in BACKENDS {
        let topic = api.topic(backend).await;
        assert_eq!(topic.get("versions").await.expect(200).json(), json!({"versions": [], "next_after": null}));
        let first = commit(&topic, r#"[{"a":1},{"a":2}]"#).await;
        let second = commit(&topic, r#"{"a":3}"#).await;
        let all = versions(&topic).await;
        let told: Vec<_> = all
            .iter()
            .map(|it| (it["version"].as_u64(), it["rows"].as_u64(), it["next_offset"].as_u64(), it["cause"].as_str()))
            .collect();
        let expected =
            [(Some(second), Some(3), Some(3), Some("append")), (Some(first), Some(2), Some(2), Some("append"))];
        assert_eq!(told, expected, "{backend}");
        for version in &all {
            assert_eq!(version["schema_version"], 1);
            assert_eq!(version["created_at"].as_str().unwrap().len(), "2026-11-23T09:00:00.000001Z".len());
        }
        let head = topic.get("versions?limit=1").await.expect(200).json();
        assert_eq!((&head["versions"], &head["next_after"]), (&json!([all[0]]), &json!(second)));
        let rest = topic.get(&format!("versions?after={second}&limit=1")).await.expect(200).json();
        assert_eq!((&rest["versions"], &rest["next_after"]), (&json!([all[1]]), &Value::Null));
        assert_eq!(topic.get(&format!("versions?after={first}")).await.expect(200).json()["versions"], json!([]));
        for bad in ["limit=0", "limit=1001", "after=0", "after=x"] {
            topic.get(&format!("versions?{bad}")).await.problem(400, "invalid_parameter");
        }
    }
    api.named("nobody").get("versions").await.problem(404, "topic_not_found");
}

#[tokio::test]
async fn causes_tell_why_a_version_was_made() {
    let api = shared().await;
    let schema = json!({"fields": [{"name": "a", "type": "int64"}]});
    let topic = api.make(json!({"schema": schema})).await;
    commit(&topic, r#"{"a":1}"#).await;
    commit(&topic, r#"{"a":1,"b":true}"#).await;
    post(&topic, json!([{"op": "rename", "path": "a", "to": "z"}])).await;
    flush(&topic).await;
    topic.post("trim", r#"{"before":1}"#).await.expect(200);
    until("the fragment is dropped", async || versions(&topic).await[0]["cause"] == "retention").await;
    let told: Vec<(Value, Value)> =
        versions(&topic).await.iter().rev().map(|it| (it["cause"].clone(), it["schema_version"].clone())).collect();
    let expected = [("create", 1), ("append", 1), ("evolve", 2), ("append", 2), ("evolve", 3), ("retention", 3)];
    assert_eq!(told, expected.map(|(cause, schema)| (json!(cause), json!(schema))));
}

#[tokio::test]
async fn a_tag_is_made_moved_listed_and_forgotten() {
    let api = shared().await;
    for backend in BACKENDS {
        let topic = api.topic(backend).await;
        assert_eq!(topic.get("tags").await.expect(200).json(), json!({"tags": []}));
        topic.call("PUT", "tags/early", &[], "").await.problem(410, "version_expired");
        topic.append(r#"[{"a":1},{"a":2}]"#).await;
        let made = topic.call("PUT", "tags/v1.0_a-b", &[], "").await.expect(201);
        assert_eq!(made.header("location"), Some(&*topic.at("tags/v1.0_a-b")));
        let made = made.json();
        let (rows, next) = (made["rows"].as_u64(), made["next_offset"].as_u64());
        assert_eq!((rows, next, &made["schema_version"]), (Some(2), Some(2), &json!(1)), "{backend}: flushed first");
        let members: Vec<&String> = made.as_object().unwrap().keys().collect();
        assert_eq!(members.len(), 6);
        let newer = commit(&topic, r#"{"a":3}"#).await;
        assert_eq!(topic.get("tags/v1.0_a-b").await.expect(200).json(), made);
        let body = json!({ "version": newer }).to_string();
        let moved = topic.call("PUT", "tags/v1.0_a-b", &[], body).await.expect(200).json();
        assert_eq!((&moved["version"], &moved["rows"], &moved["tag"]), (&json!(newer), &json!(3), &json!("v1.0_a-b")));
        assert_eq!(moved["created_at"], made["created_at"]);
        let other = topic.call("PUT", "tags/A", &[], json!({"version": made["version"]}).to_string()).await;
        let other = other.expect(201).json();
        assert_eq!(topic.get("tags").await.expect(200).json(), json!({"tags": [other, moved]}));
        topic.call("DELETE", "tags/A", &[], "").await.expect(204);
        for method in ["GET", "DELETE"] {
            topic.call(method, "tags/A", &[], "").await.problem(404, "not_found");
        }
        assert_eq!(topic.get("tags").await.expect(200).json(), json!({"tags": [moved]}));
    }
}

#[tokio::test]
async fn bad_tags_are_refused() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    let newest = commit(&topic, r#"{"a":1}"#).await;
    for name in ["-a", ".a", "a..b", "a.", "a.lock", "a%20b", "%C3%A9", &"x".repeat(129)] {
        for method in ["GET", "PUT", "DELETE"] {
            topic.call(method, &format!("tags/{name}"), &[], "").await.problem(400, "invalid_parameter");
        }
    }
    for (body, status, code) in [
        (json!({"version": 0}), 400, "invalid_parameter"),
        (json!({"version": 1.5}), 400, "invalid_parameter"),
        (json!({"version": "1"}), 400, "invalid_body"),
        (json!({"versions": 1}), 400, "invalid_body"),
        (json!({"version": newest + 1}), 410, "version_expired"),
    ] {
        topic.call("PUT", "tags/t", &[], body.to_string()).await.problem(status, code);
    }
    assert_eq!(topic.get("tags").await.expect(200).json(), json!({"tags": []}));
    topic.call("PUT", "tags/t", &[], r#"{"version":null}"#).await.expect(201);
}

#[tokio::test]
async fn a_version_reads_as_it_was_stored() {
    let api = shared().await;
    for backend in ["persisting"] {
        let schema = json!({"fields": [{"name": "a", "type": "int32"}, {"name": "gone", "type": "string"}]});
        let topic = api.make(json!({"backend": backend, "schema": schema})).await;
        let rows = [r#"{"a":1,"gone":"x"}"#, r#"{"a":2}"#];
        let first = commit(&topic, &format!("[{}]", rows.join(","))).await;
        topic.call("PUT", "tags/first", &[], "").await.expect(201);
        post(&topic, json!([{"op": "rename", "path": "a", "to": "b"}, {"op": "drop", "path": "gone"}])).await;
        post(&topic, json!([{"op": "widen", "path": "b", "to": {"type": "float64"}}])).await;
        let second = commit(&topic, r#"{"b":0.5}"#).await;
        for query in [format!("version={first}"), "tag=first".to_owned()] {
            assert_eq!(values(&topic, &query).await, rows, "{backend} {query}");
            let page = page(&topic, &query).await;
            let told = ["next_offset", "earliest_offset", "tail_offset", "up_to_date"].map(|it| page[it].clone());
            assert_eq!(told, [json!(2), json!(0), json!(2), json!(true)]);
        }
        // Also what lies between the steps of a posted change, and what came with none.
        for version in versions(&topic).await {
            let (number, count) = (version["version"].as_u64().unwrap(), version["rows"].as_u64().unwrap());
            assert_eq!(values(&topic, &format!("version={number}")).await.len() as u64, count, "{version}");
        }
        let now = [r#"{"b":1}"#, r#"{"b":2}"#, r#"{"b":0.5}"#];
        assert_eq!(values(&topic, &format!("version={second}")).await, now);
        assert_eq!(values(&topic, "limit=10").await, now);
        let narrow = page(&topic, "tag=first&fields=gone").await;
        assert_eq!(read(&narrow), [json!({"gone": "x"}), json!({})]);
    }
}

#[tokio::test]
async fn positions_are_those_of_the_past() {
    let api = shared().await;
    for backend in BACKENDS {
        let topic = api.topic(backend).await;
        let first = commit(&topic, r#"[{"a":0},{"a":1},{"a":2}]"#).await;
        commit(&topic, r#"[{"a":3},{"a":4}]"#).await;
        let at = |rest: &str| format!("version={first}&{rest}");
        for (query, expected) in [
            ("offset=1", vec![1, 2]),
            ("offset=-2", vec![1, 2]),
            ("offset=-9", vec![0, 1, 2]),
            ("offset=latest", vec![]),
            ("offset=3", vec![]),
            ("offset=3&wait=60", vec![]),
            ("offset=4&wait=60", vec![]),
            ("limit=2", vec![0, 1]),
            ("since=2020-01-01T00:00:00Z", vec![0, 1, 2]),
            ("since=2100-01-01T00:00:00Z", vec![]),
        ] {
            let page = page(&topic, &at(query)).await;
            let expected: Vec<Value> = expected.iter().map(|n| json!({ "a": n })).collect();
            assert_eq!(read(&page), expected, "{backend} {query}");
            assert_eq!(page["tail_offset"], 3);
            assert_eq!(page["up_to_date"], page["next_offset"] == 3);
        }
        let problem = topic.get(&format!("records?{}", at("offset=4"))).await.problem(416, "offset_out_of_range");
        assert_eq!(problem["tail_offset"], 3);
        topic.call("PUT", "cursors/c", &[], r#"{"offset":2}"#).await.expect(200);
        assert_eq!(read(&page(&topic, &at("cursor=c")).await), [json!({"a": 2})]);
        topic.get(&format!("records?{}", at("epoch=0"))).await.problem(409, "epoch_changed");
        for both in ["version=1&tag=t", "version=1&as_of=2026-01-01T00:00:00Z", "tag=t&as_of=2026-01-01T00:00:00Z"] {
            topic.get(&format!("records?{both}")).await.problem(400, "invalid_parameter");
        }
        for bad in ["version=0", "version=x", "tag=-x", "as_of=yesterday"] {
            topic.get(&format!("records?{bad}")).await.problem(400, "invalid_parameter");
        }
        for gone in ["version=1000", "version=9007199254740991"] {
            topic.get(&format!("records?{gone}")).await.problem(410, "version_expired");
            let lines = topic.call("GET", &format!("records?{gone}"), &[("accept", "application/x-ndjson")], "").await;
            lines.problem(410, "version_expired");
        }
        topic.get("records?tag=nobody").await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn as_of_a_time_is_what_had_been_appended_under_todays_schema() {
    let api = shared().await;
    for backend in ["persisting"] {
        let schema = json!({"fields": [{"name": "a", "type": "int64"}]});
        let topic = api.make(json!({"backend": backend, "schema": schema})).await;
        for n in 0..4 {
            topic.append(format!("{{\"a\":{n}}}")).await;
            topic.wait_for_tail(n + 1).await;
            if n == 1 {
                flush(&topic).await;
            }
        }
        post(&topic, json!([{"op": "rename", "path": "a", "to": "b"}])).await;
        let all = page(&topic, "limit=10").await;
        let records = all["records"].as_array().unwrap();
        for record in records {
            let time = record["timestamp"].as_str().unwrap();
            let expected: Vec<&Value> =
                records.iter().filter(|it| it["timestamp"].as_str().unwrap() <= time).map(|it| &it["value"]).collect();
            let page = page(&topic, &format!("as_of={time}")).await;
            assert_eq!(read(&page).iter().collect::<Vec<_>>(), expected, "{backend} {time}");
            assert_eq!((&page["tail_offset"], &page["up_to_date"]), (&json!(expected.len()), &json!(true)));
            let last = values(&topic, &format!("as_of={time}&offset=-1")).await;
            assert_eq!(last, [expected[expected.len() - 1].to_string()]);
        }
        let before = page(&topic, "as_of=2020-01-01T00:00:00Z").await;
        assert_eq!((read(&before).len(), &before["tail_offset"]), (0, &json!(0)));
        topic.get("records?as_of=2020-01-01T00:00:00Z&offset=1").await.problem(416, "offset_out_of_range");
        assert_eq!(read(&page(&topic, "as_of=2100-01-01T00:00:00Z").await).len(), 4);
    }
}

#[tokio::test]
async fn a_tag_keeps_what_retention_has_dropped_and_clean_up_would_remove() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    let first = commit(&topic, r#"[{"n":0},{"n":1}]"#).await;
    topic.call("PUT", "tags/kept", &[], json!({ "version": first }).to_string()).await.expect(201);
    commit(&topic, r#"{"n":2}"#).await;
    topic.post("trim", r#"{"before":2}"#).await.expect(200);
    until("fragments are dropped", async || versions(&topic).await.iter().any(|it| it["cause"] == "retention")).await;
    until("old versions are gone", async || {
        commit(&topic, r#"{"n":0}"#).await;
        topic.get(&format!("records?version={}", first + 1)).await.status == 410
    })
    .await;
    topic.get(&format!("records?version={}", first + 1)).await.problem(410, "version_expired");
    topic.get("records?offset=0").await.problem(410, "offset_expired");
    let kept = page(&topic, "tag=kept").await;
    assert_eq!((read(&kept), &kept["earliest_offset"]), (vec![json!({"n": 0}), json!({"n": 1})], &json!(0)));
    assert_eq!(versions(&topic).await.last().unwrap()["version"], json!(first));
    let problem = topic.call("PUT", "tags/t", &[], json!({"version": first + 1}).to_string()).await;
    problem.problem(410, "version_expired");
    topic.call("DELETE", "tags/kept", &[], "").await.expect(204);
    until("what has no tag any more goes", async || {
        commit(&topic, r#"{"n":0}"#).await;
        topic.get(&format!("records?version={first}")).await.status == 410
    })
    .await;
}

#[tokio::test]
async fn tags_and_their_records_survive_a_restart() {
    let (server, folder) = Local::fresh().await;
    let topic = server.api().make(json!({"backend": "lance"})).await;
    commit(&topic, r#"{"a":1}"#).await;
    let made = topic.call("PUT", "tags/t", &[], "").await.expect(201).json();
    commit(&topic, r#"{"a":2}"#).await;
    assert_eq!(server.stop().await, 0);
    let server = Setup::new(folder.path()).start().await;
    let topic = Api::named(&server.api(), &topic.name);
    assert_eq!(topic.get("tags").await.expect(200).json(), json!({"tags": [made]}));
    assert_eq!(values(&topic, "tag=t").await, [r#"{"a":1}"#]);
}

#[tokio::test]
async fn what_the_past_cannot_be_asked_for_is_told() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    topic.append_with(NDJSON, "{\"a\":1}").await.expect(200);
    let problem = topic.get("records/0?tag=t").await.problem(400, "unknown_parameter");
    assert!(!allowed(&problem).contains(&"tag"));
    topic.get("tags?limit=1").await.problem(400, "unknown_parameter");
}
