//! Exactly-once writing: producers and idempotency keys.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::api::{Answer, Headers, Topic, allowed};
use crate::support::local::shared;

/// The backends that keep such state.
const ABLE: [&str; 2] = ["memory", "persisting"];

async fn produce(topic: &Topic, id: &str, epoch: u64, seq: u64, body: &str) -> Answer {
    let (epoch, seq) = (epoch.to_string(), seq.to_string());
    topic.append_with(&[("producer-id", id), ("producer-epoch", &epoch), ("producer-seq", &seq)], body).await
}

async fn keyed(topic: &Topic, key: &str, body: &str) -> Answer {
    topic.append_with(&[("idempotency-key", key)], body).await
}

#[tokio::test]
async fn seq_must_follow_the_last_one() {
    let api = shared().await;
    for backend in ABLE {
        let topic = api.topic(backend).await;
        let problem = produce(&topic, "p", 0, 1, "{}").await.problem(409, "producer_gap");
        assert_eq!(problem["expected_seq"], 0);
        for seq in 0..3 {
            let answer = produce(&topic, "p", 0, seq, "{}{}").await.expect(200).json();
            assert_eq!((answer["first_offset"].as_u64(), answer.get("duplicate")), (Some(2 * seq), None));
        }
        let problem = produce(&topic, "p", 0, 4, "{}").await.problem(409, "producer_gap");
        assert_eq!(problem["expected_seq"], 3);
        assert_eq!(topic.tail().await, 6);
        // Another producer has numbers of its own.
        assert_eq!(produce(&topic, "q", 9, 0, "{}").await.expect(200).json()["first_offset"], 6);
    }
}

#[tokio::test]
async fn a_refused_request_uses_up_no_seq_and_raises_no_epoch() {
    let api = shared().await;
    for backend in ABLE {
        let topic = api.topic(backend).await;
        produce(&topic, "p", 1, 0, "{\"a\":1}").await.expect(200);
        produce(&topic, "p", 1, 1, "{\"a\":").await.problem(400, "invalid_json");
        produce(&topic, "p", 1, 1, "[1]").await.problem(422, "invalid_record");
        produce(&topic, "p", 2, 0, "[]").await.problem(400, "empty_batch");
        produce(&topic, "p", 2, 5, "{}").await.problem(409, "producer_gap");
        assert_eq!(topic.tail().await, 1);
        assert_eq!(produce(&topic, "p", 1, 1, "{\"a\":2}").await.expect(200).json()["first_offset"], 1);
    }
}

#[tokio::test]
async fn a_higher_epoch_starts_at_0_and_fences_the_lower_one() {
    let api = shared().await;
    for backend in ABLE {
        let topic = api.topic(backend).await;
        produce(&topic, "p", 3, 0, "{}").await.expect(200);
        let problem = produce(&topic, "p", 4, 1, "{}").await.problem(409, "producer_gap");
        assert_eq!(problem["expected_seq"], 0);
        produce(&topic, "p", 4, 0, "{}").await.expect(200);
        for seq in [0, 1] {
            let problem = produce(&topic, "p", 3, seq, "{}").await.problem(403, "producer_fenced");
            assert_eq!(problem["current_epoch"], 4);
        }
        assert_eq!(topic.tail().await, 2);
        produce(&topic, "p", 4, 1, "{}").await.expect(200);
    }
}

#[tokio::test]
async fn sixteen_requests_are_answered_again_and_older_ones_are_expired() {
    let api = shared().await;
    for backend in ABLE {
        let topic = api.topic(backend).await;
        let mut answers = Vec::new();
        for seq in 0..40 {
            answers.push(produce(&topic, "p", 0, seq, "{\"a\":1}{\"a\":2}").await.expect(200).json());
        }
        for seq in 24..40_u64 {
            // The body is not compared.
            let mut again = produce(&topic, "p", 0, seq, "nonsense").await.expect(200).json();
            assert_eq!(again.as_object_mut().unwrap().remove("duplicate"), Some(json!(true)));
            assert_eq!(again, answers[usize::try_from(seq).unwrap()]);
        }
        produce(&topic, "p", 0, 0, "{}").await.problem(409, "duplicate_expired");
        assert_eq!(topic.tail().await, 80);
    }
}

