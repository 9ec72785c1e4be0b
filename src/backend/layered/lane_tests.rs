//! When a lane commits, and how it comes to its dataset.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::*;
use crate::backend::{OpenTopic, SchemaCell};
use crate::codec::Values;
use crate::model::{TopicId, TopicName};
use crate::table::model::ModelTables;
use crate::table::{Table, TablePlace, Tables};
use crate::tail::{Budget, Recent};

const PATIENCE: Duration = Duration::from_secs(20);

/// A lane with one record, which is due at once.
fn lane(tables: Arc<dyn Tables>) -> Arc<Lane> {
    let topic = OpenTopic {
        id: TopicId::fresh(),
        name: TopicName::parse("t").unwrap(),
        options: serde_json::Map::new(),
        place: None,
        schema: SchemaCell::default(),
        earliest: Offset::ZERO,
        committed: Offset::ZERO,
        replayed: Vec::new(),
        is_settled: true,
        closed: false,
    };
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
