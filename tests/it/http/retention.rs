//! Retention: by count, age and bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use persisting::io::Clock;
use persisting::model::Timestamp;
use serde_json::{Value, json};

use crate::support::api::{Topic, until};
use crate::support::local::{Setup, shared};

/// A clock that is set by hand.
#[derive(Debug)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

impl Hand {
    fn forward(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

async fn earliest(topic: &Topic) -> u64 {
    topic.get("").await.json()["earliest_offset"].as_u64().unwrap()
}

async fn filled(configuration: Value, count: usize) -> Topic {
    let topic = shared().await.make(configuration).await;
    topic.append("{\"a\":1}".repeat(count)).await;
    topic
}

#[tokio::test]
async fn max_records_is_exact_and_within_10_s_in_the_tail_too() {
    let mut topics = Vec::new();
    for backend in super::BACKENDS {
        topics.push(filled(json!({"backend": backend, "retention": {"max_records": 7}}), 100).await);
        // A bound that is added later.
        let later = filled(json!({"backend": backend}), 100).await;
        later.call("PATCH", "", &[], r#"{"retention":{"max_records":7}}"#).await.expect(200);
        topics.push(later);
    }
    let began = Instant::now();
    for topic in &topics {
        until("what is too much is gone", async || earliest(topic).await == 93).await;
        assert_eq!(topic.get("count").await.json(), json!({"total_count": 7}));
        topic.get("records?offset=92").await.problem(410, "offset_expired");
        let page = topic.get("records").await.expect(200).json();
        assert_eq!((&page["records"][0]["offset"], page["records"].as_array().unwrap().len()), (&json!(93), 7));
        topic.post("flush", "").await.expect(200);
        assert_eq!(topic.values(93).await.len(), 7);
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test]
async fn max_age_secs_is_exact_to_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path());
    let clock = Arc::new(Hand(AtomicI64::new(1_800_000_000_000_000)));
    setup.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let server = setup.start().await;
    let mut topics = Vec::new();
    for backend in super::BACKENDS {
        let topic = server.api().make(json!({"backend": backend, "retention": {"max_age_secs": 60}})).await;
        topic.append("{\"a\":1}{\"a\":2}").await;
        topics.push(topic);
    }
    clock.forward(Duration::from_secs(40));
    for topic in &topics {
        topic.append("{\"a\":3}").await;
        topic.wait_for_tail(3).await;
    }
    clock.forward(Duration::from_secs(21));
    for topic in &topics {
        until("what is too old is gone", async || earliest(topic).await == 2).await;
        assert_eq!(topic.values(2).await, ["{\"a\":3}"]);
    }
    clock.forward(Duration::from_secs(41));
    for topic in &topics {
        until("everything is too old", async || earliest(topic).await == 3).await;
        assert_eq!(topic.append("{\"a\":4}").await["first_offset"], 3);
    }
    // Keys are kept for 24 hours and no longer.
    let keyed = async |body: &str| topics[2].append_with(&[("idempotency-key", "k")], body).await;
    keyed("{\"a\":5}").await.expect(200);
    clock.forward(Duration::from_hours(23));
    keyed("{\"a\":6}").await.problem(422, "idempotency_mismatch");
    clock.forward(Duration::from_mins(61));
    assert_eq!(keyed("{\"a\":6}").await.expect(200).json().get("duplicate"), None);
    // Producers are kept for 7 idle days, and then begin with 0 in any epoch.
    let produce = async |epoch: &str, seq: &str| {
        topics[0].append_with(&[("producer-id", "p"), ("producer-epoch", epoch), ("producer-seq", seq)], "{}").await
    };
    produce("5", "0").await.expect(200);
    clock.forward(Duration::from_hours(7 * 24 - 1));
    produce("4", "0").await.problem(403, "producer_fenced");
    produce("5", "1").await.expect(200);
    clock.forward(Duration::from_hours(7 * 24 + 1));
    produce("4", "1").await.problem(409, "producer_gap");
    produce("4", "0").await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn max_bytes_on_memory_is_of_the_bytes_held_to_the_record() {
    let record = format!("{{\"a\":\"{}\"}}", "x".repeat(1_000));
    let topic = shared().await.make(json!({"backend": "memory", "retention": {"max_bytes": 5_000}})).await;
    topic.append(record.repeat(50)).await;
    until("what is too much is gone", async || earliest(&topic).await > 0).await;
    let left = 50 - earliest(&topic).await;
    assert!((3..=5).contains(&left), "{left}");
    assert_eq!(topic.values(50 - left).await.len() as u64, left);
}

#[tokio::test]
async fn max_bytes_on_disk_counts_stored_bytes_and_drops_whole_fragments() {
    let mut topics = Vec::new();
    for backend in ["lance", "persisting"] {
        let topic = shared().await.make(json!({"backend": backend})).await;
        for round in 0..6_u32 {
            // Texts that do not repeat, so that they take the room that they seem to.
            let text = |index: u32| {
                format!(
                    "{:x}",
                    (u128::from(index + round * 1_000) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
                )
            };
            let records: String =
                (0..300).map(|index| format!("{{\"t\":\"{}{}\"}}", text(index), text(index + 500))).collect();
            topic.append(records).await;
            topic.post("flush", "").await.expect(200);
        }
        let stored = topic.get("stats").await.json()["stored_bytes"].as_u64().unwrap();
        let bound = stored / 2;
        topic.call("PATCH", "", &[], json!({"retention": {"max_bytes": bound}}).to_string()).await.expect(200);
        topics.push((topic, bound));
    }
    for (topic, bound) in topics {
        until("old fragments are gone", async || earliest(&topic).await > 0).await;
        let first = earliest(&topic).await;
        assert!(first % 300 == 0 && (600..=1_200).contains(&first), "{first}");
        until("and so are their bytes", async || {
            topic.get("stats").await.json()["stored_bytes"].as_u64().unwrap() <= bound
        })
        .await;
        assert_eq!(topic.values(first).await.len() as u64, 1_800 - first);
    }
}

#[tokio::test]
async fn a_commit_that_is_larger_than_max_bytes_stays_until_the_next() {
    for backend in ["lance", "persisting"] {
        let topic = shared().await.make(json!({"backend": backend, "retention": {"max_bytes": 1}})).await;
        let other = shared().await.make(json!({"backend": backend, "retention": {"max_records": 1}})).await;
        for round in 0..3_u64 {
            topic.append(r#"[{"n":1},{"n":2}]"#).await;
            topic.post("flush", "").await.expect(200);
            until("older commits are gone", async || earliest(&topic).await == round * 2).await;
        }
        // Retention has looked at all topics since.
        other.append(r#"[{"n":1},{"n":2}]"#).await;
        until("another topic's is enforced", async || earliest(&other).await == 1).await;
        assert_eq!(earliest(&topic).await, 4, "{backend}");
        let preview = topic.post("retention/preview", "").await.expect(200).json();
        assert_eq!((&preview["records"], &preview["earliest_offset"]), (&json!(0), &json!(4)));
    }
}

#[tokio::test]
async fn readers_of_what_is_retained_away_get_a_gap() {
    let topic = filled(json!({"backend": "memory", "retention": {"max_records": 5}}), 50).await;
    until("what is too much is gone", async || earliest(&topic).await == 45).await;
    let text = topic.get("stream?offset=10&block=false").await.expect(200).text();
    assert!(text.contains("data: {\"from\":10,\"to\":45,\"reason\":\"retention\"}"), "{text}");
    assert_eq!(text.matches("\"value\":").count(), 5);
}
