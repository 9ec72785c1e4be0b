//! `atomic=false`: files of any length, in pieces.

use std::io;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc;
use serde_json::{Value, json};

use crate::support::api::{Headers, JSON, NDJSON, Topic};
use crate::support::local::{Setup, shared};

async fn load(topic: &Topic, headers: Headers<'_>, body: impl Into<Vec<u8>>) -> crate::support::api::Answer {
    topic.call("POST", "records?atomic=false", headers, body).await
}

fn lines(count: usize) -> String {
    (0..count).map(|index| format!("{{\"n\":{index}}}\n")).collect()
}

#[tokio::test]
async fn a_load_is_stored_in_pieces_and_answered_as_one() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        topic.append("{\"n\":-1}").await;
        topic.wait_for_tail(1).await;
        let answer = load(&topic, NDJSON, lines(25_000)).await;
        assert!(answer.status.is_success(), "{answer}");
        let receipt = answer.json();
        let told = |member: &str| receipt[member].as_u64().unwrap();
        assert_eq!(
            (told("first_offset"), told("last_offset"), told("next_offset"), told("count")),
            (1, 25_000, 25_001, 25_000)
        );
        topic.wait_for_tail(25_001).await;
        let page = topic.get("records?offset=10000&limit=3").await.json();
        assert_eq!(
            (&page["records"][0]["value"], &page["records"][2]["value"]),
            (&json!({"n": 9_999}), &json!({"n": 10_001}))
        );
    }
}

#[tokio::test]
async fn sequences_and_arrays_are_loaded_too() {
    let topic = shared().await.topic("memory").await;
    let form: Headers = &[("content-type", "application/x-www-form-urlencoded")];
    let array = format!("[{}]", vec!["{\"a\":[1,2]}"; 12_000].join(",\n"));
    for (headers, body, count) in [
        (&[] as Headers, "{\"a\":1}{\"a\":\"}{\"}\n{\"a\":3}".to_owned(), 3),
        (form, lines(10_001), 10_001),
        (&[], array.clone(), 12_000),
    ] {
        let next = topic.tail().await;
        let receipt = load(&topic, headers, body).await.expect(200).json();
        assert_eq!((&receipt["count"], receipt["first_offset"].as_u64()), (&json!(count), Some(next)));
    }
}

#[tokio::test]
async fn the_ack_is_of_all_pieces() {
    let topic = shared().await.topic("persisting").await;
    let answer = topic.call("POST", "records?atomic=false&ack=committed", NDJSON, lines(10_001)).await.expect(200);
    assert_eq!(answer.json()["durability"], "committed");
    assert_eq!(topic.get("stats").await.json()["committed_offset"], 10_001);
    let answer = load(&topic, NDJSON, lines(10)).await.expect(200);
    assert_eq!(answer.json()["durability"], "wal");
    let problem =
        topic.call("POST", "records?atomic=false&ack=nothing", NDJSON, "{}").await.problem(400, "invalid_parameter");
    assert!(problem.get("count").is_none_or(|count| *count == 0));
    let lance = shared().await.topic("lance").await;
    lance.call("POST", "records?atomic=false&ack=wal", NDJSON, "{}").await.problem(400, "ack_unsupported");
}

#[tokio::test]
async fn what_stops_a_load_tells_what_is_stored_and_the_line() {
    let api = shared().await;
    for backend in super::BACKENDS {
        for (bad, status, code) in [
            ("{\"n\":", 400, "invalid_json"),
            ("7", 422, "invalid_record"),
            ("{\"n\":1,\"n\":2}", 422, "invalid_record"),
            ("{\"n\":NaN}", 400, "invalid_json"),
        ] {
            let topic = api.topic(backend).await;
            let problem = load(&topic, NDJSON, lines(12_000) + bad + "\n" + &lines(5)).await.problem(status, code);
            let stored = problem["count"].as_u64().unwrap();
            // Pieces are atomic: what is whole before the bad one is stored.
            assert!(stored == 10_000 || stored == 12_000, "{problem}");
            assert_eq!(
                (&problem["first_offset"], problem["next_offset"].as_u64()),
                (&json!(0), Some(stored)),
                "{problem}"
            );
            assert_eq!(problem["line"], 12_001, "{problem}");
            if code == "invalid_record" {
                assert_eq!(problem["errors"][0]["record"], 12_000, "{problem}");
            }
            topic.wait_for_tail(stored).await;
            assert_eq!(topic.tail().await, stored);
            let again = load(&topic, NDJSON, lines(3)).await;
            assert_eq!(again.json()["first_offset"].as_u64(), Some(stored), "{again}");
        }
    }
}

