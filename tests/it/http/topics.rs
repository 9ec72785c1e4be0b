//! Topics: made, listed, described, deleted.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::api::{JSON, allowed};
use crate::support::local::{Local, Setup, shared};

const FULL: &str = r#"{"backend": "persisting", "backend_options": {"batch_size": 7, "flush_interval_ms": 900, "ack": "committed",
    "enable_metrics": false, "enable_wal": true}, "storage_path": null, "schema": {"fields": [{"name": "id", "type": "string"}]},
    "schema_mode": "strict", "retention": {"max_age_secs": 9, "max_records": null, "max_bytes": 5}}"#;

#[tokio::test]
async fn a_description_has_every_member() {
    let api = shared().await;
    let answer = api.put("/v1/topics/described", FULL).await.expect(201);
    assert_eq!(answer.header("location"), Some("/v1/topics/described"));
    let description = answer.json();
    let members: Vec<&String> = description.as_object().unwrap().keys().collect();
    let expected = "topic id epoch backend backend_options storage_path schema_mode schema_version retention on_invalid state created_at \
        earliest_offset tail_offset dataset_uri";
    assert_eq!(members.len(), expected.split_whitespace().count());
    assert!(expected.split_whitespace().all(|member| description.get(member).is_some()), "{description}");
    assert_eq!(description["schema_version"], 1);
    assert_eq!(description["schema_mode"], "strict");
    assert_eq!(description["storage_path"], Value::Null);
    assert_eq!(description["retention"], json!({"max_age_secs": 9, "max_records": null, "max_bytes": 5}));
    assert_eq!(description["backend_options"]["batch_size"], 7);
    assert_eq!((&description["earliest_offset"], &description["tail_offset"]), (&json!(0), &json!(0)));
    let created = description["created_at"].as_str().unwrap();
    assert_eq!((created.len(), created.as_bytes()[19], created.ends_with('Z')), (27, b'.', true), "{created}");
    let uri = Path::new(description["dataset_uri"].as_str().unwrap());
    assert!(uri.is_absolute() && uri.ends_with("topics/described.lance"), "{uri:?}");
    // From creation where a schema is declared.
    let id = description["id"].as_str().unwrap();
    assert!(std::fs::canonicalize(uri).unwrap().ends_with(format!("datasets/{id}.lance")));
    assert!(std::fs::read_link(uri).unwrap().is_relative());
    assert_eq!(api.get("/v1/topics/described").await.json(), description);
}

#[tokio::test]
async fn an_absent_body_means_defaults_and_null_is_omitted() {
    let api = shared().await;
    for (name, body) in [
        ("d1", ""),
        ("d2", "{}"),
        (
            "d3",
            r#"{"backend":null,"backend_options":null,"storage_path":null,
        "schema":null,"schema_mode":null,"retention":null}"#,
        ),
        ("d4", r#"{"backend_options":{"batch_size":null},"retention":{"max_age_secs":null}}"#),
    ] {
        let description = api.put(&format!("/v1/topics/{name}"), body).await.expect(201).json();
        assert_eq!((&description["backend"], &description["schema_mode"]), (&json!("persisting"), &json!("evolve")));
        assert_eq!(description["schema_version"], Value::Null);
        assert_eq!(description["retention"], json!({"max_age_secs": null, "max_records": null, "max_bytes": null}));
        assert_eq!(
            description["backend_options"],
            json!({"batch_size": 65536, "flush_interval_ms": 5000, "compression": "none", "compression_level": null,
                "field_compression": {}, "ack": "wal", "enable_metrics": true, "enable_wal": true})
        );
    }
    let lance = api.topic("lance").await.get("").await.json();
    assert_eq!(
        lance["backend_options"],
        json!({"batch_size": 65536, "flush_interval_ms": 1000, "compression": "none", "compression_level": null,
            "field_compression": {}})
    );
    assert_eq!(lance["schema_mode"], "strict");
    let memory = api.topic("memory").await.get("").await.json();
    assert_eq!(memory["backend_options"], json!({}));
    for member in ["schema_mode", "schema_version", "dataset_uri", "storage_path"] {
        assert_eq!(memory[member], Value::Null, "{member}");
    }
}

