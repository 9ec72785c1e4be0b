//! Committed records that are still in memory: nobody can tell them from those of the dataset.

use serde_json::json;
use tempfile::TempDir;

use crate::support::api::{Api, Topic, until};
use crate::support::local::{Local, Setup};

/// A server that keeps committed records in memory.
async fn server() -> (Local, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    setup.engine.recent_bytes = 1 << 20;
    (setup.start().await, folder)
}

/// How many bytes of them there are.
async fn held(api: &Api) -> u64 {
    let text = api.get("/metrics").await.expect(200).text();
    let found = text.lines().find_map(|line| line.strip_prefix("persisting_recent_bytes "));
    found.unwrap().parse().unwrap()
}

async fn flush(topic: &Topic) {
    topic.post("flush", "").await.expect(200);
}

#[tokio::test]
async fn what_is_read_is_the_same_from_the_tail_from_memory_and_from_the_dataset() {
    let (server, folder) = server().await;
    let mut pages = Vec::new();
    for backend in ["lance", "persisting"] {
        let topic = server.api().topic(backend).await;
        topic.append(r#"{"b":1.50,"a":"\u00e9","l":[1,null],"s":{"x":null}}{"a":"x"}{}"#).await;
        topic.append(r#"{"b":-0.0,"a":null}"#).await;
        let before = topic.get("records?offset=1").await.expect(200).text();
        assert_eq!(held(&server.api()).await, 0);
        flush(&topic).await;
        until("they are kept", || async { held(&server.api()).await > 0 }).await;
        assert_eq!(topic.get("records?offset=1").await.expect(200).text(), before);
        // A page goes on from the ones to the others.
        topic.append(r#"{"a":"last"}"#).await;
        let all = topic.get("records?offset=0").await.expect(200).text();
        let rest = topic.get("records?offset=2&limit=2").await.expect(200).json();
        assert_eq!((rest["records"].as_array().unwrap().len(), rest["next_offset"].clone()), (2, json!(4)));
        topic.call("DELETE", "", &[], "").await;
        assert_eq!(held(&server.api()).await, 0, "a topic's go with it");
        pages.push((backend, all));
    }
    drop(folder);
    server.stop().await;
    for (backend, all) in pages {
        let folder = tempfile::tempdir().unwrap();
        let server = Setup::new(folder.path()).start().await;
        let topic = server.api().topic(backend).await;
        topic.append(r#"{"b":1.50,"a":"\u00e9","l":[1,null],"s":{"x":null}}{"a":"x"}{}"#).await;
        topic.append(r#"{"b":-0.0,"a":null}"#).await;
        topic.append(r#"{"a":"last"}"#).await;
        flush(&topic).await;
        assert_eq!(held(&server.api()).await, 0);
        let values = |page: &str| {
            let page: serde_json::Value = serde_json::from_str(page).unwrap();
            page["records"].as_array().unwrap().iter().map(|record| record["value"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(values(&topic.get("records?offset=0").await.expect(200).text()), values(&all));
        server.stop().await;
    }
}

#[tokio::test]
async fn what_is_posted_and_what_is_trimmed_holds_for_them_too() {
    let (server, _folder) = server().await;
    let topic = server.api().topic("persisting").await;
    topic.append(r#"{"a":1,"b":"x"}{"a":2,"b":"y"}{"a":3}"#).await;
    flush(&topic).await;
    until("they are kept", || async { held(&server.api()).await > 0 }).await;
    let changes = json!({"changes": [
        {"op": "rename", "path": "a", "to": "n"}, {"op": "drop", "path": "b"}]});
    topic.call("POST", "schemas", &[("content-type", "application/json")], changes.to_string()).await.expect(201);
    assert_eq!(topic.values(0).await, [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
    topic.append(r#"{"n":4}"#).await;
    flush(&topic).await;
    until("they are kept", || async { held(&server.api()).await > 0 }).await;
    assert_eq!(topic.values(0).await, [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#, r#"{"n":4}"#]);
    topic.post("trim", r#"{"before":3}"#).await.expect(200);
    topic.get("records?offset=2").await.problem(410, "offset_expired");
    assert_eq!(topic.values(3).await, [r#"{"n":4}"#]);
    topic.post("trim", r#"{"before":4}"#).await.expect(200);
    until("what is trimmed has gone", || async { held(&server.api()).await == 0 }).await;
    server.stop().await;
}
