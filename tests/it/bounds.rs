//! The options of `persisting serve` act as they are told: a real process with small bounds.

use serde_json::json;

use crate::support::api::{Api, NDJSON};
use crate::support::process::Launch;
use crate::support::sse::Sse;

const SMALL: [&str; 18] = [
    "--max-body-bytes",
    "4000",
    "--max-batch-records",
    "10",
    "--max-record-bytes",
    "500",
    "--memory-limit-bytes",
    "6000",
    "--disk-floor-bytes",
    "0",
    "--max-streams",
    "1",
    "--cors-origin",
    "https://app.example",
    "--auto-create",
    "--shutdown-timeout-secs",
    "5",
    "--wal-segment-bytes=8192",
];

#[tokio::test]
async fn the_bounds_of_the_command_line_hold() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = outside.path().to_str().unwrap();
    let launch = Launch::new(folder.path()).with(&SMALL).with(&["--storage-root", root]);
    let server = launch.start_ready().await;
    assert!(server.base().starts_with("http://127.0.0.1:"));
    let api = Api::new(server.base());
    let topic = api.named("made-by-append");
    assert_eq!(topic.append("{\"a\":1}").await["first_offset"], 0);

    let problem = topic.refuse("", &[], " ".repeat(4_001), (413, "body_too_large")).await;
    assert_eq!(problem["limit"], 4_000);
    let problem = topic.refuse("", NDJSON, "{}\n".repeat(11), (413, "too_many_records")).await;
    assert_eq!(problem["limit"], 10);
    let problem = topic.refuse("", &[], format!("{{\"s\":\"{}\"}}", "x".repeat(500)), (413, "record_too_large")).await;
    assert_eq!(problem["limit"], 500);
    // atomic=false knows neither the first nor the second, but the third.
    let loaded =
        topic.call("POST", "records?atomic=false", NDJSON, "{\"a\":1}\n".repeat(2_000)).await.expect(200).json();
    assert_eq!(loaded["count"], 2_000);
    topic
        .refuse("?atomic=false", NDJSON, format!("{{\"s\":\"{}\"}}", "x".repeat(500)), (413, "record_too_large"))
        .await;

    let memory = api.topic("memory").await;
    let big = format!("{{\"s\":\"{}\"}}", "x".repeat(400));
    let mut status = 200;
    for _ in 0..20 {
        status = memory.post("records", big.clone()).await.status.as_u16();
        if status != 200 {
            break;
        }
    }
    assert_eq!(status, 507);
    memory.refuse("", &[], big, (507, "memory_full")).await;

    let mut stream = Sse::open(&topic, "", &[]).await;
    stream.events(2).await;
    assert!(topic.get("stream").await.expect(200).text().starts_with("retry: 10000\n\n"));
    let page = topic.call("GET", "", &[("origin", "https://app.example")], "").await.expect(200);
    assert_eq!(page.header("access-control-allow-origin"), Some("https://app.example"));
    let body = json!({"storage_path": format!("{root}/here")}).to_string();
    api.put("/v1/topics/outside", body).await.expect(201);
    assert!(server.stop().success());
}

#[tokio::test]
async fn an_sse_stream_ends_with_the_server_in_bounded_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Launch::new(folder.path()).with(&["--disk-floor-bytes", "0"]).start_ready().await;
    let topic = Api::new(server.base()).topic("persisting").await;
    topic.append("{\"a\":1}").await;
    let mut stream = Sse::open(&topic, "?offset=0", &[]).await;
    stream.events(4).await;
    let began = std::time::Instant::now();
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(stream.rest().await[0].0, "event: end\ndata: {\"reason\":\"shutdown\",\"next_offset\":1}");
    assert!(server.wait().success());
    assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
}

/// The most memory that a process has had, in MiB.
#[cfg(target_os = "linux")]
fn most_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// A record without members takes a row in each column, and an item without members one in each column of items: at once, these
/// would take 700, 1,500 and 1,400 MiB.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn short_records_in_many_columns_take_bounded_memory() {
    let members: Vec<_> = (0..900).map(|at| json!({"name": format!("c{at}"), "type": "int64"})).collect();
    let of = |data_type: serde_json::Value| json!([data_type]);
    let one = of(json!({"name": "s", "type": "struct", "fields": members}));
    let list = of(json!({"name": "l", "type": "list", "items": {"type": "struct", "fields": members}}));
    let items = format!("{{\"l\":[{}{{}}]}}\n", "{},".repeat(99));
    let cases = [
        (json!(members), "{}\n".repeat(100_000), 100_000),
        (one, "{}\n".repeat(100_000), 100_000),
        (list, items.repeat(2_000), 2_000),
    ];
    for (fields, body, count) in cases {
        let folder = tempfile::tempdir().unwrap();
        let server = Launch::new(folder.path()).with(&["--disk-floor-bytes", "0"]).start_ready().await;
        let topic = Api::new(server.base()).named("wide");
        topic.call("PUT", "", &[], json!({"schema": {"fields": fields}}).to_string()).await.expect(201);
        let before = most_memory(server.pid());
        topic.call("POST", "records?ack=wal", NDJSON, body).await.expect(200);
        let arrow = [("accept", "application/vnd.apache.arrow.stream")];
        topic.call("GET", "records?limit=10000", &arrow, "").await.expect(200);
        topic.call("GET", "records?limit=10000&filter=_offset%20%3E%205", &arrow, "").await.expect(200);
        topic.call("POST", "flush", &[], "").await.expect(200);
        let taken = most_memory(server.pid()) - before;
        assert!(taken < 600, "{taken} MiB");
        assert_eq!(topic.tail().await, count);
        assert!(server.stop().success());
    }
}
