//! `persisting bench` measures and verifies: each workload, briefly, against a real server.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use persisting::{bench, cli};
use serde_json::Value;

use crate::support::api::Api;
use crate::support::local::{Local, shared};

/// The result of a run against a server, and whether all was well.
async fn measure(api: &Api, arguments: &[&str]) -> (bool, Value) {
    let url = format!("--url={}", api.base());
    let line = ["persisting", "bench", "--json=-", &url].into_iter().chain(arguments.iter().copied());
    let cli::Command::Bench(options) = cli::parse_from(line).unwrap() else { panic!("{arguments:?}") };
    let run = move || {
        let mut out = Vec::new();
        let sound = bench::run(&options, &mut out).unwrap_or_else(|err| panic!("{err}"));
        (sound, serde_json::from_slice(&out).unwrap())
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// As [`measure`], where all is well.
async fn sound(api: &Api, arguments: &[&str]) -> Value {
    let (sound, result) = measure(api, arguments).await;
    assert!(sound && result["ok"] == true, "{result:#}");
    assert!(result["verification"]["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true));
    result
}

fn name() -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    format!("--topic=bench-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

fn count(result: &Value, part: usize, what: &str) -> u64 {
    result["parts"][part][what].as_u64().unwrap_or_else(|| panic!("{result:#}"))
}

#[tokio::test]
async fn appends_are_counted_and_can_be_read_again_in_every_way() {
    let (api, topic) = (shared().await, name());
    let result = sound(&api, &["append", &topic, "--count=40", "--batch=5", "--connections=3"]).await;
    assert_eq!((count(&result, 0, "requests"), count(&result, 0, "records")), (40, 200));
    let latency = &result["parts"][0]["latency_us"];
    assert!(latency["count"] == 40 && latency["max"].as_f64() >= latency["p50"].as_f64(), "{latency}");
    assert_eq!(result["parameters"]["workload"], "append");
    assert_eq!(result["verification"]["topics"][0], topic.strip_prefix("--topic=").unwrap());

    for format in ["--format=json", "--format=ndjson", "--format=sse"] {
        let result = sound(&api, &["catchup", &topic, format, "--readers=2", "--limit=70"]).await;
        assert_eq!(count(&result, 0, "records"), 400, "{format}");
        let result = sound(&api, &["catchup", &topic, format, "--count=101"]).await;
        assert_eq!(count(&result, 0, "records"), 101, "{format}");
    }
    let result = sound(&api, &["get", &topic, "--count=50", "--connections=4", "--limit=30"]).await;
    assert_eq!(count(&result, 0, "requests"), 50);
    assert!(count(&result, 0, "records") > 50);
}

#[tokio::test]
async fn appends_spread_over_topics_forms_threads_and_a_schedule() {
    let (api, topic) = (shared().await, name());
    let arguments = ["--topics=3", "--batch=2", "--format=ndjson", "--threads=2", "--backend=memory", "--ack=accepted"];
    let schedule = ["--connections=2", "--rate=150", "--duration=1s", "--warmup=100ms", "--progress"];
    let result = sound(&api, &[&["append", &topic][..], &arguments, &schedule].concat()).await;
    assert_eq!(result["verification"]["topics"].as_array().unwrap().len(), 3);
    assert!((1..=150).contains(&count(&result, 0, "requests")), "{result:#}");
    assert_eq!(result["parameters"]["duration"], 1.0);
}

#[tokio::test]
async fn every_subscriber_gets_every_record_once_and_in_order() {
    let (api, topic) = (shared().await, name());
    let result = sound(&api, &["fanout", &topic, "--subscribers=20", "--count=30", "--batch=3"]).await;
    assert_eq!((count(&result, 0, "records"), count(&result, 1, "records")), (30, 600));
    assert_eq!((&result["verification"]["lost"], &result["verification"]["doubled"]), (&0.into(), &0.into()));
    assert_eq!(result["parts"][1]["latency_us"]["count"], 600);
    // The topic is there now, and what it holds is not taken for new.
    let more = ["--subscribers=5", "--count=20", "--rate=200", "--connections=2"];
    let result = sound(&api, &[&["fanout", &topic][..], &more].concat()).await;
    assert_eq!(count(&result, 1, "records"), 100);
}

#[tokio::test]
async fn a_subscriber_that_misses_records_is_told() {
    let (server, _folder) = Local::fresh().await;
    let (api, topic) = (server.api(), name());
    let path = "--stream-path=/v1/topics/{topic}/stream?limit=3";
    let arguments = ["fanout", &topic, "--subscribers=2", "--count=5", "--patience=200ms", path];
    let (sound, result) = measure(&api, &arguments).await;
    assert!(!sound && result["ok"] == false);
    assert_eq!(result["verification"]["lost"], 4, "{result:#}");
}

#[tokio::test]
async fn everything_runs_at_the_same_time() {
    let (server, folder) = Local::fresh().await;
    let (api, topic, disk) = (server.api(), name(), format!("--data-dir={}", folder.path().display()));
    let process = format!("--server-pid={}", std::process::id());
    let arguments = ["mixed", &topic, "--subscribers=5", "--rate=100", "--duration=800ms", &disk, &process];
    let result = sound(&api, &arguments).await;
    let parts: Vec<_> = result["parts"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert_eq!(parts, ["append", "deliver", "catchup", "get"]);
    assert_eq!(count(&result, 1, "records"), 5 * count(&result, 0, "records"));
    assert!(count(&result, 2, "records") > 0 && count(&result, 3, "requests") > 0, "{result:#}");
    assert!(result["disk"]["growing"]["latency_us"]["count"].as_u64() > Some(0), "{result:#}");
    assert_eq!(result["server_cpu_seconds"].is_number(), cfg!(target_os = "linux"));
}

#[tokio::test]
async fn another_server_is_measured_with_frames_of_its_own() {
    let (server, _folder) = Local::fresh().await;
    let (api, topic) = (server.api(), name());
    // Ours under another path: records are wrapped, and what arrives is found by their marks alone.
    let arguments = [
        "fanout",
        &topic,
        "--subscribers=3",
        "--count=20",
        "--batch=2",
        "--append-path=/v1/topics/{topic}/records?ack=wal",
        "--content-type=application/json",
        "--header=X-Topic: {topic}",
        "--escape",
        r#"--record-prefix={"body":""#,
        r#"--record-suffix="}"#,
        r"--body-suffix=]\n",
        r#"--create-body={"backend":"persisting","backend_options":{"ack":"wal"}}"#,
    ];
    let result = sound(&api, &arguments).await;
    assert_eq!(count(&result, 1, "records"), 60);
    assert_eq!(result["verification"]["checks"].as_array().unwrap().len(), 1, "{result:#}");
}

#[tokio::test]
async fn refusals_are_told_by_status() {
    let (api, topic) = (shared().await, name());
    let arguments = ["append", &topic, "--count=3", "--connections=1", "--ack=wal", "--backend=memory"];
    let (sound, result) = measure(&api, &arguments).await;
    assert!(!sound);
    assert_eq!(result["parts"][0]["errors"]["400"], 3, "{result:#}");
    assert!(result["parts"][0]["error_notes"][0].as_str().unwrap().contains("ack_unsupported"));
}

#[test]
fn the_disk_is_measured_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let program = Command::new(env!("CARGO_BIN_EXE_persisting"))
        .args(["bench", "disk", "--count=20", "--bytes=4KiB", "--json=result.json", "--dir=."])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let table = String::from_utf8(program.stdout).unwrap();
    assert!(program.status.success() && table.contains("disk, growing"), "{table}");
    let result: Value = serde_json::from_slice(&std::fs::read(folder.path().join("result.json")).unwrap()).unwrap();
    for file in ["growing", "preallocated"] {
        assert_eq!(result["disk"][file]["latency_us"]["count"], 20);
    }
}

#[test]
fn a_server_that_is_not_there_is_told() {
    // Nobody listens on port 1 of loopback.
    let program = Command::new(env!("CARGO_BIN_EXE_persisting"))
        .args(["bench", "append", "--url=http://127.0.0.1:1", "--count=1"])
        .output()
        .unwrap();
    let told = String::from_utf8(program.stderr).unwrap();
    assert_eq!(program.status.code(), Some(1));
    assert!(told.starts_with("error: no server answers at http://127.0.0.1:1: Connection refused"), "{told}");
}
