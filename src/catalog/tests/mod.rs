use std::path::PathBuf;

use serde_json::json;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::model::{SchemaVersion, Timestamp, TopicName};
use crate::runtime::Health;

mod cursors;
mod faults;
mod groups;
mod indexes;
mod places;
mod topics;

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
            dataset: PathBuf::from(format!("/far/deep/er/{id}.lance")),
            link: PathBuf::from(format!("/far/deep/er/{name}.lance")),
        }),
        declared_schema: Some(json!({"fields": []})),
        schema_mode: Some(SchemaMode::Evolve),
        retention: Retention { max_age_secs: Some(60), ..Retention::default() },
        on_invalid: crate::model::OnInvalid::Quarantine,
        created_at: Timestamp::from_micros(1_700_000_000_000_001),
    };
    NewTopic { definition, schema: None }
}

fn receipt(first: u64, schema: Option<u32>) -> StoredReceipt {
    StoredReceipt { first: offset(first), count: 3, schema: schema.and_then(SchemaVersion::new), quarantined: first }
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
