//! Search: every record can be found in the moment it is acknowledged, and the answer does not depend on where records lie.

use lance::dataset::Dataset;
use lance::index::DatasetIndexExt;
use lance::index::vector::VectorIndexParams;
use lance_index::scalar::InvertedIndexParams;
use lance_index::{IndexParams, IndexType};
use lance_linalg::distance::DistanceType;
use serde_json::{Value, json};

use crate::support::api::{Topic, allowed, until};
use crate::support::local::{Local, Setup, shared};

const COLUMNAR: [&str; 2] = ["lance", "persisting"];

fn schema(item: &str) -> Value {
    json!({"fields": [
        {"name": "text", "type": "string"},
        {"name": "v", "type": "vector", "dim": 3, "item": item},
        {"name": "n", "type": "int64"},
        {"name": "in", "type": "struct", "fields": [
            {"name": "v", "type": "vector", "dim": 2},
            {"name": "tags", "type": "list", "items": {"type": "string"}},
        ]},
    ]})
}

const TEXTS: [&str; 6] = [
    "a quick brown fox",
    "the slow brown hare",
    "foxes and hares, brown foxes",
    "nothing of the kind",
    "quick quick quick",
    "the quick hare saw a brown fox",
];

fn record(number: usize) -> Value {
    let near = number as f64;
    json!({
        "text": TEXTS[number % TEXTS.len()],
        "v": [near, (number % 4) as f64 * 0.5, -0.25],
        "n": number,
        "in": {"v": [1.0, near], "tags": [format!("tag{}", number % 3), "all of them"]},
    })
}

async fn append(topic: &Topic, numbers: std::ops::Range<usize>) {
    let body: String = numbers.map(|number| format!("{}\n", record(number))).collect();
    topic.append(body).await;
}

async fn filled(backend: &str, item: &str, count: usize) -> Topic {
    let topic = shared().await.make(json!({"backend": backend, "schema": schema(item)})).await;
    append(&topic, 0..count).await;
    topic
}

async fn search(topic: &Topic, ask: Value) -> Value {
    topic.post("search", ask.to_string()).await.expect(200).json()
}

fn offsets(answer: &Value) -> Vec<u64> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["offset"].as_u64().unwrap()).collect()
}

async fn found(topic: &Topic, ask: Value) -> Vec<u64> {
    offsets(&search(topic, ask).await)
}

fn asks() -> Vec<Value> {
    vec![
        json!({"vector": {"column": "v", "query": [3.2, 0, 0]}, "k": 7}),
        json!({"vector": {"column": "v", "query": [1, 2, 3], "metric": "cosine"}, "k": 100, "fields": "n"}),
        json!({"vector": {"column": "v", "query": [1, 2, 3], "metric": "dot"}}),
        json!({"vector": {"column": "in.v", "query": [0, 1]}, "k": 3, "fields": "in.v,n"}),
        json!({"text": {"columns": ["text"], "query": "quick fox"}, "k": 5}),
        json!({"text": {"query": "+brown -\"brown fox\" tag1"}, "k": 50}),
        json!({"text": {"columns": ["in.tags"], "query": "tag2"}}),
        json!({"text": {"columns": ["text"], "query": "qiuck~2 \"slow brown\""}}),
        json!({"vector": {"column": "v", "query": [3.2, 0, 0]}, "text": {"columns": ["text"], "query": "fox"}, "k": 8}),
    ]
}

/// The bytes of all answers.
async fn answers(topic: &Topic) -> Vec<String> {
    let mut answers = Vec::new();
    for ask in asks() {
        answers.push(topic.post("search", ask.to_string()).await.expect(200).text());
    }
    answers
}

#[tokio::test]
async fn a_record_is_found_in_the_moment_it_is_acknowledged() {
    for backend in COLUMNAR {
        let topic = filled(backend, "float32", 40).await;
        for number in 40..44_u64 {
            append(&topic, number as usize..number as usize + 1).await;
            topic.wait_for_tail(number + 1).await;
            let near = json!({"column": "v", "query": record(number as usize)["v"]});
            assert_eq!(found(&topic, json!({"vector": near, "k": 1})).await, [number]);
        }
        let words = json!({"columns": ["text"], "query": "unheard"});
        assert_eq!(found(&topic, json!({"text": words})).await, Vec::<u64>::new());
        topic.append("{\"text\":\"An unheard word.\"}").await;
        topic.wait_for_tail(45).await;
        assert_eq!(found(&topic, json!({"text": words})).await, [44]);
        let near = json!({"column": "v", "query": record(43)["v"]});
        assert_eq!(found(&topic, json!({"vector": near, "text": words, "k": 2})).await, [43, 44]);
    }
}

