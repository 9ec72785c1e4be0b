//! What queries may take, and what they may not do: limits, clients that go, and a list of hostile statements.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use persisting::model::{ErrorCode, TopicName};
use persisting::sql::{Ask, Batches, Queries, QueryLimits};
use persisting::topic::Step;
use serde_json::{Value, json};

use super::sql::{LINES, ask, refused, rows};
use crate::support::api::{Api, until};
use crate::support::local::{Local, Setup, query_runtime};

/// A server with its own limits for queries, a topic with some records, and a query over them that takes for ever.
async fn limited(queries: QueryLimits) -> (Local, Api, tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    setup.queries = queries;
    let local = setup.start().await;
    let api = local.api();
    api.put("/v1/topics/a", "{}").await.expect(201);
    let records: Vec<Value> = (0..3_000).map(|n| json!({"n": n, "k": format!("k{}", n % 7), "text": format!("some text {n}").repeat(20), "xs": [n, 1], "s": {"x": n}})).collect();
    api.post("/v1/topics/a/records", Value::Array(records).to_string()).await.expect(200);
    (
        local,
        api,
        folder,
        "SELECT count(*) AS c FROM a AS x, a AS y, a AS z, a AS u WHERE x.n + y.n + z.n + u.n < 0".to_owned(),
    )
}

#[tokio::test]
async fn a_query_ends_at_its_limits() {
    let limits = QueryLimits {
        queries_max: 1,
        timeout: Duration::from_secs(1),
        memory_bytes: 8 << 20,
        rows_max: 100,
        ..QueryLimits::default()
    };
    let (_local, api, _folder, endless) = limited(limits).await;
    let problem = refused(&api, &endless).await;
    assert_eq!(problem["limit"], 1);
    let problem = refused(&api, "SELECT array_agg(x.text) AS t FROM a AS x, a AS y").await;
    assert_eq!(problem["limit"], 8 << 20);
    let cut = ask(&api, "SELECT n FROM a", json!([])).await.expect(200).json();
    assert_eq!(
        (&cut["row_count"], &cut["truncated"], cut["rows"].as_array().unwrap().len()),
        (&json!(100), &json!(true), 100)
    );
    let exact = ask(&api, "SELECT n FROM a LIMIT 100", json!([])).await.expect(200).json();
    assert_eq!((&exact["row_count"], &exact["truncated"]), (&json!(100), &json!(false)));
    let body = json!({"sql": "SELECT n FROM a"}).to_string();
    let lines = api.call("POST", "/v1/query", &[("accept", LINES)], body).await.expect(200);
    assert_eq!(lines.text().lines().count(), 3_000, "lines have no such bound");
    let wide = "SELECT x.text AS t, y.n FROM a AS x JOIN a AS y ON x.n = y.n";
    assert_eq!(ask(&api, wide, json!([])).await.expect(200).json()["row_count"], 100);
}

