//! What the planner would answer wrongly by itself: frames that move on, memberships among nulls, sets with repeats, groups of
//! nothing; and paths that are named.

use serde_json::{Value, json};

use super::sql::{refused, rows};
use crate::support::api::{Api, Topic};
use crate::support::local::shared;

async fn numbers(api: &Api, name: &str, values: Value) -> Topic {
    let topic = api.make(json!({"schema": {"fields": [{"name": name, "type": "float64"}]}})).await;
    let records: Vec<Value> = values.as_array().unwrap().iter().map(|value| json!({name: value})).collect();
    topic.append(Value::from(records).to_string()).await;
    topic
}

async fn column(api: &Api, sql: &str) -> Value {
    rows(api, sql).await.as_array().unwrap().iter().map(|row| row["w"].clone()).collect()
}

/// The same but for what taking values back one by one does to a float.
fn are_close(found: &Value, expected: &Value) -> bool {
    let (found, expected) = (found.as_array().unwrap(), expected.as_array().unwrap());
    let is_close = |(found, expected): (&Value, &Value)| match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
        _ => found == expected,
    };
    found.len() == expected.len() && found.iter().zip(expected).all(is_close)
}

#[tokio::test]
async fn a_frame_without_a_value_has_nothing_of_what_has_left_it() {
    let api = shared().await;
    let topic = numbers(&api, "x", json!([1, null, null, 2, 4, 8, null, null])).await;
    let t = &topic.name;
    for (call, frame, expected) in [
        ("min(x)", "1 PRECEDING AND CURRENT ROW", json!([1, 1, null, 2, 2, 4, 8, null])),
        ("max(x)", "1 PRECEDING AND CURRENT ROW", json!([1, 1, null, 2, 4, 8, 8, null])),
        ("min(x)", "1 FOLLOWING AND 1 FOLLOWING", json!([null, null, 2, 4, 8, null, null, null])),
        ("sum(x)", "1 PRECEDING AND CURRENT ROW", json!([1, 1, null, 2, 6, 12, 8, null])),
        ("count(x)", "1 PRECEDING AND CURRENT ROW", json!([1, 1, 0, 1, 2, 2, 1, 0])),
        ("avg(x)", "1 PRECEDING AND CURRENT ROW", json!([1, 1, null, 2, 3, 6, 8, null])),
        ("var_pop(x)", "1 PRECEDING AND CURRENT ROW", json!([0, 0, null, 0, 1, 4, 0, null])),
        ("stddev_pop(x)", "1 PRECEDING AND CURRENT ROW", json!([0, 0, null, 0, 1, 2, 0, null])),
        ("bit_xor(CAST(x AS BIGINT))", "1 PRECEDING AND CURRENT ROW", json!([1, 1, null, 2, 6, 12, 8, null])),
        ("sum(DISTINCT CAST(x AS BIGINT))", "1 PRECEDING AND CURRENT ROW", json!([1, 1, null, 2, 6, 12, 8, null])),
    ] {
        let sql =
            format!("SELECT {call} OVER (ORDER BY _offset ROWS BETWEEN {frame}) AS w FROM \"{t}\" ORDER BY _offset");
        let found = column(&api, &sql).await;
        assert!(are_close(&found, &expected), "{call} {frame}: {found}");
    }
    let named = format!(
        "SELECT min(x) OVER v AS w FROM \"{t}\" WINDOW v AS (ORDER BY _offset DESC ROWS 1 PRECEDING) ORDER BY _offset"
    );
    assert_eq!(column(&api, &named).await, json!([1, null, 2, 2, 4, 8, null, null]));
}