#[tokio::test]
async fn an_answer_has_the_same_bytes_wherever_its_records_lie() {
    for backend in COLUMNAR {
        let (server, folder) = Local::fresh().await;
        let topic = server.api().make(json!({"backend": backend, "schema": schema("float32")})).await;
        append(&topic, 0..60).await;
        topic.wait_for_tail(60).await;
        let before = answers(&topic).await;
        assert!(before.iter().all(|answer| answer.contains("\"offset\"")), "{before:#?}");
        topic.post("flush", "").await.expect(200);
        assert_eq!(answers(&topic).await, before, "after a flush");
        // The same records in pieces: some committed, some not.
        let pieces = server.api().make(json!({"backend": backend, "schema": schema("float32")})).await;
        for piece in [0..1, 1..20, 20..21, 21..50] {
            append(&pieces, piece).await;
            pieces.post("flush", "").await.expect(200);
        }
        append(&pieces, 50..60).await;
        pieces.wait_for_tail(60).await;
        let without_times = |answers: Vec<String>| -> Vec<Value> {
            let timeless = |answer: String| {
                let mut answer: Value = serde_json::from_str(&answer).unwrap();
                answer["hits"].as_array_mut().unwrap().iter_mut().for_each(|hit| hit["timestamp"] = Value::Null);
                answer
            };
            answers.into_iter().map(timeless).collect()
        };
        let piecewise = answers(&pieces).await;
        assert_eq!(without_times(piecewise.clone()), without_times(before.clone()));
        pieces.post("compact", "").await.expect(202);
        until("all is one fragment", async || pieces.get("stats").await.json()["fragments"] == 1).await;
        assert_eq!(answers(&pieces).await, piecewise, "after a compaction");
        let names = [topic.name.clone(), pieces.name.clone()];
        server.stop().await;
        let server = Setup::new(folder.path()).start().await;
        assert_eq!(answers(&server.api().named(&names[0])).await, before, "after a restart");
        assert_eq!(answers(&server.api().named(&names[1])).await, piecewise, "after a restart");
        server.stop().await;
    }
}

#[tokio::test]
async fn distances_are_lances_and_equal_ones_come_by_offset() {
    for (item, backend) in [("float16", "lance"), ("float32", "persisting"), ("float64", "persisting")] {
        let topic = shared().await.make(json!({"backend": backend, "schema": schema(item)})).await;
        let lines =
            ["{\"v\":[0,2,0]}", "{\"v\":null}", "{\"v\":[2,0,0]}", "{\"v\":[1,1,1]}", "{\"n\":1}", "{\"v\":[0,0,0]}"];
        topic.append(lines.join("\n")).await;
        topic.wait_for_tail(6).await;
        for (metric, expected) in [
            (json!(null), vec![(3, 1.0), (0, 2.0), (2, 2.0), (5, 2.0)]),
            (json!("l2"), vec![(3, 1.0), (0, 2.0), (2, 2.0), (5, 2.0)]),
            (json!("dot"), vec![(0, -1.0), (2, -1.0), (3, -1.0), (5, 1.0)]),
            // What has no direction is near to nothing.
            (json!("cosine"), vec![(3, 0.183_503_4), (0, 0.292_893_2), (2, 0.292_893_2)]),
        ] {
            let answer = search(&topic, json!({"vector": {"column": "v", "query": [1, 1, 0], "metric": metric}})).await;
            let hits = answer["hits"].as_array().unwrap();
            assert_eq!(offsets(&answer), expected.iter().map(|(offset, _)| *offset).collect::<Vec<u64>>(), "{answer}");
            for (hit, (_, distance)) in hits.iter().zip(&expected) {
                let measured = hit["_distance"].as_f64().unwrap();
                assert!((measured - distance).abs() < 2e-3, "{item} {metric}: {hit}");
                let members: Vec<&String> = hit.as_object().unwrap().keys().collect();
                assert_eq!(members, ["_distance", "offset", "timestamp", "value"], "{hit}");
            }
        }
        let answer = search(&topic, json!({"vector": {"column": "v", "query": [1, 1, 0]}, "k": 2})).await;
        assert_eq!(offsets(&answer), [3, 0], "of equals the older");
        assert_eq!(
            (&answer["index"], &answer["indexed_through_offset"], &answer["rows_scanned"]),
            (&Value::Null, &json!(0), &json!(6))
        );
    }
}

