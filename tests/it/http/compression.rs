//! Compression by option: what it does to the bytes on disk, and not to those that are read.

use serde_json::{Value, json};

use crate::support::api::{JSON, Topic, allowed, until};
use crate::support::local::shared;

/// Records that a general compression makes much smaller, and light encodings do not: long runs of words in many orders.
fn records(first: u64) -> String {
    let words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];
    let text = |record: u64| {
        let place = |position: u64| (record.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (position % 60)) % 6;
        (0..60).map(|position| words[usize::try_from(place(position)).unwrap()]).collect::<Vec<_>>().join(" ")
    };
    (first..first + 3_000)
        .map(|n| format!("{{\"n\":{n},\"s\":{{\"text\":\"{}\"}},\"list\":[\"{}\"]}}", text(n), text(n + 7)))
        .collect()
}

async fn filled(backend: &str, options: Value) -> Topic {
    let topic = shared().await.make(json!({"backend": backend, "backend_options": options})).await;
    topic.append(records(0)).await;
    topic.post("flush", "").await.expect(200);
    topic
}

async fn stats(topic: &Topic) -> Value {
    topic.get("stats").await.expect(200).json()
}

async fn stored(topic: &Topic) -> u64 {
    stats(topic).await["stored_bytes"].as_u64().unwrap()
}

#[tokio::test]
async fn codecs_make_what_is_stored_smaller_and_change_nothing_that_is_read() {
    for backend in ["lance", "persisting"] {
        let plain = filled(backend, json!({})).await;
        let (values, full) = (plain.values(0).await, stored(&plain).await);
        let raw = stats(&plain).await["raw_bytes"].clone();
        let mut ratios = Vec::new();
        for options in [
            json!({"compression": "lz4"}),
            json!({"compression": "zstd"}),
            json!({"compression": "zstd", "compression_level": 19}),
            json!({"field_compression": {"s.text": "zstd", "list": "zstd"}}),
        ] {
            let topic = filled(backend, options.clone()).await;
            let size = stored(&topic).await;
            // What is light is small for text already; LZ4 is for speed.
            assert!(size * 10 < full * 9 || options["compression"] == "lz4", "{options}: {size} of {full}");
            assert_eq!(topic.values(0).await, values, "{options}");
            let stats = stats(&topic).await;
            assert_eq!(stats["raw_bytes"], raw, "{options}");
            ratios.push(stats["compression_ratio"].as_f64().unwrap());
        }
        assert!(ratios.iter().all(|ratio| *ratio > 1.0), "{ratios:?}");
        let own =
            filled(backend, json!({"compression": "zstd", "field_compression": {"s": "none", "list": "none"}})).await;
        assert!(stored(&own).await > full * 9 / 10, "columns of their own are left alone");
    }
}

#[tokio::test]
async fn compression_can_be_changed_for_new_data_and_merges_take_it_to_the_old() {
    let topic = filled("persisting", json!({})).await;
    let full = stored(&topic).await;
    let change = json!({"backend_options": {"compression": "zstd"}}).to_string();
    let description = topic.call("PATCH", "", JSON, change).await.expect(200).json();
    assert_eq!(description["backend_options"]["compression"], "zstd");
    topic.append(records(3_000)).await;
    topic.append("{\"new\":{\"field\":\"of a later version\"}}").await;
    topic.post("flush", "").await.expect(200);
    assert!(stored(&topic).await < full * 19 / 10, "what is new is compressed");
    let before = topic.get("records?limit=10000").await.expect(200).text();
    topic.post("compact", "").await.expect(202);
    until("all is merged", async || stats(&topic).await["fragments"] == 1).await;
    assert!(stored(&topic).await < full * 3 / 2, "and what was there before");
    assert_eq!(topic.get("records?limit=10000").await.expect(200).text(), before);
}

#[tokio::test]
async fn options_that_are_none_are_refused() {
    let api = shared().await;
    for (options, code, known) in [
        (json!({"compression": "gzip"}), "invalid_body", vec!["none", "lz4", "zstd"]),
        (json!({"compression": 1}), "invalid_body", vec!["none", "lz4", "zstd"]),
        (json!({"compression_level": 0}), "invalid_parameter", vec![]),
        (json!({"compression_level": 23}), "invalid_parameter", vec![]),
        (json!({"compression_level": "3"}), "invalid_body", vec![]),
        (json!({"field_compression": "zstd"}), "invalid_body", vec!["none", "lz4", "zstd"]),
        (json!({"field_compression": {"a": "snappy"}}), "invalid_body", vec!["none", "lz4", "zstd"]),
        (json!({"field_compression": {"a..b": "zstd"}}), "invalid_body", vec!["none", "lz4", "zstd"]),
    ] {
        let body = json!({"backend_options": options}).to_string();
        let problem = api.put("/v1/topics/compression-refused", body).await.problem(400, code);
        let named = if problem.get("allowed").is_some() { allowed(&problem) } else { Vec::new() };
        assert_eq!(named, known, "{options}: {problem}");
    }
    api.get("/v1/topics/compression-refused").await.problem(404, "topic_not_found");
}
