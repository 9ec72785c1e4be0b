//! What readers are told when a dataset cannot be read.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::api::Headers;
use crate::support::local::Setup;
use crate::support::sse::Sse;

const LINES: Headers<'static> = &[("accept", "application/x-ndjson")];

/// Hides the data files of a dataset, or shows them again.
fn hide(dataset: &Path, hidden: bool) {
    let (data, aside): (PathBuf, PathBuf) = (dataset.join("data"), dataset.join("aside"));
    let (from, to) = if hidden { (data, aside) } else { (aside, data) };
    std::fs::rename(from, to).unwrap();
}

#[tokio::test]
async fn a_read_that_fails_says_so_and_a_stream_tries_again_and_skips_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(folder.path()).start().await;
    let topic = server.api().topic("lance").await;
    topic.append("{\"n\":1}{\"n\":2}{\"n\":3}").await;
    topic.post("flush", "").await.expect(200);
    server.stop().await;

    // In a process that has nothing of it in memory.
    let server = Setup::new(folder.path()).start().await;
    let topic = server.api().named(&topic.name);
    let uri = topic.get("").await.expect(200).json()["dataset_uri"].as_str().unwrap().to_owned();
    let dataset = Path::new(&uri).canonicalize().unwrap();
    // The dataset is opened, and found sound.
    topic.get("stats").await.expect(200);
    hide(&dataset, true);
    for rest in ["records", "records/1", "records?offset=-1"] {
        let problem = topic.get(rest).await.problem(500, "internal");
        assert!(!problem.to_string().contains("lance/"), "no cause, no path: {problem}");
    }
    // Lines that break off leave the client with an error, not with a shorter list.
    let response = topic.api.open("GET", &topic.at("records"), LINES, "").await;
    assert!(response.status() == 500 || response.bytes().await.is_err());
    let lines = topic.call("GET", "stream?offset=0", LINES, "").await.expect(200).text();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["data"]["code"]), (&json!("problem"), &json!("internal")), "{lines}");

    let mut stream = Sse::open(&topic, "?offset=1", &[("x-request-id", "me")]).await;
    stream.events(2).await;
    let problem = stream.event().await.unwrap();
    assert_eq!((problem.name(), problem.id()), (Some("problem"), None));
    assert_eq!((&problem.data()["status"], &problem.data()["instance"]), (&json!(500), &json!("me")));
    hide(&dataset, false);
    let mut offsets = Vec::new();
    while offsets.len() < 2 {
        let event = stream.event().await.unwrap();
        match event.name() {
            Some(name) => assert_eq!(name, "problem"),
            None => offsets.push(event.data()["offset"].as_u64().unwrap()),
        }
    }
    assert_eq!(offsets, [1, 2]);
    assert_eq!(stream.event().await.unwrap().name(), Some("caught-up"));
    assert_eq!(topic.values(0).await.len(), 3);
}

#[tokio::test]
async fn a_topic_whose_commits_fail_leaves_room_to_those_that_are_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    setup.engine.tail_bytes = 4 << 20;
    let server = setup.start().await;
    let bad = server.api().make(json!({"backend_options": {"flush_interval_ms": 1}})).await;
    bad.append("{\"t\":\"\"}").await;
    bad.post("flush", "").await.expect(200);
    let uri = bad.get("").await.expect(200).json()["dataset_uri"].as_str().unwrap().to_owned();
    let dataset = Path::new(&uri).canonicalize().unwrap();
    std::fs::rename(&dataset, dataset.with_extension("aside")).unwrap();
    let record = json!({"t": "x".repeat(8 << 10)}).to_string();
    // Refused for the room that it takes, or because it is degraded by then.
    loop {
        let answer = bad.post("records", record.as_str()).await;
        if answer.status != 200 {
            assert_eq!(answer.status, 503, "{answer}");
            break;
        }
    }
    let good = server.api().topic("persisting").await;
    let large = json!({"t": "x".repeat(2 << 20)}).to_string();
    good.append(large).await;
    server.stop().await;
}
