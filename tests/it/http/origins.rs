//! Web pages must not write to a service on somebody's loopback.

use std::time::Duration;

use crate::support::api::{Headers, Topic};
use crate::support::local::{Local, Setup, shared};

async fn listing(origins: &[&str]) -> (Local, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    setup.http.cors_origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    (setup.start().await, folder)
}

async fn append(topic: &Topic, headers: Headers<'_>) -> u16 {
    topic.append_with(headers, "{}").await.status.as_u16()
}

#[tokio::test]
async fn a_foreign_origin_is_403_and_its_own_is_served() {
    let api = shared().await;
    let topic = api.topic("memory").await;
    let own = api.base().to_owned();
    assert_eq!(append(&topic, &[("origin", &own)]).await, 200);
    for origin in [
        "null",
        "https://evil.example",
        "http://localhost",
        "http://127.0.0.1:1",
        "http://localhost:80",
        "",
        "nonsense",
    ] {
        topic.refuse("", &[("origin", origin)], "{}", (403, "origin_not_allowed")).await;
        topic.call("GET", "records", &[("origin", origin)], "").await.problem(403, "origin_not_allowed");
        topic.call("DELETE", "", &[("origin", origin)], "").await.problem(403, "origin_not_allowed");
        let answer = topic.call("GET", "stream", &[("origin", origin)], "").await;
        answer.problem(403, "origin_not_allowed");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    // By the name that the client calls it, whatever that is.
    let port = own.rsplit_once(':').unwrap().1;
    let (origin, host) = (format!("http://app.localhost:{port}"), format!("app.localhost:{port}"));
    assert_eq!(append(&topic, &[("origin", &origin), ("host", &host)]).await, 200);
    assert_eq!(append(&topic, &[("origin", &origin)]).await, 403);
}

#[tokio::test]
async fn a_foreign_host_is_421_on_loopback() {
    let api = shared().await;
    let topic = api.topic("memory").await;
    for host in
        ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "notlocalhost", "[::2]"]
    {
        topic.refuse("", &[("host", host)], "{}", (421, "host_not_allowed")).await;
        topic.call("GET", "stream", &[("host", host)], "").await.problem(421, "host_not_allowed");
        api.call("GET", "/livez", &[("host", host)], "").await.problem(421, "host_not_allowed");
    }
    for host in ["localhost", "LOCALHOST:99", "x.localhost", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:8080"] {
        assert_eq!(append(&topic, &[("host", host)]).await, 200, "{host}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    setup.http.loopback = false;
    let server = setup.start().await;
    server.api().call("GET", "/livez", &[("host", "log.example")], "").await.expect(200);
}

#[tokio::test]
async fn listed_origins_get_cors_answers_and_preflights() {
    let (server, _folder) = listing(&["https://app.example"]).await;
    let topic = server.api().topic("memory").await;
    let page = ("origin", "https://app.example");
    for answer in [
        topic.append_with(&[page], "{}").await.expect(200),
        topic.call("GET", "stream?block=false", &[page], "").await.expect(200),
        topic.call("GET", "records/9", &[page], "").await.expect(416),
        topic.api.call("GET", "/nowhere", &[page], "").await.expect(404),
    ] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
        let exposed = answer.header("access-control-expose-headers").unwrap().to_ascii_lowercase();
        for header in [
            "location",
            "etag",
            "x-request-id",
            "retry-after",
            "content-disposition",
            "allow",
            "persisting-tail-offset",
            "persisting-earliest-offset",
            "persisting-epoch",
            "persisting-state",
        ] {
            assert!(exposed == "*" || exposed.split(',').any(|word| word.trim() == header), "{header}: {exposed}");
        }
    }
    let asked = "content-type, producer-id, producer-epoch, producer-seq, idempotency-key, if-match, last-event-id, content-encoding, x-request-id, accept";
    for (method, rest) in [("POST", "records"), ("DELETE", ""), ("PATCH", ""), ("PUT", ""), ("GET", "stream")] {
        let headers = [page, ("access-control-request-method", method), ("access-control-request-headers", asked)];
        let answer = topic.call("OPTIONS", rest, &headers, "").await;
        assert!(answer.status.is_success() && answer.body.is_empty(), "{answer}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
        assert!(answer.header("access-control-allow-methods").unwrap().contains(method));
        let allowed = answer.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
        assert!(asked.split(", ").all(|header| allowed.split(',').any(|word| word.trim() == header)), "{allowed}");
    }
    let other = [("origin", "https://other.example"), ("access-control-request-method", "POST")];
    topic.call("OPTIONS", "records", &other, "").await.problem(403, "origin_not_allowed");
    assert_eq!(append(&topic, &[("origin", "http://app.example")]).await, 403);
    let (any, _folder) = listing(&["*"]).await;
    let topic = any.api().topic("memory").await;
    for origin in ["https://one.example", "null"] {
        let answer = topic.append_with(&[("origin", origin)], "{}").await.expect(200);
        let allowed = answer.header("access-control-allow-origin").unwrap();
        assert!(allowed == origin || allowed == "*");
    }
}

#[tokio::test]
async fn a_foreign_origin_is_refused_before_its_body_is_read() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let api = shared().await;
    let topic = api.topic("memory").await;
    let mut socket = tokio::net::TcpStream::connect(api.base().strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nContent-Length: 1000000\r\n\r\n",
        topic.at("records")
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(Duration::from_secs(10), socket.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 403");
}
