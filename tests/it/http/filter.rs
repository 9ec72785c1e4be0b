//! Filters on reads, exports and streams: the same records pass in memory, on disk, and with a cut anywhere between.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::support::api::{Answer, Topic, allowed, until};
use crate::support::arrow::{columns, read};
use crate::support::local::{Local, shared};
use crate::support::sse::{Block, Sse};

/// The backends that have columns.
const COLUMNAR: [&str; 2] = ["lance", "persisting"];

fn encoded(filter: &str) -> String {
    utf8_percent_encode(filter, NON_ALPHANUMERIC).to_string()
}

async fn filtered(topic: &Topic, rest: &str, filter: &str) -> Answer {
    topic.get(&format!("{rest}{}filter={}", if rest.contains('?') { '&' } else { '?' }, encoded(filter))).await
}

async fn page(topic: &Topic, query: &str, filter: &str) -> Value {
    filtered(topic, &format!("records{query}"), filter).await.expect(200).json()
}

fn offsets(page: &Value) -> Vec<u64> {
    page["records"].as_array().unwrap().iter().map(|record| record["offset"].as_u64().unwrap()).collect()
}

/// The next event that has data.
async fn event(stream: &mut Sse) -> Block {
    loop {
        let event = stream.event().await.expect("the stream goes on");
        if event.0.contains("data:") {
            return event;
        }
    }
}

