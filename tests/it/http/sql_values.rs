//! Values in queries that the planner has its own view of: far times, short floats; and what it says of what it cannot.

use std::sync::Arc;

use arrow_array::Float64Array;
use serde_json::{Value, json};

use super::sql::{ask, refused, rows};
use crate::support::arrow::{SENT, rows as arrow_rows};
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
async fn integers_and_floats_that_are_written_beside_them_are_compared_as_they_are() {
    let api = shared().await;
    let topic = api
        .make(json!({"schema": {"fields": [{"name": "u", "type": "uint64"}, {"name": "i", "type": "int64"},
        {"name": "b", "type": "int8"}]}}))
        .await;
    topic
        .append(
            r#"[{"u":0,"i":0,"b":0},{"u":256,"i":-1,"b":127},{"u":18446744073709551615,"i":9223372036854775807},
            {"u":9007199254740993,"i":9007199254740993}]"#,
        )
        .await;
    let t = &topic.name;
    for (condition, offsets) in [
        ("u IN (256, 1e-30)", vec![1]),
        ("u NOT IN (256, 1e-30)", vec![0, 2, 3]),
        ("u IN (256, 1e-10, -1, -0.0)", vec![0, 1]),
        ("u IN (256, 1e300, 1e400)", vec![1]),
        ("u IN (0.5)", vec![]),
        ("u IN (9007199254740993, 0.5)", vec![3]),
        ("i IN (9007199254740992, 0.5)", vec![]),
        ("u BETWEEN 1e-30 AND 256", vec![1]),
        ("u BETWEEN 256 AND 1e300", vec![1, 2, 3]),
        ("u BETWEEN -1e300 AND 255.5", vec![0]),
        ("u BETWEEN -0.5 AND -1e-30", vec![]),
        ("i BETWEEN -1.5 AND 0.5", vec![0, 1]),
        ("CASE u WHEN 256 THEN true WHEN 1e-30 THEN true END", vec![1]),
        ("u = 9007199254740992.0", vec![]),
        ("u < 18446744073709551616.0", vec![0, 1, 2, 3]),
        ("i < 9223372036854775808.0", vec![0, 1, 2, 3]),
        ("i <> 9007199254740992.0 AND i > 1.5", vec![2, 3]),
        ("-0.5 > i", vec![1]),
        ("b = 127.0 OR b > 1e10 OR b < -200", vec![1]),
        ("_offset >= 2.5", vec![3]),
        ("_offset BETWEEN 0.5 AND 1e300", vec![1, 2, 3]),
        ("u % 2 = 1.0", vec![2, 3]),
        ("u = $1", vec![1]),
    ] {
        let params = if condition.contains("$1") { json!([256.0]) } else { json!([]) };
        let sql = format!("SELECT _offset FROM \"{t}\" WHERE {condition} ORDER BY _offset");
        let answer = ask(&api, &sql, params).await.expect(200).json();
        let found: Value = answer["rows"].as_array().unwrap().iter().map(|row| row["_offset"].clone()).collect();
        assert_eq!(found, json!(offsets), "{condition}");
    }
    let named = format!("SELECT u IN (256, 1e-30) FROM \"{t}\" WHERE _offset = 1");
    assert_eq!(rows(&api, &named).await, json!([{"u IN (256, 1e-30)": true}]));
    let grouped = format!("SELECT i > 1.0 AS g, count(*) AS n FROM \"{t}\" GROUP BY i > 1.0 ORDER BY g");
    assert_eq!(rows(&api, &grouped).await, json!([{"g": false, "n": 2}, {"g": true, "n": 2}]));
}