#[tokio::test]
async fn words_are_found_by_what_they_mean_in_the_query() {
    for backend in COLUMNAR {
        let topic = filled(backend, "float32", 6).await;
        topic.wait_for_tail(6).await;
        for (query, expected) in [
            ("quick", vec![4, 0, 5]),
            ("FOXES", vec![2]),
            ("+fox +hare", vec![5]),
            ("brown -fox", vec![1, 2]),
            ("\"quick brown\"", vec![0]),
            ("kidn~2", vec![3]),
            ("the of", vec![3, 1, 5]),
            ("unheard", vec![]),
        ] {
            let answer = search(&topic, json!({"text": {"columns": ["text"], "query": query}})).await;
            assert_eq!(offsets(&answer), expected, "{query}: {answer}");
            for hit in answer["hits"].as_array().unwrap() {
                let members: Vec<&String> = hit.as_object().unwrap().keys().collect();
                assert_eq!(members, ["_score", "offset", "timestamp", "value"]);
                assert!(hit["_score"].as_f64() > Some(0.0));
            }
        }
        // Each record counts by its best column.
        let both = search(&topic, json!({"text": {"query": "tag1 quick"}})).await;
        assert_eq!(
            found(&topic, json!({"text": {"columns": ["text", "in.tags"], "query": "tag1 quick"}})).await,
            offsets(&both)
        );
        assert!(offsets(&both).contains(&1) && offsets(&both).contains(&0), "{both}");
    }
}

#[tokio::test]
async fn a_hybrid_search_ranks_by_both_rankings() {
    let topic = filled("persisting", "float32", 6).await;
    topic.wait_for_tail(6).await;
    let vector = json!({"column": "v", "query": [5, 0.5, -0.25]});
    let answer =
        search(&topic, json!({"vector": vector, "text": {"columns": ["text"], "query": "fox"}, "fields": "n"})).await;
    let hits = answer["hits"].as_array().unwrap();
    // By vector 5, 4, 3, 2, 1, 0; by text 0, 5.
    assert_eq!(offsets(&answer), [5, 0, 4, 3, 2, 1]);
    let first = hits[0].as_object().unwrap();
    assert_eq!(
        first.keys().collect::<Vec<_>>(),
        ["_distance", "_relevance_score", "_score", "offset", "timestamp", "value"]
    );
    assert!((hits[0]["_relevance_score"].as_f64().unwrap() - (1.0 / 61.0 + 1.0 / 62.0)).abs() < 1e-6);
    assert_eq!((hits[2].get("_score"), &hits[2]["value"]), (None, &json!({"n": 4})));
    assert_eq!(answer["rows_scanned"], 12, "each ranking reads every record");
}

#[tokio::test]
async fn a_search_looks_at_a_version_or_a_tag() {
    for backend in COLUMNAR {
        let topic = filled(backend, "float32", 10).await;
        let version = topic.post("flush", "").await.expect(200).json()["version"].as_u64().unwrap();
        topic.call("PUT", "tags/before", &[], json!({"version": version}).to_string()).await.expect(201);
        let ask = |more: Value| {
            let mut ask = json!({"vector": {"column": "v", "query": [100, 0, 0]}, "k": 2});
            ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            ask
        };
        append(&topic, 10..20).await;
        topic.wait_for_tail(20).await;
        assert_eq!(found(&topic, ask(json!({}))).await, [19, 18]);
        assert_eq!(found(&topic, ask(json!({"version": version}))).await, [9, 8]);
        assert_eq!(found(&topic, ask(json!({"tag": "before"}))).await, [9, 8]);
        topic.post("search", ask(json!({"tag": "none"})).to_string()).await.problem(404, "not_found");
        topic.post("search", ask(json!({"version": 999_999})).to_string()).await.problem(410, "version_expired");
        topic
            .post("search", ask(json!({"version": 1, "tag": "before"})).to_string())
            .await
            .problem(400, "invalid_body");
    }
}

