//! Requests that have records in the quarantine alone, under a disk that refuses them or takes its time.

use serde_json::json;

use super::*;
use crate::model::{ErrorCode, KeyedWrite, OnInvalid, SchemaMode};
use crate::topic::Topic;

async fn topic(folder: &tempfile::TempDir, disk: &Arc<Gated>) -> (Arc<crate::engine::Engine>, Arc<Topic>) {
    let engine = engine_on(folder, Arc::clone(disk) as _).await;
    let name = TopicName::parse("sorted").unwrap();
    let schema = Some(json!({"fields": [{"name": "n", "type": "int64"}]}));
    let ask = CreateTopic { schema, on_invalid: Some(OnInvalid::Quarantine), ..CreateTopic::default() };
    engine.create(&name, ask).await.unwrap();
    let topic = engine.topic(&name).await.unwrap();
    // A log that has its segment, and a quarantine.
    let first = AppendRequest { body: text(b"{\"n\":\"x\"}{\"n\":1}"), ..record() };
    assert_eq!(topic.append(first).await.unwrap().quarantined, 1);
    (engine, topic)
}

fn text(body: &'static [u8]) -> Body {
    Body::text(Bytes::from_static(body), Form::Sequence)
}

fn bad(key: &str) -> AppendRequest {
    let writer = Writer::Keyed(KeyedWrite { key: key.into(), body_hash: [7; 32] });
    AppendRequest { body: text(b"{\"n\":\"y\"}"), writer, ..record() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_disk_has_refused_is_no_duplicate_though_it_has_no_offset() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Gated::default());
    let (engine, topic) = topic(&folder, &disk).await;
    let other = super::upkeep::topic_of(&engine, "other", CreateTopic::default()).await;
    other.append(record()).await.unwrap();
    disk.log.full.store(true, Ordering::SeqCst);
    assert_eq!(other.append(record()).await.unwrap_err().code, ErrorCode::DiskFull);
    for _ in 0..2 {
        assert_eq!(topic.append(bad("k")).await.unwrap_err().code, ErrorCode::DiskFull);
    }
    disk.log.full.store(false, Ordering::SeqCst);
    // The log also refuses what comes in before it has seen that nobody is left.
    let is_over = async { while other.append(record()).await.is_err() {} };
    tokio::time::timeout(PATIENCE, is_over).await.unwrap();
    // What was refused does not count as appended.
    assert_eq!(other.figures().unwrap().records, other.backend().total_count());
    let quarantine = engine.topic(&TopicName::parse("sorted.quarantine").unwrap()).await.unwrap();
    assert_eq!(quarantine.backend().total_count(), 1);
    let stored = topic.append(bad("k")).await.unwrap();
    assert_eq!((stored.count, stored.quarantined, stored.duplicate), (0, 1, false));
    let again = topic.append(bad("k")).await.unwrap();
    assert_eq!((again.count, again.quarantined, again.duplicate), (0, 1, true));
    assert_eq!(quarantine.backend().total_count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_and_a_checkpoint_wait_for_what_is_on_its_way_to_the_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Gated::default());
    let (_engine, topic) = topic(&folder, &disk).await;
    topic.checkpoint().await.unwrap();
    disk.log.set_closed(true);
    let first = tokio::spawn({
        let topic = Arc::clone(&topic);
        async move { topic.append(bad("k")).await.unwrap() }
    });
    let gate = Arc::clone(&disk.log);
    tokio::task::spawn_blocking(move || gate.await_someone()).await.unwrap();
    let mut duplicate = tokio::spawn({
        let topic = Arc::clone(&topic);
        async move { topic.append(bad("k")).await.unwrap() }
    });
    let mut checkpoint = tokio::spawn({
        let topic = Arc::clone(&topic);
        async move { topic.checkpoint().await.unwrap() }
    });
    let moment = Duration::from_millis(200);
    assert!(tokio::time::timeout(moment, &mut duplicate).await.is_err(), "it rests on what a crash would lose");
    assert!(tokio::time::timeout(moment, &mut checkpoint).await.is_err(), "it rests on what a crash would lose");
    disk.log.set_closed(false);
    let (first, duplicate) = (first.await.unwrap(), duplicate.await.unwrap());
    assert_eq!((first.quarantined, first.duplicate, duplicate.quarantined, duplicate.duplicate), (1, false, 1, true));
    assert_eq!(checkpoint.await.unwrap().unwrap().keys.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_is_refused_when_the_log_has_failed_under_what_came_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Gated::default());
    let (_engine, topic) = topic(&folder, &disk).await;
    assert_eq!(topic.append(bad("k")).await.unwrap().quarantined, 1);
    disk.log.broken.store(true, Ordering::SeqCst);
    assert_eq!(topic.append(bad("l")).await.unwrap_err().code, ErrorCode::LogFailed);
    let again = tokio::time::timeout(PATIENCE, topic.append(bad("k"))).await.expect("it is answered");
    assert_eq!(again.unwrap_err().code, ErrorCode::LogFailed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_without_its_topic_is_gone_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Gated::default());
    let (engine, topic) = topic(&folder, &disk).await;
    // As a crash between the two deletions leaves it.
    engine.core().unwrap().delete_one(topic.name(), None, None).await.unwrap();
    engine.shut_down(Instant::now() + PATIENCE).await;
    drop((engine, topic));
    let engine = engine_on(&folder, Arc::clone(&disk) as _).await;
    let quarantine = TopicName::parse("sorted.quarantine").unwrap();
    assert_eq!(engine.topic(&quarantine).await.unwrap_err().code, ErrorCode::TopicNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_under_a_deleted_ones_name_gets_nothing_of_its_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, topic) = topic(&folder, &Arc::default()).await;
    let core = engine.core().unwrap();
    let quarantine = TopicName::parse("sorted.quarantine").unwrap();
    let source = TopicName::parse("source").unwrap();
    engine.create(&source, CreateTopic::default()).await.unwrap();
    engine.topic(&source).await.unwrap().append(AppendRequest { ack: Some(Ack::Committed), ..record() }).await.unwrap();
    let name = topic.name().clone();
    // As between the two steps of a deletion.
    core.delete_one(&name, None, None).await.unwrap();
    assert!(core.entry(&quarantine).is_some());
    core.fork(&source, &name, crate::topic::ForkAt::Now).await.unwrap();
    assert!(core.entry(&quarantine).is_none());
    engine.shut_down(Instant::now() + PATIENCE).await;
}

