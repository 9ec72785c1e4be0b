//! The short operations, and those of the server.

use serde_json::{Value, json};

use crate::support::local::shared;

#[tokio::test]
async fn a_flush_commits_all_that_was_acknowledged_before() {
    let api = shared().await;
    let memory = api.topic("memory").await;
    memory.append("{}").await;
    assert_eq!(memory.post("flush", "").await.expect(200).json(), json!({"committed_offset": null, "version": null}));
    for backend in ["lance", "persisting"] {
        let topic = api.topic(backend).await;
        let empty = topic.post("flush", "").await.expect(200).json();
        assert_eq!(empty["committed_offset"], 0, "{empty}");
        topic.append("{\"a\":1}{\"a\":2}").await;
        let first = topic.post("flush", "{}").await.expect(200).json();
        assert_eq!(first["committed_offset"], 2);
        assert!(first["version"].as_u64().unwrap() > 0);
        assert_eq!(topic.post("flush", "").await.expect(200).json(), first, "nothing new: the same version");
        topic.append("{\"a\":3}").await;
        let second = topic.post("flush", "").await.expect(200).json();
        assert_eq!(second["committed_offset"], 3);
        assert!(second["version"].as_u64() > first["version"].as_u64());
    }
}

#[tokio::test]
async fn closing_is_final_and_can_be_repeated() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        topic.append("{}{}").await;
        for _ in 0..2 {
            assert_eq!(topic.post("close", "").await.expect(200).json(), json!({"state": "closed", "next_offset": 2}));
        }
        let description = topic.get("").await;
        assert_eq!(
            (&description.json()["state"], description.header("persisting-state")),
            (&json!("closed"), Some("closed"))
        );
        topic.post("records", "{}").await.problem(409, "topic_closed");
        let page = topic.get("records").await.expect(200).json();
        assert_eq!((&page["closed"], page["records"].as_array().unwrap().len()), (&json!(true), 2));
        // All but appends goes on.
        topic.post("flush", "").await.expect(200);
        topic.post("trim", "{\"before\":1}").await.expect(200);
        topic.call("PATCH", "", &[], r#"{"retention":{"max_records":5}}"#).await.expect(200);
        topic.call("PUT", "", &[], "").await.expect(200);
        assert_eq!(topic.get("").await.json()["state"], "closed");
        topic.call("DELETE", "", &[], "").await.expect(204);
    }
}

#[tokio::test]
async fn trim_moves_earliest_and_count_is_tail_minus_earliest() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        topic.append("{\"a\":1}".repeat(10)).await;
        topic.wait_for_tail(10).await;
        let trim = async |before: Value| topic.post("trim", json!({"before": before}).to_string()).await;
        assert_eq!(topic.get("count").await.expect(200).json(), json!({"total_count": 10}));
        for (before, earliest) in [(0, 0), (4, 4), (2, 4), (4, 4), (10, 10), (10, 10)] {
            assert_eq!(trim(json!(before)).await.expect(200).json(), json!({"earliest_offset": earliest}));
            assert_eq!(topic.get("count").await.json(), json!({"total_count": 10 - earliest}));
        }
        let problem = trim(json!(11)).await.problem(416, "offset_out_of_range");
        assert_eq!(problem["tail_offset"], 10);
        for wrong in [json!(-1), json!(1.5), json!(9_007_199_254_740_992_u64)] {
            trim(wrong).await.problem(400, "invalid_parameter");
        }
        for wrong in [json!("1"), Value::Null] {
            trim(wrong).await.problem(400, "invalid_body");
        }
        topic.post("trim", "").await.problem(400, "invalid_body");
        topic.append("{\"a\":2}").await;
        topic.wait_for_tail(11).await;
        assert_eq!(topic.values(10).await, ["{\"a\":2}"]);
        let description = topic.get("").await.json();
        assert_eq!((&description["earliest_offset"], &description["tail_offset"]), (&json!(10), &json!(11)));
    }
}

