//! What a backend lacks is 400 `unsupported_by_backend`, not 404 and not half done.

use serde_json::{Value, json};

use crate::support::api::allowed;
use crate::support::local::shared;

#[tokio::test]
async fn what_memory_lacks_names_the_backends_that_have_it() {
    let api = shared().await;
    let memory = api.topic("memory").await;
    memory.append("{}").await;
    for rest in ["schemas", "schemas/1", "schemas/latest"] {
        let problem = memory.get(rest).await.problem(400, "unsupported_by_backend");
        assert_eq!(allowed(&problem), ["lance", "persisting"]);
    }
    for (method, rest) in [
        ("GET", "versions"),
        ("GET", "tags"),
        ("GET", "tags/t"),
        ("PUT", "tags/t"),
        ("DELETE", "tags/t"),
        ("POST", "fork"),
        ("GET", "records?version=1"),
        ("GET", "records?tag=t"),
        ("GET", "records?as_of=2026-01-01T00:00:00Z"),
        ("GET", "stream?version=1"),
        ("GET", "stream?tag=t"),
        ("GET", "stream?as_of=2026-01-01T00:00:00Z"),
    ] {
        let problem = memory.call(method, rest, &[], "").await.problem(400, "unsupported_by_backend");
        assert_eq!(
            (&problem["capability"], allowed(&problem)),
            (&json!("version_control"), vec!["lance", "persisting"])
        );
    }
    for (method, rest) in [("GET", "indexes"), ("POST", "indexes"), ("GET", "indexes/i"), ("DELETE", "indexes/i")] {
        let problem = memory.call(method, rest, &[], "").await.problem(400, "unsupported_by_backend");
        let told = (&problem["capability"], allowed(&problem));
        assert_eq!(told, (&json!("vector_search"), vec!["lance", "persisting"]));
    }
    for (body, able) in [
        (json!({"schema_mode": "strict"}), vec!["lance", "persisting"]),
        (json!({"schema": {"fields": []}}), vec!["lance", "persisting"]),
        (json!({"storage_path": "x"}), vec!["lance", "persisting"]),
        (json!({"backend_options": {"batch_size": 1}}), vec!["lance", "persisting"]),
        (json!({"backend_options": {"enable_wal": true}}), vec!["persisting"]),
        (json!({"backend_options": {"ack": "accepted"}}), vec!["persisting"]),
        (json!({"backend_options": {"compression": "zstd"}}), vec!["lance", "persisting"]),
        (json!({"backend_options": {"field_compression": {"a": "zstd"}}}), vec!["lance", "persisting"]),
    ] {
        let mut body = body;
        body["backend"] = "memory".into();
        let problem = api.put("/v1/topics/lacking", body.to_string()).await.problem(400, "unsupported_by_backend");
        assert_eq!(allowed(&problem), able, "{body}");
    }
    let problem = api.put("/v1/topics/lacking", r#"{"backend":"lance","schema_mode":"evolve"}"#).await;
    let problem = problem.problem(400, "unsupported_by_backend");
    assert_eq!((&problem["capability"], allowed(&problem)), (&json!("schema_evolution"), vec!["persisting"]));
    let problem = api.put("/v1/topics/lacking", r#"{"backend":"lance","backend_options":{"enable_wal":true}}"#).await;
    assert_eq!(allowed(&problem.problem(400, "unsupported_by_backend")), ["persisting"]);
    api.get("/v1/topics/lacking").await.problem(404, "topic_not_found");
}

#[tokio::test]
async fn the_comparison_table_is_served() {
    let api = shared().await;
    let listed = api.get("/v1/backends").await.expect(200).json();
    let backends = listed["backends"].as_array().unwrap();
    let names: Vec<&str> = backends.iter().map(|backend| backend["name"].as_str().unwrap()).collect();
    assert_eq!(names, super::BACKENDS);
    // As it is today.
    for (name, row) in [
        (
            "memory",
            json!({"persistence": false, "wal": false, "compression": false, "metrics": false, "schema_evolution": null,
            "vector_search": false, "version_control": false, "filter": false, "arrow": false, "exactly_once": true}),
        ),
        (
            "lance",
            json!({"persistence": true, "wal": false, "compression": true, "metrics": false, "schema_evolution": false,
            "vector_search": true, "version_control": true, "filter": true, "arrow": true, "exactly_once": false}),
        ),
        (
            "persisting",
            json!({"persistence": true, "wal": true, "compression": true, "metrics": true, "schema_evolution": true,
            "vector_search": true, "version_control": true, "filter": true, "arrow": true, "exactly_once": true}),
        ),
    ] {
        let backend = api.get(&format!("/v1/backends/{name}")).await.expect(200).json();
        assert_eq!(backend["capabilities"], row, "{name}");
        assert!(backends.contains(&backend));
        let members: Vec<&String> = backend.as_object().unwrap().keys().collect();
        assert_eq!(members.len(), 4);
        assert!(backend["description"].as_str().unwrap().contains(" for "), "says what it is for");
        for option in backend["options"].as_array().unwrap() {
            for member in ["name", "type", "description"] {
                assert!(option[member].as_str().is_some_and(|text| !text.is_empty()), "{option}");
            }
            assert!(option.get("default").is_some(), "{option}");
        }
    }
    let options = |name: &str| -> Vec<Value> {
        backends.iter().find(|backend| backend["name"] == name).unwrap()["options"]
            .as_array()
            .unwrap()
            .iter()
            .map(|option| option["name"].clone())
            .collect()
    };
    assert_eq!(options("memory"), Vec::<Value>::new());
    assert_eq!(
        options("lance"),
        ["batch_size", "flush_interval_ms", "compression", "compression_level", "field_compression"]
    );
    assert_eq!(
        options("persisting"),
        [
            "batch_size",
            "flush_interval_ms",
            "compression",
            "compression_level",
            "field_compression",
            "ack",
            "enable_metrics",
            "enable_wal",
        ]
    );
    let problem = api.get("/v1/backends/kafka").await.problem(404, "backend_not_found");
    assert_eq!(allowed(&problem), super::BACKENDS);
}
