//! Cursors: named positions of readers, on every backend.

use serde_json::{Value, json};

use crate::support::api::{Answer, Api, JSON, Topic};
use crate::support::local::{Setup, shared};
use crate::support::sse::Sse;

async fn filled(api: &Api, backend: &str, count: u64) -> Topic {
    let topic = api.topic(backend).await;
    append(&topic, count).await;
    topic
}

async fn append(topic: &Topic, count: u64) {
    topic.append((0..count).map(|index| format!("{{\"n\":{index}}}")).collect::<String>()).await;
    topic.wait_for_tail(count).await;
}

async fn put(topic: &Topic, name: &str, body: Value) -> Answer {
    topic.call("PUT", &format!("cursors/{name}"), JSON, body.to_string()).await
}

/// A cursor's offset and lag, in the shape that every cursor has.
#[track_caller]
fn stands(cursor: &Value, name: &str) -> (u64, u64) {
    let members: Vec<&String> = cursor.as_object().unwrap().keys().collect();
    assert_eq!(members, ["lag", "name", "offset", "updated_at"], "{cursor}");
    assert_eq!(cursor["name"], name);
    let time = cursor["updated_at"].as_str().unwrap();
    assert!(time.len() == "2026-11-23T09:00:00.000001Z".len() && time.ends_with('Z'), "{time}");
    (cursor["offset"].as_u64().unwrap(), cursor["lag"].as_u64().unwrap())
}

