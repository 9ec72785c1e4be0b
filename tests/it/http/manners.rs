//! What holds for every operation.

use serde_json::json;

use crate::support::api::{JSON, allowed};
use crate::support::local::shared;

#[tokio::test]
async fn an_unknown_repeated_or_empty_parameter_is_400_on_every_operation() {
    let api = shared().await;
    let topic = api.topic("memory").await;
    topic.append("{}").await;
    let operations = [
        ("GET", "/v1/backends".to_owned()),
        ("GET", "/v1/backends/memory".to_owned()),
        ("GET", "/v1/topics".to_owned()),
        ("GET", topic.at("")),
        ("PUT", topic.at("")),
        ("PATCH", topic.at("")),
        ("DELETE", topic.at("")),
        ("POST", topic.at("records")),
        ("GET", topic.at("records")),
        ("GET", topic.at("records/0")),
        ("GET", topic.at("stream")),
        ("POST", topic.at("flush")),
        ("GET", topic.at("stats")),
        ("GET", topic.at("count")),
        ("POST", topic.at("close")),
        ("POST", topic.at("trim")),
        ("GET", topic.at("schemas")),
        ("POST", topic.at("schemas")),
        ("POST", topic.at("compact")),
        ("GET", topic.at("versions")),
        ("GET", topic.at("export")),
        ("POST", "/v1/query".to_owned()),
    ];
    for (method, path) in operations {
        let problem = api.call(method, &format!("{path}?ofset=1"), &[], "").await.problem(400, "unknown_parameter");
        assert!(problem["detail"].as_str().unwrap().contains("ofset"), "{problem}");
        let known = allowed(&problem);
        if let Some(name) = known.first() {
            for query in [format!("{name}="), format!("{name}=1&{name}=1"), (*name).to_owned()] {
                api.call(method, &format!("{path}?{query}"), &[], "").await.problem(400, "invalid_parameter");
            }
        }
    }
    assert_eq!(topic.get("").await.expect(200).json()["state"], "open");
    let read = api.get(&topic.at("records?x=1")).await.problem(400, "unknown_parameter");
    for name in ["offset", "since", "epoch", "limit", "wait", "fields", "filter"] {
        assert!(allowed(&read).contains(&name), "{read}");
    }
}

#[tokio::test]
async fn an_unknown_member_or_option_is_400() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    for (method, rest, body) in [
        ("PUT", "", json!({"backnd": "memory"})),
        ("PUT", "", json!({"retention": {"max_rows": 1}})),
        ("PATCH", "", json!({"retentoin": {}})),
        ("POST", "trim", json!({"before": 0, "after": 1})),
        ("POST", "flush", json!({"now": true})),
        ("POST", "close", json!({"reason": ""})),
    ] {
        let problem = topic.call(method, rest, JSON, body.to_string()).await.problem(400, "invalid_body");
        assert!(problem["allowed"].is_array(), "{problem}");
    }
    for method in ["PUT", "PATCH"] {
        let body = json!({"backend_options": {"enable_wall": true}}).to_string();
        let problem = topic.call(method, "", JSON, body).await.problem(400, "invalid_body");
        assert!(allowed(&problem).contains(&"enable_wal"), "{problem}");
    }
}

