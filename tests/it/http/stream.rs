//! Streams: the exact bytes of events, their order, their end.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use crate::support::api::{Headers, Topic};
use crate::support::local::{Setup, shared};
use crate::support::sse::Sse;

const LINES: Headers<'static> = &[("accept", "application/x-ndjson")];

async fn filled(backend: &str, count: u64) -> (Topic, u64) {
    let topic = shared().await.topic(backend).await;
    let records: String = (0..count).map(|index| format!("{{\"n\":{index}}}")).collect();
    if count > 0 {
        topic.append(records).await;
        topic.wait_for_tail(count).await;
    }
    let epoch = topic.get("").await.json()["epoch"].as_u64().unwrap();
    (topic, epoch)
}

#[tokio::test]
async fn a_stream_is_byte_for_byte_as_the_contract_shows_it() {
    join_all(super::BACKENDS.map(|backend| async move {
        let (topic, epoch) = filled(backend, 3).await;
        let record = topic.get("records/2").await.text();
        let expected = format!(
            "retry: 2000\n\nevent: position\nid: {epoch}:1\ndata: {{\"epoch\":{epoch},\"next_offset\":2,\"tail_offset\":3}}\n\n\
             id: {epoch}:2\ndata: {record}\n\nevent: caught-up\ndata: {{\"next_offset\":3}}\n\n"
        );
        let end = "event: end\nid: end\ndata: {\"reason\":\"tail\",\"next_offset\":3}\n\n";
        let whole = topic.get("stream?offset=2&block=false").await.expect(200);
        assert_eq!(whole.text(), format!("{expected}{end}"));
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache, no-transform"),
            ("x-accel-buffering", "no"),
        ] {
            assert_eq!(whole.header(name), Some(value));
        }
        let zipped =
            topic.call("GET", "stream?offset=2&block=false", &[("accept-encoding", "gzip, zstd, br")], "").await;
        assert_eq!((zipped.header("content-encoding"), &zipped.body), (None, &whole.body));
        // One that blocks has the same beginning, then signs of life.
        let mut stream = Sse::open(&topic, "?offset=2&heartbeat=1", &[]).await;
        let mut seen = String::new();
        while seen.len() < expected.len() {
            seen += &format!("{}\n\n", stream.next().await.unwrap().0);
        }
        assert_eq!(seen, expected);
        assert_eq!(stream.next().await.unwrap().0, ":");
        assert_eq!(stream.next().await.unwrap().0, ":");
        topic.append("{\"n\":9}").await;
        let next = stream.event().await.unwrap();
        assert_eq!((next.id(), next.name(), &next.data()["value"]), (Some(format!("{epoch}:3").as_str()), None, &json!({"n": 9})));
    }))
    .await;
}

#[tokio::test]
async fn a_stream_begins_with_what_comes_next_unless_told() {
    let (topic, epoch) = filled("persisting", 5).await;
    topic.post("trim", "{\"before\":1}").await.expect(200);
    for (query, next) in [
        ("", 5),
        ("?offset=latest", 5),
        ("?offset=earliest", 1),
        ("?offset=3", 3),
        ("?offset=-2", 3),
        ("?offset=-100", 1),
        ("?since=1970-01-01T00:00:00Z", 1),
        ("?since=2999-01-01T00:00:00Z", 5),
    ] {
        let mut stream = Sse::open(&topic, query, &[]).await;
        assert_eq!(stream.event().await.unwrap().0, "retry: 2000");
        let position = stream.event().await.unwrap();
        assert_eq!(
            (position.name(), position.data()["next_offset"].as_u64()),
            (Some("position"), Some(next)),
            "{query}"
        );
        assert_eq!(position.id(), Some(format!("{epoch}:{}", next - 1).as_str()));
    }
    let empty = shared().await.topic("memory").await;
    let epoch = empty.get("").await.json()["epoch"].as_u64().unwrap();
    let mut stream = Sse::open(&empty, "", &[]).await;
    let events = stream.events(3).await;
    assert_eq!(
        events[1].0,
        format!("event: position\nid: {epoch}:-1\ndata: {{\"epoch\":{epoch},\"next_offset\":0,\"tail_offset\":0}}")
    );
    assert_eq!(events[2].name(), Some("caught-up"));
}

