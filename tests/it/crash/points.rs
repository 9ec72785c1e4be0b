//! A kill at each named point between two steps: two writers bring fields of their own, and wider numbers, to one topic while
//! a reader follows it and it is flushed, merged, trimmed, cleaned up, tagged and forked. After the restart every acknowledged record is there
//! once, with the bytes that were read before, both writers' fields are, and schema versions are dense.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::StreamExt as _;
use parking_lot::Mutex;
use persisting::io::point::POINTS;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Answer, Api, Lost};
use crate::support::api::until;
use crate::support::process::{Launch, PATIENCE, Server};

const TOPIC: &str = "/v1/topics/busy";
const VICTIM: &str = "/v1/topics/victim";
const FORK: &str = "/v1/topics/forked";
const INDEX: &str = "{\"column\":\"writer\",\"type\":\"btree\",\"name\":\"by_writer\"}";
/// How many points are tried at the same time.
const AT_ONCE: usize = 3;

/// What clients know of the topic.
#[derive(Debug, Default)]
struct Known {
    /// Texts of records by offset, as they were read or acknowledged.
    read: Mutex<BTreeMap<u64, String>>,
    /// Offsets of acknowledged records: whose, and the how manieth.
    acknowledged: Mutex<BTreeMap<u64, (usize, u64)>>,
    /// What each tag shows; none while one is being set.
    tags: Mutex<BTreeMap<String, Option<String>>>,
    /// Everything before it was asked to be trimmed.
    trimmed: AtomicU64,
    over: AtomicBool,
}

async fn send(api: &Api, method: Method, path: &str, body: String) -> Result<Answer, Lost> {
    api.send(method, path, &[], Some(body)).await
}

/// A writer's record: its own fields, one after the other, and a number that widens to a float.
fn record(writer: usize, number: u64) -> String {
    let name = ["left", "right"][writer % 2];
    let wide = if number % 5 == 4 { format!("{number}.5") } else { number.to_string() };
    json!({
        "writer": writer, "number": number, format!("{name}{}", number / 4 % 40): number,
        "nested": {format!("{name}{}", number / 8 % 20): [number]},
    })
    .to_string()
    .replacen('{', &format!("{{\"{name}_wide\":{wide},"), 1)
}

async fn write(api: Api, known: Arc<Known>, writer: usize) {
    for number in 0.. {
        let body = record(writer, number);
        match send(&api, Method::POST, &format!("{TOPIC}/records"), body).await {
            Ok(answer) if answer.status == 200 => {
                let offset = answer.json()["first_offset"].as_u64().expect("an offset");
                known.acknowledged.lock().insert(offset, (writer, number));
            }
            Ok(answer) => assert!(answer.status >= 500, "{answer:?}"),
            Err(_) => break,
        }
        if known.over.load(Ordering::Relaxed) {
            break;
        }
    }
}

/// Follows the topic as lines and notes the bytes of each record.
async fn follow(api: Api, known: Arc<Known>) {
    let lines = [("Accept", "application/x-ndjson".to_owned())];
    let Ok(answer) = api.open(&format!("{TOPIC}/stream?offset=earliest"), &lines).await else { return };
    let (mut stream, mut rest) = (answer.bytes_stream(), Vec::new());
    while let Some(Ok(bytes)) = stream.next().await {
        rest.extend_from_slice(&bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            note(&known, String::from_utf8(line).expect("UTF-8").trim_end());
        }
    }
}

/// Notes a line of a read; what was noted before must be the same.
fn note(known: &Known, line: &str) {
    if line.is_empty() || line.starts_with("{\"event\":") {
        return;
    }
    let offset = serde_json::from_str::<Value>(line).expect("a record")["offset"].as_u64().expect("its offset");
    let earlier = known.read.lock().insert(offset, line.to_owned());
    assert!(earlier.as_ref().is_none_or(|earlier| earlier == line), "{earlier:?} has become {line}");
}

