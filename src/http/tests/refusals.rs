use super::*;

async fn refused(request: Request<Body>) -> (u16, String, Value) {
    problem(send(limits(), request).await).await
}

#[tokio::test]
async fn the_request_itself_is_checked_before_the_topic_is_looked_for() {
    for (method, target, headers, status, code) in [
        ("GET", "/v1/topics/-bad/records", &[][..], 400, "invalid_topic_name"),
        ("GET", "/v1/topics/a%2Fb", &[], 400, "invalid_topic_name"),
        ("GET", "/v1/topics/%ff", &[], 400, "invalid_topic_name"),
        ("DELETE", "/v1/topics/a%20b", &[], 400, "invalid_topic_name"),
        ("POST", "/v1/topics/_x/tags", &[], 405, "method_not_allowed"),
        ("GET", "/v1/topics/_x/tags?a=1", &[], 400, "invalid_topic_name"),
        ("PUT", "/v1/topics/a.quarantine", &[], 400, "invalid_topic_name"),
        ("GET", "/v1/topics/t/records?ofset=1", &[], 400, "unknown_parameter"),
        ("GET", "/v1/topics/t?offset=1", &[], 400, "unknown_parameter"),
        ("GET", "/v1/topics/t/records?limit=10001", &[], 400, "invalid_parameter"),
        ("GET", "/v1/topics/t/records?limit=0", &[], 400, "invalid_parameter"),
        ("GET", "/v1/topics/t/records?wait=61", &[], 400, "invalid_parameter"),
        ("GET", "/v1/topics/t/records/x", &[], 400, "invalid_parameter"),
        ("GET", "/v1/topics/t/stream?heartbeat=0", &[], 400, "invalid_parameter"),
        ("GET", "/v1/topics/t/stream?block=no", &[], 400, "invalid_parameter"),
        ("GET", "/v1/topics/t/stream", &[("last-event-id", "x")], 400, "invalid_parameter"),
        ("GET", "/v1/topics/t/stream", &[("accept", "application/json")], 406, "not_acceptable"),
        ("GET", "/v1/topics/t/records", &[("accept", "image/png")], 406, "not_acceptable"),
        ("GET", "/v1/topics", &[("accept", "image/png")], 406, "not_acceptable"),
        ("GET", "/v1/topics?limit=0", &[], 400, "invalid_parameter"),
        ("GET", "/v1/topics?prefix=", &[], 400, "invalid_parameter"),
        ("PUT", "/v1/topics/t", &[("content-type", "text/plain")], 415, "unsupported_media_type"),
        ("POST", "/v1/topics/t/records", &[("content-type", "text/csv")], 415, "unsupported_media_type"),
        ("POST", "/v1/topics/t/records", &[("content-encoding", "br")], 415, "unsupported_media_type"),
        ("POST", "/v1/topics/t/records", &[("content-length", "1001")], 413, "body_too_large"),
        ("POST", "/v1/topics/t/records?ack=now", &[], 400, "invalid_parameter"),
        ("POST", "/v1/topics/t/records", &[("producer-id", "p")], 400, "invalid_parameter"),
        ("POST", "/v1/topics/t/records?atomic=false&close=true", &[], 400, "invalid_parameter"),
        ("POST", "/v1/topics/t/records?atomic=false", &[("idempotency-key", "k")], 400, "invalid_parameter"),
        ("PATCH", "/v1/topics/t", &[("if-match", "x")], 400, "invalid_parameter"),
    ] {
        let (got, word, _) = refused(request(method, target, headers)).await;
        assert_eq!((got, word.as_str()), (status, code), "{method} {target} {headers:?}");
    }
}