/// Ten records of each of which a part is committed, and the rest not.
async fn filled(backend: &str) -> Topic {
    let mut configuration = json!({"backend": backend});
    if backend == "lance" {
        configuration["schema"] = json!({"fields": [
            {"name": "n", "type": "int64"}, {"name": "s", "type": "string"},
            {"name": "o", "type": "struct", "fields": [{"name": "x", "type": "float64"}]},
            {"name": "l", "type": "list", "items": {"type": "string"}}, {"name": "j", "type": "json"}
        ]});
    }
    let topic = shared().await.make(configuration).await;
    topic.append(r#"[{"n":0,"s":"a"},{"n":1,"s":"b","o":{"x":1.5}},{"n":9007199254740993},{"s":"A"}]"#).await;
    topic.post("flush", "").await.expect(200);
    topic.append(r#"[{"n":4,"s":"a"},{"n":5,"l":["p","q"]},{"n":6,"s":"ä%"}]"#).await;
    topic.post("flush", "").await.expect(200);
    topic.append(r#"[{"n":7,"s":"a"},{"n":8,"o":{"x":2.5}},{"n":9,"j":[1,"x"]}]"#).await;
    topic.wait_for_tail(10).await;
    topic
}

#[tokio::test]
async fn a_page_has_what_passes_and_stands_past_what_it_has_looked_at() {
    for backend in COLUMNAR {
        let topic = filled(backend).await;
        for (filter, expected) in [
            ("s = 'a'", &[0, 4, 7][..]),
            ("n > 9007199254740992", &[2]),
            ("n > 9007199254740993.5", &[]),
            ("lower(s) = 'a'", &[0, 3, 4, 7]),
            ("o.x >= 1.5 AND o.x < 2.5", &[1]),
            ("s IS NULL AND NOT n = 2", &[2, 5, 8, 9]),
            ("array_has(l, 'q') OR j IS NOT NULL", &[5, 9]),
            ("s LIKE '%\\%'", &[6]),
            ("_offset BETWEEN 3 AND 7 AND n NOT IN (4, NULL, 6)", &[]),
            ("_offset BETWEEN 3 AND 7 AND n NOT IN (4, 6)", &[5, 7]),
            ("_timestamp >= '2020-01-01T00:00:00Z' AND n < 2", &[0, 1]),
        ] {
            let found = page(&topic, "", filter).await;
            assert_eq!(offsets(&found), expected, "{backend}: {filter}");
            assert_eq!((&found["next_offset"], &found["up_to_date"]), (&json!(10), &json!(true)), "{filter}");
            let rest = format!("records?filter={}", encoded(filter));
            let lines = topic.call("GET", &rest, &[("accept", "application/x-ndjson")], "").await.expect(200).text();
            let found: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(offsets(&json!({"records": found})), expected, "{backend}: {filter}");
            let table = columns(&topic, &format!("?fields=n&filter={}", encoded(filter))).await;
            assert_eq!((table.num_rows(), table.num_columns()), (expected.len(), 3), "{backend}: {filter}");
            let rows = filtered(&topic, "export?format=arrow", filter).await.expect(200);
            assert_eq!(read(&rows).num_rows(), expected.len(), "{backend}: {filter}");
            let lines = filtered(&topic, "export", filter).await.expect(200).text();
            assert_eq!(lines.lines().count(), expected.len(), "{backend}: {filter}");
        }
        // The limit counts what passes, and the next page goes on behind it.
        let first = page(&topic, "?limit=2", "s = 'a'").await;
        assert_eq!((offsets(&first), &first["next_offset"]), (vec![0, 4], &json!(5)));
        let second = page(&topic, "?limit=2&offset=5", "s = 'a'").await;
        assert_eq!((offsets(&second), &second["next_offset"]), (vec![7], &json!(10)));
        let values = page(&topic, "?fields=s&offset=3", "n = 4").await;
        assert_eq!(values["records"][0]["value"], json!({"s": "a"}), "a filter may read what is not shown");
    }
}

#[tokio::test]
async fn a_filter_goes_with_the_past_and_with_schema_versions() {
    let topic = filled("persisting").await;
    let version = topic.get("versions").await.json()["versions"][0]["version"].as_u64().unwrap();
    assert_eq!(offsets(&page(&topic, &format!("?version={version}"), "s = 'a'").await), [0, 4]);
    topic.call("PUT", "tags/t", crate::support::api::JSON, format!("{{\"version\":{version}}}")).await.expect(201);
    assert_eq!(offsets(&page(&topic, "?tag=t", "lower(s) = 'a'").await), [0, 3, 4]);
    let problem = filtered(&topic, "records?tag=t", "j IS NULL").await.problem(400, "invalid_parameter");
    assert_eq!(problem["position"], 0, "the version of then has no such column");
    assert_eq!(offsets(&page(&topic, "?as_of=2020-01-01T00:00:00Z", "s = 'a'").await), [] as [u64; 0]);
    assert_eq!(offsets(&page(&topic, "?as_of=2999-01-01T00:00:00Z", "s = 'a'").await), [0, 4, 7]);
    // The filter names the columns of today; the version says how what passes is shown.
    let shown = page(&topic, "?schema_version=1", "array_has(l, 'p')").await;
    assert_eq!(shown["records"][0]["value"], json!({"n": 5}));
}

#[tokio::test]
async fn a_filter_that_cannot_be_is_refused_where_it_goes_wrong() {
    for backend in COLUMNAR {
        let topic = filled(backend).await;
        for (filter, position) in
            [("nope = 1", 0), ("n = 1 AND s = 2", 14), ("n = ", 4), ("o.y IS NULL", 0), ("n == 1", 3)]
        {
            for rest in ["records", "stream", "export?format=parquet"] {
                let problem = filtered(&topic, rest, filter).await.problem(400, "invalid_parameter");
                assert_eq!(problem["position"], position, "{filter}: {problem}");
            }
        }
        let problem = filtered(&topic, "records", "nope = 1").await.problem(400, "invalid_parameter");
        assert!(allowed(&problem).contains(&"n"), "{problem}");
        topic.get("records?filter=").await.problem(400, "invalid_parameter");
    }
    let memory = shared().await.topic("memory").await;
    for rest in ["records", "stream", "export"] {
        let problem = filtered(&memory, rest, "n = 1").await.problem(400, "unsupported_by_backend");
        assert_eq!((&problem["capability"], allowed(&problem)), (&json!("filter"), vec!["lance", "persisting"]));
        filtered(&memory, rest, "n =").await.problem(400, "invalid_parameter");
    }
    filtered(&shared().await.named("nobody"), "records", "n = 1").await.problem(404, "topic_not_found");
}

#[tokio::test]
async fn before_the_first_schema_every_column_is_null() {
    let topic = shared().await.topic("persisting").await;
    assert_eq!(offsets(&page(&topic, "", "x = 1").await), [] as [u64; 0]);
    let mut stream =
        Sse::open(&topic, &format!("?offset=0&filter={}", encoded("x = 1 OR y IS NULL AND x > 5")), &[]).await;
    assert_eq!(event(&mut stream).await.name(), Some("position"));
    assert_eq!(event(&mut stream).await.name(), Some("caught-up"));
    topic.append(r#"[{"x":1},{"x":2},{"x":9},{"y":1,"x":7}]"#).await;
    let mut found = Vec::new();
    while found.len() < 2 {
        let next = event(&mut stream).await;
        if next.name().is_none() {
            found.push(next.data()["offset"].as_u64().unwrap());
        }
    }
    assert_eq!(found, [0, 2]);
    filtered(&topic, "records", "z = 1").await.problem(400, "invalid_parameter");
}

#[tokio::test]
async fn a_long_poll_waits_until_something_passes() {
    for backend in COLUMNAR {
        let topic = filled(backend).await;
        let nothing = page(&topic, "?wait=1", "n = 77").await;
        assert_eq!((offsets(&nothing), &nothing["next_offset"]), (vec![], &json!(10)));
        for accept in ["application/json", "application/x-ndjson"] {
            let tail = topic.tail().await;
            let rest = format!("records?offset={tail}&wait=60&filter={}", encoded("n = 77"));
            let headers = [("accept", accept)];
            let (waiting, ()) = tokio::join!(topic.call("GET", &rest, &headers, ""), async {
                topic.append(r#"{"n":1}"#).await;
                topic.append(r#"{"n":77}"#).await;
            });
            let text = waiting.expect(200).text();
            assert!(text.contains(&format!("\"offset\":{}", tail + 1)), "{text}");
            assert!(!text.contains(&format!("\"offset\":{tail},")), "{text}");
        }
    }
}

#[tokio::test]
async fn a_stream_moves_its_resume_position_over_what_is_left_out() {
    let topic = shared().await.topic("persisting").await;
    let many = |from: u64, count: u64| (from..from + count).map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>();
    topic.append(many(0, 2_500)).await;
    topic.post("flush", "").await.expect(200);
    topic.append(many(2_500, 1_700)).await;
    topic.wait_for_tail(4_200).await;
    let mut stream =
        Sse::open(&topic, &format!("?offset=0&limit=2&filter={}", encoded("n = 2400 OR n = 4199")), &[]).await;
    let mut told = Vec::new();
    for event in stream.rest().await.into_iter().filter(|event| event.0.contains("data:")) {
        let data = event.data();
        match event.name() {
            Some("position") => told.push((0, data["next_offset"].as_u64().unwrap())),
            None => told.push((1, data["offset"].as_u64().unwrap())),
            Some("end") => assert_eq!(data, json!({"reason": "limit", "next_offset": 4_200})),
            Some(_) => {}
        }
    }
    let records: Vec<u64> = told.iter().filter(|(kind, _)| *kind == 1).map(|(_, offset)| *offset).collect();
    assert_eq!(records, [2_400, 4_199]);
    let before = told.iter().take_while(|(kind, _)| *kind == 0).filter(|(_, next)| *next > 0).count();
    assert!(before > 0, "2,400 records were left out before the first: {told:?}");
    assert!(told.iter().any(|(kind, next)| *kind == 0 && *next > 3_400 && *next <= 4_199), "{told:?}");
    let finite = filtered(&topic, "stream?offset=0&block=false", "n = 7").await.expect(200).text();
    assert!(
        finite.contains("\"offset\":7,") && finite.contains("{\"reason\":\"tail\",\"next_offset\":4200}"),
        "{finite}"
    );
}

#[tokio::test]
async fn many_streams_with_one_filter_get_the_same() {
    let (server, _folder) = Local::fresh().await;
    let topic = server.api().topic("persisting").await;
    topic.append(r#"{"n":0,"s":"x"}"#).await;
    topic.wait_for_tail(1).await;
    let mut streams = Vec::new();
    for filter in ["n > 1", "n > 1", "n > 1", "s = 'x'", "s = 'x'"] {
        streams.push(Sse::open(&topic, &format!("?offset=1&filter={}", encoded(filter)), &[]).await);
    }
    for round in 1..40 {
        topic.append(format!(r#"[{{"n":{},"s":"x"}},{{"n":0}}]"#, round % 3)).await;
    }
    topic.append(r#"{"n":99,"s":"x"}"#).await;
    let mut found = Vec::new();
    for stream in &mut streams {
        let mut mine = Vec::new();
        loop {
            let next = event(stream).await;
            if next.name().is_none() {
                mine.push(next.data()["offset"].as_u64().unwrap());
                if next.data()["value"]["n"] == 99 {
                    break;
                }
            }
        }
        found.push(mine);
    }
    assert_eq!((&found[0], &found[0], &found[3]), (&found[1], &found[2], &found[4]));
    assert_eq!((found[0].len(), found[3].len()), (14, 40));
}

#[tokio::test]
async fn a_filter_follows_what_is_posted() {
    for flushed in [false, true] {
        let topic = shared().await.topic("persisting").await;
        topic.append(r#"[{"a":1,"b":"x"},{"a":2,"b":"y"},{"a":300}]"#).await;
        if flushed {
            topic.post("flush", "").await.expect(200);
        }
        let changes = json!({"changes": [{"op": "rename", "path": "a", "to": "c"}, {"op": "drop", "path": "b"}]});
        topic.post("schemas", changes.to_string()).await.expect(201);
        assert_eq!(offsets(&page(&topic, "", "c >= 2").await), [1, 2], "{flushed}");
        filtered(&topic, "records", "a = 1").await.problem(400, "invalid_parameter");
        filtered(&topic, "records", "b = 'x'").await.problem(400, "invalid_parameter");
        topic.append(r#"{"c":2.5,"b":"x"}"#).await;
        until("the append is seen", || async { topic.tail().await == 4 }).await;
        assert_eq!(offsets(&page(&topic, "", "c > 2").await), [2, 3], "{flushed}");
        assert_eq!(offsets(&page(&topic, "", "b = 'x'").await), [3], "no old value comes back");
    }
}