#[tokio::test]
async fn what_has_expired_is_not_found() {
    for backend in COLUMNAR {
        let topic = filled(backend, "float32", 10).await;
        topic.post("flush", "").await.expect(200);
        append(&topic, 10..20).await;
        topic.wait_for_tail(20).await;
        topic.post("trim", json!({"before": 5}).to_string()).await.expect(200);
        let answer = search(&topic, json!({"vector": {"column": "v", "query": [0, 0, 0]}, "k": 2})).await;
        assert_eq!((offsets(&answer), &answer["rows_scanned"]), (vec![5, 6], &json!(15)));
        assert_eq!(answer["indexed_through_offset"], 5, "nothing from the earliest offset on lies in an index");
        let words = found(&topic, json!({"text": {"columns": ["text"], "query": "quick"}})).await;
        assert!(!words.is_empty() && words.iter().all(|offset| *offset >= 5), "{words:?}");
    }
}

#[tokio::test]
async fn columns_that_are_renamed_or_dropped_are_searched_as_they_are_now() {
    let topic = filled("persisting", "float32", 10).await;
    topic.post("flush", "").await.expect(200);
    append(&topic, 10..12).await;
    let rename = json!({"changes": [{"op": "rename", "path": "v", "to": "w"}]});
    topic.post("schemas", rename.to_string()).await.expect(201);
    assert_eq!(found(&topic, json!({"vector": {"column": "w", "query": [8, 0, 0]}, "k": 1})).await, [8]);
    let problem = topic.post("search", json!({"vector": {"column": "v", "query": [8, 0, 0]}}).to_string()).await;
    assert_eq!(allowed(&problem.problem(400, "invalid_parameter")), ["w", "in.v"]);
}

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
async fn searches_beside_appends_see_a_beginning_of_the_log() {
    let topic = filled("persisting", "float32", 1).await;
    let appending = async {
        for number in 1..60 {
            append(&topic, number..number + 1).await;
            if number % 10 == 0 {
                topic.post("flush", "").await.expect(200);
            }
        }
    };
    let searching = async {
        let mut seen = 0;
        while seen < 60 {
            let before = topic.tail().await;
            let answer = search(&topic, json!({"vector": {"column": "v", "query": [0, 0, 0]}, "k": 1000})).await;
            let mut offsets = offsets(&answer);
            offsets.sort_unstable();
            let dense: Vec<u64> = (0..offsets.len() as u64).collect();
            assert_eq!(offsets, dense, "no hole, nothing twice");
            assert!(offsets.len() as u64 >= before.max(seen), "what was readable is found");
            assert_eq!(answer["rows_scanned"], json!(offsets.len()));
            seen = offsets.len() as u64;
        }
    };
    tokio::join!(appending, searching);
}

#[tokio::test]
async fn a_filter_leaves_out_hits_before_they_are_ranked() {
    for backend in COLUMNAR {
        let topic = filled(backend, "float32", 10).await;
        topic.post("flush", "").await.expect(200);
        append(&topic, 10..20).await;
        topic.wait_for_tail(20).await;
        let ask = |filter: &str| json!({"vector": {"column": "v", "query": [0, 0, 0]}, "filter": filter, "k": 3, "fields": "n"});
        assert_eq!(found(&topic, ask("n >= 8")).await, [8, 9, 10]);
        assert_eq!(found(&topic, ask("_offset > 17 or text = 'the slow brown hare' and n > 1")).await, [7, 13, 18]);
        let words = json!({"text": {"columns": ["text"], "query": "slow"}, "filter": "n between 5 and 15"});
        let answer = search(&topic, words).await;
        assert_eq!((offsets(&answer), &answer["rows_scanned"]), (vec![7, 13], &json!(20)));
        // What is left out counts all the same for how rare a word is.
        let all = search(&topic, json!({"text": {"columns": ["text"], "query": "slow"}})).await;
        assert_eq!(all["hits"][0]["_score"], answer["hits"][0]["_score"]);
        let refused = |filter: &str| topic.post("search", ask(filter).to_string());
        let problem = refused("m > 3").await.problem(400, "invalid_parameter");
        assert_eq!(problem["position"], 0);
        refused("n >").await.problem(400, "invalid_parameter");
    }
}

/// Makes an index as other tools do, and starts the server again, which then sees it.
async fn with_index(
    server: Local,
    folder: &std::path::Path,
    topic: &Topic,
    column: &str,
    kind: IndexType,
    params: &dyn IndexParams,
) -> (Local, Topic) {
    let uri = topic.get("").await.json()["dataset_uri"].as_str().unwrap().to_owned();
    server.stop().await;
    let mut dataset = Dataset::open(&uri).await.unwrap();
    dataset.create_index(&[column], kind, Some(format!("of_{column}")), params, false).await.unwrap();
    let server = Setup::new(folder).start().await;
    let topic = server.api().named(&topic.name);
    (server, topic)
}

