//! What goes on by itself, beside what is asked for.

use serde_json::json;

use super::*;
use crate::engine::Engine;
use crate::engine::testing::start;
use crate::model::ProducerWrite;
use crate::table::model::ModelTables;
use crate::topic::{Topic, TopicPatch};

pub(super) async fn topic_of(engine: &Arc<Engine>, name: &str, ask: CreateTopic) -> Arc<Topic> {
    let name = TopicName::parse(name).unwrap();
    engine.create(&name, ask).await.unwrap();
    engine.topic(&name).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_checkpoint_still_holds_does_not_count_as_stored_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Gated::default());
    let engine = engine_on(&folder, Arc::clone(&disk) as _).await;
    let written = topic_of(&engine, "a-written", CreateTopic::default()).await;
    let busy = topic_of(&engine, "b-busy", CreateTopic::default()).await;
    busy.append(record()).await.unwrap();
    let core = engine.core().unwrap();
    assert!(core.checkpoint().await);
    let write = ProducerWrite { id: "p".into(), epoch: 0, seq: 0 };
    written.append(AppendRequest { writer: Writer::Producer(write), ..record() }).await.unwrap();

    // The first checkpoint has taken the producer and waits for the other topic's record.
    disk.log.set_closed(true);
    let appending = tokio::spawn(async move { busy.append(record()).await });
    let gate = Arc::clone(&disk.log);
    tokio::task::spawn_blocking(move || gate.await_someone()).await.unwrap();
    let first = tokio::spawn({
        let core = Arc::clone(&core);
        async move { core.checkpoint().await }
    });
    while core.checkpointing.try_lock().is_ok() {
        tokio::task::yield_now().await;
    }
    let second = tokio::time::timeout(Duration::from_millis(300), core.checkpoint()).await;
    let stored = core.catalog.writers(written.id()).await.unwrap().producers.len();
    assert!(second != Ok(true) || stored == 1, "the second checkpoint counts what the first one holds");
    disk.log.set_closed(false);
    appending.await.unwrap().unwrap();
    assert!(first.await.unwrap() && core.checkpoint().await);
    assert_eq!(core.catalog.writers(written.id()).await.unwrap().producers.len(), 1);
    engine.shut_down(Instant::now() + PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_leaves_an_orderly_stop_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let tables = Arc::new(ModelTables::default());
    let engine = engine_with(&folder, Arc::new(RealDisk), Arc::clone(&tables) as _).await;
    let ask = CreateTopic { backend: Some("lance".to_owned()), ..CreateTopic::default() };
    let topic = topic_of(&engine, "t", ask).await;
    topic.append(record()).await.unwrap();
    let epoch = topic.epoch();
    engine.shut_down(Instant::now() + PATIENCE).await;
    drop((topic, engine));

    let broken = folder.path().join("wal/1.wal");
    std::fs::write(&broken, "no segment").unwrap();
    assert!(start(&folder, Arc::new(RealDisk), Arc::clone(&tables) as _).await.is_err());
    std::fs::remove_file(broken).unwrap();
    let again = engine_with(&folder, Arc::new(RealDisk), tables).await;
    assert_eq!(again.topic(&TopicName::parse("t").unwrap()).await.unwrap().epoch(), epoch);
    again.shut_down(Instant::now() + PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_waits_for_room_makes_others_commit() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_on(&folder, Arc::new(RealDisk)).await;
    let options = serde_json::json!({"flush_interval_ms": 3_600_000});
    let ask = || CreateTopic { backend_options: options.as_object().unwrap().clone(), ..CreateTopic::default() };
    let (idle, full) = (topic_of(&engine, "idle", ask()).await, topic_of(&engine, "full", ask()).await);
    let sized = |bytes: usize| {
        let text = Bytes::from(format!("{{\"s\":\"{}\"}}", "x".repeat(bytes)));
        AppendRequest { body: Body::text(text, Form::Json), ..record() }
    };
    // The two do not fit together, and neither would be committed by itself.
    idle.append(sized(400_000)).await.unwrap();
    full.append(sized(900_000)).await.unwrap();
    engine.shut_down(Instant::now() + PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_cannot_be_closed_yet_keeps_its_own_entry_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let tables = Arc::new(ModelTables::default());
    tables.fail_appends(1_000);
    let engine = engine_with(&folder, Arc::new(RealDisk), Arc::clone(&tables) as _).await;
    let options = serde_json::json!({"ack": "committed"});
    let ask = CreateTopic { backend_options: options.as_object().unwrap().clone(), ..CreateTopic::default() };
    let topic = topic_of(&engine, "t", ask).await;
    // Its readers wait for what is committed, so it is not closed before that either.
    assert!(topic.append(AppendRequest { close: true, ack: Some(Ack::Wal), ..record() }).await.is_err());
    assert!(topic.is_closing());
    assert_eq!(topic.not_needed_before(), Offset::ZERO);
    assert!(engine.core().unwrap().checkpoint().await);
    engine.shut_down(Instant::now() + PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_topics_are_committed_for_their_age_and_again_for_what_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_with(&folder, Arc::new(RealDisk), Arc::new(ModelTables::default()) as _).await;
    let mut topics = Vec::new();
    for number in 0..30 {
        let mut ask = CreateTopic::default();
        ask.backend_options.insert("flush_interval_ms".to_owned(), 1.into());
        topics.push(topic_of(&engine, &format!("t{number}"), ask).await);
    }
    for round in 1..=2 {
        for topic in &topics {
            topic.append(record()).await.unwrap();
        }
        for topic in &topics {
            let committed = topic.backend().levels().wait_for(|levels| levels.committed.get() == round);
            tokio::time::timeout(PATIENCE, committed).await.unwrap();
        }
    }
    engine.shut_down(Instant::now() + PATIENCE).await;
}

/// Makes a topic with so many records, each in a fragment of its own.
async fn scattered(engine: &Arc<Engine>, name: &str, records: u64) -> Arc<Topic> {
    let topic = topic_of(engine, name, CreateTopic::default()).await;
    for _ in 0..records {
        topic.append(record()).await.unwrap();
        topic.flush().await.unwrap();
    }
    topic
}

fn keep(records: u64) -> TopicPatch {
    TopicPatch { retention: Some(serde_json::json!({"max_records": records})), ..TopicPatch::default() }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it takes too long")
}

pub(super) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    soon(async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_whose_dataset_is_rewritten_holds_up_no_retention_and_not_its_own_trim() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_on(&folder, Arc::new(RealDisk)).await;
    let rewritten = scattered(&engine, "a-rewritten", 4).await;
    let other = scattered(&engine, "b-other", 2).await;
    let offset = |number| Offset::new(number).unwrap();
    let lane = rewritten.backend().lane().unwrap();
    let writing = lane.stand_still().await;

    assert_eq!(soon(rewritten.trim(offset(1))).await.unwrap(), offset(1));
    assert_eq!(soon(rewritten.trim(offset(2))).await.unwrap(), offset(2));
    soon(rewritten.patch(keep(1), None)).await.unwrap();
    soon(other.patch(keep(1), None)).await.unwrap();
    let core = engine.core().unwrap();
    for records in 2..4 {
        soon(core.enforce_retention()).await;
        soon(other.backend().levels().wait_for(|levels| levels.earliest == offset(records - 1))).await;
        other.append(record()).await.unwrap();
    }
    soon(rewritten.backend().levels().wait_for(|levels| levels.earliest == offset(3))).await;

    let table = lane.table().await.unwrap();
    assert_eq!(table.head().base, Offset::ZERO, "the lane is not free");
    drop(writing);
    until(async || table.head().base == offset(3)).await;
    engine.shut_down(Instant::now() + PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_topic_whose_dataset_is_rewritten_holds_up_no_other_ones_remains() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_on(&folder, Arc::new(RealDisk)).await;
    let rewritten = scattered(&engine, "a-rewritten", 1).await;
    let other = scattered(&engine, "b-other", 1).await;
    let lane = rewritten.backend().lane().unwrap();
    let writing = lane.stand_still().await;
    let core = engine.core().unwrap();
    let is_removed = |topic: &Topic| core.remains.lock().get(&topic.id()).is_none_or(|remains| remains.removed);
    for topic in [&rewritten, &other] {
        engine.delete(topic.name(), None).await.unwrap();
    }
    soon(core.clear_remains()).await;
    until(async || is_removed(&other)).await;
    assert!(!is_removed(&rewritten), "the lane is not free");
    drop(writing);
    until(async || is_removed(&rewritten)).await;
    engine.shut_down(Instant::now() + PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_posted_schema_that_waits_for_the_dataset_holds_up_no_append() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_on(&folder, Arc::new(RealDisk)).await;
    let topic = scattered(&engine, "rewritten", 1).await;
    let lane = topic.backend().lane().unwrap();
    let writing = lane.stand_still().await;
    let mut posting = tokio::spawn({
        let topic = Arc::clone(&topic);
        let added = json!([{"op": "add", "path": "m", "to": {"type": "int64"}}]);
        async move { topic.post_schema(None, Some(added), None).await }
    });
    let moment = Duration::from_millis(200);
    assert!(tokio::time::timeout(moment, &mut posting).await.is_err(), "it does not wait for the dataset");
    soon(topic.append(record())).await.unwrap();
    assert!(!posting.is_finished(), "the lane is not free");
    drop(writing);
    assert!(soon(posting).await.unwrap().unwrap().1);
    soon(topic.append(record())).await.unwrap();
    engine.shut_down(Instant::now() + PATIENCE).await;
}
