//! Kills between the steps of posted schema changes: the newest version that the registry tells is the one that every record
//! reads under, whatever of the log, the catalog and the dataset had been written.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Answer, Api, Lost};
use super::number;
use super::random::Random;
use crate::support::process::{Launch, Server};

const TOPIC: &str = "/v1/topics/posted";

/// What the topic holds: every record has `n`, and the counter under the name and type of its time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Model {
    records: u64,
    /// Records from here on have a counter.
    since: u64,
    name: String,
    is_json: bool,
    version: u64,
}

/// What is done next.
#[derive(Clone, Debug)]
enum Op {
    Append,
    Flush,
    Rename(String),
    Anew { as_json: bool },
    Convert,
}

impl Model {
    fn choose(&self, random: &mut Random) -> Op {
        match random.below(12) {
            0 => Op::Flush,
            1 | 2 => Op::Rename(format!("c{}", random.below(3))),
            3 => Op::Anew { as_json: random.once_in(2) },
            4 | 5 if self.is_json => Op::Convert,
            _ => Op::Append,
        }
    }

    /// The request, and what holds once it is done.
    fn request(&self, op: &Op) -> (String, String, Self) {
        let mut after = self.clone();
        let changes = match op {
            Op::Append => {
                let n = self.records;
                after.records += 1;
                return (format!("{TOPIC}/records"), format!("{{\"n\":{n},\"{}\":{n}}}", self.name), after);
            }
            Op::Flush => return (format!("{TOPIC}/flush"), String::new(), after),
            Op::Rename(to) => {
                after.name.clone_from(to);
                json!([{"op": "rename", "path": self.name, "to": to}])
            }
            Op::Anew { as_json } => {
                (after.since, after.is_json) = (self.records, *as_json);
                let data_type = if *as_json { "json" } else { "int64" };
                json!([{"op": "drop", "path": self.name}, {"op": "add", "path": self.name, "to": {"type": data_type}}])
            }
            Op::Convert => {
                after.is_json = false;
                json!([{"op": "convert", "path": self.name, "to": {"type": "int64"}}])
            }
        };
        if !matches!(op, Op::Rename(to) if *to == self.name) {
            after.version += 1;
        }
        (format!("{TOPIC}/schemas"), json!({ "changes": changes }).to_string(), after)
    }

    fn values(&self) -> Vec<Value> {
        let value = |n| if n < self.since { json!({ "n": n }) } else { json!({ "n": n, &self.name: n }) };
        (0..self.records).map(value).collect()
    }
}

async fn send(api: &Api, path: &str, body: String) -> Result<Answer, Lost> {
    api.send(Method::POST, path, &[], Some(body)).await
}

async fn found(api: &Api) -> (u64, Vec<Value>) {
    let lines = api.fetch(&format!("{TOPIC}/records?limit=10000")).await.expect("a page").json();
    let records = lines["records"].as_array().expect("records");
    let newest = api.fetch(&format!("{TOPIC}/schemas/latest")).await.expect("a version").json();
    (newest["version"].as_u64().expect("its number"), records.iter().map(|record| record["value"].clone()).collect())
}