#[tokio::test]
async fn a_duplicate_is_answered_with_todays_durability() {
    let topic = shared().await.topic("persisting").await;
    produce(&topic, "p", 0, 0, "{}").await.expect(200);
    let headers = [("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0")];
    let again = topic.call("POST", "records?ack=committed", &headers, "{}").await.expect(200).json();
    assert_eq!((&again["durability"], &again["duplicate"]), (&json!("committed"), &json!(true)));
    assert_eq!(topic.get("stats").await.json()["committed_offset"], 1);
    let again = topic.call("POST", "records?ack=accepted", &headers, "{}").await.expect(200).json();
    assert!(again["durability"] == "committed" || again["durability"] == "wal", "{again}");
}

#[tokio::test]
async fn a_retry_is_answered_even_when_the_topic_is_closed_or_the_offset_has_moved() {
    let api = shared().await;
    for backend in ABLE {
        let topic = api.topic(backend).await;
        let headers = [("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0")];
        let once = async || {
            topic.call("POST", "records?expected_offset=0&close=true", &headers, "{}").await.expect(200).json()
        };
        let first = once().await;
        let mut again = once().await;
        assert_eq!(again.as_object_mut().unwrap().remove("duplicate"), Some(json!(true)));
        assert_eq!(again, first);
        // Closed comes before fence and gap.
        produce(&topic, "p", 0, 7, "{}").await.problem(409, "topic_closed");
        produce(&topic, "p", 0, 1, "{}").await.problem(409, "topic_closed");
    }
    let topic = api.topic("persisting").await;
    keyed(&topic, "k", "{}").await.expect(200);
    topic.post("close", "").await.expect(200);
    assert_eq!(keyed(&topic, "k", "{}").await.expect(200).json()["duplicate"], true);
    keyed(&topic, "k", "{} ").await.problem(422, "idempotency_mismatch");
}

