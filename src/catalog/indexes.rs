//! Indexes: which ones topics are to have.

use std::collections::HashSet;

use async_trait::async_trait;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};

use crate::catalog::decode::{Reader, offset_to_sql};
use crate::catalog::writer::Change;
use crate::catalog::{CatalogError, IndexRow};
use crate::model::{IndexId, IndexName, TopicId};
use crate::schema::{FieldPath, IndexSpec, IndexType};

pub(super) struct Put {
    pub(super) id: TopicId,
    pub(super) index: IndexRow,
    pub(super) indexes_max: u64,
}

#[async_trait]
impl Change for Put {
    type Answer = ();

    async fn apply(self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        let id = self.id.to_string();
        sqlx::query("SELECT 1 FROM topics WHERE id = ? AND deleted = 0")
            .bind(&id)
            .fetch_optional(&mut *connection)
            .await?
            .ok_or(CatalogError::NotFound)?;
        let others: i64 = sqlx::query("SELECT count(*) FROM indexes WHERE topic = ? AND name <> ?")
            .bind(&id)
            .bind(self.index.name.as_str())
            .fetch_one(&mut *connection)
            .await?
            .try_get(0)?;
        if u64::try_from(others).is_ok_and(|others| others >= self.indexes_max) {
            return Err(CatalogError::TooManyIndexes);
        }
        insert(connection, self.id, &self.index).await
    }
}

/// Stores the definition of an index, in place of another one of its name.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    topic: TopicId,
    index: &IndexRow,
) -> Result<(), CatalogError> {
    let columns: Vec<String> = index.columns.iter().map(FieldPath::to_string).collect();
    sqlx::query(
        "INSERT OR REPLACE INTO indexes (topic, name, id, kind, columns, schema, params, from_offset, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(topic.to_string())
    .bind(index.name.as_str())
    .bind(index.id.to_string())
    .bind(index.spec.kind.as_str())
    .bind(Value::from(columns).to_string())
    .bind(index.schema.map(|version| i64::from(version.get())))
    .bind(index.spec.params.to_json().to_string())
    .bind(offset_to_sql(index.from)?)
    .bind(index.created_at.as_micros())
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) struct Delete {
    pub(super) id: TopicId,
    pub(super) name: IndexName,
}

#[async_trait]
impl Change for Delete {
    type Answer = bool;

    async fn apply(self, connection: &mut SqliteConnection) -> Result<bool, CatalogError> {
        let gone = sqlx::query("DELETE FROM indexes WHERE topic = ? AND name = ?")
            .bind(self.id.to_string())
            .bind(self.name.as_str())
            .execute(connection)
            .await?;
        Ok(gone.rows_affected() > 0)
    }
}

/// The indexes of one topic, by name.
pub(super) async fn of_topic(readers: &SqlitePool, id: TopicId) -> Result<Vec<IndexRow>, CatalogError> {
    let rows = sqlx::query("SELECT * FROM indexes WHERE topic = ? ORDER BY name")
        .bind(id.to_string())
        .fetch_all(readers)
        .await?;
    rows.iter().map(index_of).collect()
}

/// The topics that are to have any.
pub(super) async fn topics(readers: &SqlitePool) -> Result<HashSet<TopicId>, CatalogError> {
    let rows = sqlx::query("SELECT DISTINCT topic FROM indexes").fetch_all(readers).await?;
    rows.iter().map(|row| Reader::new("indexes", row).topic("topic")).collect()
}

fn index_of(row: &SqliteRow) -> Result<IndexRow, CatalogError> {
    let row = Reader::new("indexes", row);
    let kind = IndexType::parse(row.plain("kind")?).map_err(|error| row.damaged("kind", error))?;
    let params = serde_json::from_str(row.plain("params")?).map_err(|error| row.damaged("params", error))?;
    let columns: Vec<String> =
        serde_json::from_str(row.plain("columns")?).map_err(|error| row.damaged("columns", error))?;
    let columns = columns.iter().map(|path| FieldPath::parse(path)).collect::<Result<_, _>>();
    Ok(IndexRow {
        id: IndexId::parse(row.plain("id")?).ok_or_else(|| row.damaged("id", "no UUID"))?,
        name: IndexName::parse(row.plain("name")?).map_err(|error| row.damaged("name", error))?,
        columns: columns.map_err(|error| row.damaged("columns", error))?,
        spec: IndexSpec::new(kind, params).map_err(|error| row.damaged("params", error))?,
        schema: row.version("schema")?,
        from: row.offset("from_offset")?,
        created_at: row.time("created_at")?,
    })
}
