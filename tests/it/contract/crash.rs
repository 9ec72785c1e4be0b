//! What is there again after a stop, and after a crash: real processes.

use serde_json::{Value, json};

use crate::support::api::{Api, Topic};
use crate::support::process::Launch;

const SMALL: [&str; 2] = ["--disk-floor-bytes", "0"];

/// The topics of a run, by what they promise.
struct Topics {
    memory: Topic,
    lance: Topic,
    persisting: Topic,
    without_log: Topic,
}

async fn make(api: &Api) -> Topics {
    // No commit by age: only what is flushed is.
    let slow = json!({"flush_interval_ms": 86_400_000});
    let without_log = json!({"backend_options": {"flush_interval_ms": 86_400_000, "enable_wal": false}});
    Topics {
        memory: api.topic("memory").await,
        lance: api.make(json!({"backend": "lance", "backend_options": slow})).await,
        persisting: api.make(json!({"backend": "persisting", "backend_options": slow})).await,
        without_log: api.make(without_log).await,
    }
}

impl Topics {
    fn all(&self) -> [&Topic; 4] {
        [&self.memory, &self.lance, &self.persisting, &self.without_log]
    }

    /// The same topics of another process.
    fn of(&self, api: &Api) -> Topics {
        let again = |topic: &Topic| api.named(&topic.name);
        let [memory, lance, persisting, without_log] = self.all().map(again);
        Topics { memory, lance, persisting, without_log }
    }
}

async fn description(topic: &Topic) -> Value {
    topic.get("").await.expect(200).json()
}

#[tokio::test]
async fn after_a_crash_memory_has_nothing_lance_what_was_flushed_persisting_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path()).with(&SMALL);
    let server = launch.start_ready().await;
    let topics = make(&Api::new(server.base())).await;
    let mut before = Vec::new();
    for topic in topics.all() {
        topic.append("{\"n\":0}{\"n\":1}{\"n\":2}").await;
        topic.post("flush", "").await.expect(200);
        topic.append("{\"n\":3}{\"n\":4}").await;
        topic.wait_for_tail(5).await;
        before.push(topic.values(0).await);
    }
    let key = [("idempotency-key", "k")];
    topics.persisting.append_with(&key, "{\"n\":5}").await.expect(200);
    let producer = [("producer-id", "p"), ("producer-epoch", "3"), ("producer-seq", "0")];
    topics.persisting.append_with(&producer, "{\"n\":6,\"new\":true}").await.expect(200);
    let epochs: Vec<u64> = {
        let mut epochs = Vec::new();
        for topic in topics.all() {
            epochs.push(description(topic).await["epoch"].as_u64().unwrap());
        }
        epochs
    };
    server.kill();

    let server = launch.start_ready().await;
    let topics = topics.of(&Api::new(server.base()));
    for (topic, kept) in topics.all().into_iter().zip([0, 3, 7, 3]) {
        assert_eq!(topic.tail().await, kept, "{}", description(topic).await["backend"]);
    }
    assert_eq!(topics.memory.values(0).await, Vec::<String>::new());
    assert_eq!(topics.lance.values(0).await, before[1][..3]);
    assert_eq!(topics.without_log.values(0).await, before[3][..3]);
    let persisting = topics.persisting.values(0).await;
    assert_eq!((&persisting[..5], persisting[6].as_str()), (&before[2][..], "{\"n\":6,\"new\":true}"));
    // Epochs tell of what may be lost; with the log nothing is.
    for (index, topic) in topics.all().into_iter().enumerate() {
        let epoch = description(topic).await["epoch"].as_u64().unwrap();
        assert_eq!(epoch == epochs[index], index == 2, "{}", description(topic).await);
    }
    // Writers are remembered.
    let again = topics.persisting.append_with(&key, "{\"n\":5}").await.expect(200).json();
    assert_eq!((&again["duplicate"], &again["first_offset"]), (&json!(true), &json!(5)));
    let again = topics.persisting.append_with(&producer, "{\"n\":6,\"new\":true}").await.expect(200).json();
    assert_eq!((&again["duplicate"], &again["first_offset"]), (&json!(true), &json!(6)));
    for (topic, next) in topics.all().into_iter().zip([0, 3, 7, 3]) {
        assert_eq!(topic.append("{\"n\":9}").await["first_offset"].as_u64(), Some(next));
    }
    assert!(server.stop().success());
}

#[tokio::test]
async fn after_a_stop_everything_but_memory_is_there_again_and_so_are_definitions() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path()).with(&SMALL);
    let server = launch.start_ready().await;
    let topics = make(&Api::new(server.base())).await;
    let mut before = Vec::new();
    for topic in topics.all() {
        topic.append("{\"n\":0}{\"n\":1}{\"n\":2}").await;
        topic.wait_for_tail(3).await;
        topic.call("PATCH", "", &[], r#"{"retention":{"max_records":1000}}"#).await.expect(200);
        topic.post("trim", "{\"before\":1}").await.expect(200);
        topic.post("close", "").await.expect(200);
        before.push((
            description(topic).await,
            topic.values(1).await,
            topic.get("").await.header("etag").unwrap().to_owned(),
        ));
    }
    assert!(server.stop().success());

    let server = launch.start_ready().await;
    let topics = topics.of(&Api::new(server.base()));
    for (topic, (before, values, etag)) in topics.all().into_iter().zip(before) {
        let after = description(topic).await;
        let members: &[&str] = if before["backend"] == "memory" {
            assert_eq!(
                (&after["tail_offset"], topic.get("count").await.json()),
                (&json!(0), json!({"total_count": 0}))
            );
            assert!(after["epoch"].as_u64() > before["epoch"].as_u64());
            &["topic", "id", "backend", "backend_options", "retention", "created_at", "schema_mode", "state"]
        } else {
            assert_eq!(topic.values(1).await, values);
            &[
                "topic",
                "id",
                "epoch",
                "backend",
                "backend_options",
                "retention",
                "created_at",
                "schema_mode",
                "schema_version",
                "state",
                "earliest_offset",
                "tail_offset",
                "dataset_uri",
            ]
        };
        for member in members {
            assert_eq!(after[*member], before[*member], "{member}");
        }
        assert_eq!(topic.get("").await.header("etag"), Some(etag.as_str()));
        topic.post("records", "{}").await.problem(409, "topic_closed");
        topic.call("PUT", "", &[], "").await.expect(200);
    }
    assert!(server.stop().success());
}

#[tokio::test]
async fn deleted_topics_stay_deleted_and_their_folders_go() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path()).with(&SMALL);
    let server = launch.start_ready().await;
    let topics = make(&Api::new(server.base())).await;
    for topic in topics.all() {
        topic.append("{\"n\":0}").await;
        topic.call("DELETE", "", &[], "").await.expect(204);
    }
    server.kill();
    let server = launch.start_ready().await;
    let api = Api::new(server.base());
    assert_eq!(api.get("/v1/topics").await.json()["topics"], json!([]));
    let left = || std::fs::read_dir(folder.path().join("datasets")).unwrap().count();
    crate::support::api::until("folders are gone", async || left() == 0).await;
    for topic in topics.of(&api).all() {
        topic.call("PUT", "", &[], "").await.expect(201);
        assert_eq!(topic.append("{\"n\":\"other\"}").await["first_offset"], 0);
    }
    assert!(server.stop().success());
}
