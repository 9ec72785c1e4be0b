use super::*;

/// Connections that a server takes in these tests.
const MANY: usize = 100;

#[tokio::test]
async fn the_clients_request_id_comes_back_if_it_can_be_one() {
    let id = |response: &Response| header_of(response, "x-request-id").to_owned();
    let long = "x".repeat(128);
    for theirs in ["a", "5f0c-1", &long] {
        assert_eq!(id(&send(limits(), request("GET", "/livez", &[("x-request-id", theirs)])).await), theirs);
    }
    let too_long = "x".repeat(129);
    for theirs in ["", "a b", &too_long] {
        let response = send(limits(), request("GET", "/livez", &[("x-request-id", theirs)])).await;
        assert_eq!(uuid::Uuid::parse_str(&id(&response)).unwrap().get_version_num(), 7);
    }
    let first = send(limits(), request("GET", "/livez", &[])).await;
    let second = send(limits(), request("GET", "/livez", &[])).await;
    assert_ne!(id(&first), id(&second));
}

#[tokio::test]
async fn the_server_tells_of_itself() {
    for (target, media_type) in [
        ("/livez", "application/json"),
        ("/readyz", "application/json"),
        ("/readyz?verbose", "application/json"),
        ("/version", "application/json"),
        ("/metrics", "text/plain; version=0.0.4"),
        ("/openapi.yaml", "application/yaml"),
        ("/openapi.json", "application/json"),
        ("/v1/backends", "application/json"),
    ] {
        let response = send(limits(), request("GET", target, &[])).await;
        assert_eq!(response.status().as_u16(), 200, "{target}");
        assert_eq!(header_of(&response, "content-type"), media_type, "{target}");
        let head = send(limits(), request("HEAD", target, &[])).await;
        assert_eq!(head.status().as_u16(), 200, "{target}");
        assert!(bytes_of(head).await.is_empty());
    }
    let verbose = bytes_of(send(limits(), request("GET", "/readyz?verbose", &[])).await).await;
    let verbose: Value = serde_json::from_slice(&verbose).unwrap();
    assert_eq!(
        verbose,
        serde_json::json!({"status": "ready", "log": "sound", "disk": "sound", "degraded": [], "failed": []})
    );
    let (status, code, _) = problem(send(limits(), request("GET", "/v1/backends/none", &[])).await).await;
    assert_eq!((status, code.as_str()), (404, "backend_not_found"));
}

#[tokio::test]
async fn a_finished_stream_is_204_even_where_the_topic_is_gone() {
    let response = send(limits(), request("GET", "/v1/topics/gone/stream?x=1", &[("last-event-id", "end")])).await;
    assert_eq!(response.status().as_u16(), 204);
    let badly_named = send(limits(), request("GET", "/v1/topics/-/stream", &[("last-event-id", "end")])).await;
    assert_eq!(badly_named.status().as_u16(), 400);
}

#[tokio::test]
async fn requests_are_counted_by_route_method_and_status() {
    let (state, _folder) = state(limits()).await;
    let router = router(state.clone());
    for target in ["/v1/topics/a", "/v1/topics/b", "/nothing"] {
        router.clone().oneshot(request("GET", target, &[])).await.unwrap();
    }
    let count = |labels: &[&str]| state.metrics.http_requests.with_label_values(labels).get();
    assert_eq!(count(&["/v1/topics/{topic}", "GET", "404"]), 2);
    assert_eq!(count(&["unmatched", "GET", "404"]), 1);
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_closes_idle_connections_and_returns() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let drain = tokio_util::sync::CancellationToken::new();
    let far = std::time::Duration::from_secs(600);
    let (state, _folder) = state(limits()).await;
    let serving = tokio::spawn(serve(listener, super::super::service(state), drain.clone(), MANY, far));
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 16];
    socket.read_exact(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    drain.cancel();
    assert_eq!(serving.await.unwrap(), 0);
    socket.read_to_end(&mut answer).await.unwrap();
}