/// Keeps the topic busy until the server has ended.
async fn keep(api: Api, known: Arc<Known>) {
    let ask = async |method: Method, path: &str, body: &str| send(&api, method, path, body.to_owned()).await;
    for round in 0.. {
        for path in ["flush", "compact", "flush"] {
            if ask(Method::POST, &format!("{TOPIC}/{path}"), "").await.is_err() {
                return;
            }
        }
        // Older records expire, at times all, so that whole fragments go however large merges have made them.
        let share = if round % 4 == 1 { 1 } else { 3 };
        let before = known.acknowledged.lock().keys().max().map_or(0, |last| last / share);
        known.trimmed.fetch_max(before, Ordering::SeqCst);
        let trim = json!({ "before": before }).to_string();
        let victim = json!({"backend": "persisting"}).to_string();
        let steps = [
            (Method::POST, format!("{TOPIC}/trim"), trim),
            (Method::PUT, VICTIM.to_owned(), victim),
            (Method::POST, format!("{VICTIM}/records?ack=committed"), format!("{{\"round\":{round}}}")),
            (Method::DELETE, VICTIM.to_owned(), String::new()),
            (Method::POST, format!("{TOPIC}/indexes"), INDEX.to_owned()),
            (Method::POST, format!("{TOPIC}/fork"), "{\"topic\":\"forked\"}".to_owned()),
            (Method::DELETE, FORK.to_owned(), String::new()),
        ];
        for (method, path, body) in steps {
            if ask(method, &path, &body).await.is_err() {
                return;
            }
        }
        // Deleted when it was there for a while.
        let index = format!("{TOPIC}/indexes/by_writer");
        if round % 4 == 3 && ask(Method::DELETE, &index, "").await.is_err() {
            return;
        }
        if set_tag(&api, &known, &format!("t{}", round % 3)).await.is_err() {
            return;
        }
    }
}

/// Sets a tag, new or moved, and notes what it shows.
async fn set_tag(api: &Api, known: &Known, tag: &str) -> Result<(), Lost> {
    known.tags.lock().insert(tag.to_owned(), None);
    let answer = send(api, Method::PUT, &format!("{TOPIC}/tags/{tag}"), "{}".to_owned()).await?;
    if matches!(answer.status, 200 | 201) {
        let shown = lines(api, &format!("{TOPIC}/records?tag={tag}")).await?;
        assert_eq!(shown.status, 200, "{shown:?}");
        known.tags.lock().insert(tag.to_owned(), Some(shown.text));
    }
    Ok(())
}

async fn lines(api: &Api, path: &str) -> Result<Answer, Lost> {
    api.send(Method::GET, path, &[("Accept", "application/x-ndjson".to_owned())], None).await
}

/// What was tagged shows what it showed, and a fork is whole or not there.
async fn check_past(api: &Api, known: &Known, point: &str) {
    let tags = known.tags.lock().clone();
    for (tag, shown) in tags.into_iter().filter_map(|(tag, shown)| Some((tag, shown?))) {
        let now = lines(api, &format!("{TOPIC}/records?tag={tag}")).await.expect("an answer");
        assert_eq!((now.status, now.text), (200, shown), "{point}: the tag {tag}");
    }
    let fork = lines(api, &format!("{FORK}/records")).await.expect("an answer");
    if fork.status == 404 {
        return;
    }
    assert_eq!(fork.status, 200, "{point}: {fork:?}");
    let description = api.fetch(FORK).await.expect("the fork").json();
    let span = ["earliest_offset", "tail_offset"].map(|name| description[name].as_u64().expect("an offset"));
    assert_eq!(fork.text.lines().count() as u64, span[1] - span[0], "{point}: {description}");
    for line in fork.text.lines() {
        note(known, line);
    }
    assert_eq!(send(api, Method::DELETE, FORK, String::new()).await.expect("an answer").status, 204, "{point}");
}

/// Works on a server until it is killed at the point.
async fn work(mut server: Server, known: &Arc<Known>, point: &str) {
    let api = Api::direct(server.base());
    let options = json!({"batch_size": 2, "flush_interval_ms": 5, "field_compression": {"nested": "zstd"}});
    let body = json!({"backend_options": options}).to_string();
    // A point can come this early.
    drop(send(&api, Method::PUT, TOPIC, body).await);
    let writers = (0..2).map(|writer| tokio::spawn(write(api.clone(), Arc::clone(known), writer)));
    let mut tasks: Vec<_> = writers.collect();
    tasks.push(tokio::spawn(follow(api.clone(), Arc::clone(known))));
    tasks.push(tokio::spawn(keep(api.clone(), Arc::clone(known))));
    let ended = tokio::task::spawn_blocking(move || server.wait()).await.expect("the server's end");
    assert_eq!(ended.signal(), Some(9), "{point} is passed, and ends the server: {ended:?}");
    known.over.store(true, Ordering::Relaxed);
    for task in tasks {
        tokio::time::timeout(PATIENCE, task).await.expect("clients end").expect("nothing is wrong");
    }
}

/// Everything that the topic has, from its earliest record on.
async fn read_all(api: &Api, known: &Known) -> (u64, u64) {
    let description = api.fetch(TOPIC).await.expect("the topic").json();
    let number = |name: &str| description[name].as_u64().expect("an offset");
    let (earliest, tail) = (number("earliest_offset"), number("tail_offset"));
    let answer = lines(api, &format!("{TOPIC}/records")).await.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut next = earliest;
    for line in answer.text.lines() {
        note(known, line);
        let record: Value = serde_json::from_str(line).expect("a record");
        assert_eq!(record["offset"], next, "offsets are dense");
        if let Some((writer, number)) = known.acknowledged.lock().get(&next) {
            let value = &record["value"];
            assert_eq!((&value["writer"], &value["number"]), (&json!(writer), &json!(number)), "{line}");
        }
        next += 1;
    }
    assert_eq!(next, tail);
    (earliest, tail)
}

