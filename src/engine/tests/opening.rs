//! Topics that cannot be opened at first.

use super::upkeep::topic_of;
use super::*;
use crate::catalog::testing::put_damaged_index;
use crate::model::{ErrorCode, IndexName, ProducerWrite};
use crate::table::model::ModelTables;
use crate::topic::TopicState;

fn written(seq: u64) -> AppendRequest {
    let write = ProducerWrite { id: "p".into(), epoch: 0, seq };
    AppendRequest { writer: Writer::Producer(write), ..record() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_has_of_a_topic_is_there_for_the_next_try_to_open_it() {
    let folder = tempfile::tempdir().unwrap();
    let tables = Arc::new(ModelTables::default());
    let engine = engine_with(&folder, Arc::new(RealDisk), Arc::clone(&tables) as _).await;
    let mut ask = CreateTopic::default();
    ask.backend_options.insert("flush_interval_ms".to_owned(), 3_600_000.into());
    let topic = topic_of(&engine, "t", ask).await;
    for seq in 0..3 {
        topic.append(written(seq)).await.unwrap();
    }
    let (id, name) = (topic.id(), topic.name().clone());
    engine.shut_down(Instant::now() + PATIENCE).await;
    drop((topic, engine));
    let damaged = IndexName::parse("damaged").unwrap();
    put_damaged_index(folder.path(), id, &damaged).await;

    let engine = engine_with(&folder, Arc::new(RealDisk), tables).await;
    let core = engine.core().unwrap();
    assert!(engine.topic(&name).await.is_err());
    // It holds up nobody, and is told.
    assert_eq!(engine.health().degraded.len(), 1);
    core.reopen().await;
    assert_eq!(engine.topic(&name).await.unwrap_err().code, ErrorCode::TopicDegraded);
    assert_eq!(engine.describe(&name).await.unwrap().state, TopicState::Degraded);
    assert_eq!(engine.list("", None, 10).await.unwrap().topics.len(), 1);
    assert!(core.catalog.delete_index(id, damaged).await.unwrap());
    // Nobody asks for it.
    core.reopen().await;
    assert!(engine.health().degraded.is_empty());
    let topic = engine.topic(&name).await.unwrap();
    assert_eq!(topic.description().tail_offset.get(), 3);
    // What the log had is committed before anything comes.
    assert_eq!(topic.flush().await.unwrap().committed_offset.unwrap().get(), 3);
    assert!(topic.append(written(2)).await.unwrap().duplicate);
    assert_eq!(topic.append(record()).await.unwrap().first_offset.get(), 3);
    engine.shut_down(Instant::now() + PATIENCE).await;
}
