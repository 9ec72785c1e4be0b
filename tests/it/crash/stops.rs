//! Orderly stops, a second server, and logs that somebody has damaged.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;

use super::client::{Answer, Api};
use super::reading::{Event, Events};
use crate::support::process::{Launch, PATIENCE, Server};

/// Bytes of a log segment's header, and of a frame's header.
const SEGMENT_HEADER: usize = 64;
const FRAME_HEADER: usize = 44;

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("persisting-stops-").tempdir().expect("a folder")
}

async fn put(api: &Api, topic: &str, definition: serde_json::Value) -> Answer {
    let answer = api.send(Method::PUT, &format!("/v1/topics/{topic}"), &[], Some(definition.to_string())).await;
    let answer = answer.expect("an answer");
    assert!(answer.status == 201 || answer.status == 200, "{answer:?}");
    answer
}

/// Appends records one by one; the status of the last answer.
async fn append(api: &Api, topic: &str, from: u64, to: u64) -> u16 {
    let mut status = 0;
    for n in from..to {
        let path = format!("/v1/topics/{topic}/records");
        let body = json!({"n": n, "text": format!("record {n}")}).to_string();
        let answer = api.send(Method::POST, &path, &[], Some(body)).await.expect("an answer");
        assert_eq!(answer.json()["first_offset"], n, "{answer:?}");
        status = answer.status;
    }
    status
}

/// Asserts that a topic holds the records 0..count.
async fn holds(api: &Api, topic: &str, count: u64) {
    let page = api.fetch(&format!("/v1/topics/{topic}/records?limit=10000")).await.expect("a page").json();
    let found: Vec<u64> = page["records"]
        .as_array()
        .expect("records")
        .iter()
        .filter_map(|record| record["value"]["n"].as_u64())
        .collect();
    assert_eq!(found, (0..count).collect::<Vec<_>>(), "topic {topic}");
}

