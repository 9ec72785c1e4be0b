//! Starting and stopping: who is served, who is told to come back.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::api::{Api, Headers};
use crate::support::local::Setup;
use crate::support::sse::Sse;

const LINES: Headers<'static> = &[("accept", "application/x-ndjson")];

#[tokio::test]
async fn while_the_server_recovers_streams_wait_and_all_else_is_503() {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(folder.path()).start().await;
    let topic = server.api().topic("persisting").await;
    topic.append("{\"a\":1}").await;
    let epoch = topic.get("").await.json()["epoch"].clone();
    server.stop().await;

    let (server, recovery) = Setup::new(folder.path()).recovering().await;
    let topic = server.api().named(&topic.name);
    topic.api.get("/livez").await.expect(200);
    topic.api.get("/readyz").await.problem(503, "recovering");
    topic.api.get("/v1/topics").await.problem(503, "recovering");
    for (method, rest) in [("GET", ""), ("PUT", ""), ("POST", "records"), ("GET", "records"), ("POST", "flush")] {
        let answer = topic.call(method, rest, &[], "").await;
        assert_eq!(answer.problem(503, "recovering")["retryable"], true);
    }
    topic.call("GET", "stream", LINES, "").await.problem(503, "recovering");
    let mut stream = Sse::open(&topic, "?offset=0&heartbeat=1", &[]).await;
    assert_eq!(stream.status, 200);
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert_eq!(stream.next().await.unwrap().0, "retry: 2000");
    for _ in 0..2 {
        assert!(stream.next().await.unwrap().0.starts_with(':'), "comments");
    }
    recovery.finish().await;
    topic.api.get("/readyz").await.expect(200);
    let events = stream.events(3).await;
    assert_eq!(events[0].data(), json!({"epoch": epoch, "next_offset": 0, "tail_offset": 1}));
    assert_eq!((events[1].data()["value"].clone(), events[2].name()), (json!({"a": 1}), Some("caught-up")));
    server.stop().await;
}

/// A request that is under way: its head and a part of its body are sent.
async fn under_way(api: &Api, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(api.base().strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n{{\"a\":1}}");
    socket.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    socket
}

#[tokio::test]
async fn while_the_server_drains_streams_end_and_all_else_is_503() {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(folder.path()).start().await;
    let topic = server.api().topic("persisting").await;
    topic.append("{\"a\":0}").await;
    let mut stream = Sse::open(&topic, "?offset=0", &[]).await;
    stream.events(4).await;
    let mut held = under_way(&topic.api, &topic.at("records")).await;
    let waiting = tokio::spawn({
        let topic = topic.clone();
        async move { topic.get("records?offset=1&wait=60").await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.drain();
    let rest = stream.rest().await;
    assert_eq!(
        rest[0].0, "event: end\ndata: {\"reason\":\"shutdown\",\"next_offset\":1}",
        "without an id: it comes back"
    );
    assert_eq!(rest.len(), 1);
    let waited = waiting.await.unwrap();
    assert!(waited.status == 200 || waited.status == 503, "{waited}");
    // Connections of their own: those before are closed.
    let fresh = || Api::new(topic.api.base()).named(&topic.name);
    fresh().api.get("/livez").await.expect(200);
    fresh().api.get("/readyz").await.problem(503, "shutting_down");
    fresh().post("records", "{}").await.problem(503, "shutting_down");
    fresh().get("records").await.problem(503, "shutting_down");
    fresh().call("GET", "stream", LINES, "").await.problem(503, "shutting_down");
    let answer = fresh().get("stream").await.expect(200);
    assert!(answer.text().starts_with("retry: 10000\n\n:") && !answer.text().contains("event:"), "{answer}");
    // What was under way is finished.
    held.write_all(b"{\"a\":2}").await.unwrap();
    let mut answer = String::new();
    held.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"count\":2"), "{answer}");
    server.stop().await;
    let server = Setup::new(folder.path()).start().await;
    assert_eq!(server.api().named(&topic.name).values(0).await.len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn without_room_an_append_waits_and_is_503_overloaded() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    setup.inflight_bytes = 1_000;
    let server = setup.start().await;
    let topic = server.api().topic("memory").await;
    let mut socket = TcpStream::connect(topic.api.base().strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{{", topic.at("records"));
    socket.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let big = format!("{{\"a\":\"{}\"}}", "x".repeat(500));
    // What is only declared keeps nobody out.
    topic.append(big.clone()).await;
    socket.write_all(" ".repeat(800).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    topic.refuse("", &[], big.clone(), (503, "overloaded")).await;
    drop(socket);
    crate::support::api::until("room is there again", async || topic.post("records", big.clone()).await.status == 200)
        .await;
    // Alone, a request within the limits is always admitted.
    topic.append(format!("{{\"a\":\"{}\"}}", "x".repeat(5_000))).await;
}

#[tokio::test]
async fn past_its_budget_memory_is_507() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    setup.engine.memory_limit_bytes = 20_000;
    let server = setup.start().await;
    let (topic, other) = (server.api().topic("memory").await, server.api().topic("memory").await);
    let big = format!("{{\"a\":\"{}\"}}", "x".repeat(12_000));
    topic.append(big.clone()).await;
    for topic in [&topic, &other] {
        let problem = topic.refuse("", &[], big.clone(), (507, "memory_full")).await;
        assert_eq!((&problem["limit"], &problem["retryable"]), (&json!(20_000), &json!(true)));
    }
    server.api().topic("persisting").await.append(big.clone()).await;
    topic.post("trim", "{\"before\":1}").await.expect(200);
    other.append(big.clone()).await;
    other.call("DELETE", "", &[], "").await.expect(204);
    crate::support::api::until("a deletion frees it", async || topic.post("records", big.clone()).await.status == 200)
        .await;
}

#[tokio::test]
async fn at_its_floor_the_disk_is_full_for_appends_and_reads_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(folder.path()).start().await;
    let mut topics = Vec::new();
    for backend in ["lance", "persisting"] {
        let topic = server.api().topic(backend).await;
        topic.append("{\"a\":1}").await;
        topics.push(topic.name);
    }
    server.stop().await;
    let mut setup = Setup::new(folder.path());
    setup.engine.disk_floor_bytes = u64::MAX;
    let server = setup.start().await;
    for name in topics {
        let topic = server.api().named(&name);
        crate::support::api::until("the disk was looked at", async || topic.post("records", "{}").await.status == 507)
            .await;
        let before = topic.tail().await;
        topic.refuse("", &[], "{}", (507, "disk_full")).await;
        assert_eq!(topic.values(0).await.len() as u64, before);
        topic.get("stream?block=false").await.expect(200);
    }
    assert_eq!(server.api().get("/readyz?verbose").await.expect(200).json()["disk"], "full");
    // The floor is one of appends.
    let new = server.api().topic("persisting").await;
    new.refuse("", &[], "{}", (507, "disk_full")).await;
    server.api().topic("memory").await.append("{}").await;
}