#[tokio::test]
async fn a_range_frame_beside_the_current_row_is_served_for_places_alone() {
    let api = shared().await;
    let topic = numbers(&api, "x", json!([0, 1, 2, 5, 6, 7, 12, 13, 20])).await;
    let t = &topic.name;
    let over = |call: &str, frame: &str| {
        format!("SELECT {call} OVER (ORDER BY x RANGE BETWEEN {frame}) AS w FROM \"{t}\" ORDER BY x")
    };
    for frame in ["3 PRECEDING AND 1 PRECEDING", "1 FOLLOWING AND 3 FOLLOWING"] {
        let problem = refused(&api, &over("sum(x)", frame)).await;
        assert!(problem["detail"].as_str().unwrap().contains("current row"), "{problem}");
    }
    let first = column(&api, &over("first_value(x)", "3 PRECEDING AND 1 PRECEDING")).await;
    assert_eq!(first, json!([null, 0, 0, 2, 5, 5, null, 12, null]));
    let sums = column(&api, &over("sum(x)", "3 PRECEDING AND CURRENT ROW")).await;
    assert_eq!(sums, json!([0, 1, 3, 7, 11, 18, 12, 25, 20]));
    let with_itself = column(&api, &over("sum(x)", "1 PRECEDING AND 0 PRECEDING")).await;
    assert_eq!(with_itself, json!([0, 1, 3, 5, 11, 13, 12, 25, 20]));
    let open = column(&api, &over("count(x)", "UNBOUNDED PRECEDING AND 1 PRECEDING")).await;
    assert_eq!(open, json!([0, 1, 2, 3, 4, 5, 6, 7, 8]));
}

#[tokio::test]
async fn a_membership_among_nulls_is_right_or_refused() {
    let api = shared().await;
    let (a, b) = (numbers(&api, "k", json!([1, null, 2])).await, numbers(&api, "k", json!([2, null])).await);
    let (a, b) = (&a.name, &b.name);
    let offsets = |condition: &str| {
        let condition = condition.replace("SUB", &format!("(SELECT k FROM \"{b}\")"));
        let condition = condition.replace("SOME", &format!("(SELECT k FROM \"{b}\" WHERE k IS NOT NULL)"));
        format!("SELECT _offset AS w FROM \"{a}\" WHERE {condition} ORDER BY _offset")
    };
    for (condition, expected) in [
        ("k IN SUB", json!([2])),
        ("k IN SUB OR k = 1", json!([0, 2])),
        ("(k IN SUB OR k = 1) AND k > 0", json!([0, 2])),
        ("k NOT IN SUB", json!([])),
        ("k NOT IN SOME", json!([0])),
        ("k NOT IN SOME AND k > 0", json!([0])),
        ("k > 0 AND k NOT IN SUB", json!([])),
        ("k = 1 AND k NOT IN SUB", json!([])),
        ("k IS NOT NULL AND NOT k IN SUB", json!([])),
        ("NOT (k IN SUB)", json!([])),
        ("NOT (k IN SOME)", json!([0])),
        ("CASE WHEN k IN SUB THEN true ELSE false END", json!([2])),
        ("(k IN SUB) IS TRUE OR k = 1", json!([0, 2])),
    ] {
        assert_eq!(column(&api, &offsets(condition)).await, expected, "{condition}");
    }
    for condition in [
        "k NOT IN SUB OR k = 7",
        "NOT (k IN SUB AND k > 0)",
        "1 NOT IN SUB",
        "(k IN SUB) IS NULL",
        "(k NOT IN SUB) IS NOT TRUE",
        "CASE WHEN k NOT IN SUB THEN true ELSE false END",
        "coalesce(k IN SUB, true)",
    ] {
        let problem = refused(&api, &offsets(condition)).await;
        assert!(problem["detail"].as_str().unwrap().contains("NOT EXISTS"), "{condition}: {problem}");
    }
    let around = format!("SELECT k FROM \"{a}\" AS a WHERE k NOT IN (SELECT k FROM \"{b}\" AS b WHERE b.k = a.k)");
    let problem = refused(&api, &around).await;
    assert!(problem["detail"].as_str().unwrap().contains("write NOT EXISTS instead"), "{problem}");
}