#[tokio::test]
async fn integers_that_no_column_has_are_compared_as_they_are() {
    let api = shared().await;
    let topic = api
        .make(json!({"schema": {"fields": [{"name": "f", "type": "float64"}, {"name": "i", "type": "int64"},
        {"name": "u", "type": "uint64"}, {"name": "g", "type": "float32"}]}}))
        .await;
    topic
        .append(
            r#"[{"f":9007199254740992,"i":-9223372036854775808,"u":0,"g":1e20},
            {"f":9007199254740994,"i":9223372036854775807,"u":18446744073709551615},
            {"f":-9223372036854775808.0,"i":0},{"f":18446744073709551616.0}]"#,
        )
        .await;
    topic.append_with(SENT, arrow_rows(&[("f", Arc::new(Float64Array::from(vec![f64::NAN])))])).await.expect(200);
    let t = &topic.name;
    // A NaN is greater than all other numbers in SQL.
    for (condition, offsets) in [
        ("f < 9007199254740993", vec![0, 2]),
        ("f <= 9007199254740993", vec![0, 2]),
        ("f = 9007199254740993", vec![]),
        ("f <> 9007199254740993", vec![0, 1, 2, 3, 4]),
        ("f > 9007199254740993", vec![1, 3, 4]),
        ("f >= 9007199254740993", vec![1, 3, 4]),
        ("9007199254740993 > f", vec![0, 2]),
        ("9007199254740993 <= f", vec![1, 3, 4]),
        ("f = 9007199254740994", vec![1]),
        ("f BETWEEN 9007199254740993 AND 9007199254740995", vec![1]),
        ("f NOT BETWEEN 9007199254740993 AND 9007199254740995", vec![0, 2, 3, 4]),
        ("f IN (9007199254740993, 9007199254740994)", vec![1]),
        ("f IN (9007199254740993, 18446744073709551617, -9223372036854775809, 1, 2, 3)", vec![]),
        ("f NOT IN (9007199254740993, 1)", vec![0, 1, 2, 3, 4]),
        ("f IS DISTINCT FROM 9007199254740993", vec![0, 1, 2, 3, 4]),
        ("CASE f WHEN 9007199254740993 THEN true WHEN 9007199254740992 THEN true END", vec![0]),
        ("f + 0 < $1", vec![0, 2]),
        ("f = 18446744073709551616", vec![3]),
        ("f = 18446744073709551617", vec![]),
        ("f < 18446744073709551617", vec![0, 1, 2, 3]),
        ("f < 18446744073709551615", vec![0, 1, 2]),
        ("f > -9223372036854775809", vec![0, 1, 2, 3, 4]),
        ("f <= -9223372036854775809", vec![]),
        ("f = -9223372036854775808", vec![2]),
        ("i <> -9223372036854775809", vec![0, 1, 2]),
        ("i > -9223372036854775809", vec![0, 1, 2]),
        ("(-9223372036854775809) < i", vec![0, 1, 2]),
        ("i = -9223372036854775809", vec![]),
        ("i <= -9223372036854775809", vec![]),
        ("i = -9223372036854775808", vec![0]),
        ("i IN (-9223372036854775809, 0)", vec![2]),
        ("i NOT IN (-9223372036854775809, 0)", vec![0, 1]),
        ("i BETWEEN -9223372036854775809 AND 18446744073709551617", vec![0, 1, 2]),
        ("CASE i WHEN -9223372036854775809 THEN false ELSE true END", vec![0, 1, 2, 3, 4]),
        ("u < 18446744073709551616", vec![0, 1]),
        ("u <> 18446744073709551616 AND u >= -9223372036854775809", vec![0, 1]),
        ("u = 18446744073709551615", vec![1]),
        ("i = 0.5 OR u < -0.5", vec![]),
        ("(i IS DISTINCT FROM 0.5) AND i > -0.5", vec![1, 2]),
        ("g = 100000000000000000000", vec![0]),
        ("_offset < 99999999999999999999999999 AND _offset >= 3", vec![3, 4]),
        ("9007199254740993 > 9007199254740992.0 AND 18446744073709551617 <> _offset AND i = 0", vec![2]),
    ] {
        let params = if condition.contains("$1") { json!([9_007_199_254_740_993_u64]) } else { json!([]) };
        let sql = format!("SELECT _offset FROM \"{t}\" WHERE {condition} ORDER BY _offset");
        let answer = ask(&api, &sql, params).await.expect(200).json();
        let found: Value = answer["rows"].as_array().unwrap().iter().map(|row| row["_offset"].clone()).collect();
        assert_eq!(found, json!(offsets), "{condition}");
    }
    // Where it is not compared it is the float that it always was, and columns have their names.
    for (sql, expected) in [
        ("SELECT 18446744073709551617 AS n", json!([{"n": 18_446_744_073_709_552_000_u128 as f64}])),
        (
            "SELECT f < 18446744073709551617 FROM _ WHERE _offset = 3 GROUP BY f < 18446744073709551617",
            json!([{"f < 18446744073709551617": true}]),
        ),
    ] {
        assert_eq!(rows(&api, &sql.replace("FROM _", &format!("FROM \"{t}\""))).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn zero_is_one_value_whatever_makes_it() {
    let api = shared().await;
    let topic = api
        .make(json!({"schema": {"fields": [{"name": "x", "type": "float64"}, {"name": "g", "type": "float32"},
        {"name": "s", "type": "string"}]}}))
        .await;
    topic.append(r#"[{"x":-0.3,"g":0,"s":"-0"},{"x":0.2,"g":-0.0,"s":"0"}]"#).await;
    let minus_zero = arrow_rows(&[("x", Arc::new(Float64Array::from(vec![-0.0])))]);
    topic.append_with(SENT, minus_zero).await.expect(200);
    topic.post("flush", "").await.expect(200);
    let t = &topic.name;
    for (condition, offsets) in [
        ("round(x) = 0", json!([0, 1, 2])),
        ("0 = trunc(x) AND x <> 0", json!([0, 1])),
        ("x = -x", json!([2])),
        ("-x >= 0", json!([0, 2])),
        ("x * -1 = 0", json!([2])),
        ("x > $1", json!([1])),
        ("x = $1", json!([2])),
        ("g IN (-0.0)", json!([0, 1])),
        ("g = -g", json!([0, 1])),
        ("round(x) BETWEEN 0 AND 1", json!([0, 1, 2])),
        ("CASE round(x) WHEN 0 THEN true END", json!([0, 1, 2])),
        ("nullif(round(x), 0) IS NULL", json!([0, 1, 2])),
        ("s::double = 0", json!([0, 1])),
        ("(x * 1e-50)::real = 0", json!([0, 1, 2])),
        ("array_has([round(x)], 0.0)", json!([0, 1, 2])),
        ("x IN (SELECT -b.x FROM _ b)", json!([2])),
        ("EXISTS (SELECT 1 FROM _ b WHERE b.x = -a.x)", json!([2])),
        ("x = (SELECT max(trunc(b.x)) FROM _ b WHERE b.g = -a.g)", json!([])),
        ("_offset IN (SELECT _offset FROM (SELECT _offset, round(x) AS r FROM _) b WHERE r = 0)", json!([0, 1, 2])),
    ] {
        let condition = condition.replace("FROM _", &format!("FROM \"{t}\""));
        let (sql, params) = match condition.contains("$1") {
            true => (format!("SELECT _offset FROM \"{t}\" a WHERE {condition}"), json!([-0.0])),
            false => (format!("SELECT _offset FROM \"{t}\" a WHERE {condition} ORDER BY _offset"), json!([])),
        };
        let answer = ask(&api, &sql, params).await.expect(200).json();
        let found: Value = answer["rows"].as_array().unwrap().iter().map(|row| row["_offset"].clone()).collect();
        assert_eq!(found, offsets, "{condition}");
    }
    for (sql, expected) in [
        ("SELECT round(x) AS r, count(*) AS n FROM _ GROUP BY round(x)", json!([{"r": 0, "n": 3}])),
        ("SELECT round(x), count(*) AS n FROM _ GROUP BY 1 HAVING round(x) = 0", json!([{"round(x)": 0, "n": 3}])),
        (
            "SELECT trunc(x) AS r, count(*) AS n, grouping(trunc(x)) AS g FROM _ GROUP BY ROLLUP (trunc(x)) ORDER BY g",
            json!([{"r": 0, "n": 3, "g": 0}, {"r": null, "n": 3, "g": 1}]),
        ),
        ("SELECT DISTINCT trunc(x) AS r FROM _", json!([{"r": 0}])),
        ("SELECT count(DISTINCT trunc(x)) AS n, max(x * -1) AS s FROM _", json!([{"n": 1, "s": 0.3}])),
        ("SELECT trunc(x) AS r FROM _ UNION SELECT -0.0", json!([{"r": 0}])),
        (
            "SELECT _offset AS o, rank() OVER (ORDER BY trunc(x)) AS n, count(*) OVER (PARTITION BY round(x)) AS m FROM _ ORDER BY trunc(x), o DESC",
            json!([{"o": 2, "n": 1, "m": 3}, {"o": 1, "n": 1, "m": 3}, {"o": 0, "n": 1, "m": 3}]),
        ),
        ("SELECT a._offset AS a, b._offset AS b FROM _ a JOIN _ b ON a.x = -b.x", json!([{"a": 2, "b": 2}])),
        ("SELECT count(*) AS n FROM _ a JOIN (SELECT trunc(x) AS x FROM _) b USING (x)", json!([{"n": 3}])),
        ("SELECT count(*) AS n FROM (VALUES (0.0), (-0.0)) AS v (x) WHERE x = 0", json!([{"n": 2}])),
    ] {
        let named = format!("\"{t}\"");
        let sql = sql.replace("FROM _", &format!("FROM {named}")).replace("JOIN _", &format!("JOIN {named}"));
        assert_eq!(rows(&api, &sql).await, expected, "{sql}");
    }
    // As deep as expressions become, each of whose steps may make one.
    let open = format!("SELECT x{} AS x FROM (", " * -0.5".repeat(96)).repeat(5);
    let deep = format!("{open}SELECT x FROM \"{t}\" WHERE _offset = 2{}", ") AS y".repeat(5));
    assert_eq!(rows(&api, &deep).await, json!([{"x": 0}]));
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

#[tokio::test]
async fn what_has_no_type_is_the_statements_mistake_wherever_it_stands() {
    let api = shared().await;
    let fields = json!([
        {"name": "b", "type": "bool"}, {"name": "ts", "type": "timestamp"}, {"name": "i64", "type": "int64"},
        {"name": "l", "type": "list", "items": {"type": "int64"}}, {"name": "bin", "type": "binary"},
        {"name": "st", "type": "struct", "fields": [{"name": "x", "type": "int64"}]}
    ]);
    let topic = api.make(json!({"schema": {"fields": fields}})).await;
    topic.append(r#"{"b":true,"ts":"2026-01-01T00:00:00Z","i64":1,"l":[1],"bin":"AA==","st":{"x":1}}"#).await;
    let t = &topic.name;
    for sql in [
        "SELECT _offset FROM _ WHERE _timestamp BETWEEN 0 AND 1",
        "SELECT _offset FROM _ WHERE ts BETWEEN 1700000000 AND 1800000000",
        "SELECT _offset FROM _ WHERE b BETWEEN 0 AND 1",
        "SELECT _offset FROM _ WHERE l BETWEEN 1 AND 2",
        "SELECT _offset FROM _ ORDER BY md5(i64)",
        "SELECT count(*) OVER (ORDER BY bin RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) AS x FROM _",
        "SELECT count(*) OVER (ORDER BY st RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) AS x FROM _",
        "SELECT _offset FROM _ WHERE st BETWEEN 1 AND 2",
        "SELECT _offset FROM _ WHERE _offset IN (SELECT _offset FROM _ WHERE b BETWEEN 0 AND 1)",
        "SELECT count(*) AS n FROM _ GROUP BY i64 HAVING md5(i64) = 'a'",
        "SELECT i64 FROM _ a JOIN (SELECT _offset AS o FROM _) c ON a.b BETWEEN 0 AND 1",
        "SELECT CASE WHEN b BETWEEN 0 AND 1 THEN 1 END AS x FROM _",
        "SELECT sum(i64) FILTER (WHERE l BETWEEN 1 AND 2) AS x FROM _",
        "SELECT rank() OVER (ORDER BY md5(i64)) AS x FROM _",
    ] {
        let problem = refused(&api, &sql.replace("FROM _", &format!("FROM \"{t}\""))).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("The query cannot be run: ") && detail.len() < 200, "{sql}: {detail}");
        for inside in ["nternal", "bug", "DataFusion", "type_coercion", "backtrace", "errors:"] {
            assert!(!detail.contains(inside), "{sql}: {detail}");
        }
    }
}

#[tokio::test]
async fn lists_of_json_go_through_aggregates_windows_and_subqueries() {
    let api = shared().await;
    let topic = api.make(json!({})).await;
    let records = json!([
        {"k": 1, "l": [1, "a"], "p": [[1], [2]], "s": {"l": [1, {"b": 2}]}},
        {"k": 2, "l": ["b"], "p": [[3]], "s": {"l": ["c"]}}
    ]);
    topic.append(records.to_string()).await;
    for flushed in [false, true] {
        if flushed {
            topic.call("POST", "flush", &[], "").await.expect(200);
        }
        let t = &topic.name;
        let of = async |sql: String| rows(&topic.api, &sql).await;
        // As the topic has them, they are JSON; what an expression makes of them is text.
        assert_eq!(
            of(format!("SELECT l, s FROM \"{t}\" ORDER BY k")).await,
            json!([{"l": [1, "a"], "s": {"l": [1, {"b": 2}]}}, {"l": ["b"], "s": {"l": ["c"]}}])
        );
        assert_eq!(of(format!("SELECT last_value(l ORDER BY k) AS r FROM \"{t}\"")).await, json!([{"r": ["\"b\""]}]));
        assert_eq!(
            of(format!("SELECT lag(l) OVER (ORDER BY k) AS r FROM \"{t}\" ORDER BY k")).await,
            json!([{"r": null}, {"r": ["1", "\"a\""]}])
        );
        assert_eq!(
            of(format!("SELECT (SELECT l FROM \"{t}\" WHERE k = 1) AS r")).await,
            json!([{"r": ["1", "\"a\""]}])
        );
        assert_eq!(
            of(format!("SELECT first_value(s ORDER BY k) AS r FROM \"{t}\"")).await,
            json!([{"r": {"l": ["1", "{\"b\":2}"]}}])
        );
        let problem = refused(&topic.api, &format!("SELECT max(p) AS r FROM \"{t}\"")).await;
        assert!(problem["detail"].as_str().unwrap().contains("no order"), "{problem}");
    }
}
