//! Reads: pages, lines, single records.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::api::{Headers, Topic, values_of};
use crate::support::local::shared;

const LINES: Headers<'static> = &[("accept", "application/x-ndjson")];

/// A topic with so many records.
async fn filled(backend: &str, count: u64) -> Topic {
    let topic = shared().await.topic(backend).await;
    let records: String = (0..count).map(|index| format!("{{\"n\":{index}}}")).collect();
    topic.append(records).await;
    topic.wait_for_tail(count).await;
    topic
}

fn offsets(page: &Value) -> Vec<u64> {
    page["records"].as_array().unwrap().iter().map(|record| record["offset"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_page_is_as_the_contract_shows_it_and_so_is_each_line() {
    for backend in super::BACKENDS {
        let topic = filled(backend, 3).await;
        let page = topic.get("records?offset=1&limit=1").await.expect(200);
        let epoch = page.json()["epoch"].clone();
        let time = page.json()["records"][0]["timestamp"].as_str().unwrap().to_owned();
        let record = format!("{{\"offset\":1,\"timestamp\":\"{time}\",\"value\":{{\"n\":1}}}}");
        assert_eq!(
            page.text(),
            format!(
                "{{\"topic\":\"{}\",\"epoch\":{epoch},\"records\":[{record}],\"next_offset\":2,\"earliest_offset\":0,\
                 \"tail_offset\":3,\"up_to_date\":false,\"closed\":false}}",
                topic.name
            )
        );
        let lines = topic.call("GET", "records?offset=1&limit=1", LINES, "").await.expect(200);
        assert_eq!((lines.text(), lines.header("content-type")), (format!("{record}\n"), Some("application/x-ndjson")));
        assert_eq!(topic.get("records/1").await.expect(200).text(), record);
        let lines = topic.call("GET", "records", &[("accept", "application/jsonl")], "").await.expect(200);
        assert_eq!(values_of(&lines.text()), ["{\"n\":0}", "{\"n\":1}", "{\"n\":2}"]);
        // The same bytes from the dataset.
        topic.post("flush", "").await.expect(200);
        assert_eq!(topic.get("records?offset=1&limit=1").await.text(), page.text());
    }
}

#[tokio::test]
async fn a_read_begins_where_it_is_told() {
    for backend in super::BACKENDS {
        let topic = filled(backend, 10).await;
        topic.post("trim", "{\"before\":2}").await.expect(200);
        for (query, expected) in [
            ("", (2..10).collect::<Vec<u64>>()),
            ("?offset=earliest", (2..10).collect()),
            ("?offset=2", (2..10).collect()),
            ("?offset=7", (7..10).collect()),
            ("?offset=10", vec![]),
            ("?offset=latest", vec![]),
            ("?offset=-3", (7..10).collect()),
            ("?offset=-0", vec![]),
            ("?offset=-8", (2..10).collect()),
            ("?offset=-9", (2..10).collect()),
            ("?offset=-9007199254740991", (2..10).collect()),
            ("?offset=4&limit=3", (4..7).collect()),
            ("?limit=10000", (2..10).collect()),
            ("?offset=-3&limit=1", vec![7]),
        ] {
            let page = topic.get(&format!("records{query}")).await.expect(200).json();
            assert_eq!(offsets(&page), expected, "{backend} {query}");
            let next = expected.last().map_or(10, |last| last + 1);
            assert_eq!(
                (page["next_offset"].as_u64(), &page["up_to_date"]),
                (Some(next), &json!(next == 10)),
                "{query}"
            );
            assert_eq!((&page["earliest_offset"], &page["tail_offset"]), (&json!(2), &json!(10)));
        }
        for rest in ["records?offset=1", "records?offset=0", "records/0", "records/1", "records?offset=1&wait=1"] {
            let problem = topic.get(rest).await.problem(410, "offset_expired");
            assert_eq!(problem["earliest_offset"], 2);
        }
        for rest in ["records?offset=11", "records?offset=9007199254740991", "records/10", "records/11"] {
            let problem = topic.get(rest).await.problem(416, "offset_out_of_range");
            assert_eq!(problem["tail_offset"], 10);
        }
        for rest in [
            "records?offset=x",
            "records?offset=--1",
            "records?offset=1.0",
            "records?offset=9007199254740992",
            "records?offset=Earliest",
            "records/x",
            "records/-1",
            "records/latest",
            "records?limit=0",
            "records?limit=10001",
            "records?limit=-1",
            "records?wait=61",
            "records?wait=-1",
            "records?wait=0.5",
            "records?epoch=x",
            "records?since=now",
            "records?since=2026-01-01",
            "records?offset=1&since=2026-01-01T00:00:00Z",
        ] {
            topic.get(rest).await.problem(400, "invalid_parameter");
        }
    }
}

#[tokio::test]
async fn since_is_the_first_record_at_or_after_a_time() {
    for backend in super::BACKENDS {
        let topic = shared().await.topic(backend).await;
        for index in 0..4 {
            topic.append(json!({"n": index}).to_string()).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        topic.wait_for_tail(4).await;
        let page = topic.get("records").await.json();
        let time = |index: usize| page["records"][index]["timestamp"].as_str().unwrap().to_owned();
        for index in 0..4_u64 {
            let at = time(usize::try_from(index).unwrap());
            let found = topic.get(&format!("records?since={at}")).await.expect(200).json();
            assert_eq!(offsets(&found), (index..4).collect::<Vec<u64>>(), "{backend} {at}");
        }
        let shifted = format!("{}%2B00:00", time(2).trim_end_matches('Z'));
        assert_eq!(offsets(&topic.get(&format!("records?since={shifted}")).await.json()), [2, 3]);
        assert_eq!(offsets(&topic.get("records?since=1970-01-01T00:00:00Z").await.json()), [0, 1, 2, 3]);
        let late = topic.get("records?since=2999-01-01T00:00:00Z").await.expect(200).json();
        assert_eq!((offsets(&late), &late["next_offset"]), (vec![], &json!(4)));
        topic.post("flush", "").await.expect(200);
        assert_eq!(offsets(&topic.get(&format!("records?since={}", time(1))).await.json()), [1, 2, 3]);
    }
}

#[tokio::test]
async fn another_epoch_is_409_with_the_current_one() {
    let topic = filled("memory", 1).await;
    let epoch = topic.get("").await.json()["epoch"].as_u64().unwrap();
    topic.get(&format!("records?epoch={epoch}")).await.expect(200);
    for other in [0, epoch - 1, epoch + 1_000_000] {
        let problem = topic.get(&format!("records?epoch={other}")).await.problem(409, "epoch_changed");
        assert_eq!(problem["current_epoch"].as_u64(), Some(epoch));
    }
}

#[tokio::test]
async fn a_page_has_a_thousand_records_unless_told_and_lines_have_all() {
    for backend in super::BACKENDS {
        let topic = filled(backend, 12_345).await;
        let count = async |query: &str| {
            topic.get(&format!("records{query}")).await.expect(200).json()["records"].as_array().unwrap().len()
        };
        assert_eq!((count("").await, count("?limit=10000").await, count("?offset=12000").await), (1_000, 10_000, 345));
        let values = topic.values(0).await;
        assert_eq!((values.len(), values[12_344].as_str()), (12_345, "{\"n\":12344}"));
        let lines = topic.call("GET", "records?offset=5&limit=11000", LINES, "").await.expect(200);
        assert_eq!(lines.text().lines().count(), 11_000);
    }
}

#[tokio::test]
async fn a_page_is_cut_at_8_mib_but_has_one_record() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        let big = format!("{{\"a\":\"{}\"}}", "x".repeat(3 << 20));
        topic.append(big.repeat(4)).await;
        topic.wait_for_tail(4).await;
        let page = topic.get("records").await.expect(200);
        assert!(page.body.len() <= (8 << 20) + 1_000, "{}", page.body.len());
        assert_eq!((offsets(&page.json()), &page.json()["next_offset"]), (vec![0, 1], &json!(2)));
        let huge = format!("{{\"a\":\"{}\"}}", "x".repeat((8 << 20) - 10));
        topic.append(huge).await;
        topic.wait_for_tail(5).await;
        assert_eq!(offsets(&topic.get("records?offset=4").await.expect(200).json()), [4]);
        assert_eq!(topic.values(0).await.len(), 5);
    }
}

#[tokio::test]
async fn wait_returns_when_a_record_comes() {
    for backend in super::BACKENDS {
        let topic = filled(backend, 2).await;
        for (query, found) in [("offset=2&wait=30", 2), ("offset=latest&wait=30", 3), ("offset=5&wait=30", 5)] {
            let reading = tokio::spawn({
                let (topic, query) = (topic.clone(), query.to_owned());
                async move { topic.get(&format!("records?{query}")).await }
            });
            tokio::time::sleep(Duration::from_millis(30)).await;
            let began = Instant::now();
            while topic.tail().await <= found {
                let next = topic.tail().await;
                topic.append("{\"n\":7}").await;
                topic.wait_for_tail(next + 1).await;
            }
            let page = reading.await.unwrap().expect(200).json();
            assert_eq!(offsets(&page)[0], found, "{query}");
            assert!(began.elapsed() < Duration::from_secs(10));
        }
        // What is there already is not waited for.
        let began = Instant::now();
        topic.get("records?offset=0&wait=60").await.expect(200);
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn wait_that_is_over_gives_no_records_and_ends_when_the_topic_is_closed() {
    let topic = filled("persisting", 2).await;
    let began = Instant::now();
    for (query, next) in [("offset=2&wait=1", 2), ("offset=9&wait=1", 9)] {
        let page = topic.get(&format!("records?{query}")).await.expect(200).json();
        assert_eq!(
            (offsets(&page), page["next_offset"].as_u64(), &page["tail_offset"]),
            (vec![], Some(next), &json!(2))
        );
        assert_eq!(page["up_to_date"], json!(next == 2));
    }
    assert!(began.elapsed() >= Duration::from_secs(2));
    let page = topic.get("records?offset=2&wait=0").await.expect(200).json();
    assert_eq!(page["next_offset"], 2);
    let waiting = tokio::spawn({
        let topic = topic.clone();
        async move { topic.get("records?offset=2&wait=60").await }
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    topic.post("close", "").await.expect(200);
    let page = waiting.await.unwrap().expect(200).json();
    assert_eq!((offsets(&page), &page["closed"], &page["up_to_date"]), (vec![], &json!(true), &json!(true)));
    let began = Instant::now();
    topic.get("records?offset=2&wait=60").await.expect(200);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn fields_choose_members() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        topic.append(r#"{"a":1,"b":{"c":2,"d":{"e":3}},"odd name":4,"x.y":5,"l":[{"m":6,"n":7}]}"#).await;
        topic.wait_for_tail(1).await;
        for (fields, value) in [
            ("a", r#"{"a":1}"#),
            ("b.c", r#"{"b":{"c":2}}"#),
            ("b.d.e,a", r#"{"a":1,"b":{"d":{"e":3}}}"#),
            ("b", r#"{"b":{"c":2,"d":{"e":3}}}"#),
            ("%22odd%20name%22", r#"{"odd name":4}"#),
            ("%22x.y%22", r#"{"x.y":5}"#),
            ("x.y", "{}"),
            ("nothing", "{}"),
            ("nothing,a", r#"{"a":1}"#),
            ("A", "{}"),
            ("l", r#"{"l":[{"m":6,"n":7}]}"#),
        ] {
            let page = topic.get(&format!("records?fields={fields}")).await.expect(200);
            assert!(page.text().contains(&format!("\"value\":{value}}}]")), "{backend} {fields}: {}", page.text());
            let lines = topic.call("GET", &format!("records?fields={fields}"), LINES, "").await.expect(200);
            assert_eq!(values_of(&lines.text()), [value], "{fields}");
        }
        for fields in ["a,,b", ",", "a.", ".a", "%22a", "a%20b"] {
            topic.get(&format!("records?fields={fields}")).await.problem(400, "invalid_parameter");
        }
    }
}
