//! Compaction, what a dataset takes on the disk, and what retention would remove.

use serde_json::{Value, json};

use crate::support::api::{Topic, allowed, until};
use crate::support::local::shared;

const COLUMNAR: [&str; 2] = ["lance", "persisting"];

async fn fragments(topic: &Topic) -> u64 {
    topic.get("stats").await.json()["fragments"].as_u64().unwrap()
}

/// A topic of so many fragments of one record each.
async fn scattered(configuration: Value, count: u64) -> Topic {
    let topic = shared().await.make(configuration).await;
    for number in 0..count {
        topic.append(format!("{{\"n\":{number}}}")).await;
        topic.post("flush", "").await.expect(200);
    }
    topic
}

#[tokio::test]
async fn a_compaction_merges_fragments_and_no_byte_that_is_read_changes() {
    for backend in COLUMNAR {
        let topic = scattered(json!({"backend": backend}), 7).await;
        assert_eq!(fragments(&topic).await, 7);
        let before = topic.get("records").await.expect(200).text();
        assert_eq!(topic.post("compact", "").await.expect(202).json(), json!({"fragments": 7}));
        until("all is one fragment", async || fragments(&topic).await == 1).await;
        assert_eq!(topic.get("records").await.expect(200).text(), before);
        assert_eq!(topic.post("compact", "{}").await.expect(202).json(), json!({"fragments": 1}));
        topic.append("{\"n\":7}").await;
        topic.post("flush", "").await.expect(200);
        assert_eq!(topic.values(0).await.len(), 8);
        let stats = topic.get("stats").await.json();
        assert_eq!((&stats["fragments"], &stats["last_upkeep"]["fragments_before"]), (&json!(2), &json!(7)), "{stats}");
        assert!(stats["live_bytes"].as_u64() > Some(0) && stats["dead_bytes"].as_u64() > Some(0), "{stats}");
        topic.post("compact", "{\"x\":1}").await.problem(400, "invalid_body");
    }
}

#[tokio::test]
async fn many_small_commits_leave_few_fragments_and_versions() {
    for backend in COLUMNAR {
        let topic = scattered(json!({"backend": backend}), 30).await;
        until("what has piled up is merged", async || {
            let stats = topic.get("stats").await.json();
            stats["fragments"].as_u64().unwrap() <= 24 && stats["versions"].as_u64().unwrap() <= 25
        })
        .await;
        assert_eq!(topic.values(0).await.len(), 30);
    }
}

#[tokio::test]
async fn memory_has_nothing_to_compact() {
    let topic = shared().await.topic("memory").await;
    let problem = topic.post("compact", "").await.problem(400, "unsupported_by_backend");
    assert_eq!(allowed(&problem), COLUMNAR);
    let stats = topic.get("stats").await.json();
    assert_eq!(
        (&stats["live_bytes"], &stats["dead_bytes"], &stats["last_upkeep"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_preview_tells_what_would_go_and_removes_nothing() {
    for backend in ["memory", "lance", "persisting"] {
        let topic = shared().await.topic(backend).await;
        topic.append("{\"a\":1}".repeat(50)).await;
        if backend != "memory" {
            topic.post("flush", "").await.expect(200);
            topic.append("{\"a\":1}".repeat(10)).await;
        }
        let tail = topic.get("").await.json()["tail_offset"].as_u64().unwrap();
        let nothing = json!({"earliest_offset": 0, "records": 0, "bytes": 0});
        assert_eq!(topic.post("retention/preview", "").await.expect(200).json(), nothing);
        assert_eq!(topic.post("retention/preview", "{}").await.expect(200).json(), nothing);
        let preview = topic.post("retention/preview", "{\"max_records\":5}").await.expect(200).json();
        assert_eq!(
            (&preview["earliest_offset"], &preview["records"]),
            (&json!(tail - 5), &json!(tail - 5)),
            "{preview}"
        );
        let bytes = preview["bytes"].as_u64().unwrap();
        let fewer = topic.post("retention/preview", "{\"max_records\":40}").await.expect(200).json();
        assert!(fewer["bytes"].as_u64().unwrap() < bytes, "{preview} {fewer}");
        let aged = topic.post("retention/preview", "{\"max_age_secs\":9000,\"max_records\":null}").await;
        assert_eq!(aged.expect(200).json(), nothing);
        assert_eq!(topic.values(0).await.len() as u64, tail, "nothing was removed");
        for (body, code) in [
            ("{\"max_records\":0}", "invalid_parameter"),
            ("{\"max_records\":\"5\"}", "invalid_body"),
            ("{\"records\":5}", "invalid_body"),
            ("[]", "invalid_body"),
            ("{", "invalid_json"),
        ] {
            topic.post("retention/preview", body).await.problem(400, code);
        }
        topic.call("PATCH", "", &[], "{\"retention\":{\"max_records\":5}}").await.expect(200);
        until("what the preview has told is gone", async || {
            topic.get("").await.json()["earliest_offset"] == json!(tail - 5)
        })
        .await;
        assert_eq!(topic.post("retention/preview", "").await.json()["records"], 0);
    }
    shared().await.named("nobody").post("retention/preview", "").await.problem(404, "topic_not_found");
}
