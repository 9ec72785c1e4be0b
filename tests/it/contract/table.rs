//! The comparison table: each cell that is true is proved to hold, each that is false to be refused.

use serde_json::{Value, json};

use crate::http::BACKENDS;
use crate::support::api::{Api, Topic, allowed};
use crate::support::local::shared;

async fn capability(api: &Api, backend: &str, name: &str) -> Value {
    api.get(&format!("/v1/backends/{backend}")).await.expect(200).json()["capabilities"][name].clone()
}

async fn filled(api: &Api, backend: &str) -> Topic {
    let topic = api.topic(backend).await;
    topic.append("{\"a\":1}").await;
    topic.wait_for_tail(1).await;
    topic
}

/// `persistence`: a dataset that others can open; without it, none. (That records survive is proved by `crash`.)
#[tokio::test]
async fn persistence_means_a_dataset() {
    let api = shared().await;
    for backend in BACKENDS {
        let topic = filled(&api, backend).await;
        topic.post("flush", "").await.expect(200);
        let uri = topic.get("").await.json()["dataset_uri"].clone();
        let persistent = capability(&api, backend, "persistence").await;
        assert_eq!(persistent, json!(backend != "memory"));
        assert_eq!(persistent, json!(uri.as_str().is_some_and(|uri| std::path::Path::new(uri).is_dir())));
    }
}

/// `wal`: the level `wal` is given; without it, refused.
#[tokio::test]
async fn wal_means_the_level_wal() {
    let api = shared().await;
    for backend in BACKENDS {
        let topic = filled(&api, backend).await;
        let answer = topic.call("POST", "records?ack=wal", &[], "{\"a\":2}").await;
        if capability(&api, backend, "wal").await == true {
            assert_eq!(answer.expect(200).json()["durability"], "wal");
            assert!(topic.get("stats").await.json()["wal_bytes"].is_u64());
        } else {
            assert!(!allowed(&answer.problem(400, "ack_unsupported")).contains(&"wal"));
            assert!(topic.get("stats").await.json()["wal_bytes"].is_null());
        }
    }
}

/// `metrics`: storage series of its own for each topic.
#[tokio::test]
async fn metrics_mean_series_of_the_topic() {
    let api = shared().await;
    for backend in BACKENDS {
        let topic = filled(&api, backend).await;
        let text = api.get("/metrics").await.expect(200).text();
        let has = text.contains(&format!("persisting_topic_tail_offset{{topic=\"{}\"}} 1", topic.name));
        assert_eq!(capability(&api, backend, "metrics").await, json!(has), "{backend}");
        assert_eq!(text.contains(&topic.name), has);
    }
}

/// `schema_evolution`: an append may bring a column; where it is false a new key is refused, where it is null there are no
/// columns.
#[tokio::test]
async fn schema_evolution_means_that_appends_bring_columns() {
    let api = shared().await;
    for backend in BACKENDS {
        let topic = filled(&api, backend).await;
        let answer = topic.post("records", "{\"a\":0.5,\"b\":true}").await;
        match capability(&api, backend, "schema_evolution").await {
            Value::Bool(true) => assert_eq!(answer.expect(200).json()["schema_version"], 2),
            Value::Bool(false) => assert_eq!(answer.problem(422, "invalid_record")["errors"][0]["pointer"], "/a"),
            Value::Null => {
                assert_eq!(answer.expect(200).json()["schema_version"], Value::Null);
                topic.get("schemas").await.problem(400, "unsupported_by_backend");
            }
            other => panic!("{other}"),
        }
        let evolve = json!({"backend": backend, "schema_mode": "evolve"}).to_string();
        let answer = api.put(&format!("/v1/topics/evolve-{backend}"), evolve).await;
        if backend == "persisting" {
            answer.expect(201);
        } else {
            let problem = answer.problem(400, "unsupported_by_backend");
            assert_eq!(
                (&problem["capability"], allowed(&problem).contains(&"persisting")),
                (&json!("schema_evolution"), true)
            );
        }
    }
}

