//! Long and wide rows in queries: what is made of them, how they are joined, planned and printed.

use serde_json::{Value, json};

use super::sql::{LINES, ask, refused, rows};
use crate::support::local::shared;

fn listed(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn whichever_operator_evaluates_expressions_they_make_no_more_of_a_row_than_they_may() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    topic.append(json!({"s": "x".repeat(4 << 20), "k": 1}).to_string()).await;
    let t = &topic.name;
    let keys = |count| listed(count, |at| format!("greatest(s, 'A{at}')"));
    let columns = |count| listed(count, |at| format!("octet_length(greatest(s, 'A{at}')) AS c{at}"));
    let grouped = |count| listed(count, |at| format!("max(greatest(s, 'A{at}'))"));
    for (sql, many) in [
        (
            format!("SELECT k FROM \"{t}\" ORDER BY {}", keys(20)),
            format!("SELECT k FROM \"{t}\" ORDER BY {}", keys(40)),
        ),
        (
            format!("SELECT k FROM \"{t}\" ORDER BY {} LIMIT 1", keys(2)),
            format!("SELECT k FROM \"{t}\" ORDER BY {} LIMIT 1", keys(40)),
        ),
        (
            format!("SELECT k FROM \"{t}\" WHERE greatest({}) > 'a'", keys(20)),
            format!("SELECT k FROM \"{t}\" WHERE greatest({}) > 'a'", keys(40)),
        ),
        (
            // Each of them is there for as long as the next one is not.
            format!("SELECT {} FROM \"{t}\"", columns(40)),
            format!("SELECT octet_length(greatest({})) AS c FROM \"{t}\"", keys(40)),
        ),
        (
            format!("SELECT octet_length(greatest({})) AS c FROM \"{t}\"", grouped(20)),
            format!("SELECT octet_length(greatest({})) AS c FROM \"{t}\"", grouped(40)),
        ),
    ] {
        ask(&api, &sql, json!([])).await.expect(200);
        assert_eq!(refused(&api, &many).await["limit"], 128 << 20, "{many}");
    }
}

#[tokio::test]
async fn a_condition_of_a_join_has_the_shorter_rows_the_more_it_makes() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    topic.append(Value::Array(vec![json!({"s": "x".repeat(40_000), "k": 1}); 4]).to_string()).await;
    let t = &topic.name;
    let made = |count| listed(count, |at| format!("greatest(a.s, b.s, '!{at}')"));
    for on in ["a.k = b.k AND", ""] {
        let sql = |count| {
            format!("SELECT count(*) AS n FROM \"{t}\" a JOIN \"{t}\" b ON {on} greatest({}) > 'a'", made(count))
        };
        assert_eq!(rows(&api, &sql(2)).await, json!([{"n": 16}]));
        let problem = refused(&api, &sql(20)).await;
        assert_eq!(problem["limit"], 12_483, "{problem}");
    }
}

#[tokio::test]
async fn columns_that_are_long_in_different_rows_make_no_row_long() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    let record = |at: usize| json!({ format!("c{at}"): "x".repeat(4_096) });
    topic.append(Value::Array((0..20).map(record).collect()).to_string()).await;
    let t = &topic.name;
    for sql in [
        format!("SELECT a.* FROM \"{t}\" a JOIN \"{t}\" b ON a._offset = b._offset"),
        format!("SELECT row_number() OVER () AS r, * FROM \"{t}\""),
    ] {
        assert_eq!(ask(&api, &sql, json!([])).await.expect(200).json()["row_count"], 20, "{sql}");
    }
}

#[tokio::test]
async fn a_row_has_the_length_that_it_prints_in() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    topic.append(json!({"l": vec![1; 1_500_000]}).to_string()).await;
    let t = &topic.name;
    let form = async |accept, sql: &str| {
        api.call("POST", "/v1/query", &[("accept", accept)], json!({ "sql": sql }).to_string()).await
    };
    for accept in ["application/json", LINES] {
        let text = form(accept, &format!("SELECT l FROM \"{t}\"")).await.expect(200).text();
        assert!(text.len() > 3_000_000, "{}", text.len());
        // In memory these are as long as before.
        let longer = format!("SELECT l, l AS m, l AS n FROM \"{t}\"");
        assert_eq!(form(accept, &longer).await.problem(400, "invalid_body")["limit"], 8 << 20);
    }
}

#[tokio::test]
async fn wide_topics_are_joined_and_not_multiplied() {
    let api = shared().await;
    let fields: Vec<Value> = (0..990).map(|at| json!({"name": format!("c{at}"), "type": "int64"})).collect();
    let topic = api.make(json!({"schema": {"fields": fields}})).await;
    topic.append(r#"{"c0":1}"#).await;
    let t = &topic.name;
    let joined = format!("SELECT a.* FROM \"{t}\" a JOIN \"{t}\" b ON a._offset = b._offset");
    assert_eq!(ask(&api, &joined, json!([])).await.expect(200).json()["row_count"], 1);
    let all = vec![format!("SELECT * FROM \"{t}\""); 8].join(" UNION ALL ");
    assert_eq!(refused(&api, &all).await["limit"], 10_000);
}
