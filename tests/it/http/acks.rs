//! Acknowledgement levels, by backend.

use serde_json::{Value, json};

use crate::support::api::{Topic, allowed};
use crate::support::local::shared;

/// What each level answers; the level reached unasked, and its status.
struct Row {
    configuration: Value,
    accepted: u16,
    wal: u16,
    committed: u16,
    unasked: (&'static str, u16),
}

fn table() -> Vec<Row> {
    let row =
        |configuration, accepted, wal, committed, unasked| Row { configuration, accepted, wal, committed, unasked };
    let option = |options: Value| json!({"backend": "persisting", "backend_options": options});
    vec![
        row(json!({"backend": "memory"}), 200, 400, 400, ("accepted", 200)),
        row(json!({"backend": "lance"}), 202, 400, 200, ("accepted", 202)),
        row(option(json!({"enable_wal": false})), 202, 400, 200, ("accepted", 202)),
        row(option(json!({"enable_wal": false, "ack": "committed"})), 202, 400, 200, ("committed", 200)),
        row(option(json!({})), 202, 200, 200, ("wal", 200)),
        row(option(json!({"ack": "committed"})), 202, 200, 200, ("committed", 200)),
        row(option(json!({"ack": "accepted"})), 202, 200, 200, ("accepted", 202)),
    ]
}

fn rank(level: &str) -> usize {
    ["accepted", "wal", "committed"].iter().position(|word| *word == level).unwrap()
}

async fn check(topic: &Topic, ack: &str, status: u16) {
    let next = topic.tail().await;
    let answer = topic.call("POST", &format!("records?ack={ack}"), &[], r#"{"a":1}"#).await;
    if status == 400 {
        let problem = answer.problem(400, "ack_unsupported");
        assert!(!allowed(&problem).is_empty() && !allowed(&problem).contains(&ack), "{problem}");
        assert_eq!(topic.tail().await, next);
        return;
    }
    let receipt = answer.json();
    let reached = receipt["durability"].as_str().unwrap();
    // The level reached can be above the one asked, and the status goes by it.
    assert!(rank(reached) >= rank(ack), "{answer}");
    let complete = topic.get("").await.json()["backend"] == "memory";
    let expected = if reached == "accepted" && !complete { 202 } else { 200 };
    assert_eq!(answer.status.as_u16(), expected, "{answer}");
    if reached == ack {
        assert_eq!(answer.status.as_u16(), status, "{answer}");
    }
}

#[tokio::test]
async fn each_level_is_given_or_refused_as_the_table_says() {
    let api = shared().await;
    for row in table() {
        let topic = api.make(row.configuration.clone()).await;
        check(&topic, "accepted", row.accepted).await;
        check(&topic, "committed", row.committed).await;
        check(&topic, "wal", row.wal).await;
        let answer = topic.post("records", r#"{"a":1}"#).await;
        let (level, status) = row.unasked;
        let reached = answer.json()["durability"].as_str().unwrap().to_owned();
        // More than was promised may be reached by then, and the status goes by it.
        assert!(rank(&reached) >= rank(level), "{answer}");
        let expected = if reached == level { status } else { 200 };
        assert_eq!(answer.status.as_u16(), expected, "{}: {answer}", row.configuration);
        let count = answer.json()["next_offset"].as_u64().unwrap();
        topic.wait_for_tail(count).await;
        for word in ["never", "ACCEPTED", "wal,committed", "0"] {
            let problem = topic.refuse(&format!("?ack={word}"), &[], "{}", (400, "invalid_parameter")).await;
            assert_eq!(allowed(&problem), ["accepted", "wal", "committed"]);
        }
        assert_eq!(topic.values(0).await.len() as u64, count);
    }
}

#[tokio::test]
async fn committed_means_that_the_dataset_has_it() {
    let api = shared().await;
    for backend in ["lance", "persisting"] {
        let topic = api.topic(backend).await;
        let answer = topic.call("POST", "records?ack=committed", &[], r#"{"a":1}{"a":2}"#).await.expect(200).json();
        assert_eq!((&answer["durability"], &answer["schema_version"]), (&json!("committed"), &json!(1)));
        let stats = topic.get("stats").await.json();
        assert_eq!((&stats["committed_offset"], &stats["fragments"]), (&json!(2), &json!(1)), "{stats}");
        let uri = topic.get("").await.json()["dataset_uri"].as_str().unwrap().to_owned();
        assert!(std::path::Path::new(&uri).join("_versions").is_dir());
    }
}

#[tokio::test]
async fn the_level_is_checked_before_the_body_and_after_existence() {
    let api = shared().await;
    let topic = api.topic("memory").await;
    topic.refuse("?ack=wal", &[], "nonsense", (400, "ack_unsupported")).await;
    topic.refuse("?ack=never", &[], "nonsense", (400, "invalid_parameter")).await;
    api.named("nobody").call("POST", "records?ack=wal", &[], "nonsense").await.problem(404, "topic_not_found");
    api.named("nobody").call("POST", "records?ack=never", &[], "").await.problem(400, "invalid_parameter");
}
