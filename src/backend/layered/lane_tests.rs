//! When a lane commits, and how it comes to its dataset.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::pace::FAILURES_MAX;
use super::*;
use crate::backend::{OpenTopic, SchemaCell};
use crate::codec::Values;
use crate::model::{TopicId, TopicName};
use crate::table::model::ModelTables;
use crate::table::{Table, TablePlace, Tables};
use crate::tail::{Budget, Recent};

const PATIENCE: Duration = Duration::from_secs(20);

/// A topic of which so many records are known to be committed.
fn topic(committed: u64) -> OpenTopic {
    OpenTopic {
        id: TopicId::fresh(),
        name: TopicName::parse("t").unwrap(),
        options: serde_json::Map::new(),
        place: None,
        schema: SchemaCell::default(),
        earliest: Offset::ZERO,
        committed: Offset::new(committed).unwrap(),
        replayed: Vec::new(),
        is_settled: true,
        closed: false,
    }
}

/// A lane with one record, which is due at once.
fn lane(tables: Arc<dyn Tables>) -> Arc<Lane> {
    let topic = topic(0);
    let place = TablePlace { dataset: PathBuf::from("t.lance"), link: PathBuf::from("t") };
    let lane =
        Arc::new(Lane::new(&topic, place, tables, Arc::default(), Arc::new(Recent::new(Budget::new(0), 0)), true));
    lane.configure(1, u64::MAX, false);
    let values = Values::from_text(Bytes::from_static(b"{}\n")).unwrap();
    assert!(lane.publish(Chunk::new(Offset::ZERO, Timestamp::default(), values), Reservation::none()));
    lane
}

fn is_due(lane: &Lane) -> bool {
    lane.due(std::time::Instant::now(), 0) != Due::Not
}

#[tokio::test]
async fn a_lane_is_not_due_while_its_dataset_is_written_by_somebody_else() {
    let lane = lane(Arc::new(ModelTables::default()));
    assert!(is_due(&lane));
    let writing = lane.writing.lock().await;
    assert!(!is_due(&lane));
    drop(writing);
    assert!(is_due(&lane));
}

#[tokio::test]
async fn a_lane_is_not_due_while_a_commit_of_it_runs() {
    let lane = lane(Arc::new(ModelTables::default()));
    assert!(lane.begin());
    assert!(!is_due(&lane) && !lane.begin());
}

/// Tables that are opened when they may be.
#[derive(Debug)]
struct LateTables {
    tables: ModelTables,
    gate: Semaphore,
}

#[async_trait]
impl Tables for LateTables {
    async fn open(&self, place: &TablePlace, base: Offset) -> Result<Arc<dyn Table>, TableError> {
        drop(self.gate.acquire().await.unwrap());
        self.tables.open(place, base).await
    }

    async fn remove(&self, place: &TablePlace) -> Result<(), TableError> {
        self.tables.remove(place).await
    }
}

#[tokio::test]
async fn who_waits_for_the_dataset_and_is_polled_no_more_is_in_nobodys_way() {
    let tables = Arc::new(LateTables { tables: ModelTables::default(), gate: Semaphore::new(0) });
    let lane = lane(Arc::clone(&tables) as _);
    // As the stream of a client that takes nothing.
    let mut stalled = Box::pin(lane.table());
    assert!(futures::poll!(&mut stalled).is_pending());
    tables.gate.add_permits(2);
    assert!(tokio::time::timeout(PATIENCE, lane.table()).await.unwrap().is_ok());
    assert!(stalled.await.is_ok());
}

/// Records as the log hands them over, appended at these times.
fn records(first: u64, count: usize, time: i64) -> Chunk {
    let values = Values::from_text(Bytes::from("{}\n".repeat(count))).unwrap();
    Chunk::new(Offset::new(first).unwrap(), Timestamp::from_micros(time), values)
}

/// A dataset with so many records, and a settled lane that knows of `committed` of them and of what the log has.
async fn lane_on(stored: usize, committed: u64, replayed: Vec<Chunk>) -> Arc<Lane> {
    let tables = Arc::new(ModelTables::default());
    let place = TablePlace { dataset: PathBuf::from("t.lance"), link: PathBuf::from("t") };
    let table = tables.open(&place, Offset::ZERO).await.unwrap();
    table.append(&Default::default(), vec![records(0, stored, 1)]).await.unwrap();
    let topic = topic(committed);
    let lane =
        Arc::new(Lane::new(&topic, place, tables, Arc::default(), Arc::new(Recent::new(Budget::new(0), 0)), true));
    for chunk in replayed {
        assert!(lane.restore(chunk, Reservation::none()));
    }
    lane
}

#[tokio::test]
async fn records_that_the_dataset_has_at_the_same_offsets_never_stand_for_those_given_out_now() {
    // The catalog knows of ten, the dataset has twenty: an old catalog was put back.
    for opened_between in [false, true] {
        let lane = lane_on(20, 10, Vec::new()).await;
        if opened_between {
            assert!(lane.table().await.is_err());
        }
        assert!(lane.publish(records(10, 15, 9), Reservation::none()));
        for _ in 0..FAILURES_MAX {
            assert!(!lane.commit().await);
        }
        let levels = lane.levels().now();
        assert!(levels.degraded);
        assert_eq!((levels.committed.get(), levels.durable.get()), (10, 25));
        assert_eq!(lane.tail().size().records, 15);
    }
}

#[tokio::test]
async fn what_the_log_still_has_of_committed_records_is_told_from_other_records() {
    // Committed before the catalog has heard of it.
    let lane = lane_on(20, 10, vec![records(10, 5, 1), records(15, 10, 1)]).await;
    assert!(lane.publish(records(25, 1, 9), Reservation::none()));
    assert!(lane.commit().await);
    assert_eq!(lane.levels().now().committed.get(), 26);
    assert!(lane.tail().first().is_none());
    // Given out anew by a server that has not looked at the dataset.
    let lane = lane_on(20, 10, vec![records(10, 15, 9)]).await;
    assert!(!lane.commit().await);
    assert_eq!(lane.tail().size().records, 15);
}