#[tokio::test]
async fn creation_again_is_200_when_what_is_given_is_the_same_and_what_is_omitted_is_not_compared() {
    let api = shared().await;
    let path = "/v1/topics/again";
    let made = api.put(path, FULL).await.expect(201).json();
    for body in [
        FULL.to_owned(),
        String::new(),
        "{}".to_owned(),
        json!({"backend": "persisting"}).to_string(),
        json!({"backend_options": {"batch_size": 7}}).to_string(),
        json!({"backend_options": {"batch_size": null, "ack": "committed"}}).to_string(),
        json!({"schema": {"fields": [{"name": "id", "type": "string", "nullable": true}]}}).to_string(),
        json!({"retention": {"max_bytes": 5}}).to_string(),
        json!({"schema_mode": "strict", "retention": {}}).to_string(),
    ] {
        let answer = api.put(path, body.clone()).await.expect(200);
        assert_eq!((answer.json(), answer.header("location")), (made.clone(), None), "{body}");
    }
    for (body, differs) in [
        (json!({"backend": "memory"}), "backend"),
        (json!({"backend_options": {"batch_size": 8}}), "batch_size"),
        (json!({"backend_options": {"ack": "wal"}}), "ack"),
        (json!({"backend_options": {"enable_wal": false, "ack": "committed"}}), "enable_wal"),
        (json!({"storage_path": "elsewhere"}), "storage_path"),
        (json!({"schema": {"fields": [{"name": "id", "type": "int64"}]}}), "schema"),
        (json!({"schema_mode": "evolve"}), "schema_mode"),
        (json!({"retention": {"max_bytes": 6}}), "retention"),
        (json!({"retention": {"max_records": 1}}), "retention"),
        (json!({"schema_mode": "evolve", "retention": {"max_records": 1}}), "schema_mode, retention"),
    ] {
        let problem = api.put(path, body.to_string()).await.problem(409, "topic_conflict");
        assert!(problem["detail"].as_str().unwrap().contains(differs), "{problem}");
    }
    assert_eq!(api.get(path).await.json(), made);
}