#[tokio::test]
async fn gaps_and_fences_come_before_expected_offset_and_records() {
    let topic = shared().await.topic("persisting").await;
    let headers = [("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "3")];
    topic.refuse("?expected_offset=9", &headers, "nonsense", (409, "producer_gap")).await;
    let headers = [("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0")];
    topic.refuse("?expected_offset=9", &headers, "nonsense", (412, "offset_mismatch")).await;
}

#[tokio::test]
async fn concurrent_retries_of_one_request_store_it_once() {
    let api = shared().await;
    for backend in ABLE {
        let topic = api.topic(backend).await;
        for seq in 0..5 {
            let answers = join_all((0..6).map(|_| produce(&topic, "p", 0, seq, "{\"a\":1}"))).await;
            let fresh = answers.iter().filter(|answer| answer.json().get("duplicate").is_none()).count();
            assert_eq!(fresh, 1);
            assert!(answers.iter().all(|answer| answer.status == 200 && answer.json()["first_offset"] == seq));
        }
        assert_eq!(topic.tail().await, 5);
    }
}

#[tokio::test]
async fn producer_headers_come_all_three_or_none() {
    let api = shared().await;
    let topic = api.topic("persisting").await;
    let (id, epoch, seq) = (("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0"));
    let long = "x".repeat(129);
    for headers in [
        vec![id],
        vec![epoch],
        vec![seq],
        vec![id, epoch],
        vec![id, seq],
        vec![epoch, seq],
        vec![id, epoch, ("producer-seq", "-1")],
        vec![id, epoch, ("producer-seq", "9007199254740992")],
        vec![id, epoch, ("producer-seq", "1.0")],
        vec![id, epoch, ("producer-seq", "")],
        vec![id, ("producer-epoch", "x"), seq],
        vec![("producer-id", ""), epoch, seq],
        vec![("producer-id", "a b"), epoch, seq],
        vec![("producer-id", &long), epoch, seq],
        vec![id, id, epoch, seq],
        vec![id, epoch, seq, ("idempotency-key", "k")],
        vec![("idempotency-key", "")],
        vec![("idempotency-key", "a b")],
        vec![("idempotency-key", "a"), ("idempotency-key", "b")],
    ] {
        topic.refuse("", &headers, "{}", (400, "invalid_parameter")).await;
    }
    let key = "~".repeat(255);
    keyed(&topic, &key, "{}").await.expect(200);
    keyed(&topic, &format!("{key}~"), "{}").await.problem(400, "invalid_parameter");
    produce(&topic, &"!".repeat(128), 9_007_199_254_740_991, 0, "{}").await.expect(200);
}

#[tokio::test]
async fn backends_without_an_atomic_place_for_it_refuse() {
    let api = shared().await;
    let lance = api.topic("lance").await;
    let without_log = api.make(json!({"backend_options": {"enable_wal": false}})).await;
    for topic in [lance, without_log] {
        for answer in [produce(&topic, "p", 0, 0, "{}").await, keyed(&topic, "k", "{}").await] {
            let problem = answer.problem(400, "unsupported_by_backend");
            assert_eq!(problem["capability"], "exactly_once");
            assert_eq!(allowed(&problem), ["memory", "persisting"]);
        }
        assert_eq!(topic.tail().await, 0);
    }
}

#[tokio::test]
async fn the_same_key_and_body_is_the_original_answer() {
    let api = shared().await;
    for backend in ABLE {
        let topic = api.topic(backend).await;
        let first = keyed(&topic, "k-1", "{\"a\":1}{\"a\":2}").await.expect(200).json();
        topic.append("{\"a\":3}").await;
        let mut again = keyed(&topic, "k-1", "{\"a\":1}{\"a\":2}").await.expect(200).json();
        assert_eq!(again.as_object_mut().unwrap().remove("duplicate"), Some(json!(true)));
        assert_eq!(again, first);
        for other in ["{\"a\":1}", "{\"a\":1} {\"a\":2}", "nonsense"] {
            keyed(&topic, "k-1", other).await.problem(422, "idempotency_mismatch");
        }
        assert_eq!(topic.tail().await, 3);
        keyed(&topic, "k-2", "{\"a\":1}{\"a\":2}").await.expect(200);
        // Another topic has keys of its own.
        let other = api.topic(backend).await;
        assert_eq!(keyed(&other, "k-1", "{}").await.expect(200).json().get("duplicate"), None);
    }
}

#[tokio::test]
async fn the_hash_is_of_the_decoded_bytes() {
    let topic = shared().await.topic("persisting").await;
    keyed(&topic, "k", "{\"a\":1}").await.expect(200);
    let zipped = zstd::encode_all(&b"{\"a\":1}"[..], 3).unwrap();
    let answer = topic.append_with(&[("idempotency-key", "k"), ("content-encoding", "zstd")], zipped).await.expect(200);
    assert_eq!(answer.json()["duplicate"], true);
}

#[tokio::test]
async fn only_2xx_are_kept_under_a_key() {
    let api = shared().await;
    for backend in ABLE {
        let topic = api.topic(backend).await;
        keyed(&topic, "k", "{\"a\":").await.problem(400, "invalid_json");
        let headers = [("idempotency-key", "k")];
        topic.refuse("?expected_offset=5", &headers, "{}", (412, "offset_mismatch")).await;
        assert_eq!(keyed(&topic, "k", "{}").await.expect(200).json().get("duplicate"), None);
    }
}

#[tokio::test]
async fn a_key_that_still_runs_is_waited_for() {
    let api = shared().await;
    for backend in ABLE {
        let topic = api.topic(backend).await;
        let answers = join_all((0..10).map(|_| keyed(&topic, "k", "{\"a\":1}"))).await;
        let answers: Vec<Value> = answers.into_iter().map(|answer| answer.expect(200).json()).collect();
        assert!(answers.iter().all(|answer| answer["first_offset"] == 0));
        assert_eq!(answers.iter().filter(|answer| answer.get("duplicate").is_none()).count(), 1);
        assert_eq!(topic.tail().await, 1);
    }
}

#[tokio::test]
async fn trimming_does_not_touch_the_state() {
    let api = shared().await;
    for backend in ABLE {
        let topic = api.topic(backend).await;
        produce(&topic, "p", 0, 0, "{}").await.expect(200);
        keyed(&topic, "k", "{}").await.expect(200);
        topic.post("trim", "{\"before\":2}").await.expect(200);
        assert_eq!(produce(&topic, "p", 0, 0, "{}").await.expect(200).json()["first_offset"], 0);
        assert_eq!(keyed(&topic, "k", "{}").await.expect(200).json()["first_offset"], 1);
        produce(&topic, "p", 0, 1, "{}").await.expect(200);
    }
}

#[tokio::test]
async fn a_repeat_that_asks_for_it_closes_the_topic() {
    let api = shared().await;
    for backend in ["memory", "persisting"] {
        for headers in [
            &[("idempotency-key", "k")] as Headers<'_>,
            &[("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0")],
        ] {
            let topic = api.topic(backend).await;
            topic.call("POST", "records", headers, "{}").await.expect(200);
            let again = topic.call("POST", "records?close=true", headers, "{}").await.expect(200).json();
            assert_eq!((&again["duplicate"], &again["next_offset"]), (&json!(true), &json!(1)));
            assert_eq!(topic.get("").await.json()["state"], "closed");
            topic.call("POST", "records?close=true", headers, "{}").await.expect(200);
            topic.post("records", "{}").await.problem(409, "topic_closed");
        }
    }
}