#[tokio::test]
async fn an_index_answers_for_what_it_has_and_all_the_rest_is_looked_at() {
    for backend in COLUMNAR {
        let (server, folder) = Local::fresh().await;
        let topic = server.api().make(json!({"backend": backend, "schema": schema("float32")})).await;
        append(&topic, 0..300).await;
        topic.post("flush", "").await.expect(200);
        let params = VectorIndexParams::ivf_flat(4, DistanceType::L2);
        let (server, topic) = with_index(server, folder.path(), &topic, "v", IndexType::Vector, &params).await;
        let ask = |more: Value| {
            let mut ask = json!({"vector": {"column": "v", "query": [150.1, 0, 0]}, "k": 5, "fields": "n"});
            ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            ask
        };
        let answer = search(&topic, ask(json!({}))).await;
        assert_eq!(
            (&answer["index"], &answer["indexed_through_offset"], &answer["rows_scanned"]),
            (&json!("of_v"), &json!(300), &json!(0))
        );
        assert_eq!(offsets(&answer), [150, 149, 151, 152, 148]);
        // Committed rows that the index has not, and rows that are not committed.
        append(&topic, 300..310).await;
        topic.post("flush", "").await.expect(200);
        append(&topic, 310..315).await;
        topic.wait_for_tail(315).await;
        let end = json!({"vector": {"column": "v", "query": [400, 0, 0]}, "k": 16});
        let answer = search(&topic, end).await;
        assert_eq!(offsets(&answer), (299..315).rev().collect::<Vec<u64>>());
        assert_eq!((&answer["indexed_through_offset"], &answer["rows_scanned"]), (&json!(300), &json!(15)));
        assert_eq!(found(&topic, ask(json!({"filter": "n > 200"}))).await, [201, 202, 203, 204, 205]);
        topic.post("trim", json!({"before": 250}).to_string()).await.expect(200);
        assert_eq!(found(&topic, ask(json!({}))).await, [250, 251, 252, 253, 254]);
        // Another metric is measured without it.
        let other = json!({"vector": {"column": "v", "query": [1, 2, 3], "metric": "dot"}});
        assert_eq!(search(&topic, other).await["index"], Value::Null);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_text_index_changes_no_score() {
    let english = InvertedIndexParams::default();
    let with_places = english.clone().stem(false).with_position(true);
    for (backend, params, phrases) in [("lance", english, false), ("persisting", with_places, true)] {
        let (server, folder) = Local::fresh().await;
        let topic = server.api().make(json!({"backend": backend, "schema": schema("float32")})).await;
        append(&topic, 0..40).await;
        topic.append("{\"n\":1}{\"text\":\"\"}").await;
        topic.post("flush", "").await.expect(200);
        append(&topic, 42..50).await;
        topic.post("flush", "").await.expect(200);
        append(&topic, 50..55).await;
        topic.wait_for_tail(55).await;
        let asks: Vec<Value> = ["quick fox", "+brown hare", "fox -quick", "kind", "\"slow brown\"", "qiuck~2"]
            .iter()
            .map(|query| json!({"text": {"columns": ["text"], "query": query}, "k": 20}))
            .collect();
        let (server, topic) = with_index(server, folder.path(), &topic, "text", IndexType::Inverted, &params).await;
        append(&topic, 55..57).await;
        topic.wait_for_tail(57).await;
        topic.post("flush", "").await.expect(200);
        for ask in &asks {
            let with = search(&topic, ask.clone()).await;
            let query = ask["text"]["query"].as_str().unwrap();
            let indexed = !query.contains('~') && (phrases || !query.contains('"'));
            assert_eq!(with["index"], if indexed { json!("of_text") } else { Value::Null }, "{ask}");
            if indexed {
                assert!(with["rows_scanned"].as_u64().unwrap() < 57, "{with}");
            }
            let mut without = ask.clone();
            // A word that is misspelt by nothing is looked for in every text.
            without["text"]["query"] = json!(format!("{} zzzzzz~1", ask["text"]["query"].as_str().unwrap()));
            let without = search(&topic, without).await;
            assert_eq!((&without["index"], &without["rows_scanned"]), (&Value::Null, &json!(57)));
            assert_eq!(with["hits"], without["hits"], "{ask}");
        }
        server.stop().await;
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
