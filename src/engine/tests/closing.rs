//! Appends that are to close their topic, which fails.

use serde_json::json;

use super::upkeep::topic_of;
use super::*;
use crate::model::{ErrorCode, StoredBefore};
use crate::table::model::ModelTables;

fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

fn asked(backend: &str, options: &serde_json::Value) -> CreateTopic {
    let backend_options = options.as_object().unwrap().clone();
    CreateTopic { backend: Some(backend.to_owned()), backend_options, ..CreateTopic::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_a_degraded_topic_keeps_are_told_whether_they_close_it_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let tables = Arc::new(ModelTables::default());
    tables.fail_appends(1_000);
    let engine = engine_with(&folder, Arc::new(RealDisk), Arc::clone(&tables) as _).await;
    for (name, backend, options, close, ack, became) in [
        ("plain", "persisting", json!({}), false, Ack::Committed, "gets them later"),
        // The log says that it is closed.
        ("logged", "persisting", json!({"ack": "committed"}), true, Ack::Wal, "closed when its dataset can be written"),
        ("bare", "lance", json!({}), true, Ack::Accepted, "still open"),
    ] {
        let topic = topic_of(&engine, name, asked(backend, &options)).await;
        let problem = topic.append(AppendRequest { close, ack: Some(ack), ..record() }).await.unwrap_err();
        let stored = StoredBefore { first_offset: Some(offset(0)), next_offset: offset(1), count: 1 };
        assert_eq!((problem.code, problem.stored), (ErrorCode::TopicDegraded, Some(stored)), "{name}");
        assert!(problem.detail.contains(became) && problem.detail.contains("not send them again"), "{problem:?}");
        assert_eq!(topic.is_closing(), name == "logged");
    }
    engine.shut_down(Instant::now() + Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_told_where_the_catalog_does_not_take_the_close() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_on(&folder, Arc::new(RealDisk)).await;
    let mut topics = Vec::new();
    for backend in ["memory", "lance"] {
        let topic = topic_of(&engine, backend, asked(backend, &json!({}))).await;
        topic.append(record()).await.unwrap();
        topics.push(topic);
    }
    engine.core().unwrap().catalog.close().await.unwrap();
    for topic in topics {
        let problem = topic.append(AppendRequest { close: true, ..record() }).await.unwrap_err();
        let stored = StoredBefore { first_offset: Some(offset(1)), next_offset: offset(2), count: 1 };
        assert_eq!((problem.code, problem.stored), (ErrorCode::Internal, Some(stored)), "{topic:?}");
        assert!(problem.detail.contains("still open"), "{problem:?}");
        // So it is.
        assert_eq!(topic.append(record()).await.unwrap().first_offset, offset(2));
    }
    engine.shut_down(Instant::now() + Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_without_a_log_that_could_not_be_closed_takes_records_again() {
    let folder = tempfile::tempdir().unwrap();
    let tables = Arc::new(ModelTables::default());
    tables.fail_appends(3);
    let engine = engine_with(&folder, Arc::new(RealDisk), Arc::clone(&tables) as _).await;
    let topic = topic_of(&engine, "t", asked("lance", &json!({}))).await;
    let ask = AppendRequest { close: true, ack: Some(Ack::Committed), ..record() };
    let problem = topic.append(ask).await.unwrap_err();
    assert_eq!(problem.code, ErrorCode::TopicDegraded);
    assert!(problem.detail.contains("still open"), "{problem:?}");
    let mended = topic.backend().levels().wait_for(|levels| levels.committed == offset(1) && !levels.degraded);
    tokio::time::timeout(PATIENCE, mended).await.unwrap();
    assert!(!topic.backend().levels().now().closed);
    assert_eq!(topic.append(record()).await.unwrap().first_offset, offset(1));
    engine.shut_down(Instant::now() + PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_close_does_not_come_back_with_a_deletion_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Gated::default());
    let engine = engine_on(&folder, Arc::clone(&disk) as _).await;
    let topic = topic_of(&engine, "kept", CreateTopic::default()).await;
    topic.append(record()).await.unwrap();
    disk.log.set_closed(true);
    let append = |close| {
        let topic = Arc::clone(&topic);
        tokio::spawn(async move { topic.append(AppendRequest { close, ..record() }).await })
    };
    // The log's thread waits for the disk with the first; the second comes behind.
    let first = append(false);
    let gate = Arc::clone(&disk.log);
    tokio::task::spawn_blocking(move || gate.await_someone()).await.unwrap();
    let closing = append(true);
    super::upkeep::until(async || topic.is_closing()).await;
    let before = topic.begin_delete().await;
    disk.log.full.store(true, Ordering::SeqCst);
    disk.log.set_closed(false);
    first.await.unwrap().unwrap();
    assert_eq!(closing.await.unwrap().unwrap_err().code, ErrorCode::DiskFull);
    topic.abandon_delete(before);
    assert!(!topic.is_closing());
    disk.log.full.store(false, Ordering::SeqCst);
    let is_over = async { while topic.append(record()).await.is_err() {} };
    tokio::time::timeout(PATIENCE, is_over).await.unwrap();
    engine.shut_down(Instant::now() + PATIENCE).await;
}