#[tokio::test]
async fn where_nothing_is_stored_the_first_offset_is_null() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        topic.append("{\"n\":1}").await;
        topic.wait_for_tail(1).await;
        for (headers, body, status, code) in [
            (NDJSON, "nonsense", 400, "invalid_json"),
            (NDJSON, "[{}]", 422, "invalid_record"),
            (NDJSON, "\n\n", 400, "empty_batch"),
            (NDJSON, "", 400, "empty_batch"),
            (&[] as Headers, "{\"n\":1", 400, "invalid_json"),
            (&[], "[{\"n\":1}", 400, "invalid_json"),
            (&[], "[]", 400, "empty_batch"),
            (&[], "3", 422, "invalid_record"),
            (&[], "{\"n\":1},", 400, "invalid_json"),
        ] {
            let problem = load(&topic, headers, body).await.problem(status, code);
            assert_eq!(problem["first_offset"].is_null(), problem["count"] == 0, "{body}: {problem}");
            let stored = problem["count"].as_u64().unwrap();
            assert_eq!(problem["next_offset"].as_u64(), Some(topic.tail().await), "{body}: {problem}");
            assert!(stored == 0 || body.ends_with("},"), "{body}: {problem}");
        }
    }
}

#[tokio::test]
async fn a_sequence_is_stopped_at_its_line_and_column() {
    let topic = shared().await.topic("memory").await;
    let problem = load(&topic, &[], "{\"a\":1}\n{\"a\":2}\n  {\"a\":x}\n").await.problem(400, "invalid_json");
    assert_eq!((&problem["line"], &problem["column"]), (&json!(3), &json!(8)), "{problem}");
    let topic = shared().await.topic("memory").await;
    let body = lines(10_000) + "{\"a\":1} {\"b\":x}\n";
    let problem = load(&topic, &[], body).await.problem(400, "invalid_json");
    assert_eq!((&problem["line"], &problem["column"]), (&json!(10_001), &json!(14)), "{problem}");
}

#[tokio::test]
async fn a_load_goes_without_producer_key_expected_offset_and_close() {
    let topic = shared().await.topic("persisting").await;
    let producer: Headers = &[("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0")];
    for (query, headers) in
        [("", producer), ("", &[("idempotency-key", "k")]), ("&expected_offset=0", &[]), ("&close=true", &[])]
    {
        topic.refuse(&format!("?atomic=false{query}"), headers, "{}", (400, "invalid_parameter")).await;
    }
    let answer = topic.call("POST", "records?atomic=true&expected_offset=0", producer, "{}").await;
    answer.expect(200);
    topic.refuse("?atomic=maybe", &[], "{}", (400, "invalid_parameter")).await;
}

#[tokio::test]
async fn each_piece_may_bring_columns_of_its_own() {
    let topic = shared().await.topic("persisting").await;
    let body = lines(10_000) + &"{\"n\":0.5,\"s\":\"x\"}\n".repeat(5);
    let receipt = load(&topic, NDJSON, body).await.expect(200).json();
    assert_eq!((&receipt["count"], &receipt["schema_version"]), (&json!(10_005), &json!(2)));
    let versions: Value = topic.get("schemas").await.expect(200).json();
    assert_eq!(versions["schemas"][1]["cause"], "evolved");
    // Under strict the piece that does not fit is the one that stops it.
    let strict = shared().await.topic("lance").await;
    let problem = load(&strict, NDJSON, lines(10_000) + "{\"s\":\"x\"}\n").await.problem(422, "schema_conflict");
    assert_eq!(
        (&problem["count"], &problem["line"], &problem["errors"][0]["record"]),
        (&json!(10_000), &json!(10_001), &json!(10_000))
    );
}