#[tokio::test]
async fn then_the_topic_must_exist_before_anything_is_told_of_its_backend() {
    for (method, target, headers) in [
        ("GET", "/v1/topics/t", &[][..]),
        ("HEAD", "/v1/topics/t", &[]),
        ("PATCH", "/v1/topics/t", &[]),
        ("GET", "/v1/topics/t/records?filter=a%3D1", &[]),
        ("GET", "/v1/topics/t/records?as_of=2026-01-01T00:00:00Z", &[]),
        ("GET", "/v1/topics/t/records", &[("accept", "application/vnd.apache.arrow.stream")]),
        ("POST", "/v1/topics/t/records", &[("content-type", "application/vnd.apache.arrow.stream")]),
        ("POST", "/v1/topics/t/records?atomic=false", &[("content-length", "99999999")]),
        ("GET", "/v1/topics/t/records/5", &[]),
        ("GET", "/v1/topics/t/stream", &[]),
        ("POST", "/v1/topics/t/flush", &[]),
        ("POST", "/v1/topics/t/trim", &[]),
        ("GET", "/v1/topics/t/stats", &[]),
        ("GET", "/v1/topics/t/schemas/latest", &[]),
        ("GET", "/v1/topics/t/versions?limit=1", &[]),
        ("PUT", "/v1/topics/t/tags/x", &[]),
        ("POST", "/v1/topics/t/search", &[]),
        ("GET", "/v1/topics/t/export?format=ndjson", &[]),
    ] {
        let response = send(limits(), request(method, target, headers)).await;
        if method == "HEAD" {
            assert_eq!(response.status().as_u16(), 404);
            assert!(bytes_of(response).await.is_empty());
        } else {
            let (status, code, _) = problem(response).await;
            assert_eq!((status, code.as_str()), (404, "topic_not_found"), "{method} {target}");
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_problems() {
    for target in ["/", "/v1", "/v1/topics/t/nothing", "/v1/topics/t/records/", "/v2/topics"] {
        assert_eq!(refused(request("GET", target, &[])).await.1, "not_found", "{target}");
    }
    for (method, target, allow) in [
        ("POST", "/v1/topics/t", "PUT, GET, HEAD, PATCH, DELETE"),
        ("DELETE", "/v1/topics/t/records", "POST, GET, HEAD"),
        ("OPTIONS", "/livez", "GET, HEAD"),
        ("BREW", "/v1/query", "POST"),
    ] {
        let response = send(limits(), request(method, target, &[])).await;
        assert_eq!(header_of(&response, "allow"), allow);
        assert_eq!(problem(response).await.1, "method_not_allowed");
    }
}

#[tokio::test]
async fn bodies_that_are_not_what_the_operation_takes_say_why() {
    let put = |body: &'static str| with_body("PUT", "/v1/topics/t", &[], Body::from(body));
    let (status, code, body) = refused(put("{\"a\":\n  x}")).await;
    assert_eq!((status, code.as_str()), (400, "invalid_json"));
    assert_eq!(body["line"], 2);
    assert!(body["column"].as_u64().unwrap() >= 1);
    let (_, code, body) = refused(put("{\"bakend\":\"memory\"}")).await;
    assert_eq!(code, "invalid_body");
    assert!(body["allowed"].as_array().unwrap().contains(&"backend".into()));
    for wrong in ["[]", "{\"backend\":3}", "{\"retention\":[]}", "{\"schema_mode\":\"loose\"}"] {
        assert_eq!(refused(put(wrong)).await.1, "invalid_body", "{wrong}");
    }
    let memory = put("{\"backend\":\"memory\",\"on_invalid\":\"quarantine\"}");
    assert_eq!(refused(memory).await.1, "unsupported_by_backend");
    for sound in ["", "{}", "{\"backend\":null,\"retention\":null}"] {
        assert_eq!(send(limits(), put(sound)).await.status().as_u16(), 201, "{sound}");
    }
}

#[tokio::test]
async fn a_panic_is_a_500_problem() {
    let (status, code, body) = refused(request("GET", "/test/panic", &[])).await;
    assert_eq!((status, code.as_str(), &body["retryable"]), (500, "internal", &true.into()));
}
