//! `/metrics` after traffic.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::api::{Api, JSON, NDJSON};
use crate::support::local::Local;
use crate::support::sse::Sse;

/// Every sample by its name and labels.
async fn samples(api: &Api) -> BTreeMap<String, f64> {
    let answer = api.get("/metrics").await.expect(200);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
    let text = answer.text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn traffic_is_counted() {
    let (server, _folder) = Local::fresh().await;
    let api = server.api();
    let (memory, lance, persisting) =
        (api.topic("memory").await, api.topic("lance").await, api.topic("persisting").await);
    let quiet = api.make(json!({"backend_options": {"enable_metrics": false}})).await;
    for topic in [&memory, &lance, &persisting, &quiet] {
        topic.append("{\"a\":1}{\"a\":2}").await;
        topic.post("flush", "").await.expect(200);
        topic.get("records").await.expect(200);
    }
    let key = [("idempotency-key", "k")];
    persisting.append_with(&key, "{\"a\":3}").await.expect(200);
    persisting.append_with(&key, "{\"a\":3}").await.expect(200);
    persisting.refuse("", JSON, "nonsense", (400, "invalid_json")).await;
    persisting.refuse("", NDJSON, "7", (422, "invalid_record")).await;
    for topic in [&memory, &lance, &persisting, &quiet] {
        topic.call("PUT", "cursors/reader", JSON, "{\"offset\":2}").await.expect(200);
    }
    persisting.call("PUT", "cursors/slow", JSON, "{\"offset\":0}").await.expect(200);
    let mut stream = Sse::open(&memory, "", &[]).await;
    stream.events(3).await;
    memory.get("stream?offset=0&block=false").await.expect(200);
    api.get("/nowhere").await.expect(404);

    let samples = samples(&api).await;
    let value =
        |name: &str| *samples.get(&format!("persisting_{name}")).unwrap_or_else(|| panic!("{name}: {samples:#?}"));
    assert_eq!(value("appended_records_total"), 9.0);
    assert!(value("appended_bytes_total") >= 63.0);
    assert_eq!(value("delivered_records_total"), 10.0);
    assert!(value("delivered_bytes_total") > 500.0);
    assert_eq!(value("duplicates_total"), 1.0);
    assert_eq!(value("rejected_records_total{code=\"invalid_json\"}"), 1.0);
    assert_eq!(value("rejected_records_total{code=\"invalid_record\"}"), 1.0);
    assert_eq!(value("streams_open"), 1.0);
    assert_eq!(value("topics_degraded"), 0.0);
    for (backend, count) in [("memory", 1.0), ("lance", 1.0), ("persisting", 2.0)] {
        assert_eq!(value(&format!("topics{{backend=\"{backend}\"}}")), count);
    }
    assert!(
        value("wal_bytes") > 0.0
            && value("wal_fsync_duration_seconds_count") > 0.0
            && value("wal_group_size_count") > 0.0
    );
    assert_eq!(value("commit_duration_seconds_count"), 3.0);
    assert!(value("tail_bytes") >= 0.0 && value("recovery_duration_seconds") >= 0.0);
    let records = "/v1/topics/{topic}/records";
    assert_eq!(value(&format!("http_requests_total{{method=\"POST\",route=\"{records}\",status=\"422\"}}")), 1.0);
    assert!(value(&format!("http_request_duration_seconds_count{{method=\"POST\",route=\"{records}\"}}")) >= 7.0);
    assert!(samples.keys().any(|name| name.contains("http_requests_total") && name.contains("status=\"404\"")));

    // Series of its own has a persisting topic that asks for them, and nobody else.
    let name = &persisting.name;
    for (family, expected) in
        [("records_total", 3.0), ("tail_offset", 3.0), ("committed_offset", 2.0), ("fragments", 1.0)]
    {
        assert_eq!(value(&format!("topic_{family}{{topic=\"{name}\"}}")), expected, "{family}");
    }
    assert!(value(&format!("topic_bytes_total{{topic=\"{name}\"}}")) >= 21.0);
    assert_eq!(value("cursors"), 5.0);
    assert_eq!(value(&format!("topic_cursor_lag{{cursor=\"reader\",topic=\"{name}\"}}")), 1.0);
    assert_eq!(value(&format!("topic_cursor_lag{{cursor=\"slow\",topic=\"{name}\"}}")), 3.0);
    for other in [&memory, &lance, &quiet] {
        assert!(samples.keys().all(|sample| !sample.contains(&other.name)), "{}", other.name);
    }
    persisting.call("DELETE", "", &[], "").await.expect(204);
    assert!(self::samples(&api).await.keys().all(|sample| !sample.contains(name)));
}
