use std::path::PathBuf;

use futures::future::join_all;
use serde_json::json;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::model::{SchemaVersion, Timestamp, TopicName};
use crate::runtime::Health;

struct Bed {
    folder: TempDir,
    tasks: Tasks,
}

impl Bed {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), tasks: Tasks::new(Handle::current(), Health::new()) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(Catalog::FILE_NAME)
    }

    async fn open(&self) -> Catalog {
        Catalog::open(&self.path(), &self.tasks).await.unwrap()
    }

    /// A connection beside the catalog, to look and to damage.
    async fn sql(&self) -> SqliteConnection {
        sqlx::sqlite::SqliteConnectOptions::new().filename(self.path()).connect().await.unwrap()
    }

    async fn damage(&self, statement: &'static str) {
        let mut connection = self.sql().await;
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

fn schema(version: u32) -> SchemaRow {
    SchemaRow {
        version: SchemaVersion::new(version).unwrap(),
        fields: json!([{"name": "id", "type": "string", "nullable": true}]),
        fingerprint: format!("print-{version}"),
        cause: SchemaCause::Evolved,
        changes: json!([{"op": "add", "path": "id"}]),
        created_at: Timestamp::from_micros(17),
    }
}

fn topic(name: &str) -> NewTopic {
    let id = TopicId::fresh();
    let definition = TopicDefinition {
        id,
        name: TopicName::parse(name).unwrap(),
        backend: "persisting".to_owned(),
        options: json!({"ack": "wal"}).as_object().unwrap().clone(),
        storage_path: Some("deep/er".to_owned()),
        place: Some(DatasetPlace {
            dataset: PathBuf::from(format!("datasets/{id}.lance")),
            link: PathBuf::from(format!("topics/{name}.lance")),
        }),
        declared_schema: Some(json!({"fields": []})),
        schema_mode: Some(SchemaMode::Evolve),
        retention: Retention { max_age_secs: Some(60), ..Retention::default() },
        created_at: Timestamp::from_micros(1_700_000_000_000_001),
    };
    NewTopic { definition, schema: None }
}

fn receipt(first: u64, schema: Option<u32>) -> StoredReceipt {
    StoredReceipt { first: offset(first), count: 3, schema: schema.and_then(SchemaVersion::new) }
}

fn producer(id: &str, last_seq: u64) -> ProducerRow {
    ProducerRow {
        id: id.into(),
        epoch: 2,
        last_seq,
        receipts: vec![receipt(0, None), receipt(3, Some(2))],
        last_used: Timestamp::from_micros(99),
    }
}

fn key(key: &str, first: u64) -> KeyRow {
    KeyRow {
        key: key.into(),
        body_hash: std::array::from_fn(|at| at as u8 * 7),
        receipt: receipt(first, Some(1)),
        created_at: Timestamp::from_micros(5),
    }
}

fn checkpoint(id: TopicId) -> TopicCheckpoint {
    TopicCheckpoint {
        id,
        next: offset(6),
        wide: "[\"a\"]".to_owned(),
        producers: vec![producer("p\"1", 1), producer("p2", 1)],
        removed_producers: Vec::new(),
        keys: vec![key("k1", 0), key("k'2", 3)],
        removed_keys: Vec::new(),
    }
}

#[tokio::test]
async fn everything_of_a_topic_is_there_after_a_reopen() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let mut new = topic("events");
    new.schema = Some(schema(1));
    let id = new.definition.id;
    let epoch = catalog.create_topic(new.clone()).await.unwrap();
    catalog.insert_schema(id, schema(2)).await.unwrap();
    catalog.set_closed(id).await.unwrap();
    catalog.set_closed(id).await.unwrap();
    catalog.checkpoint(&[checkpoint(id)]).await.unwrap();
    catalog.set_earliest(id, offset(2)).await.unwrap();
    catalog.set_earliest(id, offset(1)).await.unwrap();
    let options = json!({"ack": "committed"}).as_object().unwrap().clone();
    catalog.set_config(id, Retention::default(), options.clone(), Some(SchemaMode::Strict)).await.unwrap();
    let bare = TopicDefinition {
        place: None,
        storage_path: None,
        declared_schema: None,
        schema_mode: None,
        ..topic("bare").definition
    };
    catalog.create_topic(NewTopic { definition: bare.clone(), schema: None }).await.unwrap();
    catalog.close().await.unwrap();

    let catalog = bed.open().await;
    let loaded = catalog.load().await.unwrap();
    let mut definition = new.definition;
    (definition.options, definition.retention) = (options, Retention::default());
    definition.schema_mode = Some(SchemaMode::Strict);
    let expected = TopicRow {
        definition,
        closed: true,
        earliest: offset(2),
        next: offset(6),
        wide: "[\"a\"]".to_owned(),
        epochs: vec![EpochStart { epoch, start: Offset::ZERO }],
        schema_version: SchemaVersion::new(2),
    };
    assert_eq!(loaded.topics[0], expected);
    assert_eq!(loaded.topics[1].definition, bare);
    assert_eq!(catalog.schemas(id).await.unwrap(), [schema(1), schema(2)]);
    assert_eq!(catalog.newest_schema(id).await.unwrap(), Some(schema(2)));
    let writers = catalog.writers(id).await.unwrap();
    assert_eq!(writers.producers, checkpoint(id).producers);
    assert_eq!(writers.keys, [key("k'2", 3), key("k1", 0)]);
    assert_eq!(catalog.all_writers().await.unwrap(), HashMap::from([(id, writers)]));
    assert!(catalog.load().await.unwrap().was_clean);
}