#[tokio::test]
async fn an_unbounded_json_document_needs_no_more_than_a_piece() {
    let topic = shared().await.topic("memory").await;
    // 20 MiB in records of 1 KiB, more than one piece of 8 MiB.
    let record = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1_013));
    let receipt = load(&topic, NDJSON, record.repeat(20 * 1_024)).await.expect(200).json();
    assert_eq!(receipt["count"], 20 * 1_024);
    let json = topic.call("POST", "records?atomic=false", JSON, "[{\"a\":1}]").await;
    assert!(json.status == 200 || json.status == 400, "{json}");
}

type Pipe = mpsc::UnboundedSender<io::Result<Vec<u8>>>;

/// A load whose body comes as it is sent.
fn piped(topic: &Topic) -> (Pipe, tokio::task::JoinHandle<(u16, Value)>) {
    let (sender, body) = mpsc::unbounded();
    let request = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = request.post(format!("{}{}", topic.api.base(), topic.at("records?atomic=false")));
    let request = request.header("content-type", "application/x-ndjson").body(reqwest::Body::wrap_stream(body));
    let answer = tokio::spawn(async move {
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    });
    (sender, answer)
}

#[tokio::test]
async fn what_comes_now_and_then_can_be_read_while_it_goes_on() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        let (pipe, answer) = piped(&topic);
        // A line that is not whole is no record yet.
        pipe.unbounded_send(Ok(b"{\"n\":0}\n{\"n\":".to_vec())).unwrap();
        topic.wait_for_tail(1).await;
        pipe.unbounded_send(Ok(b"1}\n".to_vec())).unwrap();
        topic.wait_for_tail(2).await;
        drop(pipe);
        let (status, receipt) = answer.await.unwrap();
        assert!(matches!(status, 200 | 202), "{receipt}");
        assert_eq!((&receipt["first_offset"], &receipt["count"]), (&json!(0), &json!(2)));
    }
}

#[tokio::test]
async fn a_load_that_stands_still_keeps_what_was_whole_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    // More than whole records wait for others.
    setup.http.body_idle = Duration::from_millis(1_500);
    let local = setup.start().await;
    for backend in ["memory", "persisting"] {
        let topic = local.api().topic(backend).await;
        let (pipe, answer) = piped(&topic);
        pipe.unbounded_send(Ok(b"{\"n\":0}\n{\"n\":1}\n{\"n\":".to_vec())).unwrap();
        let (status, problem) = answer.await.unwrap();
        assert_eq!((status, &problem["code"], &problem["retryable"]), (400, &json!("invalid_body"), &json!(false)));
        assert_eq!(
            (&problem["first_offset"], &problem["next_offset"], &problem["count"], &problem["line"]),
            (&json!(0), &json!(2), &json!(2), &json!(3)),
            "{problem}"
        );
        topic.wait_for_tail(2).await;
        assert_eq!(topic.values(0).await, ["{\"n\":0}", "{\"n\":1}"]);
        // A whole body is whole or not at all.
        let (pipe, answer) = (topic.at("records"), json!({"n": 2}).to_string());
        let never = futures::stream::once(async { Ok::<_, io::Error>(answer) }).chain(futures::stream::pending());
        let request =
            reqwest::Client::builder().no_proxy().build().unwrap().post(format!("{}{pipe}", topic.api.base()));
        let refused = request.body(reqwest::Body::wrap_stream(never)).send().await.unwrap();
        assert_eq!(refused.status().as_u16(), 400);
        assert_eq!(topic.tail().await, 2);
    }
}
