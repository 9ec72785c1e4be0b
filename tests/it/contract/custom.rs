//! A backend written outside the crate: that of the example, served beside the built-in ones.

use std::sync::Arc;

use serde_json::json;

use crate::support::api::allowed;
use crate::support::local::Setup;
use crate::support::sse::Sse;

#[path = "../../../examples/custom_backend.rs"]
#[allow(dead_code, reason = "its main serves where it is run by itself")]
mod example;

#[tokio::test]
async fn a_backend_from_outside_is_listed_and_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    setup.backends = vec![Arc::new(example::ChunksFactory)];
    let server = setup.start().await;
    let api = server.api();
    let listed = api.get("/v1/backends").await.json();
    let names: Vec<&str> =
        listed["backends"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["memory", "lance", "persisting", "chunks"], "built-ins first");

    let topic = api.topic("chunks").await;
    assert_eq!(topic.get("").await.json()["backend"], "chunks");
    let mut stream = Sse::open(&topic, "?offset=0", &[]).await;
    stream.events(3).await;
    for round in 0..3 {
        let receipt = topic.append("{\"b\":1.0,\"a\":null}{\"n\":2}").await;
        assert_eq!((&receipt["first_offset"], &receipt["durability"]), (&json!(round * 2), &json!("accepted")));
    }
    let texts = ["{\"b\":1.0,\"a\":null}", "{\"n\":2}"];
    assert_eq!(topic.values(0).await, texts.repeat(3));
    for (offset, event) in stream.events(6).await.iter().enumerate() {
        assert_eq!(event.data()["offset"], offset);
    }
    let page = topic.get("records?offset=3&limit=2").await.expect(200).json();
    assert_eq!((&page["records"][0]["offset"], &page["next_offset"]), (&json!(3), &json!(5)));
    assert_eq!(topic.get("stats").await.json()["buffered_records"], 6);
    topic.post("trim", "{\"before\":3}").await.expect(200);
    topic.get("records?offset=2").await.problem(410, "offset_expired");
    assert_eq!(topic.values(3).await.len(), 3);
    topic.refuse("", &[], "{\"a\":1,\"a\":2}", (422, "invalid_record")).await;
    topic.call("POST", "records?expected_offset=6&close=true", &[], "{}").await.expect(200);
    assert_eq!(stream.rest().await.last().unwrap().data(), json!({"reason": "closed", "next_offset": 7}));
    assert_eq!(topic.post("flush", "").await.expect(200).json(), json!({"committed_offset": null, "version": null}));

    // What it lacks is refused as of any backend.
    topic.call("POST", "records?ack=wal", &[], "{}").await.problem(400, "ack_unsupported");
    let key = topic.append_with(&[("idempotency-key", "k")], "{}").await.problem(400, "unsupported_by_backend");
    assert_eq!(allowed(&key), ["memory", "persisting"]);
    let problem = api.put("/v1/topics/x", r#"{"backend":"chunk"}"#).await.problem(400, "invalid_body");
    assert_eq!(allowed(&problem), names);
    topic.call("DELETE", "", &[], "").await.expect(204);
    topic.call("PUT", "", &[], r#"{"backend":"chunks"}"#).await.expect(201);
    assert_eq!(topic.append("{}").await["first_offset"], 0);
}

#[tokio::test]
async fn a_topic_whose_backend_is_gone_is_degraded_alone() {
    let folder = tempfile::tempdir().unwrap();
    let with = || {
        let mut setup = Setup::new(folder.path());
        setup.backends = vec![Arc::new(example::ChunksFactory)];
        setup
    };
    let server = with().start().await;
    let (gone, other) = (server.api().topic("chunks").await, server.api().topic("persisting").await);
    let before = gone.get("").await;
    gone.append("{}").await;
    other.append("{}").await;
    server.stop().await;

    let server = Setup::new(folder.path()).start().await;
    let api = server.api();
    let (gone, other) = (api.named(&gone.name), api.named(&other.name));
    let described = gone.get("").await.expect(200);
    assert_eq!((&described.json()["state"], &described.json()["backend"]), (&json!("degraded"), &json!("chunks")));
    assert_eq!(described.header("etag"), before.header("etag"));
    let listed = api.get("/v1/topics").await.expect(200).json();
    assert_eq!(listed["topics"].as_array().unwrap().len(), 2);
    for (method, rest) in [("POST", "records"), ("GET", "records"), ("POST", "flush"), ("GET", "stats")] {
        gone.call(method, rest, &[], "").await.problem(503, "topic_degraded");
    }
    assert_eq!(other.append("{}").await["first_offset"], 1);
    api.get("/readyz").await.expect(200);
    server.stop().await;

    let server = with().start().await;
    let gone = server.api().named(&gone.name);
    assert_eq!(gone.get("").await.expect(200).json()["state"], "open");
    assert_eq!(gone.append("{}").await["first_offset"], 0);
    server.stop().await;

    let server = Setup::new(folder.path()).start().await;
    server.api().named(&gone.name).call("DELETE", "", &[], "").await.expect(204);
    assert_eq!(server.api().get("/v1/topics").await.json()["topics"].as_array().unwrap().len(), 1);
    server.stop().await;
}
