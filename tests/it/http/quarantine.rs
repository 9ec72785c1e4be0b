//! Records that do not fit, kept in a topic beside.

use std::sync::Arc;

use arrow_array::Float64Array;
use serde_json::{Value, json};

use super::registry::{flush, post};
use crate::support::api::{Api, JSON, Topic, allowed};
use crate::support::arrow::{SENT, rows as arrow_rows};
use crate::support::local::{Setup, shared};

/// A topic with a quarantine that takes an int64 `n` and a string `s`.
async fn strict(api: &Api) -> Topic {
    let fields = json!({"fields": [{"name": "n", "type": "int64"}, {"name": "s", "type": "string"}]});
    api.make(json!({"schema": fields, "schema_mode": "strict", "on_invalid": "quarantine"})).await
}

fn quarantine(topic: &Topic) -> Topic {
    topic.api.named(&format!("{}.quarantine", topic.name))
}

/// The original bytes of what a topic's quarantine holds.
async fn kept(topic: &Topic) -> Vec<String> {
    let values = quarantine(topic).values_from_earliest().await;
    values.iter().map(|value| value["body"].as_str().unwrap().to_owned()).collect()
}

async fn replay(topic: &Topic) -> (u64, u64) {
    let answer = topic.post("quarantine/replay", "").await.expect(200).json();
    (answer["replayed"].as_u64().unwrap(), answer["left"].as_u64().unwrap())
}

#[tokio::test]
async fn what_fits_is_stored_and_the_rest_is_kept_with_its_reason() {
    let topic = strict(&shared().await).await;
    let body = "{\"n\":1}\n{\"n\": \"x\" ,\"s\":\"a\"}\n\n{\"n\":2,\"n\":3}\r\n[7]\n{\"n\":4}\n{\"n\":1.5}\n{\"s\":{\"a/b\":1}}\n";
    let ndjson = [("content-type", "application/x-ndjson")];
    let answer = topic.append_with(&ndjson, body).await.expect(207);
    let told = answer.json();
    let members = ["first_offset", "last_offset", "next_offset", "count", "schema_version", "quarantined"];
    assert_eq!(members.map(|member| told[member].as_u64()), [Some(0), Some(1), Some(2), Some(2), Some(1), Some(5)]);
    assert_eq!((told["topic"].as_str(), told["durability"].as_str()), (Some(topic.name.as_str()), Some("wal")));
    assert!(told.get("duplicate").is_none());
    let bodies = ["{\"n\": \"x\" ,\"s\":\"a\"}", "{\"n\":2,\"n\":3}", "[7]", "{\"n\":1.5}", "{\"s\":{\"a/b\":1}}"];
    for _ in 0..2 {
        assert_eq!(topic.values(0).await, ["{\"n\":1}", "{\"n\":4}"]);
        let values = quarantine(&topic).values_from_earliest().await;
        let reasons = [
            ("schema_conflict", "/n", 1),
            ("invalid_record", "", 2),
            ("invalid_record", "", 3),
            ("invalid_record", "/n", 5),
            ("schema_conflict", "/s", 6),
        ];
        for ((value, body), (code, pointer, record)) in values.iter().zip(bodies).zip(reasons) {
            assert_eq!((&value["body"], &value["code"]), (&json!(body), &json!(code)), "{value}");
            assert_eq!((&value["pointer"], &value["record"]), (&json!(pointer), &json!(record)), "{value}");
            assert!(value["detail"].as_str().unwrap().len() > 10, "{value}");
            assert_eq!(value["quarantined_at"].as_str().unwrap().len(), 27, "{value}");
        }
        assert_eq!(values.len(), bodies.len());
        flush(&topic).await;
        flush(&quarantine(&topic)).await;
    }
    // The whole of a batch may go there, and a batch without fault is answered as ever.
    let told = topic.post("records", "{\"n\":true}").await.expect(207).json();
    assert_eq!(members.map(|member| told[member].as_u64()), [None, None, None, Some(0), Some(1), Some(1)]);
    assert!(told["first_offset"].is_null() && told["last_offset"].is_null() && told["next_offset"].is_null());
    let told = topic.post("records", "{\"n\":5}").await.expect(200).json();
    assert!(told.get("quarantined").is_none());
    assert_eq!((topic.tail().await, quarantine(&topic).tail().await), (3, 6));
}

