//! Values in queries that the planner has its own view of: far times, short floats; and what it says of what it cannot.

use serde_json::{Value, json};

use super::sql::{ask, refused, rows};
use crate::support::local::shared;

#[tokio::test]
async fn times_are_compared_as_far_as_they_go() {
    let api = shared().await;
    let topic = api
        .make(json!({"schema": {"fields": [{"name": "ts", "type": "timestamp"}, {"name": "d", "type": "date32"}]}}))
        .await;
    let far = "9999-12-31T00:00:00Z";
    topic
        .append(
            json!([{"ts": far, "d": "9999-12-30"}, {"ts": "2026-01-02T03:04:05.000006Z", "d": "2026-01-03"}])
                .to_string(),
        )
        .await;
    let t = &topic.name;
    for (condition, offsets) in [
        ("_timestamp < '9999-12-31T00:00:00Z'", vec![0, 1]),
        ("_timestamp > '9999-12-31T00:00:00Z'", vec![]),
        ("ts = '9999-12-31T00:00:00Z'", vec![0]),
        ("'9999-12-31T00:00:00Z' <= ts", vec![0]),
        ("ts = TIMESTAMP '9999-12-31T00:00:00'", vec![0]),
        ("ts < '9999-12-31'", vec![1]),
        ("ts <> '2026-01-02T03:04:05.000006Z'", vec![0]),
        ("ts BETWEEN '2026-01-01' AND '9998-01-01'", vec![1]),
        ("ts IN ('9999-12-31T00:00:00Z', '1970-01-01')", vec![0]),
        ("ts NOT IN ('9999-12-31T00:00:00Z')", vec![1]),
        ("ts > d", vec![0]),
        ("d < ts", vec![0]),
        ("d < '9999-01-01'", vec![1]),
        ("NOT (ts > '2027-01-01')", vec![1]),
        // Digits behind the microseconds do not count.
        ("_offset = 1 AND ts = '2026-01-02T03:04:05.0000065Z'", vec![1]),
        (
            "_offset IN (SELECT x._offset FROM (SELECT _offset, ts > '9000-01-01' AS f FROM _ WHERE d > '9000-01-01') x WHERE f)",
            vec![0],
        ),
        ("ts = (SELECT max(ts) FROM _ WHERE ts > '9000-01-01')", vec![0]),
    ] {
        let condition = condition.replace("FROM _ ", &format!("FROM \"{t}\" "));
        let found = rows(&api, &format!("SELECT _offset FROM \"{t}\" WHERE {condition} ORDER BY _offset")).await;
        let found: Vec<u64> = found.as_array().unwrap().iter().map(|row| row["_offset"].as_u64().unwrap()).collect();
        assert_eq!(found, offsets, "{condition}");
    }
    let grouped =
        format!("SELECT ts > '9000-01-01' AS far, count(*) AS n FROM \"{t}\" GROUP BY ts > '9000-01-01' ORDER BY far");
    assert_eq!(rows(&api, &grouped).await, json!([{"far": false, "n": 1}, {"far": true, "n": 1}]));
    let by_case = format!("SELECT ts > '9000-01-01', ts IN ('9999-12-31') AS i FROM \"{t}\" WHERE _offset = 0");
    assert_eq!(rows(&api, &by_case).await, json!([{"ts > '9000-01-01'": true, "i": true}]));
    let asked = ask(&api, &format!("SELECT _offset FROM \"{t}\" WHERE ts = $1"), json!([far])).await.expect(200);
    assert_eq!(asked.json()["rows"], json!([{"_offset": 0}]));
}

#[tokio::test]
async fn a_short_float_is_compared_with_the_nearest_to_what_is_written() {
    let api = shared().await;
    let topic = api.make(json!({"schema": {"fields": [{"name": "g", "type": "float32"}]}})).await;
    topic.append(r#"[{"g":0.1},{"g":-0.1},{"g":1e30}]"#).await;
    let t = &topic.name;
    for (condition, offsets) in [
        ("g = 0.1", json!([0])),
        ("g IN (-0.1, 7.5)", json!([1])),
        ("g BETWEEN 0.1 AND 0.2", json!([0])),
        ("0.1 < g", json!([2])),
        ("g < 1e300", json!([0, 1, 2])),
    ] {
        let found = rows(&api, &format!("SELECT _offset FROM \"{t}\" WHERE {condition} ORDER BY _offset")).await;
        let found: Value = found.as_array().unwrap().iter().map(|row| row["_offset"].clone()).collect();
        assert_eq!(found, offsets, "{condition}");
    }
}

#[tokio::test]
async fn refusals_say_nothing_of_the_inside() {
    let api = shared().await;
    let topic = api
        .make(json!({"schema": {"fields": [{"name": "n", "type": "int64"}, {"name": "s", "type": "string"},
        {"name": "l", "type": "list", "items": {"type": "json"}}]}}))
        .await;
    topic.append(r#"{"n":1,"s":"a","l":[1]}"#).await;
    let t = &topic.name;
    for (sql, said) in [
        (format!("SELECT nth_value(s, 0) AS x FROM \"{t}\""), "other than 0"),
        (format!("SELECT array_slice(l, 2, 1, -9223372036854775808 + _offset) AS x FROM \"{t}\""), "step"),
        (format!("SELECT median(s) AS x FROM \"{t}\""), "median"),
        (format!("SELECT l FROM \"{t}\" UNION ALL SELECT n FROM \"{t}\""), "List"),
        (
            format!("SELECT (SELECT max(n) FROM \"{t}\" b WHERE b._offset < a._offset) AS x FROM \"{t}\" a"),
            "by = alone",
        ),
        (format!("SELECT n FROM \"{t}\" LIMIT _offset"), "No column can stand"),
    ] {
        let problem = refused(&api, &sql).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{sql}: {detail}");
        for inside in ["Internal", "signature, errors", "metadata", "ScalarSubquery", "LogicalPlan"] {
            assert!(!detail.contains(inside), "{sql}: {detail}");
        }
    }
    let by_equality = format!("SELECT (SELECT max(n) FROM \"{t}\" b WHERE b._offset = a._offset) AS x FROM \"{t}\" a");
    assert_eq!(rows(&api, &by_equality).await, json!([{"x": 1}]));
}
