//! Kills between the steps of tags and forks: what was answered is there and whole, what was not is there whole or not at all,
//! and nothing is left of a fork that came to nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Answer, Api};
use super::number;
use super::random::Random;
use crate::support::process::{Launch, PATIENCE, Server};

const TOPIC: &str = "/v1/topics/tagged";

/// What there is: records `{"n": 0}`, `{"n": 1}` and so on, in the topic and, up to some offset, under tags and in forks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    records: u64,
    tags: BTreeMap<String, u64>,
    forks: BTreeMap<String, u64>,
}

struct Request {
    method: Method,
    path: String,
    body: String,
    status: &'static [u16],
}

impl Model {
    /// What is done next, and what holds once it is done.
    fn choose(&self, random: &mut Random, made: &mut u64) -> (Request, Self) {
        let mut after = self.clone();
        let ask = |method, path: String, body: String, status| Request { method, path, body, status };
        let tag = format!("v{}", random.below(3));
        let tagged = self.tags.get(&tag).copied();
        let request = match (random.below(12), tagged) {
            (0..=2, _) => {
                after.tags.insert(tag.clone(), self.records);
                ask(Method::PUT, format!("{TOPIC}/tags/{tag}"), String::new(), &[200, 201])
            }
            (3, Some(_)) => {
                after.tags.remove(&tag);
                ask(Method::DELETE, format!("{TOPIC}/tags/{tag}"), String::new(), &[204])
            }
            (4, _) if !self.forks.is_empty() => {
                let names: Vec<&String> = self.forks.keys().collect();
                let name = (*random.pick(&names)).clone();
                after.forks.remove(&name);
                ask(Method::DELETE, format!("/v1/topics/{name}"), String::new(), &[204])
            }
            (5..=7, _) => {
                *made += 1;
                let name = format!("fork-{made}");
                let (at, rows) = match (random.below(3), tagged) {
                    (0, Some(rows)) => (json!({ "tag": tag }), rows),
                    (1, _) => {
                        let offset = random.below(self.records + 1);
                        (json!({ "offset": offset }), offset)
                    }
                    _ => (Value::Null, self.records),
                };
                after.forks.insert(name.clone(), rows);
                let body = json!({ "topic": name, "at": at }).to_string();
                ask(Method::POST, format!("{TOPIC}/fork"), body, &[201])
            }
            _ => {
                let count = random.between(1, 5);
                let batch: Vec<Value> = (self.records..self.records + count).map(|n| json!({ "n": n })).collect();
                after.records += count;
                ask(Method::POST, format!("{TOPIC}/records"), Value::Array(batch).to_string(), &[200])
            }
        };
        (request, after)
    }
}

/// How many records there are; each is the one that it has to be.
async fn count(api: &Api, path: &str) -> u64 {
    let page = api.fetch(path).await.expect("a page").json();
    let records = page["records"].as_array().expect("records");
    for (n, record) in records.iter().enumerate() {
        assert_eq!((&record["offset"], &record["value"]), (&json!(n), &json!({ "n": n })), "{path}");
    }
    assert_eq!(page["tail_offset"], records.len(), "{path}");
    records.len() as u64
}

async fn found(api: &Api) -> Model {
    let mut model = Model { records: count(api, &format!("{TOPIC}/records?limit=10000")).await, ..Model::default() };
    let tags = api.fetch(&format!("{TOPIC}/tags")).await.expect("tags").json();
    for tag in tags["tags"].as_array().expect("tags") {
        let (name, rows) = (tag["tag"].as_str().expect("a name"), tag["rows"].as_u64().expect("rows"));
        assert_eq!(count(api, &format!("{TOPIC}/records?limit=10000&tag={name}")).await, rows);
        model.tags.insert(name.to_owned(), rows);
    }
    let topics = api.fetch("/v1/topics?prefix=fork-&limit=1000").await.expect("topics").json();
    for topic in topics["topics"].as_array().expect("topics") {
        let name = topic["topic"].as_str().expect("a name");
        let rows = count(api, &format!("/v1/topics/{name}/records?limit=10000")).await;
        model.forks.insert(name.to_owned(), rows);
    }
    model
}

async fn send(api: &Api, request: &Request) -> Option<Answer> {
    let body = (!request.body.is_empty()).then(|| request.body.clone());
    api.send(request.method.clone(), &request.path, &[], body).await.ok()
}

/// Sends requests until the server is killed in the midst of one; what holds before it and, perhaps, after it.
async fn run(server: Server, mut model: Model, random: &mut Random, made: &mut u64) -> (Model, Model) {
    let api = Api::direct(server.base());
    let mut kill_at = Box::pin(tokio::time::sleep(Duration::from_millis(random.between(5, 600))));
    loop {
        let (request, after) = model.choose(random, made);
        let mut asking = Box::pin(send(&api, &request));
        let answer = tokio::select! {
            answer = &mut asking => answer,
            () = &mut kill_at => {
                // A moment into the request.
                let into = Duration::from_micros(random.below(60_000));
                drop(tokio::time::timeout(into, &mut asking).await);
                server.kill();
                return (model, after);
            }
        };
        let answer = answer.expect("an answer");
        assert!(request.status.contains(&answer.status), "{} {}: {answer:?}", request.path, request.body);
        model = after;
    }
}

/// The datasets that lie in a folder.
fn datasets(data_dir: &Path) -> usize {
    let entries = std::fs::read_dir(data_dir.join("datasets")).expect("the folder of datasets");
    entries.flatten().filter(|entry| entry.path().extension().is_some_and(|ending| ending == "lance")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_and_forks_are_whole_or_not_there_after_a_kill_anywhere() {
    let (seed, cycles) = (number("PERSISTING_CRASH_SEED", 1), 3 * number("PERSISTING_CRASH_CYCLES", 4));
    println!("seed {seed}");
    let (mut random, mut made) = (Random::new(seed), 0);
    let folder = tempfile::Builder::new().prefix("persisting-tagged-").tempdir().expect("a folder");
    let launch = Launch::new(folder.path());
    let mut server = launch.start_ready().await;
    let schema = json!({"fields": [{"name": "n", "type": "int64"}]});
    let body = json!({"schema": schema, "backend_options": {"flush_interval_ms": 30}}).to_string();
    let api = Api::direct(server.base());
    assert_eq!(api.send(Method::PUT, TOPIC, &[], Some(body)).await.expect("an answer").status, 201);
    let mut model = Model::default();
    for cycle in 0..cycles {
        let (before, after) = run(server, model, &mut random, &mut made).await;
        server = launch.start_ready().await;
        let found = found(&Api::direct(server.base())).await;
        assert!(
            found == before || found == after,
            "seed {seed}, cycle {cycle}: {found:?} is neither {before:?} nor {after:?}"
        );
        model = found;
    }
    let until = Instant::now() + PATIENCE;
    while datasets(launch.data_dir()) != model.forks.len() + 1 {
        assert!(Instant::now() < until, "{} datasets of {} topics", datasets(launch.data_dir()), model.forks.len() + 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Each goes its own way.
    let api = Api::direct(server.base());
    for (name, rows) in &model.forks {
        let body = json!({ "n": rows }).to_string();
        let answer = api.send(Method::POST, &format!("/v1/topics/{name}/records?ack=committed"), &[], Some(body)).await;
        assert_eq!(answer.expect("an answer").status, 200, "{name}");
        assert_eq!(count(&api, &format!("/v1/topics/{name}/records?limit=10000")).await, rows + 1);
    }
}
