//! Changes of topics and epochs.

use std::os::unix::ffi::OsStrExt;

use async_trait::async_trait;
use serde_json::{Map, Value};
use sqlx::{Row, SqliteConnection};

use crate::catalog::decode::{offset_to_sql, to_json, to_sql};
use crate::catalog::schemas::store_schema;
use crate::catalog::writer::Change;
use crate::catalog::writers::note_log;
use crate::catalog::{CatalogError, NewTopic, TopicDefinition};
use crate::model::{Epoch, LogMark, Offset, OnInvalid, Retention, SchemaMode, TopicId};

pub(super) struct Create(pub(super) NewTopic);

#[async_trait]
impl Change for Create {
    type Answer = Epoch;

    async fn apply(self, connection: &mut SqliteConnection) -> Result<Epoch, CatalogError> {
        let NewTopic { definition: topic, schema } = self.0;
        let id = topic.id.to_string();
        insert(connection, &topic, false).await?;
        let epoch = sqlx::query("INSERT INTO epochs (topic, start_offset) VALUES (?, 0)")
            .bind(&id)
            .execute(&mut *connection)
            .await?
            .last_insert_rowid();
        if let Some(schema) = schema {
            store_schema(connection, topic.id, &schema).await?;
        }
        epoch_of(epoch)
    }
}

/// Makes the row of a topic, living or not.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    topic: &TopicDefinition,
    deleted: bool,
) -> Result<(), CatalogError> {
    let (dataset, link) = match &topic.place {
        Some(place) => (Some(place.dataset.as_os_str().as_bytes()), Some(place.link.as_os_str().as_bytes())),
        None => (None, None),
    };
    let made = sqlx::query(
        "INSERT INTO topics (id, name, backend, options, storage_path, dataset, link, declared_schema, schema_mode,
                             retention, on_invalid, created_at, deleted)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) WHERE deleted = 0 DO NOTHING",
    )
    .bind(topic.id.to_string())
    .bind(topic.name.as_str())
    .bind(&topic.backend)
    .bind(to_json(&topic.options)?)
    .bind(&topic.storage_path)
    .bind(dataset)
    .bind(link)
    .bind(topic.declared_schema.as_ref().map(to_json).transpose()?)
    .bind(topic.schema_mode.map(SchemaMode::as_str))
    .bind(to_json(&topic.retention)?)
    .bind(topic.on_invalid.as_str())
    .bind(topic.created_at.as_micros())
    .bind(deleted)
    .execute(connection)
    .await?;
    if made.rows_affected() == 0 { Err(CatalogError::NameTaken) } else { Ok(()) }
}

pub(super) fn epoch_of(number: i64) -> Result<Epoch, CatalogError> {
    let epoch = u64::try_from(number).ok().and_then(Epoch::new);
    epoch.ok_or_else(|| CatalogError::damaged("the epochs are used up"))
}

pub(super) struct Bury(pub(super) TopicId);

#[async_trait]
impl Change for Bury {
    type Answer = ();

