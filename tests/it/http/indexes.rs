//! Indexes: asked for, built, kept up to date, through changes of the topic and restarts.

use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array};
use arrow_schema::{DataType, Field};
use serde_json::{Value, json};

use crate::support::api::{Api, Topic, allowed, until};
use crate::support::arrow::{SENT, rows};
use crate::support::local::shared;
use crate::support::process::Launch;

const COLUMNAR: [&str; 2] = ["lance", "persisting"];

async fn index(topic: &Topic, name: &str) -> Value {
    topic.get(&format!("indexes/{name}")).await.expect(200).json()
}

async fn create(topic: &Topic, body: Value) -> Value {
    topic.post("indexes", body.to_string()).await.expect(202).json()
}

/// Waits until an index has so many records and lacks none.
async fn has(topic: &Topic, name: &str, rows: u64) {
    until("the index has everything", async || {
        let index = index(topic, name).await;
        assert_ne!(index["state"], "failed", "{index}");
        let counts = [&index["rows_indexed"], &index["rows_unindexed"]];
        index["state"] == "ready" && counts == [&json!(rows), &json!(0)]
    })
    .await;
}

fn record(row: u64) -> String {
    let vector: Vec<u64> = (0..4).map(|at| (row * 7 + at * at) % 11).collect();
    json!({
        "id": row, "kind": format!("k{}", row % 3), "tags": [format!("t{}", row % 5)], "text": format!("word w{row}"),
        "v": vector, "nested": {"odd name": row},
    })
    .to_string()
}

fn records(rows: std::ops::Range<u64>) -> String {
    rows.map(record).collect()
}

fn declared() -> Value {
    json!({"fields": [
        {"name": "id", "type": "int64"}, {"name": "kind", "type": "string"},
        {"name": "tags", "type": "list", "items": {"type": "string"}}, {"name": "text", "type": "string"},
        {"name": "v", "type": "vector", "dim": 4},
        {"name": "nested", "type": "struct", "fields": [{"name": "odd name", "type": "int64"}]},
        {"name": "odd", "type": "vector", "dim": 3},
        {"name": "1a", "type": "struct", "fields": [{"name": "t", "type": "string"}, {"name": "é", "type": "string"}]}
    ]})
}

async fn filled(backend: &str, rows: u64) -> Topic {
    let topic = shared().await.make(json!({"backend": backend, "schema": declared()})).await;
    topic.append(records(0..rows)).await;
    topic
}

#[tokio::test]
async fn every_type_is_built_of_what_was_acknowledged_and_kept_up_to_date() {
    for backend in COLUMNAR {
        let topic = filled(backend, 300).await;
        let kinds = [
            ("v", "ivf_flat"),
            ("v", "ivf_pq"),
            ("v", "ivf_hnsw_sq"),
            ("id", "btree"),
            ("kind", "bitmap"),
            ("tags", "label_list"),
            ("text", "inverted"),
            ("nested.\"odd name\"", "btree"),
        ];
        for (column, kind) in kinds {
            let made =
                create(&topic, json!({"column": column, "type": kind, "name": format!("{kind}{}", column.len())}))
                    .await;
            assert_eq!(
                (&made["columns"], &made["type"], &made["error"]),
                (&json!([column]), &json!(kind), &Value::Null)
            );
            assert!(["building", "ready"].contains(&made["state"].as_str().unwrap()), "{made}");
        }
        for (column, kind) in kinds {
            has(&topic, &format!("{kind}{}", column.len()), 300).await;
        }
        topic.append(records(300..340)).await;
        for (column, kind) in kinds {
            has(&topic, &format!("{kind}{}", column.len()), 340).await;
        }
        let listed = topic.get("indexes").await.expect(200).json();
        let names: Vec<&str> =
            listed["indexes"].as_array().unwrap().iter().map(|index| index["name"].as_str().unwrap()).collect();
        assert!(names.is_sorted() && names.len() == kinds.len(), "{names:?}");
        let versions = topic.get("versions").await.expect(200).json();
        let causes = versions["versions"].as_array().unwrap().iter().map(|version| version["cause"].as_str().unwrap());
        assert!(causes.into_iter().any(|cause| cause == "index"), "{versions}");
        // What was merged is indexed again.
        topic.post("compact", "").await.expect(202);
        has(&topic, "btree2", 340).await;
        topic.post("trim", "{\"before\":100}").await.expect(200);
        has(&topic, "btree2", 240).await;
    }
}

