//! Changes of a topic's configuration: JSON Merge Patch, ETags.

use serde_json::{Value, json};

use crate::support::api::{JSON, Topic, allowed};
use crate::support::local::{Setup, shared};

async fn patch(topic: &Topic, body: Value) -> Value {
    topic.call("PATCH", "", JSON, body.to_string()).await.expect(200).json()
}

#[tokio::test]
async fn a_patch_merges_and_null_is_the_default() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    let all = json!({"retention": {"max_records": 5, "max_bytes": 600}, "schema_mode": "strict",
        "backend_options": {"batch_size": 7, "flush_interval_ms": 20, "ack": "committed", "enable_metrics": false}});
    let description = patch(&topic, all).await;
    assert_eq!(description["retention"], json!({"max_age_secs": null, "max_records": 5, "max_bytes": 600}));
    assert_eq!(description["schema_mode"], "strict");
    assert_eq!(description["backend_options"]["ack"], "committed");
    let description = patch(&topic, json!({"retention": {"max_records": null, "max_age_secs": 60}})).await;
    assert_eq!(description["retention"], json!({"max_age_secs": 60, "max_records": null, "max_bytes": 600}));
    assert_eq!(description["backend_options"]["batch_size"], 7);
    let description = patch(&topic, json!({"backend_options": {"batch_size": null, "ack": null}})).await;
    assert_eq!(description["backend_options"]["batch_size"], 65_536);
    assert_eq!(
        (&description["backend_options"]["ack"], &description["backend_options"]["flush_interval_ms"]),
        (&json!("wal"), &json!(20))
    );
    let description = patch(&topic, json!({"retention": null, "schema_mode": null, "backend_options": null})).await;
    let fresh = api.topic("persisting").await.get("").await.json();
    for member in ["retention", "schema_mode", "backend_options"] {
        assert_eq!(description[member], fresh[member], "{member}");
    }
    assert_eq!(patch(&topic, json!({})).await, description);
    assert_eq!(topic.call("PATCH", "", &[], "").await.expect(200).json(), description);
    assert_eq!(topic.get("").await.json(), description);
}

