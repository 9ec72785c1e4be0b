use super::*;

fn listing(origins: &[&str]) -> HttpLimits {
    HttpLimits { cors_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(), ..limits() }
}

fn called(method: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut all = vec![("host", "localhost:8080")];
    all.extend_from_slice(headers);
    request(method, "/livez", &all)
}

#[tokio::test]
async fn a_foreign_origin_is_403_unless_it_is_listed() {
    for (origin, origins, status) in [
        ("http://localhost:8080", &[][..], 200),
        ("http://evil.example", &[], 403),
        ("null", &[], 403),
        ("", &[], 403),
        ("http://localhost:3000", &[], 403),
        ("http://app.example", &["http://app.example"], 200),
        ("http://evil.example", &["http://app.example"], 403),
        ("http://app.example:81", &["http://app.example"], 403),
        ("https://any.example", &["*"], 200),
        ("null", &["*"], 200),
    ] {
        let response = send(listing(origins), called("GET", &[("origin", origin)])).await;
        assert_eq!(response.status().as_u16(), status, "{origin} {origins:?}");
        if status == 403 {
            assert_eq!(problem(response).await.1, "origin_not_allowed");
        }
    }
}

#[tokio::test]
async fn the_origin_is_checked_before_the_body_is_read() {
    let never = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let headers = [("origin", "http://evil.example"), ("host", "localhost")];
    let response = send(limits(), with_body("POST", "/test/body", &headers, never)).await;
    assert_eq!(problem(response).await.0, 403);
}

#[tokio::test]
async fn listed_origins_get_cors_answers_even_to_problems() {
    let listed = || listing(&["http://app.example"]);
    let response = send(listed(), called("GET", &[("origin", "http://app.example")])).await;
    assert_eq!(header_of(&response, "access-control-allow-origin"), "http://app.example");
    let exposed = header_of(&response, "access-control-expose-headers");
    for name in ["x-request-id", "etag", "location", "retry-after", "content-disposition", "persisting-tail-offset"] {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{name}");
    }
    let own = send(listed(), called("GET", &[("origin", "http://localhost:8080")])).await;
    assert_eq!(header_of(&own, "access-control-allow-origin"), "");
    let headers = [("origin", "http://app.example"), ("host", "localhost")];
    let missing = send(listed(), request("GET", "/v1/nothing", &headers)).await;
    assert_eq!(missing.status().as_u16(), 404);
    assert_eq!(header_of(&missing, "access-control-allow-origin"), "http://app.example");
    let panicked = send(listed(), request("GET", "/test/panic", &headers)).await;
    assert_eq!(header_of(&panicked, "access-control-allow-origin"), "http://app.example");
}

#[tokio::test]
async fn preflights_of_listed_origins_allow_all_request_headers() {
    let ask = |origin| {
        request(
            "OPTIONS",
            "/v1/topics/t/records",
            &[("host", "localhost"), ("origin", origin), ("access-control-request-method", "POST")],
        )
    };
    let response = send(listing(&["http://app.example"]), ask("http://app.example")).await;
    assert_eq!(response.status().as_u16(), 204);
    assert_eq!(header_of(&response, "access-control-allow-origin"), "http://app.example");
    assert!(header_of(&response, "access-control-allow-methods").contains("PATCH"));
    let allowed = header_of(&response, "access-control-allow-headers");
    for name in ["last-event-id", "idempotency-key", "producer-id", "if-match", "content-type", "x-request-id"] {
        assert!(allowed.split(", ").any(|allowed| allowed == name), "{name}");
    }
    let refused = send(listing(&["http://app.example"]), ask("http://evil.example")).await;
    assert_eq!(refused.status().as_u16(), 403);
}

#[tokio::test]
async fn a_loopback_listener_answers_to_loopback_names_only() {
    let (status, code, _) = problem(send(limits(), request("GET", "/livez", &[("host", "evil.example")])).await).await;
    assert_eq!((status, code.as_str()), (421, "host_not_allowed"));
    assert_eq!(send(limits(), request("GET", "/livez", &[("host", "[::1]:8080")])).await.status().as_u16(), 200);
    assert_eq!(send(limits(), request("GET", "http://evil.example/livez", &[])).await.status().as_u16(), 421);
    let public = HttpLimits { loopback: false, ..limits() };
    assert_eq!(send(public, request("GET", "/livez", &[("host", "log.example")])).await.status().as_u16(), 200);
}