#[tokio::test]
async fn an_invalid_topic_name_is_400_on_every_method() {
    let api = shared().await;
    let long = "x".repeat(129);
    for name in ["-x", ".x", "_x", "a%20b", "a%2Fb", "%C3%A4", "a*b", "%00", "%FF", long.as_str()] {
        for (method, rest) in [
            ("PUT", ""),
            ("GET", ""),
            ("HEAD", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/records"),
            ("GET", "/records"),
            ("GET", "/records/0"),
            ("GET", "/stream"),
            ("POST", "/flush"),
            ("GET", "/stats"),
            ("GET", "/count"),
            ("POST", "/close"),
            ("POST", "/trim"),
            ("GET", "/schemas"),
            ("GET", "/schemas/latest"),
            ("POST", "/schemas"),
            ("GET", "/tags"),
            ("POST", "/search"),
        ] {
            let answer = api.call(method, &format!("/v1/topics/{name}{rest}"), &[], "").await;
            if method == "HEAD" {
                assert_eq!(answer.status, 400);
            } else {
                answer.problem(400, "invalid_topic_name");
            }
        }
    }
    let longest = api.named(&format!("A9._-{}", "x".repeat(123)));
    longest.call("PUT", "", &[], r#"{"backend":"memory"}"#).await.expect(201);
    longest.call("DELETE", "", &[], "").await.expect(204);
}

#[tokio::test]
async fn a_name_that_ends_in_quarantine_cannot_be_created() {
    let api = shared().await;
    let topic = api.named("x.quarantine");
    topic.call("PUT", "", &[], "").await.problem(400, "invalid_topic_name");
    topic.get("").await.problem(404, "topic_not_found");
    topic.post("records", "{}").await.problem(404, "topic_not_found");
}

#[tokio::test]
async fn json_is_read_from_its_media_types_and_no_others() {
    let api = shared().await;
    let topic = api.topic("memory").await;
    let put = json!({"backend": "memory"}).to_string();
    for given in [
        "application/json",
        "application/vnd.x+json",
        "Application/JSON; charset=utf-8",
        "application/x-www-form-urlencoded",
    ] {
        topic.call("PUT", "", &[("content-type", given)], put.clone()).await.expect(200);
        topic.call("POST", "trim", &[("content-type", given)], r#"{"before":0}"#).await.expect(200);
    }
    topic.call("PUT", "", &[], put.clone()).await.expect(200);
    for given in ["text/plain", "application/xml", "application/x-ndjson", "multipart/form-data"] {
        for (method, rest, body) in
            [("PUT", "", put.as_str()), ("PATCH", "", "{}"), ("POST", "trim", r#"{"before":0}"#)]
        {
            let problem = topic.call(method, rest, &[("content-type", given)], body).await;
            assert!(!allowed(&problem.problem(415, "unsupported_media_type")).is_empty());
        }
    }
    let problem = topic.refuse("", &[("content-type", "text/plain")], "{}", (415, "unsupported_media_type")).await;
    assert!(allowed(&problem).contains(&"application/x-ndjson"), "{problem}");
}

#[tokio::test]
async fn an_accept_that_cannot_be_met_is_406_with_what_can() {
    let api = shared().await;
    let topic = api.topic("memory").await;
    topic.append("{}").await;
    for rest in ["", "records", "records/0", "stats", "count", "stream", "stream?block=false"] {
        let problem = topic.call("GET", rest, &[("accept", "image/png")], "").await.problem(406, "not_acceptable");
        assert!(!allowed(&problem).is_empty());
    }
    for path in ["/v1/topics", "/v1/backends", "/livez", "/version", "/metrics", "/openapi.json"] {
        api.call("GET", path, &[("accept", "image/png")], "").await.problem(406, "not_acceptable");
    }
    topic.refuse("", &[("accept", "image/png")], "{}", (406, "not_acceptable")).await;
    for accept in ["*/*", "text/html", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json"] {
        for rest in ["", "records", "records/0", "stats"] {
            let answer = topic.call("GET", rest, &[("accept", accept)], "").await.expect(200);
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    }
    for accept in ["*/*", "text/html", "text/event-stream"] {
        let answer = topic.call("GET", "stream?block=false", &[("accept", accept)], "").await.expect(200);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    }
}

#[tokio::test]
async fn head_works_wherever_get_does() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    topic.append(r#"{"a":1}"#).await;
    let mut paths: Vec<String> =
        ["", "records", "records/0", "stats", "count", "schemas", "schemas/1", "schemas/latest"]
            .map(|rest| topic.at(rest))
            .to_vec();
    paths.extend(
        [
            "/v1/topics",
            "/v1/backends",
            "/v1/backends/memory",
            "/livez",
            "/readyz",
            "/metrics",
            "/version",
            "/openapi.yaml",
            "/openapi.json",
        ]
        .map(str::to_owned),
    );
    for path in paths {
        let (get, head) = (api.get(&path).await, api.call("HEAD", &path, &[], "").await);
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert_eq!(get.status, 200, "{path}");
        if !path.contains("metrics") && !path.contains("stats") {
            assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
        }
    }
    let stream = topic.call("HEAD", "stream", &[], "").await.expect(200);
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(topic.call("HEAD", "records/7", &[], "").await.status, 416);
    let head = topic.call("HEAD", "", &[], "").await;
    for (name, value) in
        [("persisting-tail-offset", "1"), ("persisting-earliest-offset", "0"), ("persisting-state", "open")]
    {
        assert_eq!(head.header(name), Some(value));
    }
    let epoch = topic.get("").await.json()["epoch"].to_string();
    assert_eq!(head.header("persisting-epoch"), Some(epoch.as_str()));
}

#[tokio::test]
async fn an_unknown_route_is_404_and_a_wrong_method_405_with_allow() {
    let api = shared().await;
    for path in ["/", "/v1", "/v1/", "/v2/topics", "/v1/topics/x/y/z/w", "/v1/topics/x/nothing", "/favicon.ico"] {
        for method in ["GET", "POST"] {
            api.call(method, path, &[], "").await.problem(404, "not_found");
        }
    }
    for (method, path, allow) in [
        ("POST", "/v1/topics/x", "DELETE, GET, HEAD, PATCH, PUT"),
        ("POST", "/v1/topics", "GET, HEAD"),
        ("PUT", "/v1/topics/x/records", "GET, HEAD, POST"),
        ("DELETE", "/v1/topics/x/records/0", "GET, HEAD"),
        ("GET", "/v1/topics/x/flush", "POST"),
        ("POST", "/v1/topics/x/stream", "GET, HEAD"),
        ("POST", "/livez", "GET, HEAD"),
        ("OPTIONS", "/v1/topics", "GET, HEAD"),
        ("BREW", "/v1/topics", "GET, HEAD"),
    ] {
        let answer = api.call(method, path, &[], "").await;
        let problem = answer.problem(405, "method_not_allowed");
        let mut given: Vec<&str> = answer.header("allow").unwrap().split(", ").collect();
        given.sort_unstable();
        assert_eq!(given.join(", "), allow, "{method} {path}");
        assert_eq!(allowed(&problem).len(), given.len());
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id_the_clients_if_it_can_be_one() {
    let api = shared().await;
    let topic = api.topic("memory").await;
    let longest = "~".repeat(128);
    for (given, taken) in [("a", true), ("!~", true), (longest.as_str(), true), ("a b", false), ("", false)] {
        for (method, path) in [
            ("GET", "/livez".to_owned()),
            ("GET", topic.at("")),
            ("GET", "/nowhere".to_owned()),
            ("BREW", topic.at("")),
            ("POST", topic.at("records")),
        ] {
            let answer = api.call(method, &path, &[("x-request-id", given)], "").await;
            let id = answer.header("x-request-id").unwrap();
            assert!(!id.is_empty() && (id == given) == taken, "{given:?} {id:?}");
            if answer.status.as_u16() >= 400 {
                assert_eq!(answer.json()["instance"], id);
            }
        }
    }
    let long = "x".repeat(129);
    assert_ne!(
        api.call("GET", "/livez", &[("x-request-id", &long)], "").await.header("x-request-id"),
        Some(long.as_str())
    );
    let (first, second) = (api.get("/livez").await, api.get("/livez").await);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    assert!(
        topic.call("GET", "stream?block=false", &[("x-request-id", "s-1")], "").await.header("x-request-id")
            == Some("s-1")
    );
}

#[tokio::test]
async fn problems_of_bodies_have_line_and_column() {
    let api = shared().await;
    let topic = api.topic("memory").await;
    for (method, rest) in [("PUT", ""), ("PATCH", ""), ("POST", "trim"), ("POST", "flush"), ("POST", "close")] {
        let problem = topic.call(method, rest, JSON, "{\n \"a\": nul}").await.problem(400, "invalid_json");
        assert_eq!(problem["line"], 2, "{problem}");
        assert!(problem["column"].as_u64().unwrap() > 0, "{problem}");
        topic.call(method, rest, JSON, "[]").await.problem(400, "invalid_body");
    }
}

#[tokio::test]
async fn a_media_type_is_given_once_and_what_has_no_byte_is_empty_in_any_encoding() {
    let api = shared().await;
    let topic = api.topic("memory").await;
    let two = [("content-type", "application/json"), ("content-type", "application/x-ndjson")];
    for (method, rest, body) in [("POST", "records", "{}"), ("PUT", "", "{}"), ("POST", "trim", r#"{"before":0}"#)] {
        topic.call(method, rest, &two, body).await.problem(400, "invalid_parameter");
    }
    for encoding in ["gzip", "zstd", "identity"] {
        let encoded = [("content-encoding", encoding)];
        topic.call("POST", "flush", &encoded, "").await.expect(200);
        topic.call("POST", "records", &encoded, "").await.problem(400, "empty_batch");
        topic.call("POST", "records?atomic=false", &encoded, "").await.problem(400, "empty_batch");
    }
    assert_eq!(topic.tail().await, 0);
}