#[tokio::test]
async fn sets_have_each_row_once_and_no_row_makes_no_group() {
    let api = shared().await;
    let (a, b) = (numbers(&api, "k", json!([1, 1, 2])).await, numbers(&api, "k", json!([1, 3])).await);
    let (a, b) = (&a.name, &b.name);
    let both = |operation: &str| format!("SELECT k AS w FROM \"{a}\" {operation} SELECT k FROM \"{b}\" ORDER BY w");
    assert_eq!(column(&api, &both("EXCEPT")).await, json!([2]));
    assert_eq!(column(&api, &both("INTERSECT")).await, json!([1]));
    assert_eq!(column(&api, &both("UNION ALL")).await, json!([1, 1, 1, 2, 3]));
    for operation in ["EXCEPT ALL", "INTERSECT ALL"] {
        let problem = refused(&api, &both(operation)).await;
        assert!(problem["detail"].as_str().unwrap().contains(operation), "{problem}");
    }
    for key in ["'x'", "upper('a')", "-1.0"] {
        let none = format!("SELECT count(*) AS w FROM \"{a}\" WHERE k > 100 GROUP BY {key}");
        assert_eq!(column(&api, &none).await, json!([]), "{key}");
        let all = format!("SELECT count(*) AS w FROM \"{a}\" GROUP BY {key}");
        assert_eq!(column(&api, &all).await, json!([3]), "{key}");
    }
}

#[tokio::test]
async fn floats_of_two_widths_are_joined() {
    let api = shared().await;
    let field = |name: &str, of: &str| json!({"name": name, "type": of});
    let topic = api.make(json!({"schema": {"fields": [field("a", "float32"), field("d", "float64")]}})).await;
    topic.append(r#"[{"a":0.5,"d":1.5},{"a":1.5,"d":0.0},{"a":-0.0,"d":0.1}]"#).await;
    let t = &topic.name;
    let joined = format!("SELECT x._offset AS o, y._offset AS p FROM \"{t}\" x JOIN \"{t}\" y ON x.a = y.d ORDER BY o");
    assert_eq!(rows(&api, &joined).await, json!([{"o": 1, "p": 0}, {"o": 2, "p": 1}]));
    let within = format!("SELECT _offset AS w FROM \"{t}\" WHERE a IN (SELECT d FROM \"{t}\") ORDER BY w");
    assert_eq!(column(&api, &within).await, json!([1, 2]));
}

#[tokio::test]
async fn a_path_has_a_short_name_wherever_it_stands() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    topic.append(r#"{"home":{"city":"B"},"user":{"age":1},"lines":[{"p":2}],"n":1}"#).await;
    let t = &topic.name;
    for (sql, expected) in [
        ("SELECT home.city FROM TOPIC", json!({"city": "B"})),
        ("SELECT TOPIC.home.city, user.age FROM TOPIC", json!({"city": "B", "age": 1})),
        ("SELECT e.user.age, e.n FROM TOPIC e", json!({"age": 1, "n": 1})),
        ("SELECT home.city, n AS city FROM TOPIC", json!({"home.city": "B", "city": 1})),
        ("SELECT * FROM (SELECT home.city FROM TOPIC)", json!({"city": "B"})),
        ("WITH w AS (SELECT user.age FROM TOPIC) SELECT age FROM w", json!({"age": 1})),
        (
            "SELECT a.home.city, b.home.city FROM TOPIC a JOIN TOPIC b ON a.n = b.n",
            json!({"a.home.city": "B", "b.home.city": "B"}),
        ),
        ("SELECT lines[1].p AS w FROM TOPIC", json!({"w": 2})),
        (
            "SELECT e.lines[1].p AS w, e.lines[1]['p'] AS v, e.home['city'] AS c FROM TOPIC e",
            json!({"w": 2, "v": 2, "c": "B"}),
        ),
        (
            "SELECT a.n AS w FROM TOPIC a JOIN TOPIC b ON a.lines[1].p = b.lines[1].p WHERE a.lines[1]['p'] = 2",
            json!({"w": 1}),
        ),
        ("SELECT * FROM (SELECT n, home.city, n AS city FROM TOPIC)", json!({"n": 1, "home.city": "B", "city": 1})),
        ("SELECT DISTINCT e.n FROM TOPIC e ORDER BY e.n", json!({"n": 1})),
        (
            "SELECT home.city, count(*) AS c FROM TOPIC GROUP BY home.city ORDER BY home.city",
            json!({"city": "B", "c": 1}),
        ),
    ] {
        let found = rows(&api, &sql.replace("TOPIC", &format!("\"{t}\""))).await;
        assert_eq!(found, json!([expected]), "{sql}");
    }
}