#[tokio::test]
async fn connections_past_the_most_wait_until_others_have_ended() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const ASK: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let drain = tokio_util::sync::CancellationToken::new();
    let (state, _folder) = state(limits()).await;
    let serving = tokio::spawn(serve(listener, super::super::service(state), drain, 1, std::time::Duration::ZERO));
    let mut answer = vec![0; 16];
    let mut first = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut second = tokio::net::TcpStream::connect(address).await.unwrap();
    second.write_all(ASK).await.unwrap();
    for _ in 0..3 {
        first.write_all(ASK).await.unwrap();
        first.read_exact(&mut answer).await.unwrap();
        while first.try_read(&mut [0; 4_096]).is_ok() {}
        let nothing = second.try_read(&mut [0; 1]).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    }
    drop(first);
    second.read_exact(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    serving.abort();
}

#[tokio::test]
async fn a_client_that_sends_a_large_body_still_reads_its_refusal() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const BODY_BYTES: usize = 20_000_000;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut socket = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let drain = tokio_util::sync::CancellationToken::new();
    let (state, _folder) = state(limits()).await;
    let serving = tokio::spawn(serve(listener, super::super::service(state), drain, MANY, std::time::Duration::ZERO));
    let head = format!("POST /v1/topics/t/records HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&vec![b' '; BODY_BYTES]).await.unwrap();
    let mut answer = vec![0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    serving.abort();
}

/// What a client sees of a refusal: status, code, and what every answer carries.
fn seen(status: u16, headers: &http::HeaderMap, body: &[u8]) -> (u16, Value, [String; 3]) {
    let problem: Value = serde_json::from_slice(body).unwrap();
    let text = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    (status, problem["code"].clone(), ["x-request-id", "cache-control", "content-type"].map(text))
}

#[tokio::test]
async fn an_append_meets_past_the_router_what_it_meets_on_the_way_through_it() {
    let (state, _folder) = state(limits()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let drain = tokio_util::sync::CancellationToken::new();
    let far = std::time::Duration::from_secs(600);
    let serving = tokio::spawn(serve(listener, super::super::service(state.clone()), drain, MANY, far));
    let (client, router) = (reqwest::Client::new(), router(state.clone()));
    let long = "x".repeat(1_001);
    for (query, header, body, status) in [
        ("", ("origin", "http://evil.example"), "{}", 403),
        ("", ("host", "evil.example"), "{}", 421),
        ("?offsett=1", ("accept", "*/*"), "{}", 400),
        ("?ack=never", ("accept", "*/*"), "{}", 400),
        ("", ("producer-id", "p"), "{}", 400),
        ("", ("content-type", "text/plain"), "{}", 415),
        ("", ("accept", "text/csv"), "{}", 406),
        ("", ("accept", "*/*"), long.as_str(), 413),
        ("", ("accept", "*/*"), "{}", 404),
    ] {
        let target = format!("/v1/topics/none/records{query}");
        let mut straight = client.post(format!("http://{address}{target}")).header("x-request-id", "r-1");
        straight = straight.header(header.0, header.1).body(body.to_owned());
        let answer = straight.send().await.unwrap();
        let (code, headers) = (answer.status().as_u16(), answer.headers().clone());
        let straight = seen(code, &headers, &answer.bytes().await.unwrap());

        let length = body.len().to_string();
        let mut given = vec![("x-request-id", "r-1"), ("content-length", length.as_str()), header];
        if header.0 != "host" {
            given.push(("host", "127.0.0.1"));
        }
        let request = with_body("POST", &target, &given, Body::from(body.to_owned()));
        let answer = router.clone().oneshot(request).await.unwrap();
        let (code, headers) = (answer.status().as_u16(), answer.headers().clone());
        let routed = seen(code, &headers, &bytes_of(answer).await);
        assert_eq!(straight, routed, "{query} {header:?}");
        assert_eq!((straight.0, straight.2[0].as_str()), (status, "r-1"), "{query} {header:?}");
    }
    // Both ways are counted in the same series.
    let labels = ["/v1/topics/{topic}/records", "POST", "404"];
    assert_eq!(state.metrics.http_requests.with_label_values(&labels).get(), 2);
    serving.abort();
}