#[tokio::test]
async fn unsound_requests_are_400_and_unknown_topics_404() {
    let (topic, _) = filled("memory", 1).await;
    for query in [
        "offset=x",
        "limit=0",
        "limit=x",
        "block=1",
        "heartbeat=0",
        "heartbeat=301",
        "heartbeat=1.5",
        "since=x",
        "offset=0&since=2026-01-01T00:00:00Z",
        "fields=,",
    ] {
        topic.get(&format!("stream?{query}")).await.problem(400, "invalid_parameter");
    }
    for query in ["wait=1", "epoch=1"] {
        topic.get(&format!("stream?{query}")).await.problem(400, "unknown_parameter");
    }
    shared().await.named("nobody").get("stream").await.problem(404, "topic_not_found");
}

#[tokio::test]
async fn positions_never_fail() {
    for backend in super::BACKENDS {
        let (topic, epoch) = filled(backend, 10).await;
        topic.post("trim", "{\"before\":4}").await.expect(200);
        let below = topic.get("stream?offset=1&block=false").await.expect(200).text();
        let gap = format!("event: gap\nid: {epoch}:3\ndata: {{\"from\":1,\"to\":4,\"reason\":\"retention\"}}\n\n");
        assert!(below.starts_with(&format!("retry: 2000\n\n{gap}event: position\nid: {epoch}:3\n")), "{below}");
        assert_eq!(below.matches("\"value\":").count(), 6);
        // Past the tail it waits.
        let mut stream = Sse::open(&topic, "?offset=12", &[]).await;
        let position = stream.events(2).await.remove(1);
        assert_eq!(position.data(), json!({"epoch": epoch, "next_offset": 12, "tail_offset": 10}));
        assert_eq!(position.id(), Some(format!("{epoch}:11").as_str()));
        assert!(stream.is_quiet().await);
        topic.append("{\"n\":10}{\"n\":11}").await;
        topic.wait_for_tail(12).await;
        let caught_up = stream.event().await.unwrap();
        assert_eq!((caught_up.name(), caught_up.data()), (Some("caught-up"), json!({"next_offset": 12})));
        topic.append("{\"n\":12}").await;
        assert_eq!(stream.event().await.unwrap().id(), Some(format!("{epoch}:12").as_str()));
        let past = topic.get("stream?offset=9007199254740991&block=false").await.expect(200).text();
        assert!(past.contains("event: end"), "{past}");
    }
}

#[tokio::test]
async fn a_limit_ends_the_stream() {
    for backend in super::BACKENDS {
        let (topic, _) = filled(backend, 5).await;
        for block in ["true", "false"] {
            let events = Sse::open(&topic, &format!("?offset=1&limit=3&block={block}"), &[]).await.rest().await;
            let names: Vec<Option<&str>> = events.iter().skip(1).map(|event| event.name()).collect();
            assert_eq!(names, [Some("position"), None, None, None, Some("end")]);
            let end = events.last().unwrap();
            assert_eq!((end.data(), end.id()), (json!({"reason": "limit", "next_offset": 4}), Some("end")));
        }
        // Records that come later count too.
        let mut stream = Sse::open(&topic, "?offset=4&limit=2", &[]).await;
        stream.events(4).await;
        topic.append("{\"n\":5}{\"n\":6}").await;
        let rest = stream.rest().await;
        assert_eq!(rest.last().unwrap().data(), json!({"reason": "limit", "next_offset": 6}));
        assert_eq!(rest.len(), 2);
    }
}

#[tokio::test]
async fn a_stream_that_does_not_block_ends_at_the_tail_found_when_it_began() {
    for backend in super::BACKENDS {
        let (topic, _) = filled(backend, 0).await;
        let text = topic.get("stream?block=false").await.expect(200).text();
        let order: Vec<usize> =
            ["retry", "position", "caught-up", "end"].iter().map(|word| text.find(word).unwrap()).collect();
        assert!(order.is_sorted(), "{text}");
        let (topic, _) = filled(backend, 20_000).await;
        let text = topic.get("stream?block=false&offset=earliest").await.expect(200).text();
        assert_eq!(text.matches("\"value\":").count(), 20_000);
        assert!(text.ends_with("event: end\nid: end\ndata: {\"reason\":\"tail\",\"next_offset\":20000}\n\n"));
    }
}

