//! Forks: topics that begin as another one was.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};

use super::registry::{flush, post};
use crate::support::api::{Api, Topic, until};
use crate::support::local::{Local, Setup, shared};

const BACKENDS: [&str; 2] = ["lance", "persisting"];

async fn commit(topic: &Topic, body: &str) -> u64 {
    topic.post("records?ack=committed", body).await.expect(200);
    topic.post("flush", "").await.expect(200).json()["version"].as_u64().unwrap()
}

/// A fork under the source's name with an ending.
async fn fork(topic: &Topic, ending: &str, at: Value) -> (Topic, Value) {
    let name = format!("{}-{ending}", topic.name);
    let answer = topic.post("fork", json!({"topic": name, "at": at}).to_string()).await.expect(201);
    assert_eq!(answer.header("location"), Some(&*format!("/v1/topics/{name}")));
    (topic.api.named(&name), answer.json())
}

async fn records(topic: &Topic, query: &str) -> String {
    topic.call("GET", &format!("records?{query}"), &[("accept", "application/x-ndjson")], "").await.expect(200).text()
}

/// The data files of a topic's dataset.
fn data_files(description: &Value) -> Vec<std::fs::Metadata> {
    let folder = Path::new(description["dataset_uri"].as_str().unwrap()).join("data");
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap()).collect()
}

