//! Search through an index: it changes how long an answer takes, and of texts nothing else.

use lance::dataset::Dataset;
use lance::index::DatasetIndexExt;
use lance::index::vector::VectorIndexParams;
use lance_index::scalar::{InvertedIndexParams, ScalarIndexParams};
use lance_index::{IndexParams, IndexType};
use lance_linalg::distance::DistanceType;
use serde_json::{Value, json};

use super::search::{COLUMNAR, append, found, offsets, schema, search};
use crate::support::api::Topic;
use crate::support::local::{Local, Setup};

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
async fn a_filter_is_judged_by_the_records_where_its_own_index_knows_fewer_of_them() {
    for backend in COLUMNAR {
        let (server, folder) = Local::fresh().await;
        let topic = server.api().make(json!({"backend": backend, "schema": schema("float32")})).await;
        append(&topic, 0..300).await;
        topic.post("flush", "").await.expect(200);
        let numbers = ScalarIndexParams::default();
        let (server, topic) = with_index(server, folder.path(), &topic, "n", IndexType::BTree, &numbers).await;
        append(&topic, 300..600).await;
        topic.post("flush", "").await.expect(200);
        let vectors = VectorIndexParams::ivf_flat(4, DistanceType::L2);
        let (server, topic) = with_index(server, folder.path(), &topic, "v", IndexType::Vector, &vectors).await;
        for (filter, expected) in [
            ("n >= 200", [450, 449, 451]),
            ("n = 450 OR n = 10 OR n = 500", [450, 500, 10]),
            ("n != 450 AND n != 449", [451, 452, 448]),
            ("NOT n > 400", [400, 399, 398]),
        ] {
            let ask =
                json!({"vector": {"column": "v", "query": [450.1, 0, 0], "nprobes": 4}, "k": 3, "filter": filter});
            let answer = search(&topic, ask).await;
            assert_eq!((&answer["index"], &answer["rows_scanned"]), (&json!("of_v"), &json!(0)));
            assert_eq!(offsets(&answer), expected, "{filter}");
        }
        server.stop().await;
    }
}
