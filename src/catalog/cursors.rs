//! Cursors: named positions of readers.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};

use crate::catalog::decode::{Reader, offset_to_sql, to_sql};
use crate::catalog::writer::Change;
use crate::catalog::{CatalogError, CursorPosition, CursorRow};
use crate::model::{CursorName, TopicId};

pub(super) struct Put {
    pub(super) id: TopicId,
    pub(super) cursor: CursorRow,
    pub(super) expected: Option<CursorPosition>,
    pub(super) cursors_max: u64,
}

#[async_trait]
impl Change for Put {
    type Answer = ();

    async fn apply(self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        let id = self.id.to_string();
        let CursorRow { name, position, updated_at } = self.cursor;
        sqlx::query("SELECT 1 FROM topics WHERE id = ? AND deleted = 0")
            .bind(&id)
            .fetch_optional(&mut *connection)
            .await?
            .ok_or(CatalogError::NotFound)?;
        let present = sqlx::query("SELECT epoch, next_offset FROM cursors WHERE topic = ? AND name = ?")
            .bind(&id)
            .bind(name.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        let present = present.map(|row| position_of(&Reader::new("cursors", &row))).transpose()?;
        if self.expected.is_some() && self.expected != present {
            return Err(CatalogError::CursorMoved);
        }
        if present.is_none() {
            let count: i64 = sqlx::query("SELECT count(*) FROM cursors WHERE topic = ?")
                .bind(&id)
                .fetch_one(&mut *connection)
                .await?
                .try_get(0)?;
            if u64::try_from(count).is_ok_and(|count| count >= self.cursors_max) {
                return Err(CatalogError::TooManyCursors);
            }
        }
        sqlx::query(
            "INSERT INTO cursors (topic, name, epoch, next_offset, updated_at) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (topic, name) DO UPDATE SET epoch = excluded.epoch, next_offset = excluded.next_offset,
                 updated_at = excluded.updated_at",
        )
        .bind(&id)
        .bind(name.as_str())
        .bind(to_sql(position.epoch.get())?)
        .bind(offset_to_sql(position.next)?)
        .bind(updated_at.as_micros())
        .execute(connection)
        .await?;
        Ok(())
    }
}

pub(super) struct Delete {
    pub(super) id: TopicId,
    pub(super) name: CursorName,
}

#[async_trait]
impl Change for Delete {
    type Answer = bool;

    async fn apply(self, connection: &mut SqliteConnection) -> Result<bool, CatalogError> {
        let gone = sqlx::query("DELETE FROM cursors WHERE topic = ? AND name = ?")
            .bind(self.id.to_string())
            .bind(self.name.as_str())
            .execute(connection)
            .await?;
        Ok(gone.rows_affected() > 0)
    }
}

/// One cursor.
pub(super) async fn one(
    readers: &SqlitePool,
    id: TopicId,
    name: &CursorName,
) -> Result<Option<CursorRow>, CatalogError> {
    let row = sqlx::query("SELECT * FROM cursors WHERE topic = ? AND name = ?")
        .bind(id.to_string())
        .bind(name.as_str())
        .fetch_optional(readers)
        .await?;
    row.as_ref().map(cursor_of).transpose()
}

/// The cursors of one topic, by name.
pub(super) async fn of_topic(readers: &SqlitePool, id: TopicId) -> Result<Vec<CursorRow>, CatalogError> {
    let rows = sqlx::query("SELECT * FROM cursors WHERE topic = ? ORDER BY name")
        .bind(id.to_string())
        .fetch_all(readers)
        .await?;
    rows.iter().map(cursor_of).collect()
}

/// The cursors of all topics.
pub(super) async fn of_all(readers: &SqlitePool) -> Result<HashMap<TopicId, Vec<CursorRow>>, CatalogError> {
    let rows = sqlx::query("SELECT * FROM cursors ORDER BY topic, name").fetch_all(readers).await?;
    let mut cursors: HashMap<TopicId, Vec<CursorRow>> = HashMap::new();
    for row in &rows {
        cursors.entry(Reader::new("cursors", row).topic("topic")?).or_default().push(cursor_of(row)?);
    }
    Ok(cursors)
}

fn cursor_of(row: &SqliteRow) -> Result<CursorRow, CatalogError> {
    let row = Reader::new("cursors", row);
    Ok(CursorRow {
        name: CursorName::parse(row.plain("name")?).map_err(|error| row.damaged("name", error))?,
        position: position_of(&row)?,
        updated_at: row.time("updated_at")?,
    })
}

fn position_of(row: &Reader<'_>) -> Result<CursorPosition, CatalogError> {
    Ok(CursorPosition { epoch: row.epoch("epoch")?, next: row.offset("next_offset")? })
}
