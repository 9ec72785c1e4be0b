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
async fn a_filter_on_a_column_that_an_index_does_not_know_yet_is_judged_by_the_records() {
    let fields = json!([
        {"name": "v", "type": "vector", "dim": 2}, {"name": "t", "type": "string"},
        {"name": "o", "type": "struct", "fields": [{"name": "y", "type": "int64"}]},
    ]);
    let record = |n: u64| json!({"v": [n, 0], "t": format!("fox number{n}"), "o": {"y": n}});
    let topic = committed(fields, (0..20).map(record)).await;
    let of_vectors = index(&topic, json!({"column": "v", "type": "ivf_flat"})).await;
    let of_texts = index(&topic, json!({"column": "t", "type": "inverted"})).await;
    topic.append(json!({"v": [20, 0], "t": "fox", "m": 5, "o": {"y": 20, "x": true}}).to_string()).await;
    topic.wait_for_tail(21).await;
    let vector = json!({"column": "v", "query": [0, 0]});
    let text = json!({"columns": ["t"], "query": "fox"});
    let judged = async |filter: &str, expected: Vec<u64>| {
        for ask in [json!({"vector": vector}), json!({"text": text}), json!({"vector": vector, "text": text})] {
            let mut ask = ask;
            ask["filter"] = json!(filter);
            ask["k"] = json!(30);
            assert_eq!(sorted(&search(&topic, ask.clone()).await), expected, "{ask}");
        }
    };
    judged("m = 5", vec![20]).await;
    judged("m is null", (0..20).collect()).await;
    judged("o.x = true", vec![20]).await;
    judged("o.y > 17 and m is null", vec![18, 19]).await;
    let change = json!({"changes": [{"op": "add", "path": "p", "to": {"type": "int64"}}]});
    topic.post("schemas", change.to_string()).await.expect(201);
    judged("p is not null", vec![]).await;
    // What they know of they still judge.
    for (ask, name) in [(json!({"vector": vector}), of_vectors), (json!({"text": text}), of_texts)] {
        let mut ask = ask;
        ask["filter"] = json!("o.y = 3");
        let answer = search(&topic, ask).await;
        assert_eq!((offsets(&answer), &answer["index"]), (vec![3], &json!(name)));
    }
}

#[tokio::test]
async fn whatever_cuts_an_indexed_text_finds_what_the_texts_have() {
    let texts = ["fox", "hare", "red fox", "fox red", "red foxes run", "a red hare", "foxtrot"];
    for (params, queries) in [
        (
            json!({"base_tokenizer": "raw"}),
            vec!["fox hare", "+fox +fox", "hare -fox", "\"red fox\" fox", "\"a red hare\""],
        ),
        (
            json!({"base_tokenizer": "ngram"}),
            vec!["fox -\"red fox\"", "+red +fox", "\"red fox\"", "fox hare", "+foxes -hare"],
        ),
        (json!({"base_tokenizer": "whitespace"}), vec!["fox hare", "+red +fox", "fox -\"red fox\""]),
    ] {
        let fields = json!([{"name": "t", "type": "string"}]);
        let topic = committed(fields, texts.iter().map(|text| json!({"t": text}))).await;
        let name = index(&topic, json!({"column": "t", "type": "inverted", "params": params})).await;
        for query in queries {
            let ask = |query: &str| json!({"text": {"columns": ["t"], "query": query}});
            let with = search(&topic, ask(query)).await;
            // A word that is misspelt by nothing is looked for in every text.
            let without = search(&topic, ask(&format!("{query} zzzzzz~1"))).await;
            assert_eq!((&with["hits"], &without["index"]), (&without["hits"], &Value::Null), "{params} {query}");
            assert_ne!(with["hits"], json!([]), "{params} {query}");
            let reads_texts = params["base_tokenizer"] == "ngram" && query.contains('"');
            assert_eq!(with["index"], if reads_texts { Value::Null } else { json!(name) }, "{params} {query}");
        }
    }
}

#[tokio::test]
async fn an_index_answers_alone_where_few_records_have_a_vector() {
    let inner = json!({"name": "in", "type": "struct", "fields": [{"name": "v", "type": "vector", "dim": 2}]});
    let fields = json!([{"name": "n", "type": "int64"}, {"name": "v", "type": "vector", "dim": 2}, inner]);
    let record = |n: u64| {
        if n.is_multiple_of(100) { json!({"n": n, "v": [n, 0], "in": {"v": [n, 0]}}) } else { json!({"n": n}) }
    };
    let topic = committed(fields, (0..300).map(record)).await;
    for column in ["v", "in.v"] {
        let name = index(&topic, json!({"column": column, "type": "ivf_flat"})).await;
        let ask = |filter: &str| json!({"vector": {"column": column, "query": [0, 0]}, "k": 10, "filter": filter});
        for (filter, expected) in [("n >= 0", vec![0, 100, 200]), ("n > 50", vec![100, 200]), ("n = 7", vec![])] {
            let answer = search(&topic, ask(filter)).await;
            assert_eq!((offsets(&answer), &answer["rows_scanned"]), (expected, &json!(0)), "{column} {filter}");
            assert_eq!(answer["index"], json!(name), "{column} {filter}");
        }
    }
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