#[tokio::test]
async fn a_closed_topic_ends_its_streams() {
    for backend in super::BACKENDS {
        let (topic, _) = filled(backend, 2).await;
        let mut waiting = Sse::open(&topic, "?offset=1", &[]).await;
        waiting.events(4).await;
        topic.call("POST", "records?close=true", &[], "{\"n\":2}").await;
        let rest = waiting.rest().await;
        assert_eq!((rest.len(), rest[0].data()["offset"].as_u64()), (2, Some(2)), "{rest:?}");
        assert_eq!((rest[1].data(), rest[1].id()), (json!({"reason": "closed", "next_offset": 3}), Some("end")));
        let events = Sse::open(&topic, "?offset=earliest", &[]).await.rest().await;
        let names: Vec<Option<&str>> = events.iter().skip(1).map(|event| event.name()).collect();
        assert_eq!(names, [Some("position"), None, None, None, Some("caught-up"), Some("end")]);
        let events = Sse::open(&topic, "?block=false", &[]).await.rest().await;
        assert!(
            events.last().unwrap().data()["reason"] == "closed" || events.last().unwrap().data()["reason"] == "tail"
        );
    }
}

#[tokio::test]
async fn a_deleted_topic_ends_its_streams() {
    for backend in super::BACKENDS {
        let (topic, _) = filled(backend, 1).await;
        let mut stream = Sse::open(&topic, "", &[]).await;
        stream.events(3).await;
        topic.call("DELETE", "", &[], "").await.expect(204);
        let rest = stream.rest().await;
        assert_eq!(rest[0].0, "event: end\nid: end\ndata: {\"reason\":\"deleted\",\"next_offset\":1}");
    }
}

#[tokio::test]
async fn what_is_trimmed_below_a_reader_is_a_gap() {
    let (topic, epoch) = filled("memory", 0).await;
    let mut stream = Sse::open(&topic, "?offset=20", &[]).await;
    stream.events(2).await;
    let records: String = (0..30).map(|index| format!("{{\"n\":{index}}}")).collect();
    topic.post("records", records).await.expect(200);
    let first = stream.event().await.unwrap();
    assert_eq!(first.data()["offset"], 20);
    let mut waiting = Sse::open(&topic, "?offset=35", &[]).await;
    waiting.events(2).await;
    let more: String = (0..20).map(|index| format!("{{\"n\":{index}}}")).collect();
    // Both in one: the reader may be past it before it is trimmed, or not.
    topic.post("records", more).await.expect(200);
    topic.post("trim", "{\"before\":50}").await.expect(200);
    let mut events = Vec::new();
    loop {
        let event = waiting.event().await.unwrap();
        let done = event.name() == Some("caught-up");
        events.push(event);
        if done {
            break;
        }
    }
    let seen = events.iter().filter(|event| event.name().is_none()).count() as u64;
    if seen < 15 {
        let gap = events.iter().find(|event| event.name() == Some("gap")).unwrap();
        assert_eq!(gap.data(), json!({"from": 35 + seen, "to": 50, "reason": "retention"}));
        assert_eq!(gap.id(), Some(format!("{epoch}:49").as_str()));
    }
    assert_eq!(events.last().unwrap().data()["next_offset"], 50);
}

#[tokio::test]
async fn a_schema_event_comes_before_the_first_record_of_a_newer_version() {
    let topic = shared().await.topic("persisting").await;
    topic.append("{\"a\":1}").await;
    let mut stream = Sse::open(&topic, "?offset=0", &[]).await;
    let names: Vec<Option<String>> =
        stream.events(4).await.iter().map(|event| event.name().map(str::to_owned)).collect();
    assert_eq!(names[1..], [Some("position".to_owned()), None, Some("caught-up".to_owned())]);
    topic.append("{\"a\":2}").await;
    assert_eq!(stream.event().await.unwrap().name(), None);
    topic.append("{\"a\":3,\"b\":true}").await;
    let schema = stream.event().await.unwrap();
    assert_eq!(schema.0, "event: schema\ndata: {\"schema_version\":2}");
    assert_eq!(stream.event().await.unwrap().data()["offset"], 2);
    topic.append("{\"a\":4.5,\"c\":\"x\"}").await;
    assert_eq!(stream.event().await.unwrap().data(), json!({"schema_version": 3}));
    // One that begins now knows the newest.
    let text = topic.get("stream?offset=0&block=false").await.text();
    assert!(!text.contains("event: schema"), "{text}");
    // The very first version is newer than none.
    let fresh = shared().await.topic("lance").await;
    let mut stream = Sse::open(&fresh, "", &[]).await;
    stream.events(3).await;
    fresh.append("{\"a\":1}").await;
    assert_eq!(stream.event().await.unwrap().data(), json!({"schema_version": 1}));
}

