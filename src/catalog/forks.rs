//! Topics whose dataset is made from another one's: noted before it is made, living when it is durable.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::catalog::decode::offset_to_sql;
use crate::catalog::indexes;
use crate::catalog::schemas::store_schema;
use crate::catalog::topics::{epoch_of, insert, one_row};
use crate::catalog::writer::Change;
use crate::catalog::{CatalogError, ForkedTopic, TopicDefinition};
use crate::model::Epoch;

pub(super) struct Begin(pub(super) TopicDefinition);

#[async_trait]
impl Change for Begin {
    type Answer = ();

    async fn apply(self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        insert(connection, &self.0, true).await
    }
}

pub(super) struct Complete(pub(super) ForkedTopic);

#[async_trait]
impl Change for Complete {
    type Answer = Epoch;

    async fn apply(self, connection: &mut SqliteConnection) -> Result<Epoch, CatalogError> {
        let fork = self.0;
        let id = fork.id.to_string();
        let taken = sqlx::query(
            "SELECT 1 FROM topics WHERE deleted = 0 AND name = (SELECT name FROM topics WHERE id = ? AND deleted = 1)",
        )
        .bind(&id)
        .fetch_optional(&mut *connection)
        .await?;
        if taken.is_some() {
            return Err(CatalogError::NameTaken);
        }
        let made = sqlx::query(
            "UPDATE topics SET deleted = 0, earliest_offset = ?, next_offset = ?, wide = ? WHERE id = ? AND deleted = 1",
        )
        .bind(offset_to_sql(fork.earliest)?)
        .bind(offset_to_sql(fork.next)?)
        .bind(&fork.wide)
        .bind(&id)
        .execute(&mut *connection)
        .await?;
        one_row(made.rows_affected())?;
        sqlx::query("UPDATE meta SET newest = max(newest, ?)")
            .bind(fork.newest.as_micros())
            .execute(&mut *connection)
            .await?;
        let epoch = sqlx::query("INSERT INTO epochs (topic, start_offset) VALUES (?, 0)")
            .bind(&id)
            .execute(&mut *connection)
            .await?
            .last_insert_rowid();
        for schema in &fork.schemas {
            store_schema(connection, fork.id, schema).await?;
        }
        for index in &fork.indexes {
            indexes::insert(connection, fork.id, index).await?;
        }
        epoch_of(epoch)
    }
}