#[tokio::test]
async fn a_fork_holds_what_the_source_held_and_both_go_their_way() {
    let api = shared().await;
    for backend in BACKENDS {
        let options = json!({"batch_size": 7});
        let topic = api.make(json!({"backend": backend, "backend_options": options})).await;
        commit(&topic, r#"[{"a":0},{"a":1}]"#).await;
        topic.append(r#"{"a":2}"#).await;
        let (forked, told) = fork(&topic, "now", Value::Null).await;
        let source = topic.get("").await.expect(200).json();
        assert_eq!((&told["earliest_offset"], &told["tail_offset"]), (&json!(0), &json!(3)), "{backend}");
        for same in ["backend", "backend_options", "schema_mode", "schema_version", "storage_path"] {
            assert_eq!(told[same], source[same], "{same}");
        }
        for own in ["topic", "id", "epoch", "dataset_uri"] {
            assert_ne!(told[own], source[own], "{own}");
        }
        assert_eq!(forked.get("").await.expect(200).json(), told);
        assert!(data_files(&told).iter().all(|file| file.nlink() == 2), "hard links");
        let held = records(&topic, "offset=0").await;
        assert_eq!(records(&forked, "offset=0").await, held, "{backend}: offsets and times too");
        assert_eq!(forked.append(r#"[{"a":10},{"a":11}]"#).await["first_offset"], 3);
        topic.append(r#"{"a":3}"#).await;
        flush(&forked).await;
        flush(&topic).await;
        assert_eq!(forked.values(2).await, [r#"{"a":2}"#, r#"{"a":10}"#, r#"{"a":11}"#]);
        assert_eq!(topic.values(2).await, [r#"{"a":2}"#, r#"{"a":3}"#]);
        topic.call("DELETE", "", &[], "").await.expect(204);
        until("the source is gone", async || !Path::new(source["dataset_uri"].as_str().unwrap()).exists()).await;
        assert_eq!(forked.values(0).await.len(), 5);
        let causes = forked.get("versions").await.expect(200).json();
        assert_eq!(causes["versions"].as_array().unwrap().last().unwrap()["cause"], "fork");
        let (second, _) = fork(&forked, "again", json!({"offset": 4})).await;
        forked.call("DELETE", "", &[], "").await.expect(204);
        assert_eq!(second.values(0).await.len(), 4);
    }
}

#[tokio::test]
async fn a_fork_at_an_offset_ends_there_exactly() {
    let api = shared().await;
    for backend in BACKENDS {
        let topic = api.topic(backend).await;
        for first in [0, 3, 6] {
            let batch: Vec<Value> = (first..first + 3).map(|n| json!({"n": n, "s": {"x": format!("v{n}")}})).collect();
            commit(&topic, &Value::Array(batch).to_string()).await;
        }
        for at in 0..=9 {
            let (forked, told) = fork(&topic, &format!("o{at}"), json!({ "offset": at })).await;
            assert_eq!(told["tail_offset"], at, "{backend}");
            let expected = if at == 0 { String::new() } else { records(&topic, &format!("limit={at}")).await };
            assert_eq!(records(&forked, "").await, expected, "{backend} {at}");
            assert_eq!(forked.append(r#"{"n":100}"#).await["first_offset"], at);
            flush(&forked).await;
            assert_eq!(forked.values(at).await, [r#"{"n":100}"#]);
        }
        let bad = |at: u64| json!({"topic": format!("{}-bad", topic.name), "at": {"offset": at}}).to_string();
        topic.post("fork", bad(10)).await.problem(416, "offset_out_of_range");
        topic.post("trim", r#"{"before":4}"#).await.expect(200);
        topic.post("fork", bad(3)).await.problem(410, "offset_expired");
        let (forked, told) = fork(&topic, "trimmed", json!({"offset": 5})).await;
        assert_eq!((&told["earliest_offset"], &told["tail_offset"]), (&json!(4), &json!(5)));
        forked.get("records?offset=3").await.problem(410, "offset_expired");
        assert_eq!(forked.values(4).await.len(), 1);
        let (empty, told) = fork(&topic, "empty", json!({"offset": 4})).await;
        assert_eq!((&told["earliest_offset"], &told["tail_offset"]), (&json!(4), &json!(4)));
        assert_eq!(empty.append(r#"{"n":4}"#).await["first_offset"], 4);
    }
}

#[tokio::test]
async fn a_fork_of_the_past_has_its_schema_and_evolves_on_its_own() {
    let api = shared().await;
    for backend in ["persisting"] {
        let schema = json!({"fields": [{"name": "a", "type": "int64"}]});
        let topic = api.make(json!({"backend": backend, "schema": schema})).await;
        commit(&topic, r#"[{"a":1},{"a":9007199254740993}]"#).await;
        post(&topic, json!([{"op": "add", "path": "m", "to": {"type": "json"}}])).await;
        let second = commit(&topic, r#"{"a":2,"m":[1]}"#).await;
        topic.call("PUT", "tags/two", &[], json!({ "version": second }).to_string()).await.expect(201);
        post(&topic, json!([{"op": "rename", "path": "a", "to": "b"}, {"op": "drop", "path": "m"}])).await;
        commit(&topic, r#"{"b":3}"#).await;
        for (ending, at) in [("tag", json!({"tag": "two"})), ("version", json!({ "version": second }))] {
            let (forked, told) = fork(&topic, ending, at).await;
            assert_eq!(told["schema_version"], 2, "{backend}");
            assert_eq!(forked.values(0).await, [r#"{"a":1}"#, r#"{"a":9007199254740993}"#, r#"{"a":2,"m":[1]}"#]);
            let theirs = topic.get("schemas").await.expect(200).json();
            let ours = forked.get("schemas").await.expect(200).json();
            assert_eq!(ours["schemas"].as_array().unwrap()[..], theirs["schemas"].as_array().unwrap()[..2]);
            forked.post("records", r#"{"b":1}"#).await;
            post(&forked, json!([{"op": "rename", "path": "a", "to": "z"}])).await;
            commit(&forked, r#"{"z":5}"#).await;
            assert_eq!(forked.values(0).await[..2], [r#"{"z":1}"#, r#"{"z":9007199254740993}"#]);
            // What has held more than 2^53 never becomes a float, in the fork neither.
            forked.post("records", r#"{"z":0.5}"#).await.problem(422, "schema_conflict");
        }
        let (forked, told) = fork(&topic, "now", json!(null)).await;
        assert_eq!(told["schema_version"], 3);
        assert_eq!(forked.values(0).await, topic.values(0).await);
        forked.post("records", r#"{"b":0.5}"#).await.problem(422, "schema_conflict");
    }
}

#[tokio::test]
async fn forks_that_cannot_be_are_refused_and_leave_nothing() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    let newest = commit(&topic, r#"{"a":1}"#).await;
    let other = api.topic("memory").await;
    let free = format!("{}-free", topic.name);
    for (body, status, code) in [
        (json!({}), 400, "invalid_body"),
        (json!({"topic": "-x"}), 400, "invalid_topic_name"),
        (json!({"topic": "x.quarantine"}), 400, "invalid_topic_name"),
        (json!({"topic": topic.name}), 409, "topic_conflict"),
        (json!({"topic": other.name}), 409, "topic_conflict"),
        (json!({"topic": free, "at": {"version": newest + 1}}), 410, "version_expired"),
        (json!({"topic": free, "at": {"tag": "nobody"}}), 404, "not_found"),
        (json!({"topic": free, "at": {"tag": "a", "version": 1}}), 400, "invalid_body"),
        (json!({"topic": free, "at": {"offset": -1}}), 400, "invalid_parameter"),
        (json!({"topic": free, "retention": {}}), 400, "invalid_body"),
    ] {
        topic.post("fork", body.to_string()).await.problem(status, code);
    }
    api.get(&format!("/v1/topics/{free}")).await.problem(404, "topic_not_found");
    api.named("nobody").post("fork", "{}").await.problem(404, "topic_not_found");
}

#[tokio::test]
async fn a_topic_without_records_forks_into_one_without() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    let (forked, told) = fork(&topic, "empty", Value::Null).await;
    assert_eq!((&told["tail_offset"], &told["schema_version"]), (&json!(0), &Value::Null));
    assert_eq!(forked.append(r#"{"x":1}"#).await["first_offset"], 0);
    let declared = api.make(json!({"schema": {"fields": [{"name": "a", "type": "int64"}]}})).await;
    let (forked, told) = fork(&declared, "declared", json!({"offset": 0})).await;
    assert_eq!((&told["tail_offset"], &told["schema_version"]), (&json!(0), &json!(1)));
    commit(&forked, r#"{"a":1}"#).await;
    assert_eq!(forked.values(0).await, [r#"{"a":1}"#]);
}

#[tokio::test]
async fn forks_survive_a_restart_and_leave_no_remains() {
    let (server, folder) = Local::fresh().await;
    let topic = server.api().make(json!({"backend": "lance", "storage_path": "mine"})).await;
    for n in 0..3 {
        commit(&topic, &format!("[{{\"n\":{n}}},{{\"n\":{n}}}]")).await;
    }
    let (forked, told) = fork(&topic, "f", json!({"offset": 3})).await;
    assert_eq!(told["storage_path"], "mine");
    topic.call("DELETE", "", &[], "").await.expect(204);
    let held = records(&forked, "").await;
    assert_eq!(server.stop().await, 0);
    let server = Setup::new(folder.path()).start().await;
    let forked = Api::named(&server.api(), &forked.name);
    assert_eq!(forked.get("").await.expect(200).json(), told);
    assert_eq!(records(&forked, "").await, held);
    assert_eq!(forked.append(r#"{"n":9}"#).await["first_offset"], 3);
}

#[tokio::test]
async fn forks_of_a_topic_that_grows_hold_a_whole_beginning_of_it() {
    let api = shared().await;
    let topic = api.make(json!({"backend_options": {"flush_interval_ms": 1}})).await;
    topic.append(r#"{"n":0}"#).await;
    let writer = {
        let topic = topic.clone();
        tokio::spawn(async move {
            for n in 1..120 {
                let more = if n % 20 == 0 { format!(",\"k{n}\":true") } else { String::new() };
                topic.append(format!("{{\"n\":{n}{more}}}")).await;
            }
        })
    };
    let mut forks = Vec::new();
    for number in 0..4 {
        forks.push(fork(&topic, &format!("g{number}"), Value::Null).await);
    }
    writer.await.unwrap();
    let all = records(&topic, "limit=120").await;
    for (forked, told) in forks {
        let held = records(&forked, "").await;
        assert_eq!(held.lines().count() as u64, told["tail_offset"].as_u64().unwrap());
        assert!(all.starts_with(&held), "{held}");
        assert_eq!(forked.append(r#"{"n":-1}"#).await["first_offset"], told["tail_offset"]);
    }
}