async fn check(server: &Server, known: &Known, point: &str) {
    let api = Api::direct(server.base());
    let topic = api.get(TOPIC).await.expect("an answer");
    if topic.status == 404 {
        assert!(known.acknowledged.lock().is_empty(), "{point}: the topic is gone");
        return;
    }
    let (earliest, tail) = read_all(&api, known).await;
    let last = known.acknowledged.lock().keys().max().copied();
    assert!(last.is_none_or(|last| last < tail), "{point}: {last:?} is gone, the tail is {tail}");
    assert!(earliest <= known.trimmed.load(Ordering::SeqCst), "{point}: {earliest} was never asked for");
    let schemas = api.fetch(&format!("{TOPIC}/schemas")).await.expect("the versions").json();
    let versions: Vec<u64> =
        schemas["schemas"].as_array().into_iter().flatten().map(|it| it["version"].as_u64().expect("one")).collect();
    assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>(), "{point}");
    let written: Vec<usize> = known.acknowledged.lock().values().map(|(writer, _)| *writer).collect();
    let fields = schemas["schemas"].as_array().and_then(|all| all.last()).map(Value::to_string).unwrap_or_default();
    for (writer, name) in ["left0", "right0"].into_iter().enumerate() {
        assert!(!written.contains(&writer) || fields.contains(&format!("\"{name}\"")), "{point}: {name} is gone");
    }
    check_past(&api, known, point).await;
    // It goes on, and what is on disk reads as what was in memory.
    for number in [0, 1] {
        let body = record(2 + number, 4 + number as u64);
        let answer =
            send(&api, Method::POST, &format!("{TOPIC}/records?ack=committed"), body).await.expect("an answer");
        assert_eq!(answer.status, 200, "{point}: {answer:?}");
    }
    assert_eq!(send(&api, Method::POST, &format!("{TOPIC}/compact"), String::new()).await.expect("one").status, 202);
    read_all(&api, known).await;
    check_index(&api, point).await;
    for status in [201, 204] {
        let method = if status == 201 { Method::PUT } else { Method::DELETE };
        let answer = send(&api, method, VICTIM, String::new()).await.expect("an answer");
        assert!(answer.status == status || answer.status == 200, "{point}: {answer:?}");
    }
}

/// An index is built, or built on, and says what is there.
async fn check_index(api: &Api, point: &str) {
    let made = send(api, Method::POST, &format!("{TOPIC}/indexes"), INDEX.to_owned()).await.expect("an answer");
    assert_eq!(made.status, 202, "{point}: {made:?}");
    let is_whole = async || {
        let index = api.fetch(&format!("{TOPIC}/indexes/by_writer")).await.expect("the index").json();
        assert_ne!(index["state"], "failed", "{point}: {index}");
        index["state"] == "ready" && index["rows_unindexed"] == 0
    };
    until("the index has everything", is_whole).await;
    let uri = api.fetch(TOPIC).await.expect("the topic").json()["dataset_uri"].as_str().expect("a path").to_owned();
    let dataset = lance::Dataset::open(&uri).await.expect("the dataset");
    let mut counts = Vec::new();
    for indexed in [true, false] {
        let mut scan = dataset.scan();
        scan.filter("writer = 1").expect("a filter").use_scalar_index(indexed);
        counts.push(scan.count_rows().await.expect("a count"));
    }
    assert_eq!(counts[0], counts[1], "{point}: the index is wrong");
}

async fn try_point(what: &str, step: &str) {
    let point = format!("{what}/{step}");
    let folder = tempfile::Builder::new().prefix("persisting-points-").tempdir().expect("a folder");
    let launch = Launch::new(folder.path());
    let known = Arc::new(Known::default());
    work(launch.clone().setting("PERSISTING_KILL_AT", &point).start_ready().await, &known, &point).await;
    let server = launch.start_ready().await;
    check(&server, &known, &point).await;
    let (acknowledged, read) = (known.acknowledged.lock().len(), known.read.lock().len());
    println!("{point}: {acknowledged} acknowledged, {read} read: all there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_any_two_steps_loses_and_changes_nothing() {
    let one = std::env::var("PERSISTING_POINT").ok();
    let points = POINTS.iter().filter(|(what, step)| one.as_ref().is_none_or(|one| *one == format!("{what}/{step}")));
    futures::stream::iter(points).for_each_concurrent(AT_ONCE, |(what, step)| try_point(what, step)).await;
}
