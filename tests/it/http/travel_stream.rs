//! Streams of the past: finite, resumable, and the same records as a read of the same moment.

use futures::future::join_all;
use serde_json::{Value, json};

use super::travel::{BACKENDS, commit};
use crate::support::api::{Headers, Topic};
use crate::support::local::shared;

const LINES: Headers<'static> = &[("accept", "application/x-ndjson")];

/// The lines of a stream that ends by itself: records' values, and control events.
async fn lines(topic: &Topic, query: &str) -> (Vec<Value>, Vec<Value>) {
    let text = topic.call("GET", &format!("stream?{query}"), LINES, "").await.expect(200).text();
    let all = text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (records, events): (Vec<Value>, Vec<Value>) = all.partition(|line| line.get("value").is_some());
    (records.into_iter().map(|record| record["value"].clone()).collect(), events)
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

fn numbers(from: u64, to: u64) -> Vec<Value> {
    (from..to).map(|n| json!({ "a": n })).collect()
}

/// A topic with a version of three records under a tag, and two records besides.
async fn made(backend: &str) -> (Topic, u64, u64) {
    let topic = shared().await.topic(backend).await;
    let version = commit(&topic, r#"[{"a":0},{"a":1},{"a":2}]"#).await;
    topic.call("PUT", "tags/t", &[], json!({ "version": version }).to_string()).await.expect(201);
    commit(&topic, r#"[{"a":3},{"a":4}]"#).await;
    let epoch = topic.get("").await.json()["epoch"].as_u64().unwrap();
    (topic, version, epoch)
}

#[tokio::test]
async fn a_stream_of_the_past_ends_with_it_whether_or_not_it_blocks() {
    join_all(BACKENDS.map(|backend| async move {
        let (topic, version, epoch) = made(backend).await;
        for query in [format!("version={version}"), "tag=t".to_owned(), format!("version={version}&block=true")] {
            let (records, events) = lines(&topic, &query).await;
            assert_eq!(records, numbers(0, 3), "{backend} {query}");
            assert_eq!(names(&events), ["position", "caught-up", "end"]);
            assert_eq!(events[0]["data"], json!({"epoch": epoch, "next_offset": 0, "tail_offset": 3}));
            assert_eq!(events[2]["data"], json!({"reason": "tail", "next_offset": 3}));
        }
        let record = topic.get("records/2").await.text();
        let sse = topic.get("stream?tag=t&offset=2").await.expect(200).text();
        let expected = format!(
            "retry: 2000\n\nevent: position\nid: {epoch}:1\ndata: {{\"epoch\":{epoch},\"next_offset\":2,\"tail_offset\":3}}\n\n\
             id: {epoch}:2\ndata: {record}\n\nevent: caught-up\ndata: {{\"next_offset\":3}}\n\n\
             event: end\nid: end\ndata: {{\"reason\":\"tail\",\"next_offset\":3}}\n\n"
        );
        assert_eq!(sse, expected, "{backend}");
    }))
    .await;
}

#[tokio::test]
async fn it_begins_goes_on_and_is_cut_as_it_is_told() {
    join_all(BACKENDS.map(|backend| async move {
        let (topic, _, epoch) = made(backend).await;
        for (query, from, to, reason) in [
            ("offset=1", 1, 3, "tail"),
            ("offset=-1", 2, 3, "tail"),
            ("offset=latest", 3, 3, "tail"),
            ("offset=99", 3, 3, "tail"),
            ("since=1970-01-01T00:00:00Z", 0, 3, "tail"),
            ("limit=2", 0, 2, "limit"),
            ("fields=a&offset=1", 1, 3, "tail"),
        ] {
            let (records, events) = lines(&topic, &format!("tag=t&{query}")).await;
            assert_eq!(records, numbers(from, to), "{backend} {query}");
            assert_eq!(events.last().unwrap()["data"]["reason"], reason, "{backend} {query}");
        }
        let id = format!("{epoch}:0");
        let resumed = topic.call("GET", "stream?tag=t", &[LINES[0], ("last-event-id", &id)], "").await.expect(200);
        assert_eq!(resumed.text().matches("\"value\"").count(), 2, "{backend}");
        topic.call("GET", "stream?tag=t", &[("last-event-id", "end")], "").await.expect(204);
        let stranger = topic.call("GET", "stream?tag=t", &[LINES[0], ("last-event-id", "999999:7")], "").await;
        let stranger = stranger.expect(200).text();
        assert!(stranger.contains(r#"{"event":"gap","data":{"from":8,"to":0,"reason":"reset"}}"#), "{stranger}");
        assert_eq!(stranger.matches("\"value\"").count(), 3);
    }))
    .await;
}

#[tokio::test]
async fn a_moment_is_what_had_been_appended_and_what_retention_takes_is_a_gap() {
    join_all(BACKENDS.map(|backend| async move {
        let (topic, version, _) = made(backend).await;
        let page = topic.get("records?offset=1&limit=1").await.json();
        let time = page["records"][0]["timestamp"].as_str().unwrap().to_owned();
        // Records of one append have one time.
        assert_eq!(lines(&topic, &format!("as_of={time}")).await.0, numbers(0, 3), "{backend}");
        assert_eq!(lines(&topic, "as_of=2999-01-01T00:00:00Z").await.0, numbers(0, 5));
        topic.post("trim", r#"{"before":2}"#).await.expect(200);
        let (records, events) = lines(&topic, &format!("as_of={time}&offset=0")).await;
        assert_eq!((records, names(&events)), (numbers(2, 3), vec!["gap", "position", "caught-up", "end"]));
        // A version has what it had.
        let (records, events) = lines(&topic, &format!("version={version}")).await;
        assert_eq!((records, names(&events)), (numbers(0, 3), vec!["position", "caught-up", "end"]), "{backend}");
    }))
    .await;
}

#[tokio::test]
async fn a_version_reads_under_its_own_schema_and_one_that_is_gone_is_told() {
    let (topic, version, _) = made("persisting").await;
    let rename = json!({"changes": [{"op": "rename", "path": "a", "to": "z"}]});
    topic.post("schemas", rename.to_string()).await.expect(201);
    assert_eq!(lines(&topic, &format!("version={version}")).await.0, numbers(0, 3));
    assert_eq!(lines(&topic, "as_of=2999-01-01T00:00:00Z&limit=1").await.0, [json!({"z": 0})]);
    topic.get("stream?version=1000").await.problem(410, "version_expired");
    topic.get("stream?tag=nobody").await.problem(404, "not_found");
    topic.get("stream?version=1&tag=t").await.problem(400, "invalid_parameter");
    topic.get("stream?version=0").await.problem(400, "invalid_parameter");
}
