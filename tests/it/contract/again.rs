//! What a topic knows beside its records outlives a stop and a crash, committed or not.

use serde_json::{Value, json};

use crate::support::api::{Api, JSON, Topic};
use crate::support::process::{Launch, Server};

async fn produce(topic: &Topic, epoch: &str, seq: u64) -> crate::support::api::Answer {
    let seq = seq.to_string();
    let headers = [("producer-id", "p"), ("producer-epoch", epoch), ("producer-seq", seq.as_str())];
    topic.append_with(&headers, "{\"n\":1}").await
}

async fn keyed(topic: &Topic, body: &str) -> crate::support::api::Answer {
    topic.append_with(&[("idempotency-key", "k")], body).await
}

/// Ends a server, in order or not, and starts the next one.
async fn again(launch: &Launch, server: Server, in_order: bool) -> Server {
    if in_order {
        assert!(server.stop().success());
    } else {
        server.kill();
    }
    launch.start_ready().await
}

#[tokio::test]
async fn writers_schemas_and_widths_are_remembered() {
    let slow = json!({"backend_options": {"flush_interval_ms": 86_400_000}});
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path()).with(&["--disk-floor-bytes", "0"]);
    let mut server = launch.start_ready().await;
    for (in_order, flushed) in [(true, true), (true, false), (false, true), (false, false)] {
        let topic = Api::new(server.base()).make(slow.clone()).await;
        for seq in 0..20 {
            produce(&topic, "7", seq).await.expect(200);
        }
        let first = keyed(&topic, "{\"n\":2}").await.expect(200).json();
        topic.append("{\"n\":9007199254740993,\"s\":{\"x\":1}}").await;
        topic.append("{\"s\":{\"x\":0.5,\"y\":true}}").await;
        let schemas = topic.get("schemas").await.json();
        if flushed {
            topic.post("flush", "").await.expect(200);
        }
        let values = topic.values(0).await;
        let last = topic.get("records/22").await.json()["timestamp"].as_str().unwrap().to_owned();

        server = again(&launch, server, in_order).await;
        let topic = Api::new(server.base()).named(&topic.name);
        let told = format!("in order: {in_order}, flushed: {flushed}");
        assert_eq!(topic.values(0).await, values, "{told}");
        assert_eq!(topic.get("schemas").await.json(), schemas, "{told}");
        // The last 16 are answered again with their offsets, those before are known as old.
        for seq in 4..20 {
            let again = produce(&topic, "7", seq).await.expect(200).json();
            assert_eq!((again["first_offset"].as_u64(), &again["duplicate"]), (Some(seq), &json!(true)), "{told}");
        }
        produce(&topic, "7", 3).await.problem(409, "duplicate_expired");
        produce(&topic, "6", 0).await.problem(403, "producer_fenced");
        assert_eq!(produce(&topic, "7", 21).await.problem(409, "producer_gap")["expected_seq"], 20);
        let mut dup = keyed(&topic, "{\"n\":2}").await.expect(200).json();
        assert_eq!(dup.as_object_mut().unwrap().remove("duplicate"), Some(Value::Bool(true)));
        for member in ["first_offset", "last_offset", "count", "schema_version", "epoch"] {
            assert_eq!(dup[member], first[member], "{told}");
        }
        keyed(&topic, "{\"n\":3}").await.problem(422, "idempotency_mismatch");
        // A column that has held more than 2^53 stays an integer one.
        topic.refuse("", JSON, "{\"n\":1.5}", (422, "schema_conflict")).await;
        topic.append("{\"n\":1.0,\"s\":{\"x\":1.5}}").await;
        let record = topic.get("records/23").await.expect(200).json();
        assert_eq!(record["value"], json!({"n": 1, "s": {"x": 1.5}}));
        assert!(record["timestamp"].as_str().unwrap() >= last.as_str(), "{told}");
        assert_eq!(
            topic.get("").await.json()["schema_version"].as_u64(),
            Some(schemas["schemas"].as_array().unwrap().len() as u64)
        );
    }
    assert!(server.stop().success());
}

#[tokio::test]
async fn what_was_trimmed_and_closed_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path()).with(&["--disk-floor-bytes", "0"]);
    let mut server = launch.start_ready().await;
    for (backend, in_order) in [("persisting", true), ("persisting", false), ("lance", true), ("lance", false)] {
        let topic = Api::new(server.base()).topic(backend).await;
        topic.append("{\"n\":1}".repeat(10)).await;
        topic.wait_for_tail(10).await;
        topic.post("trim", "{\"before\":4}").await.expect(200);
        topic.call("POST", "records?close=true", &[], "{\"n\":2}").await;
        let page = topic.get("records").await.expect(200).json();

        server = again(&launch, server, in_order).await;
        let topic = Api::new(server.base()).named(&topic.name);
        let mut after = topic.get("records").await.expect(200).json();
        after["epoch"] = page["epoch"].clone();
        assert_eq!(after, page, "{backend} {in_order}");
        topic.get("records?offset=3").await.problem(410, "offset_expired");
        topic.post("records", "{}").await.problem(409, "topic_closed");
        let stream = topic.get("stream?offset=0").await.expect(200).text();
        assert!(
            stream.contains("\"reason\":\"retention\"") && stream.contains("\"reason\":\"closed\",\"next_offset\":11"),
            "{stream}"
        );
    }
    assert!(server.stop().success());
}
