//! Kills under a topic with a quarantine: of each request the records that fit and those that do not are both there or
//! neither, once, also where it is sent again; and what a replay takes leaves the quarantine once, whenever the kill comes.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Answer, Api, Lost};
use super::number;
use super::random::Random;
use crate::support::process::{Launch, Server};

const TOPIC: &str = "/v1/topics/sorted";

/// What was sent and answered.
#[derive(Default)]
struct Model {
    /// How many requests there were.
    requests: u64,
    /// The columns that were added: a request of their round has a record that fits from then on.
    columns: u64,
}

impl Model {
    /// The records of a request that fit at once, those that never do, and those that do when its round's column is there;
    /// what the request's number is tells which it has.
    fn records(request: u64, round: u64) -> [Vec<Value>; 3] {
        let good = if request.is_multiple_of(3) { vec![] } else { vec![json!({ "n": request })] };
        let bad = if request.is_multiple_of(4) { vec![] } else { vec![json!({ "n": format!("no {request}") })] };
        [good, bad, vec![json!({"n": request, (format!("late{round}")): request})]]
    }
}

async fn post(api: &Api, rest: &str, headers: &[(&str, String)], body: String) -> Result<Answer, Lost> {
    api.send(Method::POST, &format!("{TOPIC}{rest}"), headers, Some(body)).await
}

/// Sends a request's records; each request has a key of its own.
async fn send(api: &Api, request: u64, round: u64) -> Result<Answer, Lost> {
    let body = Value::Array(Model::records(request, round).concat()).to_string();
    post(api, "/records", &[("Idempotency-Key", format!("request-{request}"))], body).await
}