#[tokio::test]
async fn lines_are_records_and_events_and_end_with_an_end() {
    join_all(super::BACKENDS.map(|backend| async move {
        let (topic, epoch) = filled(backend, 2).await;
        let answer = topic.call("GET", "stream?offset=1&block=false", LINES, "").await.expect(200);
        let record = topic.get("records/1").await.text();
        assert_eq!(
            answer.text(),
            format!(
                "{{\"event\":\"position\",\"data\":{{\"epoch\":{epoch},\"next_offset\":1,\"tail_offset\":2}}}}\n{record}\n\
                 {{\"event\":\"caught-up\",\"data\":{{\"next_offset\":2}}}}\n\
                 {{\"event\":\"end\",\"data\":{{\"reason\":\"tail\",\"next_offset\":2}}}}\n"
            )
        );
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
        let alive = topic.api.open("GET", &topic.at("stream?heartbeat=1"), LINES, "").await;
        let mut pieces = futures::StreamExt::boxed(alive.bytes_stream());
        let mut seen = Vec::new();
        while !seen.ends_with(b"}\n\n\n") {
            seen.extend_from_slice(&futures::StreamExt::next(&mut pieces).await.unwrap().unwrap());
        }
    }))
    .await;
}

#[tokio::test]
async fn fields_act_on_streams() {
    let topic = shared().await.topic("persisting").await;
    topic.append("{\"a\":1,\"b\":{\"c\":2,\"d\":3}}").await;
    let text = topic.get("stream?offset=0&block=false&fields=b.d").await.text();
    assert!(text.contains("\"value\":{\"b\":{\"d\":3}}}"), "{text}");
}

#[tokio::test]
async fn past_the_stream_limit_an_sse_stream_is_told_to_come_back_and_others_get_503() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    setup.http.max_streams = 2;
    let server = setup.start().await;
    let topic = server.api().topic("memory").await;
    let (mut first, _second) = (Sse::open(&topic, "", &[]).await, Sse::open(&topic, "", &[]).await);
    first.events(2).await;
    let turned_away = topic.get("stream").await.expect(200);
    assert_eq!(turned_away.header("content-type"), Some("text/event-stream"));
    assert!(turned_away.text().starts_with("retry: 10000\n\n:"), "{turned_away}");
    assert!(!turned_away.text().contains("event:"));
    topic.call("GET", "stream", LINES, "").await.problem(503, "overloaded");
    // A sound order all the same.
    server.api().named("nobody").get("stream").await.problem(404, "topic_not_found");
    topic.get("stream?offset=x").await.problem(400, "invalid_parameter");
    drop(first);
    crate::support::api::until("a place is free again", async || {
        topic.get("stream?block=false").await.text().starts_with("retry: 2000")
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test]
async fn a_stream_of_a_topic_that_is_closed_behind_records_in_flight_gets_them_all() {
    let api = shared().await;
    for (option, ack) in
        [("committed", "wal"), ("committed", "accepted"), ("accepted", "accepted"), ("wal", "accepted")]
    {
        for close_apart in [false, true] {
            let topic = api.make(json!({"backend_options": {"ack": option, "flush_interval_ms": 60_000}})).await;
            let mut stream = Sse::open(&topic, "?offset=0", &[]).await;
            stream.events(3).await;
            let body = "{\"n\":1}".repeat(2_000);
            if close_apart {
                topic.call("POST", &format!("records?ack={ack}"), &[], body).await;
                assert_eq!(topic.post("close", "").await.expect(200).json()["next_offset"], 2_000);
            } else {
                topic.call("POST", &format!("records?ack={ack}&close=true"), &[], body).await;
            }
            let rest = stream.rest().await;
            let records = rest.iter().filter(|event| event.name().is_none()).count();
            assert_eq!(
                (records, &rest.last().unwrap().data()),
                (2_000, &json!({"reason": "closed", "next_offset": 2_000})),
                "{option} {ack}"
            );
            assert_eq!(topic.tail().await, 2_000);
        }
    }
}