/// Reads a stream to its end, and tells once that its `position` has come.
async fn listen(api: Api, topic: &'static str, began: tokio::sync::oneshot::Sender<()>) -> Vec<Event> {
    let stream = api.open(&format!("/v1/topics/{topic}/stream?offset=0"), &[]).await.expect("a stream");
    let (mut bytes, mut events, mut all) = (stream.bytes_stream(), Events::default(), Vec::new());
    let mut began = Some(began);
    while let Some(Ok(some)) = bytes.next().await {
        all.extend(events.take(&some));
        if all.iter().any(|event| event.name == "caught-up")
            && let Some(began) = began.take()
        {
            began.send(()).expect("the test waits for it");
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_streams_and_commits_what_only_memory_holds() {
    let folder = folder();
    let launch = Launch::new(folder.path());
    let mut server = launch.start_ready().await;
    let api = Api::direct(server.base());
    let late = json!({"flush_interval_ms": 3_600_000});
    put(&api, "accepted", json!({"backend": "lance", "backend_options": late})).await;
    put(&api, "unlogged", json!({"backend_options": {"enable_wal": false, "flush_interval_ms": 3_600_000}})).await;
    put(&api, "logged", json!({"backend_options": late})).await;
    assert_eq!(append(&api, "accepted", 0, 40).await, 202);
    assert_eq!(append(&api, "unlogged", 0, 40).await, 202);
    assert_eq!(append(&api, "logged", 0, 40).await, 200);
    let epoch = api.fetch("/v1/topics/accepted").await.expect("a description").json()["epoch"].clone();
    let (tells, told): (Vec<_>, Vec<_>) = (0..3).map(|_| tokio::sync::oneshot::channel()).unzip();
    let streams: Vec<_> = ["accepted", "unlogged", "logged"]
        .into_iter()
        .zip(tells)
        .map(|(topic, tell)| tokio::spawn(listen(api.clone(), topic, tell)))
        .collect();
    for told in told {
        tokio::time::timeout(PATIENCE, told).await.expect("in time").expect("the stream catches up");
    }

    let began = Instant::now();
    server.signal(Signal::TERM);
    for stream in streams {
        let events = tokio::time::timeout(PATIENCE, stream).await.expect("in time").expect("the stream ends");
        let last = events.last().expect("events");
        assert_eq!((&*last.name, &last.json()["reason"]), ("end", &json!("shutdown")), "{last:?}");
        assert_eq!(events.iter().filter(|event| event.name.is_empty()).count(), 40);
    }
    let status = server.wait();
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());

    let server = launch.start_ready().await;
    let api = Api::direct(server.base());
    for topic in ["accepted", "unlogged", "logged"] {
        holds(&api, topic, 40).await;
    }
    let after = api.fetch("/v1/topics/accepted").await.expect("a description").json()["epoch"].clone();
    assert_eq!(after, epoch, "a clean stop begins no epoch");
}

/// Runs a server that is expected to end by itself.
fn run_to_its_end(data: &Path) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_persisting"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data)
        .env_remove("PERSISTING_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server's binary starts");
    let until = Instant::now() + PATIENCE;
    while child.try_wait().expect("it can be waited for").is_none() {
        if Instant::now() > until {
            drop(child.kill());
            panic!("the server goes on");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("its output")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_folder_is_refused_and_the_first_goes_on() {
    let folder = folder();
    let server = Launch::new(folder.path()).start_ready().await;
    let api = Api::direct(server.base());
    put(&api, "kept", json!({})).await;
    let output = run_to_its_end(folder.path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    assert!(said.contains(&folder.path().display().to_string()) && said.contains("in use"), "{said}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("listening"), "{output:?}");
    append(&api, "kept", 0, 3).await;
    holds(&api, "kept", 3).await;
}

/// Fills a log with frames of groups of their own, and kills the server.
async fn killed_with(launch: &Launch, count: u64) {
    let server = launch.start_ready().await;
    let api = Api::direct(server.base());
    put(&api, "logged", json!({"backend_options": {"flush_interval_ms": 3_600_000}})).await;
    append(&api, "logged", 0, count).await;
    server.kill();
}

fn newest_segment(data: &Path) -> PathBuf {
    let entries = fs::read_dir(data.join("wal")).expect("the log's folder");
    entries.map(|entry| entry.expect("an entry").path()).max().expect("a segment")
}

async fn started(launch: &Launch) -> (Server, Api) {
    let server = launch.start_ready().await;
    let api = Api::direct(server.base());
    (server, api)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_end_of_the_log_is_dropped() {
    let folder = folder();
    let launch = Launch::new(folder.path());
    killed_with(&launch, 10).await;
    let segment = newest_segment(folder.path());
    let mut file = fs::OpenOptions::new().append(true).open(&segment).expect("the segment");
    file.write_all(b"\xF7PE\xFE and then a few bytes that are no frame").expect("garbage is written");
    drop(file);
    let (server, api) = started(&launch).await;
    holds(&api, "logged", 10).await;
    append(&api, "logged", 10, 15).await;
    server.kill();
    let (_server, api) = started(&launch).await;
    holds(&api, "logged", 15).await;
}

/// The same where the last frame itself is cut: it was never acknowledged then, which the test only pretends.
/// Bytes of a segment's file up to the end of its last frame: zeros may be prepared behind it.
pub fn written_bytes(segment: &Path) -> u64 {
    let bytes = fs::read(segment).expect("the segment");
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_last_frame_is_dropped_and_its_offset_is_given_out_again() {
    let folder = folder();
    let launch = Launch::new(folder.path());
    killed_with(&launch, 10).await;
    let segment = newest_segment(folder.path());
    let bytes = written_bytes(&segment);
    let file = fs::OpenOptions::new().write(true).open(&segment).expect("the segment");
    file.set_len(bytes - 3).expect("it is cut");
    drop(file);
    let (_server, api) = started(&launch).await;
    holds(&api, "logged", 9).await;
    append(&api, "logged", 9, 12).await;
    holds(&api, "logged", 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_before_synced_records_stops_the_start_and_changes_nothing() {
    let folder = folder();
    let launch = Launch::new(folder.path());
    killed_with(&launch, 10).await;
    let segment = newest_segment(folder.path());
    let mut sound = Vec::new();
    fs::File::open(&segment).and_then(|mut file| file.read_to_end(&mut sound)).expect("the segment");
    // In the head of the first frame, in its body, and in the segment's own header.
    for at in [SEGMENT_HEADER + 13, SEGMENT_HEADER + FRAME_HEADER + 20, 13] {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x10;
        fs::write(&segment, &damaged).expect("a byte is flipped");
        let output = run_to_its_end(folder.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "byte {at}: {output:?}");
        assert!(said.contains("damaged") && said.contains("segment"), "byte {at}: {said}");
        assert_eq!(fs::read(&segment).expect("the segment"), damaged, "byte {at}: the log was changed");
    }
    fs::write(&segment, &sound).expect("the bytes are put back");
    let (_server, api) = started(&launch).await;
    holds(&api, "logged", 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_readable_as_committed_is_so_right_after_a_kill() {
    let folder = folder();
    let launch = Launch::new(folder.path());
    let (server, api) = started(&launch).await;
    put(&api, "committed", json!({"backend_options": {"ack": "committed"}})).await;
    append(&api, "committed", 0, 2).await;
    holds(&api, "committed", 2).await;
    server.kill();
    // The catalog has not heard of the commits: it is told every few seconds.
    let (_server, api) = started(&launch).await;
    holds(&api, "committed", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_trimmed_is_committed_before_so_that_the_tail_never_lies_below() {
    let folder = folder();
    let launch = Launch::new(folder.path());
    let (server, api) = started(&launch).await;
    put(&api, "short", json!({"backend": "lance", "backend_options": {"flush_interval_ms": 3_600_000}})).await;
    append(&api, "short", 0, 4).await;
    let flushed = api.send(Method::POST, "/v1/topics/short/flush", &[], None).await.expect("an answer");
    assert_eq!(flushed.json()["committed_offset"], 4, "{flushed:?}");
    append(&api, "short", 4, 10).await;
    let body = Some(json!({"before": 10}).to_string());
    let trimmed = api.send(Method::POST, "/v1/topics/short/trim", &[], body).await.expect("an answer");
    assert_eq!(trimmed.json()["earliest_offset"], 10, "{trimmed:?}");
    server.kill();
    let (_server, api) = started(&launch).await;
    let description = api.fetch("/v1/topics/short").await.expect("a description").json();
    assert_eq!(
        (&description["earliest_offset"], &description["tail_offset"]),
        (&json!(10), &json!(10)),
        "{description}"
    );
    append(&api, "short", 10, 12).await;
    let page = api.fetch("/v1/topics/short/records").await.expect("a page").json();
    assert_eq!(page["records"].as_array().map(Vec::len), Some(2), "{page}");
    assert_eq!(page["records"][0]["offset"], 10, "{page}");
}
