//! What was trimmed before it was committed, or shares a file with what was not, is in no version that was made after that.

use serde_json::{Value, json};

use crate::support::api::Topic;
use crate::support::local::shared;

async fn commit(topic: &Topic, count: usize) -> Value {
    if count > 0 {
        topic.append("{\"n\":1}".repeat(count)).await;
    }
    topic.post("flush", "").await.expect(200).json()["version"].clone()
}

/// A topic that commits when it is told to.
async fn topic(backend: &str) -> Topic {
    let options = json!({"flush_interval_ms": 3_600_000, "batch_size": 1_000_000});
    shared().await.make(json!({"backend": backend, "backend_options": options})).await
}

async fn bounds(topic: &Topic, query: &str) -> (Value, Value, Value) {
    let page = topic.get(&format!("records?{query}")).await.expect(200).json();
    let first = page["records"].get(0).map_or(Value::Null, |record| record["offset"].clone());
    (page["earliest_offset"].clone(), first, page["tail_offset"].clone())
}

#[tokio::test]
async fn what_was_trimmed_before_it_was_committed_is_in_no_version_tag_export_or_fork() {
    let topic = topic("persisting").await;
    topic.append("{\"n\":1}".repeat(30)).await;
    topic.post("trim", r#"{"before":5}"#).await.expect(200);
    let version = commit(&topic, 0).await;
    let expected = (json!(5), json!(5), json!(30));
    assert_eq!(bounds(&topic, &format!("version={version}")).await, expected);
    topic.get(&format!("records?version={version}&offset=4")).await.problem(410, "offset_expired");
    topic.call("PUT", "tags/t", &[], json!({ "version": version }).to_string()).await.expect(201);
    assert_eq!(bounds(&topic, "tag=t").await, expected);
    let told = topic.get("versions").await.expect(200).json();
    let told = told["versions"].as_array().unwrap().iter().find(|it| it["version"] == version).unwrap().clone();
    assert_eq!(told["rows"], json!(25), "{told}");
    let exported = topic.get(&format!("export?version={version}")).await.expect(200).text();
    assert_eq!(exported.lines().count(), 25, "{exported}");

    let name = format!("{}-fork", topic.name);
    topic.post("fork", json!({"topic": name, "at": {"version": version}}).to_string()).await.expect(201);
    let fork = shared().await.named(&name);
    assert_eq!(bounds(&fork, "offset=earliest").await, expected);
    assert_eq!(bounds(&fork, "version=1").await, expected);
}

#[tokio::test]
async fn a_version_has_what_was_there_when_it_was_made() {
    for backend in ["persisting", "lance"] {
        let topic = topic(backend).await;
        let before = commit(&topic, 10).await;
        topic.post("trim", r#"{"before":5}"#).await.expect(200);
        let after = commit(&topic, 10).await;
        assert_eq!(bounds(&topic, &format!("version={before}")).await, (json!(0), json!(0), json!(10)), "{backend}");
        assert_eq!(bounds(&topic, &format!("version={after}")).await, (json!(5), json!(5), json!(20)), "{backend}");
        let since = topic.get(&format!("records?version={after}&since=2020-01-01T00:00:00Z")).await.expect(200).json();
        assert_eq!(since["records"][0]["offset"], json!(5), "{backend}");
        // The fork of today has one version, made after the trim.
        let name = format!("{}-fork", topic.name);
        topic.post("fork", json!({ "topic": name }).to_string()).await.expect(201);
        let fork = shared().await.named(&name);
        assert_eq!(bounds(&fork, "version=1").await, (json!(5), json!(5), json!(20)), "{backend}");
    }
}