#[tokio::test]
async fn a_name_is_free_after_a_bury_and_the_tombstone_stays_until_forgotten() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let (first, second) = (topic("a"), topic("a"));
    let (old, new) = (first.definition.id, second.definition.id);
    let place = first.definition.place.clone();
    let old_epoch = catalog.create_topic(NewTopic { schema: Some(schema(1)), ..first.clone() }).await.unwrap();
    assert_eq!(catalog.create_topic(second.clone()).await, Err(CatalogError::NameTaken));
    catalog.checkpoint(&[checkpoint(old)]).await.unwrap();
    assert_eq!(catalog.forget(old).await, Err(CatalogError::NotFound));
    catalog.bury(old).await.unwrap();
    assert_eq!(catalog.bury(old).await, Err(CatalogError::NotFound));
    let new_epoch = catalog.create_topic(second).await.unwrap();
    assert!(new_epoch > old_epoch);

    let loaded = catalog.load().await.unwrap();
    assert_eq!(loaded.tombstones, [Tombstone { id: old, name: first.definition.name.clone(), place }]);
    assert_eq!(loaded.topics.iter().map(|topic| topic.definition.id).collect::<Vec<_>>(), [new]);
    // What comes late for a buried topic leaves nothing behind.
    catalog.checkpoint(&[checkpoint(old)]).await.unwrap();
    assert_eq!(catalog.all_writers().await.unwrap(), HashMap::new());
    assert_eq!(catalog.schemas(old).await.unwrap(), []);
    for refused in [
        catalog.insert_schema(old, schema(1)).await,
        catalog.set_closed(old).await,
        catalog.set_earliest(old, offset(1)).await,
        catalog.set_config(old, Retention::default(), serde_json::Map::new(), None).await,
        catalog.begin_epochs(&[(new, offset(0)), (old, offset(0))]).await.map(drop),
    ] {
        assert_eq!(refused, Err(CatalogError::NotFound));
    }
    catalog.forget(old).await.unwrap();
    assert_eq!(catalog.load().await.unwrap().tombstones, []);
    assert_eq!(catalog.forget(new).await, Err(CatalogError::NotFound));
}

