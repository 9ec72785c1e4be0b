//! Queries in SQL: what they answer, over table and tail alike, and what they may not do.

use arrow_array::{Array, Int64Array};
use serde_json::{Value, json};

use crate::support::api::{Answer, Api, Topic, allowed};
use crate::support::arrow::{column, read};
use crate::support::local::shared;

const COLUMNAR: [&str; 2] = ["lance", "persisting"];
pub(super) const LINES: &str = "application/x-ndjson";

pub(super) async fn ask(api: &Api, sql: &str, params: Value) -> Answer {
    api.post("/v1/query", json!({"sql": sql, "params": params}).to_string()).await
}

pub(super) async fn rows(api: &Api, sql: &str) -> Value {
    let answer = ask(api, sql, json!([])).await.expect(200).json();
    assert_eq!(
        (answer["row_count"].as_u64().unwrap() as usize, &answer["truncated"]),
        (answer["rows"].as_array().unwrap().len(), &json!(false))
    );
    answer["rows"].clone()
}

pub(super) async fn refused(api: &Api, sql: &str) -> Value {
    ask(api, sql, json!([])).await.problem(400, "invalid_body")
}

async fn flush(topic: &Topic) {
    topic.post("flush", "").await.expect(200);
}

/// People and what they have bought: the first records in the table, the last in the tail.
async fn shop(api: &Api, backend: &str) -> (Topic, Topic) {
    let people = api.topic(backend).await;
    let bought = api.topic(backend).await;
    people.append(r#"[{"userId":1,"name":"Ada","tags":["a","b"],"home":{"city":"Paris","odd.key":1}},{"userId":2,"name":"Bob","tags":[],"home":{"city":"Rome"}}]"#).await;
    bought.append(r#"[{"user":1,"price":1.5,"what":"tea"},{"user":1,"price":2,"what":"milk"}]"#).await;
    flush(&people).await;
    flush(&bought).await;
    people.append(r#"[{"userId":3,"name":"Cyd"}]"#).await;
    bought.append(r#"[{"user":3,"price":10,"what":"tea"},{"user":9,"price":0.25,"what":"tea"}]"#).await;
    people.wait_for_tail(3).await;
    bought.wait_for_tail(4).await;
    (people, bought)
}

#[tokio::test]
async fn topics_are_joined_grouped_and_windowed_with_their_tails() {
    let api = shared().await;
    for backend in COLUMNAR {
        let (people, bought) = shop(&api, backend).await;
        let (p, b) = (&people.name, &bought.name);
        let questions = [
            (
                format!(
                    "SELECT p.name, sum(b.price) AS spent, count(*) AS many FROM \"{p}\" p JOIN \"{b}\" b ON p.userId = b.user GROUP BY p.name ORDER BY name"
                ),
                json!([{"name": "Ada", "spent": 3.5, "many": 2}, {"name": "Cyd", "spent": 10, "many": 1}]),
            ),
            (
                format!(
                    "SELECT b.user, p.name FROM \"{b}\" b LEFT JOIN \"{p}\" p ON p.userId = b.user WHERE b.price < 1"
                ),
                json!([{"user": 9, "name": null}]),
            ),
            (
                format!(
                    "SELECT what, price, rank() OVER (PARTITION BY what ORDER BY price DESC) AS r FROM \"{b}\" ORDER BY what, r"
                ),
                json!([{"what": "milk", "price": 2, "r": 1}, {"what": "tea", "price": 10, "r": 1}, {"what": "tea", "price": 1.5, "r": 2}, {"what": "tea", "price": 0.25, "r": 3}]),
            ),
            (format!("SELECT COUNT(*) FROM \"{b}\""), json!([{"count(*)": 4}])),
            (
                format!("SELECT max(_offset), min(_offset) FROM \"{b}\""),
                json!([{"max(_offset)": 3, "min(_offset)": 0}]),
            ),
            (
                format!("SELECT _offset, what FROM \"{b}\" WHERE _offset >= 1 AND _offset < 3"),
                json!([{"_offset": 1, "what": "milk"}, {"_offset": 2, "what": "tea"}]),
            ),
            (
                format!("SELECT _offset FROM \"{b}\" ORDER BY _offset DESC LIMIT 2"),
                json!([{"_offset": 3}, {"_offset": 2}]),
            ),
            (
                format!(
                    "SELECT home.city, home['odd.key'] AS k, tags[1] AS t, array_length(tags) AS n FROM \"{p}\" ORDER BY userId"
                ),
                json!([{"city": "Paris", "k": 1, "t": "a", "n": 2}, {"city": "Rome", "k": null, "t": null, "n": 0}, {"city": null, "k": null, "t": null, "n": null}]),
            ),
            (
                format!("SELECT home, tags FROM \"{p}\" WHERE userId = 1"),
                json!([{"home": {"city": "Paris", "odd.key": 1}, "tags": ["a", "b"]}]),
            ),
            (
                format!(
                    "WITH x AS (SELECT user FROM \"{b}\" WHERE what = 'tea') SELECT name FROM \"{p}\" WHERE userId IN (SELECT user FROM x) ORDER BY 1"
                ),
                json!([{"name": "Ada"}, {"name": "Cyd"}]),
            ),
            (
                format!(
                    "SELECT name || '!' AS n FROM \"{p}\" WHERE name LIKE 'A%' UNION ALL SELECT what FROM \"{b}\" WHERE price = 2 ORDER BY n"
                ),
                json!([{"n": "Ada!"}, {"n": "milk"}]),
            ),
            (format!("SELECT DISTINCT what FROM \"{b}\" WHERE what ~ '^t' OR what IS NULL"), json!([{"what": "tea"}])),
        ];
        let mut before = Vec::new();
        for (sql, expected) in &questions {
            assert_eq!(rows(&api, sql).await, *expected, "{backend}: {sql}");
            before.push(ask(&api, sql, json!([])).await.text());
        }
        // Wherever the cut between table and tail is, every byte is the same.
        flush(&people).await;
        flush(&bought).await;
        for ((sql, _), before) in questions.iter().zip(before) {
            assert_eq!(ask(&api, sql, json!([])).await.text(), before, "{backend}: {sql}");
        }
    }
}

#[tokio::test]
async fn values_have_the_types_and_print_as_everywhere() {
    let api = shared().await;
    let topic = api.make(json!({"schema": {"fields": [
        {"name": "i", "type": "int8"}, {"name": "u", "type": "uint64"}, {"name": "f", "type": "float32"}, {"name": "s", "type": "string"},
        {"name": "b", "type": "binary"}, {"name": "d", "type": "date32"}, {"name": "t", "type": "timestamp"}, {"name": "j", "type": "json"},
        {"name": "l", "type": "list", "items": {"type": "bool"}}, {"name": "v", "type": "vector", "dim": 2},
        {"name": "o", "type": "struct", "fields": [{"name": "x", "type": "json"}]}, {"name": "_offset", "type": "string"}
    ]}})).await;
    let value = r#"{"i":-1,"u":18446744073709551615,"f":0.1,"s":"é\n\"","b":"AP8=","d":"1970-01-02","t":"2026-01-02T03:04:05.000006Z","j":{"a":[1,"x"]},"l":[true,null],"v":[1,0.5],"o":{"x":[]},"_offset":"mine"}"#;
    topic.append(value).await;
    let fields = "i, u, f, s, b, d, t, j, l, v, o, \"%5Foffset\"";
    let answer = ask(&api, &format!("SELECT {fields} FROM \"{}\"", topic.name), json!([])).await.expect(200);
    let expected = value.replace("\"_offset\":\"mine\"", "\"%5Foffset\":\"mine\"");
    assert!(answer.text().contains(&format!("\"rows\":[{expected}]")), "{}", answer.text());
    let types: Vec<String> = answer.json()["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        types,
        [
            "int8",
            "uint64",
            "float32",
            "string",
            "binary",
            "date32",
            "timestamp",
            "json",
            "list",
            "vector",
            "struct",
            "string"
        ]
    );
    assert_eq!(answer.json()["columns"][8], json!({"name": "l", "type": "list", "items": {"type": "bool"}}));
    let all = ask(&api, &format!("SELECT *, 1.50::DECIMAL(5,2) AS dec FROM \"{}\"", topic.name), json!([]))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&all["columns"][0], &all["columns"][1]),
        (&json!({"name": "_offset", "type": "int64"}), &json!({"name": "_timestamp", "type": "timestamp"}))
    );
    assert_eq!(all["rows"][0]["dec"], "1.50");
    let read = topic.get("records").await.json()["records"][0].clone();
    assert_eq!((&all["rows"][0]["_timestamp"], &all["rows"][0]["_offset"]), (&read["timestamp"], &read["offset"]));
    // A time that was read finds its record again.
    let since = format!("SELECT count(*) AS n FROM \"{}\" WHERE _timestamp >= $1 AND _timestamp <= $1", topic.name);
    assert_eq!(ask(&api, &since, json!([read["timestamp"]])).await.expect(200).json()["rows"], json!([{"n": 1}]));
}

#[tokio::test]
async fn parameters_stand_for_values() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    topic.append(r#"[{"a":"x' OR '1'='1","n":1},{"a":"y","n":2.5},{"n":-3}]"#).await;
    let t = &topic.name;
    for (sql, params, expected) in [
        (format!("SELECT n FROM \"{t}\" WHERE a = $1"), json!(["x' OR '1'='1"]), json!([{"n": 1}])),
        (
            format!("SELECT n FROM \"{t}\" WHERE n > $2 AND n < $1 ORDER BY n"),
            json!([2, -5]),
            json!([{"n": -3}, {"n": 1}]),
        ),
        (format!("SELECT a FROM \"{t}\" WHERE n = $1"), json!([2.5]), json!([{"a": "y"}])),
        (format!("SELECT n FROM \"{t}\" WHERE a = $1"), json!([null]), json!([])),
        (format!("SELECT n FROM \"{t}\" ORDER BY n LIMIT $1"), json!([1]), json!([{"n": -3}])),
        (
            "SELECT $1 AS a, $2 AS b, $3 AS c, $4 AS d".to_owned(),
            json!([true, "z", 1.0, null]),
            json!([{"a": true, "b": "z", "c": 1, "d": null}]),
        ),
    ] {
        assert_eq!(ask(&api, &sql, params).await.expect(200).json()["rows"], expected, "{sql}");
    }
    for (sql, params) in [
        ("SELECT $1", json!([])),
        ("SELECT 1", json!([1])),
        ("SELECT $1", json!([[1]])),
        ("SELECT $1", json!({})),
        ("SELECT $1", json!("x")),
    ] {
        ask(&api, sql, params).await.problem(400, "invalid_body");
    }
    for body in ["", "{}", "{\"sql\":1}", "{\"sql\":\"SELECT 1\",\"limit\":1}", "[]"] {
        api.post("/v1/query", body).await.problem(400, "invalid_body");
    }
    api.post("/v1/query?sql=1", "{}").await.problem(400, "unknown_parameter");
}

#[tokio::test]
async fn answers_come_as_json_lines_or_arrow() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    topic.append(r#"[{"n":1},{"n":2},{}]"#).await;
    let body = json!({"sql": format!("SELECT n, _offset FROM \"{}\" ORDER BY _offset", topic.name)}).to_string();
    let lines = api.call("POST", "/v1/query", &[("accept", LINES)], body.clone()).await.expect(200);
    assert_eq!(lines.header("content-type"), Some(LINES));
    assert_eq!(lines.text(), "{\"n\":1,\"_offset\":0}\n{\"n\":2,\"_offset\":1}\n{\"n\":null,\"_offset\":2}\n");
    let arrow = api.call("POST", "/v1/query", &[("accept", "application/vnd.apache.arrow.stream")], body.clone()).await;
    let batch = read(&arrow.expect(200));
    let numbers: Int64Array = column(&batch, "n");
    assert_eq!((numbers.value(1), numbers.is_null(2), batch.num_rows()), (2, true, 3));
    api.call("POST", "/v1/query", &[("accept", "image/png")], body.clone()).await.problem(406, "not_acceptable");
    api.call("POST", "/v1/query", &[("content-type", "text/plain")], body).await.problem(415, "unsupported_media_type");
    let none = api.call("POST", "/v1/query", &[("accept", LINES)], r#"{"sql":"SELECT 1 AS a WHERE false"}"#).await;
    assert_eq!(none.expect(200).text(), "");
}

#[tokio::test]
async fn refusals_say_what_and_where() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    topic.append(r#"{"n":1}"#).await;
    let t = &topic.name;
    let place = |sql: &str, what: &str| sql.find(what).map(|at| at as u64);
    for (sql, at) in [
        (format!("SELECT n FROM \"{t}\" WHERE"), None),
        (format!("SELECT m FROM \"{t}\""), Some("m FROM")),
        (format!("SELECT N FROM \"{t}\""), Some("N FROM")),
        (format!("SELECT repeat('x', 9) FROM \"{t}\""), Some("repeat")),
        (format!("DROP TABLE {t}"), Some("DROP")),
        (format!("SELECT n, n FROM \"{t}\""), None),
        (format!("SELECT 1/0 FROM \"{t}\""), None),
        (format!("SELECT CAST('x' AS INT) FROM \"{t}\""), None),
    ] {
        let problem = refused(&api, &sql).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.ends_with('.') && !detail.contains("DataFusion") && !detail.contains(".rs"), "{sql}: {problem}");
        if let Some(what) = at {
            assert_eq!(problem["position"].as_u64(), place(&sql, what), "{sql}: {problem}");
        }
    }
    let problem = refused(&api, "SELECT nosuch(1)").await;
    assert!(allowed(&problem).contains(&"count"));
    for sql in [
        "SELECT * FROM nobody",
        "SELECT * FROM \"/etc/passwd\"",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM x.y",
    ] {
        let problem = ask(&api, sql, json!([])).await.problem(404, "topic_not_found");
        assert!(problem["detail"].as_str().unwrap().contains("no topic"), "{problem}");
    }
    let memory = api.topic("memory").await;
    memory.append("{}").await;
    let problem = ask(&api, &format!("SELECT * FROM \"{}\"", memory.name), json!([]))
        .await
        .problem(400, "unsupported_by_backend");
    assert_eq!(allowed(&problem), COLUMNAR);
}

#[tokio::test]
async fn an_empty_topic_is_an_empty_table() {
    let api = shared().await;
    for backend in COLUMNAR {
        let topic = api.topic(backend).await;
        assert_eq!(rows(&api, &format!("SELECT * FROM \"{}\"", topic.name)).await, json!([]));
        assert_eq!(rows(&api, &format!("SELECT count(*) AS n FROM \"{}\"", topic.name)).await, json!([{"n": 0}]));
        topic.append("[{},{}]").await;
        assert_eq!(rows(&api, &format!("SELECT count(*) AS n FROM \"{}\"", topic.name)).await, json!([{"n": 2}]));
        flush(&topic).await;
        topic.post("trim", r#"{"before":1}"#).await.expect(200);
        assert_eq!(rows(&api, &format!("SELECT _offset FROM \"{}\"", topic.name)).await, json!([{"_offset": 1}]));
    }
}

#[tokio::test]
async fn what_one_topic_shows_no_other_lacks_the_cause_of() {
    let api = shared().await;
    let (cause, effect) = (api.topic("persisting").await, api.topic("persisting").await);
    cause.append(r#"{"n":0}"#).await;
    effect.append(r#"{"n":0}"#).await;
    let writing = async {
        for n in 1..60 {
            // Each effect comes after its cause has been acknowledged.
            cause.append(json!({ "n": n }).to_string()).await;
            effect.append(json!({ "n": n }).to_string()).await;
            if n % 20 == 0 {
                flush(&effect).await;
            }
        }
    };
    let sql =
        format!("SELECT (SELECT max(n) FROM \"{}\") AS c, (SELECT max(n) FROM \"{}\") AS e", cause.name, effect.name);
    let asking = async {
        let mut seen = 0;
        while seen < 59 {
            let row = rows(&api, &sql).await[0].clone();
            let (c, e) = (row["c"].as_i64().unwrap(), row["e"].as_i64().unwrap());
            assert!(c >= e && c <= e + 1, "an effect without its cause: {row}");
            seen = e;
        }
    };
    tokio::join!(writing, asking);
}

#[tokio::test]
async fn the_last_records_come_first_where_they_are_asked_for() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    let records = |from: u64| Value::Array((from..from + 700).map(|n| json!({"n": n})).collect()).to_string();
    topic.append(records(0)).await;
    flush(&topic).await;
    topic.append(records(700)).await;
    let t = &topic.name;
    for (rest, expected) in [
        ("ORDER BY _offset DESC LIMIT 3", vec![1_399, 1_398, 1_397]),
        ("WHERE n % 500 = 0 ORDER BY _offset DESC", vec![1_000, 500, 0]),
        ("WHERE n % 500 = 0 ORDER BY _timestamp DESC, _offset DESC LIMIT 2", vec![1_000, 500]),
        ("WHERE _offset < 2 ORDER BY _timestamp DESC", vec![1, 0]),
        ("ORDER BY _offset DESC LIMIT 2 OFFSET 1300", vec![99, 98]),
        ("ORDER BY _offset LIMIT 2 OFFSET 699", vec![699, 700]),
    ] {
        let rows = rows(&api, &format!("SELECT n FROM \"{t}\" {rest}")).await;
        let found: Vec<u64> = rows.as_array().unwrap().iter().map(|row| row["n"].as_u64().unwrap()).collect();
        assert_eq!(found, expected, "{rest}");
    }
    let body = json!({"sql": format!("SELECT n FROM \"{t}\" ORDER BY _offset DESC")}).to_string();
    let lines = api.call("POST", "/v1/query", &[("accept", LINES)], body).await.expect(200).text();
    assert!(lines.lines().eq((0..1_400).rev().map(|n| format!("{{\"n\":{n}}}"))), "every record once");
}

#[tokio::test]
async fn json_is_json_where_it_is_a_topics_and_text_where_anything_was_done_to_it() {
    let api = shared().await;
    let topic =
        api.make(json!({"schema": {"fields": [{"name": "j", "type": "json"}, {"name": "n", "type": "int64"}]}})).await;
    topic.append(r#"{"j":{"a":1},"n":1}"#).await;
    let t = &topic.name;
    for (sql, is_json) in [
        (format!("SELECT j AS x FROM \"{t}\" ORDER BY n LIMIT 1"), true),
        (
            format!(
                "SELECT q.y AS x FROM (SELECT n, j AS y FROM \"{t}\" WHERE n = 1) AS q JOIN \"{t}\" AS p ON p.n = q.n"
            ),
            true,
        ),
        (format!("SELECT j AS x FROM \"{t}\" UNION ALL SELECT j FROM \"{t}\" WHERE n = 2"), false),
        (format!("SELECT coalesce(j, 'no json') AS x FROM \"{t}\""), false),
        (format!("SELECT j::TEXT AS x FROM \"{t}\""), false),
        (format!("SELECT max(j) AS x FROM \"{t}\""), false),
        (format!("SELECT lag(j, 0) OVER (ORDER BY n) AS x FROM \"{t}\""), false),
    ] {
        let answer = ask(&api, &sql, json!([])).await.expect(200).json();
        let (word, value) = if is_json { ("json", json!({"a": 1})) } else { ("string", json!("{\"a\":1}")) };
        assert_eq!((&answer["columns"][0]["type"], &answer["rows"]), (&json!(word), &json!([{ "x": value }])), "{sql}");
    }
}