#[tokio::test]
async fn an_index_is_there_at_once_and_the_same_again_and_gone_when_it_is_deleted() {
    for backend in COLUMNAR {
        let topic = filled(backend, 5).await;
        let body = json!({"column": "id", "type": "btree"});
        let answer = topic.post("indexes", body.to_string()).await.expect(202);
        let made = answer.json();
        assert_eq!(made["name"], "id_btree");
        assert_eq!(answer.header("location").unwrap(), format!("/v1/topics/{}/indexes/id_btree", topic.name));
        assert_eq!(create(&topic, body).await["name"], "id_btree");
        create(&topic, json!({"columns": ["id"], "type": "btree", "name": "id_btree", "params": null})).await;
        let other = json!({"column": "id", "type": "bitmap", "name": "id_btree"});
        topic.post("indexes", other.to_string()).await.problem(409, "topic_conflict");
        create(
            &topic,
            json!({"columns": ["text", "kind"], "type": "inverted", "name": "words", "params": {"stem": true}}),
        )
        .await;
        has(&topic, "words", 5).await;
        assert_eq!(index(&topic, "words").await["params"], json!({"stem": true}));
        topic.call("DELETE", "indexes/id_btree", &[], "").await.expect(204);
        topic.get("indexes/id_btree").await.problem(404, "not_found");
        topic.call("DELETE", "indexes/id_btree", &[], "").await.problem(404, "not_found");
        topic.get("indexes/-").await.problem(400, "invalid_parameter");
        let listed = topic.get("indexes").await.expect(200).json();
        assert_eq!(listed["indexes"].as_array().unwrap().len(), 1, "{listed}");
    }
}

#[tokio::test]
async fn an_empty_topic_has_its_index_ready_and_fills_it() {
    for backend in COLUMNAR {
        let topic = shared().await.make(json!({"backend": backend, "schema": declared()})).await;
        create(&topic, json!({"column": "v", "type": "ivf_pq", "name": "near"})).await;
        has(&topic, "near", 0).await;
        topic.append(records(0..20)).await;
        has(&topic, "near", 20).await;
    }
}

#[tokio::test]
async fn what_cannot_be_indexed_is_refused_with_what_can() {
    for backend in COLUMNAR {
        let topic = filled(backend, 1).await;
        let refused = async |body: Value| topic.post("indexes", body.to_string()).await.problem(400, "invalid_body");
        let vector = ["ivf_flat", "ivf_pq", "ivf_hnsw_sq"];
        assert_eq!(allowed(&refused(json!({"column": "v", "type": "btree"})).await), vector);
        assert_eq!(allowed(&refused(json!({"column": "id", "type": "ivf_pq"})).await), ["btree", "bitmap"]);
        let columns = ["id", "kind", "tags", "text", "v", "nested", "odd", "1a"];
        assert_eq!(allowed(&refused(json!({"column": "nobody", "type": "btree"})).await), columns);
        assert_eq!(allowed(&refused(json!({"column": "id", "type": "hash"})).await).len(), 7);
        let params = json!({"column": "v", "type": "ivf_flat", "params": {"m": 3}});
        assert_eq!(allowed(&refused(params).await), ["metric", "num_partitions"]);
        let metric = json!({"column": "v", "type": "ivf_flat", "params": {"metric": "L2"}});
        assert_eq!(allowed(&refused(metric).await), ["l2", "cosine", "dot"]);
        for body in [
            json!({"column": "v", "type": "ivf_pq", "params": {"num_sub_vectors": 3}}),
            json!({"column": "v", "type": "ivf_pq", "params": {"num_bits": 4, "num_sub_vectors": 1}}),
            json!({"column": "odd", "type": "ivf_pq", "params": {"num_bits": 4}}),
            json!({"column": "1a.t", "type": "inverted"}),
            json!({"column": "1a.é", "type": "inverted"}),
            json!({"column": "v", "type": "ivf_pq", "params": {"num_partitions": "many"}}),
            json!({"column": "text", "type": "inverted", "params": {"with_position": "yes"}}),
            json!({"columns": ["id", "kind"], "type": "btree"}),
            json!({"columns": [], "type": "btree"}),
            json!({"columns": ["text", "text"], "type": "inverted"}),
            json!({"column": "tags.x", "type": "btree"}),
            json!({"column": "id", "type": "btree", "name": "a b"}),
        ] {
            refused(body).await;
        }
        for (column, kind, param, number) in [
            ("v", "ivf_pq", "num_bits", json!(5)),
            ("v", "ivf_pq", "num_partitions", json!(0)),
            ("v", "ivf_pq", "num_partitions", json!(1.5)),
            ("v", "ivf_hnsw_sq", "m", json!(65)),
            ("v", "ivf_hnsw_sq", "ef_construction", json!(513)),
            ("text", "inverted", "max_token_length", json!(4_097)),
            ("text", "inverted", "max_ngram_length", json!(12)),
        ] {
            let body = json!({"column": column, "type": kind, "params": {param: number}});
            topic.post("indexes", body.to_string()).await.problem(400, "invalid_parameter");
        }
        assert_eq!(topic.get("indexes").await.expect(200).json(), json!({"indexes": []}));
    }
}