/// A topic of fixed columns, with one record in its quarantine that fits since.
async fn replayable(folder: &tempfile::TempDir, disk: &Arc<Gated>, ack: Ack) -> (Arc<Topic>, Arc<Topic>) {
    let engine = engine_on(folder, Arc::clone(disk) as _).await;
    let ask = CreateTopic {
        backend_options: json!({"ack": ack.as_str()}).as_object().unwrap().clone(),
        schema: Some(json!({"fields": [{"name": "n", "type": "int64"}]})),
        schema_mode: Some(SchemaMode::Strict),
        on_invalid: Some(OnInvalid::Quarantine),
        ..CreateTopic::default()
    };
    let topic = super::upkeep::topic_of(&engine, "fixed", ask).await;
    let kept = AppendRequest { body: text(b"{\"m\":1}"), ack: Some(Ack::Wal), ..record() };
    assert_eq!(topic.append(kept).await.unwrap().quarantined, 1);
    let field = json!([{"op": "add", "path": "m", "to": {"type": "int64"}}]);
    topic.post_schema(None, Some(field), None).await.unwrap();
    let quarantine = engine.topic(&TopicName::parse("fixed.quarantine").unwrap()).await.unwrap();
    (topic, quarantine)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_leaves_the_quarantine_when_the_log_has_it_whatever_appends_wait_for() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Gated::default());
    let (topic, quarantine) = replayable(&folder, &disk, Ack::Accepted).await;
    disk.log.full.store(true, Ordering::SeqCst);
    assert_eq!(topic.replay_quarantine().await.unwrap_err().code, ErrorCode::DiskFull);
    assert_eq!(quarantine.backend().levels().now().earliest, Offset::ZERO);
    disk.log.full.store(false, Ordering::SeqCst);
    let replayed = async {
        loop {
            // The log also refuses what comes in before it has seen that nobody is left.
            if let Ok(replayed) = topic.replay_quarantine().await {
                break replayed.replayed;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, replayed).await.unwrap(), 1);
    assert_eq!((topic.backend().total_count(), quarantine.backend().total_count()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_the_log_has_failed_under_is_not_finished_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Gated::default());
    let (topic, quarantine) = replayable(&folder, &disk, Ack::Wal).await;
    disk.log.broken.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(topic.replay_quarantine().await.unwrap_err().code, ErrorCode::LogFailed);
        assert_eq!(quarantine.backend().levels().now().earliest, Offset::ZERO);
    }
}
