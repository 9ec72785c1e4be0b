//! What cannot be searched, and who gets no turn.

use serde_json::json;

use super::search::{COLUMNAR, asks, filled, found, schema, search};
use crate::support::api::allowed;
use crate::support::local::{Setup, shared};

#[tokio::test]
async fn what_cannot_be_searched_is_refused_with_what_can() {
    let topic = filled("persisting", "float16", 3).await;
    for (ask, code, words) in [
        (json!({}), "invalid_body", vec!["vector", "text"]),
        (json!({"k": 3}), "invalid_body", vec!["vector", "text"]),
        (
            json!({"vector": {"column": "v", "query": [1, 2, 3]}, "x": 1}),
            "invalid_body",
            vec!["vector", "text", "k", "filter", "fields", "version", "tag"],
        ),
        (
            json!({"vector": {"column": "v", "query": [1, 2, 3], "x": 1}}),
            "invalid_body",
            vec!["column", "query", "metric", "nprobes", "refine_factor", "ef"],
        ),
        (json!({"text": {"query": "x", "operator": "and"}}), "invalid_body", vec!["columns", "query"]),
        (json!({"vector": {"column": "w", "query": [1, 2, 3]}}), "invalid_parameter", vec!["v", "in.v"]),
        (json!({"vector": {"column": "text", "query": [1, 2, 3]}}), "invalid_parameter", vec!["v", "in.v"]),
        (json!({"vector": {"column": "in", "query": [1, 2, 3]}}), "invalid_parameter", vec!["v", "in.v"]),
        (json!({"vector": {"column": "v", "query": [1, 2]}}), "invalid_parameter", vec!["3"]),
        (json!({"vector": {"column": "v", "query": []}}), "invalid_parameter", vec!["3"]),
        (
            json!({"vector": {"column": "v", "query": [1, 2, 3], "metric": "hamming"}}),
            "invalid_parameter",
            vec!["l2", "cosine", "dot"],
        ),
        (json!({"text": {"columns": ["v"], "query": "x"}}), "invalid_parameter", vec!["text", "in.tags"]),
        (json!({"text": {"columns": ["text", "none"], "query": "x"}}), "invalid_parameter", vec!["text", "in.tags"]),
        (json!({"text": {"query": "x"}, "k": 0}), "invalid_parameter", vec!["1..10000"]),
        (json!({"text": {"query": "x"}, "k": 10_001}), "invalid_parameter", vec!["1..10000"]),
        (json!({"text": {"query": "x"}, "k": 1.5}), "invalid_parameter", vec!["1..10000"]),
        (
            json!({"vector": {"column": "v", "query": [1, 2, 3], "refine_factor": 1_001}}),
            "invalid_parameter",
            vec!["1..1000"],
        ),
        (
            json!({"vector": {"column": "v", "query": [1, 2, 3], "refine_factor": 101}, "k": 10_000}),
            "invalid_parameter",
            vec!["1..100"],
        ),
        (json!({"text": {"query": "fox~9"}}), "invalid_parameter", vec!["~", "~1", "~2"]),
    ] {
        let problem = topic.post("search", ask.to_string()).await.problem(400, code);
        assert_eq!(allowed(&problem), words, "{ask}: {problem}");
    }
    for (ask, code) in [
        ("{\"vector\":{\"column\":\"v\",\"query\":[1,2,1e9]}}".to_owned(), "invalid_parameter"),
        ("{\"vector\":{\"column\":\"v\",\"query\":[1,2,\"3\"]}}".to_owned(), "invalid_body"),
        ("{\"vector\":{\"column\":\"v\",\"query\":[1,2,NaN]}}".to_owned(), "invalid_json"),
        ("{\"vector\":{\"column\":\"v\"}}".to_owned(), "invalid_body"),
        ("{\"vector\":{\"query\":[1,2,3]}}".to_owned(), "invalid_body"),
        (json!({"vector": {"column": "v", "query": [0, 0, 0], "metric": "cosine"}}).to_string(), "invalid_parameter"),
        (json!({"vector": {"column": "v..", "query": [0, 0, 0]}}).to_string(), "invalid_parameter"),
        (json!({"vector": [1]}).to_string(), "invalid_body"),
        (json!({"text": {"columns": ["text"]}}).to_string(), "invalid_body"),
        (json!({"text": {"columns": [], "query": "x"}}).to_string(), "invalid_body"),
        (json!({"text": {"columns": "text", "query": "x"}}).to_string(), "invalid_body"),
        (json!({"text": {"query": "-x"}}).to_string(), "invalid_parameter"),
        (json!({"text": {"query": "x"}, "k": "3"}).to_string(), "invalid_body"),
        (json!({"text": {"query": "x"}, "fields": "a,,b"}).to_string(), "invalid_parameter"),
    ] {
        topic.post("search", ask.clone()).await.problem(400, code);
    }
    let quoted = |text: String| format!("\"{text}\"");
    for (text, limit) in [
        (json!({"query": format!("{}~2", "a".repeat(65))}), 64),
        (json!({"query": quoted("a ".repeat(65))}), 64),
        (json!({"query": "a-".repeat(65)}), 64),
        (json!({"columns": vec!["text"; 1_001], "query": "x"}), 1_000),
    ] {
        let problem = topic.post("search", json!({"text": text}).to_string()).await.problem(400, "invalid_parameter");
        assert_eq!(problem["limit"], limit, "{text}");
    }
    let many = json!({"text": {"columns": vec!["text"; 1_000], "query": "quick"}});
    let once = json!({"text": {"columns": ["text"], "query": "quick"}});
    assert_eq!(search(&topic, many).await, search(&topic, once).await);
    topic.post("search?k=3", "{}").await.problem(400, "unknown_parameter");
    let memory = shared().await.topic("memory").await;
    let problem = memory.post("search", "{\"text\":{\"query\":\"x\"}}").await.problem(400, "unsupported_by_backend");
    assert_eq!((&problem["capability"], allowed(&problem)), (&json!("vector_search"), COLUMNAR.to_vec()));
    shared().await.named("nobody").post("search", "{}").await.problem(404, "topic_not_found");
}

#[tokio::test]
async fn a_topic_without_columns_or_records_has_no_hits() {
    for backend in COLUMNAR {
        let api = shared().await;
        let bare = api.topic(backend).await;
        let problem = bare.post("search", json!({"vector": {"column": "v", "query": [1]}}).to_string()).await;
        assert_eq!(allowed(&problem.problem(400, "invalid_parameter")), Vec::<&str>::new());
        assert_eq!(
            search(&bare, json!({"text": {"query": "x"}})).await,
            json!({"hits": [], "indexed_through_offset": 0, "rows_scanned": 0, "index": null})
        );
        let empty = api.make(json!({"backend": backend, "schema": schema("float32")})).await;
        for ask in asks() {
            assert_eq!(found(&empty, ask).await, Vec::<u64>::new());
        }
    }
}

#[tokio::test]
async fn a_search_that_gets_no_turn_is_told_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    setup.http.searches.at_once = 0;
    let server = setup.start().await;
    let topic = server.api().make(json!({"schema": schema("float32")})).await;
    let answer = topic.post("search", json!({"text": {"query": "fox"}}).to_string()).await;
    answer.problem(503, "overloaded");
    assert!(answer.header("retry-after").is_some());
}