#[tokio::test]
async fn stats_have_every_member_and_null_for_what_a_backend_lacks() {
    let api = shared().await;
    let members = "topic backend total_count earliest_offset tail_offset committed_offset epoch buffered_records buffered_bytes \
        raw_bytes stored_bytes wal_bytes fragments versions schema_version streams";
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        topic.append("{\"a\":1}{\"a\":2}{\"a\":3}").await;
        topic.wait_for_tail(3).await;
        topic.post("trim", "{\"before\":1}").await.expect(200);
        let stats = topic.get("stats").await.expect(200).json();
        for member in members.split_whitespace() {
            assert!(stats.get(member).is_some(), "{member}: {stats}");
        }
        assert_eq!((&stats["topic"], &stats["backend"]), (&json!(topic.name), &json!(backend)));
        let counts =
            ["total_count", "earliest_offset", "tail_offset", "streams"].map(|member| stats[member].as_u64().unwrap());
        assert_eq!(counts, [2, 1, 3, 0]);
        assert_eq!(stats["epoch"], topic.get("").await.json()["epoch"]);
        assert!(
            stats["buffered_records"].as_u64().unwrap() <= 3 && stats["raw_bytes"].as_u64().unwrap() >= 14,
            "{stats}"
        );
        topic.post("flush", "").await.expect(200);
        let stats = topic.get("stats").await.expect(200).json();
        let disk = ["committed_offset", "stored_bytes", "fragments", "versions", "schema_version"];
        assert!(disk.iter().all(|member| stats[*member].is_null() == (backend == "memory")), "{stats}");
        assert_eq!(stats["wal_bytes"].is_null(), backend != "persisting", "{stats}");
        if backend != "memory" {
            assert_eq!((&stats["committed_offset"], &stats["fragments"]), (&json!(3), &json!(1)));
            assert!(stats["stored_bytes"].as_u64().unwrap() > 0, "{stats}");
        }
        let mut stream = crate::support::sse::Sse::open(&topic, "", &[]).await;
        stream.events(2).await;
        assert_eq!(topic.get("stats").await.json()["streams"], 1);
        drop(stream);
        crate::support::api::until("the stream has gone", async || topic.get("stats").await.json()["streams"] == 0)
            .await;
    }
}

#[tokio::test]
async fn the_server_tells_of_itself() {
    let api = shared().await;
    assert_eq!(api.get("/livez").await.expect(200).json()["status"], "live");
    assert_eq!(api.get("/readyz").await.expect(200).json()["status"], "ready");
    let verbose = api.get("/readyz?verbose").await.expect(200).json();
    assert!(verbose["degraded"].is_array(), "{verbose}");
    assert!(api.get("/version").await.expect(200).json()["version"].is_string());
    let yaml = api.get("/openapi.yaml").await.expect(200);
    assert!(yaml.text().starts_with("openapi: ") || yaml.text().contains("\nopenapi: "));
    assert!(
        api.get("/openapi.json").await.expect(200).json()["paths"]["/v1/topics/{topic}/records"]["post"].is_object()
    );
    assert_eq!(api.call("GET", "/metrics", &[("accept", "text/plain")], "").await.expect(200).status, 200);
}

#[tokio::test]
async fn a_flush_covers_what_was_accepted_the_moment_before() {
    use persisting::codec::{Body, Form};
    use persisting::model::{Ack, TopicName, Writer};
    use persisting::topic::{AppendRequest, CreateTopic};
    let (server, _folder) = crate::support::local::Local::fresh().await;
    let name = TopicName::parse("accepted").unwrap();
    server.engine().create(&name, CreateTopic::default()).await.unwrap();
    let topic = server.engine().topic(&name).await.unwrap();
    for round in 1..=4 {
        let body = "{\"a\":1}".into();
        let ack = Some(Ack::Accepted);
        let body = Body::text(body, Form::Json);
        let ask = AppendRequest { body, ack, expected_offset: None, close: false, writer: Writer::Plain };
        topic.append(ask).await.unwrap();
        let committed = topic.flush().await.unwrap().committed_offset.unwrap().get();
        assert_eq!(committed, round);
    }
}
