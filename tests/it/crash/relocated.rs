//! What the log copies to its head so that old segments can go.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::client::{Answer, Api};
use super::stops::written_bytes;
use crate::support::process::{Launch, PATIENCE};

const SEGMENT_BYTES: usize = 16 << 10;
const SEQS: u64 = 6;

/// Sends a producer's request with its number.
async fn produce(api: &Api, seq: u64) -> Answer {
    let headers =
        [("Producer-Id", "p".to_owned()), ("Producer-Epoch", "0".to_owned()), ("Producer-Seq", seq.to_string())];
    let body = json!({ "n": seq }).to_string();
    api.send(Method::POST, "/v1/topics/rare/records", &headers, Some(body)).await.expect("an answer")
}

/// Fills half of a segment with records that are committed at once.
async fn fill(api: &Api) {
    let body = json!({"text": "x".repeat(SEGMENT_BYTES / 2)}).to_string();
    let answer = api.send(Method::POST, "/v1/topics/busy/records?ack=committed", &[], Some(body)).await;
    assert_eq!(answer.expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producers_requests_are_known_in_their_order_though_copies_stand_behind_later_ones() {
    let folder = tempfile::Builder::new().prefix("persisting-relocated-").tempdir().expect("a folder");
    let launch = Launch::new(folder.path()).with(&["--wal-segment-bytes", "16KiB"]);
    // Nothing is moved by the first server.
    let server = launch.clone().with(&["--wal-target-bytes", "1GiB"]).start_ready().await;
    let api = Api::direct(server.base());
    let put = |topic: &str, options| {
        let body = json!({ "backend_options": options }).to_string();
        let (api, path) = (api.clone(), format!("/v1/topics/{topic}"));
        async move { assert_eq!(api.send(Method::PUT, &path, &[], Some(body)).await.expect("an answer").status, 201) }
    };
    put("rare", json!({"flush_interval_ms": 3_600_000})).await;
    put("busy", json!({"flush_interval_ms": 1})).await;
    for seq in 0..SEQS {
        assert_eq!(produce(&api, seq).await.status, 200);
        fill(&api).await;
    }
    server.kill();

    // The second one moves what the oldest segment holds, and no more: then the log is within its target.
    let wal = folder.path().join("wal");
    let segments = || {
        let entries = std::fs::read_dir(&wal).expect("the log's folder").map(|entry| entry.expect("an entry").path());
        let mut all: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "wal")).collect();
        all.sort();
        all
    };
    let bytes: u64 = segments().iter().map(|path| written_bytes(path)).sum();
    let oldest = segments().remove(0);
    let target = (bytes - 2_000).to_string();
    let server = launch.clone().with(&["--wal-target-bytes", &target]).start_ready().await;
    let until = Instant::now() + PATIENCE;
    while oldest.exists() {
        assert!(Instant::now() < until, "the oldest segment is not freed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill();
    assert!(segments().len() > 2, "more than the oldest segment was freed");

    let server = launch.with(&["--wal-target-bytes", "1GiB"]).start_ready().await;
    let api = Api::direct(server.base());
    for seq in 0..SEQS {
        let answer = produce(&api, seq).await;
        let json = answer.json();
        assert!(json["duplicate"] == true && json["first_offset"] == seq, "seq {seq}: {answer:?}");
    }
    assert_eq!(produce(&api, SEQS).await.json()["first_offset"], SEQS);
}