#[tokio::test]
async fn a_patched_option_acts_at_once() {
    let topic = shared().await.topic("persisting").await;
    assert_eq!(topic.append("{}").await["durability"], "wal");
    patch(&topic, json!({"backend_options": {"ack": "committed"}})).await;
    assert_eq!(topic.append("{}").await["durability"], "committed");
    patch(&topic, json!({"schema_mode": "strict"})).await;
    topic.append(r#"{"a":1}"#).await;
    topic.refuse("", JSON, r#"{"b":1}"#, (422, "schema_conflict")).await;
    patch(&topic, json!({"schema_mode": "evolve"})).await;
    topic.append(r#"{"b":1}"#).await;
}

#[tokio::test]
async fn all_other_members_are_immutable() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    let before = topic.get("").await.json();
    for (member, value) in before.as_object().unwrap() {
        if !["retention", "backend_options", "schema_mode", "on_invalid"].contains(&member.as_str()) {
            let problem =
                topic.call("PATCH", "", JSON, json!({member: value}).to_string()).await.problem(400, "immutable");
            assert!(problem["detail"].as_str().unwrap().contains(member), "{problem}");
        }
    }
    for body in [
        json!({"schema": {"fields": []}}),
        json!({"backend_options": {"enable_wal": false}}),
        json!({"backend": "memory", "retention": {"max_records": 1}}),
    ] {
        topic.call("PATCH", "", JSON, body.to_string()).await.problem(400, "immutable");
    }
    for body in [json!({"retention": {"max_records": 0}}), json!({"backend_options": {"batch_size": 0}})] {
        topic.call("PATCH", "", JSON, body.to_string()).await.problem(400, "invalid_parameter");
    }
    for body in [
        json!({"retention": 7}),
        json!({"schema_mode": "x"}),
        json!({"schema_mode": 7}),
        json!({"backend_options": 7}),
        json!({"backend_options": {"ack": "never"}}),
    ] {
        topic.call("PATCH", "", JSON, body.to_string()).await.problem(400, "invalid_body");
    }
    assert_eq!(topic.get("").await.json(), before);
    let problem = api.topic("lance").await.call("PATCH", "", JSON, r#"{"schema_mode":"evolve"}"#).await;
    assert_eq!(allowed(&problem.problem(400, "unsupported_by_backend")), ["persisting"]);
    let problem = api.topic("memory").await.call("PATCH", "", JSON, r#"{"schema_mode":"strict"}"#).await;
    assert_eq!(allowed(&problem.problem(400, "unsupported_by_backend")), ["lance", "persisting"]);
    let problem = api.topic("memory").await.call("PATCH", "", JSON, r#"{"backend_options":{"ack":"wal"}}"#).await;
    assert_eq!(allowed(&problem.problem(400, "unsupported_by_backend")), ["persisting"]);
}

#[tokio::test]
async fn the_etag_is_of_the_configuration_and_if_match_is_honoured() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        let tag = topic.get("").await.header("etag").unwrap().to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "{tag}");
        topic.append(r#"{"a":1}"#).await;
        assert_eq!(topic.get("").await.header("etag"), Some(tag.as_str()), "appends do not change it");
        let change = json!({"retention": {"max_records": 50}}).to_string();
        let changed = topic.call("PATCH", "", &[("if-match", &tag)], change.clone()).await.expect(200);
        let new = changed.header("etag").unwrap().to_owned();
        assert_ne!(new, tag);
        assert_eq!(topic.get("").await.header("etag"), Some(new.as_str()));
        let other = json!({"retention": {"max_records": 60}}).to_string();
        for stale in [tag.clone(), "\"\"".to_owned(), format!("W/{new}"), format!("{tag}, \"x\"")] {
            topic.call("PATCH", "", &[("if-match", &stale)], other.clone()).await.problem(412, "precondition_failed");
        }
        topic.call("PATCH", "", &[("if-match", "unquoted")], other.clone()).await.problem(400, "invalid_parameter");
        assert_eq!(topic.get("").await.json()["retention"]["max_records"], 50);
        topic.call("PATCH", "", &[("if-match", "*")], change).await.expect(200);
        topic.call("PATCH", "", &[("if-match", &format!("\"x\", {new}"))], other).await.expect(200);
        assert_eq!(topic.get("").await.json()["retention"]["max_records"], 60);
    }
}

#[tokio::test]
async fn what_could_be_read_stays_readable_when_only_committed_records_can_be_from_now_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(folder.path()).start().await;
    let topic = server.api().make(json!({"backend_options": {"flush_interval_ms": 86_400_000}})).await;
    topic.append(r#"{"n":0}{"n":1}"#).await;
    topic.post("flush", "").await.expect(200);
    topic.append(r#"{"n":2}{"n":3}"#).await;
    let description = patch(&topic, json!({"backend_options": {"ack": "committed"}})).await;
    assert_eq!(description["tail_offset"], 4);
    server.stop().await;
    let server = Setup::new(folder.path()).start().await;
    assert_eq!(server.api().named(&topic.name).tail().await, 4);
    server.stop().await;
}

#[tokio::test]
async fn what_is_an_object_is_merged_member_by_member() {
    let configuration = json!({"backend_options": {"field_compression": {"a": "zstd", "b": "lz4"}}});
    let topic = shared().await.make(configuration).await;
    let change = json!({"backend_options": {"field_compression": {"b": null, "c": "zstd"}}});
    let description = patch(&topic, change).await;
    assert_eq!(description["backend_options"]["field_compression"], json!({"a": "zstd", "c": "zstd"}));
    let description = patch(&topic, json!({"backend_options": {"field_compression": null}})).await;
    assert_eq!(description["backend_options"]["field_compression"], json!({}));
}

#[tokio::test]
async fn a_topic_is_deleted_only_as_it_was_looked_at() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        let tag = async || topic.get("").await.header("etag").unwrap().to_owned();
        let delete = async |tag: &str| topic.call("DELETE", "", &[("if-match", tag)], "").await;
        let first = tag().await;
        assert_ne!(api.topic(backend).await.get("").await.header("etag"), Some(first.as_str()), "it is of this topic");
        topic.call("PATCH", "", JSON, r#"{"retention":{"max_records":50}}"#).await.expect(200);
        for stale in [first.as_str(), "\"\"", &format!("W/{}", tag().await)] {
            delete(stale).await.problem(412, "precondition_failed");
        }
        delete("unquoted").await.problem(400, "invalid_parameter");
        assert_eq!(topic.get("").await.json()["state"], "open");
        topic.call("PATCH", "", JSON, r#"{"retention":null}"#).await.expect(200);
        assert_eq!(tag().await, first, "the same configuration of the same topic");
        delete(&format!("\"x\", {first}")).await.expect(204);
        delete("*").await.problem(404, "topic_not_found");
        // One made anew is another, though it is configured as the one before was.
        topic.call("PUT", "", JSON, json!({"backend": backend}).to_string()).await.expect(201);
        delete(&first).await.problem(412, "precondition_failed");
        delete("*").await.expect(204);
    }
}