/// `exactly_once`: producer headers and keys; where it is false both are refused.
#[tokio::test]
async fn exactly_once_means_producers_and_keys() {
    let api = shared().await;
    for backend in BACKENDS {
        let topic = filled(&api, backend).await;
        let producer = [("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0")];
        let able = capability(&api, backend, "exactly_once").await == true;
        for headers in [&producer[..], &[("idempotency-key", "k")]] {
            for round in 0..2 {
                let answer = topic.append_with(headers, "{\"a\":1}").await;
                if able {
                    assert_eq!(answer.expect(200).json().get("duplicate").is_some(), round == 1);
                } else {
                    assert_eq!(answer.problem(400, "unsupported_by_backend")["capability"], "exactly_once");
                }
            }
        }
        assert_eq!(topic.tail().await, if able { 3 } else { 1 });
    }
}

/// `version_control`: a version has a name, and reads by it after what came later.
#[tokio::test]
async fn version_control_means_tags_and_the_past() {
    let api = shared().await;
    for backend in BACKENDS {
        let topic = filled(&api, backend).await;
        let tagged = topic.call("PUT", "tags/t", &[], "").await;
        if capability(&api, backend, "version_control").await == true {
            tagged.expect(201);
            topic.append("{\"a\":2}").await;
            let past = topic.get("records?tag=t").await.expect(200).json();
            assert_eq!(past["records"].as_array().unwrap().len(), 1, "{backend}");
        } else {
            let problem = tagged.problem(400, "unsupported_by_backend");
            assert_eq!(allowed(&problem), ["lance", "persisting"]);
        }
    }
}

#[tokio::test]
async fn indexes_are_built_or_refused_as_the_table_says() {
    let api = shared().await;
    for backend in BACKENDS {
        let topic = filled(&api, backend).await;
        let asked = topic.post("indexes", json!({"column": "a", "type": "btree"}).to_string()).await;
        if capability(&api, backend, "vector_search").await == true {
            asked.expect(202);
        } else {
            let problem = asked.problem(400, "unsupported_by_backend");
            assert_eq!(allowed(&problem), ["lance", "persisting"]);
        }
    }
}

#[tokio::test]
async fn filters_columns_and_compression_are_had_or_refused_as_the_table_says() {
    let api = shared().await;
    for backend in BACKENDS {
        let topic = filled(&api, backend).await;
        let able = backend != "memory";
        assert_eq!(capability(&api, backend, "filter").await, able);
        for rest in ["records?filter=a%3D1", "stream?block=false&filter=a%3D1", "export?filter=a%3D1"] {
            let answer = topic.get(rest).await;
            if able {
                answer.expect(200);
            } else {
                let problem = answer.problem(400, "unsupported_by_backend");
                assert_eq!(
                    (&problem["capability"], allowed(&problem)),
                    (&json!("filter"), vec!["lance", "persisting"])
                );
            }
        }
        assert_eq!(capability(&api, backend, "arrow").await, able);
        let arrow = "application/vnd.apache.arrow.stream";
        let read = topic.call("GET", "records", &[("accept", arrow)], "").await;
        let appended = topic.append_with(&[("content-type", arrow)], "x").await;
        if able {
            assert_eq!(read.expect(200).header("content-type"), Some(arrow));
            appended.problem(400, "invalid_body");
        } else {
            for answer in [read, appended] {
                assert_eq!(answer.problem(400, "unsupported_by_backend")["capability"], "arrow");
            }
        }
        assert_eq!(capability(&api, backend, "compression").await, able);
        if !able {
            let compressed = json!({"backend": backend, "backend_options": {"compression": "zstd"}}).to_string();
            let problem =
                api.put("/v1/topics/compressed-cell", compressed).await.problem(400, "unsupported_by_backend");
            assert_eq!(problem["capability"], "compression");
        }
    }
}