fn offsets(page: &Value) -> Vec<u64> {
    page["records"].as_array().unwrap().iter().map(|record| record["offset"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_cursor_is_set_read_listed_and_forgotten() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = filled(&api, backend, 5).await;
        assert_eq!(topic.get("cursors").await.expect(200).json(), json!({"cursors": []}));
        topic.get("cursors/c").await.problem(404, "not_found");
        let made = put(&topic, "c", json!({"offset": 2})).await.expect(200).json();
        assert_eq!(stands(&made, "c"), (2, 3));
        assert_eq!(topic.get("cursors/c").await.expect(200).json(), made);
        assert_eq!(topic.call("HEAD", "cursors/c", &[], "").await.expect(200).body, b"");
        append(&topic, 1).await;
        topic.wait_for_tail(6).await;
        assert_eq!(stands(&topic.get("cursors/c").await.json(), "c"), (2, 4), "the lag grows with the tail");
        let moved = put(&topic, "c", json!({"offset": 6, "since": null})).await.expect(200).json();
        assert_eq!(stands(&moved, "c"), (6, 0));
        assert!(moved["updated_at"].as_str() > made["updated_at"].as_str());
        // It can be set back.
        put(&topic, "c", json!({"offset": 0})).await.expect(200);
        for name in ["a", "Z", "a.b_c-d"] {
            put(&topic, name, json!({"offset": 1})).await.expect(200);
        }
        let listed = topic.get("cursors").await.expect(200).json();
        let names: Vec<&str> =
            listed["cursors"].as_array().unwrap().iter().map(|cursor| cursor["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["Z", "a", "a.b_c-d", "c"], "ascending by bytes");
        assert_eq!(stands(&listed["cursors"][3], "c"), (0, 6));
        assert_eq!(topic.call("DELETE", "cursors/c", &[], "").await.expect(204).body, b"");
        topic.call("DELETE", "cursors/c", &[], "").await.problem(404, "not_found");
        topic.get("cursors/c").await.problem(404, "not_found");
        topic.get("cursors/a").await.expect(200);
        let refused = topic.call("POST", "cursors/a", &[], "").await;
        refused.problem(405, "method_not_allowed");
        assert_eq!(refused.header("allow"), Some("GET, HEAD, PUT, DELETE"));
    }
}

#[tokio::test]
async fn a_cursor_moves_only_from_where_it_is_expected() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = filled(&api, backend, 5).await;
        put(&topic, "c", json!({"offset": 1, "expected": 0})).await.problem(412, "precondition_failed");
        topic.get("cursors/c").await.problem(404, "not_found");
        put(&topic, "c", json!({"offset": 1})).await.expect(200);
        let moved = put(&topic, "c", json!({"offset": 3, "expected": 1})).await.expect(200).json();
        let problem = put(&topic, "c", json!({"offset": 4, "expected": 1})).await.problem(412, "precondition_failed");
        assert_eq!(problem["retryable"], false);
        assert!(problem["detail"].as_str().unwrap().contains("offset 3"), "{problem}");
        assert_eq!(topic.get("cursors/c").await.json(), moved, "a refused request has changed nothing");
        // Nobody is expected anywhere.
        put(&topic, "c", json!({"offset": 5, "expected": null})).await.expect(200);
    }
}

#[tokio::test]
async fn of_many_who_move_a_cursor_at_once_each_step_is_made_by_one() {
    let api = shared().await;
    let topic = filled(&api, "persisting", 40).await;
    put(&topic, "c", json!({"offset": 0})).await.expect(200);
    let walkers = (0..8).map(|_| async {
        let mut steps = 0_u64;
        loop {
            let at = topic.get("cursors/c").await.expect(200).json()["offset"].as_u64().unwrap();
            if at == 40 {
                return steps;
            }
            let answer = put(&topic, "c", json!({"offset": at + 1, "expected": at})).await;
            match answer.status.as_u16() {
                200 => steps += 1,
                _ => drop(answer.problem(412, "precondition_failed")),
            }
        }
    });
    let steps = futures::future::join_all(walkers).await;
    assert_eq!(steps.iter().sum::<u64>(), 40, "{steps:?}");
}

#[tokio::test]
async fn a_cursor_is_set_by_a_time() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = filled(&api, backend, 2).await;
        append(&topic, 1).await;
        topic.wait_for_tail(3).await;
        let third = topic.get("records/2").await.expect(200).json()["timestamp"].clone();
        assert_eq!(stands(&put(&topic, "c", json!({"since": third})).await.expect(200).json(), "c"), (2, 1));
        for (since, expected) in [("1970-01-01T00:00:00Z", (0, 3)), ("2300-01-01T01:00:00+01:00", (3, 0))] {
            assert_eq!(stands(&put(&topic, "c", json!({"since": since})).await.expect(200).json(), "c"), expected);
        }
        let both = put(&topic, "c", json!({"since": "1970-01-01T00:00:00Z", "expected": 3})).await;
        assert_eq!(stands(&both.expect(200).json(), "c"), (0, 3));
    }
}

#[tokio::test]
async fn unsound_requests_are_refused_and_change_nothing() {
    let api = shared().await;
    let topic = filled(&api, "memory", 3).await;
    put(&topic, "c", json!({"offset": 1})).await.expect(200);
    let before = topic.get("cursors").await.json();
    for (body, code) in [
        ("", "invalid_body"),
        ("{}", "invalid_body"),
        ("[]", "invalid_body"),
        ("{\"offset\":1,\"since\":\"1970-01-01T00:00:00Z\"}", "invalid_body"),
        ("{\"offset\":\"1\"}", "invalid_body"),
        ("{\"offset\":1,\"ofset\":1}", "invalid_body"),
        ("{\"offset\":1,\"offset\":1}", "invalid_body"),
        ("{\"since\":\"yesterday\"}", "invalid_body"),
        ("{\"offset\":1", "invalid_json"),
        ("{\"offset\":-1}", "invalid_parameter"),
        ("{\"offset\":1.5}", "invalid_parameter"),
        ("{\"offset\":1,\"expected\":9007199254740992}", "invalid_parameter"),
    ] {
        topic.call("PUT", "cursors/c", &[], body).await.problem(400, code);
    }
    let past = put(&topic, "c", json!({"offset": 4})).await.problem(416, "offset_out_of_range");
    assert_eq!(past["tail_offset"], 3);
    for name in ["-a", "a%20b", "a%2Fb", ".a", &"x".repeat(129)] {
        put(&topic, name, json!({"offset": 1})).await.problem(400, "invalid_parameter");
        topic.get(&format!("cursors/{name}")).await.problem(400, "invalid_parameter");
        topic.call("DELETE", &format!("cursors/{name}"), &[], "").await.problem(400, "invalid_parameter");
        topic.get(&format!("records?cursor={name}")).await.problem(400, "invalid_parameter");
    }
    topic.get("cursors/c?offset=1").await.problem(400, "unknown_parameter");
    topic.call("PUT", "cursors/c", &[("content-type", "text/plain")], "x").await.problem(415, "unsupported_media_type");
    topic.call("GET", "cursors", &[("accept", "text/csv")], "").await.problem(406, "not_acceptable");
    assert_eq!(topic.get("cursors").await.json(), before);
    let nobody = api.named("nobody");
    for (method, rest) in [("GET", "cursors"), ("GET", "cursors/c"), ("PUT", "cursors/c"), ("DELETE", "cursors/c")] {
        nobody.call(method, rest, &[], "").await.problem(404, "topic_not_found");
    }
    nobody.get("records?cursor=c").await.problem(404, "topic_not_found");
}