#[tokio::test]
async fn what_no_record_is_at_fault_for_is_refused_whole() {
    let topic = strict(&shared().await).await;
    topic.refuse("", JSON, "[{\"n\":\"x\"},{]", (400, "invalid_json")).await;
    topic.refuse("", JSON, "[]", (400, "empty_batch")).await;
    topic.refuse("?expected_offset=7", JSON, "[{\"n\":\"x\"}]", (412, "offset_mismatch")).await;
    let key = [("idempotency-key", "k"), ("content-type", "application/json")];
    topic.append_with(&key, "{\"n\":1}").await.expect(200);
    topic.refuse("", &key, "{\"n\":\"x\"}", (422, "idempotency_mismatch")).await;
    quarantine(&topic).get("").await.problem(404, "topic_not_found");
    let many: serde_json::Map<String, Value> = (0..1_001).map(|n| (format!("k{n}"), json!(n))).collect();
    let evolving = shared().await.make(json!({"on_invalid": "quarantine"})).await;
    evolving.refuse("", JSON, Value::Object(many).to_string(), (422, "too_many_columns")).await;
    topic.post("close", "").await.expect(200);
    topic.refuse("", JSON, "{\"n\":\"x\"}", (409, "topic_closed")).await;
}

#[tokio::test]
async fn a_retry_of_a_quarantined_request_has_its_answer_and_keeps_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Setup::new(folder.path()).start().await;
    let topic = strict(&server.api()).await;
    let key = |name: &'static str| [("idempotency-key", name)];
    let producer = |seq: &'static str| [("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", seq)];
    let mixed = "{\"n\":1}{\"n\":\"x\"}{\"n\":2}";
    let mut answers = Vec::new();
    answers.push(topic.append_with(&key("mixed"), mixed).await.expect(207).json());
    answers.push(topic.append_with(&key("bad"), "{\"n\":\"y\"}").await.expect(207).json());
    answers.push(topic.append_with(&producer("0"), "{\"n\":\"z\"}").await.expect(207).json());
    answers.push(topic.append_with(&producer("1"), mixed).await.expect(207).json());
    answers.push(topic.append_with(&key("good"), "{\"n\":3}").await.expect(200).json());
    let before = (topic.values(0).await, kept(&topic).await);
    assert_eq!((before.0.len(), before.1.len()), (5, 4));
    for restarts in 0..3 {
        let topic = server.api().named(&topic.name);
        let again = [
            topic.append_with(&key("mixed"), mixed).await.expect(207).json(),
            topic.append_with(&key("bad"), "{\"n\":\"y\"}").await.expect(207).json(),
            topic.append_with(&producer("0"), "{\"n\":\"z\"}").await.expect(207).json(),
            topic.append_with(&producer("1"), mixed).await.expect(207).json(),
            topic.append_with(&key("good"), "{\"n\":3}").await.expect(200).json(),
        ];
        for (again, answer) in again.iter().zip(&answers) {
            assert_eq!(again["duplicate"], true, "{again}");
            let mut original = again.clone();
            original.as_object_mut().unwrap().remove("duplicate");
            original["durability"] = answer["durability"].clone();
            assert_eq!(original, *answer);
        }
        assert_eq!((topic.values(0).await, kept(&topic).await), before, "after {restarts} restarts");
        if restarts == 0 {
            flush(&topic).await;
        }
        server.stop().await;
        server = Setup::new(folder.path()).start().await;
    }
}