#[tokio::test]
async fn an_epoch_is_never_used_again_even_when_all_topics_are_gone() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let one = topic("one");
    let id = one.definition.id;
    let first = catalog.create_topic(one).await.unwrap();
    let more = catalog.begin_epochs(&[(id, offset(4)), (id, offset(5))]).await.unwrap();
    catalog.bury(id).await.unwrap();
    catalog.forget(id).await.unwrap();
    catalog.close().await.unwrap();
    let catalog = bed.open().await;
    let again = catalog.create_topic(topic("one")).await.unwrap();
    let all = [first, more[0], more[1], again];
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
}

#[tokio::test]
async fn epochs_begin_in_the_order_asked_and_void_what_lies_past_them() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let topics: Vec<_> = (0..20).map(|number| topic(&format!("t{number}"))).collect();
    let mut first = Vec::new();
    for topic in &topics {
        first.push(catalog.create_topic(topic.clone()).await.unwrap());
        catalog.checkpoint(&[checkpoint(topic.definition.id)]).await.unwrap();
    }
    catalog.set_earliest(topics[0].definition.id, offset(3)).await.unwrap();
    let starts: Vec<_> = topics.iter().rev().map(|topic| (topic.definition.id, offset(2))).collect();
    let epochs = catalog.begin_epochs(&starts).await.unwrap();
    let rows = catalog.load().await.unwrap().topics;
    for (at, topic) in topics.iter().enumerate() {
        let row = rows.iter().find(|row| row.definition.id == topic.definition.id).unwrap();
        let new = EpochStart { epoch: epochs[topics.len() - 1 - at], start: offset(2) };
        let old = EpochStart { epoch: first[at], start: Offset::ZERO };
        // The first topic's older epoch is void from its earliest offset on, so it is dropped.
        assert_eq!(row.epochs, if at == 0 { vec![new] } else { vec![old, new] });
        assert_eq!((row.next, row.earliest), (offset(2), if at == 0 { offset(2) } else { Offset::ZERO }));
    }
}

#[tokio::test]
async fn a_topic_without_records_to_keep_does_not_gather_epochs() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let volatile = topic("m");
    let id = volatile.definition.id;
    catalog.create_topic(volatile).await.unwrap();
    let mut last = Vec::new();
    for _ in 0..5 {
        last = catalog.begin_epochs(&[(id, Offset::ZERO)]).await.unwrap();
    }
    let rows = catalog.load().await.unwrap().topics;
    assert_eq!(rows[0].epochs, [EpochStart { epoch: last[0], start: Offset::ZERO }]);
}

#[tokio::test]
async fn of_two_that_store_the_same_version_one_wins() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let new = topic("t");
    let id = new.definition.id;
    catalog.create_topic(new).await.unwrap();
    assert_eq!(catalog.insert_schema(id, schema(2)).await, Err(CatalogError::VersionTaken));
    let both = join_all([catalog.insert_schema(id, schema(1)), catalog.insert_schema(id, schema(1))]).await;
    assert_eq!(both, [Ok(()), Err(CatalogError::VersionTaken)]);
    catalog.insert_schema(id, schema(2)).await.unwrap();
    assert_eq!(catalog.load().await.unwrap().topics[0].schema_version, SchemaVersion::new(2));
}

#[tokio::test]
async fn one_failed_change_of_a_group_leaves_the_others_alone() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    // All are in the queue before the writer sees the first: on this runtime it runs only when we wait.
    let creations = (0..60).map(|number| catalog.create_topic(topic(&format!("t{}", number % 40))));
    let outcomes = join_all(creations).await;
    let taken: Vec<_> = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_err()).map(|(at, _)| at).collect();
    assert_eq!(taken, (40..60).collect::<Vec<_>>());
    assert!(outcomes[40..].iter().all(|outcome| *outcome == Err(CatalogError::NameTaken)));
    assert_eq!(catalog.load().await.unwrap().topics.len(), 40);
}