#[tokio::test]
async fn an_index_follows_its_column_and_goes_with_it() {
    let topic = filled("persisting", 30).await;
    create(&topic, json!({"column": "id", "type": "btree", "name": "ids"})).await;
    create(&topic, json!({"column": "kind", "type": "bitmap", "name": "kinds"})).await;
    has(&topic, "ids", 30).await;
    let post = async |changes: Value| topic.post("schemas", json!({"changes": changes}).to_string()).await.expect(201);
    post(json!([{"op": "rename", "path": "id", "to": "number"}])).await;
    assert_eq!(index(&topic, "ids").await["columns"], json!(["number"]));
    topic.append("{\"number\":30}").await;
    has(&topic, "ids", 31).await;
    // Another type is another column, which is indexed anew.
    post(json!([{"op": "widen", "path": "number", "to": {"type": "float64"}}])).await;
    has(&topic, "ids", 31).await;
    post(json!([{"op": "drop", "path": "kind"}])).await;
    topic.get("indexes/kinds").await.problem(404, "not_found");
    topic.call("DELETE", "indexes/kinds", &[], "").await.problem(404, "not_found");
    let listed = topic.get("indexes").await.expect(200).json();
    assert_eq!(listed["indexes"].as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test]
async fn an_index_whose_column_is_gone_counts_no_more() {
    let topic = filled("persisting", 1).await;
    for _ in 0..2 {
        let add: Vec<Value> =
            (0..40).map(|at| json!({"op": "add", "path": format!("c{at}"), "to": {"type": "int64"}})).collect();
        topic.post("schemas", json!({"changes": add}).to_string()).await.expect(201);
        for at in 0..40 {
            create(&topic, json!({"column": format!("c{at}"), "type": "btree"})).await;
        }
        let drop: Vec<Value> = (0..40).map(|at| json!({"op": "drop", "path": format!("c{at}")})).collect();
        topic.post("schemas", json!({"changes": drop}).to_string()).await.expect(201);
    }
}

#[tokio::test]
async fn a_fork_has_the_indexes_of_its_source_built_anew() {
    for backend in COLUMNAR {
        let topic = filled(backend, 40).await;
        create(&topic, json!({"column": "id", "type": "btree", "name": "ids"})).await;
        has(&topic, "ids", 40).await;
        let name = format!("{}-fork", topic.name);
        topic.post("fork", json!({"topic": name, "at": {"offset": 30}}).to_string()).await.expect(201);
        let fork = shared().await.named(&name);
        has(&fork, "ids", 30).await;
        topic.call("DELETE", "indexes/ids", &[], "").await.expect(204);
        fork.append(records(30..32)).await;
        has(&fork, "ids", 32).await;
    }
}

/// Vectors that differ, without a generator of random numbers.
fn spread(rows: usize, dim: usize) -> ArrayRef {
    let mut state = 1_u32;
    let number = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 1e6
    };
    let numbers: Float32Array = (0..rows * dim).map(number).collect::<Vec<_>>().into();
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    Arc::new(FixedSizeListArray::new(item, dim as i32, Arc::new(numbers), None))
}

#[tokio::test]
async fn records_are_committed_while_a_graph_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let server = Launch::new(folder.path()).with(&["--disk-floor-bytes", "0"]).start_ready().await;
    let api = Api::new(server.base());
    let (graph, other) = (api.topic("persisting").await, api.topic("persisting").await);
    graph.call("POST", "records?ack=committed", SENT, rows(&[("v", spread(20_000, 32))])).await.expect(200);
    other.call("POST", "records?ack=committed", &[], "{\"a\":1}").await.expect(200);
    let params = json!({"num_partitions": 1});
    create(&graph, json!({"column": "v", "type": "ivf_hnsw_sq", "name": "g", "params": params})).await;
    let mut committed = 0;
    // The build takes many times as long as three commits. It kept all threads of the pool that commits need, to its end.
    while index(&graph, "g").await["state"] == "building" {
        other.call("POST", "records?ack=committed", &[], "{\"a\":1}").await.expect(200);
        committed += usize::from(index(&graph, "g").await["state"] == "building");
    }
    assert!(committed >= 3, "{committed}");
    assert_eq!(index(&graph, "g").await["state"], "ready");
    assert!(server.stop().success());
}
