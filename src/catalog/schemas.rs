//! Schema versions.

use async_trait::async_trait;
use futures::TryStreamExt;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, SqlitePool};

use crate::catalog::decode::{Reader, to_json};
use crate::catalog::writer::Change;
use crate::catalog::{CatalogError, SchemaCause, SchemaRow, SchemaText};
use crate::model::{SchemaVersion, TopicId};

pub(super) struct InsertSchema {
    pub(super) id: TopicId,
    pub(super) schema: SchemaRow,
}

#[async_trait]
impl Change for InsertSchema {
    type Answer = ();

    async fn apply(self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        store_schema(connection, self.id, &self.schema).await
    }
}

/// Stores the version after the newest one of a living topic.
pub(super) async fn store_schema(
    connection: &mut SqliteConnection,
    id: TopicId,
    schema: &SchemaRow,
) -> Result<(), CatalogError> {
    let id = id.to_string();
    let topic = sqlx::query("SELECT schema_version FROM topics WHERE id = ? AND deleted = 0")
        .bind(&id)
        .fetch_optional(&mut *connection)
        .await?
        .ok_or(CatalogError::NotFound)?;
    let newest = Reader::new("topics", &topic).version("schema_version")?;
    if schema.version != newest.map_or(SchemaVersion::FIRST, SchemaVersion::next) {
        return Err(CatalogError::VersionTaken);
    }
    let version = i64::from(schema.version.get());
    sqlx::query(
        "INSERT INTO schemas (topic, version, fields, fingerprint, cause, changes, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&id)
    .bind(version)
    .bind(to_json(&schema.fields)?)
    .bind(&schema.fingerprint)
    .bind(schema.cause.as_str())
    .bind(to_json(&schema.changes)?)
    .bind(schema.created_at.as_micros())
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE topics SET schema_version = ? WHERE id = ?")
        .bind(version)
        .bind(&id)
        .execute(connection)
        .await?;
    Ok(())
}

/// The versions after one, oldest first: so many, and so many bytes about, but one at least; and whether there are more.
pub(super) async fn texts(
    readers: &SqlitePool,
    id: TopicId,
    after: Option<SchemaVersion>,
    (versions_max, bytes_max): (usize, usize),
) -> Result<(Vec<SchemaText>, bool), CatalogError> {
    let mut rows = sqlx::query("SELECT * FROM schemas WHERE topic = ? AND version > ? ORDER BY version")
        .bind(id.to_string())
        .bind(after.map_or(0, |version| i64::from(version.get())))
        .fetch(readers);
    let (mut texts, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        if texts.len() >= versions_max || bytes >= bytes_max {
            return Ok((texts, true));
        }
        let text: SchemaText = schema_of(&row)?;
        bytes += text.fields.get().len() + text.changes.get().len();
        texts.push(text);
    }
    Ok((texts, false))
}

/// One version, none for the newest.
pub(super) async fn text(
    readers: &SqlitePool,
    id: TopicId,
    version: Option<SchemaVersion>,
) -> Result<Option<SchemaText>, CatalogError> {
    let row = sqlx::query(
        "SELECT * FROM schemas WHERE topic = ?1 AND version =
             coalesce(?2, (SELECT max(version) FROM schemas WHERE topic = ?1))",
    )
    .bind(id.to_string())
    .bind(version.map(|version| i64::from(version.get())))
    .fetch_optional(readers)
    .await?;
    row.as_ref().map(schema_of).transpose()
}

/// Every version, oldest first.
pub(super) async fn all(readers: &SqlitePool, id: TopicId) -> Result<Vec<SchemaRow>, CatalogError> {
    let rows = sqlx::query("SELECT * FROM schemas WHERE topic = ? ORDER BY version")
        .bind(id.to_string())
        .fetch_all(readers)
        .await?;
    rows.iter().map(schema_of).collect()
}

/// The newest version.
pub(super) async fn newest(readers: &SqlitePool, id: TopicId) -> Result<Option<SchemaRow>, CatalogError> {
    let row = sqlx::query("SELECT * FROM schemas WHERE topic = ? ORDER BY version DESC LIMIT 1")
        .bind(id.to_string())
        .fetch_optional(readers)
        .await?;
    row.as_ref().map(schema_of).transpose()
}

/// Every posted version and the one before each, oldest first.
pub(super) async fn posted(readers: &SqlitePool, id: TopicId) -> Result<Vec<SchemaRow>, CatalogError> {
    let rows = sqlx::query(
        "SELECT * FROM schemas WHERE topic = ?1 AND (cause = ?2 OR version + 1 IN
             (SELECT version FROM schemas WHERE topic = ?1 AND cause = ?2))
         ORDER BY version",
    )
    .bind(id.to_string())
    .bind(SchemaCause::Posted.as_str())
    .fetch_all(readers)
    .await?;
    rows.iter().map(schema_of).collect()
}

fn schema_of<J: DeserializeOwned>(row: &SqliteRow) -> Result<SchemaRow<J>, CatalogError> {
    let row = Reader::new("schemas", row);
    Ok(SchemaRow {
        version: row.version("version")?.ok_or_else(|| row.damaged("version", "null"))?,
        fields: row.json("fields")?,
        fingerprint: row.plain("fingerprint")?,
        cause: SchemaCause::parse(row.plain("cause")?).ok_or_else(|| row.damaged("cause", "an unknown word"))?,
        changes: row.json("changes")?,
        created_at: row.time("created_at")?,
    })
}