/// Sends requests until the server is killed in the midst of one; what holds before it and, perhaps, after it.
async fn run(server: Server, mut model: Model, random: &mut Random) -> (Model, Model) {
    let api = Api::direct(server.base());
    let mut kill_at = Box::pin(tokio::time::sleep(Duration::from_millis(random.between(5, 400))));
    loop {
        let (path, body, after) = model.request(&model.choose(random));
        let mut asking = Box::pin(send(&api, &path, body.clone()));
        let answer = tokio::select! {
            answer = &mut asking => answer,
            () = &mut kill_at => {
                // A moment into the request.
                let into = Duration::from_micros(random.below(20_000));
                drop(tokio::time::timeout(into, &mut asking).await);
                server.kill();
                return (model, after);
            }
        };
        let answer = answer.expect("an answer");
        assert!(matches!(answer.status, 200 | 201), "{path} {body}: {answer:?}");
        model = after;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_reads_under_the_newest_version_after_a_kill_anywhere() {
    let (seed, cycles) = (number("PERSISTING_CRASH_SEED", 1), 2 * number("PERSISTING_CRASH_CYCLES", 4));
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let folder = tempfile::Builder::new().prefix("persisting-posted-").tempdir().expect("a folder");
    let launch = Launch::new(folder.path());
    let server = launch.start_ready().await;
    let schema = json!({"fields": [{"name": "n", "type": "int64"}, {"name": "c0", "type": "json"}]});
    let options = json!({"flush_interval_ms": 30});
    let body = json!({"schema": schema, "schema_mode": "strict", "backend_options": options}).to_string();
    let api = Api::direct(server.base());
    assert_eq!(api.send(Method::PUT, TOPIC, &[], Some(body)).await.expect("an answer").status, 201);
    let mut model = Model { records: 0, since: 0, name: "c0".to_owned(), is_json: true, version: 1 };
    let mut server = server;
    for cycle in 0..cycles {
        let (before, after) = run(server, model, &mut random).await;
        server = launch.start_ready().await;
        let api = Api::direct(server.base());
        let (version, values) = found(&api).await;
        model = if (version, values.len() as u64) == (after.version, after.records) { after } else { before };
        assert_eq!((version, &values), (model.version, &model.values()), "seed {seed}, cycle {cycle}");
        if random.once_in(2) {
            let flushed = send(&api, &format!("{TOPIC}/flush"), String::new()).await.expect("an answer");
            assert_eq!(flushed.status, 200, "seed {seed}, cycle {cycle}: {flushed:?}");
            assert_eq!(found(&api).await.1, values, "seed {seed}, cycle {cycle}: on disk");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_trimmed_away_holds_up_no_restart() {
    let folder = tempfile::Builder::new().prefix("persisting-posted-").tempdir().expect("a folder");
    let launch = Launch::new(folder.path());
    let server = launch.start_ready().await;
    let api = Api::direct(server.base());
    let body = json!({"schema": {"fields": [{"name": "j", "type": "json"}]}}).to_string();
    assert_eq!(api.send(Method::PUT, TOPIC, &[], Some(body)).await.expect("an answer").status, 201);
    let ask = async |api: &Api, rest: &str, body: &str| {
        send(api, &format!("{TOPIC}/{rest}"), body.to_owned()).await.expect("an answer")
    };
    assert_eq!(ask(&api, "records", r#"{"j":"x"}"#).await.status, 200);
    assert_eq!(ask(&api, "flush", "").await.status, 200);
    assert_eq!(ask(&api, "records", r#"{"j":1}"#).await.status, 200);
    let convert = r#"{"changes":[{"op":"convert","path":"j","to":{"type":"int64"}}]}"#;
    let refused = ask(&api, "schemas", convert).await;
    assert!(refused.status == 422 && refused.text.contains("offset 0"), "{refused:?}");
    assert_eq!(ask(&api, "trim", r#"{"before":1}"#).await.status, 200);
    let until = std::time::Instant::now() + crate::support::process::PATIENCE;
    loop {
        let answer = ask(&api, "schemas", convert).await;
        if answer.status == 201 {
            break;
        }
        // The row may still be in the dataset: then the refusal says so.
        assert!(answer.text.contains("has expired") && std::time::Instant::now() < until, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The log may still have all records, also the one that no conversion has asked.
    server.kill();
    let server = launch.start_ready().await;
    let api = Api::direct(server.base());
    assert_eq!(ask(&api, "records", r#"{"j":2}"#).await.status, 200);
    for _ in 0..2 {
        let page = api.fetch(&format!("{TOPIC}/records?offset=1")).await.expect("a page").json();
        let values: Vec<&Value> = page["records"].as_array().expect("records").iter().map(|it| &it["value"]).collect();
        assert_eq!(values, [&json!({"j": 1}), &json!({"j": 2})]);
        assert_eq!(ask(&api, "flush", "").await.status, 200);
    }
}