#[tokio::test]
async fn the_present_configuration_is_compared_but_the_schema_of_creation() {
    let api = shared().await;
    let schema = json!({"schema": {"fields": [{"name": "id", "type": "int8"}]}});
    let topic = api.make(schema.clone()).await;
    topic.append(r#"{"id":300,"new":true}"#).await;
    topic
        .call("PATCH", "", JSON, r#"{"retention":{"max_records":1000},"backend_options":{"batch_size":9}}"#)
        .await
        .expect(200);
    topic.call("PUT", "", JSON, schema.to_string()).await.expect(200);
    topic
        .call("PUT", "", JSON, r#"{"retention":{"max_records":1000},"backend_options":{"batch_size":9}}"#)
        .await
        .expect(200);
    topic.call("PUT", "", JSON, r#"{"backend_options":{"batch_size":65536}}"#).await.problem(409, "topic_conflict");
    let evolved = json!({"schema": {"fields": [{"name": "id", "type": "int16"}, {"name": "new", "type": "bool"}]}});
    topic.call("PUT", "", JSON, evolved.to_string()).await.problem(409, "topic_conflict");
    // A topic without a declared schema differs from any.
    let plain = api.topic("persisting").await;
    plain.call("PUT", "", JSON, schema.to_string()).await.problem(409, "topic_conflict");
}

#[tokio::test]
async fn unsound_configurations_are_refused_and_nothing_is_made() {
    let api = shared().await;
    let path = "/v1/topics/unsound";
    let problem = api.put(path, r#"{"backend":"kafka"}"#).await.problem(400, "invalid_body");
    assert_eq!(allowed(&problem), ["memory", "lance", "persisting"]);
    for body in [
        json!({"backend": 1}),
        json!({"backend_options": []}),
        json!({"backend_options": {"batch_size": "7"}}),
        json!({"backend_options": {"ack": "sometimes"}}),
        json!({"backend_options": {"enable_wal": false, "ack": "wal"}}),
        json!({"backend_options": {"enable_wal": "no"}}),
        json!({"backend_options": {"nonsense": 1}}),
        json!({"schema_mode": "loose"}),
        json!({"schema_mode": true}),
        json!({"retention": 7}),
        json!({"schema": 7}),
        json!({"schema": {}}),
        json!({"schema": {"fields": [{"name": "a"}]}}),
        json!({"schema": {"fields": [{"name": "a", "type": "int65"}]}}),
        json!({"schema": {"fields": [{"name": "a", "type": "int8"}, {"name": "a", "type": "int8"}]}}),
        json!({"schema": {"fields": [{"name": "a", "type": "vector"}]}}),
        json!({"schema": {"fields": [{"name": "a", "type": "list"}]}}),
        json!({"schema": {"fields": [{"name": "a", "type": "int8", "nulable": false}]}}),
        json!({"storage_path": ".."}),
        json!({"storage_path": "a/../../b"}),
        json!({"storage_path": "wal"}),
        json!({"storage_path": "wal/x"}),
        json!({"storage_path": "/etc"}),
        json!({"storage_path": "/"}),
        json!({"storage_path": 3}),
    ] {
        let answer = api.put(path, body.to_string()).await;
        answer.problem(400, "invalid_body");
    }
    for body in [
        json!({"backend_options": {"batch_size": 0}}),
        json!({"backend_options": {"batch_size": 1.5}}),
        json!({"backend_options": {"flush_interval_ms": 0}}),
        json!({"retention": {"max_records": 0}}),
        json!({"retention": {"max_records": -1}}),
        json!({"retention": {"max_age_secs": 1.5}}),
        json!({"retention": {"max_bytes": 9_007_199_254_740_992_u64}}),
    ] {
        api.put(path, body.to_string()).await.problem(400, "invalid_parameter");
    }
    api.get(path).await.problem(404, "topic_not_found");
    let fields: Vec<Value> = (0..1_001).map(|index| json!({"name": format!("c{index}"), "type": "int8"})).collect();
    let problem = api.put(path, json!({"schema": {"fields": fields}}).to_string()).await;
    problem.problem(422, "too_many_columns");
    api.get(path).await.problem(404, "topic_not_found");
    api.put(path, "").await.expect(201);
}

#[tokio::test]
async fn a_storage_path_holds_the_dataset_and_its_link() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut setup = Setup::new(folder.path());
    setup.engine.storage_roots = vec![outside.path().to_owned()];
    let server: Local = setup.start().await;
    let api = server.api();
    let data = folder.path().canonicalize().unwrap();
    let root = outside.path().canonicalize().unwrap();
    std::os::unix::fs::symlink("/etc", data.join("sneaky")).unwrap();
    std::os::unix::fs::symlink(data.join("wal"), data.join("log")).unwrap();
    std::fs::create_dir(data.join("real")).unwrap();
    std::os::unix::fs::symlink(data.join("real"), data.join("linked")).unwrap();
    let inside = data.join("b/c");
    for (name, path, place) in [
        ("p1", "a", data.join("a")),
        ("p2", "b/c", data.join("b/c")),
        ("p3", inside.to_str().unwrap(), data.join("b/c")),
        ("p4", root.to_str().unwrap(), root.clone()),
        ("p5", root.join("deep").to_str().unwrap(), root.join("deep")),
        ("p6", "linked", data.join("real")),
    ] {
        let body = json!({"backend": "lance", "storage_path": path}).to_string();
        let made = api.put(&format!("/v1/topics/{name}"), body.clone()).await.expect(201).json();
        assert_eq!(made["storage_path"], path);
        let topic = api.named(name);
        topic.call("POST", "records?ack=committed", &[], "{\"a\":1}").await.expect(200);
        let id = made["id"].as_str().unwrap();
        assert!(place.join(format!("{id}.lance")).is_dir(), "{place:?}");
        let link = Path::new(made["dataset_uri"].as_str().unwrap());
        assert_eq!(link, place.join(format!("{name}.lance")));
        assert_eq!(link.canonicalize().unwrap(), place.join(format!("{id}.lance")));
        api.put(&format!("/v1/topics/{name}"), body).await.expect(200);
        assert_eq!(topic.values(0).await, ["{\"a\":1}"]);
    }
    let dataset = api.get("/v1/topics/p1").await.json()["dataset_uri"].as_str().unwrap().to_owned();
    let long = "x".repeat(256);
    for path in
        [&dataset, &format!("{dataset}/data"), "a/p1.lance/data", "datasets/x.lance", &long, &format!("a/{long}/b")]
    {
        api.put("/v1/topics/nowhere", json!({"storage_path": path}).to_string()).await.problem(400, "invalid_body");
    }
    for path in ["sneaky", "sneaky/x", "log", "..", "a/../..", "wal", "/tmp", root.parent().unwrap().to_str().unwrap()]
    {
        let body = json!({"storage_path": path}).to_string();
        api.put("/v1/topics/nowhere", body).await.problem(400, "invalid_body");
    }
    api.get("/v1/topics/nowhere").await.problem(404, "topic_not_found");
}

#[tokio::test]
async fn topics_are_listed_ascending_by_bytes_in_pages() {
    let (server, _folder) = Local::fresh().await;
    let api = server.api();
    assert_eq!(api.get("/v1/topics").await.expect(200).json(), json!({"topics": [], "next_after": null}));
    let names = ["B", "a", "a-b", "a.b", "a_b", "ab", "b"];
    for name in names.iter().rev() {
        api.put(&format!("/v1/topics/{name}"), r#"{"backend":"memory"}"#).await.expect(201);
    }
    let page = async |query: &str| {
        let page = api.get(&format!("/v1/topics?{query}")).await.expect(200).json();
        let names = page["topics"].as_array().unwrap().iter().map(|topic| topic["topic"].as_str().unwrap().to_owned());
        (names.collect::<Vec<String>>(), page["next_after"].as_str().map(str::to_owned))
    };
    let mut sorted = names.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(page("").await, (sorted.clone(), None));
    assert_eq!(page("limit=7").await, (sorted.clone(), None));
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let query = after.map_or("limit=2".to_owned(), |after| format!("limit=2&after={after}"));
        let (names, next) = page(&query).await;
        assert!(names.len() == 2 || next.is_none());
        assert!(next.is_none() || next.as_ref() == names.last());
        seen.extend(names);
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, sorted);
    assert_eq!(page("prefix=a").await.0, ["a", "a-b", "a.b", "a_b", "ab"]);
    assert_eq!(page("prefix=a&after=a.b").await.0, ["a_b", "ab"]);
    assert_eq!(page("prefix=a&limit=1&after=a").await, (vec!["a-b".to_owned()], Some("a-b".to_owned())));
    assert_eq!(page("prefix=x").await, (Vec::new(), None));
    assert_eq!(page("after=zz").await, (Vec::new(), None));
    assert_eq!(page("prefix=b&after=a").await.0, ["b"]);
    for limit in ["0", "1001", "-1", "x", "1.0"] {
        api.get(&format!("/v1/topics?limit={limit}")).await.problem(400, "invalid_parameter");
    }
    let listed = api.get("/v1/topics?prefix=ab").await.json();
    assert_eq!(listed["topics"][0], api.get("/v1/topics/ab").await.json());
}

#[tokio::test]
async fn a_deleted_topic_is_gone_and_one_made_again_starts_empty() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        topic.append(r#"{"a":1}"#).await;
        topic.post("flush", "").await.expect(200);
        let old = topic.get("").await.json();
        let answer = topic.call("DELETE", "", &[], "").await.expect(204);
        assert!(answer.body.is_empty());
        topic.call("DELETE", "", &[], "").await.problem(404, "topic_not_found");
        for (method, rest) in [
            ("GET", ""),
            ("PATCH", ""),
            ("GET", "records"),
            ("GET", "records/0"),
            ("POST", "records"),
            ("GET", "stream"),
            ("POST", "flush"),
            ("GET", "stats"),
            ("GET", "count"),
            ("POST", "close"),
            ("GET", "schemas"),
            ("GET", "tags"),
        ] {
            topic.call(method, rest, &[], "").await.problem(404, "topic_not_found");
        }
        topic.call("POST", "trim", &[], r#"{"before":0}"#).await.problem(404, "topic_not_found");
        topic.call("PUT", "", &[], json!({"backend": backend}).to_string()).await.expect(201);
        let new = topic.get("").await.json();
        assert_eq!(
            (&new["tail_offset"], &new["earliest_offset"], &new["schema_version"]),
            (&json!(0), &json!(0), &Value::Null)
        );
        assert!(new["epoch"].as_u64() > old["epoch"].as_u64() && new["id"] != old["id"]);
        assert_eq!(topic.append(r#"{"a":"text"}"#).await["first_offset"], 0);
        topic.wait_for_tail(1).await;
        assert_eq!(topic.values(0).await, [r#"{"a":"text"}"#]);
    }
}

#[tokio::test]
async fn with_auto_create_an_append_makes_the_topic() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    setup.engine.auto_create = true;
    let server = setup.start().await;
    let api = server.api();
    let topic = api.named("fresh");
    topic.get("records").await.problem(404, "topic_not_found");
    assert_eq!(topic.append("{}").await["first_offset"], 0);
    assert_eq!(topic.get("").await.expect(200).json()["backend"], "persisting");
    api.named("x.quarantine").post("records", "{}").await.problem(400, "invalid_topic_name");
    api.named("other").call("POST", "records?ack=never", &[], "{}").await.problem(400, "invalid_parameter");
    // A refused append leaves no topic behind.
    api.named("other").post("records", "{x").await.problem(400, "invalid_json");
    api.named("other").post("records?expected_offset=5", "{}").await.problem(412, "offset_mismatch");
    api.get("/v1/topics/other").await.problem(404, "topic_not_found");
    shared().await.named("fresh").post("records", "{}").await.problem(404, "topic_not_found");
}

#[tokio::test]
async fn a_member_that_stands_twice_is_refused_wherever_it_is() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    let before = topic.get("").await.json();
    for (body, named) in [
        (r#"{"retention":{"max_records":1},"retention":{}}"#, "\"retention\""),
        (r#"{"retention":{"max_records":1,"max_records":2}}"#, "\"retention.max_records\""),
        (
            r#"{"backend_options":{"batch_size":1,"flush_interval_ms":5,"batch_size":1}}"#,
            "\"backend_options.batch_size\"",
        ),
    ] {
        for answer in [api.put("/v1/topics/twice", body).await, topic.call("PATCH", "", JSON, body).await] {
            let problem = answer.problem(400, "invalid_body");
            assert!(problem["detail"].as_str().unwrap().contains(named), "{problem}");
        }
    }
    let body = r#"{"schema":{"fields":[{"name":"a","type":"string","type":"int64"}]}}"#;
    let problem = api.put("/v1/topics/twice", body).await.problem(400, "invalid_body");
    assert!(problem["detail"].as_str().unwrap().contains("\"schema.fields.0.type\""), "{problem}");
    api.get("/v1/topics/twice").await.problem(404, "topic_not_found");
    assert_eq!(topic.get("").await.json(), before);
}
