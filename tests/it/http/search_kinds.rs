//! Search through indexes of every kind, of odd columns, and with filters that they cannot judge.

use serde_json::{Value, json};

use super::search::{offsets, search};
use crate::support::api::{Topic, until};
use crate::support::local::shared;

/// A topic with records in its dataset, which takes up no more of them by itself.
async fn committed(fields: Value, records: impl Iterator<Item = Value>) -> Topic {
    let configuration = json!({
        "backend": "persisting", "schema": {"fields": fields}, "backend_options": {"flush_interval_ms": 3_600_000},
    });
    let topic = shared().await.make(configuration).await;
    topic.append(records.map(|record| record.to_string()).collect::<String>()).await;
    topic.post("flush", "").await.expect(200);
    topic
}

async fn index(topic: &Topic, body: Value) -> String {
    let made = topic.post("indexes", body.to_string()).await.expect(202).json();
    let name = made["name"].as_str().unwrap().to_owned();
    until("the index has everything", async || {
        let index = topic.get(&format!("indexes/{name}")).await.expect(200).json();
        assert_ne!(index["state"], "failed", "{index}");
        index["state"] == "ready" && index["rows_unindexed"] == 0
    })
    .await;
    name
}

fn sorted(answer: &Value) -> Vec<u64> {
    let mut offsets = offsets(answer);
    offsets.sort_unstable();
    offsets
}

#[tokio::test]
async fn an_index_is_used_and_named_as_it_was_made_whatever_its_columns_are_called() {
    let columns = ["\u{e9}.t", "\"a b\".t", "a.t"];
    let inner = json!([{"name": "t", "type": "string"}, {"name": "v", "type": "vector", "dim": 2}]);
    let outer = ["\u{e9}", "a b", "a", "1a", "user"];
    let fields: Vec<Value> =
        outer.iter().map(|name| json!({"name": name, "type": "struct", "fields": inner})).collect();
    let value = |n: u64| json!({"t": format!("word{n}"), "v": [n, 0]});
    let record = |n: u64| outer.iter().map(|name| ((*name).to_owned(), value(n))).collect::<Value>();
    let topic = committed(json!(fields), (0..10).map(record)).await;
    let name = index(&topic, json!({"columns": columns, "type": "inverted", "name": "ab"})).await;
    let answer = search(&topic, json!({"text": {"columns": columns, "query": "word7"}})).await;
    assert_eq!((offsets(&answer), &answer["index"], &answer["rows_scanned"]), (vec![7], &json!(name), &json!(0)));
    for column in ["\u{e9}.v", "\"a b\".v", "1a.v", "user.v"] {
        let name = index(&topic, json!({"column": column, "type": "ivf_flat"})).await;
        let answer = search(&topic, json!({"vector": {"column": column, "query": [7, 0]}, "k": 1})).await;
        assert_eq!((offsets(&answer), &answer["index"]), (vec![7], &json!(name)), "{column}");
    }
    for column in ["1a.t", "user.t"] {
        for kind in ["inverted", "btree"] {
            let body = json!({"column": column, "type": kind});
            topic.post("indexes", body.to_string()).await.problem(400, "invalid_body");
        }
    }
}