    async fn apply(self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        let id = self.0.to_string();
        let buried = sqlx::query("UPDATE topics SET deleted = 1 WHERE id = ? AND deleted = 0")
            .bind(&id)
            .execute(&mut *connection)
            .await?;
        one_row(buried.rows_affected())?;
        for statement in [
            "DELETE FROM epochs WHERE topic = ?",
            "DELETE FROM schemas WHERE topic = ?",
            "DELETE FROM producers WHERE topic = ?",
            "DELETE FROM idempotency_keys WHERE topic = ?",
            "DELETE FROM cursors WHERE topic = ?",
            "DELETE FROM indexes WHERE topic = ?",
        ] {
            sqlx::query(statement).bind(&id).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

pub(super) fn one_row(affected: u64) -> Result<(), CatalogError> {
    if affected == 0 { Err(CatalogError::NotFound) } else { Ok(()) }
}

pub(super) struct Forget(pub(super) TopicId);

#[async_trait]
impl Change for Forget {
    type Answer = ();

    async fn apply(self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        let gone = sqlx::query("DELETE FROM topics WHERE id = ? AND deleted = 1")
            .bind(self.0.to_string())
            .execute(connection)
            .await?;
        one_row(gone.rows_affected())
    }
}

pub(super) struct SetClosed(pub(super) TopicId);

#[async_trait]
impl Change for SetClosed {
    type Answer = ();

    async fn apply(self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        let closed = sqlx::query("UPDATE topics SET closed = 1 WHERE id = ? AND deleted = 0")
            .bind(self.0.to_string())
            .execute(connection)
            .await?;
        one_row(closed.rows_affected())
    }
}

pub(super) struct SetEarliest(pub(super) TopicId, pub(super) Offset);

#[async_trait]
impl Change for SetEarliest {
    type Answer = ();

    async fn apply(self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        let set =
            sqlx::query("UPDATE topics SET earliest_offset = max(earliest_offset, ?) WHERE id = ? AND deleted = 0")
                .bind(offset_to_sql(self.1)?)
                .bind(self.0.to_string())
                .execute(connection)
                .await?;
        one_row(set.rows_affected())
    }
}

pub(super) struct SetConfig {
    pub(super) id: TopicId,
    pub(super) retention: Retention,
    pub(super) options: Map<String, Value>,
    pub(super) mode: Option<SchemaMode>,
    pub(super) on_invalid: OnInvalid,
}

#[async_trait]
impl Change for SetConfig {
    type Answer = ();

    async fn apply(self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        let set =
            sqlx::query("UPDATE topics SET retention = ?, options = ?, schema_mode = ?, on_invalid = ? WHERE id = ? AND deleted = 0")
                .bind(to_json(&self.retention)?)
                .bind(to_json(&self.options)?)
                .bind(self.mode.map(SchemaMode::as_str))
                .bind(self.on_invalid.as_str())
                .bind(self.id.to_string())
                .execute(connection)
                .await?;
        one_row(set.rows_affected())
    }
}

pub(super) struct SetClean(pub(super) bool, pub(super) LogMark);

#[async_trait]
impl Change for SetClean {
    type Answer = ();

    async fn apply(self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        sqlx::query("UPDATE meta SET clean = ?").bind(i64::from(self.0)).execute(&mut *connection).await?;
        note_log(connection, self.1).await
    }
}

pub(super) struct BeginEpochs(pub(super) Vec<(TopicId, Offset)>);

#[async_trait]
impl Change for BeginEpochs {
    type Answer = Vec<Epoch>;

    /// A few statements for any number of topics, which are handed to SQLite as one JSON array.
    async fn apply(self, connection: &mut SqliteConnection) -> Result<Vec<Epoch>, CatalogError> {
        let starts: Vec<_> = self.0.iter().map(|(id, start)| (id.to_string(), start.get())).collect();
        let starts = to_json(&starts)?;
        let living: i64 = sqlx::query(
            "SELECT count(*) FROM json_each(?) AS j CROSS JOIN topics ON topics.id = j.value ->> 0 AND deleted = 0",
        )
        .bind(&starts)
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
        if u64::try_from(living).ok() != Some(self.0.len() as u64) {
            return Err(CatalogError::NotFound);
        }
        let last: i64 = sqlx::query("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'epochs'")
            .fetch_one(&mut *connection)
            .await?
            .try_get(0)?;
        let numbers = (1..=self.0.len() as u64).map(|step| epoch_of(last.saturating_add(to_sql(step)?)));
        let epochs = numbers.collect::<Result<Vec<_>, _>>()?;
        // An epoch that a later one voids from the earliest offset on tells a reader no more than a foreign one does.
        let void = "DELETE FROM epochs WHERE topic IN (
            SELECT topics.id FROM json_each(?) AS j CROSS JOIN topics ON topics.id = j.value ->> 0
            WHERE j.value ->> 1 <= topics.earliest_offset)";
        sqlx::query(void).bind(&starts).execute(&mut *connection).await?;
        let begin = "INSERT INTO epochs (epoch, topic, start_offset)
            SELECT ? + 1 + j.key, j.value ->> 0, j.value ->> 1 FROM json_each(?) AS j";
        sqlx::query(begin).bind(last).bind(&starts).execute(&mut *connection).await?;
        let lower = "UPDATE topics
            SET earliest_offset = min(earliest_offset, j.value ->> 1), next_offset = min(next_offset, j.value ->> 1)
            FROM json_each(?) AS j WHERE topics.id = j.value ->> 0";
        sqlx::query(lower).bind(&starts).execute(connection).await?;
        Ok(epochs)
    }
}