#[tokio::test]
async fn a_replay_takes_what_fits_by_now_and_leaves_the_rest() {
    let topic = strict(&shared().await).await;
    assert_eq!(replay(&topic).await, (0, 0));
    topic
        .post("records", "[{\"n\":1},{\"n\":\"x\"},{\"n\":2,\"new\":true},{\"n\":3,\"new\":\"t\"},7]")
        .await
        .expect(207);
    let first = quarantine(&topic).values_from_earliest().await;
    for _ in 0..2 {
        assert_eq!(replay(&topic).await, (0, 4));
        assert_eq!(quarantine(&topic).get("").await.json()["earliest_offset"], 0);
    }
    post(&topic, json!([{"op": "add", "path": "new", "to": {"type": "bool"}}])).await;
    for expected in [(1, 3), (0, 3)] {
        assert_eq!(replay(&topic).await, expected);
        assert_eq!(topic.values(0).await, ["{\"n\":1}", "{\"n\":2,\"new\":true}"]);
        assert_eq!(kept(&topic).await, ["{\"n\":\"x\"}", "{\"n\":3,\"new\":\"t\"}", "7"]);
    }
    // Where it came from is told on, why it does not fit is told anew.
    let left = quarantine(&topic).values_from_earliest().await;
    assert_eq!((&left[1]["record"], &left[1]["quarantined_at"]), (&json!(3), &first[2]["quarantined_at"]));
    assert!(first[2]["detail"] != left[1]["detail"] && left[1]["pointer"] == "/new", "{}", left[1]);
    post(&topic, json!([{"op": "drop", "path": "n"}, {"op": "add", "path": "n", "to": {"type": "json"}}])).await;
    assert_eq!(replay(&topic).await, (1, 2));
    assert_eq!(topic.values(2).await, ["{\"n\":\"x\"}"]);
    topic.post("close", "").await.expect(200);
    assert_eq!(replay(&topic).await, (0, 2));
}

#[tokio::test]
async fn a_long_quarantine_is_replayed_in_order_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(folder.path()).start().await;
    let topic = strict(&server.api()).await;
    let body: String = (0..3_500)
        .map(|n| format!("{{\"s\":{}}}\n", if n % 7 == 0 { format!("[{n}]") } else { n.to_string() }))
        .collect();
    let ndjson = [("content-type", "application/x-ndjson")];
    let told = topic.append_with(&ndjson, body).await.expect(207).json();
    assert_eq!((&told["count"], &told["quarantined"]), (&json!(0), &json!(3_500)));
    post(&topic, json!([{"op": "drop", "path": "s"}, {"op": "add", "path": "s", "to": {"type": "int64"}}])).await;
    let two = tokio::join!(replay(&topic), replay(&topic));
    assert_eq!((two.0.0 + two.1.0, two.0.1.min(two.1.1)), (3_000, 500));
    let expected: Vec<String> = (0..3_500).filter(|n| n % 7 != 0).map(|n| format!("{{\"s\":{n}}}")).collect();
    assert_eq!(topic.values(0).await, expected);
    assert_eq!(kept(&topic).await, (0..3_500).step_by(7).map(|n| format!("{{\"s\":[{n}]}}")).collect::<Vec<_>>());
    server.stop().await;
    let server = Setup::new(folder.path()).start().await;
    let topic = server.api().named(&topic.name);
    assert_eq!(replay(&topic).await, (0, 500));
    assert_eq!(topic.values(0).await, expected);
}

#[tokio::test]
async fn columns_evolve_by_what_fits_only() {
    let topic = shared().await.make(json!({"on_invalid": "quarantine"})).await;
    topic.append("{\"n\":9007199254740993}").await;
    let told = topic.post("records", "[{\"n\":1.5,\"no\":1},{\"n\":2,\"yes\":1}]").await.expect(207).json();
    assert_eq!((&told["count"], &told["quarantined"], &told["schema_version"]), (&json!(1), &json!(1), &json!(2)));
    assert_eq!(topic.values(1).await, ["{\"n\":2,\"yes\":1}"]);
    let fields = topic.get("schemas/latest").await.json()["fields"].clone();
    assert_eq!(fields.as_array().unwrap().iter().map(|field| &field["name"]).collect::<Vec<_>>(), ["n", "yes"]);
}

