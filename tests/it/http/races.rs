//! Requests that come at once.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::api::{JSON, Topic};
use crate::support::local::shared;
use crate::support::sse::Sse;

#[tokio::test]
async fn of_creations_at_once_one_makes_the_topic() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let path = format!("/v1/topics/race-{backend}");
        let body = json!({"backend": backend}).to_string();
        let answers = join_all((0..8).map(|_| api.put(&path, body.clone()))).await;
        let made = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(made, 1);
        assert!(answers.iter().all(|answer| answer.json()["id"] == answers[0].json()["id"]));
        let gone = join_all((0..4).map(|_| api.call("DELETE", &path, &[], ""))).await;
        assert_eq!(gone.iter().filter(|answer| answer.status == 204).count(), 1);
        assert_eq!(gone.iter().filter(|answer| answer.status == 404).count(), 3);
    }
}

#[tokio::test]
async fn a_close_among_appends_comes_after_all_that_were_taken() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic: Topic = api.topic(backend).await;
        let mut stream = Sse::open(&topic, "?offset=0", &[]).await;
        let writer = |index: u64| {
            let topic = topic.clone();
            async move {
                let mut taken = 0;
                for _ in 0..50 {
                    let answer = topic.post("records", json!({"w": index}).to_string().repeat(2)).await;
                    if !answer.status.is_success() {
                        answer.problem(409, "topic_closed");
                        return taken;
                    }
                    taken += 2;
                }
                taken
            }
        };
        let closing = async {
            tokio::time::sleep(std::time::Duration::from_millis(40)).await;
            topic.post("close", "").await.expect(200).json()["next_offset"].as_u64().unwrap()
        };
        let (taken, next): (Vec<u64>, u64) = tokio::join!(join_all((0..4).map(writer)), closing);
        assert_eq!(taken.iter().sum::<u64>(), next, "{backend}");
        let events = stream.rest().await;
        assert_eq!(events.last().unwrap().data(), json!({"reason": "closed", "next_offset": next}));
        assert_eq!(events.iter().filter(|event| event.name().is_none() && event.id().is_some()).count() as u64, next);
    }
}

#[tokio::test]
async fn of_one_key_for_several_bodies_at_once_one_is_stored() {
    let api = shared().await;
    for backend in ["memory", "persisting"] {
        let topic = api.topic(backend).await;
        let answers = join_all((0..8).map(|index| {
            let topic = topic.clone();
            async move { topic.append_with(&[("idempotency-key", "k")], json!({"n": index}).to_string()).await }
        }))
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.problem(422, "idempotency_mismatch");
        }
        assert_eq!(topic.tail().await, 1);
    }
}

#[tokio::test]
async fn of_first_batches_at_once_one_gives_a_strict_topic_its_columns() {
    let api = shared().await;
    for configuration in [json!({"backend": "lance"}), json!({"schema_mode": "strict"})] {
        let topic = api.make(configuration).await;
        let answers = join_all((0..8).map(|index| {
            let topic = topic.clone();
            async move { topic.call("POST", "records", JSON, format!("{{\"k{index}\":1}}")).await }
        }))
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.status.is_success()).count(), 1);
        for answer in answers.iter().filter(|answer| !answer.status.is_success()) {
            answer.problem(422, "schema_conflict");
        }
        topic.wait_for_tail(1).await;
        assert_eq!(topic.get("schemas").await.json()["schemas"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_patch_of_the_default_ack_hides_nothing_that_could_be_read() {
    let topic = shared().await.make(json!({"backend_options": {"flush_interval_ms": 60_000}})).await;
    topic.append("{\"a\":1}{\"a\":2}{\"a\":3}").await;
    let mut stream = Sse::open(&topic, "?offset=0", &[]).await;
    stream.events(6).await;
    let patch = async |ack: &str| {
        let body = json!({"backend_options": {"ack": ack}}).to_string();
        topic.call("PATCH", "", JSON, body).await.expect(200).json()["tail_offset"].as_u64().unwrap()
    };
    assert_eq!(patch("committed").await, 3);
    assert_eq!((topic.tail().await, topic.values(0).await.len()), (3, 3));
    // What comes now can be read when it is committed, or when the default is the log's again.
    topic.call("POST", "records?ack=wal", &[], "{\"a\":4}").await.expect(200);
    patch("wal").await;
    topic.wait_for_tail(4).await;
    assert_eq!(stream.event().await.unwrap().data()["offset"], 3);
    assert_eq!(topic.values(0).await.len(), 4);
}

#[tokio::test]
async fn readers_see_each_other_topics_offsets_once_while_it_is_flushed_and_trimmed() {
    let api = shared().await;
    for backend in super::BACKENDS {
        let topic = api.topic(backend).await;
        let mut stream = Sse::open(&topic, "?offset=0", &[]).await;
        let writing = async {
            for round in 0..20_u64 {
                let receipt = topic.append(format!("{{\"n\":{round}}}").repeat(10)).await;
                topic.wait_for_tail(receipt["next_offset"].as_u64().unwrap()).await;
                if round % 6 == 2 {
                    topic.post("flush", "").await.expect(200);
                }
                if round % 6 == 4 {
                    topic.post("trim", json!({"before": round * 10 - 15}).to_string()).await.expect(200);
                }
            }
            topic.post("close", "").await.expect(200);
        };
        let (events, ()) = tokio::join!(stream.rest(), writing);
        let mut next = 0;
        let mut seen = BTreeSet::new();
        for event in &events {
            match event.name() {
                Some("gap") => {
                    let gap: Value = event.data();
                    assert_eq!(gap["from"], next);
                    next = gap["to"].as_u64().unwrap();
                }
                None if event.id().is_some() => {
                    assert_eq!(event.data()["offset"], next, "{backend}");
                    assert!(seen.insert(next));
                    next += 1;
                }
                _ => {}
            }
        }
        assert_eq!(next, 200, "{backend}");
    }
}