#[tokio::test]
async fn reads_begin_at_a_cursor_and_do_not_move_it() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = filled(&api, backend, 6).await;
        let cursor = put(&topic, "c", json!({"offset": 4})).await.expect(200).json();
        let page = topic.get("records?cursor=c").await.expect(200).json();
        assert_eq!((offsets(&page), page["next_offset"].as_u64()), (vec![4, 5], Some(6)));
        assert_eq!(offsets(&topic.get("records?cursor=c&limit=1").await.expect(200).json()), [4]);
        let lines = topic.call("GET", "records?cursor=c", &[("accept", "application/x-ndjson")], "").await.expect(200);
        assert_eq!(lines.text().lines().count(), 2);
        for rest in ["records?cursor=nobody", "stream?cursor=nobody", "stream?cursor=nobody&block=false"] {
            topic.get(rest).await.problem(404, "not_found");
        }
        for start in ["offset=1", "offset=earliest", "since=1970-01-01T00:00:00Z"] {
            for operation in ["records", "stream"] {
                topic.get(&format!("{operation}?cursor=c&{start}")).await.problem(400, "invalid_parameter");
            }
        }
        let mut stream = Sse::open(&topic, "?cursor=c&block=false", &[]).await;
        let events = stream.rest().await;
        assert_eq!(events[1].data()["next_offset"], 4);
        assert_eq!((events[2].data()["offset"].as_u64(), events[3].data()["offset"].as_u64()), (Some(4), Some(5)));
        // What a client has seen itself wins, also over a cursor that is gone.
        let epoch = topic.get("").await.json()["epoch"].as_u64().unwrap();
        for name in ["c", "nobody"] {
            let id = format!("{epoch}:4");
            let mut stream = Sse::open(&topic, &format!("?cursor={name}&block=false"), &[("last-event-id", &id)]).await;
            assert_eq!(stream.rest().await[2].data()["offset"], 5);
        }
        assert_eq!(topic.get("cursors/c").await.json(), cursor, "reading does not move it");
        put(&topic, "c", json!({"offset": 6})).await.expect(200);
        assert_eq!(topic.get("records?cursor=c").await.expect(200).json()["up_to_date"], true);
        assert_eq!(topic.get("records?cursor=c&wait=0").await.expect(200).json()["records"], json!([]));
    }
}