#[tokio::test]
async fn a_load_in_pieces_quarantines_as_it_goes() {
    let topic = strict(&shared().await).await;
    let line = |n: u64| {
        if n.is_multiple_of(1_000) || n >= 20_000 { format!("{{\"n\":\"{n}\"}}\n") } else { format!("{{\"n\":{n}}}\n") }
    };
    let body: String = (0..31_000).map(line).collect();
    let ndjson = [("content-type", "application/x-ndjson")];
    let told = topic.call("POST", "records?atomic=false", &ndjson, body).await.expect(207).json();
    let members = ["first_offset", "last_offset", "next_offset", "count", "quarantined"];
    assert_eq!(members.map(|member| told[member].as_u64()), [0, 19_979, 19_980, 19_980, 11_020].map(Some));
    assert_eq!((topic.tail().await, quarantine(&topic).tail().await), (19_980, 11_020));
}

#[tokio::test]
async fn the_quarantine_is_a_topic_whose_records_are_the_service_s() {
    let api = shared().await;
    let topic = strict(&api).await;
    let beside = quarantine(&topic);
    beside.get("").await.problem(404, "topic_not_found");
    topic.post("records", "{\"n\":\"x\"}").await.expect(207);
    let told = beside.get("").await.expect(200).json();
    assert_eq!((&told["backend"], &told["on_invalid"]), (&json!("persisting"), &Value::Null));
    let listed = api.get(&format!("/v1/topics?prefix={}", topic.name)).await.json();
    assert_eq!(listed["topics"].as_array().unwrap().len(), 2);
    let lines = beside.call("GET", "stream?offset=0&block=false", &[("accept", "application/x-ndjson")], "").await;
    assert!(lines.expect(200).text().contains("schema_conflict"));
    for (method, rest, body) in [
        ("POST", "records", "{\"n\":1}"),
        ("POST", "close", ""),
        ("POST", "schemas", "{\"changes\":[{\"op\":\"drop\",\"path\":\"detail\"}]}"),
        ("PATCH", "", "{\"on_invalid\":\"quarantine\"}"),
        ("PATCH", "", "{\"schema_mode\":\"evolve\"}"),
    ] {
        beside.call(method, rest, &[], body).await.problem(400, "immutable");
    }
    let check =
        beside.post("schemas/check", "{\"changes\":[{\"op\":\"drop\",\"path\":\"detail\"}]}").await.expect(200).json();
    assert_eq!((&check["compatible"], &check["problems"][0]["code"]), (&json!(false), &json!("immutable")));
    api.put(&beside.path, "").await.problem(400, "invalid_topic_name");
    assert_eq!(
        beside.call("PATCH", "", &[], "{\"retention\":{\"max_records\":5}}").await.expect(200).json()["retention"]["max_records"],
        5
    );
    assert_eq!(beside.post("trim", "{\"before\":1}").await.expect(200).json()["earliest_offset"], 1);
    assert_eq!(replay(&topic).await, (0, 0));
    // Deleted, it is made again when it is needed; offsets begin anew.
    beside.call("DELETE", "", &[], "").await.expect(204);
    topic.post("records", "{\"n\":\"y\"}").await.expect(207);
    assert_eq!(kept(&topic).await, ["{\"n\":\"y\"}"]);
    // It goes with its topic, and a new one of the name knows nothing of it.
    topic.call("DELETE", "", &[], "").await.expect(204);
    beside.get("").await.problem(404, "topic_not_found");
    api.put(&topic.path, "{\"on_invalid\":\"quarantine\"}").await.expect(201);
    assert_eq!(replay(&topic).await, (0, 0));
}