#[tokio::test]
async fn changes_submitted_together_share_a_commit() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let before = commits(&bed).await;
    join_all((0..64).map(|number| catalog.create_topic(topic(&format!("t{number}"))))).await;
    let after = commits(&bed).await;
    assert_eq!(catalog.load().await.unwrap().topics.len(), 64);
    assert!(after - before <= 4, "64 creations took {} commits", after - before);
}

/// How many commits the log holds: in a frame's header the database size is other than 0 where it ends a transaction.
async fn commits(bed: &Bed) -> usize {
    let log = std::fs::read(bed.folder.path().join("catalog.sqlite-wal")).unwrap();
    let Some(frames) = log.get(32..) else { return 0 };
    frames.chunks(24 + 4_096).filter(|frame| frame[4..8] != [0; 4]).count()
}

#[tokio::test]
async fn many_clients_make_and_load_many_topics() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let clients = (0..32).map(|client| {
        let catalog = catalog.clone();
        async move {
            for number in 0..40 {
                catalog.create_topic(topic(&format!("t-{client}-{number}"))).await.unwrap();
            }
        }
    });
    join_all(clients).await;
    let loaded = catalog.load().await.unwrap();
    let epochs: std::collections::BTreeSet<_> = loaded.topics.iter().map(|topic| topic.epochs[0].epoch.get()).collect();
    assert_eq!((loaded.topics.len(), epochs.len()), (1_280, 1_280));
    let marks: Vec<_> = loaded.topics.iter().map(|topic| checkpoint(topic.definition.id)).collect();
    catalog.checkpoint(&marks).await.unwrap();
    assert!(catalog.load().await.unwrap().topics.iter().all(|topic| topic.next == offset(6)));
    assert_eq!(catalog.all_writers().await.unwrap().len(), 1_280);
}

#[tokio::test]
async fn a_checkpoint_replaces_and_removes_writers_and_never_lowers_the_offset() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let new = topic("t");
    let id = new.definition.id;
    catalog.create_topic(new).await.unwrap();
    catalog.checkpoint(&[checkpoint(id)]).await.unwrap();
    let second = TopicCheckpoint {
        id,
        next: offset(5),
        wide: "[\"b\"]".to_owned(),
        producers: vec![producer("p2", 7)],
        removed_producers: vec!["p\"1".into(), "never known".into()],
        keys: vec![key("k1", 9)],
        removed_keys: vec!["k'2".into()],
    };
    catalog.checkpoint(&[second]).await.unwrap();
    let writers = catalog.writers(id).await.unwrap();
    assert_eq!(writers, WriterRows { producers: vec![producer("p2", 7)], keys: vec![key("k1", 9)] });
    let row = &catalog.load().await.unwrap().topics[0];
    assert_eq!((row.next, row.wide.as_str()), (offset(6), "[\"b\"]"));
}

#[tokio::test]
async fn the_note_of_a_clean_stop_is_kept() {
    let bed = Bed::new();
    for clean in [false, true, false] {
        let catalog = bed.open().await;
        catalog.set_clean(clean).await.unwrap();
        catalog.close().await.unwrap();
        let catalog = bed.open().await;
        assert_eq!(catalog.load().await.unwrap().was_clean, clean);
        catalog.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_closed_catalog_refuses_and_closing_again_is_nothing() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let (first, second) = tokio::join!(catalog.close(), catalog.close());
    assert_eq!((first, second), (Ok(()), Ok(())));
    assert!(matches!(catalog.set_clean(true).await, Err(CatalogError::Failed { .. })));
    assert!(matches!(catalog.load().await, Err(CatalogError::Failed { .. })));
    bed.tasks.finish().await;
    assert!(bed.tasks.health().is_sound());
}

#[tokio::test]
async fn a_commit_that_fails_fails_its_whole_group_and_latches() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    // A deferred constraint is looked at by COMMIT alone, so it stands for a disk that fails there.
    bed.damage("CREATE TABLE broken (topic TEXT REFERENCES topics (id) DEFERRABLE INITIALLY DEFERRED)").await;
    bed.damage(
        "CREATE TRIGGER breaks AFTER INSERT ON topics WHEN new.name = 'breaking'
         BEGIN INSERT INTO broken VALUES ('nobody'); END",
    )
    .await;
    let outcomes = join_all(["good", "breaking", "better"].map(|name| catalog.create_topic(topic(name)))).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(CatalogError::Failed { .. }))), "{outcomes:?}");
    assert!(matches!(catalog.create_topic(topic("later")).await, Err(CatalogError::Failed { .. })));
    assert_eq!(bed.tasks.health().faults()[0].part, "catalog");
    assert_eq!(catalog.load().await.unwrap().topics, []);
}