#[tokio::test]
async fn a_cursor_holds_nothing_back_and_what_it_misses_is_told() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = filled(&api, backend, 6).await;
        put(&topic, "c", json!({"offset": 2})).await.expect(200);
        assert_eq!(topic.post("trim", "{\"before\":4}").await.expect(200).json()["earliest_offset"], 4);
        assert_eq!(stands(&topic.get("cursors/c").await.json(), "c"), (2, 4));
        let problem = topic.get("records?cursor=c").await.problem(410, "offset_expired");
        assert_eq!(problem["earliest_offset"], 4);
        let events = Sse::open(&topic, "?cursor=c&block=false", &[]).await.rest().await;
        assert_eq!(
            (events[1].name(), events[1].data()),
            (Some("gap"), json!({"from": 2, "to": 4, "reason": "retention"}))
        );
        assert_eq!(events[3].data()["offset"], 4);
        // A reader that is late may still say how far it has come.
        put(&topic, "c", json!({"offset": 3, "expected": 2})).await.expect(200);
    }
}

#[tokio::test]
async fn cursors_go_with_their_topic_and_work_on_a_closed_one() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = filled(&api, backend, 3).await;
        put(&topic, "c", json!({"offset": 1})).await.expect(200);
        topic.post("close", "").await.expect(200);
        put(&topic, "c", json!({"offset": 3, "expected": 1})).await.expect(200);
        topic.call("DELETE", "", &[], "").await.expect(204);
        topic.get("cursors/c").await.problem(404, "topic_not_found");
        topic.call("PUT", "", &[], json!({"backend": backend}).to_string()).await.expect(201);
        topic.get("cursors/c").await.problem(404, "not_found");
        assert_eq!(topic.get("cursors").await.expect(200).json(), json!({"cursors": []}));
        topic.get("records?cursor=c").await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn cursors_survive_a_restart_and_memory_voids_what_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(folder.path()).start().await;
    let mut topics = Vec::new();
    for backend in super::BACKENDS {
        let topic = filled(&server.api(), backend, 5).await;
        put(&topic, "c", json!({"offset": 4})).await.expect(200);
        topics.push((backend, topic.name.clone(), topic.get("cursors/c").await.json()));
    }
    server.stop().await;
    let server = Setup::new(folder.path()).start().await;
    for (backend, name, before) in topics {
        let topic = server.api().named(&name);
        let found = topic.get("cursors/c").await.expect(200).json();
        if backend != "memory" {
            assert_eq!(found, before, "{backend}");
            continue;
        }
        // The records are gone, and the cursor must not lie past those that come.
        assert_eq!((stands(&found, "c"), &found["updated_at"]), ((0, 0), &before["updated_at"]));
        append(&topic, 6).await;
        assert_eq!(stands(&topic.get("cursors/c").await.json(), "c"), (0, 6));
        assert_eq!(offsets(&topic.get("records?cursor=c").await.expect(200).json()), [0, 1, 2, 3, 4, 5]);
        let events = Sse::open(&topic, "?cursor=c&block=false", &[]).await.rest().await;
        assert_eq!((events[1].name(), events[1].data()), (Some("gap"), json!({"from": 4, "to": 0, "reason": "reset"})));
        assert_eq!(events[3].data()["offset"], 0);
        put(&topic, "c", json!({"offset": 5, "expected": 4})).await.problem(412, "precondition_failed");
        put(&topic, "c", json!({"offset": 5, "expected": 0})).await.expect(200);
        assert_eq!(offsets(&topic.get("records?cursor=c").await.expect(200).json()), [5]);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_topic_has_no_more_cursors_than_the_server_allows() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    setup.engine.cursors_max = 2;
    let server = setup.start().await;
    let topic = filled(&server.api(), "persisting", 1).await;
    for name in ["a", "b", "a"] {
        put(&topic, name, json!({"offset": 1})).await.expect(200);
    }
    let problem = put(&topic, "c", json!({"offset": 1})).await.problem(400, "invalid_parameter");
    assert_eq!((&problem["limit"], &problem["retryable"]), (&json!(2), &json!(false)));
    topic.call("DELETE", "cursors/a", &[], "").await.expect(204);
    put(&topic, "c", json!({"offset": 1})).await.expect(200);
    server.stop().await;
}