#[tokio::test]
async fn the_choice_is_part_of_the_configuration() {
    let api = shared().await;
    let topic = api.make(json!({})).await;
    let told = topic.get("").await;
    let etag = told.header("etag").unwrap().to_owned();
    assert_eq!(told.json()["on_invalid"], "reject");
    api.put(&topic.path, "{\"on_invalid\":\"reject\"}").await.expect(200);
    let problem = api.put(&topic.path, "{\"on_invalid\":\"quarantine\"}").await.problem(409, "topic_conflict");
    assert!(problem["detail"].as_str().unwrap().contains("on_invalid"));
    topic.append("{\"n\":1}").await;
    topic.refuse("", JSON, "{\"n\":\"x\"}", (422, "schema_conflict")).await;
    let patched = topic.call("PATCH", "", &[("if-match", &etag)], "{\"on_invalid\":\"quarantine\"}").await.expect(200);
    assert_eq!(patched.json()["on_invalid"], "quarantine");
    assert_ne!(patched.header("etag"), Some(etag.as_str()));
    topic.post("records", "{\"n\":\"x\"}").await.expect(207);
    topic.call("PATCH", "", &[], "{\"on_invalid\":null}").await.expect(200);
    topic.refuse("", JSON, "{\"n\":\"x\"}", (422, "schema_conflict")).await;
    // What is there can be replayed all the same.
    assert_eq!(replay(&topic).await, (0, 1));
    for bad in ["\"keep\"", "true", "{}"] {
        let body = format!("{{\"on_invalid\":{bad}}}");
        topic.call("PATCH", "", &[], body.clone()).await.problem(400, "invalid_body");
        let problem = api.put("/v1/topics/never-made", body).await.problem(400, "invalid_body");
        assert_eq!(allowed(&problem), ["reject", "quarantine"]);
    }
    let long = "x".repeat(118);
    api.put(&format!("/v1/topics/{long}"), "{\"on_invalid\":\"quarantine\"}").await.problem(400, "invalid_body");
    for configuration in
        [json!({"backend": "memory"}), json!({"backend": "lance"}), json!({"backend_options": {"enable_wal": false}})]
    {
        let topic = api.make(configuration.clone()).await;
        assert!(topic.get("").await.json()["on_invalid"].is_null());
        let asked = [
            topic.call("PATCH", "", &[], "{\"on_invalid\":\"quarantine\"}").await,
            topic.post("quarantine/replay", "").await,
            {
                let mut configuration = configuration;
                configuration["on_invalid"] = "quarantine".into();
                api.put("/v1/topics/never-made", configuration.to_string()).await
            },
        ];
        for answer in asked {
            assert_eq!(allowed(&answer.problem(400, "unsupported_by_backend")), ["persisting"]);
        }
    }
}

#[tokio::test]
async fn a_request_alone_is_admitted_with_all_that_it_quarantines() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    setup.engine.tail_bytes = 2_000;
    let server = setup.start().await;
    let topic = strict(&server.api()).await;
    for round in 1..=2 {
        // Either part is more than the budget.
        let mut body = format!("{{\"s\":\"{}\"}}", "x".repeat(3_000));
        body.push_str(&"{\"n\":\"x\"}".repeat(20));
        let told = topic.post("records", body).await.expect(207).json();
        assert_eq!((told["count"].as_u64(), told["quarantined"].as_u64()), (Some(1), Some(20)));
        flush(&topic).await;
        flush(&quarantine(&topic)).await;
        assert_eq!(quarantine(&topic).tail().await, 20 * round);
    }
}

#[tokio::test]
async fn rows_of_arrow_are_typed_together_and_refused_together() {
    let topic = strict(&shared().await).await;
    let numbers = |numbers: Vec<f64>| arrow_rows(&[("n", Arc::new(Float64Array::from(numbers)))]);
    let problem = topic.append_with(SENT, numbers(vec![1.0, 1.5])).await.expect(422).json();
    assert_eq!((problem["code"].as_str(), problem["errors"][0]["record"].as_u64()), (Some("invalid_record"), Some(1)));
    topic.append_with(SENT, numbers(vec![1.0, 2.0])).await.expect(200);
    assert_eq!(topic.values(0).await, ["{\"n\":1}", "{\"n\":2}"]);
    quarantine(&topic).get("records").await.expect(404);
}