async fn values(api: &Api, topic: &str) -> Vec<Value> {
    let (mut all, mut next) = (Vec::new(), None);
    loop {
        let from = next.map_or_else(String::new, |next: u64| format!("&offset={next}"));
        let answer = api.get(&format!("{topic}/records?limit=10000{from}")).await.expect("an answer");
        if answer.status == 404 {
            return all;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.json();
        all.extend(page["records"].as_array().expect("records").iter().map(|record| record["value"].clone()));
        if page["up_to_date"] == true {
            return all;
        }
        next = page["next_offset"].as_u64();
    }
}

fn sorted(values: impl Iterator<Item = Value>) -> Vec<String> {
    let mut all: Vec<String> = values.map(|value| value.to_string()).collect();
    all.sort();
    all
}

/// Everything is where it belongs, once. Called when nothing is in flight.
async fn check(api: &Api, rounds: &[(u64, u64)], model: &Model, what: &str) {
    let (mut stored, mut kept) = (Vec::new(), Vec::new());
    for (round, (from, to)) in (0..).zip(rounds) {
        for request in *from..*to {
            let [good, bad, late] = Model::records(request, round);
            stored.extend(good);
            kept.extend(bad);
            if round < model.columns { stored.extend(late) } else { kept.extend(late) }
        }
    }
    assert_eq!(sorted(values(api, TOPIC).await.into_iter()), sorted(stored.into_iter()), "{what}: the topic");
    let found = values(api, &format!("{TOPIC}.quarantine")).await.into_iter();
    let found = found.map(|value| serde_json::from_str(value["body"].as_str().expect("a body")).expect("a record"));
    assert_eq!(sorted(found), sorted(kept.into_iter()), "{what}: the quarantine");
}

/// Appends until the server is killed; then all that was not answered is sent again.
async fn appends(server: Server, launch: &Launch, model: &mut Model, round: u64, random: &mut Random) -> Server {
    let api = Api::direct(server.base());
    let mut kill_at = Box::pin(tokio::time::sleep(Duration::from_millis(random.between(5, 250))));
    loop {
        let request = model.requests;
        let mut asking = Box::pin(send(&api, request, round));
        let answer = tokio::select! {
            answer = &mut asking => answer.expect("an answer"),
            () = &mut kill_at => {
                drop(tokio::time::timeout(Duration::from_micros(random.below(4_000)), &mut asking).await);
                server.kill();
                break;
            }
        };
        assert_eq!(answer.status, 207, "{answer:?}");
        model.requests += 1;
    }
    let server = launch.start_ready().await;
    let api = Api::direct(server.base());
    // The one in flight, and some that were answered long ago.
    for back in 0..=model.requests.min(3) {
        let request = model.requests - back;
        let from = Model::records(request, round);
        let answer = send(&api, request, if back == 0 { round } else { u64::MAX }).await.expect("an answer");
        let json = answer.json();
        if back > 0 {
            // Under another body the key is refused: so it is known.
            assert_eq!(json["code"], "idempotency_mismatch", "{answer:?}");
            continue;
        }
        assert_eq!(answer.status, 207, "{answer:?}");
        let quarantined = (from[1].len() + from[2].len()) as u64;
        assert_eq!(
            (json["count"].as_u64(), json["quarantined"].as_u64()),
            (Some(from[0].len() as u64), Some(quarantined))
        );
    }
    model.requests += 1;
    server
}

/// Replays until one is answered; servers are killed under the first ones.
async fn replays(mut server: Server, launch: &Launch, late: u64, random: &mut Random) -> Server {
    let mut replayed = 0;
    loop {
        let api = Api::direct(server.base());
        let mut asking = Box::pin(post(&api, "/quarantine/replay", &[], String::new()));
        let patience =
            if random.once_in(3) { Duration::from_secs(60) } else { Duration::from_micros(random.below(60_000)) };
        match tokio::time::timeout(patience, &mut asking).await {
            Ok(answer) => {
                let answer = answer.expect("an answer");
                assert_eq!(answer.status, 200, "{answer:?}");
                replayed += answer.json()["replayed"].as_u64().expect("a number");
                assert!(replayed <= late, "{replayed} of {late}");
                return server;
            }
            Err(_) => {
                server.kill();
                server = launch.start_ready().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_and_what_is_quarantined_of_it_stand_or_fall_together() {
    let (seed, cycles) = (number("PERSISTING_CRASH_SEED", 1), 2 * number("PERSISTING_CRASH_CYCLES", 4));
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let folder = tempfile::Builder::new().prefix("persisting-quarantine-").tempdir().expect("a folder");
    // Small segments, so that entries of two topics are relocated and released too.
    let launch = Launch::new(folder.path()).with(&["--wal-segment-bytes", "16KiB", "--wal-target-bytes", "32KiB"]);
    let mut server = launch.start_ready().await;
    let body = json!({
        "schema": {"fields": [{"name": "n", "type": "int64"}]}, "schema_mode": "strict", "on_invalid": "quarantine",
        "backend_options": {"flush_interval_ms": 30},
    });
    let api = Api::direct(server.base());
    assert_eq!(api.send(Method::PUT, TOPIC, &[], Some(body.to_string())).await.expect("an answer").status, 201);
    let (mut model, mut rounds) = (Model::default(), Vec::new());
    for round in 0..cycles {
        let what = format!("seed {seed}, round {round}");
        let from = model.requests;
        server = appends(server, &launch, &mut model, round, &mut random).await;
        rounds.push((from, model.requests));
        let api = Api::direct(server.base());
        check(&api, &rounds, &model, &what).await;
        if random.once_in(3) {
            continue;
        }
        // From here on the records of every round so far fit.
        let late = (model.columns..=round)
            .map(|round| json!({"op": "add", "path": format!("late{round}"), "to": {"type": "int64"}}));
        let changes = json!({"changes": late.collect::<Vec<_>>()}).to_string();
        assert_eq!(post(&api, "/schemas", &[], changes).await.expect("an answer").status, 201);
        let late =
            rounds[usize::try_from(model.columns).expect("a small number")..].iter().map(|(from, to)| to - from).sum();
        server = replays(server, &launch, late, &mut random).await;
        model.columns = round + 1;
        check(&Api::direct(server.base()), &rounds, &model, &format!("{what}: replayed")).await;
    }
}