#[tokio::test]
async fn what_this_server_has_not_written_is_an_error_that_names_it() {
    for (statement, named) in [
        ("UPDATE topics SET name = '../x'", "topics.name"),
        ("UPDATE topics SET id = 'x'", "topics.id"),
        ("UPDATE topics SET retention = '{'", "topics.retention"),
        ("UPDATE topics SET earliest_offset = -1", "topics.earliest_offset"),
        ("UPDATE topics SET schema_mode = 'odd'", "topics.schema_mode"),
        ("UPDATE topics SET schema_version = 0", "topics.schema_version"),
        ("UPDATE topics SET link = NULL", "topics.dataset"),
        ("UPDATE epochs SET start_offset = 9007199254740992", "epochs.start_offset"),
        ("DELETE FROM epochs", "topics.id"),
        ("UPDATE schemas SET cause = 'odd'", "schemas.cause"),
        ("UPDATE producers SET receipts = '[]'", "producers.receipts"),
        ("UPDATE idempotency_keys SET body_hash = x'00'", "idempotency_keys.body_hash"),
    ] {
        let bed = Bed::new();
        let catalog = bed.open().await;
        let mut new = topic("t");
        new.schema = Some(schema(1));
        let id = new.definition.id;
        catalog.create_topic(new).await.unwrap();
        catalog.checkpoint(&[checkpoint(id)]).await.unwrap();
        let mut connection = bed.sql().await;
        sqlx::query("PRAGMA foreign_keys = off").execute(&mut connection).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        let error = match (catalog.load().await, catalog.schemas(id).await, catalog.writers(id).await) {
            (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => error,
            _ => panic!("{statement} was not noticed"),
        };
        let CatalogError::Damaged { what } = error else { panic!("{statement}: {error}") };
        assert!(what.starts_with(named), "{statement}: {what}");
    }
}

#[tokio::test]
async fn the_file_of_a_newer_version_is_not_touched() {
    for statement in [
        "UPDATE meta SET format = 2",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'later', 1, x'00', 0)",
    ] {
        let bed = Bed::new();
        bed.open().await.close().await.unwrap();
        bed.damage(statement).await;
        let refused = Catalog::open(&bed.path(), &bed.tasks).await.unwrap_err();
        assert!(matches!(refused, CatalogError::Unsupported { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_commit_left_in_the_log_by_a_killed_process_is_taken_over() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    catalog.create_topic(topic("t")).await.unwrap();
    // A copy of the files as they lie is what a kill leaves behind.
    let copy = Bed::new();
    for name in ["catalog.sqlite", "catalog.sqlite-wal"] {
        std::fs::copy(bed.folder.path().join(name), copy.folder.path().join(name)).unwrap();
    }
    let recovered = copy.open().await;
    assert_eq!(recovered.load().await.unwrap().topics.len(), 1);
    let log = std::fs::metadata(copy.folder.path().join("catalog.sqlite-wal")).unwrap().len();
    assert_eq!(log, 0, "the log was not checkpointed");
}
