//! Starts that find less of the log than there was.

use super::upkeep::{topic_of, until};
use super::*;
use crate::catalog::testing::forget_log;
use crate::engine::StartError;
use crate::engine::testing::start;
use crate::model::{ErrorCode, KeyedWrite};
use crate::table::model::ModelTables;
use crate::wal::WalError;

fn keyed() -> AppendRequest {
    let write = KeyedWrite { key: "k".into(), body_hash: [1; 32] };
    AppendRequest { writer: Writer::Keyed(write), ..record() }
}

fn name() -> TopicName {
    TopicName::parse("t").unwrap()
}

/// A folder whose topic has acknowledged records in the log alone, after an orderly stop.
async fn stopped(tables: &Arc<ModelTables>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_with(&folder, Arc::new(RealDisk), Arc::clone(tables) as _).await;
    let mut ask = CreateTopic::default();
    ask.backend_options.insert("flush_interval_ms".to_owned(), 3_600_000.into());
    let topic = topic_of(&engine, "t", ask).await;
    for _ in 0..3 {
        topic.append(record()).await.unwrap();
    }
    topic.append(keyed()).await.unwrap();
    engine.shut_down(Instant::now() + PATIENCE).await;
    folder
}

fn moved(folder: &tempfile::TempDir, from: &str, to: &str) {
    std::fs::rename(folder.path().join(from), folder.path().join(to)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_the_log_that_was_there_is_refused_and_changes_nothing() {
    let tables = Arc::new(ModelTables::default());
    let folder = stopped(&tables).await;
    let engine = engine_with(&folder, Arc::new(RealDisk), Arc::clone(&tables) as _).await;
    // Another segment, and what comes into it.
    engine.core().unwrap().wal.seal_head().unwrap();
    engine.topic(&name()).await.unwrap().append(record()).await.unwrap();
    engine.shut_down(Instant::now() + PATIENCE).await;
    drop(engine);
    let mut segments: Vec<_> =
        std::fs::read_dir(folder.path().join("wal")).unwrap().map(|file| file.unwrap().path()).collect();
    segments.sort();
    let newest = segments.last().unwrap().strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
    assert!(segments.len() > 1);
    for missing in ["wal", &newest] {
        moved(&folder, missing, "elsewhere");
        for _ in 0..2 {
            let refused = start(&folder, Arc::new(RealDisk), Arc::clone(&tables) as _).await;
            assert!(matches!(refused, Err(StartError::Wal(WalError::EndMissing { .. }))), "{missing}: {refused:?}");
        }
        if missing == "wal" {
            std::fs::remove_dir(folder.path().join("wal")).unwrap();
        }
        moved(&folder, "elsewhere", missing);
    }
    let engine = engine_with(&folder, Arc::new(RealDisk), tables).await;
    let topic = engine.topic(&name()).await.unwrap();
    assert_eq!(topic.append(record()).await.unwrap().first_offset.get(), 5);
    assert!(topic.append(keyed()).await.unwrap().duplicate);
    engine.shut_down(Instant::now() + PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_with_a_catalog_from_before_segments_were_released_is_refused() {
    let tables = Arc::new(ModelTables::default());
    let folder = stopped(&tables).await;
    std::fs::copy(folder.path().join("catalog.sqlite"), folder.path().join("old")).unwrap();
    let engine = engine_with(&folder, Arc::new(RealDisk), Arc::clone(&tables) as _).await;
    let core = engine.core().unwrap();
    engine.topic(&name()).await.unwrap().flush().await.unwrap();
    core.wal.seal_head().unwrap();
    // Segments go by themselves when nothing needs them.
    until(async || core.wal.segments().len() == 1).await;
    engine.shut_down(Instant::now() + PATIENCE).await;
    drop((core, engine));
    moved(&folder, "catalog.sqlite", "new");
    moved(&folder, "old", "catalog.sqlite");
    let refused = start(&folder, Arc::new(RealDisk), Arc::clone(&tables) as _).await;
    assert!(matches!(refused, Err(StartError::Wal(WalError::StartMissing { released: 0, .. }))), "{refused:?}");
    moved(&folder, "new", "catalog.sqlite");
    let engine = engine_with(&folder, Arc::new(RealDisk), tables).await;
    let topic = engine.topic(&name()).await.unwrap();
    assert_eq!(topic.append(record()).await.unwrap().first_offset.get(), 4);
    engine.shut_down(Instant::now() + PATIENCE).await;
}

/// The removal of a segment whose sync has failed can be undone by a loss of power, long after what it held was forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_comes_back_after_its_topic_was_forgotten_does_not_stop_a_start() {
    let tables = Arc::new(ModelTables::default());
    let folder = stopped(&tables).await;
    let wal = folder.path().join("wal");
    let oldest = std::fs::read_dir(&wal).unwrap().map(|file| file.unwrap().path()).min().unwrap();
    std::fs::copy(&oldest, folder.path().join("kept")).unwrap();
    let engine = engine_with(&folder, Arc::new(RealDisk), Arc::clone(&tables) as _).await;
    let core = engine.core().unwrap();
    engine.delete(&name(), None).await.unwrap();
    core.wal.seal_head().unwrap();
    until(async || core.remains.lock().is_empty()).await;
    engine.shut_down(Instant::now() + PATIENCE).await;
    drop((core, engine));
    assert!(!oldest.exists());
    std::fs::rename(folder.path().join("kept"), &oldest).unwrap();
    let engine = start(&folder, Arc::new(RealDisk), tables).await.unwrap();
    engine.shut_down(Instant::now() + PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_ends_before_what_its_writers_were_told_is_degraded_and_nobody_waits() {
    let tables = Arc::new(ModelTables::default());
    let folder = stopped(&tables).await;
    forget_log(folder.path()).await;
    std::fs::remove_dir_all(folder.path().join("wal")).unwrap();
    let engine = engine_with(&folder, Arc::new(RealDisk), tables).await;
    let opened = tokio::time::timeout(PATIENCE, engine.topic(&name())).await.unwrap();
    assert_eq!(opened.unwrap_err().code, ErrorCode::TopicDegraded);
    engine.shut_down(Instant::now() + PATIENCE).await;
}