#[tokio::test]
async fn a_client_that_goes_ends_its_query() {
    let limits = QueryLimits { queries_max: 1, timeout: Duration::from_secs(600), ..QueryLimits::default() };
    let (_local, api, _folder, endless) = limited(limits).await;
    let body = json!({ "sql": endless }).to_string();
    let asked = tokio::spawn({
        let (api, body) = (Api::new(api.base()), body.clone());
        async move { api.post("/v1/query", body).await }
    });
    // There is one place, and it is taken: the next one is told to come back.
    let busy = || async { api.post("/v1/query", r#"{"sql":"SELECT 1 AS a"}"#).await.status.as_u16() == 503 };
    until("the query runs", busy).await;
    let told = api.post("/v1/query", r#"{"sql":"SELECT 1 AS a"}"#).await;
    assert!(told.header("retry-after").is_some());
    assert_eq!(told.problem(503, "overloaded")["limit"], 1);
    asked.abort();
    // Gone with it is what it held.
    let free = || async { api.post("/v1/query", r#"{"sql":"SELECT 1 AS a"}"#).await.status.as_u16() == 200 };
    until("the place is free", free).await;
}

#[derive(serde::Deserialize)]
struct Hostile {
    name: String,
    pieces: Vec<(String, usize)>,
    #[serde(default)]
    params: Vec<Value>,
    #[serde(default)]
    may_run: bool,
}

#[tokio::test]
async fn hostile_queries_are_refused_or_bounded() {
    let limits = QueryLimits {
        queries_max: 4,
        timeout: Duration::from_secs(1),
        memory_bytes: 32 << 20,
        rows_max: 100,
        ..QueryLimits::default()
    };
    let (_local, api, _folder, _) = limited(limits).await;
    api.put("/v1/topics/b", "{}").await.expect(201);
    api.put("/v1/topics/memory_topic", r#"{"backend":"memory"}"#).await.expect(201);
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/queries.json")).unwrap();
    let hostile: Vec<Hostile> = serde_json::from_str(&text).unwrap();
    assert!(hostile.len() >= 100);
    let api = Arc::new(api);
    let mut wrong = Vec::new();
    for few in hostile.chunks(2) {
        let asked = few.iter().map(|query| {
            let api = Arc::clone(&api);
            async move {
                let sql: String = query.pieces.iter().map(|(text, times)| text.repeat(*times)).collect();
                (query, ask(&api, &sql, Value::Array(query.params.clone())).await)
            }
        });
        for (query, answer) in join_all(asked).await {
            let fits = match answer.status.as_u16() {
                200 => query.may_run,
                400 | 404 => true,
                _ => false,
            };
            if !fits {
                wrong.push(format!(
                    "{}: {} {}",
                    query.name,
                    answer.status,
                    answer.text().chars().take(200).collect::<String>()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Nothing was written, and the server is as well as before.
    assert_eq!(rows(&api, "SELECT count(*) AS n FROM a").await, json!([{"n": 3_000}]));
    assert_eq!(api.get("/v1/topics").await.json()["topics"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn who_is_slow_has_no_place_beyond_the_time_and_is_told() {
    let (local, _api, _folder, _) = limited(QueryLimits::default()).await;
    let limits = QueryLimits { queries_max: 1, timeout: Duration::from_secs(1), ..QueryLimits::default() };
    let queries = Queries::new(Arc::clone(local.engine()), query_runtime().clone(), limits);
    let asked = |sql: &str| queries.run(Ask { sql: sql.to_owned(), ..Ask::default() }, |_| Ok(Batches));
    let mut slow = asked("SELECT x.n FROM a AS x, a AS y").await.unwrap();
    until("the place is free", || async { asked("SELECT 1 AS a").await.is_ok() }).await;
    let problem = loop {
        match slow.next().await {
            Ok(rows) => assert!(rows.is_some(), "an answer that was cut off ends as a whole one"),
            Err(problem) => break problem,
        }
    };
    assert_eq!(problem.limit, Some(1));
}

#[tokio::test]
async fn a_row_longer_than_an_answer_is_refused_before_it_is_printed() {
    let (_local, api, _folder, _) = limited(QueryLimits::default()).await;
    api.post("/v1/topics/a/records", json!({"n": -1, "text": "x".repeat(1 << 20)}).to_string()).await.expect(200);
    let columns: Vec<String> = (0..9).map(|at| format!("text AS c{at}")).collect();
    let sql = |n: i32| json!({"sql": format!("SELECT {} FROM a WHERE n = {n}", columns.join(", "))}).to_string();
    for form in ["application/json", LINES] {
        let asked = async |n| api.call("POST", "/v1/query", &[("accept", form)], sql(n)).await;
        assert_eq!(asked(-1).await.problem(400, "invalid_body")["limit"], 8 << 20);
        asked(1).await.expect(200);
    }
}

#[tokio::test]
async fn columns_that_go_while_they_are_read_end_the_read() {
    let (local, api, _folder, _) = limited(QueryLimits::default()).await;
    let topic = local.engine().topic(&TopicName::parse("a").unwrap()).await.unwrap();
    let cut = topic.cut_at(topic.mark()).unwrap();
    let names: Vec<_> = cut.schema().fields.iter().map(|field| field.name.clone()).collect();
    let read = |name: &str| {
        let set = cut.columns(|at| names[at] == name);
        cut.read(set, cut.mark().earliest, cut.mark().tail, Step { rows: 1, bytes: 1 << 20 })
    };
    let (mut dropped, mut renamed) = (read("k"), read("n"));
    let first = renamed.next().await.unwrap().unwrap();
    assert!(dropped.next().await.unwrap().is_ok());
    let changes = r#"{"changes":[{"op":"drop","path":"k"},{"op":"rename","path":"n","to":"m"}]}"#;
    api.post("/v1/topics/a/schemas", changes).await.expect(201);
    let problem = dropped.next().await.unwrap().unwrap_err();
    assert_eq!((problem.code, problem.is_retryable()), (ErrorCode::ColumnsChanged, true));
    let second = renamed.next().await.unwrap().unwrap();
    assert_eq!((second.schema(), second.column(2).null_count()), (first.schema(), 0));
    // What has expired meanwhile can be left out by the next query.
    api.post("/v1/topics/a/trim", r#"{"before":3000}"#).await.expect(200);
    let problem = renamed.next().await.unwrap().unwrap_err();
    assert_eq!((problem.code, problem.is_retryable()), (ErrorCode::OffsetExpired, true));
}

#[tokio::test]
async fn what_a_row_could_hold_up_for_long_is_refused() {
    let (_local, api, _folder, _) = limited(QueryLimits::default()).await;
    let long = json!({"text": "a ".repeat(70_000)}).to_string();
    api.post("/v1/topics/a/records", long).await.expect(200);
    // Patterns that cannot be used, or that become large, are known before anything runs.
    for wrong in [
        "text ~ '('",
        "text SIMILAR TO '('",
        "regexp_replace(text, '(', '') = ''",
        "regexp_like(text, 'a{1000}{1000}')",
        "text ~ 'a[ab]{20000}c'",
    ] {
        let problem = refused(&api, &format!("SELECT n FROM a WHERE {wrong}")).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("The pattern of a regular expression"), "{detail}");
    }
    for call in
        ["regexp_count(text, 'z|a')", "length(regexp_replace(text, 'z|a', '', 'g'))", "regexp_instr(text, 'z|a')"]
    {
        let problem = refused(&api, &format!("SELECT sum({call}) AS r FROM a")).await;
        assert!(problem["detail"].as_str().unwrap().contains("texts of at most 131072 bytes"), "{problem}");
    }
    assert_eq!(
        rows(&api, "SELECT sum(regexp_count(left(text, 1000), 'a')) AS r FROM a WHERE n IS NULL").await,
        json!([{"r": 500}])
    );
    for call in ["median(n)", "percentile_cont(n, 0.5)"] {
        let problem = refused(&api, &format!("SELECT {call} OVER (ORDER BY n) AS r FROM a")).await;
        assert!(problem["detail"].as_str().unwrap().contains("for groups only"), "{problem}");
    }
}

#[tokio::test]
async fn who_takes_nothing_of_an_answer_has_no_place_for_long_and_is_told() {
    let (local, _api, _folder, _) = limited(QueryLimits::default()).await;
    let (reader_patience, timeout) = (Duration::from_millis(100), Duration::from_secs(600));
    let limits = QueryLimits { queries_max: 1, timeout, reader_patience, ..QueryLimits::default() };
    let queries = Queries::new(Arc::clone(local.engine()), query_runtime().clone(), limits);
    let asked = |sql: &str| queries.run(Ask { sql: sql.to_owned(), ..Ask::default() }, |_| Ok(Batches));
    let mut slow = asked("SELECT x.n FROM a AS x, a AS y").await.unwrap();
    until("the place is free", || async { asked("SELECT 1 AS a").await.is_ok() }).await;
    let problem = loop {
        match slow.next().await {
            Ok(rows) => assert!(rows.is_some(), "an answer that was cut off ends as a whole one"),
            Err(problem) => break problem,
        }
    };
    assert!(problem.detail.contains("nothing of its answer was taken"), "{}", problem.detail);
}
